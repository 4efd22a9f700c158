import shutil
from contextlib import nullcontext
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace

import dagster as dg
import pytest
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.utils import make_new_run_id
from filelock import FileLock

from trading_pipeline.adapters.storage.home import Home
from trading_pipeline.adapters.storage.trading_state import TRADING_STATE_KEY
from trading_pipeline.defs.assets.orders import behind_a_plan
from trading_pipeline.defs.checks import blocking_checks
from trading_pipeline.defs.lineage import PAGE, PLAN_ID, lineage_of
from trading_pipeline.defs.partitions import session_partitions
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.defs.run_feed import PARTITION_TAG
from trading_pipeline.defs.sensors import ACCOUNT_TAG, ATTEMPT_TAG, PLAN_TAG, RECORDS_TAG, Placement, placement_due
from trading_pipeline.domain.errors import DependencyUnavailable
from trading_pipeline.domain.orders import OrderIntent, OrderType, Plan, Side, TimeInForce, client_order_id
from trading_pipeline.domain.portfolio import Portfolio
from trading_pipeline.domain.risk.trading_state import ACTIVE, TradingMode, TradingState
from trading_pipeline.domain.sessions import NEW_YORK, next_session
from trading_pipeline.domain.strategies import STRATEGIES
from trading_pipeline.ports import IntentState
from trading_pipeline.settings import ExecutionSettings, Settings
from trading_pipeline_tests.builders import approved

ACCOUNT = "SIM000001"
BEHIND_A_PLAN = behind_a_plan(STRATEGIES)
THURSDAY, FRIDAY = date(2026, 7, 30), date(2026, 7, 31)
IN_THE_WINDOW = datetime(2026, 7, 31, 10, tzinfo=NEW_YORK)
THE_DAY_AFTER = IN_THE_WINDOW + timedelta(days=1)
PLAN = "2026-07-30.1"
# Of the account, as it stands in keys and tags.
MARK = "841014"
# Left out of the template, so that a test may see what happens while it is missing.
LAST_VERDICT = ("approved_orders", "one_order_a_symbol")


def intent(plan_id, symbol="SPY"):
    return OrderIntent(
        client_order_id(ACCOUNT, plan_id, symbol, Side.BUY), 1, symbol, Side.BUY, Decimal(10), OrderType.LIMIT,
        Decimal(610), Decimal(600), TimeInForce.DAY, "",
    )  # fmt: skip


class Desk:
    """A world of stored plans, journal and trading state, and the instance's record of what was checked."""

    def __init__(self, folder, instance, report, settings=None):
        self.instance = instance
        self.report = report
        self.now = IN_THE_WINDOW
        self.world = TradingWorld(settings or Settings(), Home(folder))
        self.world.clock = SimpleNamespace(now=lambda: self.now)
        self.world.endpoint = SimpleNamespace(fits=lambda account: account.startswith("SIM"))
        self.world.broker = SimpleNamespace(portfolio=lambda: Portfolio(ACCOUNT, self.now, Decimal(100_000)))

    @property
    def due(self):
        return placement_due(self.world, self.instance)

    def materialised(self, asset, session=THURSDAY, **metadata):
        """Record a materialisation; return what a verdict about it points at."""
        event = dg.AssetMaterialization(asset, partition=str(session), metadata={"table_version": 3, **metadata})
        self.instance.report_runless_asset_event(event)
        wanted = dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[str(session)])
        return target_of(self.instance.fetch_materializations(wanted, limit=1).records[0])

    def verdict(self, asset, check, target, session=THURSDAY, **extra):
        self.report(self.instance, asset, check, target, session, **extra)

    def checked(self, asset, target, *leaving_out):
        run_id = make_new_run_id()
        for check in blocking_checks(STRATEGIES)[asset]:
            if (asset, check) not in leaving_out:
                self.verdict(asset, check, target, run_id=run_id)

    def stored(self, plan_id=PLAN, *, orders=None, version=1, hypothetical=False, session=THURSDAY):
        chosen = (intent(plan_id),) if orders is None else orders
        plan = Plan(
            plan_id, ACCOUNT, session, next_session(session), version, IN_THE_WINDOW, hypothetical, chosen,
            lineage_of(self.instance, BEHIND_A_PLAN, str(session)), "0.1.0", "settings", approved(chosen),
        )  # fmt: skip
        return self.world.plans.put_if_absent(plan)

    @property
    def plan(self):
        return self.world.plans.versions(ACCOUNT, THURSDAY)[-1]

    def behind(self, asset):
        """What a verdict about the plan's own materialisation of ``asset`` points at."""
        wanted = dg.AssetRecordsFilter(
            dg.AssetKey(asset),
            storage_ids=[entry.materialization_id for entry in self.plan.lineage if entry.asset == asset] or None,
        )
        return target_of(self.instance.fetch_materializations(wanted, limit=1).records[0])

    def attempted(self, status, attempt=1, plan_id=PLAN, **more):
        tags = {PLAN_TAG: plan_id, ACCOUNT_TAG: MARK, ATTEMPT_TAG: str(attempt), PARTITION_TAG: "2026-07-30", **more}
        self.instance.add_run(dg.DagsterRun("place_orders", status=status, tags=tags))

    def journalled(self, *states):
        self.world.journal.claim(self.plan, self.now)
        for state in states:
            self.world.journal.record(self.plan.orders[0].client_order_id, state, "", self.now)


