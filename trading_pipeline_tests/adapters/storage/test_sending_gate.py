import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from trading_pipeline.adapters.clocks import WallClock
from trading_pipeline.adapters.storage.sending_gate import FileGate
from trading_pipeline.domain.errors import DependencyUnavailable, Interrupted, TradingHalted
from trading_pipeline_tests.builders import TurnedClock

ROOT = Path(__file__).resolve().parents[3]
HOLDER = """
import sys
from pathlib import Path
from trading_pipeline.adapters.clocks import WallClock
from trading_pipeline.adapters.storage.sending_gate import FileGate

with getattr(FileGate(Path(sys.argv[1]), WallClock()), sys.argv[2])():
    print("held", flush=True)
    sys.stdin.readline()
"""

FORKED = """
import os, sys
from pathlib import Path
from trading_pipeline.adapters.clocks import WallClock
from trading_pipeline.adapters.storage.sending_gate import FileGate

gate = FileGate(Path(sys.argv[1]), WallClock())
told, inside = os.pipe()
passage = gate.sending()
passage.__enter__()
child = os.fork()
if child:
    os.read(told, 1)
    passage.__exit__(None, None, None)
    print("parent left", flush=True)
    os.waitpid(child, 0)
else:
    with gate.sending():
        os.write(inside, b".")
        sys.stdin.readline()
"""


FORKED_INSIDE = """
import os, sys
from pathlib import Path
from trading_pipeline.adapters.clocks import WallClock
from trading_pipeline.adapters.storage.sending_gate import FileGate

with FileGate(Path(sys.argv[1]), WallClock()).sending():
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        print("child left", flush=True)
        sys.stdin.readline()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "sending.lock"


@pytest.fixture
def gate(path):
    return FileGate(path, TurnedClock())


@contextmanager
def another_process(path, held):
    command = [sys.executable, "-c", HOLDER, str(path), held]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_many_send_at_once_and_the_gate_opens_again_after_it_was_shut(gate):
    with gate.sending(), gate.sending():
        pass
    with gate.shut():
        pass
    with gate.sending():
        pass


def test_nobody_sends_while_another_process_keeps_it_shut(gate, path):
    with another_process(path, "shut"), pytest.raises(TradingHalted, match="locked for 30 seconds"), gate.sending():
        pytest.fail("it was shut")


def test_whoever_shuts_it_waits_for_another_process_that_sends_and_says_so_where_that_does_not_end(gate, path):
    with another_process(path, "sending"):
        with gate.sending():
            pass
        with pytest.raises(DependencyUnavailable, match="one more order may leave"), gate.shut():
            pytest.fail("somebody sends")


def test_a_process_that_is_killed_lets_go_of_it(path):
    with another_process(path, "sending") as holder:
        holder.kill()
        with FileGate(path, WallClock()).shut():
            pass


def test_what_was_being_sent_when_it_was_shut_has_been_sent_when_it_is(path):
    gate, events = FileGate(path, WallClock()), []
    sending, asked = threading.Event(), threading.Event()

    def send():
        with gate.sending():
            sending.set()
            asked.wait(60)
            events.append("sent")

    sender = threading.Thread(target=send)
    sender.start()
    sending.wait(60)
    asked.set()
    with gate.shut():
        events.append("shut")
    sender.join()

    assert events == ["sent", "shut"]


def test_whoever_shuts_it_waits_for_the_last_of_those_who_send_together(gate):
    first, second, third = gate.sending(), gate.sending(), gate.sending()
    for sender in (first, second):
        sender.__enter__()
    first.__exit__(None, None, None)
    third.__enter__()
    second.__exit__(None, None, None)
    with pytest.raises(DependencyUnavailable, match="one more order may leave"), gate.shut():
        pytest.fail("one still sends")
    third.__exit__(None, None, None)

    with gate.shut():
        pass


def test_those_who_send_together_lock_the_file_once(gate):
    before = len(os.listdir("/proc/self/fd"))
    with gate.sending(), gate.sending(), gate.sending():
        assert len(os.listdir("/proc/self/fd")) == before + 1


def test_a_child_that_was_forked_meanwhile_locks_the_file_for_itself(path):
    command = [sys.executable, "-c", FORKED, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout.readline() == "parent left\n"
        with pytest.raises(DependencyUnavailable), FileGate(path, TurnedClock()).shut():
            pytest.fail("the child sends")
        process.stdin.close()


def test_a_child_that_was_forked_inside_and_leaves_does_not_let_go_of_its_parents_lock(path):
    command = [sys.executable, "-c", FORKED_INSIDE, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout.readline() == "child left\n"
        with pytest.raises(DependencyUnavailable), FileGate(path, TurnedClock()).shut():
            pytest.fail("the parent sends")
        process.stdin.close()


@pytest.mark.parametrize("is_made_anew", [True, False])
def test_nobody_joins_those_whose_file_was_moved_away(gate, path, is_made_anew):
    first, second = gate.sending(), gate.sending()
    first.__enter__()
    path.rename(path.with_name("moved"))
    if is_made_anew:
        path.touch()
    second.__enter__()
    first.__exit__(None, None, None)

    with pytest.raises(DependencyUnavailable, match="one more order may leave"), FileGate(path, TurnedClock()).shut():
        pytest.fail("the second sends")
    second.__exit__(None, None, None)
    with gate.shut():
        pass


def test_an_error_of_the_block_opens_it_again(gate):
    with pytest.raises(ValueError, match="of the block"), gate.shut():
        raise ValueError("of the block")
    with gate.sending():
        pass


def test_no_descriptor_is_left_behind(path):
    gate = FileGate(path, TurnedClock())
    before = len(os.listdir("/proc/self/fd"))
    with gate.sending(), pytest.raises(DependencyUnavailable), gate.shut():
        pass
    with gate.shut(), pytest.raises(TradingHalted), gate.sending():
        pass

    assert len(os.listdir("/proc/self/fd")) == before


def test_whoever_waits_can_be_asked_to_end(path):
    ending = threading.Event()
    waiting = FileGate(path, WallClock(ending))
    ending.set()

    with FileGate(path, WallClock()).sending(), pytest.raises(Interrupted), waiting.shut():
        pytest.fail("somebody sends")


def test_a_gate_that_cannot_be_locked_lets_nothing_through(tmp_path):
    (tmp_path / "sending.lock").mkdir()
    gate = FileGate(tmp_path / "sending.lock", TurnedClock())

    with pytest.raises(TradingHalted, match="cannot be locked"), gate.sending():
        pytest.fail("it cannot be locked")
    with pytest.raises(DependencyUnavailable, match="cannot be locked"), gate.shut():
        pytest.fail("it cannot be locked")
