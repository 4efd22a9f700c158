"""Many threads, one file: whoever comes while another writes leaves its lines to that one, and goes on."""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


class _Lock(Protocol):
    def acquire(self, blocking: bool = True) -> bool: ...  # noqa: FBT001, FBT002 - as threading has it

    def release(self) -> None: ...


class SharedWriter(Generic[T]):
    """Passes lines to a function that one thread at a time calls, with all that have come meanwhile.

    A thread that finds another writing does not wait: the other writes its
    lines too, before it goes on. Lines of one thread stay in order.
    """

    def __init__(self, write: Callable[[Sequence[T]], None], lock: _Lock) -> None:
        """Write by ``write``, holding ``lock``; it must not raise, for it would be told of another's lines."""
        self._write = write
        self._lock = lock
        self._lines: deque[T] = deque()

    def add(self, line: T) -> None:
        """Write ``line``, or leave it to the thread that is writing now."""
        self._lines.append(line)
        # Looked at again after each release: what came just before it was left to this thread.
        while self._lines and self._lock.acquire(blocking=False):
            self._write_all()

    def flush(self) -> None:
        """Wait until every line that was added before is written."""
        self._lock.acquire()
        self._write_all()

    def _write_all(self) -> None:
        lines: list[T] = []
        try:
            # A handler of a signal may come in between, and add lines that it writes itself.
            with suppress(IndexError):
                while True:
                    lines.append(self._lines.popleft())
            if lines:
                self._write(lines)
        finally:
            self._lock.release()
