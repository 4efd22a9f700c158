import math
from dataclasses import replace
from datetime import date, timedelta

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_pipeline.application.ingestion import History, Ingested, ingest, silence
from trading_pipeline.domain import sessions
from trading_pipeline.domain.bars import COLUMNS
from trading_pipeline.domain.errors import DataError, DependencyUnavailable
from trading_pipeline_tests.builders import ListedMarketData, bars_frame

SESSION = date(2026, 7, 30)
DAYS = sessions.sessions_between(date(2026, 1, 2), date(2026, 8, 31))
HISTORY = History(look_back=40, overlap=5)
NOTHING = bars_frame({})


def back(count, session=SESSION):
    return sessions.previous_session(session, count)


def history_of(*symbols, first=DAYS[0]):
    days = [day for day in DAYS if day >= first]
    return {symbol: {day: 100.0 + number for number, day in enumerate(days)} for symbol in symbols}


def taken(market, stored, session=SESSION, symbols=("QQQ", "SPY"), history=HISTORY, now=None):
    return ingest(market, stored, session, symbols, history, now or sessions.close_of(session))


def upserted(stored, changes):
    both = pd.concat([frame for frame in (stored, changes) if len(frame)])
    return (
        both.drop_duplicates(["symbol", "session"], keep="last")
        .sort_values(["symbol", "session"])
        .reset_index()[list(COLUMNS)]
    )


@pytest.fixture
def market():
    return ListedMarketData(bars_frame(history_of("QQQ", "SPY")))


@pytest.fixture
def stored(market):
    """What is stored after the session before was taken."""
    before = taken(market, NOTHING, back(1)).changes
    market.asked.clear()
    return before


def restated(market, symbol, factor=0.5, through=DAYS[-1]):
    bars = market.bars
    old = (bars["symbol"] == symbol) & (bars["session"] <= through)
    return ListedMarketData(bars.assign(close=bars["close"].mask(old, bars["close"] * factor)))


def test_a_session_that_is_not_over_is_refused_before_anything_is_fetched(market):
    early = sessions.close_of(SESSION) - timedelta(microseconds=1)

    with pytest.raises(DataError, match=r"2026-07-30 is not over: it closes at 2026-07-30T20:00.*try again"):
        taken(market, NOTHING, now=early)

    assert market.asked == []


def test_the_close_of_a_half_day_ends_it(market):
    half_day = date(2026, 11, 27)
    market.bars = bars_frame({"SPY": {half_day: 1.0}})

    assert len(taken(market, NOTHING, half_day, ["SPY"]).changes) == 1


def test_the_first_time_the_whole_look_back_is_fetched(market):
    first = taken(market, NOTHING)

    assert market.asked == [(("QQQ", "SPY"), back(40), SESSION)]
    assert first.changes.groupby("symbol").size().to_dict() == {"QQQ": 41, "SPY": 41}
    assert list(first.changes.columns) == list(COLUMNS)
    assert (first.restated, first.restated_sessions, first.missing) == ((), (), ())
    assert first.refused.empty


def test_later_only_the_overlap_is_fetched_and_only_the_new_session_written(market, stored):
    later = taken(market, stored)

    assert market.asked == [(("QQQ", "SPY"), back(5), SESSION)]
    assert set(later.changes["session"]) == {SESSION}
    assert later.restated == ()


def test_taking_a_session_again_writes_nothing(market, stored):
    everything = upserted(stored, taken(market, stored).changes)

    again = taken(market, everything)

    assert again.changes.empty
    assert list(again.changes.columns) == list(COLUMNS)


def test_bars_with_a_range_are_compared_in_every_figure(market, stored):
    full = market.bars.assign(open=99.0, high=300.0, low=1.0, volume=5.0)
    everything = upserted(NOTHING, taken(ListedMarketData(full), NOTHING).changes)
    newest = full["session"] == SESSION

    again = taken(ListedMarketData(full.assign(volume=full["volume"].mask(newest, 6.0))), everything)

    assert again.changes[["symbol", "session", "volume"]].to_numpy().tolist() == [
        ["QQQ", SESSION, 6.0],
        ["SPY", SESSION, 6.0],
    ]
    assert again.restated == ()


