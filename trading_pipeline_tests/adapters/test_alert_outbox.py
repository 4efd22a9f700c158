import shutil
import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest
from filelock import FileLock

from trading_pipeline.adapters.notifiers import AlertOutbox
from trading_pipeline.domain.errors import DependencyUnavailable
from trading_pipeline.ports import RECOVERED, Alert, Severity

NOON = datetime(2026, 7, 31, 16, tzinfo=UTC)


def alert(key="break", severity=Severity.CRITICAL, at=NOON, title="Positions differ") -> Alert:
    return Alert(key, severity, title, "SPY: ours 10, theirs 9\nTLT: ours 1, theirs 0", at)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "later" / "alerts.sqlite"


CHANNELS = {"email": Severity.WARNING, "webhook": Severity.CRITICAL, "console": Severity.INFO}


@pytest.fixture
def later():
    """The machine's time, which a test moves."""
    return [NOON]


@pytest.fixture
def carried(path, later):
    return AlertOutbox(path, CHANNELS, machine_time=lambda: later[0])


def goes_to(outbox, key):
    return {status.channel: status.state.value for status in outbox.deliveries.status(key)}


@pytest.mark.parametrize(
    ("severity", "channels"),
    [
        (Severity.INFO, {"console"}),
        (Severity.WARNING, {"console", "email"}),
        (Severity.CRITICAL, {"console", "email", "webhook"}),
    ],
)
def test_an_alert_is_put_down_for_the_channels_that_carry_its_severity(carried, severity, channels):
    carried.notify(alert(severity=severity))

    assert goes_to(carried, "break") == dict.fromkeys(channels, "pending")


def test_that_something_is_over_is_told_wherever_the_failure_was(carried):
    carried.notify(alert("loud", Severity.CRITICAL))
    carried.notify(alert("quiet", Severity.WARNING))
    for key in ("loud", "quiet", "never told"):
        carried.notify(alert(key + RECOVERED, Severity.INFO))

    assert set(goes_to(carried, "loud" + RECOVERED)) == {"console", "email", "webhook"}
    assert set(goes_to(carried, "quiet" + RECOVERED)) == {"console", "email"}
    assert set(goes_to(carried, "never told" + RECOVERED)) == {"console"}


def test_what_is_over_by_itself_needs_nobody_to_acknowledge_it(carried, later):
    carried.notify(alert("over"))
    carried.notify(alert("lasting"))
    carried.notify(alert("over" + RECOVERED, Severity.INFO))

    assert [left.key for left in carried.unanswered(later[0])] == ["lasting"]
    over = next(kept for kept in carried.kept() if kept.alert.key == "over")
    assert (over.acknowledged_at, over.acknowledged_by) == (NOON, "its recovery")


def test_a_channel_is_not_asked_to_tell_of_its_own_failure(carried):
    carried.notify(alert(), without=["email"])

    assert set(goes_to(carried, "break")) == {"console", "webhook"}


def test_an_alert_that_could_not_be_kept_goes_out_once_it_can_be(carried, path, later):
    path.parent.write_text("a file where the folder should be")
    carried.notify(alert())
    path.parent.unlink()
    later[0] += timedelta(hours=1)
    carried.notify(alert("another"))

    assert set(goes_to(carried, "break")) == set(CHANNELS)
    assert [kept.told_at for kept in carried.kept()] == [NOON, later[0]]


def test_what_a_person_acknowledged_is_answered_and_stays_so(carried, later):
    carried.notify(alert("first"))
    carried.notify(alert("second"))

    assert carried.acknowledge(["first", "unknown"], "a person") == ["first"]
    later[0] += timedelta(minutes=1)
    assert carried.acknowledge(["first"], "another") == []

    assert [kept.alert.key for kept in carried.kept(unacknowledged=True)] == ["second"]
    [first, second] = carried.kept()
    assert (first.acknowledged_at, first.acknowledged_by) == (NOON, "a person")
    assert second.acknowledged_at is None
    assert [left.key for left in carried.unanswered(NOON)] == ["second"]


def test_only_critical_alerts_told_before_an_instant_want_an_answer(carried, later):
    carried.notify(alert("warning", Severity.WARNING))
    carried.notify(alert("early"))
    later[0] += timedelta(minutes=60)
    carried.notify(alert("late"))

    assert [left.key for left in carried.unanswered(NOON + timedelta(minutes=59))] == ["early"]
    carried.escalated(["early"])
    assert [left.key for left in carried.unanswered(later[0])] == ["late"]


