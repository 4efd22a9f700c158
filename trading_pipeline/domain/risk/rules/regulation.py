"""What regulators and taxes make of an order: margin within the session, day trades, wash sales."""

from decimal import Decimal

from trading_pipeline.domain.risk.book import ZERO, Book
from trading_pipeline.domain.risk.day_trades import (
    PATTERN_DAY_TRADES,
    PATTERN_EQUITY,
    DayTradeRule,
)
from trading_pipeline.domain.risk.decisions import Breach, BreachCode
from trading_pipeline.domain.risk.margin import intraday_excess
from trading_pipeline.domain.risk.trial import Trial
from trading_pipeline.domain.risk.wash import disallowed_loss, rebuys_after_loss


def intraday_margin(trial: Trial) -> Breach | None:
    """Keep equity above the maintenance margin of what is held on credit, with a buffer; a sale only lowers it.

    What is fully paid for is secured by itself; what is short never is.
    """
    least = trial.limits.margin_buffer
    if least is None or not (trial.is_buy and trial.limits.day_trade_rule.watches_margin) or _is_paid(trial.after):
        return None
    before, after = (intraday_excess(book.equity, book.sums.maintenance) for book in (trial.before, trial.after))
    excess = _signed_fraction(trial, after)
    if excess >= min(least, _signed_fraction(trial, before)):
        return None
    return Breach(BreachCode.INTRADAY_MARGIN, excess, least)


def day_trades(trial: Trial) -> Breach | None:
    """Deny the day trade that would make a small account a pattern day trader, where that rule alone binds."""
    return _day_trades(trial) if trial.limits.day_trade_rule is DayTradeRule.LEGACY_PDT else None


def day_trades_watched(trial: Trial) -> Breach | None:
    """Tell of such a day trade where brokers may still hold to the rule."""
    return _day_trades(trial) if trial.limits.day_trade_rule is DayTradeRule.BOTH else None


def wash_sale(trial: Trial) -> Breach | None:
    """Deny an order that would make a loss impossible to deduct, where that is asked for."""
    return _wash_sale(trial) if trial.limits.block_wash_sales else None


def wash_sale_watched(trial: Trial) -> Breach | None:
    """Tell of such an order where it is let pass."""
    return None if trial.limits.block_wash_sales else _wash_sale(trial)


def _is_paid(book: Book) -> bool:
    return book.cash >= 0 and book.sums.gross == book.sums.net


def _signed_fraction(trial: Trial, dollars: Decimal) -> Decimal:
    return trial.fraction(dollars) if dollars >= 0 else -trial.fraction(-dollars)


def _day_trades(trial: Trial) -> Breach | None:
    state, equity = trial.state, trial.book.equity
    if equity.is_finite() and equity >= PATTERN_EQUITY:
        return None
    if not state.completes_day_trade(trial.symbol, trial.intent.side):
        return None
    count = state.day_trade_count + trial.orders.day_trades + 1
    most = PATTERN_DAY_TRADES - 1
    return Breach(BreachCode.DAY_TRADES, Decimal(count), Decimal(most)) if count > most else None


def _wash_sale(trial: Trial) -> Breach | None:
    intent, state = trial.intent, trial.state
    fills = state.fills_of(trial.symbol)
    if not fills or intent.quantity <= 0 or intent.reference_price <= 0:
        return None
    if trial.is_buy:
        loss = rebuys_after_loss(fills, intent.symbol, state.session, intent.quantity)
    else:
        loss = disallowed_loss(fills, intent.symbol, intent.quantity, intent.reference_price, state.session)
    return Breach(BreachCode.WASH_SALE, loss, ZERO) if loss > 0 else None
