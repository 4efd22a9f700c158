"""The asset over real tables and a listed market: from bars to a signal, without a broker and without a simulator."""

import base64
import logging
import warnings
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from types import SimpleNamespace

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from dbt_like_checks.contract import contract
from dbt_like_checks.dagster_checks import asset_checks
from trading_pipeline.adapters.clocks import WallClock
from trading_pipeline.adapters.metrics import MetricsFile, summary
from trading_pipeline.adapters.storage.tables import DeltaTables
from trading_pipeline.application.decision import signal_of
from trading_pipeline.application.ingestion import History
from trading_pipeline.defs.assets.bars import bars as bars_asset
from trading_pipeline.defs.assets.data_freshness import data_freshness, readers
from trading_pipeline.defs.assets.indicators import indicators_asset
from trading_pipeline.defs.io_manager import DeltaIOManager
from trading_pipeline.defs.partitions import session_partitions
from trading_pipeline.domain import sessions
from trading_pipeline.domain.bars import COLUMNS
from trading_pipeline.domain.errors import DataError, DependencyUnavailable
from trading_pipeline.domain.readings import IndicatorPanel
from trading_pipeline.domain.signals import SignalStatus
from trading_pipeline.domain.smoothing import Smoothing
from trading_pipeline.domain.strategies import Strategy
from trading_pipeline.domain.strategies.tree import if_, rsi
from trading_pipeline.ports import Severity
from trading_pipeline.settings import FreshnessSettings, Settings
from trading_pipeline_tests.builders import ListedMarketData

SESSION = date(2026, 7, 30)
DAYS = sessions.sessions_between(date(2026, 4, 1), SESSION)
MINE = Strategy("mine", "Mine", "A tree for tests.", if_(rsi("SPY", 10) > 79, "UVXY", "TLT"))
OTHER = Strategy("other", "Other", "Another tree.", if_(rsi("QQQ", 10) > 79, "UVXY", "SPY"))
SYMBOLS = ("BIL", "QQQ", "SPY", "TLT", "UVXY")
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass
class Told:
    """What a person was told, once a key."""

    alerts: dict = field(default_factory=dict)

    def notify(self, alert):
        return self.alerts.setdefault(alert.key, alert) is alert

    def knows(self, key):
        return key in self.alerts


@dataclass
class Clock:
    instant: datetime

    def now(self):
        return self.instant


def market(days=DAYS, symbols=SYMBOLS):
    """Bars of which each has prices and a volume of its own."""
    steps = np.random.default_rng(5).normal(0, 1, (len(days), len(symbols))).cumsum(axis=0)
    rows = [
        (symbol, day, *[100 + steps[n, place]] * 4, 1e6 + 1000 * n + place)
        for place, symbol in enumerate(symbols)
        for n, day in enumerate(days)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def without(bars, *symbols, last=1):
    """Bars without the newest ``last`` sessions of some symbols."""
    return bars[~bars["symbol"].isin(symbols) | (bars["session"] < DAYS[-last])].reset_index(drop=True)


def frozen(bars, *symbols, sessions_frozen=5):
    """Bars in which the newest sessions of some symbols repeat the one before them."""
    for symbol in symbols:
        mine = bars["symbol"] == symbol
        pattern = bars[mine & (bars["session"] == DAYS[-1 - sessions_frozen])].iloc[0]
        later = mine & (bars["session"] > pattern["session"])
        for column in COLUMNS[2:]:
            bars = bars.assign(**{column: bars[column].mask(later, pattern[column])})
    return bars


@pytest.fixture
def world(tmp_path):
    metrics = tmp_path / "metrics.jsonl"
    now = sessions.close_of(SESSION) + timedelta(minutes=30)
    return SimpleNamespace(
        settings=Settings(),
        tables=DeltaTables(str(tmp_path / "tables")),
        strategies={"mine": MINE, "other": OTHER},
        symbols=SYMBOLS,
        history=History(30, 5),
        smoothing=Smoothing.WILDER,
        wall=WallClock(),
        clock=Clock(now),
        metrics=MetricsFile(metrics, lambda: now),
        notifier=Told(),
        market="synthetic",
        recorded=lambda: summary(metrics),
    )


STORED_BARS = dg.AssetSpec("bars", partitions_def=session_partitions()).with_io_manager_key("tables")


def computed(asset, world, session=SESSION, **inputs):
    """What the function of an asset returns, without Dagster around it."""
    context = SimpleNamespace(
        resources=SimpleNamespace(world=world),
        partition_key=str(session),
        asset_key=asset.key,
        assets_def=asset,
        set_data_version=lambda key, version: None,
        log=logging.getLogger("quiet"),
    )
    return asset.op.compute_fn.decorated_fn(context, **inputs)


def looked_at(world, bars, session=SESSION):
    """Store and judge the bars, and store the table, without a run: the rows by symbol, and the metadata."""
    world.tables.upsert("bars", bars)
    made = computed(data_freshness, world, session, bars=world.tables.read("bars", None, session))
    world.tables.replace_session("data_freshness", session, made.value)
    told = {name: getattr(value, "value", value) for name, value in made.metadata.items()}
    return world.tables.read("data_freshness", session, session).set_index("symbol"), told


def signal_from(world, bars):
    """What the strategy wants, from the indicators of the bars as they were judged."""
    looked_at(world, bars)
    judged = world.tables.read("data_freshness", SESSION, SESSION)
    made = computed(indicators_asset({"mine": MINE}), world, bars=world.tables.read("bars"), data_freshness=judged)
    return signal_of(MINE, IndicatorPanel.from_frame(made.value), world.smoothing)


def materialised(world, *assets):
    """Run the assets on what is stored: the run, the assets that were made, and what was logged."""
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            list(assets),
            instance=instance,
            partition_key=str(SESSION),
            resources={
                "world": dg.ResourceDefinition.hardcoded_resource(world),
                "tables": DeltaIOManager(world.tables),
            },
            run_config=QUIET,
            raise_on_error=False,
        )
        logged = " ".join(entry.user_message for entry in instance.all_logs(result.run_id))
    made = {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()}
    return result, made, logged


