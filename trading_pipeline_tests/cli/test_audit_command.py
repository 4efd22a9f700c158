import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from trading_pipeline.adapters.storage.audit import HEAD_KEY, StoredAuditLog
from trading_pipeline.adapters.storage.home import home_of
from trading_pipeline.adapters.storage.journal import SqliteJournal
from trading_pipeline.adapters.storage.objects import FileObjects
from trading_pipeline.adapters.storage.trading_state import StoredTradingState
from trading_pipeline.cli.app import app
from trading_pipeline.defs.audit import spool_of, trail_of
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.risk.trading_state import Latch, TradingMode
from trading_pipeline.settings import BrokerSettings, Settings
from trading_pipeline_tests.audit_builders import Told, drafts, make_draft
from trading_pipeline_tests.builders import INSIDE_WINDOW, buy, make_plan

NOON = datetime(2026, 7, 31, 16, tzinfo=UTC)
BREAK = Latch("reconciliation", TradingMode.REDUCING, "a break", "reconciliation", NOON)
# What verification needs no second of.
HEAVY = ("dagster", "pandas", "numpy", "pyarrow", "deltalake", "exchange_calendars")
ALONE = f"""
import sys
import typer
from trading_pipeline.cli.audit import audit

try:
    audit(["verify", "--home", sys.argv[1]])
finally:
    print([name for name in {HEAVY!r} if name in sys.modules])
"""


@pytest.fixture
def home(tmp_path):
    return home_of(Settings(), tmp_path)


@pytest.fixture
def log(home):
    return StoredAuditLog(FileObjects(home.objects), lambda: NOON)


@pytest.fixture
def segment(log, home):
    log.append([make_draft(1, "order", "a"), make_draft(2, "fill", "a"), make_draft(3, "order", "b")])
    return home.objects / "audit/2026/07/31/000000000001.jsonl"


@pytest.fixture
def trail(home):
    return trail_of(Settings(), home, Told())


@pytest.fixture
def said(tmp_path):
    def run(*arguments):
        return CliRunner().invoke(app, ["audit", *map(str, arguments), "--home", str(tmp_path)])

    return run


def test_a_whole_log_is_clean_and_its_head_is_told(said, segment, log):
    done = said("verify")

    assert done.exit_code == 0
    assert done.stdout == f"clean: 3 records in 1 segments, 0 findings\nhead {log.head().anchor}\n"
    assert said("head").stdout == f"{log.head().anchor}\n"
    assert json.loads(said("head", "--json").stdout)["sequence"] == 3


def test_a_damaged_log_is_corrupt_and_each_place_is_named(said, segment):
    segment.write_bytes(segment.read_bytes().replace(b'"n":2', b'"n":5'))
    done = said("verify")

    assert done.exit_code == 1
    first, *_, last, _ = done.stdout.splitlines()
    assert first == "edited: audit/2026/07/31/000000000001.jsonl:2: record 2 does not have the hash that it names"
    assert last == "corrupt: 3 records in 1 segments, 1 findings"


def test_findings_are_told_as_json(said, segment, log):
    segment.write_bytes(segment.read_bytes().replace(b'"n":2', b'"n":5'))
    told = json.loads(said("verify", "--json").stdout)

    assert (told["status"], told["findings"], told["records"]) == ("corrupt", 1, 3)
    assert told["shown"][0]["kind"] == "edited"
    assert told["anchor"] == log.head().anchor


def test_of_many_findings_the_first_are_shown_and_all_are_counted(said, log, home):
    log.append(drafts(150))
    [path] = (home.objects / "audit").rglob("*.jsonl")
    path.write_bytes(path.read_bytes().replace(b'"actor":"a test"', b'"actor":"a tess"'))

    lines = said("verify").stdout.splitlines()
    assert sum(line.startswith("edited") for line in lines) == 100
    assert lines[-2] == "corrupt: 150 records in 1 segments, 150 findings"