def target_of(record):
    return AssetCheckEvaluationTargetMaterializationData(
        storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
    )


@pytest.fixture(scope="module")
def template(tmp_path_factory, report_verdict):
    """A folder with an executable plan of Thursday and every verdict but one."""
    home = Home(tmp_path_factory.mktemp("template") / "home").prepared()
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        desk = Desk(home.folder, instance, report_verdict)
        for asset in BEHIND_A_PLAN:
            desk.checked(asset, desk.materialised(asset))
        desk.stored()
        desk.checked("approved_orders", desk.materialised("approved_orders", **{PLAN_ID: PLAN}), LAST_VERDICT)
    return home.folder


@pytest.fixture
def open_desk(template, tmp_path, report_verdict):
    instances = []

    def opened(settings=None):
        home = Home(shutil.copytree(template, tmp_path / "home")).prepared()
        instance = dg.DagsterInstance.from_config(str(home.dagster))
        instances.append(instance)
        return Desk(home.folder, instance, report_verdict, settings)

    yield opened
    for instance in instances:
        instance.dispose()


@pytest.fixture
def unfinished(open_desk):
    """One verdict is still missing."""
    return open_desk()


@pytest.fixture
def desk(unfinished):
    """Everything is there for Thursday's plan to be placed on Friday."""
    unfinished.verdict(*LAST_VERDICT, unfinished.behind("approved_orders"))
    return unfinished


def refused(desk, *words):
    assert isinstance(desk.due, str), desk.due
    return all(word in desk.due for word in words)


def test_a_checked_plan_inside_its_window_is_placed_once_under_the_key_of_its_attempt(desk):
    assert desk.due == Placement(desk.plan, 1)
    assert desk.due.run_key == f"{PLAN}:{MARK}:1"

    request = desk.due.request
    assert (request.partition_key, request.run_key) == ("2026-07-30", f"{PLAN}:{MARK}:1")
    assert request.tags == {PLAN_TAG: PLAN, ACCOUNT_TAG: MARK, ATTEMPT_TAG: "1"}


def test_the_window_is_open_from_a_minute_after_the_open_to_a_quarter_before_the_close(desk):
    for hour, minute in [(9, 31), (12, 0), (15, 44)]:
        desk.now = IN_THE_WINDOW.replace(hour=hour, minute=minute)
        assert isinstance(desk.due, Placement)


def test_nothing_is_placed_before_the_window_or_after_it(desk):
    for hour, minute in [(9, 30), (15, 45), (15, 59)]:
        desk.now = IN_THE_WINDOW.replace(hour=hour, minute=minute)
        assert refused(desk, "orders may be placed 2026-07-31T13:31:00+00:00 to 2026-07-31T19:45:00+00:00, it is")


