"""The submit loop: claim the plan, sell, buy from the cash that is there, wait for every order to end.

Whoever runs it again, after a crash or beside another, repeats the same ids
and asks the broker before sending, so that an intent is at most one order.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import ROUND_UP, Decimal
from typing import TYPE_CHECKING, assert_never

from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import (
    DataError,
    OutsideExecutionWindow,
    RequestRefused,
    TradingHalted,
    TransientError,
)
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
MOST_QUESTIONS = 4
# Alpaca sets up to 4 % more than the quote aside for a buy without a limit, and refuses buys below a dollar.
MARKET_ORDER_MARGIN = Decimal("1.05")
SMALLEST_BUY = Decimal(1)
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

    An intent whose fate cannot be told in time stays open in the report; the
    next call asks for it again. After an error the next call goes on where
    this one stopped.

    Raises:
        OutsideExecutionWindow: the plan is hypothetical, or its window is not now or ended meanwhile.
        TradingHalted: the trading state or the broker allows no orders, or the account is not the plan's.
        DataError: another plan of the same session was executed first.
        TransientError: the broker or the market data gave no usable answer.
        PermanentError: the broker refused to answer.
    """
    now = venue.clock.now()
    _refuse_untimely(plan, rules, now)
    _claim(plan, venue.journal, now)
    for side in (Side.SELL, Side.BUY):
        _execute_side(side, plan, venue, rules)
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
    """The intents of one side that are not over, by id, and where each stood when, at ``now``, the side began."""

    plan: Plan
    venue: Venue
    rules: ExecutionRules
    now: datetime
    states: Mapping[str, IntentState]


@dataclass(frozen=True)
class _Sent:
    """An intent as it was sent; ``order`` is None while the broker shows none of its id."""

    intent: OrderIntent
    order: BrokerOrder | None = None

    @property
    def still_binds(self) -> Decimal:
        """Dollars that the rest of a buy may yet take."""
        open_shares = Decimal(0) if self.is_over else self._shares - self._filled
        return self._dollars(open_shares)

    @property
    def binds_in_all(self) -> Decimal:
        """Dollars that a buy has taken and may yet take."""
        return self._dollars(self._filled if self.is_over else self._shares)

    @property
    def is_over(self) -> bool:
        return self.order is not None and self.order.status.is_terminal

    @property
    def _shares(self) -> Decimal:
        return self.intent.quantity if self.order is None else self.order.quantity

    @property
    def _filled(self) -> Decimal:
        return Decimal(0) if self.order is None else self.order.filled_quantity

    def _dollars(self, shares: Decimal) -> Decimal:
        if self.intent.side is Side.SELL:
            return Decimal(0)
        limit = None if self.order is None else self.order.limit_price
        return (shares * (limit or _highest_price(self.intent))).quantize(CENT, ROUND_UP)


def _execute_side(side: Side, plan: Plan, venue: Venue, rules: ExecutionRules) -> None:
    states = _states(plan, venue.journal)
    intents = [order for order in plan.orders if order.side is side and not states[order.client_order_id].is_terminal]
    if not intents:
        return
    batch = _Batch(plan, venue, rules, venue.clock.now(), states)
    # Orders of an earlier run come to rest before anything is sized: what they took is then part of the portfolio.
    adopted = _adopted(intents, batch)
    unsettled = _wait_for(adopted, batch)
    known = {sent.intent.client_order_id for sent in adopted}
    unsent = [intent for intent in intents if intent.client_order_id not in known]
    if unsent:
        _wait_for(_placed(unsent, unsettled, batch), batch)


def _states(plan: Plan, journal: OrderJournal) -> Mapping[str, IntentState]:
    return {entry.client_order_id: entry.state for entry in journal.entries(plan.plan_id)}


def _adopted(intents: Sequence[OrderIntent], batch: _Batch) -> Sequence[_Sent]:
    seen = [_seen_now(_Sent(intent), batch) for intent in intents]
    return [sent for sent in seen if sent.order is not None]


def _placed(intents: Sequence[OrderIntent], unsettled: Sequence[_Sent], batch: _Batch) -> Sequence[_Sent]:
    _refuse_untimely(batch.plan, batch.rules, batch.venue.clock.now())
    portfolio = batch.venue.broker.portfolio()
    _refuse_halted(portfolio, batch)
    quotes = batch.venue.market_data.quotes([intent.symbol for intent in intents])
    cash = portfolio.cash - sum((sent.still_binds for sent in unsettled), Decimal(0))
    working = []
    for intent in intents:
        sent = _place(intent, quotes.get(intent.symbol), replace(portfolio, cash=cash), batch)
        if sent is not None:
            working.append(sent)
            cash -= sent.binds_in_all
    return working


def _refuse_halted(portfolio: Portfolio, batch: _Batch) -> None:
    state, wanted = batch.venue.trading_state.read(), batch.plan.account_number
    left = f"what was not yet sent of plan {batch.plan.plan_id} stays unsent"
    if not state.allows_trading:
        raise TradingHalted(f"trading is {state.mode}: {state.reason or 'no reason given'}; {left}")
    if portfolio.blocked:
        raise TradingHalted(f"the broker blocks the account: {portfolio.blocked}; {left}")
    if portfolio.account_number != wanted:
        found = portfolio.account_number
        raise TradingHalted(f"the plan is of account {wanted}, the broker answers for {found}; {left}: check the keys")


