"""Covariance of daily returns, and the volatility that it gives a portfolio."""

import math

import numpy as np

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.indicators import SESSIONS_PER_YEAR, FloatArray
from trading_pipeline.domain.sizing.options import CovarianceMethod

EWMA_DECAY = 0.94
"""The weight of a session's returns beside the next one's, for daily returns (RiskMetrics, 1996)."""

LEAST_RETURNS = 2


def covariance(returns: FloatArray, method: CovarianceMethod) -> FloatArray:
    """Return the daily covariance of ``returns`` (sessions by symbols, oldest first) by ``method``.

    Raises:
        InvalidInput: the returns are not finite, or fewer than two.
    """
    return ewma_covariance(returns) if method is CovarianceMethod.EWMA else ledoit_wolf(returns)


def ledoit_wolf(returns: FloatArray) -> FloatArray:
    """Return the sample covariance of ``returns``, shrunk towards one variance for all and no correlation.

    With S the covariance of n returns of p symbols (divided by n), m its mean
    variance and |A|² = sum(A * A) / p: d² = |S - m I|² says how far S lies from the target,
    b² = min(sum of |x x' - S|² over the sessions / n², d²) how far it is expected to err,
    and the answer is b² / d² m I + (1 - b² / d²) S (Ledoit and Wolf, A well-conditioned estimator
    for large-dimensional covariance matrices, Journal of Multivariate Analysis 88, 2004, section 3.3).

    Raises:
        InvalidInput: the returns are not finite, or fewer than two.
    """
    _check(returns)
    count, size = returns.shape
    deviations = returns - returns.mean(axis=0)
    sample: FloatArray = deviations.T @ deviations / count
    target = np.eye(size) * (np.trace(sample) / size)
    distance = np.square(sample - target).sum()
    # The sum over sessions of |x x' - S|² is that of (x'x)² less n |S|².
    fourth = np.square(np.square(deviations).sum(axis=1)).sum()
    error = max(fourth / count - np.square(sample).sum(), 0.0) / count
    shrinkage = min(error / distance, 1.0) if distance > 0 else 0.0
    shrunk: FloatArray = shrinkage * target + (1 - shrinkage) * sample
    return shrunk


def ewma_covariance(returns: FloatArray, decay: float = EWMA_DECAY) -> FloatArray:
    """Return the exponentially weighted covariance of ``returns``, measured from zero; the newest counts most.

    A session counts ``decay`` times as much as the one after it, and the
    weights sum to 1 (J.P. Morgan, RiskMetrics Technical Document, 1996).

    Raises:
        InvalidInput: the returns are not finite, or fewer than two.
    """
    _check(returns)
    shares = decay ** np.arange(len(returns) - 1, -1, -1.0)
    weighted: FloatArray = (returns.T * (shares / shares.sum())) @ returns
    return weighted


def portfolio_volatility(weights: FloatArray, daily: FloatArray) -> float:
    """Return the volatility of a portfolio a year, sqrt(w' S w) times the root of 252, as a fraction.

    >>> round(portfolio_volatility(np.array([0.5, 0.5]), np.diag([0.0004, 0.0004])), 4)
    0.2245
    """
    # Rounding may leave a little less than nothing of a perfect hedge.
    return math.sqrt(max(float(weights @ daily @ weights), 0.0) * SESSIONS_PER_YEAR)


def _check(returns: FloatArray) -> None:
    if returns.ndim != 2 or len(returns) < LEAST_RETURNS or not np.isfinite(returns).all():  # noqa: PLR2004 two axes
        raise InvalidInput(
            f"a covariance needs {LEAST_RETURNS} sessions or more of finite returns, found the shape {returns.shape} "
            f"with {int((~np.isfinite(returns)).sum())} values that are not finite; leave such symbols out"
        )
