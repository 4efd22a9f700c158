import subprocess
import sys
import threading
from pathlib import Path

import pytest

from trading_pipeline.adapters.shared_writing import SharedWriter

ROOT = Path(__file__).resolve().parents[2]
FORKED = """
import os, threading
from trading_pipeline.adapters.shared_writing import SharedWriter

def write(lines):
    begun.set()
    if os.getpid() == parent:
        may_end.wait(60)
    for line in lines:
        os.write(1, f"{line}\\n".encode())

parent, begun, may_end = os.getpid(), threading.Event(), threading.Event()
writer = SharedWriter(write)
threads = [threading.Thread(target=writer.add, args=("first",))]
threads[0].start()
begun.wait(60)
threads.append(threading.Thread(target=writer.add, args=("second",)))
threads[1].start()
threads[1].join(60)
child = os.fork()
if child:
    os.waitpid(child, 0)
    may_end.set()
    threads[0].join(60)
else:
    writer.add("of the child")
"""


class File:
    """A file whose writing begins when it is told and ends when it may."""

    def __init__(self):
        self.writes = []
        self.begun, self.may_end = threading.Semaphore(0), threading.Semaphore(0)

    def write(self, lines):
        self.begun.release()
        assert self.may_end.acquire(timeout=60)
        self.writes.append(list(lines))


def started(work, *values):
    thread = threading.Thread(target=work, args=values)
    thread.start()
    return thread


def test_one_thread_alone_has_its_line_written_when_it_goes_on():
    written = []
    writer = SharedWriter(written.extend)

    for number in range(3):
        writer.add(number)
        assert written == list(range(number + 1))


def test_whoever_comes_while_another_writes_goes_on_and_has_its_lines_written_by_that_one():
    file = File()
    writer = SharedWriter(file.write)
    first = started(writer.add, "first")
    assert file.begun.acquire(timeout=60)

    for line in ("second", "third"):
        started(writer.add, line).join(60)
    assert file.writes == []
    file.may_end.release(2)
    first.join(60)

    assert file.writes == [["first"], ["second", "third"]]


def test_the_main_thread_waits_for_its_line():
    file = File()
    writer = SharedWriter(file.write)
    first = started(writer.add, "first")
    assert file.begun.acquire(timeout=60)
    file.may_end.release(3)

    writer.add("second")
    assert [line for lines in file.writes for line in lines] == ["first", "second"]
    first.join(60)


def test_a_flush_waits_for_what_another_thread_is_writing():
    file = File()
    writer = SharedWriter(file.write)
    first = started(writer.add, "first")
    assert file.begun.acquire(timeout=60)
    started(writer.add, "second").join(60)

    file.may_end.release(3)
    writer.flush()
    assert [line for lines in file.writes for line in lines] == ["first", "second"]
    first.join(60)


def test_lines_that_an_interruption_stopped_are_written_by_the_next():
    def write(lines):
        if not interrupted:
            interrupted.append(True)
            raise KeyboardInterrupt
        written.extend(lines)

    written, interrupted = [], []
    writer = SharedWriter(write)
    try:
        writer.add("first")
    except KeyboardInterrupt:
        started(writer.add, "second").join(60)

    assert written == ["first", "second"]


@pytest.mark.parametrize("in_main_thread", [True, False])
def test_a_line_that_is_added_in_the_middle_of_writing_follows_it(in_main_thread):
    def write(lines):
        written.append(list(lines))
        if len(written) == 1:
            writer.add("second")
            writer.flush()

    written = []
    writer = SharedWriter(write)

    if in_main_thread:
        writer.add("first")
    else:
        started(writer.add, "first").join(60)

    assert written == [["first"], ["second"]]


def test_a_forked_child_writes_its_own_lines_and_none_of_its_parents():
    done = subprocess.run(
        [sys.executable, "-c", FORKED], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.splitlines() == ["of the child", "first", "second"]


def test_many_threads_have_every_line_written_once_and_their_own_in_order():
    written = []
    writer = SharedWriter(written.extend)

    def speak(name):
        for number in range(500):
            writer.add((name, number))

    threads = [started(speak, name) for name in range(8)]
    speak(8)
    for thread in threads:
        thread.join(60)

    assert len(written) == 4500
    for name in range(9):
        assert [number for speaker, number in written if speaker == name] == list(range(500))
