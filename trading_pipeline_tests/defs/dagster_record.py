"""A Dagster record written by hand: runs with results of checks, as runs write them, without their seconds."""

from datetime import timedelta
from types import SimpleNamespace

import dagster as dg
from dagster import DagsterEventType
from dagster._core.events import DagsterEvent, StepFailureData
from dagster._core.test_utils import create_run_for_test
from dagster_shared.error import SerializableErrorInfo

from trading_pipeline.adapters.clocks import WallClock
from trading_pipeline.adapters.storage.home import Home
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.settings import HealthSettings, Settings

ENDS = {"success": DagsterEventType.RUN_SUCCESS, "canceled": DagsterEventType.RUN_CANCELED}
ASSET = "bars"


class Record:
    """What runs left in an instance, and a world that watches it."""

    def __init__(self, instance, folder, **health):
        self.instance = instance
        self.settings = Settings(health=HealthSettings(**health))
        self.home = Home(folder).prepared()
        self.late = timedelta()
        self.world = self.fresh_world()

    def fresh_world(self):
        """A world as a process finds it that has just started."""
        world = TradingWorld(self.settings, self.home)
        world.wall = SimpleNamespace(now=lambda: WallClock().now() + self.late)
        return world

    def begin(self, job="decide", partition=None, **tags):
        if partition:
            tags["dagster/partition"] = partition
        return create_run_for_test(self.instance, job_name=job, status=dg.DagsterRunStatus.STARTED, tags=tags)

    def end(self, run, how="success", error=""):
        if how == "failure":
            self.instance.report_run_failed(run, error or None)
        else:
            self._report(run.run_id, DagsterEvent(ENDS[how].value, run.job_name))

    def result(self, run, check, *, passed, partition=None, **more):
        evaluation = dg.AssetCheckEvaluation(dg.AssetKey(ASSET), check, passed, partition=partition, **more)
        event = DagsterEvent(
            DagsterEventType.ASSET_CHECK_EVALUATION.value,
            run.job_name if run else "",
            event_specific_data=evaluation,
        )
        self._report(run.run_id if run else "", event)

    def step_fails(self, run, step, error, cause=""):
        inner = SerializableErrorInfo(cause, [], "ValueError") if cause else None
        data = StepFailureData(error=SerializableErrorInfo(error, [], "Error", cause=inner), user_failure_data=None)
        self._report(
            run.run_id,
            DagsterEvent(DagsterEventType.STEP_FAILURE.value, run.job_name, step_key=step, event_specific_data=data),
        )

    def ran(self, results, how="success", **of):
        """A run that wrote ``results`` (check: passed) and ended."""
        run = self.begin(**of)
        for check, passed in results.items():
            self.result(run, check, passed=passed, partition=of.get("partition"))
        self.end(run, how)
        return run

    def _report(self, run_id, event):
        self.instance.report_dagster_event(event, run_id)

    @property
    def alerts(self):
        return self.world.notifier.alerts()

    @property
    def titles(self):
        return [alert.title for alert in self.alerts]
