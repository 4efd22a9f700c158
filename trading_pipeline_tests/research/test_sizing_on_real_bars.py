"""The figures of the decision on sizing, measured again on real bars where they lie beside the repository."""

import re
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from trading_pipeline.application.sharded_history import evaluations_of, history_of
from trading_pipeline.domain import sessions
from trading_pipeline.domain.bars import close_panel, quarantine
from trading_pipeline.domain.sizing.panel import sizing_panel
from trading_pipeline.domain.smoothing import Smoothing
from trading_pipeline.domain.strategies import STRATEGIES, tree
from trading_pipeline.research.sizing_comparison import AccountRules, allocations_of, compare, methods_of
from trading_pipeline.settings import Settings

DECISION = Path(__file__).resolve().parents[2] / "docs" / "decisions" / "sizing.md"
FIRST, LAST = date(2022, 4, 1), date(2026, 1, 22)
COLUMNS = ["growth", "volatility", "largest_fall", "turnover_a_year", "invested", "missing"]


def documented():
    """The rows of the table: by method, its figures as numbers, percents as fractions."""
    rows = re.findall(
        r"^\| (\w+) \| (.+ %) \|$|^\| (\w+) \| (.+ \| \d+) \|$", DECISION.read_text("utf-8"), re.MULTILINE
    )
    cells = {name or other: (figures or others).split(" | ") for name, figures, other, others in rows}
    return {
        name: [float(cell.removesuffix(" %")) / (100 if cell.endswith("%") else 1) for cell in row]
        for name, row in cells.items()
        if len(row) == len(COLUMNS)
    }


@pytest.fixture(scope="module")
def measured(shared_folder):
    settings = Settings()
    symbols = sorted({symbol for strategy in STRATEGIES.values() for symbol in tree.symbols(strategy.tree)})
    raw = pd.read_parquet(shared_folder / "data" / "bars.parquet").rename(columns={"date": "session"})
    bars, _ = quarantine(raw[raw["symbol"].isin(symbols)])
    chosen = settings.strategies
    rules = AccountRules(
        shares=chosen.capital_shares,
        drift_thresholds={"klm": STRATEGIES["klm"].drift_threshold},
        safe_asset=chosen.safe_asset,
        max_carried_sessions=chosen.max_carried_sessions,
        band=float(settings.orders.band),
        equity=settings.orders.model_equity,
    )
    options = settings.sizing.options(chosen.safe_asset)
    needed = max(each.sessions_needed for each in methods_of(options).values())
    history = history_of(list(STRATEGIES.values()), bars, FIRST, LAST, Smoothing.WILDER)
    held = sorted({*history["symbol"].dropna(), chosen.safe_asset})
    closes = close_panel(bars, held, sessions.sessions_between(FIRST, LAST))
    days = sessions.sessions_between(sessions.previous_session(FIRST, needed - 1), LAST)
    allocations = allocations_of(evaluations_of(history), closes, rules)
    return compare(allocations, sizing_panel(bars, held, days, options), methods_of(options), rules)


def test_the_figures_of_the_decision_are_those_that_are_measured(measured):
    found = measured.summary_frame().set_index("method")[COLUMNS]

    written = documented()
    assert list(written) == list(found.index)
    for method, figures in written.items():
        assert figures == pytest.approx(found.loc[method].tolist(), abs=0.051, rel=1e-3), method
        assert figures[:3] == pytest.approx(found.loc[method].tolist()[:3], abs=6e-4), method


def test_on_real_bars_what_each_part_promises_holds(measured):
    runs = {run.method: run for run in measured.runs}

    assert runs["volatility_target"].volatility < 0.25
    assert runs["together"].volatility < runs["strategies"].volatility / 5
    assert all((run.weights.sum(axis=1) <= 1 + 1e-9).all() for run in measured.runs)
