from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_UP, Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from trading_pipeline.adapters.storage.journal import SqliteJournal
from trading_pipeline.application.execution import ExecutionRules, Venue
from trading_pipeline.domain import sessions
from trading_pipeline.domain.bars import COLUMNS
from trading_pipeline.domain.fills import Fill
from trading_pipeline.domain.orders import (
    Accepted,
    ArchivedDecision,
    BrokerOrder,
    LineageEntry,
    OrderIntent,
    OrderResult,
    OrderStatus,
    OrderType,
    Plan,
    Refusal,
    Rejected,
    Side,
    TimeInForce,
    Unknown,
    client_order_id,
)
from trading_pipeline.domain.portfolio import Portfolio, Position
from trading_pipeline.domain.risk.trading_state import ACTIVE, TradingState
from trading_pipeline.ports import Asset, IntentState, Quote

ACCOUNT = "SIM0001"
SESSION = date(2026, 7, 30)
PLAN_ID = "2026-07-30.1"
INSIDE_WINDOW = datetime(2026, 7, 31, 14, 0, tzinfo=UTC)


def make_intent(
    symbol="SPY", side=Side.BUY, quantity="2.5", limit="110", *, plan_id=PLAN_ID, sequence=0, reference="100"
) -> OrderIntent:
    return OrderIntent(
        client_order_id=client_order_id(ACCOUNT, plan_id, symbol, side),
        sequence=sequence,
        symbol=symbol,
        side=side,
        quantity=Decimal(quantity),
        order_type=OrderType.MARKET if limit is None else OrderType.LIMIT,
        limit_price=None if limit is None else Decimal(limit),
        reference_price=Decimal(reference),
        time_in_force=TimeInForce.DAY,
        reason="to target",
    )


def sell(symbol, quantity, limit="90", **changes) -> OrderIntent:
    return make_intent(symbol, Side.SELL, quantity, limit, **changes)


def buy(symbol, quantity, limit="110", **changes) -> OrderIntent:
    return make_intent(symbol, Side.BUY, quantity, limit, **changes)


def approved(orders) -> tuple[ArchivedDecision, ...]:
    """The word of a risk engine that lets everything pass."""
    return tuple(ArchivedDecision(order.client_order_id, "approved", order.quantity) for order in orders)


def make_plan(*orders: OrderIntent, session=SESSION, version=1, **changes) -> Plan:
    changes.setdefault("decisions", approved(changes.get("orders", orders)))
    plan = Plan(
        plan_id=f"{session}.{version}",
        account_number=ACCOUNT,
        session=session,
        execution_session=sessions.next_session(session),
        version=version,
        created_at=sessions.close_of(session) + timedelta(minutes=30),
        hypothetical=False,
        orders=tuple(replace(order, sequence=place) for place, order in enumerate(orders)),
        lineage=(LineageEntry("allocation", 7, "run-1", 3),),
        code_version="0.1.0",
        config_hash="abc",
    )
    return replace(plan, **changes)


@dataclass
class TurnedClock:
    """A clock that moves only when it is told to, or waited on."""

    instant: datetime = INSIDE_WINDOW
    waits: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        return self.instant

    def wait(self, seconds: float) -> None:
        if seconds:
            self.waits.append(seconds)
        self.instant += timedelta(seconds=seconds)

    def elapsed(self) -> float:
        return self.instant.timestamp()


@dataclass
class HeldTradingState:
    state: TradingState = ACTIVE

    def read(self) -> TradingState:
        return self.state

    def write(self, state: TradingState) -> None:
        self.state = state

    def change(self, change: Callable[[TradingState], TradingState]) -> TradingState:
        self.state = change(self.state)
        return self.state


class Step(NamedTuple):
    """Where an order stands from a reading on; ``filled`` is a fraction of its quantity."""

    status: OrderStatus
    filled: str = "0"


WORKING = Step(OrderStatus.NEW)
FILLED = Step(OrderStatus.FILLED, "1")
CENT = Decimal("0.01")


