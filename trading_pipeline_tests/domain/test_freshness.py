"""Ages are checked against days counted by hand on published calendars, and against an own count of sessions."""

import math
from datetime import date, timedelta

import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.freshness import (
    COLUMNS,
    FeedStatus,
    FreshnessRules,
    SymbolStatus,
    feed_freshness,
    reasons_against,
    to_frame,
    usable_bars,
)

THURSDAY = date(2026, 7, 30)
RULES = FreshnessRules()
NAN = math.nan
BAR = ["symbol", "session", "close", "volume"]
LAST = sessions.LAST_DATE - timedelta(days=60)


def back(count, of=THURSDAY):
    return sessions.previous_session(of, count) if count else of


def bars_of(*rows):
    """Rows of (symbol, session, close) or (symbol, session, close, volume)."""
    return pd.DataFrame([(*row, NAN)[:4] for row in rows], columns=BAR).astype({"close": float, "volume": float})


def moving(symbol, *ages, of=THURSDAY):
    """A bar of each age, every one with a close and a volume of its own."""
    return [(symbol, back(age, of), 100.0 + age, 1000.0 + age) for age in ages]


def judged(bars, symbols, rules=RULES, session=THURSDAY, read_by=None, later=()):
    chosen = dict.fromkeys(symbols, ("tecl",)) if read_by is None else read_by
    return feed_freshness(bars, session, symbols, chosen, rules, later)


def one(bars, rules=RULES, session=THURSDAY, **changes):
    [found] = judged(bars, ["SPY"], rules, session, **changes).symbols
    return found


@pytest.mark.parametrize(
    ("newest", "wanted", "age"),
    [
        (date(2026, 7, 30), date(2026, 7, 30), 0),
        (date(2026, 7, 24), date(2026, 7, 27), 1),  # a weekend
        (date(2026, 7, 2), date(2026, 7, 6), 1),  # Independence Day observed, and a weekend
        (date(2026, 11, 25), date(2026, 11, 27), 1),  # Thanksgiving, to a half day
        (date(2026, 11, 27), date(2026, 11, 30), 1),  # from a half day
        (date(2026, 12, 24), date(2026, 12, 28), 1),  # from a half day over Christmas
        (date(2012, 10, 26), date(2012, 10, 31), 1),  # the exchange was shut by a storm
        (date(2026, 1, 2), date(2026, 1, 9), 5),
    ],
)
def test_age_counts_sessions_and_neither_weekends_nor_holidays(newest, wanted, age):
    found = one(bars_of(("SPY", newest, 5.0)), session=wanted)

    assert (found.newest_session, found.age_sessions) == (newest, age)
    assert found.status is (SymbolStatus.STALE if age else SymbolStatus.FRESH)
    assert found.is_usable is (age == 0)


def test_a_stale_symbol_says_which_bar_is_its_newest():
    assert one(bars_of(("SPY", back(1), 5.0))).reason == "its newest bar is of 2026-07-29, 1 session before 2026-07-30"
    assert "2 sessions before" in one(bars_of(("SPY", back(2), 5.0))).reason
    assert one(bars_of(("SPY", THURSDAY, 5.0))).reason == ""


@pytest.mark.parametrize(("age", "status"), [(0, "fresh"), (1, "fresh"), (2, "fresh"), (3, "stale")])
def test_the_rule_says_how_old_a_bar_may_be(age, status):
    assert one(bars_of(("SPY", back(age), 5.0)), FreshnessRules(max_age_sessions=2)).status == status


def test_a_symbol_without_a_bar_was_never_seen_or_listed_later_and_neither_is_usable():
    later = bars_of(("SPY", sessions.next_session(THURSDAY), 5.0))

    never, listed = one(later), one(later, later={"SPY"})

    assert (never.status, listed.status) == (SymbolStatus.NEVER_SEEN, SymbolStatus.LISTED_LATER)
    assert (never.age_sessions, never.newest_session, never.close_unchanged_sessions) == (None, None, None)
    assert not never.is_usable
    assert not listed.is_usable
    assert never.reason
    assert listed.reason


