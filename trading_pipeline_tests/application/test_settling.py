from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from trading_pipeline.application.execution import execute, settle
from trading_pipeline.domain.errors import DependencyUnavailable
from trading_pipeline.domain.orders import OrderStatus, Refusal, Side, client_order_id
from trading_pipeline.ports import Attempt, IntentState
from trading_pipeline_tests.builders import (
    ACCOUNT,
    INSIDE_WINDOW,
    RULES,
    WORKING,
    ScriptedBroker,
    Step,
    buy,
    details,
    make_plan,
    make_venue,
    states,
)

WINDOW_ENDS = datetime(2026, 7, 31, 19, 45, tzinfo=UTC)
CLOSE = datetime(2026, 7, 31, 20, 0, tzinfo=UTC)
PLAN = make_plan(buy("SPY", "8"))
NAME = PLAN.orders[0].client_order_id


@pytest.fixture
def venue(tmp_path):
    venue = make_venue(tmp_path)
    venue.journal.claim(PLAN, INSIDE_WINDOW)
    return venue


def journalled(venue, state, order_id=NAME):
    venue.journal.record(NAME, state, "", INSIDE_WINDOW, Attempt(order_id))


@pytest.mark.parametrize("parked", [False, True])
def test_what_was_never_sent_is_abandoned_when_the_window_ends_and_not_before(venue, parked):
    if parked:
        journalled(venue, IntentState.PARKED)

    assert len(settle(venue, RULES, WINDOW_ENDS.replace(minute=44), ACCOUNT)) == 1
    assert settle(venue, RULES, WINDOW_ENDS, ACCOUNT) == []
    assert states(venue, PLAN) == {"SPY": IntentState.ABANDONED}
    assert details(venue, PLAN) == {"SPY": "the execution window ended before it was sent"}


def test_what_was_sent_and_never_seen_is_watched_until_the_close_and_then_abandoned(venue):
    journalled(venue, IntentState.SUBMITTING)

    assert len(settle(venue, RULES, CLOSE.replace(hour=19, minute=59), ACCOUNT)) == 1
    assert settle(venue, RULES, CLOSE, ACCOUNT) == []
    assert details(venue, PLAN) == {"SPY": "sent, and not at the broker when the session closed"}


def test_an_order_that_arrived_late_is_recorded_as_it_ended(venue):
    venue.broker.steps["SPY"] = [Step(OrderStatus.EXPIRED, "0.25")]
    venue.broker.submit(PLAN.orders[0])
    journalled(venue, IntentState.SUBMITTING)

    assert settle(venue, RULES, CLOSE, ACCOUNT) == []
    assert states(venue, PLAN) == {"SPY": IntentState.EXPIRED}
    assert details(venue, PLAN) == {"SPY": "expired, 2 of 8 filled"}


def test_the_order_that_is_asked_for_is_the_last_slice(venue):
    venue.broker.submit(replace(PLAN.orders[0], client_order_id="slice-2"))
    journalled(venue, IntentState.ACKNOWLEDGED, "slice-2")

    settle(venue, RULES, CLOSE, ACCOUNT)
    settle(venue, RULES, CLOSE, ACCOUNT)

    assert venue.broker.cancelled == ["venue-slice-2"]


@pytest.mark.parametrize("deaf", [False, True])
def test_an_order_that_works_on_after_its_session_is_cancelled_and_watched(venue, deaf):
    venue.broker.steps["SPY"] = [WORKING]
    venue.broker.deaf_to_cancels = deaf
    venue.broker.submit(PLAN.orders[0])
    journalled(venue, IntentState.ACKNOWLEDGED)

    assert [entry.state for entry in settle(venue, RULES, CLOSE, ACCOUNT)] == [IntentState.CANCELLING]
    for _ in range(3):
        left = settle(venue, RULES, CLOSE, ACCOUNT)

    assert bool(left) is deaf
    assert states(venue, PLAN) == {"SPY": IntentState.CANCELLING if deaf else IntentState.CANCELED}


