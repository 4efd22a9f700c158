"""Scenarios: what a portfolio of today's weights would have lost on each of the last sessions.

Returns of all symbols are laid side by side over the sessions on which every
one of them has a return. A portfolio is a vector of weights over them, and an
order moves one weight, so judging one order after another costs no more than
adding one column.

Each scenario is kept twice. *Historical*: the returns as they were. *Filtered*:
each symbol's returns brought to its present volatility, R* = R * sigma_now / sigma_t
with sigma by EWMA from the returns before t (Hull and White, Journal of Risk,
1998; Barone-Adesi et al., 1999, filter the portfolio's series instead). Filtering
symbol by symbol keeps a portfolio's loss linear in its weights, and so its
expected shortfall convex.
"""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from trading_pipeline.domain.errors import DataError, InvalidInput
from trading_pipeline.domain.indicators import FloatArray
from trading_pipeline.domain.instruments import CASH
from trading_pipeline.domain.risk.volatility import CONSTANT_WITHIN, WARM_UP, ewma_sigma

if TYPE_CHECKING:
    import pandas as pd

WINDOW = 500
"""Scenarios at most: two years of sessions."""

MINIMUM = 250
"""Returns at least that a symbol needs: a year of sessions."""

GREATEST_RESCALING = 20.0
"""No return is enlarged more than this.

From the calm of January 2020 to the height of March the volatility of a broad
fund rose 14-fold. A larger ratio comes from a symbol that hardly traded before.
"""

FATTEST, THINNEST = 3.0, 100.0
"""Degrees of freedom that a fit may find: below, deviations mean little; above, the tail is a normal one."""

_DEGREES = 400
_BINS_PER_DEVIATION = 64
_FARTHEST = 32
"""Standard deviations; returns beyond all share a bin."""

_Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class PortfolioScenarios:
    """Losses of one portfolio, as fractions of its equity, over the sessions of ``scenarios``.

    Attributes:
        scenarios: What the losses are made from.
        historical: Loss of each session; NaN where a weight is not finite.
        filtered: Loss of each session, with every return at its symbol's present volatility.
    """

    scenarios: "Scenarios" = field(repr=False)
    historical: FloatArray
    filtered: FloatArray

    def with_weight(self, symbol: str, delta: float) -> "PortfolioScenarios":
        """Return the portfolio that holds ``delta`` more of ``symbol``, a fraction of equity taken from cash.

        Raises:
            DataError: the symbol has no returns.
        """
        if symbol == CASH:
            return self
        place = self.scenarios.place(symbol)
        with np.errstate(invalid="ignore"):
            historical = self.historical - _known(delta) * self.scenarios.historical[:, place]
            filtered = self.filtered - _known(delta) * self.scenarios.filtered[:, place]
        return PortfolioScenarios(self.scenarios, historical, filtered)


@dataclass(frozen=True, eq=False)
class Scenarios:
    """Aligned daily returns of several symbols; made by :func:`scenarios_of`.

    Attributes:
        sessions: The sessions of the returns, oldest first; each has a return of every symbol.
        symbols: The symbols, in the order of the columns.
        historical: Simple returns, sessions by symbols; no value is missing. Not writable.
        filtered: The same at each symbol's present volatility, -1 at least. Not writable.
        degrees_of_freedom: Of the Student t that fits a single symbol's returns, 3 to 100.
        missing: Symbols that were left out, and why.
    """

    sessions: tuple[date, ...]
    symbols: tuple[str, ...]
    historical: FloatArray = field(repr=False)
    filtered: FloatArray = field(repr=False)
    degrees_of_freedom: float
    missing: Mapping[str, str]

    def portfolio(self, weights: Mapping[str, float]) -> PortfolioScenarios:
        """Return the losses of a portfolio that holds ``weights``, fractions of equity, negative when short.

        What is not named is not held; cash earns nothing.

        Raises:
            DataError: a weight, were it zero, names a symbol without returns.
        """
        held = np.zeros(len(self.symbols))
        for symbol, weight in weights.items():
            if symbol != CASH:
                held[self.place(symbol)] -= _known(weight)
        with np.errstate(invalid="ignore"):
            return PortfolioScenarios(self, self.historical @ held, self.filtered @ held)

    def returns_of(self, symbol: str) -> FloatArray:
        """Return the simple returns of ``symbol``, oldest first; zero for cash.

        Raises:
            DataError: the symbol has no returns.
        """
        if symbol == CASH:
            return np.zeros(len(self.sessions))
        return self.historical[:, self.place(symbol)]

    def covers(self, symbol: str) -> bool:
        """Tell whether there are returns of ``symbol``; cash earns nothing, which is known."""
        return symbol == CASH or symbol in self._places

    def place(self, symbol: str) -> int:
        """Return the column of ``symbol``.

        Raises:
            DataError: the symbol has no returns.
        """
        place = self._places.get(symbol)
        if place is None:
            reason = self.missing.get(symbol, "was not among the closes")
            raise DataError(
                f"{symbol} has no scenarios: it {reason}. Supply its closes, or leave it out of the portfolio"
            )
        return place

    @functools.cached_property
    def _places(self) -> Mapping[str, int]:
        return {symbol: place for place, symbol in enumerate(self.symbols)}


