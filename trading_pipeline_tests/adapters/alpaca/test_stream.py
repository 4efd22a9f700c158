import contextlib
import json
import os
import socket
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus

import pytest
from pydantic import ValidationError
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from trading_pipeline.adapters.alpaca import stream_news
from trading_pipeline.adapters.alpaca.stream import OrderStream, StreamOptions, stream_options, stream_url
from trading_pipeline.adapters.alpaca.stream_states import Backoff, StreamState
from trading_pipeline.adapters.alpaca.transport import Keys
from trading_pipeline.adapters.clocks import WallClock
from trading_pipeline.domain.errors import Interrupted, InvalidInput
from trading_pipeline.ports import Severity
from trading_pipeline.settings import MonitoringSettings
from trading_pipeline_tests.adapters.alpaca.trade_updates import execution, frame, trade_update
from trading_pipeline_tests.waiting import PATIENCE, eventually

KEYS = Keys("PK-KEY", "SECRET")
QUICK = StreamOptions(backoff=Backoff(0.01, 0.05))
LONG = 60.0


class Peer(ServerConnection):
    """The other side of one connection; a dead one sends nothing any more, pongs included."""

    is_dead = False

    def send_data(self):
        if not self.is_dead:
            super().send_data()

    def asked(self):
        return json.loads(self.recv(timeout=PATIENCE))

    def admit(self):
        """Accept the keys and the subscription, in binary frames as paper does."""
        login = self.asked()
        assert login == {"action": "authenticate", "data": {"key_id": "PK-KEY", "secret_key": "SECRET"}}
        self.send(frame({"status": "authorized", "action": "authenticate"}, "authorization"))
        assert self.asked() == {"action": "listen", "data": {"streams": ["trade_updates"]}}
        self.send(frame({"streams": ["trade_updates"]}, "listening"))

    def stay(self):
        """Listen until the client goes."""
        for _ in self:
            pass


class Exchange:
    """A server that treats each connection as the next of its ``stories`` tells, the last one again and again."""

    def __init__(self, *stories):
        self.stories = list(stories)
        self.connections = 0
        self.refusals = []
        self._server = serve(
            self._treat, "127.0.0.1", 0, create_connection=Peer, process_request=self._refuse, close_timeout=1
        )
        self.url = f"ws://127.0.0.1:{self._server.socket.getsockname()[1]}/stream"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def _refuse(self, peer, _request):
        return peer.respond(self.refusals.pop(0), "not now") if self.refusals else None

    def _treat(self, peer):
        self.connections += 1
        story = self.stories.pop(0) if len(self.stories) > 1 else self.stories[0]
        with contextlib.suppress(ConnectionClosed, TimeoutError):
            story(peer)

    def close(self):
        self._server.shutdown()
        self._thread.join()


class Alerts:
    def __init__(self):
        self.sent = []

    def notify(self, alert):
        self.sent.append(alert)
        return True


def quiet(peer):
    peer.admit()
    peer.stay()


def saying(*frames):
    def story(peer):
        peer.admit()
        for each in frames:
            peer.send(each)
        peer.stay()

    return story


def hanging_up(peer):
    peer.admit()


@pytest.fixture
def exchange():
    opened = []

    def open_exchange(*stories):
        opened.append(Exchange(*stories))
        return opened[-1]

    yield open_exchange
    for each in opened:
        each.close()


@pytest.fixture
def listen(exchange):
    """Start a stream to an exchange of the given stories."""
    with contextlib.ExitStack() as stack:

        def started(*stories, options=QUICK, url=None, on_gap=None, notifier=None, ending=None):
            server = exchange(*stories) if stories else None
            stream = OrderStream(url or server.url, KEYS, on_gap, notifier, WallClock(ending), options)
            stack.enter_context(stream)
            return stream, server

        yield started


def is_live(stream):
    return stream.state is StreamState.LIVE


def test_the_address_of_the_stream_follows_that_of_the_trading_api():
    assert stream_url("http://127.0.0.1:8010") == "ws://127.0.0.1:8010/stream"
    assert stream_url("https://api.alpaca.markets") == "wss://api.alpaca.markets/stream"


@pytest.mark.parametrize("url", ["ws://paper-api.alpaca.markets/stream", "https://api.alpaca.markets/stream", "stream"])
def test_keys_are_never_sent_in_the_clear(url):
    with pytest.raises(InvalidInput, match="must be wss"):
        OrderStream(url, KEYS, None, None, WallClock())


