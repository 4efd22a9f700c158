"""What of an intent is sent now: its price from the quote, its quantity from the cash and the shares that are there.

The plan's limit is the collar. The order goes just beyond the quote, so that
no more cash is bound than needed, and never beyond the collar.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from trading_pipeline.application.venue import ZERO, highest_price
from trading_pipeline.domain.instruments import CENT, QUANTITY_STEP, WHOLE_SHARE, plain, round_price, round_quantity
from trading_pipeline.domain.orders import SMALLEST_BUY, OrderIntent, Refusal, Rejected, Side
from trading_pipeline.domain.portfolio import Portfolio
from trading_pipeline.ports import Quote

WHOLE_SHARES, RESIZED = "whole shares", "resized"


@dataclass(frozen=True)
class Order:
    """An order to be sent: the intent with its price and quantity of now.

    ``mid`` is the quote's middle in dollars a share; ``changes`` says how the
    order was changed after a refusal.
    """

    intent: OrderIntent
    mid: Decimal | None = None
    changes: tuple[str, ...] = ()

    @property
    def terms(self) -> str:
        """Quantity and price for people, and what was changed."""
        told = f"{plain(self.intent.quantity)} at {self.intent.limit_price or 'market'}"
        return f"{self.changes[-1]}: {told}" if self.changes else told


@dataclass(frozen=True)
class Later:
    """Nothing can be sent now; it may be possible later."""

    reason: str


@dataclass(frozen=True)
class Never:
    """Nothing will be sent any more: ``refused`` by the venue for good, or because cash is lacking, or for neither."""

    reason: str
    refused: bool = False
    lacks_cash: bool = False


Sized = Order | Later | Never


@dataclass(frozen=True)
class Pricing:
    """How a quote becomes a limit: so far beyond it (a fraction), and how old it may be at ``now``."""

    offset: Decimal
    quote_age: timedelta
    now: datetime


def sized(intent: OrderIntent, quote: Quote | None, portfolio: Portfolio, pricing: Pricing) -> Sized:
    """Return the order to be sent for ``intent``, or why there is none.

    ``intent.quantity`` is what is still wanted; ``portfolio.cash`` what may be spent.
    """
    priced = _priced(intent, quote, pricing)
    if not isinstance(priced, Order):
        return priced
    return _affordable(priced, portfolio.cash) if intent.side is Side.BUY else _held(priced, portfolio)


def _priced(intent: OrderIntent, quote: Quote | None, pricing: Pricing) -> Sized:
    if intent.limit_price is None:
        return Order(intent, quote.mid if quote else None)
    side = None if quote is None else quote.ask if intent.side is Side.BUY else quote.bid
    if quote is None or not side:
        return Later(f"no quote for {intent.symbol}")
    if pricing.now - quote.at > pricing.quote_age:
        return Later(f"the quote for {intent.symbol} is of {quote.at.isoformat()}, too old to price an order by")
    if intent.side is Side.BUY:
        limit = min(round_price(side * (1 + pricing.offset), up=True), intent.limit_price)
        beyond = side > intent.limit_price
    else:
        limit = max(round_price(side * (1 - pricing.offset), up=False), intent.limit_price)
        beyond = side < intent.limit_price
    if beyond:
        return Never(f"quoted at {side}, beyond the collar at {intent.limit_price}")
    return Order(replace(intent, limit_price=limit), quote.mid)


def _affordable(order: Order, cash: Decimal) -> Sized:
    intent = order.intent
    price = highest_price(intent)
    whole = intent.quantity == intent.quantity.to_integral_value()
    # A cent stays: the broker rounds what it sets aside for an order upwards.
    most = round_quantity(max(cash - CENT, ZERO) / price, WHOLE_SHARE if whole else QUANTITY_STEP)
    if most < intent.quantity and most * price < SMALLEST_BUY:
        return Never(f"no cash left: {cash:.2f} dollars for {intent.symbol} at {price}", lacks_cash=True)
    return replace(order, intent=replace(intent, quantity=min(intent.quantity, most)))


def _held(order: Order, portfolio: Portfolio) -> Sized:
    # More may have been sold by hand since the plan was made; an account that may go short would.
    held = portfolio.quantity(order.intent.symbol)
    if held <= 0:
        return Never(f"no {order.intent.symbol} is held any more")
    return replace(order, intent=replace(order.intent, quantity=min(order.intent.quantity, held)))


def after_refusal(order: Order, rejected: Rejected) -> Sized:
    """Return what to send in place of an order that the venue refused, or why nothing.

    Fractions become whole shares once; a buy that is too large is resized
    once, to what the venue says there is. What cannot be traded now waits.
    """
    match rejected.refusal:
        # Shares that another order holds come back when that is over.
        case Refusal.HALTED | Refusal.NOT_TRADABLE | Refusal.OPPOSITE_ORDER | Refusal.HELD_SHARES:
            return Later(rejected.reason)
        case Refusal.NOT_FRACTIONABLE if WHOLE_SHARES not in order.changes:
            return _changed(order, round_quantity(order.intent.quantity, WHOLE_SHARE), WHOLE_SHARES, rejected)
        case Refusal.BUYING_POWER if RESIZED not in order.changes:
            return _resized(order, rejected)
        case Refusal.BUYING_POWER:
            return Never(f"{rejected.code}: {rejected.reason}")
        case _:
            return Never(f"{rejected.code}: {rejected.reason}", refused=True)


def _resized(order: Order, rejected: Rejected) -> Sized:
    fitting = _affordable(order, ZERO if rejected.available is None else rejected.available)
    return _changed(order, fitting.intent.quantity if isinstance(fitting, Order) else ZERO, RESIZED, rejected)


def _changed(order: Order, quantity: Decimal, change: str, rejected: Rejected) -> Sized:
    if quantity <= 0:
        return Never(f"{rejected.code}: {rejected.reason}; nothing is left of it as {change}")
    return replace(order, intent=replace(order.intent, quantity=quantity), changes=(*order.changes, change))
