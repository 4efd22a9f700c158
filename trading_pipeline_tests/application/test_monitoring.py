from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.application.monitoring import LATE_IN, Moment, OverdueKind, ServiceLevels, overdue
from trading_pipeline.domain.orders import BrokerOrder, OrderStatus, Side, client_order_id
from trading_pipeline.ports import IntentState, JournalEntry

OPEN = datetime(2026, 7, 31, 13, 30, tzinfo=UTC)
WINDOW_END = datetime(2026, 7, 31, 19, 45, tzinfo=UTC)
NOW = datetime(2026, 7, 31, 14, 0, tzinfo=UTC)
# The simulated session of the thirty-first is traded on another day.
MACHINE_NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
INSIDE = Moment(NOW, MACHINE_NOW, OPEN, WINDOW_END)
AT_NIGHT = Moment(WINDOW_END + timedelta(hours=5), MACHINE_NOW, None, WINDOW_END)
LEVELS = ServiceLevels(
    acknowledge=timedelta(seconds=10),
    pending=timedelta(seconds=30),
    partial=timedelta(seconds=120),
    cancel=timedelta(seconds=40),
)
SPY = client_order_id("SIM1", "2026-07-30.1", "SPY", Side.BUY)
NEXT_SLICE = client_order_id("SIM1", "2026-07-30.1", "SPY", Side.BUY, 1)
TLT = client_order_id("SIM1", "2026-07-30.1", "TLT", Side.SELL)
SYMBOLS = {SPY: "SPY", TLT: "TLT"}


def ago(seconds, now=NOW):
    return now - timedelta(seconds=seconds)


def entry(state, seconds_ago=1000, name=SPY, order_id=None, detail=""):
    """Return a line that the machine wrote so long ago; by the broker's clock its step began before the open."""
    written = ago(seconds_ago, MACHINE_NOW)
    before = OPEN - timedelta(hours=1)
    decided = date(2026, 7, 30)
    return JournalEntry(name, f"{decided}.1", state, detail, before, order_id or name, written, "SIM0001", decided)


def order(status, seconds_ago=1000, name=SPY, symbol="SPY"):
    return BrokerOrder(
        name, f"venue-{name}", symbol, Side.BUY, Decimal(10), Decimal(4), Decimal(600), Decimal(610),
        status, ago(seconds_ago),
    )  # fmt: skip


def look(history=(), orders=(), moment=INSIDE):
    return overdue(history, orders, SYMBOLS, moment, LEVELS)


def kinds(*arguments, **named):
    return [late.kind for late in look(*arguments, **named)]


ACKNOWLEDGED = [entry(IntentState.SUBMITTING), entry(IntentState.ACKNOWLEDGED, 999)]


def test_every_status_of_a_broker_is_judged():
    assert set(LATE_IN) == set(OrderStatus)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (OrderStatus.NEW, []),
        (OrderStatus.PARTIALLY_FILLED, [OverdueKind.PARTIALLY_FILLED]),
        (OrderStatus.FILLED, []),
        (OrderStatus.DONE_FOR_DAY, []),
        (OrderStatus.CANCELED, []),
        (OrderStatus.EXPIRED, []),
        (OrderStatus.REPLACED, []),
        (OrderStatus.PENDING_CANCEL, [OverdueKind.CANCELLING]),
        (OrderStatus.PENDING_REPLACE, [OverdueKind.PENDING]),
        (OrderStatus.PENDING_REVIEW, [OverdueKind.PENDING]),
        (OrderStatus.ACCEPTED, [OverdueKind.PENDING]),
        (OrderStatus.PENDING_NEW, [OverdueKind.PENDING]),
        (OrderStatus.ACCEPTED_FOR_BIDDING, [OverdueKind.PENDING]),
        (OrderStatus.STOPPED, [OverdueKind.PENDING]),
        (OrderStatus.REJECTED, []),
        (OrderStatus.SUSPENDED, [OverdueKind.PENDING]),
        (OrderStatus.CALCULATED, []),
        (OrderStatus.HELD, [OverdueKind.PENDING]),
        (OrderStatus.UNRECOGNISED, [OverdueKind.UNKNOWN_STATUS]),
    ],
)
def test_an_acknowledged_order_that_stands_still_is_late_in_what_its_status_says(status, expected):
    assert kinds(ACKNOWLEDGED, [order(status)]) == expected