def decided(world, bars):
    """Judge the bars in a run, and compute the indicators where the checks let it."""
    world.tables.upsert("bars", bars)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)
        promises = asset_checks(contract("data_freshness"), dg.AssetKey("data_freshness"), session_partitions())
    return materialised(world, STORED_BARS, data_freshness, promises, indicators_asset({"mine": MINE}))


def verdicts(result):
    return {found.check_name: found.passed for found in result.get_asset_check_evaluations()}


def test_fresh_symbols_are_rows_and_numbers_to_plot(world):
    rows, told = looked_at(world, market())

    assert tuple(rows.index) == SYMBOLS
    assert set(rows["status"]) == {"fresh"}
    assert set(rows["age_sessions"]) == {0}
    assert set(rows["newest_session"]) == {SESSION}
    assert (told["oldest_age_sessions"], told["stale_symbols"], told["share_stale"]) == (0, 0, 0)
    assert (told["feed"], told["what_to_do"], told["market"]) == ("usable", "nothing", "synthetic")
    assert world.notifier.alerts == {}


def test_each_symbol_names_the_strategies_that_read_or_may_hold_it(world):
    rows, _ = looked_at(world, market())

    assert readers(world) == {
        "BIL": [], "QQQ": ["other"], "SPY": ["mine", "other"], "TLT": ["mine"], "UVXY": ["mine", "other"],
    }  # fmt: skip
    assert rows.loc["SPY", "read_by"] == "mine, other"
    assert pd.isna(rows.loc["BIL", "read_by"])


def test_a_stale_a_frozen_and_an_unseen_symbol_are_shown_first_drawn_and_measured(world):
    bars = frozen(without(market(symbols=SYMBOLS[1:]), "TLT", last=2), "QQQ")

    rows, told = looked_at(world, bars)

    assert dict(rows["status"]) == {
        "BIL": "never seen", "QQQ": "frozen", "SPY": "fresh", "TLT": "stale", "UVXY": "fresh",
    }  # fmt: skip
    assert (told["oldest_age_sessions"], told["stale_symbols"], told["frozen_symbols"]) == (2, 3, 1)
    # BIL is read by nobody: two of four.
    assert told["share_stale"] == 0.5
    shown = [record.data["symbol"] for record in told["ages"].records]
    assert shown == ["BIL", "TLT", "QQQ", "SPY", "UVXY"]
    head, drawing = told["data_age"].removesuffix(")").split(";base64,")
    assert head == "![data age](data:image/svg+xml"
    assert "2 sessions before 2026-07-30" in base64.b64decode(drawing).decode()
    levels = world.recorded().levels
    assert levels['data_age_sessions{symbol="TLT"}'] == 2
    assert levels['data_age_sessions{symbol="SPY"}'] == 0
    assert 'data_age_sessions{symbol="BIL"}' not in levels
    assert levels["data_stale_symbols"] == 3


def test_a_symbol_listed_after_a_session_of_the_past_is_told_from_one_that_never_came(world):
    early = DAYS[-20]
    late = market(days=[day for day in DAYS if day > early], symbols=("QQQ",))
    world.clock.instant = sessions.close_of(SESSION)

    rows, told = looked_at(world, pd.concat([market(symbols=("SPY", "TLT", "UVXY")), late]), session=early)

    assert dict(rows["status"]) == {
        "BIL": "never seen", "QQQ": "listed later", "SPY": "fresh", "TLT": "fresh", "UVXY": "fresh",
    }  # fmt: skip
    assert told["share_stale"] == 0


def test_a_decision_on_fresh_bars_keeps_every_promise(world):
    result, made, _ = decided(world, market())

    assert result.success
    assert made == {"data_freshness", "indicators"}
    assert set(verdicts(result)) == {promise.name for promise in contract("data_freshness").promises}
    assert all(verdicts(result).values())


