"""The pipeline says that it lives, and ``health`` notices when it stops."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace

import dagster as dg
import pandas as pd
import pytest

from trading_pipeline import __version__
from trading_pipeline.adapters.health_records import StoredHeartbeat, daemon_heartbeats, keeps_runs_itself
from trading_pipeline.adapters.metrics import summary
from trading_pipeline.adapters.storage.home import Home
from trading_pipeline.adapters.storage.liquidations import StoredLiquidations
from trading_pipeline.adapters.storage.objects import FileObjects
from trading_pipeline.application.health import Heartbeat, Level, heartbeat_from
from trading_pipeline.cli.health_server import health_routes
from trading_pipeline.defs.health_facts import HealthDesk
from trading_pipeline.defs.heartbeat import beat, heartbeat, last_session, sessions_behind
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain.errors import DataError, DependencyUnavailable, InvalidInput
from trading_pipeline.domain.liquidation import LiquidationRequest, LiquidationTrigger, Stage
from trading_pipeline.domain.portfolio import Portfolio
from trading_pipeline.domain.risk.trading_state import ACTIVE, Latch, TradingMode
from trading_pipeline.ports import Alert, IntentState, Severity
from trading_pipeline.settings import Mode, Settings
from trading_pipeline_tests.builders import ACCOUNT, buy, make_plan, sell

# Thursday's plan is traded on Friday.
PLAN = make_plan(sell("TLT", "10"), buy("SPY", "5"))
FRIDAY = datetime(2026, 7, 31, 14, tzinfo=UTC)
THURSDAY = date(2026, 7, 30)


class ReadTables:
    """Tables that hold nothing but sessions."""

    def __init__(self, **newest):
        self.newest = newest

    def read(self, name, first):
        if isinstance(self.newest.get(name), Exception):
            raise self.newest[name]
        days = [day for day in (self.newest.get(name),) if day and day >= first]
        return pd.DataFrame({"session": days})


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "market").prepared()


@pytest.fixture
def world(home):
    opened = TradingWorld(Settings(), home)
    opened.wall = SimpleNamespace(now=lambda: FRIDAY)
    opened.clock = SimpleNamespace(now=lambda: FRIDAY)
    opened.trading_state = SimpleNamespace(read=lambda: ACTIVE)
    opened.tables = ReadTables(bars=THURSDAY, reconciliation=date(2026, 7, 29))
    return opened


def silent(error):
    def answer(*_):
        raise error

    return SimpleNamespace(now=answer, read=answer)


def stored(home):
    return heartbeat_from(StoredHeartbeat(FileObjects(home.objects)).read())


def test_a_beat_says_what_a_person_asks_first_and_is_measured(world, home):
    beat(world)

    assert stored(home) == Heartbeat(FRIDAY, __version__, FRIDAY, "active", (), THURSDAY, 0, date(2026, 7, 29))
    assert summary(home.metrics).levels == {
        "heartbeat": FRIDAY.timestamp(),
        "trading_severity": 0,
        "bars_sessions_behind": 0,
    }


def test_what_cannot_be_found_out_is_a_fault_of_the_beat_and_the_heart_beats_on(world, home):
    world.clock = silent(DependencyUnavailable("the broker does not answer"))
    world.tables = ReadTables(bars=InvalidInput("the table is damaged"))

    beat(world)

    found = stored(home)
    assert found.faults == ("the broker does not answer", "the table is damaged")
    assert (found.market_time, found.bars_session, found.sessions_behind) == (None, None, None)


def test_a_trading_state_that_cannot_be_read_is_shown_as_halted(world, home):
    world.trading_state = silent(DependencyUnavailable("the disk fails"))

    beat(world)

    assert stored(home).trading == "halted"


def test_the_sensor_says_in_a_line_what_it_found(world):
    @dg.asset
    def bars():
        return 1

    definitions = dg.Definitions([bars], sensors=[heartbeat(30)])
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(instance, resources={"world": world}, definitions=definitions)
        tick = definitions.resolve_sensor_def("heartbeat").evaluate_tick(context)

    assert tick.skip_message == "trading is active, bars up to 2026-07-30"


@pytest.mark.parametrize(
    ("bars", "now", "behind"),
    [
        (date(2026, 7, 30), datetime(2026, 7, 31, 20, 30, tzinfo=UTC), 0),
        (date(2026, 7, 30), datetime(2026, 7, 31, 20, 45, tzinfo=UTC), 1),
        (date(2026, 7, 30), datetime(2026, 8, 3, 14, tzinfo=UTC), 1),
        (date(2026, 7, 31), datetime(2026, 7, 31, 20, 1, tzinfo=UTC), 0),
        # A half day ends at 13:00 New York; the day before is a holiday.
        (date(2026, 11, 25), datetime(2026, 11, 27, 18, 44, tzinfo=UTC), 0),
        (date(2026, 11, 25), datetime(2026, 11, 27, 18, 45, tzinfo=UTC), 1),
    ],
)
def test_bars_are_behind_once_their_session_was_to_be_decided(bars, now, behind):
    assert sessions_behind(bars, now, timedelta(minutes=30)) == behind


def test_a_table_without_rows_has_no_last_session():
    assert last_session(ReadTables(), "bars", FRIDAY) is None


def desk(home, now=FRIDAY, mode=Mode.SIMULATED, **environment):
    settings = Settings().model_copy(update={"mode": mode})
    return HealthDesk(settings, home, environment, SimpleNamespace(now=lambda: now, elapsed=lambda: 0.0))


def write_daemons(home, at):
    """Write them as Dagster's own tables hold them."""
    folder = home.dagster / "history"
    folder.mkdir()
    with closing(sqlite3.connect(folder / "runs.db")) as connection, connection:
        connection.execute("CREATE TABLE daemon_heartbeats (daemon_type TEXT, timestamp TIMESTAMP)")
        rows = [(kind, at.replace(tzinfo=None).isoformat(" ")) for kind in ("SENSOR", "SCHEDULER")]
        connection.executemany("INSERT INTO daemon_heartbeats VALUES (?, ?)", rows)


