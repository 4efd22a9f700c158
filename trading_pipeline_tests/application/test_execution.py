from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.adapters.storage.objects import FileObjects, StoredPlans
from trading_pipeline.adapters.storage.schemas import table_schema
from trading_pipeline.application.execution import (
    ExecutionReport,
    execute,
    fills_to_frame,
    plan_in_force,
    report,
)
from trading_pipeline.application.working import ENDED
from trading_pipeline.domain.errors import (
    DataError,
    DependencyUnavailable,
    OutsideExecutionWindow,
    RequestRefused,
    TradingHalted,
)
from trading_pipeline.domain.orders import OrderStatus, Refusal, Side
from trading_pipeline.domain.risk.trading_state import TradingMode, TradingState
from trading_pipeline.ports import IntentState
from trading_pipeline_tests.builders import (
    ACCOUNT,
    FILLED,
    INSIDE_WINDOW,
    PRICES,
    RULES,
    SESSION,
    WORKING,
    ScriptedBroker,
    Step,
    Tripwire,
    TurnedClock,
    buy,
    details,
    make_plan,
    make_venue,
    sell,
    states,
)

ROTATION = make_plan(sell("TLT", "10"), sell("GLD", "5"), buy("SPY", "8"), buy("QQQ", "20"))
PARTIAL = Step(OrderStatus.PARTIALLY_FILLED, "0.25")


@pytest.fixture
def venue(tmp_path):
    return make_venue(tmp_path)


def test_the_plan_is_journalled_before_anything_is_sent_then_sells_go_before_buys(venue):
    calls = []

    class Watched(ScriptedBroker):
        def submit(self, intent):
            calls.append((intent.side, [entry.state for entry in venue.journal.entries(ROTATION.plan_id)]))
            return super().submit(intent)

        def order(self, client_order_id):
            assert venue.journal.claimed(ACCOUNT, SESSION) == ROTATION.plan_id
            return super().order(client_order_id)

    watched = Watched(held={"TLT": "10", "GLD": "5"})

    done = execute(ROTATION, replace(venue, broker=watched), RULES)

    assert [side for side, _ in calls] == [Side.SELL, Side.SELL, Side.BUY, Side.BUY]
    assert all(len(journalled) == len(ROTATION.orders) for _, journalled in calls)
    assert [journalled[place] for place, (_, journalled) in enumerate(calls)] == [IntentState.SUBMITTING] * 4
    assert calls[2][1][:2] == [IntentState.FILLED, IntentState.FILLED]
    assert {entry.state for entry in done.entries} == {IntentState.FILLED}
    assert done.unresolved == ()


def test_executing_again_sends_nothing_and_reports_the_same(venue):
    first = execute(ROTATION, venue, RULES)
    count = len(venue.broker.sent)

    again = execute(ROTATION, venue, RULES)

    assert len(venue.broker.sent) == count == 4
    assert again == first


def test_a_plan_without_orders_is_claimed_and_asks_the_broker_for_nothing(venue):
    plan = make_plan()
    wire = Tripwire(1, AssertionError)

    done = execute(plan, replace(venue, broker=wire.around(venue.broker)), RULES)

    assert done == ExecutionReport(plan, ())
    assert venue.journal.claimed(ACCOUNT, SESSION) == plan.plan_id


def test_a_rejection_is_recorded_with_its_code_and_the_other_orders_go_on(venue):
    venue.broker.answers["TLT"] = ["reject"]

    execute(ROTATION, venue, RULES)

    assert states(venue, ROTATION)["TLT"] is IntentState.REJECTED
    assert details(venue, ROTATION)["TLT"] == "40310000: insufficient buying power"
    assert states(venue, ROTATION)["SPY"] is IntentState.FILLED


