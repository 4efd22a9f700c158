import re
import threading
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from typer.testing import CliRunner

from trading_pipeline.adapters.storage.home import home_of
from trading_pipeline.adapters.storage.objects import FileObjects
from trading_pipeline.adapters.storage.trading_state import StoredTradingState
from trading_pipeline.cli.app import app
from trading_pipeline.domain.errors import InvalidInput, TradingHalted
from trading_pipeline.domain.risk.trading_state import ACTIVE, Latch, TradingMode
from trading_pipeline.settings import Settings
from trading_pipeline.simulator.control import start_simulator
from trading_pipeline_tests.faults.child import Job, venue_of
from trading_pipeline_tests.stories.busy_loop import intents_of

NOON = datetime(2026, 7, 31, 16, tzinfo=UTC)
# Its session is not over at any time at which a test runs.
DRAWDOWN = Latch("drawdown", TradingMode.HALTED, "12 %", "drawdown", NOON, date(2028, 1, 3), is_risk=True)


@pytest.fixture
def said(tmp_path, monkeypatch):
    monkeypatch.delenv("TRADING_HALT", raising=False)

    def run(*arguments):
        return CliRunner().invoke(app, ["kill", *arguments, "--home", str(tmp_path)])

    return run


@pytest.fixture(autouse=True)
def home(tmp_path):
    """The folder of a market that was set up."""
    return home_of(Settings(), tmp_path).prepared()


@pytest.fixture
def stored(home):
    return StoredTradingState(FileObjects(home.objects))


@pytest.fixture
def reset(said):
    """Take both steps, with the code that the first one prints."""

    def run(*arguments):
        code = re.search(r"--code (\w+)", said("reset", *arguments).stdout)[1]
        return said("reset", "--code", code, "--reason", "looked at", *arguments)

    return run


def test_trading_is_active_where_nobody_ever_said_otherwise(said, home):
    assert said("status").stdout == f"active\nhome folder: {home.folder}\n"


@pytest.mark.parametrize("command", ["status", "reset"])
def test_of_a_folder_in_which_nothing_ran_nothing_is_told(tmp_path, command):
    answer = run(tmp_path / "typo", command)

    assert isinstance(answer.exception, InvalidInput)
    assert f"there is no folder {tmp_path / 'typo'}" in str(answer.exception)
    assert "nothing ran here" in str(answer.exception)
    assert not (tmp_path / "typo").exists()


@pytest.mark.parametrize(("command", "mode"), [("halt", "halted"), ("reduce", "reducing")])
def test_a_folder_in_which_nothing_ran_is_stopped_all_the_same_and_doubted(tmp_path, command, mode):
    first, second = (run(tmp_path / "typo", command, "--reason", "odd figures") for _ in range(2))

    folder = home_of(Settings(), tmp_path / "typo").folder
    assert StoredTradingState(FileObjects(folder / "objects")).read().mode == mode
    assert first.exit_code == 0
    assert f"home folder: {folder}\n" in first.stdout
    assert "nothing ran here before: is --home right?" in first.stderr
    assert "is --home right?" not in second.stderr


def test_the_folder_of_a_file_of_bars_is_named_and_the_variable_leads_to_it(tmp_path, monkeypatch):
    bars = tmp_path / "mine.csv"
    root = tmp_path / "elsewhere"
    theirs = home_of(Settings(simulator={"bars": bars}), root).prepared().folder

    lost = run(root, "status")
    doubted = run(root, "halt", "--reason", "odd figures")
    monkeypatch.setenv("TRADING_PIPELINE__SIMULATOR__BARS", str(bars))

    assert f"Beside it something ran in {theirs.name}: " in str(lost.exception)
    assert f"Beside it something ran in {theirs.name}: " in doubted.stderr
    assert "TRADING_PIPELINE__SIMULATOR__BARS" in str(lost.exception)
    assert run(root, "status").stdout == f"active\nhome folder: {theirs}\n"


def test_a_person_reduces_halts_and_resets_and_the_reason_is_kept(said, reset):
    assert said("reduce", "--reason", "odd fills").stdout.startswith("reducing since ")
    assert said("halt", "--reason", "odd figures").stdout.startswith("halted since ")
    assert said("status").stdout.startswith("halted since ")
    assert reset().stdout.startswith("active since ")
    assert ": looked at\n" in said("status").stdout