def test_runbook_and_html_are_kept(carried):
    told = Alert("key", Severity.WARNING, "title", "text", NOON, "order-pending", "<b>text</b>")
    carried.notify(told)

    assert carried.alerts() == [told]


@pytest.fixture
def earlier_version(path):
    """A file as it was written before there were channels: one table, in WAL mode."""
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(
            "CREATE TABLE alerts (key TEXT PRIMARY KEY, severity TEXT NOT NULL, title TEXT NOT NULL, "
            "text TEXT NOT NULL, at TEXT NOT NULL)"
        )
        row = ("old", "critical", "Positions differ", "SPY: ours 10", "2026-07-30T16:00:00.000000+00:00")
        connection.execute("INSERT INTO alerts VALUES (?, ?, ?, ?, ?)", row)
    connection.close()
    return path


def test_a_file_of_an_earlier_version_is_used_as_it_is_and_what_it_told_is_over(earlier_version, carried, later):
    assert not carried.notify(alert("old"))
    assert carried.notify(alert("new"))

    assert [told.key for told in carried.alerts()] == ["old", "new"]
    assert carried.alerts()[0].text == "SPY: ours 10"
    assert goes_to(carried, "old") == {}
    assert [left.key for left in carried.unanswered(later[0])] == ["new"]
    assert carried.kept()[0].acknowledged_by == "an earlier version"


def test_of_a_file_that_numbered_nothing_that_was_sent_the_newest_counts_until_more_is_sent(path):
    outbox, hour = AlertOutbox(path, CHANNELS, machine_time=lambda: NOON), timedelta(hours=1)
    ledger = outbox.deliveries

    def send(key, instant):
        outbox.notify(alert(key))
        ledger.sent(ledger.claim("email", NOON, 9, hour, hour), "accepted", instant)

    for key, instant in (("a", NOON), ("b", NOON + 2 * hour), ("c", NOON + hour)):
        send(key, instant)
    with sqlite3.connect(path) as connection:
        connection.execute("DROP INDEX deliveries_by_number")
        connection.execute("ALTER TABLE deliveries DROP COLUMN sent_number")
        connection.execute("PRAGMA user_version = 1")
    connection.close()

    assert ledger.last_sent("email") == NOON + 2 * hour
    send("d", NOON)
    assert ledger.last_sent("email") == NOON


