import base64
import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import dagster as dg
import numpy as np
import pytest

from trading_pipeline.adapters.clocks import WallClock
from trading_pipeline.adapters.metrics import NoMetrics
from trading_pipeline.application.audit_trail import AuditTrail
from trading_pipeline.defs.assets.signals import explanation, signal_asset
from trading_pipeline.domain.indicators import Indicator
from trading_pipeline.domain.readings import IndicatorPanel
from trading_pipeline.domain.smoothing import Smoothing
from trading_pipeline.domain.strategies import Strategy
from trading_pipeline.domain.strategies.rationale import explain
from trading_pipeline.domain.strategies.tree import Asset, equal, group, if_, readings, rsi, top
from trading_pipeline_tests.audit_builders import audit_in_memory

SESSION = date(2026, 7, 31)
NOW = datetime(2026, 7, 31, 20, 30, tzinfo=UTC)
MINE = Strategy(
    "mine", "Mine", "A tree for tests.", if_(rsi("SPY", 10) > 79, "UVXY", top(1, "A", "B", by=Indicator.RSI, window=9))
)


class Clock:
    def now(self):
        return NOW


@dataclass
class World:
    """As much of the world as a signal asks for."""

    smoothing: Smoothing = Smoothing.WILDER
    clock: Clock = field(default_factory=Clock)
    wall: WallClock = field(default_factory=WallClock)
    metrics: NoMetrics = field(default_factory=NoMetrics)
    audit: AuditTrail = field(default_factory=audit_in_memory)


class Tables(dg.IOManager):
    """Indicators as they were stored; what is handed in is forgotten."""

    def __init__(self, indicators):
        self._indicators = indicators

    def handle_output(self, context, obj):
        pass

    def load_input(self, context):
        return self._indicators


def panel_of(node, **values):
    wanted = readings(node)
    return IndicatorPanel((SESSION,), wanted, np.array([[values.get(reading.symbol, 50.0) for reading in wanted]]))


def decided(**values):
    """Materialise the signal on stated readings: its metadata, and what was logged."""
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [signal_asset(MINE), dg.AssetSpec("indicators").with_io_manager_key("tables")],
            instance=instance,
            partition_key=str(SESSION),
            resources={"world": World(), "tables": Tables(panel_of(MINE.tree, **values).to_frame(SESSION))},
        )
        logged = [entry.user_message for entry in instance.all_logs(result.run_id)]
    [event] = result.get_asset_materialization_events()
    return {name: value.value for name, value in event.materialization.metadata.items()}, logged


def drawing_in(markdown):
    head, encoded = markdown.removesuffix(")").split(";base64,")
    assert head == "![the path of the session](data:image/svg+xml"
    return base64.b64decode(encoded).decode()


def test_a_signal_shows_the_path_that_led_to_it_as_text_drawing_and_data():
    metadata, _ = decided(A=60.0)

    assert metadata["rationale"].startswith("```text\nmine, session 2026-07-31: A 100%\n  rsi(SPY,10) = 50.00 > 79?")
    assert metadata["rationale"].endswith("\n```")
    assert "mine, session 2026-07-31: A 100%" in drawing_in(metadata["decision_path"])
    assert metadata["rationale_data"]["weights"] == {"A": 1.0}
    assert [step["kind"] for step in metadata["rationale_data"]["steps"]] == ["if", "filter", "asset"]
    assert metadata["rationale_data"]["steps_left_out"] == 0


def test_a_decision_is_one_event_in_the_log_and_in_the_record():
    metadata, logged = decided(A=60.0)

    wanted = {
        "event": "strategy_signal",
        "strategy": "mine",
        "session": "2026-07-31",
        "status": "available",
        "reason": None,
        "symbols": {"A": 1.0},
        "inputs_hash": metadata["inputs_hash"],
        "decided_at": "2026-07-31T20:30:00+00:00",
    }
    assert metadata["strategy_signal"] == wanted
    [event] = [json.loads(message) for message in logged if message.startswith('{"event": "strategy_signal"')]
    assert event == wanted


def test_an_unavailable_signal_is_an_event_too_and_shows_where_its_path_ends():
    metadata, _ = decided(SPY=np.nan)

    event = metadata["strategy_signal"]
    assert (event["status"], event["symbols"], event["reason"]) == ("unavailable", {}, "rsi(SPY,10) is missing")
    assert "rsi(SPY,10) = missing > 79?  cannot tell" in metadata["rationale"]
    assert metadata["rationale_data"]["reason"] == "rsi(SPY,10) is missing"


def test_the_same_readings_leave_the_same_record_however_long_it_took():
    first, second = decided(A=60.0)[0], decided(A=60.0)[0]

    assert {**first, "decision_seconds": 0} == {**second, "decision_seconds": 0}
    assert all(0 < record["decision_seconds"] < 60 for record in (first, second))


def test_a_name_cannot_end_the_fence_of_the_text():
    node = group("```\n<b>bold</b>", Asset("A"))

    [first, *_, last] = explanation("mine", explain(node, panel_of(node)))["rationale"].value.splitlines()

    assert (first, last) == ("```text", "```")
    assert explanation("mine", explain(node, panel_of(node)))["rationale"].value.count("```") == 2


def test_the_record_of_a_long_path_stays_small():
    tree = Asset("A")
    for level in range(1000):
        tree = if_(rsi("A", 10) > 60 + level / 100, "B", equal("C", tree))

    shown = explanation("mine", explain(tree, panel_of(tree)))

    assert len(shown["rationale_data"].value["steps"]) == 300
    assert shown["rationale_data"].value["steps_left_out"] == 1000 + 1000 + 2 - 300
    assert sum(len(json.dumps(value.value)) for value in shown.values()) < 250_000


@pytest.fixture(scope="module")
def day(market, line):
    session = market.close_next_session()
    at = market.control.now()
    return session, at, line.run("decide", session)


@pytest.mark.parametrize("strategy", ["nuclear", "tecl", "klm"])
def test_in_the_graph_the_path_holds_what_the_signal_says_and_the_broker_has_the_time(day, line, strategy):
    session, at, result = day
    assert result.success
    [shown] = [
        event.materialization.metadata
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey(f"{strategy}_signal")
    ]

    rows = line.rows(f"{strategy}_signal", session)
    weights = dict(zip(rows["symbol"], rows["weight"], strict=True))
    assert shown["rationale_data"].value["weights"] == pytest.approx(weights)
    assert shown["strategy_signal"].value["symbols"] == pytest.approx(weights)
    assert shown["strategy_signal"].value["inputs_hash"] == rows["inputs_hash"].iloc[0]
    assert shown["strategy_signal"].value["decided_at"] == at.isoformat()
    assert len(shown["decision_path"].value) < 30_000
