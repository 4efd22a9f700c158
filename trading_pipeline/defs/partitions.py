"""XNYS sessions as Dagster partitions: weekdays with the exchange's holidays left out; and the years of history.

A partition's time window is not the session (a Friday's runs to Monday):
ranges of bars always come from ``domain.sessions``.
"""

import functools
from datetime import date, datetime, time

import dagster as dg

from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.sessions import NEW_YORK

FIRST_SESSION = date(2010, 1, 4)
YEAR_FORMAT = "%Y"
YEAR_DIGITS = 4


@functools.cache
def session_partitions() -> dg.TimeWindowPartitionsDefinition:
    """Return the partitions of the trading graph: one for every session, today's included once it has begun."""
    holidays = sessions.weekday_holidays(FIRST_SESSION, sessions.LAST_DATE)
    return dg.TimeWindowPartitionsDefinition(
        start=datetime.combine(FIRST_SESSION, time()),
        timezone=str(NEW_YORK),
        fmt="%Y-%m-%d",
        cron_schedule="0 0 * * 1-5",
        end_offset=1,
        exclusions=[datetime.combine(day, time(), NEW_YORK) for day in holidays],
    )


def session_of(partition_key: str) -> date:
    """Return the session that a partition key names.

    Raises:
        InvalidInput: the key is not the date of a session.
    """
    try:
        session = date.fromisoformat(partition_key)
    except ValueError:
        session = None
    # ISO has other spellings of a date; they name no partition.
    if session is None or str(session) != partition_key:
        raise InvalidInput(f"a partition is named by a session such as 2026-07-31, was {partition_key!r}")
    if not sessions.is_session(session):
        raise InvalidInput(f"{session} is not a session of the New York Stock Exchange; choose one of the partitions")
    return session


@functools.cache
def year_partitions() -> dg.TimeWindowPartitionsDefinition:
    """Return the partitions of the research graph's history: one for every year, the current one included."""
    return dg.TimeWindowPartitionsDefinition(
        start=datetime(FIRST_SESSION.year, 1, 1),  # noqa: DTZ001 - the zone is given beside it
        timezone=str(NEW_YORK),
        fmt=YEAR_FORMAT,
        cron_schedule="0 0 1 1 *",
        end_offset=1,
    )


def days_of(partition_key: str) -> tuple[date, date]:
    """Return the first and last day that a partition key names: a year, such as 2026, or one session.

    >>> days_of("2026")
    (datetime.date(2026, 1, 1), datetime.date(2026, 12, 31))

    Raises:
        InvalidInput: the key is neither a year nor the date of a session.
    """
    if partition_key.isdecimal() and len(partition_key) == YEAR_DIGITS:
        return date(int(partition_key), 1, 1), date(int(partition_key), 12, 31)
    session = session_of(partition_key)
    return session, session
