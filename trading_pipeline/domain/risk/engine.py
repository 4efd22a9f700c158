"""The decision on every order of a plan: approved, reduced or denied."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from trading_pipeline.domain.instruments import round_quantity
from trading_pipeline.domain.orders import OrderIntent, Side
from trading_pipeline.domain.portfolio import Portfolio
from trading_pipeline.domain.risk import rules
from trading_pipeline.domain.risk.limits import Approved, Breach, Denied, Reduced, RiskDecision, RiskLimits
from trading_pipeline.domain.risk.rules import PlanState, Tradability
from trading_pipeline.domain.risk.trading_state import TradingState

Rule = Callable[[OrderIntent, PlanState], Breach | None]

# Without these, the other rules have nothing to measure.
_PRECONDITIONS: tuple[Rule, ...] = (rules.trading_halted, rules.account_blocked, rules.missing_input)

_DENYING: tuple[Rule, ...] = (
    rules.reducing_only,
    rules.unknown_asset,
    rules.untradable_asset,
    rules.quantity_sign,
    rules.price_sign,
    rules.price_deviation,
    rules.order_value,
    rules.orders_per_session,
    rules.sells_more_than_held,
)

_REDUCING: tuple[Rule, ...] = (rules.quantity_precision, rules.position_weight)


def decide(
    intents: Sequence[OrderIntent],
    portfolio: Portfolio,
    limits: RiskLimits,
    trading_state: TradingState,
    assets: Mapping[str, Tradability],
) -> tuple[RiskDecision, ...]:
    """Decide on the orders of a plan one after the other, in the given order.

    Each is judged on the portfolio as it would be once the orders approved
    before it have filled. ``portfolio`` should be valued at the prices from
    which the intents were sized, or weights are measured against another
    equity; ``assets`` is the broker's word by symbol. Pure: the same arguments
    give the same decisions.
    """
    decisions: list[RiskDecision] = []
    for intent in intents:
        decisions.append(_decide_one(intent, _state(decisions, portfolio, limits, trading_state, assets)))
    return tuple(decisions)


def _state(
    decisions: Sequence[RiskDecision],
    portfolio: Portfolio,
    limits: RiskLimits,
    trading_state: TradingState,
    assets: Mapping[str, Tradability],
) -> PlanState:
    approved = [decision for decision in decisions if not isinstance(decision, Denied)]
    bought, sold = _shares(approved, Side.BUY), _shares(approved, Side.SELL)
    return PlanState(portfolio, limits, trading_state, assets, len(approved), bought, sold)


def _shares(decisions: Sequence[RiskDecision], side: Side) -> Mapping[str, Decimal]:
    shares: defaultdict[str, Decimal] = defaultdict(Decimal)
    for decision in decisions:
        if decision.intent.side is side:
            shares[decision.intent.symbol] += decision.quantity
    return shares


def _decide_one(intent: OrderIntent, state: PlanState) -> RiskDecision:
    reasons = _breaches(_PRECONDITIONS, intent, state) or _breaches(_DENYING, intent, state)
    if reasons:
        return Denied(intent, reasons)
    reasons = _breaches(_REDUCING, intent, state)
    if not reasons:
        return Approved(intent)
    quantity = _allowed_quantity(intent, state)
    return Reduced(intent, quantity, reasons) if quantity > 0 else Denied(intent, reasons)


def _breaches(applied: Sequence[Rule], intent: OrderIntent, state: PlanState) -> tuple[Breach, ...]:
    found = (rule(intent, state) for rule in applied)
    return tuple(breach for breach in found if breach is not None)


def _allowed_quantity(intent: OrderIntent, state: PlanState) -> Decimal:
    quantity = round_quantity(intent.quantity, state.step(intent.symbol))
    if rules.position_weight(replace(intent, quantity=quantity), state) is None:
        return quantity
    return min(quantity, rules.largest_position_buy(intent, state))
