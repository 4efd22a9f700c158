"""The websockets of the simulator: ``/stream`` for orders, ``/v2/{feed}`` for market data.

Nothing is told twice: what happens while a client is away, it has to ask for
over REST. Faults are set at ``/_sim/stream``: see
:mod:`trading_pipeline.simulator.stream_faults`.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from trading_pipeline.simulator.data_stream import DataStream
from trading_pipeline.simulator.exchange import Exchange
from trading_pipeline.simulator.order_stream import OrderStream
from trading_pipeline.simulator.stream_endpoint import OrderFeed, decoded
from trading_pipeline.simulator.stream_faults import StreamFaults


class Streams:
    """Both streams, and the control of what goes wrong on them."""

    def __init__(self, accounts: Sequence[OrderFeed], exchange: Exchange, now: Callable[[], datetime]) -> None:
        self._faults = StreamFaults()
        self._orders = OrderStream(accounts, self._faults)
        self._data = DataStream(accounts, self._faults, exchange, now)
        self._endpoints = (self._orders.endpoint, self._data.endpoint)

    def routes(self) -> Sequence[BaseRoute]:
        """Return the routes of both streams and of their faults."""
        return [
            WebSocketRoute("/stream", self._orders.serve),
            WebSocketRoute("/v2/{feed}", self._data.serve),
            Route("/_sim/stream", self.state),
            Route("/_sim/stream", self.add_fault, methods=["POST"]),
            Route("/_sim/stream", self.clear_faults, methods=["DELETE"]),
        ]

    async def state(self, _: Request) -> Response:
        """Return the rules with their use, and the number of connections of each stream."""
        connections = {endpoint.name: endpoint.state() for endpoint in self._endpoints}
        return JSONResponse({"connections": connections, "faults": self._faults.rules()})

    async def add_fault(self, request: Request) -> Response:
        """Add a rule; one that acts at once acts now."""
        rule = self._faults.add(decoded(await request.body()))
        for endpoint in self._endpoints:
            endpoint.added(rule)
        return JSONResponse({"id": rule.id})

    async def clear_faults(self, _: Request) -> Response:
        """Forget every rule; connections that were mute answer again."""
        self._faults.clear()
        for endpoint in self._endpoints:
            endpoint.cleared()
        return JSONResponse({})
