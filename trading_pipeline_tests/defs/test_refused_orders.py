from dataclasses import replace
from types import SimpleNamespace

import pytest

from trading_pipeline.adapters.notifiers import AlertOutbox
from trading_pipeline.adapters.storage.objects import FileObjects
from trading_pipeline.adapters.storage.trading_state import StoredTradingState
from trading_pipeline.application.execution import execute, settle
from trading_pipeline.defs.refused_orders import SET_BY, reduce_after_refusals
from trading_pipeline.domain.errors import DependencyUnavailable
from trading_pipeline.domain.risk.trading_state import PERSON, TradingMode, TradingState
from trading_pipeline.ports import IntentState, Severity
from trading_pipeline.settings import MonitoringSettings, Settings
from trading_pipeline_tests.builders import (
    ACCOUNT,
    INSIDE_WINDOW,
    RULES,
    HeldTradingState,
    TurnedClock,
    buy,
    make_plan,
    make_venue,
)

PLAN = make_plan(buy("SPY", "1"), buy("QQQ", "1"), buy("GLD", "1"), buy("TLT", "1"))


@pytest.fixture
def world(tmp_path):
    return SimpleNamespace(
        settings=Settings(monitoring=MonitoringSettings(rejected_orders_before_reducing=2)),
        trading_state=HeldTradingState(),
        stored_state=SimpleNamespace(changes_after=lambda _epoch, mend: []),
        notifier=AlertOutbox(tmp_path / "alerts.sqlite"),
        wall=TurnedClock(),
    )


def executed(world, tmp_path, *refused):
    venue = make_venue(tmp_path)
    for symbol in refused:
        venue.broker.answers[symbol] = ["reject"]
    execute(PLAN, venue, replace(RULES, orders_in_flight=1))
    world.journal = venue.journal


def test_as_many_refused_orders_as_the_settings_say_move_trading_to_reducing_and_are_told_once(world, tmp_path):
    executed(world, tmp_path, "SPY", "GLD")

    for _ in range(2):
        reduce_after_refusals(world, PLAN.plan_id, ACCOUNT, PLAN.symbols)

    assert world.trading_state.state.mode is TradingMode.REDUCING
    assert world.trading_state.state.reason == f"2 orders of plan {PLAN.plan_id} were rejected or abandoned"
    alerts = world.notifier.alerts()
    assert [alert.severity for alert in alerts] == [Severity.CRITICAL]
    assert "SPY: 40310000: insufficient buying power; GLD: 40310000" in alerts[0].text


def test_after_a_reset_only_what_is_refused_since_moves_trading_again(world, tmp_path):
    world.trading_state = world.stored_state = StoredTradingState(FileObjects(tmp_path / "objects"))
    executed(world, tmp_path, "SPY", "GLD")
    reduce_after_refusals(world, PLAN.plan_id, ACCOUNT, PLAN.symbols)
    world.trading_state.change(lambda state: state.cleared([SET_BY], "mended", PERSON, world.wall.now()))
    assert world.trading_state.read().mode is TradingMode.ACTIVE

    reduce_after_refusals(world, PLAN.plan_id, ACCOUNT, PLAN.symbols)

    assert world.trading_state.read().mode is TradingMode.ACTIVE
    assert len(world.notifier.alerts()) == 1

    again = make_plan(buy("IEF", "1"), buy("BIL", "1"), session=PLAN.execution_session)
    world.journal.claim(again, INSIDE_WINDOW)
    for order in again.orders:
        world.journal.record(order.client_order_id, IntentState.REJECTED, "still wrong", INSIDE_WINDOW)
    for _ in range(2):
        reduce_after_refusals(world, again.plan_id, ACCOUNT, again.symbols)

    assert world.trading_state.read().mode is TradingMode.REDUCING
    assert len(world.notifier.alerts()) == 2


def test_where_the_history_cannot_be_read_every_refusal_counts(world, tmp_path):
    def unreadable(_epoch, mend):
        raise DependencyUnavailable("the disk fails")

    world.stored_state.changes_after = unreadable
    executed(world, tmp_path, "SPY", "GLD")

    reduce_after_refusals(world, PLAN.plan_id, ACCOUNT, PLAN.symbols)

    assert world.trading_state.state.mode is TradingMode.REDUCING


def test_fewer_refused_orders_change_nothing(world, tmp_path):
    executed(world, tmp_path, "SPY")

    reduce_after_refusals(world, PLAN.plan_id, ACCOUNT, PLAN.symbols)

    assert world.trading_state.state.mode is TradingMode.ACTIVE
    assert list(world.notifier.alerts()) == []


def test_a_state_that_is_stricter_already_stays(world, tmp_path):
    world.trading_state.state = TradingState(TradingMode.HALTED, "a person said so")

    executed(world, tmp_path, "SPY", "GLD")

    reduce_after_refusals(world, PLAN.plan_id, ACCOUNT, PLAN.symbols)

    assert world.trading_state.state.reason == "a person said so"


def test_where_the_state_cannot_be_written_people_are_told_all_the_same(world, tmp_path):
    class Broken(HeldTradingState):
        def change(self, change):
            raise DependencyUnavailable("no space left")

    executed(world, tmp_path, "SPY", "GLD")
    world.trading_state = Broken()

    with pytest.raises(DependencyUnavailable):
        reduce_after_refusals(world, PLAN.plan_id, ACCOUNT, {})

    [alert] = world.notifier.alerts()
    assert PLAN.orders[0].client_order_id in alert.text


def test_what_settling_gave_up_counts_as_well(world, tmp_path):
    venue = make_venue(tmp_path)
    venue.journal.claim(PLAN, INSIDE_WINDOW)
    settle(venue, RULES, INSIDE_WINDOW.replace(hour=19, minute=45), ACCOUNT)
    world.journal = venue.journal

    reduce_after_refusals(world, PLAN.plan_id, ACCOUNT, PLAN.symbols)

    assert world.trading_state.state.mode is TradingMode.REDUCING
