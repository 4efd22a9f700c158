"""``performance`` and ``daily_report`` over real tables, without a broker: they read, and trade nothing."""

from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace

import dagster as dg
import pytest

from trading_pipeline.defs.assets import performance as performance_module
from trading_pipeline.defs.assets.daily_report import daily_report, plan_times
from trading_pipeline.defs.assets.performance import performance
from trading_pipeline.defs.assets.table_asset import table_asset
from trading_pipeline.defs.io_manager import DeltaIOManager
from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import DataError
from trading_pipeline.domain.fills import Fill
from trading_pipeline.domain.orders import Side
from trading_pipeline.settings import ObservabilitySettings, ReportSettings, Settings
from trading_pipeline_tests.reporting.session_tables import ACCOUNT, BEFORE, EXECUTION, SESSION, Read, held, usual_rows
from trading_pipeline_tests.reporting.stored_world import fill_tables, stored_world


@table_asset("portfolio_snapshot", "orders")
def snapshots():
    """Stands for the asset, whose table is there already."""


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A folder whose tables the tests of this module only read, or write the same again."""
    return stored_world(tmp_path_factory.mktemp("stored"))


def materialised(world, asset, tags=None, session=SESSION):
    """Materialise one asset; return its metadata."""
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [snapshots, performance, daily_report],
            selection=[asset.key.to_user_string()],
            partition_key=str(session),
            instance=instance,
            tags=tags,
            resources={
                "world": dg.ResourceDefinition.hardcoded_resource(world),
                "tables": DeltaIOManager(world.tables),
            },
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
    [event] = result.get_asset_materialization_events()
    return {name: getattr(value, "value", value) for name, value in event.materialization.metadata.items()}


def report_of(world):
    return Read((world.home.folder / "reports" / f"{EXECUTION}.html").read_text(encoding="utf-8"))


def test_performance_is_a_row_of_the_session_with_numbers_and_drawings(stored):
    told = materialised(stored, performance)
    [row] = stored.tables.read("performance", SESSION, SESSION).to_dict("records")

    assert (row["profit"], row["realised"], row["account_number"]) == (Decimal("109.5"), Decimal("39.5"), ACCOUNT)
    assert (told["profit"], told["realised"], told["equity"]) == (109.5, 39.5, 15121.75)
    assert (told["unrealised"], told["drawdown"], told["market"]) == (70.0, 0.0, "synthetic")
    assert all("image/svg+xml" in told[name] for name in ("equity_curve", "drawdown_curve", "weights_over_time"))


def test_the_first_session_has_no_profit_and_none_is_told(stored):
    told = materialised(stored, performance, session=BEFORE)

    assert told["equity"] == 15000.0
    assert not {"profit", "realised", "unrealised_change"} & set(told)


def test_a_model_portfolio_earns_nothing(tmp_path):
    rows = {"portfolio_snapshot": [held(SESSION, "CASH", "5", "1", "5", source="model")]}

    with pytest.raises(DataError, match="model portfolio"):
        materialised(stored_world(tmp_path, rows=rows), performance)


def test_the_report_is_a_page_with_its_path_and_headlines_as_metadata(stored):
    told = materialised(stored, daily_report)
    shown = report_of(stored)

    assert told["report"] == str(stored.home.folder / "reports" / f"{EXECUTION}.html")
    assert shown.headings[0] == f"Session {EXECUTION}"
    assert (told["orders"], told["executions"], told["realised"], told["profit"]) == (2, 2, 23.75, 109.5)
    assert "| Equity | $15,121.75 |" in told["headlines"]
    assert "1 order denied by the risk rules" in told["to_look_at"]


def test_the_report_reaches_people_once_and_says_so_with_the_mode(tmp_path):
    world = stored_world(tmp_path)
    for _ in range(2):
        materialised(world, daily_report)

    [alert] = world.notifier.alerts()
    assert (alert.key, alert.severity) == (f"report:{EXECUTION}", "info")
    assert alert.title.startswith("[simulated, synthetic market] Session 2026-07-31")
    assert "Orders and risk decisions" in alert.text
    assert "Orders and risk decisions" in Read(alert.html).headings


def test_no_mail_is_given_where_nobody_wants_it_in_a_backfill_and_before_orders_were_placed(tmp_path):
    quiet = stored_world(tmp_path / "quiet", Settings(reports=ReportSettings(email=False)))
    rows = {name: found for name, found in usual_rows().items() if name in {"portfolio_snapshot", "approved_orders"}}
    early = stored_world(tmp_path / "early", rows=rows)
    past = stored_world(tmp_path / "past")

    materialised(quiet, daily_report)
    materialised(early, daily_report)
    materialised(past, daily_report, tags={"dagster/backfill": "b"})

    assert [list(world.notifier.alerts()) for world in (quiet, early, past)] == [[], [], []]
    assert all(report_of(world) for world in (quiet, early, past)), "the page is written all the same"


def test_neutral_mode_hides_symbols_and_amounts_in_page_mail_and_metadata(tmp_path):
    world = stored_world(tmp_path, Settings(observability=ObservabilitySettings(neutral=True)))
    told = materialised(world, daily_report)
    page = (world.home.folder / "reports" / f"{EXECUTION}.html").read_text(encoding="utf-8")
    [alert] = world.notifier.alerts()

    for shown in (page, alert.html, alert.text, told["headlines"], told["to_look_at"]):
        assert not any(secret in shown for secret in ("TQQQ", "SPY", "GLD", "TLT", "15,121", "23.75"))


def test_plans_are_read_once_and_a_missing_one_is_asked_for_again(stored):
    asked = plan_times(stored)
    first = asked(SESSION)
    stored_plans = stored.plans
    stored.__dict__["plans"] = None
    try:
        assert asked(SESSION) == first is not None
    finally:
        stored.__dict__["plans"] = stored_plans
    assert asked(EXECUTION) is None


def test_an_emergency_sale_is_realised_although_no_table_holds_it(tmp_path, monkeypatch):
    rows = usual_rows()
    kept = [row for row in rows["fills"] if row["execution_id"] != "1"]
    world = stored_world(tmp_path)
    fill_tables(world, {"fills": [row for row in kept if row["session"] == BEFORE]})
    at = sessions.open_of(SESSION) + timedelta(hours=1)
    sale = Fill("9", "x", "SPY", Side.SELL, Decimal(4), Decimal(510), Decimal("0.5"), at)
    plan = SimpleNamespace(execution_session=SESSION)
    world.__dict__["plans"] = SimpleNamespace(liquidations=lambda account, session: [plan] if session == BEFORE else [])
    monkeypatch.setattr(performance_module, "report", lambda found, venue: SimpleNamespace(fills=(sale,)))
    monkeypatch.setattr(type(world), "venue", property(lambda self: None))

    told = materialised(world, performance)

    assert (told["realised"], told["profit"]) == (39.5, 109.5)