def scenarios_of(closes: "pd.DataFrame", window: int = WINDOW, minimum: int = MINIMUM) -> Scenarios:
    """Return the scenarios of the last ``window`` sessions of ``closes``.

    A symbol is left out, and named with the reason, where it has fewer than
    ``minimum`` returns in the last ``window`` + 20 sessions, none on the last
    of them, or so few in common with the others that fewer than ``minimum``
    sessions would remain (the symbol with the fewest returns goes first).
    Nothing is filled: a return needs two closes on consecutive rows, and a
    session on which any symbol of the rest has none is left out for all. The
    oldest 20 sessions only start the volatilities, and are no scenarios.

    Args:
        closes: adjusted closes, a row per session in rising order and a column per symbol; NaN where missing.
            What is not a positive finite number counts as missing.
        window: scenarios at most.
        minimum: returns at least.

    Raises:
        InvalidInput: sessions are not in rising order, a symbol or session is named twice, or the numbers do not fit.
    """
    _check(closes, window, minimum)
    recent = closes.iloc[-(window + WARM_UP + 1) :]
    symbols = np.array([str(symbol) for symbol in recent.columns], dtype=object)
    returns = _returns(recent.to_numpy(dtype=np.float64))
    usable = np.isfinite(returns)
    missing = _with_too_few(usable, symbols, minimum)
    missing |= _with_too_few_in_common(usable, symbols, minimum, missing)
    kept = np.array([symbol not in missing for symbol in symbols], dtype=bool)
    rows = usable[:, kept].all(axis=1) & kept.any()
    aligned = np.ascontiguousarray(returns[rows][:, kept])
    days = tuple(_day(recent.index[row + 1]) for row in np.flatnonzero(rows)[WARM_UP:])
    return _scenarios(aligned, days, tuple(symbols[kept]), MappingProxyType(missing))


def _scenarios(
    aligned: FloatArray, days: tuple[date, ...], symbols: tuple[str, ...], missing: Mapping[str, str]
) -> Scenarios:
    # A column is what is read in the hot loop, so a column is what lies together in memory.
    historical = np.asfortranarray(aligned[WARM_UP:])
    filtered = np.asfortranarray(_filtered(aligned))
    for values in (historical, filtered):
        values.setflags(write=False)
    return Scenarios(days, symbols, historical, filtered, _degrees_of_freedom(historical), missing)


def _returns(closes: FloatArray) -> FloatArray:
    known = np.where((closes > 0) & np.isfinite(closes), closes, np.nan)
    with np.errstate(over="ignore"):
        returns: FloatArray = known[1:] / known[:-1] - 1
    return returns


def _filtered(aligned: FloatArray) -> FloatArray:
    sigma = ewma_sigma(aligned)
    before, now = sigma[WARM_UP:-1], sigma[-1]
    ratio = np.full(before.shape, GREATEST_RESCALING)
    np.divide(now, before, out=ratio, where=before * GREATEST_RESCALING > now)
    # Nobody loses more of a holding than all of it.
    filtered: FloatArray = np.maximum(aligned[WARM_UP:] * ratio, -1.0)
    return filtered


