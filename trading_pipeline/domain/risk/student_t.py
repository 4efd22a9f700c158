"""The tail of a Student t that is scaled to unit variance: its quantile, and the mean beyond it.

With n degrees of freedom, k = sqrt((n - 2) / n), t the quantile and f the
density of the plain distribution, the quantile is k t and the mean beyond it
k f(t) / (1 - alpha) * (n + t * t) / (n - 1) (McNeil, Frey and Embrechts,
Quantitative Risk Management, 2015, section 2.3.4).
"""

import math

from trading_pipeline.domain.errors import InvalidInput

LEAST_CONFIDENCE = 0.5
"""Below the median a quantile of losses is no longer convex in the weights."""

LEAST_DEGREES_OF_FREEDOM = 2.0
"""A Student t of no more than these has no variance."""


def student_t_quantile(confidence: float, degrees_of_freedom: float) -> float:
    """Return the quantile of a Student t that is scaled to unit variance.

    Raises:
        InvalidInput: the confidence is not in [0.5, 1), or the degrees of freedom are not above 2.
    """
    from scipy.special import stdtrit  # type: ignore[import-untyped]

    check_confidence(confidence)
    return _unit_scale(degrees_of_freedom) * float(stdtrit(degrees_of_freedom, confidence))


def student_t_tail_mean(confidence: float, degrees_of_freedom: float) -> float:
    """Return the mean beyond the quantile of a Student t that is scaled to unit variance.

    Raises:
        InvalidInput: the confidence is not in [0.5, 1), or the degrees of freedom are not above 2.
    """
    scale = _unit_scale(degrees_of_freedom)
    quantile = student_t_quantile(confidence, degrees_of_freedom) / scale
    spread = (degrees_of_freedom + quantile**2) / (degrees_of_freedom - 1)
    return scale * _density(quantile, degrees_of_freedom) / (1 - confidence) * spread


def check_confidence(confidence: float) -> None:
    """Refuse a confidence that is not in [0.5, 1).

    Raises:
        InvalidInput: it is not.
    """
    if not LEAST_CONFIDENCE <= confidence < 1:
        raise InvalidInput(f"a confidence must be at least {LEAST_CONFIDENCE} and below 1, was {confidence}")


def check_degrees(degrees_of_freedom: float) -> None:
    """Refuse degrees of freedom that are not above 2, or infinite.

    Raises:
        InvalidInput: they are.
    """
    if not LEAST_DEGREES_OF_FREEDOM < degrees_of_freedom < math.inf:
        raise InvalidInput(
            f"a Student t needs more than {LEAST_DEGREES_OF_FREEDOM:g} degrees of freedom for a variance, "
            f"was {degrees_of_freedom}"
        )


def _density(value: float, degrees_of_freedom: float) -> float:
    half = (degrees_of_freedom + 1) / 2
    constant = math.lgamma(half) - math.lgamma(degrees_of_freedom / 2) - math.log(degrees_of_freedom * math.pi) / 2
    return math.exp(constant - half * math.log1p(value**2 / degrees_of_freedom))


def _unit_scale(degrees_of_freedom: float) -> float:
    check_degrees(degrees_of_freedom)
    return math.sqrt((degrees_of_freedom - 2) / degrees_of_freedom)
