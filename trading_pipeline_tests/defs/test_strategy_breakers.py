from datetime import date, timedelta
from types import SimpleNamespace

import dagster as dg
import pytest

from trading_pipeline.adapters.notifiers import AlertOutbox
from trading_pipeline.adapters.storage.tables import DeltaTables
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

DAYS = sessions.sessions_between(date(2026, 7, 20), date(2026, 7, 31))
NAMES = ("steady", "frail")
UPSTREAM = ("bars", "steady_signal", "frail_signal")
EVERY = {name: Strategy(name, name.title(), "Holds one fund.", Asset("TECL")) for name in NAMES}


class Desk:
    """The asset on real tables, decided in the evening of each session."""

    def __init__(self, root, instance, **chosen):
        shares = StrategySettings(capital_shares={"steady": 0.5, "frail": 0.5}, **chosen)
        self.now = None
        self.world = SimpleNamespace(
            tables=DeltaTables(str(root / "tables")),
            settings=Settings(strategies=shares),
            clock=SimpleNamespace(now=lambda: self.now),
            notifier=AlertOutbox(root / "alerts.sqlite"),
            audit=audit_in_memory(),
        )
        self.asset, self.instance = allocation_asset(EVERY), instance

    def decide(self, session, *, is_known, days_later=0):
        """Decide a session on which frail has a signal or none, and return what is shown of its breaker."""
        self.now = sessions.close_of(session) + timedelta(days=days_later, minutes=30)
        tables = self.world.tables
        tables.upsert("bars", bars_frame({"TECL": {session: 100.0}}))
        for name in NAMES:
            known = Signal(name, session, SignalStatus.AVAILABLE, {"TECL": 1.0}, None, "00")
            unknown = Signal(name, session, SignalStatus.UNAVAILABLE, {}, "rsi(KMLM,10) is missing", "00")
            signal = known if is_known or name == "steady" else unknown
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
        rows = event.materialization.metadata["breakers"].records
        return {row.data["strategy"]: row.data for row in rows}["frail"]

    def held(self, session):
        rows = self.world.tables.read("allocation", session, session)
        return {row.symbol for row in rows.itertuples() if row.strategy == "frail"}

    @property
    def told(self):
        return [alert.text for alert in self.world.notifier.alerts()]


@pytest.fixture
def make_desk(tmp_path):
    with dg.DagsterInstance.ephemeral() as instance:
        yield lambda **chosen: Desk(tmp_path, instance, **chosen)


def test_a_breaker_opens_is_told_once_and_closes_after_its_cool_down(make_desk):
    desk = make_desk(max_carried_sessions=1, breaker_cool_down_sessions=2, safe_assets={"frail": "SHY"})

    shown = [
        desk.decide(day, is_known=known) for day, known in zip(DAYS, (True, False, False, True, True), strict=False)
    ]

    assert [row["status"] for row in shown] == ["closed", "failing", "open", "cooling down", "closed"]
    assert [desk.held(day) for day in DAYS[:5]] == [{"TECL"}, {"TECL"}, {"SHY"}, {"SHY"}, {"TECL"}]
    assert shown[2] == {
        "strategy": "frail",
        "status": "open",
        "failures": "2",
        "opened_on": str(DAYS[2]),
        "counts_from": str(DAYS[4]),
        "safe_asset": "SHY",
    }
    assert desk.told == [
        f"frail had no signal that counted for 2 sessions. Its sleeve is in SHY since session {DAYS[2]}; from "
        f"{DAYS[4]} on its signals count again. See the reason of its signal."
    ]


def test_history_that_is_decided_again_tells_nobody(make_desk):
    desk = make_desk(max_carried_sessions=0)

    for day, known in zip(DAYS, (True, False), strict=False):
        desk.decide(day, is_known=known, days_later=5)

    assert (desk.held(DAYS[1]), desk.told) == ({"BIL"}, [])


def test_a_safe_asset_that_nobody_knows_or_of_a_strategy_without_capital_is_refused():
    for wrong, message in (({"frail": "NOPE"}, "not a known symbol"), ({"other": "SHY"}, "gives nothing")):
        with pytest.raises(ValueError, match=message):
            StrategySettings(capital_shares={"frail": 1.0}, safe_assets=wrong)
