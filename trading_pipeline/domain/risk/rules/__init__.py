"""The rules that every order must pass: one pure function each, and the table that the engine goes through.

The order of the table changes no decision: every rule is asked, and what it
says depends on no other.
"""

from collections.abc import Callable
from dataclasses import dataclass

from trading_pipeline.domain.risk.decisions import Breach
from trading_pipeline.domain.risk.rules import exposure, market, orders, preconditions, regulation, tail
from trading_pipeline.domain.risk.trial import Trial

__all__ = ["LIQUIDATION_RULES", "PRECONDITIONS", "RULES", "Rule"]


@dataclass(frozen=True)
class Rule:
    """One rule: a function from a trial to the breach that it finds, or None.

    Attributes:
        breach: the function.
        reduces: whether fewer shares may keep it. Its measure is convex in the quantity, so that the quantities
            which keep it are all those up to a largest one.
        only_warns: whether what it finds is told of and stops nothing.
    """

    breach: Callable[[Trial], Breach | None]
    reduces: bool = False
    only_warns: bool = False


# Without these, the other rules have nothing to measure.
PRECONDITIONS = (
    Rule(preconditions.trading_halted),
    Rule(preconditions.account_blocked),
    Rule(preconditions.input_missing),
)

_ALWAYS = (
    Rule(preconditions.reducing_only),
    Rule(market.asset_unknown),
    Rule(market.asset_not_tradable),
    Rule(market.market_halted),
    Rule(market.symbol_halted),
    Rule(market.wash_trade),
    Rule(orders.quantity_not_positive),
    Rule(orders.quantity_precision, reduces=True),
    Rule(orders.price_not_positive),
    Rule(orders.price_tick_kept),
    Rule(orders.market_order),
    Rule(orders.sells_more_than_held),
)

LIQUIDATION_RULES = _ALWAYS
"""What an order to get out of a position in an emergency must pass: nothing that could trap it there."""

RULES = (
    *_ALWAYS,
    Rule(market.corporate_action),
    Rule(market.symbol_locked),
    Rule(orders.price_deviation),
    Rule(orders.order_value, reduces=True),
    Rule(orders.orders_per_session),
    Rule(orders.session_turnover, reduces=True),
    Rule(orders.duplicate_order),
    Rule(orders.participation, reduces=True),
    Rule(orders.buying_power, reduces=True),
    Rule(exposure.position_weight, reduces=True),
    Rule(exposure.leveraged_weight, reduces=True),
    Rule(exposure.strategy_share),
    Rule(exposure.gross_leverage, reduces=True),
    Rule(exposure.net_leverage, reduces=True),
    Rule(exposure.effective_leverage, reduces=True),
    Rule(exposure.concentration, reduces=True),
    Rule(exposure.class_exposure, reduces=True),
    Rule(exposure.sector_exposure, reduces=True),
    Rule(exposure.unclassified_exposure, reduces=True),
    Rule(tail.value_at_risk, reduces=True),
    Rule(tail.expected_shortfall, reduces=True),
    Rule(regulation.intraday_margin, reduces=True),
    Rule(regulation.day_trades),
    Rule(regulation.day_trades_watched, only_warns=True),
    Rule(regulation.wash_sale),
    Rule(regulation.wash_sale_watched, only_warns=True),
)
"""What an order of a plan must pass."""
