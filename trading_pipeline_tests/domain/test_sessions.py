from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import InvalidInput

ONE_SECOND = timedelta(seconds=1)
NEW_YORK = ZoneInfo("America/New_York")

# As published by the exchange: "Holidays and trading hours" of each year.
PUBLISHED_HOLIDAYS = {
    2024: "01-01 01-15 02-19 03-29 05-27 06-19 07-04 09-02 11-28 12-25",
    2025: "01-01 01-09 01-20 02-17 04-18 05-26 06-19 07-04 09-01 11-27 12-25",
    2026: "01-01 01-19 02-16 04-03 05-25 06-19 07-03 09-07 11-26 12-25",
}
PUBLISHED_HALF_DAYS = {
    2024: "07-03 11-29 12-24",
    2025: "07-03 11-28 12-24",
    2026: "11-27 12-24",
}
YEARS = sorted(PUBLISHED_HOLIDAYS)

FIRST, LAST = date(2000, 1, 1), date(2035, 12, 31)

# Deferred, and built before the first test: the calendar takes a second, and collecting tests should not.
some_sessions = st.deferred(lambda: st.sampled_from(sessions.sessions_between(FIRST, LAST)))
some_days = st.dates(FIRST, LAST)


@pytest.fixture(scope="module", autouse=True)
def _calendar_is_built():
    sessions.is_session(FIRST)


def days_of(year, listed):
    return tuple(date.fromisoformat(f"{year}-{day}") for day in listed.split())


@pytest.mark.parametrize("year", YEARS)
def test_the_exchange_is_shut_on_its_published_holidays_and_on_no_other_weekday(year):
    found = sessions.weekday_holidays(date(year, 1, 1), date(year, 12, 31))

    assert found == days_of(year, PUBLISHED_HOLIDAYS[year])


@pytest.mark.parametrize("year", YEARS)
def test_the_half_days_are_the_published_ones(year):
    year_sessions = sessions.sessions_between(date(year, 1, 1), date(year, 12, 31))

    assert tuple(filter(sessions.is_half_day, year_sessions)) == days_of(year, PUBLISHED_HALF_DAYS[year])


@pytest.mark.parametrize("half_day", [date(2026, 11, 27), date(2024, 12, 24)])
def test_a_half_day_closes_at_one_in_new_york(half_day):
    close = sessions.close_of(half_day).astimezone(NEW_YORK)

    assert (close.date(), close.hour, close.minute) == (half_day, 13, 0)


@pytest.mark.parametrize(
    "closure",
    [
        date(2001, 9, 11),
        date(2001, 9, 14),
        date(2012, 10, 29),
        date(2012, 10, 30),
        date(2018, 12, 5),
    ],
)
def test_the_exchange_was_shut_on_days_that_no_rule_foretells(closure):
    assert not sessions.is_session(closure)


def test_good_friday_is_no_session_though_no_federal_holiday():
    assert not sessions.is_session(date(2026, 4, 3))


@pytest.mark.parametrize("federal_holiday", [date(2026, 10, 12), date(2026, 11, 11)])
def test_columbus_and_veterans_day_are_sessions_though_banks_rest(federal_holiday):
    assert sessions.is_session(federal_holiday)


@pytest.mark.parametrize(
    ("session", "opens", "closes"),
    [
        (date(2026, 3, 6), "14:30", "21:00"),
        (date(2026, 3, 9), "13:30", "20:00"),
        (date(2026, 3, 30), "13:30", "20:00"),
        (date(2026, 10, 26), "13:30", "20:00"),
        (date(2026, 10, 30), "13:30", "20:00"),
        (date(2026, 11, 2), "14:30", "21:00"),
    ],
)
def test_hours_follow_new_yorks_clock_and_not_europes(session, opens, closes):
    assert sessions.open_of(session) == datetime.fromisoformat(f"{session}T{opens}:00+00:00")
    assert sessions.close_of(session) == datetime.fromisoformat(f"{session}T{closes}:00+00:00")