def test_deadlines_and_pauses_are_those_of_the_settings():
    chosen = MonitoringSettings(
        stream_connect_seconds=1, stream_authenticate_seconds=2, stream_ping_seconds=3, stream_pong_seconds=4,
        stream_grace_seconds=5, stream_first_backoff_seconds=6, stream_longest_backoff_seconds=7,
        stream_failures_before_polling=8,
    )  # fmt: skip

    assert stream_options(chosen) == StreamOptions(1, 2, 3, 4, 5, Backoff(6, 7), 8)
    assert stream_options(MonitoringSettings()) == StreamOptions()


def test_the_longest_pause_of_the_settings_is_not_below_the_shortest():
    with pytest.raises(ValidationError, match="stream_longest_backoff_seconds, 30, must not be below"):
        MonitoringSettings(stream_first_backoff_seconds=31)


def test_a_stream_that_breaks_is_closed_and_whoever_waits_on_it_passes_the_time(listen, monkeypatch):
    broken = []
    monkeypatch.setattr(threading, "excepthook", lambda failure: broken.append(failure.exc_value))

    def fail():
        raise KeyError("a mistake of the caller")

    stream, _ = listen(quiet, on_gap=fail)
    eventually(lambda: broken)
    stream.wait(LONG)
    stream.wait(0.1)
    stream.close()

    assert stream.state is StreamState.CLOSED
    assert isinstance(broken[0], KeyError)


def test_a_change_wakes_whoever_waits_and_is_told(listen):
    stream, _ = listen(saying(frame(execution(1, 4, 4)), frame(execution(2, 6, 10)).decode()))
    eventually(lambda: stream.snapshot().news.events == 2)

    began = time.monotonic()
    stream.wait(LONG)

    assert time.monotonic() - began < LONG / 2
    assert [change.event for change in stream.take()] == ["partial_fill", "fill"]
    assert [fill.execution_id for fill in stream.fills] == ["execution-1", "execution-2"]


def test_each_connection_wakes_whoever_waits_and_asks_for_a_look_over_rest(listen):
    gaps = []
    stream, server = listen(hanging_up, hanging_up, quiet, on_gap=lambda: gaps.append(1))

    eventually(lambda: server.connections == 3 and is_live(stream))

    assert len(gaps) == 3
    stream.wait(LONG)
    snapshot = stream.snapshot()
    assert (snapshot.connects, snapshot.failures, snapshot.failures_in_a_row) == (3, 2, 2)
    assert "ConnectionClosed" in snapshot.last_failure


def test_without_news_a_wait_takes_its_time_and_no_longer(listen):
    stream, _ = listen(quiet)
    eventually(lambda: is_live(stream))
    stream.wait(LONG)

    began = time.monotonic()
    stream.wait(0.7)

    assert 0.7 <= time.monotonic() - began < LONG / 2


def test_news_from_before_the_wait_is_told_once(listen):
    stream, _ = listen(saying(frame(trade_update())))
    eventually(lambda: stream.snapshot().news.events)
    stream.wait(LONG)

    began = time.monotonic()
    stream.wait(0.1)

    assert time.monotonic() - began >= 0.1


def test_a_wait_is_broken_off_when_the_process_is_asked_to_end(listen):
    ending = threading.Event()
    stream, _ = listen(quiet, ending=ending)
    eventually(lambda: is_live(stream))
    stream.wait(LONG)
    ending.set()

    with pytest.raises(Interrupted):
        stream.wait(LONG)


def test_a_wait_on_a_stream_that_was_never_started_passes_the_time():
    stream = OrderStream("ws://127.0.0.1:1/stream", KEYS, None, None, WallClock())
    began = time.monotonic()
    stream.wait(0.1)
    stream.close()

    assert time.monotonic() - began >= 0.1
    assert stream.state is StreamState.CLOSED


def test_a_second_start_changes_nothing_and_a_closed_stream_may_start_again(listen):
    stream, server = listen(quiet)
    stream.start()
    eventually(lambda: is_live(stream))
    assert server.connections == 1

    stream.close()
    assert stream.state is StreamState.CLOSED
    stream.start()
    eventually(lambda: is_live(stream))


def test_repeated_and_late_executions_are_told_once(listen):
    updates = [execution(n, 2, 2 * n) for n in range(1, 6)]
    stream, _ = listen(saying(*(frame(update) for update in [*reversed(updates), *updates])))

    eventually(lambda: stream.snapshot().news.duplicates == 5)

    assert stream.snapshot().news.events == 5
    assert sum(fill.quantity for fill in stream.fills) == 10


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        ("[1, 2]", "a list"),
        (frame({"event": "fill"}), "cannot be read"),
        (frame(trade_update("order_teleported")), "order_teleported"),
        (frame({}, "weather"), "weather"),
    ],
)
def test_a_frame_that_cannot_be_used_is_set_aside_and_the_stream_lives(listen, bad, reason):
    gaps = []
    stream, server = listen(saying(bad, frame(trade_update())), on_gap=lambda: gaps.append(1))

    eventually(lambda: stream.snapshot().news.events)

    assert stream.snapshot().news.quarantined == 1
    assert reason in stream.quarantine[0].reason
    assert (server.connections, len(gaps)) == (1, 2)


