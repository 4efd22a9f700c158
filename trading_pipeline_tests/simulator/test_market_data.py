import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from alpaca.data.enums import Adjustment
from alpaca.data.requests import StockBarsRequest, StockLatestQuoteRequest, StockLatestTradeRequest
from alpaca.data.timeframe import TimeFrame

from trading_pipeline.simulator.market import generated_bars

MONDAY = date(2026, 7, 27)


def daily(symbols, start, end=None, **extra):
    return StockBarsRequest(symbol_or_symbols=symbols, timeframe=TimeFrame.Day, start=start, end=end, **extra)


def test_bars_are_those_of_the_market_stamped_midnight_new_york(quiet_day):
    start, end = datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 7, 25, tzinfo=UTC)
    served = quiet_day.data.get_stock_bars(daily(["TQQQ", "SPY"], start, end, adjustment=Adjustment.ALL)).df
    expected = generated_bars(7, date(2026, 7, 24)).query("symbol in ['SPY', 'TQQQ']")
    expected = expected[expected["session"] >= date(2026, 1, 2)]
    stamps = pd.to_datetime(expected["session"]).dt.tz_localize("America/New_York").dt.tz_convert("UTC")

    assert list(served.index.get_level_values("timestamp")) == list(stamps)
    assert np.array_equal(served[["open", "high", "low", "close", "volume"]], expected.iloc[:, 2:])


@pytest.mark.parametrize(
    ("instant", "last"),
    [
        ("2026-07-27T09:29-04:00", date(2026, 7, 24)),
        ("2026-07-27T15:59:59-04:00", date(2026, 7, 24)),
        ("2026-07-27T16:00-04:00", MONDAY),
        ("2026-11-27T12:59-05:00", date(2026, 11, 25)),
        ("2026-11-27T13:00-05:00", date(2026, 11, 27)),
    ],
)
def test_no_bar_is_shown_before_its_session_has_closed(simulator, instant, last):
    simulator.control.set_clock(datetime.fromisoformat(instant))
    query = {"symbols": "SPY", "timeframe": "1Day", "start": "2026-07-01", "end": "2027-12-31"}

    bars = simulator.get("/v2/stocks/bars", **query)["bars"]["SPY"]
    latest = simulator.get("/v2/stocks/bars/latest", symbols="SPY")["bars"]["SPY"]

    assert bars[-1] == latest
    assert latest["t"].startswith(last.isoformat())


@pytest.mark.parametrize("sort", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 7, 20, 10_000])
def test_pages_give_every_bar_once_and_in_order(quiet_day, sort, limit):
    query = {"symbols": "SPY,BIL,NOPE,FNGU,QQQ", "timeframe": "1Day", "start": "2026-07-13", "sort": sort}
    seen, token = [], None
    while True:
        page = quiet_day.get("/v2/stocks/bars", limit=limit, **query, **({"page_token": token} if token else {}))
        rows = [(symbol, bar["t"]) for symbol, bars in page["bars"].items() for bar in bars]
        assert len(rows) <= limit
        seen, token = seen + rows, page["next_page_token"]
        if token is None:
            break

    days = [f"2026-07-{day}T04:00:00Z" for day in (13, 14, 15, 16, 17, 20, 21, 22, 23, 24)]
    ordered = days if sort == "asc" else days[::-1]
    assert seen == [(symbol, day) for symbol in ("BIL", "FNGU", "QQQ", "SPY") for day in ordered]


def test_the_client_pages_through_all_symbols(quiet_day):
    symbols = ["SPY", "QQQ", "TLT", "GLD", "BIL"]
    served = quiet_day.data.get_stock_bars(daily(symbols, datetime(2015, 1, 2, tzinfo=UTC))).df

    counts = served.groupby("symbol").size()
    assert len(served) > 10_000
    assert set(counts.index) == set(symbols)
    assert counts.min() == counts.max()


