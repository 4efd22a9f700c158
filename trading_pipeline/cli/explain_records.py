"""Dagster's record of materialisations and the audit log, looked up below the folder where they are there."""

import functools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from trading_pipeline.application.tracing import AuditMark, Materialised, NoRecords, RunRecords
from trading_pipeline.domain.audit import AuditEvent, AuditRecord
from trading_pipeline.domain.errors import PipelineError
from trading_pipeline.domain.orders import LineageEntry

if TYPE_CHECKING:
    import dagster as dg

    from trading_pipeline.adapters.storage.home import Home
    from trading_pipeline.ports import AuditLog

PAGE = 50


def run_records(home: "Home") -> RunRecords:
    """Return the records of the folder's Dagster instance; nothing, and no Dagster, where the folder has none."""
    if not (home.dagster / "dagster.yaml").exists():
        return NoRecords()
    import dagster as dg

    return DagsterRecords(dg.DagsterInstance.from_config(str(home.dagster)))


class DagsterRecords:
    """What an instance recorded; each question is asked once."""

    def __init__(self, instance: "dg.DagsterInstance") -> None:
        """Take the instance."""
        self._instance = instance

    @functools.cache  # noqa: B019 - lives as long as one command
    def of(self, entry: LineageEntry) -> Materialised | None:
        """Return that very materialisation, or None where the instance has it no more."""
        import dagster as dg

        wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(entry.asset), storage_ids=[entry.materialization_id])
        found = self._instance.fetch_materializations(wanted, limit=1).records
        return _materialised(entry.asset, found[0]) if found else None

    @functools.cache  # noqa: B019 - lives as long as one command
    def newest(self, asset: str, session: date) -> Materialised | None:
        """Return the newest of an asset and session, or None where there is none."""
        return next((_materialised(asset, record) for record in self._all(asset, session)), None)

    @functools.cache  # noqa: B019 - lives as long as one command
    def of_plan(self, plan_id: str, session: date) -> Materialised | None:
        """Return the one that stored the plan, or None where the instance has it no more."""
        from trading_pipeline.defs.lineage import PLAN_ID, PLANNING_ASSET

        for record in self._all(PLANNING_ASSET, session):
            named = _metadata(record).get(PLAN_ID)
            if named is not None and named.value == plan_id:
                return _materialised(PLANNING_ASSET, record)
        return None

    def _all(self, asset: str, session: date) -> "Iterator[dg.EventLogRecord]":
        import dagster as dg

        wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[session.isoformat()])
        cursor: str | None = None
        while True:
            found = self._instance.fetch_materializations(wanted, limit=PAGE, cursor=cursor)
            yield from found.records
            if not found.has_more:
                return
            cursor = found.cursor


def _metadata(record: "dg.EventLogRecord") -> "Mapping[str, dg.MetadataValue[Any]]":
    return record.asset_materialization.metadata if record.asset_materialization else {}


def _materialised(asset: str, record: "dg.EventLogRecord") -> Materialised:
    from trading_pipeline.defs.io_manager import CODE_VERSION, TABLE_VERSION, TABLES_READ

    told = {name: value.value for name, value in _metadata(record).items()}
    version, read = told.get(TABLE_VERSION), told.get(TABLES_READ)
    entry = LineageEntry(asset, record.storage_id, record.run_id, -1 if version is None else int(str(version)))
    return Materialised(
        entry,
        datetime.fromtimestamp(record.timestamp, UTC),
        {str(name): int(value) for name, value in read.items()} if isinstance(read, dict) else {},
        str(told.get(CODE_VERSION) or ""),
    )


class AuditIndex:
    """The audit log, read once; ``trouble`` says why it could not be read to its end, and is empty where it was."""

    def __init__(self, log: "AuditLog") -> None:
        """Take the log; nothing is read yet."""
        self._log = log
        self.trouble = ""

    def of(self, event: AuditEvent, correlation_id: str, about: str = "") -> Sequence[AuditMark]:
        """Return the records of an event, oldest first; ``about`` narrows them to an actor or an execution."""
        found = self._records.get((event.value, correlation_id), [])
        return [
            AuditMark(record.sequence, record.hash, record.code_version, record.config_hash)
            for record in found
            if about in {"", record.actor, record.payload.get("execution_id")}
        ]

    @functools.cached_property
    def _records(self) -> Mapping[tuple[str, str], list[AuditRecord]]:
        by_name: dict[tuple[str, str], list[AuditRecord]] = defaultdict(list)
        try:
            for record in self._log.records():
                by_name[record.event, record.correlation_id].append(record)
        except PipelineError as error:
            # What happened can be explained without it.
            self.trouble = f"the audit log cannot be read: {error}; `trading-pipeline audit verify` says where"
        return by_name
