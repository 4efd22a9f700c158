import asyncio
import contextlib
import functools
import json
import queue
import threading
import time
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from decimal import Decimal

import msgpack
import pytest
from alpaca.data.live import StockDataStream
from alpaca.trading.models import TradeUpdate
from alpaca.trading.stream import TradingStream
from hypothesis import given
from hypothesis import strategies as some
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from trading_pipeline.domain.errors import RequestRefused
from trading_pipeline.domain.sessions import NEW_YORK
from trading_pipeline.simulator import data_stream
from trading_pipeline.simulator.control import start_simulator
from trading_pipeline.simulator.stream_faults import StreamFaults

FRIDAY_EVENING = datetime.fromisoformat("2026-07-24T16:30-04:00")
OPENING = datetime.fromisoformat("2026-07-27T09:30-04:00")
CLOSING = datetime.fromisoformat("2026-07-27T16:00-04:00")
DEADLINE = 30.0
MSGPACK = {"Content-Type": "application/msgpack"}
EVENTS_OF_A_FILL = ["pending_new", "new", "fill"]
CHANNELS = ["trades", "quotes", "bars", "updatedBars", "dailyBars", "statuses", "lulds", "corrections", "cancelErrors"]


def until(condition):
    give_up = time.monotonic() + DEADLINE
    while not (found := condition()):
        assert time.monotonic() < give_up, "nothing happened within the deadline"
        threading.Event().wait(0.01)
    return found


def live(served, stream):
    return served.control.streams()["connections"][stream]["live"]


def address(served, path):
    return served.url.replace("http", "ws") + path


def received(arrived, count):
    return [arrived.get(timeout=DEADLINE) for _ in range(count)]


def nothing_more(arrived):
    """Tell what else came; call it after something that comes later than whatever might still come."""
    return list(arrived.queue)


@contextlib.contextmanager
def running(served, stream, kind):
    """Run a client of alpaca-py until the end of the block."""
    stream._reconnect_min_backoff, stream._reconnect_max_backoff = 0.01, 0.05
    thread = threading.Thread(target=stream.run)
    thread.start()
    try:
        until(lambda: live(served, kind))
        yield stream
    finally:
        stream.stop()
        # The client looks whether it should stop every five seconds, or when its connection ends.
        served.control.stream_fault("ws_drop", code=1001)
        served.control.stream_faults_clear()
        thread.join(DEADLINE)
        assert not thread.is_alive()


@contextlib.contextmanager
def listening(served, path="/stream", **options):
    """Run the real TradingStream; yield a queue of what its handler is given."""
    arrived = queue.Queue()

    async def keep(update):
        arrived.put(update)

    stream = TradingStream(*served.keys, url_override=address(served, path), **options)
    stream.subscribe_trade_updates(keep)
    with running(served, stream, "trading"):
        yield arrived


@contextlib.contextmanager
def watching(served, *symbols, feed="iex", channels=("quotes", "trades", "bars", "daily_bars", "trading_statuses")):
    """Run the real StockDataStream; yield a queue of what its handlers are given, by channel."""
    arrived = queue.Queue()
    stream = StockDataStream(*served.keys, url_override=address(served, f"/v2/{feed}"))
    for channel in channels:

        async def keep(message, channel=channel):
            arrived.put((channel, message))

        getattr(stream, f"subscribe_{channel}")(keep, *symbols)
    with running(served, stream, "data"):
        yield arrived


@contextlib.contextmanager
def raw_orders(served, keys=None, path="/stream"):
    """Open /stream by hand; yield the connection and the answer to the keys."""
    key, secret = keys or served.keys
    with connect(address(served, path), proxy=None) as websocket:
        websocket.send(json.dumps({"action": "authenticate", "data": {"key_id": key, "secret_key": secret}}))
        yield websocket, json.loads(websocket.recv(DEADLINE))


@contextlib.contextmanager
def raw_data(served, *messages, path="/v2/iex", answers=None):
    """Open a feed by hand, say ``messages`` and yield the connection and as many answers, all in msgpack."""
    with connect(address(served, path), proxy=None, additional_headers=MSGPACK) as websocket:
        for message in messages:
            websocket.send(message if isinstance(message, bytes) else msgpack.packb(message))
        count = len(messages) + 1 if answers is None else answers
        yield websocket, [msgpack.unpackb(websocket.recv(DEADLINE))[0] for _ in range(count)]


