import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from dbt_like_checks.contract import Severity, contract, tables
from trading_pipeline.definitions import wired
from trading_pipeline.defs.checks import blocking_checks, contract_of, promised_assets, singular_of
from trading_pipeline.defs.partitions import session_partitions, year_partitions
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.strategies import STRATEGIES
from trading_pipeline.settings import ScheduleSettings, Settings

ROOT = Path(__file__).resolve().parents[2]

# asset: (group, what it is made from, kinds)
GRAPH = {
    "asset_catalog": ("market_data", set(), {"alpaca", "deltalake"}),
    "bars": ("market_data", set(), {"alpaca", "deltalake"}),
    "data_freshness": ("market_data", {"bars"}, {"deltalake"}),
    "indicators": ("indicators", {"bars", "data_freshness"}, {"pandas", "deltalake"}),
    "nuclear_signal": ("signals", {"indicators"}, {"deltalake"}),
    "tecl_signal": ("signals", {"indicators"}, {"deltalake"}),
    "klm_signal": ("signals", {"indicators"}, {"deltalake"}),
    "allocation": ("allocation", {"bars", "nuclear_signal", "tecl_signal", "klm_signal"}, {"deltalake"}),
    "portfolio_snapshot": ("orders", {"bars", "asset_catalog"}, {"alpaca", "deltalake"}),
    "order_plan": ("orders", {"allocation", "portfolio_snapshot", "bars", "asset_catalog"}, {"deltalake"}),
    "approved_orders": (
        "orders",
        {"order_plan", "portfolio_snapshot", "allocation", "asset_catalog", "data_freshness", "bars"},
        {"deltalake"},
    ),
    "risk_report": (
        "risk",
        {"approved_orders", "portfolio_snapshot", "allocation", "asset_catalog", "bars"},
        {"deltalake"},
    ),
    "fills": ("fills", {"approved_orders"}, {"alpaca", "deltalake"}),
    "execution_quality": ("fills", {"fills"}, {"deltalake"}),
    "reconciliation": ("fills", {"fills", "portfolio_snapshot"}, {"alpaca", "deltalake"}),
    "performance": ("fills", {"fills", "portfolio_snapshot"}, {"deltalake"}),
}
RESEARCH = {
    "signal_history": ("research", set(), {"pandas", "deltalake"}),
    "strategy_diversity": ("research", {"signal_history"}, {"pandas", "deltalake"}),
    "sizing_comparison": ("research", {"signal_history"}, {"pandas", "deltalake"}),
    "tail_backtest": ("research", {"signal_history"}, {"pandas", "deltalake"}),
    "risk_history": ("research", {"signal_history"}, {"pandas", "deltalake"}),
}
# Shown as it lies among the objects: without a table of its own there is no contract.
SHOWN = {"trading_state": ("risk", set(), {"json"})}
# A file for each session, and no table either.
PAGES = {
    "daily_report": (
        "fills",
        {"fills", "reconciliation", "execution_quality", "performance", "risk_report"},
        {"html"},
    ),
}
KILL = {"liquidate", "kill_halt", "kill_reduce", "kill_reset", "kill_status"}
PLACED = {"fills", "execution_quality", "reconciliation", "performance"}
JOBS = {"decide": set(GRAPH) - PLACED, "place_orders": PLACED | set(PAGES), "warm_bars": {"bars"}}
SCHEDULES = {
    "decide_after_close": ("decide", ["30 13 * * 1-5", "30 16 * * 1-5"]),
    "warm_bars_before_open": ("warm_bars", "45 8 * * 1-5"),
}

IMPORT_ONLY = """
import sys
import alpaca, dagster, deltalake, exchange_calendars, numpy, pandas, pydantic, yaml  # noqa: F401 - not ours

touched = []
def watch(event, arguments):
    if event == "open" and not str(arguments[0]).endswith((".py", ".pyc")):
        touched.append(str(arguments[0]))
    if event.startswith(("socket.", "sqlite3.", "subprocess.", "os.mkdir", "os.rename")):
        touched.append(event)
sys.addaudithook(watch)
import trading_pipeline.definitions
assert "trading_pipeline.definitions" in sys.modules
sys.exit("\\n".join(touched) or 0)
"""


