import itertools
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.risk.drawdown import INCONSISTENT, DrawdownState, Reading, observed
from trading_pipeline.domain.risk.drawdown_limits import DrawdownLimits, Ladder, Measure, Rung
from trading_pipeline.domain.risk.trading_state import TradingMode
from trading_pipeline.domain.risk.unit_value import CashFlow

THURSDAY, FRIDAY, MONDAY, TUESDAY = date(2026, 7, 30), date(2026, 7, 31), date(2026, 8, 3), date(2026, 8, 4)
STORED = TypeAdapter(DrawdownState)
LIMITS = DrawdownLimits()
ALL_RUNGS = {(measure, rung) for measure in Measure for rung in Rung}


def money(value):
    return None if value is None else Decimal(str(value))


class Account:
    """A guarded account that is read every so many seconds; its state is stored and read back at each reading."""

    def __init__(self, limits=LIMITS, session=FRIDAY):
        self.limits = limits
        self.state = DrawdownState()
        self.trips = []
        self.flows = []
        self.falls = {}
        self.missing = ()
        self.open(session)

    def open(self, session):
        self.session, self.at = session, sessions.open_of(session)
        return self

    def read(self, equity, *, later=30, close=None, mark=None, flows=True):
        self.at += timedelta(seconds=later)
        reading = Reading(
            self.at, self.session, money(equity), tuple(self.flows) if flows else None, money(close), money(mark)
        )
        return self.observe(reading)

    def observe(self, reading):
        found = observed(self.state, reading, self.limits)
        self.state = STORED.validate_json(STORED.dump_json(found.state))
        assert self.state == found.state
        self.trips += found.trips
        self.falls, self.missing = found.falls, found.missing
        return found.trips

    def path(self, *equities, **more):
        for equity in equities:
            self.read(equity, **more)
        return self

    def deposit(self, amount, day=None):
        self.flows.append(CashFlow(str(len(self.flows)), money(amount), day or self.session))

    def tripped(self, measure=None):
        return [trip.rung for trip in self.trips if measure in {None, Measure(trip.name)}]

    def fall(self, measure):
        fall = self.falls[measure]
        return None if fall is None else float(fall)


def test_falls_are_measured_from_the_high_of_the_session_the_close_before_and_the_highest_mark():
    account = Account().path(100, 100, 120, 120, 108, close=110)

    assert account.fall(Measure.INTRADAY) == pytest.approx(0.10)
    assert account.fall(Measure.DAILY) == pytest.approx(1 - 108 / 110)
    assert account.fall(Measure.TRAILING) == pytest.approx(0.10)


def test_a_fall_through_every_rung_trips_each_once_the_mildest_first():
    account = Account().path(100, 100, 95, 93, 91, 89, 87, 84, 81, 70, 55, 50, 50, 40, 40, close=100)

    assert account.tripped(Measure.DAILY) == [Rung.WARN, Rung.REDUCING, Rung.HALTED]
    assert account.tripped(Measure.INTRADAY) == [Rung.WARN, Rung.REDUCING, Rung.HALTED]
    assert account.tripped(Measure.TRAILING) == [Rung.WARN, Rung.REDUCING, Rung.HALTED]


def test_a_rung_needs_two_readings_that_lie_apart_to_trip():
    account = Account().path(100, 100, close=100)

    assert not account.read(93, close=100)
    assert not account.read(93, later=4, close=100)
    (trip,) = account.read(93, later=1, close=100)

    assert (trip.name, trip.rung, trip.at, trip.session) == ("daily loss", Rung.WARN, account.at, FRIDAY)
    assert trip.reason == "equity is 7.00% below the close before, the limit is 6.00%"


def test_readings_that_disagree_on_a_rung_do_not_trip_it():
    assert not Account().path(100, 100, 93, 100, 93, 100, 93, close=100).trips


def test_a_rung_trips_at_the_milder_of_two_readings():
    account = Account().path(100, 100, 50, 93, close=100)

    assert account.tripped() == [Rung.WARN]


