from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace

import dagster as dg
import pytest

from trading_pipeline.adapters.metrics import read_metrics
from trading_pipeline.adapters.storage.home import Home
from trading_pipeline.adapters.storage.journal import SqliteJournal
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.defs.watchdog import order_watchdog, watched
from trading_pipeline.domain.errors import DependencyUnavailable
from trading_pipeline.domain.orders import BrokerOrder, OrderStatus
from trading_pipeline.domain.portfolio import Portfolio
from trading_pipeline.domain.risk.trading_state import TradingMode, TradingState
from trading_pipeline.domain.sessions import NEW_YORK
from trading_pipeline.ports import IntentState, Severity
from trading_pipeline.settings import MonitoringSettings, Settings
from trading_pipeline_tests.builders import ACCOUNT, buy, make_plan, sell

IN_THE_WINDOW = datetime(2026, 7, 31, 10, tzinfo=NEW_YORK)
AFTER_THE_WINDOW = IN_THE_WINDOW.replace(hour=15, minute=50)
IN_THE_EVENING = IN_THE_WINDOW.replace(hour=20)
# The clock of this machine has nothing to do with the broker's, which may be simulated.
MACHINE_START = datetime(2031, 1, 1, tzinfo=UTC)
THE_NEXT_SESSION = IN_THE_WINDOW + timedelta(days=3)
PLAN = make_plan(sell("TLT", "10"), buy("SPY", "5"))
TLT, SPY = PLAN.orders


class ListedBroker:
    """A broker that answers from a list of orders."""

    def __init__(self):
        self.listed: dict[str, BrokerOrder] = {}
        self.cancelled = []
        self.is_down = False

    def portfolio(self):
        return Portfolio(ACCOUNT, IN_THE_WINDOW, Decimal(1_000))

    def has(self, intent, status, *, submitted_at=IN_THE_WINDOW):
        self.listed[intent.client_order_id] = BrokerOrder(
            intent.client_order_id, f"venue-{intent.symbol}", intent.symbol, intent.side, intent.quantity, Decimal(0),
            None, intent.limit_price, status, submitted_at,
        )  # fmt: skip

    def orders(self, since=None):
        if self.is_down:
            raise DependencyUnavailable("nobody answers")
        assert since == datetime(2026, 7, 31, 13, 30, tzinfo=UTC)
        return list(self.listed.values())

    def order(self, client_order_id):
        return self.listed.get(client_order_id)

    def cancel(self, venue_order_id):
        self.cancelled.append(venue_order_id)


class Watch:
    """A world in which Thursday's plan is traded on Friday; both clocks go as fast."""

    def __init__(self, folder, **monitoring):
        settings = Settings(monitoring=MonitoringSettings(**monitoring))
        self.world = TradingWorld(settings, Home(folder).prepared())
        self.now = IN_THE_WINDOW
        self.broker = ListedBroker()
        self.world.clock = SimpleNamespace(now=lambda: self.now)
        self.world.wall = SimpleNamespace(now=self.machine_now)
        self.world.endpoint = SimpleNamespace(fits=lambda account: True)
        self.world.broker = self.broker
        self.world.market_data = SimpleNamespace()
        self.world.journal = SqliteJournal(self.world.home.journal, self.machine_now)
        self.world.plans.put_if_absent(PLAN)

    def machine_now(self):
        return MACHINE_START + (self.now - IN_THE_WINDOW)

    def journalled(self, *states, intent=SPY):
        self.world.journal.claim(PLAN, self.now)
        for state in states:
            self.world.journal.record(intent.client_order_id, state, "", self.now)

    def look(self, later=0):
        """Look so many seconds later."""
        self.now += timedelta(seconds=later)
        return watched(self.world)

    @property
    def alerts(self):
        return self.world.notifier.alerts()

    @property
    def states(self):
        return [entry.state for entry in self.world.journal.entries(PLAN.plan_id)]