def test_a_note_is_no_corruption(said, segment, log, home):
    before = (home.objects / HEAD_KEY).read_bytes()
    log.append(drafts(1))
    (home.objects / HEAD_KEY).write_bytes(before)
    done = said("verify")

    assert done.exit_code == 0
    assert done.stdout.startswith(f"note: {HEAD_KEY}: is 1 records behind")


@pytest.mark.parametrize("arguments", [["--since", "yesterday"], ["--anchor", "nonsense"]])
def test_an_option_that_cannot_be_read_verifies_nothing(said, segment, arguments):
    assert said("verify", *arguments).exit_code == 2


def test_where_there_is_no_log_to_read_nothing_is_said_to_be_clean(said):
    done = said("verify", "--json")

    assert done.exit_code == 2
    assert json.loads(done.stdout)["status"] == "unreadable"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_log_that_may_not_be_read_is_unreadable(said, segment):
    segment.chmod(0)
    assert said("verify").exit_code == 2


def test_a_log_in_place_of_which_something_else_lies_is_unreadable(said, home):
    home.objects.mkdir(parents=True)
    (home.objects / "anchors").write_text("a file where a folder should be")
    assert said("verify").exit_code == 2


def test_an_anchor_that_was_kept_shows_what_was_cut_off_of_log_and_head(said, segment, log, home):
    kept = (home.objects / HEAD_KEY).read_bytes()
    log.append(drafts(1))
    anchor = log.head().anchor
    assert said("verify", "--anchor", anchor).exit_code == 0
    (home.objects / "audit/2026/07/31/000000000004.jsonl").unlink()
    (home.objects / HEAD_KEY).write_bytes(kept)

    assert said("verify").exit_code == 0
    done = said("verify", "--anchor", anchor)
    assert done.exit_code == 1
    assert done.stdout.startswith("truncated: ")


def test_an_anchor_that_would_not_be_compared_verifies_nothing(said, segment, log, home):
    anchor = log.head().anchor
    StoredAuditLog(FileObjects(home.objects), lambda: NOON + timedelta(days=1)).append(drafts(1))

    done = said("verify", "--since", "2026-08-01", "--anchor", anchor)
    assert done.exit_code == 2
    assert "clean" not in done.stdout
    assert said("verify", "--since", "2026-07-31", "--anchor", anchor).exit_code == 0


def test_a_copy_of_the_log_is_verified_without_a_home(segment, home, tmp_path):
    moved = home.objects.rename(tmp_path / "copy")
    done = CliRunner().invoke(app, ["audit", "verify", "--objects", str(moved)])
    assert done.exit_code == 0
    assert done.stdout.startswith("clean: 3 records")


def test_records_are_listed_by_event_and_by_what_belongs_together(said, segment):
    assert [line.split()[0] for line in said("show").stdout.splitlines()] == ["1", "2", "3"]
    assert said("show", "--event", "order", "--correlation", "b").stdout.startswith(
        "3 2026-07-31 16:00:00 order b a test: "
    )
    listed = said("show", "--correlation", "a", "--json").stdout.splitlines()
    assert [json.loads(line)["sequence"] for line in listed] == [1, 2]
    assert said("show", "--since", "2026-08-01").stdout == ""


def test_a_damaged_record_is_not_shown(said, segment):
    segment.write_bytes(b"nonsense\n")
    assert said("show").exit_code == 1


def test_what_waits_is_listed(said, home):
    assert said("spool").stdout == ""
    spool_of(home).keep([make_draft(1, "order", "a")])
    assert said("spool").stdout == "2026-07-31 16:00:00 order a a test\n"


def test_journal_and_history_that_are_in_the_log_are_complete(said, trail, home):
    trail.record([make_draft(1)])
    trade(home)
    assert said("verify", "--complete").exit_code == 0
    assert "note: journal: 2 lines wait" in said("verify", "--complete").stdout
    assert "note: trading_state: 1 lines wait" in said("verify", "--complete").stdout

    trail.follow()
    assert said("verify", "--complete").stdout.startswith("clean: ")


