import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_pipeline.adapters.request_quota import QuotaRules, RequestQuota, Urgency
from trading_pipeline.domain.errors import Interrupted, InvalidInput, RateLimited
from trading_pipeline.simulator.gate import RateLimit
from trading_pipeline_tests.builders import TurnedClock

START = datetime(2026, 7, 31, 13, 45, tzinfo=UTC)
RULES = QuotaRules(requests_per_minute=200, burst=60)
AT_ONCE = 0.0
PATIENT = 3_600.0


@pytest.fixture
def clock():
    return TurnedClock(START)


@pytest.fixture
def quota(clock):
    return RequestQuota(RULES, clock)


def told(clock, remaining, seconds, limit=200, **more):
    """Return what an answer says of the quota: what is left, and in how many seconds it starts again."""
    return {
        "Date": format_datetime(clock.now(), usegmt=True),
        "X-RateLimit-Limit": str(limit),
        "X-RateLimit-Remaining": str(remaining),
        "X-RateLimit-Reset": str(int(clock.now().timestamp()) + seconds),
        **{name.replace("_", "-"): value for name, value in more.items()},
    }


def send(quota, headers=None, status=200, urgency=Urgency.READ, longest_wait=PATIENT):
    with quota.request(urgency, longest_wait):
        quota.observe(status, headers or {})


def sent_in(quota, clock, seconds, headers=None):
    """Return how many requests leave in ``seconds`` if there is always another one."""
    until, requests = clock.elapsed() + seconds, 0
    while True:
        try:
            send(quota, headers, longest_wait=until - clock.elapsed())
        except RateLimited:
            clock.wait(until - clock.elapsed())
            return requests
        requests += 1


def test_a_burst_leaves_at_once_and_the_rest_at_the_rate_that_the_quota_leaves(quota, clock):
    for _ in range(60):
        send(quota)
    assert clock.waits == []

    send(quota)

    assert sum(clock.waits) == pytest.approx(60 / 140, abs=0.01)


def test_without_any_figures_no_minute_exceeds_the_quota(quota, clock):
    assert sent_in(quota, clock, 60) <= 200
    assert 138 <= sent_in(quota, clock, 60) <= 141


def test_a_rest_fills_the_burst_and_no_more(quota, clock):
    sent_in(quota, clock, 60)
    clock.wait(600)
    clock.waits.clear()

    for _ in range(60):
        send(quota)

    assert clock.waits == []
    send(quota)
    assert clock.waits != []


def test_what_remains_lasts_until_the_reset(quota, clock):
    sent_in(quota, clock, 20)
    send(quota, told(clock, remaining=60, seconds=40))

    assert 20 <= sent_in(quota, clock, 20) <= 35
    assert sent_in(quota, clock, 19) <= 60 - 20


def test_nothing_is_sent_where_nothing_is_left_until_the_reset(quota, clock):
    send(quota, told(clock, remaining=0, seconds=17))

    with pytest.raises(RateLimited, match=r"not sent: 200 requests a minute .* free in 17\.0 s") as refused:
        send(quota, longest_wait=16)
    assert refused.value.retry_at == clock.now() + timedelta(seconds=17)
    assert clock.waits == []

    send(quota)
    assert sum(clock.waits) == pytest.approx(17, abs=0.01)


def test_a_little_is_kept_for_the_more_urgent(quota, clock):
    send(quota, told(clock, remaining=4, seconds=30))

    with pytest.raises(RateLimited):
        send(quota, urgency=Urgency.READ, longest_wait=AT_ONCE)
    with pytest.raises(RateLimited):
        send(quota, urgency=Urgency.ORDER, longest_wait=AT_ONCE)
    for _ in range(4):
        send(quota, urgency=Urgency.CANCEL, longest_wait=AT_ONCE)
    with pytest.raises(RateLimited):
        send(quota, urgency=Urgency.CANCEL, longest_wait=AT_ONCE)


def test_a_higher_limit_is_used(quota, clock):
    send(quota, told(clock, remaining=9_999, seconds=60, limit=10_000))

    assert 1_600 <= sent_in(quota, clock, 10) <= 1_740


def test_a_lower_limit_is_kept(quota, clock):
    send(quota, told(clock, remaining=29, seconds=60, limit=30))

    assert sent_in(quota, clock, 59) <= 29
    assert quota.health().limit == 30


def test_requests_under_way_are_taken_off_what_an_answer_leaves(quota, clock):
    with quota.request(Urgency.READ, AT_ONCE), quota.request(Urgency.READ, AT_ONCE):
        send(quota, told(clock, remaining=50, seconds=30))

    assert quota.health().remaining == 48