def test_nothing_is_placed_on_a_closed_exchange(desk):
    for now in (IN_THE_WINDOW.replace(hour=9, minute=29), IN_THE_WINDOW.replace(hour=16), THE_DAY_AFTER):
        desk.now = now
        assert refused(desk, "the exchange is closed")


def test_on_a_half_day_the_window_ends_before_one(desk):
    desk.now = datetime(2026, 11, 27, 12, 46, tzinfo=NEW_YORK)

    assert refused(desk, "to 2026-11-27T17:45:00+00:00")


def test_yesterdays_plan_is_not_placed_today(desk):
    desk.now = IN_THE_WINDOW + timedelta(days=3)

    assert refused(desk, "there is no executable plan of session 2026-07-31")


def test_one_failed_blocking_check_anywhere_behind_the_plan_stops_it(desk):
    for asset in (*BEHIND_A_PLAN, "approved_orders"):
        check = blocking_checks(STRATEGIES)[asset][-1]
        desk.verdict(asset, check, desk.behind(asset), passed=False)
        assert desk.due == f"plan {PLAN} may not be executed: {asset}: {check} failed"
        desk.verdict(asset, check, desk.behind(asset))
        assert isinstance(desk.due, Placement)


def test_a_blocking_check_that_never_ran_stops_the_plan(unfinished):
    assert refused(unfinished, "approved_orders: one_order_a_symbol was never evaluated for the materialisation behind")


def test_a_failed_check_that_does_not_block_stops_nothing(desk):
    desk.verdict("bars", "close_is_within_the_range", desk.behind("bars"), passed=False)

    assert isinstance(desk.due, Placement)


def test_a_check_that_raised_leaves_no_verdict_and_does_not_confuse_the_sensor(desk):
    @dg.asset(key="bars", partitions_def=session_partitions())
    def bars() -> None: ...

    @dg.asset_check(asset="bars", name="unique_grain", partitions_def=session_partitions())
    def unique_grain() -> dg.AssetCheckResult:
        raise RuntimeError

    def run():
        dg.materialize([bars, unique_grain], instance=desk.instance, partition_key="2026-07-30", raise_on_error=False)

    run()
    assert isinstance(desk.due, Placement), "the plan was made from the materialisation before"

    desk.stored("2026-07-30.2", version=2)
    desk.checked("approved_orders", desk.materialised("approved_orders", **{PLAN_ID: "2026-07-30.2"}))
    assert refused(desk, "bars: unique_grain was never evaluated")


def test_a_newer_materialisation_says_nothing_about_the_one_behind_the_plan(desk):
    desk.verdict("bars", "unique_grain", desk.behind("bars"), passed=False)
    desk.checked("bars", desk.materialised("bars"))

    assert refused(desk, "bars: unique_grain failed")


def test_warming_the_bars_after_the_decision_does_not_hold_the_plan_up(desk):
    newer = desk.materialised("bars")
    assert isinstance(desk.due, Placement), "not yet checked"

    desk.checked("bars", newer)
    assert isinstance(desk.due, Placement), "checked"

    desk.verdict("bars", "unique_grain", newer, passed=False)
    assert isinstance(desk.due, Placement), "found broken: the plan was made from what was there before"


def test_a_verdict_about_an_older_materialisation_does_not_count(desk):
    desk.materialised("allocation")
    desk.stored("2026-07-30.2", version=2)
    desk.checked("approved_orders", desk.materialised("approved_orders", **{PLAN_ID: "2026-07-30.2"}))

    assert refused(desk, "plan 2026-07-30.2 may not be executed", "allocation: columns was never evaluated")


def test_a_verdict_without_a_materialisation_does_not_count(unfinished):
    unfinished.verdict(*LAST_VERDICT, None)

    assert refused(unfinished, "was never evaluated")


def test_a_verdict_about_another_session_does_not_count(unfinished):
    unfinished.verdict(*LAST_VERDICT, unfinished.behind("approved_orders"), session=FRIDAY)

    assert refused(unfinished, "was never evaluated")


@pytest.mark.parametrize("passed", [True, False])
def test_of_two_verdicts_about_one_materialisation_the_newer_counts(desk, passed):
    for verdict in (not passed, passed):
        desk.verdict("bars", "unique_grain", desk.behind("bars"), passed=verdict)

    assert isinstance(desk.due, Placement) is passed


