"""``order_placement_sensor``: the only thing that launches orders by itself, and the record of what became of them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import dagster as dg
from dagster import DagsterInstance

from trading_pipeline.application.execution import plan_in_force
from trading_pipeline.defs.checks import blocking_checks
from trading_pipeline.defs.jobs import place_orders_job
from trading_pipeline.defs.lineage import broken_promises
from trading_pipeline.defs.recorded_fills import recorded_fills
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.defs.run_feed import PARTITION_TAG
from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import PipelineError
from trading_pipeline.domain.orders import Plan

PLAN_TAG = "trading_pipeline/plan"
ATTEMPT_TAG = "trading_pipeline/attempt"
ACCOUNT_TAG = "trading_pipeline/account"
RECORDS_TAG = "trading_pipeline/records"
STEADY_PACE = 5
# A run that places orders holds the lease; one that does not, and of which nothing was heard for so long, is dead.
DEAD_AFTER = timedelta(minutes=10)
_LAUNCHED = frozenset({dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING})


@dataclass(frozen=True)
class Placement:
    """A run of ``place_orders`` that is wanted now: the plan and the number of the attempt, from 1.

    One that ``records_only`` sends nothing: the plan's window is over, and what became of its orders is not recorded.
    """

    plan: Plan
    attempt: int
    records_only: bool = False

    @property
    def run_key(self) -> str:
        """The run's key: one run for each attempt at an account's plan."""
        return f"{self.plan.plan_id}:{account_mark(self.plan)}:{self.attempt}"

    @property
    def request(self) -> dg.RunRequest:
        """The run to be launched."""
        tags = {**_tags(self.plan), ATTEMPT_TAG: str(self.attempt)}
        if self.records_only:
            tags[RECORDS_TAG] = "true"
        return dg.RunRequest(run_key=self.run_key, partition_key=str(self.plan.session), tags=tags)


def account_mark(plan: Plan) -> str:
    """Return what tells the plans of two accounts apart that bear one id, and does not name the account."""
    return hashlib.sha256(plan.account_number.encode()).hexdigest()[:6]


def _tags(plan: Plan) -> dict[str, str]:
    return {PLAN_TAG: plan.plan_id, ACCOUNT_TAG: account_mark(plan)}


def placement_due(world: TradingWorld, instance: DagsterInstance) -> Placement | str:
    """Return the run that should place orders now, or why there is none.

    Wanted are all of: the broker's clock inside the execution window, a
    trading state that allows orders, an executable plan of the session before,
    every blocking check passed for the very materialisations behind that plan,
    and no earlier attempt that is still under way or finished the plan.

    After the window, until the next one, a plan that was begun is settled and
    recorded, whatever the trading state: orders may be filled, or be found to
    have been, after the last run that could have placed them.
    """
    now = world.clock.now()
    session = sessions.session_at(now) or sessions.last_completed_session(now)
    window = world.rules.window(session)
    closed = f"orders may be placed {window.start.isoformat()} to {window.end.isoformat()}, it is {now.isoformat()}"
    if sessions.session_at(now) is None:
        closed = f"the exchange is closed at {now.isoformat()}"
    if now >= window.end:
        recording = _recording(world, instance, sessions.previous_session(session))
        return recording if isinstance(recording, Placement) else f"{closed}{recording}"
    if now < window.start:
        return closed
    state = world.trading_state.read()
    if not state.allows_trading:
        return f"trading is {state.mode}: {state.reason or 'no reason given'}"
    return _for_session(world, instance, sessions.previous_session(session))


def _recording(world: TradingWorld, instance: DagsterInstance, session: date) -> Placement | str:
    """Return the run that should record what became of the orders of ``session``'s plan, or why there is none."""
    recorded = recorded_fills(instance, session)
    if recorded is not None:
        # The broker is not asked, night after night.
        entries = world.journal.entries(recorded.plan_id)
        if any(not entry.state.is_terminal for entry in entries):
            return f"; orders of plan {recorded.plan_id} are watched until they have ended"
        if recorded.covers(entries):
            return f"; what became of plan {recorded.plan_id} is recorded"
    elif not _was_launched(instance, session):
        return ""
    account = world.portfolio().account_number
    plan = plan_in_force(world.plans, world.journal, account, session)
    if plan is None or world.journal.claimed(account, session) is None:
        return ""
    _bury(world, instance, _attempts(instance, plan))
    attempts = _attempts(instance, plan)
    obstacle = _under_way(attempts) or _recorded_often(world, plan, attempts)
    return f"; {obstacle}" if obstacle else Placement(plan, len(attempts) + 1, records_only=True)


def _was_launched(instance: DagsterInstance, session: date) -> bool:
    asked = dg.RunsFilter(job_name=place_orders_job.name, tags={PARTITION_TAG: str(session)})
    return bool(instance.get_run_records(asked, limit=1))


def _recorded_often(world: TradingWorld, plan: Plan, attempts: Sequence[dg.RunRecord]) -> str:
    tried = [attempt for attempt in attempts if RECORDS_TAG in attempt.dagster_run.tags]
    if len(tried) >= world.settings.execution.max_attempts:
        # Whether they failed or not: nothing is launched night-long.
        return (
            f"{len(tried)} runs did not record all that became of plan {plan.plan_id}: see them, then run place_orders "
            f"of session {plan.session} by hand"
        )
    return _pause(world, plan, tried, sum(not attempt.dagster_run.is_success for attempt in tried))


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
    return instance.get_run_records(dg.RunsFilter(job_name=place_orders_job.name, tags=_tags(plan)))


def _bury(world: TradingWorld, instance: DagsterInstance, attempts: Sequence[dg.RunRecord]) -> None:
    """Report runs as failed whose process is gone, with the machine say: they would be waited for without end."""
    for attempt in attempts:
        run = attempt.dagster_run
        is_silent = run.status in _LAUNCHED and world.wall.now() - _last_heard(instance, attempt) > DEAD_AFTER
        if is_silent and not world.is_placing_orders:
            instance.report_run_failed(
                run, "its process is gone: nothing was heard of it for long, it places no orders"
            )


def _last_heard(instance: DagsterInstance, attempt: dg.RunRecord) -> datetime:
    newest = instance.get_records_for_run(attempt.dagster_run.run_id, limit=1, ascending=False).records
    at = newest[0].timestamp if newest else attempt.update_timestamp.timestamp()
    return datetime.fromtimestamp(at, UTC)


def _obstacle(world: TradingWorld, plan: Plan, attempts: Sequence[dg.RunRecord]) -> str:
    runs = [attempt.dagster_run for attempt in attempts]
    if under_way := _under_way(attempts):
        return under_way
    entries = world.journal.entries(plan.plan_id, plan.account_number)
    finished = bool(entries or not plan.orders) and all(entry.state.is_terminal for entry in entries)
    if finished and any(run.is_success for run in runs):
        return f"plan {plan.plan_id} is finished"
    most, died = world.settings.execution.max_attempts, [run for run in runs if not run.is_success]
    if len(died) >= most:
        return f"plan {plan.plan_id} failed {most} times: see its runs, then act, or raise execution.max_attempts"
    return _pause(world, plan, attempts, len(died))


def _under_way(attempts: Sequence[dg.RunRecord]) -> str:
    runs = [attempt.dagster_run for attempt in attempts if not attempt.dagster_run.is_finished]
    return f"run {runs[0].run_id} is executing plan {runs[0].tags[PLAN_TAG]}" if runs else ""


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
            "the plan's lineage passed. After the window it launches what settles and records a plan that was begun."
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
