"""The order machine of a simulated cash account.

An order moves one step whenever it is read: ``pending_new`` (the reply to the
POST), ``new``, then ``filled`` if it is marketable at the model quote during an
open session. Lists, positions and the account read every order. Submitted while
the exchange is shut, an order is ``accepted`` and becomes ``new`` at the next open.
When the clock moves, whatever was due first happens first: fills, then the
close, at which the rest expires. Terminal orders never change.

The account is a cash account (multiplier 1): nothing is borrowed or sold short,
buying power is cash less what open buys hold back. Trades settle at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import ROUND_UP, Decimal

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.instruments import CENT, QUANTITY_STEP, round_cents, round_quantity
from trading_pipeline.domain.sessions import NEW_YORK, close_of, session_at
from trading_pipeline.simulator.admission import require_grid
from trading_pipeline.simulator.clock import Clock, boundaries, next_boundary
from trading_pipeline.simulator.exchange import Exchange, Quote
from trading_pipeline.simulator.ledger import AccountView, Ledger, PositionView
from trading_pipeline.simulator.records import (
    ZERO,
    ActivityFilter,
    Execution,
    Order,
    OrderFilter,
    OrderRequest,
    OrderType,
    Position,
    Side,
    Status,
)
from trading_pipeline.simulator.refusals import bad_order, bad_parameter, not_allowed, not_found, plain
from trading_pipeline.simulator.store import Store

# A market buy must be able to pay a little more than the quote: the lower end of what the documentation names.
MARKET_ORDER_MARGIN = Decimal("1.025")
SMALLEST_BUY = Decimal(1)


class ClockMovedBack(InvalidInput):
    """Simulated time only goes forward."""


class Broker:
    """One account, its orders and its clock."""

    def __init__(self, store: Store, exchange: Exchange, account_number: str) -> None:
        self._store = store
        self._exchange = exchange
        self._ledger = Ledger(store, exchange, account_number)
        self.clock = Clock(store)

    def submit(self, request: OrderRequest) -> Order:
        """Accept an order, or refuse it.

        Raises:
            Refusal: 422 for the order and the asset, 403 for what the account cannot bear.
        """
        with self._store.transaction():
            self._require_new_id(request)
            self._require_asset(request)
            require_grid(request)
            reserved = self._reservation(request)
            order = self._accepted(request, reserved)
            self._store.add_order(order)
            return order

    def order(self, order_id: str) -> Order:
        """Return the order of that id after moving it one step.

        Raises:
            Refusal: 404 when there is none.
        """
        return self._read(self._store.order(order_id), "order not found")

    def order_by_client_id(self, client_order_id: str) -> Order:
        """Return the order of that client id after moving it one step.

        Raises:
            Refusal: 404 when there is none.
        """
        found = self._store.order_by_client_id(client_order_id)
        return self._read(found, f"order not found for {client_order_id}")

    def orders(self, wanted: OrderFilter) -> Sequence[Order]:
        """Move every open order one step, then return those that match."""
        self._move_all()
        return self._store.orders(wanted)

    def cancel(self, order_id: str) -> None:
        """Ask for an order to be cancelled; it is ``canceled`` from its next reading on.

        Raises:
            Refusal: 404 when there is none, 422 when nothing can happen to it any more.
        """
        with self._store.transaction():
            order = self._store.order(order_id)
            if order is None:
                raise not_found("order not found")
            if not order.status.is_open:
                raise bad_order(f'order is already in "{order.status}" state')
            self._keep(order, Status.PENDING_CANCEL)

    def cancel_all(self) -> Sequence[Order]:
        """Ask for every open order to be cancelled; return those asked for."""
        found = self._store.open_orders()
        for order in found:
            self.cancel(order.id)
        return found

    def account(self) -> AccountView:
        """Move every open order one step, then return the account."""
        self._move_all()
        return self._ledger.account(self.clock.now())

    def positions(self) -> Sequence[PositionView]:
        """Move every open order one step, then return every position, by symbol."""
        self._move_all()
        return [self._position(position) for position in self._store.positions()]

    def position(self, symbol: str) -> PositionView:
        """Move every open order one step, then return the position in ``symbol``.

        Raises:
            Refusal: 404 when there is none.
        """
        self._move_all()
        found = self._store.position(symbol)
        if found is None:
            raise not_found("position does not exist")
        return self._position(found)

    def activities(self, wanted: ActivityFilter) -> Sequence[Execution]:
        """Return one page of executions; nothing moves."""
        return self._store.activities(wanted)

    def move_clock(self, to: datetime) -> None:
        """Move the clock to ``to``, letting everything between happen in its order.

        Raises:
            ClockMovedBack: ``to`` lies before the simulated now.
        """
        now = self.clock.now()
        if to < now:
            raise ClockMovedBack(
                f"the simulated clock stands at {now.isoformat()} and cannot go back to {to.isoformat()}; "
                "start with another state folder to live earlier days"
            )
        with self._store.transaction():
            self._settle()
            for boundary in boundaries(now, to):
                self._settle()
                self.clock.set(boundary.instant)
                session = boundary.instant.astimezone(NEW_YORK).date()
                self._open(session) if boundary.opens else self._close(session)
            self.clock.set(to)

    def halt(self, symbol: str, session: date) -> None:
        """Stop trading of ``symbol`` for the whole of ``session``.

        Raises:
            InvalidInput: the session has closed already, or is none.
        """
        if close_of(session) <= self.clock.now():
            raise InvalidInput(f"the session {session} has closed already; what happened in it cannot change")
        with self._store.transaction():
            self._store.add_halt(symbol, session)

    def state(self) -> Mapping[str, object]:
        """Return account, orders and executions as they are; nothing moves."""
        every = OrderFilter(is_open=None, ascending=True, limit=self._store.order_count())
        return {
            "account": self._ledger.account(self.clock.now()),
            "positions": [self._position(position) for position in self._store.positions()],
            "orders": self._store.orders(every),
            "executions": self._store.executions(),
            "halts": sorted(self._store.halts()),
        }

    def _position(self, position: Position) -> PositionView:
        return self._ledger.position(position, self.clock.now())

    def _require_new_id(self, request: OrderRequest) -> None:
        wanted = request.client_order_id
        if wanted is not None and self._store.order_by_client_id(wanted) is not None:
            raise bad_parameter("client_order_id must be unique")

    def _require_asset(self, request: OrderRequest) -> None:
        now = self.clock.now()
        asset = self._exchange.asset(request.symbol, now)
        if asset is None:
            raise bad_order(f'asset "{request.symbol}" not found')
        if not asset.active:
            raise bad_order(f'asset "{request.symbol}" is not tradable')
        if request.type is OrderType.MARKET and self._exchange.is_halted(request.symbol, now):
            raise bad_order(
                f'market order rejected due to trading halt on symbol: "{request.symbol}", '
                "please place a limit order instead"
            )
        if request.is_fractional and not asset.fractionable:
            raise not_allowed(f'asset "{request.symbol}" is not fractionable')

    def _reservation(self, request: OrderRequest) -> Decimal:
        """Return what the order must hold back: dollars for a buy, shares for a sell."""
        price = request.limit_price or self._far_side(request)
        reserved = self._cost(request, price) if request.side is Side.BUY else self._shares(request, price)
        self._require_no_wash_trade(request)
        return reserved

    def _far_side(self, request: OrderRequest) -> Decimal:
        now = self.clock.now()
        quote = self._exchange.quote(request.symbol, now)
        if quote is None:
            return self._exchange.price(request.symbol, now) or ZERO
        return quote.ask if request.side is Side.BUY else quote.bid

    def _cost(self, request: OrderRequest, price: Decimal) -> Decimal:
        margin = Decimal(1) if request.type is OrderType.LIMIT else MARKET_ORDER_MARGIN
        value = request.notional if request.quantity is None else request.quantity * price * margin
        assert value is not None  # noqa: S101 - exactly one of quantity and notional is given
        cost = value.quantize(CENT, ROUND_UP)
        if cost < SMALLEST_BUY:
            raise not_allowed("cost basis must be >= minimal amount of order 1")
        if cost > self._ledger.buying_power():
            power = plain(self._ledger.buying_power())
            raise not_allowed("insufficient buying power", buying_power=power, cost_basis=plain(cost))
        return cost

    def _shares(self, request: OrderRequest, price: Decimal) -> Decimal:
        position = self._store.position(request.symbol)
        if position is None:
            if request.is_fractional:
                raise bad_order("fractional orders cannot be sold short")
            raise not_allowed("account is not allowed to short")
        wanted = request.quantity if request.quantity is not None else _shares_for(request.notional or ZERO, price)
        held = self._ledger.held(request.symbol)
        available = position.quantity - held
        if wanted > available:
            raise not_allowed(
                f"insufficient qty available for order (requested: {plain(wanted)}, available: {plain(available)})",
                available=plain(available),
                existing_qty=plain(position.quantity),
                held_for_orders=plain(held),
                symbol=request.symbol,
            )
        return wanted

    def _require_no_wash_trade(self, request: OrderRequest) -> None:
        for order in self._store.open_orders():
            if order.symbol == request.symbol and order.side is request.side.opposite and _may_cross(request, order):
                kind = "limit" if order.type is OrderType.LIMIT else "market/stop"
                raise not_allowed(
                    "potential wash trade detected. use complex orders",
                    existing_order_id=order.id,
                    reject_reason=f"opposite side {kind} order exists",
                )

    def _accepted(self, request: OrderRequest, reserved: Decimal) -> Order:
        now, stamp = self.clock.now(), self.clock.stamp()
        session = session_at(now)
        order_id = self._ledger.new_id("order", self._store.order_count())
        return Order(
            id=order_id,
            client_order_id=request.client_order_id or self._ledger.new_id("client order", self._store.order_count()),
            symbol=request.symbol,
            side=request.side,
            type=request.type,
            quantity=request.quantity,
            notional=request.notional,
            limit_price=request.limit_price,
            extended_hours=request.extended_hours,
            reserved=reserved,
            session=session or next_boundary(now, opens=True).astimezone(NEW_YORK).date(),
            status=Status.PENDING_NEW if session else Status.ACCEPTED,
            submitted_at=stamp,
            updated_at=stamp,
        )

    def _read(self, order: Order | None, missing: str) -> Order:
        if order is None:
            raise not_found(missing)
        with self._store.transaction():
            return self._moved(order)

    def _move_all(self) -> None:
        with self._store.transaction():
            for order in self._store.open_orders():
                self._moved(order)

    def _settle(self) -> None:
        """Let every order that works in the open session come to rest: pending, new, filled."""
        for _ in range(2):
            for order in self._store.open_orders():
                self._moved(order)

    def _moved(self, order: Order) -> Order:
        """Move ``order`` one step, if there is one to move."""
        if order.status is Status.PENDING_NEW:
            return self._keep(order, Status.NEW)
        if order.status is Status.PENDING_CANCEL:
            return self._ended(order, Status.CANCELED)
        if order.status is Status.NEW and session_at(self.clock.now()) == order.session:
            return self._tried(order)
        return order

    def _tried(self, order: Order) -> Order:
        quote = self._exchange.quote(order.symbol, self.clock.now())
        price = None if quote is None else _execution_price(order, quote)
        return order if price is None else self._execute(order, price)

    def _execute(self, order: Order, price: Decimal) -> Order:
        quantity = order.quantity or self._notional_shares(order, price)
        amount = round_cents(quantity * price)
        # The price of a market order can run away overnight; a cash account cannot pay what it has not got.
        unpayable = order.side is Side.BUY and amount > self._ledger.buying_power() + order.reserved
        if unpayable or not quantity:
            return self._ended(order, Status.REJECTED)
        stamp = self.clock.stamp()
        self._ledger.book(
            Execution(
                id=f"{stamp.astimezone(NEW_YORK):%Y%m%d%H%M%S%f}"[:-3]
                + f"::{self._ledger.new_id('execution', order.id)}",
                order_id=order.id,
                client_order_id=order.client_order_id,
                symbol=order.symbol,
                side=order.side,
                quantity=quantity,
                price=price,
                amount=amount,
                at=stamp,
            )
        )
        filled = replace(order, filled_quantity=quantity, filled_price=price, filled_at=stamp)
        return self._keep(filled, Status.FILLED, stamp)

    def _notional_shares(self, order: Order, price: Decimal) -> Decimal:
        quantity = _shares_for(order.notional or ZERO, price)
        if order.side is Side.BUY:
            return quantity
        position = self._store.position(order.symbol)
        return min(quantity, position.quantity) if position else ZERO

    def _ended(self, order: Order, status: Status) -> Order:
        stamp = self.clock.stamp()
        ended = replace(
            order,
            canceled_at=stamp if status is Status.CANCELED else None,
            expired_at=stamp if status is Status.EXPIRED else None,
            failed_at=stamp if status is Status.REJECTED else None,
        )
        return self._keep(ended, status, stamp)

    def _keep(self, order: Order, status: Status, stamp: datetime | None = None) -> Order:
        kept = replace(order, status=status, updated_at=stamp or self.clock.stamp())
        self._store.keep_order(kept)
        return kept

    def _open(self, session: date) -> None:
        """Apply the session's splits, which end the orders of their symbols, and admit what was queued."""
        splits = self._exchange.splits(session)
        for split in splits:
            self._ledger.split(split)
        split_symbols = {split.symbol for split in splits}
        for order in self._store.open_orders():
            if order.symbol in split_symbols:
                self._ended(order, Status.CANCELED)
            elif order.status is Status.ACCEPTED:
                self._keep(order, Status.NEW)

    def _close(self, session: date) -> None:
        """Expire what is left of the session's orders and note the equity."""
        for order in self._store.open_orders():
            if order.session == session:
                self._ended(order, Status.CANCELED if order.status is Status.PENDING_CANCEL else Status.EXPIRED)
        self._ledger.keep_closing_equity(session, self.clock.now())


def _may_cross(request: OrderRequest, order: Order) -> bool:
    if request.limit_price is None or order.limit_price is None:
        return True
    buy, sell = request.limit_price, order.limit_price
    return buy >= sell if request.side is Side.BUY else sell >= buy


def _execution_price(order: Order, quote: Quote) -> Decimal | None:
    """Return the price at which ``order`` trades against ``quote``, or None if it is not marketable."""
    far_side = quote.ask if order.side is Side.BUY else quote.bid
    if order.limit_price is None:
        return far_side
    marketable = far_side <= order.limit_price if order.side is Side.BUY else far_side >= order.limit_price
    return far_side if marketable else None


def _shares_for(notional: Decimal, price: Decimal) -> Decimal:
    return round_quantity(notional / price, QUANTITY_STEP) if price else ZERO