@pytest.fixture
def well(world, home):
    """A home in which all is well on Friday: decided, traded, compared, alive."""
    world.tables = ReadTables(bars=THURSDAY, reconciliation=THURSDAY)
    world.plans.put_if_absent(PLAN)
    world.journal.claim(PLAN, FRIDAY)
    world.journal.record(PLAN.orders[0].client_order_id, IntentState.FILLED, "", FRIDAY)
    write_daemons(home, FRIDAY)
    beat(world)
    return world


def levels(found):
    return {part.name: part.level for part in found.parts if part.level is not Level.HEALTHY}


def words(found, name):
    return next(part.text for part in found.parts if part.name == name)


def test_a_home_in_which_all_is_well_is_healthy(well, home):
    found = desk(home).health()

    assert levels(found) == {}
    assert "session 2026-07-30, 2 orders" in words(found, "decision")
    assert words(found, "orders").startswith("of session 2026-07-30: 1 filled, 1 planned")


def test_a_heartbeat_that_stopped_is_noticed_from_outside(well, home):
    assert levels(desk(home, FRIDAY + timedelta(seconds=181)).health()) == {
        "heartbeat": Level.UNHEALTHY,
        "daemon": Level.UNHEALTHY,
    }


def test_what_holds_trading_is_shown_at_once_and_the_brokers_own_flags_as_a_beat_found_them(well, home):
    found = desk(home, TRADING_HALT="reduce").health()
    assert words(found, "trading").startswith("reducing, held by environment TRADING_HALT")

    blocked = ACTIVE.latched(Latch("broker", TradingMode.HALTED, "it blocks the account", "broker", FRIDAY))
    well.trading_state = SimpleNamespace(read=lambda: blocked)
    beat(well)
    assert words(desk(home).health(), "trading") == "halted, held by broker: halted (it blocks the account)"
    later = desk(home, FRIDAY + timedelta(minutes=10)).health()
    assert words(later, "trading") == "active"


def test_a_persons_reset_counts_at_once_whatever_the_last_beat_said(well, home):
    by_hand = ACTIVE.latched(Latch("a person", TradingMode.HALTED, "odd", "a person", FRIDAY))
    well.trading_state = SimpleNamespace(read=lambda: by_hand)
    beat(well)

    assert words(desk(home).health(), "trading") == "active"


def test_a_decision_that_is_due_and_missing_is_unhealthy_from_its_deadline_on(well, home):
    """Friday's decision is executed on Monday, from 13:31 UTC on."""
    for minute, found in ((0, {}), (1, {"decision": Level.UNHEALTHY})):
        now = datetime(2026, 8, 3, 13, minute, tzinfo=UTC)
        well.clock = well.wall = SimpleNamespace(now=lambda now=now: now)
        well.tables = ReadTables(bars=date(2026, 7, 31), reconciliation=THURSDAY)
        beat(well)
        assert {name: level for name, level in levels(desk(home, now).health()).items() if name != "daemon"} == found