class ScriptedBroker:
    """A strict cash account in memory: fills at the limit, refuses what cash or shares do not cover.

    An order takes the next of its symbol's ``steps`` at each reading and stays at the last. A submission takes the
    next of its symbol's ``answers``: ``accept`` when there is none left; ``lose`` accepts it and ``drop`` ignores it,
    both without an answer; ``late`` is seen by nobody before the fifth question; ``reject`` refuses it, and so does
    a :class:`Refusal` or a whole :class:`Rejected`. A list of all orders is a question about each.
    """

    def __init__(self, cash="10000", held: Mapping[str, str] | None = None, account=ACCOUNT) -> None:
        self.account = account
        self.cash = Decimal(cash)
        self.shares = defaultdict(Decimal, {symbol: Decimal(count) for symbol, count in (held or {}).items()})
        self.blocked = ""
        self.steps: dict[str, Sequence[Step]] = {}
        self.answers: dict[str, list[str | Refusal | Rejected]] = defaultdict(list)
        self.deaf_to_cancels = False
        self.known: dict[str, BrokerOrder] = {}
        self.sent: list[OrderIntent] = []
        self.cancelled: list[str] = []
        self.fills: list[Fill] = []
        self._next: dict[str, list[Step]] = {}
        self._late: dict[str, tuple[OrderIntent, int]] = {}

    def portfolio(self) -> Portfolio:
        positions = {symbol: Position(symbol, held, Decimal(100)) for symbol, held in self.shares.items() if held}
        return Portfolio(self.account, INSIDE_WINDOW, self.cash, positions, self.blocked)

    def assets(self, symbols: Sequence[str]) -> Mapping[str, Asset]:
        return {symbol: Asset(symbol, symbol, "ARCA", tradable=True, fractionable=True) for symbol in symbols}

    def submit(self, intent: OrderIntent) -> OrderResult:
        self.sent.append(intent)
        known = self.known.get(intent.client_order_id)
        if known is not None:
            return Accepted(known)
        answer = self.answers[intent.symbol].pop(0) if self.answers[intent.symbol] else "accept"
        if isinstance(answer, (Refusal, Rejected)):
            return self._refused(intent, answer)
        if answer == "drop":
            return Unknown(intent.client_order_id, "connection refused")
        if answer == "reject" or not self._covers(intent):
            return Rejected(intent.client_order_id, "40310000", "insufficient buying power")
        if answer == "late":
            self._late[intent.client_order_id] = (intent, 4)
            return Unknown(intent.client_order_id, "read timed out")
        order = self._taken(intent)
        return Accepted(order) if answer == "accept" else Unknown(intent.client_order_id, "read timed out")

    def _refused(self, intent: OrderIntent, answer: Refusal | Rejected) -> Rejected:
        if isinstance(answer, Rejected):
            return replace(answer, client_order_id=intent.client_order_id)
        return Rejected(intent.client_order_id, "40310000", f"refused: {answer}", answer)

    def orders(self, since: datetime | None = None) -> Sequence[BrokerOrder]:
        if since is None:
            return [order for order in self.known.values() if not order.status.is_terminal]
        return [order for name in [*self.known, *self._late] if (order := self.order(name)) is not None]

    def order(self, client_order_id: str) -> BrokerOrder | None:
        intent, questions = self._late.pop(client_order_id, (None, 0))
        if intent is not None and questions:
            self._late[client_order_id] = (intent, questions - 1)
        elif intent is not None and client_order_id not in self.known and self._covers(intent):
            self._taken(intent)
        if client_order_id in self.known and self._next[client_order_id]:
            self._move(client_order_id, self._next[client_order_id].pop(0))
        return self.known.get(client_order_id)

    def cancel(self, venue_order_id: str) -> None:
        self.cancelled.append(venue_order_id)
        name = venue_order_id.removeprefix("venue-")
        if not self.deaf_to_cancels:
            done = self.known[name].filled_quantity / self.known[name].quantity
            self._next[name] = [Step(OrderStatus.PENDING_CANCEL, str(done)), Step(OrderStatus.CANCELED, str(done))]

    def executions(self, after: datetime) -> Sequence[Fill]:
        return [fill for fill in self.fills if fill.filled_at >= after]

    def _covers(self, intent: OrderIntent) -> bool:
        working = [order for order in self.known.values() if not order.status.is_terminal]
        if intent.side is Side.SELL:
            bound = sum(o.quantity - o.filled_quantity for o in working if o.symbol == intent.symbol)
            return intent.quantity <= self.shares[intent.symbol] - bound
        bound = sum(_cost(o.quantity - o.filled_quantity, _price(o)) for o in working if o.side is Side.BUY)
        return _cost(intent.quantity, intent.limit_price or intent.reference_price) <= self.cash - bound

    def _taken(self, intent: OrderIntent) -> BrokerOrder:
        name = intent.client_order_id
        self.known[name] = BrokerOrder(
            client_order_id=name,
            venue_order_id=f"venue-{name}",
            symbol=intent.symbol,
            side=intent.side,
            quantity=intent.quantity,
            filled_quantity=Decimal(0),
            average_price=None,
            limit_price=intent.limit_price,
            status=OrderStatus.PENDING_NEW,
            submitted_at=INSIDE_WINDOW,
        )
        self._next[name] = list(self.steps.get(intent.symbol, (WORKING, FILLED)))
        return self.known[name]

    def _move(self, name: str, step: Step) -> None:
        before = self.known[name]
        filled = before.quantity * Decimal(step.filled)
        more = filled - before.filled_quantity
        if more:
            self._book(before, more)
        price = _price(before) if filled else None
        self.known[name] = replace(before, status=step.status, filled_quantity=filled, average_price=price)

    def _book(self, order: BrokerOrder, quantity: Decimal) -> None:
        sign = 1 if order.side is Side.BUY else -1
        self.shares[order.symbol] += sign * quantity
        self.cash -= sign * quantity * _price(order)
        number = len(self.fills) + 1
        self.fills.append(
            Fill(
                execution_id=f"execution-{number}",
                client_order_id=order.client_order_id,
                symbol=order.symbol,
                side=order.side,
                quantity=quantity,
                price=_price(order),
                commission=Decimal(0),
                filled_at=INSIDE_WINDOW + timedelta(seconds=number),
            )
        )