@pytest.fixture(scope="module")
def graph():
    return wired(Settings(), world=object(), tables=dg.mem_io_manager)


@pytest.fixture(scope="module")
def assets(graph):
    return {spec.key.to_user_string(): spec for spec in graph.resolve_all_asset_specs()}


@pytest.fixture(scope="module")
def checks(graph):
    """The specifications of the checks of each asset of both graphs."""
    found = {asset: [] for asset in GRAPH | RESEARCH}
    for definition in graph.asset_checks:
        for spec in definition.check_specs:
            found[spec.asset_key.to_user_string()].append(spec)
    return found


def test_the_graph_is_the_one_that_is_drawn_here(assets):
    drawn = {
        name: (spec.group_name, {dep.asset_key.to_user_string() for dep in spec.deps}, set(spec.kinds))
        for name, spec in assets.items()
    }

    assert drawn == GRAPH | RESEARCH | SHOWN | PAGES


def test_every_asset_is_described_owned_and_versioned(assets):
    for spec in assets.values():
        assert len(spec.description) > 40, spec.key
        assert list(spec.owners) == ["team:trading"]
        assert spec.code_version == "1"


def test_a_person_sees_which_asset_trades_when_it_is_materialised(assets):
    trades = {name: assets[name].tags["trading_pipeline/trades"] for name in GRAPH}

    assert {name for name, when in trades.items() if when != "never"} == {"fills"}
    assert trades["fills"] == "inside-its-window-only"
    assert {assets[name].tags["trading_pipeline/stage"] for name in GRAPH} == {GRAPH[name][0] for name in GRAPH}


def test_every_asset_has_a_partition_for_every_session(assets):
    assert {assets[name].partitions_def for name in GRAPH | PAGES} == {session_partitions()}
    assert {assets[name].partitions_def for name in SHOWN} == {None}
    assert {name: assets[name].partitions_def for name in RESEARCH} == {
        "signal_history": year_partitions(),
        "strategy_diversity": None,
        "sizing_comparison": None,
        "tail_backtest": None,
        "risk_history": None,
    }


def test_every_asset_names_the_columns_that_its_contract_promises(assets):
    for name in GRAPH | RESEARCH:
        spec = assets[name]
        shown = spec.metadata["dagster/column_schema"].columns
        promised = contract_of(name).columns
        assert {column.name for column in shown} == {column.name for column in promised}, name
        assert all(column.type for column in shown)


def test_every_promise_of_a_contract_is_a_check_of_its_asset(checks):
    for asset, specs in checks.items():
        promised = (*contract_of(asset).promises, *singular_of(asset))
        assert [spec.name for spec in specs] == [promise.name for promise in promised], asset


def test_every_contract_is_kept_by_an_asset():
    assert {contract_of(asset).table for asset in GRAPH | RESEARCH} == set(tables())
    assert set(promised_assets(STRATEGIES)) == set(GRAPH)


def test_every_check_is_of_one_partition_and_blocks_exactly_where_a_broken_promise_must_stop_trading(checks, assets):
    for asset, specs in checks.items():
        promised = (*contract_of(asset).promises, *singular_of(asset))
        severity = {promise.name: promise.severity for promise in promised}
        for spec in specs:
            assert spec.partitions_def == assets[asset].partitions_def
            assert spec.blocking == (severity[spec.name] is Severity.ERROR), spec.key
            assert spec.description


def test_the_gate_waits_for_every_blocking_check(checks):
    blocking = {asset: [spec.name for spec in checks[asset] if spec.blocking] for asset in GRAPH}

    assert blocking_checks(STRATEGIES) == blocking
    assert all(blocking.values())


def test_promises_that_are_only_shown_are_these():
    shown = {
        (asset, promise.name)
        for asset in GRAPH
        for promise in (*contract_of(asset).promises, *singular_of(asset))
        if promise.severity is Severity.WARN
    }

    assert shown == {
        ("bars", "close_is_within_the_range"),
        ("order_plan", "increasing_sequence"),
        ("approved_orders", "increasing_sequence"),
        ("approved_orders", "not_null_breaches"),
        ("execution_quality", "accepted_range_slippage_bps"),
        ("execution_quality", "latencies_are_not_negative"),
        ("execution_quality", "fills_and_orders_add_up"),
        ("reconciliation", "nothing_is_broken"),
        ("performance", "little_moves_without_an_execution"),
    }


