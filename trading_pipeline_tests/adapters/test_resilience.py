from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.adapters.resilience import RetryPolicy, call_with_retries
from trading_pipeline.domain.errors import DependencyUnavailable, InvalidInput, RateLimited, RequestRefused

POLICY = RetryPolicy(attempts=4, first_wait_seconds=1, longest_wait_seconds=3, deadline_seconds=30)


@dataclass
class Scripted:
    """An operation that fails as told, then answers."""

    failures: list[BaseException] = field(default_factory=list)
    calls: int = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return "answer"


def ask(operation, clock, policy=POLICY, draw=1.0):
    began = clock.now()

    def elapsed():
        return (clock.now() - began).total_seconds()

    return call_with_retries(operation, "reading", policy, clock, monotonic=elapsed, draw=lambda: draw)


def busy(times: int) -> list[BaseException]:
    return [DependencyUnavailable("busy") for _ in range(times)]


def test_an_answer_is_returned_without_waiting(clock):
    assert ask(Scripted(), clock) == "answer"
    assert clock.waits == []


def test_transient_failures_are_repeated_with_doubling_bounds_up_to_the_longest(clock):
    operation = Scripted(busy(3))

    assert ask(operation, clock) == "answer"
    assert clock.waits == [1, 2, 3]


def test_jitter_draws_from_zero_to_the_bound(clock):
    ask(Scripted(busy(3)), clock, draw=0.25)

    assert clock.waits == [0.25, 0.5, 0.75]


def test_the_last_failure_itself_is_raised_and_says_how_often_was_tried(clock):
    last = DependencyUnavailable("still busy")
    operation = Scripted([*busy(3), last, *busy(1)])

    with pytest.raises(DependencyUnavailable, match=r"^reading failed 4 times in 6\.0 s: still busy$") as raised:
        ask(operation, clock)

    assert raised.value is last
    assert operation.calls == 4


@pytest.mark.parametrize("failure", [RequestRefused("no", "42210000"), ValueError("a bug"), KeyboardInterrupt()])
def test_whatever_is_not_transient_passes_at_once_and_unchanged(clock, failure):
    operation = Scripted([failure])

    with pytest.raises(type(failure)) as raised:
        ask(operation, clock)

    assert raised.value is failure
    assert operation.calls == 1
    assert "reading" not in str(raised.value)


def test_no_wait_may_end_after_the_deadline(clock):
    operation = Scripted(busy(9))

    with pytest.raises(DependencyUnavailable, match="failed 2 times"):
        ask(operation, clock, RetryPolicy(attempts=9, first_wait_seconds=4, deadline_seconds=8))

    assert clock.waits == [4]


def test_slow_attempts_use_up_the_deadline(clock):
    operation = Scripted(busy(9))

    def slow():
        clock.instant += timedelta(seconds=20)
        return operation()

    with pytest.raises(DependencyUnavailable, match="failed 2 times"):
        ask(slow, clock)


def test_a_named_instant_is_waited_for(clock):
    operation = Scripted([RateLimited("slow down", clock.now() + timedelta(seconds=12))])

    assert ask(operation, clock, draw=0.5) == "answer"
    assert clock.waits == [12.5]


def test_a_named_instant_beyond_the_deadline_ends_it_at_once(clock):
    reset = clock.now() + timedelta(minutes=5)

    with pytest.raises(RateLimited, match="failed once: slow down") as raised:
        ask(Scripted([RateLimited("slow down", reset)]), clock)

    assert clock.waits == []
    assert raised.value.retry_at == reset


def test_a_named_instant_in_the_past_leaves_the_jitter(clock):
    ask(Scripted([RateLimited("slow down", clock.now() - timedelta(minutes=5))]), clock)

    assert clock.waits == [1]


@given(failures=st.integers(0, 12), attempts=st.integers(1, 8), draw=st.floats(0, 1, exclude_max=True))
def test_calls_and_waits_stay_inside_the_policy(failures, attempts, draw):
    waits: list[float] = []

    class Counting:
        def now(self):
            raise AssertionError("no instant was named")

        wait = staticmethod(waits.append)

    operation = Scripted(busy(failures))
    policy = RetryPolicy(attempts, deadline_seconds=1_000)
    try:
        call_with_retries(operation, "reading", policy, Counting(), draw=lambda: draw)
    except DependencyUnavailable:
        assert failures >= attempts
    assert operation.calls == min(failures + 1, attempts)
    assert all(0 <= wait <= policy.longest_wait_seconds for wait in waits)


@pytest.mark.parametrize("changes", [{"attempts": 0}, {"deadline_seconds": -1}])
def test_an_impossible_policy_is_refused(changes):
    with pytest.raises(InvalidInput):
        RetryPolicy(**changes)