def test_critical_alerts_count_until_somebody_acknowledges_them(well, home):
    for severity in Severity:
        well.notifier.notify(Alert(severity, severity, "title", "text", FRIDAY))
    assert words(desk(home).health(), "alerts").startswith("1 critical unacknowledged")

    well.notifier.acknowledge(["critical"], "somebody")
    assert levels(desk(home).health()) == {}


def test_a_liquidation_that_was_agreed_to_is_shown_until_it_is_over(well, home):
    kept = StoredLiquidations(FileObjects(home.objects))
    asked = LiquidationRequest(LiquidationTrigger.PERSON, "drill", ACCOUNT, 3, FRIDAY, FRIDAY)
    agreed = replace(asked, stage=Stage.CONFIRMED, agreed_by="a person")
    kept.replace(None, asked)
    assert levels(desk(home).health()) == {}

    kept.replace(asked, agreed)
    assert levels(desk(home).health()) == {"liquidation": Level.DEGRADED}
    assert words(desk(home).health(), "liquidation").startswith("liq-3 is confirmed, agreed to by a person")

    kept.replace(agreed, replace(agreed, stage=Stage.OVER))
    assert levels(desk(home).health()) == {}


def test_parts_that_cannot_be_read_are_unknown_and_the_others_are_told(well, home):
    (home.objects / "health" / "heartbeat.json").write_text("{")
    (home.dagster / "history" / "runs.db").write_text("no database, and longer than a header of one" * 20)
    [plan] = (home.objects / "plans").rglob("*.json")
    plan.write_text("{}")
    (home.objects / "liquidations" / "requests" / ACCOUNT).mkdir(parents=True)
    (home.objects / "liquidations" / "requests" / ACCOUNT / "00000009.json").write_text("{}")

    assert levels(desk(home).health()) == {
        "heartbeat": Level.UNKNOWN,
        "daemon": Level.UNKNOWN,
        "liquidation": Level.UNKNOWN,
        "decision": Level.UNKNOWN,
        "data": Level.UNKNOWN,
        "reconciliation": Level.UNKNOWN,
    }


def test_a_home_in_which_nothing_ever_ran_is_unhealthy_and_one_that_is_not_there_cannot_be_told_of(home, tmp_path):
    assert desk(home).health().exit_code == 1
    with pytest.raises(DataError, match="nothing ran here"):
        desk(Home(tmp_path / "elsewhere")).health()


def test_looking_creates_nothing(home):
    before = sorted(home.folder.rglob("*"))
    desk(home).health()

    assert sorted(home.folder.rglob("*")) == before


def test_dagsters_own_record_of_its_daemons_is_read_as_dagster_reads_it(home):
    from dagster._daemon.types import DaemonHeartbeat

    assert daemon_heartbeats(home.dagster) == {}
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        instance.add_daemon_heartbeat(DaemonHeartbeat(FRIDAY.timestamp(), "SENSOR", "id", []))
        told = instance.get_daemon_heartbeats()["SENSOR"].timestamp

    assert daemon_heartbeats(home.dagster)["SENSOR"].timestamp() == told
    assert keeps_runs_itself(home.dagster)


def test_an_instance_on_postgres_is_asked_itself(home):
    (home.dagster / "dagster.yaml").write_text("storage:\n  postgres:\n    postgres_url: postgresql://here\n")

    assert not keeps_runs_itself(home.dagster)


def answered(asked):
    """Return status, body and headers of the route's answer; the server itself is for the command's tests."""
    [route] = health_routes(asked.health)
    answer = route.endpoint(None)
    return answer.status_code, json.loads(answer.body), answer.headers


def test_the_endpoint_answers_with_the_same_verdict_and_a_status_for_monitors(well, home):
    status, body, headers = answered(desk(home))
    assert (status, body["level"]) == (200, "healthy")
    assert headers["cache-control"] == "no-store"

    status, body, _ = answered(desk(home, FRIDAY + timedelta(hours=1)))
    assert (status, body["parts"]["heartbeat"]["level"]) == (503, "unhealthy")


def test_the_endpoint_of_a_home_that_is_not_there_says_so(tmp_path):
    status, body, _ = answered(desk(Home(tmp_path / "elsewhere")))

    assert (status, body["level"]) == (503, "unknown")


def test_the_account_of_these_tests_is_the_plans():
    assert Portfolio(ACCOUNT, FRIDAY, 0).account_number == PLAN.account_number
