"""Every measure of an account against its limit, once the approved orders of a plan have filled.

The sums are those of the book that the rules look at, so that what is
reported is what limits are held against. A measure that is not known is NaN,
never zero.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from trading_pipeline.domain.orders import OrderIntent, Side
from trading_pipeline.domain.risk.book import ZERO, Book, book_of
from trading_pipeline.domain.risk.decisions import BreachCode
from trading_pipeline.domain.risk.limits import RiskLimits
from trading_pipeline.domain.risk.margin import intraday_excess
from trading_pipeline.domain.risk.state import RiskState
from trading_pipeline.domain.risk.tail_risk import ALPHA_ES, ALPHA_VAR, TailMeasures, TailModel, tail_measures
from trading_pipeline.domain.risk.volatility import VolatilityMethod, filtered_historical

HISTORICAL, NORMAL, STUDENT_T = "historical", "normal", "student-t"
FILTERED, CORNISH_FISHER = "filtered-historical", "cornish-fisher"
GARCH_FILTERED, EWMA_FILTERED = "garch-filtered-historical", "ewma-filtered-historical"

VALUE_AT_RISK = "value at risk"
EXPECTED_SHORTFALL = "expected shortfall"
COMPONENT = "component expected shortfall"


@dataclass(frozen=True)
class RiskMeasure:
    """One measure, and the limit that it is held against.

    Attributes:
        name: what is measured, such as "position weight".
        part: of which symbol, strategy, class, sector, model or rung; None for the account as a whole.
        value: the figure; NaN where it is not known.
        limit: the most that is allowed; None where nothing is.
        code: what an order that exceeds the limit is denied or reduced with; None where no rule asks for the measure.
        is_floor: whether the limit is the least that is wanted, not the most.
    """

    name: str
    part: str | None
    value: float
    limit: float | None = None
    code: BreachCode | None = None
    is_floor: bool = False

    @property
    def share(self) -> float:
        """How much of the limit is used: above 1 it is broken; NaN without a limit, or where nothing is known.

        >>> RiskMeasure("gross leverage", None, 0.9, 1.2).share
        0.75
        >>> RiskMeasure("margin excess", None, 0.1, 0.05, is_floor=True).share
        0.5
        """
        above, below = (self.limit, self.value) if self.is_floor else (self.value, self.limit)
        if above is None or below is None or math.isnan(above) or math.isnan(below):
            return math.nan
        if self.is_floor and below <= 0:
            return math.inf
        return above / below


def account_measures(
    state: RiskState, approved: Sequence[OrderIntent], limits: RiskLimits, *, with_garch: bool = False
) -> tuple[RiskMeasure, ...]:
    """Return every measure of the account once ``approved`` have filled at their reference prices.

    Args:
        state: the account and the market; its open orders of either side count as not filled.
        approved: the orders, at the quantities that were approved.
        limits: what the measures are held against.
        with_garch: whether a GARCH model is fitted too, which takes a tenth of a second, where anything is held;
            EWMA stands in for it, and gives its name, where it cannot be fitted.
    """
    book = filled(state, approved)
    return (
        *_weights(book, limits),
        *_strategies(state, limits),
        *_leverages(book, limits),
        *_groups(book, limits),
        *tail_of(state, book, limits, with_garch=with_garch),
        *_orders(state, book, approved, limits),
    )


def filled(state: RiskState, approved: Iterable[OrderIntent]) -> Book:
    """Return the account with ``approved`` filled at their reference prices, and nothing else."""
    book = book_of(replace(state, open_orders=()), Side.SELL)
    for order in approved:
        of = state.class_of(order.symbol)
        book = book.traded(order.symbol, order.side, order.quantity, order.reference_price, of)
    return book


def _fraction(dollars: Decimal, book: Book) -> float:
    return float(dollars / book.equity) if _has_equity(book) and dollars.is_finite() else math.nan


def _has_equity(book: Book) -> bool:
    return book.equity.is_finite() and book.equity > 0


def _limit(limit: Decimal | int | None) -> float | None:
    return None if limit is None else float(limit)


def _weights(book: Book, limits: RiskLimits) -> Iterator[RiskMeasure]:
    yield RiskMeasure("cash", None, _fraction(book.cash, book))
    for symbol, held in sorted(book.holdings.items()):
        weight = _fraction(held.size, book)
        if weight == 0:
            continue
        if held.of.is_leveraged:
            limit, code = limits.max_leveraged_weight, BreachCode.LEVERAGED_WEIGHT
            yield RiskMeasure("leveraged weight", symbol, weight, _limit(limit), code)
        else:
            limit, code = limits.max_position_weight, BreachCode.POSITION_WEIGHT
            yield RiskMeasure("position weight", symbol, weight, _limit(limit), code)


def _strategies(state: RiskState, limits: RiskLimits) -> Iterator[RiskMeasure]:
    limit = _limit(limits.max_strategy_share)
    if state.strategy_weights is None:
        yield RiskMeasure("strategy share", None, math.nan, limit, BreachCode.STRATEGY_SHARE)
        return
    for strategy, directed in sorted(state.strategy_weights.items()):
        share = float(sum(directed.values(), ZERO))
        yield RiskMeasure("strategy share", strategy, share, limit, BreachCode.STRATEGY_SHARE)


def _leverages(book: Book, limits: RiskLimits) -> Iterator[RiskMeasure]:
    sums = book.sums
    measures = (
        ("gross leverage", sums.gross, limits.max_gross_leverage, BreachCode.GROSS_LEVERAGE),
        ("net leverage", abs(sums.net), limits.max_net_leverage, BreachCode.NET_LEVERAGE),
        ("effective leverage", sums.effective, limits.max_effective_leverage, BreachCode.EFFECTIVE_LEVERAGE),
    )
    for name, dollars, limit, code in measures:
        yield RiskMeasure(name, None, _fraction(dollars, book), _limit(limit), code)
    index = _fraction(sums.squares / book.equity, book) if _has_equity(book) else math.nan
    yield RiskMeasure("concentration", None, index, _limit(limits.max_concentration), BreachCode.CONCENTRATION)
    yield RiskMeasure("effective bets", None, 1 / index if index > 0 else math.nan)
    excess = _signed(intraday_excess(book.equity, sums.maintenance), book)
    # What is fully paid for is secured by itself, so the limit is none there.
    least = _limit(limits.margin_buffer) if book.cash.is_finite() and book.cash < 0 else None
    yield RiskMeasure("margin excess", None, excess, least, BreachCode.INTRADAY_MARGIN, is_floor=True)


def _signed(dollars: Decimal, book: Book) -> float:
    return math.copysign(_fraction(abs(dollars), book), dollars)


def _groups(book: Book, limits: RiskLimits) -> Iterator[RiskMeasure]:
    sums = book.sums
    for name, dollars in sorted(sums.by_class.items()):
        limit = _limit(limits.max_class_exposure)
        yield RiskMeasure("class exposure", name, _fraction(dollars, book), limit, BreachCode.CLASS_EXPOSURE)
    for sector, dollars in sorted(sums.by_sector.items()):
        limit = _limit(limits.max_sector_exposure)
        yield RiskMeasure("sector exposure", str(sector), _fraction(dollars, book), limit, BreachCode.SECTOR_EXPOSURE)
    unknown, limit = _fraction(sums.unclassified, book), _limit(limits.max_unclassified_exposure)
    yield RiskMeasure("unclassified exposure", None, unknown, limit, BreachCode.UNCLASSIFIED_EXPOSURE)


def tail_of(state: RiskState, book: Book, limits: RiskLimits, *, with_garch: bool = False) -> Iterator[RiskMeasure]:
    """Yield value at risk and expected shortfall by every model, and what each symbol adds to the latter.

    All are NaN where the returns of a holding are not known.
    """
    scenarios = state.scenarios
    weights = {symbol: _fraction(held.value, book) for symbol, held in book.holdings.items() if held.shares}
    if scenarios is None or not all(scenarios.covers(symbol) for symbol in weights):
        yield from _tail_figures({STUDENT_T: math.nan}, dict.fromkeys(_GATED, math.nan), limits)
        return
    found = tail_measures(scenarios, weights, TailModel(ALPHA_ES, ALPHA_VAR, scenarios.degrees_of_freedom))
    at_risk, shortfall = _values_at_risk(found), _shortfalls(found)
    losses = scenarios.portfolio(weights).historical
    if with_garch and weights and losses.size and math.isfinite(losses.sum()):
        tail = filtered_historical(-losses)
        name = GARCH_FILTERED if tail.volatility.method is VolatilityMethod.GJR_GARCH else EWMA_FILTERED
        at_risk, shortfall = at_risk | {name: tail.value_at_risk}, shortfall | {name: tail.expected_shortfall}
    yield from _tail_figures(at_risk, shortfall, limits)
    for symbol, part in sorted(found.components.items()):
        yield RiskMeasure(COMPONENT, symbol, part)


_GATED = (HISTORICAL, FILTERED, STUDENT_T)


def _values_at_risk(found: TailMeasures) -> dict[str, float]:
    return {
        HISTORICAL: found.historical_value_at_risk,
        NORMAL: found.normal_value_at_risk,
        STUDENT_T: found.student_t_value_at_risk,
        FILTERED: found.filtered_value_at_risk,
        CORNISH_FISHER: found.cornish_fisher_value_at_risk,
    }


def _shortfalls(found: TailMeasures) -> dict[str, float]:
    return {
        HISTORICAL: found.historical_expected_shortfall,
        NORMAL: found.normal_expected_shortfall,
        STUDENT_T: found.student_t_expected_shortfall,
        FILTERED: found.filtered_expected_shortfall,
    }


def _tail_figures(
    at_risk: Mapping[str, float], shortfall: Mapping[str, float], limits: RiskLimits
) -> Iterator[RiskMeasure]:
    for model, figure in at_risk.items():
        held = model == STUDENT_T
        limit, code = (_limit(limits.max_value_at_risk), BreachCode.VALUE_AT_RISK) if held else (None, None)
        yield RiskMeasure(VALUE_AT_RISK, model, figure, limit, code)
    for model, figure in shortfall.items():
        held = model in _GATED
        limit, code = (_limit(limits.max_expected_shortfall), BreachCode.EXPECTED_SHORTFALL) if held else (None, None)
        yield RiskMeasure(EXPECTED_SHORTFALL, model, figure, limit, code)


def _orders(state: RiskState, book: Book, approved: Sequence[OrderIntent], limits: RiskLimits) -> Iterator[RiskMeasure]:
    sent, worth = len(approved), sum((order.notional for order in approved), ZERO)
    turnover, most = _limit(limits.max_session_turnover), _limit(limits.max_orders_per_session)
    yield RiskMeasure("orders", None, float(sent), most, BreachCode.ORDERS_PER_SESSION)
    yield RiskMeasure("turnover", None, _fraction(worth, book), turnover, BreachCode.SESSION_TURNOVER)
    for order in sorted(approved, key=lambda each: each.symbol):
        price = max(order.limit_price or order.reference_price, order.reference_price)
        value, limit = float(order.quantity * price), _limit(limits.max_order_value)
        yield RiskMeasure("order value", order.symbol, value, limit, BreachCode.ORDER_VALUE)
        part, limit = _participation(state, order), _limit(limits.max_participation)
        yield RiskMeasure("participation", order.symbol, part, limit, BreachCode.PARTICIPATION)
        if order.limit_price is not None:
            deviation = float(abs(order.limit_price / order.reference_price - 1))
            limit = _limit(limits.max_price_deviation)
            yield RiskMeasure("price deviation", order.symbol, deviation, limit, BreachCode.PRICE_DEVIATION)


def _participation(state: RiskState, order: OrderIntent) -> float:
    volume = (state.average_dollar_volumes or {}).get(order.symbol)
    return float(order.notional / volume) if volume is not None and volume > 0 else math.nan
