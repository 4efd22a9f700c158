"""One failure of the audit log, whoever meets it: told once, and its end once."""

import itertools
from dataclasses import replace
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from trading_pipeline.adapters.notifiers import AlertOutbox
from trading_pipeline.adapters.storage.audit_spool import AuditSpool
from trading_pipeline.domain.errors import DependencyUnavailable
from trading_pipeline.ports import RECOVERED
from trading_pipeline_tests.audit_builders import NOON, MemoryObjects, audit_in_memory, log_over, make_draft

FAILED = "audit:2026-07-31T16:00:00.000000+00:00"


class BusyLines:
    """A journal that is busy, or not."""

    def __init__(self):
        self.is_busy = True

    def after(self, _number):
        if self.is_busy:
            raise DependencyUnavailable("the journal is busy")
        return []


@pytest.fixture
def outbox(tmp_path):
    return AlertOutbox(tmp_path / "alerts.sqlite")


@pytest.fixture
def objects():
    return MemoryObjects()


@pytest.fixture
def lines():
    return BusyLines()


@pytest.fixture
def processes(objects, tmp_path, outbox, lines):
    """Return trails of as many processes as are asked for, of which each is called an hour after the one before."""
    hours = itertools.count()

    def process():
        at = NOON + timedelta(hours=next(hours))
        spool = AuditSpool(tmp_path / "spool")
        return replace(audit_in_memory(objects), journal=lines, spool=spool, notifier=outbox, now=lambda: at)

    return process


def keys(outbox):
    return [alert.key for alert in outbox.alerts()]


def test_a_journal_that_is_busy_once_leaves_nothing_unanswered(processes, outbox, lines):
    assert not processes().follow()
    assert not processes().follow()
    assert [alert.key for alert in outbox.unanswered(NOON + timedelta(days=9999))] == [FAILED]

    lines.is_busy = False
    assert processes().follow()
    assert processes().follow()
    assert keys(outbox) == [FAILED, FAILED + RECOVERED]
    assert outbox.unanswered(NOON + timedelta(days=9999)) == []


def test_what_still_fails_is_not_over_because_the_rest_works(processes, outbox):
    processes().follow()

    assert processes().record([make_draft(1)])
    assert keys(outbox) == [FAILED]


def test_a_second_failure_of_the_day_is_told_and_ends_too(processes, outbox, lines):
    for is_busy in (True, False, True, False):
        lines.is_busy = is_busy
        processes().follow()

    second = FAILED.replace("T16", "T18")
    assert keys(outbox) == [FAILED, FAILED + RECOVERED, second, second + RECOVERED]


def test_who_dies_before_the_end_is_told_leaves_it_to_the_next(processes, outbox, lines, monkeypatch):
    processes().follow()
    lines.is_busy = False

    def killed(_alert):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(outbox, "notify", killed)
        with pytest.raises(KeyboardInterrupt):
            processes().follow()
    lines.is_busy = True
    processes().follow()
    lines.is_busy = False
    processes().follow()

    second = FAILED.replace("T16", "T18")
    assert sorted(keys(outbox)) == sorted([FAILED, FAILED + RECOVERED, second, second + RECOVERED])


def test_who_dies_after_the_end_is_told_does_not_have_it_told_twice(processes, outbox, lines, monkeypatch):
    processes().follow()
    lines.is_busy = False

    def killed(*_given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(AuditSpool, "told", killed)
        with pytest.raises(KeyboardInterrupt):
            processes().follow()
    processes().follow()

    assert keys(outbox) == [FAILED, FAILED + RECOVERED]


def test_records_that_wait_are_over_once_another_process_follows(objects, processes, outbox, lines):
    lines.is_busy = False
    objects.failure = DependencyUnavailable("the disk is full")
    processes().record([make_draft(1)])
    objects.failure = None
    processes().follow()

    assert keys(outbox) == [FAILED, FAILED + RECOVERED]
    assert [record.payload["n"] for record in log_over(objects).records(event="signal")] == [1]


def test_an_end_that_cannot_be_noted_fails_nothing_and_is_told_once_it_can(processes, outbox, lines, tmp_path):
    processes().follow()
    lines.is_busy = False
    marker = tmp_path / "spool.failing.json"
    content = marker.read_bytes()
    marker.unlink()
    marker.mkdir()
    with capture_logs() as logged:
        assert processes().follow()
    assert {line["event"] for line in logged} == {"audit_recovery_not_told"}

    marker.rmdir()
    marker.write_bytes(content)
    assert processes().follow()
    assert keys(outbox) == [FAILED, FAILED + RECOVERED]