def test_a_symbol_that_has_bars_is_not_listed_later_whatever_is_said_of_it():
    assert one(bars_of(("SPY", THURSDAY, 5.0)), later={"SPY"}).status is SymbolStatus.FRESH


def test_a_bar_without_a_close_is_no_bar():
    assert one(bars_of(("SPY", back(1), 5.0), ("SPY", THURSDAY, NAN))).age_sessions == 1


@pytest.mark.parametrize("closes_before", [0, 1, 4])
def test_a_close_that_repeats_itself_freezes_a_symbol_after_so_many_sessions(closes_before):
    repeated = bars_of(("SPY", back(9), 4.0), *(("SPY", back(age), 5.0) for age in range(closes_before + 1)))

    found = one(repeated, FreshnessRules(frozen_sessions=4))

    assert found.close_unchanged_sessions == closes_before
    assert found.status == ("frozen" if closes_before == 4 else "fresh")


def test_an_older_run_of_one_close_freezes_nothing():
    rows = [("SPY", back(age), 5.0) for age in range(1, 9)]

    assert one(bars_of(*rows, ("SPY", THURSDAY, 5.01))).close_unchanged_sessions == 0


@pytest.mark.parametrize(
    ("volumes", "status"),
    [
        ((7, 7, 7, 7), "frozen"),  # a bar told again and again
        ((0, 0, 0, 0), "frozen"),  # halted
        ((NAN, NAN, NAN, NAN), "frozen"),  # only the close is known: nothing shows trading
        ((7, 0, NAN, 8), "frozen"),  # after an unknown volume none differs from the one before
        ((7, 8, 7, 9), "fresh"),  # bills: one price for weeks, and traded
    ],
)
def test_a_fund_that_closes_at_one_price_and_is_traded_is_not_frozen(volumes, status):
    rows = [("SPY", back(3 - place), 5.0, float(volume)) for place, volume in enumerate(volumes)]

    found = one(bars_of(*rows), FreshnessRules(frozen_sessions=3))

    assert (found.status, found.close_unchanged_sessions) == (status, 3)


def test_a_frozen_symbol_counts_the_sessions_that_it_missed():
    assert one(bars_of(("SPY", back(6), 5.0), ("SPY", THURSDAY, 5.0))).status is SymbolStatus.FROZEN


def test_what_is_not_asked_for_is_not_judged():
    found = judged(bars_of(*moving("SPY", 1, 0), *moving("TLT", 0)), ["SPY"])

    assert [each.symbol for each in found.symbols] == ["SPY"]


def feed(stale, fresh, rules=RULES, **changes):
    old, new = [f"A{n}" for n in range(stale)], [f"B{n}" for n in range(fresh)]
    bars = [row for symbol in old for row in moving(symbol, 2, 1)] + [row for s in new for row in moving(s, 1, 0)]
    return judged(bars_of(*bars), [*old, *new], rules, **changes)


@pytest.mark.parametrize(
    ("stale", "fresh", "status"), [(0, 4, "usable"), (5, 5, "usable"), (6, 5, "too stale"), (4, 0, "too stale")]
)
def test_more_stale_symbols_than_the_rule_lets_pass_stop_the_decision(stale, fresh, status):
    found = feed(stale, fresh)

    assert found.status == status
    assert found.stale_share == stale / (stale + fresh)
    assert len(found.unusable) == stale
    assert (found.remedy == "") is (status == "usable")


def test_the_message_says_which_symbols_are_stale_what_was_wanted_and_what_to_do():
    words = feed(9, 1).remedy

    assert "90% of the symbols that strategies read are not fresh on 2026-07-30, at most 50% may be" in words
    assert "A0: its newest bar is of 2026-07-29, 1 session before 2026-07-30; A1: " in words
    assert "A7: " in words
    assert "A8" not in words
    assert " ...)" in words
    assert "run job decide again" in words
    assert "freshness.max_stale_share" in words


def test_a_symbol_that_no_strategy_reads_does_not_count_in_the_share():
    read_by = {"B0": ["tecl"], "A0": []}

    assert feed(1, 1, read_by=read_by).stale_share == 0
    assert len(feed(1, 1, read_by=read_by).unusable) == 1