def test_what_is_stricter_is_not_loosened_by_reducing(said):
    said("halt", "--reason", "odd figures")

    assert said("reduce", "--reason", "only sales").stdout.startswith("halted since ")


def test_a_word_that_says_nothing_new_says_so_and_the_first_reason_stays(said, stored):
    said("halt", "--reason", "odd figures")

    again, less = said("halt", "--reason", "odder figures"), said("reduce", "--reason", "only sales")

    told = "was halted already; nothing changed, the first reason stays: odd figures\n"
    assert (again.exit_code, told in again.stdout) == (0, True)
    assert told in less.stdout
    assert "already" not in said("status").stdout
    assert [latch.reason for latch in stored.read().latches] == ["odd figures"]


def test_a_word_beside_a_halt_of_somebody_else_is_kept_and_shown(said, stored):
    stored.change(lambda state: state.latched(DRAWDOWN))

    answer = said("halt", "--reason", "odd figures")

    assert "  a person: halted (odd figures) since " in answer.stdout
    assert "already" not in answer.stdout


@pytest.mark.parametrize("command", ["halt", "reduce"])
@pytest.mark.parametrize("reason", ["", " "])
def test_a_blank_reason_is_none(said, stored, command, reason):
    answer = said(command, "--reason", reason)

    assert answer.exit_code == 2
    assert "it is empty; say why" in answer.stderr
    assert stored.read() == ACTIVE


@pytest.mark.parametrize("command", [["reduce"], ["halt"], ["reset", "--code", "abc123"]])
def test_no_state_is_set_without_a_reason(said, command):
    assert said(*command).exit_code == 2


@pytest.mark.parametrize("command", ["status", "halt", "reduce", "reset"])
def test_every_command_explains_itself(said, command):
    assert "Usage" in CliRunner().invoke(app, ["kill", command, "--help"]).stdout


def test_a_state_that_cannot_be_read_is_said_and_can_be_set_anew(said, reset, home):
    said("halt", "--reason", "odd figures")
    (home.objects / "state/trading_state.json").write_text("{")

    done = said("status")
    assert isinstance(done.exception, TradingHalted)
    assert done.stdout.startswith("halted, set by stored state: the trading state state/trading_state.json cannot be")
    assert reset().stdout.startswith("active since ")


@pytest.mark.parametrize("command", ["halt", "reduce"])
def test_a_state_that_cannot_be_read_does_not_stop_a_person_from_stopping(said, stored, home, command):
    said("reduce", "--reason", "odd fills")
    (home.objects / "state/trading_state.json").write_text("{")

    assert said(command, "--reason", "odd figures").exit_code == 0
    assert stored.read().mode == {"halt": "halted", "reduce": "reducing"}[command]


def test_the_first_step_of_a_reset_changes_nothing_and_a_wrong_code_neither(said, stored):
    said("halt", "--reason", "odd figures")

    assert "a person: halted (odd figures), set by a person since " in said("reset").stdout
    assert isinstance(said("reset", "--code", "000000", "--reason", "hurry").exception, InvalidInput)
    assert stored.read().mode is TradingMode.HALTED


def test_where_nothing_holds_trading_there_is_nothing_to_reset(said):
    assert said("reset").stdout == "nothing that is stored holds trading\n"


def test_a_limit_on_risk_holds_within_its_session_unless_it_is_overridden(said, reset, stored):
    stored.change(lambda state: state.latched(DRAWDOWN))

    assert "drawdown holds until session 2028-01-03 is over" in said("reset").stdout
    assert isinstance(reset().exception, InvalidInput)
    assert stored.read().mode is TradingMode.HALTED
    assert reset("--override-risk").stdout.startswith("active since ")


def test_one_latch_is_reset_and_the_others_hold(said, reset, stored):
    stored.change(lambda state: state.latched(DRAWDOWN))
    said("reduce", "--reason", "odd fills")

    left = reset("--latch", "a person")
    assert left.stdout.startswith("halted since 2026-07-31 16:00 UTC, set by drawdown: 12 %")
    assert "no reset lifts" not in left.stdout
    assert left.exit_code == 1
    assert stored.read().latches == (DRAWDOWN,)


