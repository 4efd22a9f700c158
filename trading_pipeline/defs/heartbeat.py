"""``heartbeat``: says at each beat that the pipeline lives, and what a person would ask first.

Who looks from outside (`trading-pipeline health`, a monitor) notices by the
age of the last beat that nothing lives any more: a program that is dead tells
nobody so.
"""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import TypeVar

import dagster as dg

from trading_pipeline import __version__
from trading_pipeline.adapters.health_records import StoredHeartbeat
from trading_pipeline.adapters.storage.objects import FileObjects
from trading_pipeline.adapters.storage.tables import DeltaTables
from trading_pipeline.application.health import Heartbeat
from trading_pipeline.defs.looking import looking_sensor
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import PipelineError
from trading_pipeline.domain.risk.trading_state import TradingMode

NAME = "heartbeat"
# How long a run that decides takes at most, so that its bars are due no earlier.
DECIDING = timedelta(minutes=15)
# What was written before these many sessions counts as nothing.
SESSIONS_BACK = 60
T = TypeVar("T")


def beat(world: TradingWorld) -> Heartbeat:
    """Look at the pipeline once, and keep and measure what was found; what cannot be found out is a fault of the beat.

    Raises:
        PipelineError: the heartbeat cannot be written.
    """
    faults: list[str] = []
    now = world.wall.now()
    market = _found(world.clock.now, faults)
    state = _found(world.trading_state.read, faults)
    bars = _found(lambda: last_session(world.tables, "bars", market or now), faults)
    reconciled = _found(lambda: last_session(world.tables, "reconciliation", market or now), faults)
    behind = None if market is None or bars is None else sessions_behind(bars, market, _after_close(world))
    found = Heartbeat(
        at=now,
        version=__version__,
        market_time=market,
        trading=TradingMode.HALTED.value if state is None else state.mode.value,
        held_by=() if state is None else tuple(str(latch) for latch in state.latches),
        bars_session=bars,
        sessions_behind=behind,
        reconciled_session=reconciled,
        faults=tuple(faults),
    )
    StoredHeartbeat(FileObjects(world.home.objects)).write(found.document())
    _measure(world, found)
    return found


def last_session(tables: DeltaTables, table: str, now: datetime) -> date | None:
    """Return the newest session of a table, of the last :data:`SESSIONS_BACK` and of later ones; None without any.

    Raises:
        InvalidInput: the table cannot be read.
    """
    first = sessions.previous_session(sessions.last_completed_session(now), SESSIONS_BACK)
    found = tables.read(table, first)
    newest: date | None = None if found.empty else found["session"].max()
    return newest


def due_session(now: datetime, after_close: timedelta) -> date:
    """Return the newest session whose bars must be there at ``now``: decided so long after its close, and done with.

    >>> from datetime import UTC
    >>> [str(due_session(datetime(2026, 8, 3, hour, tzinfo=UTC), timedelta(minutes=30))) for hour in (20, 21)]
    ['2026-07-31', '2026-08-03']
    """
    return sessions.last_completed_session(now - after_close - DECIDING)


def sessions_behind(bars: date, now: datetime, after_close: timedelta) -> int:
    """Return by how many sessions ``bars``, the newest there are, lag behind those that are due; 0 if they do not."""
    due = due_session(now, after_close)
    return 0 if bars >= due else sessions.count_between(bars, due)


def _after_close(world: TradingWorld) -> timedelta:
    return timedelta(minutes=world.settings.schedule.decide_after_close_minutes)


def _found(look: Callable[[], T], faults: list[str]) -> T | None:
    try:
        return look()
    except PipelineError as error:
        faults.append(str(error))
        return None


def _measure(world: TradingWorld, found: Heartbeat) -> None:
    world.metrics.gauge("heartbeat", found.at.timestamp())
    world.metrics.gauge("trading_severity", TradingMode(found.trading).severity)
    if found.sessions_behind is not None:
        world.metrics.gauge("bars_sessions_behind", found.sessions_behind)


def _looked(world: TradingWorld) -> str:
    found = beat(world)
    unknown = f"; not known: {len(found.faults)}" if found.faults else ""
    return f"trading is {found.trading}, bars up to {found.bars_session}{unknown}"


def heartbeat(interval_seconds: int) -> dg.SensorDefinition:
    """Return the sensor that says every ``interval_seconds`` that the pipeline lives."""
    return looking_sensor(
        NAME,
        (
            "Writes health/heartbeat.json among the objects of the home: when, which version, the market's time, the "
            "trading state and what holds it, the age of the bars. `trading-pipeline health` notices when it stops. "
            "Launches nothing."
        ),
        interval_seconds,
        _looked,
    )
