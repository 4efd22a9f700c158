import re
from datetime import date, timedelta
from decimal import Decimal
from types import SimpleNamespace

import dagster as dg
import pytest
from pydantic import ValidationError

from trading_pipeline.adapters.storage.home import Home
from trading_pipeline.application.risk_watch import RiskWatchRules
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.defs.risk_watch import risk_watch, rules_of
from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import DependencyUnavailable
from trading_pipeline.domain.risk.trading_state import TradingMode
from trading_pipeline.settings import DrawdownSettings, RiskWatchSettings, Settings

FACTORS_DOWN = ("0.93", "0.89", "0.86", "0.84", "0.79", "0.69", "0.58")
EVERY_RUNG = [f"{measure}: {rung}" for measure in ("Daily loss", "Intraday drawdown", "Trailing drawdown")
              for rung in ("halted", "reducing", "warning")]  # fmt: skip


class Watcher:
    """The sensor, as a process that has just started has it at every tick, over an account that holds one fund."""

    def __init__(self, market):
        self.market, self.control = market, market.control
        self.session = market.close_next_session()
        for symbol in self.control.state()["positions"]:
            self.control.set_position(symbol["symbol"], Decimal(0))
        self.control.set_position("TECL", Decimal(1000))
        self.control.set_account(cash=Decimal(100))
        self.next_session()

    def next_session(self):
        """Go to five minutes after an open, at the close before which the account was worth that fund."""
        self.control.set_clock(sessions.close_of(sessions.next_session(self.session)) + timedelta(minutes=5))
        self.session = sessions.next_session(self.session, 2)
        self.control.set_clock(sessions.open_of(self.session) + timedelta(minutes=5))

    def tick(self, factor=None, seconds=10):
        self.control.advance(timedelta(seconds=seconds))
        if factor is not None:
            self.control.set_symbol("TECL", quote_factor=Decimal(factor))
        return said_in(self.market.world())

    @property
    def told(self):
        return sorted(alert.title for alert in self.market.world().notifier.alerts())

    @property
    def state(self):
        return self.market.world().trading_state.read()


@pytest.fixture(scope="module")
def watcher(market):
    return Watcher(market)


@pytest.fixture
def quiet_world(tmp_path):
    """A world in which nobody answers but the clock."""
    world = TradingWorld(Settings(), Home(tmp_path).prepared())
    world.clock = SimpleNamespace(now=lambda: sessions.close_of(date(2026, 7, 31)))
    world.broker = world.market_data = SimpleNamespace()
    return world


def said_in(world):
    return risk_watch(30).evaluate_tick(dg.build_sensor_context(resources={"world": world})).skip_message


def test_money_that_comes_and_goes_is_neither_gain_nor_loss(watcher):
    def measured():
        return {name: Decimal(fall.rstrip("%")) for name, fall in re.findall(r"(\w+) \w+ ([\d.]+%)", watcher.tick())}

    before = [measured(), measured()][-1]
    after = []
    for kind, amount in (("CSD", 1_000_000), ("CSW", -1_000_000)):
        watcher.control.move_cash(kind, Decimal(amount))
        watcher.tick()
        after.append(measured())

    assert before.keys() == {"intraday", "daily", "trailing"}
    assert all(abs(each[name] - before[name]) < Decimal("0.1") for each in after for name in before)
    assert watcher.state.mode is TradingMode.ACTIVE


def test_a_drawdown_in_the_simulator_trips_each_rung_once_over_restarts_and_one_bad_print_trips_none(watcher):
    watcher.tick("1")
    assert "intraday drawdown 0.00%" in watcher.tick("1")

    # One bad print down and one up: nothing trips, neither then nor by what follows.
    for factor in ("0.3", "1", "3", "1", "1"):
        watcher.tick(factor)
    assert (watcher.told, watcher.state.mode) == ([], TradingMode.ACTIVE)

    heights = {}
    for factor in FACTORS_DOWN:
        watcher.tick(factor)
        heights[factor] = (watcher.tick(factor), watcher.state.mode)
    told, state = watcher.told, watcher.state
    assert told == EVERY_RUNG
    assert [mode for _, mode in heights.values()] == sorted(
        (mode for _, mode in heights.values()), key=lambda mode: mode.severity
    )
    assert {latch.name: latch.mode for latch in state.latches} == dict.fromkeys(
        ("daily loss", "intraday drawdown", "trailing drawdown"), TradingMode.HALTED
    )

    # Up again, down again, and a restart of everything: what tripped stays, and nothing trips again.
    for factor in ("1", "1", "0.58", "0.58", "0.58"):
        assert watcher.tick(factor).endswith("; 0 told")
    assert (watcher.told, watcher.state, watcher.state.epoch) == (told, state, state.epoch)
    assert all(latch.is_bound(watcher.control.now()) for latch in watcher.state.latches)


def test_outside_the_session_the_sensor_says_so(quiet_world):
    assert said_in(quiet_world) == "the exchange is closed at 2026-07-31T20:00:00+00:00"


def test_what_hinders_a_look_is_said_by_the_sensor(quiet_world):
    def now():
        raise DependencyUnavailable("nobody answers")

    quiet_world.clock.now = now

    assert said_in(quiet_world) == "DependencyUnavailable: nobody answers"


def test_the_figures_of_an_account_that_is_not_meant_are_not_used(quiet_world):
    account = {"account_number": "LIVE77", "cash": "1", "status": "ACTIVE", "equity": "1"}
    quiet_world.clock.now = lambda: sessions.open_of(date(2026, 7, 31))
    quiet_world.trading_api = SimpleNamespace(get=lambda path: account if path == "/account" else [])
    quiet_world.endpoint = SimpleNamespace(fits=lambda number: number.startswith("SIM"))

    assert said_in(quiet_world).startswith("TradingHalted: mode simulated met account ...VE77")


def test_the_sensor_looks_as_often_as_it_is_told_and_runs_by_itself():
    sensor = risk_watch(45)

    assert (sensor.name, sensor.minimum_interval_seconds) == ("risk_watch", 45)
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING


def test_the_limits_are_those_of_the_settings(quiet_world):
    chosen = DrawdownSettings(daily_warning=Decimal("0.01"), trailing_sessions=5)
    quiet_world.settings = Settings(drawdown=chosen, risk_watch=RiskWatchSettings(patience_minutes=7))

    rules = rules_of(quiet_world)

    assert (rules.limits.daily.warn, rules.limits.trailing_sessions) == (Decimal("0.01"), 5)
    assert rules.patience == timedelta(minutes=7)
    assert rules_of(SimpleNamespace(settings=Settings())) == RiskWatchRules()


def test_rungs_that_do_not_climb_are_refused_by_the_settings():
    with pytest.raises(ValidationError, match="daily_reducing and daily_halted must not fall"):
        DrawdownSettings(daily_halted=Decimal("0.05"))
