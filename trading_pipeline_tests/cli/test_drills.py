from contextlib import nullcontext

import pytest
import typer

from trading_pipeline.cli import drill
from trading_pipeline.cli.drills import disconnect, kill, liquidation, stale_data
from trading_pipeline.cli.drills import script as scripts
from trading_pipeline.cli.drills.script import Script, Stopped
from trading_pipeline.domain.errors import DependencyUnavailable

REHEARSALS = {"kill": kill, "disconnect": disconnect, "stale-data": stale_data, "liquidate": liquidation}


@pytest.fixture
def script():
    return Script(lambda _: None)


@pytest.mark.parametrize("name", REHEARSALS)
def test_every_step_of_a_drill_is_as_it_should_be(name):
    played = drill.rehearsed(REHEARSALS[name].rehearse)

    assert [(step.what, step.found) for step in played.steps if not step.is_right] == []
    assert played.is_right


def test_the_command_prints_what_was_verified_with_times_and_leaves_no_folder(done, tmp_path):
    said = done("drill", "stale-data", TMPDIR=str(tmp_path), TRADING_HALT="halt")

    assert said.returncode == 0, said.stdout + said.stderr
    assert "Drill stale-data" in said.stdout
    assert "everything was as it should be" in said.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", ["paper", "live"])
def test_no_drill_is_held_where_real_orders_could_be_meant(done, mode):
    keys = {"APCA_API_KEY_ID": "x", "APCA_API_SECRET_KEY": "x", "TRADING_LIVE_ACCOUNT": "123456"}

    said = done("drill", "liquidate", TRADING_MODE=mode, **keys)

    assert said.returncode == 1
    assert f"the mode is {mode}" in said.stderr


def test_a_step_that_is_wrong_ends_in_exit_code_1(monkeypatch, capsys):
    monkeypatch.setattr("trading_pipeline.cli.drills.stage.opened_stage", nullcontext)
    monkeypatch.delenv("TRADING_MODE", raising=False)

    def rehearse(_, script):
        with script.step("all is well") as step:
            step.verify("so it is", right=True)
        with script.step("something is not") as step:
            step.verify("2 orders left", right=False)

    with pytest.raises(typer.Exit) as ended:
        drill._rehearse("test", rehearse, None)

    assert ended.value.exit_code == 1
    assert "WRONG: 2 orders left" in capsys.readouterr().out


def test_one_wrong_finding_makes_a_step_wrong_whatever_follows(script):
    with script.step("x") as step:
        step.verify("right", right=True)
        step.verify("wrong", right=False)
        step.verify("right", right=True)

    assert (step.is_right, script.is_right) == (False, False)


def test_a_step_that_verifies_nothing_and_a_script_without_steps_are_not_right(script):
    assert not script.is_right
    with script.step("x"):
        pass
    assert not script.is_right


def test_a_failure_that_is_foreseen_is_a_wrong_step_and_ends_the_rehearsal(script):
    with pytest.raises(Stopped), script.step("x"):
        raise DependencyUnavailable("no answer")

    assert script.steps[0].found == ["WRONG: DependencyUnavailable: no answer"]


def test_waiting_ends_when_it_is_reached_or_time_is_over(script, monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(scripts, "monotonic", lambda: next(clock))
    answers = iter([False, False, True])

    assert script.until(lambda: next(answers), 50) == 3
    assert script.until(lambda: False, 5) is None