def _place(intent: OrderIntent, quote: Quote | None, portfolio: Portfolio, batch: _Batch) -> _Sent | None:
    sized = _sized(intent, quote, portfolio, batch.rules.marketable_offset)
    if isinstance(sized, OrderIntent):
        return _sent(sized, batch)
    # Read anew, since a run beside this one may be about to send it: what is over can no longer be adopted.
    state = _states(batch.plan, batch.venue.journal)[intent.client_order_id]
    if state is IntentState.PLANNED:
        _record(intent, IntentState.ABANDONED, sized, batch)
    if state is IntentState.PLANNED or state.is_terminal:
        return None
    # It was sent before and may yet turn up: it is watched, and its cash stays bound.
    _record(intent, IntentState.SUBMITTING, f"sent before, not seen at the broker, not sent again: {sized}", batch)
    return _Sent(intent)


def _sized(intent: OrderIntent, quote: Quote | None, portfolio: Portfolio, offset: Decimal) -> OrderIntent | str:
    """Return the order to be sent, or why there is none."""
    priced = _priced(intent, quote, offset)
    if isinstance(priced, str):
        return priced
    return _affordable(priced, portfolio.cash) if priced.side is Side.BUY else _held(priced, portfolio)


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
    price = _highest_price(intent)
    whole = intent.quantity == intent.quantity.to_integral_value()
    # A cent stays: the broker rounds what it sets aside for an order upwards.
    most = round_quantity(max(cash - CENT, Decimal(0)) / price, WHOLE_SHARE if whole else QUANTITY_STEP)
    if most < intent.quantity and most * price < SMALLEST_BUY:
        return f"no cash left: {cash:.2f} dollars for {intent.symbol} at {price}"
    return replace(intent, quantity=min(intent.quantity, most))


def _highest_price(intent: OrderIntent) -> Decimal:
    return intent.limit_price or intent.reference_price * MARKET_ORDER_MARGIN


def _held(intent: OrderIntent, portfolio: Portfolio) -> OrderIntent | str:
    # More may have been sold by hand since the plan was made; an account that may go short would.
    held = portfolio.quantity(intent.symbol)
    if held <= 0:
        return f"no {intent.symbol} is held any more"
    return replace(intent, quantity=min(intent.quantity, held))


def _sent(intent: OrderIntent, batch: _Batch) -> _Sent | None:
    terms = f"{intent.quantity} at {intent.limit_price or 'market'}"
    for _ in range(MOST_SENDS):
        _record(intent, IntentState.SUBMITTING, terms, batch)
        match batch.venue.broker.submit(intent):
            case Accepted(order):
                return _acknowledged(intent, order, batch)
            case Rejected(_, code, reason):
                _record(intent, IntentState.REJECTED, f"{code}: {reason}", batch)
                return None
            case Unknown(_, evidence):
                _record(intent, IntentState.SUBMITTING, f"{terms}; no clear answer: {evidence}", batch)
                found = _asked_for(intent, batch)
                if found is not None:
                    return _acknowledged(intent, found, batch)
            case never:
                assert_never(never)
    return _Sent(intent)


def _asked_for(intent: OrderIntent, batch: _Batch) -> BrokerOrder | None:
    # An order whose answer was lost may still arrive: ask a few times before it is sent again under the same id.
    # A question without an answer is no answer: then it is not sent again.
    pause = batch.rules.first_poll
    for asked in range(1, MOST_QUESTIONS + 1):
        try:
            found = batch.venue.broker.order(intent.client_order_id)
        except TransientError:
            if asked == MOST_QUESTIONS:
                raise
            found = None
        if found is not None:
            return found
        batch.venue.clock.wait(pause)
        pause = min(pause * 2, batch.rules.longest_poll)
    return None


def _acknowledged(intent: OrderIntent, order: BrokerOrder, batch: _Batch) -> _Sent:
    _record(intent, IntentState.ACKNOWLEDGED, order.venue_order_id, batch)
    return _Sent(intent, order)


def _wait_for(working: Sequence[_Sent], batch: _Batch) -> Sequence[_Sent]:
    """Wait until every order is over, cancelling those that take too long; return those that are not over even then."""
    late = _polled(working, batch)
    for sent in late:
        if sent.order is not None:
            # Whether it was cancelled is read from the order, and the others are to be cancelled as well.
            with suppress(TransientError, RequestRefused):
                batch.venue.broker.cancel(sent.order.venue_order_id)
    left = _polled(late, batch)
    for sent in left:
        if sent.order is not None:
            _record(sent.intent, IntentState.ACKNOWLEDGED, f"does not end: {_standing(sent.order)}", batch)
    return left


def _polled(working: Sequence[_Sent], batch: _Batch) -> Sequence[_Sent]:
    waited, pause = 0.0, batch.rules.first_poll
    left = _open_ones(working, batch)
    while left and waited < batch.rules.order_timeout:
        batch.venue.clock.wait(pause)
        waited, pause = waited + pause, min(pause * 1.5, batch.rules.longest_poll)
        left = _open_ones([_seen_now(sent, batch) for sent in left], batch)
    return left


def _seen_now(sent: _Sent, batch: _Batch) -> _Sent:
    name = sent.intent.client_order_id
    order = batch.venue.broker.order(name)
    if order is None:
        return sent
    is_news = sent.order is None and batch.states[name] is not IntentState.ACKNOWLEDGED
    return _acknowledged(sent.intent, order, batch) if is_news else replace(sent, order=order)


def _open_ones(working: Sequence[_Sent], batch: _Batch) -> Sequence[_Sent]:
    for sent in working:
        if sent.order is not None and sent.is_over:
            _record(sent.intent, ENDED[sent.order.status], _standing(sent.order), batch)
    return [sent for sent in working if not sent.is_over]


def _standing(order: BrokerOrder) -> str:
    price = "" if order.average_price is None else f" at {order.average_price}"
    return f"{order.status}, {order.filled_quantity} of {order.quantity} filled{price}"


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