def trade(home):
    """Let the journal hold two lines, and the history of the trading state one."""
    SqliteJournal(home.journal).claim(make_plan(buy("SPY", "1"), buy("QQQ", "1")), INSIDE_WINDOW)
    StoredTradingState(FileObjects(home.objects)).change(lambda state: state.latched(BREAK))


def test_a_log_that_was_taken_away_is_not_complete(said, trail, home):
    trade(home)
    trail.follow()
    shutil.rmtree(home.objects / "audit")
    shutil.rmtree(home.objects / "anchors")

    done = said("verify", "--complete")
    assert done.exit_code == 1
    assert "removed: journal: the log is empty, and 2 lines are there that it should hold" in done.stdout
    assert "removed: trading_state: the log is empty, and 1 lines are there that it should hold" in done.stdout
    assert "corrupt: 0 records in 0 segments, 2 findings" in done.stdout


def test_that_a_log_is_empty_where_there_were_orders_is_noted_without_a_comparison(said, home):
    trade(home)

    done = said("verify")
    assert done.exit_code == 0
    assert "note: journal: the log is empty, and 2 lines are there that it should hold" in done.stdout


@pytest.mark.parametrize("arguments", [[], ["--complete"]])
def test_a_home_in_which_nothing_was_done_yet_is_clean(said, home, arguments):
    home.objects.mkdir(parents=True)

    done = said("verify", *arguments)
    assert done.exit_code == 0
    note, said_of_it, _ = done.stdout.splitlines()
    assert note == f"note: {HEAD_KEY}: is not there, and no record is: the log is empty"
    assert said_of_it == "clean: 0 records in 0 segments, 0 findings"


def test_a_folder_that_holds_no_log_is_not_said_to_be_clean(segment, home, tmp_path):
    done = CliRunner().invoke(app, ["audit", "verify", "--json", "--objects", str(home.folder)])

    assert done.exit_code == 2
    told = json.loads(done.stdout)
    assert told["status"] == "unreadable"
    assert told["error"].startswith(f"{home.folder} holds no audit log")


def test_a_log_that_was_written_anew_without_a_line_of_the_journal_is_not_complete(said, trail, home):
    SqliteJournal(home.journal).claim(make_plan(buy("SPY", "1"), buy("QQQ", "1")), INSIDE_WINDOW)
    lines = list(trail.journal.after(0))
    trail.record([trail.scribe().order(lines[1])])

    done = said("verify", "--complete")
    assert done.exit_code == 1
    assert done.stdout.startswith("removed: journal:1: the log does not hold it")
    assert said("verify").exit_code == 0


def test_completeness_of_a_copy_cannot_be_told(segment, home):
    done = CliRunner().invoke(app, ["audit", "verify", "--complete", "--objects", str(home.objects)])
    assert done.exit_code == 2


def test_settings_are_recorded_without_keys(home):
    settings = Settings(broker=BrokerSettings(key_id="PKSECRETKEYID", secret_key="verysecretvalue"))
    trail = trail_of(settings, home, Told())
    trail.record([make_draft(1)])

    [record] = trail.log.records(event="settings")
    assert record.payload["values"]["mode"] == "simulated"
    assert record.config_hash == record.payload["config_hash"] == settings.fingerprint()
    content = b"".join(path.read_bytes() for path in home.objects.rglob("*") if path.is_file())
    assert b"PKSECRETKEYID" not in content
    assert b"verysecretvalue" not in content


def test_verification_is_a_process_of_its_own_that_opens_neither_dagster_nor_pandas(segment, tmp_path):
    cleared = {name: value for name, value in os.environ.items() if not name.startswith(("TRADING_", "COV"))}
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(tmp_path)],
        env=cleared,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("clean: 3 records")
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_line_that_is_long_is_shortened_for_people(said, log, home):
    log.append([make_draft(1, "signal", "", text="x" * 500)])
    [line] = said("show").stdout.splitlines()
    assert line.endswith("...")
    assert len(line) < 250


def test_a_failure_beside_verification_is_told_as_every_failure(said):
    assert isinstance(said("show").exception, InvalidInput)
