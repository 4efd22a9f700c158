"""The control plane of the simulator, under ``/_sim``: time, faults, and whatever a person may set by hand.

Every call takes and gives JSON. Those that are about one account take
``?account=NUMBER``; without it the first account is meant.
"""

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.sessions import close_of
from trading_pipeline.simulator.admission import read_json
from trading_pipeline.simulator.broker import Broker
from trading_pipeline.simulator.fault_rules import FaultTable
from trading_pipeline.simulator.gate import Account
from trading_pipeline.simulator.overrides import BarChange, Figure
from trading_pipeline.simulator.records import Event, MovementKind, Order
from trading_pipeline.simulator.universe import Split
from trading_pipeline.simulator.venue import Venue
from trading_pipeline.simulator.wire import activity_json, order_json, utc_text

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


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _ClockBody(_Body):
    now: AwareDatetime | None = None
    advance_seconds: float | None = None
    next: str | None = None


class _HaltBody(_Body):
    symbol: str
    session: date | None = None


class _SymbolBody(_Body):
    symbol: str


class _OverrideBody(_SymbolBody):
    tradable: bool | None = None
    fractionable: bool | None = None
    illiquid: bool = False
    missing: bool = False
    quote_factor: Decimal = Decimal(1)
    quote_age: float = 0.0


class _GapBody(_SymbolBody):
    first: date
    last: date


class _BarBody(_SymbolBody):
    session: date
    factor: Decimal
    figure: Figure = "all"


class _SplitBody(_SymbolBody):
    session: date
    ratio: Decimal


class _AccountBody(_Body):
    cash: Decimal | None = None
    status: str | None = None
    trading_blocked: bool | None = None
    account_blocked: bool | None = None
    transfers_blocked: bool | None = None
    trade_suspended_by_user: bool | None = None


class _PositionBody(_SymbolBody):
    quantity: Decimal
    cost_basis: Decimal | None = None


class _MovementBody(_Body):
    kind: MovementKind
    amount: Decimal
    symbol: str | None = None


class _ReleaseBody(_Body):
    symbol: str | None = None
    order: str | None = None


class _SeedBody(_Body):
    seed: int


class _DiskBody(_Body):
    full: bool


Kind = TypeVar("Kind", bound=_Body)