def test_jobs_select_these_assets_with_all_of_their_checks(graph, checks):
    for name, selected in JOBS.items():
        job = graph.resolve_job_def(name)
        assert {key.to_user_string() for key in job.asset_layer.selected_asset_keys} == selected
        assert job.asset_layer.asset_graph.asset_check_keys >= {
            spec.key for asset in selected - set(PAGES) for spec in checks[asset]
        }
        assert job.partitions_def == session_partitions()
        assert job.description


def test_runs_are_one_process_each_those_of_the_ui_and_of_backfills_too(graph):
    jobs = graph.resolve_all_job_defs()

    assert {job.name for job in jobs} == {*JOBS, *KILL, "research_history", "__ASSET_JOB"}
    assert {job.executor_def.name for job in jobs} == {"in_process"}


def test_there_are_no_other_jobs_schedules_and_sensors(graph):
    assert {job.name for job in graph.jobs} == {*JOBS, *KILL, "research_history"}
    assert {schedule.name for schedule in graph.schedules} == set(SCHEDULES)
    assert [sensor.name for sensor in graph.sensors] == [
        "order_placement_sensor",
        "order_watchdog",
        "risk_watch",
        "liquidation_watch",
        "failed_check_alerts",
        "run_failure_alerts",
        "deadline_watch",
        "heartbeat",
        "alert_delivery",
    ]


def test_schedules_tick_by_the_clock_of_new_york(graph):
    for name, (job, cron) in SCHEDULES.items():
        schedule = graph.resolve_schedule_def(name)
        assert (schedule.job_name, schedule.cron_schedule) == (job, cron)
        assert schedule.execution_timezone == "America/New_York"
        assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
        assert schedule.description


def test_the_sensor_looks_as_often_as_the_settings_say():
    sensor = wired(Settings(schedule=ScheduleSettings(sensor_interval_seconds=17)), world=object()).sensors[0]

    assert sensor.minimum_interval_seconds == 17
    assert sensor.job_name == "place_orders"
    assert sensor.description.startswith("Launches place_orders")
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING


def test_wiring_warns_of_nothing(recwarn):
    from trading_pipeline.defs.checks import contract_checks

    contract_checks.cache_clear()
    wired(Settings(), world=object(), tables=dg.mem_io_manager).get_repository_def()

    assert [str(warning.message) for warning in recwarn] == []


def run(*command, **environment):
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_importing_the_definitions_reads_no_settings_and_opens_nothing(tmp_path):
    done = run(
        "-c",
        IMPORT_ONLY,
        TRADING_PIPELINE_SETTINGS=str(tmp_path / "not there.yaml"),
        TRADING_MODE="nonsense",
        TRADING_PIPELINE_HOME=str(tmp_path / "home"),
    )

    assert (done.returncode, done.stderr.strip()) == (0, "")
    assert not list(tmp_path.iterdir())


def test_broken_settings_are_named_when_the_definitions_are_asked_for(tmp_path, monkeypatch):
    from trading_pipeline.definitions import defs

    monkeypatch.setenv("TRADING_PIPELINE_SETTINGS", str(tmp_path / "not there.yaml"))

    with pytest.raises(InvalidInput, match=r"not there\.yaml cannot be read"):
        defs()


def test_dagster_accepts_the_workspace(tmp_path):
    done = run(
        "-W", "ignore", "-m", "dagster", "definitions", "validate", "-w", "workspace.yaml",
        PYTHONWARNINGS="ignore",
        TRADING_PIPELINE_HOME=str(tmp_path / "home"),
        DAGSTER_HOME="",
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "Validation successful for code location trading_pipeline" in done.stdout + done.stderr
    assert not list(tmp_path.iterdir()), "looking at the definitions makes no folder"


def test_workspace_and_project_name_one_location():
    import tomllib

    import yaml

    [location] = yaml.safe_load((ROOT / "workspace.yaml").read_text(encoding="utf-8"))["load_from"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["dagster"]

    assert location["python_module"]["module_name"] == project["module_name"]
    assert location["python_module"]["location_name"] == project["code_location_name"]


def test_contracts_are_named_for_their_tables():
    for name in tables():
        assert contract(name).table == name