def test_however_many_verdicts_and_materialisations_come_later_the_plans_own_are_found(desk):
    later = desk.materialised("bars")
    for _ in range(PAGE + 1):
        desk.verdict("bars", "unique_grain", later, passed=False)
        desk.materialised("approved_orders", **{PLAN_ID: "hypothetical-2026-07-30.1"})

    assert isinstance(desk.due, Placement)


def test_a_plan_that_is_stored_waits_for_its_own_materialisation_and_checks(desk):
    desk.stored("2026-07-30.2", version=2)
    assert refused(desk, "approved_orders of 2026-07-30 has no record of plan 2026-07-30.2")

    target = desk.materialised("approved_orders", **{PLAN_ID: "2026-07-30.2"})
    assert refused(desk, "approved_orders: columns was never evaluated")

    desk.checked("approved_orders", target)
    assert desk.due == Placement(desk.plan, 1)
    assert desk.due.run_key == f"2026-07-30.2:{MARK}:1"


def test_trading_that_is_halted_is_held_and_goes_on_when_the_halt_is_lifted(desk):
    desk.world.trading_state.write(TradingState(TradingMode.HALTED, "drill", "someone", IN_THE_WINDOW))
    assert desk.due == "trading is halted: drill"

    desk.world.trading_state.write(ACTIVE)
    assert isinstance(desk.due, Placement)


@pytest.fixture
def tick(desk, graph_of):
    return graph_of(desk.world, desk.instance).look


def test_the_sensor_asks_for_the_run(tick):
    [request] = tick()

    assert request.run_key == f"{PLAN}:{MARK}:1"
    assert request.partition_key == "2026-07-30"
    assert request.tags["dagster/partition"] == "2026-07-30"


def test_the_sensor_says_why_it_asks_for_nothing(desk, tick):
    desk.now = THE_DAY_AFTER

    assert tick() == "the exchange is closed at 2026-08-01T10:00:00-04:00"


def test_a_trading_state_that_cannot_be_read_stops_everything(desk, tick):
    state = desk.world.home.objects / TRADING_STATE_KEY
    state.parent.mkdir(parents=True, exist_ok=True)
    state.write_text("{", encoding="utf-8")

    assert tick().startswith("trading is halted: the trading state state/trading_state.json cannot be read")


def test_a_journal_that_cannot_be_read_stops_everything(desk, tick):
    desk.world.home.journal.write_text("not a database, and long enough to be taken for a damaged one" * 20)

    assert tick().startswith("DataError: the order journal")


def test_a_broker_that_does_not_answer_stops_everything(desk, tick):
    def silent():
        raise DependencyUnavailable("no answer from the broker")

    desk.world.clock = SimpleNamespace(now=silent)

    assert tick() == "DependencyUnavailable: no answer from the broker"


def test_an_account_of_another_mode_stops_everything(desk, tick):
    desk.world.broker = SimpleNamespace(portfolio=lambda: Portfolio("PA000001", IN_THE_WINDOW, Decimal(1)))

    assert tick().startswith("TradingHalted: mode simulated met account ...0001, which is not of that mode")


def test_without_a_plan_there_is_nothing_to_place(desk):
    shutil.rmtree(desk.world.home.objects / "plans")

    assert refused(desk, "there is no executable plan of session 2026-07-30")


def test_a_hypothetical_plan_is_never_placed(desk):
    shutil.rmtree(desk.world.home.objects / "plans")
    plan_id = "hypothetical-2026-07-30.1"
    plan = desk.stored(plan_id, hypothetical=True)
    desk.checked("approved_orders", desk.materialised("approved_orders", **{PLAN_ID: plan_id}))

    assert desk.world.plans.hypothetical(THURSDAY) == [plan]
    assert refused(desk, "there is no executable plan of session 2026-07-30")


@pytest.mark.parametrize(
    "status",
    [
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.CANCELING,
    ],
)
def test_an_attempt_under_way_is_the_only_one(desk, status):
    desk.attempted(status)

    assert refused(desk, f"is executing plan {PLAN}")


