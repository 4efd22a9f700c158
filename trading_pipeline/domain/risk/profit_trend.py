"""Whether an account, or a strategy, has been losing: the trend of its profit over sessions, and its losing streak.

The sum of profits is a random walk, so the residuals of a straight line laid
through it depend on each other, and the usual standard error of such a line
claims far too much. Generalised least squares knows better (Greene,
*Econometric Analysis*, 8th edition, section 9.4): for a random walk with drift
its slope is the mean of the steps, the slope's standard error is s / sqrt(n)
with the sample deviation s of the steps, and their ratio has Student's t
distribution with n - 1 degrees of freedom where the steps are normal.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile

import numpy as np

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.risk.trading_state import TradingMode

LEAST_SESSIONS = 3


@dataclass(frozen=True)
class ProfitTrend:
    """How profit has gone over the last sessions.

    Attributes:
        sessions: how many count.
        slope: mean profit of a session, in the unit of the profits; NaN where one of them is not known.
        standard_error: of the slope, in the same unit; NaN likewise.
        t_value: the slope over its standard error; infinite where every profit was the same, NaN where that was zero.
        losing_streak: how many of the newest sessions in a row lost; one that is not known ends it.
    """

    sessions: int
    slope: float
    standard_error: float
    t_value: float
    losing_streak: int

    @property
    def is_known(self) -> bool:
        """Tell whether every profit of the sessions is known."""
        return not math.isnan(self.slope)


class TrendSign(StrEnum):
    """What speaks of a loss that goes on."""

    FALLING = "falling profit"
    STREAK = "losing streak"


@dataclass(frozen=True)
class TrendLevels:
    """From when on a trend is told of, and whether it does more than that.

    The defaults only warn. On the account of the three strategies, real bars
    from 3 January 2022 to 31 July 2026, the t-value was -1.5 or less in 4 of
    1147 sessions, and six sessions in a row were lost 2 times; of an account
    that has no edge any more the former is expected in one session of thirteen.

    Attributes:
        sessions: how many sessions the trend is of, at least 3.
        t_value: the t-value, at or below which profit counts as falling; negative.
        losing_sessions: how many sessions in a row must be lost to count as a streak, at least 1.
        reducing_t_value: likewise, at or below which trading only reduces; None: it never does.
        reducing_losing_sessions: likewise the streak; None: it never does.
    """

    sessions: int = 20
    t_value: float = -1.5
    losing_sessions: int = 6
    reducing_t_value: float | None = None
    reducing_losing_sessions: int | None = None

    def __post_init__(self) -> None:
        """Refuse levels that would always or never be reached.

        Raises:
            InvalidInput: fewer than 3 sessions, a t-value that is not negative, a streak of less than one session, or
                trading that reduces before anybody is told.
        """
        reducing_t = self.t_value if self.reducing_t_value is None else self.reducing_t_value
        reducing_streak = (
            self.losing_sessions if self.reducing_losing_sessions is None else self.reducing_losing_sessions
        )
        is_ordered = reducing_t <= self.t_value < 0 and reducing_streak >= self.losing_sessions >= 1
        if self.sessions < LEAST_SESSIONS or not is_ordered:
            raise InvalidInput(
                f"a trend needs at least {LEAST_SESSIONS} sessions, negative t-values and streaks of at least 1, of "
                f"which those that reduce are the graver; was {self}"
            )


@dataclass(frozen=True)
class TrendFinding:
    """A level that a trend has reached; ``mode`` is REDUCING where trading is to be reduced for it, else ACTIVE."""

    sign: TrendSign
    measured: float
    limit: float
    mode: TradingMode = TradingMode.ACTIVE

    def __str__(self) -> str:
        """Show it in one line.

        >>> str(TrendFinding(TrendSign.STREAK, 6, 6)), str(TrendFinding(TrendSign.FALLING, -1.81, -1.5))
        ('losing streak: 6, told from 6 on', 'falling profit: t-value -1.81, told from -1.5 on')
        """
        figure = f"t-value {self.measured:.3g}" if self.sign is TrendSign.FALLING else f"{self.measured:g}"
        consequence = "told" if self.mode is TradingMode.ACTIVE else "reduces"
        return f"{self.sign}: {figure}, {consequence} from {self.limit:g} on"


def profit_trend(profits: Sequence[float], sessions: int) -> ProfitTrend:
    """Return the trend of the last ``sessions`` of ``profits``, oldest first.

    ``profits`` are dollars or returns (flow-adjusted) a session; NaN is not
    known and makes the trend unknown, as too few of them do. The streak looks
    at all of them.

    >>> trend = profit_trend([1.0, -2.0, -1.0, -3.0], 4)
    >>> trend.slope, round(trend.standard_error, 4), round(trend.t_value, 4), trend.losing_streak
    (-1.25, 0.8539, -1.4639, 3)

    Raises:
        InvalidInput: fewer than 3 sessions are asked for.
    """
    if sessions < LEAST_SESSIONS:
        raise InvalidInput(f"a trend needs at least {LEAST_SESSIONS} sessions, was asked of {sessions}")
    steps = np.asarray(profits, dtype=np.float64)
    streak = sum(1 for _ in takewhile(lambda profit: profit < 0, steps[::-1].tolist()))
    last = steps[-sessions:]
    if last.size < sessions or not np.isfinite(last).all():
        return ProfitTrend(sessions, math.nan, math.nan, math.nan, streak)
    slope = float(last.mean())
    # Rounding must not make a deviation of profits that are all the same.
    error = 0.0 if (last == last[0]).all() else float(last.std(ddof=1)) / math.sqrt(sessions)
    return ProfitTrend(sessions, slope, error, _ratio(slope, error), streak)


def _ratio(slope: float, error: float) -> float:
    if error:
        return slope / error
    return math.copysign(math.inf, slope) if slope else math.nan


def findings(trend: ProfitTrend, levels: TrendLevels) -> tuple[TrendFinding, ...]:
    """Return the levels that ``trend`` has reached; what is not known reaches none, see ``ProfitTrend.is_known``.

    >>> [finding.sign.value for finding in findings(profit_trend([-1.0] * 20, 20), TrendLevels())]
    ['falling profit', 'losing streak']
    """
    found: list[TrendFinding] = []
    if trend.t_value <= levels.t_value:
        mode, limit = _consequence(-trend.t_value, -levels.t_value, _negated(levels.reducing_t_value))
        found.append(TrendFinding(TrendSign.FALLING, trend.t_value, -limit, mode))
    if trend.losing_streak >= levels.losing_sessions:
        mode, limit = _consequence(trend.losing_streak, levels.losing_sessions, levels.reducing_losing_sessions)
        found.append(TrendFinding(TrendSign.STREAK, trend.losing_streak, limit, mode))
    return tuple(found)


def _negated(level: float | None) -> float | None:
    return None if level is None else -level


def _consequence(measured: float, told: float, reducing: float | None) -> tuple[TradingMode, float]:
    if reducing is not None and measured >= reducing:
        return TradingMode.REDUCING, reducing
    return TradingMode.ACTIVE, told