def test_more_news_than_is_kept_asks_for_a_look_over_rest(listen, monkeypatch):
    monkeypatch.setattr(stream_news, "MOST_WAITING", 3)
    gaps = []
    stream, _ = listen(saying(*(frame(execution(n, 1, n, of=100)) for n in range(1, 6))), on_gap=lambda: gaps.append(1))

    eventually(lambda: stream.snapshot().news.overflowed == 2)

    assert eventually(lambda: len(gaps) == 3)
    assert [int(change.order.filled_quantity) for change in stream.take()] == [3, 4, 5]


def failing(listen, *stories, **options):
    """Let a stream fail until it is given up; what it said last, and the alert."""
    alerts = Alerts()
    stream, server = listen(*stories, notifier=alerts, options=replace(QUICK, **options))
    eventually(lambda: alerts.sent)
    return stream, server, alerts.sent


def test_five_failures_in_a_row_are_told_once_and_the_stream_is_tried_on(listen):
    def refuse(peer):
        peer.asked()
        peer.send(frame({"status": "unauthorized", "action": "authenticate"}, "authorization"))

    stream, server, alerts = failing(listen, refuse)
    eventually(lambda: server.connections >= 7)

    assert len(alerts) == 1
    assert alerts[0].severity is Severity.WARNING
    assert alerts[0].key == f"order_stream:polling_only:{datetime.now(UTC).date()}"  # noqa: TID251 - as it is now
    assert "Unauthorized" in alerts[0].text
    assert "refused the keys" in alerts[0].text
    assert "SECRET" not in alerts[0].text
    server.stories = [quiet]
    eventually(lambda: is_live(stream))


def test_a_stream_without_anybody_to_tell_is_given_up_as_well(listen):
    stream, _ = listen(url="ws://127.0.0.1:1/stream", options=replace(QUICK, failures_before_polling=1))

    eventually(lambda: stream.state is StreamState.POLLING_ONLY)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("[]", "AttributeError"),
        ('{"data": null}', "AttributeError"),
        ("{", "JSONDecodeError"),
        (b"\xff\xfe\xff", "Unicode"),
    ],
)
def test_an_answer_to_the_keys_that_cannot_be_read_is_a_failure(listen, answer, words):
    def garble(peer):
        peer.asked()
        peer.send(answer)

    stream, _, _ = failing(listen, garble)

    assert words in stream.snapshot().last_failure


def test_keys_that_are_never_answered_fail_at_their_deadline(listen):
    stream, _, _ = failing(listen, Peer.stay, authenticate_seconds=0.2, failures_before_polling=2)

    assert "no keys or subscription within 0.2 s" in stream.snapshot().last_failure


def test_a_subscription_that_is_never_acknowledged_fails_at_its_deadline(listen):
    def mute(peer):
        peer.asked()
        peer.send(frame({"status": "authorized"}, "authorization"))
        peer.stay()

    stream, _, _ = failing(listen, mute, authenticate_seconds=0.2, failures_before_polling=1)

    assert stream.snapshot().connects == 0


@pytest.mark.parametrize("offered", [{"streams": []}, {"error": "no"}, None, {"streams": "trade_updates?"}])
def test_a_stream_that_offers_no_order_changes_is_a_failure(listen, offered):
    def offer(peer):
        peer.asked()
        peer.send(frame({"status": "authorized"}, "authorization"))
        peer.asked()
        peer.send(frame(offered, "listening"))
        peer.stay()

    stream, _, _ = failing(listen, offer)

    assert "does not offer order changes" in stream.snapshot().last_failure


def test_a_change_told_before_the_subscription_is_acknowledged_is_not_lost(listen):
    def eager(peer):
        peer.asked()
        peer.send(frame({"status": "authorized"}, "authorization"))
        peer.asked()
        peer.send(frame(trade_update()))
        peer.send(frame({"streams": ["trade_updates"]}, "listening"))
        peer.stay()

    stream, _ = listen(eager)
    eventually(lambda: is_live(stream))

    assert [change.event for change in stream.take()] == ["new"]


