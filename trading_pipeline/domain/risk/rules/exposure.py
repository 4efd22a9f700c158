"""How much of equity positions may put at stake once the order has filled; figures are fractions of equity.

A sale lowers each of these measures, since nothing is sold short, and passes.
"""

from collections.abc import Callable
from decimal import Decimal

from trading_pipeline.domain.risk.book import ZERO, Book
from trading_pipeline.domain.risk.decisions import Breach, BreachCode
from trading_pipeline.domain.risk.trial import Trial, measured


def position_weight(trial: Trial) -> Breach | None:
    """Limit an ordinary symbol's market value."""
    limit = None if trial.of.is_leveraged else trial.limits.max_position_weight
    return trial.above(BreachCode.POSITION_WEIGHT, _size_of(trial), limit)


def leveraged_weight(trial: Trial) -> Breach | None:
    """Limit a leveraged or inverse fund's market value; a symbol that nobody knows may be one."""
    limit = trial.limits.max_leveraged_weight if trial.of.is_leveraged else None
    return trial.above(BreachCode.LEVERAGED_WEIGHT, _size_of(trial), limit)


def strategy_share(trial: Trial) -> Breach | None:
    """Deny buying for a strategy that directs too large a part of equity, and buying for none."""
    limit = trial.limits.max_strategy_share
    if limit is None or not trial.is_buy:
        return None
    behind = [weights for weights in (trial.state.strategy_weights or {}).values() if trial.symbol in weights]
    if not behind:
        return Breach(BreachCode.STRATEGY_SHARE, f"{trial.symbol} for none", "a strategy that directs the buy")
    largest = measured(max(sum(weights.values(), ZERO) for weights in behind))
    return Breach(BreachCode.STRATEGY_SHARE, largest, limit) if largest > limit else None


def gross_leverage(trial: Trial) -> Breach | None:
    """Limit all positions together, signs ignored."""
    return trial.above(BreachCode.GROSS_LEVERAGE, lambda book: book.sums.gross, trial.limits.max_gross_leverage)


def net_leverage(trial: Trial) -> Breach | None:
    """Limit long less short positions."""
    return trial.above(BreachCode.NET_LEVERAGE, lambda book: abs(book.sums.net), trial.limits.max_net_leverage)


def effective_leverage(trial: Trial) -> Breach | None:
    """Limit all positions times the funds' own multiples: equity wholly in a threefold fund is three."""
    limit = trial.limits.max_effective_leverage
    return trial.above(BreachCode.EFFECTIVE_LEVERAGE, lambda book: book.sums.effective, limit)


def concentration(trial: Trial) -> Breach | None:
    """Limit the sum of the squared weights (Herfindahl index); its inverse counts the effective bets."""
    equity, limit = trial.book.equity, trial.limits.max_concentration
    return trial.above(BreachCode.CONCENTRATION, lambda book: _over(book.sums.squares, equity), limit)


def class_exposure(trial: Trial) -> Breach | None:
    """Limit the symbol's asset class; one that nobody knows has a limit of its own."""
    name, limit = trial.of.class_name, trial.limits.max_class_exposure
    return trial.above(BreachCode.CLASS_EXPOSURE, lambda book: book.sums.by_class.get(name, ZERO), limit)


def sector_exposure(trial: Trial) -> Breach | None:
    """Limit the symbol's sector; what no sector moves has none."""
    sector, limit = trial.of.sector, trial.limits.max_sector_exposure
    return trial.above(BreachCode.SECTOR_EXPOSURE, lambda book: book.sums.by_sector.get(sector, ZERO), limit)


def unclassified_exposure(trial: Trial) -> Breach | None:
    """Limit all symbols of which nobody knows the class."""
    limit = trial.limits.max_unclassified_exposure
    return trial.above(BreachCode.UNCLASSIFIED_EXPOSURE, lambda book: book.sums.unclassified, limit)


def _size_of(trial: Trial) -> Callable[[Book], Decimal]:
    return lambda book: book.size(trial.symbol)


def _over(squares: Decimal, equity: Decimal) -> Decimal:
    return squares / equity if equity > 0 else squares
