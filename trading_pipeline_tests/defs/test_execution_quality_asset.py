"""The asset over a scripted broker, a real journal and real tables: no simulator is needed to look back."""

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import dagster as dg
import pytest

from trading_pipeline.adapters.metrics import MetricsFile, summary
from trading_pipeline.adapters.request_quota import QuotaHealth
from trading_pipeline.adapters.resilience import CallHealth, Health, Verb
from trading_pipeline.adapters.storage.objects import FileObjects, StoredPlans
from trading_pipeline.adapters.storage.tables import DeltaTables
from trading_pipeline.application.execution import execute
from trading_pipeline.defs.assets.execution_quality import execution_quality
from trading_pipeline.defs.io_manager import DeltaIOManager
from trading_pipeline.domain.errors import DataError
from trading_pipeline.domain.orders import OrderStatus
from trading_pipeline_tests.builders import INSIDE_WINDOW, RULES, SESSION, Step, buy, make_plan, make_venue, sell

CALLS = {
    Verb.READ: CallHealth(Verb.READ, calls=7, retries=2),
    Verb.ORDER: CallHealth(Verb.ORDER, calls=2),
}
HEALTH = Health("trading", CALLS, QuotaHealth(200, 191, None, waits=1, waited_seconds=0.5))
EVERYTHING = ("filled", "canceled", "rejected", "expired", "abandoned")


@pytest.fixture
def world(tmp_path):
    venue = make_venue(tmp_path)
    metrics = tmp_path / "metrics.jsonl"
    return SimpleNamespace(
        venue=venue,
        journal=venue.journal,
        portfolio=venue.broker.portfolio,
        plans=StoredPlans(FileObjects(tmp_path / "objects")),
        tables=DeltaTables(str(tmp_path / "tables")),
        trading_api=SimpleNamespace(health=lambda: HEALTH),
        data_api=SimpleNamespace(health=lambda: HEALTH),
        metrics=MetricsFile(metrics, lambda: INSIDE_WINDOW),
        recorded=lambda: summary(metrics),
    )


def look_back(world):
    """Materialise the asset; return its rows and its metadata."""
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [execution_quality],
            partition_key=str(SESSION),
            instance=instance,
            resources={
                "world": dg.ResourceDefinition.hardcoded_resource(world),
                "tables": DeltaIOManager(world.tables),
            },
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
    [event] = result.get_asset_materialization_events()
    told = {name: getattr(value, "value", value) for name, value in event.materialization.metadata.items()}
    return world.tables.read("execution_quality", SESSION, SESSION), told


def placed(world, *orders):
    plan = world.plans.put_if_absent(make_plan(*orders))
    execute(plan, world.venue, RULES)
    return plan


def test_what_was_executed_is_a_row_an_order_and_numbers_to_plot(world):
    plan = placed(world, sell("TLT", "4"), buy("SPY", "2"))

    frame, told = look_back(world)

    assert dict(zip(frame["symbol"], frame["filled_quantity"], strict=True)) == {"TLT": 4, "SPY": 2}
    assert set(frame["state"]) == {"filled"}
    assert set(frame["arrival_mid"]) == {100}
    assert (told["plan_id"], told["intents"], told["filled"], told["resends"]) == (plan.plan_id, 2, 2, 0)
    assert told["submit_to_ack_p95_seconds"] >= 0
    # The scripted broker fills at the limit, which lies a tenth of a percent beyond the quote.
    assert told["slippage_bps"] == pytest.approx(10)
    assert "data:image/svg+xml;base64," in told["latencies"]
    assert len(told["latency_histogram"].records) == 14
    assert [record.data["symbol"] for record in told["orders"].records] == ["TLT", "SPY"]


@pytest.mark.parametrize(
    ("quota", "told"),
    [
        (HEALTH.quota, {"requests_made": 9, "requests_repeated": 2, "requests_held_back": 1, "requests_left": 191}),
        (replace(HEALTH.quota, remaining=None), {"requests_made": 9, "requests_repeated": 2, "requests_held_back": 1}),
        (None, {"requests_made": 9, "requests_repeated": 2}),
    ],
)
def test_what_the_orders_took_of_the_quota_is_told_where_it_is_known(world, quota, told):
    world.trading_api.health = lambda: replace(HEALTH, quota=quota)
    placed(world)

    _, metadata = look_back(world)

    assert {name: value for name, value in metadata.items() if name.startswith("requests_")} == told


def test_metrics_of_a_plan_are_recorded_once(world):
    placed(world, sell("TLT", "4"), buy("SPY", "2"))

    look_back(world)
    look_back(world)

    found = world.recorded()
    assert found.counters == {
        'orders_total{side="sell",state="filled"}': 1,
        'orders_total{side="buy",state="filled"}': 1,
    }
    assert len(found.observations['submit_to_ack_seconds{side="buy"}']) == 1


def test_metrics_wait_until_every_intent_is_over(world):
    world.venue.broker.steps["SPY"] = (Step(OrderStatus.NEW),)
    world.venue.broker.deaf_to_cancels = True
    placed(world, buy("SPY", "2"))

    frame, told = look_back(world)

    assert list(frame["filled_quantity"]) == [0]
    assert [told[state] for state in EVERYTHING] == [0] * 5
    assert "slippage_bps" not in told
    assert world.recorded().counters == {}


def test_a_quiet_day_is_an_empty_table_and_records_nothing(world):
    placed(world)

    frame, told = look_back(world)

    assert frame.empty
    assert (told["intents"], told["filled"]) == (0, 0)
    assert world.recorded().counters == {}


def test_a_session_without_a_plan_is_said_to_have_none(world):
    with pytest.raises(DataError, match=f"session {SESSION} has no executable plan"):
        look_back(world)


def test_a_plan_that_was_superseded_is_not_looked_at(world):
    world.plans.put_if_absent(make_plan(buy("GLD", "1")))
    second = world.plans.put_if_absent(
        make_plan(buy("SPY", "2"), version=2, created_at=INSIDE_WINDOW - timedelta(hours=1))
    )
    execute(second, world.venue, RULES)

    frame, _ = look_back(world)

    assert set(frame["plan_id"]) == {second.plan_id}
