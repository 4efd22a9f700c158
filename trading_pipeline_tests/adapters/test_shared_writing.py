import threading

from trading_pipeline.adapters.shared_writing import SharedWriter


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
    writer = SharedWriter(written.extend, threading.Lock())

    for number in range(3):
        writer.add(number)
        assert written == list(range(number + 1))


def test_whoever_comes_while_another_writes_goes_on_and_has_its_lines_written_by_that_one():
    file = File()
    writer = SharedWriter(file.write, threading.Lock())
    first = started(writer.add, "first")
    assert file.begun.acquire(timeout=60)

    writer.add("second")
    writer.add("third")
    assert file.writes == []
    file.may_end.release(2)
    first.join(60)

    assert file.writes == [["first"], ["second", "third"]]


def test_a_flush_waits_for_what_another_thread_is_writing():
    file = File()
    writer = SharedWriter(file.write, threading.Lock())
    first = started(writer.add, "first")
    assert file.begun.acquire(timeout=60)
    writer.add("second")

    flushing = started(writer.flush)
    file.may_end.release(2)
    flushing.join(60)
    written = [line for lines in file.writes for line in lines]
    first.join(60)

    assert written == ["first", "second"]


def test_a_thread_that_is_interrupted_while_it_writes_leaves_the_file_to_others():
    def write(lines):
        if lines == ["first"]:
            raise KeyboardInterrupt
        written.extend(lines)

    written = []
    writer = SharedWriter(write, threading.Lock())
    try:
        writer.add("first")
    except KeyboardInterrupt:
        writer.add("second")

    assert written == ["second"]


def test_a_line_that_is_added_while_the_same_thread_writes_is_not_lost():
    def write(lines):
        written.append(lines)
        if len(written) == 1:
            writer.add("second")

    written = []
    writer = SharedWriter(write, threading.RLock())

    writer.add("first")

    assert written == [["first"], ["second"]]


def test_many_threads_have_every_line_written_once_and_their_own_in_order():
    written = []
    writer = SharedWriter(written.extend, threading.Lock())

    def speak(name):
        for number in range(500):
            writer.add((name, number))

    for thread in [started(speak, name) for name in range(8)]:
        thread.join(60)

    assert len(written) == 4000
    for name in range(8):
        assert [number for speaker, number in written if speaker == name] == list(range(500))
