"""The one policy by which anything is asked again.

Reads go through :func:`call_with_retries`; orders never do, since only the
submit loop may decide that an order is sent again.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type

from trading_pipeline.domain.errors import InvalidInput, RateLimited, TransientError
from trading_pipeline.ports import Clock

T = TypeVar("T")


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how patiently a read is repeated.

    Attributes:
        attempts: calls in all, the first included; at least 1.
        first_wait_seconds: upper bound of the wait after the first failure; it doubles with each further one.
        longest_wait_seconds: the bound stops growing here.
        deadline_seconds: no wait may end later than this after the first call began.
    """

    attempts: int = 4
    first_wait_seconds: float = 0.2
    longest_wait_seconds: float = 5.0
    deadline_seconds: float = 30.0

    def __post_init__(self) -> None:
        """Refuse a policy under which nothing would ever be called.

        Raises:
            InvalidInput: ``attempts`` is below 1, or a number of seconds is negative.
        """
        if self.attempts < 1:
            raise InvalidInput(f"attempts must be at least 1, was {self.attempts}")
        if min(self.first_wait_seconds, self.longest_wait_seconds, self.deadline_seconds) < 0:
            raise InvalidInput(f"seconds of a retry policy must not be negative: {self}")

    def longest_wait_after(self, attempt: int) -> float:
        """Return the upper bound, in seconds, of the wait after the failed ``attempt`` (counted from 1).

        >>> [RetryPolicy().longest_wait_after(attempt) for attempt in (1, 2, 3, 9)]
        [0.2, 0.4, 0.8, 5.0]
        """
        return float(min(self.longest_wait_seconds, self.first_wait_seconds * 2 ** (attempt - 1)))


def call_with_retries(
    operation: Callable[[], T],
    what: str,
    policy: RetryPolicy,
    clock: Clock,
    *,
    monotonic: Callable[[], float] = time.monotonic,
    draw: Callable[[], float] = random.random,
) -> T:
    """Call ``operation`` until it answers, its failure is permanent, or patience ends.

    Only a :class:`TransientError` is worth another attempt. Waits are drawn
    evenly between zero and the policy's bound ("full jitter", see
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/),
    so that many callers do not return at once; where the other side named an
    instant (:attr:`RateLimited.retry_at`) the wait starts there.

    Args:
        operation: what to call; repeating it must be harmless.
        what: the purpose, for the message, such as "reading from Alpaca".
        policy: attempts, waits and deadline.
        clock: waits, and compares ``retry_at`` with its own now.
        monotonic: seconds for the deadline, which a stepped wall clock must not move.
        draw: an even number in [0, 1), for the jitter.

    Raises:
        TransientError: the last failure itself, its message extended by how often was tried.
    """
    started = monotonic()
    attempts_made = 0

    def wait(state: RetryCallState) -> float:
        jitter = draw() * policy.longest_wait_after(state.attempt_number)
        return _seconds_named(state, clock) + jitter

    def stop(state: RetryCallState) -> bool:
        nonlocal attempts_made
        attempts_made = state.attempt_number
        too_late = monotonic() - started + state.upcoming_sleep > policy.deadline_seconds
        return too_late or state.attempt_number >= policy.attempts

    retrying = Retrying(
        sleep=clock.wait, wait=wait, stop=stop, retry=retry_if_exception_type(TransientError), reraise=True
    )
    try:
        return retrying(operation)
    except TransientError as error:
        times = "once" if attempts_made == 1 else f"{attempts_made} times in {monotonic() - started:.1f} s"
        error.args = (f"{what} failed {times}: {error}",)
        raise


def _seconds_named(state: RetryCallState, clock: Clock) -> float:
    error = state.outcome.exception() if state.outcome else None
    if not isinstance(error, RateLimited) or error.retry_at is None:
        return 0.0
    return _seconds_until(error.retry_at, clock.now())


def _seconds_until(instant: datetime, now: datetime) -> float:
    return max(0.0, (instant - now).total_seconds())
