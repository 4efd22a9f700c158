"""One pure function a rule: an order and the plan's state so far, in; a breach or None, out.

Every rule but :func:`missing_input` may take for granted that no figure it
reads is missing, since the engine asks that one first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from trading_pipeline.domain.instruments import QUANTITY_STEP, WHOLE_SHARE, round_quantity
from trading_pipeline.domain.orders import OrderIntent, OrderType, Side
from trading_pipeline.domain.portfolio import Portfolio
from trading_pipeline.domain.risk.limits import Breach, BreachCode, RiskLimits
from trading_pipeline.domain.risk.trading_state import TradingState

_POSITIVE = "a positive number"


class Tradability(Protocol):
    """The broker's word on a symbol."""

    @property
    def tradable(self) -> bool:
        """Tell whether it may be traded at all."""
        ...

    @property
    def fractionable(self) -> bool:
        """Tell whether it trades in fractions of a share."""
        ...


@dataclass(frozen=True)
class PlanState:
    """What a rule may look at: the account as it is, and what was approved of the plan before this order.

    ``assets`` holds the broker's word by symbol; a symbol that it does not
    know is absent. ``bought`` and ``sold`` are shares by symbol.
    """

    portfolio: Portfolio
    limits: RiskLimits
    trading_state: TradingState
    assets: Mapping[str, Tradability]
    approved_orders: int
    bought: Mapping[str, Decimal]
    sold: Mapping[str, Decimal]

    def position_before(self, intent: OrderIntent) -> Decimal:
        """Shares of the intent's symbol once the approved orders of its own direction have filled.

        Those of the other direction are left out, since they may never fill.
        """
        held = self.portfolio.quantity(intent.symbol)
        if intent.side is Side.BUY:
            return held + self.bought.get(intent.symbol, Decimal(0))
        return held - self.sold.get(intent.symbol, Decimal(0))

    def step(self, symbol: str) -> Decimal:
        """Smallest quantity in which the broker trades the symbol; whole shares where it is silent."""
        asset = self.assets.get(symbol)
        return QUANTITY_STEP if asset is not None and asset.fractionable else WHOLE_SHARE


def trading_halted(_intent: OrderIntent, state: PlanState) -> Breach | None:
    """Deny everything while the trading state stops orders."""
    if state.trading_state.allows_trading:
        return None
    return Breach(BreachCode.TRADING_HALTED, f"{state.trading_state.mode}: {state.trading_state.reason}", "active")


def reducing_only(intent: OrderIntent, state: PlanState) -> Breach | None:
    """Deny buys while the trading state lets exposure only be lowered."""
    now = state.trading_state
    if now.allows(intent.side):
        return None
    return Breach(BreachCode.REDUCING_ONLY, f"{now.mode}: {now.reason}", "a sale of what is held")


def account_blocked(_intent: OrderIntent, state: PlanState) -> Breach | None:
    """Deny everything while the broker blocks the account."""
    if not state.portfolio.blocked:
        return None
    return Breach(BreachCode.ACCOUNT_BLOCKED, state.portfolio.blocked, "an account that may trade")


def missing_input(intent: OrderIntent, state: PlanState) -> Breach | None:
    """Deny an order when a figure that decides on it is absent or not finite.

    A sale does not need the account's equity: a bad price of another holding
    must not trap this one.
    """
    figures: dict[str, Decimal | None] = {
        "quantity": intent.quantity,
        "reference price": intent.reference_price,
        "shares held": state.portfolio.quantity(intent.symbol),
    }
    if intent.order_type is OrderType.LIMIT or intent.limit_price is not None:
        figures["limit price"] = intent.limit_price
    if intent.side is Side.BUY:
        figures["equity"] = state.portfolio.equity
    missing = [name for name, figure in figures.items() if figure is None or not figure.is_finite()]
    return Breach(BreachCode.INPUT_MISSING, ", ".join(missing), "finite numbers") if missing else None


def unknown_asset(intent: OrderIntent, state: PlanState) -> Breach | None:
    """Deny buying and selling of a symbol that the broker does not know."""
    if intent.symbol in state.assets:
        return None
    return Breach(BreachCode.ASSET_UNKNOWN, intent.symbol, "a symbol that the broker knows")


