"""Checks that a failed run owes: their step raised, and no result says anything about them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import dagster as dg
from dagster import DagsterEventType, DagsterInstance
from dagster._core.events import DagsterEvent

from trading_pipeline.defs.run_feed import innermost


@dataclass(frozen=True)
class RaisedCheck:
    """A step of checks that raised, why in words, and those of its checks that have no result."""

    step: str
    reason: str
    checks: Sequence[dg.AssetCheckKey]


def raised_checks(instance: DagsterInstance, run_id: str) -> Sequence[RaisedCheck]:
    """Return the steps of a run that were to evaluate checks, raised, and left some without a result.

    A step that materialises something too is no step of checks: that it failed is the failure of the run.
    """
    failed = step_failures(instance, run_id)
    if not failed:
        return []
    planned, evaluated = _planned_checks(instance, run_id), _evaluated(instance, run_id)
    owed = {step: [check for check in planned.get(step, []) if check not in evaluated] for step in failed}
    return [RaisedCheck(step, reason, owed[step]) for step, reason in failed.items() if owed[step]]


def step_failures(instance: DagsterInstance, run_id: str) -> Mapping[str, str]:
    """Return the steps of a run that failed, and why in the words of the innermost error, in the order of failing."""
    found = {}
    for event in _events(instance, run_id, DagsterEventType.STEP_FAILURE):
        error = event.step_failure_data.error
        found[event.step_key or ""] = innermost(error) if error else "it failed without an error"
    return found


def _planned_checks(instance: DagsterInstance, run_id: str) -> Mapping[str, Sequence[dg.AssetCheckKey]]:
    made = {event.step_key for event in _events(instance, run_id, DagsterEventType.ASSET_MATERIALIZATION_PLANNED)}
    planned: dict[str, list[dg.AssetCheckKey]] = defaultdict(list)
    for event in _events(instance, run_id, DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED):
        if event.step_key and event.step_key not in made:
            planned[event.step_key].append(event.asset_check_planned_data.asset_check_key)
    return planned


def _evaluated(instance: DagsterInstance, run_id: str) -> frozenset[dg.AssetCheckKey]:
    events = _events(instance, run_id, DagsterEventType.ASSET_CHECK_EVALUATION)
    return frozenset(event.asset_check_evaluation_data.asset_check_key for event in events)


def _events(instance: DagsterInstance, run_id: str, kind: DagsterEventType) -> Sequence[DagsterEvent]:
    found = instance.get_records_for_run(run_id, of_type=kind).records
    return [record.event_log_entry.dagster_event for record in found if record.event_log_entry.dagster_event]
