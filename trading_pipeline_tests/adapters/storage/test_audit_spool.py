import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from filelock import FileLock

from trading_pipeline.adapters.storage.audit_spool import AuditSpool
from trading_pipeline.domain.errors import DataError, DependencyUnavailable, PipelineError
from trading_pipeline_tests.audit_builders import NOON, MemoryObjects, drafts, log_over, make_draft

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


class FewObjects(MemoryObjects):
    """Objects that fail before a writer without end fills the memory."""

    def put_if_absent(self, key, content):
        assert len(self.content) < 20
        return super().put_if_absent(key, content)


@pytest.mark.parametrize("ahead", [timedelta(hours=8, seconds=2), timedelta(days=400)])
@pytest.mark.parametrize("held", [0, 1])
def test_drafts_of_a_day_before_which_the_clock_stepped_back_are_appended_once(spool, ahead, held):
    objects = FewObjects()
    log = log_over(objects)
    log.append(drafts(held, first=7))
    spool.keep([replace(draft, at=NOON + ahead) for draft in drafts(2)])
    [kept] = spool.folder.glob("*.jsonl")
    content = kept.read_bytes()

    assert len(spool.drain(log)) == 2
    kept.write_bytes(content)
    spool.drain(log_over(objects, NOON + timedelta(days=2)))
    assert numbers(log) == [*[7] * held, 0, 1]
    assert spool.waiting() == []


def test_drafts_older_than_the_newest_folder_are_appended_once(spool, objects):
    log = log_over(objects, NOON + timedelta(days=30))
    log.append([make_draft(7)])
    spool.keep(drafts(1))
    [kept] = spool.folder.glob("*.jsonl")
    content = kept.read_bytes()

    spool.drain(log)
    kept.write_bytes(content)
    spool.drain(log)
    assert numbers(log) == [7, 0]


def test_more_drafts_than_a_segment_holds_are_appended_over_midnight(spool, objects):
    log_over(objects).append(drafts(1))
    spool.keep(drafts(501, first=1))

    spool.drain(log_over(objects, NOON + timedelta(days=1)))
    log = log_over(objects)
    assert [record.payload["n"] for record in log.records(event="signal")] == list(range(502))


def test_what_waits_is_appended_to_a_log_whose_head_is_damaged(spool, log, objects):
    log.append(drafts(1))
    objects.content["anchors/audit_head.json"] = b"nonsense"
    spool.keep(drafts(1, first=1))

    spool.drain(log)
    assert [record.payload["n"] for record in log.records(event="signal")] == [0, 1]


class TestSinceWhenItFails:
    @pytest.fixture
    def other(self, spool):
        return AuditSpool(spool.folder)

    def test_it_is_one_failure_until_all_that_failed_works_whoever_notes_it(self, spool, other):
        first = spool.failed("journal", NOON)
        assert other.failed("records", NOON + timedelta(hours=1)) == first
        assert other.failed("journal", NOON + timedelta(hours=2)) == first

        assert spool.worked(["journal"]) == []
        assert other.worked(["records", "trading_state"]) == [first]
        assert spool.failed("journal", NOON + timedelta(hours=3)) != first

    def test_an_end_is_told_of_until_it_was_told(self, spool, other):
        first = spool.failed("journal", NOON)
        spool.worked(["journal"])
        second = other.failed("journal", NOON + timedelta(hours=1))
        assert other.worked([]) == [first]
        assert other.worked(["journal"]) == [first, second]

        other.told([first])
        assert spool.worked([]) == [second]
        spool.told([second])
        assert other.worked(["journal"]) == []

    def test_where_nothing_ever_failed_nothing_is_kept(self, spool):
        assert spool.worked(["journal"]) == []
        assert list(spool.folder.parent.iterdir()) == []

    def test_it_does_not_wait_among_the_drafts(self, spool, log):
        spool.keep(drafts(1))
        spool.failed("journal", NOON)

        assert len(spool.waiting()) == 1
        assert not spool.is_empty()
        spool.drain(log)
        assert spool.is_empty()

    def test_where_it_cannot_be_kept_the_process_knows_it_and_it_is_the_same_once_it_can(self, tmp_path):
        (tmp_path / "home").write_text("a file where the folder should be")
        spool = AuditSpool(tmp_path / "home" / "spool")
        first = spool.failed("journal", NOON)
        assert spool.failed("records", NOON + timedelta(hours=1)) == first

        (tmp_path / "home").unlink()
        assert spool.failed("journal", NOON + timedelta(hours=2)) == first
        assert AuditSpool(spool.folder).failed("journal", NOON + timedelta(hours=3)) == first
        assert spool.worked(["journal", "records"]) == [first]

    def test_what_the_process_alone_knows_of_is_over_once_all_of_it_works(self, tmp_path):
        (tmp_path / "home").write_text("a file where the folder should be")
        spool = AuditSpool(tmp_path / "home" / "spool")
        first = spool.failed("journal", NOON)
        spool.failed("records", NOON)

        (tmp_path / "home").unlink()
        assert spool.worked(["journal"]) == []
        assert spool.worked(["records"]) == [first]
        assert spool.worked(["records"]) == []

    def test_an_end_that_cannot_be_noted_is_told_by_the_next_that_works(self, tmp_path):
        (tmp_path / "home").write_text("a file where the folder should be")
        spool = AuditSpool(tmp_path / "home" / "spool")
        first = spool.failed("journal", NOON)
        with pytest.raises(PipelineError):
            spool.worked(["journal"])

        (tmp_path / "home").unlink()
        assert spool.worked(["journal"]) == [first]
        assert spool.worked(["journal"]) == []

    @pytest.mark.parametrize("content", ["nonsense", "[]", "{}", '{"since": "", "sources": 3, "over": []}'])
    def test_what_is_damaged_is_begun_anew(self, spool, content):
        spool.folder.with_name("spool.failing.json").write_text(content)

        assert spool.worked(["journal"]) == []
        first = spool.failed("journal", NOON)
        assert spool.worked(["journal"]) == [first]