def test_a_restated_overlap_has_the_whole_history_of_that_symbol_fetched_again(market, stored):
    split = restated(market, "SPY", through=back(1))

    found = taken(split, stored)

    assert found.restated == ("SPY",)
    assert split.asked[1:] == [(("SPY",), back(41), SESSION)]
    assert found.changes.groupby("symbol").size().to_dict() == {"QQQ": 1, "SPY": 42}
    assert found.restated_sessions == tuple(sessions.sessions_between(back(41), back(1)))


@pytest.mark.parametrize(("factor", "noticed"), [(0.5, True), (0.998, True), (1.00001, True), (1 + 1e-7, False)])
def test_a_split_a_dividend_and_a_correction_are_noticed_and_rounding_is_not(market, stored, factor, noticed):
    found = taken(restated(market, "QQQ", factor), stored)

    assert found.restated == (("QQQ",) if noticed else ())


def test_a_restatement_reaches_back_to_the_oldest_stored_bar(market):
    old = taken(market, NOTHING, back(60)).changes
    stored = upserted(old, taken(market, old, back(1)).changes)
    split = restated(market, "SPY")

    found = taken(split, stored)

    after = upserted(stored, found.changes)
    spy = after[after["symbol"] == "SPY"]
    assert spy["session"].min() == back(100)
    truth = split.bars.set_index(["symbol", "session"])["close"]
    assert spy["close"].tolist() == [truth["SPY", day] for day in spy["session"]]


def test_a_new_symbol_gets_its_whole_history_beside_the_overlap_of_the_others(stored):
    market = ListedMarketData(bars_frame(history_of("QQQ", "SPY", "GLD")))

    found = taken(market, stored, symbols=("GLD", "QQQ", "SPY"))

    assert market.asked == [(("QQQ", "SPY"), back(5), SESSION), (("GLD",), back(40), SESSION)]
    assert found.changes.groupby("symbol").size().to_dict() == {"GLD": 41, "QQQ": 1, "SPY": 1}
    assert found.restated == ()


def test_when_the_look_back_grows_what_is_missing_is_fetched(market, stored):
    found = taken(market, stored, history=replace(HISTORY, look_back=50))

    assert market.asked == [(("QQQ", "SPY"), back(50), SESSION)]
    assert sorted(set(found.changes["session"])) == [*sessions.sessions_between(back(50), back(42)), SESSION]


def test_after_a_pause_longer_than_the_overlap_the_gap_is_filled(market):
    stored = taken(market, NOTHING, back(20)).changes

    found = taken(market, stored)

    assert set(upserted(stored, found.changes)["session"]) == set(sessions.sessions_between(back(60), SESSION))


def test_after_a_pause_shorter_than_the_overlap_the_overlap_is_enough(market):
    stored = upserted(NOTHING, taken(market, NOTHING, back(3)).changes)
    stored = upserted(stored, taken(market, stored, back(3)).changes)
    market.asked.clear()

    found = taken(market, stored)

    assert market.asked == [(("QQQ", "SPY"), back(5), SESSION)]
    assert sorted(set(found.changes["session"])) == [back(2), back(1), SESSION]


def test_a_symbol_listed_inside_the_look_back_is_asked_for_whole_and_rewritten_never():
    market = ListedMarketData(bars_frame(history_of("SPY") | history_of("GLD", first=back(10))))
    stored = taken(market, NOTHING, back(1), ["GLD", "SPY"]).changes

    found = taken(market, stored, symbols=["GLD", "SPY"])

    assert set(found.changes["session"]) == {SESSION}
    assert market.asked[1:] == [(("SPY",), back(5), SESSION), (("GLD",), back(40), SESSION)]


def test_an_older_session_after_a_newer_one_brings_the_older_history_and_leaves_the_newer(market):
    stored = taken(market, NOTHING).changes

    older = taken(market, stored, back(20))

    assert set(older.changes["session"]) == set(sessions.sessions_between(back(60), back(41)))
    assert older.restated == ()


def test_a_gap_between_two_older_sessions_is_noticed(market):
    stored = taken(market, NOTHING).changes
    stored = upserted(stored, taken(market, stored, back(90)).changes)

    between = taken(market, stored, back(37))

    after = upserted(stored, between.changes)
    assert set(sessions.sessions_between(back(77), back(37))) <= set(after["session"])