def test_symbols_that_were_listed_later_say_nothing_of_the_feed():
    bars = bars_of(*moving("SPY", 1, 0), *moving("TLT", 1, 0))
    symbols = ["NEW", "NEWER", "NEWEST", "SPY", "TLT"]

    assert judged(bars, symbols).status is FeedStatus.TOO_STALE
    assert judged(bars, symbols, later=symbols[:3]).status is FeedStatus.USABLE


@pytest.mark.parametrize("read_by", [{}, {"SPY": ["tecl"]}])
def test_where_there_is_nothing_to_judge_nothing_is_decided(read_by):
    found = judged(bars_of(), ["SPY"], read_by=read_by, later=["SPY"])

    assert (found.stale_share, found.status, found.oldest_age) == (1, "too stale", None)


def standing(*symbols, volume=7.0, now=7.0):
    rows = [(symbol, day, 5.0, size) for symbol in symbols for day, size in ((back(1), volume), (THURSDAY, now))]
    return bars_of(*rows)


def test_a_feed_in_which_no_close_and_no_volume_changes_is_not_moving():
    found = judged(standing("QQQ", "SPY", "TLT"), ["QQQ", "SPY", "TLT"])

    assert found.status is FeedStatus.NOT_MOVING
    assert not found.is_moving
    assert {each.status for each in found.symbols} == {SymbolStatus.FRESH}
    assert "the feed repeats itself" in found.remedy


@pytest.mark.parametrize("changed", [("SPY", THURSDAY, 5.01, 7.0), ("SPY", THURSDAY, 5.0, 8.0)])
def test_one_close_or_volume_that_changed_moves_the_feed(changed):
    others = standing("QQQ", "TLT")
    bars = pd.concat([others, bars_of(("SPY", back(1), 5.0, 7.0), changed)], ignore_index=True)

    assert judged(bars, ["QQQ", "SPY", "TLT"]).status is FeedStatus.USABLE


def test_one_symbol_that_closes_where_it_closed_is_no_dead_feed():
    assert judged(standing("SPY"), ["SPY"]).is_moving


def test_first_bars_have_nothing_to_be_compared_with():
    assert judged(bars_of(*moving("SPY", 0), *moving("TLT", 0)), ["SPY", "TLT"]).is_moving


def test_yesterdays_standstill_is_not_todays():
    stood = standing("QQQ", "SPY", "TLT")
    moved = bars_of(*(row for symbol in ("QQQ", "SPY", "TLT") for row in moving(symbol, 0, of=THURSDAY)))
    both = pd.concat([stood.assign(session=stood["session"].map(lambda day: back(1, day))), moved])

    assert judged(both, ["QQQ", "SPY", "TLT"]).is_moving


@pytest.mark.parametrize("wrong", [{"max_age_sessions": -1}, {"frozen_sessions": 0}, {"max_stale_share": 1.1}])
def test_rules_that_mean_nothing_are_refused(wrong):
    with pytest.raises(InvalidInput, match="a fraction from 0 to 1"):
        FreshnessRules(**wrong)


def test_a_day_that_is_no_session_is_refused():
    with pytest.raises(InvalidInput, match="2026-07-04 is not a session"):
        one(bars_of(), session=date(2026, 7, 4))


FROZEN = [("UVXY", back(age), 9.0, 7.0) for age in range(8)]
MARKET = bars_of(*moving("SPY", 2, 1, 0), *moving("TLT", 2, 1), *FROZEN)


@pytest.fixture
def table():
    return to_frame(judged(MARKET, ["FNGU", "SPY", "TLT", "UVXY"], read_by={"SPY": ["klm", "tecl"], "TLT": ["klm"]}))


