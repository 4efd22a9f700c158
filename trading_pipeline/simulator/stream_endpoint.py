"""A websocket endpoint of the simulator: its connections, their frames, and the faults that they meet."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgpack
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request as Handshake

from trading_pipeline.simulator.gate import Credentials
from trading_pipeline.simulator.protocol import TRANSPORT
from trading_pipeline.simulator.records import Event
from trading_pipeline.simulator.stream_faults import Garbage, Message, StreamFaults, StreamRule
from trading_pipeline.simulator.wire import utc_text

Json = dict[str, Any]

_SWITCHING_PROTOCOLS = 101
# Neither JSON nor msgpack.
_UNREADABLE = b'\xc1{"stream": "trade_upd'


class StreamProtocol(WebSocketsSansIOProtocol):
    """Uvicorn's websockets, whose connections can be cut off without a closing word."""

    def handle_connect(self, event: Handshake) -> None:
        """Begin a connection, and hand its transport to the application."""
        super().handle_connect(event)
        if self.response.status_code == _SWITCHING_PROTOCOLS:
            extensions: dict[str, Any] = {**(self.scope["extensions"] or {}), TRANSPORT: self.transport}
            self.scope["extensions"] = extensions


@dataclass(frozen=True)
class OrderFeed:
    """An account as its streams need it: its keys, and what calls a listener with each event of its orders."""

    credentials: Credentials
    listen: Callable[[Callable[[Event], None]], object]


@dataclass(frozen=True)
class _Close:
    """The end of a connection, in the place of a frame."""

    code: int


class Connection:
    """A websocket with everything that is still to be sent to it.

    ``account`` is None until it has authenticated, ``channels`` empty until it
    has said what it wants to hear.
    """

    def __init__(self, websocket: WebSocket, encode: Callable[[object], bytes | str]) -> None:
        self.account: OrderFeed | None = None
        self.channels: dict[str, set[str]] = {}
        self._websocket = websocket
        self._encode = encode
        self._outbox: asyncio.Queue[bytes | str | _Close] = asyncio.Queue()

    @property
    def transport(self) -> asyncio.Transport:
        """The TCP connection."""
        transport: asyncio.Transport = self._websocket.scope["extensions"][TRANSPORT]
        return transport

    def tell(self, message: object) -> None:
        """Send ``message`` after everything that was told before; Garbage becomes a frame that cannot be read."""
        self._outbox.put_nowait(_UNREADABLE if isinstance(message, Garbage) else self._encode(message))

    def close(self, code: int) -> None:
        """End the connection after everything that was told before."""
        self._outbox.put_nowait(_Close(code))

    def drop(self, code: int | None) -> None:
        """End the connection with a close code, or without a word."""
        if code is None:
            self.transport.abort()
        else:
            self.close(code)

    async def messages(self) -> AsyncIterator[Json]:
        """Yield what the client sends until one of the two ends the connection."""
        while (received := await self._websocket.receive())["type"] == "websocket.receive":
            text: str | None = received.get("text")
            yield decoded(received["bytes"] if text is None else text)

    async def deliver(self) -> None:
        """Send what is told until the connection ends."""
        with contextlib.suppress(WebSocketDisconnect):
            while not isinstance(frame := await self._outbox.get(), _Close):
                kind = "text" if isinstance(frame, str) else "bytes"
                await self._websocket.send({"type": "websocket.send", kind: frame})
            await self._websocket.close(frame.code)


class Answers(Protocol):
    """What an endpoint says to a message of a client."""

    def __call__(self, connection: Connection, message: Mapping[str, Any]) -> None:
        """Answer ``message`` by telling ``connection`` something."""
        ...


class Endpoint:
    """The connections of one stream; ``name`` is what rules call it."""

    def __init__(self, name: str, accounts: Sequence[OrderFeed], faults: StreamFaults) -> None:
        self.name = name
        self.connections: set[Connection] = set()
        self._accounts = accounts
        self._faults = faults

    async def serve(self, websocket: WebSocket, connection: Connection, answer: Answers) -> None:
        """Keep a connection until it ends, unless a fault refuses it."""
        refused = self._faults.take("ws_refuse", self.name)
        if refused is not None:
            await websocket.send_denial_response(Response(status_code=refused.options["status"]))
            return
        await websocket.accept()
        self.connections.add(connection)
        delivery = asyncio.create_task(connection.deliver())
        try:
            async for message in connection.messages():
                answer(connection, message)
        finally:
            delivery.cancel()
            self.connections.discard(connection)

    def account(self, key: object, secret: object) -> OrderFeed | None:
        """Return the account of those keys, or None."""
        given = (key, secret)
        found = (item for item in self._accounts if (item.credentials.key_id, item.credentials.secret_key) == given)
        return next(found, None)

    def takes(self, action: str) -> StreamRule | None:
        """Return the fault that acts now, if there is one; it is used by that."""
        return self._faults.take(action, self.name)

    def active(self, action: str) -> StreamRule | None:
        """Return the fault that holds as long as it is there, if there is one."""
        return self._faults.active(action, self.name)

    def went_live(self, connection: Connection) -> None:
        """Let a connection that has said what it wants to hear meet the faults that stay."""
        mute = self.active("ws_mute")
        if mute is not None and not mute.options["pings"]:
            connection.transport.pause_reading()

    def publish(self, message: Message, receivers: Collection[Connection], among: str) -> None:
        """Tell an event to ``receivers``, as faults leave it; ``among`` names those between whom order is kept."""
        for event in self._faults.distorted(self.name, among, message):
            for connection in receivers:
                connection.tell(event)

    def added(self, rule: StreamRule) -> None:
        """Let a new rule act on the connections that are there."""
        for connection in list(self.connections):
            if rule.holds("ws_drop", self.name):
                rule.used += 1
                connection.drop(rule.options["code"])
            self.went_live(connection)

    def cleared(self) -> None:
        """Let connections that were mute answer again."""
        for connection in self.connections:
            connection.transport.resume_reading()

    def state(self) -> Json:
        """Return how many connections there are, and how many of them are told of events."""
        live = sum(bool(connection.channels) for connection in self.connections)
        return {"connected": len(self.connections), "live": live}


def decoded(frame: bytes | str) -> Json:
    """Read JSON or msgpack; what is no object is a message without content.

    >>> decoded('{"action": "auth"}'), decoded(msgpack.packb({"action": "auth"})), decoded("[]"), decoded(b"?")
    ({'action': 'auth'}, {'action': 'auth'}, {}, {})
    """
    try:
        message = json.loads(frame) if isinstance(frame, str) or frame[:1] in b"{[" else msgpack.unpackb(frame)
    except (ValueError, msgpack.UnpackException):
        return {}
    return message if isinstance(message, dict) else {}


def as_text(message: object) -> str:
    """Return ``message`` as JSON; instants become RFC 3339."""
    return json.dumps(message, default=utc_text)


def as_bytes(message: object) -> bytes:
    """Return ``message`` as the bytes of its JSON."""
    return as_text(message).encode()


def as_msgpack(message: object) -> bytes:
    """Return ``message`` in msgpack; instants become its timestamps."""
    packed: bytes = msgpack.packb(message, datetime=True)
    return packed
