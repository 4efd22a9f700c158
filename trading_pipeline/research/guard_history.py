"""What the drawdown guard and the profit trend would have done over the worth of what a strategy held.

The guard is the real one, and is given two readings wherever it is given one,
so that all are confirmed. *Closes* are what the holdings were worth at the end
of the sessions. *Extremes* are the worst that a session can have been: every
holding at its high at once first, then all at their lows, then the closes. The
truth lies in between.
"""

import math
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from decimal import Decimal

import numpy as np

from trading_pipeline.domain import sessions
from trading_pipeline.domain.indicators import FloatArray
from trading_pipeline.domain.risk.drawdown import DrawdownState, Observation, Reading, observed
from trading_pipeline.domain.risk.drawdown_limits import DrawdownLimits, Measure, Rung
from trading_pipeline.domain.risk.profit_trend import ProfitTrend, TrendLevels, TrendSign, findings, profit_trend
from trading_pipeline.research.rule_history import ANY, Action, RuleHistory, RuleKind, Worths

START = Decimal(1_000_000)
"""Dollars at the close before the first session."""


def drawdown_rules(
    strategy: str, days: Sequence[date], worths: Worths, limits: DrawdownLimits
) -> Iterator[RuleHistory]:
    """Yield a history for each rung: daily and trailing at closes, all three measures at extremes.

    A session with a worth that is not known is passed over, and what was held counts as not having moved in it.
    """
    seen = {
        RuleKind.CLOSES: (worths.closes,),
        RuleKind.EXTREMES: (worths.highs, worths.lows, worths.closes),
    }
    for kind, series in seen.items():
        measures = [each for each in Measure if kind is RuleKind.EXTREMES or each is not Measure.INTRADAY]
        found = list(zip(days, _watched(days, series, limits), strict=True))
        for measure in measures:
            falls = [fall for _, looks in found for look in looks if (fall := look.falls.get(measure)) is not None]
            for rung in Rung:
                acted = tuple(Action(day) for day, looks in found if _tripped(looks, measure, rung))
                limit = float(limits.ladder(measure).of(rung))
                highest = float(max(falls, default=Decimal("NaN")))
                yield RuleHistory(strategy, ANY, kind, f"{measure}: {rung}", acted, highest, limit)


def _tripped(looks: Sequence[Observation], measure: Measure, rung: Rung) -> bool:
    return any(trip.name == measure.value and trip.rung is rung for look in looks for trip in look.trips)


def _watched(
    days: Sequence[date], series: Sequence[FloatArray], limits: DrawdownLimits
) -> Iterator[tuple[Observation, ...]]:
    """Yield what the guard observes in each session that is given the worths of ``series`` one after the other."""
    state, value = DrawdownState(), START
    for look in _looks(state, sessions.previous_session(days[0]), [START], limits):
        state = look.state
    for day, worths in zip(days, np.column_stack(series).tolist(), strict=True):
        if any(map(math.isnan, worths)):
            yield ()
            continue
        looks = tuple(_looks(state, day, [value * Decimal(repr(worth)) for worth in worths], limits))
        state, value = looks[-1].state, value * Decimal(repr(worths[-1]))
        yield looks


def _looks(state: DrawdownState, day: date, values: Sequence[Decimal], limits: DrawdownLimits) -> Iterator[Observation]:
    twice = [value for value in values for _ in range(2)]
    apart = max(limits.confirmation, timedelta(seconds=1))
    for place, value in enumerate(twice):
        at = sessions.close_of(day) - (len(twice) - place) * apart
        look = observed(state, Reading(at, day, value), limits)
        state = look.state
        yield look


def trend_rules(strategy: str, days: Sequence[date], closes: FloatArray, levels: TrendLevels) -> Iterator[RuleHistory]:
    """Yield a history for each sign of a loss that goes on; ``highest`` is its most extreme measure."""
    profits = (closes - 1).tolist()
    trends = [profit_trend(profits[: place + 1], levels.sessions) for place in range(len(profits))]
    limits = {TrendSign.FALLING: levels.t_value, TrendSign.STREAK: float(levels.losing_sessions)}
    for sign, limit in limits.items():
        acted = tuple(
            Action(day)
            for day, trend in zip(days, trends, strict=True)
            if any(finding.sign is sign for finding in findings(trend, levels))
        )
        yield RuleHistory(strategy, ANY, RuleKind.TREND, sign.value, acted, _extreme(trends, sign), limit)


def _extreme(trends: Sequence[ProfitTrend], sign: TrendSign) -> float:
    if sign is TrendSign.STREAK:
        return float(max((trend.losing_streak for trend in trends), default=math.nan))
    return min((trend.t_value for trend in trends if math.isfinite(trend.t_value)), default=math.nan)
