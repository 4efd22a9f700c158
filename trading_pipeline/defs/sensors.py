"""``order_placement_sensor``: the only thing that launches orders by itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import dagster as dg
from dagster import DagsterInstance

from trading_pipeline.application.execution import plan_in_force
from trading_pipeline.defs.checks import blocking_checks
from trading_pipeline.defs.jobs import place_orders_job
from trading_pipeline.defs.lineage import broken_promises
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import PipelineError
from trading_pipeline.domain.orders import Plan

PLAN_TAG = "trading_pipeline/plan"
ATTEMPT_TAG = "trading_pipeline/attempt"
STEADY_PACE = 5
# A run that places orders holds the lease; one that began so long ago and does not is dead, or done with the broker.
DEAD_AFTER = timedelta(minutes=10)


@dataclass(frozen=True)
class Placement:
    """A run of ``place_orders`` that is wanted now: the plan and the number of the attempt, from 1."""

    plan: Plan
    attempt: int

    @property
    def run_key(self) -> str:
        """The run's key: one run for each attempt at a plan."""
        return f"{self.plan.plan_id}:{self.attempt}"

    @property
    def request(self) -> dg.RunRequest:
        """The run to be launched."""
        tags = {PLAN_TAG: self.plan.plan_id, ATTEMPT_TAG: str(self.attempt)}
        return dg.RunRequest(run_key=self.run_key, partition_key=str(self.plan.session), tags=tags)


def placement_due(world: TradingWorld, instance: DagsterInstance) -> Placement | str:
    """Return the run that should place orders now, or why there is none.

    Wanted are all of: the broker's clock inside the execution window, a
    trading state that allows orders, an executable plan of the session before,
    every blocking check passed for the very materialisations behind that plan,
    and no earlier attempt that is still under way or finished the plan.
    """
    now = world.clock.now()
    open_session = sessions.session_at(now)
    if open_session is None:
        return f"the exchange is closed at {now.isoformat()}"
    window = world.rules.window(open_session)
    if not window.contains(now):
        return f"orders may be placed {window.start.isoformat()} to {window.end.isoformat()}, it is {now.isoformat()}"
    state = world.trading_state.read()
    if not state.allows_trading:
        return f"trading is {state.mode}: {state.reason or 'no reason given'}"
    return _for_session(world, instance, sessions.previous_session(open_session))


def _for_session(world: TradingWorld, instance: DagsterInstance, session: date) -> Placement | str:
    plan = plan_in_force(world.plans, world.journal, world.portfolio().account_number, session)
    if plan is None:
        return f"there is no executable plan of session {session}"
    _bury(world, instance, _attempts(instance, plan))
    attempts = _attempts(instance, plan)
    obstacle = _obstacle(world, plan, attempts)
    if obstacle:
        return obstacle
    promises = blocking_checks(world.strategies, world.settings.checks.folder)
    problems = broken_promises(instance, plan, promises, str(session))
    if problems:
        return f"plan {plan.plan_id} may not be executed: {'; '.join(problems[:5])}"
    return Placement(plan, len(attempts) + 1)


def _attempts(instance: DagsterInstance, plan: Plan) -> Sequence[dg.RunRecord]:
    """Return the runs that tried to execute ``plan``, newest first."""
    return instance.get_run_records(dg.RunsFilter(job_name=place_orders_job.name, tags={PLAN_TAG: plan.plan_id}))


def _bury(world: TradingWorld, instance: DagsterInstance, attempts: Sequence[dg.RunRecord]) -> None:
    """Report runs as failed whose process is gone, with the machine say: they would be waited for without end."""
    for attempt in attempts:
        run, began = (
            attempt.dagster_run,
            datetime.fromtimestamp(attempt.start_time or world.wall.now().timestamp(), UTC),
        )
        is_old = run.status is dg.DagsterRunStatus.STARTED and world.wall.now() - began > DEAD_AFTER
        if is_old and not world.is_placing_orders:
            instance.report_run_failed(run, "its process is gone: it began long ago, and places no orders")


def _obstacle(world: TradingWorld, plan: Plan, attempts: Sequence[dg.RunRecord]) -> str:
    runs = [attempt.dagster_run for attempt in attempts]
    under_way = [attempt for attempt in attempts if not attempt.dagster_run.is_finished]
    if under_way:
        return f"run {under_way[0].dagster_run.run_id} is executing plan {plan.plan_id}"
    entries = world.journal.entries(plan.plan_id)
    finished = bool(entries or not plan.orders) and all(entry.state.is_terminal for entry in entries)
    if finished and any(run.is_success for run in runs):
        return f"plan {plan.plan_id} is finished"
    most, died = world.settings.execution.max_attempts, [run for run in runs if not run.is_success]
    if len(died) >= most:
        return f"plan {plan.plan_id} failed {most} times: see its runs, then act, or raise execution.max_attempts"
    return _pause(world, plan, attempts, len(died))


def _pause(world: TradingWorld, plan: Plan, attempts: Sequence[dg.RunRecord], died: int) -> str:
    """Return why the next attempt has to wait, if it has.

    After the first that died the next follows at once, after others ever
    later. What the orders of a run that came to its end wait for (a halt, the
    cash of a sale) needs time: they are tried at a steady pace, as long as the
    plan's time limit and the window last.
    """
    if not attempts:
        return ""
    settings, newest = world.settings.execution, attempts[0]
    factor = STEADY_PACE if newest.dagster_run.is_success else 2 ** (died - 1) - 1
    ended = datetime.fromtimestamp(newest.end_time or newest.update_timestamp.timestamp(), UTC)
    next_attempt = ended + timedelta(seconds=settings.relaunch_after_seconds * factor)
    if world.wall.now() >= next_attempt:
        return ""
    return f"attempt {len(attempts)} left orders of plan {plan.plan_id} open; the next is at {next_attempt.isoformat()}"


def order_placement_sensor(interval_seconds: int) -> dg.SensorDefinition:
    """Return the sensor that looks every ``interval_seconds`` for a plan to execute."""

    @dg.sensor(
        job=place_orders_job,
        description=(
            "Launches place_orders for the executable plan of the current session, once an attempt: only inside the "
            "execution window of the broker's clock, when the trading state allows it and every blocking check of "
            "the plan's lineage passed."
        ),
        required_resource_keys={"world"},
        minimum_interval_seconds=interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def order_placement_sensor(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        world: TradingWorld = context.resources.world
        try:
            due = placement_due(world, context.instance)
        except PipelineError as error:
            return dg.SkipReason(f"{type(error).__name__}: {error}")
        return due.request if isinstance(due, Placement) else dg.SkipReason(due)

    return order_placement_sensor
