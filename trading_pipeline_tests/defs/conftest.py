from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.utils import make_new_run_id

from trading_pipeline.adapters.storage.home import Home, home_of
from trading_pipeline.definitions import wired
from trading_pipeline.defs.assets.orders import behind_a_plan
from trading_pipeline.defs.io_manager import DeltaIOManager
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain import sessions
from trading_pipeline.domain.strategies import STRATEGIES
from trading_pipeline.settings import Settings
from trading_pipeline.simulator.control import RunningSimulator, SimulatorControl, start_simulator

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
DECIDED = (*behind_a_plan(STRATEGIES), "approved_orders")
FIRST_SESSION = date(2026, 7, 20)


def after_the_close(session: date) -> datetime:
    return sessions.close_of(session) + timedelta(minutes=30)


@dataclass
class Line:
    """The trading graph over a world, run in this process on an instance."""

    world: TradingWorld
    instance: dg.DagsterInstance

    def __post_init__(self):
        self.definitions = wired(
            self.world.settings,
            world=dg.ResourceDefinition.hardcoded_resource(self.world),
            tables=DeltaIOManager(self.world.tables),
        )

    def run(self, job, session, tags=None, assets=None):
        return self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            partition_key=str(session),
            tags=tags,
            raise_on_error=False,
            run_config=QUIET,
            asset_selection=[dg.AssetKey(asset) for asset in assets] if assets else None,
        )

    def look(self):
        """Evaluate the sensor: the requests for runs, or why there is none."""
        sensor = self.definitions.resolve_sensor_def("order_placement_sensor")
        tick = sensor.evaluate_tick(
            dg.build_sensor_context(
                self.instance,
                resources={"world": self.world},
                definitions=self.definitions,
                sensor_name=sensor.name,
            )
        )
        return tick.run_requests or tick.skip_message

    def place(self, request):
        return self.run("place_orders", request.partition_key, tags=dict(request.tags))

    def rows(self, table, session):
        return self.world.tables.read(table, session, session)

    def everything(self, session):
        return {table: self.rows(table, session) for table in (*DECIDED, "fills")}


class Market:
    """A simulated broker in a process of its own, whose clock only moves on."""

    def __init__(self, home: Home, running: RunningSimulator) -> None:
        self.home = home
        self.control: SimulatorControl = running.control
        self.session = FIRST_SESSION

    def world(self):
        """A world as a process that has just started finds it."""
        return TradingWorld(Settings(), self.home)

    def close_next_session(self) -> date:
        """Go to half an hour after the close of a session that nothing has looked at yet."""
        self.session = sessions.next_session(self.session, 2)
        self.control.set_clock(after_the_close(self.session))
        return self.session

    def open_window(self, session: date) -> None:
        """Go to where the orders that ``session`` decided may be placed."""
        self.control.set_clock(self.world().rules.window(sessions.next_session(session)).start)

    @property
    def orders(self):
        return self.control.state()["orders"]


@contextmanager
def opened_market(folder):
    home = home_of(Settings(), folder).prepared()
    running = start_simulator(home.simulator, start=after_the_close(FIRST_SESSION), watch_parent=True)
    try:
        yield Market(home, running)
    finally:
        running.stop()


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    """A market that the tests of a module share; its clock only moves on."""
    with opened_market(tmp_path_factory.mktemp("shared")) as opened:
        yield opened


@pytest.fixture(scope="module")
def line(market):
    """The graph on the folder's own Dagster instance."""
    with dg.DagsterInstance.from_config(str(market.home.dagster)) as instance:
        yield Line(market.world(), instance)


@pytest.fixture
def fresh_market(tmp_path):
    """A market for one test, whose account holds nothing but cash: any decision leads to orders."""
    with opened_market(tmp_path) as opened:
        yield opened


@pytest.fixture
def fresh_line(fresh_market):
    """The graph on the fresh market's own Dagster instance."""
    with dg.DagsterInstance.from_config(str(fresh_market.home.dagster)) as instance:
        yield Line(fresh_market.world(), instance)


@pytest.fixture
def quick_line(market):
    """The graph with a record in memory, for stories in which no earlier run matters."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield Line(market.world(), instance)


@pytest.fixture(scope="session")
def graph_of():
    return Line


@pytest.fixture(scope="session")
def report_verdict():
    """Record a verdict as a run does; one that belongs to no run can be recorded once a check and partition."""

    def report(instance, asset, check, target, session, *, passed=True, run_id=None):
        evaluation = dg.AssetCheckEvaluation(
            dg.AssetKey(asset), check, passed, target_materialization_data=target, partition=str(session)
        )
        event = DagsterEvent(DagsterEventType.ASSET_CHECK_EVALUATION.value, "decide", event_specific_data=evaluation)
        instance.report_dagster_event(event, run_id or make_new_run_id())

    return report