def test_every_latch_is_shown_where_there_are_several(said, stored):
    stored.change(lambda state: state.latched(DRAWDOWN))
    said("reduce", "--reason", "odd fills")

    *lines, _ = said("status").stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == ["halted since 2026-07-31 16", "  drawdown", "  a person"]


def test_the_variable_and_the_files_are_seen_and_no_reset_lifts_them(said, stored, tmp_path, monkeypatch):
    monkeypatch.setenv("TRADING_HALT", "reduce")
    assert said("status").stdout.startswith("reducing, set by environment TRADING_HALT\n")

    (tmp_path / "HALT").write_text("says Ann")
    assert said("status").stdout.startswith(f"halted, set by file {tmp_path}/HALT: says Ann\n")
    nothing, *others = said("reset").stdout.splitlines()
    assert nothing == "nothing that is stored holds trading"
    assert others == [
        "no reset lifts environment TRADING_HALT: reducing: "
        "unset the variable where the pipeline runs, and begin that anew",
        f"no reset lifts file {tmp_path}/HALT: halted (says Ann): take the file away",
    ]
    assert stored.read() == ACTIVE


def test_a_reset_fails_while_something_that_it_does_not_lift_holds_trading(said, reset, stored, tmp_path):
    said("halt", "--reason", "odd figures")
    (tmp_path / "REDUCE").write_text("says Ann")

    halfway = reset()
    assert halfway.exit_code == 1
    assert halfway.stdout.startswith("reducing, set by file ")
    assert halfway.stdout.endswith("REDUCE: reducing (says Ann): take the file away\n")
    assert stored.read().mode is TradingMode.ACTIVE

    (tmp_path / "REDUCE").unlink()
    said("halt", "--reason", "odd figures")
    assert (reset().exit_code, said("reset").exit_code) == (0, 0)


def test_where_the_state_cannot_be_written_the_file_is_put_down_instead(said, home):
    home.objects.rmdir()
    home.objects.write_text("a file where the folder should be")

    assert said("halt", "--reason", "odd figures").stdout.startswith("halted since ")
    assert (home.folder / "HALT").read_text().startswith("odd figures (the trading state could not be written")


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    """A simulator in the execution window, in the folder where the command looks for it."""
    root = tmp_path_factory.mktemp("home")
    folder = home_of(Settings(), root)
    running = start_simulator(folder.simulator, start=NOON, watch_parent=True)
    yield root, running
    running.stop()


@pytest.fixture
def opened(market):
    root, running = market
    running.control.reset()
    [account] = running.control.health()["accounts"]
    job = Job(str(root), "", running.url, running.key_id, running.secret_key, account, "2026-07-30")
    broker = venue_of(job, threading.Event()).broker
    for intent in intents_of(account, "plan", 3):
        broker.submit(intent)
    broker.submit(by_hand(intents_of(account, "other", 1)[0]))
    return root, running.control


def by_hand(intent):
    return replace(intent, client_order_id="by hand")


def open_orders(control):
    return [order["client_order_id"] for order in control.state()["orders"] if order["status"] not in {"canceled"}]


def run(root, *arguments):
    return CliRunner().invoke(app, ["kill", *arguments, "--home", str(root)])


def test_halting_cancels_our_orders_at_the_broker_and_leaves_those_of_others(opened):
    root, control = opened

    done = run(root, "halt", "--reason", "drill")

    assert done.exit_code == 0, done.exception
    assert "3 orders cancelled, 0 filled meanwhile, none left, not ours and not touched: SPY buy " in done.stdout
    assert open_orders(control) == ["by hand"]


def test_halting_can_keep_the_orders(opened):
    root, control = opened

    assert run(root, "halt", "--reason", "drill", "--keep-orders").exit_code == 0
    assert len(open_orders(control)) == 4


def test_an_account_that_the_broker_blocks_is_shown_as_halted(market):
    root, running = market
    running.control.set_account(trade_suspended_by_user=True)
    try:
        held = "broker: halted (it blocks the account: trade_suspended_by_user)"
        assert held in run(root, "status").stdout
        assert f"no reset lifts {held}: see to it on the broker's own page\n" in run(root, "reset").stdout
    finally:
        running.control.set_account(trade_suspended_by_user=False)
