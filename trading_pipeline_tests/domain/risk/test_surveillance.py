from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.fills import Fill
from trading_pipeline.domain.orders import Side
from trading_pipeline.domain.risk.surveillance import (
    OrderEvent,
    OrderEventKind,
    SurveillanceRules,
    SymbolLock,
    fill_events,
    symbol_locks,
)
from trading_pipeline.domain.sessions import NEW_YORK, close_of, next_session, sessions_between

BUY, SELL = Side.BUY, Side.SELL
THURSDAY, FRIDAY, MONDAY = date(2026, 7, 30), date(2026, 7, 31), date(2026, 8, 3)
HALF_DAY = date(2026, 11, 27)
sessions = st.sampled_from(sessions_between(date(2026, 7, 1), date(2026, 7, 31)))


def at(text, day=FRIDAY):
    return datetime.combine(day, time.fromisoformat(text), NEW_YORK).astimezone(UTC)


def traded(*texts, day=FRIDAY, symbol="TQQQ", first=BUY):
    """Trades at the times named, each on the other side than the one before."""
    other = SELL if first is BUY else BUY
    return [OrderEvent(symbol, (first, other)[n % 2], at(text, day)) for n, text in enumerate(texts)]


def failed(*texts, kind=OrderEventKind.REJECTED, day=FRIDAY):
    return [OrderEvent("TQQQ", BUY, at(text, day), kind) for text in texts]


FOUR_REVERSALS = ("10:00", "10:10", "10:20", "10:30", "10:40")
SIX_FAILURES = ("10:00", "10:02", "10:04", "10:06", "10:08", "10:10")
REVERSALS = "more than 3 reversals in 2 sessions"
FAILURES = "more than 5 orders canceled or rejected in 0:10:00"


def locked(events, now, rules=None):
    return [lock.symbol for lock in symbol_locks(events, now, rules)]


def test_a_symbol_that_is_traded_to_and_fro_too_often_is_locked_until_the_close():
    (lock,) = symbol_locks(traded(*FOUR_REVERSALS), at("10:41"))

    assert lock == SymbolLock("TQQQ", REVERSALS, close_of(FRIDAY))


def test_one_reversal_fewer_locks_nothing():
    assert locked(traded(*FOUR_REVERSALS[:-1]), at("10:41")) == []


def test_a_lock_begins_with_the_event_that_breaks_the_rule_and_ends_at_the_close():
    events = traded(*FOUR_REVERSALS)

    assert locked(events, at("10:39")) == []
    assert locked(events, at("10:40")) == ["TQQQ"]
    assert locked(events, close_of(FRIDAY) - timedelta(seconds=1)) == ["TQQQ"]
    assert locked(events, close_of(FRIDAY)) == []


def test_on_half_days_a_lock_ends_at_the_early_close():
    (lock,) = symbol_locks(traded(*FOUR_REVERSALS, day=HALF_DAY), at("11:00", HALF_DAY))

    assert lock.until == at("13:00", HALF_DAY)


@pytest.mark.parametrize(("count", "until"), [(1, FRIDAY), (2, MONDAY), (3, date(2026, 8, 4))])
def test_a_lock_lasts_for_as_many_sessions_as_the_rules_say(count, until):
    (lock,) = symbol_locks(traded(*FOUR_REVERSALS), at("10:41"), SurveillanceRules(lock_sessions=count))

    assert lock.until == close_of(until)


def test_what_happens_after_the_close_locks_the_next_session():
    (lock,) = symbol_locks(traded("16:01", "16:02", "16:03", "16:04", "16:05"), at("17:00"))

    assert lock.until == close_of(MONDAY)


def test_reversals_count_over_the_sessions_of_the_window_and_no_longer():
    two_sessions = traded("10:00", "11:00", "12:00", day=THURSDAY) + traded("10:00", "11:00", first=SELL)
    over_three = traded("10:00", "11:00", "12:00", day=date(2026, 7, 29)) + traded("10:00", "11:00", first=SELL)

    assert locked(two_sessions, at("11:00")) == ["TQQQ"]
    assert locked(over_three, at("11:00")) == []


def test_a_weekend_does_not_make_the_window_longer():
    events = traded("10:00", "11:00", "12:00", day=FRIDAY) + traded("10:00", "11:00", day=MONDAY, first=SELL)

    assert locked(events, at("11:00", MONDAY)) == ["TQQQ"]


def test_many_trades_of_one_side_are_no_reversals():
    events = [OrderEvent("TQQQ", SELL, at("10:00") + timedelta(minutes=n)) for n in range(50)]

    assert locked(events, at("11:00")) == []


def test_a_reversal_during_a_lock_makes_it_last_longer():
    events = traded(*FOUR_REVERSALS) + traded("10:00", day=MONDAY, first=SELL)

    (lock,) = symbol_locks(events, at("10:01", MONDAY))

    assert lock.until == close_of(MONDAY)


def test_each_symbol_is_locked_for_its_own_trades():
    apart = traded(*FOUR_REVERSALS[:3]) + traded(*FOUR_REVERSALS[:3], symbol="SQQQ")
    both = traded(*FOUR_REVERSALS) + traded(*FOUR_REVERSALS, symbol="SQQQ")

    assert locked(apart, at("11:00")) == []
    assert locked(both, at("11:00")) == ["SQQQ", "TQQQ"]


