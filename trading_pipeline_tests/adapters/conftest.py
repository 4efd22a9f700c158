import json
import socket
import struct
import threading
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from trading_pipeline.adapters.alpaca.broker import AlpacaBroker
from trading_pipeline.adapters.alpaca.transport import Connection, Keys, data_api, trading_api
from trading_pipeline.domain.orders import (
    LineageEntry,
    OrderIntent,
    OrderType,
    Plan,
    Side,
    TimeInForce,
    client_order_id,
)
from trading_pipeline.settings import ResilienceSettings
from trading_pipeline_tests.builders import TurnedClock

NOW = datetime(2026, 7, 31, 21, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Reply:
    """An answer; one that depends on the question is a function of its query parameters."""

    status: int = 200
    body: bytes | Callable[[dict[str, str]], Any] = b""
    headers: dict[str, str] = field(default_factory=dict)
    fault: str = ""


@dataclass(frozen=True)
class Received:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


class ScriptedServer(ThreadingHTTPServer):
    """A loopback server that answers each route from a script; the last answer of a route repeats."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.released = threading.Event()
        self.received: list[Received] = []
        self.connections = 0
        self._script: dict[tuple[str, str], list[Reply]] = defaultdict(list)
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def on(self, route: str, answer: Any = None, *, status: int = 200, text: str = "", fault: str = "", **headers: str):
        body = answer if callable(answer) else text.encode() if answer is None else json.dumps(answer).encode()
        method, path = route.split(" ")
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._script[method, path].append(Reply(status, body, named, fault))
        return self

    def count(self, route: str) -> int:
        return len(self.requests(route))

    def requests(self, route: str) -> list[Received]:
        method, path = route.split(" ")
        return [request for request in self.received if (request.method, request.path) == (method, path)]

    def answer(self, received: Received) -> Reply:
        with self._lock:
            self.received.append(received)
            replies = self._script[received.method, received.path]
            if not replies:
                return Reply(404, b'{"code": 40410000, "message": "nothing is scripted here"}')
            reply = replies[0] if len(replies) == 1 else replies.pop(0)
        if callable(reply.body):
            return replace(reply, body=json.dumps(reply.body(received.query)).encode())
        return reply

    def process_request(self, request, client_address) -> None:
        self.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, request, client_address) -> None:
        """Connections are cut on purpose here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ScriptedServer

    def _any(self) -> None:
        reply = self.server.answer(self._received())
        match reply.fault:
            case "":
                self._send(reply, len(reply.body))
            case "silent":
                self.server.released.wait()
                self.close_connection = True
            case "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True
            case "cut":
                self._send(reply, len(reply.body) + 1_000)
                self.close_connection = True
            case "drip":
                self._send(reply, 100_000)
                while not self.server.released.wait(0.02):
                    self.wfile.write(b" ")

    do_GET = do_POST = do_DELETE = _any  # noqa: N815 - the names are http.server's

    def _received(self) -> Received:
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        return Received(self.command, parts.path, dict(parse_qsl(parts.query)), dict(self.headers), body)

    def _send(self, reply: Reply, length: int) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.status != 204:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(reply.body)
        self.wfile.flush()

    def log_message(self, format, *args) -> None:  # noqa: A002 - the name is http.server's
        """Keep the test's output quiet."""


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock(NOW)


@pytest.fixture
def stack():
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def server():
    with ScriptedServer() as scripted:
        thread = threading.Thread(target=scripted.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield scripted
        scripted.released.set()
        scripted.shutdown()
        thread.join()


@pytest.fixture
def keys() -> Keys:
    return Keys("KEYOFTHETEST", "secret-of-the-test")


@pytest.fixture
def patience() -> float:
    """Return the seconds after which a silence ends; tests of silence take fewer, so that a busy machine harms none."""
    return 10.0


@pytest.fixture
def connection(server, patience) -> Connection:
    return Connection(
        server.url,
        server.url,
        ResilienceSettings(
            trading_read={"answer_seconds": patience},
            trading_order={"answer_seconds": patience},
            trading_cancel={"answer_seconds": patience},
            market_data_read={"answer_seconds": patience},
        ),
    )


@pytest.fixture
def trading(keys, connection, clock):
    return trading_api(keys, connection, clock)


@pytest.fixture
def data(keys, connection, clock):
    return data_api(keys, connection, clock)


@pytest.fixture
def broker(trading, clock) -> AlpacaBroker:
    return AlpacaBroker(trading, clock)


@pytest.fixture
def samples() -> Path:
    folder = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "alpaca" / "samples"
    if not folder.is_dir():
        pytest.skip("../shared is not here: recorded replies of Alpaca cannot be replayed")
    return folder


@pytest.fixture
def make_intent():
    def make(symbol="SPY", side=Side.BUY, quantity="2.5", limit="101.25", plan_id="2026-07-30/1", sequence=0):
        return OrderIntent(
            client_order_id=client_order_id("SIM0001", plan_id, symbol, side),
            sequence=sequence,
            symbol=symbol,
            side=side,
            quantity=Decimal(quantity),
            order_type=OrderType.MARKET if limit is None else OrderType.LIMIT,
            limit_price=None if limit is None else Decimal(limit),
            reference_price=Decimal("100.10"),
            time_in_force=TimeInForce.DAY,
            reason="to target",
        )

    return make


@pytest.fixture
def make_plan(make_intent):
    def make(version=1, session=date(2026, 7, 30), symbols=("TLT", "SPY"), *, hypothetical=False, account="SIM0001"):
        plan_id = f"{session}/{version}"
        return Plan(
            plan_id=plan_id,
            account_number=account,
            session=session,
            execution_session=session + timedelta(days=1),
            version=version,
            created_at=NOW,
            hypothetical=hypothetical,
            orders=tuple(
                make_intent(symbol, plan_id=plan_id, sequence=sequence) for sequence, symbol in enumerate(symbols)
            ),
            lineage=(LineageEntry("allocation", 7, "run-1", 3),),
            code_version="0.1.0",
            config_hash="abc",
        )

    return make


@pytest.fixture
def order_row():
    """Return what Alpaca sends for an order."""

    def make(client_order_id="tp1-a", **changes):
        return {
            "id": "61e69015-8549-4bfd-b9c3-01e75843f47d",
            "client_order_id": client_order_id,
            "created_at": "2026-07-31T13:35:01.942282Z",
            "updated_at": "2026-07-31T13:35:01.942282Z",
            "submitted_at": "2026-07-31T13:35:01.937734Z",
            "symbol": "SPY",
            "asset_class": "us_equity",
            "notional": None,
            "qty": "2.5",
            "filled_qty": "0",
            "filled_avg_price": None,
            "order_class": "",
            "type": "limit",
            "side": "buy",
            "time_in_force": "day",
            "limit_price": "101.25",
            "status": "pending_new",
            "extended_hours": False,
        } | changes

    return make
