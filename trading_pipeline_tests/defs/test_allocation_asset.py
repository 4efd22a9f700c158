from dataclasses import dataclass, field
from datetime import date

import dagster as dg
import pytest

from trading_pipeline.adapters.storage.tables import DeltaTables
from trading_pipeline.application.audit_trail import AuditTrail
from trading_pipeline.defs.assets.allocation import allocation_asset
from trading_pipeline.defs.io_manager import DeltaIOManager
from trading_pipeline.defs.partitions import session_partitions
from trading_pipeline.domain import sessions
from trading_pipeline.domain.signals import Signal, SignalStatus, to_frame
from trading_pipeline.domain.strategies import Strategy
from trading_pipeline.domain.strategies.tree import Asset
from trading_pipeline.settings import Settings, StrategySettings
from trading_pipeline_tests.audit_builders import audit_in_memory
from trading_pipeline_tests.builders import bars_frame

FIRST = date(2026, 7, 28)
SECOND, THIRD = sessions.next_session(FIRST), sessions.next_session(FIRST, 2)
EVERY = {
    "often": Strategy("often", "Often", "Rebalanced every session.", Asset("TECL")),
    "seldom": Strategy("seldom", "Seldom", "Rebalanced by drift.", Asset("SVXY"), drift_threshold=0.1),
}
UPSTREAM = ("bars", "often_signal", "seldom_signal")


@dataclass
class StoredWorld:
    """What the asset asks of a world."""

    tables: DeltaTables
    settings: Settings
    audit: AuditTrail = field(default_factory=audit_in_memory)


class Desk:
    """The asset on real tables, with everything upstream of it written by hand."""

    def __init__(self, root, instance):
        shares = StrategySettings(capital_shares={"often": 0.5, "seldom": 0.5})
        self.world = StoredWorld(DeltaTables(str(root)), Settings(strategies=shares))
        self.asset = allocation_asset(EVERY)
        self.instance = instance

    def decide(self, session, svxy=None):
        """Materialise a session on which SVXY closed at ``svxy`` (None: no bar) and seldom wants halves of two."""
        tables = self.world.tables
        closes = {"TECL": {session: 100.0}, "BIL": {session: 90.0}} | ({"SVXY": {session: svxy}} if svxy else {})
        tables.upsert("bars", bars_frame(closes))
        for name, weights in {"often": {"TECL": 1.0}, "seldom": {"BIL": 0.5, "SVXY": 0.5}}.items():
            signal = Signal(name, session, SignalStatus.AVAILABLE, weights, None, "00")
            tables.replace_session(f"{name}_signal", session, to_frame(signal))
        sources = [dg.AssetSpec(name, partitions_def=session_partitions()) for name in UPSTREAM]
        manager = DeltaIOManager(tables)
        result = dg.materialize(
            [self.asset, *sources],
            instance=self.instance,
            partition_key=str(session),
            resources={"tables": manager, "io_manager": manager, "world": self.world},
            selection=[self.asset],
        )
        [event] = result.get_asset_materialization_events()
        shown = event.materialization.metadata["sleeves"].records
        return {row.data["strategy"]: row.data for row in shown}, self.weights(session)

    def weights(self, session):
        rows = self.world.tables.read("allocation", session, session)
        return {(row.strategy, row.symbol): row.weight for row in rows.itertuples()}


@pytest.fixture
def desk(tmp_path):
    with dg.DagsterInstance.ephemeral() as instance:
        yield Desk(tmp_path, instance)


def test_a_sleeve_is_held_until_it_has_drifted_too_far_and_is_then_rebalanced(desk):
    (first, _), (second, held), (third, rebalanced) = (
        desk.decide(session, close) for session, close in [(FIRST, 50.0), (SECOND, 60.0), (THIRD, 81.0)]
    )

    assert [sleeves["seldom"]["status"] for sleeves in (first, second, third)] == ["decided", "held", "decided"]
    # 0.5 x 60 / 50 = 0.6 of 1.1; then 6/11 x 81 / 60 = 8.1/11 of 13.1/11, which is 0.118 from a half.
    assert held == pytest.approx({("often", "TECL"): 0.5, ("seldom", "BIL"): 2.5 / 11, ("seldom", "SVXY"): 3 / 11})
    assert rebalanced == {("often", "TECL"): 0.5, ("seldom", "BIL"): 0.25, ("seldom", "SVXY"): 0.25}
    assert [sleeves["seldom"]["drift"] for sleeves in (first, second, third)] == ["", "0.0454545", "0.118321"]
    assert [sleeves["often"]["status"] for sleeves in (first, second, third)] == ["decided"] * 3


def test_what_hindered_the_measurement_of_a_drift_is_shown(desk):
    desk.decide(FIRST, 50.0)

    sleeves, weights = desk.decide(SECOND)

    assert sleeves["seldom"] == {
        "strategy": "seldom",
        "status": "decided",
        "decided_on": str(SECOND),
        "drift": "",
        "threshold": "0.1",
        "without_close": "SVXY",
    }
    assert weights[("seldom", "SVXY")] == 0.25


def test_a_drift_is_measured_over_sessions_that_nobody_decided(desk):
    desk.decide(FIRST, 50.0)
    long_after = sessions.next_session(FIRST, 60)

    sleeves, _ = desk.decide(long_after, 60.0)

    assert (sleeves["seldom"]["status"], sleeves["seldom"]["drift"]) == ("held", "0.0454545")


def test_after_a_pause_longer_than_what_is_remembered_the_target_is_taken(desk):
    desk.decide(FIRST, 50.0)

    sleeves, _ = desk.decide(sessions.next_session(FIRST, 61), 60.0)

    assert (sleeves["seldom"]["status"], sleeves["seldom"]["drift"]) == ("decided", "")


def test_deciding_a_session_again_holds_the_same_sleeve(desk):
    desk.decide(FIRST, 50.0)

    assert desk.decide(SECOND, 60.0) == desk.decide(SECOND, 60.0)