@given(
    st.lists(st.integers(960, 1000), min_size=3, max_size=12),
    st.integers(0, 11),
    st.one_of(st.just(0), st.integers(1, 999), st.integers(1001, 10**7)),
    st.booleans(),
    st.sampled_from([5, 30, 600]),
)
def test_a_single_bad_print_trips_nothing_however_bad_and_whenever_it_comes(path, place, bad, is_told, pause):
    account = Account()
    close = 1000 if is_told else None
    for number, equity in enumerate(path):
        is_bad = number == min(place, len(path) - 1)
        # An account cannot begin with nothing in it.
        account.read(max(bad, 1) if is_bad else equity, later=pause, close=close)
    account.open(MONDAY).path(990, 985, 990, later=pause, close=close)

    assert not account.trips


@given(st.lists(st.integers(1, 2000), min_size=2, max_size=25), st.lists(st.sampled_from([3, 5, 60]), min_size=25))
def test_no_rung_trips_twice_in_a_session_and_a_halt_never_comes_before_its_warning(path, pauses):
    account = Account()
    for equity, pause in zip(path, pauses, strict=False):
        account.read(equity, later=pause, close=1000)

    steps = [(trip.name, trip.rung) for trip in account.trips]
    assert len(steps) == len(set(steps))
    for measure in Measure:
        rungs = account.tripped(measure)
        assert rungs == list(Rung)[: len(rungs)]


@given(st.lists(st.integers(1, 2000), min_size=3, max_size=25))
def test_a_trip_is_what_two_neighbouring_readings_agree_on(path):
    account = Account().path(*path, close=1000)

    worst = max(1 - max(pair) / 1000 for pair in itertools.pairwise(path))
    expected = [rung for rung in Rung if worst >= float(LIMITS.daily.of(rung))]
    assume(all(abs(worst - float(LIMITS.daily.of(rung))) > 1e-9 for rung in Rung))
    assert account.tripped(Measure.DAILY) == expected


@given(st.lists(st.integers(1, 2000), min_size=3, max_size=20), st.integers(1, 10**6))
def test_the_size_of_an_account_changes_nothing(path, scale):
    small, large = Account().path(*path, close=1000), Account().path(*[value * scale for value in path])
    large = Account().path(*[value * scale for value in path], close=1000 * scale)

    assert [(trip.name, trip.rung, trip.at) for trip in small.trips] == [
        (trip.name, trip.rung, trip.at) for trip in large.trips
    ]


def test_a_high_that_one_reading_alone_saw_is_no_high():
    account = Account().path(100, 100, 200, 100, 100, close=100)

    assert account.fall(Measure.INTRADAY) == account.fall(Measure.TRAILING) == 0
    assert account.path(150, 140).fall(Measure.INTRADAY) == 0
    assert account.path(126).fall(Measure.INTRADAY) == pytest.approx(0.10)


def test_the_session_after_measures_from_a_new_high_and_a_new_close():
    account = Account().path(130, 130, 100, 100, 90, 90, 90, close=100)
    assert account.tripped(Measure.DAILY) == [Rung.WARN, Rung.REDUCING]

    account.open(MONDAY).path(95, 95, 84, 84, close=90)

    assert account.tripped(Measure.DAILY) == [Rung.WARN, Rung.REDUCING, Rung.WARN]
    assert account.fall(Measure.INTRADAY) == account.fall(Measure.TRAILING) == pytest.approx(1 - 84 / 95)


def test_the_trailing_drawdown_looks_at_closes_of_earlier_sessions_and_not_at_their_highs():
    account = Account().path(150, 150, 100, 100, 100).open(MONDAY).path(90, 90)

    assert account.fall(Measure.TRAILING) == pytest.approx(0.10)


def test_without_the_brokers_close_the_last_readings_of_the_session_before_stand_for_it():
    account = Account().path(100, 100, 100).open(MONDAY).path(93, 93)

    assert account.fall(Measure.DAILY) == pytest.approx(0.07)
    assert "previous close" in account.missing