def test_what_is_filled_in_part_when_time_is_over_is_cancelled_and_says_how_much(venue):
    venue.broker.steps["SPY"] = [WORKING, PARTIAL]
    plan = make_plan(buy("SPY", "8"))

    done = execute(plan, venue, RULES)

    assert len(venue.broker.cancelled) == 1
    assert states(venue, plan) == {"SPY": IntentState.CANCELED}
    assert details(venue, plan) == {"SPY": "canceled, 2 of 8 filled at 100.10"}
    assert [fill.quantity for fill in done.fills] == [2]
    assert sum(venue.clock.waits) >= RULES.order_timeout


def test_a_fill_that_wins_the_race_against_the_cancel_counts(venue):
    class Racing(ScriptedBroker):
        def cancel(self, venue_order_id):
            self._next[venue_order_id.removeprefix("venue-")] = [FILLED]

    broker = Racing()
    broker.steps["SPY"] = [WORKING]
    plan = make_plan(buy("SPY", "8"))

    done = execute(plan, replace(venue, broker=broker), RULES)

    assert states(venue, plan) == {"SPY": IntentState.FILLED}
    assert [fill.quantity for fill in done.fills] == [8]


def test_an_order_that_will_not_end_is_left_to_the_next_run_which_may_end_it(venue):
    venue.broker.steps["SPY"] = [WORKING, PARTIAL]
    venue.broker.deaf_to_cancels = True
    plan = make_plan(buy("SPY", "8"))

    done = execute(plan, venue, RULES)

    assert [entry.state for entry in done.unresolved] == [IntentState.CANCELLING]
    assert details(venue, plan) == {"SPY": "does not end: partially_filled, 2 of 8 filled at 100.10"}

    venue.broker.deaf_to_cancels = False
    execute(plan, venue, RULES)

    assert len(venue.broker.sent) == 1
    assert states(venue, plan) == {"SPY": IntentState.CANCELED}


@pytest.mark.parametrize("failure", [DependencyUnavailable("reset"), RequestRefused("no", "40010000")])
def test_a_cancel_without_an_answer_keeps_no_other_order_from_being_cancelled(venue, failure):
    class Broken(ScriptedBroker):
        def cancel(self, venue_order_id):
            super().cancel(venue_order_id)
            raise failure

    broker = Broken()
    broker.steps |= {"SPY": [WORKING], "QQQ": [WORKING]}
    plan = make_plan(buy("SPY", "8"), buy("QQQ", "8"))

    execute(plan, replace(venue, broker=broker), RULES)

    assert states(venue, plan) == {"SPY": IntentState.CANCELED, "QQQ": IntentState.CANCELED}


@pytest.mark.parametrize("status", OrderStatus)
def test_every_status_is_borne_and_those_that_end_an_order_end_the_intent(venue, status):
    venue.broker.steps["SPY"] = [Step(status, "1" if status is OrderStatus.FILLED else "0")]
    venue.broker.deaf_to_cancels = True
    plan = make_plan(buy("SPY", "8"))

    done = execute(plan, venue, RULES)

    assert states(venue, plan)["SPY"] is ENDED.get(status, IntentState.CANCELLING)
    assert bool(done.unresolved) is not status.is_terminal
    assert status.value in details(venue, plan)["SPY"]


def test_every_terminal_status_ends_an_intent():
    assert set(ENDED) == {status for status in OrderStatus if status.is_terminal}
    assert all(state.is_terminal for state in ENDED.values())


@pytest.mark.parametrize(
    ("order", "price", "reason"),
    [
        (buy("SPY", "8"), "110.01", "quoted at 110.01, beyond the collar at 110"),
        (sell("TLT", "8"), "89.99", "quoted at 89.99, beyond the collar at 90"),
        (sell("SPY", "8"), "100", "no SPY is held any more"),
        (buy("SPY", "8", "20000"), "11000", "no cash left: 10000.00 dollars for SPY at 11011.00"),
    ],
)
def test_what_cannot_be_sent_is_abandoned_with_the_reason(tmp_path, order, price, reason):
    venue = make_venue(tmp_path, prices={order.symbol: price} if price else {})
    plan = make_plan(order)

    execute(plan, venue, RULES)

    assert venue.broker.sent == []
    assert states(venue, plan) == {order.symbol: IntentState.ABANDONED}
    assert details(venue, plan) == {order.symbol: reason}


