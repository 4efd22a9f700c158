"""A rehearsal as a list of steps: what was done, how long it took, what was seen, and whether that was right."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic

from trading_pipeline.domain.errors import PipelineError

LONGEST_WAIT = 60.0
PAUSE = 0.02


class Stopped(Exception):
    """A step failed such that those after it make no sense."""


@dataclass
class Step:
    """One step; without anything verified it is wrong."""

    what: str
    seconds: float = 0.0
    found: list[str] = field(default_factory=list)
    is_right: bool = False

    def verify(self, found: str, *, right: bool) -> None:
        """Note what was found and whether it is what it should be; one wrong finding makes the step wrong."""
        self.is_right = right and (self.is_right or not self.found)
        self.found.append(found if right else f"WRONG: {found}")


@dataclass
class Script:
    """The steps of a rehearsal so far; ``say`` tells a person what is being done, ``pause`` lets time pass."""

    pause: Callable[[float], object]
    say: Callable[[str], object] = lambda _: None
    steps: list[Step] = field(default_factory=list)

    @property
    def is_right(self) -> bool:
        """Tell whether every step was as it should be, and there was one."""
        return bool(self.steps) and all(step.is_right for step in self.steps)

    @contextmanager
    def step(self, what: str) -> Iterator[Step]:
        """Time a step and keep it; a failure that is foreseen ends the rehearsal as a wrong step.

        Raises:
            Stopped: the step failed.
        """
        self.say(what)
        step, since = Step(what), monotonic()
        self.steps.append(step)
        try:
            yield step
        except PipelineError as error:
            step.verify(f"{type(error).__name__}: {error}", right=False)
            raise Stopped from error
        finally:
            step.seconds = monotonic() - since

    def until(self, reached: Callable[[], bool], seconds: float = LONGEST_WAIT) -> float | None:
        """Wait until ``reached``, and return the seconds that it took; None where that is not within ``seconds``."""
        since = monotonic()
        while not reached():
            if monotonic() - since > seconds:
                return None
            self.pause(PAUSE)
        return monotonic() - since