def login(served):
    return {"action": "auth", "key": served.keys[0], "secret": served.keys[1]}


def fill(served, **body):
    """Send a market order and read it until it is filled; return the order as REST has it."""
    sent = served.order(**{"qty": "10", **body}).json()
    return until(lambda: (order := served.get(f"/v2/orders/{sent['id']}"))["status"] == "filled" and order)


def test_the_real_client_hears_every_step_of_an_order(trading_day):
    with listening(trading_day) as arrived:
        order = fill(trading_day)
        updates = received(arrived, 3)

    activity = trading_day.get("/v2/account/activities/FILL")[0]
    assert [update.event for update in updates] == EVENTS_OF_A_FILL
    assert [update.order.status for update in updates] == ["pending_new", "new", "filled"]
    assert len({update.execution_id for update in updates}) == 3
    assert [update.timestamp for update in updates] == sorted(update.timestamp for update in updates)
    assert all(update.price is update.qty is update.position_qty is None for update in updates[:2])
    last = updates[-1]
    assert (last.qty, last.position_qty, last.price) == (10.0, 10.0, float(order["filled_avg_price"]))
    assert activity["id"].endswith(str(last.execution_id))
    assert activity["transaction_time"] == order["filled_at"]


def test_the_order_in_an_event_is_the_one_that_rest_tells(trading_day):
    with listening(trading_day, raw_data=True) as arrived:
        order = fill(trading_day)
        last = received(arrived, 3)[-1]

    assert last["data"]["order"] == order
    assert last["data"]["timestamp"] == order["filled_at"]
    assert last.keys() == {"stream", "data"}


def test_a_cancelled_order_and_one_that_expires_are_told(trading_day):
    with listening(trading_day) as arrived:
        first = trading_day.order(qty="1", type="limit", limit_price="1").json()
        trading_day.request("DELETE", f"/v2/orders/{first['id']}")
        trading_day.get("/v2/orders")
        second = trading_day.order(qty="1", type="limit", limit_price="2").json()
        trading_day.control.set_clock(CLOSING)
        told = [arrived.get(timeout=DEADLINE)]
        while told[-1].event != "expired":
            told.append(arrived.get(timeout=DEADLINE))

    assert [item.event for item in told if str(item.order.id) == first["id"]][-1] == "canceled"
    assert [item.event for item in told if str(item.order.id) == second["id"]] == ["pending_new", "new", "expired"]


def test_shares_held_are_those_after_each_execution(trading_day):
    with listening(trading_day) as arrived:
        fill(trading_day, qty="3")
        fill(trading_day, qty="2")
        fill(trading_day, qty="4", side="sell")
        fills = [update for update in received(arrived, 9) if update.event == "fill"]

    assert [(update.qty, update.position_qty) for update in fills] == [(3, 3), (2, 5), (4, 1)]


def test_every_listener_of_an_account_is_told(trading_day):
    with listening(trading_day) as first, raw_orders(trading_day) as (second, _):
        second.send(json.dumps({"action": "listen", "data": {"streams": ["trade_updates"]}}))
        assert json.loads(second.recv(DEADLINE)) == {"stream": "listening", "data": {"streams": ["trade_updates"]}}
        fill(trading_day)
        told = [json.loads(second.recv(DEADLINE))["data"]["event"] for _ in range(3)]

        assert told == [update.event for update in received(first, 3)] == EVENTS_OF_A_FILL


def test_each_account_hears_of_its_own_orders_only(tmp_path, start_serving):
    with start_serving(tmp_path, start=OPENING, accounts=2) as first:
        (second,) = first.others
        with listening(first) as heard, raw_orders(second) as (websocket, _):
            websocket.send(json.dumps({"action": "listen", "data": {"streams": ["trade_updates"]}}))
            websocket.recv(DEADLINE)
            ours, theirs = fill(first), fill(second)
            events = [json.loads(websocket.recv(DEADLINE))["data"] for _ in range(3)]

            assert {event["order"]["id"] for event in events} == {theirs["id"]}
            assert {str(update.order.id) for update in received(heard, 3)} == {ours["id"]}
            assert nothing_more(heard) == []


