import json
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pytest

from trading_pipeline.adapters.alpaca.market_data import AlpacaMarketData, MarketDataOptions
from trading_pipeline.domain.bars import quarantine
from trading_pipeline.domain.errors import (
    DependencyUnavailable,
    InvalidBars,
    InvalidInput,
    RequestRefused,
    Unauthorized,
)
from trading_pipeline.domain.risk.corporate_actions import ActionKind, CorporateAction
from trading_pipeline.domain.risk.trading_pauses import Trade
from trading_pipeline.domain.sessions import NEW_YORK, sessions_between

ROUTE = "GET /v2/stocks/bars"
QUOTES = "GET /v2/stocks/quotes/latest"
TRADES = "GET /v2/stocks/trades/latest"
ACTIONS = "GET /v1/corporate-actions"
MONDAY, FRIDAY = date(2026, 7, 27), date(2026, 7, 31)


@pytest.fixture
def market(data, clock):
    return AlpacaMarketData(data, clock)


def midnight_of_new_york(day):
    return datetime(day.year, day.month, day.day, tzinfo=NEW_YORK).isoformat()


def bar(day, close=100.0, **changes):
    return {
        "t": midnight_of_new_york(day),
        "o": close - 1,
        "h": close + 1,
        "l": close - 2,
        "c": close,
        "v": 1_000,
    } | changes


def page(token=None, **bars):
    return {"bars": bars, "next_page_token": token}


def test_bars_come_sorted_with_the_shared_columns(server, market):
    server.on(ROUTE, page(TLT=[bar(FRIDAY), bar(MONDAY)], SPY=[bar(FRIDAY, 600.5)]))

    frame = market.daily_bars(["TLT", "SPY", "TLT"], MONDAY, FRIDAY)

    assert list(frame.columns) == ["symbol", "session", "open", "high", "low", "close", "volume"]
    assert list(zip(frame["symbol"], frame["session"], strict=True)) == [
        ("SPY", FRIDAY),
        ("TLT", MONDAY),
        ("TLT", FRIDAY),
    ]
    assert frame.loc[0, ["open", "high", "low", "close", "volume"]].tolist() == [599.5, 601.5, 598.5, 600.5, 1_000.0]


def test_the_request_asks_for_adjusted_bars_up_to_the_day_after(server, market, clock):
    clock.instant = datetime(2026, 8, 15, tzinfo=UTC)
    server.on(ROUTE, page())

    market.daily_bars(["SPY", "BRK.B"], MONDAY, FRIDAY)

    assert server.received[0].query == {
        "symbols": "BRK.B,SPY",
        "timeframe": "1Day",
        "start": "2026-07-27T00:00:00+00:00",
        "end": "2026-08-01T00:00:00+00:00",
        "adjustment": "all",
        "feed": "sip",
        "sort": "asc",
        "limit": "10000",
    }


def test_the_newest_minutes_are_not_asked_for(server, market):
    server.on(ROUTE, page())

    market.daily_bars(["SPY"], FRIDAY, FRIDAY)

    assert server.received[0].query["end"] == "2026-07-31T20:44:00+00:00"


def test_nothing_found_is_an_empty_frame_of_the_same_shape(server, market):
    server.on(ROUTE, page()).on(ROUTE, page(SPY=[bar(FRIDAY)]))

    empty, filled = market.daily_bars(["NONE"], MONDAY, FRIDAY), market.daily_bars(["SPY"], MONDAY, FRIDAY)

    assert empty.empty
    assert list(empty.columns) == list(filled.columns)
    assert empty.dtypes.equals(filled.dtypes)


def test_a_symbol_without_bars_has_no_row(server, market):
    server.on(ROUTE, page(SPY=[bar(FRIDAY)]))

    assert set(market.daily_bars(["SPY", "GONE"], MONDAY, FRIDAY)["symbol"]) == {"SPY"}


