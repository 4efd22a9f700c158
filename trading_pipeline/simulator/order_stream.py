"""``/stream``: what happens to the orders of an account, as it happens.

JSON, in binary frames as Alpaca's paper account sends it, or in text frames as
the live one does when the address ends in ``?frames=text``.
"""

import functools
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.websockets import WebSocket

from trading_pipeline.domain.instruments import plain
from trading_pipeline.simulator.records import Event
from trading_pipeline.simulator.stream_endpoint import Connection, Endpoint, Json, OrderFeed, as_bytes, as_text
from trading_pipeline.simulator.stream_faults import TRADING, StreamFaults
from trading_pipeline.simulator.wire import order_json, utc_text

TRADE_UPDATES = "trade_updates"
UNREADABLE_MESSAGE = 1003


class OrderStream:
    """The endpoint of every account's orders."""

    def __init__(self, accounts: Sequence[OrderFeed], faults: StreamFaults) -> None:
        self.endpoint = Endpoint(TRADING, accounts, faults)
        for account in accounts:
            account.listen(functools.partial(self._publish, account))

    async def serve(self, websocket: WebSocket) -> None:
        """Serve a client."""
        encode = as_text if websocket.query_params.get("frames") == "text" else as_bytes
        await self.endpoint.serve(websocket, Connection(websocket, encode), self._answer)

    def _answer(self, connection: Connection, message: Mapping[str, Any]) -> None:
        match message:
            case {"action": "authenticate", "data": {"key_id": key, "secret_key": secret}}:
                self._authenticate(connection, key, secret)
            case {"action": "auth", "key": key, "secret": secret}:
                self._authenticate(connection, key, secret)
            case {"action": "listen"} if connection.account is None:
                connection.tell(_authorization("listen", authorized=False))
            case {"action": "listen", "data": {"streams": [*streams]}}:
                self._listen(connection, streams)
            case _:
                connection.close(UNREADABLE_MESSAGE)

    def _authenticate(self, connection: Connection, key: object, secret: object) -> None:
        if self.endpoint.takes("ws_no_auth_answer"):
            return
        if not self.endpoint.takes("ws_unauth"):
            connection.account = self.endpoint.account(key, secret)
        connection.tell(_authorization("authenticate", authorized=connection.account is not None))

    def _listen(self, connection: Connection, streams: Sequence[object]) -> None:
        connection.channels = {TRADE_UPDATES: set()} if TRADE_UPDATES in streams else {}
        connection.tell({"stream": "listening", "data": {"streams": list(connection.channels)}})
        self.endpoint.went_live(connection)

    def _publish(self, account: OrderFeed, event: Event) -> None:
        receivers = [item for item in self.endpoint.connections if item.account == account and item.channels]
        if receivers:
            self.endpoint.publish(trade_update(event), receivers, account.credentials.key_id)


def trade_update(event: Event) -> Json:
    """Return an event as the stream tells it; price, shares and position are there for executions only."""
    data = {
        "event": event.kind,
        "execution_id": str(uuid.uuid5(uuid.UUID(event.order.id), f"event {event.sequence}")),
        "timestamp": utc_text(event.at),
        "order": order_json(event.order),
    }
    if event.execution is not None:
        # The id of the activity ends with the id of the execution.
        data["execution_id"] = event.execution.id.rpartition("::")[2]
        data["price"], data["qty"] = plain(event.execution.price), plain(event.execution.quantity)
        data["position_qty"] = plain(event.position)
    return {"stream": TRADE_UPDATES, "data": data}


def _authorization(action: str, *, authorized: bool) -> Json:
    status = "authorized" if authorized else "unauthorized"
    return {"stream": "authorization", "data": {"action": action, "status": status}}