@pytest.mark.parametrize("ended", [IntentState.FILLED, IntentState.REJECTED, IntentState.ABANDONED])
def test_a_plan_whose_intents_have_all_ended_is_finished(desk, ended):
    desk.journalled(ended)
    desk.attempted(dg.DagsterRunStatus.SUCCESS)

    assert desk.due == f"plan {PLAN} is finished"


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED])
@pytest.mark.parametrize("states", [(), (IntentState.SUBMITTING,), (IntentState.ACKNOWLEDGED,)])
def test_a_run_that_ended_before_its_intents_did_is_followed_by_a_second_attempt(desk, status, states):
    desk.journalled(*states)
    desk.attempted(status)

    assert desk.due == Placement(desk.plan, 2)
    assert desk.due.run_key == f"{PLAN}:{MARK}:2"


def test_a_run_that_failed_before_it_claimed_the_plan_is_followed_by_a_second_attempt(desk):
    desk.attempted(dg.DagsterRunStatus.FAILURE)

    assert desk.due == Placement(desk.plan, 2)


def test_a_run_that_died_after_its_orders_ended_is_repeated_so_that_its_fills_are_recorded(desk):
    desk.journalled(IntentState.FILLED)
    desk.attempted(dg.DagsterRunStatus.FAILURE)

    assert desk.due == Placement(desk.plan, 2)

    desk.attempted(dg.DagsterRunStatus.SUCCESS, attempt=2)
    assert desk.due == f"plan {PLAN} is finished"


@pytest.mark.parametrize(
    ("ended", "attempts", "pause"),
    [
        (dg.DagsterRunStatus.FAILURE, 2, 30),
        (dg.DagsterRunStatus.FAILURE, 3, 90),
        (dg.DagsterRunStatus.FAILURE, 4, 210),
        (dg.DagsterRunStatus.SUCCESS, 1, 150),
        (dg.DagsterRunStatus.SUCCESS, 9, 150),
    ],
)
def test_after_runs_that_died_the_next_waits_ever_longer_and_what_waits_is_tried_at_a_steady_pace(
    desk, ended, attempts, pause
):
    desk.journalled(IntentState.PARKED)
    for number in range(1, attempts + 1):
        desk.attempted(ended, attempt=number)
    # The instance stamps a run to the second.
    now = desk.world.wall.now()
    desk.world.wall = SimpleNamespace(now=lambda: now + timedelta(seconds=pause - 5))
    assert refused(desk, f"attempt {attempts} left orders of plan {PLAN} open; the next is at")

    desk.world.wall = SimpleNamespace(now=lambda: now + timedelta(seconds=pause + 5))
    assert desk.due == Placement(desk.plan, attempts + 1)


@pytest.mark.parametrize(
    ("minutes", "holds_the_lease", "buried"), [(9, False, False), (11, True, False), (11, False, True)]
)
def test_a_run_whose_process_is_gone_is_reported_as_failed_and_followed_by_the_next(
    desk, minutes, holds_the_lease, buried
):
    desk.journalled(IntentState.ACKNOWLEDGED)
    desk.attempted(dg.DagsterRunStatus.STARTING)
    [record] = desk.instance.get_run_records()
    run = record.dagster_run
    desk.instance.report_engine_event("begins", run)
    desk.instance.handle_new_event(
        dg.EventLogEntry(
            error_info=None,
            level=10,
            user_message="",
            run_id=run.run_id,
            timestamp=desk.world.wall.now().timestamp(),
            job_name=run.job_name,
            dagster_event=DagsterEvent(DagsterEventType.RUN_START.value, run.job_name),
        )
    )
    now = desk.world.wall.now()
    desk.world.wall = SimpleNamespace(now=lambda: now + timedelta(minutes=minutes))

    with FileLock(desk.world.home.lease) if holds_the_lease else nullcontext():
        due = desk.due

    assert isinstance(due, Placement) is buried
    status = desk.instance.get_run_by_id(run.run_id).status
    assert status is (dg.DagsterRunStatus.FAILURE if buried else dg.DagsterRunStatus.STARTED)


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING])
def test_a_run_that_never_began_or_never_ended_is_reported_as_failed_too(desk, status):
    desk.attempted(status)
    [record] = desk.instance.get_run_records()
    now = desk.world.wall.now()
    desk.world.wall = SimpleNamespace(now=lambda: now + timedelta(minutes=11))

    assert desk.due == Placement(desk.plan, 2)
    assert desk.instance.get_run_by_id(record.dagster_run.run_id).status is dg.DagsterRunStatus.FAILURE


