from datetime import timedelta

import pytest

from trading_pipeline.adapters.storage.home import home_of
from trading_pipeline.defs.alert_delivery import looked
from trading_pipeline.defs.halt_alerts import tell_of_halts
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain.risk.trading_state import ACTIVE, PERSON, TradingMode
from trading_pipeline.ports import RECOVERED, Severity
from trading_pipeline.settings import AlertSettings, Settings


@pytest.fixture
def world(tmp_path):
    settings = Settings(alerts=AlertSettings.model_validate({"console": {"enabled": False}}))
    return TradingWorld(settings, home_of(settings, tmp_path).prepared())


def halt(world, mode=TradingMode.HALTED, by=PERSON):
    now = world.wall.now()
    world.stored_state.change(lambda state: state.tightened(mode, "odd figures", by, now))


def let_go(world):
    world.stored_state.write(ACTIVE)


def test_a_halt_is_told_once_with_its_reason_and_a_page(world):
    halt(world)

    assert tell_of_halts(world) == 1
    assert tell_of_halts(world) == 0

    [alert] = world.notifier.alerts()
    assert alert.severity is Severity.CRITICAL
    assert alert.title == f"Trading is halted by {PERSON}"
    assert "odd figures" in alert.text
    assert "No order is sent" in alert.html


def test_that_trading_goes_on_is_told_once_and_answers_the_halt(world):
    halt(world)
    tell_of_halts(world)
    let_go(world)

    assert tell_of_halts(world) == 1
    assert tell_of_halts(world) == 0

    assert [alert.key.endswith(RECOVERED) for alert in world.notifier.alerts()] == [False, True]
    assert world.notifier.unanswered(world.wall.now() + timedelta(days=1)) == []


def test_a_second_halt_is_another_one(world):
    for _ in range(2):
        halt(world)
        tell_of_halts(world)
        let_go(world)
        tell_of_halts(world)

    assert len(world.notifier.alerts()) == 4


def test_trading_that_only_reduces_is_not_told_as_a_halt(world):
    halt(world, TradingMode.REDUCING)

    assert tell_of_halts(world) == 0


def test_the_delivery_tells_of_halts(world):
    halt(world, by="drawdown")

    looked(world)

    assert [alert.title for alert in world.notifier.alerts()] == ["Trading is halted by drawdown"]
