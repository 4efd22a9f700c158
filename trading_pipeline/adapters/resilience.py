"""The one policy by which the world is called: retry, circuit breaker, quota and deadline in one place.

Whatever leaves the process goes through :meth:`ResiliencePolicy.call`, which
knows for each dependency and kind of call how often, how patiently and
whether at all. Reads are repeated; orders and cancellations never are, since
only the submit loop may decide that one is sent again.
"""

import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from itertools import count
from typing import Any, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception

from trading_pipeline.adapters.bounded_http import TimeLimits
from trading_pipeline.adapters.circuit_breaker import BreakerRules, BreakerState, CircuitBreaker
from trading_pipeline.adapters.request_quota import QuotaHealth, RequestQuota, Urgency
from trading_pipeline.domain.errors import CircuitOpen, InvalidInput, RateLimited, TransientError
from trading_pipeline.ports import Clock, Metrics

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
    draw: Callable[[], float] = random.random,
) -> T:
    """Call ``operation`` until it answers, its failure is permanent, or patience ends.

    Only a :class:`TransientError` is worth another attempt, and of those an
    open circuit is not. Waits are drawn evenly between zero and the policy's
    bound ("full jitter", see
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/),
    so that many callers do not return at once; where the other side named an
    instant (:attr:`RateLimited.retry_at`) the wait starts there.

    Args:
        operation: what to call; repeating it must be harmless.
        what: the purpose, for the message, such as "reading from Alpaca".
        policy: attempts, waits and deadline.
        clock: waits, measures the deadline, and compares ``retry_at`` with its own now.
        draw: an even number in [0, 1), for the jitter.

    Raises:
        TransientError: the last failure itself, its message extended by how often was tried.
    """
    started = clock.elapsed()

    def wait(state: RetryCallState) -> float:
        jitter = draw() * policy.longest_wait_after(state.attempt_number)
        return _seconds_named(state, clock) + jitter

    def stop(state: RetryCallState) -> bool:
        too_late = clock.elapsed() - started + state.upcoming_sleep > policy.deadline_seconds
        return too_late or state.attempt_number >= policy.attempts

    retrying = Retrying(sleep=clock.wait, wait=wait, stop=stop, retry=retry_if_exception(_is_passing), reraise=True)
    try:
        return retrying(operation)
    except TransientError as error:
        attempts = retrying.statistics["attempt_number"]
        times = "once" if attempts == 1 else f"{attempts} times in {clock.elapsed() - started:.1f} s"
        error.args = (f"{what} failed {times}: {error}",)
        raise


def _is_passing(error: BaseException) -> bool:
    return isinstance(error, TransientError) and not isinstance(error, CircuitOpen)


def _seconds_named(state: RetryCallState, clock: Clock) -> float:
    error = state.outcome.exception() if state.outcome else None
    if not isinstance(error, RateLimited) or error.retry_at is None:
        return 0.0
    return _seconds_until(error.retry_at, clock.now())


def _seconds_until(instant: datetime, now: datetime) -> float:
    return max(0.0, (instant - now).total_seconds())


class Verb(StrEnum):
    """Kinds of calls, cut by what a repetition would do."""

    READ = "read"
    ORDER = "order"
    CANCEL = "cancel"

    @property
    def urgency(self) -> Urgency:
        """Whose turn it is first where a quota is short."""
        return Urgency[self.name]


@dataclass(frozen=True)
class CallRules:
    """How one kind of call to one dependency is made.

    Attributes:
        retry: attempts, the waits between them, and the deadline of all of it, waiting for the quota included.
        connect_seconds: longest time for a connection.
        answer_seconds: longest time for one whole answer, however steadily it drips.
        breaker: when the dependency is left alone.
    """

    retry: RetryPolicy = field(default_factory=RetryPolicy)
    connect_seconds: float = 3.0
    answer_seconds: float = 10.0
    breaker: BreakerRules = field(default_factory=BreakerRules)

    @property
    def longest_quota_wait(self) -> float:
        """Seconds that may pass before an attempt is sent, so that it has its full time."""
        return max(0.0, self.retry.deadline_seconds - self.connect_seconds - self.answer_seconds)


@dataclass(frozen=True)
class CallHealth:
    """What became of one kind of call since the process began.

    Attributes:
        verb: the kind of call.
        breaker: whether such calls pass now.
        calls: attempts that were made, failed ones and repetitions included.
        failures: attempts without a usable answer.
        retries: attempts that repeated another.
        refused: calls that an open breaker refused.
        last_failure: the latest failure in words; empty before the first.
        last_failure_at: when that was, UTC.
    """

    verb: Verb
    breaker: BreakerState = BreakerState.CLOSED
    calls: int = 0
    failures: int = 0
    retries: int = 0
    refused: int = 0
    last_failure: str = ""
    last_failure_at: datetime | None = None


@dataclass(frozen=True)
class Health:
    """What is known of one dependency: its calls by kind, and its quota where it has one."""

    dependency: str
    calls: Mapping[Verb, CallHealth]
    quota: QuotaHealth | None


