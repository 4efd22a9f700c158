"""A circuit breaker: what keeps failing is left alone for a while, then tried once."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from trading_pipeline.domain.errors import CircuitOpen, PermanentError, RateLimited, TransientError
from trading_pipeline.ports import Clock


class BreakerState(StrEnum):
    """Whether calls pass (closed), are refused (open), or one is on its way to find out (half-open)."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True)
class BreakerRules:
    """When a dependency is left alone, and for how long.

    Attributes:
        failures: failures in a row that open the breaker; at least 1.
        window_seconds: time over which the share of failures is counted.
        window_calls: calls in that time from which on a share says something.
        share: fraction of those calls whose failure opens the breaker.
        pause_seconds: time that an open breaker refuses calls, before one is let through.
    """

    failures: int = 5
    window_seconds: float = 60.0
    window_calls: int = 10
    share: float = 0.5
    pause_seconds: float = 30.0


@dataclass(frozen=True)
class _Opened:
    since: datetime
    elapsed: float
    reason: str


class CircuitBreaker:
    """One breaker, for one kind of call to one dependency; safe to use from many threads.

    Only a failure of the dependency counts: a :class:`TransientError` other
    than :class:`RateLimited`. A refusal is an answer like any other.
    """

    def __init__(self, name: str, rules: BreakerRules, clock: Clock) -> None:
        """Begin closed; ``name`` says in messages what is left alone, such as "trading reads"."""
        self._name = name
        self._rules = rules
        self._clock = clock
        self._lock = threading.Lock()
        self._recent: deque[tuple[float, bool]] = deque()
        self._failed_in_window = 0
        self._failed_in_a_row = 0
        self._opened: _Opened | None = None
        self._probing = False

    @property
    def state(self) -> BreakerState:
        """What would happen to a call now, as far as calls before it have told."""
        with self._lock:
            if self._opened is None:
                return BreakerState.CLOSED
            return BreakerState.HALF_OPEN if self._probing else BreakerState.OPEN

    @contextmanager
    def around(self, *, always: bool = False) -> Iterator[None]:
        """Let the call inside the block pass, and learn from how it ends.

        Args:
            always: let it pass even while open; its success closes the breaker.

        Raises:
            CircuitOpen: the dependency is being left alone; the block was not entered.
        """
        probe = self._admitted(always=always)
        failure: Exception | None = None
        answered = False
        try:
            yield
            answered = True
        except PermanentError:
            answered = True
            raise
        except RateLimited:
            raise
        except TransientError as error:
            failure = error
            raise
        finally:
            self._settle(probe=probe, answered=answered, failure=failure)

    def _admitted(self, *, always: bool) -> bool:
        """Tell whether the call, which may pass, decides if the breaker closes."""
        with self._lock:
            if self._opened is None:
                return False
            if always:
                return True
            left = self._opened.elapsed + self._rules.pause_seconds - self._clock.elapsed()
            if left > 0 or self._probing:
                raise CircuitOpen(self._refusal(self._opened, left))
            self._probing = True
            return True

    def _refusal(self, opened: _Opened, left: float) -> str:
        since = f"{self._name} are left alone since {opened.since:%H:%M:%S} UTC ({opened.reason})"
        if left > 0:
            return f"{since}; nothing was sent, and nothing will be for another {left:.1f} s"
        return f"{since}; nothing was sent, since a first call is on its way to find out"

    def _settle(self, *, probe: bool, answered: bool, failure: Exception | None) -> None:
        with self._lock:
            if probe:
                self._probing = False
            if failure is not None:
                self._count(failed=True)
                self._open_if_due(failure, probe=probe)
            elif answered:
                self._count(failed=False)
                if probe:
                    self._close()

    def _count(self, *, failed: bool) -> None:
        now = self._clock.elapsed()
        self._recent.append((now, failed))
        self._failed_in_window += failed
        while self._recent[0][0] < now - self._rules.window_seconds:
            self._failed_in_window -= self._recent.popleft()[1]
        self._failed_in_a_row = self._failed_in_a_row + 1 if failed else 0

    def _open_if_due(self, failure: Exception, *, probe: bool) -> None:
        if probe:
            self._open(f"it still fails: {failure}")
        elif self._opened is None and self._failed_in_a_row >= self._rules.failures:
            self._open(f"{self._failed_in_a_row} failures in a row, the last: {failure}")
        elif self._opened is None and self._fails_too_often():
            counted = f"{self._failed_in_window} of {len(self._recent)} calls in {self._rules.window_seconds:g} s"
            self._open(f"{counted} failed, the last: {failure}")

    def _fails_too_often(self) -> bool:
        calls = len(self._recent)
        return calls >= self._rules.window_calls and self._failed_in_window >= self._rules.share * calls

    def _open(self, reason: str) -> None:
        since = self._opened.since if self._opened else self._clock.now()
        self._opened = _Opened(since, self._clock.elapsed(), reason)

    def _close(self) -> None:
        self._opened = None
        self._recent.clear()
        self._failed_in_window = self._failed_in_a_row = 0