def test_who_authenticates_and_does_not_listen_is_told_nothing(trading_day):
    with raw_orders(trading_day) as (websocket, _):
        fill(trading_day)
        websocket.send(json.dumps({"action": "listen", "data": {"streams": ["no such stream"]}}))

        assert json.loads(websocket.recv(DEADLINE)) == {"stream": "listening", "data": {"streams": []}}


@pytest.mark.parametrize(("path", "kind"), [("/stream", bytes), ("/stream?frames=text", str)])
def test_frames_are_binary_as_on_paper_or_text_as_live(quiet_day, path, kind):
    with raw_orders(quiet_day, path=path) as (websocket, answer):
        websocket.send(json.dumps({"action": "listen", "data": {"streams": ["trade_updates"]}}).encode())

        assert answer["data"] == {"action": "authenticate", "status": "authorized"}
        assert isinstance(websocket.recv(DEADLINE), kind)


def test_keys_may_be_sent_the_short_way(quiet_day):
    with connect(address(quiet_day, "/stream"), proxy=None) as websocket:
        websocket.send(json.dumps(login(quiet_day)))

        assert json.loads(websocket.recv(DEADLINE))["data"]["status"] == "authorized"


def test_wrong_keys_are_answered_as_alpaca_answers_them(quiet_day):
    with raw_orders(quiet_day, keys=("WRONG", "keys")) as (websocket, answer):
        websocket.send(json.dumps({"action": "listen", "data": {"streams": ["trade_updates"]}}))
        listen = json.loads(websocket.recv(DEADLINE))

    assert answer == {"stream": "authorization", "data": {"action": "authenticate", "status": "unauthorized"}}
    assert listen == {"stream": "authorization", "data": {"action": "listen", "status": "unauthorized"}}


@pytest.mark.parametrize("message", ["no json", "[]", '{"action": "sing"}', b"\xc1\xff", b"\x81\xa1"])
def test_a_message_that_means_nothing_ends_the_order_stream(quiet_day, message):
    with connect(address(quiet_day, "/stream"), proxy=None) as websocket:
        websocket.send(message)
        with pytest.raises(ConnectionClosed) as closed:
            websocket.recv(DEADLINE)

    assert closed.value.rcvd.code == 1003


def test_a_simulator_process_serves_streams_and_ends_while_they_are_open(tmp_path):
    started = start_simulator(tmp_path, start=OPENING, watch_parent=True)
    try:
        with connect(f"ws://127.0.0.1:{started.port}/stream", proxy=None) as websocket:
            websocket.send(json.dumps({"action": "auth", "key": started.key_id, "secret": started.secret_key}))
            authorized = json.loads(websocket.recv(DEADLINE))["data"]["status"]
            connections = started.control.streams()["connections"]["trading"]
            started.stop()
            with pytest.raises(ConnectionClosed) as closed:
                websocket.recv(DEADLINE)
    finally:
        started.stop()

    assert authorized == "authorized"
    assert connections == {"connected": 1, "live": 0}
    assert closed.value.rcvd.code == 1012
    assert started.process.returncode == 0


@pytest.mark.parametrize("code", [None, 1000, 1011])
def test_a_dropped_client_comes_back_and_is_not_told_what_it_missed(trading_day, code):
    with listening(trading_day) as arrived:
        trading_day.control.stream_fault("ws_refuse", status=429)
        trading_day.control.stream_fault("ws_drop", **({} if code is None else {"code": code}))
        until(lambda: live(trading_day, "trading") == 0)
        missed = fill(trading_day)
        trading_day.control.stream_faults_clear()
        until(lambda: live(trading_day, "trading") == 1)
        heard = fill(trading_day)
        updates = received(arrived, 3)

    assert {str(update.order.id) for update in updates} == {heard["id"]}
    assert missed["id"] != heard["id"]


@pytest.mark.parametrize(("code", "expected"), [(None, None), (1012, 1012)])
def test_a_drop_ends_a_connection_with_a_code_or_without_a_word(simulator, code, expected):
    with raw_orders(simulator) as (websocket, _):
        simulator.control.stream_fault("ws_drop", stream="trading", **({} if code is None else {"code": code}))
        with pytest.raises(ConnectionClosed) as closed:
            websocket.recv(DEADLINE)

    assert (closed.value.rcvd.code if closed.value.rcvd else None) == expected


