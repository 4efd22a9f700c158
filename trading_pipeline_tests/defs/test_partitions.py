from datetime import datetime, timedelta

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas.tseries.holiday import USLaborDay, USMartinLutherKingJr, USMemorialDay, USThanksgivingDay

from trading_pipeline.defs.partitions import FIRST_SESSION, session_of, session_partitions
from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.sessions import NEW_YORK

NOON = datetime(2026, 7, 31, 12, tzinfo=NEW_YORK)


def keys(now=NOON):
    return session_partitions().get_partition_keys(current_time=now)


KEYS = frozenset(keys())


def test_there_is_one_partition_for_every_session_since_the_first():
    assert keys() == [str(session) for session in sessions.sessions_between(FIRST_SESSION, NOON.date())]


def test_every_year_holds_as_many_partitions_as_the_exchange_held_sessions():
    per_year = pd.Series(keys()).str[:4].value_counts()

    # Published by the exchange: 252 is usual; 2012 lost two days to a hurricane, 2018 and 2025 one to mourning.
    assert {year: per_year[year] for year in ("2010", "2012", "2018", "2020", "2022", "2024", "2025")} == {
        "2010": 252,
        "2012": 250,
        "2018": 251,
        "2020": 253,
        "2022": 251,
        "2024": 252,
        "2025": 250,
    }


@pytest.mark.parametrize("holiday", [USMartinLutherKingJr, USMemorialDay, USLaborDay, USThanksgivingDay])
def test_no_partition_falls_on_a_holiday(holiday):
    days = holiday.dates(pd.Timestamp(FIRST_SESSION), pd.Timestamp(NOON.date()))

    assert len(days) > 15
    assert not set(keys()) & {str(day.date()) for day in days}


@pytest.mark.parametrize("day", ["2026-07-03", "2026-04-03", "2025-01-09", "2012-10-29", "2026-07-25"])
def test_days_on_which_the_exchange_was_shut_have_no_partition(day):
    assert day not in keys()
    assert not session_partitions().has_partition_key(day)


@pytest.mark.parametrize("half_day", ["2025-07-03", "2025-11-28", "2025-12-24"])
def test_half_days_are_partitions(half_day):
    assert half_day in keys()


@pytest.mark.parametrize("hour", [0, 9, 15, 16, 23])
def test_todays_session_is_a_partition_from_midnight_on(hour):
    assert keys(NOON.replace(hour=hour))[-1] == "2026-07-31"


def test_on_a_weekend_fridays_session_is_the_newest():
    assert keys(NOON + timedelta(days=2))[-1] == "2026-07-31"


def test_partitions_go_on_for_years():
    assert keys(datetime(2040, 12, 31, 12, tzinfo=NEW_YORK))[-1] == "2040-12-31"


@given(st.dates(FIRST_SESSION, NOON.date()))
def test_a_day_is_a_partition_exactly_when_it_names_a_session(day):
    assert (str(day) in KEYS) == sessions.is_session(day)
    if sessions.is_session(day):
        assert session_of(str(day)) == day
    else:
        with pytest.raises(InvalidInput):
            session_of(str(day))


@pytest.mark.parametrize("nonsense", ["", "today", "2026-13-01", "31.07.2026", "2026-07-31|SPY", "2026-02-30"])
def test_a_key_that_is_no_date_is_refused_with_an_example_of_one(nonsense):
    with pytest.raises(InvalidInput, match=r"a session such as 2026-07-31, was '"):
        session_of(nonsense)


def test_a_key_that_is_no_session_is_refused_by_name():
    with pytest.raises(InvalidInput, match="2026-07-04 is not a session of the New York Stock Exchange; choose one"):
        session_of("2026-07-04")


@pytest.mark.parametrize("written", ["20260731", "2026-W31-5", "2026-7-31", " 2026-07-31"])
def test_a_session_has_one_name_only(written):
    with pytest.raises(InvalidInput, match="such as 2026-07-31"):
        session_of(written)


def test_the_partitions_are_built_once():
    assert session_partitions() is session_partitions()
