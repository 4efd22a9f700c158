import re

import pytest

from trading_pipeline.cli.drills.stage import opened_stage
from trading_pipeline.domain import sessions
from trading_pipeline.domain.instruments import plain

MARKET = "simulated-generated-7"


@pytest.fixture
def stage():
    with opened_stage() as opened:
        yield opened


@pytest.fixture
def command(done, stage):
    """Call ``liquidate`` on the stage's home folder, as a person does."""
    assert stage.home.folder.name == MARKET

    def call(*arguments, **environment):
        patience = {"TRADING_PIPELINE__LIQUIDATION__PATIENCE_SECONDS": "0"}
        quick = {"TRADING_PIPELINE__LIQUIDATION__SLICE_SECONDS": "0.5"}
        return done("liquidate", *arguments, "--home", stage.home.folder.parent, **patience, **quick, **environment)

    return call


def code_of(said):
    return re.search(r"--code (\w{6})$", said.stdout, re.MULTILINE)[1]


def test_two_calls_sell_everything_and_the_state_says_so(command, stage, done):
    first = command("--reason", "fire drill")
    assert first.returncode == 0, first.stderr
    assert "trading is active" in first.stdout
    assert all(f"sell {plain(quantity)} {symbol}" in first.stdout for symbol, quantity in stage.held().items())
    assert stage.sent == 0

    second = command("--code", code_of(first))

    assert second.returncode == 0, second.stdout + second.stderr
    assert "everything is sold" in second.stdout
    assert stage.held() == {}
    status = done("kill", "status", "--home", stage.home.folder.parent)
    assert status.stdout.startswith("halted")
    assert "everything is sold" in status.stdout


def test_while_the_exchange_is_closed_it_waits_for_the_next_window_and_can_be_withdrawn(command, stage, done):
    stage.control.set_clock(sessions.close_of(sessions.session_at(stage.world.clock.now())))

    said = command("--code", code_of(command()))
    assert said.returncode == 1
    assert "is agreed to by a person, and everything is sold from" in said.stdout
    assert "everything is sold from" in command().stdout
    status = ("kill", "status", "--home", stage.home.folder.parent)
    assert "is confirmed, agreed to by a person: what is held is sold" in done(*status).stdout

    withdrawn = command("--withdraw")
    assert (withdrawn.returncode, "withdrawn by a person" in withdrawn.stdout) == (0, True)
    assert "what is held is sold" not in done(*status).stdout
    assert "To sell: " in command().stdout
    both = command("--withdraw", "--code", "abcdef")
    assert (both.returncode, "give one of them" in both.stderr) == (1, True)
    assert stage.sent == 0


def test_a_wrong_code_sells_nothing(command, stage):
    command()
    said = command("--code", "zzzzzz")

    assert said.returncode == 1
    assert "is of no liquidation" in said.stderr
    assert stage.sent == 0


@pytest.mark.unmeasured
def test_what_does_not_trade_is_told_of_and_the_same_call_goes_on_with_it(command, stage):
    stage.control.halt("TQQQ")
    code = code_of(command())

    said = command("--code", code)
    assert said.returncode == 1
    assert "1 orders wait" in said.stdout
    assert list(stage.held()) == ["TQQQ"]

    stage.control.resume("TQQQ")
    assert command("--code", code).returncode == 0
    assert stage.held() == {}


def test_a_persons_word_in_the_environment_stops_it(command, stage):
    code = code_of(command())

    said = command("--code", code, TRADING_HALT="halt")

    assert said.returncode == 1
    assert "TRADING_HALT" in said.stderr
    assert stage.sent == 0