def test_a_bar_of_four_equal_prices_without_volume_is_close_only(server, market):
    flat = {"o": 50.0, "h": 50.0, "l": 50.0, "v": 0}
    server.on(ROUTE, page(SPY=[bar(MONDAY, 50.0, **flat), bar(FRIDAY, 50.0, **flat | {"v": 7})]))

    frame = market.daily_bars(["SPY"], MONDAY, FRIDAY)

    assert np.isnan(frame.loc[0, ["open", "high", "low", "volume"]].astype(float)).all()
    assert frame["close"].tolist() == [50.0, 50.0]
    assert frame.loc[1, "volume"] == 7


def test_a_session_that_is_not_over_has_no_bar_whatever_the_server_has(server, market, clock):
    clock.instant = datetime(2026, 7, 31, 19, 59, tzinfo=UTC)
    server.on(ROUTE, page(SPY=[bar(date(2026, 7, 30)), bar(FRIDAY)]))

    assert market.daily_bars(["SPY"], MONDAY, FRIDAY)["session"].tolist() == [date(2026, 7, 30)]


def test_a_range_without_a_completed_session_asks_nothing(server, market, clock):
    clock.instant = datetime(2026, 7, 31, 19, 59, tzinfo=UTC)

    assert market.daily_bars(["SPY"], FRIDAY, FRIDAY).empty
    assert market.daily_bars(["SPY"], date(2026, 7, 25), date(2026, 7, 26)).empty
    assert server.received == []


def test_a_range_that_ends_before_it_begins_is_refused(market):
    with pytest.raises(InvalidInput, match="must not be after"):
        market.daily_bars(["SPY"], FRIDAY, MONDAY)


def test_pages_are_followed_to_the_last(server, market):
    server.on(ROUTE, page("a", SPY=[bar(MONDAY)])).on(ROUTE, page("b", SPY=[bar(FRIDAY)]))
    server.on(ROUTE, page(TLT=[bar(FRIDAY)]))

    assert len(market.daily_bars(["SPY", "TLT"], MONDAY, FRIDAY)) == 3
    assert [request.query.get("page_token") for request in server.received] == [None, "a", "b"]


def test_a_page_that_fails_is_asked_again_by_itself(server, market):
    server.on(ROUTE, page("a", SPY=[bar(MONDAY)])).on(ROUTE, status=502, text="<html>")
    server.on(ROUTE, page(SPY=[bar(FRIDAY)]))

    assert len(market.daily_bars(["SPY"], MONDAY, FRIDAY)) == 2
    assert [request.query.get("page_token") for request in server.received] == [None, "a", "a"]


def test_a_page_token_that_comes_again_ends_the_reading(server, market):
    server.on(ROUTE, page("a", SPY=[bar(MONDAY)])).on(ROUTE, page("b")).on(ROUTE, page("a"))

    with pytest.raises(DependencyUnavailable, match="page 'a' of bars twice"):
        market.daily_bars(["SPY"], MONDAY, FRIDAY)

    assert server.count(ROUTE) == 3


def test_a_question_is_asked_once(server, market):
    server.on(ROUTE, page(SPY=[bar(MONDAY), bar(FRIDAY)], TLT=[bar(FRIDAY)]))

    whole = market.daily_bars(["SPY", "TLT", "GONE"], MONDAY, FRIDAY)
    again = market.daily_bars(["SPY", "TLT", "GONE"], MONDAY, date(2026, 12, 31))
    part = market.daily_bars(["SPY"], FRIDAY, FRIDAY)

    assert again.equals(whole)
    assert part["session"].tolist() == [FRIDAY]
    assert server.count(ROUTE) == 1


def test_only_symbols_that_are_not_known_yet_are_asked_for(server, market):
    server.on(ROUTE, page(SPY=[bar(FRIDAY)])).on(ROUTE, page(TLT=[bar(FRIDAY)]))

    market.daily_bars(["SPY"], MONDAY, FRIDAY)
    frame = market.daily_bars(["SPY", "TLT"], MONDAY, FRIDAY)

    assert frame["symbol"].tolist() == ["SPY", "TLT"]
    assert [request.query["symbols"] for request in server.received] == ["SPY", "TLT"]