def test_a_refused_handshake_has_the_status_that_was_asked_for(simulator):
    simulator.control.stream_fault("ws_refuse", status=429, times=1)

    with pytest.raises(InvalidStatus) as refused, connect(address(simulator, "/stream"), proxy=None):
        pass

    assert refused.value.response.status_code == 429
    with raw_orders(simulator) as (_, answer):
        assert answer["data"]["status"] == "authorized"


def test_a_handshake_without_a_key_is_no_handshake(quiet_day):
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}

    assert quiet_day.request("GET", "/stream", headers=headers).status_code == 400


def test_keys_can_be_taken_for_wrong(simulator):
    simulator.control.stream_fault("ws_unauth", times=1)

    with raw_orders(simulator) as (_, answer):
        assert answer["data"]["status"] == "unauthorized"
    with raw_orders(simulator) as (_, answer):
        assert answer["data"]["status"] == "authorized"


@pytest.mark.parametrize("path", ["/stream", "/v2/iex"])
def test_authentication_can_stay_without_answer(simulator, path):
    simulator.control.stream_fault("ws_no_auth_answer")

    with connect(address(simulator, path), proxy=None) as websocket:
        if path == "/v2/iex":
            websocket.recv(DEADLINE)
        websocket.send(json.dumps(login(simulator)))
        until(lambda: simulator.control.streams()["faults"][0]["used"])
        with pytest.raises(TimeoutError):
            websocket.recv(0.05)
        simulator.control.stream_faults_clear()
        websocket.send(json.dumps(login(simulator)))

        assert "auth" in str(websocket.recv(DEADLINE))


@pytest.mark.parametrize(
    ("fault", "times", "told"),
    [
        ("ws_drop_event", 1, ["new", "fill"]),
        ("ws_drop_event", 2, ["fill"]),
        ("ws_dup_event", 2, ["pending_new", "pending_new", "new", "new", "fill"]),
        ("ws_reorder", 1, ["new", "pending_new", "fill"]),
        ("ws_garbage", 2, ["fill"]),
        ("ws_unknown_event", 1, ["unheard_of", "new", "fill"]),
    ],
)
def test_events_can_be_lost_repeated_reordered_and_broken(trading_day, fault, times, told):
    with listening(trading_day) as arrived:
        trading_day.control.stream_fault(fault, stream="trading", times=times)
        fill(trading_day)

        assert [update.event for update in received(arrived, len(told))] == told
        assert nothing_more(arrived) == []
        assert trading_day.control.streams()["faults"][0]["used"] == times


def test_garbage_is_a_frame_that_is_no_json(trading_day):
    with raw_orders(trading_day) as (websocket, _):
        websocket.send(json.dumps({"action": "listen", "data": {"streams": ["trade_updates"]}}))
        websocket.recv(DEADLINE)
        trading_day.control.stream_fault("ws_garbage", times=1)
        fill(trading_day)

        with pytest.raises(UnicodeDecodeError):
            json.loads(websocket.recv(DEADLINE))
        assert json.loads(websocket.recv(DEADLINE))["data"]["event"] == "new"


def test_a_mute_stream_says_nothing_and_answers_pings(trading_day):
    with raw_orders(trading_day) as (websocket, _):
        websocket.send(json.dumps({"action": "listen", "data": {"streams": ["trade_updates"]}}))
        websocket.recv(DEADLINE)
        trading_day.control.stream_fault("ws_mute")
        fill(trading_day)
        assert websocket.ping().wait(DEADLINE)
        trading_day.control.stream_faults_clear()
        later = fill(trading_day)

        assert json.loads(websocket.recv(DEADLINE))["data"]["order"]["id"] == later["id"]


def test_a_mute_stream_can_leave_pings_unanswered(trading_day):
    with raw_orders(trading_day) as (websocket, _):
        websocket.send(json.dumps({"action": "listen", "data": {"streams": ["trade_updates"]}}))
        websocket.recv(DEADLINE)
        trading_day.control.stream_fault("ws_mute", stream="trading", pings=False)
        pong = websocket.ping()
        assert not pong.wait(0.2)
        trading_day.control.stream_faults_clear()

        assert pong.wait(DEADLINE)


