import json
import os
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import structlog

from trading_pipeline.adapters.notifiers import AlertOutbox
from trading_pipeline.domain.errors import DependencyUnavailable
from trading_pipeline.ports import Alert, Severity

NOON = datetime(2026, 7, 31, 16, tzinfo=UTC)


def alert(key="break", severity=Severity.CRITICAL, at=NOON, title="Positions differ") -> Alert:
    return Alert(key, severity, title, "SPY: ours 10, theirs 9\nTLT: ours 1, theirs 0", at)


@pytest.fixture(autouse=True)
def _logging_that_nobody_configured():
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "later" / "alerts.sqlite"


@pytest.fixture
def outbox(path):
    return AlertOutbox(path)


def test_an_alert_is_said_in_one_line_and_kept(outbox, capsys):
    assert outbox.notify(alert())

    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith('level=critical event="Positions differ"')
    assert "SPY: ours 10, theirs 9" in line
    assert said.out == ""
    assert outbox.alerts() == [alert()]


@pytest.mark.parametrize("severity", list(Severity))
def test_the_level_says_how_severe_it_is(outbox, capsys, severity):
    outbox.notify(alert(severity=severity))

    assert f"level={severity} " in capsys.readouterr().err


def test_an_alert_is_said_where_all_else_is_logged(outbox, capsys):
    with structlog.testing.capture_logs() as logged:
        outbox.notify(alert())

    assert [(entry["event"], entry["log_level"]) for entry in logged] == [("Positions differ", "critical")]
    assert capsys.readouterr().err == ""


def test_alerts_of_one_key_are_one_alert_for_ever(outbox, path, capsys):
    assert outbox.notify(alert())
    assert not outbox.notify(alert(at=NOON + timedelta(hours=1)))
    assert not AlertOutbox(path).notify(alert())
    assert outbox.notify(alert("another"))

    assert len(capsys.readouterr().err.splitlines()) == 2
    assert outbox.alerts() == [alert(), alert("another")]


def test_alerts_are_listed_oldest_first_from_an_instant_on(outbox):
    assert outbox.alerts() == []
    later = alert("later", at=NOON + timedelta(microseconds=1))
    outbox.notify(later)
    outbox.notify(alert("earlier"))

    assert outbox.alerts() == [alert("earlier"), later]
    assert outbox.alerts(since=NOON) == [alert("earlier"), later]
    assert outbox.alerts(since=later.at) == [later]
    assert outbox.alerts(since=NOON + timedelta(hours=1)) == []


def test_of_many_that_tell_the_same_at_once_one_says_it(path, capsys):
    start = threading.Barrier(8)
    told: list[bool] = []

    def notify():
        start.wait()
        told.append(AlertOutbox(path).notify(alert()))

    threads = [threading.Thread(target=notify) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(told) == [False] * 7 + [True]
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_an_alert_survives_the_death_of_its_process(path):
    program = (
        "import os, signal, sys\n"
        "from datetime import UTC, datetime\n"
        "from pathlib import Path\n"
        "from trading_pipeline.adapters.notifiers import AlertOutbox\n"
        "from trading_pipeline.ports import Alert, Severity\n"
        "at = datetime(2026, 7, 31, 16, tzinfo=UTC)\n"
        "AlertOutbox(Path(sys.argv[1])).notify(Alert('k', Severity.WARNING, 'title', 'text', at))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=False, stderr=subprocess.DEVNULL)

    assert [kept.key for kept in AlertOutbox(path).alerts()] == ["k"]


def in_the_way(path):
    path.parent.write_text("a file where the folder should be")


def damaged(path):
    path.parent.mkdir()
    path.write_bytes(b"not a database at all" * 100)


@pytest.mark.parametrize("failure", [in_the_way, damaged])
def test_an_alert_that_cannot_be_kept_is_said_all_the_same_and_says_so(outbox, path, capsys, failure):
    failure(path)

    assert outbox.notify(alert())
    assert not outbox.notify(alert())

    said, why = capsys.readouterr().err.splitlines()
    assert "Positions differ" in said
    assert why.startswith('level=error event="alert not kept"')
    assert str(path) in why
    with pytest.raises(DependencyUnavailable, match=r"alerts\.sqlite cannot be read"):
        outbox.alerts()


def test_an_alert_that_could_not_be_kept_is_kept_as_soon_as_it_can_be(outbox, path, capsys):
    in_the_way(path)
    outbox.notify(alert())
    path.parent.unlink()

    assert not outbox.notify(alert(at=NOON + timedelta(hours=1)))
    assert outbox.alerts() == [alert()]
    assert not outbox.notify(alert())
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_what_was_said_and_could_not_be_committed_is_not_said_twice(outbox, path, capsys):
    outbox.notify(alert("first"))
    with sqlite3.connect(path) as connection:
        # Fails at the commit, as a full disk does.
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("ALTER TABLE alerts RENAME TO kept")
        connection.execute(
            "CREATE TABLE alerts (key TEXT PRIMARY KEY REFERENCES kept (key) DEFERRABLE INITIALLY DEFERRED, "
            "severity TEXT, title TEXT, text TEXT, at TEXT, runbook TEXT, html TEXT, told_at TEXT)"
        )
    connection.close()
    enforced = sqlite3.connect

    def connect(*arguments, **options):
        opened = enforced(*arguments, **options)
        opened.execute("PRAGMA foreign_keys = ON")
        return opened

    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", connect)
        assert outbox.notify(alert("second"))

    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if "Positions differ" in line]) == 1
    assert len([line for line in lines if "alert not kept" in line]) == 1


def test_an_outbox_that_another_process_holds_does_not_hold_up_the_work(outbox, path, capsys, monkeypatch):
    monkeypatch.setattr("trading_pipeline.adapters.alerting.database.BUSY_SECONDS", 0.05)
    outbox.notify(alert("first"))
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")

    assert outbox.notify(alert("second"))
    assert "alert not kept" in capsys.readouterr().err

    holder.execute("ROLLBACK")
    holder.close()
    assert outbox.notify(alert("third"))
    assert [kept.key for kept in outbox.alerts()] == ["first", "second", "third"]


def test_nobody_reading_standard_error_stops_nothing(outbox, monkeypatch):
    with open(os.devnull, "w", encoding="utf-8") as closed:
        monkeypatch.setattr(sys, "stderr", closed)
    # Written to after it was closed.
    assert outbox.notify(alert())
    assert outbox.alerts() == [alert()]


HALF = json.loads(r'"\ud83d"')


@pytest.mark.parametrize("field", ["key", "title", "text", "runbook", "html"])
@pytest.mark.parametrize("redact", [None, str.upper])
def test_half_a_sign_is_kept_as_a_question_mark(path, field, redact):
    outbox = AlertOutbox(path, {"email": Severity.INFO}, redact)
    told = replace(alert(), **{field: f"before {HALF} after"})

    assert outbox.notify(told)
    assert not outbox.notify(told)

    [kept] = outbox.alerts()
    assert "?" in getattr(kept, field) or (redact and field == "key")
    assert outbox.knows(told.key)
    assert outbox.deliveries.counts()["email"]


def test_half_a_sign_that_cannot_be_kept_is_said_all_the_same(path, outbox, capsys):
    in_the_way(path)

    assert outbox.notify(alert(HALF, title=f"Positions {HALF} differ"))
    assert "Positions ? differ" in capsys.readouterr().err


def test_half_a_sign_in_what_a_person_asks_for_finds_nothing(outbox):
    outbox.notify(alert())

    assert outbox.acknowledge([HALF], "a person") == []
    assert not outbox.is_kept(HALF)
