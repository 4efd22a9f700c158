"""Trading sessions of the New York Stock Exchange (XNYS).

A *session* is a naive ``datetime.date``; an *instant* is a UTC-aware
``datetime``. The two are never mixed. Early closes (13:00 New York, "half
days") and every holiday come from the exchange_calendars package; the bounds
are fixed so that the same question has the same answer on any day it is asked.
"""

import functools
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from trading_pipeline.domain.errors import InvalidInput

FIRST_DATE = date(1990, 1, 1)
LAST_DATE = date(2040, 12, 31)
NEW_YORK = ZoneInfo("America/New_York")
REGULAR_CLOSE_HOUR = 16


@dataclass(frozen=True)
class _Calendar:
    sessions: tuple[date, ...]
    opens: tuple[datetime, ...]
    closes: tuple[datetime, ...]


@functools.cache
def _calendar() -> _Calendar:
    # Imported late: it brings pandas, which a caller asking for a settings default need not pay for.
    import exchange_calendars

    xnys: Any = exchange_calendars.get_calendar("XNYS", start=str(FIRST_DATE), end=str(LAST_DATE))
    schedule = xnys.schedule
    return _Calendar(
        sessions=tuple(stamp.date() for stamp in schedule.index),
        opens=tuple(stamp.to_pydatetime() for stamp in schedule["open"]),
        closes=tuple(stamp.to_pydatetime() for stamp in schedule["close"]),
    )


def _position(session: date) -> int:
    sessions = _calendar().sessions
    place = bisect_left(sessions, session)
    if place == len(sessions) or sessions[place] != session:
        nearest = f"the next one is {sessions[place]}" if place < len(sessions) else f"the last one is {sessions[-1]}"
        raise InvalidInput(
            f"{session} is not a session of the New York Stock Exchange (weekend, holiday, or outside "
            f"{FIRST_DATE} to {LAST_DATE}); {nearest}"
        )
    return place


def is_session(day: date) -> bool:
    """Tell whether the exchange trades on ``day``.

    >>> is_session(date(2026, 7, 3)), is_session(date(2026, 7, 6))
    (False, True)
    """
    sessions = _calendar().sessions
    place = bisect_left(sessions, day)
    return place < len(sessions) and sessions[place] == day


def previous_session(session: date, count: int = 1) -> date:
    """Return the session ``count`` sessions before ``session``.

    >>> previous_session(date(2026, 7, 6))
    datetime.date(2026, 7, 2)

    Raises:
        InvalidInput: ``session`` is not a session, or the calendar does not reach back that far.
    """
    return _shifted(session, -count)


def next_session(session: date, count: int = 1) -> date:
    """Return the session ``count`` sessions after ``session``.

    >>> next_session(date(2026, 11, 25))
    datetime.date(2026, 11, 27)

    Raises:
        InvalidInput: ``session`` is not a session, or the calendar does not reach that far.
    """
    return _shifted(session, count)


def _shifted(session: date, by: int) -> date:
    place = _position(session) + by
    sessions = _calendar().sessions
    if not 0 <= place < len(sessions):
        raise InvalidInput(f"{by:+d} sessions from {session} leaves the calendar ({FIRST_DATE} to {LAST_DATE})")
    return sessions[place]


def sessions_between(first: date, last: date) -> Sequence[date]:
    """Return every session from ``first`` to ``last``, both included, oldest first.

    The two need not be sessions themselves; an empty answer means that none lies between.
    """
    sessions = _calendar().sessions
    return sessions[bisect_left(sessions, first) : bisect_right(sessions, last)]


def count_between(earlier: date, later: date) -> int:
    """Return how many sessions lie after ``earlier``, up to and including ``later``.

    >>> count_between(date(2026, 7, 2), date(2026, 7, 6))
    1
    """
    sessions = _calendar().sessions
    return bisect_right(sessions, later) - bisect_right(sessions, earlier)


def open_of(session: date) -> datetime:
    """Return the UTC instant at which ``session`` opens."""
    return _calendar().opens[_position(session)]


def close_of(session: date) -> datetime:
    """Return the UTC instant at which ``session`` closes: 13:00 New York on half days.

    >>> close_of(date(2026, 11, 27)).isoformat()
    '2026-11-27T18:00:00+00:00'
    """
    return _calendar().closes[_position(session)]


def is_half_day(session: date) -> bool:
    """Tell whether ``session`` closes early."""
    return close_of(session).astimezone(NEW_YORK).hour < REGULAR_CLOSE_HOUR


def last_completed_session(now: datetime) -> date:
    """Return the newest session whose close is not after the instant ``now``.

    Raises:
        InvalidInput: ``now`` has no time zone, or lies before the calendar.
    """
    _require_time_zone(now)
    place = bisect_right(_calendar().closes, now) - 1
    if place < 0:
        raise InvalidInput(f"no session was complete by {now.isoformat()}: the calendar starts {FIRST_DATE}")
    return _calendar().sessions[place]


def session_at(now: datetime) -> date | None:
    """Return the session that is open at the instant ``now``, or None between sessions.

    Raises:
        InvalidInput: ``now`` has no time zone.
    """
    _require_time_zone(now)
    day = now.astimezone(NEW_YORK).date()
    if not is_session(day) or not open_of(day) <= now < close_of(day):
        return None
    return day


def _require_time_zone(now: datetime) -> None:
    if now.tzinfo is None:
        raise InvalidInput(f"an instant needs a time zone, was {now.isoformat()}")


def weekday_holidays(first: date, last: date) -> tuple[date, ...]:
    """Return the Mondays to Fridays from ``first`` to ``last`` on which the exchange is shut."""
    days = (first + timedelta(days=n) for n in range((last - first).days + 1))
    open_days = set(sessions_between(first, last))
    return tuple(day for day in days if day.weekday() < 5 and day not in open_days)  # noqa: PLR2004


@dataclass(frozen=True)
class ExecutionWindow:
    """The part of a session in which its orders may be placed; ``start`` is in, ``end`` is out."""

    session: date
    start: datetime
    end: datetime

    def contains(self, now: datetime) -> bool:
        """Tell whether orders may be placed at the instant ``now``."""
        return self.start <= now < self.end


def execution_window(session: date, opens_after: timedelta, closes_before: timedelta) -> ExecutionWindow:
    """Return the window from ``opens_after`` the open until ``closes_before`` the close of ``session``."""
    return ExecutionWindow(session, open_of(session) + opens_after, close_of(session) - closes_before)


def midnight_utc(session: date) -> datetime:
    """Return ``session`` as the UTC midnight that stands for it where a stamp is needed."""
    return datetime(session.year, session.month, session.day, tzinfo=UTC)