def test_a_client_that_comes_to_a_mute_stream_finds_it_mute(trading_day):
    trading_day.control.stream_fault("ws_mute", pings=False)
    with raw_orders(trading_day) as (websocket, answer):
        websocket.send(json.dumps({"action": "listen", "data": {"streams": ["trade_updates"]}}))
        websocket.recv(DEADLINE)

        assert answer["data"]["status"] == "authorized"
        assert not websocket.ping().wait(0.2)
        trading_day.control.stream_faults_clear()


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"action": "ws_explode"}, "out of ws_refuse, .*, was 'ws_explode'"),
        ({"action": "ws_drop", "stream": "news"}, "a stream is trading or data"),
        ({"action": "ws_drop", "times": 0}, "times is a number from 1 on"),
        ({"action": "ws_drop", "times": True}, "times is a number from 1 on"),
        ({"action": "ws_drop", "status": 404}, "it may have stream, times, code"),
        ({"action": "ws_mute", "pings": 3}, "pings of ws_mute is true or false"),
        ({"action": "ws_drop", "code": "1000"}, "code of ws_drop is a whole number"),
    ],
)
def test_a_fault_that_does_not_exist_is_refused_with_those_that_do(quiet_day, rule, message):
    with pytest.raises(RequestRefused, match=message):
        quiet_day.control.stream_fault(**rule)


@pytest.mark.parametrize("body", [b"", b"[]", b"{"])
def test_a_fault_needs_a_json_object(quiet_day, body):
    token = {"X-Sim-Token": quiet_day.control._session.headers["X-Sim-Token"]}

    reply = quiet_day.request("POST", "/_sim/stream", data=body, headers=token)

    assert reply.status_code == 400
    assert "is JSON with an action out of" in reply.json()["message"]


def test_faults_of_streams_need_the_token(quiet_day):
    assert quiet_day.request("POST", "/_sim/stream", json={"action": "ws_drop"}).status_code == 401


def test_the_open_brings_a_quote_and_a_trade_and_the_close_the_bars(simulator):
    with watching(simulator, "SPY") as arrived:
        simulator.control.set_clock(OPENING)
        (_, quote), (_, trade) = received(arrived, 2)
        rest = simulator.get("/v2/stocks/quotes/latest", symbols="SPY")["quotes"]["SPY"]
        simulator.control.set_clock(CLOSING)
        close = dict(received(arrived, 4))

    day = simulator.get("/v2/stocks/bars/latest", symbols="SPY")["bars"]["SPY"]
    assert (quote.symbol, quote.bid_price, quote.ask_price, quote.timestamp) == ("SPY", rest["bp"], rest["ap"], OPENING)
    assert trade.price == pytest.approx(day["o"], abs=0.005)
    bar, minute = close["daily_bars"], close["bars"]
    assert [bar.open, bar.high, bar.low, bar.close, bar.volume] == [day[key] for key in "ohlcv"]
    assert bar.timestamp == datetime.fromisoformat(day["t"])
    assert (minute.open, minute.close, minute.timestamp) == (day["c"], day["c"], CLOSING - timedelta(minutes=1))
    assert close["trades"].price == pytest.approx(day["c"], abs=0.005)
    assert close["quotes"].timestamp == CLOSING


def test_a_clock_that_jumps_over_days_tells_each_of_them(simulator):
    with watching(simulator, "SPY", "TLT", channels=("daily_bars",)) as arrived:
        simulator.control.set_clock(CLOSING + timedelta(days=4))
        bars = [bar for _, bar in received(arrived, 10)]

    assert [bar.symbol for bar in bars] == ["SPY", "TLT"] * 5
    assert [bar.timestamp.day for bar in bars[::2]] == [27, 28, 29, 30, 31]


def test_only_subscribed_channels_and_symbols_arrive(simulator):
    with watching(simulator, "TLT", channels=("quotes",)) as arrived:
        simulator.control.set_clock(CLOSING)

        assert [(channel, message.symbol) for channel, message in received(arrived, 2)] == [("quotes", "TLT")] * 2
        assert nothing_more(arrived) == []


