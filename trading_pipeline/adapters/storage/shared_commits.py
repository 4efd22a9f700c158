"""Commits that threads share: whoever comes first writes for all that wait, and the disk is waited for once."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from trading_pipeline.domain.errors import PipelineError

Line = TypeVar("Line")
Write = Callable[[Sequence[Line]], Sequence[bool | PipelineError]]


@dataclass(eq=False)
class _Waiting(Generic[Line]):
    line: Line
    outcome: bool | PipelineError | None = None

    def answer(self) -> bool:
        if isinstance(self.outcome, PipelineError):
            raise self.outcome
        return self.outcome is True


class SharedCommits(Generic[Line]):
    """Writes lines, each once, as many in one go as wait while another go is on its way."""

    def __init__(self, turn: threading.Lock) -> None:
        """Write while holding ``turn``."""
        self._turn = turn
        self._queue: deque[_Waiting[Line]] = deque()

    def written(self, line: Line, write: Write[Line]) -> bool:
        """Return what became of ``line``, once that is durable.

        ``write`` tells of each of the lines that it is given what became of it,
        or raises where none of them was written.

        Raises:
            PipelineError: the line was refused, or the whole go failed.
        """
        mine = _Waiting(line)
        self._queue.append(mine)
        with self._turn:
            if mine.outcome is None:
                self._write_with_others(mine, write)
        return mine.answer()

    def _write_with_others(self, mine: _Waiting[Line], write: Write[Line]) -> None:
        # Mine is no longer in the queue where a thread that had taken it was interrupted before it wrote.
        batch = [*self._drained(), mine]
        batch = [waiting for waiting in dict.fromkeys(batch) if waiting.outcome is None]
        try:
            outcomes = write([waiting.line for waiting in batch])
        except PipelineError as failed:
            outcomes = [failed] * len(batch)
        for waiting, outcome in zip(batch, outcomes, strict=True):
            waiting.outcome = outcome

    def _drained(self) -> list[_Waiting[Line]]:
        drained = []
        while self._queue:
            drained.append(self._queue.popleft())
        return drained
