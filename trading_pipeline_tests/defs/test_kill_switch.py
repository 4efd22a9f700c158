from datetime import UTC, date, datetime
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from trading_pipeline.adapters.storage.home import home_of
from trading_pipeline.adapters.trading_state_sources import EnvironmentWord, KeyAge, WordFiles
from trading_pipeline.defs.kill_switch import effective_state, local_sources, switch_of
from trading_pipeline.domain.errors import DependencyUnavailable, TradingHalted
from trading_pipeline.domain.risk.trading_state import TradingMode
from trading_pipeline.settings import Mode, Settings, TradingStateSettings
from trading_pipeline_tests.builders import HeldTradingState, TurnedClock

OLD = TradingStateSettings(keys_made_on=date(2026, 1, 1), keys_max_age_days=90)


@pytest.fixture
def sources(tmp_path):
    def make(mode, trading_state=OLD):
        # Live needs more than a mode, which is not what is tried here.
        settings = Settings(trading_state=trading_state).model_copy(update={"mode": mode})
        return [asked.source for asked in local_sources(settings, home_of(Settings(), tmp_path), {}, TurnedClock())]

    return make


@pytest.mark.parametrize("mode", [Mode.PAPER, Mode.LIVE])
def test_old_keys_hold_trading_where_keys_are_real(sources, mode):
    found = sources(mode)

    assert [type(source) for source in found] == [EnvironmentWord, WordFiles, KeyAge]
    assert found[-1].read().mode is TradingMode.HALTED


def test_keys_of_the_simulator_do_not_age_and_without_a_limit_none_do(sources):
    assert [type(source) for source in sources(Mode.SIMULATED)] == [EnvironmentWord, WordFiles]
    assert [type(source) for source in sources(Mode.PAPER, TradingStateSettings())] == [EnvironmentWord, WordFiles]


def test_a_limit_on_the_age_of_keys_needs_their_day():
    with pytest.raises(ValidationError, match="keys_max_age_days needs keys_made_on"):
        TradingStateSettings(keys_max_age_days=90)


def test_patience_with_a_store_that_cannot_be_read_is_that_of_the_settings():
    stored, clock = HeldTradingState(), TurnedClock(datetime(2026, 7, 31, tzinfo=UTC))
    state = effective_state(TradingStateSettings(last_known_seconds=5, errors_before_halting=2), stored, [], clock)
    state.read()

    def fail():
        raise TradingHalted("unreadable") from DependencyUnavailable("no answer")

    stored.read, modes = fail, []
    for _ in range(3):
        clock.wait(3)
        modes.append(state.read().mode.value)
    assert modes == ["active", "reducing", "halted"]


def test_the_switch_opens_nothing_of_the_world_before_it_is_asked_to(tmp_path):
    home, asked = home_of(Settings(), tmp_path), []

    def world():
        asked.append(True)
        return SimpleNamespace(broker="broker", journal="journal", clock=TurnedClock())

    switch = switch_of(Settings(), home, HeldTradingState(), TurnedClock(), world)
    assert asked == []
    assert (switch.broker(), switch.journal()) == ("broker", "journal")
    assert switch.market_time() == TurnedClock().now()
    assert switch.last_resort("drill") == home.folder / "HALT"
