"""What an account lost, against the rungs of the drawdown guard and the levels of the profit trend, for a report.

All of it is read from what the guard remembers: the worth of a unit at the end
of each session, which deposits and withdrawals leave alone. Of a session that
the guard did not watch nothing is known.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal

from trading_pipeline.domain import sessions
from trading_pipeline.domain.risk.drawdown import DrawdownState
from trading_pipeline.domain.risk.drawdown_limits import DrawdownLimits, Measure, Rung
from trading_pipeline.domain.risk.profit_trend import TrendLevels, TrendSign, profit_trend
from trading_pipeline.domain.risk.report import RiskMeasure


def loss_measures(
    state: DrawdownState, session: date, limits: DrawdownLimits, levels: TrendLevels
) -> tuple[RiskMeasure, ...]:
    """Return the drawdowns at the end of ``session`` by rung, and the trend of the profit up to it.

    A drawdown is a positive fraction. The one within the session is known of
    the newest session alone, since the guard forgets a session's high when the
    next begins.

    Args:
        state: what the guard remembers.
        session: the session that is reported.
        limits: the ladders.
        levels: what a trend is told from.
    """
    worths = _worths(state, session)
    return (*_drawdowns(_falls(state, worths, session, limits), limits), *_trend(worths, session, levels))


def _worths(state: DrawdownState, session: date) -> Mapping[date, Decimal]:
    """Return what a unit was worth at the end of each session up to ``session``, as far as that is known."""
    worths = {close.session: close.value for close in state.closes if close.session <= session}
    newest = None if state.session != session else state.units.close(session)
    return worths if newest is None else {**worths, session: newest}


def _falls(
    state: DrawdownState, worths: Mapping[date, Decimal], session: date, limits: DrawdownLimits
) -> Mapping[Measure, float]:
    high = state.high if state.session == session else None
    worth = worths.get(session)
    # As the guard looks back: so many closes before the session, and then the session itself.
    before = [worths[day] for day in sorted(worths) if day != session][-limits.trailing_sessions :]
    peaks = [*before, *(each for each in (worth, high) if each is not None)]
    return {
        Measure.INTRADAY: _fall(worth, high),
        Measure.DAILY: _fall(worth, worths.get(sessions.previous_session(session))),
        # A single close is no history to have fallen in.
        Measure.TRAILING: _fall(worth, max(peaks)) if before else math.nan,
    }


def _fall(worth: Decimal | None, origin: Decimal | None) -> float:
    return math.nan if worth is None or origin is None or origin <= 0 else float(max(1 - worth / origin, Decimal(0)))


def _drawdowns(falls: Mapping[Measure, float], limits: DrawdownLimits) -> Iterator[RiskMeasure]:
    for measure, fall in falls.items():
        for rung in Rung:
            yield RiskMeasure(measure.value, rung.value, fall, float(limits.ladder(measure).of(rung)))


def _trend(worths: Mapping[date, Decimal], session: date, levels: TrendLevels) -> Iterator[RiskMeasure]:
    trend = profit_trend(_profits(worths, session, levels.sessions), levels.sessions)
    streak = float(trend.losing_streak) if session in worths else math.nan
    yield RiskMeasure(TrendSign.FALLING.value, None, trend.t_value, levels.t_value)
    yield RiskMeasure(TrendSign.STREAK.value, None, streak, float(levels.losing_sessions))


def _profits(worths: Mapping[date, Decimal], session: date, count: int) -> Sequence[float]:
    """Return the returns of the sessions since the first that is known, at least ``count``; NaN where unknown."""
    first = min([*worths, sessions.previous_session(session, count)])
    days = sessions.sessions_between(first, session)
    return [
        float(worths[now] / worths[before] - 1) if before in worths and now in worths else math.nan
        for before, now in itertools.pairwise(days)
    ]
