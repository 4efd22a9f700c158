"""Many threads, one stream: whoever comes while another writes leaves its line to that one, and goes on."""

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class _Waiting(Generic[T]):
    """The lines that wait in one process. A child that was forked has none: its parent writes them."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.lines: deque[T] = deque()
        self.writing = threading.RLock()
        self.writer: int | None = None


class SharedWriter(Generic[T]):
    """Passes lines to a function that one thread at a time calls, with all that have come meanwhile.

    A thread that finds another writing does not wait: the other writes its
    lines too, before it goes on. The main thread waits, since signals reach it
    alone: interrupted in the middle, it would leave lines to nobody. Lines of
    one thread stay in order.
    """

    def __init__(self, write: Callable[[Sequence[T]], None]) -> None:
        """Write by ``write``, which must not fail: it would tell of another's lines."""
        self._write = write
        self._waiting: _Waiting[T] = _Waiting()

    def add(self, line: T) -> None:
        """Write ``line``, or leave it to the thread that is writing now."""
        waiting = self._of_this_process()
        waiting.lines.append(line)
        if threading.current_thread() is threading.main_thread():
            self.flush()
            return
        # Looked at again after each release: what came just before it was left to this thread.
        while waiting.lines and waiting.writer != threading.get_ident() and waiting.writing.acquire(blocking=False):
            try:
                self._write_all(waiting)
            finally:
                waiting.writing.release()

    def flush(self) -> None:
        """Wait until every line that was added before is written."""
        waiting = self._of_this_process()
        # The handler of a signal may come in the middle of writing: its line follows when that goes on.
        is_done = waiting.writer == threading.get_ident()
        while not is_done:
            with waiting.writing:
                self._write_all(waiting)
            is_done = not waiting.lines

    def _of_this_process(self) -> _Waiting[T]:
        if self._waiting.process != os.getpid():
            self._waiting = _Waiting()
        return self._waiting

    def _write_all(self, waiting: _Waiting[T]) -> None:
        waiting.writer = threading.get_ident()
        try:
            # They wait until they are written: an interruption may let one be written twice, and loses none.
            lines = waiting.lines.copy()
            if lines:
                self._write(lines)
            for _ in lines:
                waiting.lines.popleft()
        finally:
            waiting.writer = None
