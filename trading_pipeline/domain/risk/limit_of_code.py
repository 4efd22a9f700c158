"""Which limit each code speaks of, for tables and reports."""

from collections.abc import Mapping
from types import MappingProxyType

from trading_pipeline.domain.risk.decisions import BreachCode
from trading_pipeline.domain.risk.limits import Limit, RiskLimits

LIMIT_OF: Mapping[BreachCode, str] = MappingProxyType(
    {
        BreachCode.PRICE_DEVIATION: "max_price_deviation",
        BreachCode.MARKET_ORDER: "allow_market_orders",
        BreachCode.ORDER_VALUE: "max_order_value",
        BreachCode.ORDERS_PER_SESSION: "max_orders_per_session",
        BreachCode.SESSION_TURNOVER: "max_session_turnover",
        BreachCode.DUPLICATE_ORDER: "max_identical_orders",
        BreachCode.PARTICIPATION: "max_participation",
        BreachCode.POSITION_WEIGHT: "max_position_weight",
        BreachCode.LEVERAGED_WEIGHT: "max_leveraged_weight",
        BreachCode.STRATEGY_SHARE: "max_strategy_share",
        BreachCode.GROSS_LEVERAGE: "max_gross_leverage",
        BreachCode.NET_LEVERAGE: "max_net_leverage",
        BreachCode.EFFECTIVE_LEVERAGE: "max_effective_leverage",
        BreachCode.CONCENTRATION: "max_concentration",
        BreachCode.CLASS_EXPOSURE: "max_class_exposure",
        BreachCode.SECTOR_EXPOSURE: "max_sector_exposure",
        BreachCode.UNCLASSIFIED_EXPOSURE: "max_unclassified_exposure",
        BreachCode.VALUE_AT_RISK: "max_value_at_risk",
        BreachCode.EXPECTED_SHORTFALL: "max_expected_shortfall",
        BreachCode.INTRADAY_MARGIN: "margin_buffer",
        BreachCode.DAY_TRADES: "day_trade_rule",
        BreachCode.WASH_SALE: "block_wash_sales",
    }
)
"""The field of ``RiskLimits`` by code. What is not here holds whatever the limits are, and cannot be switched off."""


def limit_of(code: BreachCode, limits: RiskLimits) -> Limit | int | bool | str:
    """Return what ``limits`` say of ``code``; None where it is switched off, or where no limit speaks of the code.

    >>> limit_of(BreachCode.POSITION_WEIGHT, RiskLimits()), limit_of(BreachCode.TRADING_HALTED, RiskLimits())
    (Decimal('1'), None)
    """
    name = LIMIT_OF.get(code)
    limit: Limit | int | bool | str = None if name is None else getattr(limits, name)
    return limit


def figure_of(code: BreachCode, limits: RiskLimits) -> float | None:
    """Return the limit of ``code`` where it is a figure, and None where it is not.

    >>> figure_of(BreachCode.ORDERS_PER_SESSION, RiskLimits()), figure_of(BreachCode.MARKET_ORDER, RiskLimits())
    (50.0, None)
    """
    limit = limit_of(code, limits)
    return None if limit is None or isinstance(limit, (bool, str)) else float(limit)