@given(some_sessions)
def test_every_session_opens_at_half_past_nine_in_new_york(session):
    opened = sessions.open_of(session).astimezone(NEW_YORK)

    assert (opened.date(), opened.hour, opened.minute) == (session, 9, 30)


@given(some_sessions, st.integers(1, 400))
def test_going_forth_and_back_returns_to_the_session(session, count):
    assert sessions.previous_session(sessions.next_session(session, count), count) == session


@given(some_sessions, st.integers(0, 400))
def test_counting_agrees_with_going(session, count):
    later = sessions.next_session(session, count)

    assert sessions.count_between(session, later) == count
    assert len(sessions.sessions_between(session, later)) == count + 1


@given(some_days, some_days, some_days)
def test_counts_add_up_over_days_that_need_not_be_sessions(first, second, third):
    first, second, third = sorted([first, second, third])

    through = sessions.count_between(first, second) + sessions.count_between(second, third)

    assert through == sessions.count_between(first, third)


@given(some_days)
def test_a_weekend_is_never_a_session(day):
    assert not sessions.is_session(day) or day.weekday() < 5


def test_no_session_lies_between_a_friday_night_and_a_sunday():
    assert len(sessions.sessions_between(date(2026, 7, 4), date(2026, 7, 5))) == 0


@pytest.mark.parametrize("question", [sessions.open_of, sessions.close_of, sessions.next_session])
def test_a_day_that_is_no_session_is_refused_and_the_next_one_named(question):
    with pytest.raises(InvalidInput, match=r"2026-07-03 is not a session.*2026-07-06"):
        question(date(2026, 7, 3))


def test_a_session_outside_the_calendar_is_refused():
    with pytest.raises(InvalidInput, match="leaves the calendar"):
        sessions.next_session(date(2040, 12, 31))


@pytest.mark.parametrize("session", [date(2026, 7, 31), date(2026, 11, 27)])
def test_a_session_is_complete_at_its_close_and_not_a_moment_sooner(session):
    close = sessions.close_of(session)

    assert sessions.last_completed_session(close) == session
    assert sessions.last_completed_session(close - ONE_SECOND) == sessions.previous_session(session)


def test_over_a_long_weekend_the_last_completed_session_stays():
    assert sessions.last_completed_session(datetime(2026, 7, 5, 12, tzinfo=UTC)) == date(2026, 7, 2)


def test_the_last_completed_session_needs_an_instant_with_a_time_zone():
    with pytest.raises(InvalidInput, match="time zone"):
        sessions.last_completed_session(datetime(2026, 7, 5, 12))  # noqa: DTZ001 - the case in question


def test_no_session_was_complete_before_the_calendar_starts():
    with pytest.raises(InvalidInput, match="no session was complete"):
        sessions.last_completed_session(datetime(1989, 12, 29, tzinfo=UTC))


def test_a_session_is_open_from_its_open_until_just_before_its_close():
    session = date(2026, 11, 27)
    opened, closed = sessions.open_of(session), sessions.close_of(session)

    assert sessions.session_at(opened) == sessions.session_at(closed - ONE_SECOND) == session
    assert sessions.session_at(opened - ONE_SECOND) is None
    assert sessions.session_at(closed) is None


def test_no_session_is_open_on_a_holiday():
    assert sessions.session_at(datetime(2026, 7, 3, 15, tzinfo=UTC)) is None


def test_an_execution_window_includes_its_start_and_excludes_its_end():
    window = sessions.execution_window(date(2026, 11, 27), timedelta(minutes=5), timedelta(minutes=15))

    assert window.start.astimezone(NEW_YORK).strftime("%H:%M") == "09:35"
    assert window.end.astimezone(NEW_YORK).strftime("%H:%M") == "12:45"
    assert window.contains(window.start)
    assert not window.contains(window.end)


def test_a_session_is_stamped_with_its_own_midnight():
    assert sessions.midnight_utc(date(2026, 3, 9)).isoformat() == "2026-03-09T00:00:00+00:00"