@pytest.mark.parametrize(
    ("status", "limit"),
    [(OrderStatus.PENDING_NEW, 30), (OrderStatus.PARTIALLY_FILLED, 120), (OrderStatus.PENDING_CANCEL, 40)],
)
def test_an_order_is_late_beyond_its_service_level_and_not_before(status, limit):
    assert look(ACKNOWLEDGED, [order(status, limit)]) == []

    late = look(ACKNOWLEDGED, [order(status, limit + 1)])

    assert [(each.client_order_id, each.symbol, each.since, each.limit) for each in late] == [
        (SPY, "SPY", ago(limit + 1), timedelta(seconds=limit))
    ]
    assert f"is {status} at the broker, 4 of 10 shares filled, after {limit + 1} s." in late[0].text


def test_an_unknown_status_is_told_at_once():
    assert kinds(ACKNOWLEDGED, [order(OrderStatus.UNRECOGNISED, 0)]) == [OverdueKind.UNKNOWN_STATUS]


def test_an_order_that_waits_for_the_open_is_not_pending_for_too_long():
    waiting = order(OrderStatus.ACCEPTED, 3600)
    before_the_open = replace(INSIDE, now=OPEN - timedelta(seconds=1), opened_at=None)
    just_opened = replace(INSIDE, now=OPEN + timedelta(seconds=30))

    assert look(ACKNOWLEDGED, [waiting], before_the_open) == []
    assert look(ACKNOWLEDGED, [waiting], just_opened) == []
    late = look(ACKNOWLEDGED, [waiting], replace(just_opened, now=OPEN + timedelta(seconds=31)))
    assert [(each.kind, each.since) for each in late] == [(OverdueKind.PENDING, OPEN)]


@pytest.mark.parametrize(("seconds", "expected"), [(10, []), (11, [OverdueKind.UNACKNOWLEDGED])])
def test_an_order_that_was_sent_and_is_not_at_the_broker_is_unacknowledged_by_this_machines_clock(seconds, expected):
    late = look([entry(IntentState.PLANNED), entry(IntentState.SUBMITTING, seconds)])

    assert [each.kind for each in late] == expected
    assert all(each.since == ago(seconds, MACHINE_NOW) and each.symbol == "SPY" for each in late)


def test_sending_again_or_doubting_does_not_start_the_clock_anew():
    history = [entry(IntentState.SUBMITTING, 60), entry(IntentState.SUBMITTING, 5), entry(IntentState.SUBMITTING, 1)]

    assert [late.since for late in look(history)] == [ago(60, MACHINE_NOW)]


def test_the_next_order_of_an_intent_has_a_clock_of_its_own():
    history = [*ACKNOWLEDGED, entry(IntentState.SUBMITTING, 5, order_id=NEXT_SLICE)]

    assert look(history, [order(OrderStatus.CANCELED)]) == []
    assert [late.client_order_id for late in look([*history[:-1], replace(history[-1], written_at=OPEN)])] == [
        NEXT_SLICE
    ]


def test_an_order_that_the_broker_shows_is_acknowledged_whatever_the_journal_says():
    assert look([entry(IntentState.SUBMITTING)], [order(OrderStatus.NEW)]) == []


@pytest.mark.parametrize("state", [IntentState.CANCELLING, IntentState.REPRICING])
@pytest.mark.parametrize("status", [OrderStatus.NEW, OrderStatus.PENDING_CANCEL, OrderStatus.PARTIALLY_FILLED, None])
def test_a_cancel_that_does_not_come_is_late_counted_from_when_it_was_asked_for(state, status):
    orders = [] if status is None else [order(status)]

    assert look([*ACKNOWLEDGED, entry(state, 40)], orders) == []
    late = look([*ACKNOWLEDGED, entry(IntentState.REPRICING, 41), entry(state, 5)], orders)
    assert [(each.kind, each.since) for each in late] == [(OverdueKind.CANCELLING, ago(41, MACHINE_NOW))]


def test_a_cancel_that_came_is_not_late_though_the_journal_has_not_heard_of_it():
    assert look([*ACKNOWLEDGED, entry(IntentState.CANCELLING)], [order(OrderStatus.CANCELED)]) == []


def test_an_unknown_status_of_an_order_in_cancel_is_told_beside_the_cancel():
    history = [*ACKNOWLEDGED, entry(IntentState.CANCELLING)]

    assert kinds(history, [order(OrderStatus.UNRECOGNISED)]) == [OverdueKind.UNKNOWN_STATUS, OverdueKind.CANCELLING]