def test_a_cancel_without_an_answer_leaves_the_order_to_the_next_look(venue):
    class Deaf(ScriptedBroker):
        def cancel(self, venue_order_id):
            raise DependencyUnavailable("reset")

    broker = Deaf()
    broker.steps["SPY"] = [WORKING]
    broker.submit(PLAN.orders[0])
    journalled(venue, IntentState.ACKNOWLEDGED)

    assert len(settle(replace(venue, broker=broker), RULES, CLOSE, ACCOUNT)) == 1


def test_executing_the_next_plan_settles_what_the_last_one_left(venue):
    venue.broker.answers["SPY"] = [Refusal.HALTED]
    execute(PLAN, venue, RULES)
    session = PLAN.execution_session
    following = make_plan(buy("SPY", "8", plan_id=f"{session}.1"), session=session)
    venue.clock.instant = datetime(2026, 8, 3, 14, 0, tzinfo=UTC)

    execute(following, venue, replace(RULES, quote_age=RULES.quote_age * 100))

    assert states(venue, PLAN) == {"SPY": IntentState.ABANDONED}


@pytest.mark.parametrize("day", [datetime(2026, 8, 1, 15, 0, tzinfo=UTC), datetime(2026, 8, 2, 1, 0, tzinfo=UTC)])
def test_what_does_not_end_is_looked_at_on_any_day_and_asked_to_end_under_one_line(venue, day):
    venue.broker.steps["SPY"] = [Step(OrderStatus.HELD)]
    venue.broker.deaf_to_cancels = True
    venue.broker.submit(PLAN.orders[0])
    journalled(venue, IntentState.ACKNOWLEDGED)

    for _ in range(3):
        assert len(settle(venue, RULES, day, ACCOUNT)) == 1

    states_told = [entry.state for entry in venue.journal.history(PLAN.plan_id)]
    assert states_told.count(IntentState.CANCELLING) == 1
    assert len(venue.broker.cancelled) == 3


def test_orders_of_another_account_are_left_alone(venue):
    journalled(venue, IntentState.SUBMITTING)

    assert settle(venue, RULES, CLOSE, "SIM0002") == []
    assert states(venue, PLAN) == {"SPY": IntentState.SUBMITTING}


def test_what_was_filled_before_the_rest_was_parked_is_told(tmp_path):
    venue, halts = make_venue(tmp_path), iter([{}, {"SPY": "halted"}, {"SPY": "halted"}])
    venue.broker.steps["SPY"] = [Step(OrderStatus.PARTIALLY_FILLED, "0.75")]
    stopped = replace(venue, stopped=lambda _symbols: next(halts))
    execute(PLAN, stopped, replace(RULES, max_reprices=2))
    assert states(venue, PLAN) == {"SPY": IntentState.PARKED}

    settle(venue, RULES, CLOSE, ACCOUNT)

    assert states(venue, PLAN) == {"SPY": IntentState.ABANDONED}
    assert details(venue, PLAN) == {"SPY": "6 filled; the execution window ended before the rest was sent"}


def test_what_earlier_orders_filled_is_told_with_how_the_last_one_ended(venue):
    first, second = (client_order_id(ACCOUNT, PLAN.plan_id, "SPY", Side.BUY, number) for number in (0, 1))
    for name, quantity, step in (
        (first, 8, Step(OrderStatus.CANCELED, "0.75")),
        (second, 2, Step(OrderStatus.REJECTED, "0")),
    ):
        venue.broker.steps["SPY"] = [step]
        venue.broker.submit(replace(PLAN.orders[0], client_order_id=name, quantity=Decimal(quantity)))
        venue.broker.order(name)
        journalled(venue, IntentState.SUBMITTING, name)

    settle(venue, RULES, CLOSE, ACCOUNT)

    assert details(venue, PLAN) == {"SPY": "rejected, 6 of 8 filled"}
