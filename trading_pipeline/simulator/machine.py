"""What happens to an order that was taken: one step at a time, each with its event.

An order moves one step whenever it is read: ``pending_new`` (the reply to the
POST), ``new``, then ``filled`` if it is marketable at the model quote during an
open session. Submitted while the exchange is shut, an order is ``accepted`` and
becomes ``new`` at the next open. An order may behave otherwise
(:class:`trading_pipeline.simulator.records.Behaviour`): fill in parts, get
stuck, be rejected late, fill instead of being cancelled. Terminal orders never
change.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import ROUND_UP, Decimal

from trading_pipeline.domain.instruments import CENT, QUANTITY_STEP, round_cents, round_quantity
from trading_pipeline.domain.sessions import NEW_YORK, close_of
from trading_pipeline.simulator.approval import shares_for
from trading_pipeline.simulator.clock import Clock
from trading_pipeline.simulator.exchange import Exchange, Quote
from trading_pipeline.simulator.ledger import Ledger
from trading_pipeline.simulator.records import (
    WORKING_STATUSES,
    ZERO,
    Execution,
    Order,
    Side,
    Status,
)
from trading_pipeline.simulator.store import Store
from trading_pipeline.simulator.universe import Split

# Events that are not named like the status that they lead to.
_EVENTS = {Status.FILLED: "fill", Status.PARTIALLY_FILLED: "partial_fill"}
ONE_SHARE = Decimal(1)


class OrderMachine:
    """The orders of one account; every method runs inside a transaction of its caller."""

    def __init__(self, store: Store, exchange: Exchange, ledger: Ledger, clock: Clock) -> None:
        self._store = store
        self._exchange = exchange
        self._ledger = ledger
        self._clock = clock
        self._basis: object = None
        self._resting: dict[str, Order] = {}

    def move_all(self) -> None:
        """Move every open order one step."""
        basis = (self._clock.now(), self._exchange.version)
        # An order to which nothing happened stays where it is until time or quotes move.
        if basis != self._basis:
            self._basis, self._resting = basis, {}
        for order in self._store.open_orders():
            if self._resting.get(order.id) is not order and self.moved(order) is order:
                self._resting[order.id] = order

    def settle(self) -> None:
        """Let every order that works in the open session come to rest: pending, new, filled."""
        seen = -1
        while seen != self._store.event_count():
            seen = self._store.event_count()
            self.move_all()

    def moved(self, order: Order) -> Order:
        """Move ``order`` one step, if there is one to move."""
        if not order.status.is_open or self._is_stuck(order):
            return order
        if order.behaviour.reject:
            return self.ended(order, Status.REJECTED)
        if order.status is Status.PENDING_CANCEL:
            return self._cancelled(order)
        if self._is_over(order):
            return self.ended(order, Status.EXPIRED)
        return self._moved_on(order)

    def fill(self, order: Order) -> Order:
        """Fill all that is left of ``order`` now, marketable or not; without any price it stays as it is."""
        price = self._execution_price(order) or order.limit_price
        return order if price is None else self._executed(order, self._left(order, price), price)

    def open(self, splits: Sequence[Split]) -> None:
        """Begin a session: its splits end the orders of their symbols, and what was queued is admitted."""
        for split in splits:
            self._ledger.split(split)
        split_symbols = {split.symbol for split in splits}
        for order in self._store.open_orders():
            if order.symbol in split_symbols:
                self.ended(order, Status.CANCELED)
            elif order.status is Status.ACCEPTED and not self._is_stuck(order) and self._works_now(order):
                self.keep(order, Status.NEW)

    def close(self, session: date) -> None:
        """Expire what is left of the session's orders and note the equity."""
        for order in self._store.open_orders():
            if order.session <= session and not self._is_stuck(order):
                self.ended(order, Status.CANCELED if order.status is Status.PENDING_CANCEL else Status.EXPIRED)
        self._ledger.keep_closing_equity(session, self._clock.now())

    def ended(self, order: Order, status: Status) -> Order:
        """End ``order`` without an execution."""
        stamp = self._clock.stamp()
        ended = replace(
            order,
            canceled_at=stamp if status is Status.CANCELED else None,
            expired_at=stamp if status is Status.EXPIRED else None,
            failed_at=stamp if status is Status.REJECTED else None,
            replaced_at=stamp if status is Status.REPLACED else None,
        )
        return self.keep(ended, status, stamp)

    def keep(
        self, order: Order, status: Status, stamp: datetime | None = None, execution: Execution | None = None
    ) -> Order:
        """Give ``order`` that status, keep it, and note the event."""
        kept = replace(
            order,
            status=status,
            reserved=order.reserved if status.is_open else ZERO,
            updated_at=stamp or self._clock.stamp(),
        )
        self._store.keep_order(kept)
        self._store.add_event(_EVENTS.get(status, status.value), kept, execution)
        return kept

    def _moved_on(self, order: Order) -> Order:
        if order.status is Status.PENDING_NEW:
            return self.keep(order, Status.NEW)
        if not self._works_now(order):
            return order
        return self._tried(order) if order.status in WORKING_STATUSES else self.keep(order, Status.NEW)

    def _is_stuck(self, order: Order) -> bool:
        behaviour = order.behaviour
        if behaviour.stuck is not order.status:
            return False
        return behaviour.until is None or self._clock.now() < behaviour.until

    def _works_now(self, order: Order) -> bool:
        return self._clock.session() == order.session

    def _is_over(self, order: Order) -> bool:
        return not self._works_now(order) and close_of(order.session) <= self._clock.now()

    def _cancelled(self, order: Order) -> Order:
        if order.behaviour.cancel_race and self._works_now(order):
            filled = self.fill(order)
            if not filled.status.is_open:
                return filled
        return self.ended(order, Status.CANCELED)

    def _tried(self, order: Order) -> Order:
        price = self._execution_price(order)
        if price is None:
            return order
        quantity = self._next_part(order, price)
        if quantity is not None:
            return self._executed(order, quantity, price)
        return self.ended(order, Status.CANCELED) if order.behaviour.then == "cancel" else order

    def _execution_price(self, order: Order) -> Decimal | None:
        """Return the price at which ``order`` trades now, or None if it does not."""
        if self._exchange.is_idle(order.symbol):
            return None
        quote = self._exchange.quote(order.symbol, self._clock.now())
        return None if quote is None else _price_against(order, quote)

    def _next_part(self, order: Order, price: Decimal) -> Decimal | None:
        """Return how many shares the next execution is about; None when none is to come."""
        left, behaviour = self._left(order, price), order.behaviour
        if order.executions < len(behaviour.partial) and order.quantity is not None:
            step = ONE_SHARE if order.quantity == order.quantity.to_integral_value() else QUANTITY_STEP
            part = round_quantity(order.quantity * behaviour.partial[order.executions], step)
            return min(max(part, step), left)
        return None if behaviour.partial and behaviour.then != "rest" else left

    def _left(self, order: Order, price: Decimal) -> Decimal:
        if order.quantity is not None:
            return order.quantity - order.filled_quantity
        quantity = shares_for(order.notional or ZERO, price)
        position = self._store.position(order.symbol)
        if order.side is Side.SELL:
            return min(quantity, position.quantity) if position else ZERO
        return quantity

    def _executed(self, order: Order, quantity: Decimal, price: Decimal) -> Order:
        remaining = self._left(order, price) - quantity
        value = order.filled_value + quantity * price
        # Cash follows the sum, so that an order moves what its whole value rounds to, in however many parts.
        amount = round_cents(value) - round_cents(order.filled_value)
        reserved = _reserved_for(order, quantity, remaining, amount)
        # The price of a market order can run away overnight; a cash account cannot pay what it has not got.
        spare = self._ledger.buying_power() + order.reserved - reserved
        if not quantity or (order.side is Side.BUY and amount > spare):
            return self.ended(order, Status.CANCELED if order.executions else Status.REJECTED)
        execution = self._execution(order, quantity, price, amount, remaining)
        self._ledger.book(execution)
        filled = replace(
            order,
            filled_quantity=execution.cumulative,
            filled_value=value,
            filled_at=execution.at,
            executions=order.executions + 1,
            reserved=reserved,
        )
        return self.keep(filled, Status.PARTIALLY_FILLED if remaining else Status.FILLED, execution.at, execution)

    def _execution(
        self, order: Order, quantity: Decimal, price: Decimal, amount: Decimal, remaining: Decimal
    ) -> Execution:
        stamp = self._clock.stamp()
        name = order.id if order.executions == 0 else f"{order.id} {order.executions}"
        return Execution(
            id=f"{stamp.astimezone(NEW_YORK):%Y%m%d%H%M%S%f}"[:-3] + f"::{self._ledger.new_id('execution', name)}",
            order_id=order.id,
            client_order_id=order.client_order_id,
            symbol=order.symbol,
            side=order.side,
            quantity=quantity,
            price=price,
            amount=amount,
            at=stamp,
            cumulative=order.filled_quantity + quantity,
            remaining=remaining,
        )


def _price_against(order: Order, quote: Quote) -> Decimal | None:
    """Return the price at which ``order`` trades against ``quote``, or None if it is not marketable."""
    far_side = quote.ask if order.side is Side.BUY else quote.bid
    if order.limit_price is None:
        return far_side
    marketable = far_side <= order.limit_price if order.side is Side.BUY else far_side >= order.limit_price
    return far_side if marketable else None


def _reserved_for(order: Order, quantity: Decimal, remaining: Decimal, amount: Decimal) -> Decimal:
    """Return what ``order`` still holds back once ``quantity`` shares of it have moved ``amount`` dollars."""
    if order.side is Side.SELL or not remaining:
        return remaining
    share = (order.reserved * remaining / (remaining + quantity)).quantize(CENT, ROUND_UP)
    return max(min(share, order.reserved - amount), ZERO)