def test_a_star_stands_for_every_symbol(simulator):
    every = {asset["symbol"] for asset in simulator.get("/v2/assets")}
    with watching(simulator, "*", feed="sip", channels=("daily_bars",)) as arrived:
        simulator.control.set_clock(CLOSING)

        assert {bar.symbol for _, bar in received(arrived, len(every))} == every


def test_a_symbol_that_is_halted_for_a_session_is_said_to_be(simulator):
    with watching(simulator, "LEU") as arrived:
        simulator.control.halt("LEU", OPENING.date())
        simulator.control.set_clock(OPENING)
        channel, status = arrived.get(timeout=DEADLINE)
        simulator.control.set_clock(CLOSING)
        simulator.control.set_clock(OPENING + timedelta(days=1))
        (again, resumed), (quoted, _) = received(arrived, 2)

    assert (channel, status.symbol, status.status_code, status.timestamp) == ("trading_statuses", "LEU", "H", OPENING)
    assert (again, resumed.status_code, resumed.tape) == ("trading_statuses", "T", "B")
    assert quoted == "quotes"


def test_a_symbol_that_was_halted_before_anyone_watched_resumes_for_its_watchers(simulator):
    simulator.control.halt("LEU", OPENING.date())
    simulator.control.set_clock(OPENING)
    with watching(simulator, "LEU", channels=("trading_statuses",)) as arrived:
        simulator.control.set_clock(OPENING + timedelta(days=1))

        assert [status.status_code for _, status in received(arrived, 1)] == ["T"]


def test_a_halt_in_the_middle_of_a_session_and_its_end_are_told_at_once(trading_day):
    with watching(trading_day, "SPY") as arrived:
        trading_day.control.halt("SPY")
        halted = arrived.get(timeout=DEADLINE)
        trading_day.control.resume("SPY")
        told = [halted, *received(arrived, 1)]

    assert [(channel, status.status_code) for channel, status in told] == [
        ("trading_statuses", "H"),
        ("trading_statuses", "T"),
    ]


def test_a_quote_that_moves_is_told(trading_day):
    with watching(trading_day, "SPY", channels=("quotes", "trades")) as arrived:
        before = trading_day.get("/v2/stocks/quotes/latest", symbols="SPY")["quotes"]["SPY"]
        trading_day.control.set_symbol("SPY", quote_factor=Decimal("1.1"))
        (_, quote), (_, trade) = received(arrived, 2)

    assert quote.bid_price == pytest.approx(1.1 * before["bp"], rel=1e-4)
    assert quote.bid_price < trade.price < quote.ask_price


def test_a_clock_that_runs_brings_opens_and_closes_by_itself(tmp_path, start_serving):
    # So fast that the next of them comes soon, however late the client is.
    with (
        start_serving(tmp_path, start=OPENING, clock="replay", factor=60_000.0) as served,
        watching(served, "SPY", channels=("trades",)) as arrived,
    ):
        times = [trade.timestamp.astimezone(NEW_YORK).time() for _, trade in received(arrived, 2)]

    assert set(times) == {time_of_day(9, 30), time_of_day(16)}


def test_a_feed_answers_step_by_step(simulator):
    subscribe = {"action": "subscribe", "quotes": ["SPY", "TLT"], "statuses": ["*"]}
    unsubscribe = {"action": "unsubscribe", "quotes": ["TLT"]}
    with raw_data(simulator, login(simulator), subscribe, unsubscribe) as (_, answers):
        connected, authenticated, first, second = answers

    assert connected == {"T": "success", "msg": "connected"}
    assert authenticated == {"T": "success", "msg": "authenticated"}
    assert first.pop("T") == "subscription"
    assert list(first) == CHANNELS
    assert {name: symbols for name, symbols in first.items() if symbols} == {
        "quotes": ["SPY", "TLT"],
        "statuses": ["*"],
    }
    assert second["quotes"] == ["SPY"]


def error_after(served, *messages):
    with raw_data(served, *messages) as (_, answers):
        return answers[-1]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"\xc1", 400),
        ({"action": "sing"}, 400),
        ([1], 400),
        ({"action": "subscribe", "quotes": ["SPY"]}, 401),
        ({"action": "auth", "key": "WRONG", "secret": "keys"}, 402),
    ],
)
def test_what_comes_before_authentication_is_refused_by_number(quiet_day, message, code):
    assert error_after(quiet_day, message)["code"] == code


