"""The decision on every order of a plan: approved, reduced or denied."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from trading_pipeline.domain.instruments import round_quantity
from trading_pipeline.domain.orders import SMALLEST_BUY, OrderIntent, Side
from trading_pipeline.domain.risk.book import Book, book_of
from trading_pipeline.domain.risk.decisions import Approved, Breach, Denied, Reduced, RiskDecision
from trading_pipeline.domain.risk.limits import RiskLimits
from trading_pipeline.domain.risk.rules import PRECONDITIONS, RULES, Rule
from trading_pipeline.domain.risk.state import RiskState
from trading_pipeline.domain.risk.trial import SessionOrders, Trial, session_orders


def decide(
    intents: Sequence[OrderIntent], state: RiskState, limits: RiskLimits, rules: Sequence[Rule] = RULES
) -> tuple[RiskDecision, ...]:
    """Decide on the orders of a plan one after the other, in the given order.

    A sale is judged on the account as it would be once the open sales and those
    approved before it have filled. A buy is judged on the account once the open
    buys, the buys approved before it, and the approved sales of its plan have
    filled: it is sent after these, and with the cash that they really brought.
    Open orders of the other side count for nothing, since they may never fill.

    What breaks a rule that a smaller quantity keeps is reduced to the largest
    quantity that keeps all of them. Pure: the same arguments give the same
    decisions, and the order of ``rules`` changes nothing.
    """
    progress = _Progress.of(state, limits)
    decisions: list[RiskDecision] = []
    for intent in intents:
        decision = _decided(progress.trial(intent), rules)
        decisions.append(decision)
        progress = progress.after(decision)
    return tuple(decisions)


@dataclass(frozen=True)
class _Progress:
    """The account as far as the plan was decided: what a sale and what a buy is judged on, the session's orders."""

    books: Mapping[Side, Book]
    orders: SessionOrders
    state: RiskState
    limits: RiskLimits

    @classmethod
    def of(cls, state: RiskState, limits: RiskLimits) -> "_Progress":
        return cls({side: book_of(state, side) for side in Side}, session_orders(state), state, limits)

    def trial(self, intent: OrderIntent) -> Trial:
        return Trial(intent, intent.quantity, self.books[intent.side], self.orders, self.state, self.limits)

    def after(self, decision: RiskDecision) -> "_Progress":
        if isinstance(decision, Denied):
            return self
        intent = replace(decision.intent, quantity=decision.quantity)
        concerned = Side if intent.side is Side.SELL else (Side.BUY,)
        traded = {side: self._traded(self.books[side], intent) for side in concerned}
        is_day_trade = self.state.completes_day_trade(intent.symbol, intent.side)
        orders = self.orders.with_approved(decision.intent, decision.quantity, is_day_trade=is_day_trade)
        return replace(self, books={**self.books, **traded}, orders=orders)

    def _traded(self, book: Book, intent: OrderIntent) -> Book:
        of = self.state.class_of(intent.symbol)
        return book.traded(intent.symbol, intent.side, intent.quantity, intent.reference_price, of)


def _decided(trial: Trial, rules: Sequence[Rule]) -> RiskDecision:
    lacking = _breaches(PRECONDITIONS, trial)
    if lacking:
        return Denied(trial.intent, lacking)
    watched = [rule for rule in rules if rule.only_warns]
    binding = [rule for rule in rules if not rule.only_warns]
    warnings = _breaches(watched, trial)
    breaches = _breaches(binding, trial)
    if not breaches:
        return Approved(trial.intent, warnings)
    quantity = _allowed_quantity(trial, binding)
    # What would be reduced to less than venues buy is denied.
    if quantity == 0 or (trial.is_buy and quantity * trial.intent.reference_price < SMALLEST_BUY):
        return Denied(trial.intent, breaches, warnings)
    return Reduced(trial.intent, quantity, breaches, _breaches(watched, trial.of_quantity(quantity)))


def _breaches(rules: Sequence[Rule], trial: Trial) -> tuple[Breach, ...]:
    found = (rule.breach(trial) for rule in rules)
    return tuple(sorted((breach for breach in found if breach is not None), key=lambda breach: breach.code))


def _allowed_quantity(trial: Trial, rules: Sequence[Rule]) -> Decimal:
    """Return the largest quantity of the symbol's grid that keeps every rule; zero for none.

    The quantities that keep a rule which reduces are all up to a largest one, so halving finds it.
    """
    broken = [rule for rule in rules if rule.breach(trial) is not None]
    if any(not rule.reduces for rule in broken):
        return Decimal(0)
    # What the whole order keeps, every part of it keeps.
    quantity = _largest(trial, broken)
    return quantity if quantity and _keeps(trial.of_quantity(quantity), rules) else Decimal(0)


def _largest(trial: Trial, reducing: Sequence[Rule]) -> Decimal:
    step = trial.state.step(trial.symbol)
    kept, broken = 0, int(round_quantity(trial.intent.quantity, step) / step) + 1
    while broken - kept > 1:
        middle = (kept + broken) // 2
        if _keeps(trial.of_quantity(middle * step), reducing):
            kept = middle
        else:
            broken = middle
    return kept * step


def _keeps(trial: Trial, rules: Sequence[Rule]) -> bool:
    return all(rule.breach(trial) is None for rule in rules)