def untradable_asset(intent: OrderIntent, state: PlanState) -> Breach | None:
    """Deny buying and selling of a symbol that the broker lets nobody trade now."""
    asset = state.assets.get(intent.symbol)
    if asset is None or asset.tradable:
        return None
    return Breach(BreachCode.ASSET_NOT_TRADABLE, intent.symbol, "a tradable symbol")


def quantity_sign(intent: OrderIntent, _state: PlanState) -> Breach | None:
    """Deny an order of no shares, or of fewer than none."""
    if intent.quantity > 0:
        return None
    return Breach(BreachCode.QUANTITY_NOT_POSITIVE, intent.quantity, _POSITIVE)


def price_sign(intent: OrderIntent, _state: PlanState) -> Breach | None:
    """Deny an order of which a price is zero or negative."""
    lowest = min(_prices(intent))
    return None if lowest > 0 else Breach(BreachCode.PRICE_NOT_POSITIVE, lowest, _POSITIVE)


def price_deviation(intent: OrderIntent, state: PlanState) -> Breach | None:
    """Limit the distance between limit and reference price, in either direction."""
    limit = state.limits.max_price_deviation
    if intent.limit_price is None or intent.reference_price <= 0:
        return None
    deviation = abs(intent.limit_price / intent.reference_price - 1)
    return Breach(BreachCode.PRICE_DEVIATION, deviation, limit) if deviation > limit else None


def order_value(intent: OrderIntent, state: PlanState) -> Breach | None:
    """Limit the dollars of one order, bought or sold, at its higher price."""
    value = intent.quantity * max(_prices(intent))
    limit = state.limits.max_order_value
    return Breach(BreachCode.ORDER_VALUE, value, limit) if value > limit else None


def orders_per_session(_intent: OrderIntent, state: PlanState) -> Breach | None:
    """Limit how many orders of a plan are sent."""
    count = state.approved_orders + 1
    limit = state.limits.max_orders_per_session
    return Breach(BreachCode.ORDERS_PER_SESSION, Decimal(count), Decimal(limit)) if count > limit else None


def sells_more_than_held(intent: OrderIntent, state: PlanState) -> Breach | None:
    """Deny a sale of more shares than are held and not yet sold by an earlier order: no short positions."""
    if intent.side is Side.BUY:
        return None
    available = max(state.position_before(intent), Decimal(0))
    if intent.quantity <= available:
        return None
    return Breach(BreachCode.SELLS_MORE_THAN_HELD, intent.quantity, available)


def quantity_precision(intent: OrderIntent, state: PlanState) -> Breach | None:
    """Limit a quantity to the grid on which the broker trades the symbol."""
    step = state.step(intent.symbol)
    if round_quantity(intent.quantity, step) == intent.quantity:
        return None
    return Breach(BreachCode.QUANTITY_PRECISION, intent.quantity, f"a multiple of {step:f}")


def position_weight(intent: OrderIntent, state: PlanState) -> Breach | None:
    """Limit one symbol's share of equity once this order and the plan's earlier buys have filled.

    The position is valued at the order's reference price. An order that makes
    the position smaller passes, so that a breach can be worked off.
    """
    before = state.position_before(intent)
    after = before + (intent.quantity if intent.side is Side.BUY else -intent.quantity)
    equity = state.portfolio.equity
    value = abs(after) * intent.reference_price
    if abs(after) < abs(before) or value <= state.limits.max_position_weight * equity:
        return None
    weight = value / equity if equity > 0 else Decimal("Infinity")
    return Breach(BreachCode.POSITION_WEIGHT, weight, state.limits.max_position_weight)


def largest_position_buy(intent: OrderIntent, state: PlanState) -> Decimal:
    """Return the most shares that a buy may have under :func:`position_weight`, on the symbol's grid; 0 for none."""
    most = state.limits.max_position_weight * state.portfolio.equity / intent.reference_price
    room = most - state.position_before(intent)
    return max(round_quantity(room, state.step(intent.symbol)), Decimal(0))


def _prices(intent: OrderIntent) -> tuple[Decimal, ...]:
    if intent.limit_price is None:
        return (intent.reference_price,)
    return (intent.limit_price, intent.reference_price)