def test_a_session_that_ended_since_is_asked_for(server, market, clock):
    clock.instant = datetime(2026, 7, 31, 19, 0, tzinfo=UTC)
    server.on(ROUTE, page(SPY=[bar(date(2026, 7, 30))]))
    server.on(ROUTE, page(SPY=[bar(date(2026, 7, 30)), bar(FRIDAY)]))

    market.daily_bars(["SPY"], MONDAY, FRIDAY)
    clock.instant = datetime(2026, 7, 31, 21, 0, tzinfo=UTC)

    assert len(market.daily_bars(["SPY"], MONDAY, FRIDAY)) == 2


def test_what_is_remembered_cannot_be_changed_from_outside(server, market):
    server.on(ROUTE, page(SPY=[bar(FRIDAY)]))

    frame = market.daily_bars(["SPY"], MONDAY, FRIDAY)
    frame["close"] = 0.0

    assert market.daily_bars(["SPY"], MONDAY, FRIDAY)["close"].tolist() == [100.0]


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        (page(QQQ=[bar(FRIDAY)]), "QQQ, which was not asked for"),
        (page(SPY=[bar(FRIDAY, c="dear")]), "bar of SPY cannot be read"),
    ],
)
def test_bars_that_cannot_be_read_are_refused(server, market, answer, match):
    server.on(ROUTE, answer)

    with pytest.raises(InvalidBars, match=match):
        market.daily_bars(["SPY"], date(2026, 7, 20), FRIDAY)


def test_rows_that_cannot_be_are_passed_on_to_quarantine(server, market):
    saturday = date(2026, 7, 25)
    server.on(ROUTE, page(SPY=[bar(saturday), bar(MONDAY, c=None), bar(MONDAY), bar(FRIDAY), bar(FRIDAY)]))

    good, refused = quarantine(market.daily_bars(["SPY"], saturday, FRIDAY))

    assert good.empty
    assert refused["session"].tolist() == [saturday, MONDAY, MONDAY, FRIDAY, FRIDAY]


def test_a_feed_that_the_plan_lacks_is_named(server, market):
    server.on(ROUTE, {"message": "subscription does not permit querying recent SIP data"}, status=403)

    with pytest.raises(Unauthorized, match="SIP"):
        market.daily_bars(["SPY"], MONDAY, FRIDAY)


@pytest.mark.parametrize(
    ("symbols", "sessions", "requests"),
    [(500, 1, 1), (26, 250, 1), (60, 250, 2), (60, 500, 3), (60, 2_500, 4), (3, 9_000, 3), (1_200, 1, 3)],
)
def test_no_more_chains_are_opened_than_pages_are_needed(market, symbols, sessions, requests):
    chains = market._chains([f"S{n}" for n in range(symbols)], sessions)

    assert len(chains) == requests
    assert sum(len(chain) for chain in chains) == symbols


def test_concurrent_chains_give_the_whole_answer(server, market):
    first = sessions_between(date(2000, 1, 1), FRIDAY)[0]
    server.on(ROUTE, lambda asked: page(**{name: [bar(first), bar(FRIDAY)] for name in asked["symbols"].split(",")}))

    frame = market.daily_bars(["A", "B", "C"], first, FRIDAY)

    assert frame.groupby("symbol").size().to_dict() == {"A": 2, "B": 2, "C": 2}
    assert sorted(request.query["symbols"] for request in server.received) == ["A", "B", "C"]


def test_a_failing_chain_fails_the_whole(server, market):
    server.on(ROUTE, page()).on(ROUTE, status=400, text='{"message": "invalid symbol"}')

    with pytest.raises(RequestRefused, match="invalid symbol"):
        market.daily_bars(["A", "B", "C"], date(2000, 1, 3), FRIDAY)