@pytest.mark.parametrize(
    ("order", "price", "limit"),
    [
        (buy("SPY", "8"), "100", "100.10"),
        (buy("SPY", "8"), "109.95", "110"),
        (buy("SPY", "8"), "110", "110"),
        (sell("TLT", "8"), "100", "99.90"),
        (sell("TLT", "8"), "90.05", "90"),
        (sell("TLT", "8"), "90", "90"),
        (buy("SPY", "8", "0.6"), "0.5", "0.5005"),
        (buy("SPY", "8", None), "100", None),
    ],
)
def test_a_limit_lies_just_beyond_the_quote_and_never_beyond_the_collar(tmp_path, order, price, limit):
    venue = make_venue(tmp_path, prices={order.symbol: price})

    execute(make_plan(order), venue, RULES)

    assert [intent.limit_price for intent in venue.broker.sent] == [None if limit is None else Decimal(limit)]


def test_buys_are_cut_to_the_cash_that_the_sells_brought(tmp_path):
    venue = make_venue(tmp_path, cash="0")
    plan = make_plan(sell("TLT", "10"), buy("SPY", "6.5"), buy("QQQ", "6.5"))

    execute(plan, venue, RULES)

    bought = {intent.symbol: intent.quantity for intent in venue.broker.sent if intent.side is Side.BUY}
    assert bought["SPY"] == Decimal("6.5")
    assert bought["QQQ"] == pytest.approx(Decimal("999") / Decimal("100.10") - Decimal("6.5"), abs=Decimal("0.001"))
    assert states(venue, plan)["QQQ"] is IntentState.FILLED
    assert 0 <= venue.broker.cash < 1


def test_whole_shares_stay_whole_when_they_are_cut(tmp_path):
    venue = make_venue(tmp_path, cash="550")

    execute(make_plan(buy("SPY", "6")), venue, RULES)

    assert [intent.quantity for intent in venue.broker.sent] == [5]


def test_a_buy_without_a_limit_leaves_the_margin_that_the_broker_sets_aside(tmp_path):
    venue = make_venue(tmp_path, cash="1050.01")

    execute(make_plan(buy("SPY", "20", None)), venue, RULES)

    assert [intent.quantity for intent in venue.broker.sent] == [10]


def test_a_buy_without_a_limit_takes_its_cash_from_the_next(tmp_path):
    venue = make_venue(tmp_path, cash="1000")
    plan = make_plan(buy("SPY", "9", None), buy("QQQ", "9", None))

    execute(plan, venue, RULES)

    assert states(venue, plan) == {"SPY": IntentState.FILLED, "QQQ": IntentState.ABANDONED}


def test_no_more_is_sold_than_is_held(tmp_path):
    venue = make_venue(tmp_path, held={"TLT": "4.25"})

    execute(make_plan(sell("TLT", "10")), venue, RULES)

    assert [intent.quantity for intent in venue.broker.sent] == [Decimal("4.25")]


@given(
    cash=st.decimals(0, 5000, places=2),
    quantities=st.lists(st.decimals("0.5", 30, places=3), min_size=1, max_size=4),
    answers=st.lists(st.sampled_from(["accept", "lose", "drop", "late"]), min_size=4, max_size=4),
)
def test_a_strict_cash_account_never_refuses_a_buy(tmp_path_factory, cash, quantities, answers):
    symbols = list(PRICES)[: len(quantities)]
    plan = make_plan(*(buy(symbol, quantity) for symbol, quantity in zip(symbols, quantities, strict=True)))
    venue = make_venue(tmp_path_factory.mktemp("venue"), cash=str(cash), held={})
    venue.broker.answers |= {symbol: [answer] for symbol, answer in zip(symbols, answers, strict=False)}

    execute(plan, venue, RULES)

    assert set(states(venue, plan).values()) <= {IntentState.FILLED, IntentState.ABANDONED}
    assert venue.broker.cash >= 0
    assert all(len([i for i in venue.broker.sent if i.symbol == symbol]) <= 2 for symbol in symbols)


