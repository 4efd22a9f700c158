"""Value at risk and expected shortfall of a portfolio over one session, and what each symbol adds.

All measures are of *losses* L = -r as a fraction of equity, so a positive figure
is a loss. For a confidence alpha:

* *historical*: of T losses in rising order, counted from 1, the value at risk is
  number ceil(alpha * T), the least loss that a share alpha of all losses does
  not exceed; the expected shortfall is the mean of it and all worse ones. That
  is numpy's quantile of method ``inverted_cdf``. It is also that of method
  ``higher`` where the fractional part of alpha * T lies in (0, alpha], as for
  500 losses at 97.5 %; where alpha * T is whole, ``higher`` lies one loss further out.
* *normal*: VaR = m + s z, ES = m + s phi(z) / (1 - alpha).
* *Student t* of unit variance: VaR = m + s k t, ES = m + s k f(t) / (1 - alpha) * (n + t * t) / (n - 1)
  with k = sqrt((n - 2) / n), n degrees of freedom and f the density.
* *Cornish and Fisher*: VaR = m + s z', z' the expansion of the normal quantile in skewness and excess kurtosis.

m is the mean loss and s the sample standard deviation (McNeil, Frey and
Embrechts, Quantitative Risk Management, 2015, chapters 2 and 8). A measure is
NaN where a loss is NaN or there are too few losses for it.
"""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from trading_pipeline.domain.indicators import FloatArray
from trading_pipeline.domain.instruments import CASH
from trading_pipeline.domain.risk.student_t import (
    check_confidence,
    check_degrees,
    student_t_quantile,
    student_t_tail_mean,
)

if TYPE_CHECKING:
    from trading_pipeline.domain.risk.scenarios import PortfolioScenarios, Scenarios

ALPHA_ES = 0.975
"""Confidence of the expected shortfall, as in the Basel market-risk standard (MAR33)."""

ALPHA_VAR = 0.99
"""Confidence of the value at risk."""

_ROUNDING = 1e-9


def tail_size(count: int, confidence: float) -> int:
    """Return how many of ``count`` losses are in the tail: count - ceil(confidence * count) + 1.

    >>> tail_size(500, 0.975), tail_size(500, 0.99)
    (13, 6)

    Raises:
        InvalidInput: the confidence is not in [0.5, 1).
    """
    check_confidence(confidence)
    # 0.07 * 100 is a little more than 7: what rounding adds must not move the order statistic.
    return count - math.ceil(confidence * count - _ROUNDING) + 1


def historical_value_at_risk(losses: FloatArray, confidence: float) -> float:
    """Return the order statistic number ceil(confidence * T) of ``losses``.

    >>> historical_value_at_risk(np.arange(1.0, 101.0), 0.95)
    95.0

    Raises:
        InvalidInput: the confidence is not in [0.5, 1).
    """
    tail = _tail(losses, tail_size(losses.size, confidence))
    return float(tail.min()) if tail.size else math.nan


def historical_expected_shortfall(losses: FloatArray, confidence: float) -> float:
    """Return the mean of the ``tail_size`` worst of ``losses``.

    >>> historical_expected_shortfall(np.arange(1.0, 101.0), 0.95)
    97.5

    Raises:
        InvalidInput: the confidence is not in [0.5, 1).
    """
    return _mean_of_worst(losses, tail_size(losses.size, confidence))


def normal_value_at_risk(losses: FloatArray, confidence: float) -> float:
    """Return the value at risk of a normal distribution with the mean and deviation of ``losses``.

    Raises:
        InvalidInput: the confidence is not in [0.5, 1).
    """
    check_confidence(confidence)
    mean, deviation = _moments(losses)
    return mean + deviation * NormalDist().inv_cdf(confidence)


def normal_expected_shortfall(losses: FloatArray, confidence: float) -> float:
    """Return the expected shortfall of a normal distribution with the mean and deviation of ``losses``.

    Raises:
        InvalidInput: the confidence is not in [0.5, 1).
    """
    check_confidence(confidence)
    mean, deviation = _moments(losses)
    normal = NormalDist()
    return mean + deviation * normal.pdf(normal.inv_cdf(confidence)) / (1 - confidence)


def student_t_value_at_risk(losses: FloatArray, confidence: float, degrees_of_freedom: float) -> float:
    """Return the value at risk of a Student t with the mean and deviation of ``losses``.

    Raises:
        InvalidInput: the confidence is not in [0.5, 1), or the degrees of freedom are not above 2.
    """
    mean, deviation = _moments(losses)
    return mean + deviation * student_t_quantile(confidence, degrees_of_freedom)


def student_t_expected_shortfall(losses: FloatArray, confidence: float, degrees_of_freedom: float) -> float:
    """Return the expected shortfall of a Student t with the mean and deviation of ``losses``.

    Raises:
        InvalidInput: the confidence is not in [0.5, 1), or the degrees of freedom are not above 2.
    """
    mean, deviation = _moments(losses)
    return mean + deviation * student_t_tail_mean(confidence, degrees_of_freedom)


