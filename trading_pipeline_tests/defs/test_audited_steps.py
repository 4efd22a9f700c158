"""The steps of the graph leave their records in the audit log, and changes of the trading state do."""

import threading
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import dagster as dg
import numpy as np
import pytest

from trading_pipeline.adapters.clocks import WallClock
from trading_pipeline.adapters.metrics import NoMetrics
from trading_pipeline.adapters.storage.audit_verification import LogVerification
from trading_pipeline.adapters.storage.home import home_of
from trading_pipeline.adapters.storage.objects import FileObjects
from trading_pipeline.adapters.storage.tables import DeltaTables
from trading_pipeline.application.audit_trail import AuditTrail
from trading_pipeline.defs.assets.allocation import allocation_asset
from trading_pipeline.defs.assets.signals import signal_asset
from trading_pipeline.defs.io_manager import DeltaIOManager
from trading_pipeline.defs.partitions import session_partitions
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.defs.signal_names import signal_name
from trading_pipeline.domain.errors import DependencyUnavailable
from trading_pipeline.domain.readings import IndicatorPanel
from trading_pipeline.domain.risk.trading_state import TradingMode
from trading_pipeline.domain.signals import Signal, SignalStatus, to_frame
from trading_pipeline.domain.smoothing import Smoothing
from trading_pipeline.domain.strategies import Strategy
from trading_pipeline.domain.strategies.tree import Asset, if_, readings, rsi
from trading_pipeline.settings import Settings, StrategySettings
from trading_pipeline_tests.audit_builders import MemoryObjects, audit_in_memory
from trading_pipeline_tests.builders import bars_frame

SESSION = date(2026, 7, 31)
NOW = datetime(2026, 7, 31, 20, 30, tzinfo=UTC)
MINE = Strategy("mine", "Mine", "A tree for tests.", if_(rsi("SPY", 10) > 79, "UVXY", "SPY"))
ALWAYS = Strategy("always", "Always", "Holds one.", Asset("SPY"))


class Clock:
    def now(self):
        return NOW


@dataclass
class World:
    """As much of the world as the steps ask for."""

    audit: AuditTrail
    tables: DeltaTables | None = None
    settings: Settings = field(
        default_factory=lambda: Settings(strategies=StrategySettings(capital_shares={"always": 1.0}))
    )
    smoothing: Smoothing = Smoothing.WILDER
    clock: Clock = field(default_factory=Clock)
    wall: WallClock = field(default_factory=WallClock)
    metrics: NoMetrics = field(default_factory=NoMetrics)


class Indicators(dg.IOManager):
    def __init__(self, frame):
        self._frame = frame

    def handle_output(self, context, obj):
        pass

    def load_input(self, context):
        return self._frame


def signalled(objects):
    wanted = readings(MINE.tree)
    panel = IndicatorPanel((SESSION,), wanted, np.array([[50.0] * len(wanted)]))
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            [signal_asset(MINE), dg.AssetSpec("indicators").with_io_manager_key("tables")],
            instance=instance,
            partition_key=str(SESSION),
            resources={"world": World(audit_in_memory(objects)), "tables": Indicators(panel.to_frame(SESSION))},
        )


def test_a_signal_is_recorded_under_the_run_that_made_it():
    objects = MemoryObjects()
    result = signalled(objects)

    [record] = audit_in_memory(objects).log.records(event="signal")
    assert (record.run_id, record.correlation_id) == (result.run_id, str(SESSION))
    assert (record.payload["strategy"], record.payload["weights"]) == ("mine", {"SPY": "1.0"})


def test_a_signal_is_made_although_it_cannot_be_recorded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    objects = MemoryObjects()
    objects.failure = DependencyUnavailable("the disk is full")

    assert signalled(objects).success
    [waiting] = audit_in_memory().spool.waiting()
    assert waiting.event == "signal"


def test_an_allocation_is_recorded_under_the_run_that_made_it(tmp_path):
    objects, tables = MemoryObjects(), DeltaTables(str(tmp_path))
    tables.upsert("bars", bars_frame({"SPY": {SESSION: 100.0}}))
    signal = Signal("always", SESSION, SignalStatus.AVAILABLE, {"SPY": 1.0}, None, "00")
    tables.replace_session(signal_name("always"), SESSION, to_frame(signal))
    manager, asset = DeltaIOManager(tables), allocation_asset({"always": ALWAYS})
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [asset, *(dg.AssetSpec(name, partitions_def=session_partitions()) for name in ("bars", "always_signal"))],
            instance=instance,
            partition_key=str(SESSION),
            resources={"tables": manager, "io_manager": manager, "world": World(audit_in_memory(objects), tables)},
            selection=[asset],
        )

    [record] = audit_in_memory(objects).log.records(event="allocation")
    assert (record.run_id, record.payload["weights"]) == (result.run_id, {"SPY": "1.0"})


@pytest.fixture
def world(tmp_path):
    return TradingWorld(Settings(), home_of(Settings(), tmp_path).prepared())


def settled():
    for thread in threading.enumerate():
        if thread.name == "audit":
            thread.join(60)


def test_every_change_of_the_trading_state_is_in_the_log_of_its_home(world):
    for mode in (TradingMode.REDUCING, TradingMode.HALTED):
        world.trading_state.change(lambda state, mode=mode: state.tightened(mode, "odd", "a rule", NOW))
    settled()

    found = list(world.audit.log.records(event="trading_state"))
    assert [(record.actor, record.payload["mode"]) for record in found] == [
        ("a rule", "reducing"),
        ("a rule", "halted"),
    ]
    assert list(LogVerification(FileObjects(world.home.objects)).findings()) == []


def test_a_change_of_the_trading_state_stands_although_it_cannot_be_recorded(world):
    world.home.objects.joinpath("audit").write_text("a file where a folder should be")
    world.trading_state.change(lambda state: state.tightened(TradingMode.HALTED, "odd", "a rule", NOW))
    settled()

    assert world.stored_state.read().mode is TradingMode.HALTED