def test_a_refused_handshake_is_a_failure_and_the_stream_recovers(exchange, listen):
    server = exchange(quiet)
    server.refusals = [HTTPStatus.NOT_ACCEPTABLE, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY]
    stream, _ = listen(url=server.url)

    eventually(lambda: is_live(stream))

    assert stream.snapshot().failures == 3
    assert "502" in stream.snapshot().last_failure


def test_a_refused_connection_is_a_failure(listen):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    stream, _, _ = failing(lambda **options: listen(url=f"ws://127.0.0.1:{port}/stream", **options))

    assert "ConnectionRefusedError" in stream.snapshot().last_failure


def test_a_server_that_accepts_and_says_nothing_fails_at_the_deadline_of_the_connection(listen):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"ws://127.0.0.1:{silent.getsockname()[1]}/stream"
        stream, _ = listen(url=url, options=replace(QUICK, connect_seconds=0.2))
        eventually(lambda: stream.snapshot().failures)

        assert "TimeoutError" in stream.snapshot().last_failure


def test_a_peer_that_answers_no_ping_is_left(listen):
    def dies(peer):
        peer.admit()
        peer.is_dead = True
        peer.stay()

    stream, server = listen(dies, quiet, options=replace(QUICK, ping_seconds=0.1, pong_seconds=0.2))

    eventually(lambda: server.connections == 2 and is_live(stream))

    assert "ping" in stream.snapshot().last_failure


def test_a_server_that_hangs_up_after_each_subscription_is_failing(listen):
    alerts = Alerts()
    stream, _ = listen(hanging_up, notifier=alerts)

    eventually(lambda: alerts.sent)

    assert stream.snapshot().connects >= 5


def test_failures_are_forgotten_once_a_connection_has_held(listen):
    stream, server = listen(hanging_up, hanging_up, quiet)

    eventually(lambda: server.connections == 3 and is_live(stream) and stream.snapshot().failures_in_a_row == 0)

    assert stream.snapshot().failures == 2


def test_a_stream_that_keeps_a_change_to_itself_is_stale_and_made_anew(listen):
    stream, server = listen(quiet, options=replace(QUICK, grace_seconds=0.0))
    eventually(lambda: is_live(stream))
    order = stream_news.order_change(trade_update()).order
    stream.compare([order])
    filled = replace(order, filled_quantity=order.quantity)
    stream.compare([filled])

    eventually(lambda: stream.compare([filled]) or server.connections == 2)

    assert stream.snapshot().failures == 1
    eventually(lambda: is_live(stream))
    stream.wait(LONG)


def test_a_stream_that_told_what_the_broker_says_stays(listen):
    stream, server = listen(saying(frame(execution(1, 10, 10))), options=replace(QUICK, grace_seconds=0.0))
    eventually(lambda: stream.snapshot().news.events)
    order = stream_news.order_change(execution(1, 10, 10)).order
    for _ in range(3):
        stream.compare([order])

    assert (stream.state, server.connections) == (StreamState.LIVE, 1)


def test_what_the_broker_says_while_the_stream_is_down_is_not_held_against_it():
    stream = OrderStream("ws://127.0.0.1:1/stream", KEYS, None, None, WallClock())
    stream.compare([stream_news.order_change(execution(1, 10, 10)).order])

    assert stream.state is StreamState.CLOSED


def open_descriptors():
    return set(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize(
    "story",
    [quiet, Peer.stay, lambda peer: setattr(peer, "is_dead", True) or peer.stay(), hanging_up],
    ids=["live", "unanswered keys", "dead", "backing off"],
)
def test_a_closed_stream_leaves_no_thread_and_no_descriptor_and_takes_no_two_seconds(exchange, story):
    server = exchange(story)
    stream = OrderStream(server.url, KEYS, None, None, WallClock(), replace(QUICK, backoff=Backoff(30, 60)))
    threads, before = threading.active_count(), None
    for _ in range(2):
        # The first round leaves behind what libraries keep for good.
        before = open_descriptors()
        connections = server.connections
        stream.start()
        thread = stream._thread
        eventually(lambda: server.connections > connections)  # noqa: B023 - called at once
        began = time.monotonic()
        stream.close()
        took = time.monotonic() - began

    assert not thread.is_alive()
    assert took < 5
    eventually(lambda: open_descriptors() <= before)
    eventually(lambda: threading.active_count() <= threads)


def test_closing_while_a_silent_server_is_connected_to_does_not_wait_for_it():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        stream = OrderStream(f"ws://127.0.0.1:{silent.getsockname()[1]}/stream", KEYS, None, None, WallClock())
        stream.start()
        thread = stream._thread
        with silent.accept()[0]:
            stream.close()

        assert not thread.is_alive()
        assert stream.state is StreamState.CLOSED
