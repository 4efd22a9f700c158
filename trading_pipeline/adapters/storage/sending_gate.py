"""The gate that orders pass, as a lock on a file: many send at once, nobody while it is shut.

Whoever sends holds the lock together with others, from reading the trading
state until the order's answer is there. Whoever stops trading writes the state
and then asks for the lock alone: once it is granted, those who read the state
before have sent, and those who come after read the new one. The system lets go
of the lock when a process ends, however it does. Threads that send at once share
what the first of them locked, until the last has sent.

The lock binds the processes of one machine. Whoever sends from another one
reads the state before every order all the same.
"""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trading_pipeline.domain.errors import DependencyUnavailable, TradingHalted
from trading_pipeline.ports import Clock

GATE_FILE = "sending.lock"
LONGEST_SENDING = 120.0
"""Seconds for which whoever shuts the gate waits; an order may take 75, and a look at it 30."""

LONGEST_SHUT = 30.0
"""Seconds for which whoever wants to send waits."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.05


@dataclass(eq=False)
class _Passage:
    """A lock that is held together: its descriptor, the file that it is of, and how many are inside."""

    descriptor: int
    file: os.stat_result
    inside: int = 1


class _Together:
    """Those of one process who send at once. A child that was forked from theirs is not one of them."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.lock = threading.Lock()
        self.passage: _Passage | None = None


class FileGate:
    """A :class:`~trading_pipeline.ports.SendingGate` for the threads and processes that share a folder."""

    def __init__(
        self,
        path: Path,
        clock: Clock,
        longest_sending: float = LONGEST_SENDING,
        longest_shut: float = LONGEST_SHUT,
    ) -> None:
        """Lock the file at ``path``, which is made if it is not there; wait by ``clock``, so many seconds at most."""
        self._path = path
        self._clock = clock
        self._longest_sending = longest_sending
        self._longest_shut = longest_shut
        self._together = _Together()

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Keep whoever stops trading waiting, as long as the block reads the state and sends.

        Raises:
            TradingHalted: the gate stays shut, or its file cannot be used: nothing may be sent.
            Interrupted: the process was asked to end.
        """
        together = self._of_this_process()
        passage = self._joined(together) or self._entered(together)
        try:
            yield
        finally:
            _left(together, passage)

    def _of_this_process(self) -> _Together:
        if self._together.process != os.getpid():
            self._together = _Together()
        return self._together

    def _joined(self, together: _Together) -> _Passage | None:
        """Enter with those who are inside, if anybody is and the file that they locked is still the one that is locked.

        Whoever stops trading opens the file anew: of one that was moved away it would not wait for us.
        """
        with together.lock:
            passage = together.passage
            if passage is None or not self._is_file(passage.file):
                return None
            passage.inside += 1
            return passage

    def _is_file(self, locked: os.stat_result) -> bool:
        try:
            return os.path.samestat(locked, self._path.stat())
        except OSError:
            return False

    def _entered(self, together: _Together) -> _Passage:
        try:
            descriptor = self._locked(fcntl.LOCK_SH, self._longest_shut)
        except OSError as error:
            raise TradingHalted(f"nothing is sent: {self._unusable(error)}") from error
        if descriptor is None:
            raise TradingHalted(
                f"nothing is sent: {self._path} has been locked for {self._longest_shut:g} seconds by a process that "
                f"stops trading; see `trading-pipeline kill status`"
            )
        passage = _Passage(descriptor, os.fstat(descriptor))
        with together.lock:
            # Of several that entered at once the others join the newest.
            together.passage = passage
        return passage

    @contextmanager
    def shut(self) -> Iterator[None]:
        """Wait until nobody sends, and let nobody begin to as long as the block lasts.

        Raises:
            DependencyUnavailable: somebody does not end sending in time, or the gate's file cannot be used.
            Interrupted: the process was asked to end.
        """
        try:
            descriptor = self._locked(fcntl.LOCK_EX, self._longest_sending)
        except OSError as error:
            raise DependencyUnavailable(self._unusable(error)) from error
        if descriptor is None:
            raise DependencyUnavailable(
                f"a process has been sending for more than {self._longest_sending:g} seconds and still holds "
                f"{self._path}: one more order may leave; end that process, then halt again"
            )
        try:
            yield
        finally:
            _release(descriptor)

    def _locked(self, kind: int, seconds: float) -> int | None:
        """Open the file, lock it within ``seconds`` and return its descriptor; None where that was not possible."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            is_locked = self._obtained(descriptor, kind, seconds)
        except BaseException:
            os.close(descriptor)
            raise
        if is_locked:
            return descriptor
        os.close(descriptor)
        return None

    def _obtained(self, descriptor: int, kind: int, seconds: float) -> bool:
        # Not left to the system to wait: nobody who does could be asked to end.
        deadline, pause = self._clock.elapsed() + seconds, _FIRST_PAUSE
        while True:
            try:
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                if self._clock.elapsed() >= deadline:
                    return False
            else:
                return True
            self._clock.wait(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _unusable(self, error: OSError) -> str:
        return f"{self._path} cannot be locked ({error.strerror}); make its folder writable"


def _left(together: _Together, passage: _Passage) -> None:
    if together.process != os.getpid():
        # A child that was forked inside: the lock is its parent's, who still holds it.
        os.close(passage.descriptor)
        return
    with together.lock:
        passage.inside -= 1
        if passage.inside:
            return
        if together.passage is passage:
            together.passage = None
    _release(passage.descriptor)


def _release(descriptor: int) -> None:
    # Not only closed: a child that was forked meanwhile has the descriptor too, and would keep the lock.
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)
