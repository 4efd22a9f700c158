from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.adapters.circuit_breaker import BreakerRules, BreakerState, CircuitBreaker
from trading_pipeline.domain.errors import (
    CircuitOpen,
    DependencyUnavailable,
    InvalidInput,
    RateLimited,
    RequestRefused,
    Unauthorized,
)
from trading_pipeline_tests.builders import TurnedClock

START = datetime(2026, 7, 31, 13, 45, tzinfo=UTC)


@pytest.fixture
def clock():
    return TurnedClock(START)


@pytest.fixture
def breaker(clock):
    return CircuitBreaker("trading reads", BreakerRules(), clock)


def answer(breaker, *, always=False):
    with breaker.around(always=always):
        pass


def fail(breaker, error=None, *, always=False):
    error = error or DependencyUnavailable("no answer")
    with pytest.raises(type(error)) as raised, breaker.around(always=always):
        raise error
    assert raised.value is error


def refuse(breaker, match=""):
    with pytest.raises(CircuitOpen, match=match), breaker.around():
        raise AssertionError("the call was made")


def opened(breaker):
    for _ in range(5):
        fail(breaker)
    return breaker


def test_five_failures_in_a_row_open_it(breaker):
    for _ in range(4):
        fail(breaker)
    assert breaker.state is BreakerState.CLOSED

    fail(breaker)

    assert breaker.state is BreakerState.OPEN
    refuse(
        breaker,
        r"^trading reads are left alone since 13:45:00 UTC \(5 failures in a row, the last: no answer\); "
        r"nothing was sent, and nothing will be for another 30\.0 s$",
    )


def test_an_answer_between_failures_keeps_it_closed(breaker, clock):
    for _ in range(4):
        fail(breaker)
    answer(breaker)
    for _ in range(4):
        fail(breaker)

    assert breaker.state is BreakerState.CLOSED


def test_half_of_ten_calls_in_a_minute_open_it(breaker, clock):
    for _ in range(4):
        answer(breaker)
        fail(breaker)
    answer(breaker)
    assert breaker.state is BreakerState.CLOSED

    fail(breaker)

    refuse(breaker, r"5 of 10 calls in 60 s failed")


def test_fewer_than_half_keep_it_closed(breaker):
    for _ in range(50):
        answer(breaker)
        answer(breaker)
        fail(breaker)

    assert breaker.state is BreakerState.CLOSED


def test_failures_of_more_than_a_minute_ago_are_forgotten(breaker, clock):
    for _ in range(4):
        answer(breaker)
        fail(breaker)
    clock.wait(61)
    answer(breaker)
    fail(breaker)

    assert breaker.state is BreakerState.CLOSED


@pytest.mark.parametrize(
    "error",
    [
        RateLimited("slow down"),
        RequestRefused("no", "40310000"),
        Unauthorized("wrong keys"),
        InvalidInput("wrong address"),
        ValueError("a bug"),
        KeyboardInterrupt(),
    ],
)
def test_what_is_no_failure_of_the_dependency_does_not_count(breaker, error):
    for _ in range(50):
        fail(breaker, error)

    assert breaker.state is BreakerState.CLOSED


def test_after_the_pause_one_call_is_let_through_and_its_answer_closes_it(breaker, clock):
    opened(breaker)
    clock.wait(29.9)
    refuse(breaker, r"another 0\.1 s")
    clock.wait(0.2)

    with breaker.around():
        assert breaker.state is BreakerState.HALF_OPEN
        refuse(breaker, "a first call is on its way to find out")

    assert breaker.state is BreakerState.CLOSED
    for _ in range(4):
        fail(breaker)
    assert breaker.state is BreakerState.CLOSED


def test_a_first_call_that_fails_begins_another_pause_and_the_time_of_the_opening_stays(breaker, clock):
    opened(breaker)
    clock.wait(30)
    fail(breaker)

    assert breaker.state is BreakerState.OPEN
    refuse(breaker, r"since 13:45:00 UTC \(it still fails: no answer\).*another 30\.0 s")


@pytest.mark.parametrize("error", [RateLimited("slow down"), KeyboardInterrupt()])
def test_a_first_call_that_finds_nothing_out_leaves_it_to_the_next(breaker, clock, error):
    opened(breaker)
    clock.wait(30)
    fail(breaker, error)

    answer(breaker)

    assert breaker.state is BreakerState.CLOSED


def test_a_refusal_is_an_answer_too(breaker, clock):
    opened(breaker)
    clock.wait(30)
    fail(breaker, RequestRefused("no"))

    assert breaker.state is BreakerState.CLOSED


def test_calls_that_began_before_it_opened_change_nothing(breaker):
    with breaker.around():
        opened(breaker)
    assert breaker.state is BreakerState.OPEN

    with pytest.raises(DependencyUnavailable), breaker.around(always=True), breaker.around(always=True):
        raise DependencyUnavailable("no answer")
    assert breaker.state is BreakerState.OPEN


def test_what_must_always_pass_passes_and_its_answer_closes_it(breaker):
    opened(breaker)
    fail(breaker, always=True)
    refuse(breaker, "it still fails")

    answer(breaker, always=True)

    answer(breaker)


def test_of_many_threads_one_finds_out(breaker, clock):
    opened(breaker)
    clock.wait(30)
    passed = []

    def call(number):
        with breaker.around():
            passed.append(number)
            raise DependencyUnavailable("no answer")

    def one(number):
        with pytest.raises(DependencyUnavailable):
            call(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(200)))

    assert len(passed) == 1


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 40)), max_size=60))
def test_it_opens_exactly_when_its_rules_say_so(calls):
    clock = TurnedClock(START)
    breaker = CircuitBreaker("reads", BreakerRules(), clock)
    seen: list[tuple[float, bool]] = []
    for failing, rest in calls:
        clock.wait(rest)
        (fail if failing else answer)(breaker)
        seen.append((clock.elapsed(), failing))
        recent = [failed for at, failed in seen if at >= clock.elapsed() - 60]
        often = failing and len(recent) >= 10 and sum(recent) >= len(recent) / 2
        in_a_row = len(seen) >= 5 and all(failed for _, failed in seen[-5:])
        assert (breaker.state is BreakerState.OPEN) == (often or in_a_row)
        if breaker.state is BreakerState.OPEN:
            return