def test_a_session_that_nobody_watched_leaves_the_close_before_unknown():
    account = Account().path(100, 100, 100).open(TUESDAY).path(93, 93)

    assert account.falls[Measure.DAILY] is None
    assert account.fall(Measure.TRAILING) == pytest.approx(0.07)


def test_one_reading_alone_is_no_close():
    account = Account().path(300).open(MONDAY).path(100, 100, 100)

    assert account.falls[Measure.DAILY] is None
    assert account.fall(Measure.TRAILING) == 0
    assert not account.trips


def test_the_highest_mark_is_forgotten_after_its_sessions():
    account = Account(replace(LIMITS, trailing_sessions=2)).path(100, 100, 100)
    account.open(MONDAY).path(90, 90, 90).open(TUESDAY).path(85, 85, 85)
    assert account.fall(Measure.TRAILING) == pytest.approx(0.15)

    account.open(date(2026, 8, 5)).path(85, 85)
    assert account.fall(Measure.TRAILING) == pytest.approx(1 - 85 / 90)


def test_a_trailing_rung_stays_tripped_over_sessions_until_the_account_has_recovered():
    account = Account().path(100, 100, 75, 75, 75)
    assert account.tripped(Measure.TRAILING) == [Rung.WARN]

    account.open(MONDAY).path(75, 75, 76, 76)
    account.open(TUESDAY).path(90, 90, 90)
    account.open(date(2026, 8, 5)).path(95, 95, 75, 75)

    assert account.tripped(Measure.TRAILING) == [Rung.WARN, Rung.WARN]


@pytest.mark.parametrize("amount", [50, 900, -40])
def test_money_that_comes_or_goes_is_neither_gain_nor_loss(amount):
    account = Account().path(100, 100, close=100)
    account.deposit(amount)
    account.path(100 + amount, 100 + amount, 100 + amount, close=100)

    assert all(account.fall(measure) == 0 for measure in Measure)
    lost = account.path((100 + amount) * 0.9, close=100)
    assert [lost.fall(measure) for measure in Measure] == pytest.approx([0.1] * 3)
    assert not account.trips


def test_a_deposit_after_a_loss_does_not_hide_it():
    account = Account().path(100, 100, 90, 90, close=100)
    account.deposit(900)
    account.path(990, 990, close=100)

    assert [account.fall(measure) for measure in Measure] == pytest.approx([0.1] * 3)


def test_money_of_the_day_is_not_in_the_close_before_and_that_of_an_earlier_day_is():
    for day, close in ((MONDAY, 100), (date(2026, 8, 1), 100), (FRIDAY, 150)):
        account = Account().path(100, 100, 100).open(MONDAY)
        account.deposit(50, day)
        account.path(150, 150, 150, 135, close=close)

        assert account.fall(Measure.DAILY) == pytest.approx(0.1), day


def test_one_bad_print_where_money_comes_misprices_nothing():
    for bad in range(3):
        account = Account().path(100, 100, 100 if bad else 40, close=100)
        account.deposit(100)
        account.path(50 if bad == 1 else 200, 50 if bad == 2 else 200, 200, 200, close=100)

        assert [account.fall(measure) for measure in Measure] == pytest.approx([0] * 3)
        assert not account.trips


def test_a_movement_is_counted_once_however_often_it_is_listed():
    account = Account()
    account.deposit(50, THURSDAY)
    account.path(100, 100, 100, close=100)
    account.flows = []
    account.path(100, 100, close=100)

    assert [account.fall(measure) for measure in Measure] == [0, 0, 0]


def test_an_account_that_was_emptied_begins_anew():
    account = Account().path(100, 100, 200, 200, 200, close=100)
    account.deposit(-200)
    account.path(0, 0, 0, close=100)
    account.deposit(500)
    account.path(500, 500, 500, 450, close=100)

    assert account.fall(Measure.INTRADAY) == pytest.approx(0.1)
    assert not account.trips


@pytest.mark.parametrize("equity", [None, "NaN", "Infinity"])
def test_equity_that_is_no_number_is_missing_and_counts_for_nothing(equity):
    account = Account().path(100, 100, 93, close=100)
    before = account.state

    assert not account.read(equity, close=100)
    assert "equity" in account.missing
    assert account.state == before
    assert [trip.rung for trip in account.read(93, close=100)] == [Rung.WARN]