def test_of_many_that_upgrade_a_file_at_once_one_does(earlier_version):
    start, failures = threading.Barrier(6), []

    def use():
        start.wait()
        try:
            AlertOutbox(earlier_version, CHANNELS).alerts()
        except DependencyUnavailable as error:
            failures.append(error)

    threads = [threading.Thread(target=use) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert [told.key for told in AlertOutbox(earlier_version).alerts()] == ["old"]


def test_an_upgrade_that_breaks_off_leaves_the_file_as_it_was(earlier_version, monkeypatch):
    from trading_pipeline.adapters.alerting import database

    with monkeypatch.context() as patch:
        patch.setattr(database, "_FROM_VERSION_0", (*database._FROM_VERSION_0[:3], "no statement at all"))
        with pytest.raises(DependencyUnavailable):
            AlertOutbox(earlier_version).alerts()
    assert [told.key for told in AlertOutbox(earlier_version).alerts()] == ["old"]


def test_two_outboxes_that_tell_the_same_send_messages_that_differ_and_a_copy_does_not(carried, path, tmp_path):
    carried.notify(alert())
    shutil.copytree(path.parent, tmp_path / "copy")
    other = AlertOutbox(tmp_path / "other" / "alerts.sqlite", CHANNELS)
    other.notify(alert())

    def message(outbox):
        return outbox.deliveries.claim(
            "email", datetime.max.replace(tzinfo=UTC) - timedelta(days=2), 9, timedelta(hours=1), timedelta(1)
        ).message

    same, copied, another = message(carried), message(AlertOutbox(tmp_path / "copy" / path.name)), message(other)
    assert same == copied != another


def neutral(text):
    return text.replace("SPY", "ALPHA").replace("TLT", "ALPHA")


def test_nothing_of_an_alert_is_said_or_kept_but_what_may_be_shown(path, capsys):
    outbox = AlertOutbox(path, CHANNELS, redact=neutral)
    told = Alert("watchdog:SPY", Severity.CRITICAL, "SPY hangs", "10 SPY", NOON, "order-pending", "<b>SPY</b>")
    outbox.notify(told)

    [kept] = outbox.alerts()
    assert (kept.title, kept.text, kept.html) == ("ALPHA hangs", "10 ALPHA", "<b>ALPHA</b>")
    assert kept.key.startswith("watchdog#")
    assert "SPY" not in capsys.readouterr().err
    assert all(b"SPY" not in part.read_bytes() for part in path.parent.iterdir())


def test_alerts_of_a_kind_are_found_by_the_beginning_of_their_keys(path):
    outbox = AlertOutbox(path)
    for key in ("halt:b", "halt", "halts:c", "halt:a", "report:halt:a", "halt:ü"):
        outbox.notify(alert(key))

    assert [found.key for found in outbox.of_kind("halt:")] == ["halt:b", "halt:a", "halt:ü"]
    assert outbox.of_kind("nothing:") == []


def test_a_run_that_hides_otherwise_tells_the_same_alert_no_second_time(path):
    def otherwise(text):
        return text.replace("SPY", "OMEGA")

    assert AlertOutbox(path, redact=neutral).notify(alert("a:SPY"))
    assert not AlertOutbox(path, redact=otherwise).notify(alert("a:SPY"))


def test_keys_that_look_alike_once_they_may_be_shown_are_still_two_alerts_and_each_is_told_once(path):
    outbox = AlertOutbox(path, CHANNELS, redact=neutral)

    assert [outbox.notify(alert(key)) for key in ("a:SPY", "a:TLT", "a:SPY", "plain")] == [True, True, False, True]
    assert outbox.knows("a:SPY")
    assert not outbox.knows("a:QQQ")
    outbox.notify(alert("a:SPY" + RECOVERED, Severity.INFO))
    assert len(outbox.kept(unacknowledged=True)) == 3, "TLT's, the plain one and the notice itself"


LEAVES_ITS_WAL = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from trading_pipeline.adapters.notifiers import AlertOutbox
from trading_pipeline.ports import Alert, Severity
outbox = AlertOutbox(Path(sys.argv[1]))
outbox.notify(Alert("old", Severity.WARNING, "title", "text", datetime(2026, 7, 31, 16, tzinfo=UTC)))
with outbox._file.transaction() as connection:
    connection.execute("UPDATE alerts SET title = 'changed'")
    connection.execute("COMMIT")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_file_that_is_moved_away_does_not_come_back_by_what_a_killed_process_left_beside_it(path):
    subprocess.run([sys.executable, "-c", LEAVES_ITS_WAL, str(path)], check=False, stderr=subprocess.DEVNULL)
    wal, shm = (path.with_name(f"{path.name}{suffix}") for suffix in ("-wal", "-shm"))
    assert wal.stat().st_size, "or there is nothing that could come back"
    path.rename(path.with_name("moved.sqlite"))

    outbox = AlertOutbox(path, CHANNELS)
    assert outbox.alerts() == []
    outbox.notify(alert("new"))

    assert [kept.key for kept in outbox.alerts()] == ["new"]
    assert [left.with_name(f"{left.name}.orphaned").exists() for left in (wal, shm)] == [True, True]


def test_whoever_makes_the_file_meanwhile_is_not_waited_for_longer_than_for_the_file(path, monkeypatch, capsys):
    monkeypatch.setattr("trading_pipeline.adapters.alerting.database.BUSY_SECONDS", 0.05)
    path.parent.mkdir()
    with FileLock(path.with_name(f".{path.name}.lock")):
        assert AlertOutbox(path).notify(alert())

    assert "alert not kept" in capsys.readouterr().err


def test_an_alert_of_the_future_is_not_waited_for_once_the_clock_was_put_back(carried, later):
    carried.notify(alert())
    later[0] = NOON - timedelta(days=1)

    assert carried.unanswered(later[0] - timedelta(hours=1)) == []
    assert [left.key for left in carried.unanswered(later[0] - timedelta(hours=1), later[0])] == ["break"]
