"""The submit loop: claim the plan, sell, buy from the cash that is there, wait for every order to end.

Whoever runs it again, after a crash or beside another, repeats the same ids
and asks the broker before sending, so that an intent is at most one order.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import ROUND_UP, Decimal
from typing import TYPE_CHECKING, assert_never

from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import DataError, DependencyUnavailable, OutsideExecutionWindow, TradingHalted
from trading_pipeline.domain.fills import Fill
from trading_pipeline.domain.instruments import CENT, QUANTITY_STEP, WHOLE_SHARE, round_price, round_quantity
from trading_pipeline.domain.orders import (
    Accepted,
    BrokerOrder,
    OrderIntent,
    OrderStatus,
    Plan,
    Rejected,
    Side,
    Unknown,
)
from trading_pipeline.domain.portfolio import Portfolio
from trading_pipeline.ports import (
    Broker,
    Clock,
    IntentState,
    JournalEntry,
    MarketData,
    OrderJournal,
    PlanStore,
    Quote,
    TradingStateStore,
)

if TYPE_CHECKING:
    import pandas as pd

MOST_SENDS = 2
ENDED = {
    OrderStatus.FILLED: IntentState.FILLED,
    OrderStatus.CANCELED: IntentState.CANCELED,
    OrderStatus.EXPIRED: IntentState.EXPIRED,
    OrderStatus.REJECTED: IntentState.REJECTED,
    OrderStatus.REPLACED: IntentState.CANCELED,
}


@dataclass(frozen=True)
class ExecutionRules:
    """How orders are placed.

    Attributes:
        opens_after: time after the open from which orders may be placed.
        closes_before: time before the close until which they may.
        order_timeout: seconds after which a working order is cancelled.
        first_poll: seconds before an order is first asked for.
        longest_poll: longest pause between two questions, in seconds.
        marketable_offset: how far beyond the quote a limit is placed (fraction of it).
    """

    opens_after: timedelta
    closes_before: timedelta
    order_timeout: float
    first_poll: float
    longest_poll: float
    marketable_offset: Decimal

    def window(self, session: date) -> sessions.ExecutionWindow:
        """Return the part of ``session`` in which orders may be placed."""
        return sessions.execution_window(session, self.opens_after, self.closes_before)


@dataclass(frozen=True)
class Venue:
    """Everything of the world that the submit loop needs."""

    broker: Broker
    market_data: MarketData
    journal: OrderJournal
    trading_state: TradingStateStore
    clock: Clock


@dataclass(frozen=True)
class ExecutionReport:
    """How every intent of a plan ended, and the executions that belong to it."""

    plan: Plan
    entries: tuple[JournalEntry, ...]
    fills: tuple[Fill, ...]

    @property
    def unresolved(self) -> tuple[JournalEntry, ...]:
        """Intents whose fate is not known yet."""
        return tuple(entry for entry in self.entries if not entry.state.is_terminal)


def plan_in_force(plans: PlanStore, journal: OrderJournal, account_number: str, session: date) -> Plan | None:
    """Return the plan that trades ``session``'s decision: the one already claimed, else the newest; None without one.

    Raises:
        DataError: the journal holds a plan that the store has not.
    """
    versions = plans.versions(account_number, session)
    holder = journal.claimed(account_number, session)
    if holder is None:
        return versions[-1] if versions else None
    for plan in versions:
        if plan.plan_id == holder:
            return plan
    raise DataError(f"the journal holds plan {holder} of session {session}, which the plan store lacks; restore it")


def execute(plan: Plan, venue: Venue, rules: ExecutionRules) -> ExecutionReport:
    """Bring every intent of ``plan`` to its end and report what was executed.

    Raises:
        OutsideExecutionWindow: the plan is hypothetical or its window is not now.
        TradingHalted: the trading state or the broker allows no orders.
        DataError: another plan of the same session was executed first.
    """
    now = venue.clock.now()
    _refuse_untimely(plan, rules, now)
    _claim(plan, venue.journal, now)
    for side in (Side.SELL, Side.BUY):
        _execute_side([order for order in plan.orders if order.side is side], plan, _Batch(venue, rules, now))
    return report(plan, venue)


def report(plan: Plan, venue: Venue) -> ExecutionReport:
    """Return where every intent of ``plan`` stands, and its executions so far."""
    ours = {order.client_order_id for order in plan.orders}
    executions = venue.broker.executions(sessions.open_of(plan.execution_session)) if ours else ()
    fills = tuple(fill for fill in executions if fill.client_order_id in ours)
    return ExecutionReport(plan, tuple(venue.journal.entries(plan.plan_id)), fills)


def _refuse_untimely(plan: Plan, rules: ExecutionRules, now: datetime) -> None:
    if plan.hypothetical:
        raise OutsideExecutionWindow(
            f"plan {plan.plan_id} is hypothetical (made in a backfill or after its window): it can never be executed"
        )
    window = rules.window(plan.execution_session)
    if not window.contains(now):
        raise OutsideExecutionWindow(
            f"orders of session {plan.session} may be placed from {window.start.isoformat()} to "
            f"{window.end.isoformat()}, now is {now.isoformat()}; a session whose window is over is never traded"
        )


def _claim(plan: Plan, journal: OrderJournal, now: datetime) -> None:
    holder = journal.claim(plan, now)
    if holder != plan.plan_id:
        raise DataError(f"plan {holder} of session {plan.session} is being executed; plan {plan.plan_id} came too late")


@dataclass(frozen=True)
class _Batch:
    """The orders of one side are placed together; ``now`` is the instant at which that began."""

    venue: Venue
    rules: ExecutionRules
    now: datetime


def _execute_side(orders: Sequence[OrderIntent], plan: Plan, batch: _Batch) -> None:
    states = {entry.client_order_id: entry.state for entry in batch.venue.journal.entries(plan.plan_id)}
    open_intents = [order for order in orders if not states[order.client_order_id].is_terminal]
    if not open_intents:
        return
    portfolio = batch.venue.broker.portfolio()
    _refuse_halted(portfolio, batch)
    quotes = batch.venue.market_data.quotes([intent.symbol for intent in open_intents])
    cash = portfolio.cash
    working = []
    for intent in open_intents:
        order = batch.venue.broker.order(intent.client_order_id)
        if order is None:
            order = _place(intent, quotes.get(intent.symbol), cash, batch)
        if order is not None:
            working.append(order)
            cash -= _reserved(order)
    _wait_for(working, batch)


def _refuse_halted(portfolio: Portfolio, batch: _Batch) -> None:
    state = batch.venue.trading_state.read()
    if not state.allows_trading:
        raise TradingHalted(f"trading is {state.mode}: {state.reason or 'no reason given'}; nothing was sent")
    if portfolio.blocked:
        raise TradingHalted(f"the broker blocks the account: {portfolio.blocked}; nothing was sent")


def _place(intent: OrderIntent, quote: Quote | None, cash: Decimal, batch: _Batch) -> BrokerOrder | None:
    sized = _priced(intent, quote, batch.rules.marketable_offset)
    if isinstance(sized, OrderIntent) and sized.side is Side.BUY:
        sized = _affordable(sized, cash)
    if isinstance(sized, str):
        _record(intent, IntentState.ABANDONED, sized, batch)
        return None
    return _sent(sized, batch)


def _priced(intent: OrderIntent, quote: Quote | None, offset: Decimal) -> OrderIntent | str:
    # The plan's limit is the collar; the order goes just beyond the quote, so that no more cash is bound than needed.
    if intent.limit_price is None:
        return intent
    side = None if quote is None else quote.ask if intent.side is Side.BUY else quote.bid
    if not side:
        return f"no quote for {intent.symbol}"
    if intent.side is Side.BUY:
        limit = min(round_price(side * (1 + offset), up=True), intent.limit_price)
        beyond = side > intent.limit_price
    else:
        limit = max(round_price(side * (1 - offset), up=False), intent.limit_price)
        beyond = side < intent.limit_price
    if beyond:
        return f"quoted at {side}, beyond the collar at {intent.limit_price}"
    return replace(intent, limit_price=limit)


def _affordable(intent: OrderIntent, cash: Decimal) -> OrderIntent | str:
    price = intent.limit_price or intent.reference_price
    whole = intent.quantity == intent.quantity.to_integral_value()
    # A cent stays: the broker rounds what it sets aside for an order upwards.
    most = round_quantity(max(cash - CENT, Decimal(0)) / price, WHOLE_SHARE if whole else QUANTITY_STEP)
    if most <= 0:
        return f"no cash left: {cash:.2f} dollars for {intent.symbol} at {price}"
    return replace(intent, quantity=min(intent.quantity, most))


def _reserved(order: BrokerOrder) -> Decimal:
    if order.side is Side.SELL or order.status.is_terminal:
        return Decimal(0)
    bound = (order.quantity - order.filled_quantity) * (order.limit_price or Decimal(0))
    return bound.quantize(CENT, ROUND_UP)


def _sent(intent: OrderIntent, batch: _Batch) -> BrokerOrder | None:
    for _ in range(MOST_SENDS):
        _record(intent, IntentState.SUBMITTING, f"{intent.quantity} at {intent.limit_price}", batch)
        match batch.venue.broker.submit(intent):
            case Accepted(order):
                _record(intent, IntentState.ACKNOWLEDGED, order.venue_order_id, batch)
                return order
            case Rejected(_, code, reason):
                _record(intent, IntentState.REJECTED, f"{code}: {reason}", batch)
                return None
            case Unknown():
                found = _asked_for(intent, batch)
                if found is not None:
                    _record(intent, IntentState.ACKNOWLEDGED, found.venue_order_id, batch)
                    return found
            case never:
                assert_never(never)
    return None


def _asked_for(intent: OrderIntent, batch: _Batch) -> BrokerOrder | None:
    # An order whose answer was lost may still arrive: ask a few times before it is sent again under the same id.
    pause = batch.rules.first_poll
    for _ in range(4):
        try:
            found = batch.venue.broker.order(intent.client_order_id)
        except DependencyUnavailable:
            found = None
        if found is not None:
            return found
        batch.venue.clock.wait(pause)
        pause = min(pause * 2, batch.rules.longest_poll)
    return None


def _wait_for(working: Sequence[BrokerOrder], batch: _Batch) -> None:
    left = _polled(working, batch)
    for order in left:
        batch.venue.broker.cancel(order.venue_order_id)
    _polled(left, batch)


def _polled(working: Sequence[BrokerOrder], batch: _Batch) -> Sequence[BrokerOrder]:
    waited, pause = 0.0, batch.rules.first_poll
    left = _still_open(working, batch)
    while left and waited < batch.rules.order_timeout:
        batch.venue.clock.wait(pause)
        waited, pause = waited + pause, min(pause * 1.5, batch.rules.longest_poll)
        left = _still_open([_now(order, batch.venue.broker) for order in left], batch)
    return left


def _now(order: BrokerOrder, broker: Broker) -> BrokerOrder:
    return broker.order(order.client_order_id) or order


def _still_open(orders: Sequence[BrokerOrder], batch: _Batch) -> list[BrokerOrder]:
    for order in orders:
        if order.status.is_terminal:
            detail = f"{order.filled_quantity} of {order.quantity} filled at {order.average_price}"
            batch.venue.journal.record(order.client_order_id, ENDED[order.status], detail, batch.now)
    return [order for order in orders if not order.status.is_terminal]


def _record(intent: OrderIntent, state: IntentState, detail: str, batch: _Batch) -> None:
    batch.venue.journal.record(intent.client_order_id, state, detail, batch.now)


FILL_COLUMNS = (
    "session",
    "execution_session",
    "plan_id",
    "client_order_id",
    "execution_id",
    "symbol",
    "side",
    "quantity",
    "price",
    "commission",
    "filled_at",
)


def fills_to_frame(done: ExecutionReport) -> "pd.DataFrame":
    """Return the rows of table ``fills``: one for each execution."""
    import pandas as pd

    rows = [
        (
            done.plan.session,
            done.plan.execution_session,
            done.plan.plan_id,
            fill.client_order_id,
            fill.execution_id,
            fill.symbol,
            fill.side.value,
            fill.quantity,
            fill.price,
            fill.commission,
            fill.filled_at,
        )
        for fill in done.fills
    ]
    frame = pd.DataFrame(rows, columns=list(FILL_COLUMNS))
    return frame.astype({"filled_at": "datetime64[us, UTC]"})