@pytest.mark.parametrize("state", [state for state in IntentState if not state.is_terminal])
def test_an_intent_that_is_open_after_its_window_is_unfinished(state):
    history = [entry(state, 0, detail="halted")]

    assert look(history, moment=replace(INSIDE, now=WINDOW_END + timedelta(seconds=30))) == []
    late = look(history, moment=replace(INSIDE, now=WINDOW_END + timedelta(seconds=31)))
    assert [(each.kind, each.since, each.client_order_id) for each in late] == [
        (OverdueKind.UNFINISHED, WINDOW_END, SPY)
    ]
    assert f"is {state} (halted) and its execution window ended at 2026-07-31T19:45" in late[0].text


@pytest.mark.parametrize("state", [state for state in IntentState if state.is_terminal])
def test_an_intent_that_has_ended_is_never_late(state):
    assert look([*ACKNOWLEDGED, entry(state)], moment=AT_NIGHT) == []


def test_an_order_of_ours_that_the_journal_does_not_know_is_told_first():
    stranger = order(OrderStatus.ACCEPTED, name=TLT, symbol="TLT")

    late = look(ACKNOWLEDGED, [order(OrderStatus.ACCEPTED), stranger])

    assert [(each.kind, each.symbol) for each in late] == [
        (OverdueKind.UNJOURNALLED, "TLT"),
        (OverdueKind.PENDING, "SPY"),
        (OverdueKind.PENDING, "TLT"),
    ]


def test_a_later_order_of_an_intent_is_known_by_the_line_that_sent_it():
    sent = entry(IntentState.SUBMITTING, 1, order_id=NEXT_SLICE)

    assert look([*ACKNOWLEDGED, sent], [order(OrderStatus.NEW, name=NEXT_SLICE)]) == []
    assert kinds(ACKNOWLEDGED, [order(OrderStatus.NEW, name=NEXT_SLICE)]) == [OverdueKind.UNJOURNALLED]


def test_orders_that_are_not_ours_are_passed_over():
    by_hand = [order(status, name=f"by-hand-{status}") for status in OrderStatus]

    assert look((), by_hand) == []


def test_an_unknown_order_that_is_over_is_not_told():
    assert look((), [order(OrderStatus.FILLED, name=TLT)]) == []


OF_ONE_ORDER = st.sampled_from([(SPY, SPY), (SPY, NEXT_SLICE), (TLT, TLT)])
ENTRIES = st.builds(
    lambda state, seconds_ago, names: entry(state, seconds_ago, *names),
    st.sampled_from(IntentState),
    st.integers(0, 500),
    OF_ONE_ORDER,
)
ORDERS = st.builds(
    order, st.sampled_from(OrderStatus), st.integers(0, 500), st.sampled_from([SPY, TLT, NEXT_SLICE, "x"])
)


@given(
    st.lists(ENTRIES, max_size=8),
    st.lists(ORDERS, max_size=4, unique_by=lambda each: each.client_order_id),
    st.sampled_from([INSIDE, AT_NIGHT]),
)
def test_whatever_is_journalled_and_listed_is_judged_once_a_kind_and_in_order(history, orders, moment):
    late = look(history, orders, moment)

    named = [(each.kind, each.client_order_id) for each in late]
    assert len(set(named)) == len(named)
    assert [list(OverdueKind).index(kind) for kind, _ in named] == sorted(
        list(OverdueKind).index(kind) for kind, _ in named
    )
    limits = {LEVELS.acknowledge, LEVELS.pending, LEVELS.partial, LEVELS.cancel, timedelta(0)}
    assert {each.limit for each in late} <= limits


@pytest.mark.parametrize(("state", "status"), list(product(IntentState, OrderStatus)))
def test_each_state_of_an_intent_with_each_status_of_its_order_is_judged(state, status):
    history = [*ACKNOWLEDGED, entry(state)]
    found = set(kinds(history, [order(status)], AT_NIGHT))

    assert (OverdueKind.UNFINISHED in found) == (not state.is_terminal)
    assert (OverdueKind.UNKNOWN_STATUS in found) == (status is OrderStatus.UNRECOGNISED)
    is_cancelling = state in {IntentState.CANCELLING, IntentState.REPRICING} and not status.is_terminal
    assert (OverdueKind.CANCELLING in found) == (is_cancelling or status is OrderStatus.PENDING_CANCEL)