def test_an_answer_of_the_minute_before_changes_nothing(quota, clock):
    earlier = told(clock, remaining=3, seconds=5)
    clock.wait(6)
    send(quota, told(clock, remaining=150, seconds=59))
    send(quota, earlier | {"Date": format_datetime(clock.now() - timedelta(seconds=6), usegmt=True)})

    assert quota.health().remaining == 149


def test_after_the_reset_a_fresh_minute_is_assumed(quota, clock):
    send(quota, told(clock, remaining=0, seconds=10))
    clock.wait(75)

    assert quota.health().remaining == 200
    assert quota.health().resets_at == START + timedelta(seconds=130)


def test_figures_that_cannot_be_are_passed_over(quota, clock):
    for headers in (
        {"X-RateLimit-Limit": "many", "X-RateLimit-Remaining": "-1", "X-RateLimit-Reset": "soon"},
        {"X-RateLimit-Limit": "9" * 400, "X-RateLimit-Remaining": "1", "X-RateLimit-Reset": "9" * 400},
        {"X-RateLimit-Limit": "0", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"},
        {"Retry-After": "later", "Date": "yesterday"},
    ):
        send(quota, headers)

    assert quota.health().remaining is None
    assert quota.health().limit == 200


def test_too_many_requests_end_sending_until_the_reset_that_is_known(quota, clock):
    send(quota, told(clock, remaining=150, seconds=25))
    send(quota, status=429)

    with pytest.raises(RateLimited, match=r"free in 25\.0 s"):
        send(quota, urgency=Urgency.CANCEL, longest_wait=AT_ONCE)


def test_too_many_requests_without_a_word_end_the_burst(quota, clock):
    send(quota, status=429)
    send(quota)

    assert sum(clock.waits) == pytest.approx(60 / 140, abs=0.01)


@pytest.mark.parametrize(
    ("after", "seconds"),
    [("12", 12), (format_datetime(START + timedelta(seconds=9), usegmt=True), 9), ("86400", 60)],
)
def test_retry_after_is_honoured_up_to_a_minute(quota, clock, after, seconds):
    send(quota, {"Retry-After": after, "Date": format_datetime(START, usegmt=True)}, status=503)
    send(quota)

    assert sum(clock.waits) == pytest.approx(seconds, abs=0.01)


def test_a_wait_ends_when_the_process_is_asked_to_end_and_takes_no_turn(quota, clock):
    send(quota, told(clock, remaining=1, seconds=30))

    class Ending(TurnedClock):
        def wait(self, seconds):
            raise Interrupted("asked to end")

    ending = RequestQuota(QuotaRules(2, 1), Ending(START))
    send(ending)
    with pytest.raises(Interrupted):
        send(ending)
    assert ending._waiting == set()
    assert ending._under_way == 0


def test_waits_are_counted(quota, clock):
    send(quota, told(clock, remaining=0, seconds=17))
    send(quota)

    health = quota.health()
    assert (health.waits, health.waited_seconds) == (1, pytest.approx(17, abs=0.01))


@pytest.mark.parametrize(("requests", "burst"), [(10, 10), (10, 0), (1, 1)])
def test_a_burst_that_is_the_whole_quota_is_refused(requests, burst):
    with pytest.raises(InvalidInput, match="burst must be"):
        QuotaRules(requests, burst)


class FastClock:
    """A clock that runs much faster than the machine's, for real threads."""

    def __init__(self, start=START, factor=60.0):
        self._start, self._factor, self._began = start, factor, time.monotonic()

    def now(self):
        return self._start + timedelta(seconds=self.elapsed())

    def elapsed(self):
        return (time.monotonic() - self._began) * self._factor

    def wait(self, seconds):
        time.sleep(seconds / self._factor)  # noqa: TID251 - this is a clock


def until(condition, seconds=30):
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        assert time.monotonic() < deadline
        pause.wait(0.001)


def in_threads(quota, clock, server, requests, threads=8):
    """Send requests from several threads at a server that counts; return how many it turned away of each status."""
    lock, latency = threading.Lock(), random.Random(7)  # noqa: S311 - no secret

    def one(_):
        with quota.request(Urgency.ORDER, PATIENT):
            time.sleep(latency.random() * 0.004)  # noqa: TID251 - the way there
            with lock:
                status = 200 if server.take() else 429
                headers = server.headers() | {"Date": format_datetime(clock.now(), usegmt=True)}
            time.sleep(latency.random() * 0.004)  # noqa: TID251 - the way back
            quota.observe(status, headers)
        return status

    with ThreadPoolExecutor(threads) as pool:
        return Counter(pool.map(one, range(requests)))


@pytest.mark.parametrize("second", [0, 55])
def test_many_threads_use_the_quota_of_a_counting_server_without_ever_exceeding_it(second):
    clock = FastClock(START + timedelta(seconds=second))
    quota = RequestQuota(RULES, clock)
    server = RateLimit(200, lambda: clock.now().timestamp())

    assert in_threads(quota, clock, server, 400) == {200: 400}


@pytest.mark.parametrize("requests", [200, 400, 1_000])
@pytest.mark.parametrize("second", [0, 20, 40, 59])
def test_many_requests_take_little_longer_than_the_quota_allows(second, requests):
    clock = TurnedClock(START + timedelta(seconds=second))
    quota = RequestQuota(RULES, clock)
    server = RateLimit(200, lambda: clock.now().timestamp())
    began = clock.elapsed()

    for _ in range(requests):
        with quota.request(Urgency.ORDER, PATIENT):
            assert server.take()
            quota.observe(200, server.headers())

    assert clock.elapsed() - began <= 1.05 * requests / 200 * 60


def test_another_user_of_the_account_is_made_room_for():
    clock = FastClock()
    quota = RequestQuota(RULES, clock)
    server = RateLimit(200, lambda: clock.now().timestamp())
    for _ in range(150):
        server.take()

    statuses = in_threads(quota, clock, server, 100)

    assert statuses == {200: 100}


class HeldClock(FastClock):
    """A clock that stands until it is released; whoever waits on it waits for that, too."""

    def __init__(self):
        super().__init__()
        self.standing_at, self.released = 0.0, threading.Event()

    def elapsed(self):
        return self.standing_at + (super().elapsed() if self.released.is_set() else 0.0)

    def wait(self, seconds):
        assert self.released.wait(60)
        super().wait(seconds)

    def release(self):
        self._began = time.monotonic()
        self.released.set()


def order_of_turns(*arrivals):
    """Return who had a turn in which order, where each arrives some seconds after the one before."""
    clock = HeldClock()
    quota = RequestQuota(QuotaRules(60, 1), clock)
    turns, threads = [], []

    def one(urgency):
        with quota.request(urgency, PATIENT):
            turns.append(urgency)

    quota.observe(503, {"Retry-After": "59"})
    for seconds, urgency in arrivals:
        clock.standing_at += seconds
        threads.append(threading.Thread(target=one, args=(urgency,)))
        threads[-1].start()
        until(lambda: len(quota._waiting) == len(threads))
    clock.release()
    for thread in threads:
        thread.join(60)
    return turns


def test_the_urgent_go_first():
    arrivals = [Urgency.READ, Urgency.ORDER, Urgency.READ, Urgency.ORDER, Urgency.CANCEL]

    turns = order_of_turns(*((0.0, urgency) for urgency in arrivals))

    assert turns == [Urgency.CANCEL, Urgency.ORDER, Urgency.ORDER, Urgency.READ, Urgency.READ]


def test_what_waited_longer_than_a_head_start_is_not_overtaken():
    turns = order_of_turns((0.0, Urgency.READ), (1.0, Urgency.ORDER), (1.5, Urgency.ORDER), (30.0, Urgency.CANCEL))

    assert turns == [Urgency.CANCEL, Urgency.ORDER, Urgency.READ, Urgency.ORDER]


@settings(max_examples=50)
@given(
    steps=st.lists(st.tuples(st.floats(0, 30), st.integers(1, 80)), min_size=1, max_size=12),
    offset=st.integers(0, 59),
    limit=st.integers(2, 400),
    used=st.integers(0, 400),
)
def test_no_pattern_of_requests_ever_exceeds_a_counting_server(steps, offset, limit, used):
    clock = TurnedClock(START + timedelta(seconds=offset))
    quota = RequestQuota(QuotaRules(limit, max(1, limit // 3)), clock)
    server = RateLimit(limit, lambda: clock.now().timestamp())
    server.take()
    for _ in range(min(used, limit) - 1):
        server.take()
    quota.observe(200, server.headers())

    for rest, requests in steps:
        clock.wait(rest)
        for _ in range(requests):
            with quota.request(Urgency.CANCEL, PATIENT):
                assert server.take()
                quota.observe(200, server.headers())
