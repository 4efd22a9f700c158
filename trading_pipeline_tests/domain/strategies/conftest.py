from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trading_pipeline.domain.bars import ClosePanel, close_panel
from trading_pipeline.domain.indicators import Indicator
from trading_pipeline.domain.readings import IndicatorPanel
from trading_pipeline.domain.strategies import STRATEGIES, tree
from trading_pipeline.domain.strategies.evaluation import evaluate
from trading_pipeline.domain.strategies.evaluator import Evaluator
from trading_pipeline_tests.domain.strategies.leaves import unreached

SHARED = Path(__file__).parents[3].parent / "shared"
FIRST = date(2024, 1, 1)
SESSIONS = 16


@pytest.fixture(scope="session")
def goldens():
    """Read the expected answers of a strategy: session, symbol, weight."""

    def read(name) -> pd.DataFrame:
        path = SHARED / "goldens" / f"{name}.parquet"
        if not path.exists():
            pytest.skip("../shared is not here: the expected answers are not part of the repository")
        frame = pd.read_parquet(path)
        return frame.assign(session=frame["session"].dt.date)

    return read


@pytest.fixture(scope="session")
def real_closes() -> ClosePanel:
    """Real closes of every symbol that any strategy reads, all sessions."""
    path = SHARED / "data" / "bars.parquet"
    if not path.exists():
        pytest.skip("../shared is not here: real bars are not part of the repository")
    symbols = sorted({symbol for strategy in STRATEGIES.values() for symbol in tree.symbols(strategy.tree)})
    bars = pd.read_parquet(path, columns=["symbol", "date", "close"], filters=[("symbol", "in", symbols)])
    bars = bars.astype({"symbol": "str", "close": "float64"}).rename(columns={"date": "session"})
    return close_panel(bars, symbols, sorted(set(bars["session"])))


@pytest.fixture(scope="session")
def panel_of():
    """Make a panel of hand-made readings: rows of {reading's name: value}, everything else neutral."""

    def panel(node, *rows) -> IndicatorPanel:
        wanted = tree.readings(node)
        unknown = {name for row in rows for name in row}.difference(map(str, wanted))
        assert not unknown, f"{unknown} is not read"
        table = np.array([[row.get(str(reading), NEUTRAL[reading.indicator]) for reading in wanted] for row in rows])
        return IndicatorPanel(tuple(FIRST + timedelta(days=n) for n in range(len(rows))), wanted, table)

    return panel


@pytest.fixture(scope="session")
def stated(panel_of):
    """Make a panel on which the same readings hold for long enough that groups have series of their own.

    A reading that is a tuple takes its values in turn. ``close(S)`` states what
    a group that holds S earns. ``today`` holds on the last session alone.
    """

    def panel(node, readings, today=None) -> IndicatorPanel:
        rows = [{name: _on(session, value) for name, value in readings.items()} for session in range(SESSIONS)]
        rows[-1] |= today or {}
        read = set(map(str, tree.readings(node)))
        return panel_of(node, *(_seen(row, before, read) for before, row in zip([rows[0], *rows], rows, strict=False)))

    return panel


@pytest.fixture(scope="session")
def held(panel_of):
    """Evaluate one session of hand-made readings: the weights held, or the reason for there being none."""
    return lambda node, readings: last_of(evaluate(node, panel_of(node, readings)))


@pytest.fixture(scope="session")
def held_at_last(stated):
    """Evaluate stated readings: the weights held on the last session, or the reason for there being none."""
    return lambda node, readings, today=None: last_of(evaluate(node, stated(node, readings, today)))


@pytest.fixture(scope="session")
def missed_leaves(stated):
    """Name the leaves of a tree that none of the cases reaches: pairs of a tree within it and stated readings."""

    def missed(root, cases) -> list[str]:
        return unreached(root, [(node, Evaluator(node, stated(node, readings))) for node, readings in cases])

    return missed


def last_of(evaluation):
    if evaluation.reason(-1) is not None:
        return evaluation.reason(-1)
    return {s: float(w) for s, w in zip(evaluation.symbols, evaluation.weights[-1], strict=True) if w}


def _on(session, value):
    return value[session % len(value)] if isinstance(value, tuple) else value


def _seen(row, before, read):
    """Put what is read of a close in its place: the price, and the return since the session before."""
    seen = {name: value for name, value in row.items() if not name.startswith("close(")}
    for name, close in row.items():
        if name not in seen:
            symbol = name.removeprefix("close(").removesuffix(")")
            of_close = {f"price({symbol})": close, f"cumret({symbol},1)": (close / before[name] - 1) * 100}
            assert read.intersection(of_close), f"{symbol} is neither read nor held by a group that is"
            seen |= {reading: value for reading, value in of_close.items() if reading in read}
    return seen


# No strategy acts on these: no strength either way, prices at their means, nothing moves.
NEUTRAL = {
    Indicator.RSI: 50.0,
    Indicator.PRICE: 100.0,
    Indicator.SMA: 100.0,
    Indicator.EMA: 100.0,
    Indicator.MEAN_RETURN: 0.0,
    Indicator.CUMULATIVE_RETURN: 0.0,
    Indicator.RETURN_DEVIATION: 1.0,
    Indicator.PRICE_DEVIATION: 1.0,
    Indicator.MAX_DRAWDOWN: 0.0,
}