@pytest.mark.parametrize("spoilt", [without, frozen])
def test_a_strategy_that_reads_a_symbol_which_is_not_fresh_is_unavailable_and_says_so(world, spoilt):
    signal = signal_from(world, spoilt(market(), "SPY"))

    assert signal.status is SignalStatus.UNAVAILABLE
    assert "SPY" in signal.reason


@pytest.mark.parametrize("fresh", [(), ("QQQ",)])
def test_a_strategy_goes_on_without_a_symbol_that_it_does_not_read(world, fresh):
    assert signal_from(world, frozen(market(), *fresh)).status is SignalStatus.AVAILABLE


def test_a_dead_feed_stops_the_decision(world):
    result, made, logged = decided(world, without(market(), "QQQ", "SPY", "TLT"))

    assert not result.success
    assert [name for name, passed in verdicts(result).items() if not passed] == ["the_feed_is_usable"]
    assert made == {"data_freshness"}
    assert "75% of the symbols that strategies read are not fresh" in logged


@pytest.mark.parametrize(
    ("spoilt", "words"),
    [
        (lambda bars: without(bars, "QQQ", "SPY", "TLT"), "75% of the symbols that strategies read are not fresh"),
        (lambda bars: without(bars, *SYMBOLS[1:]), "100% of the symbols"),
        (lambda bars: frozen(bars, *SYMBOLS, sessions_frozen=1), "the feed repeats itself"),
    ],
)
def test_a_dead_feed_is_told_once_a_session_with_what_to_do(world, spoilt, words):
    rows, told = looked_at(world, spoilt(market()))
    looked_at(world, spoilt(market()))

    assert "usable" not in set(rows["feed"])
    [alert] = world.notifier.alerts.values()
    assert (alert.key, alert.severity, alert.runbook) == ("data_feed:2026-07-30", Severity.CRITICAL, "data-feed")
    assert "nothing is decided" in alert.title
    for said in (alert.text, told["what_to_do"]):
        assert words in said
        assert "run job decide again" in said


def test_the_share_is_a_setting(world):
    world.settings = Settings(freshness=FreshnessSettings(max_stale_share="0.75"))

    rows, _ = looked_at(world, without(market(), "QQQ", "SPY", "TLT"))

    assert set(rows["feed"]) == {"usable"}
    assert world.notifier.alerts == {}


def test_a_feed_that_came_back_is_told_of_once(world):
    looked_at(world, without(market(), "QQQ", "SPY", "TLT"))
    looked_at(world, market())
    looked_at(world, market())

    dead, alive = world.notifier.alerts.values()
    assert alive.key == f"{dead.key}:recovered"
    assert alive.severity is Severity.INFO


def test_a_feed_that_was_silent_and_came_back_is_told_of_once(world):
    world.market_data = ListedMarketData(without(market(), *SYMBOLS))
    with pytest.raises(DataError):
        computed(bars_asset, world)
    looked_at(world, market())
    looked_at(world, market())

    assert list(world.notifier.alerts) == ["data_feed:2026-07-30", "data_feed:2026-07-30:recovered"]


def test_who_was_told_before_decides_nothing_where_it_cannot_be_read(world, monkeypatch):
    def unreadable(_key):
        raise DependencyUnavailable("the outbox cannot be read")

    monkeypatch.setattr(world.notifier, "knows", unreadable)

    rows, _ = looked_at(world, market())
    assert set(rows["feed"]) == {"usable"}

    looked_at(world, without(market(), "QQQ", "SPY", "TLT"))
    world.market_data = ListedMarketData(without(market(), *SYMBOLS))
    with pytest.raises(DataError, match="none of 5 symbols"):
        computed(bars_asset, world)
    assert list(world.notifier.alerts) == ["data_feed:2026-07-30"]


def test_nobody_is_told_of_the_past(world):
    world.clock.instant = sessions.close_of(sessions.next_session(SESSION))

    rows, _ = looked_at(world, without(market(), "QQQ", "SPY", "TLT"))

    assert set(rows["feed"]) == {"too stale"}
    assert world.notifier.alerts == {}


def test_a_feed_without_one_bar_of_the_session_is_told_of_before_anything_is_written(world):
    world.market_data = ListedMarketData(without(market(), *SYMBOLS))

    with pytest.raises(DataError, match="none of 5 symbols has a sound bar of 2026-07-30"):
        computed(bars_asset, world)

    [alert] = world.notifier.alerts.values()
    assert alert.key == "data_feed:2026-07-30"
    assert world.tables.read("bars").empty


def test_what_the_feed_has_is_stored_however_little_and_judged_then(world):
    world.market_data = ListedMarketData(without(market(), *SYMBOLS[1:]))

    made = computed(bars_asset, world)

    assert made.metadata["missing_symbols"].value == "QQQ, SPY, TLT, UVXY"
    assert len(made.value) > 0
    assert world.notifier.alerts == {}
