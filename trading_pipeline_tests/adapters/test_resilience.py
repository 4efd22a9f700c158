from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.adapters.circuit_breaker import BreakerState
from trading_pipeline.adapters.request_quota import QuotaRules, RequestQuota
from trading_pipeline.adapters.resilience import CallRules, ResiliencePolicy, RetryPolicy, Verb, call_with_retries
from trading_pipeline.domain.errors import (
    CircuitOpen,
    DependencyUnavailable,
    InvalidInput,
    RateLimited,
    RequestRefused,
)

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
    return call_with_retries(operation, "reading", policy, clock, draw=lambda: draw)


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

        def elapsed(self):
            return sum(waits)

        wait = staticmethod(waits.append)

    operation = Scripted(busy(failures))
    policy = RetryPolicy(attempts, deadline_seconds=1_000)
    try:
        call_with_retries(operation, "reading", policy, Counting(), draw=lambda: draw)
    except DependencyUnavailable:
        assert failures >= attempts
    assert operation.calls == min(failures + 1, attempts)
    assert all(0 <= wait <= policy.longest_wait_seconds for wait in waits)


def test_an_open_circuit_is_not_asked_again(clock):
    operation = Scripted([CircuitOpen("left alone")])

    with pytest.raises(CircuitOpen, match=r"^reading failed once: left alone$"):
        ask(operation, clock)

    assert operation.calls == 1


@pytest.mark.parametrize("changes", [{"attempts": 0}, {"deadline_seconds": -1}])
def test_an_impossible_policy_is_refused(changes):
    with pytest.raises(InvalidInput):
        RetryPolicy(**changes)


ONCE = CallRules(RetryPolicy(attempts=1, deadline_seconds=75), connect_seconds=3, answer_seconds=6)
RULES = {Verb.READ: CallRules(POLICY), Verb.ORDER: ONCE, Verb.CANCEL: ONCE}


class Recorded:
    """Metrics that remember what they were told."""

    def __init__(self):
        self.counts = Counter()
        self.gauges = []

    def count(self, name, value=1, **labels):
        self.counts[name, labels["dependency"], labels["verb"]] += value

    def gauge(self, name, value, **labels):
        self.gauges.append((name, value, labels))


@pytest.fixture
def metrics():
    return Recorded()


@pytest.fixture
def policy(clock, metrics):
    return ResiliencePolicy("trading", RULES, clock, RequestQuota(QuotaRules(200, 60), clock), metrics)


def call(policy, operation, verb=Verb.READ):
    return policy.call(verb, "reading", lambda limits: operation())


def test_a_read_is_repeated_and_everything_is_counted(policy, metrics, clock):
    assert call(policy, Scripted(busy(2))) == "answer"

    reads = policy.snapshot().calls[Verb.READ]
    assert (reads.calls, reads.failures, reads.retries, reads.refused) == (3, 2, 2, 0)
    assert reads.breaker is BreakerState.CLOSED
    assert (reads.last_failure, reads.last_failure_at) == ("busy", clock.now() - timedelta(seconds=clock.waits[-1]))
    assert metrics.counts == {
        ("dependency_calls", "trading", "read"): 3,
        ("dependency_failures", "trading", "read"): 2,
        ("dependency_retries", "trading", "read"): 2,
    }


@pytest.mark.parametrize("verb", [Verb.ORDER, Verb.CANCEL])
@pytest.mark.parametrize("failure", [DependencyUnavailable("busy"), RateLimited("slow down")])
def test_orders_and_cancellations_are_sent_once_and_fail_in_the_words_of_the_failure(policy, verb, failure):
    operation = Scripted([failure])

    with pytest.raises(type(failure)) as raised:
        call(policy, operation, verb)

    assert raised.value is failure
    assert str(failure) in {"busy", "slow down"}
    assert operation.calls == 1


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), SystemExit(), RequestRefused("no"), ValueError("a bug")])
def test_what_is_not_a_failure_of_the_dependency_passes_unchanged_and_uncounted(policy, failure):
    for verb in RULES:
        with pytest.raises(type(failure)) as raised:
            call(policy, Scripted([failure]), verb)
        assert raised.value is failure

    assert {(kind.calls, kind.failures) for kind in policy.snapshot().calls.values()} == {(1, 0)}


def test_a_breaker_guards_its_own_kind_of_call_only(policy, metrics):
    for _ in range(5):
        with pytest.raises(DependencyUnavailable):
            call(policy, Scripted(busy(1)), Verb.ORDER)
    with pytest.raises(CircuitOpen, match=r"^trading orders are left alone since"):
        call(policy, Scripted(), Verb.ORDER)

    assert call(policy, Scripted()) == "answer"
    orders = policy.snapshot().calls[Verb.ORDER]
    assert (orders.breaker, orders.calls, orders.refused) == (BreakerState.OPEN, 5, 1)
    assert ("breaker_open", 1.0, {"dependency": "trading", "verb": "order"}) in metrics.gauges


def test_a_breaker_that_closes_again_is_told_of(policy, metrics, clock):
    for _ in range(5):
        with pytest.raises(DependencyUnavailable):
            call(policy, Scripted(busy(1)), Verb.ORDER)
    clock.wait(30)
    call(policy, Scripted(), Verb.ORDER)

    assert [value for name, value, _ in metrics.gauges if name == "breaker_open"] == [1.0, 0.0]