def test_a_date_given_to_the_client_as_end_leaves_out_that_day(quiet_day):
    bars = quiet_day.data.get_stock_bars(daily("SPY", date(2026, 7, 20), date(2026, 7, 23)))

    assert [bar.timestamp.day for bar in bars["SPY"]] == [20, 21, 22]


def test_unknown_symbols_are_silently_absent(quiet_day):
    assert quiet_day.data.get_stock_bars(daily("NOPE", date(2026, 7, 20))).data == {}
    assert quiet_day.get("/v2/stocks/quotes/latest", symbols="NOPE") == {"quotes": {}}
    assert quiet_day.get("/v2/stocks/trades/latest", symbols="NOPE") == {"trades": {}}
    assert quiet_day.get("/v2/stocks/bars/latest", symbols="NOPE") == {"bars": {}}


def test_history_changes_when_a_split_takes_effect(tmp_path, start_serving):
    query = {"symbols": "TQQQ", "timeframe": "1Day", "start": "2025-11-17", "end": "2025-11-18T23:00:00Z"}
    with start_serving(tmp_path, start=datetime.fromisoformat("2025-11-19T17:00-05:00")) as served:
        before = [served.get("/v2/stocks/bars", adjustment=kind, **query) for kind in ("raw", "split")]
        served.control.set_clock(datetime.fromisoformat("2025-11-20T09:30-05:00"))
        raw, adjusted = (served.get("/v2/stocks/bars", adjustment=kind, **query) for kind in ("raw", "all"))

    assert before[0] == before[1] == raw
    old, new = ([bar["c"] for bar in page["bars"]["TQQQ"]] for page in (raw, adjusted))
    assert np.allclose(np.array(old) / 2, new)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"limit": "10001"}, "invalid limit: larger than the allowed maximum of 10000"),
        ({"limit": "0"}, "invalid limit: 0"),
        ({"timeframe": "1Min"}, "invalid timeframe: 1Min; the simulator has 1Day bars only"),
        ({"adjustment": "some"}, "invalid adjustment: some"),
        ({"symbols": ""}, "symbols is required"),
        ({"symbols": "SPY,a b"}, "invalid symbol: a b"),
        ({"sort": "up"}, "invalid sort: up"),
        ({"page_token": "?"}, "invalid page_token: ?"),
        ({"start": "soon"}, "invalid start: soon is neither a date nor an RFC-3339 instant"),
    ],
)
def test_a_wrong_question_is_refused_without_a_code(quiet_day, extra, message):
    reply = quiet_day.request("GET", "/v2/stocks/bars", params={"symbols": "SPY", "timeframe": "1Day", **extra})

    assert (reply.status_code, reply.json()) == (400, {"message": message})


def actions(served, **query):
    reply = served.get("/v1/corporate-actions", **{"start": "2025-01-01", "end": "2027-12-31", **query})
    told = {row["symbol"]: kind for kind, rows in reply["corporate_actions"].items() for row in rows}
    return told, reply["next_page_token"]


@pytest.fixture
def three_splits(simulator):
    simulator.control.split("UVXY", date(2026, 8, 3), Decimal("0.1"))
    simulator.control.split("SPY", date(2026, 7, 28), Decimal("1.5"))
    return simulator


def test_a_split_is_announced_as_soon_as_it_is_scheduled_and_stays_known(three_splits):
    told = {"TQQQ": "forward_splits", "SPY": "forward_splits", "UVXY": "reverse_splits"}
    before = actions(three_splits)[0]
    three_splits.control.set_clock(datetime.fromisoformat("2026-08-04T12:00-04:00"))

    assert before == actions(three_splits)[0] == told


def test_rates_are_whole_numbers(three_splits):
    reply = three_splits.get("/v1/corporate-actions", start="2026-07-01", end="2026-08-31")["corporate_actions"]

    rows = [*reply["forward_splits"], *reply["reverse_splits"]]
    assert [(row["symbol"], row["new_rate"], row["old_rate"]) for row in rows] == [("SPY", 3, 2), ("UVXY", 1, 10)]


