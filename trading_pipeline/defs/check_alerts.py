"""``failed_check_alerts``: one alert for each result of a check that failed, and one word when it passes again.

Dagster saves the sensor's cursor after a look, so that whatever a look did is
repeated where the process died before: **at least once**. An alert's key is
made of run, check and partition alone, and the notifier tells a key once:
together **exactly once**. What must be remembered (which checks are broken) is
in the cursor too, beside what was read: both are saved or neither is.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property

import dagster as dg
from dagster import DagsterEventType, DagsterInstance
from dagster._core.definitions.assets.graph.base_asset_graph import AssetCheckNode
from dagster._core.event_api import EventLogCursor
from dagster._core.instance.utils import RUNLESS_RUN_ID

from trading_pipeline.defs.check_place import CheckPlace, place_from
from trading_pipeline.defs.checks import promised_assets
from trading_pipeline.defs.raised_checks import RaisedCheck, raised_checks
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.defs.run_feed import BACKFILL_TAG, EndedRun, RunFeed, partition_of, watched_since
from trading_pipeline.domain.errors import DataError
from trading_pipeline.ports import RECOVERED, Alert, Severity

NAME = "failed_check_alerts"
RUNBOOK = "a-check-failed"
RUNS_PER_LOOK = 50
MOST_UNDER_WAY = 10
UNDER_WAY = (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)
PAGE = 100


@dataclass(frozen=True)
class Promises:
    """What a code location knows of its checks; of others, and without one, nothing is known."""

    location: dg.RepositoryDefinition | None = None

    def sentence(self, check: dg.AssetCheckKey) -> str:
        """Return what a check promises, in a sentence; empty where that is not known."""
        node = self._node(check)
        return (node.description or "") if node else ""

    def blocks(self, check: dg.AssetCheckKey) -> bool:
        """Tell whether a failure stops what is made from the asset; what is not known counts as graver."""
        node = self._node(check)
        return node.blocking if node else True

    def _node(self, check: dg.AssetCheckKey) -> AssetCheckNode | None:
        graph = self.location.asset_graph if self.location else None
        return graph.get(check) if graph and check in graph.asset_check_keys else None


@dataclass
class CheckWatch:
    """One look at an instance's record; ``promises`` tells what its checks are about."""

    world: TradingWorld
    instance: DagsterInstance
    promises: Promises
    left: int = field(init=False)
    read: int = field(init=False, default=0)
    told: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        """Begin with nothing read, and as many results to read as the settings allow."""
        self.left = self.world.settings.health.results_per_look
        self._feed = RunFeed(self.instance, self.world.wall.now())
        self._backfills: dict[str, bool] = {}

    def looked(self, cursor: str | None) -> CheckPlace:
        """Read on from where ``cursor`` stands, tell what failed and what passes again, and return the new place.

        Raises:
            PipelineError: the disk fails; the next look is as good.
        """
        place = self._runless(self._place(cursor))
        place = self._ended(place)
        return self._under_way(place)

    def _place(self, cursor: str | None) -> CheckPlace:
        with suppress(DataError):
            if cursor is not None:
                return place_from(cursor)
        return self._begun()

    def _begun(self) -> CheckPlace:
        """Return the place of a first look: what was there when the watch began is history."""
        began = watched_since(self.world, NAME)
        runless = self.instance.get_records_for_run(RUNLESS_RUN_ID, of_type=_RESULTS, limit=PAGE, ascending=False)
        while (older := _before(runless.records, began)) is None and runless.has_more:
            runless = self.instance.get_records_for_run(
                RUNLESS_RUN_ID, runless.cursor, of_type=_RESULTS, limit=PAGE, ascending=False
            )
        start = CheckPlace(self._feed.last_before(began))
        return start if older is None else replace(start, runless=_page_after(older))

    def _runless(self, place: CheckPlace) -> CheckPlace:
        """Read results that belong to no run, such as those that a person or a script reported."""
        for record in self._results(RUNLESS_RUN_ID, place.runless or None):
            place = self._judged(place, record, _runless_name(record))
            place = replace(place, runless=_page_after(record))
        return place

    def _ended(self, place: CheckPlace) -> CheckPlace:
        """Read the runs that ended; what may still change its order is read now, and again by the next look."""
        kept = place
        for run in self._feed.after(place.after, RUNS_PER_LOOK):
            place, is_done = self._of_run(place, run)
            if run.at < self._feed.settled_before:
                kept = place
            if not is_done:
                break
        return kept

    def _of_run(self, place: CheckPlace, run: EndedRun) -> tuple[CheckPlace, bool]:
        page = place.inside[1] if place.inside and place.inside[0] == run.number else None
        for record in self._results(run.run_id, page):
            place = self._judged(place, record, run.run_id)
            place = replace(place, inside=(run.number, _page_after(record)))
        if self.left <= 0:
            return place, False
        place = self._raised(place, run)
        under_way = {name: page for name, page in place.under_way.items() if name != run.run_id}
        return replace(place, after=run.number, inside=None, under_way=under_way), True

    def _under_way(self, place: CheckPlace) -> CheckPlace:
        """Tell what failed in runs that have not ended, which a run that died never will.

        Only its end says in which order the results of a run count; until then nothing of it is remembered.
        """
        runs = self.instance.get_runs(dg.RunsFilter(statuses=list(UNDER_WAY)), limit=MOST_UNDER_WAY)
        pages = {}
        for run in runs:
            pages[run.run_id] = place.under_way.get(run.run_id, "")
            for record in self._results(run.run_id, pages[run.run_id] or None):
                self._judged(place, record, run.run_id)
                pages[run.run_id] = _page_after(record)
        return replace(place, under_way={name: page for name, page in pages.items() if page})

    def _results(self, run_id: str, page: str | None) -> Iterator[dg.EventLogRecord]:
        """Yield results of a run after ``page``, as many as may still be read."""
        while self.left > 0:
            wanted = min(self.left, PAGE)
            found = self.instance.get_records_for_run(run_id, page, of_type=_RESULTS, limit=wanted)
            self.left -= len(found.records)
            self.read += len(found.records)
            yield from found.records
            page = found.cursor
            if not found.has_more:
                return

    def _judged(self, place: CheckPlace, record: dg.EventLogRecord, run: str) -> CheckPlace:
        """Tell what a result means, and return the place that remembers it."""
        result = _evaluation(record)
        check, partition = _named(result.asset_check_key), result.partition or ""
        if result.passed:
            place, mended = place.passed(check, partition)
            for key in dict.fromkeys(broken.key for broken in mended):
                self._tell(self._recovery(result, key, record))
            return place
        key = f"{NAME}:{run}:{check}:{partition}"
        self._tell(self._failure(result, key, record))
        return place.failed(check, partition, key)

    def _raised(self, place: CheckPlace, run: EndedRun) -> CheckPlace:
        if run.status is not dg.DagsterRunStatus.FAILURE:
            return place
        for raised in raised_checks(self.instance, run.run_id):
            key = f"{NAME}:{run.run_id}:{raised.step}:{self._partition(run.run_id)}:raised"
            self._tell(self._not_evaluated(raised, key, run))
            for check in raised.checks:
                place = place.failed(_named(check), self._partition(run.run_id), key)
        return place

    def _failure(self, result: dg.AssetCheckEvaluation, key: str, record: dg.EventLogRecord) -> Alert:
        check, is_error = result.asset_check_key, result.severity is dg.AssetCheckSeverity.ERROR
        parts = [
            _sentence(self.promises.sentence(check)),
            _found(result),
            _rows(result),
            self._run_named(record.run_id),
        ]
        return Alert(
            key=key,
            severity=self._severity([check], record.run_id) if is_error else Severity.WARNING,
            title=f"Check failed: {_named(check)}{_in_brackets(result.partition)}",
            text=" ".join(filter(None, parts)),
            at=datetime.fromtimestamp(record.timestamp, UTC),
            runbook=RUNBOOK,
        )

    def _not_evaluated(self, raised: RaisedCheck, key: str, run: EndedRun) -> Alert:
        names = ", ".join(sorted(_named(check) for check in raised.checks))
        partition = self._partition(run.run_id)
        return Alert(
            key=key,
            severity=self._severity(raised.checks, run.run_id),
            title=f"Checks could not be evaluated: {raised.step}{_in_brackets(partition)}",
            text=f"Nothing is known about {names}: {raised.reason}. {self._run_named(run.run_id)}",
            at=run.at,
            runbook=RUNBOOK,
        )

    def _recovery(self, result: dg.AssetCheckEvaluation, key: str, record: dg.EventLogRecord) -> Alert:
        check, of = _named(result.asset_check_key), f" for {result.partition}" if result.partition else ""
        return Alert(
            key=key + RECOVERED,
            severity=Severity.INFO,
            title=f"Check passes again: {check}{_in_brackets(result.partition)}",
            text=f"{check} failed before, and passed{of}. {self._run_named(record.run_id)}",
            at=datetime.fromtimestamp(record.timestamp, UTC),
            runbook=RUNBOOK,
        )

    def _severity(self, checks: Sequence[dg.AssetCheckKey], run_id: str) -> Severity:
        """Return how grave it is: critical where it stops what trades, and that is not a run over the past."""
        stops = any(self._trades(check) and self.promises.blocks(check) for check in checks)
        return Severity.CRITICAL if stops and not self._is_backfill(run_id) else Severity.WARNING

    def _trades(self, check: dg.AssetCheckKey) -> bool:
        return check.asset_key.to_user_string() in self._trading_graph

    @cached_property
    def _trading_graph(self) -> frozenset[str]:
        return frozenset(promised_assets(self.world.strategies))

    def _is_backfill(self, run_id: str) -> bool:
        if run_id not in self._backfills:
            run = self.instance.get_run_by_id(run_id) if run_id else None
            self._backfills[run_id] = run is not None and BACKFILL_TAG in run.tags
        return self._backfills[run_id]

    def _partition(self, run_id: str) -> str:
        run = self.instance.get_run_by_id(run_id)
        return "" if run is None else partition_of(run)

    def _run_named(self, run_id: str) -> str:
        if not run_id:
            return "It was reported without a run."
        return f"Run {run_id}: {self.world.settings.health.ui_url.rstrip('/')}/runs/{run_id}"

    def _tell(self, alert: Alert) -> None:
        if self.world.notifier.notify(alert):
            self.told += 1
            self.world.metrics.count("check_alerts", severity=alert.severity.value)


