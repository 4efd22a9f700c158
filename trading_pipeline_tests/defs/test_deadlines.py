"""What should have happened by now and did not is told once: decisions, ticks, sensors, runs."""

import shutil
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    ScheduleInstigatorData,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.test_utils import create_run_for_test
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster_shared.error import SerializableErrorInfo

from trading_pipeline.defs.deadlines import DeadlineWatch, deadline_watch, place_from
from trading_pipeline.domain.errors import DataError, DependencyUnavailable
from trading_pipeline.domain.portfolio import Portfolio
from trading_pipeline.ports import Severity
from trading_pipeline.settings import Mode
from trading_pipeline_tests.builders import ACCOUNT, buy, make_plan
from trading_pipeline_tests.defs.dagster_record import Record

# The plan of Thursday 2026-07-30 is executed on Friday from 09:31 New York on; the deadline is half an hour before.
PLAN = make_plan(buy("SPY", "5"))
EARLY = datetime(2026, 7, 31, 12, 0, tzinfo=UTC)
WINDOW = datetime(2026, 7, 31, 13, 40, tzinfo=UTC)


@dg.schedule(cron_schedule="0 * * * *", job_name="decide")
def hourly():
    return dg.SkipReason("never")


class Watched(Record):
    """A world whose broker's clock is set by hand, and the watch over its deadlines."""

    cursor = None

    def __init__(self, instance, folder, **health):
        self.market = EARLY
        super().__init__(instance, folder, **health)

    def fresh_world(self):
        world = super().fresh_world()
        world.clock = SimpleNamespace(now=self.broker_time)
        world.endpoint = SimpleNamespace(fits=lambda account: True)
        world.broker = SimpleNamespace(portfolio=self.portfolio)
        world.wall = SimpleNamespace(now=lambda: EARLY + self.late)
        return world

    def broker_time(self):
        if self.market is None:
            raise DependencyUnavailable("nobody answers")
        return self.market

    def portfolio(self):
        return Portfolio(ACCOUNT, self.broker_time(), 0)

    def look(self, sensors=()):
        watch = DeadlineWatch(self.world, self.instance, [hourly], sensors)
        self.cursor = watch.looked(self.cursor).text()
        return watch

    def runs_schedule(self, status=InstigatorStatus.RUNNING):
        data = ScheduleInstigatorData("0 * * * *", start_timestamp=EARLY.timestamp() - 86_400)
        return self._instigator("hourly", InstigatorType.SCHEDULE, status, data)

    def runs_sensor(self, name):
        return self._instigator(name, InstigatorType.SENSOR, InstigatorStatus.RUNNING, SensorInstigatorData())

    def ticked(self, state, at, status=TickStatus.SKIPPED, error=""):
        told = SerializableErrorInfo(error, [], "Error") if error else None
        self.instance.create_tick(
            TickData(
                state.instigator_origin_id,
                state.instigator_name,
                state.instigator_type,
                status,
                at.timestamp(),
                selector_id=state.selector_id,
                error=told,
            )
        )

    def _instigator(self, name, kind, status, data):
        location = ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(module_name="m"), location_name="here")
        origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "repository"), name)
        state = InstigatorState(origin, kind, status, data)
        self.instance.add_instigator_state(state)
        return state


@pytest.fixture(scope="module")
def empty_record(tmp_path_factory):
    """Databases with their tables, which take longer to make than to copy; without files there is no schedule."""
    folder = tmp_path_factory.mktemp("empty")
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        instance.get_runs_count(), instance.get_asset_keys(), instance.all_instigator_state()
    return folder


@pytest.fixture
def instance(empty_record, tmp_path):
    shutil.copytree(empty_record, tmp_path / "record")
    with dg.DagsterInstance.local_temp(str(tmp_path / "record")) as opened:
        yield opened


@pytest.fixture
def watched(instance, tmp_path):
    return Watched(instance, tmp_path)


def test_a_decision_that_is_there_by_its_deadline_is_no_news(watched):
    watched.world.plans.put_if_absent(PLAN)
    watched.look()
    watched.market = WINDOW
    watched.look()

    assert watched.titles == []


def test_a_decision_that_is_missing_is_told_at_its_deadline_once_and_so_is_its_arrival(watched):
    watched.look()
    watched.market = datetime(2026, 7, 31, 13, 0, 59, tzinfo=UTC)
    watched.look()
    assert watched.titles == []

    watched.market = datetime(2026, 7, 31, 13, 1, tzinfo=UTC)
    watched.look()
    watched.look()
    [alert] = watched.alerts
    assert (alert.title, alert.severity) == ("No decision for session 2026-07-31", Severity.CRITICAL)
    assert "no executable plan of session 2026-07-30" in alert.text
    assert "by 13:01 UTC" in alert.text

    watched.world.plans.put_if_absent(PLAN)
    watched.look()
    watched.look()
    assert [(found.severity, found.key) for found in watched.alerts[1:]] == [(Severity.INFO, f"{alert.key}:recovered")]


def test_a_deadline_that_lay_before_the_watch_began_is_not_its_business(watched):
    watched.market = WINDOW
    watched.look()
    watched.look()

    assert watched.titles == []


def test_a_decision_that_never_came_is_over_with_its_session(watched):
    watched.look()
    watched.market = WINDOW
    watched.look()
    watched.market = datetime(2026, 7, 31, 20, 30, tzinfo=UTC)
    watched.look()

    assert place_from(watched.cursor).missing == ()
    assert len(watched.titles) == 1