@pytest.mark.parametrize(
    ("query", "symbols"),
    [
        ({"symbols": "SPY,TLT"}, ["SPY"]),
        ({"types": "reverse_split,spin_off"}, ["UVXY"]),
        ({"start": "2026-07-28", "end": "2026-07-28"}, ["SPY"]),
        ({"start": "2026-07-29", "end": "2026-08-02"}, []),
    ],
)
def test_corporate_actions_are_chosen_by_symbol_type_and_day(three_splits, query, symbols):
    assert list(actions(three_splits, **query)[0]) == symbols


def test_without_days_the_corporate_actions_of_the_current_day_are_meant(three_splits):
    three_splits.control.set_clock(datetime.fromisoformat("2026-07-28T08:00-04:00"))

    reply = three_splits.get("/v1/corporate-actions")

    assert [row["symbol"] for row in reply["corporate_actions"]["forward_splits"]] == ["SPY"]


@pytest.mark.parametrize(("sort", "ordered"), [("asc", ["TQQQ", "SPY", "UVXY"]), ("desc", ["UVXY", "SPY", "TQQQ"])])
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_pages_give_every_corporate_action_once_and_in_order(three_splits, sort, ordered, limit):
    seen, token = [], None
    while True:
        found, token = actions(three_splits, sort=sort, limit=limit, **({"page_token": token} if token else {}))
        seen += found
        if token is None:
            break

    assert seen == ordered


@pytest.mark.parametrize(
    "query",
    [{"limit": "0"}, {"limit": "1001"}, {"sort": "up"}, {"start": "soon"}, {"page_token": "?"}, {"symbols": "?"}],
)
def test_a_wrong_question_for_corporate_actions_is_refused_without_a_code(quiet_day, query):
    reply = quiet_day.request("GET", "/v1/corporate-actions", params=query)

    assert reply.status_code == 400
    assert reply.json().keys() == {"message"}


def test_a_symbol_that_market_data_does_not_know_has_no_corporate_actions(three_splits):
    three_splits.control.set_symbol("SPY", missing=True)

    assert "SPY" not in actions(three_splits)[0]


def test_quotes_lie_around_the_open_during_a_session_and_around_the_close_after_it(simulator):
    simulator.control.set_clock(datetime.fromisoformat("2026-07-27T09:30-04:00"))
    during = simulator.data.get_stock_latest_quote(StockLatestQuoteRequest(symbol_or_symbols="SPY"))["SPY"]
    simulator.control.set_clock(datetime.fromisoformat("2026-07-28T09:29-04:00"))
    after = simulator.data.get_stock_latest_quote(StockLatestQuoteRequest(symbol_or_symbols="SPY"))["SPY"]
    trade = simulator.data.get_stock_latest_trade(StockLatestTradeRequest(symbol_or_symbols="SPY"))["SPY"]
    bar = generated_bars(7, MONDAY).query("symbol == 'SPY'").iloc[-1]

    assert during.bid_price < bar["open"] < during.ask_price
    assert during.timestamp == datetime.fromisoformat("2026-07-27T09:30-04:00")
    assert after.bid_price < bar["close"] < after.ask_price
    assert after.timestamp == datetime.fromisoformat("2026-07-27T16:00-04:00")
    assert after.ask_price - after.bid_price == pytest.approx(4e-4 * bar["close"], abs=0.011)
    assert trade.price == pytest.approx(bar["close"], abs=0.005)


def test_a_symbol_that_did_not_trade_has_no_quote(tmp_path, start_serving):
    with start_serving(tmp_path, start=datetime.fromisoformat("2025-09-17T12:00-04:00")) as served:
        assert served.get("/v2/stocks/quotes/latest", symbols="LEU,SPY")["quotes"].keys() == {"SPY"}


