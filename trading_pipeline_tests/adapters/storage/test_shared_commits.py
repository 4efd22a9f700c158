import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from trading_pipeline.adapters.storage import shared_commits
from trading_pipeline.adapters.storage.shared_commits import SharedCommits
from trading_pipeline.domain.errors import DataError, DependencyUnavailable

THREADS = 8


class Disk:
    """Keeps what it was told to write, go by go; the first go lasts until the others wait."""

    def __init__(self, commits=None):
        self.goes = []
        self.begun, self.go_on = threading.Event(), threading.Event()

    def write(self, lines):
        self.goes.append(list(lines))
        if len(self.goes) == 1:
            self.begun.set()
            assert self.go_on.wait(60)
        return [self.outcome(line) for line in lines]

    def outcome(self, line):
        return DataError(f"{line} is odd") if line % 2 else True


def crowded(disk, others):
    """Let one line be on its way while ``others`` come, and return what became of all."""
    commits = SharedCommits()
    with ThreadPoolExecutor(THREADS) as threads:
        first = threads.submit(commits.written, 0, disk.write)
        assert disk.begun.wait(60)
        later = [threads.submit(commits.written, line, disk.write) for line in others]
        while len(commits._queue) < len(others):
            threading.Event().wait(0.001)
        disk.go_on.set()
        return [waiting.exception(60) or waiting.result() for waiting in (first, *later)]


def test_lines_that_wait_are_written_in_one_go_each_once():
    disk = Disk()

    outcomes = crowded(disk, [2, 4, 6, 8])

    assert outcomes == [True] * 5
    assert disk.goes[0] == [0]
    assert len(disk.goes) == 2
    assert sorted(disk.goes[1]) == [2, 4, 6, 8]


def test_a_line_that_is_refused_fails_alone():
    outcomes = crowded(Disk(), [1, 2, 3])

    assert [type(outcome) for outcome in outcomes] == [bool, DataError, bool, DataError]
    assert str(outcomes[1]) == "1 is odd"


def test_a_go_that_fails_fails_for_all_of_its_lines_and_for_no_other():
    class FullDisk(Disk):
        def outcome(self, line):
            if line:
                raise DependencyUnavailable("the disk is full")
            return True

    outcomes = crowded(FullDisk(), [2, 4])

    assert [type(outcome) for outcome in outcomes] == [bool, DependencyUnavailable, DependencyUnavailable]


def test_lines_whose_writer_was_interrupted_are_written_by_those_who_wait():
    class Interrupted(Disk):
        def write(self, lines):
            outcomes = super().write(lines)
            if len(self.goes) == 2:
                raise KeyboardInterrupt
            return outcomes

    disk = Interrupted()

    outcomes = crowded(disk, [2, 4, 6])

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["KeyboardInterrupt", "bool", "bool", "bool"]
    written = [line for go in (disk.goes[0], *disk.goes[2:]) for line in go]
    assert len(written) == len(set(written)) == 3


def test_alone_a_line_is_written_at_once():
    goes = []
    commits = SharedCommits()

    assert commits.written("line", lambda lines: [goes.append(lines) is None])
    with pytest.raises(DataError, match="no"):
        commits.written("line", lambda lines: [DataError("no")])

    assert goes == [["line"]]


def test_whoever_waits_while_the_turn_is_taken_is_woken_when_it_ends(monkeypatch):
    monkeypatch.setattr(shared_commits, "LONGEST_SLEEP", 60)
    commits, goes = SharedCommits(), []

    def write(lines):
        goes.append(lines)
        return [True] * len(lines)

    with ThreadPoolExecutor(THREADS) as threads:
        with commits.turn():
            waiting = [threads.submit(commits.written, line, write) for line in range(THREADS)]
            while len(commits._queue) < THREADS:
                threading.Event().wait(0.001)
            assert goes == []
        assert [done.result(30) for done in waiting] == [True] * THREADS

    assert sorted(line for go in goes for line in go) == list(range(THREADS))


def test_under_a_crowd_every_line_is_written_once(monkeypatch):
    monkeypatch.setattr(shared_commits, "LONGEST_SLEEP", 60)
    commits, written, lock = SharedCommits(), [], threading.Lock()

    def write(lines):
        assert lock.acquire(blocking=False), "two wrote at once"
        written.extend(lines)
        lock.release()
        return [True] * len(lines)

    with ThreadPoolExecutor(THREADS) as threads:
        done = [threads.submit(commits.written, line, write) for line in range(2000)]
        assert all(one.result(60) for one in done)

    assert sorted(written) == list(range(2000))
