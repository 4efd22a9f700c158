"""What one rule did over history: on which sessions it acted, and how close it came on the others."""

import math
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

import numpy as np

from trading_pipeline.domain.indicators import FloatArray

ANY = "any"
"""The family of what is the same for all."""


class RuleKind(StrEnum):
    """What acted: a rule on orders, the drawdown guard at closes or at the worst of a session, the profit trend."""

    ORDER = "order"
    CLOSES = "drawdown at closes"
    EXTREMES = "drawdown at extremes"
    TREND = "profit trend"


@dataclass(frozen=True)
class Action:
    """A rule acted in one session: the orders that it denied, reduced and warned of; none where it is about none."""

    session: date
    denied: int = 0
    reduced: int = 0
    warned: int = 0


@dataclass(frozen=True)
class RuleHistory:
    """One rule over the sessions of one strategy.

    Attributes:
        strategy: whose allocations were judged.
        family: whose limits; ``any`` where they are the same for all.
        kind: what acted.
        rule: the code, or the measure and its rung.
        actions: the sessions on which it acted, oldest first.
        highest: the highest measure that was wanted on any session, in the limit's unit; NaN where there is none.
        limit: what it was held against; None where that is no figure.
    """

    strategy: str
    family: str
    kind: RuleKind
    rule: str
    actions: tuple[Action, ...]
    highest: float = math.nan
    limit: float | None = None


@dataclass(frozen=True, eq=False)
class Worths:
    """What was held, as a multiple of what it was worth at the close before: a figure per session, NaN if not known.

    ``highs`` and ``lows`` are what it would have been with every holding at
    its high, or its low, at once.
    """

    closes: FloatArray
    highs: FloatArray
    lows: FloatArray


def largest(values: FloatArray) -> float:
    """Return the largest known value; NaN where there is none."""
    known = values[np.isfinite(values)]
    return float(known.max()) if known.size else math.nan