def test_a_file_is_served_as_it_is_and_close_only_rows_are_flat(tmp_path, start_serving):
    path = tmp_path / "bars.csv"
    path.write_text(
        "date,symbol,open,high,low,close,volume,note\n"
        "2026-07-27,OWN,10.5,12,10,11,1000,x\n"
        "2026-07-24,OWN,,,,10.123456,,x\n"
        "2026-07-28,OWN,,,,12.5,,x\n"
    )
    with start_serving(tmp_path / "state", bars=str(path)) as served:
        flat = served.get("/v2/stocks/bars/latest", symbols="OWN")["bars"]["OWN"]
        served.control.set_clock(datetime.fromisoformat("2026-07-27T10:00-04:00"))
        at_open = served.get("/v2/stocks/trades/latest", symbols="OWN")["trades"]["OWN"]["p"]
        served.control.set_clock(datetime.fromisoformat("2026-07-28T10:00-04:00"))
        close_only = served.get("/v2/stocks/trades/latest", symbols="OWN")["trades"]["OWN"]["p"]

    assert flat == {**dict.fromkeys(("o", "h", "l", "c", "vw"), 10.123456), "v": 0, "n": 0, "t": "2026-07-24T04:00:00Z"}
    assert (at_open, close_only) == (10.5, 12.5)


def test_a_symbol_whose_rows_end_early_is_delisted(tmp_path, start_serving):
    path = tmp_path / "bars.parquet"
    bars = generated_bars(7, date(2026, 7, 31)).query("symbol in ['SPY', 'EXC']")
    bars[(bars["symbol"] == "SPY") | (bars["session"] <= MONDAY)].to_parquet(path)
    with start_serving(tmp_path / "state", bars=str(path)) as served:
        assert served.get("/v2/assets/EXC")["tradable"]
        served.control.set_clock(datetime.fromisoformat("2026-07-28T10:00-04:00"))
        reply = served.order(symbol="EXC", qty="1")

    assert (reply.status_code, reply.json()["message"]) == (422, 'asset "EXC" is not tradable')


@pytest.mark.parametrize(
    ("sample", "path", "kind"),
    [
        ("historical_stock_data__get_bars", "/v2/stocks/bars?symbols=SPY&timeframe=1D&start=2026-07-01", "bars"),
        ("historical_stock_data__stock_labar", "/v2/stocks/bars/latest?symbols=SPY", "bars"),
        ("historical_stock_data__get_laquote", "/v2/stocks/quotes/latest?symbols=SPY", "quotes"),
        ("historical_stock_data__get_latrade", "/v2/stocks/trades/latest?symbols=SPY", "trades"),
    ],
)  # fmt: skip
def test_replies_have_every_key_of_the_recorded_ones(quiet_day, samples, sample, path, kind):
    recorded = json.loads(Path(samples / f"{sample}.json").read_text())
    answered = quiet_day.get(path)

    rows = [next(iter(reply[kind].values())) for reply in (recorded, answered)]
    first, second = (row[0] if isinstance(row, list) else row for row in rows)
    assert recorded.keys() <= answered.keys()
    assert first.keys() <= second.keys()
    assert all(isinstance(second[key], int | float) for key in second if isinstance(first[key], int | float))


def test_real_bars_are_served_unchanged(start_serving, tmp_path, samples):
    path = samples.parents[1] / "bars.parquet"
    expected = pd.read_parquet(path, columns=["symbol", "date", "close"]).query("symbol == 'SPY'")
    expected = expected[(expected["date"] >= date(2026, 7, 1)) & (expected["date"] <= date(2026, 7, 24))]
    with start_serving(tmp_path, bars=str(path)) as served:
        start = datetime(2026, 7, 1, tzinfo=UTC)
        bars = served.data.get_stock_bars(daily("SPY", start, adjustment=Adjustment.ALL))["SPY"]

    assert [bar.close for bar in bars] == expected["close"].astype(float).tolist()


def test_too_many_questions_for_corporate_actions_are_refused_as_market_data_does(tmp_path, start_serving):
    with start_serving(tmp_path, rate_limit=0) as served:
        reply = served.request("GET", "/v1/corporate-actions")

    assert (reply.status_code, reply.json()) == (429, {"message": "too many requests."})