@pytest.fixture
def watch(tmp_path):
    return Watch(tmp_path)


def test_nothing_is_looked_at_before_a_plan_is_begun(watch):
    watch.broker.is_down = True

    assert watch.look() == "no plan of execution session 2026-07-31 was begun, and nothing of an earlier one is open"


def test_orders_inside_their_service_level_are_left_alone(watch):
    watch.journalled(IntentState.SUBMITTING, IntentState.ACKNOWLEDGED)
    watch.broker.has(SPY, OrderStatus.NEW)

    assert watch.look(60) == "2 intents are under way, none beyond its service level"
    assert not watch.alerts


def test_an_order_that_is_not_acknowledged_is_told_once_however_often_it_is_looked_at(watch):
    watch.journalled(IntentState.SUBMITTING)
    assert watch.look(5).endswith("none beyond its service level")

    assert watch.look(10).startswith("1 overdue (1 unacknowledged), 1 of them told now; the gravest: SPY was sent 15 s")
    assert watch.look(30).startswith("1 overdue (1 unacknowledged), 0 of them told now")

    (alert,) = watch.alerts
    assert alert.key == f"order_watchdog:unacknowledged:{SPY.client_order_id}"
    assert (alert.severity, alert.title) == (Severity.CRITICAL, "Order unacknowledged: SPY")
    assert f"Order {SPY.client_order_id} was sent 15 s ago" in alert.text


def test_an_alert_is_told_once_across_restarts(watch, tmp_path):
    watch.journalled(IntentState.SUBMITTING)
    watch.look(15)
    started_anew = Watch(tmp_path)

    assert "0 of them told now" in started_anew.look(20)
    assert len(started_anew.alerts) == 1


def test_a_second_kind_of_lateness_of_the_same_order_is_told_as_well(watch):
    watch.journalled(IntentState.SUBMITTING)
    watch.look(15)
    watch.broker.has(SPY, OrderStatus.PENDING_NEW, submitted_at=IN_THE_WINDOW)
    watch.look(30)

    assert [(alert.title, alert.severity) for alert in watch.alerts] == [
        ("Order unacknowledged: SPY", Severity.CRITICAL),
        ("Order pending: SPY", Severity.WARNING),
    ]


def test_the_service_levels_are_those_of_the_settings(tmp_path):
    watch = Watch(tmp_path, acknowledge_within_seconds=100)
    watch.journalled(IntentState.SUBMITTING)

    assert watch.look(99).endswith("none beyond its service level")
    assert watch.look(10).startswith("1 overdue")


def test_an_order_of_ours_of_which_no_journal_knows_is_told(watch):
    watch.journalled()
    stranger = buy("QQQ", "1", plan_id="2026-07-30.7")
    watch.broker.has(stranger, OrderStatus.NEW)

    assert "1 unjournalled" in watch.look()
    assert watch.alerts[0].title == "Order unjournalled: QQQ"


def test_figures_of_every_kind_are_recorded_at_each_look(watch):
    watch.journalled(IntentState.SUBMITTING)
    watch.look(15)
    watch.look(30)

    data = read_metrics(watch.world.home.metrics)
    gauges = [(datum.labels["kind"], datum.value) for datum in data if datum.name == "orders_overdue"]
    assert gauges.count(("unacknowledged", 1)) == 2
    assert gauges.count(("pending", 0)) == 2
    assert [datum.labels["kind"] for datum in data if datum.name == "order_alerts"] == ["unacknowledged"]


def test_the_trading_state_is_left_alone_unless_the_settings_say_so(watch):
    watch.journalled(IntentState.SUBMITTING)
    watch.look(15)

    assert watch.world.trading_state.read().mode is TradingMode.ACTIVE


