"""The last look at an order before it leaves: that it is what was decided, and no more of it.

Between decision and wire an order is priced by the quote, cut to the cash that
is there, and sent in slices. None of that may make it another order: this is
asked of each slice, whatever led to it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeGuard

from trading_pipeline.domain.instruments import price_tick
from trading_pipeline.domain.orders import ArchivedDecision, BrokerOrder, OrderIntent, Side
from trading_pipeline.domain.risk.decisions import Breach, BreachCode

LETS_PASS = frozenset({"approved", "reduced"})
BEYOND_ANY_ORDER = Decimal(10) ** 12
NOT_KNOWN = Decimal("NaN")


@dataclass(frozen=True)
class Parent:
    """What a slice belongs to.

    Attributes:
        intent: the order of the plan.
        decision: the risk engine's word on it, as archived with the plan; None where there is none.
        sent: the slices that the broker has of it so far.
        most_orders: slices that it may have in all.
    """

    intent: OrderIntent
    decision: ArchivedDecision | None
    sent: Sequence[BrokerOrder]
    most_orders: int

    @property
    def taken(self) -> Decimal:
        """Shares that its slices have traded or may still trade; NaN where the broker's figures cannot be true."""
        parts = [each.filled_quantity if each.status.is_terminal else each.quantity for each in self.sent]
        return sum(parts, Decimal(0)) if all(part.is_finite() and part >= 0 for part in parts) else NOT_KNOWN


def last_hop(order: OrderIntent, parent: Parent) -> tuple[Breach, ...]:
    """Return everything that keeps ``order`` from being sent as the next slice of ``parent``; empty if it may be.

    Raises nothing: what is not a number breaks the limit that it is held to.
    """
    return tuple(_breaches(order, parent))


def _breaches(order: OrderIntent, parent: Parent) -> Iterator[Breach]:
    decision = parent.decision
    if decision is None or not _lets_pass(decision, parent.intent) or not _is_same(order, parent.intent):
        yield Breach(BreachCode.ORDER_WITHOUT_DECISION, _named(order), "an order that the risk engine let pass")
        return
    yield from _quantity(order, parent, decision.quantity)
    yield from _price(order, parent.intent)
    if len(parent.sent) >= parent.most_orders:
        yield Breach(BreachCode.PARENT_ORDERS, Decimal(len(parent.sent) + 1), Decimal(parent.most_orders))


def _lets_pass(decision: ArchivedDecision, intent: OrderIntent) -> bool:
    is_its_own = decision.client_order_id == intent.client_order_id
    return is_its_own and decision.decision in LETS_PASS and _is_usable(decision.quantity)


def _is_usable(figure: Decimal | None) -> TypeGuard[Decimal]:
    return figure is not None and figure.is_finite() and 0 < figure < BEYOND_ANY_ORDER


def _is_same(order: OrderIntent, intent: OrderIntent) -> bool:
    return (order.symbol, order.side, order.order_type) == (intent.symbol, intent.side, intent.order_type)


def _named(order: OrderIntent) -> str:
    return f"{order.side} {order.quantity} {order.symbol} ({order.client_order_id})"


def _quantity(order: OrderIntent, parent: Parent, most: Decimal) -> Iterator[Breach]:
    if not _is_usable(order.quantity):
        yield Breach(BreachCode.QUANTITY_NOT_POSITIVE, str(order.quantity), "a positive number")
        return
    together = parent.taken + order.quantity
    if together.is_nan():
        yield Breach(BreachCode.PARENT_QUANTITY, "not known", f"at most {most}")
    elif together > most:
        yield Breach(BreachCode.PARENT_QUANTITY, together, most)


def _price(order: OrderIntent, intent: OrderIntent) -> Iterator[Breach]:
    limit, collar = order.limit_price, intent.limit_price
    if limit is None and collar is None:
        return
    if not (_is_usable(limit) and _is_usable(collar)):
        yield Breach(BreachCode.PRICE_NOT_POSITIVE, str(limit), "a positive limit price")
        return
    if limit % price_tick(limit) != 0:
        yield Breach(BreachCode.PRICE_TICK, limit, f"a multiple of {price_tick(limit):f}")
    if (limit > collar) if order.side is Side.BUY else (limit < collar):
        yield Breach(BreachCode.PRICE_DEVIATION, str(limit), f"within the collar at {collar}")
