"""Selling everything at the simulator, by a process that dies on the way: one set of orders, and nothing is left."""

import signal
import sys
from collections import Counter
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import pytest

from trading_pipeline.application.liquidation import asked, confirmed
from trading_pipeline.cli.drills.stage import opened_stage
from trading_pipeline.domain.liquidation import LiquidationTrigger
from trading_pipeline.domain.orders import client_order_id
from trading_pipeline.domain.risk.trading_state import PERSON, TradingMode
from trading_pipeline.ports import IntentState
from trading_pipeline_tests.processes import Started

pytestmark = pytest.mark.unmeasured

ROOT = Path(__file__).resolve().parents[2]
HALTED, DECIDED = "TQQQ", date(2026, 7, 30)
SUBMISSION = {"method": "POST", "path_re": "^/v2/orders$"}


@contextmanager
def liquidating(stage, folder):
    """The program in a process of its own."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "trading_pipeline_tests.stories.liquidating", str(stage.home.folder)]
    process = Started(folder, command, None, cwd=ROOT)
    try:
        yield process
    finally:
        process.end()


def agree(stage):
    request = asked(stage.desk, LiquidationTrigger.PERSON, "drill")
    return confirmed(stage.desk, request.code, PERSON)


@pytest.fixture
def stage():
    with opened_stage() as opened:
        yield opened


@pytest.mark.parametrize(
    ("nth", "action"),
    [
        (2, "accept_then_hang"),
        pytest.param(1, "hang", marks=pytest.mark.full),
        pytest.param(4, "accept_then_hang", marks=pytest.mark.full),
    ],
)
def test_killed_while_an_order_is_on_its_way_and_begun_again_it_sends_one_set_of_orders(stage, tmp_path, nth, action):
    held = stage.held()
    stage.control.halt(HALTED)
    request = agree(stage)
    stage.control.add_fault(action=action, match=SUBMISSION | {"nth": nth}, times=1)
    with liquidating(stage, tmp_path / "first") as first:
        while stage.sent < nth:
            assert first.poll() is None, first.said()
            stage.world.wall.wait(0.02)
        first.send_signal(signal.SIGKILL)
        first.wait()

    with liquidating(stage, tmp_path / "second") as second:
        said = second.finished()

    assert said.returncode == 0, said.stderr
    assert stage.held() == {HALTED: held[HALTED]}
    assert stage.world.stored_state.read().mode is TradingMode.REDUCING

    stage.control.resume(HALTED)
    with liquidating(stage, tmp_path / "third") as third:
        said = third.finished()

    assert "everything is sold" in said.stdout, said.stderr
    assert (stage.held(), list(stage.open_orders())) == ({}, [])
    assert stage.world.stored_state.read().mode is TradingMode.HALTED
    [plan] = stage.world.plans.liquidations(request.account_number, DECIDED)
    filled = Counter(order["symbol"] for order in stage.control.state()["orders"] if order["status"] == "filled")
    assert filled == Counter(list(held))
    slices = {
        client_order_id(plan.account_number, plan.plan_id, order.symbol, order.side, number)
        for order in plan.orders
        for number in range(3)
    }
    assert {order["client_order_id"] for order in stage.control.state()["orders"]} <= slices
    assert {entry.state for entry in stage.world.journal.entries(plan.plan_id)} == {IntentState.FILLED}


def test_asked_to_end_it_ends_where_nothing_is_half_done_and_goes_on_when_begun_again(stage, tmp_path):
    stage.control.halt(HALTED)
    agree(stage)
    with liquidating(stage, tmp_path / "first") as first:
        while stage.sent < len(stage.held()):
            assert first.poll() is None, first.said()
            stage.world.wall.wait(0.02)
        first.send_signal(signal.SIGTERM)
        first.wait(60)
    stage.control.resume(HALTED)

    with liquidating(stage, tmp_path / "second") as second:
        said = second.finished()

    assert "everything is sold" in said.stdout, said.stderr
    assert stage.held() == {}
