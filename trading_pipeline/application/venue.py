"""What the steps of the submit loop share: the world, the rules, and one intent with its orders."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import ROUND_UP, Decimal
from functools import cached_property

import structlog

from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import AlreadyEnded, OutsideExecutionWindow, TradingHalted
from trading_pipeline.domain.instruments import CENT
from trading_pipeline.domain.orders import BrokerOrder, OrderIntent, Plan, Side, client_order_id
from trading_pipeline.ports import (
    Attempt,
    Broker,
    Clock,
    IntentState,
    JournalEntry,
    MarketData,
    OrderJournal,
    OrderUpdates,
    SendingGate,
    TradingStateStore,
)

ZERO = Decimal(0)
# Alpaca sets up to 4 % more than the quote aside for a buy without a limit.
MARKET_ORDER_MARGIN = Decimal("1.05")


@dataclass(frozen=True)
class ExecutionRules:
    """How orders are placed.

    Attributes:
        opens_after: time after the open from which orders may be placed.
        closes_before: time before the close until which they may.
        order_timeout: seconds after which a working order is cancelled, over all its slices.
        first_poll: seconds before an order is first asked for.
        longest_poll: longest pause between two questions, in seconds.
        marketable_offset: how far beyond the quote a limit is placed (fraction of it); grows with each slice.
        max_reprices: how often the rest of an order that did not fill is sent again at a new price.
        orders_in_flight: orders on their way to the broker at once.
        time_limit: how long after the plan was journalled an order may still be sent.
        quote_age: oldest quote by which an order is priced.
        offsets: by symbol, how far beyond the quote each slice's limit is placed (fractions), where that is not
            ``marketable_offset`` times the slice's number; the last of them holds for all that follow.
        last_stays: whether an order's last slice stays at the broker until it ends by itself, for a symbol that is
            halted, say, and will trade again; otherwise it is cancelled as the others are.
    """

    opens_after: timedelta
    closes_before: timedelta
    order_timeout: float
    first_poll: float
    longest_poll: float
    marketable_offset: Decimal
    max_reprices: int = 0
    orders_in_flight: int = 1
    time_limit: timedelta = timedelta(hours=1)
    quote_age: timedelta = timedelta(minutes=15)
    offsets: Mapping[str, tuple[Decimal, ...]] = field(default_factory=dict)
    last_stays: bool = False

    def offset(self, symbol: str, slice_number: int) -> Decimal:
        """Return how far beyond the quote the slice of that number, counted from 0, is placed (fraction)."""
        steps = self.offsets.get(symbol)
        return steps[min(slice_number, len(steps) - 1)] if steps else self.marketable_offset * (slice_number + 1)

    def window(self, session: date) -> sessions.ExecutionWindow:
        """Return the part of ``session`` in which orders may be placed."""
        return sessions.execution_window(session, self.opens_after, self.closes_before)

    @property
    def slice_timeout(self) -> float:
        """Seconds that one slice of an order works before it is cancelled."""
        return self.order_timeout / (self.max_reprices + 1)


@dataclass(frozen=True)
class Venue:
    """Everything of the world that the submit loop needs.

    Without ``updates`` it polls by the clock alone; without a ``gate`` nobody
    who stops trading waits for what is being sent. ``stopped`` tells, before a
    batch is sent, which of its symbols do not trade now and why. ``turn`` is
    what an order waits for before the last look at it.
    """

    broker: Broker
    market_data: MarketData
    journal: OrderJournal
    trading_state: TradingStateStore
    clock: Clock
    updates: OrderUpdates | None = None
    gate: SendingGate | None = None
    stopped: Callable[[Sequence[str]], Mapping[str, str]] | None = None
    turn: Callable[[], AbstractContextManager[None]] | None = None

    def why_stopped(self, symbols: Sequence[str]) -> Mapping[str, str]:
        """Return by symbol why it does not trade now; one that trades, or of which nobody was asked, is absent."""
        return {} if self.stopped is None else self.stopped(symbols)

    def turn_to_submit(self) -> AbstractContextManager[None]:
        """Wait until an order may be sent; inside the block it is sent without waiting.

        Raises:
            RateLimited: the turn would come too late; nothing was sent.
            Interrupted: the process was asked to end.
        """
        return nullcontext() if self.turn is None else self.turn()

    def sending(self) -> AbstractContextManager[None]:
        """Pass the gate: the block reads the trading state and sends, and whoever stops trading waits for its end.

        Raises:
            TradingHalted: somebody keeps the gate shut; nothing may be sent.
            Interrupted: the process was asked to end.
        """
        return nullcontext() if self.gate is None else self.gate.sending()

    def wait(self, seconds: float) -> None:
        """Wait for news of an order, at the longest ``seconds``.

        Raises:
            Interrupted: the process was asked to end.
        """
        (self.updates or self.clock).wait(seconds)


@dataclass(frozen=True)
class Desk:
    """A plan being worked off: ``claimed_at`` is when it was journalled, ``now`` when the current step began.

    ``since`` is what the clock's ``elapsed`` was at ``now``: steps last, and the broker's
    time goes on meanwhile.
    """

    plan: Plan
    venue: Venue
    rules: ExecutionRules
    claimed_at: datetime
    now: datetime
    since: float

    @property
    def estimated_now(self) -> datetime:
        """The broker's time of this very instant, reckoned from the step's beginning without asking."""
        return self.now + timedelta(seconds=self.venue.clock.elapsed() - self.since)

    @cached_property
    def _ends_at(self) -> datetime:
        return self.rules.window(self.plan.execution_session).end

    @cached_property
    def _log(self) -> structlog.typing.FilteringBoundLogger:
        # Bound once a step: a logger that is looked up for each line costs as much as the line.
        log: structlog.typing.FilteringBoundLogger = structlog.get_logger().bind(plan_id=self.plan.plan_id)
        return log

    @property
    def is_over(self) -> bool:
        """Whether the execution window has ended."""
        return self.estimated_now >= self._ends_at

    @property
    def past_limit(self) -> str:
        """Why nothing may be sent any more, once the time limit is over; empty before."""
        limit = self.rules.time_limit
        if self.estimated_now - self.claimed_at <= limit:
            return ""
        return f"the time limit of {limit.total_seconds() / 60:g} minutes since the plan was journalled is over"

    def record(
        self,
        intent: OrderIntent,
        state: IntentState,
        detail: str,
        order_id: str | None = None,
        mid: Decimal | None = None,
        expecting: JournalEntry | None = None,
    ) -> bool:
        """Journal where ``intent`` stands, and log it; tell whether that was done.

        It was not where ``expecting`` is no longer its latest entry, or where a run beside this one ended it.
        """
        name = intent.client_order_id
        attempt = Attempt(order_id or name, mid, expecting)
        try:
            if not self.venue.journal.record(name, state, detail, self.now, attempt):
                return False
        except AlreadyEnded as known:
            log_order(name, attempt.order_id, state, f"not journalled: {known}", self._log)
            return False
        told = {"symbol": intent.symbol, "side": intent.side.value}
        log_order(name, attempt.order_id, state, detail, self._log, **told)
        return True

    def entries(self) -> Sequence[JournalEntry]:
        """Return the latest entry of each intent of the plan."""
        return self.venue.journal.entries(self.plan.plan_id, self.plan.account_number)

    def held_back(self, side: Side) -> str:
        """Return why orders of that side wait, while the trading state lets exposures be reduced only.

        Raises:
            TradingHalted: no order may be sent at all.
        """
        state = self.venue.trading_state.read()
        if state.allows_trading and not state.allows(side):
            return f"trading is {state.mode}: {state.reason or 'no reason given'}"
        self.refuse_halted(side)
        return ""

    def refuse_halted(self, side: Side) -> None:
        """Stop before an order leaves that the trading state, read now, does not allow.

        Raises:
            TradingHalted: no order of this side may be sent, or the state cannot be read.
            Interrupted: the process was asked to end.
        """
        self.venue.clock.wait(0)
        state = self.venue.trading_state.read()
        if not state.allows(side):
            raise TradingHalted(
                f"trading is {state.mode}: {state.reason or 'no reason given'}; what was not yet sent of plan "
                f"{self.plan.plan_id} stays unsent"
            )


def log_order(
    client_order_id: str,
    order_id: str,
    state: IntentState,
    detail: str,
    log: structlog.typing.FilteringBoundLogger | None = None,
    **facts: str,
) -> None:
    """Log what the journal was told of an order; every line of an intent bears its id as ``correlation_id``.

    It is logged by ``log``, with what that is bound to, where one is given.
    """
    log, event = log or structlog.get_logger(), f"order_{state.value}"
    log.info(event, correlation_id=client_order_id, order_id=order_id, detail=detail, **facts)


def refuse_untimely(plan: Plan, rules: ExecutionRules, now: datetime) -> None:
    """Stop where ``plan`` may not be executed at ``now``.

    Raises:
        OutsideExecutionWindow: it is hypothetical, or its window is not now.
    """
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


@dataclass(frozen=True)
class Pursuit:
    """An intent and the orders that the broker has of it, oldest first: one at a time, each the rest of the one before.

    ``in_doubt`` means that its next order was sent and is not seen (yet);
    ``repricing`` that the last one is being cancelled to send the rest anew.
    ``binds`` is the dollars that an order in doubt may take.
    """

    intent: OrderIntent
    account_number: str
    plan_id: str
    orders: tuple[BrokerOrder, ...] = ()
    in_doubt: bool = False
    repricing: bool = False
    binds: Decimal = ZERO

    def order_id(self, slice_number: int) -> str:
        """Return the id of the order of that number, counted from 0, whose id is the intent's own."""
        intent = self.intent
        return client_order_id(self.account_number, self.plan_id, intent.symbol, intent.side, slice_number)

    @property
    def next_id(self) -> str:
        """The id of the order that would be sent next."""
        return self.order_id(len(self.orders))

    @property
    def last(self) -> BrokerOrder | None:
        """The newest of its orders."""
        return self.orders[-1] if self.orders else None

    @property
    def is_working(self) -> bool:
        """Whether an order of it can still be filled, as far as is known."""
        return self.in_doubt or (self.last is not None and not self.last.status.is_terminal)

    @property
    def filled(self) -> Decimal:
        """Shares filled so far, over all its orders."""
        return sum((order.filled_quantity for order in self.orders), ZERO)

    @property
    def remaining(self) -> Decimal:
        """Shares that are still wanted."""
        return self.intent.quantity - self.filled

    @property
    def still_binds(self) -> Decimal:
        """Dollars that the rest of a buy may yet take."""
        if self.intent.side is Side.SELL or not self.is_working:
            return ZERO
        if self.last is None or self.last.status.is_terminal:
            return self.binds
        return dollars(self.last.quantity - self.last.filled_quantity, self.last.limit_price, self.intent)


def dollars(shares: Decimal, limit: Decimal | None, intent: OrderIntent) -> Decimal:
    """Return the most that ``shares`` cost at ``limit``, or at the market."""
    return (shares * (limit or highest_price(intent))).quantize(CENT, ROUND_UP)


def highest_price(intent: OrderIntent) -> Decimal:
    """Return the most that a share of ``intent`` may cost."""
    return intent.limit_price or intent.reference_price * MARKET_ORDER_MARGIN
