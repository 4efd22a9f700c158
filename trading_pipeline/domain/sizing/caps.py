"""Caps on weights: what a symbol's range allows, and how weights are brought under their caps."""

import math
from collections.abc import Mapping
from decimal import Decimal

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.instruments import WHOLE_SHARE, round_quantity


def atr_shares(equity: Decimal, atr: float, risk: float, multiple: float, step: Decimal = WHOLE_SHARE) -> Decimal:
    """Return how many shares lose ``risk`` of ``equity`` when the price moves ``multiple`` average true ranges.

    floor(risk * equity / (multiple * ATR)), to ``step`` of a share (J. Welles
    Wilder, New Concepts in Technical Trading Systems, 1978, has the range; sizing by it
    is in Faith, The Original Turtle Trading Rules, 2003).

    >>> atr_shares(Decimal(100_000), 2.5, risk=0.005, multiple=2)
    Decimal('100')

    Raises:
        InvalidInput: equity, range, risk or multiple is not a positive number.
    """
    figures = {"equity": float(equity), "average true range": atr, "risk": risk, "multiple": multiple}
    wrong = [f"{name} {figure}" for name, figure in figures.items() if not 0 < figure < math.inf]
    if wrong:
        raise InvalidInput(f"shares by average true range need positive figures, found {', '.join(wrong)}")
    return round_quantity(equity * _exact(risk) / (_exact(multiple) * _exact(atr)), step)


def redistributed(weights: Mapping[str, float], caps: Mapping[str, float]) -> dict[str, float]:
    """Return ``weights`` with none above its cap, what is cut off being given to the others in proportion.

    Whoever is lifted above its own cap thereby is cut too, until nobody is: the
    answer is min(k * weight, cap) with the one k >= 1 at which the sum is that of
    ``weights``. Where the caps leave no room for that, the rest stays cash. The
    sum never grows; a symbol with weight 0 keeps it, one without a cap has none.

    >>> redistributed({"TECL": 0.75, "BIL": 0.1875, "SPY": 0.0625}, {"TECL": 0.25, "BIL": 0.5})
    {'TECL': 0.25, 'BIL': 0.5, 'SPY': 0.25}

    Raises:
        InvalidInput: a weight is negative or not finite, or a cap negative or not a number.
    """
    _check("weight", weights, math.nextafter(math.inf, 0))
    _check("cap", caps, math.inf)
    grown, clipped = dict(weights), set[str]()
    while over := {symbol for symbol, weight in grown.items() if weight > caps.get(symbol, math.inf)}:
        clipped |= over
        grown = _grown(weights, caps, clipped)
    return grown


def _grown(weights: Mapping[str, float], caps: Mapping[str, float], clipped: set[str]) -> dict[str, float]:
    """Return the weights with those that are ``clipped`` at their caps, the others grown to keep the sum."""
    room = math.fsum([*weights.values(), *(-caps[symbol] for symbol in clipped)])
    free = math.fsum(weight for symbol, weight in weights.items() if symbol not in clipped)
    return {
        # A part of the room and no factor: weights may be so small that the factor is infinite.
        symbol: caps[symbol] if symbol in clipped else max(weight, room * (weight / free) if free > 0 else 0.0)
        for symbol, weight in weights.items()
    }


def _check(what: str, figures: Mapping[str, float], most: float) -> None:
    wrong = [f"{symbol} {figure}" for symbol, figure in figures.items() if not 0 <= figure <= most]
    if wrong:
        raise InvalidInput(f"every {what} must be a number of 0 or more, found {', '.join(wrong)}")


def _exact(figure: float) -> Decimal:
    return Decimal(repr(float(figure)))
