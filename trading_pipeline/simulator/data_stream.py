"""``/v2/{feed}``: quotes, trades, bars and halts as simulated time passes.

The feeds ``iex``, ``sip`` and ``test`` are all the same. They speak msgpack, or
JSON to a client whose handshake does not name msgpack as its content type.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence, Set
from datetime import datetime
from typing import Any

from starlette.responses import Response
from starlette.websockets import WebSocket

from trading_pipeline.simulator.exchange import Exchange
from trading_pipeline.simulator.stream_endpoint import Connection, Endpoint, Json, OrderFeed, as_msgpack, as_text
from trading_pipeline.simulator.stream_faults import DATA, StreamFaults
from trading_pipeline.simulator.tape import CHANNELS, Tape

FEEDS = frozenset({"iex", "sip", "test"})
MSGPACK = "application/msgpack"
AUTHENTICATE_WITHIN = 10.0
CONNECTIONS_AN_ACCOUNT = 1
LOOK_EVERY = 0.02
NORMAL_END = 1000
# In this order in the answer to a subscription.
SUBSCRIBABLE = (
    "trades", "quotes", "bars", "updatedBars", "dailyBars", "statuses", "lulds", "corrections", "cancelErrors",
)  # fmt: skip
ERRORS = {
    400: "invalid syntax",
    401: "not authenticated",
    402: "auth failed",
    403: "already authenticated",
    404: "auth timeout",
    405: "symbol limit exceeded",
    406: "connection limit exceeded",
    407: "slow client",
    408: "v2 not enabled",
    409: "insufficient subscription",
    500: "internal error",
}


class DataStream:
    """The endpoint of market data."""

    def __init__(
        self, accounts: Sequence[OrderFeed], faults: StreamFaults, exchange: Exchange, now: Callable[[], datetime]
    ) -> None:
        self.endpoint = Endpoint(DATA, accounts, faults)
        self._exchange = exchange
        self._now = now
        self._tape = Tape(exchange, now())
        self._listed: frozenset[str] = frozenset()
        self._listed_at: datetime | None = None

    async def serve(self, websocket: WebSocket) -> None:
        """Serve a client of a feed."""
        if websocket.path_params["feed"] not in FEEDS:
            await websocket.send_denial_response(Response(status_code=404))
            return
        packs = websocket.headers.get("content-type") == MSGPACK
        connection = Connection(websocket, as_msgpack if packs else as_text)
        connection.tell([{"T": "success", "msg": "connected"}])
        timeout = asyncio.get_running_loop().call_later(AUTHENTICATE_WITHIN, self._time_out, connection)
        looking = asyncio.create_task(self._look())
        try:
            await self.endpoint.serve(websocket, connection, self._answer)
        finally:
            timeout.cancel()
            looking.cancel()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            self._publish()

    def _time_out(self, connection: Connection) -> None:
        if connection.account is None and not self.endpoint.active("ws_no_auth_answer"):
            connection.tell(_error(404))
            connection.close(NORMAL_END)

    def _answer(self, connection: Connection, message: Mapping[str, Any]) -> None:
        match message:
            case {"action": "auth", "key": key, "secret": secret}:
                self._authenticate(connection, key, secret)
            case {"action": "subscribe" | "unsubscribe"} if connection.account is None:
                connection.tell(_error(401))
            case {"action": "subscribe" | "unsubscribe" as action, **channels} if _are_channels(channels):
                self._subscribe(connection, _changed(connection.channels, channels, action))
            case _:
                connection.tell(_error(400))

    def _authenticate(self, connection: Connection, key: object, secret: object) -> None:
        if connection.account is not None:
            connection.tell(_error(403))
        elif not self.endpoint.takes("ws_no_auth_answer"):
            account = self.endpoint.account(key, secret)
            refusal = self._refusal(account)
            if refusal:
                connection.tell(_error(refusal))
                connection.close(NORMAL_END)
            else:
                connection.account = account
                connection.tell([{"T": "success", "msg": "authenticated"}])

    def _refusal(self, account: OrderFeed | None) -> int | None:
        if account is None or self.endpoint.takes("ws_unauth"):
            return 402
        fault = self.endpoint.takes("ws_error")
        if fault is not None:
            return int(fault.options["code"])
        connected = sum(item.account == account for item in self.endpoint.connections)
        too_many = self.endpoint.takes("ws_406") is not None or connected >= CONNECTIONS_AN_ACCOUNT
        return 406 if too_many else None

    def _subscribe(self, connection: Connection, channels: dict[str, set[str]]) -> None:
        limit = self.endpoint.active("ws_symbol_limit")
        if limit is not None and len(set().union(*channels.values())) > limit.options["symbols"]:
            connection.tell(_error(405))
            return
        self._publish()
        connection.channels = channels
        # What is watched from now on is looked at once, so that its next change is known for one.
        self._publish()
        connection.tell([{"T": "subscription", **{name: sorted(symbols) for name, symbols in channels.items()}}])
        self.endpoint.went_live(connection)

    def _publish(self) -> None:
        now = self._now()
        live = [connection for connection in self.endpoint.connections if connection.channels]
        for message in self._tape.advance(now, self._watched(live, now)):
            channel, wanted = CHANNELS[message["T"]], {message["S"], "*"}
            receivers = [connection for connection in live if connection.channels[channel] & wanted]
            if receivers:
                self.endpoint.publish([message], receivers, DATA)

    def _watched(self, live: Sequence[Connection], now: datetime) -> Set[str]:
        if now != self._listed_at:
            self._listed = frozenset(asset.symbol for asset in self._exchange.assets(now))
            self._listed_at = now
        wanted: set[str] = set().union(*(symbols for item in live for symbols in item.channels.values()))
        return self._listed if "*" in wanted else self._listed & wanted


def _are_channels(channels: Mapping[str, object]) -> bool:
    return all(
        name in SUBSCRIBABLE and isinstance(symbols, list) and all(isinstance(symbol, str) for symbol in symbols)
        for name, symbols in channels.items()
    )


def _changed(before: Mapping[str, set[str]], wanted: Mapping[str, Sequence[str]], action: str) -> dict[str, set[str]]:
    """Return every channel with its symbols after a (un)subscription."""
    change = set.union if action == "subscribe" else set.difference
    return {name: change(before.get(name, set()), wanted.get(name, ())) for name in SUBSCRIBABLE}


def _error(code: int) -> Sequence[Json]:
    return [{"T": "error", "code": code, "msg": ERRORS.get(code, ERRORS[500])}]