HALTED = TradingState(TradingMode.HALTED, "drawdown")


def test_a_halted_state_stops_before_the_sells(venue):
    venue.trading_state.write(HALTED)

    with pytest.raises(TradingHalted, match="trading is halted: drawdown"):
        execute(ROTATION, venue, RULES)

    assert venue.broker.sent == []
    assert set(states(venue, ROTATION).values()) == {IntentState.PLANNED}


def test_a_halt_during_the_sells_stops_the_buys(venue):
    class Halting(ScriptedBroker):
        def cancel(self, venue_order_id):
            super().cancel(venue_order_id)
            venue.trading_state.write(TradingState(TradingMode.HALTED))

    broker = Halting(held={"TLT": "10", "GLD": "5"})
    broker.steps["TLT"] = [WORKING]

    with pytest.raises(TradingHalted, match="no reason given"):
        execute(ROTATION, replace(venue, broker=broker), RULES)

    assert [intent.side for intent in broker.sent] == [Side.SELL, Side.SELL]
    assert states(venue, ROTATION)["SPY"] is IntentState.PLANNED


def test_while_trading_is_halted_orders_that_exist_are_still_brought_to_their_end(venue):
    venue.journal.claim(ROTATION, INSIDE_WINDOW)
    venue.broker.submit(ROTATION.orders[0])
    venue.trading_state.write(HALTED)

    with pytest.raises(TradingHalted):
        execute(ROTATION, venue, RULES)

    assert states(venue, ROTATION)["TLT"] is IntentState.FILLED
    assert len(venue.broker.sent) == 1


def test_a_blocked_account_stops_with_the_brokers_reason(venue):
    venue.broker.blocked = "trading_blocked"

    with pytest.raises(TradingHalted, match="trading_blocked"):
        execute(ROTATION, venue, RULES)

    assert venue.broker.sent == []


def test_orders_never_go_to_another_account_than_the_plans(venue):
    venue.broker.account = "LIVE0002"

    with pytest.raises(TradingHalted, match=r"plan is of account SIM0001.*LIVE0002"):
        execute(ROTATION, venue, RULES)

    assert venue.broker.sent == []


@pytest.mark.parametrize(
    ("instant", "allowed"),
    [
        (datetime(2026, 7, 31, 13, 30, 59, tzinfo=UTC), False),
        (datetime(2026, 7, 31, 13, 31, tzinfo=UTC), True),
        (datetime(2026, 7, 31, 19, 44, 50, tzinfo=UTC), True),
        (datetime(2026, 7, 31, 19, 45, tzinfo=UTC), False),
        (datetime(2026, 7, 30, 15, 0, tzinfo=UTC), False),
        (datetime(2026, 8, 3, 15, 0, tzinfo=UTC), False),
    ],
)
def test_orders_are_placed_inside_the_window_only(tmp_path, instant, allowed):
    venue = make_venue(tmp_path, clock=TurnedClock(instant))

    if allowed:
        execute(ROTATION, venue, RULES)
    else:
        with pytest.raises(OutsideExecutionWindow, match="2026-07-31T13:31"):
            execute(ROTATION, venue, RULES)

    assert bool(venue.broker.sent) is allowed
    assert (venue.journal.claimed(ACCOUNT, SESSION) is not None) is allowed


def test_when_the_window_ends_during_the_sells_no_buy_is_sent(tmp_path):
    venue = make_venue(tmp_path, clock=TurnedClock(datetime(2026, 7, 31, 19, 44, 55, tzinfo=UTC)))
    venue.broker.steps["TLT"] = [WORKING]

    done = execute(ROTATION, venue, RULES)

    assert {intent.side for intent in venue.broker.sent} == {Side.SELL}
    assert {fill.symbol for fill in done.fills} == {"GLD"}
    assert {states(venue, ROTATION)[symbol] for symbol in ("SPY", "QQQ")} == {IntentState.PLANNED}


