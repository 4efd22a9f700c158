"""One order on trial: the account without it, the account with it, and what a rule asks of both."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from trading_pipeline.domain.classification import Classification
from trading_pipeline.domain.orders import OrderIntent, Side
from trading_pipeline.domain.risk.book import ZERO, Book
from trading_pipeline.domain.risk.decisions import Breach, BreachCode
from trading_pipeline.domain.risk.limits import Limit, RiskLimits
from trading_pipeline.domain.risk.state import RiskState, SentOrder
from trading_pipeline.domain.risk.surveillance import DUPLICATE_WINDOW

MEASURED_TO = Decimal("0.000000000001")
"""Fractions of equity are compared to twelve decimals, so that rounding in a sum breaks no limit."""

BEYOND_MEASURE = Decimal(10) ** 12
"""No figure that means anything is as large."""

_INFINITE = Decimal("Infinity")

Alike = tuple[str, Side, Decimal]


def measured(figure: Decimal) -> Decimal:
    """Return a figure rounded to what is compared; one beyond all measure is infinite.

    >>> measured(Decimal(1) / 3), measured(Decimal("1e20"))
    (Decimal('0.333333333333'), Decimal('Infinity'))
    """
    is_measurable = figure.is_finite() and abs(figure) < BEYOND_MEASURE
    return figure.quantize(MEASURED_TO) if is_measurable else _INFINITE


@dataclass(frozen=True)
class SessionOrders:
    """The orders of a session so far: those that were sent before, and those of the plan that were let pass.

    Attributes:
        count: how many there are.
        value: dollars that they traded or may still trade.
        by_symbol: the same by symbol.
        alike: how many there were of each kind within a minute.
        of_plan: symbol and side of those of the plan.
        day_trades: day trades that those of the plan complete.
    """

    count: int = 0
    value: Decimal = ZERO
    by_symbol: Mapping[str, Decimal] = field(default_factory=dict)
    alike: Mapping[Alike, int] = field(default_factory=dict)
    of_plan: frozenset[tuple[str, Side]] = frozenset()
    day_trades: int = 0

    def with_sent(self, sent: SentOrder, *, is_recent: bool) -> "SessionOrders":
        """Return the orders with one that was sent before."""
        return self._with(sent.symbol, sent.value, (sent.symbol, sent.side, sent.quantity) if is_recent else None)

    def with_approved(self, intent: OrderIntent, quantity: Decimal, *, is_day_trade: bool) -> "SessionOrders":
        """Return the orders with one of the plan, of which ``quantity`` shares may be sent."""
        kind = (intent.symbol, intent.side, intent.quantity)
        orders = self._with(intent.symbol, quantity * intent.reference_price, kind)
        of_plan = self.of_plan | {(intent.symbol, intent.side)}
        return replace(orders, of_plan=of_plan, day_trades=self.day_trades + is_day_trade)

    def _with(self, symbol: str, value: Decimal, kind: Alike | None) -> "SessionOrders":
        return replace(
            self,
            count=self.count + 1,
            value=self.value + value,
            by_symbol={**self.by_symbol, symbol: self.by_symbol.get(symbol, ZERO) + value},
            alike=self.alike if kind is None else {**self.alike, kind: self.alike.get(kind, 0) + 1},
        )


def session_orders(state: RiskState) -> SessionOrders:
    """Return the orders that the session has had when the engine begins."""
    return functools.reduce(
        lambda orders, sent: orders.with_sent(sent, is_recent=_is_recent(sent, state)),
        state.sent or (),
        SessionOrders(),
    )


def _is_recent(sent: SentOrder, state: RiskState) -> bool:
    return state.at - sent.at < DUPLICATE_WINDOW


@dataclass(frozen=True)
class Trial:
    """An order and all that decides on it.

    Attributes:
        intent: the order.
        intended: the shares that were intended; the order itself may have fewer on trial.
        book: what it is judged on: the account once the open orders of its side and the plan's approved ones of its
            side, and for a buy the plan's approved sales too, have filled.
        orders: the session's orders so far, the plan's approved ones among them.
        state: the account and the market.
        limits: what may not be exceeded.
    """

    intent: OrderIntent
    intended: Decimal
    book: Book
    orders: SessionOrders
    state: RiskState
    limits: RiskLimits

    @property
    def symbol(self) -> str:
        """The order's symbol."""
        return self.intent.symbol

    @property
    def is_buy(self) -> bool:
        """Tell whether the order raises what is held; a sale never does, since nothing is sold short."""
        return self.intent.side is Side.BUY

    @property
    def of(self) -> Classification:
        """What the symbol is exposed to."""
        return self.state.class_of(self.symbol)

    @property
    def price(self) -> Decimal:
        """The higher of reference and limit price, in dollars a share."""
        limit, reference = self.intent.limit_price, self.intent.reference_price
        return reference if limit is None else max(limit, reference)

    @functools.cached_property
    def before(self) -> Book:
        """The account without the order, the symbol valued at the order's reference price."""
        held = self.book.holdings.get(self.symbol)
        return self.book if held is None or held.price == self.intent.reference_price else self._traded(ZERO)

    @functools.cached_property
    def after(self) -> Book:
        """The account with the order filled at its reference price."""
        return self._traded(self.intent.quantity)

    def of_quantity(self, quantity: Decimal) -> "Trial":
        """Return the trial of the same order with another quantity."""
        return replace(self, intent=replace(self.intent, quantity=quantity))

    def fraction(self, dollars: Decimal) -> Decimal:
        """Return dollars as a fraction of equity; infinite where there is no equity."""
        equity = self.book.equity
        if equity <= 0:
            return _INFINITE if dollars > 0 else ZERO
        return measured(dollars / equity)

    def above(self, code: BreachCode, measure: Callable[[Book], Decimal], limit: Limit) -> Breach | None:
        """Return the breach where a buy takes a measure (dollars) above ``limit`` (fraction of equity).

        Where the measure was above it already, an order that does not raise it passes.
        """
        if limit is None or not self.is_buy:
            return None
        dollars = measure(self.after)
        after = self.fraction(dollars)
        if after <= limit or (after.is_finite() and dollars <= measure(self.before)):
            return None
        return Breach(code, after, limit)

    def _traded(self, quantity: Decimal) -> Book:
        intent = self.intent
        return self.book.traded(intent.symbol, intent.side, quantity, intent.reference_price, self.of)