class ResiliencePolicy:
    """How one dependency is called; shared by all threads that call it."""

    def __init__(
        self,
        dependency: str,
        rules: Mapping[Verb, CallRules],
        clock: Clock,
        quota: RequestQuota | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """Begin with closed breakers.

        Args:
            dependency: its name in messages and metrics, such as "trading".
            rules: of every kind of call that will be made.
            clock: measures, and waits.
            quota: what limits the calls of all kinds together; none where nothing does.
            metrics: receives counters ``dependency_calls``, ``dependency_failures`` and ``dependency_retries``, and
                gauges ``rate_limit_remaining`` and, where it changes, ``breaker_open`` (1 or 0).
        """
        self._dependency = dependency
        self._clock = clock
        self._quota = quota
        self._metrics = metrics
        self._guards = {verb: _Guard(dependency, verb, chosen, clock, metrics) for verb, chosen in rules.items()}
        self._turns = threading.local()

    def call(self, verb: Verb, what: str, operation: Callable[[TimeLimits], T]) -> T:
        """Return what ``operation`` answers, asking again where the rules of ``verb`` say so.

        Args:
            verb: the kind of call, which must have rules.
            what: the purpose, for messages, such as "reading from Alpaca".
            operation: sends one request, inside the limits that it is called with.

        Raises:
            CircuitOpen: the dependency is being left alone; nothing was sent.
            RateLimited: no turn inside the deadline, and nothing was sent; or the other side asked to slow down.
            TransientError: no usable answer within the rules.
            PermanentError: the dependency refused.
            Interrupted: the process was asked to end while it waited; nothing was sent.
        """
        guard = self._guards[verb]
        attempts = count(1)
        began = self._clock.elapsed()

        def attempt() -> T:
            if verb is Verb.READ:
                # Whoever is asked to end begins no further question; what is sent is sent or not by its caller.
                self._clock.wait(0)
            with guard.breaker.around(always=verb is Verb.CANCEL), self._turn(guard, began):
                return guard.counted(next(attempts), lambda: operation(guard.limits(began)))

        try:
            if guard.rules.retry.attempts == 1:
                return attempt()
            return call_with_retries(attempt, what, guard.rules.retry, self._clock)
        except CircuitOpen:
            guard.count_refused()
            raise
        finally:
            guard.show_breaker()

    def snapshot(self) -> Health:
        """Return what became of the calls so far, and what is left of the quota."""
        calls = {verb: guard.health() for verb, guard in self._guards.items()}
        return Health(self._dependency, calls, self._quota.health() if self._quota else None)

    @contextmanager
    def turn(self, verb: Verb) -> Iterator[None]:
        """Wait for a turn of the quota now; the first call of ``verb`` by this thread inside the block then uses it.

        For what is looked at last before it is sent: between that look and the sending nothing waits.

        Raises:
            RateLimited: no turn inside the deadline; nothing was sent.
            Interrupted: the process was asked to end while it waited.
        """
        with self._turn(self._guards[verb], self._clock.elapsed()):
            self._turns.held = verb
            try:
                yield
            finally:
                self._turns.held = None

    @contextmanager
    def _turn(self, guard: "_Guard", began: float) -> Iterator[None]:
        if getattr(self._turns, "held", None) is guard.verb:
            self._turns.held = None
            yield
            return
        if self._quota is None:
            yield
            return
        waited = self._clock.elapsed() - began
        with self._quota.request(guard.verb.urgency, guard.rules.longest_quota_wait - waited):
            yield
        remaining = self._quota.health().remaining
        if self._metrics is not None and remaining is not None:
            self._metrics.gauge("rate_limit_remaining", remaining, dependency=self._dependency)


class _Guard:
    """One kind of call to one dependency: its rules, its breaker and its figures."""

    def __init__(self, dependency: str, verb: Verb, rules: CallRules, clock: Clock, metrics: Metrics | None) -> None:
        self.verb = verb
        self.rules = rules
        self.breaker = CircuitBreaker(f"{dependency} {verb}s", rules.breaker, clock)
        self._clock = clock
        self._metrics = metrics
        self._dependency = dependency
        self._lock = threading.Lock()
        self._health = CallHealth(verb)

    def limits(self, began: float) -> TimeLimits:
        left = self.rules.retry.deadline_seconds - (self._clock.elapsed() - began)
        return TimeLimits(self.rules.connect_seconds, self.rules.answer_seconds, left)

    def counted(self, attempt: int, operation: Callable[[], T]) -> T:
        self._count("calls")
        if attempt > 1:
            self._count("retries")
        try:
            return operation()
        except RateLimited:
            raise
        except TransientError as error:
            self._count("failures", last_failure=str(error), last_failure_at=self._clock.now())
            raise

    def count_refused(self) -> None:
        self._count("refused")

    def health(self) -> CallHealth:
        with self._lock:
            return replace(self._health, breaker=self.breaker.state)

    def show_breaker(self) -> None:
        """Tell the metrics where the breaker is no longer what it was."""
        state = self.breaker.state
        with self._lock:
            changed = state is not self._health.breaker
            if changed:
                self._health = replace(self._health, breaker=state)
        if changed and self._metrics is not None:
            self._metrics.gauge(
                "breaker_open", float(state is not BreakerState.CLOSED), dependency=self._dependency, verb=self.verb
            )

    def _count(self, figure: str, **changes: str | datetime) -> None:
        with self._lock:
            figures: dict[str, Any] = {figure: getattr(self._health, figure) + 1, **changes}
            self._health = replace(self._health, **figures)
        if self._metrics is not None:
            self._metrics.count(f"dependency_{figure}", dependency=self._dependency, verb=self.verb)
