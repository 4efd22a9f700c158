"""How much of equity positions put at stake, in all and by what moves them.

All figures are fractions (or multiples) of equity. *Effective* figures count a
fund's own daily multiple: equity wholly in a threefold fund is one of gross and
three of effective exposure; an inverse fund's effective net exposure is
negative.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from trading_pipeline.domain.classification import Classification, classified
from trading_pipeline.domain.errors import DataError
from trading_pipeline.domain.instruments import Instrument

ZERO = Decimal(0)


@dataclass(frozen=True)
class Exposures:
    """Exposures of one account; every figure is a fraction of its equity.

    Attributes:
        weights: market value by symbol, negative when short.
        gross: sum of the absolute weights.
        net: sum of the weights.
        effective_gross: sum of the absolute weights times the funds' multiples.
        effective_net: sum of the weights times the funds' multiples, signs kept.
        herfindahl: sum of the squared weights (Herfindahl index): 1 for equity in one symbol, 1/n for n equal parts.
        by_class: gross weight by name of the asset class; the parts sum to ``gross``.
        effective_by_class: effective gross weight likewise.
        by_sector: gross weight by sector, ``none`` and ``unknown`` among them; the parts sum to ``gross``.
        effective_by_sector: effective gross weight likewise.
        leveraged_weight: gross weight of leveraged and inverse funds.
        unclassified_weight: gross weight of symbols of which nobody knows the class.
    """

    weights: Mapping[str, Decimal]
    gross: Decimal
    net: Decimal
    effective_gross: Decimal
    effective_net: Decimal
    herfindahl: Decimal
    by_class: Mapping[str, Decimal]
    effective_by_class: Mapping[str, Decimal]
    by_sector: Mapping[str, Decimal]
    effective_by_sector: Mapping[str, Decimal]
    leveraged_weight: Decimal
    unclassified_weight: Decimal

    @property
    def effective_bets(self) -> Decimal | None:
        """How many equal positions would be as concentrated: 1 / Herfindahl; None where nothing is held.

        The weights are of equity, so that cash makes it larger: half of equity in one symbol counts as four.
        """
        return 1 / self.herfindahl if self.herfindahl else None


@dataclass(frozen=True)
class _Holding:
    value: Decimal
    of: Classification

    @property
    def size(self) -> Decimal:
        return abs(self.value)

    @property
    def effective(self) -> Decimal:
        return self.value * self.of.leverage


def exposures(
    market_values: Mapping[str, Decimal], equity: Decimal, on: date, instruments: Mapping[str, Instrument]
) -> Exposures:
    """Return the exposures of positions worth ``market_values`` (dollars by symbol, negative when short; no cash).

    Classes, sectors and multiples are those of the day ``on``.

    >>> from trading_pipeline.domain.instruments import catalogue
    >>> held = {"TECL": Decimal(600), "SQQQ": Decimal(200)}
    >>> found = exposures(held, Decimal(1000), date(2026, 7, 31), catalogue())
    >>> found.gross, found.effective_gross, found.effective_net
    (Decimal('0.8'), Decimal('2.4'), Decimal('1.2'))

    Raises:
        DataError: equity is not a positive number, or a market value is not a number.
    """
    _check(market_values, equity)
    held = {symbol: _Holding(value, classified(symbol, on, instruments)) for symbol, value in market_values.items()}
    all_of = held.values()
    weights = {symbol: holding.value / equity for symbol, holding in held.items()}
    return Exposures(
        weights=weights,
        gross=_sum(holding.size for holding in all_of) / equity,
        net=_sum(holding.value for holding in all_of) / equity,
        effective_gross=_sum(abs(holding.effective) for holding in all_of) / equity,
        effective_net=_sum(holding.effective for holding in all_of) / equity,
        herfindahl=_sum(weight * weight for weight in weights.values()),
        by_class=_shares(((holding.of.class_name, holding.size) for holding in all_of), equity),
        effective_by_class=_shares(((holding.of.class_name, abs(holding.effective)) for holding in all_of), equity),
        by_sector=_shares(((holding.of.sector.value, holding.size) for holding in all_of), equity),
        effective_by_sector=_shares(((holding.of.sector.value, abs(holding.effective)) for holding in all_of), equity),
        leveraged_weight=_sum(holding.size for holding in all_of if holding.of.is_leveraged) / equity,
        unclassified_weight=_sum(holding.size for holding in all_of if not holding.of.is_known) / equity,
    )


def _check(market_values: Mapping[str, Decimal], equity: Decimal) -> None:
    if not equity.is_finite() or equity <= 0:
        raise DataError(f"exposures are fractions of equity, which must be a positive number and was {equity}")
    wrong = [f"{symbol} {value}" for symbol, value in market_values.items() if not value.is_finite()]
    if wrong:
        raise DataError(f"market values must be numbers, found {', '.join(wrong)}; no exposure is known without them")


def _sum(figures: Iterable[Decimal]) -> Decimal:
    return sum(figures, ZERO)


def _shares(parts: Iterable[tuple[str, Decimal]], equity: Decimal) -> Mapping[str, Decimal]:
    dollars: defaultdict[str, Decimal] = defaultdict(Decimal)
    for name, value in parts:
        dollars[name] += value
    return {name: dollars[name] / equity for name in sorted(dollars)}
