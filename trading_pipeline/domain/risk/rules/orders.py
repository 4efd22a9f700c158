"""The order itself: quantity, price, what it is worth, and how many there were."""

from decimal import Decimal

from trading_pipeline.domain.instruments import price_tick, round_quantity
from trading_pipeline.domain.orders import OrderType
from trading_pipeline.domain.risk.book import ZERO
from trading_pipeline.domain.risk.decisions import Breach, BreachCode
from trading_pipeline.domain.risk.trial import Trial, measured

_POSITIVE = "a positive number"


def quantity_not_positive(trial: Trial) -> Breach | None:
    """Deny an order of no shares, or of fewer than none."""
    quantity = trial.intent.quantity
    return None if quantity > 0 else Breach(BreachCode.QUANTITY_NOT_POSITIVE, quantity, _POSITIVE)


def quantity_precision(trial: Trial) -> Breach | None:
    """Limit a quantity to the grid on which the broker trades the symbol."""
    step = trial.state.step(trial.symbol)
    if round_quantity(trial.intent.quantity, step) == trial.intent.quantity:
        return None
    return Breach(BreachCode.QUANTITY_PRECISION, trial.intent.quantity, f"a multiple of {step:f}")


def price_not_positive(trial: Trial) -> Breach | None:
    """Deny an order of which a price is zero or negative."""
    prices = [price for price in (trial.intent.limit_price, trial.intent.reference_price) if price is not None]
    lowest = min(prices)
    return None if lowest > 0 else Breach(BreachCode.PRICE_NOT_POSITIVE, lowest, _POSITIVE)


def price_tick_kept(trial: Trial) -> Breach | None:
    """Deny a limit price between the ticks of its price range."""
    limit = trial.intent.limit_price
    if limit is None or limit <= 0 or limit % price_tick(limit) == 0:
        return None
    return Breach(BreachCode.PRICE_TICK, limit, f"a multiple of {price_tick(limit):f}")


def price_deviation(trial: Trial) -> Breach | None:
    """Limit the distance between limit and reference price, in either direction."""
    limit, intent = trial.limits.max_price_deviation, trial.intent
    if limit is None or intent.limit_price is None or intent.reference_price <= 0:
        return None
    deviation = abs(intent.limit_price / intent.reference_price - 1)
    return Breach(BreachCode.PRICE_DEVIATION, deviation, limit) if deviation > limit else None


def market_order(trial: Trial) -> Breach | None:
    """Deny an order without a limit price where none are allowed."""
    if trial.limits.allow_market_orders or trial.intent.order_type is not OrderType.MARKET:
        return None
    return Breach(BreachCode.MARKET_ORDER, trial.intent.order_type.value, "an order with a limit price")


def order_value(trial: Trial) -> Breach | None:
    """Limit the dollars of one order, bought or sold, at its higher price."""
    value, limit = trial.intent.quantity * trial.price, trial.limits.max_order_value
    return Breach(BreachCode.ORDER_VALUE, value, limit) if limit is not None and value > limit else None


def orders_per_session(trial: Trial) -> Breach | None:
    """Limit how many orders a session has."""
    count, limit = trial.orders.count + 1, trial.limits.max_orders_per_session
    if limit is None or count <= limit:
        return None
    return Breach(BreachCode.ORDERS_PER_SESSION, Decimal(count), Decimal(limit))


def session_turnover(trial: Trial) -> Breach | None:
    """Limit a buy by the dollars that the session buys and sells; a sale counts, and passes untrapped."""
    limit = trial.limits.max_session_turnover
    if limit is None or not trial.is_buy:
        return None
    turnover = trial.fraction(trial.orders.value + trial.intent.notional)
    return Breach(BreachCode.SESSION_TURNOVER, turnover, limit) if turnover > limit else None


def duplicate_order(trial: Trial) -> Breach | None:
    """Deny the same symbol, side and quantity once more after too many within a minute."""
    intent, limit = trial.intent, trial.limits.max_identical_orders
    count = trial.orders.alike.get((intent.symbol, intent.side, trial.intended), 0) + 1
    if limit is None or count <= limit:
        return None
    return Breach(BreachCode.DUPLICATE_ORDER, Decimal(count), Decimal(limit))


def participation(trial: Trial) -> Breach | None:
    """Limit the session's orders in a symbol to a part of what is traded of it on an average day."""
    limit = trial.limits.max_participation
    if limit is None:
        return None
    volume = (trial.state.average_dollar_volumes or {})[trial.symbol]
    ours = trial.orders.by_symbol.get(trial.symbol, ZERO) + trial.intent.notional
    part = measured(ours / volume) if volume > 0 else Decimal("Infinity")
    return Breach(BreachCode.PARTICIPATION, part, limit) if part > limit else None


def sells_more_than_held(trial: Trial) -> Breach | None:
    """Deny a sale of more shares than are held and not yet sold by an earlier order: no short positions."""
    if trial.is_buy:
        return None
    available = max(trial.book.shares(trial.symbol), ZERO)
    if trial.intent.quantity <= available:
        return None
    return Breach(BreachCode.SELLS_MORE_THAN_HELD, trial.intent.quantity, available)


def buying_power(trial: Trial) -> Breach | None:
    """Limit a buy to the cash that is left and the proceeds of the plan's sales, at reference prices."""
    cost, cash = trial.intent.notional, max(trial.book.cash, ZERO)
    if not trial.is_buy or measured(cost) <= measured(cash):
        return None
    return Breach(BreachCode.BUYING_POWER, cost, cash)
