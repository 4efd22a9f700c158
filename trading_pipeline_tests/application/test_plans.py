from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.adapters.storage.journal import SqliteJournal
from trading_pipeline.adapters.storage.objects import FileObjects, StoredPlans
from trading_pipeline.application.plans import (
    MODEL_ACCOUNT,
    PlanNumber,
    is_hypothetical,
    model_portfolio,
    next_number,
    refuse_if_executed,
    store,
)
from trading_pipeline.domain.allocation import Allocation, Contribution, SleeveStatus
from trading_pipeline.domain.errors import DataError
from trading_pipeline.domain.instruments import AssetClass, Instrument
from trading_pipeline.domain.sessions import execution_window
from trading_pipeline_tests.builders import ACCOUNT, INSIDE_WINDOW, SESSION, buy, make_plan, sell

AS_OF = datetime(2026, 7, 30, 20, tzinfo=UTC)
EQUITY = Decimal(100_000)
WINDOW = execution_window(date(2026, 7, 31), timedelta(minutes=1), timedelta(minutes=15))


@pytest.fixture
def plans(tmp_path):
    return StoredPlans(FileObjects(tmp_path))


def test_the_first_plan_of_a_session_has_number_one(plans):
    assert next_number(plans, ACCOUNT, SESSION, hypothetical=False).plan_id == "2026-07-30.1"


def test_numbers_go_up_and_hypothetical_plans_count_by_themselves(plans):
    store(make_plan(), plans)
    store(make_plan(version=2), plans)
    store(replace(make_plan(), plan_id="hypothetical-2026-07-30.1", hypothetical=True), plans)

    assert next_number(plans, ACCOUNT, SESSION, hypothetical=False) == PlanNumber(SESSION, 3, hypothetical=False)
    assert next_number(plans, ACCOUNT, SESSION, hypothetical=True).plan_id == "hypothetical-2026-07-30.2"
    assert next_number(plans, "SIM0002", SESSION, hypothetical=False).version == 1
    assert next_number(plans, ACCOUNT, date(2026, 7, 29), hypothetical=False).version == 1


@pytest.mark.parametrize(
    ("now", "backfill", "hypothetical"),
    [
        (WINDOW.start - timedelta(hours=12), False, False),
        (WINDOW.start, False, False),
        (WINDOW.end - timedelta(seconds=1), False, False),
        (WINDOW.end, False, True),
        (WINDOW.start, True, True),
    ],
)
def test_a_plan_of_a_backfill_or_one_that_comes_too_late_is_hypothetical(now, backfill, hypothetical):
    assert is_hypothetical(WINDOW, now, backfill=backfill) is hypothetical


def test_a_plan_is_stored_once_and_read_back(plans):
    plan = make_plan(sell("TLT", "10"), buy("SPY", "2.5"))

    store(plan, plans)

    assert plans.versions(ACCOUNT, SESSION) == [plan]


def test_storing_the_same_plan_again_changes_nothing(plans):
    plan = make_plan(buy("SPY", "2.5"))

    store(plan, plans)
    store(plan, plans)

    assert plans.versions(ACCOUNT, SESSION) == [plan]


@pytest.mark.parametrize(
    "order",
    [
        buy("SPY", "2.5", plan_id="2026-07-30.2"),
        replace(buy("SPY", "2.5"), symbol="QQQ"),
        replace(sell("SPY", "2.5"), side=buy("SPY", "1").side),
    ],
)
def test_an_order_that_does_not_carry_the_plans_own_id_is_refused(plans, order):
    with pytest.raises(DataError, match=r"is not of plan 2026-07-30\.1.*materialise order_plan again"):
        store(make_plan(order), plans)

    assert plans.versions(ACCOUNT, SESSION) == []


def test_the_plan_that_was_stored_first_stands(plans):
    first = make_plan(buy("SPY", "2.5"))
    store(first, plans)

    with pytest.raises(DataError, match=r"another run stored plan 2026-07-30\.1 first"):
        store(make_plan(buy("SPY", "3")), plans)

    assert plans.versions(ACCOUNT, SESSION) == [first]


def test_a_session_whose_plan_was_journalled_is_planned_no_more(tmp_path):
    journal = SqliteJournal(tmp_path / "journal.sqlite")
    refuse_if_executed(journal, ACCOUNT, SESSION)

    journal.claim(make_plan(buy("SPY", "1")), INSIDE_WINDOW)

    with pytest.raises(DataError, match=r"plan 2026-07-30\.1 of session 2026-07-30 was executed"):
        refuse_if_executed(journal, ACCOUNT, SESSION)
    refuse_if_executed(journal, "SIM0002", SESSION)
    refuse_if_executed(journal, ACCOUNT, date(2026, 7, 29))


def target(**weights):
    parts = [Contribution(symbol, "tecl", weight, SleeveStatus.DECIDED, SESSION) for symbol, weight in weights.items()]
    cash = 1 - sum(weights.values())
    parts += [Contribution("CASH", "tecl", cash, SleeveStatus.DECIDED, SESSION)] if cash > 0 else []
    return Allocation(SESSION, tuple(parts))


def instrument(symbol, *, fractionable=True):
    return Instrument(symbol, AssetClass.EQUITY_INDEX, fractionable=fractionable)


def test_without_an_allocation_the_model_portfolio_is_cash():
    portfolio = model_portfolio(None, {}, {}, EQUITY, AS_OF)

    assert (portfolio.account_number, portfolio.cash, dict(portfolio.positions)) == (MODEL_ACCOUNT, EQUITY, {})


def test_the_model_portfolio_holds_the_allocation_at_the_prices_given():
    prices = {"SPY": Decimal(400), "FNGU": Decimal(333)}
    instruments = {"SPY": instrument("SPY"), "FNGU": instrument("FNGU", fractionable=False)}

    portfolio = model_portfolio(target(SPY=0.5, FNGU=0.3), prices, instruments, EQUITY, AS_OF)

    assert portfolio.quantity("SPY") == 125
    assert portfolio.quantity("FNGU") == 90
    assert portfolio.cash == EQUITY - 125 * 400 - 90 * 333
    assert portfolio.equity == EQUITY


def test_a_symbol_without_a_price_stays_cash_and_one_that_nobody_knows_is_held_in_fractions():
    portfolio = model_portfolio(target(SPY=0.5, NEW=0.25), {"NEW": Decimal(3)}, {}, EQUITY, AS_OF)

    assert portfolio.quantity("SPY") == 0
    assert portfolio.quantity("NEW") == Decimal("8333.333333333")
    assert portfolio.cash == Decimal("75000.00")


@given(
    weights=st.lists(st.floats(0.001, 1), min_size=1, max_size=5),
    prices=st.lists(st.decimals("0.01", 5000, places=2), min_size=5, max_size=5),
)
def test_the_model_portfolio_never_spends_more_than_its_equity(weights, prices):
    symbols = ["SPY", "QQQ", "TLT", "GLD", "BIL"]
    total = sum(weights)
    shares = {symbol: weight / total for symbol, weight in zip(symbols, weights, strict=False)}

    marks = dict(zip(symbols, prices, strict=True))
    portfolio = model_portfolio(target(**shares), marks, {}, EQUITY, AS_OF)

    assert portfolio.cash >= 0
    assert abs(portfolio.equity - EQUITY) <= Decimal("0.01")
