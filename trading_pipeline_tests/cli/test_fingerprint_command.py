import json
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from trading_pipeline.cli.fingerprint import FIRST, LAST, changes, fingerprint, fixed_evaluation
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.sessions import sessions_between
from trading_pipeline.domain.strategies import STRATEGIES, Strategy
from trading_pipeline.domain.strategies.tree import if_, rsi
from trading_pipeline.research.fingerprints import Record

APP = typer.Typer()
APP.command()(fingerprint)


def run(*arguments):
    return CliRunner().invoke(APP, list(map(str, arguments)))


@pytest.fixture
def records(tmp_path):
    """Make a folder of records, as they were accepted."""
    folder = tmp_path / "records"
    assert run("--against", folder, "--accept").exit_code == 0
    return folder


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_without_a_folder_every_strategy_has_its_fingerprint_printed():
    result = run()

    assert result.exit_code == 0, result.output
    printed = [line.split()[:2] for line in result.stdout.splitlines()]
    assert [name for name, _ in printed] == list(STRATEGIES)
    assert printed == [[name, Record.of(fixed_evaluation(STRATEGIES[name])).fingerprint] for name in STRATEGIES]


def test_named_strategies_alone_are_printed():
    result = run("tecl")

    assert [line.split()[0] for line in result.stdout.splitlines()] == ["tecl"]


def test_the_fixed_market_covers_all_its_sessions_and_decides_most_of_them():
    for strategy in STRATEGIES.values():
        evaluation = fixed_evaluation(strategy)

        assert evaluation.sessions == tuple(sessions_between(FIRST, LAST))
        # A market on which little is decided would watch little.
        assert 0.8 < evaluation.available.mean() < 1


def test_a_symbol_that_the_market_does_not_have_is_missing():
    own = Strategy("own", "Own", "One that reads what nobody trades.", if_(rsi("NOBODY", 10) > 50, "SPY", "BIL"))

    evaluation = fixed_evaluation(own)

    assert not evaluation.available.any()
    assert evaluation.reason(0) == "rsi(NOBODY,10) is missing"


def test_a_strategy_without_a_record_fails_and_says_how_to_accept_it(tmp_path):
    result = run("tecl", "--against", tmp_path)

    assert result.exit_code == 1
    assert f"  there is no record {tmp_path / 'tecl.txt'}\n" in result.stdout
    assert result.stderr == f"to accept: trading-pipeline fingerprint tecl --against {tmp_path} --accept\n"
    assert not list(tmp_path.iterdir())


def test_what_was_accepted_is_unchanged(records):
    result = run("--against", records)

    assert result.exit_code == 0, result.output
    assert result.stdout.count("  unchanged\n") == len(STRATEGIES)
    assert {path.name for path in records.iterdir()} == {f"{name}.txt" for name in STRATEGIES}


def test_a_change_is_shown_and_nothing_is_written_until_it_is_accepted(records):
    path = records / "tecl.txt"
    accepted = path.read_text()
    edit(path, " SQQQ 1\n", " PSQ 1\n")
    edited = path.read_text()

    refused = run("--against", records)

    assert refused.exit_code == 1
    assert "  changed: " in refused.stdout
    assert ": PSQ 1 -> SQQQ 1\n" in refused.stdout
    assert refused.stderr == f"to accept: trading-pipeline fingerprint tecl --against {records} --accept\n"
    assert path.read_text() == edited

    taken = run("--against", records, "--accept")

    assert taken.exit_code == 0
    assert ": PSQ 1 -> SQQQ 1\n" in taken.stdout
    assert f"  accepted: {path}\n" in taken.stdout
    assert path.read_text() == accepted


@pytest.mark.parametrize("damage", [b"", b"<<<<<<< HEAD\n", b"\xff\xfe"])
def test_a_damaged_record_is_a_change_that_can_be_accepted(records, damage):
    path = records / "tecl.txt"
    accepted = path.read_bytes()
    path.write_bytes(damage)

    refused = run("tecl", "--against", records)

    assert refused.exit_code == 1
    assert f"  {path} is not a record: " in refused.stdout
    assert run("tecl", "--against", records, "--accept").exit_code == 0
    assert path.read_bytes() == accepted


def test_a_folder_with_spaces_is_quoted_in_the_command_to_accept(tmp_path):
    folder = tmp_path / "my records"

    assert f"--against '{folder}' --accept" in run("tecl", "--against", folder).stderr


def test_accepting_needs_a_folder():
    with pytest.raises(InvalidInput, match="without --against"):
        fingerprint(["tecl"], accept=True)


def test_an_unknown_strategy_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InvalidInput, match="did you mean tecl"):
        fingerprint(["tecl", "tekl"], tmp_path, accept=True)

    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")

    with pytest.raises(InvalidInput, match=r"tecl\.txt cannot be (read|written)"):
        fingerprint(["tecl"], blocked, accept=True)


def test_a_record_that_cannot_be_opened_is_named(tmp_path):
    (tmp_path / "tecl.txt").mkdir()

    with pytest.raises(InvalidInput, match=r"tecl\.txt cannot be read"):
        changes(fixed_evaluation(STRATEGIES["tecl"]), tmp_path / "tecl.txt")


def test_neither_dagster_nor_pandera_is_imported():
    program = (
        "import json, sys; from trading_pipeline.cli.fingerprint import fingerprint; fingerprint();"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )

    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True)

    assert not {"dagster", "pandera"}.intersection(json.loads(done.stdout.splitlines()[-1]))