def test_an_older_session_that_shows_a_restatement_has_the_newer_bars_fetched_again_too(market):
    stored = taken(market, NOTHING).changes
    split = restated(market, "SPY")

    older = taken(split, stored, back(20))

    after = upserted(stored, older.changes)
    spy = after[after["symbol"] == "SPY"]
    assert older.restated == ("SPY",)
    assert split.asked[-1] == (("SPY",), back(60), SESSION)
    truth = split.bars.set_index(["symbol", "session"])["close"]
    assert spy["close"].tolist() == [truth["SPY", day] for day in spy["session"]]


def test_faulty_rows_go_out_with_a_reason_and_never_into_the_changes(market, stored):
    negative = (market.bars["symbol"] == "SPY") & (market.bars["session"] == SESSION)
    twice = market.bars[(market.bars["symbol"] == "QQQ") & (market.bars["session"] == SESSION)].assign(close=1.0)
    bars = market.bars.assign(close=market.bars["close"].mask(negative, -1.0))

    found = taken(ListedMarketData(pd.concat([bars, twice], ignore_index=True)), stored)

    assert found.changes.empty
    assert found.missing == ("QQQ", "SPY")
    assert sorted(zip(found.refused["symbol"], found.refused["reason"], strict=True)) == [
        ("QQQ", "symbol and session appear more than once"),
        ("QQQ", "symbol and session appear more than once"),
        ("SPY", "a price is not a positive number"),
    ]


def test_a_faulty_row_of_a_restated_symbol_goes_out_once(market, stored):
    split = restated(market, "SPY")
    faulty = (split.bars["symbol"] == "SPY") & (split.bars["session"] == back(2))
    split.bars = split.bars.assign(close=split.bars["close"].mask(faulty, -1.0))

    found = taken(split, stored)

    assert found.restated == ("SPY",)
    assert found.refused[["symbol", "session"]].to_numpy().tolist() == [["SPY", back(2)]]


def test_symbols_without_a_bar_of_the_session_are_missing(market, stored):
    halted = market.bars[(market.bars["symbol"] != "SPY") | (market.bars["session"] != SESSION)]

    assert taken(ListedMarketData(halted), stored).missing == ("SPY",)


def test_an_outage_of_the_source_is_passed_on(stored):
    class Down(ListedMarketData):
        def daily_bars(self, symbols, first, last):
            raise DependencyUnavailable("no answer")

    with pytest.raises(DependencyUnavailable):
        taken(Down(), stored)


def found_missing(count):
    return Ingested(NOTHING, NOTHING, (), (), tuple(f"S{n}" for n in range(count)))


def test_a_feed_without_any_bar_of_the_session_says_what_to_do():
    words = silence(found_missing(20), [f"S{n}" for n in range(20)], SESSION)

    assert "none of 20 symbols has a sound bar of 2026-07-30" in words
    assert "look at the feed" in words
    assert "run job decide again" in words


@pytest.mark.parametrize(("missing", "symbols"), [(19, 20), (0, 20), (0, 0)])
def test_a_feed_that_has_one_bar_is_stored_and_judged_later(missing, symbols):
    assert silence(found_missing(missing), [f"S{n}" for n in range(symbols)], SESSION) == ""


@settings(max_examples=25)
@given(
    order=st.lists(st.integers(0, 25), min_size=1, max_size=6),
    split_after=st.integers(0, 6),
)
def test_in_whatever_order_sessions_are_taken_what_is_stored_is_what_the_source_says_in_the_end(order, split_after):
    market = ListedMarketData(bars_frame(history_of("QQQ", "SPY")))
    stored = NOTHING
    for number, count in enumerate(order):
        if number == split_after:
            market = restated(market, "SPY")
        stored = upserted(stored, taken(market, stored, back(count), history=History(8, 3)).changes)

    truth = market.bars.set_index(["symbol", "session"])["close"]
    wanted = {day for count in order for day in sessions.sessions_between(back(count + 8), back(count))}
    assert {tuple(key) for key in stored[["symbol", "session"]].to_numpy()} >= {
        (symbol, day) for symbol in ("QQQ", "SPY") for day in wanted
    }
    if split_after > len(order) - 1 or _split_was_seen(order, split_after):
        assert all(math.isclose(row.close, truth[row.symbol, row.session]) for row in stored.itertuples())


def _split_was_seen(order, split_after):
    # A session whose overlap meets what was stored before the split shows it.
    before = {day for n in order[:split_after] for day in sessions.sessions_between(back(n + 8), back(n))}
    after = {day for n in order[split_after:] for day in sessions.sessions_between(back(n + 3), back(n))}
    return not before or bool(before & after)