def _with_too_few(usable: _Mask, symbols: npt.NDArray[np.object_], minimum: int) -> dict[str, str]:
    counts = usable.sum(axis=0)
    few = {
        symbol: f"has {count} returns in the last {len(usable)} sessions, wanted {minimum}"
        for symbol, count in zip(symbols[counts < minimum], counts[counts < minimum], strict=True)
    }
    stale = symbols[(counts >= minimum) & ~usable[-1:].all(axis=0)]
    return few | dict.fromkeys(stale, "has no return on the last session")


def _with_too_few_in_common(
    usable: _Mask, symbols: npt.NDArray[np.object_], minimum: int, missing: Mapping[str, str]
) -> dict[str, str]:
    kept = np.array([symbol not in missing for symbol in symbols], dtype=bool)
    counts = usable.sum(axis=0)
    gaps = (~usable[:, kept]).sum(axis=1)
    found: dict[str, str] = {}
    while kept.any() and (common := int((gaps == 0).sum())) < minimum:
        worst = int(np.where(kept, counts, np.iinfo(counts.dtype).max).argmin())
        kept[worst] = False
        gaps -= ~usable[:, worst]
        found[symbols[worst]] = (
            f"has {counts[worst]} returns, but with it all symbols had only {common} sessions in common, "
            f"wanted {minimum}"
        )
    return found


def _degrees_of_freedom(returns: FloatArray) -> float:
    """Fit a Student t of unit variance to the standardised returns of all symbols together, by likelihood.

    The sum of the likelihoods of dependent symbols still estimates the tail
    that they share. It is that of a single holding, which a portfolio may be
    wholly in; mixing several makes tails thinner. Moments would never find
    fewer than 4 degrees, and one wild return decides them.
    """
    sizes, squares = _squared_deviations(returns)
    if not sizes.size:
        return FATTEST
    candidates = 1 / np.linspace(1 / THINNEST, 1 / FATTEST, _DEGREES)
    constants = np.array([math.lgamma((n + 1) / 2) - math.lgamma(n / 2) - math.log(n - 2) / 2 for n in candidates])
    penalties = np.log1p(squares / (candidates[:, np.newaxis] - 2)) @ sizes
    likelihoods = sizes.sum() * constants - (candidates + 1) / 2 * penalties
    return float(candidates[likelihoods.argmax()])


def _squared_deviations(returns: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return counts of, and mean squares within, narrow bins of the standardised returns of all symbols."""
    if len(returns) <= 1:
        return np.empty(0), np.empty(0)
    deviations = returns.std(axis=0, ddof=1)
    moving = deviations > CONSTANT_WITHIN
    standardised = np.abs((returns[:, moving] - returns[:, moving].mean(axis=0)) / deviations[moving]).ravel(order="K")
    # A quarter of a million logarithms for each candidate would take a second.
    bins = np.minimum(standardised * _BINS_PER_DEVIATION, _FARTHEST * _BINS_PER_DEVIATION).astype(np.intp)
    sizes = np.bincount(bins).astype(np.float64)
    sums = np.bincount(bins, weights=np.square(standardised))
    return sizes[sizes > 0], sums[sizes > 0] / sizes[sizes > 0]


def _known(weight: float) -> float:
    # An infinite weight would make gains of infinite size out of rising sessions.
    return float(weight) if math.isfinite(weight) else math.nan


def _day(label: date) -> date:
    return label.date() if isinstance(label, datetime) else label


def _check(closes: "pd.DataFrame", window: int, minimum: int) -> None:
    if not closes.index.is_monotonic_increasing or not closes.index.is_unique or not closes.columns.is_unique:
        raise InvalidInput("closes need one row per session, in rising order, and one column per symbol; sort them")
    if not WARM_UP + 1 < minimum <= window + WARM_UP:
        raise InvalidInput(
            f"a symbol needs more than {WARM_UP + 1} returns and can have {window + WARM_UP} at most "
            f"(window {window} and {WARM_UP} to start with); minimum was {minimum}"
        )