def test_quotes_are_asked_for_in_groups(server, data, clock):
    quote = {"t": "2026-07-31T14:02:43Z", "ap": 100.02, "bp": 100, "as": 1, "bs": 1}
    server.on(QUOTES, {"quotes": {"A": quote}}).on(QUOTES, {"quotes": {"C": quote | {"bp": 0}}})

    quotes = AlpacaMarketData(data, clock, MarketDataOptions(symbols_a_request=2)).quotes(["C", "B", "A"])

    assert sorted(quotes) == ["A", "C"]
    assert quotes["A"].mid == quotes["A"].bid + (quotes["A"].ask - quotes["A"].bid) / 2
    assert quotes["C"].bid == 0
    assert [request.query for request in server.received] == [
        {"symbols": "A,B", "feed": "iex"},
        {"symbols": "C", "feed": "iex"},
    ]


def test_latest_trades_are_asked_for_in_groups(server, data, clock):
    trade = {"t": "2026-07-31T14:02:09.722539521Z", "p": 161.2958, "s": 100, "x": "V"}
    server.on(TRADES, {"trades": {"A": trade}}).on(TRADES, {"trades": {"C": None}})

    trades = AlpacaMarketData(data, clock, MarketDataOptions(symbols_a_request=2)).latest_trades(["C", "B", "A"])

    assert trades == {"A": Trade("A", Decimal("161.2958"), datetime(2026, 7, 31, 14, 2, 9, 722539, UTC))}
    assert [request.query for request in server.received] == [
        {"symbols": "A,B", "feed": "iex"},
        {"symbols": "C", "feed": "iex"},
    ]


@pytest.mark.parametrize("row", [{"p": "dear", "t": "2026-07-31T14:02:43Z"}, {"p": 1.0, "t": "noon"}, {"p": 1.0}])
def test_trades_that_cannot_be_read_are_no_answer(server, market, row):
    server.on(TRADES, {"trades": {"SPY": row}})

    with pytest.raises(DependencyUnavailable, match="latest trades cannot be read"):
        market.latest_trades(["SPY"])


def split(symbol="TQQQ", **changes):
    return {"id": "1", "symbol": symbol, "ex_date": "2026-07-27", "process_date": "2026-07-28"} | changes


def announced(token=None, **by_kind):
    return {"corporate_actions": by_kind, "next_page_token": token}


def test_corporate_actions_are_asked_for_under_their_own_version(server, market):
    server.on(ACTIONS, announced(forward_splits=[split()]))

    found = market.corporate_actions(["TQQQ", "SPY"], MONDAY, FRIDAY)

    assert found == [CorporateAction("1", ActionKind.FORWARD_SPLIT, ("TQQQ",), MONDAY)]
    assert server.received[0].query == {
        "symbols": "SPY,TQQQ",
        "start": "2026-07-27",
        "end": "2026-07-31",
        "limit": "1000",
    }


def test_pages_of_corporate_actions_are_followed_to_the_last_and_in_groups(server, data, clock):
    server.on(ACTIONS, announced("a", forward_splits=[split("A")])).on(ACTIONS, announced(spin_offs=[split("B")]))
    server.on(ACTIONS, announced())

    market = AlpacaMarketData(data, clock, MarketDataOptions(symbols_a_request=2))
    found = market.corporate_actions(["A", "B", "C"], MONDAY, FRIDAY)

    assert [action.symbols for action in found] == [("A",), ("B",)]
    asked = [(request.query["symbols"], request.query.get("page_token")) for request in server.received]
    assert asked == [("A,B", None), ("A,B", "a"), ("C", None)]


def test_a_page_of_corporate_actions_that_comes_again_ends_the_reading(server, market):
    server.on(ACTIONS, announced("a"))

    with pytest.raises(DependencyUnavailable, match="page 'a' of corporate actions twice"):
        market.corporate_actions(["SPY"], MONDAY, FRIDAY)


