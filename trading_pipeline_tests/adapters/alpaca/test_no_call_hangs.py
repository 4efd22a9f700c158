"""Servers made by hand that never come to an end: each call does, inside its deadline and with an error of ours."""

import socket
import struct
import threading
import time
from contextlib import contextmanager

import pytest
from urllib3.exceptions import ConnectTimeoutError

from trading_pipeline.adapters import bounded_http
from trading_pipeline.adapters.alpaca.transport import Connection, trading_api
from trading_pipeline.adapters.clocks import WallClock
from trading_pipeline.domain.errors import DependencyUnavailable
from trading_pipeline.settings import ResilienceSettings

DEADLINE = 0.5
# A busy machine is slow, and slow is not endless.
SLACK = 4.0
HEADERS = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


class Behaviour:
    """What a server does with a connection, until the test is over."""

    def __init__(self):
        self.over = threading.Event()
        self.connections = 0

    def silent(self, peer):
        self.over.wait()

    def reads_and_is_silent(self, peer):
        peer.recv(65_536)
        self.over.wait()

    def drips_the_status_line(self, peer):
        self._drip(peer, b"", b"H")

    def drips_headers(self, peer):
        self._drip(peer, HEADERS, b"X-A: b\r\n")

    def drips_one_header(self, peer):
        self._drip(peer, HEADERS + b"X-A: ", b"b")

    def drips_informational_answers(self, peer):
        self._drip(peer, b"", b"HTTP/1.1 100 Continue\r\n\r\n")

    def drips_the_body(self, peer):
        self._drip(peer, HEADERS + b"Content-Length: 100000\r\n\r\n", b" ")

    def drips_chunks(self, peer):
        self._drip(peer, HEADERS + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n")

    def drips_the_length_of_a_chunk(self, peer):
        self._drip(peer, HEADERS + b"Transfer-Encoding: chunked\r\n\r\n", b"0")

    def drips_a_body_that_ends_with_the_connection(self, peer):
        self._drip(peer, HEADERS + b"Connection: close\r\n\r\n", b" ")

    def half_closes(self, peer):
        peer.shutdown(socket.SHUT_WR)
        self.over.wait()

    def half_closes_inside_the_body(self, peer):
        peer.recv(65_536)
        peer.sendall(HEADERS + b'Content-Length: 1000\r\n\r\n{"cash"')
        peer.shutdown(socket.SHUT_WR)
        self.over.wait()

    def resets_late(self, peer):
        peer.recv(65_536)
        self.over.wait(DEADLINE / 2)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def promises_an_enormous_body(self, peer):
        peer.recv(65_536)
        peer.sendall(HEADERS + b"Content-Length: 99999999999999999999\r\n\r\n{")
        self.over.wait()

    def sends_without_an_end(self, peer):
        peer.recv(65_536)
        peer.sendall(HEADERS + b"Connection: close\r\n\r\n")
        while not self.over.is_set():
            peer.sendall(b" " * 65_536)

    def _drip(self, peer, start, drop):
        peer.recv(65_536)
        peer.sendall(start)
        while not self.over.wait(0.01):
            peer.sendall(drop)


BEHAVIOURS = [name for name in vars(Behaviour) if not name.startswith("_")]


@contextmanager
def serving(behaviour, name):
    """Treat every connection as told; yield the URL."""
    listening = socket.create_server(("127.0.0.1", 0))

    def treat(peer):
        with peer:
            try:
                getattr(behaviour, name)(peer)
            except OSError:
                return  # the client has left, as it should

    def accept():
        while True:
            peer, _ = listening.accept()
            if behaviour.over.is_set():
                peer.close()
                return
            behaviour.connections += 1
            threads.append(threading.Thread(target=treat, args=(peer,)))
            threads[-1].start()

    threads = [threading.Thread(target=accept)]
    threads[0].start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        behaviour.over.set()
        socket.create_connection(listening.getsockname()).close()
        for thread in threads:
            thread.join(30)
        listening.close()


def patient(deadline=DEADLINE, **read):
    once = {"connect_seconds": deadline / 2, "answer_seconds": deadline / 2, "deadline_seconds": deadline}
    return ResilienceSettings(
        trading_read={"answer_seconds": deadline, "deadline_seconds": deadline, "first_wait_seconds": 0.01, **read},
        trading_order=once,
        trading_cancel=once,
    )


def ended_in_time(call, deadline=DEADLINE):
    """Return the error with which ``call`` ended, having made sure that it ended in time."""
    began = time.monotonic()
    with pytest.raises(DependencyUnavailable) as ended:
        call()
    assert time.monotonic() - began < deadline + SLACK
    return ended.value


@pytest.fixture
def api(keys):
    def make(url, **read):
        return trading_api(keys, Connection(url, url, patient(**read)), WallClock())

    return make


@pytest.fixture(params=BEHAVIOURS)
def endless(request):
    behaviour = Behaviour()
    with serving(behaviour, request.param) as url:
        yield behaviour, url


def test_a_read_ends(endless, api):
    _, url = endless

    error = ended_in_time(lambda: api(url).get("/account"))

    assert "reading from Alpaca failed" in str(error)


def test_an_order_ends_and_is_not_sent_again(endless, api):
    behaviour, url = endless

    ended_in_time(lambda: api(url).post("/orders", {"symbol": "SPY"}))

    assert behaviour.connections <= 1


@pytest.mark.parametrize("name", ["silent", "drips_headers"])
def test_a_cancellation_ends_and_is_not_sent_again(api, name):
    behaviour = Behaviour()
    with serving(behaviour, name) as url:
        ended_in_time(lambda: api(url).delete("/orders/1"))

    assert behaviour.connections <= 1


def test_a_server_that_accepts_nothing_is_given_up(api):
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = []
        # Linux queues one more than it is told, and then leaves connections without an answer.
        for _ in range(4):
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(full.getsockname())
        try:
            error = ended_in_time(lambda: api(f"http://127.0.0.1:{full.getsockname()[1]}").get("/account"))
        finally:
            for each in waiting:
                each.close()

    assert "ConnectTimeout" in str(error)


def test_a_name_that_is_never_resolved_is_given_up(api, monkeypatch):
    over = threading.Event()

    def unresolved(*_args, **_more):
        over.wait(60)
        raise socket.gaierror("too late")

    monkeypatch.setattr(socket, "getaddrinfo", unresolved)
    try:
        error = ended_in_time(lambda: api("http://localhost:9").get("/account"))
    finally:
        over.set()

    assert "no connection to localhost in" in str(error)


def test_a_connection_that_comes_too_late_is_closed(monkeypatch):
    late = threading.Event()
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(bounded_http.HTTPConnection, "_new_conn", lambda _: late.wait(60) and ours)
    connection = bounded_http._BoundedHTTP("localhost", 9)
    connection.timeout = 0.05

    with theirs:
        with pytest.raises(ConnectTimeoutError, match=r"no connection to localhost in 0\.05 s"):
            connection._new_conn()
        late.set()
        theirs.settimeout(30)

        assert theirs.recv(1) == b""


def test_retries_share_the_deadline(api):
    behaviour = Behaviour()
    with serving(behaviour, "silent") as url:
        error = ended_in_time(lambda: api(url, answer_seconds=0.15, attempts=10).get("/account"))

    assert 2 <= behaviour.connections <= 5
    assert "times in" in str(error)


def test_a_handshake_that_is_never_answered_is_given_up(api):
    behaviour = Behaviour()
    with serving(behaviour, "silent") as url:
        ended_in_time(lambda: api(url.replace("http", "https")).get("/account"))


def test_a_proxy_that_is_never_done_is_given_up(api, monkeypatch):
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    behaviour = Behaviour()
    with serving(behaviour, "drips_headers") as url:
        monkeypatch.setenv("HTTPS_PROXY", url)
        ended_in_time(lambda: api("https://alpaca.invalid").get("/account"))

    assert behaviour.connections >= 1


def test_each_answer_on_one_connection_has_its_whole_time(server, keys):
    server.on("GET /v2/account", lambda _: server.released.wait(0.4) or {"cash": "1"})
    chosen = ResilienceSettings(trading_read={"answer_seconds": 1.0, "attempts": 1})
    trading = trading_api(keys, Connection(server.url, server.url, chosen), WallClock())

    answers = [trading.get("/account") for _ in range(3)]

    assert answers == [{"cash": "1"}] * 3
    assert server.connections == 1


def test_an_answer_without_an_end_is_cut_at_its_greatest_length(server, api, monkeypatch):
    monkeypatch.setattr(bounded_http, "LARGEST_ANSWER_BYTES", 100_000)
    server.on("GET /v2/account", text='"' + "1" * 200_000 + '"')

    with pytest.raises(DependencyUnavailable, match="longer than 100000 bytes"):
        api(server.url, attempts=1).get("/account")
