"""Volatility of daily returns: what it was before each session, and what it is for the next.

Two models. *EWMA* is the exponentially weighted mean of squared returns with
decay 0.94 (J.P. Morgan, RiskMetrics Technical Document, 1996). *GJR-GARCH(1,1)*
lets falls raise volatility more than rises do (Glosten, Jagannathan and Runkle,
Journal of Finance, 1993), with innovations of a Student t; it is fitted by
package ``arch``, which is an optional extra.
"""

import warnings
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.indicators import FloatArray
from trading_pipeline.domain.risk.tail_risk import (
    ALPHA_ES,
    ALPHA_VAR,
    historical_expected_shortfall,
    historical_value_at_risk,
)

EWMA_DECAY = 0.94
"""The share of the variance that one session hands on to the next, for daily returns."""

WARM_UP = 20
"""Sessions whose mean squared return is the first variance: about the memory of the decay, 1 / (1 - 0.94)."""

LEAST_GARCH_RETURNS = 250
"""Fewer returns than a year's do not tell six parameters apart."""

CONSTANT_WITHIN = 1e-12
"""A standard deviation of daily returns below this is what rounding leaves of a series that never changes."""


class VolatilityMethod(StrEnum):
    """How volatility is estimated."""

    EWMA = "ewma"
    GJR_GARCH = "gjr-garch"


@dataclass(frozen=True, eq=False)
class Volatility:
    """The volatility of one series of daily returns, as a fraction a day.

    Attributes:
        sigma: Standard deviation expected for each session from the returns before it; NaN where it is undefined.
            Of GARCH, the parameters behind it were fitted to the whole series.
        forecast: Standard deviation expected for the session after the last.
        mean: Expected daily return; zero for EWMA, which measures from zero.
        method: The method that served.
        fallback: Why EWMA serves although GARCH was asked for; empty where the method is the one asked for.
    """

    sigma: FloatArray
    forecast: float
    mean: float
    method: VolatilityMethod
    fallback: str = ""

    @property
    def converged(self) -> bool:
        """Tell whether the method that was asked for served."""
        return not self.fallback


@dataclass(frozen=True, eq=False)
class FilteredTail:
    """Value at risk and expected shortfall of a series at its present volatility, as fractions of equity."""

    value_at_risk: float
    expected_shortfall: float
    volatility: Volatility


def ewma_sigma(returns: FloatArray, decay: float = EWMA_DECAY) -> FloatArray:
    """Return the EWMA standard deviation for each session from the returns before it, and one for the next session.

    ``returns`` has a row per session and may have a column per symbol; the
    answer has one row more. The first ``WARM_UP`` rows are NaN, the next is the
    root mean square of the returns so far; from there on the variance is
    v = decay * v + (1 - decay) * r * r. Returns are measured from zero. A NaN
    makes all later rows of its column NaN.

    >>> ewma_sigma(np.array([0.01] * 20 + [0.03]))[19:].round(4)
    array([   nan, 0.01  , 0.0122])
    """
    variances = np.full((len(returns) + 1, *returns.shape[1:]), np.nan)
    if len(returns) < WARM_UP:
        return variances
    squares = np.square(returns)
    variances[WARM_UP] = squares[:WARM_UP].mean(axis=0)
    for place in range(WARM_UP, len(returns)):
        variances[place + 1] = decay * variances[place] + (1 - decay) * squares[place]
    return np.sqrt(variances, out=variances)


def ewma_volatility(returns: FloatArray) -> Volatility:
    """Return the volatility of one series of daily ``returns``, oldest first, by EWMA with decay 0.94.

    Sigma and forecast are NaN where fewer than ``WARM_UP`` returns came before.

    Raises:
        InvalidInput: the returns are not one series of finite numbers.
    """
    _check(returns)
    sigma = ewma_sigma(returns)
    return Volatility(sigma[:-1], float(sigma[-1]), 0.0, VolatilityMethod.EWMA)


def garch_volatility(returns: FloatArray) -> Volatility:
    """Return the volatility of one series of daily ``returns``, oldest first, by GJR-GARCH(1,1) with Student t.

    EWMA serves instead, and ``fallback`` says why, where ``arch`` cannot be
    imported, the returns are fewer than 250 or never change, or the fit does
    not converge.

    Raises:
        InvalidInput: the returns are not one series of finite numbers.
    """
    _check(returns)
    if returns.size < LEAST_GARCH_RETURNS:
        return _fallen_back(returns, f"{returns.size} returns are too few for a fit, wanted {LEAST_GARCH_RETURNS}")
    if returns.std() < CONSTANT_WITHIN:
        return _fallen_back(returns, "the returns never change")
    return _fitted(returns)


def filtered_historical(
    returns: FloatArray,
    method: VolatilityMethod = VolatilityMethod.GJR_GARCH,
    alpha_var: float = ALPHA_VAR,
    alpha_es: float = ALPHA_ES,
) -> FilteredTail:
    """Return the tail of one series of daily ``returns`` by filtered historical simulation.

    Each return is standardised by the volatility expected for its session, and
    the standardised ones are scaled by the forecast: R* = m + (R - m) / sigma * forecast
    (Barone-Adesi, Giannopoulos and Vosper, Journal of Futures Markets, 1999).
    Sessions without a volatility, or with none at all, are left out; the
    measures are NaN where no session is left.

    Raises:
        InvalidInput: the returns are not one series of finite numbers, or a confidence is not in [0.5, 1).
    """
    volatility = garch_volatility(returns) if method is VolatilityMethod.GJR_GARCH else ewma_volatility(returns)
    known = volatility.sigma > 0
    standardised = (returns[known] - volatility.mean) / volatility.sigma[known]
    losses = -(volatility.mean + standardised * volatility.forecast)
    return FilteredTail(
        historical_value_at_risk(losses, alpha_var), historical_expected_shortfall(losses, alpha_es), volatility
    )


def _fitted(returns: FloatArray) -> Volatility:
    try:
        from arch import arch_model
    except ImportError:
        return _fallen_back(returns, "package arch is not installed (extra garch)")
    scale = float(returns.std())
    model = arch_model(returns / scale, mean="Constant", vol="GARCH", p=1, o=1, q=1, dist="t", rescale=False)
    # arch sets a filter for its own warnings and leaves it set; how the fit ended is read from its flag.
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        fit = model.fit(disp="off", show_warning=False)
    forecast = float(np.sqrt(fit.forecast(horizon=1, reindex=False).variance.to_numpy()[-1, 0]))
    sigma = np.asarray(fit.conditional_volatility, dtype=np.float64)
    if fit.convergence_flag or not np.isfinite(forecast) or not np.isfinite(sigma).all():
        return _fallen_back(returns, f"the fit did not converge (code {fit.convergence_flag} of the optimiser)")
    mean = float(fit.params["mu"]) * scale
    return Volatility(sigma * scale, forecast * scale, mean, VolatilityMethod.GJR_GARCH)


def _fallen_back(returns: FloatArray, reason: str) -> Volatility:
    sigma = ewma_sigma(returns)
    return Volatility(sigma[:-1], float(sigma[-1]), 0.0, VolatilityMethod.EWMA, reason)


def _check(returns: FloatArray) -> None:
    if returns.ndim != 1 or not np.isfinite(returns).all():
        raise InvalidInput(
            f"volatility needs one series of finite daily returns, found shape {returns.shape} with "
            f"{int((~np.isfinite(returns)).sum())} values that are not finite. Leave such sessions out"
        )
