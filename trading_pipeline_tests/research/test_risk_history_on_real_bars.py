"""The figures of the decision on risk, measured again on real bars where they lie beside the repository."""

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trading_pipeline.application.risk_inputs import HISTORY_SESSIONS
from trading_pipeline.application.sharded_history import evaluations_of, history_of
from trading_pipeline.domain import sessions
from trading_pipeline.domain.bars import close_panel, quarantine
from trading_pipeline.domain.instruments import catalogue
from trading_pipeline.domain.risk.decisions import BreachCode
from trading_pipeline.domain.risk.limits import FAMILIES, LimitFamily
from trading_pipeline.domain.smoothing import Smoothing
from trading_pipeline.domain.strategies import STRATEGIES, tree
from trading_pipeline.research.risk_history import PlanRules, risk_history
from trading_pipeline.research.rule_history import RuleKind
from trading_pipeline.research.sizing_comparison import AccountRules, allocations_of
from trading_pipeline.settings import Settings

DECISION = Path(__file__).resolve().parents[2] / "docs" / "decisions" / "risk.md"
FIRST, LAST = date(2022, 1, 3), date(2026, 7, 31)
TOGETHER = "together"
ACCOUNTS = (*STRATEGIES, TOGETHER)
EARLIER = "earlier"

# The limits of the tables, so that a changed default shows as the changed table that it leads to.
DOCUMENTED = {
    "rotation": FAMILIES[LimitFamily.ROTATION],
    "ordinary": FAMILIES[LimitFamily.ORDINARY],
    EARLIER: replace(
        FAMILIES[LimitFamily.ROTATION],
        max_value_at_risk=Decimal("0.16"),
        max_expected_shortfall=Decimal("0.18"),
    ),
}
FULL = pytest.mark.skipif(not os.environ.get("FULL"), reason="more than a minute: FULL=1 runs it")


def history_on(folder, first, accounts, families):
    chosen, orders = Settings().strategies, Settings().orders
    symbols = sorted({symbol for strategy in STRATEGIES.values() for symbol in tree.symbols(strategy.tree)})
    raw = pd.read_parquet(folder / "data" / "bars.parquet").rename(columns={"date": "session"})
    bars, _ = quarantine(raw[raw["symbol"].isin(symbols)])
    rules = AccountRules(
        shares=chosen.capital_shares,
        drift_thresholds={"klm": STRATEGIES["klm"].drift_threshold},
        safe_asset=chosen.safe_asset,
        max_carried_sessions=chosen.max_carried_sessions,
        band=float(orders.band),
        equity=orders.model_equity,
    )
    history = history_of(list(STRATEGIES.values()), bars, first, LAST, Smoothing.WILDER)
    held = sorted({*history["symbol"].dropna(), chosen.safe_asset})
    closes = close_panel(bars, held, sessions.sessions_between(first, LAST))
    shares = {name: rules.shares if name == TOGETHER else {name: 1.0} for name in accounts}
    wanted = {
        name: allocations_of(evaluations_of(history), closes, replace(rules, shares=share))
        for name, share in shares.items()
    }
    before = sessions.previous_session(first, HISTORY_SESSIONS)
    recent = bars[bars["symbol"].isin(held) & (bars["session"] >= before)]
    plan = PlanRules(orders.model_equity, orders.collar, orders.band, orders.minimum_notional)
    return risk_history(wanted, recent, catalogue(), families, plan)


def counts_of(found, family, kind, rule):
    """On how many sessions a rule acted, by account."""
    return [
        next(len(each.actions) for each in account.rules if (each.family, each.kind, each.rule) == (family, kind, rule))
        for account in found.accounts
    ]


def order_rows(found) -> Iterator[str]:
    for code in BreachCode:
        rotation = counts_of(found, "rotation", RuleKind.ORDER, code.value)
        ordinary = counts_of(found, "ordinary", RuleKind.ORDER, code.value)
        if any(rotation) or any(ordinary):
            yield f"| `{code.value}` | {' | '.join(map(str, (*rotation, *ordinary)))} |"


def loss_rows(found) -> Iterator[str]:
    for rule in found.accounts[0].rules:
        if rule.kind is not RuleKind.ORDER:
            counts = counts_of(found, rule.family, rule.kind, rule.rule)
            place = {RuleKind.CLOSES: "closes", RuleKind.EXTREMES: "extremes"}.get(rule.kind, "closes")
            yield f"| {rule.rule} | {place} | {' | '.join(map(str, counts))} |"


def tail_rows(found) -> Iterator[str]:
    for account in found.accounts:
        for code in (BreachCode.VALUE_AT_RISK, BreachCode.EXPECTED_SHORTFALL):
            figures = account.figures[code]
            middle, usual, highest = np.nanquantile(figures, [0.5, 0.99, 1])
            acted = [
                next(len(each.actions) for each in account.rules if (each.family, each.rule) == (family, code.value))
                for family in (EARLIER, "rotation")
            ]
            numbers = " | ".join(f"{100 * figure:.1f} %" for figure in (middle, usual, highest))
            yield f"| {account.strategy} | `{code.value}` | {numbers} | {acted[0]} | {acted[1]} |"


@pytest.fixture(scope="module")
def measured(shared_folder):
    return history_on(shared_folder, FIRST, ACCOUNTS, DOCUMENTED)


@FULL
@pytest.mark.parametrize("rows", [order_rows, loss_rows, tail_rows])
def test_the_figures_of_the_decision_are_those_that_are_measured(measured, rows):
    written = DECISION.read_text("utf-8").splitlines()

    assert [row for row in rows(measured) if row not in written] == []


@FULL
def test_the_account_of_all_strategies_never_meets_a_limit_on_its_tail(measured):
    together = measured.accounts[-1]

    assert together.strategy == TOGETHER
    limits = DOCUMENTED["rotation"]
    assert np.nanmax(together.figures[BreachCode.VALUE_AT_RISK]) < float(limits.max_value_at_risk)
    assert np.nanmax(together.figures[BreachCode.EXPECTED_SHORTFALL]) < float(limits.max_expected_shortfall)


def test_in_an_ordinary_quarter_the_rotation_family_stops_nothing_but_what_is_thinly_traded(shared_folder):
    found = history_on(shared_folder, date(2026, 5, 1), (TOGETHER,), {"rotation": DOCUMENTED["rotation"]})

    [account] = found.accounts
    assert account.orders > 50
    acted = {rule.rule for rule in account.rules if rule.kind is RuleKind.ORDER and rule.actions}
    # A sale that is reduced leaves less to buy with, and a buy on credit is what all of these find then.
    short_of_cash = {"BUYING_POWER", "GROSS_LEVERAGE", "NET_LEVERAGE", "EFFECTIVE_LEVERAGE", "CONCENTRATION"}
    assert acted <= {"PARTICIPATION", *short_of_cash}
