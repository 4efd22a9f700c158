import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path

import pytest

from trading_pipeline.adapters.storage.audit import HEAD_KEY, MOST_RECORDS, StoredAuditLog, segment_keys
from trading_pipeline.adapters.storage.audit_verification import LogVerification
from trading_pipeline.adapters.storage.objects import FileObjects
from trading_pipeline.domain.audit import GENESIS, AuditEvent, head_of
from trading_pipeline.domain.audit_verification import FindingKind
from trading_pipeline.domain.errors import DataError, DependencyUnavailable
from trading_pipeline_tests.audit_builders import NOON, MemoryObjects, drafts, log_over, make_draft

ROOT = Path(__file__).resolve().parents[3]
FIRST = "audit/2026/07/31/000000000001.jsonl"
PATIENCE = 60
KILLED_AFTER = range(2, 22) if os.environ.get("FULL") else (12,)
WRITER = """
import sys
from pathlib import Path
from trading_pipeline.adapters.storage.audit import StoredAuditLog
from trading_pipeline.adapters.storage.objects import FileObjects
from trading_pipeline_tests.audit_builders import make_draft

log, name = StoredAuditLog(FileObjects(Path(sys.argv[1]))), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[3])):
    log.append([make_draft(number, "signal", name)])
    print(number, flush=True)
"""


@pytest.fixture
def objects():
    return MemoryObjects()


@pytest.fixture
def log(objects):
    return log_over(objects)


def found_in(objects, **how):
    return list(LogVerification(objects, **how).findings())


def writer(folder, name, count):
    """Start a process that appends so many records, one at a time, once it reads a line."""
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), name, str(count)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_records_are_chained_and_found_again_in_their_order(log, objects):
    first, second = log.append(drafts(2)), log.append(drafts(1, first=2))

    assert [record.sequence for record in (*first, *second)] == [1, 2, 3]
    assert first[0].previous_hash == GENESIS
    assert (first[1].previous_hash, second[0].previous_hash) == (first[0].hash, first[1].hash)
    assert list(log.records()) == [*first, *second]
    assert list(log.newest_first()) == [*first, *second][::-1]
    assert segment_keys(objects) == [FIRST, "audit/2026/07/31/000000000003.jsonl"]
    assert found_in(objects) == []


def test_an_append_of_nothing_writes_nothing(log, objects):
    assert log.append([]) == []
    assert segment_keys(objects) == []


def test_the_head_is_where_the_log_ends_and_lies_apart_from_it(log, objects):
    record = log.append(drafts(3))[-1]

    head = log.head()
    assert (head.sequence, head.hash, head.count) == (3, record.hash, 3)
    assert head.anchor == f"3:{record.hash}"
    assert head_of(objects.content[HEAD_KEY]) == head
    assert not HEAD_KEY.startswith("audit/")


def test_a_log_that_was_never_written_has_a_head_of_nothing_and_looking_writes_nothing(log, objects):
    assert log.head().sequence == 0
    assert list(log.records()) == []
    assert objects.content == {}


def test_records_are_chosen_by_event_and_by_what_belongs_together(log):
    log.append([make_draft(1, "order", "a"), make_draft(2, "order", "b"), make_draft(3, "fill", "a")])

    assert [record.payload["n"] for record in log.records(event="order")] == [1, 2]
    assert [record.payload["n"] for record in log.records(correlation_id="a")] == [1, 3]
    assert [record.payload["n"] for record in log.records(event="order", correlation_id="b")] == [2]
    assert list(log.records(event="orde")) == []


def test_a_batch_of_more_than_a_segment_becomes_several(log, objects):
    written = log.append(drafts(MOST_RECORDS + 1))

    assert [record.sequence for record in written] == list(range(1, MOST_RECORDS + 2))
    assert len(segment_keys(objects)) == 2
    assert found_in(objects) == []


def test_each_day_has_its_folder_and_the_chain_goes_through_all(objects):
    for days in (0, 0, 3, 4):
        log_over(objects, NOON + timedelta(days=days)).append(drafts(1))

    days = [key.removeprefix("audit/").rpartition("/")[0] for key in segment_keys(objects)]
    assert days == ["2026/07/31"] * 3 + ["2026/08/03"] * 2 + ["2026/08/04"]
    marked = [record.sequence for record in log_over(objects).records(event=AuditEvent.NEXT_DAY)]
    assert marked == [3, 5]
    assert found_in(objects) == []
    since = [record.sequence for record in log_over(objects).records(since=date(2026, 8, 3))]
    assert since == [4, 5, 6]


def test_a_clock_that_is_behind_goes_on_in_the_newest_folder(objects):
    log_over(objects, NOON + timedelta(days=1)).append(drafts(1))
    log_over(objects, NOON).append(drafts(1))

    assert segment_keys(objects)[-1] == "audit/2026/08/01/000000000002.jsonl"
    assert found_in(objects) == []


def test_a_writer_that_dies_between_the_segment_and_the_head_loses_nothing_and_the_next_mends_it(log, objects):
    log.append(drafts(1))
    before = objects.content[HEAD_KEY]
    log.append(drafts(1, first=1))
    objects.content[HEAD_KEY] = before

    [note] = found_in(objects)
    assert (note.kind, note.place) == (FindingKind.NOTE, HEAD_KEY)
    assert "1 records behind" in note.text
    assert log.head().sequence == 2
    log_over(objects).follow(lambda head: [])
    assert found_in(objects) == []
    assert head_of(objects.content[HEAD_KEY]).sequence == 2


