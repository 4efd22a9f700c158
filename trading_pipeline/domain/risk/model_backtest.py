"""Backtests of a value-at-risk model: did losses exceed its figures as often, and as independently, as it says?

An *exception* is a session whose loss is greater than the value at risk that
was said before it. Of a model that is right, exceptions come with probability
p = 1 - confidence, whatever came before. Three likelihood-ratio tests, with
x exceptions in T sessions:

* *Kupiec* (Journal of Derivatives, 1995), proportion of failures:
  LR = -2 (ln L(p) - ln L(x / T)), L(q) = (1 - q)^(T - x) q^x, chi-squared with 1 degree of freedom.
* *Christoffersen* (International Economic Review, 1998), independence: the same ratio of one probability of an
  exception to two, after a session without and after one with an exception; 1 degree of freedom.
* *Conditional coverage*: the sum of both, 2 degrees of freedom.

The *traffic light* is that of the Basel Committee (Supervisory framework for
the use of "backtesting" in conjunction with the internal models approach,
1996): yellow from the count on with which a right model's probability of so many
exceptions or fewer reaches 95 %, red from 99.99 % on.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.indicators import FloatArray

YELLOW_FROM, RED_FROM = 0.95, 0.9999
"""Cumulative probabilities at which the yellow and the red zone begin."""

BASEL_SESSIONS, BASEL_CONFIDENCE = 250, 0.99
"""What the multipliers were published for."""

MULTIPLIERS = (3.0, 3.0, 3.0, 3.0, 3.0, 3.4, 3.5, 3.65, 3.75, 3.85, 4.0)
"""Of the capital for market risk, by exceptions in 250 sessions at 99 %; the last serves for more of them too."""

FIRST_YELLOW = 5
"""The least count of exceptions in 250 sessions at 99 % that is not green."""

_Mask = npt.NDArray[np.bool_]


class Zone(StrEnum):
    """What the count of exceptions says of a model."""

    GREEN = "green"
    YELLOW = "yellow"
    RED = "red"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class LikelihoodRatio:
    """A likelihood-ratio test of what a model says; NaN where there is nothing to test.

    Attributes:
        statistic: Twice the logarithm of the ratio, 0 or more.
        p_value: Probability of such a statistic or a greater one if the model is right, 0 to 1.
    """

    statistic: float
    p_value: float


@dataclass(frozen=True)
class TrafficLight:
    """The zone of a count of exceptions.

    Attributes:
        zone: Green, yellow or red; unknown without a session.
        cumulative_probability: Of so many exceptions or fewer, if the model is right; NaN without a session.
        multiplier: Of the capital, 3 to 4; NaN without a session.
    """

    zone: Zone
    cumulative_probability: float
    multiplier: float


@dataclass(frozen=True)
class ModelBacktest:
    """How a model's figures fared against the losses that came.

    Attributes:
        confidence: What the model says is not exceeded, a probability.
        sessions: Sessions with a figure and a loss.
        missing: Sessions without one of them; they are no passes, and no test counts them.
        exceptions: Sessions whose loss was greater than the figure.
        kupiec: Are there as many exceptions as the model says?
        independence: Are they as likely after an exception as after none? Of neighbouring sessions that have both.
        conditional_coverage: Both at once.
        traffic_light: What the count says.
    """

    confidence: float
    sessions: int
    missing: int
    exceptions: int
    kupiec: LikelihoodRatio
    independence: LikelihoodRatio
    conditional_coverage: LikelihoodRatio
    traffic_light: TrafficLight

    @property
    def rate(self) -> float:
        """Share of the sessions that were exceptions; NaN without a session."""
        return self.exceptions / self.sessions if self.sessions else math.nan

    @property
    def expected_rate(self) -> float:
        """Share of the sessions that are exceptions if the model is right."""
        return 1 - self.confidence

    @property
    def expected_exceptions(self) -> float:
        """Exceptions in so many sessions if the model is right."""
        return self.sessions * self.expected_rate


def backtest(losses: FloatArray, value_at_risk: FloatArray, confidence: float) -> ModelBacktest:
    """Return how ``value_at_risk`` fared against ``losses``.

    >>> found = backtest(np.array([0.01, 0.03, np.nan]), np.array([0.02, 0.02, 0.02]), 0.99)
    >>> found.sessions, found.missing, found.exceptions, found.rate
    (2, 1, 1, 0.5)

    Args:
        losses: Of consecutive sessions, oldest first, positive for a loss.
        value_at_risk: What the model said before each of them, in the same unit.
            A session with a value that is not finite counts as missing, and its neighbours as no neighbours.
        confidence: What the model says is not exceeded, a probability.

    Raises:
        InvalidInput: the two are not one value per session each, or the confidence is not between 0 and 1.
    """
    if losses.ndim != 1 or losses.shape != value_at_risk.shape:
        raise InvalidInput(
            f"a backtest needs one loss and one value at risk per session, "
            f"found shapes {losses.shape} and {value_at_risk.shape}"
        )
    known = np.isfinite(losses) & np.isfinite(value_at_risk)
    exceeded = np.greater(losses, value_at_risk, where=known, out=np.zeros(known.size, dtype=bool))
    exceptions, sessions = int(exceeded.sum()), int(known.sum())
    coverage, independence = kupiec(exceptions, sessions, confidence), christoffersen(exceeded, known)
    return ModelBacktest(
        confidence=confidence,
        sessions=sessions,
        missing=known.size - sessions,
        exceptions=exceptions,
        kupiec=coverage,
        independence=independence,
        conditional_coverage=_conditional_coverage(coverage, independence),
        traffic_light=traffic_light(exceptions, sessions, confidence),
    )


def kupiec(exceptions: int, sessions: int, confidence: float) -> LikelihoodRatio:
    """Test whether ``exceptions`` of ``sessions`` are as many as the confidence says; NaN without a session.

    >>> kupiec(6, 250, 0.99)
    LikelihoodRatio(statistic=3.5553..., p_value=0.0593...)

    Raises:
        InvalidInput: the counts do not fit together, or the confidence is not between 0 and 1.
    """
    _check(exceptions, sessions, confidence)
    if not sessions:
        return LikelihoodRatio(math.nan, math.nan)
    passes = sessions - exceptions
    said = passes * math.log(confidence) + exceptions * math.log1p(-confidence)
    return _single(said, _greatest_likelihood(exceptions, passes))


def christoffersen(exceeded: _Mask, known: _Mask) -> LikelihoodRatio:
    """Test whether an exception is as likely after an exception as after none.

    Without an exception, or with nothing else, there is nothing that could
    depend, and the statistic is 0. It is NaN where no two neighbours are known.

    Args:
        exceeded: Which of consecutive sessions, oldest first, are exceptions.
        known: Which of them can be told; only pairs of two known neighbours count.
    """
    pairs = known[:-1] & known[1:]
    if not pairs.any():
        return LikelihoodRatio(math.nan, math.nan)
    before, after = exceeded[:-1][pairs], exceeded[1:][pairs]
    together = _greatest_likelihood(int(after.sum()), int((~after).sum()))
    apart = sum(
        _greatest_likelihood(int((state & after).sum()), int((state & ~after).sum())) for state in (before, ~before)
    )
    return _single(together, apart)


def traffic_light(exceptions: int, sessions: int, confidence: float) -> TrafficLight:
    """Return the zone of ``exceptions`` in ``sessions``.

    No exception is always green, however few the sessions. For other counts
    of sessions and confidences than the published, the multiplier in the yellow
    zone is that of the least count of it in 250 sessions at 99 % with a
    cumulative probability as great, and of its last count where none has one.

    >>> [traffic_light(count, 250, 0.99).zone.value for count in (4, 5, 9, 10)]
    ['green', 'yellow', 'yellow', 'red']

    Raises:
        InvalidInput: the counts do not fit together, or the confidence is not between 0 and 1.
    """
    _check(exceptions, sessions, confidence)
    if not sessions:
        return TrafficLight(Zone.UNKNOWN, math.nan, math.nan)
    probability = _cumulative(exceptions, sessions, confidence)
    zone = _zone(probability) if exceptions else Zone.GREEN
    return TrafficLight(zone, probability, _multiplier(zone, probability))


def _zone(probability: float) -> Zone:
    if probability >= RED_FROM:
        return Zone.RED
    return Zone.YELLOW if probability >= YELLOW_FROM else Zone.GREEN


def _multiplier(zone: Zone, probability: float) -> float:
    if zone is not Zone.YELLOW:
        return MULTIPLIERS[0] if zone is Zone.GREEN else MULTIPLIERS[-1]
    yellow = range(FIRST_YELLOW, len(MULTIPLIERS) - 1)
    published = (MULTIPLIERS[n] for n in yellow if _cumulative(n, BASEL_SESSIONS, BASEL_CONFIDENCE) >= probability)
    return next(published, MULTIPLIERS[yellow[-1]])


def _cumulative(exceptions: int, sessions: int, confidence: float) -> float:
    from scipy.special import bdtr  # type: ignore[import-untyped]

    return float(bdtr(exceptions, sessions, 1 - confidence))


def _conditional_coverage(coverage: LikelihoodRatio, independence: LikelihoodRatio) -> LikelihoodRatio:
    statistic = coverage.statistic + independence.statistic
    return LikelihoodRatio(statistic, math.exp(-statistic / 2))


def _single(restricted: float, free: float) -> LikelihoodRatio:
    """Return the ratio of two logarithms of likelihoods that differ by one parameter."""
    # Rounding can leave equal likelihoods a little less than nothing apart.
    statistic = max(2 * (free - restricted), 0.0)
    return LikelihoodRatio(statistic, math.erfc(math.sqrt(statistic / 2)))


def _greatest_likelihood(exceptions: int, passes: int) -> float:
    """Return the logarithm of the likelihood at the observed rate, its greatest; nothing observed is certain."""
    total = exceptions + passes
    return sum(count * math.log(count / total) for count in (exceptions, passes) if count)


def _check(exceptions: int, sessions: int, confidence: float) -> None:
    if not 0 <= exceptions <= sessions:
        raise InvalidInput(f"of {sessions} sessions, {exceptions} cannot be exceptions; count them again")
    if not 0 < confidence < 1:
        raise InvalidInput(f"a confidence must be between 0 and 1, was {confidence}")
