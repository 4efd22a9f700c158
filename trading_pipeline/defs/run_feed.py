"""Runs that ended, in the order of Dagster's record, read in pages by a place that every event log understands.

The numbers of the record grow on SQLite in the order in which its rows became
visible. Where several write at once (Postgres), a smaller number may become
visible after a larger one: there, whoever reads repeats the youngest runs for
a while (:attr:`RunFeed.settled_before`) before he leaves them behind.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster import DagsterEventType, DagsterInstance
from dagster_shared.error import SerializableErrorInfo

from trading_pipeline.adapters.storage.objects import FileObjects
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain.errors import DataError

ENDS = {
    DagsterEventType.RUN_SUCCESS: dg.DagsterRunStatus.SUCCESS,
    DagsterEventType.RUN_FAILURE: dg.DagsterRunStatus.FAILURE,
    DagsterEventType.RUN_CANCELED: dg.DagsterRunStatus.CANCELED,
}
# A transaction that writes an event takes milliseconds.
SLOWEST_WRITER = timedelta(seconds=10)
# Whoever loses his place (it was reset by hand, say) looks no further back than this.
FURTHEST_BACK = timedelta(days=1)
BACKFILL_TAG = "dagster/backfill"
PARTITION_TAG = "dagster/partition"
RANGE_TAGS = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


@dataclass(frozen=True)
class EndedRun:
    """The record that a run ended: its number in the instance, how it ended, and when (UTC)."""

    number: int
    run_id: str
    status: dg.DagsterRunStatus
    at: datetime
    entry: dg.EventLogEntry


@dataclass(frozen=True)
class RunFeed:
    """What an instance knows of runs that ended, as seen at the instant ``now`` of this machine."""

    instance: DagsterInstance
    now: datetime

    def after(self, number: int, limit: int) -> Sequence[EndedRun]:
        """Return the next runs that ended after the record ``number``, ``limit`` at most, in the record's order."""
        pages = [self._page(kind, number, limit) for kind in ENDS]
        return sorted((run for page in pages for run in page), key=lambda run: run.number)[:limit]

    def _page(self, kind: DagsterEventType, number: int, limit: int) -> Sequence[EndedRun]:
        wanted = dg.RunStatusChangeRecordsFilter(kind, after_storage_id=number)  # type: ignore[arg-type]
        found = self.instance.fetch_run_status_changes(wanted, limit=limit, ascending=True)
        return [
            EndedRun(
                record.storage_id,
                record.run_id,
                ENDS[kind],
                datetime.fromtimestamp(record.timestamp, UTC),
                record.event_log_entry,
            )
            for record in found.records
        ]

    def last_before(self, at: datetime) -> int:
        """Return the number of the last record of a run that ended before ``at``; 0 where there is none."""
        filters = [
            dg.RunStatusChangeRecordsFilter(kind, before_timestamp=at.timestamp())  # type: ignore[arg-type]
            for kind in ENDS
        ]
        newest = [self.instance.fetch_run_status_changes(wanted, limit=1).records for wanted in filters]
        return max((record.storage_id for records in newest for record in records), default=0)

    @property
    def settled_before(self) -> datetime:
        """The instant before which no run can turn up any more between those that are known."""
        return self.now if self.instance.event_log_storage.is_run_sharded else self.now - SLOWEST_WRITER


def watched_since(world: TradingWorld, name: str) -> datetime:
    """Return when watch ``name`` began in this home, a day ago at most, and keep it with the first call.

    A watch that is killed before its place was kept begins at the same instant
    again, and loses nothing of what happened meanwhile.

    Raises:
        DataError: what was kept is no instant.
        PipelineError: the disk fails.
    """
    now, key, objects = world.wall.now(), f"health/watched-since/{name}", FileObjects(world.home.objects)
    objects.put_if_absent(key, now.isoformat().encode())
    kept = objects.get(key) or b""
    try:
        began = datetime.fromisoformat(kept.decode())
    except ValueError as error:
        raise DataError(f"{key} is {kept!r}, and must be an instant such as {now.isoformat()}; remove it") from error
    return max(began, now - FURTHEST_BACK)


def partition_of(run: dg.DagsterRun) -> str:
    """Return the partition that a run is over, ``FIRST...LAST`` for a range; empty where it has none."""
    single = run.tags.get(PARTITION_TAG)
    if single is not None:
        return single
    first, last = (run.tags.get(tag) for tag in RANGE_TAGS)
    return f"{first}...{last}" if first and last else ""


def innermost(error: SerializableErrorInfo) -> str:
    """Return the words of the error behind all others, without the module of its class."""
    while error.cause is not None:
        error = error.cause
    words = error.message.strip()
    head, separator, rest = words.partition(": ")
    if separator and " " not in head:
        return f"{head.rpartition('.')[2]}: {rest}"
    return words or error.cls_name or "an error without words"
