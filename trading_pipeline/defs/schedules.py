"""After the close, decide; before the open, warm the bars. On session days only, half days respected.

A cron line cannot know a half day, so the tick comes after every hour at which
a session may end, and the calendar says which one is meant.
"""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta

import dagster as dg

from trading_pipeline.defs.jobs import decide_job, warm_bars_job
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain import sessions
from trading_pipeline.domain.sessions import NEW_YORK
from trading_pipeline.settings import ScheduleSettings

OPEN = time(9, 30)
CLOSES = (time(13), time(16))


def schedules(chosen: ScheduleSettings) -> Sequence[dg.ScheduleDefinition]:
    """Return the schedules, at the distances from open and close that the settings choose."""
    return (
        decide_after_close(timedelta(minutes=chosen.decide_after_close_minutes)),
        warm_bars_before_open(timedelta(minutes=chosen.warm_before_open_minutes)),
    )


def decision_due(tick: datetime, after_close: timedelta) -> date | None:
    """Return the session that is to be decided at ``tick``: the one that closed ``after_close`` before, if any."""
    day = tick.astimezone(NEW_YORK).date()
    return day if sessions.is_session(day) and sessions.close_of(day) + after_close == tick else None


def warming_due(tick: datetime, before_open: timedelta) -> date | None:
    """Return the session before the one that opens ``before_open`` after ``tick``, if one does."""
    day = tick.astimezone(NEW_YORK).date()
    opens = sessions.is_session(day) and sessions.open_of(day) - before_open == tick
    return sessions.previous_session(day) if opens else None


def decide_after_close(after_close: timedelta) -> dg.ScheduleDefinition:
    """Return the schedule of job decide."""

    @dg.schedule(
        job=decide_job,
        cron_schedule=[_weekdays_at(close, after_close) for close in CLOSES],
        execution_timezone=str(NEW_YORK),
        description="Decides the next session's orders after the close, which is at 13:00 New York on half days.",
        required_resource_keys={"world"},
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
    def decide_after_close(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return _requested(context, decision_due(context.scheduled_execution_time, after_close))

    return decide_after_close


def warm_bars_before_open(before_open: timedelta) -> dg.ScheduleDefinition:
    """Return the schedule of job warm_bars."""

    @dg.schedule(
        job=warm_bars_job,
        cron_schedule=_weekdays_at(OPEN, -before_open),
        execution_timezone=str(NEW_YORK),
        description="Fetches the last session's bars once more before the open, so that nothing waits for them.",
        required_resource_keys={"world"},
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
    def warm_bars_before_open(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return _requested(context, warming_due(context.scheduled_execution_time, before_open))

    return warm_bars_before_open


def _weekdays_at(hour: time, distance: timedelta) -> str:
    at = datetime.combine(sessions.FIRST_DATE, hour) + distance
    return f"{at.minute} {at.hour} * * 1-5"


def _requested(context: dg.ScheduleEvaluationContext, session: date | None) -> dg.RunRequest | dg.SkipReason:
    if session is None:
        return dg.SkipReason(f"{context.scheduled_execution_time.isoformat()} is not the time of a session")
    world: TradingWorld = context.resources.world
    now = world.clock.now()
    if now < sessions.close_of(session):
        return dg.SkipReason(f"by the broker's clock it is {now.isoformat()}: session {session} is not over")
    return dg.RunRequest(partition_key=str(session), run_key=str(session))
