"""A proxy between a pipeline and its broker that spoils requests by rule: true resets, late arrivals, kills."""

import http.client
import json
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

UPSTREAM_SECONDS = 30
# Longer than a child waits for an answer, so that what is silent or slow has no answer.
BEYOND_PATIENCE = 1.4
# Long enough that a child has asked, or has died and another was started, before the order arrives.
LATE_SECONDS = 0.35
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
# Whoever knows when the minute of its quota ends waits for that once it is told to slow down.
_QUOTA = "x-ratelimit-"
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"})
KINDS: Mapping[tuple[str, str], str] = {
    ("GET", "/v2/clock"): "clock",
    ("GET", "/v2/account"): "account",
    ("GET", "/v2/positions"): "positions",
    ("GET", "/v2/stocks/quotes/latest"): "quotes",
    ("POST", "/v2/orders"): "submit",
    ("GET", "/v2/orders:by_client_order_id"): "order",
    ("GET", "/v2/orders"): "orders",
    ("GET", "/v2/account/activities/FILL"): "activities",
}


@dataclass(frozen=True)
class Request:
    """What was asked; ``port`` is that of the one who asked."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    port: int = 0

    @property
    def kind(self) -> str:
        path = urlsplit(self.path).path
        if path.startswith("/v2/orders/"):
            return "cancel" if self.method == "DELETE" else "order"
        return KINDS.get((self.method, path), "other")

    @property
    def client_order_id(self) -> str:
        """The id under which an order is sent."""
        return str(json.loads(self.body)["client_order_id"])


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def written(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} {http.client.responses.get(self.status, 'Unknown')}"]
        kept = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        lines += [f"{name}: {value}" for name, value in kept.items()]
        length = [] if self.status == http.HTTPStatus.NO_CONTENT else [f"Content-Length: {len(self.body)}"]
        return "\r\n".join([*lines, *length, "", ""]).encode() + self.body


@dataclass(frozen=True)
class Rule:
    """Spoil the ``nth`` request of a kind after this was armed, and those that follow, ``times`` in all."""

    kind: str
    nth: int
    action: str
    times: int = 1

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ValueError(f"no action {self.action}; there are {', '.join(ACTIONS)}")

    def hits(self, seen: int) -> bool:
        return self.nth <= seen < self.nth + self.times


class Passage:
    """One request on its way to the broker."""

    def __init__(self, request: Request, handler: BaseHTTPRequestHandler, proxy: "FaultProxy") -> None:
        self.request = request
        self._handler = handler
        self._proxy = proxy

    def forwarded(self) -> Reply:
        """Let the broker have the request."""
        upstream = self._proxy.upstream
        connection = http.client.HTTPConnection(upstream.hostname or "", upstream.port, timeout=UPSTREAM_SECONDS)
        try:
            connection.request(self.request.method, self.request.path, self.request.body, dict(self.request.headers))
            reply = connection.getresponse()
            headers = {name: value for name, value in reply.getheaders() if not name.lower().startswith(_QUOTA)}
            return Reply(reply.status, headers, reply.read())
        finally:
            connection.close()

    def answer(self, reply: Reply) -> None:
        self.send(reply.written())

    def send(self, content: bytes) -> None:
        # Whoever asked may have been killed meanwhile.
        with suppress(ConnectionError):
            self._handler.wfile.write(content)

    def close(self) -> None:
        self._handler.close_connection = True

    def reset(self) -> None:
        self.close()
        connection = self._handler.connection
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        os.close(connection.detach())

    def kill(self) -> None:
        self._proxy.signal(signal.SIGKILL)
        self.reset()

    def terminate(self) -> None:
        self._proxy.signal(signal.SIGTERM)


def _refusal(status: int) -> Reply:
    words = json.dumps({"message": "spoiled on the way"}).encode()
    pause = {"Retry-After": "1"} if status == http.HTTPStatus.TOO_MANY_REQUESTS else {}
    return Reply(status, {"Content-Type": "application/json", **pause}, words)


def _pass(passage: Passage) -> None:
    passage.answer(passage.forwarded())


def _status_before(status: int) -> Callable[[Passage], None]:
    return lambda passage: passage.answer(_refusal(status))


def _status_after(status: int) -> Callable[[Passage], None]:
    def act(passage: Passage) -> None:
        passage.forwarded()
        passage.answer(_refusal(status))

    return act


def _reset_before(passage: Passage) -> None:
    passage.reset()


def _reset_after(passage: Passage) -> None:
    passage.forwarded()
    passage.reset()


def _closed_after(passage: Passage) -> None:
    passage.forwarded()
    passage.close()


def _truncated(passage: Passage) -> None:
    reply = passage.forwarded().written()
    head, _, body = reply.partition(b"\r\n\r\n")
    passage.send(head + b"\r\n\r\n" + body[: len(body) // 2])
    passage.close()


def _garbage(passage: Passage) -> None:
    passage.forwarded()
    passage.answer(Reply(200, {"Content-Type": "text/html"}, b"<html>It works!</html>"))


def _slow(passage: Passage) -> None:
    reply = passage.forwarded()
    time.sleep(BEYOND_PATIENCE)  # noqa: TID251 - the fault itself
    passage.answer(reply)
    passage.close()


def _silent(passage: Passage) -> None:
    time.sleep(BEYOND_PATIENCE)  # noqa: TID251 - the fault itself
    passage.reset()


def _late(passage: Passage) -> None:
    passage.reset()
    time.sleep(LATE_SECONDS)  # noqa: TID251 - the fault itself
    passage.forwarded()


def _kill_before(passage: Passage) -> None:
    passage.kill()


def _kill_after(passage: Passage) -> None:
    passage.forwarded()
    passage.kill()


def _kill_late(passage: Passage) -> None:
    passage.kill()
    time.sleep(LATE_SECONDS)  # noqa: TID251 - the fault itself
    passage.forwarded()


def _kill_replied(passage: Passage) -> None:
    passage.answer(passage.forwarded())
    passage.kill()


def _terminate(passage: Passage) -> None:
    passage.terminate()
    time.sleep(LATE_SECONDS)  # noqa: TID251 - the order is on its way while the program is asked to end
    passage.answer(passage.forwarded())


ACTIONS: Mapping[str, Callable[[Passage], None]] = {
    "500 before": _status_before(500),
    "503 before": _status_before(503),
    "504 before": _status_before(504),
    "429 before": _status_before(429),
    "500 after": _status_after(500),
    "504 after": _status_after(504),
    "reset before": _reset_before,
    "reset after": _reset_after,
    "closed after": _closed_after,
    "truncated": _truncated,
    "garbage": _garbage,
    "slow": _slow,
    "silent": _silent,
    "late": _late,
    "kill before": _kill_before,
    "kill after": _kill_after,
    "kill late": _kill_late,
    "kill replied": _kill_replied,
    "terminate": _terminate,
}
KILLS = tuple(name for name in ACTIONS if name.startswith("kill"))
FAULTS = tuple(name for name in ACTIONS if name not in (*KILLS, "terminate"))


@dataclass
class _Armed:
    rule: Rule
    seen: int = 0

    def meets(self, kind: str) -> bool:
        if self.rule.kind not in (kind, "any"):
            return False
        self.seen += 1
        return self.rule.hits(self.seen)


@dataclass
class FaultProxy:
    """Passes requests on, spoils those that a rule names, and remembers all of them.

    ``signal`` reaches whoever asks, where a rule kills; ``look`` sees every
    request before anything else happens to it.
    """

    upstream_url: str
    signal: Callable[[int], None] = lambda _: None
    look: Callable[[Request], None] = lambda _: None
    passed: list[Request] = field(default_factory=list)
    broken: list[BaseException] = field(default_factory=list)
    _armed: list[_Armed] = field(default_factory=list)
    _under_way: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        self.upstream = urlsplit(self.upstream_url)

    def arm(self, *rules: Rule) -> None:
        with self._changed:
            self._armed += [_Armed(rule) for rule in rules]

    def disarm(self, rule: Rule) -> None:
        with self._changed:
            self._armed = [armed for armed in self._armed if armed.rule is not rule]

    def handle(self, request: Request, handler: BaseHTTPRequestHandler) -> None:
        with self._under_way_one():
            self.look(request)
            ACTIONS.get(self._action(request), _pass)(Passage(request, handler, self))

    def rest(self, deadline: float) -> bool:
        """Wait until nothing is on its way any more, late arrivals included; tell whether that came in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._under_way == 0, deadline)

    def _action(self, request: Request) -> str:
        with self._changed:
            self.passed.append(request)
            hits = [armed.rule.action for armed in self._armed if armed.meets(request.kind)]
        return hits[0] if hits else "pass"

    @contextmanager
    def _under_way_one(self) -> Iterator[None]:
        with self._changed:
            self._under_way += 1
        try:
            yield
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, proxy: FaultProxy) -> None:
        self.proxy = proxy
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep what went wrong for the one who judges; that a client was killed is no error here."""
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, ConnectionError):
            self.proxy.broken.append(error)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:
            # Whoever asked was killed in the middle of it.
            self.close_connection = True
            return
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        request = Request(self.command, self.path, headers, body, self.client_address[1])
        self.server.proxy.handle(request, self)

    do_POST = do_DELETE = do_PATCH = do_GET  # noqa: N815 - the names that http.server asks for

    def log_message(self, *_: object) -> None:
        """Say nothing: what passed is in the proxy's list."""


@contextmanager
def proxied(upstream_url: str) -> Iterator[tuple[FaultProxy, str]]:
    """Yield a proxy before ``upstream_url``, and its own address."""
    proxy = FaultProxy(upstream_url)
    server = _Server(proxy)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield proxy, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