@pytest.mark.parametrize("channels", [{"songs": ["SPY"]}, {"quotes": "SPY"}, {"quotes": [1]}])
def test_a_subscription_to_what_is_no_channel_is_bad_syntax(quiet_day, channels):
    answer = error_after(quiet_day, login(quiet_day), {"action": "subscribe", **channels})

    assert answer == {"T": "error", "code": 400, "msg": "invalid syntax"}


def test_authenticating_twice_is_refused(quiet_day):
    assert error_after(quiet_day, login(quiet_day), login(quiet_day))["code"] == 403


def test_an_account_has_one_connection_to_market_data(simulator):
    with raw_data(simulator, login(simulator)):
        answer = error_after(simulator, login(simulator))

    assert answer == {"T": "error", "code": 406, "msg": "connection limit exceeded"}
    until(lambda: not simulator.control.streams()["connections"]["data"]["connected"])
    assert error_after(simulator, login(simulator))["msg"] == "authenticated"


@pytest.mark.parametrize(
    ("rule", "code", "message"),
    [
        ({"action": "ws_406"}, 406, "connection limit exceeded"),
        ({"action": "ws_unauth"}, 402, "auth failed"),
        ({"action": "ws_error"}, 500, "internal error"),
        ({"action": "ws_error", "code": 409}, 409, "insufficient subscription"),
    ],
)
def test_a_feed_can_refuse_the_right_keys(simulator, rule, code, message):
    simulator.control.stream_fault(**rule, times=1)

    with raw_data(simulator, login(simulator)) as (websocket, answers):
        assert answers[-1] == {"T": "error", "code": code, "msg": message}
        with pytest.raises(ConnectionClosed):
            websocket.recv(DEADLINE)


def test_an_insufficient_subscription_ends_the_real_client(simulator):
    simulator.control.stream_fault("ws_error", code=409)
    stream = StockDataStream(*simulator.keys, url_override=address(simulator, "/v2/sip"))

    async def ignore(_):
        """Nothing arrives here."""

    stream.subscribe_bars(ignore, "SPY")
    thread = threading.Thread(target=asyncio.run, args=(stream._run_forever(),))
    thread.start()
    thread.join(DEADLINE)

    assert not thread.is_alive()


def test_no_more_symbols_than_the_limit_may_be_subscribed_to(simulator):
    simulator.control.stream_fault("ws_symbol_limit", symbols=2)
    subscribe = functools.partial(dict, action="subscribe")
    messages = subscribe(quotes=["SPY", "TLT"], trades=["SPY"]), subscribe(quotes=["QQQ"])
    with raw_data(simulator, login(simulator), *messages) as (_, answers):
        assert answers[-2]["T"] == "subscription"
        assert answers[-1] == {"T": "error", "code": 405, "msg": "symbol limit exceeded"}


def test_who_does_not_authenticate_in_time_is_sent_away(simulator, monkeypatch):
    monkeypatch.setattr(data_stream, "AUTHENTICATE_WITHIN", 0.05)
    with raw_data(simulator, answers=2) as (websocket, answers):
        assert answers[-1] == {"T": "error", "code": 404, "msg": "auth timeout"}
        with pytest.raises(ConnectionClosed):
            websocket.recv(DEADLINE)


def test_a_feed_that_does_not_exist_is_refused(quiet_day):
    with pytest.raises(InvalidStatus) as refused, connect(address(quiet_day, "/v2/boats"), proxy=None):
        pass

    assert refused.value.response.status_code == 404


def test_a_client_without_msgpack_is_served_json(simulator):
    with connect(address(simulator, "/v2/test"), proxy=None) as websocket:
        websocket.send(json.dumps(login(simulator)))
        websocket.send(json.dumps({"action": "subscribe", "dailyBars": ["SPY"]}))
        for _ in range(3):
            assert isinstance(websocket.recv(DEADLINE), str)
        simulator.control.set_clock(CLOSING)
        (bar,) = json.loads(websocket.recv(DEADLINE))

    assert (bar["T"], bar["S"], bar["t"]) == ("d", "SPY", "2026-07-27T04:00:00Z")