def cornish_fisher_value_at_risk(losses: FloatArray, confidence: float) -> float:
    """Return the value at risk by the expansion of Cornish and Fisher, NaN outside its domain.

    z' = z + (z² - 1) S / 6 + (z³ - 3z) K / 24 - (2z³ - 5z) S² / 36, with S and
    K the skewness and excess kurtosis of the losses. It is a quantile only
    where it rises with z everywhere, that is where
    S² / 9 <= 4 (K / 8 - S² / 6) (1 - K / 8 + 5 S² / 36) and no factor is negative
    (Maillard, A User's Guide to the Cornish Fisher Expansion, 2012). The value
    at risk of losses that are all equal is that loss.

    Raises:
        InvalidInput: the confidence is not in [0.5, 1).
    """
    check_confidence(confidence)
    mean, deviation = _moments(losses)
    # Of losses that are equal, rounding of their mean may leave a deviation; of tiny ones, it may leave none.
    if losses.size and (losses.min() == losses.max() or deviation == 0):
        return mean
    skewness, kurtosis = _shape(losses)
    if not _rises(skewness, kurtosis):
        return math.nan
    z = NormalDist().inv_cdf(confidence)
    expanded = z + (z**2 - 1) * skewness / 6 + (z**3 - 3 * z) * kurtosis / 24 - (2 * z**3 - 5 * z) * skewness**2 / 36
    return mean + deviation * expanded


def component_expected_shortfall(
    scenarios: "Scenarios", weights: Mapping[str, float], confidence: float
) -> Mapping[str, float]:
    """Return what each symbol adds to the historical expected shortfall; the parts sum to the whole.

    A part is the weight times the symbol's mean loss over the sessions of the
    portfolio's tail; it is negative for a symbol that rose then, and zero for
    cash. Of equal losses at the edge of the tail the earlier sessions count.
    Where a weight is not finite there is no tail, and every part but that of cash is NaN.

    Raises:
        DataError: a weight names a symbol without returns.
        InvalidInput: the confidence is not in [0.5, 1).
    """
    losses = scenarios.portfolio(weights).historical
    size = tail_size(losses.size, confidence)
    worst = np.argsort(-losses, kind="stable")[:size]
    undefined, returns_of = np.isnan(losses).any(), scenarios.returns_of
    return MappingProxyType(
        {
            symbol: 0.0 if symbol == CASH else math.nan if undefined else -weight * _mean(returns_of(symbol)[worst])
            for symbol, weight in weights.items()
        }
    )


@dataclass(frozen=True)
class TailGate:
    """The two figures that limits are held against, as fractions of equity; NaN where they are undefined.

    Both are convex in the weights, so along the quantity of one order the
    quantities that keep a limit are one interval: where neither no order nor
    the whole order breaks it, no part of the order does. Value at risk by
    history has no such property, so it is reported and not held to a limit.

    Attributes:
        expected_shortfall: The greatest of historical, filtered and Student-t expected shortfall.
        value_at_risk: The Student-t value at risk.
    """

    expected_shortfall: float
    value_at_risk: float


@dataclass(frozen=True)
class TailModel:
    """Confidences and tail, with the factors that follow from them computed once.

    Attributes:
        alpha_es: Confidence of the expected shortfall.
        alpha_var: Confidence of the value at risk.
        degrees_of_freedom: Of the Student t; see ``Scenarios``.

    Raises:
        InvalidInput: a confidence is not in [0.5, 1), or the degrees of freedom are not above 2.
    """

    alpha_es: float
    alpha_var: float
    degrees_of_freedom: float

    def __post_init__(self) -> None:
        """Refuse a model that is no tail."""
        check_confidence(self.alpha_es)
        check_confidence(self.alpha_var)
        check_degrees(self.degrees_of_freedom)

    @functools.cached_property
    def value_at_risk_factor(self) -> float:
        """Standard deviations from the mean loss to the Student-t value at risk."""
        return student_t_quantile(self.alpha_var, self.degrees_of_freedom)

    @functools.cached_property
    def expected_shortfall_factor(self) -> float:
        """Standard deviations from the mean loss to the Student-t expected shortfall."""
        return student_t_tail_mean(self.alpha_es, self.degrees_of_freedom)

    def gate(self, portfolio: "PortfolioScenarios") -> TailGate:
        """Return the figures of ``portfolio`` that limits are held against."""
        mean, deviation = _moments(portfolio.historical)
        size = tail_size(portfolio.historical.size, self.alpha_es)
        shortfall = _greatest(
            _mean_of_worst(portfolio.historical, size),
            _mean_of_worst(portfolio.filtered, size),
            mean + deviation * self.expected_shortfall_factor,
        )
        return TailGate(shortfall, mean + deviation * self.value_at_risk_factor)