def test_the_table_has_a_row_for_each_symbol(table):
    rows = {row["symbol"]: row for row in table.to_dict("records")}

    assert tuple(table.columns) == COLUMNS
    assert {symbol: row["status"] for symbol, row in rows.items()} == {
        "FNGU": "never seen",
        "SPY": "fresh",
        "TLT": "stale",
        "UVXY": "frozen",
    }
    assert rows["SPY"]["read_by"] == "klm, tecl"
    assert rows["UVXY"]["read_by"] is None or pd.isna(rows["UVXY"]["read_by"])
    assert (rows["TLT"]["age_sessions"], rows["TLT"]["newest_session"]) == (1, back(1))
    assert rows["UVXY"]["close_unchanged_sessions"] == 7
    assert math.isnan(rows["FNGU"]["age_sessions"])
    assert set(table["feed"]) == {"usable"}
    assert pd.isna(rows["SPY"]["reason"])


def test_every_symbol_that_is_not_fresh_or_was_not_judged_may_not_be_bought(table):
    reasons = reasons_against(table, {"FNGU", "SPY", "TLT", "UVXY", "XLU"})

    assert list(reasons) == ["FNGU", "TLT", "UVXY", "XLU"]
    assert reasons["TLT"].startswith("stale: its newest bar is of 2026-07-29")
    assert reasons["UVXY"].startswith("frozen: ")
    assert reasons["XLU"] == "its freshness was not judged"


def test_strategies_read_the_session_of_fresh_symbols_and_all_that_was_before(table):
    with_another = pd.concat([MARKET, bars_of(*moving("XLU", 1, 0))], ignore_index=True)

    kept = usable_bars(with_another, table, THURSDAY)

    assert set(kept.loc[kept["session"] == THURSDAY, "symbol"]) == {"SPY"}
    before = with_another[with_another["session"] < THURSDAY]
    pd.testing.assert_frame_equal(kept[kept["session"] < THURSDAY], before)


some_days = st.dates(date(1995, 1, 3), LAST)
days_of_bars = st.sets(some_days, min_size=1, max_size=8)


def session_from(day):
    return sessions.sessions_between(day, LAST + timedelta(days=30))[0]


def slow_age(newest, wanted):
    """Days after ``newest``, up to ``wanted``, on which the exchange was open: counted one by one."""
    days = (newest + timedelta(days=n) for n in range(1, (wanted - newest).days + 1))
    return sum(sessions.is_session(day) for day in days)


@settings(max_examples=60)
@given(wanted=some_days, gap=st.integers(0, 40))
def test_age_is_the_number_of_open_days_and_never_negative(wanted, gap):
    session = session_from(wanted)
    newest = session_from(session - timedelta(days=gap))
    assume(newest <= session)

    found = one(bars_of(("SPY", newest, 5.0)), session=session)

    assert found.age_sessions == slow_age(newest, session) >= 0


@settings(max_examples=60)
@given(days=days_of_bars, more=some_days, wanted=some_days)
def test_another_bar_never_ages_a_symbol(days, more, wanted):
    session, known = session_from(wanted), {session_from(day) for day in days}
    before = one(bars_of(*(("SPY", day, 5.0) for day in known)), session=session)
    after = one(bars_of(*(("SPY", day, 5.0) for day in known | {session_from(more)})), session=session)

    if before.age_sessions is not None:
        assert 0 <= after.age_sessions <= before.age_sessions


@settings(max_examples=40)
@given(day=some_days)
def test_the_bar_of_the_session_before_is_one_session_old_whatever_lies_between(day):
    session = session_from(day)

    assert one(bars_of(("SPY", sessions.previous_session(session), 5.0)), session=session).age_sessions == 1


@settings(max_examples=40)
@given(closes=st.lists(st.sampled_from([5.0, 6.0]), min_size=1, max_size=9), order=st.randoms())
def test_the_order_of_the_rows_changes_nothing_and_unchanged_closes_are_those_at_the_end(closes, order):
    rows = [("SPY", back(age), close) for age, close in enumerate(closes)]
    shuffled = order.sample(rows, len(rows))

    found = one(bars_of(*shuffled))

    same = next((age for age, close in enumerate(closes) if close != closes[0]), len(closes)) - 1
    assert found == one(bars_of(*rows))
    assert found.close_unchanged_sessions == same