def test_a_subscription_to_thousands_of_symbols_in_fragments_is_understood(simulator):
    symbols = [f"SYM{number}" for number in range(9_000)]
    packed = msgpack.packb({"action": "subscribe", "dailyBars": ["SPY", *symbols]})
    with raw_data(simulator, login(simulator)) as (websocket, _):
        websocket.send(packed[start : start + 32_768] for start in range(0, len(packed), 32_768))
        (answer,) = msgpack.unpackb(websocket.recv(DEADLINE))
        simulator.control.set_clock(CLOSING)
        (bar,) = msgpack.unpackb(websocket.recv(DEADLINE))

    assert len(answer["dailyBars"]) == 9_001
    assert bar["S"] == "SPY"
    assert bar["t"].to_datetime() == datetime(2026, 7, 27, 4, tzinfo=UTC)


def test_events_of_market_data_can_be_broken_too(simulator):
    subscribe = {"action": "subscribe", "dailyBars": ["SPY"]}
    frames = []
    with raw_data(simulator, login(simulator), subscribe) as (websocket, _):
        for day, (fault, count) in enumerate([("ws_garbage", 1), ("ws_unknown_event", 1), ("ws_dup_event", 2)]):
            simulator.control.stream_fault(fault, stream="data", times=1)
            simulator.control.set_clock(CLOSING + timedelta(days=day))
            frames += [websocket.recv(DEADLINE) for _ in range(count)]

    garbage, unknown, bar, again = frames
    with pytest.raises(msgpack.FormatError):
        msgpack.unpackb(garbage)
    assert msgpack.unpackb(unknown)[0]["T"] == "unheard_of"
    assert msgpack.unpackb(bar)[0]["T"] == "d"
    assert bar == again


def test_an_event_fits_the_model_of_the_real_client_whatever_happened(trading_day):
    with listening(trading_day, raw_data=True) as arrived:
        order = trading_day.order(notional="25.5").json()
        until(lambda: trading_day.get(f"/v2/orders/{order['id']}")["status"] == "filled")
        messages = received(arrived, 3)

    assert all(isinstance(TradeUpdate(**message["data"]), TradeUpdate) for message in messages)
    assert messages[-1]["data"]["order"]["notional"] == "25.5"


def rules(*actions):
    return some.lists(
        some.fixed_dictionaries({"action": some.sampled_from(actions)}, optional={"times": some.integers(1, 5)}),
        max_size=4,
    )


def told(faults, count):
    return [
        event["data"]["number"]
        for number in range(count)
        for event in faults.distorted("trading", "account", {"data": {"number": number}})
    ]


@given(rules("ws_dup_event", "ws_reorder"), some.integers(1, 20))
def test_what_is_repeated_and_reordered_arrives_nevertheless(added, count):
    faults = StreamFaults()
    for rule in added:
        faults.add(rule)

    heard = told(faults, count)

    # The last one may wait for one that follows it.
    assert set(range(count - 1)) <= set(heard) <= set(range(count))
    assert all(abs(place - number) <= 1 for place, number in enumerate(dict.fromkeys(heard)))


@given(rules("ws_drop_event", "ws_mute", "ws_reorder"), some.integers(1, 20))
def test_nothing_arrives_twice_unless_a_rule_says_so_and_uses_are_counted(added, count):
    faults = StreamFaults()
    for rule in added:
        faults.add(rule)

    heard = told(faults, count)

    assert len(heard) == len(set(heard))
    assert all(rule["times"] is None or rule["used"] <= rule["times"] for rule in faults.rules())
    lost = sum(rule["used"] for rule in faults.rules() if rule["action"] != "ws_reorder")
    assert count - lost - len(heard) in (0, 1)


def test_events_of_one_account_do_not_wait_for_those_of_another():
    faults = StreamFaults()
    faults.add({"action": "ws_reorder", "times": 1})
    first, second = {"data": {"number": 1}}, {"data": {"number": 2}}

    assert faults.distorted("trading", "one", first) == []
    assert faults.distorted("trading", "other", second) == [second]
    assert faults.distorted("trading", "one", second) == [second, first]