@pytest.mark.parametrize("kind", [OrderEventKind.CANCELED, OrderEventKind.REJECTED])
def test_a_symbol_whose_orders_fail_too_often_in_a_short_time_is_locked(kind):
    (lock,) = symbol_locks(failed(*SIX_FAILURES, kind=kind), at("10:11"))

    assert lock == SymbolLock("TQQQ", FAILURES, close_of(FRIDAY))


def test_failures_that_are_fewer_or_further_apart_lock_nothing():
    assert locked(failed(*SIX_FAILURES[:-1]), at("10:11")) == []
    assert locked(failed(*SIX_FAILURES[:-1], "10:10:01"), at("10:11")) == []


def test_failed_orders_are_no_trades_and_reverse_nothing():
    buys = [OrderEvent("TQQQ", BUY, at(f"10:{minute}0")) for minute in range(5)]
    failures = [OrderEvent("TQQQ", SELL, at(f"10:{minute}5"), OrderEventKind.CANCELED) for minute in range(5)]

    assert locked(buys + failures, at("11:00")) == []


def test_of_two_locks_the_one_that_ends_later_is_told():
    early_failures, late_failures = failed(*SIX_FAILURES), failed(*SIX_FAILURES, day=MONDAY)
    early_reversals, late_reversals = traded(*FOUR_REVERSALS), traded(*FOUR_REVERSALS, day=MONDAY)
    now = at("10:50", MONDAY)

    assert [lock.reason for lock in symbol_locks(early_failures + late_reversals, now)] == [REVERSALS]
    assert [lock.reason for lock in symbol_locks(early_reversals + late_failures, now)] == [FAILURES]


def test_trades_of_one_instant_reverse_as_seldom_as_they_can():
    events = [OrderEvent("TQQQ", side, at("10:00")) for side in (BUY, SELL) * 5]

    assert locked(events, at("10:01")) == locked(events[::-1], at("10:01")) == []


def test_executions_are_trades():
    fills = [
        Fill(str(n), f"o{n}", event.symbol, event.side, Decimal(1), Decimal(10), Decimal(0), event.at)
        for n, event in enumerate(traded(*FOUR_REVERSALS))
    ]

    assert fill_events(fills) == tuple(traded(*FOUR_REVERSALS))
    assert locked(fill_events(fills), at("11:00")) == ["TQQQ"]


@given(st.dictionaries(sessions, st.lists(st.sampled_from(Side), min_size=2, max_size=2)), st.booleans())
def test_a_strategy_that_decides_once_a_session_is_never_locked(days, ascending):
    events = [OrderEvent("TQQQ", sides[0], at("15:45", day)) for day, sides in days.items()]
    events += [OrderEvent("TQQQ", event.side, event.at + timedelta(seconds=20)) for event in events]
    events.sort(key=lambda event: event.at, reverse=not ascending)

    assert all(locked(events, at("15:50", day)) == [] for day in days)


@given(
    st.lists(st.tuples(sessions, st.integers(0, 6), st.sampled_from(Side), st.sampled_from(OrderEventKind))),
    st.randoms(use_true_random=False),
    sessions,
)
def test_the_order_in_which_events_are_listed_changes_nothing(rows, random, day):
    events = [OrderEvent("TQQQ", side, at(f"1{hour}:00", on), kind) for on, hour, side, kind in rows]

    assert symbol_locks(random.sample(events, len(events)), at("13:00", day)) == symbol_locks(events, at("13:00", day))


@given(
    st.lists(
        st.tuples(sessions, st.integers(0, 359), st.sampled_from(Side)), max_size=25, unique_by=lambda row: row[:2]
    )
)
def test_a_lock_holds_exactly_if_some_window_that_ends_in_the_session_has_too_many_reversals(rows):
    rows = sorted(rows, key=lambda row: row[:2])
    events = [OrderEvent("TQQQ", side, at("09:30", day) + timedelta(minutes=minute)) for day, minute, side in rows]
    reversals = [day for (_, _, before), (day, _, side) in pairwise(rows) if side is not before]

    for day in {row[0] for row in rows}:
        yesterday = [one for one in reversals if next_session(one) == day]
        too_many = reversals.count(day) > 0 and reversals.count(day) + len(yesterday) > 3
        assert (locked(events, at("15:45", day)) == ["TQQQ"]) == too_many


@pytest.mark.parametrize(
    "wrong",
    [
        {"most_reversals": 0},
        {"reversal_sessions": 0},
        {"most_failures": 0},
        {"lock_sessions": 0},
        {"failure_window": timedelta(0)},
    ],
)
def test_rules_that_would_lock_everything_or_nothing_are_refused(wrong):
    with pytest.raises(InvalidInput, match="counts of one and more and a positive window"):
        SurveillanceRules(**wrong)


def test_instants_without_a_time_zone_are_refused():
    naive = at("10:00").replace(tzinfo=None)

    with pytest.raises(InvalidInput, match="need a time zone, found 2026-07-31T14:00:00"):
        symbol_locks([], naive)
    with pytest.raises(InvalidInput, match="need a time zone"):
        symbol_locks([OrderEvent("TQQQ", BUY, naive)], at("10:00"))
