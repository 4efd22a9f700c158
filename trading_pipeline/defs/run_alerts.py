"""``run_failure_alerts``: one alert for each run that failed or was cancelled, and one word when the next succeeds.

What is told is told exactly once, as :mod:`trading_pipeline.defs.check_alerts` says of its own alerts.
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

import dagster as dg
from dagster import DagsterInstance
from dagster._core.events import JobFailureData

from trading_pipeline.defs.raised_checks import step_failures
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.defs.run_feed import BACKFILL_TAG, EndedRun, RunFeed, innermost, partition_of, watched_since
from trading_pipeline.domain.errors import DataError
from trading_pipeline.ports import RECOVERED, Alert, Severity

NAME = "run_failure_alerts"
RUNBOOK = "a-run-failed"
RUNS_PER_LOOK = 50
MOST_REMEMBERED = 2000
MOST_ATTEMPTS = 20
MOST_STEPS = 5
# What Dagster calls a run of assets that somebody chose in its UI.
BY_HAND = "__ASSET_JOB"
STOPPED_BY_CHECKS = "DagsterAssetCheckFailedError"


@dataclass(frozen=True)
class RunPlace:
    """The number of the last end of a run that was read, and the runs that failed and were not made good since.

    ``failed`` names run ids by what they were a run of: job and partition.
    """

    after: int
    failed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def with_failure(self, work: str, run_id: str) -> "RunPlace":
        """Remember that the newest run of ``work`` failed, as may have some before it."""
        others = [(name, found) for name, found in self.failed.items() if name != work]
        runs = tuple(dict.fromkeys((*self.failed.get(work, ()), run_id)))[-MOST_ATTEMPTS:]
        return replace(self, failed=dict([*others, (work, runs)][-MOST_REMEMBERED:]))

    def without(self, work: str) -> "RunPlace":
        """Forget that ``work`` failed."""
        return replace(self, failed={name: runs for name, runs in self.failed.items() if name != work})

    def text(self) -> str:
        """Return the place as Dagster keeps it, the cursor of the sensor."""
        return json.dumps({"after": self.after, "failed": {**self.failed}}, separators=(",", ":"))


def place_from(text: str) -> RunPlace:
    """Read what :meth:`RunPlace.text` wrote.

    >>> place_from(RunPlace(7, {"decide (2026-08-03)": ("a",)}).text())
    RunPlace(after=7, failed={'decide (2026-08-03)': ('a',)})

    Raises:
        DataError: it is something else.
    """
    try:
        found = json.loads(text)
        failed = {str(work): tuple(map(str, runs)) for work, runs in found["failed"].items()}
        return RunPlace(int(found["after"]), failed)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"the cursor of the watch over runs cannot be read ({type(error).__name__}: {error}); it begins anew, "
            f"nothing is told twice"
        ) from error


@dataclass
class RunWatch:
    """One look at the runs of an instance; ``critical_jobs`` are those without which nothing trades."""

    world: TradingWorld
    instance: DagsterInstance
    critical_jobs: frozenset[str]
    read: int = field(init=False, default=0)
    told: int = field(init=False, default=0)

    def looked(self, cursor: str | None) -> RunPlace:
        """Read on from where ``cursor`` stands, tell of what failed and what is made good, and return the new place.

        Raises:
            PipelineError: the disk fails; the next look is as good.
        """
        feed = RunFeed(self.instance, self.world.wall.now())
        place = kept = self._place(feed, cursor)
        for ended in feed.after(place.after, RUNS_PER_LOOK):
            place = replace(self._judged(place, ended), after=ended.number)
            if ended.at < feed.settled_before:
                kept = place
            self.read += 1
        return kept

    def _place(self, feed: RunFeed, cursor: str | None) -> RunPlace:
        with suppress(DataError):
            if cursor is not None:
                return place_from(cursor)
        return RunPlace(feed.last_before(watched_since(self.world, NAME)))

    def _judged(self, place: RunPlace, ended: EndedRun) -> RunPlace:
        run = self.instance.get_run_by_id(ended.run_id)
        if run is None:
            # Somebody deleted it: there is nothing left to look at.
            return place
        work = _work(run)
        if ended.status is not dg.DagsterRunStatus.SUCCESS:
            self._tell(self._failure(run, ended))
            return place.with_failure(work, run.run_id)
        for failed in place.failed.get(work, ()):
            self._tell(self._recovery(run, ended, failed))
        return place.without(work)

    def _failure(self, run: dg.DagsterRun, ended: EndedRun) -> Alert:
        is_canceled = ended.status is dg.DagsterRunStatus.CANCELED
        steps = step_failures(self.instance, run.run_id)
        stopped = not is_canceled and bool(steps) and all(STOPPED_BY_CHECKS in reason for reason in steps.values())
        why = _why_canceled(ended) if is_canceled else _why_stopped(steps) if stopped else _why_failed(steps, ended)
        verb = "was cancelled" if is_canceled else "was stopped by its checks" if stopped else "failed"
        return Alert(
            key=f"{NAME}:{run.run_id}",
            # The check that stopped a run is told of by itself, as gravely as it deserves.
            severity=Severity.WARNING if is_canceled or stopped else self._severity(run),
            title=f"Run {verb}: {_work(run)}",
            text=f"{why} {self._run_named(run)}",
            at=ended.at,
            runbook=RUNBOOK,
        )

    def _severity(self, run: dg.DagsterRun) -> Severity:
        is_critical = run.job_name in self.critical_jobs and BACKFILL_TAG not in run.tags
        return Severity.CRITICAL if is_critical else Severity.WARNING

    def _recovery(self, run: dg.DagsterRun, ended: EndedRun, failed: str) -> Alert:
        return Alert(
            key=f"{NAME}:{failed}{RECOVERED}",
            severity=Severity.INFO,
            title=f"Run succeeded after a failure: {_work(run)}",
            text=f"Run {failed} did not succeed; the next one did. {self._run_named(run)}",
            at=ended.at,
            runbook=RUNBOOK,
        )

    def _run_named(self, run: dg.DagsterRun) -> str:
        return f"Run {run.run_id}: {self.world.settings.health.ui_url.rstrip('/')}/runs/{run.run_id}"

    def _tell(self, alert: Alert) -> None:
        if self.world.notifier.notify(alert):
            self.told += 1
            self.world.metrics.count("run_alerts", severity=alert.severity.value)


def _work(run: dg.DagsterRun) -> str:
    """Return what a run is one of, in words: its job and partition, or the assets that somebody chose."""
    partition = partition_of(run)
    return f"{_job(run)} ({partition})" if partition else _job(run)


def _job(run: dg.DagsterRun) -> str:
    if not run.job_name.startswith(BY_HAND):
        return run.job_name
    chosen = sorted(key.to_user_string() for key in run.asset_selection or ())
    checks = sorted(f"{key.asset_key.to_user_string()}: {key.name}" for key in run.asset_check_selection or ())
    return f"{', '.join(chosen or checks) or 'assets'} by hand"


def _why_failed(steps: Mapping[str, str], ended: EndedRun) -> str:
    if steps:
        return _listed(f"{step}: {reason}" for step, reason in steps.items())
    event = ended.entry.dagster_event
    data = event.event_specific_data if event else None
    # A run that was reported as failed from outside has no data.
    error = data.error if isinstance(data, JobFailureData) else None
    words = innermost(error) if error else (event.message if event else None) or ended.entry.user_message
    return f"{words or 'Dagster says no reason'}."


def _why_stopped(steps: Mapping[str, str]) -> str:
    return f"Checks that failed in {', '.join(steps)} stopped what is made from them; each is told of by itself."


def _why_canceled(ended: EndedRun) -> str:
    event = ended.entry.dagster_event
    return f"{(event.message if event else '') or 'A person, or the end of its process, cancelled it'}"


def _listed(lines: Iterable[str]) -> str:
    shown = list(lines)
    more = f" And {len(shown) - MOST_STEPS} more steps." if len(shown) > MOST_STEPS else ""
    return " ".join(f"{line.rstrip('.')}." for line in shown[:MOST_STEPS]) + more


def run_failure_alerts(interval_seconds: int, critical_jobs: Iterable[str]) -> dg.SensorDefinition:
    """Return the sensor that looks every ``interval_seconds`` for runs that failed."""
    critical = frozenset(critical_jobs)

    @dg.sensor(
        name=NAME,
        description=(
            "Tells a person once of each run that failed, in the words of the innermost error, or was cancelled, "
            "whoever launched it; and when the next run of the same job and partition succeeds. Launches nothing."
        ),
        required_resource_keys={"world"},
        minimum_interval_seconds=interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def look(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        # What fails is no look that was skipped: a tick that failed is seen, and told by deadline_watch.
        watch = RunWatch(context.resources.world, context.instance, critical)
        place = watch.looked(context.cursor)
        context.update_cursor(place.text())
        return dg.SkipReason(f"{watch.read} runs read, {watch.told} alerts; {len(place.failed)} are to be made good")

    return look