def test_cancellations_pass_whatever_happened_to_those_before(policy):
    for _ in range(20):
        with pytest.raises(DependencyUnavailable, match=r"^busy$"):
            call(policy, Scripted(busy(1)), Verb.CANCEL)
    assert policy.snapshot().calls[Verb.CANCEL].breaker is BreakerState.OPEN

    assert call(policy, Scripted(), Verb.CANCEL) == "answer"
    assert policy.snapshot().calls[Verb.CANCEL].breaker is BreakerState.CLOSED


def test_a_breaker_that_opens_between_two_attempts_ends_the_call(policy):
    with pytest.raises(DependencyUnavailable):
        call(policy, Scripted(busy(4)))

    with pytest.raises(CircuitOpen, match=r"^reading failed 2 times in .* s: trading reads are left alone"):
        call(policy, Scripted(busy(4)))


def test_each_attempt_is_told_what_is_left_of_the_deadline(policy, clock):
    told = []

    def slow(limits):
        told.append(limits)
        clock.instant += timedelta(seconds=11)
        raise DependencyUnavailable("slow")

    with pytest.raises(DependencyUnavailable, match="failed 3 times"):
        policy.call(Verb.READ, "reading", slow)

    assert [limits.total for limits in told] == pytest.approx(
        [30, 19 - clock.waits[0], 8 - clock.waits[0] - clock.waits[1]]
    )
    assert {(limits.connect, limits.answer) for limits in told} == {(3.0, 10.0)}


def test_what_waits_for_the_quota_keeps_its_full_time_for_the_answer(clock):
    quota = RequestQuota(QuotaRules(2, 1), clock)
    policy = ResiliencePolicy("trading", RULES, clock, quota)
    told = []

    for _ in range(2):
        policy.call(Verb.ORDER, "placing", told.append)
    assert told[1].total == pytest.approx(75 - sum(clock.waits))
    assert told[1].total >= ONCE.connect_seconds + ONCE.answer_seconds

    quota.observe(429, {"Retry-After": "60"})
    clock.wait(1)
    policy.call(Verb.ORDER, "placing", told.append)
    quota.observe(429, {"Retry-After": "60"})
    with pytest.raises(RateLimited, match="not sent"):
        policy.call(Verb.READ, "reading", told.append)
    assert len(told) == 3


def test_what_has_its_turn_is_sent_without_waiting_and_what_follows_waits_again(clock):
    quota = RequestQuota(QuotaRules(requests_per_minute=60, burst=1), clock)
    rules = {verb: CallRules(RetryPolicy(attempts=1, deadline_seconds=75)) for verb in (Verb.ORDER, Verb.READ)}
    policy = ResiliencePolicy("trading", rules, clock, quota)
    policy.call(Verb.READ, "reading", lambda _: "the burst")

    with policy.turn(Verb.ORDER):
        waited = list(clock.waits)
        assert sum(waited) > 0
        assert policy.call(Verb.ORDER, "placing", lambda _: "placed") == "placed"
        assert clock.waits == waited
        policy.call(Verb.ORDER, "placing", lambda _: "another")
    assert sum(clock.waits) > sum(waited)


def test_a_turn_that_would_come_too_late_is_said_before_anything_is_sent(clock):
    quota = RequestQuota(QuotaRules(requests_per_minute=2, burst=1), clock)
    policy = ResiliencePolicy(
        "trading", {Verb.ORDER: CallRules(RetryPolicy(attempts=1, deadline_seconds=20))}, clock, quota
    )
    policy.call(Verb.ORDER, "placing", lambda _: "the burst")

    with pytest.raises(RateLimited, match="not sent"), policy.turn(Verb.ORDER):
        pytest.fail("its turn has not come")


def test_the_figures_of_the_quota_are_shown(clock, metrics):
    quota = RequestQuota(QuotaRules(200, 60), clock)
    policy = ResiliencePolicy("trading", RULES, clock, quota, metrics)
    reset = int(clock.now().timestamp()) + 30
    told = {"X-RateLimit-Limit": "200", "X-RateLimit-Remaining": "77", "X-RateLimit-Reset": str(reset)}

    policy.call(Verb.READ, "reading", lambda limits: quota.observe(200, told))

    shown = policy.snapshot().quota
    assert (shown.limit, shown.remaining, shown.resets_at) == (200, 77, clock.now() + timedelta(seconds=30))
    assert ("rate_limit_remaining", 77, {"dependency": "trading"}) in metrics.gauges


def test_a_dependency_without_a_quota_is_called_without_waiting(clock):
    policy = ResiliencePolicy("secrets", {Verb.READ: CallRules()}, clock)

    assert [policy.call(Verb.READ, "reading", lambda limits: 1) for _ in range(500)] == [1] * 500
    assert clock.waits == []
    assert policy.snapshot().quota is None


def test_a_snapshot_stays_as_it_was_taken(policy):
    before = policy.snapshot()
    call(policy, Scripted())

    assert before.calls[Verb.READ].calls == 0
    assert policy.snapshot().calls[Verb.READ].calls == 1
