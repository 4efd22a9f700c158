"""Which materialisations stand behind a plan, and whether every blocking promise about them was kept."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
from dagster import DagsterInstance
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.storage.asset_check_execution_record import COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES

from trading_pipeline.defs.io_manager import TABLE_VERSION
from trading_pipeline.domain.errors import DataError
from trading_pipeline.domain.orders import LineageEntry, Plan

PLAN_ID = "plan_id"
PLANNING_ASSET = "approved_orders"
PAGE = 20


def lineage_of(instance: DagsterInstance, assets: Sequence[str], partition_key: str) -> tuple[LineageEntry, ...]:
    """Return the newest materialisation of each of ``assets`` for the partition.

    Raises:
        DataError: one was never materialised.
    """
    return tuple(_newest(instance, asset, partition_key) for asset in assets)


def newest_materialisation(instance: DagsterInstance, asset: str, partition_key: str) -> dg.EventLogRecord | None:
    """Return the record of the newest materialisation of ``asset`` for the partition; None where there is none."""
    return next(_materialisations(instance, asset, partition_key, page=1), None)


def _newest(instance: DagsterInstance, asset: str, partition_key: str) -> LineageEntry:
    record = newest_materialisation(instance, asset, partition_key)
    if record is None:
        raise DataError(f"{asset} was never materialised for {partition_key}; materialise it first (job decide)")
    return _entry(asset, record)


def _materialisations(
    instance: DagsterInstance, asset: str, partition_key: str, page: int = PAGE
) -> Iterator[dg.EventLogRecord]:
    """Yield the records of a partition's materialisations, newest first; a page is fetched when it is reached."""
    wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[partition_key])
    found = instance.fetch_materializations(wanted, limit=page)
    yield from found.records
    while found.has_more:
        found = instance.fetch_materializations(wanted, limit=page, cursor=found.cursor)
        yield from found.records


def _entry(asset: str, record: dg.EventLogRecord) -> LineageEntry:
    version = metadata_of(record).get(TABLE_VERSION)
    return LineageEntry(asset, record.storage_id, record.run_id, -1 if version is None else int(str(version.value)))


def metadata_of(record: dg.EventLogRecord) -> Mapping[str, dg.MetadataValue[Any]]:
    """Return what was said of a materialisation, by name."""
    return record.asset_materialization.metadata if record.asset_materialization else {}


def broken_promises(
    instance: DagsterInstance, plan: Plan, blocking: Mapping[str, Sequence[str]], partition_key: str
) -> list[str]:
    """Return why ``plan`` may not be trusted: each blocking check that did not pass, in words; empty if all did.

    ``blocking`` names the blocking checks of each asset. A verdict counts only
    if it is about the very materialisation that the plan was made from.
    """
    own = _materialisation_of(instance, plan, partition_key)
    if own is None:
        return [f"{PLANNING_ASSET} of {partition_key} has no record of plan {plan.plan_id}"]
    return [
        problem
        for entry in (*plan.lineage, own)
        for check in blocking.get(entry.asset, ())
        if (problem := _problem(instance, entry, check, partition_key))
    ]


def _materialisation_of(instance: DagsterInstance, plan: Plan, partition_key: str) -> LineageEntry | None:
    for record in _materialisations(instance, PLANNING_ASSET, partition_key):
        named = metadata_of(record).get(PLAN_ID)
        if named is not None and named.value == plan.plan_id:
            return _entry(PLANNING_ASSET, record)
    return None


def _problem(instance: DagsterInstance, entry: LineageEntry, check: str, partition_key: str) -> str:
    for verdict in _verdicts(instance, dg.AssetCheckKey(dg.AssetKey(entry.asset), check), partition_key):
        target = verdict.target_materialization_data
        if target is not None and target.storage_id == entry.materialization_id:
            return "" if verdict.passed else f"{entry.asset}: {check} failed"
    return f"{entry.asset}: {check} was never evaluated for the materialisation behind the plan"


def _verdicts(
    instance: DagsterInstance, check: dg.AssetCheckKey, partition_key: str
) -> Iterator[dg.AssetCheckEvaluation]:
    """Yield a check's verdicts on a partition, newest first; evaluations that are only planned have none."""
    cursor: int | None = None
    while True:
        records = instance.event_log_storage.get_asset_check_execution_history(
            check,
            limit=PAGE,
            cursor=cursor,
            status=COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES,
            partition_filter=PartitionKeyFilter(key=partition_key),
        )
        yield from (record.evaluation for record in records if record.evaluation is not None)
        if len(records) < PAGE:
            return
        cursor = records[-1].id
