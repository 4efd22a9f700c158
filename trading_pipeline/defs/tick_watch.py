"""Whether Dagster itself does its work: schedules that tick, sensors that do not raise, runs that end."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

import dagster as dg
from dagster import DagsterInstance
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorTick,
    InstigatorType,
    ScheduleInstigatorData,
    TickStatus,
)
from dagster._utils.schedules import schedule_execution_time_iterator

from trading_pipeline.defs.run_feed import innermost
from trading_pipeline.ports import Alert, Severity
from trading_pipeline.settings import HealthSettings

TICKS_RUNBOOK = "a-schedule-did-not-tick"
RUNS_RUNBOOK = "a-run-stands-still"
# Of a schedule that missed more (the machine was off for days) the newest are told.
MOST_TICKS = 5
MOST_RUNS = 20
NOT_ENDED = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)


@dataclass(frozen=True)
class TickWatch:
    """One look at ``now``, this machine's time, at what of the named schedules and sensors is in Dagster's record."""

    instance: DagsterInstance
    chosen: HealthSettings
    now: datetime

    @property
    def judged_until(self) -> datetime:
        """The instant before which a tick must have happened by now."""
        return self.now - timedelta(minutes=self.chosen.tick_grace_minutes)

    def schedules(self, schedules: Collection[dg.ScheduleDefinition], since: datetime) -> Iterator[Alert]:
        """Yield what is to be told of ticks from ``since`` on: those that did not happen in time, or failed.

        A schedule that a person stopped owes no tick, nor does one before it was started.
        """
        for schedule in schedules:
            for state in self._running(InstigatorType.SCHEDULE, schedule.name):
                yield from self._ticks_of(schedule, state, since)

    def _ticks_of(self, schedule: dg.ScheduleDefinition, state: InstigatorState, since: datetime) -> Iterator[Alert]:
        ticks = self.instance.get_ticks(
            state.instigator_origin_id, state.selector_id, after=since.timestamp() - 1, limit=100
        )
        for tick in ticks:
            if tick.is_failure:
                yield self._failed(schedule.name, tick)
        happened = {int(tick.timestamp) for tick in ticks}
        missed = [at for at in self._expected(schedule, state, since) if int(at.timestamp()) not in happened]
        for at in missed[-MOST_TICKS:]:
            yield self._missed(schedule.name, at, len(missed))

    def _expected(self, schedule: dg.ScheduleDefinition, state: InstigatorState, since: datetime) -> Sequence[datetime]:
        data = state.instigator_data
        started = data.start_timestamp if isinstance(data, ScheduleInstigatorData) else None
        begin = max(since.timestamp(), started or since.timestamp())
        expected = []
        for at in schedule_execution_time_iterator(begin, schedule.cron_schedule, schedule.execution_timezone or "UTC"):
            if at >= self.judged_until:
                break
            expected.append(at)
        return expected

    def _missed(self, name: str, at: datetime, count: int) -> Alert:
        when = at.astimezone(UTC)
        others = f"; it missed {count} ticks since the last look" if count > 1 else ""
        return Alert(
            key=f"tick_missed:{name}:{when:%Y-%m-%dT%H:%M}",
            severity=Severity.WARNING,
            title=f"Schedule did not tick: {name}",
            text=(
                f"{name} was to tick at {when:%Y-%m-%d %H:%M} UTC, and {self.chosen.tick_grace_minutes} minutes later "
                f"Dagster knows of no tick{others}. Look whether its daemon runs."
            ),
            at=self.now,
            runbook=TICKS_RUNBOOK,
        )

    def _failed(self, name: str, tick: InstigatorTick) -> Alert:
        when = datetime.fromtimestamp(tick.timestamp, UTC)
        return Alert(
            key=f"tick_failed:{name}:{when:%Y-%m-%dT%H:%M:%S}",
            severity=Severity.WARNING,
            title=f"Schedule's tick failed: {name}",
            text=f"The tick of {name} at {when:%Y-%m-%d %H:%M} UTC failed: {_reason(tick)}.",
            at=self.now,
            runbook=TICKS_RUNBOOK,
        )

    def failing_sensors(self, names: Collection[str]) -> Iterator[tuple[str, InstigatorTick]]:
        """Yield each of the named sensors whose newest finished look raised, and that look."""
        for name in names:
            for state in self._running(InstigatorType.SENSOR, name):
                newest = self.instance.get_ticks(
                    state.instigator_origin_id, state.selector_id, limit=1, statuses=_FINISHED
                )
                if newest and newest[0].is_failure:
                    yield name, newest[0]

    def sensor_fails(self, name: str, tick: InstigatorTick) -> Alert:
        """Return what is to be told of a sensor whose newest look raised; its key is that of the look."""
        when = datetime.fromtimestamp(tick.timestamp, UTC)
        return Alert(
            key=f"sensor_fails:{name}:{when:%Y-%m-%dT%H:%M:%S}",
            severity=Severity.WARNING,
            title=f"Sensor fails: {name}",
            text=f"The look of {name} at {when:%Y-%m-%d %H:%M} UTC raised: {_reason(tick)}. It is repeated.",
            at=self.now,
            runbook=TICKS_RUNBOOK,
        )

    def long_runs(self) -> Iterator[Alert]:
        """Yield what is to be told of runs that are under way, or waiting, for longer than the settings allow."""
        longest = timedelta(minutes=self.chosen.longest_run_minutes)
        wanted = dg.RunsFilter(statuses=list(NOT_ENDED), created_before=self.now - longest)
        for record in self.instance.get_run_records(wanted, limit=MOST_RUNS, ascending=True):
            run, began = record.dagster_run, record.start_time
            since = datetime.fromtimestamp(began, UTC) if began else record.create_timestamp.astimezone(UTC)
            if self.now - since > longest:
                yield self._stands_still(run, since)

    def _stands_still(self, run: dg.DagsterRun, since: datetime) -> Alert:
        return Alert(
            key=f"run_stands_still:{run.run_id}",
            severity=Severity.WARNING,
            title=f"Run stands still: {run.job_name}",
            text=(
                f"Run {run.run_id} of {run.job_name} is {run.status.value.lower()} since {since:%Y-%m-%d %H:%M} UTC, "
                f"longer than health.longest_run_minutes, {self.chosen.longest_run_minutes}. Where its process is "
                f"gone, terminate it in Dagster's UI: {self.chosen.ui_url.rstrip('/')}/runs/{run.run_id}"
            ),
            at=self.now,
            runbook=RUNS_RUNBOOK,
        )

    def _running(self, kind: InstigatorType, name: str) -> Sequence[InstigatorState]:
        return [
            state
            for state in self._states
            if state.is_running and state.instigator_type is kind and state.instigator_name == name
        ]

    @cached_property
    def _states(self) -> Sequence[InstigatorState]:
        return self.instance.all_instigator_state()


_FINISHED = [TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE]


def _reason(tick: InstigatorTick) -> str:
    return innermost(tick.error).rstrip(".") if tick.error else "no reason is recorded"