def test_an_overdue_order_reduces_where_the_settings_say_so(tmp_path):
    watch = Watch(tmp_path, reduce_on_overdue=True)
    watch.journalled(IntentState.SUBMITTING)
    watch.look(5)
    assert watch.world.trading_state.read().mode is TradingMode.ACTIVE

    watch.look(10)

    state = watch.world.trading_state.read()
    assert (state.mode, state.set_by, state.set_at) == (TradingMode.REDUCING, "order_watchdog", watch.now)
    assert state.reason == f"order {SPY.client_order_id} unacknowledged"


def test_an_overdue_order_never_loosens_a_halt(tmp_path):
    watch = Watch(tmp_path, reduce_on_overdue=True)
    halt = TradingState(TradingMode.HALTED, "by hand", "a person", IN_THE_WINDOW)
    watch.world.trading_state.write(halt)
    watch.journalled(IntentState.SUBMITTING)
    watch.look(15)

    state = watch.world.trading_state.read()
    assert (state.mode, state.reason, state.set_by) == (halt.mode, halt.reason, halt.set_by)
    assert state.latch("order_watchdog").mode is TradingMode.REDUCING


def test_what_was_never_sent_is_abandoned_when_the_window_ends(watch):
    watch.journalled()
    watch.now = AFTER_THE_WINDOW

    assert watch.look() == "0 intents are under way, none beyond its service level"
    assert watch.states == [IntentState.ABANDONED] * 2


def test_what_was_sent_is_unfinished_after_the_window_and_settled_after_the_close(watch):
    watch.journalled(IntentState.SUBMITTING, IntentState.ACKNOWLEDGED)
    watch.broker.has(SPY, OrderStatus.NEW)
    watch.now = AFTER_THE_WINDOW

    assert "1 unfinished" in watch.look()
    watch.broker.has(SPY, OrderStatus.EXPIRED)
    watch.now = IN_THE_EVENING
    assert watch.look() == "session 2026-07-31 is over, and every intent of it has ended"
    assert watch.states == [IntentState.ABANDONED, IntentState.EXPIRED]


def test_an_order_that_works_on_after_the_close_is_cancelled_and_told(watch):
    watch.journalled(IntentState.SUBMITTING, IntentState.ACKNOWLEDGED)
    watch.broker.has(SPY, OrderStatus.NEW)
    watch.now = IN_THE_EVENING

    watch.look()

    assert watch.broker.cancelled == ["venue-SPY"]
    assert [alert.title for alert in watch.alerts] == ["Order unfinished: SPY"]


def test_on_the_next_session_nothing_is_left_to_look_at(watch):
    watch.journalled(IntentState.SUBMITTING)
    watch.now = THE_NEXT_SESSION

    assert watch.look() == "no plan of execution session 2026-08-03 was begun, and nothing of an earlier one is open"
    assert watch.states == [IntentState.ABANDONED] * 2


def evaluated(watch):
    tick = order_watchdog(45).evaluate_tick(dg.build_sensor_context(resources={"world": watch.world}))
    assert not tick.run_requests
    return tick.skip_message


def test_the_sensor_runs_by_itself_launches_nothing_and_says_what_it_found(watch):
    sensor = order_watchdog(45)

    assert (sensor.name, sensor.minimum_interval_seconds) == ("order_watchdog", 45)
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    assert evaluated(watch).startswith("no plan of execution session 2026-07-31 was begun")


def test_nothing_is_settled_by_the_word_of_another_account(watch):
    watch.journalled(IntentState.SUBMITTING)
    watch.world.endpoint = SimpleNamespace(fits=lambda account: False)
    watch.now = IN_THE_EVENING

    assert evaluated(watch).startswith("TradingHalted: mode simulated met account")
    assert watch.states == [IntentState.PLANNED, IntentState.SUBMITTING]


def test_a_broker_that_does_not_answer_is_said_and_asked_again_at_the_next_tick(watch):
    watch.journalled(IntentState.SUBMITTING)
    watch.broker.is_down = True

    assert evaluated(watch) == "DependencyUnavailable: nobody answers"
    watch.broker.is_down = False
    assert evaluated(watch).endswith("none beyond its service level")
