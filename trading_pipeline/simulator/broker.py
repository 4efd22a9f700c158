"""One simulated cash account as its endpoints see it: orders, positions, executions, events.

The account is a cash account (multiplier 1): nothing is borrowed or sold short,
buying power is cash less what open buys hold back. Trades settle at once. What
happens to an order is told in :mod:`trading_pipeline.simulator.machine`; lists,
positions and the account move every open order one step.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.instruments import round_cents
from trading_pipeline.domain.sessions import NEW_YORK
from trading_pipeline.simulator.approval import Approval
from trading_pipeline.simulator.clock import Clock, next_boundary
from trading_pipeline.simulator.exchange import Exchange
from trading_pipeline.simulator.ledger import AccountView, Ledger, PositionView
from trading_pipeline.simulator.machine import OrderMachine
from trading_pipeline.simulator.records import (
    USUAL,
    WORKING_STATUSES,
    ZERO,
    AccountFlags,
    ActivityFilter,
    Behaviour,
    Event,
    Execution,
    Movement,
    MovementKind,
    Order,
    OrderFilter,
    OrderRequest,
    OrderType,
    Position,
    Replacement,
    Status,
)
from trading_pipeline.simulator.refusals import Refusal, bad_order, bad_parameter, not_found
from trading_pipeline.simulator.store import Store
from trading_pipeline.simulator.universe import Split

# In these an order may be put where its behaviour wants it to stay.
_ADMISSION = frozenset({Status.PENDING_NEW, Status.ACCEPTED})


class Broker:
    """One account and its orders."""

    def __init__(self, store: Store, exchange: Exchange, account_number: str, clock: Clock) -> None:
        self._store = store
        self._exchange = exchange
        self._ledger = Ledger(store, exchange, account_number)
        self._approval = Approval(store, exchange, self._ledger, clock)
        self._machine = OrderMachine(store, exchange, self._ledger, clock)
        self.clock = clock
        self.account_number = account_number

    def submit(self, request: OrderRequest, behaviour: Behaviour = USUAL) -> Order:
        """Accept an order, which will behave as told, or refuse it.

        Raises:
            Refusal: 422 for the order and the asset, 403 for what the account cannot bear.
        """
        with self._store.transaction():
            reserved = self._approval.reservation(request)
            return self._added(self._accepted(request, reserved, behaviour))

    def replace(self, order_id: str, wanted: Replacement) -> Order:
        """Put a new order in the place of a working one, which ends as ``replaced``.

        What is not said is taken from the old order, its whole quantity too, even
        if a part of it was filled: so does the real API. A fill that is due comes
        first.

        Raises:
            Refusal: 404 when there is none, 422 when it is not working (any more),
                or as for :meth:`submit`.
        """
        order = self._known(order_id)
        if order.status in WORKING_STATUSES:
            order = self.order(order_id)
        if order.status not in WORKING_STATUSES:
            raise bad_order("unable to replace order, order is not open")
        request = _replacing(order, wanted)
        with self._store.transaction():
            replaced_by = self._ledger.new_id("order", self._store.order_count())
            self._machine.ended(replace(order, replaced_by=replaced_by), Status.REPLACED)
            reserved = self._approval.reservation(request)
            return self._added(replace(self._accepted(request, reserved, USUAL), replaces=order.id))

    def order(self, order_id: str) -> Order:
        """Return the order of that id after moving it one step.

        Raises:
            Refusal: 404 when there is none.
        """
        return self._moved(self._known(order_id))

    def order_by_client_id(self, client_order_id: str) -> Order:
        """Return the order of that client id after moving it one step.

        Raises:
            Refusal: 404 when there is none.
        """
        found = self._store.order_by_client_id(client_order_id)
        if found is None:
            raise not_found(f"order not found for {client_order_id}")
        return self._moved(found)

    def peek(self, order_id: str) -> Order | None:
        """Return the order of that id as it is, or None; nothing moves."""
        return self._store.order(order_id)

    def peek_client_id(self, client_order_id: str) -> Order | None:
        """Return the order of that client id as it is, or None; nothing moves."""
        return self._store.order_by_client_id(client_order_id)

    def orders(self, wanted: OrderFilter) -> Sequence[Order]:
        """Move every open order one step, then return those that match."""
        self.move_all()
        return self._store.orders(wanted)

    def cancel(self, order_id: str) -> None:
        """Ask for an order to be cancelled; it is ``canceled`` from its next reading on.

        Raises:
            Refusal: 404 when there is none, 422 when nothing can happen to it any more.
        """
        order = self._known(order_id)
        if order.status is Status.PENDING_CANCEL:
            return
        if order.status.is_open and order.behaviour.refuse_cancel:
            with self._store.transaction():
                order = self._machine.fill(order)
        if not order.status.is_open:
            raise bad_order(f'order is already in "{order.status}" state')
        with self._store.transaction():
            self._machine.keep(order, Status.PENDING_CANCEL)

    def cancel_all(self) -> Sequence[tuple[Order, int]]:
        """Ask for every open order to be cancelled; return each with the HTTP status that this gave."""
        return [(order, self._cancel_status(order)) for order in self._store.open_orders()]

    def account(self) -> AccountView:
        """Move every open order one step, then return the account."""
        self.move_all()
        return self._ledger.account(self.clock.now())

    def positions(self) -> Sequence[PositionView]:
        """Move every open order one step, then return every position, by symbol."""
        self.move_all()
        return [self._position(position) for position in self._store.positions()]

    def position(self, symbol: str) -> PositionView:
        """Move every open order one step, then return the position in ``symbol``.

        Raises:
            Refusal: 404 when there is none.
        """
        self.move_all()
        found = self._store.position(symbol)
        if found is None:
            raise not_found("position does not exist")
        return self._position(found)

    def activities(self, wanted: ActivityFilter) -> Sequence[Execution | Movement]:
        """Return one page of executions and movements of cash; nothing moves."""
        return self._store.activities(wanted)

    def events(self, after: int = 0) -> Sequence[Event]:
        """Return the events later than the one of that sequence number, oldest first; nothing moves."""
        return self._store.events(after)

    def listen(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Call ``listener`` with each event after it is kept, in order; return what ends that."""
        return self._store.listen(listener)

    def move_all(self) -> None:
        """Move every open order one step."""
        with self._store.transaction():
            self._machine.move_all()

    def settle(self) -> None:
        """Move every open order until nothing more can happen to it at this instant."""
        with self._store.transaction():
            self._machine.settle()

    def open(self, splits: Sequence[Split]) -> None:
        """Begin the session that opens now."""
        self._machine.open(splits)

    def close(self, session: date) -> None:
        """End ``session``, which closes now."""
        self._machine.close(session)

    def release(self, symbol: str | None = None, order: str | None = None) -> int:
        """Let open orders behave as usual from now on; return how many.

        Args:
            symbol: Only those in this symbol.
            order: Only the one of this id or client id.
        """
        with self._store.transaction():
            chosen = [
                found
                for found in self._store.open_orders()
                if symbol in (None, found.symbol) and order in (None, found.id, found.client_order_id)
            ]
            for found in chosen:
                self._store.keep_order(replace(found, behaviour=USUAL))
        return len(chosen)

    def set_account(self, cash: Decimal | None = None, **flags: Any) -> None:  # noqa: ANN401 - fields of AccountFlags
        """Set the cash, and what stops the account from trading; what is not said stays.

        Raises:
            InvalidInput: open orders hold back more cash than that.
        """
        if cash is not None:
            self._require_unreserved(cash)
        with self._store.transaction():
            if cash is not None:
                self._store.cash = round_cents(cash)
            self._store.flags = replace(self._store.flags, **flags)

    def move_cash(self, kind: MovementKind, amount: Decimal, symbol: str | None = None) -> Movement:
        """Book dollars that come (positive) or go without a trade, as a dividend of ``symbol`` or a fee does.

        Raises:
            InvalidInput: open orders hold back more cash than would be left.
        """
        cash = self._store.cash + round_cents(amount)
        self._require_unreserved(cash)
        with self._store.transaction():
            stamp = self.clock.stamp()
            name = self._ledger.new_id("movement", self._store.activity_count())
            day = stamp.astimezone(NEW_YORK)
            movement = Movement(f"{day:%Y%m%d}000000000::{name}", kind, round_cents(amount), stamp, symbol)
            self._store.cash = cash
            self._store.add_movement(movement)
        return movement

    def _require_unreserved(self, cash: Decimal) -> None:
        reserved = self._store.cash - self._ledger.buying_power()
        if cash < reserved:
            raise InvalidInput(f"open orders hold back {reserved} dollars; cancel them before taking cash away")

    def set_position(self, symbol: str, quantity: Decimal, cost_basis: Decimal | None = None) -> None:
        """Set the shares held in a symbol; no shares remove the position.

        What was paid for them is ``cost_basis`` dollars, the current price without it.

        Raises:
            InvalidInput: there is no such symbol, or open orders hold more shares than that.
        """
        now, held = self.clock.now(), self._ledger.held(symbol)
        if self._exchange.asset(symbol, now) is None:
            raise InvalidInput(f"there is no {symbol} to hold")
        if quantity < held:
            raise InvalidInput(f"open orders hold {held} shares of {symbol}; cancel them before taking shares away")
        cost = (self._exchange.price(symbol, now) or ZERO) * quantity if cost_basis is None else cost_basis
        with self._store.transaction():
            self._store.keep_position(Position(symbol, quantity, cost))

    def clear(self) -> None:
        """Begin the account anew with its opening cash: no orders, positions or events."""
        with self._store.transaction():
            self._store.clear()
            self._store.cash = Decimal(self._store.setting("opening cash") or ZERO)
            self._store.flags = AccountFlags()

    def state(self) -> Mapping[str, object]:
        """Return account, orders and executions as they are; nothing moves."""
        every = OrderFilter(is_open=None, ascending=True, limit=self._store.order_count())
        return {
            "account": self._ledger.account(self.clock.now()),
            "positions": [self._position(position) for position in self._store.positions()],
            "orders": self._store.orders(every),
            "executions": self._store.executions(),
            "events": self._store.event_count(),
        }

    def _position(self, position: Position) -> PositionView:
        return self._ledger.position(position, self.clock.now())

    def _known(self, order_id: str) -> Order:
        found = self._store.order(order_id)
        if found is None:
            raise not_found("order not found")
        return found

    def _moved(self, order: Order) -> Order:
        with self._store.transaction():
            return self._machine.moved(order)

    def _cancel_status(self, order: Order) -> int:
        try:
            self.cancel(order.id)
        except Refusal as refusal:
            return refusal.status
        return 200

    def _added(self, order: Order) -> Order:
        self._store.add_order(order)
        self._store.add_event(order.status.value, order)
        return order

    def _accepted(self, request: OrderRequest, reserved: Decimal, behaviour: Behaviour) -> Order:
        now, stamp = self.clock.now(), self.clock.stamp()
        session = self.clock.session()
        usual = Status.PENDING_NEW if session else Status.ACCEPTED
        count = self._store.order_count()
        return Order(
            id=self._ledger.new_id("order", count),
            client_order_id=request.client_order_id or self._ledger.new_id("client order", count),
            symbol=request.symbol,
            side=request.side,
            type=request.type,
            quantity=request.quantity,
            notional=request.notional,
            limit_price=request.limit_price,
            extended_hours=request.extended_hours,
            reserved=reserved,
            session=session or next_boundary(now, opens=True).astimezone(NEW_YORK).date(),
            status=behaviour.stuck if behaviour.stuck in _ADMISSION else usual,
            submitted_at=stamp,
            updated_at=stamp,
            behaviour=behaviour,
        )


def _replacing(order: Order, wanted: Replacement) -> OrderRequest:
    """Return the order that takes the place of ``order``."""
    if order.quantity is None:
        raise bad_order("notional orders cannot be replaced")
    if wanted.limit_price is not None and order.type is OrderType.MARKET:
        raise bad_parameter("market orders require no stop or limit price")
    return OrderRequest(
        symbol=order.symbol,
        side=order.side,
        type=order.type,
        quantity=wanted.quantity or order.quantity,
        notional=None,
        limit_price=wanted.limit_price or order.limit_price,
        client_order_id=wanted.client_order_id,
        extended_hours=order.extended_hours,
    )