def _price(order: BrokerOrder) -> Decimal:
    return order.limit_price or Decimal(100)


def _cost(quantity: Decimal, price: Decimal) -> Decimal:
    return (quantity * price).quantize(CENT, ROUND_UP)


class ListedMarketData:
    """Bars from a frame and quotes of one price a symbol; remembers which bars were asked for."""

    def __init__(self, bars: pd.DataFrame | None = None, prices: Mapping[str, str] | None = None) -> None:
        self.bars = pd.DataFrame(columns=list(COLUMNS)) if bars is None else bars
        self.prices = dict(prices or {})
        self.asked: list[tuple[tuple[str, ...], date, date]] = []

    def daily_bars(self, symbols: Sequence[str], first: date, last: date) -> pd.DataFrame:
        self.asked.append((tuple(symbols), first, last))
        inside = (self.bars["session"] >= first) & (self.bars["session"] <= last)
        return self.bars[inside & self.bars["symbol"].isin(symbols)].reset_index(drop=True)

    def quotes(self, symbols: Sequence[str]) -> Mapping[str, Quote]:
        known = {symbol: Decimal(self.prices[symbol]) for symbol in symbols if symbol in self.prices}
        return {symbol: Quote(symbol, price, price, INSIDE_WINDOW) for symbol, price in known.items()}


def bars_frame(closes: Mapping[str, Mapping[date, float]]) -> pd.DataFrame:
    """Return a Bars frame of close-only bars."""
    rows = [
        {"symbol": symbol, "session": session, "close": close}
        for symbol, by_session in closes.items()
        for session, close in by_session.items()
    ]
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).astype(
        {"symbol": "str"} | dict.fromkeys(("open", "high", "low", "close", "volume"), "float64")
    )
    return frame.sort_values(["symbol", "session"], ignore_index=True)


class Killed(BaseException):
    """The process dies here."""


@dataclass
class Tripwire:
    """Raises ``failure`` at the n-th call that passes through it, before or after the call had its effect."""

    at: int
    failure: Callable[[], BaseException]
    after_effect: bool = False
    calls: int = 0

    def around(self, target: object) -> Any:
        return _Watched(target, self)

    def passed(self, call: Callable[[], Any]) -> Any:
        self.calls += 1
        if self.calls != self.at:
            return call()
        if self.after_effect:
            call()
        raise self.failure()


class _Watched:
    def __init__(self, target: object, wire: Tripwire) -> None:
        self._target = target
        self._wire = wire

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._target, name)
        return lambda *arguments: self._wire.passed(lambda: method(*arguments))


RULES = ExecutionRules(
    opens_after=timedelta(minutes=1),
    closes_before=timedelta(minutes=15),
    order_timeout=10.0,
    first_poll=0.5,
    longest_poll=2.0,
    marketable_offset=Decimal("0.001"),
    quote_age=timedelta(hours=8),
)
PRICES = dict.fromkeys(("TLT", "SPY", "QQQ", "GLD"), "100")


def make_venue(folder: Path, *, cash="10000", held=None, prices=PRICES, clock=None) -> Venue:
    """Return a scripted broker that holds TLT and GLD, beside a real journal in ``folder``."""
    broker = ScriptedBroker(cash, {"TLT": "10", "GLD": "5"} if held is None else held)
    market_data = ListedMarketData(prices=prices)
    journal = SqliteJournal(folder / "journal.sqlite")
    return Venue(broker, market_data, journal, HeldTradingState(), clock or TurnedClock())


def states(venue: Venue, plan: Plan) -> Mapping[str, IntentState]:
    """Return where each symbol's intent stands in the journal."""
    by_id = {entry.client_order_id: entry.state for entry in venue.journal.entries(plan.plan_id)}
    return {order.symbol: by_id[order.client_order_id] for order in plan.orders}


def details(venue: Venue, plan: Plan) -> Mapping[str, str]:
    """Return what the journal says of each symbol's intent."""
    by_id = {entry.client_order_id: entry.detail for entry in venue.journal.entries(plan.plan_id)}
    return {order.symbol: by_id[order.client_order_id] for order in plan.orders}