def test_unknown_movements_make_a_reading_count_for_nothing():
    account = Account().path(100, 100, close=100)
    before = account.state

    account.path(50, 50, 50, close=100, flows=False)

    assert account.missing == ("cash flows", "own mark")
    assert (account.state, account.trips) == (before, [])


def test_a_reading_that_is_no_later_than_the_last_counts_for_nothing():
    account = Account().path(100, 100, 93, close=100)
    again = Reading(account.at, FRIDAY, Decimal(93), (), Decimal(100))

    assert not account.observe(again)
    assert "a later instant" in account.missing


def test_an_account_does_not_begin_with_nothing_in_it():
    account = Account().path(0, -5)

    assert "equity" in account.missing
    assert account.state == DrawdownState()


def test_an_account_that_is_lost_trips_every_rung():
    account = Account().path(100, 100, 0, -10, close=100)

    assert {(Measure(trip.name), trip.rung) for trip in account.trips} == ALL_RUNGS


def test_equity_far_below_our_own_mark_reduces_at_once_and_once_a_session():
    account = Account().path(100, close=100, mark=100)

    (trip,) = account.read(89, close=100, mark=100)
    account.path(88, close=100, mark=100)

    assert [each for each in account.trips if each.name == INCONSISTENT] == [trip]
    assert (trip.rung, trip.latch.mode, trip.latch.is_risk) == (Rung.REDUCING, TradingMode.REDUCING, True)
    assert "the broker says 89.00 dollars of equity" in trip.reason
    assert account.open(MONDAY).read(80, close=90, mark=100)


@given(st.integers(1, 2000), st.integers(1, 2000))
def test_equity_is_inconsistent_below_nine_tenths_of_our_own_mark_only(equity, mark):
    account = Account()

    account.read(equity, mark=mark)

    assert bool(account.trips) == (equity / mark < 0.9)


def test_a_contradiction_is_told_even_where_movements_are_unknown():
    account = Account()

    account.read(50, mark=100, flows=False)

    assert [trip.name for trip in account.trips] == [INCONSISTENT]


@pytest.mark.parametrize("mark", [None, "NaN", 0])
def test_without_an_own_mark_there_is_no_contradiction(mark):
    account = Account().path(100, 50, mark=mark)

    assert "own mark" in account.missing
    assert not account.trips


def test_a_trip_becomes_a_risk_latch_of_its_session_and_a_warning_none():
    account = Account().path(100, 100, 84, 84, close=100)
    latches = [trip.latch for trip in account.trips if trip.name == Measure.DAILY]

    assert latches[0] is None
    assert [(latch.name, latch.mode, latch.session, latch.is_risk, latch.set_at) for latch in latches[1:]] == [
        ("daily loss", TradingMode.REDUCING, FRIDAY, True, account.at),
        ("daily loss", TradingMode.HALTED, FRIDAY, True, account.at),
    ]


def test_the_defaults_let_a_bad_day_of_a_leveraged_fund_pass():
    account = Account().path(100, 100, 97, 95, 92, 92, close=100)

    assert set(account.tripped()) == {Rung.WARN}


@pytest.mark.parametrize(
    "rungs", [("0", "0.1", "0.2"), ("0.2", "0.1", "0.3"), ("0.1", "0.2", "1.1"), ("NaN", "1", "1")]
)
def test_a_ladder_that_does_not_climb_is_refused(rungs):
    with pytest.raises(InvalidInput, match="rungs of a ladder"):
        Ladder(*map(Decimal, rungs))


@pytest.mark.parametrize(
    "wrong", [{"trailing_sessions": 0}, {"confirmation": timedelta(0)}, {"consistency": Decimal("1.1")}]
)
def test_limits_that_confirm_or_remember_nothing_are_refused(wrong):
    with pytest.raises(InvalidInput, match="drawdown guard"):
        DrawdownLimits(**wrong)
