"""Wash trades and wash sales, which share a name and nothing else.

A *wash trade* (FINRA rule 5210) is one in which we might trade with ourselves:
an order is sent while another of ours on the other side of the symbol is open.

A *wash sale* (section 1091 of the Internal Revenue Code, section 1.1091-1 of
its regulations, IRS Publication 550) concerns taxes alone: the loss of a sale
cannot be deducted as far as shares of the symbol were bought within the 61 days
from 30 days before to 30 days after the sale, and it is added to the cost of
those shares instead. Here

* the shares that are sold are those that were bought first (FIFO);
* losses are matched with shares in the order in which each came about, and a
  share stands in for one lost share only (regulation, paragraphs b to e);
* only shares that are kept stand in for lost ones, and never those of the order
  with which the lost ones were bought: who sells a part of one purchase lowers
  the holding and replaces nothing (Revenue Ruling 56-602);
* only the same symbol is substantially identical;
* days are those of the trades in New York, and a commission belongs to the cost
  or reduces the proceeds.

A sale of more shares than the fills tell of has no known cost for the rest,
hence no known loss.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Protocol, TypeVar

from trading_pipeline.domain.errors import DataError
from trading_pipeline.domain.fills import Fill
from trading_pipeline.domain.orders import Side
from trading_pipeline.domain.risk.day_trades import in_order_of_time, session_of

WASH_SALE_DAYS = 30
"""Calendar days before and after a sale within which a purchase makes it a wash sale."""


class OpenOrder(Protocol):
    """An order of ours that may still be filled."""

    @property
    def symbol(self) -> str:
        """What it trades."""

    @property
    def side(self) -> Side:
        """Its direction."""

    @property
    def client_order_id(self) -> str:
        """The id under which it is known."""


AnyOrder = TypeVar("AnyOrder", bound=OpenOrder)


def opposite_order(symbol: str, side: Side, open_orders: Iterable[AnyOrder]) -> AnyOrder | None:
    """Return the first open order for ``symbol`` on the other side than ``side``, or None.

    Alpaca refuses opposite limit orders only where they could meet; this asks no
    prices, so that neither a changed limit nor a market order can make them meet.
    """
    return next((order for order in open_orders if order.symbol == symbol and order.side is not side), None)


def disallowed_loss(fills: Sequence[Fill], symbol: str, quantity: Decimal, price: Decimal, on: date) -> Decimal:
    """Return the dollars of loss, never negative, that could not be deducted if ``quantity`` shares were sold.

    The sale happens on the day ``on`` at ``price`` dollars a share after all
    ``fills`` of that day; later ones are left out of account. They are the
    whole ledger in any order. What is bought within 30 days after the sale is
    asked with :func:`rebuys_after_loss`.

    Neither a higher price nor a smaller quantity need disallow less: lost shares
    are replaced in the order of their purchase, and only by shares that are kept.

    Raises:
        DataError: the quantity or price, or one of the fills, is not a positive number.
    """
    _require_positive(quantity, price)
    before = _book(fills, symbol, on)
    return before.after_sale(on, quantity, price).disallowed - before.disallowed


def rebuys_after_loss(fills: Sequence[Fill], symbol: str, on: date, quantity: Decimal | None = None) -> Decimal:
    """Return the dollars of loss, never negative, that a purchase on the day ``on`` would make impossible to deduct.

    The losses are those of sales on ``on`` and within 30 days before, as far as
    no other purchase has met them. ``quantity`` is what is bought, in shares;
    None asks for as many as there are lost ones.

    Raises:
        DataError: the quantity or one of the fills is not a positive number.
    """
    open_losses = [loss for loss in _book(fills, symbol, on).losses if _is_near(loss.sold_on, on)]
    if quantity is None:
        return sum((loss.quantity * loss.per_share for loss in open_losses), Decimal(0))
    _require_positive(quantity)
    met, _ = _split(open_losses, quantity)
    return sum((loss.quantity * loss.per_share for loss in met), Decimal(0))


@dataclass(frozen=True)
class _Lot:
    """Shares that an order bought on a day for ``cost`` dollars each; ``replaces`` if they stand in for lost ones."""

    order: str
    bought_on: date
    quantity: Decimal
    cost: Decimal
    replaces: bool = False


@dataclass(frozen=True)
class _Loss:
    """Shares that an order bought, sold for ``per_share`` dollars below their cost and not replaced so far."""

    order: str
    sold_on: date
    quantity: Decimal
    per_share: Decimal


@dataclass(frozen=True)
class _Book:
    """What is held of a symbol and was lost with it, each in order of time; ``disallowed`` in dollars."""

    lots: tuple[_Lot, ...] = ()
    losses: tuple[_Loss, ...] = ()
    disallowed: Decimal = Decimal(0)

    def after(self, fill: Fill) -> "_Book":
        """Return the book after an execution."""
        fee = fill.commission / fill.quantity if fill.commission else Decimal(0)
        day = session_of(fill)
        if fill.side is Side.SELL:
            return self.after_sale(day, fill.quantity, fill.price - fee)
        return self.after_purchase(_Lot(fill.client_order_id, day, fill.quantity, fill.price + fee))

    def after_sale(self, on: date, quantity: Decimal, price: Decimal) -> "_Book":
        """Return the book after ``quantity`` shares were sold for ``price`` dollars each."""
        sold, kept = _split(self.lots, quantity)
        book = _Book(tuple(kept), self.losses, self.disallowed)
        for lot in sold:
            if lot.cost > price:
                book = book.including(_Loss(lot.order, on, lot.quantity, lot.cost - price))
        return book

    def after_purchase(self, lot: _Lot) -> "_Book":
        """Return the book after a purchase: it meets what is still open, since older shares were used up before it."""
        book = _Book((lot,), (), self.disallowed)
        for loss in self.losses:
            book = book.including(loss) if _is_near(loss.sold_on, lot.bought_on) else book
        return replace(book, lots=(*self.lots, *book.lots))

    def including(self, loss: _Loss) -> "_Book":
        """Return the book with one more loss, as far as possible added to the cost of shares that replace it."""
        lots: list[_Lot] = []
        left = loss.quantity
        for lot in self.lots:
            if not left or lot.replaces or lot.order == loss.order or not _is_near(lot.bought_on, loss.sold_on):
                lots.append(lot)
                continue
            used, rest = _split([lot], left)
            lots += [replace(part, cost=part.cost + loss.per_share, replaces=True) for part in used] + rest
            left -= sum((part.quantity for part in used), Decimal(0))
        losses = (*self.losses, replace(loss, quantity=left)) if left else self.losses
        return _Book(tuple(lots), losses, self.disallowed + (loss.quantity - left) * loss.per_share)


Shares = TypeVar("Shares", _Lot, _Loss)


def _split(parts: Iterable[Shares], quantity: Decimal) -> tuple[list[Shares], list[Shares]]:
    """Return the first ``quantity`` shares of ``parts``, or all if there are fewer, and the rest."""
    first: list[Shares] = []
    rest: list[Shares] = []
    for part in parts:
        if part.quantity <= quantity:
            first.append(part)
            quantity -= part.quantity
            continue
        if quantity:
            first.append(replace(part, quantity=quantity))
        rest.append(replace(part, quantity=part.quantity - quantity) if quantity else part)
        quantity = Decimal(0)
    return first, rest


def _book(fills: Sequence[Fill], symbol: str, on: date) -> _Book:
    book = _Book()
    for fill in in_order_of_time(fill for fill in fills if fill.symbol == symbol):
        if session_of(fill) <= on:
            _check(fill)
            book = book.after(fill)
    return book


def _check(fill: Fill) -> None:
    _require_positive(fill.price)
    if not fill.commission.is_finite():
        raise DataError(f"execution {fill.execution_id} of {fill.symbol} cost {fill.commission}; no loss is known")


def _is_near(one: date, other: date) -> bool:
    return abs((one - other).days) <= WASH_SALE_DAYS


def _require_positive(*figures: Decimal) -> None:
    wrong = [str(figure) for figure in figures if not figure.is_finite() or figure <= 0]
    if wrong:
        raise DataError(f"quantities and prices must be positive numbers, found {', '.join(wrong)}; no loss is known")