def test_a_half_day_and_a_holiday_have_their_deadlines_by_the_calendar(watched):
    """Wednesday 2026-11-25 is executed on Friday the 27th, a half day after Thanksgiving."""
    watched.market = datetime(2026, 11, 26, 12, tzinfo=UTC)
    watched.look()
    watched.market = datetime(2026, 11, 26, 20, tzinfo=UTC)
    watched.look()
    assert watched.titles == []

    watched.market = datetime(2026, 11, 27, 14, 5, tzinfo=UTC)
    watched.look()

    assert watched.titles == ["No decision for session 2026-11-27"]


def test_a_simulated_market_without_its_simulator_has_no_time_and_no_deadline(watched):
    watched.market = None
    watched.look()
    assert place_from(watched.cursor).since is None

    watched.market = EARLY
    watched.look()
    watched.market = WINDOW
    watched.look()

    assert watched.titles == ["No decision for session 2026-07-31"]


@pytest.mark.parametrize("is_decided", [True, False])
def test_a_broker_that_does_not_answer_hides_no_missing_decision(watched, is_decided):
    watched.look()
    watched.world.settings = watched.world.settings.model_copy(update={"mode": Mode.PAPER})
    if is_decided:
        watched.world.plans.put_if_absent(PLAN)
    watched.market, watched.late = None, WINDOW - EARLY
    watched.look()

    assert watched.titles == ([] if is_decided else ["No decision for session 2026-07-31"])


def test_a_tick_that_did_not_happen_is_told_once_its_grace_is_over(watched):
    state = watched.runs_schedule()
    watched.late = timedelta(minutes=30)
    watched.look()
    for hour in (13, 14):
        watched.ticked(state, EARLY.replace(hour=hour))
    watched.late = timedelta(hours=3, minutes=9)
    watched.look()
    assert watched.titles == []

    watched.late = timedelta(hours=3, minutes=11)
    watched.look()
    watched.look()

    assert watched.titles == ["Schedule did not tick: hourly"]
    assert "2026-07-31 15:00 UTC" in watched.alerts[0].text


def test_of_many_missed_ticks_the_newest_are_told(watched):
    watched.runs_schedule()
    watched.late = timedelta(minutes=1)
    watched.look()
    watched.late = timedelta(days=2, minutes=30)
    watched.look()

    assert len(watched.alerts) == 5
    assert "it missed 48 ticks" in watched.alerts[0].text


def test_a_schedule_that_a_person_stopped_owes_nothing(watched):
    watched.runs_schedule(InstigatorStatus.STOPPED)
    watched.look()
    watched.late = timedelta(days=2)
    watched.look()

    assert watched.titles == []


def test_a_tick_that_failed_is_told_once_with_its_reason(watched):
    state = watched.runs_schedule()
    watched.late = timedelta(minutes=1)
    watched.look()
    watched.ticked(state, EARLY.replace(hour=13), TickStatus.FAILURE, "x.y.InvalidInput: no keys")
    watched.late = timedelta(hours=1, minutes=1)
    watched.look()
    watched.look()

    [alert] = watched.alerts
    assert alert.title == "Schedule's tick failed: hourly"
    assert alert.text.endswith("failed: InvalidInput: no keys.")


def test_a_sensor_that_raises_is_told_once_a_day_and_so_is_its_recovery(watched):
    state = watched.runs_sensor("order_placement_sensor")
    watched.ticked(state, EARLY, TickStatus.FAILURE, "KeyError: 'x'")
    watched.look(["order_placement_sensor"])
    watched.ticked(state, EARLY + timedelta(minutes=1), TickStatus.FAILURE, "KeyError: 'x'")
    watched.look(["order_placement_sensor"])
    watched.ticked(state, EARLY + timedelta(minutes=2), TickStatus.SKIPPED)
    watched.look(["order_placement_sensor"])
    watched.look(["order_placement_sensor"])

    assert watched.titles == ["Sensor fails: order_placement_sensor", "Sensor looks again: order_placement_sensor"]


def test_a_run_that_does_not_end_is_told_once(instance, tmp_path):
    watched = Watched(instance, tmp_path, longest_run_minutes=60)
    run = create_run_for_test(instance, job_name="decide", status=dg.DagsterRunStatus.STARTED)
    began = instance.get_run_record_by_id(run.run_id).create_timestamp
    watched.late = began + timedelta(minutes=59) - EARLY
    watched.look()
    assert watched.titles == []

    watched.late = began + timedelta(minutes=61) - EARLY
    watched.look()
    watched.look()

    assert watched.titles == ["Run stands still: decide"]
    assert run.run_id in watched.alerts[0].text


def test_the_sensor_knows_the_schedules_of_its_code_location(watched):
    job = dg.define_asset_job("decide")
    definitions = dg.Definitions([bars], jobs=[job], schedules=[hourly], sensors=[deadline_watch(30)])
    watched.runs_schedule()
    cursor = None
    for late in (timedelta(0), timedelta(hours=1, minutes=30)):
        watched.late = late
        context = dg.build_sensor_context(
            watched.instance, cursor, resources={"world": watched.world}, definitions=definitions
        )
        tick = definitions.resolve_sensor_def("deadline_watch").evaluate_tick(context)
        cursor = tick.cursor

    assert tick.skip_message == "2 alerts; decisions that are missing: none"
    assert set(watched.titles) == {"Schedule did not tick: hourly"}


@dg.asset
def bars():
    return 1


def test_a_cursor_that_is_none_is_refused():
    with pytest.raises(DataError, match="it begins anew"):
        place_from("{}")


def test_the_plan_of_these_tests_is_the_one_that_is_due():
    assert (PLAN.session, PLAN.execution_session) == (date(2026, 7, 30), date(2026, 7, 31))
