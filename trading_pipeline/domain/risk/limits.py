"""What orders may not exceed, as two families of defaults.

The *rotation* family is for strategies that hold one or few funds at a time,
leveraged ones among them, and move all of it in a day; the *ordinary* family
is for a spread portfolio. Why each figure is what it is, and how often each
would have acted on history, is told in ``docs/decisions/risk.md``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from enum import StrEnum

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.risk.day_trades import DayTradeRule

Limit = Decimal | None


class LimitFamily(StrEnum):
    """For which kind of strategy the defaults are meant."""

    ROTATION = "rotation"
    ORDINARY = "ordinary"


@dataclass(frozen=True)
class RiskLimits:
    """Limits of one account; a measure equal to its limit passes, and None limits nothing.

    Where nothing else is said, figures are fractions (or multiples) of equity
    once the order, the open orders and the plan's earlier ones of its side have
    filled. The defaults are those of the rotation family.

    Attributes:
        max_position_weight: one ordinary symbol's market value.
        max_leveraged_weight: one leveraged or inverse fund's market value.
        max_strategy_share: what one strategy directs.
        max_gross_leverage: all positions, signs ignored.
        max_net_leverage: long less short positions, sign ignored.
        max_effective_leverage: all positions times the funds' own multiples, signs ignored.
        max_concentration: sum of the squared weights (Herfindahl index), 1 for equity in one symbol.
        max_class_exposure: one asset class.
        max_sector_exposure: one sector.
        max_unclassified_exposure: all symbols of which nobody knows the class.
        max_order_value: US dollars of one order, at the higher of its limit and reference price.
        max_orders_per_session: orders that may be sent in one session.
        max_session_turnover: dollars bought and sold in one session.
        max_identical_orders: orders of the same symbol, side and quantity within a minute.
        max_participation: one order as a fraction of the average daily dollar volume.
        max_price_deviation: distance of a limit price from the reference price, as a fraction of the latter.
        allow_market_orders: whether an order may go without a limit price.
        max_value_at_risk: Student-t value at risk of a day, at 99 %.
        max_expected_shortfall: expected shortfall of a day, at 97.5 %.
        margin_buffer: least equity that is to be left above the maintenance margin.
        day_trade_rule: which rule on day trades binds.
        block_wash_sales: whether a sale whose loss taxes would disallow is denied, not only told of.

    Raises:
        InvalidInput: a limit is not a positive number.
    """

    max_position_weight: Limit = Decimal(1)
    max_leveraged_weight: Limit = Decimal(1)
    max_strategy_share: Limit = Decimal(1)
    max_gross_leverage: Limit = Decimal(1)
    max_net_leverage: Limit = Decimal(1)
    max_effective_leverage: Limit = Decimal(3)
    max_concentration: Limit = Decimal(1)
    max_class_exposure: Limit = Decimal(1)
    max_sector_exposure: Limit = Decimal(1)
    max_unclassified_exposure: Limit = Decimal("0.05")
    max_order_value: Limit = Decimal(1_000_000)
    max_orders_per_session: int | None = 50
    max_session_turnover: Limit = Decimal("2.5")
    max_identical_orders: int | None = 3
    max_participation: Limit = Decimal("0.01")
    max_price_deviation: Limit = Decimal("0.35")
    allow_market_orders: bool = False
    max_value_at_risk: Limit = Decimal("0.25")
    max_expected_shortfall: Limit = Decimal("0.30")
    margin_buffer: Limit = Decimal("0.05")
    day_trade_rule: DayTradeRule = DayTradeRule.BOTH
    block_wash_sales: bool = False

    def __post_init__(self) -> None:
        """Refuse a limit that would limit nothing or everything."""
        for limit in fields(self):
            value = getattr(self, limit.name)
            if value is None or isinstance(value, (bool, str)):
                continue
            if not Decimal(value).is_finite() or value <= 0:
                raise InvalidInput(f"risk limit {limit.name} must be a positive number, was {value}; none switches off")


FAMILIES: Mapping[LimitFamily, RiskLimits] = {
    LimitFamily.ROTATION: RiskLimits(),
    LimitFamily.ORDINARY: RiskLimits(
        max_position_weight=Decimal("0.25"),
        max_leveraged_weight=Decimal("0.15"),
        max_strategy_share=Decimal("0.5"),
        max_effective_leverage=Decimal("1.5"),
        max_concentration=Decimal("0.2"),
        max_class_exposure=Decimal("0.7"),
        max_sector_exposure=Decimal("0.4"),
        max_session_turnover=Decimal(1),
        max_value_at_risk=Decimal("0.04"),
        max_expected_shortfall=Decimal("0.03"),
    ),
}
"""The defaults of each family."""
