"""The HTTP face of the simulator: Alpaca's trading and market data endpoints, and a control plane.

Trading and data share one port. The control plane lies under ``/_sim`` and
needs the header ``X-Sim-Token``; only ``/_sim/health`` is open.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.sessions import close_of, last_completed_session, session_at, sessions_between
from trading_pipeline.simulator.admission import read_order
from trading_pipeline.simulator.broker import Broker, ClockMovedBack
from trading_pipeline.simulator.exchange import Exchange, Quote
from trading_pipeline.simulator.gate import Credentials, Gate, RateLimit
from trading_pipeline.simulator.pages import bars_page
from trading_pipeline.simulator.queries import (
    read_activity_filter,
    read_bars_query,
    read_calendar_range,
    read_order_filter,
    read_symbols,
)
from trading_pipeline.simulator.refusals import Refusal, not_found
from trading_pipeline.simulator.wire import (
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
    utc_text,
)

JSON = "application/json"
# Beyond it the calendar cannot name a next open and close.
LAST_SESSION = date(2040, 11, 30)


@dataclass(frozen=True)
class Identity:
    """What the simulator says of itself when asked for its health."""

    market: str
    seed: int
    state: str
    account_number: str


@dataclass(frozen=True)
class Simulator:
    """Everything that the endpoints need."""

    broker: Broker
    exchange: Exchange
    identity: Identity
    credentials: Credentials
    rate_limit: RateLimit


def application(simulator: Simulator) -> Starlette:
    """Return the ASGI application of ``simulator``."""
    requests: Counter[str] = Counter()
    trading, data = _Trading(simulator.broker, simulator.exchange), _Data(simulator.broker, simulator.exchange)
    control = _Control(simulator.broker, simulator.identity, requests)
    gate = Middleware(Gate, credentials=simulator.credentials, rate_limit=simulator.rate_limit, requests=requests)
    return Starlette(
        routes=[*trading.routes(), *data.routes(), *control.routes()],
        middleware=[gate],
        exception_handlers={Refusal: _refused, InvalidInput: _misused, HTTPException: _no_endpoint},
    )


class _Trading:
    """The trading endpoints."""

    def __init__(self, broker: Broker, exchange: Exchange) -> None:
        self._broker = broker
        self._exchange = exchange

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
            Route("/v2/orders/{order_id}", self.cancel, methods=["DELETE"]),
            Route("/v2/assets", self.assets),
            Route("/v2/assets/{symbol:path}", self.asset),
            Route("/v2/clock", self.clock),
            Route("/v2/calendar", self.calendar),
        ]

    async def account(self, _: Request) -> Response:
        return JSONResponse(account_json(self._broker.account()))

    async def activities(self, request: Request) -> Response:
        kinds = request.path_params.get("kind") or request.query_params.get("activity_types", "FILL")
        if "FILL" not in kinds.split(","):
            return JSONResponse([])
        found = self._broker.activities(read_activity_filter(request.query_params))
        return JSONResponse([activity_json(execution) for execution in found])

    async def positions(self, _: Request) -> Response:
        return JSONResponse([position_json(position) for position in self._broker.positions()])

    async def position(self, request: Request) -> Response:
        asset = self._exchange.asset(request.path_params["symbol"], self._broker.clock.now())
        symbol = asset.symbol if asset else request.path_params["symbol"]
        return JSONResponse(position_json(self._broker.position(symbol)))

    async def orders(self, request: Request) -> Response:
        found = self._broker.orders(read_order_filter(request.query_params))
        return JSONResponse([order_json(order) for order in found])

    async def submit(self, request: Request) -> Response:
        return JSONResponse(order_json(self._broker.submit(read_order(await _body(request)))))

    async def cancel_all(self, _: Request) -> Response:
        asked = self._broker.cancel_all()
        return JSONResponse([{"id": order.id, "status": 200} for order in asked], 207)

    async def order_by_client_id(self, request: Request) -> Response:
        client_order_id = request.query_params.get("client_order_id", "")
        return JSONResponse(order_json(self._broker.order_by_client_id(client_order_id)))

    async def order(self, request: Request) -> Response:
        return JSONResponse(order_json(self._broker.order(request.path_params["order_id"])))

    async def cancel(self, request: Request) -> Response:
        self._broker.cancel(request.path_params["order_id"])
        return Response(status_code=204)

    async def assets(self, request: Request) -> Response:
        wanted = {
            ours: request.query_params[theirs]
            for theirs, ours in (("status", "status"), ("asset_class", "class"), ("exchange", "exchange"))
            if request.query_params.get(theirs)
        }
        every = (asset_json(asset) for asset in self._exchange.assets(self._broker.clock.now()))
        return JSONResponse([row for row in every if wanted.items() <= row.items()])

    async def asset(self, request: Request) -> Response:
        name = request.path_params["symbol"]
        found = self._exchange.asset(name, self._broker.clock.now())
        if found is None:
            raise not_found(f"asset not found for {name}")
        return JSONResponse(asset_json(found))

    async def clock(self, _: Request) -> Response:
        return JSONResponse(clock_json(self._broker.clock.now()))

    async def calendar(self, request: Request) -> Response:
        first, last = read_calendar_range(request.query_params)
        return JSONResponse([calendar_json(session) for session in sessions_between(first, last)])


class _Data:
    """The market data endpoints."""

    def __init__(self, broker: Broker, exchange: Exchange) -> None:
        self._clock = broker.clock
        self._exchange = exchange

    def routes(self) -> Sequence[Route]:
        return [
            Route("/v2/stocks/bars", self.bars),
            Route("/v2/stocks/bars/latest", self.latest_bars),
            Route("/v2/stocks/quotes/latest", self.latest_quotes),
            Route("/v2/stocks/trades/latest", self.latest_trades),
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

    def _quotes(self, request: Request) -> Iterator[tuple[str, Quote]]:
        now = self._clock.now()
        for symbol in read_symbols(request.query_params):
            quote = self._exchange.quote(symbol, now)
            if quote is not None:
                yield symbol, quote


class _Control:
    """The control plane: the clock, halts, and what happened."""

    def __init__(self, broker: Broker, identity: Identity, requests: Counter[str]) -> None:
        self._broker = broker
        self._identity = identity
        self._requests = requests

    def routes(self) -> Sequence[Route]:
        return [
            Route("/_sim/health", self.health),
            Route("/_sim/clock", self.clock),
            Route("/_sim/clock", self.move_clock, methods=["POST"]),
            Route("/_sim/state", self.state),
            Route("/_sim/halt", self.halt, methods=["POST"]),
            Route("/_sim/requests", self.requests),
        ]

    async def health(self, _: Request) -> Response:
        now = self._broker.clock.now()
        return JSONResponse({**asdict(self._identity), "pid": os.getpid(), "now": utc_text(now)})

    async def clock(self, _: Request) -> Response:
        now = self._broker.clock.now()
        session = session_at(now)
        return JSONResponse({"now": utc_text(now), "session": session.isoformat() if session else None})

    async def move_clock(self, request: Request) -> Response:
        self._broker.move_clock(_wanted_instant(await _body(request), self._broker.clock.now()))
        return await self.clock(request)

    async def state(self, _: Request) -> Response:
        now = self._broker.clock.now()
        return Response(json.dumps({"now": now, **self._broker.state()}, default=_plain), media_type=JSON)

    async def halt(self, request: Request) -> Response:
        body = await _body(request)
        symbol, session = body.get("symbol"), body.get("session")
        if not isinstance(symbol, str) or not isinstance(session, str):
            raise InvalidInput('a halt needs {"symbol": "LEU", "session": "2026-07-27"}')
        try:
            day = date.fromisoformat(session)
        except ValueError:
            raise InvalidInput(f"a session is a date like 2026-07-27, was {session}") from None
        self._broker.halt(symbol, day)
        return JSONResponse({"symbol": symbol, "session": session})

    async def requests(self, _: Request) -> Response:
        return JSONResponse(dict(self._requests))


def _wanted_instant(body: Mapping[str, Any], now: datetime) -> datetime:
    """Read ``{"now": instant}`` or ``{"advance_seconds": number}``."""
    match body.get("advance_seconds"):
        case int() | Decimal() as seconds:
            wanted = now + timedelta(seconds=float(seconds))
        case _:
            wanted = _instant(body.get("now"))
    if wanted > close_of(LAST_SESSION):
        raise InvalidInput(f"the calendar ends {LAST_SESSION}; set the clock before that")
    return wanted


def _instant(text: object) -> datetime:
    try:
        instant = datetime.fromisoformat(str(text))
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise InvalidInput('the clock needs {"now": an instant with its offset} or {"advance_seconds": a number}')
    return instant.astimezone(UTC)


async def _body(request: Request) -> Mapping[str, Any]:
    """Read a JSON object; its fractions become decimals as they were written."""
    try:
        body = json.loads(await request.body(), parse_float=Decimal)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Refusal(400, "request body format is invalid", 40010000)
    return body


def _plain(value: object) -> object:
    """Turn what JSON does not know into what it does."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, datetime):
        return utc_text(value)
    return str(value)


async def _refused(_: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)  # noqa: S101 - Starlette calls this for nothing else
    return JSONResponse(refusal.body, refusal.status)


async def _misused(_: Request, error: Exception) -> Response:
    """Answer what the control plane cannot do: 409 when time would go back, else 400."""
    return JSONResponse({"message": str(error)}, 409 if isinstance(error, ClockMovedBack) else 400)


async def _no_endpoint(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - Starlette calls this for nothing else
    return JSONResponse({"message": "endpoint not found"}, error.status_code, headers=error.headers)
