from datetime import UTC, datetime

import pytest

from trading_pipeline.adapters.storage.audit import StoredAuditLog
from trading_pipeline.adapters.storage.home import Home
from trading_pipeline.adapters.storage.objects import FileObjects
from trading_pipeline.application.tracing import NoRecords
from trading_pipeline.cli.explain_records import AuditIndex, run_records
from trading_pipeline.domain.audit import AuditDraft, AuditEvent

NOW = datetime(2026, 7, 31, 13, 31, tzinfo=UTC)


def draft(event, correlation_id, actor="", **payload):
    told = {"correlation_id": correlation_id, "code_version": "1.2.3", "config_hash": "cafe"}
    return AuditDraft(event.value, payload, NOW, actor, **told)


@pytest.fixture
def log(tmp_path):
    return StoredAuditLog(FileObjects(tmp_path), lambda: NOW)


def test_records_are_found_by_event_and_what_they_belong_to(log):
    written = log.append(
        [
            draft(AuditEvent.SIGNAL, "2026-07-30", "tecl_signal"),
            draft(AuditEvent.SIGNAL, "2026-07-30", "klm_signal"),
            draft(AuditEvent.FILL, "tp1-a", execution_id="one"),
            draft(AuditEvent.FILL, "tp1-a", execution_id="two"),
            draft(AuditEvent.ORDER, "tp1-a"),
        ]
    )
    index = AuditIndex(log)

    [signal] = index.of(AuditEvent.SIGNAL, "2026-07-30", "klm_signal")
    assert (signal.hash, signal.code_version, signal.config_hash) == (written[1].hash, "1.2.3", "cafe")
    assert [mark.sequence for mark in index.of(AuditEvent.FILL, "tp1-a")] == [written[2].sequence, written[3].sequence]
    assert [mark.hash for mark in index.of(AuditEvent.FILL, "tp1-a", "two")] == [written[3].hash]
    assert index.of(AuditEvent.PLAN, "tp1-a") == []
    assert index.trouble == ""


def test_a_log_that_was_never_written_has_no_records(log):
    assert AuditIndex(log).of(AuditEvent.FILL, "tp1-a") == []


def test_a_log_that_cannot_be_read_is_said_to_be_and_stops_nothing(log, tmp_path):
    log.append([draft(AuditEvent.ORDER, "tp1-a")])
    [segment] = (tmp_path / "audit").rglob("*.jsonl")
    segment.write_text("no record\n")
    index = AuditIndex(log)

    assert index.of(AuditEvent.ORDER, "tp1-a") == []
    assert "trading-pipeline audit verify" in index.trouble


def test_a_folder_without_an_instance_has_no_record_and_none_is_made(tmp_path):
    assert isinstance(run_records(Home(tmp_path)), NoRecords)
    assert list(tmp_path.iterdir()) == []