def test_a_plan_that_was_begun_is_settled_and_reported_after_its_window_and_nothing_is_sent(venue):
    venue.broker.answers["SPY"] = [Refusal.HALTED]
    execute(ROTATION, venue, RULES)
    sent = len(venue.broker.sent)
    venue.clock.instant = datetime(2026, 7, 31, 19, 50, tzinfo=UTC)

    done = execute(ROTATION, venue, RULES)

    assert len(venue.broker.sent) == sent
    assert len(done.fills) == 3
    assert states(venue, ROTATION)["SPY"] is IntentState.ABANDONED


def test_a_hypothetical_plan_is_never_executed(venue):
    plan = replace(ROTATION, hypothetical=True)

    with pytest.raises(OutsideExecutionWindow, match="hypothetical"):
        execute(plan, venue, RULES)

    assert venue.journal.claimed(ACCOUNT, SESSION) is None


def test_the_plan_that_comes_second_is_not_executed(venue):
    execute(ROTATION, venue, RULES)
    late = make_plan(buy("SPY", "1", plan_id="2026-07-30.2"), version=2)

    with pytest.raises(DataError, match=r"plan 2026-07-30\.1 .* is being executed; plan 2026-07-30\.2 came too late"):
        execute(late, venue, RULES)


def test_the_report_lists_the_fills_of_the_plan_and_no_others(venue):
    other = make_plan(buy("SPY", "1", plan_id="2026-07-29.1"), session=SESSION.replace(day=29))
    venue.broker.submit(other.orders[0])
    for _ in range(2):
        venue.broker.order(other.orders[0].client_order_id)
    assert len(venue.broker.fills) == 1

    done = execute(ROTATION, venue, RULES)

    assert sorted(fill.symbol for fill in done.fills) == ["GLD", "QQQ", "SPY", "TLT"]
    assert report(ROTATION, venue) == done


def test_fills_are_rows_of_their_table(venue):
    frame = fills_to_frame(execute(ROTATION, venue, RULES))

    assert list(frame.columns) == list(table_schema("fills").columns)
    assert set(frame["plan_id"]) == {ROTATION.plan_id}
    assert set(frame["session"]) == {SESSION}
    assert set(frame["execution_session"]) == {ROTATION.execution_session}
    row = frame[frame["symbol"] == "TLT"].iloc[0]
    assert (row["side"], row["quantity"], row["price"]) == ("sell", Decimal(10), Decimal("99.90"))
    assert row["filled_at"].to_pydatetime() > INSIDE_WINDOW


def test_no_fills_are_a_frame_with_every_column():
    frame = fills_to_frame(ExecutionReport(ROTATION, ()))

    assert frame.empty
    assert list(frame.columns) == list(table_schema("fills").columns)


@pytest.fixture
def plans(tmp_path):
    return StoredPlans(FileObjects(tmp_path / "objects"))


def test_the_newest_plan_trades_until_one_is_claimed(plans, venue):
    assert plan_in_force(plans, venue.journal, ACCOUNT, SESSION) is None
    first, second, third = (make_plan(version=version) for version in (1, 2, 3))
    for plan in (first, second, third):
        plans.put_if_absent(plan)
    assert plan_in_force(plans, venue.journal, ACCOUNT, SESSION) == third

    venue.journal.claim(second, INSIDE_WINDOW)

    assert plan_in_force(plans, venue.journal, ACCOUNT, SESSION) == second


def test_a_claimed_plan_that_the_store_lacks_is_an_error(plans):
    journal = SimpleNamespace(claimed=lambda account, session: "2026-07-30.9")

    with pytest.raises(DataError, match=r"2026-07-30\.9 .*which the plan store lacks"):
        plan_in_force(plans, journal, ACCOUNT, SESSION)