def test_a_run_that_began_long_ago_and_is_heard_of_is_alive(desk):
    desk.attempted(dg.DagsterRunStatus.STARTED)
    [record] = desk.instance.get_run_records()
    run, now = record.dagster_run, desk.world.wall.now() + timedelta(hours=1)
    desk.world.wall = SimpleNamespace(now=lambda: now)
    heard = dg.EventLogEntry(None, 20, "asset reconciliation begins", run.run_id, now.timestamp() - 60)
    desk.instance.handle_new_event(heard)

    assert refused(desk, f"is executing plan {PLAN}")


AT_THE_WINDOWS_END, AFTER_THE_CLOSE = IN_THE_WINDOW.replace(hour=15, minute=45), IN_THE_WINDOW.replace(hour=16)


@pytest.mark.parametrize("now", [AT_THE_WINDOWS_END, AFTER_THE_CLOSE, THE_DAY_AFTER])
@pytest.mark.parametrize("mode", [TradingMode.ACTIVE, TradingMode.HALTED])
def test_what_a_run_that_died_did_is_recorded_after_the_window_whatever_the_trading_state(desk, now, mode):
    desk.journalled(IntentState.ACKNOWLEDGED)
    desk.attempted(dg.DagsterRunStatus.FAILURE)
    desk.now = now
    if mode is not TradingMode.ACTIVE:
        desk.world.trading_state.write(TradingState(mode, "drill", "someone", IN_THE_WINDOW))

    assert desk.due == Placement(desk.plan, 2, records_only=True)
    assert desk.due.request.tags[RECORDS_TAG] == "true"


def test_what_was_filled_after_it_was_recorded_is_recorded_again_once_it_has_ended(desk):
    desk.journalled(IntentState.ACKNOWLEDGED)
    desk.attempted(dg.DagsterRunStatus.SUCCESS)
    desk.materialised("fills", **{PLAN_ID: PLAN, "unresolved": 1})
    desk.now = AT_THE_WINDOWS_END
    assert refused(desk, f"orders of plan {PLAN} are watched until they have ended")

    desk.now = AFTER_THE_CLOSE
    desk.journalled(IntentState.FILLED)
    assert desk.due == Placement(desk.plan, 2, records_only=True)

    desk.materialised("fills", **{PLAN_ID: PLAN, "unresolved": 0})
    assert refused(desk, "the exchange is closed", f"what became of plan {PLAN} is recorded")


def test_what_is_recorded_is_known_without_asking_the_broker(desk):
    desk.journalled(IntentState.FILLED)
    desk.materialised("fills", **{PLAN_ID: PLAN, "unresolved": 0})
    desk.now = AFTER_THE_CLOSE
    desk.world.broker = SimpleNamespace(portfolio=lambda: pytest.fail("nobody asks the broker all night"))

    assert refused(desk, f"what became of plan {PLAN} is recorded")


def test_a_plan_that_was_never_begun_is_not_recorded(desk):
    desk.attempted(dg.DagsterRunStatus.FAILURE)
    desk.now = AFTER_THE_CLOSE

    assert desk.due == f"the exchange is closed at {AFTER_THE_CLOSE.isoformat()}"


