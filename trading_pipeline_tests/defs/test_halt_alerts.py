from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace

import pytest

from trading_pipeline.adapters.storage.home import home_of
from trading_pipeline.defs.alert_delivery import looked
from trading_pipeline.defs.halt_alerts import tell_of_halts
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain.errors import DependencyUnavailable
from trading_pipeline.domain.portfolio import Portfolio
from trading_pipeline.domain.redaction import Redactor
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


@pytest.mark.parametrize("answer", ["acknowledge", "escalated"])
def test_that_trading_goes_on_is_told_of_a_halt_that_somebody_knows_of(world, answer):
    halt(world)
    tell_of_halts(world)
    [alert] = world.notifier.alerts()
    world.notifier.acknowledge([alert.key], PERSON) if answer == "acknowledge" else world.notifier.escalated(
        [alert.key]
    )
    let_go(world)

    assert tell_of_halts(world) == 1
    assert tell_of_halts(world) == 0


def test_a_state_that_cannot_be_read_is_told_as_a_halt_and_so_is_its_end(world):
    halt(world, TradingMode.REDUCING)
    [stored] = [path for path in world.home.objects.rglob("trading_state.json") if path.is_file()]
    whole = stored.read_bytes()
    stored.write_bytes(b"{broken")

    assert tell_of_halts(world) == 1
    assert tell_of_halts(world) == 0
    [alert] = world.notifier.alerts()
    assert "cannot be read" in alert.text

    stored.write_bytes(whole)
    assert tell_of_halts(world) == 1


def test_a_stored_halt_is_not_told_as_over_while_the_state_cannot_be_read(world):
    halt(world)
    tell_of_halts(world)
    [stored] = [path for path in world.home.objects.rglob("trading_state.json") if path.is_file()]
    whole = stored.read_bytes()
    stored.write_bytes(b"{broken")
    tell_of_halts(world)
    stored.write_bytes(whole)
    tell_of_halts(world)

    titles = [alert.title for alert in world.notifier.alerts()]
    unreadable = "Trading is halted by stored state"
    assert titles == [f"Trading is halted by {PERSON}", unreadable, f"No longer: {unreadable}"]
    assert [alert.title for alert in world.notifier.unanswered(world.wall.now())] == titles[:1]

    let_go(world)
    assert tell_of_halts(world) == 1


def test_a_halt_by_a_broker_that_falls_silent_lasts_until_it_says_otherwise(world):
    def silent():
        raise DependencyUnavailable("no answer")

    held = Portfolio("SIM1", world.wall.now(), Decimal(1))
    blocked = replace(held, blocked="trading_blocked")
    told = []
    for answer in (lambda: blocked, silent, lambda: blocked, silent, lambda: held):
        world.broker = SimpleNamespace(portfolio=answer)
        told.append(tell_of_halts(world))

    assert told == [1, 0, 0, 0, 1]


def test_a_file_that_anybody_puts_down_is_told_once_as_long_as_it_lies_there_and_again_the_next_time(world):
    file = world.home.folder / "HALT"
    for _ in range(2):
        file.write_text("fire drill")
        assert [tell_of_halts(world), tell_of_halts(world)] == [1, 0]
        file.unlink()
        assert [tell_of_halts(world), tell_of_halts(world)] == [1, 0]

    assert "fire drill" in world.notifier.alerts()[0].text


def test_the_broker_that_blocks_the_account_is_told_and_one_that_is_silent_is_not(world):
    assert tell_of_halts(world) == 0
    blocked = Portfolio("SIM1", world.wall.now(), Decimal(1), blocked="trading_blocked")
    world.broker = SimpleNamespace(portfolio=lambda: blocked)

    assert tell_of_halts(world) == 1


def test_what_a_halt_is_called_hides_nothing_so_that_neutral_mode_keeps_it(world):
    redact = Redactor({"SPY", "HALT"}, b"key").text
    halt(world)
    (world.home.folder / "HALT").write_text("")
    tell_of_halts(world)

    keys = [alert.key for alert in world.notifier.alerts()]
    assert len(keys) == 2
    assert [redact(key) for key in keys] == keys


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
