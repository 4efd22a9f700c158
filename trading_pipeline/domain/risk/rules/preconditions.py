"""Whether anything may be decided at all: the trading state, the account, and the figures that the rules read."""

from collections.abc import Iterator
from decimal import Decimal

from trading_pipeline.domain.orders import OrderType
from trading_pipeline.domain.risk.day_trades import DayTradeRule
from trading_pipeline.domain.risk.decisions import Breach, BreachCode
from trading_pipeline.domain.risk.trial import BEYOND_MEASURE, Trial


def trading_halted(trial: Trial) -> Breach | None:
    """Deny everything while the trading state stops orders."""
    state = trial.state.trading_state
    if state.allows_trading:
        return None
    return Breach(BreachCode.TRADING_HALTED, f"{state.mode}: {state.reason}", "active")


def account_blocked(trial: Trial) -> Breach | None:
    """Deny everything while the broker blocks the account."""
    blocked = trial.state.portfolio.blocked
    return Breach(BreachCode.ACCOUNT_BLOCKED, blocked, "an account that may trade") if blocked else None


def reducing_only(trial: Trial) -> Breach | None:
    """Deny buys while the trading state lets exposure only be lowered."""
    state = trial.state.trading_state
    if state.allows(trial.intent.side):
        return None
    return Breach(BreachCode.REDUCING_ONLY, f"{state.mode}: {state.reason}", "a sale of what is held")


def input_missing(trial: Trial) -> Breach | None:
    """Deny an order when a figure that decides on it is absent or not finite.

    A sale needs only what concerns its own symbol: a bad price of another
    holding must not trap this one.
    """
    missing = [*_missing_of_order(trial), *_missing_of_symbol(trial)]
    if trial.is_buy:
        missing += _missing_of_account(trial)
    return Breach(BreachCode.INPUT_MISSING, ", ".join(missing), "figures that are known") if missing else None


def _missing_of_order(trial: Trial) -> Iterator[str]:
    intent = trial.intent
    yield from _not_finite("quantity", intent.quantity)
    yield from _not_finite("reference price", intent.reference_price)
    if intent.order_type is OrderType.LIMIT or intent.limit_price is not None:
        yield from _not_finite("limit price", intent.limit_price)


def _missing_of_symbol(trial: Trial) -> Iterator[str]:
    state, limits = trial.state, trial.limits
    yield from _not_finite("shares held", trial.book.shares(trial.symbol))
    yield from _absent("open orders", state.open_orders)
    yield from _absent("orders of the session", state.sent)
    if state.market is None or state.market.session != state.session:
        yield "market status"
    else:
        yield from state.market.missing(trial.symbol)
    yield from _absent("locks of surveillance", state.locks)
    if limits.max_participation is not None:
        yield from _not_finite("average dollar volume", (state.average_dollar_volumes or {}).get(trial.symbol))
    if limits.day_trade_rule is DayTradeRule.LEGACY_PDT or limits.block_wash_sales:
        yield from _absent("fills", state.usable_fills)


def _missing_of_account(trial: Trial) -> Iterator[str]:
    state, limits = trial.state, trial.limits
    if not_fresh := trial.state.not_fresh.get(trial.symbol):
        yield f"a fresh close of {trial.symbol} ({not_fresh})"
    yield from _not_finite("equity", trial.book.equity)
    yield from _not_finite("value of the holdings and open orders", trial.book.sums.gross)
    if limits.max_session_turnover is not None or limits.max_participation is not None:
        yield from _not_finite("value of the session's orders", trial.orders.value)
    if limits.max_strategy_share is not None:
        yield from _absent("weights of the strategies", state.strategy_weights)
    if limits.max_value_at_risk is not None or limits.max_expected_shortfall is not None:
        yield from _missing_returns(trial)


def _missing_returns(trial: Trial) -> Iterator[str]:
    scenarios = trial.state.scenarios
    if scenarios is None:
        yield "scenarios of returns"
        return
    for symbol in sorted(symbol for symbol in {trial.symbol, *trial.book.holdings} if not scenarios.covers(symbol)):
        yield f"returns of {symbol} ({scenarios.missing.get(symbol, 'not asked for')})"


def _not_finite(name: str, figure: Decimal | None) -> Iterator[str]:
    if figure is None or not figure.is_finite() or abs(figure) >= BEYOND_MEASURE:
        yield name


def _absent(name: str, value: object | None) -> Iterator[str]:
    if value is None:
        yield name
