"""Plans of checks, said briefly.

Dagster 1.13 writes into the plan of every check of a run, twice, how sessions
are partitioned, holidays and all: 30 kB for each of a hundred and fifty checks,
a fifth of the time of a run. The partitions that are meant say the same.
"""

from typing import cast

from dagster import DagsterEventType
from dagster import _check as check
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned
from dagster._core.definitions.partitions.subset.default import DefaultPartitionsSubset
from dagster._core.events.log import EventLogEntry


def short(event: EventLogEntry) -> EventLogEntry:
    """Return the event; where it plans a check, with its partitions by their names alone."""
    planned = _planned(event)
    if planned is None or planned.partitions_subset is None:
        return event
    names = DefaultPartitionsSubset(set(planned.partitions_subset.get_partition_keys()))
    briefly = AssetCheckEvaluationPlanned(
        asset_key=planned.asset_key, check_name=planned.check_name, partitions_subset=names
    )
    told = check.not_none(event.dagster_event)._replace(event_specific_data=briefly)
    return event._replace(dagster_event=told)


def _planned(event: EventLogEntry) -> AssetCheckEvaluationPlanned | None:
    told = event.dagster_event
    if told is None or told.event_type is not DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED:
        return None
    return cast("AssetCheckEvaluationPlanned", told.event_specific_data)
