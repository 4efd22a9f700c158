"""Commits that threads share: whoever has the turn writes for all that wait, and the disk is waited for once.

Those who wait are woken when their line is written, or to take the turn; they
do not queue for a lock only to find that nothing is left to do.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from trading_pipeline.domain.errors import PipelineError

Line = TypeVar("Line")
Write = Callable[[Sequence[Line]], Sequence[bool | PipelineError]]
# Nobody should have to: whoever ends a turn wakes the next.
LONGEST_SLEEP = 1.0


@dataclass(eq=False)
class _Waiting(Generic[Line]):
    line: Line
    outcome: bool | PipelineError | None = None
    woken: threading.Event = field(default_factory=threading.Event)

    def answer(self) -> bool:
        if isinstance(self.outcome, PipelineError):
            raise self.outcome
        return self.outcome is True

    def sleep(self) -> None:
        self.woken.wait(LONGEST_SLEEP)
        self.woken.clear()


class SharedCommits(Generic[Line]):
    """Writes lines, each once, as many in one go as wait while another go is on its way."""

    def __init__(self) -> None:
        """Begin with nobody who waits."""
        self._turn = threading.Lock()
        self._queue: deque[_Waiting[Line]] = deque()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Let nothing be written by others of this process as long as the block lasts."""
        with self._turn:
            yield
        self._wake_next()

    def written(self, line: Line, write: Write[Line]) -> bool:
        """Return what became of ``line``, once that is durable.

        ``write`` tells of each of the lines that it is given what became of it,
        or raises where none of them was written.

        Raises:
            PipelineError: the line was refused, or the whole go failed.
        """
        mine = _Waiting(line)
        self._queue.append(mine)
        while mine.outcome is None:
            if self._turn.acquire(blocking=False):
                self._lead(mine, write)
            else:
                mine.sleep()
        return mine.answer()

    def _lead(self, mine: _Waiting[Line], write: Write[Line]) -> None:
        try:
            if mine.outcome is None:
                self._write_with_others(mine, write)
        finally:
            self._turn.release()
            self._wake_next()

    def _write_with_others(self, mine: _Waiting[Line], write: Write[Line]) -> None:
        batch = [waiting for waiting in dict.fromkeys([*self._drained(), mine]) if waiting.outcome is None]
        try:
            outcomes = write([waiting.line for waiting in batch])
        except PipelineError as failed:
            outcomes = [failed] * len(batch)
        except BaseException:
            # Whoever was interrupted wrote nothing: those who wait write for themselves.
            self._queue.extend(waiting for waiting in batch if waiting is not mine)
            raise
        for waiting, outcome in zip(batch, outcomes, strict=True):
            waiting.outcome = outcome
            waiting.woken.set()

    def _drained(self) -> list[_Waiting[Line]]:
        drained = []
        while self._queue:
            drained.append(self._queue.popleft())
        return drained

    def _wake_next(self) -> None:
        # Who is asleep came before the turn ended, and so is in the queue by now.
        with suppress(IndexError):
            self._queue[0].woken.set()