class Control:
    """The endpoints of the control plane."""

    def __init__(
        self,
        venue: Venue,
        accounts: Sequence[Account],
        identity: Identity,
        requests: Counter[str],
        faults: FaultTable,
    ) -> None:
        self._venue = venue
        self._accounts = accounts
        self._identity = identity
        self._requests = requests
        self._faults = faults

    def routes(self) -> Sequence[Route]:
        """Return the routes of the control plane."""
        return [
            Route("/_sim/health", self.health),
            Route("/_sim/clock", self.clock),
            Route("/_sim/clock", self.move_clock, methods=["POST"]),
            Route("/_sim/state", self.state),
            Route("/_sim/events", self.events),
            Route("/_sim/step", self.step, methods=["POST"]),
            Route("/_sim/requests", self.requests),
            Route("/_sim/faults", self.faults),
            Route("/_sim/faults", self.add_fault, methods=["POST"]),
            Route("/_sim/faults", self.clear_faults, methods=["DELETE"]),
            Route("/_sim/seed", self.seed, methods=["POST"]),
            Route("/_sim/halt", self.halt, methods=["POST"]),
            Route("/_sim/resume", self.resume, methods=["POST"]),
            Route("/_sim/symbols", self.set_symbol, methods=["POST"]),
            Route("/_sim/bars/gap", self.hide_bars, methods=["POST"]),
            Route("/_sim/bars/change", self.change_bar, methods=["POST"]),
            Route("/_sim/bars/mend", self.mend_bars, methods=["POST"]),
            Route("/_sim/split", self.split, methods=["POST"]),
            Route("/_sim/account", self.set_account, methods=["POST"]),
            Route("/_sim/movements", self.move_cash, methods=["POST"]),
            Route("/_sim/positions", self.set_position, methods=["POST"]),
            Route("/_sim/release", self.release, methods=["POST"]),
            Route("/_sim/reset", self.reset, methods=["POST"]),
            Route("/_sim/disk", self.disk, methods=["POST"]),
        ]

    async def health(self, _: Request) -> Response:
        """Tell what this simulator is."""
        accounts = [account.broker.account_number for account in self._accounts]
        now = utc_text(self._venue.clock.now())
        return JSONResponse({**asdict(self._identity), "accounts": accounts, "pid": os.getpid(), "now": now})

    async def clock(self, _: Request) -> Response:
        """Tell the simulated instant, and the session that is open."""
        now = self._venue.clock.now()
        session = self._venue.clock.session()
        return JSONResponse({"now": utc_text(now), "session": session.isoformat() if session else None})

    async def move_clock(self, request: Request) -> Response:
        """Move the clock to an instant, on by seconds, or to the next open or close."""
        self._venue.move_clock(self._wanted_instant(await _read(request, _ClockBody)))
        return await self.clock(request)

    async def state(self, request: Request) -> Response:
        """Tell account, positions, orders, executions and halts as they are; nothing moves."""
        state = self._broker(request).state()
        halts = sorted(self._venue.overrides.halts())
        symbols = self._venue.overrides.symbols()
        told = {"now": self._venue.clock.now(), **state, "halts": halts, "symbols": symbols}
        return Response(json.dumps(told, default=_plain), media_type=JSON)

    async def events(self, request: Request) -> Response:
        """Tell the events of orders after the one of that number; nothing moves."""
        after = request.query_params.get("after", "0")
        if not after.isdecimal():
            raise InvalidInput(f"after is the number of an event, was {after!r}")
        return JSONResponse([_event_json(event) for event in self._broker(request).events(int(after))])

    async def step(self, request: Request) -> Response:
        """Move every open order one step, as reading them does."""
        self._broker(request).move_all()
        return JSONResponse({"events": self._broker(request).state()["events"]})

    async def requests(self, _: Request) -> Response:
        """Tell how often each method and path was asked for."""
        return JSONResponse(dict(self._requests))

    async def faults(self, _: Request) -> Response:
        """Tell the fault rules with their counts, and what they did."""
        return JSONResponse({"rules": self._faults.rules(), "log": self._faults.log()})

    async def add_fault(self, request: Request) -> Response:
        """Add a fault rule."""
        body = json.loads(json.dumps(read_json(await request.body()), default=str))
        return JSONResponse({"id": self._faults.add(body)})

    async def clear_faults(self, _: Request) -> Response:
        """Forget every fault rule."""
        self._faults.clear()
        return JSONResponse({})

    async def seed(self, request: Request) -> Response:
        """Begin the draws of fault rules anew."""
        self._faults.reseed((await _read(request, _SeedBody)).seed)
        return JSONResponse({})

    async def halt(self, request: Request) -> Response:
        """Halt a symbol for a session, or from now until it is resumed."""
        body = await _read(request, _HaltBody)
        self._venue.halt(body.symbol, body.session)
        return JSONResponse({"symbol": body.symbol, "session": body.session and body.session.isoformat()})

    async def resume(self, request: Request) -> Response:
        """End a halt that had no end."""
        self._venue.resume((await _read(request, _SymbolBody)).symbol)
        return JSONResponse({})

    async def set_symbol(self, request: Request) -> Response:
        """Change what is set for a symbol; what is not said stays."""
        changes = (await _read(request, _OverrideBody)).model_dump(exclude_unset=True)
        return _told(self._venue.set_symbol(**changes))

    async def hide_bars(self, request: Request) -> Response:
        """Show no bars of a symbol between two days."""
        body = await _read(request, _GapBody)
        return _told(self._venue.hide_bars(body.symbol, body.first, body.last))

    async def change_bar(self, request: Request) -> Response:
        """Show a bar of a symbol otherwise than it was."""
        body = await _read(request, _BarBody)
        return _told(self._venue.change_bars(body.symbol, BarChange(body.session, body.factor, body.figure)))

    async def mend_bars(self, request: Request) -> Response:
        """Show the bars of a symbol as they are."""
        return _told(self._venue.mend_bars((await _read(request, _SymbolBody)).symbol))

    async def split(self, request: Request) -> Response:
        """Split the shares of a symbol at a session to come."""
        body = await _read(request, _SplitBody)
        self._venue.split(Split(body.symbol, body.session, body.ratio))
        return JSONResponse({})

    async def set_account(self, request: Request) -> Response:
        """Set cash and flags of the account; what is not said stays."""
        changes = (await _read(request, _AccountBody)).model_dump(exclude_none=True)
        self._broker(request).set_account(changes.pop("cash", None), **changes)
        return JSONResponse({})

    async def move_cash(self, request: Request) -> Response:
        """Book a movement of cash that is no trade."""
        body = await _read(request, _MovementBody)
        return JSONResponse(activity_json(self._broker(request).move_cash(body.kind, body.amount, body.symbol)))

    async def set_position(self, request: Request) -> Response:
        """Set the shares held in a symbol."""
        body = await _read(request, _PositionBody)
        self._broker(request).set_position(body.symbol, body.quantity, body.cost_basis)
        return JSONResponse({})

    async def release(self, request: Request) -> Response:
        """Let open orders behave as usual from now on."""
        body = await _read(request, _ReleaseBody)
        return JSONResponse({"released": self._broker(request).release(body.symbol, body.order)})

    async def reset(self, _: Request) -> Response:
        """Begin every account anew, without fault rules; the clock stays."""
        self._venue.reset()
        self._faults.clear()
        self._requests.clear()
        return JSONResponse({})

    async def disk(self, request: Request) -> Response:
        """Let the disk of the simulator be full, or let it have room again."""
        self._venue.refuse_writing(refused=(await _read(request, _DiskBody)).full)
        return JSONResponse({})

    def _broker(self, request: Request) -> Broker:
        wanted = request.query_params.get("account")
        brokers = {account.broker.account_number: account.broker for account in self._accounts}
        if wanted is None:
            return self._accounts[0].broker
        if wanted not in brokers:
            raise InvalidInput(f"there is no account {wanted}; there are {', '.join(brokers)}")
        return brokers[wanted]

    def _wanted_instant(self, body: _ClockBody) -> datetime:
        match body:
            case _ClockBody(now=datetime() as wanted, advance_seconds=None, next=None):
                wanted = wanted.astimezone(UTC)
            case _ClockBody(now=None, advance_seconds=float() as seconds, next=None):
                wanted = self._venue.clock.now() + timedelta(seconds=seconds)
            case _ClockBody(now=None, advance_seconds=None, next="open" | "close" as boundary):
                wanted = self._venue.next_boundary(opens=boundary == "open")
            case _:
                raise InvalidInput(
                    'the clock needs one of {"now": an instant with its offset}, {"advance_seconds": a number} '
                    'and {"next": "open" or "close"}'
                )
        if wanted > close_of(LAST_SESSION):
            raise InvalidInput(f"the calendar ends {LAST_SESSION}; set the clock before that")
        return wanted


