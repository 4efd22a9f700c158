"""The HTTP face of the simulator: Alpaca's trading and market data endpoints, and a control plane.

Trading and data share one port. The control plane lies under ``/_sim`` and
needs the header ``X-Sim-Token``; only ``/_sim/health`` is open.
"""

import asyncio
import contextlib
import functools
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.sessions import last_completed_session, sessions_between
from trading_pipeline.simulator.admission import read_json, read_order, read_replacement
from trading_pipeline.simulator.broker import Broker
from trading_pipeline.simulator.control_plane import Control, Identity
from trading_pipeline.simulator.exchange import Exchange, Quote
from trading_pipeline.simulator.fault_rules import FaultTable
from trading_pipeline.simulator.faults import BEHAVIOUR, Faults
from trading_pipeline.simulator.gate import ACCOUNT, Account, Credentials, Gate
from trading_pipeline.simulator.pages import actions_page, bars_page
from trading_pipeline.simulator.queries import (
    read_actions_query,
    read_activity_filter,
    read_bars_query,
    read_calendar_range,
    read_order_filter,
    read_symbols,
)
from trading_pipeline.simulator.records import USUAL
from trading_pipeline.simulator.refusals import NAMED, Refusal, not_found
from trading_pipeline.simulator.store import StateNotWritten
from trading_pipeline.simulator.stream_endpoint import OrderFeed
from trading_pipeline.simulator.streams import Streams
from trading_pipeline.simulator.venue import ClockMovedBack, Venue
from trading_pipeline.simulator.wire import (
    RenderedOrders,
    account_json,
    activity_json,
    asset_json,
    bars_json,
    calendar_json,
    clock_json,
    order_json,
    position_json,
    quote_json,
    trade_json,
)

TICK_SECONDS = 0.05


@dataclass(frozen=True)
class Simulator:
    """Everything that the endpoints need; the first of the accounts is meant where none is named."""

    venue: Venue
    exchange: Exchange
    identity: Identity
    accounts: tuple[Account, ...]

    @property
    def broker(self) -> Broker:
        """The broker of the first account."""
        return self.accounts[0].broker

    @property
    def credentials(self) -> Credentials:
        """The keys of the first account, and the token of the control plane."""
        return self.accounts[0].credentials


def application(simulator: Simulator) -> Starlette:
    """Return the ASGI application of ``simulator``."""
    requests: Counter[str] = Counter()
    faults = FaultTable()
    venue, accounts = simulator.venue, simulator.accounts
    streams = Streams(
        [OrderFeed(account.credentials, account.broker.listen) for account in accounts],
        simulator.exchange,
        venue.clock.now,
    )
    control = Control(venue, accounts, simulator.identity, requests, faults)
    return Starlette(
        routes=[
            *_Trading(simulator.exchange, venue).routes(),
            *_Data(simulator.exchange, venue).routes(),
            *control.routes(),
            *streams.routes(),
        ],
        middleware=[
            Middleware(Gate, accounts=accounts, requests=requests),
            Middleware(Running, venue=venue),
            Middleware(Faults, table=faults, now=venue.clock.now),
        ],
        exception_handlers={
            Refusal: _refused,
            InvalidInput: _misused,
            StateNotWritten: _failed,
            HTTPException: _no_endpoint,
        },
        lifespan=functools.partial(_ticking, venue),
    )


