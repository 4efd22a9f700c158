import threading

import pytest
from filelock import FileLock

from trading_pipeline.adapters.storage.audit_spool import AuditSpool
from trading_pipeline.domain.errors import DataError, DependencyUnavailable
from trading_pipeline_tests.audit_builders import MemoryObjects, drafts, log_over

PATIENCE = 60


@pytest.fixture
def objects():
    return MemoryObjects()


@pytest.fixture
def log(objects):
    return log_over(objects)


@pytest.fixture
def spool(tmp_path):
    return AuditSpool(tmp_path / "spool")


def numbers(log):
    return [record.payload["n"] for record in log.records()]


def test_what_waits_is_appended_in_its_order_and_waits_no_more(spool, log):
    spool.keep(drafts(2))
    spool.keep(drafts(1, first=2))

    assert [draft.payload["n"] for draft in spool.waiting()] == [0, 1, 2]
    assert [draft.payload["n"] for draft in spool.drain(log)] == [0, 1, 2]
    assert numbers(log) == [0, 1, 2]
    assert (spool.waiting(), spool.drain(log)) == ([], [])


def test_where_nothing_waits_nothing_is_made(spool, log, objects):
    assert spool.drain(log) == []
    assert not spool.folder.exists()
    assert objects.content == {}


def test_what_still_cannot_be_appended_waits_on(spool, log, objects):
    spool.keep(drafts(1))
    objects.failure = DependencyUnavailable("full")

    with pytest.raises(DependencyUnavailable):
        spool.drain(log)
    assert len(spool.waiting()) == 1


def test_who_dies_after_appending_and_before_forgetting_does_not_append_twice(spool, log):
    spool.keep(drafts(2))
    [kept] = spool.folder.glob("*.jsonl")
    content = kept.read_bytes()
    spool.drain(log)
    kept.write_bytes(content)

    spool.drain(log)
    assert numbers(log) == [0, 1]
    assert spool.waiting() == []


def test_who_died_in_the_middle_is_gone_on_after(spool, log):
    spool.keep(drafts(3))
    log.append(spool.waiting()[:1])

    spool.drain(log)
    assert numbers(log) == [0, 1, 2]


def test_while_one_process_appends_what_waits_another_does_not(spool, log):
    spool.keep(drafts(1))
    held, over = threading.Event(), threading.Event()

    def hold():
        with FileLock(spool.folder / ".appending.lock"):
            held.set()
            over.wait(PATIENCE)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(PATIENCE)
    assert spool.drain(log) == []
    over.set()
    thread.join()
    assert len(spool.drain(log)) == 1


def test_a_file_that_holds_no_drafts_is_told_of(spool):
    spool.folder.mkdir()
    (spool.folder / "0.jsonl").write_text("nonsense\n")

    with pytest.raises(DataError, match="cannot be read"):
        spool.waiting()
