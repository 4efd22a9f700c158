"""Whether the symbol may be traded now, and whether we would trade it against ourselves."""

from trading_pipeline.domain.risk.decisions import Breach, BreachCode
from trading_pipeline.domain.risk.trial import Trial
from trading_pipeline.domain.risk.wash import opposite_order

_TRADING = "a symbol that trades"


def asset_unknown(trial: Trial) -> Breach | None:
    """Deny buying and selling of a symbol that the broker does not know."""
    if trial.symbol in trial.state.assets:
        return None
    return Breach(BreachCode.ASSET_UNKNOWN, trial.symbol, "a symbol that the broker knows")


def asset_not_tradable(trial: Trial) -> Breach | None:
    """Deny buying and selling of a symbol that the broker lets nobody trade now."""
    asset = trial.state.assets.get(trial.symbol)
    if asset is None or asset.tradable:
        return None
    return Breach(BreachCode.ASSET_NOT_TRADABLE, trial.symbol, "a tradable symbol")


def market_halted(trial: Trial) -> Breach | None:
    """Deny everything while the market-wide breaker stops trading."""
    market = trial.state.market
    return Breach(BreachCode.MARKET_HALTED, market.halt, "a market that trades") if market and market.halt else None


def symbol_halted(trial: Trial) -> Breach | None:
    """Deny an order of a symbol that is halted, as told or inferred."""
    reason = trial.state.market.halted.get(trial.symbol) if trial.state.market else None
    return Breach(BreachCode.SYMBOL_HALTED, reason, _TRADING) if reason else None


def corporate_action(trial: Trial) -> Breach | None:
    """Deny an order of a symbol of which a split, merger or the like makes prices and quantities doubtful."""
    reason = trial.state.market.corporate_actions.get(trial.symbol) if trial.state.market else None
    return Breach(BreachCode.CORPORATE_ACTION, reason, "a symbol without a pending action") if reason else None


def symbol_locked(trial: Trial) -> Breach | None:
    """Deny buying a symbol that surveillance locked; what is held may be sold."""
    if not trial.is_buy:
        return None
    held = (lock for lock in trial.state.locks or () if lock.symbol == trial.symbol and lock.until > trial.state.at)
    lock = max(held, key=lambda lock: lock.until, default=None)
    if lock is None:
        return None
    return Breach(BreachCode.SYMBOL_LOCKED, f"{lock.reason}, until {lock.until.isoformat()}", "a symbol without a lock")


def wash_trade(trial: Trial) -> Breach | None:
    """Deny an order that could meet an open one of the account, or one of its own plan, on the other side."""
    wanted = "no order on the other side"
    if any(symbol == trial.symbol and side is not trial.intent.side for symbol, side in trial.orders.of_plan):
        return Breach(BreachCode.WASH_TRADE, "an order of the same plan", wanted)
    opposite = opposite_order(trial.symbol, trial.intent.side, trial.state.open_orders or ())
    if opposite is None:
        return None
    return Breach(BreachCode.WASH_TRADE, f"{opposite.side} {opposite.client_order_id}", wanted)
