"""No order that buys what is not fresh is approved; what is held may be sold."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pandas as pd
import pytest

from trading_pipeline.application.risk_inputs import KnownFacts, RiskQuestion, modelled_state
from trading_pipeline.domain.allocation import Allocation, Contribution, SleeveStatus
from trading_pipeline.domain.instruments import catalogue
from trading_pipeline.domain.orders import Side
from trading_pipeline.domain.portfolio import Portfolio
from trading_pipeline.domain.risk.decisions import Approved, Denied
from trading_pipeline.domain.risk.engine import decide
from trading_pipeline.domain.risk.limits import RiskLimits
from trading_pipeline.domain.risk.trading_state import ACTIVE
from trading_pipeline_tests.risk_states import OFF, account, order, risk_state

WHY = {"QQQ": "stale: its newest bar is of 2026-07-28, 2 sessions before 2026-07-30"}


@pytest.mark.parametrize("limits", [RiskLimits(), OFF])
def test_an_order_that_buys_what_is_not_fresh_is_denied_whatever_the_limits(limits):
    (stale, fresh) = decide(
        [order(symbol="QQQ", quantity=1), order(symbol="TLT", quantity=1)], risk_state(not_fresh=WHY), limits
    )

    assert isinstance(stale, Denied)
    [breach] = stale.breaches
    assert breach.code == "INPUT_MISSING"
    assert f"a fresh close of QQQ ({WHY['QQQ']})" in breach.measured
    assert isinstance(fresh, Approved)


def test_what_is_held_may_be_sold_at_a_stale_price():
    state = risk_state(account(QQQ=20), not_fresh=WHY)

    (decision,) = decide([order(Side.SELL, 5, "QQQ")], state, RiskLimits())

    assert isinstance(decision, Approved)


def test_a_stale_holding_does_not_stop_another_purchase():
    (decision,) = decide([order(symbol="TLT", quantity=1)], risk_state(account(QQQ=20), not_fresh=WHY), RiskLimits())

    assert isinstance(decision, Approved)


def test_what_our_tables_say_of_freshness_reaches_the_engine():
    bars = pd.DataFrame({"symbol": [], "session": [], "close": [], "volume": []})
    facts = KnownFacts({}, catalogue(), bars, not_fresh=WHY)
    at = datetime(2026, 7, 30, 20, 30, tzinfo=UTC)
    question = RiskQuestion(Portfolio("SIM0001", at, Decimal(9_000), {}), frozenset({"QQQ"}), date(2026, 7, 31), at)

    cash = Allocation(date(2026, 7, 30), (Contribution("CASH", "cash", 1.0, SleeveStatus.CASH, date(2026, 7, 30)),))

    assert modelled_state(question, cash, ACTIVE, facts).not_fresh == WHY