def test_a_head_that_cannot_be_moved_does_not_lose_the_records(log, objects, caplog):
    log.append(drafts(1))
    replace = objects.replace
    objects.replace = lambda *_: (_ for _ in ()).throw(DependencyUnavailable("the disk is full"))
    written = log.append(drafts(2, first=1))
    objects.replace = replace

    assert [record.sequence for record in log.records()] == [1, 2, 3]
    assert [record.sequence for record in written] == [2, 3]
    assert [found.kind for found in found_in(objects)] == [FindingKind.NOTE]


@pytest.mark.parametrize("content", [None, b"nonsense"])
def test_a_head_that_was_taken_away_is_made_anew_with_a_record_that_keeps_saying_so(log, objects, content):
    log.append(drafts(3))
    if content is None:
        del objects.content[HEAD_KEY]
    else:
        objects.content[HEAD_KEY] = content

    assert [found.kind for found in found_in(objects)] == [FindingKind.HEAD]
    log_over(objects).append(drafts(1, first=3))
    assert [record.event for record in log.records()] == ["signal"] * 3 + ["head_lost", "signal"]
    assert log.head().sequence == 5
    log_over(objects).append(drafts(1, first=4))
    [finding] = found_in(objects)
    assert (finding.kind, finding.place) == (FindingKind.HEAD, "audit/2026/07/31/000000000004.jsonl:1")


def test_a_log_whose_end_is_damaged_is_not_gone_on_with(log, objects):
    head = objects.content.get(HEAD_KEY)
    log.append(drafts(1))
    head = objects.content[HEAD_KEY]
    log.append(drafts(1))
    objects.content[HEAD_KEY] = head
    objects.content["audit/2026/07/31/000000000002.jsonl"] = b"nonsense\n"

    with pytest.raises(DataError, match=r"000000000002.jsonl:1: it cannot be read .*audit verify"):
        log.append(drafts(1))


def test_a_segment_that_does_not_go_on_where_the_log_ended_is_not_gone_on_with(log, objects):
    log.append(drafts(1))
    objects.content["audit/2026/07/31/000000000002.jsonl"] = objects.content[FIRST]

    with pytest.raises(DataError, match="does not go on after record 1"):
        log.append(drafts(1))


def test_what_is_followed_is_recorded_once_whoever_follows_at_once(log, objects):
    rival, calls = log_over(objects), []

    def make(head):
        mark = head.marks.get("journal")
        after = mark.number if mark else 0
        if not calls:
            calls.append(1)
            rival.follow(make)
        return [make_draft(0, "order", "", number=number) for number in range(after + 1, 4)]

    log.follow(make)
    assert [record.payload["number"] for record in log.records()] == [1, 2, 3]
    assert log.head().marks["journal"].number == 3


def test_who_loses_every_race_gives_up_at_last(log, objects):
    objects.put_if_absent = lambda key, content: key == HEAD_KEY and MemoryObjects.put_if_absent(objects, key, content)

    with pytest.raises(DependencyUnavailable, match="find who writes it without end"):
        log.append(drafts(1))


class Overtaken(FileObjects):
    """Objects of a writer that others overtake just before it moves the head."""

    def __init__(self, root, others):
        super().__init__(root)
        self.others = others

    def replace(self, key, expected, content):
        if self.others:
            self.others.pop()()
        return super().replace(key, expected, content)


def test_a_writer_that_was_overtaken_moves_the_head_back_never(tmp_path):
    quick = StoredAuditLog(FileObjects(tmp_path))

    def overtake():
        for number in (2, 3):
            quick.append([make_draft(number, "signal", "quick")])

    StoredAuditLog(Overtaken(tmp_path, [overtake])).append([make_draft(1, "signal", "slow")])

    assert quick.head().sequence == 3
    assert found_in(FileObjects(tmp_path)) == []


def test_threads_that_append_at_once_keep_one_chain(tmp_path):
    logs = [StoredAuditLog(FileObjects(tmp_path)) for _ in range(2)]
    start = threading.Barrier(4)

    def append(name):
        start.wait(PATIENCE)
        for number in range(5):
            logs[name % 2].append([make_draft(number, "signal", str(name))])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(append, range(4)))

    assert found_in(FileObjects(tmp_path)) == []
    for name in range(4):
        assert [record.payload["n"] for record in logs[0].records(correlation_id=str(name))] == list(range(5))


@pytest.mark.parametrize("acknowledged_before", KILLED_AFTER)
def test_processes_that_append_at_once_keep_one_chain_and_a_killed_one_loses_nothing_that_was_acknowledged(
    tmp_path, acknowledged_before
):
    steady, killed = writer(tmp_path, "steady", 25), writer(tmp_path, "killed", 10_000)
    for process in (steady, killed):
        assert process.stdout.readline() == "ready\n"
    for process in (steady, killed):
        process.stdin.write("go\n")
        process.stdin.flush()
    acknowledged = [killed.stdout.readline() for _ in range(acknowledged_before)]
    killed.send_signal(signal.SIGKILL)
    acknowledged += killed.stdout.readlines()
    assert steady.wait(PATIENCE) == 0
    killed.wait(PATIENCE)

    log = StoredAuditLog(FileObjects(tmp_path))
    assert [record.payload["n"] for record in log.records(correlation_id="steady")] == list(range(25))
    kept = [record.payload["n"] for record in log.records(correlation_id="killed")]
    whole = [int(line) for line in acknowledged if line.endswith("\n")]
    assert kept[: len(whole)] == whole
    assert len(kept) - len(whole) in {0, 1}
    log.append(drafts(1))
    assert found_in(FileObjects(tmp_path)) == []
    for process in (steady, killed):
        process.stdin.close()
        process.stdout.close()