def test_recorded_corporate_actions_of_every_kind_are_read(server, market, samples):
    recorded = [
        json.loads((samples / f"corporate_actions__get_corporate_actions{part}.json").read_text())
        for part in ("", "_1")
    ]
    server.on(ACTIONS, recorded[0]).on(ACTIONS, recorded[1])

    found = market.corporate_actions(["SPY"], MONDAY, FRIDAY)

    told = {action.kind: (action.symbols, action.effective.isoformat()) for action in found[:-1]}
    assert told == {
        ActionKind.REVERSE_SPLIT: (("MNTS",), "2023-08-24"),
        ActionKind.FORWARD_SPLIT: (("SRE",), "2023-08-22"),
        ActionKind.UNIT_SPLIT: (("TPBAU", "LVRO"), "2023-03-01"),
        ActionKind.STOCK_DIVIDEND: (("MSBC",), "2023-05-19"),
        ActionKind.CASH_DIVIDEND: (("FCF",), "2023-05-04"),
        ActionKind.SPIN_OFF: (("JUPW", "SRM"), "2023-08-15"),
        ActionKind.CASH_MERGER: (("GLOP",), "2023-07-17"),
        ActionKind.STOCK_MERGER: (("LSI",), "2023-07-20"),
        ActionKind.STOCK_AND_CASH_MERGER: (("MLVF",), "2023-07-18"),
        ActionKind.REDEMPTION: (("ORPHY",), "2023-06-13"),
        ActionKind.NAME_CHANGE: (("BSAQ", "VFS"), "2023-08-15"),
        ActionKind.WORTHLESS_REMOVAL: (("ATNXQ",), "2023-10-11"),
        ActionKind.RIGHTS_DISTRIBUTION: (("IFN", "IFN.RTWI"), "2024-04-17"),
    }
    assert found[-1].symbols == ("ZMTBY",)


def test_an_action_of_a_kind_that_was_added_since_is_unrecognised_and_blocks(server, market):
    server.on(ACTIONS, announced(tokenizations=[split()]))

    found = market.corporate_actions(["TQQQ"], MONDAY, FRIDAY)

    assert [(action.kind, action.kind.blocks) for action in found] == [(ActionKind.UNRECOGNISED, True)]


@pytest.mark.parametrize(
    "answer",
    [
        {"corporate_actions": [split()]},
        {"next_page_token": None},
        announced(forward_splits=[{"id": "1", "ex_date": "2026-07-27"}]),
        announced(forward_splits=[{"id": "1", "symbol": "SPY"}]),
        announced(forward_splits=[split(ex_date="soon")]),
        announced(forward_splits=["SPY"]),
    ],
)
def test_corporate_actions_that_cannot_be_read_are_no_answer(server, market, answer):
    server.on(ACTIONS, answer)

    with pytest.raises(DependencyUnavailable, match=r"corporate action.* cannot be read"):
        market.corporate_actions(["SPY"], MONDAY, FRIDAY)


def test_closes_as_traded_are_asked_for_raw_and_of_one_session(server, market, clock):
    clock.instant = datetime(2026, 8, 15, tzinfo=UTC)
    server.on(ROUTE, page("a", SPY=[bar(date(2026, 7, 30)), bar(FRIDAY, 600.55)], TLT=[bar(FRIDAY, c=None)]))
    server.on(ROUTE, page(GLD=[bar(FRIDAY, 50.0)]))

    assert market.unadjusted_closes(["SPY", "TLT", "GLD", "GONE"], FRIDAY) == {
        "SPY": Decimal("600.55"),
        "GLD": Decimal("50.0"),
    }
    query = server.received[0].query
    assert (query["adjustment"], query["start"], query["end"]) == (
        "raw",
        "2026-07-31T00:00:00+00:00",
        "2026-08-01T00:00:00+00:00",
    )


def test_closes_as_traded_leave_the_remembered_bars_alone(server, market):
    server.on(ROUTE, page(SPY=[bar(FRIDAY, 300.0)])).on(ROUTE, page(SPY=[bar(FRIDAY, 600.0)]))

    market.daily_bars(["SPY"], FRIDAY, FRIDAY)
    traded = market.unadjusted_closes(["SPY"], FRIDAY)

    assert traded == {"SPY": Decimal("600.0")}
    assert market.daily_bars(["SPY"], FRIDAY, FRIDAY)["close"].tolist() == [300.0]