class Running:
    """ASGI middleware: brings a clock that runs up to date before each request."""

    def __init__(self, app: ASGIApp, venue: Venue) -> None:
        self._app = app
        self._venue = venue

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through; a clock that cannot be kept stays where it is."""
        with contextlib.suppress(StateNotWritten):
            self._venue.catch_up()
        await self._app(scope, receive, send)


@contextlib.asynccontextmanager
async def _ticking(venue: Venue, _: Starlette) -> AsyncIterator[None]:
    """Let what is due on a running clock happen while nobody asks."""

    async def tick() -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            with contextlib.suppress(StateNotWritten):
                venue.catch_up()

    ticks = asyncio.create_task(tick()) if venue.runs else None
    yield
    if ticks is not None:
        ticks.cancel()


class _Trading:
    """The trading endpoints."""

    def __init__(self, exchange: Exchange, venue: Venue) -> None:
        self._exchange = exchange
        self._clock = venue.clock
        self._rendered = RenderedOrders()

    def routes(self) -> Sequence[Route]:
        return [
            Route("/v2/account", self.account),
            Route("/v2/account/activities", self.activities),
            Route("/v2/account/activities/{kind}", self.activities),
            Route("/v2/positions", self.positions),
            Route("/v2/positions/{symbol}", self.position),
            Route("/v2/orders", self.orders),
            Route("/v2/orders", self.submit, methods=["POST"]),
            Route("/v2/orders", self.cancel_all, methods=["DELETE"]),
            Route("/v2/orders:by_client_order_id", self.order_by_client_id),
            Route("/v2/orders/{order_id}", self.order),
            Route("/v2/orders/{order_id}", self.replace, methods=["PATCH"]),
            Route("/v2/orders/{order_id}", self.cancel, methods=["DELETE"]),
            Route("/v2/assets", self.assets),
            Route("/v2/assets/{symbol:path}", self.asset),
            Route("/v2/clock", self.clock),
            Route("/v2/calendar", self.calendar),
        ]

    async def account(self, request: Request) -> Response:
        return JSONResponse(account_json(_broker(request).account()))

    async def activities(self, request: Request) -> Response:
        wanted = read_activity_filter(request.query_params, request.path_params.get("kind"))
        return JSONResponse([activity_json(activity) for activity in _broker(request).activities(wanted)])

    async def positions(self, request: Request) -> Response:
        return JSONResponse([position_json(position) for position in _broker(request).positions()])

    async def position(self, request: Request) -> Response:
        asset = self._exchange.asset(request.path_params["symbol"], self._clock.now())
        symbol = asset.symbol if asset else request.path_params["symbol"]
        return JSONResponse(position_json(_broker(request).position(symbol)))

    async def orders(self, request: Request) -> Response:
        found = _broker(request).orders(read_order_filter(request.query_params))
        return Response(self._rendered.listed(found), media_type="application/json")

    async def submit(self, request: Request) -> Response:
        wanted = read_order(read_json(await request.body()))
        sent = _broker(request).submit(wanted, request.scope.get(BEHAVIOUR, USUAL))
        return JSONResponse(order_json(sent))

    async def replace(self, request: Request) -> Response:
        wanted = read_replacement(read_json(await request.body()))
        return JSONResponse(order_json(_broker(request).replace(request.path_params["order_id"], wanted)))

    async def cancel_all(self, request: Request) -> Response:
        asked = _broker(request).cancel_all()
        return JSONResponse([{"id": order.id, "status": status} for order, status in asked], 207)

    async def order_by_client_id(self, request: Request) -> Response:
        client_order_id = request.query_params.get("client_order_id", "")
        return JSONResponse(order_json(_broker(request).order_by_client_id(client_order_id)))

    async def order(self, request: Request) -> Response:
        return JSONResponse(order_json(_broker(request).order(request.path_params["order_id"])))

    async def cancel(self, request: Request) -> Response:
        _broker(request).cancel(request.path_params["order_id"])
        return Response(status_code=204)

    async def assets(self, request: Request) -> Response:
        wanted = {
            ours: request.query_params[theirs]
            for theirs, ours in (("status", "status"), ("asset_class", "class"), ("exchange", "exchange"))
            if request.query_params.get(theirs)
        }
        every = (asset_json(asset) for asset in self._exchange.assets(self._clock.now()))
        return JSONResponse([row for row in every if wanted.items() <= row.items()])

    async def asset(self, request: Request) -> Response:
        name = request.path_params["symbol"]
        found = self._exchange.asset(name, self._clock.now())
        if found is None:
            raise not_found(f"asset not found for {name}")
        return JSONResponse(asset_json(found))

    async def clock(self, _: Request) -> Response:
        return JSONResponse(clock_json(self._clock.now()))

    async def calendar(self, request: Request) -> Response:
        first, last = read_calendar_range(request.query_params)
        return JSONResponse([calendar_json(session) for session in sessions_between(first, last)])


class _Data:
    """The market data endpoints."""

    def __init__(self, exchange: Exchange, venue: Venue) -> None:
        self._clock = venue.clock
        self._exchange = exchange

    def routes(self) -> Sequence[Route]:
        return [
            Route("/v2/stocks/bars", self.bars),
            Route("/v2/stocks/bars/latest", self.latest_bars),
            Route("/v2/stocks/quotes/latest", self.latest_quotes),
            Route("/v2/stocks/trades/latest", self.latest_trades),
            Route("/v1/corporate-actions", self.corporate_actions),
        ]

    async def bars(self, request: Request) -> Response:
        now = self._clock.now()
        bars, token = bars_page(self._exchange, read_bars_query(request.query_params, now), now)
        return JSONResponse({"bars": bars, "next_page_token": token})

    async def latest_bars(self, request: Request) -> Response:
        now = self._clock.now()
        last = last_completed_session(now)
        found = {
            symbol: next(bars_json(bars))
            for symbol in read_symbols(request.query_params)
            if (bars := self._exchange.bars(symbol, last, last, now, adjusted=False))
        }
        return JSONResponse({"bars": found})

    async def latest_quotes(self, request: Request) -> Response:
        return JSONResponse({"quotes": {symbol: quote_json(quote) for symbol, quote in self._quotes(request)}})

    async def latest_trades(self, request: Request) -> Response:
        return JSONResponse({"trades": {symbol: trade_json(quote) for symbol, quote in self._quotes(request)}})

    async def corporate_actions(self, request: Request) -> Response:
        actions, token = actions_page(self._exchange, read_actions_query(request.query_params, self._clock.now()))
        return JSONResponse({"corporate_actions": actions, "next_page_token": token})

    def _quotes(self, request: Request) -> Iterator[tuple[str, Quote]]:
        now = self._clock.now()
        for symbol in read_symbols(request.query_params):
            quote = self._exchange.quote(symbol, now)
            if quote is not None and self._exchange.is_shown(symbol):
                yield symbol, quote


def _broker(request: Request) -> Broker:
    account: Account = request.scope[ACCOUNT]
    return account.broker


async def _refused(_: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)  # noqa: S101 - Starlette calls this for nothing else
    return JSONResponse(refusal.body, refusal.status)


async def _misused(_: Request, error: Exception) -> Response:
    """Answer what the control plane cannot do: 409 when time would go back, else 400."""
    return JSONResponse({"message": str(error)}, 409 if isinstance(error, ClockMovedBack) else 400)


async def _failed(_: Request, __: Exception) -> Response:
    """Answer when the state could not be written: nothing happened."""
    refusal = NAMED["server_error"].for_symbol("")
    return JSONResponse(refusal.body, refusal.status)


async def _no_endpoint(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - Starlette calls this for nothing else
    return JSONResponse({"message": "endpoint not found"}, error.status_code, headers=error.headers)