async def _read(request: Request, kind: type[Kind]) -> Kind:
    try:
        return kind.model_validate(read_json(await request.body()))
    except ValidationError as failure:
        wrong = "; ".join(f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in failure.errors())
        allowed = ", ".join(kind.model_fields)
        raise InvalidInput(f"{request.url.path} takes {allowed}; {wrong}") from failure


def _told(record: object) -> Response:
    return Response(json.dumps(record, default=_plain), media_type=JSON)


def _event_json(event: Event) -> dict[str, Any]:
    execution = event.execution
    return {
        "sequence": event.sequence,
        "kind": event.kind,
        "at": utc_text(event.at),
        "order": order_json(event.order),
        "position": str(event.position),
        "execution": None if execution is None else activity_json(execution),
    }


def _plain(value: object) -> Any:  # noqa: ANN401 - whatever JSON knows
    """Turn what JSON does not know into what it does."""
    if isinstance(value, Order):
        return {**_fields(value), "filled_price": value.filled_price}
    if is_dataclass(value) and not isinstance(value, type):
        return _fields(value)
    if isinstance(value, datetime):
        return utc_text(value)
    return str(value)


def _fields(record: Any) -> dict[str, Any]:  # noqa: ANN401 - any dataclass
    return {field.name: getattr(record, field.name) for field in fields(record)}