@dataclass(frozen=True)
class TailMeasures:
    """Every measure of one portfolio, for a report; fractions of equity, NaN where undefined.

    Value at risk is at ``alpha_var`` and expected shortfall at ``alpha_es``, so
    the one may exceed the other.

    Attributes:
        model: Confidences and degrees of freedom.
        sessions: Losses that the measures were made from.
        historical_value_at_risk: Of the losses as they were.
        historical_expected_shortfall: Of the losses as they were.
        filtered_value_at_risk: Of the losses at each symbol's present volatility.
        filtered_expected_shortfall: Of the losses at each symbol's present volatility.
        normal_value_at_risk: Of a normal distribution.
        normal_expected_shortfall: Of a normal distribution.
        student_t_value_at_risk: Of a Student t.
        student_t_expected_shortfall: Of a Student t.
        cornish_fisher_value_at_risk: By expansion; NaN outside its domain.
        components: What each symbol adds to the historical expected shortfall.
    """

    model: TailModel
    sessions: int
    historical_value_at_risk: float
    historical_expected_shortfall: float
    filtered_value_at_risk: float
    filtered_expected_shortfall: float
    normal_value_at_risk: float
    normal_expected_shortfall: float
    student_t_value_at_risk: float
    student_t_expected_shortfall: float
    cornish_fisher_value_at_risk: float
    components: Mapping[str, float]

    @property
    def expected_shortfall_gate(self) -> float:
        """The greatest of historical, filtered and Student-t expected shortfall: what the limit is held against."""
        return _greatest(
            self.historical_expected_shortfall, self.filtered_expected_shortfall, self.student_t_expected_shortfall
        )

    @property
    def value_at_risk_gate(self) -> float:
        """The Student-t value at risk: what the limit is held against.

        It is convex in the weights, which historical value at risk is not: a
        part of an order never breaks a limit that both the whole order and no
        order at all keep.
        """
        return self.student_t_value_at_risk


def tail_measures(scenarios: "Scenarios", weights: Mapping[str, float], model: TailModel) -> TailMeasures:
    """Return every measure of the portfolio that holds ``weights``, fractions of equity by symbol.

    Raises:
        DataError: a weight names a symbol without returns.
    """
    portfolio = scenarios.portfolio(weights)
    losses, filtered = portfolio.historical, portfolio.filtered
    return TailMeasures(
        model=model,
        sessions=losses.size,
        historical_value_at_risk=historical_value_at_risk(losses, model.alpha_var),
        historical_expected_shortfall=historical_expected_shortfall(losses, model.alpha_es),
        filtered_value_at_risk=historical_value_at_risk(filtered, model.alpha_var),
        filtered_expected_shortfall=historical_expected_shortfall(filtered, model.alpha_es),
        normal_value_at_risk=normal_value_at_risk(losses, model.alpha_var),
        normal_expected_shortfall=normal_expected_shortfall(losses, model.alpha_es),
        student_t_value_at_risk=student_t_value_at_risk(losses, model.alpha_var, model.degrees_of_freedom),
        student_t_expected_shortfall=student_t_expected_shortfall(losses, model.alpha_es, model.degrees_of_freedom),
        cornish_fisher_value_at_risk=cornish_fisher_value_at_risk(losses, model.alpha_var),
        components=component_expected_shortfall(scenarios, weights, model.alpha_es),
    )


def _tail(losses: FloatArray, size: int) -> FloatArray:
    # NaN is sorted last, among the worst losses, so a tail always holds one if there is one.
    first = losses.size - size
    return np.partition(losses, first)[first:] if losses.size else losses


def _mean_of_worst(losses: FloatArray, size: int) -> float:
    return _mean(_tail(losses, size))


def _mean(values: FloatArray) -> float:
    return float(values.mean()) if values.size else math.nan


def _moments(losses: FloatArray) -> tuple[float, float]:
    """Return the mean and the sample standard deviation, which needs two losses."""
    if losses.size <= 1:
        return _mean(losses), math.nan
    mean = float(losses.mean())
    apart = losses - mean
    return mean, math.sqrt(float(apart @ apart) / (losses.size - 1))


def _shape(losses: FloatArray) -> tuple[float, float]:
    """Return skewness and excess kurtosis, from plain means of powers."""
    if losses.size <= 1:
        return math.nan, math.nan
    apart = losses - losses.mean()
    standardised = apart / np.sqrt(np.square(apart).mean())
    return float((standardised**3).mean()), float((standardised**4).mean()) - 3


def _rises(skewness: float, kurtosis: float) -> bool:
    square = kurtosis / 8 - skewness**2 / 6
    constant = 1 - kurtosis / 8 + 5 * skewness**2 / 36
    return square >= 0 and constant >= 0 and skewness**2 / 9 <= 4 * square * constant


def _greatest(*values: float) -> float:
    return math.nan if any(map(math.isnan, values)) else max(values)