def test_a_recording_that_fails_is_tried_again_as_often_as_the_settings_allow(open_desk):
    desk = open_desk(Settings(execution=ExecutionSettings(max_attempts=2)))
    desk.journalled(IntentState.FILLED)
    for attempt in (1, 2):
        desk.attempted(dg.DagsterRunStatus.FAILURE, attempt)
    desk.now = AFTER_THE_CLOSE
    assert desk.due == Placement(desk.plan, 3, records_only=True)

    desk.attempted(dg.DagsterRunStatus.STARTED, 3, **{RECORDS_TAG: "true"})
    assert refused(desk, f"is executing plan {PLAN}")
    [record] = desk.instance.get_run_records(limit=1)
    desk.instance.report_run_failed(record.dagster_run)
    assert desk.due == Placement(desk.plan, 4, records_only=True)

    desk.attempted(dg.DagsterRunStatus.FAILURE, 4, **{RECORDS_TAG: "true"})
    assert refused(desk, f"2 runs did not record all that became of plan {PLAN}", "by hand")


def test_a_plan_of_another_account_of_the_same_number_is_neither_its_attempt_nor_its_end(desk):
    other = replace(desk.plan, account_number="SIM000002", orders=())
    desk.world.journal.claim(desk.plan, desk.now)
    desk.world.journal.record(desk.plan.orders[0].client_order_id, IntentState.FILLED, "", desk.now)
    desk.attempted(dg.DagsterRunStatus.SUCCESS)
    assert desk.due == f"plan {PLAN} is finished"

    symbol = intent(PLAN)
    order = replace(symbol, client_order_id=client_order_id("SIM000002", PLAN, symbol.symbol, symbol.side))
    other = desk.world.plans.put_if_absent(replace(other, orders=(order,), decisions=approved((order,))))
    desk.world.broker = SimpleNamespace(portfolio=lambda: Portfolio("SIM000002", desk.now, Decimal(100_000)))

    assert desk.due == Placement(other, 1)
    assert desk.due.run_key != f"{PLAN}:{MARK}:1"


def test_attempts_end_at_the_number_that_the_settings_allow(open_desk):
    desk = open_desk(Settings(execution=ExecutionSettings(max_attempts=2)))
    desk.verdict(*LAST_VERDICT, desk.behind("approved_orders"))
    desk.journalled(IntentState.SUBMITTING)

    desk.attempted(dg.DagsterRunStatus.FAILURE)
    assert desk.due == Placement(desk.plan, 2)

    desk.attempted(dg.DagsterRunStatus.FAILURE, attempt=2)
    assert refused(desk, f"plan {PLAN} failed 2 times", "raise execution.max_attempts")


def test_a_plan_without_orders_is_placed_once(desk):
    desk.stored("2026-07-30.2", version=2, orders=())
    desk.checked("approved_orders", desk.materialised("approved_orders", **{PLAN_ID: "2026-07-30.2"}))
    assert desk.due == Placement(desk.plan, 1)

    desk.attempted(dg.DagsterRunStatus.SUCCESS, plan_id="2026-07-30.2")
    assert desk.due == "plan 2026-07-30.2 is finished"


def test_attempts_at_another_plan_do_not_count(desk):
    desk.attempted(dg.DagsterRunStatus.STARTED, plan_id="2026-07-29.1")

    assert desk.due == Placement(desk.plan, 1)


def test_the_newest_plan_is_placed_until_one_is_claimed_and_then_that_one(desk):
    first = desk.plan
    desk.stored("2026-07-30.2", version=2)
    desk.checked("approved_orders", desk.materialised("approved_orders", **{PLAN_ID: "2026-07-30.2"}))
    assert desk.due.plan.plan_id == "2026-07-30.2"

    desk.world.journal.claim(first, IN_THE_WINDOW)
    assert desk.due == Placement(first, 1)


def test_a_claimed_plan_that_the_store_has_lost_stops_everything(desk, tick):
    desk.world.journal.claim(replace(desk.plan, plan_id="2026-07-30.9"), IN_THE_WINDOW)

    assert tick().startswith("DataError: the journal holds plan 2026-07-30.9 of session 2026-07-30")


def test_whoever_looks_at_the_same_moment_asks_under_the_same_key(desk, graph_of):
    # The daemon launches a key once. A second evaluator outside of it may launch a second run of the attempt: what
    # keeps orders single then are the claim on the plan and the client order ids (test_trading_graph.py).
    by_hand, daemon = (graph_of(desk.world, desk.instance).look() for _ in range(2))

    assert by_hand[0].run_key == daemon[0].run_key == f"{PLAN}:{MARK}:1"
