import pytest
from typer.testing import CliRunner

from trading_pipeline.cli.app import app
from trading_pipeline.domain.errors import TradingHalted


@pytest.fixture
def said(tmp_path):
    def run(*arguments):
        return CliRunner().invoke(app, ["kill", *arguments, "--home", str(tmp_path)])

    return run


def test_trading_is_active_where_nobody_ever_said_otherwise(said):
    assert said("status").stdout == "active\n"


def test_a_person_reduces_halts_and_resets_and_the_reason_is_kept(said):
    assert said("reduce", "--reason", "odd fills").stdout.startswith("reducing since ")
    assert said("halt", "--reason", "odd figures").stdout.endswith("UTC, set by a person: odd figures\n")
    assert said("status").stdout.startswith("halted since ")
    assert said("reset", "--reason", "looked at").stdout.startswith("active since ")
    assert said("status").stdout.endswith(": looked at\n")


def test_what_is_stricter_is_not_loosened_by_reducing(said):
    said("halt", "--reason", "odd figures")

    assert said("reduce", "--reason", "only sales").stdout.startswith("halted since ")


@pytest.mark.parametrize("command", ["reduce", "halt", "reset"])
def test_no_state_is_set_without_a_reason(said, command):
    assert said(command).exit_code == 2


def test_a_state_that_cannot_be_read_is_said_and_can_be_set_anew(said, tmp_path):
    said("halt", "--reason", "odd figures")
    [state] = tmp_path.rglob("trading_state.json")
    state.write_text("{")

    assert isinstance(said("status").exception, TradingHalted)
    assert said("reset", "--reason", "written anew").stdout.startswith("active since ")