_RESULTS = DagsterEventType.ASSET_CHECK_EVALUATION


def _before(records: Sequence[dg.EventLogRecord], at: datetime) -> dg.EventLogRecord | None:
    return next((record for record in records if record.timestamp < at.timestamp()), None)


def _page_after(record: dg.EventLogRecord) -> str:
    return EventLogCursor.from_storage_id(record.storage_id).to_string()


def _runless_name(record: dg.EventLogRecord) -> str:
    # Without a run the place in the record tells one result from the next.
    return f"no-run-{record.storage_id}"


def _evaluation(record: dg.EventLogRecord) -> dg.AssetCheckEvaluation:
    event = record.event_log_entry.dagster_event
    if event is None:
        raise DataError(f"record {record.storage_id} of Dagster's event log is no event; look at the database")
    return event.asset_check_evaluation_data


def _named(check: dg.AssetCheckKey) -> str:
    return f"{check.asset_key.to_user_string()}: {check.name}"


def _in_brackets(partition: str | None) -> str:
    return f" ({partition})" if partition else ""


def _sentence(words: str) -> str:
    return f"{words.rstrip('.')}." if words else ""


def _found(result: dg.AssetCheckEvaluation) -> str:
    return _sentence(f"Found: {result.description}") if result.description else ""


def _rows(result: dg.AssetCheckEvaluation) -> str:
    failing, checked = (result.metadata.get(name) for name in ("failing_rows", "checked_rows"))
    if failing is None:
        return ""
    of = "" if checked is None else f" of {checked.value}"
    return f"{failing.value}{of} rows fail."


def failed_check_alerts(interval_seconds: int) -> dg.SensorDefinition:
    """Return the sensor that looks every ``interval_seconds`` for results of checks."""

    @dg.sensor(
        name=NAME,
        description=(
            "Tells a person once of each result of a check that failed, of checks that could not be evaluated, and "
            "when one of them passes again. Reads the results of runs that ended and of those under way, a page at a "
            "look, and those that were reported without a run. Launches nothing."
        ),
        required_resource_keys={"world"},
        minimum_interval_seconds=interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def look(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        # What fails is no look that was skipped: a tick that failed is seen, and told by deadline_watch.
        watch = CheckWatch(context.resources.world, context.instance, Promises(context.repository_def))
        place = watch.looked(context.cursor)
        context.update_cursor(place.text())
        return dg.SkipReason(
            f"{watch.read} results read, {watch.told} alerts; {len(place.broken)} checks are broken"
            f"{'' if watch.left > 0 else '; the next look reads on'}"
        )

    return look
