"""Many sessions in one process, with and without faults: the same equity every day, and nothing that piles up."""

import gc
import os
import random
import threading
import tracemalloc
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from trading_pipeline.adapters.alpaca.stream import OrderStream, stream_options, stream_url
from trading_pipeline.adapters.alpaca.transport import Keys
from trading_pipeline.adapters.clocks import WallClock
from trading_pipeline.application.execution import execute
from trading_pipeline.domain.errors import TransientError
from trading_pipeline.domain.instruments import round_price, round_quantity
from trading_pipeline.domain.orders import OrderIntent, OrderType, Plan, Side, TimeInForce, client_order_id
from trading_pipeline.domain.sessions import next_session, previous_session, session_at
from trading_pipeline.ports import Alert
from trading_pipeline.settings import MonitoringSettings
from trading_pipeline.simulator.control import start_simulator
from trading_pipeline_tests.builders import approved
from trading_pipeline_tests.faults.child import PATIENCE, Job, rules_of, venue_of

pytestmark = pytest.mark.unmeasured

FULL = bool(os.environ.get("FULL"))
# The sample finds what goes wrong in a session; what piles up needs more of them.
SESSIONS = 30 if FULL else 4
MONDAY_MORNING = datetime(2026, 3, 2, 14, 0, tzinfo=UTC)
SYMBOLS = ("SPY", "QQQ", "TLT", "GLD", "IEF")
SHARE = Decimal("0.01")
SMALLEST_TRADE = Decimal(20)
MOST_ATTEMPTS = 12
# What a run keeps for later runs (pools, caches) is there after a few sessions.
SETTLED_AFTER = 3
MOST_GROWTH_BYTES = 400_000
# A socket to the broker; the journal and its write-ahead log.
FILES_OF_ONE_CONNECTION = 3
SUBMISSION = {"method": "POST", "path_re": "^/v2/orders$"}
FAULTS = (
    {"match": SUBMISSION, "action": "accept_then_status", "status": 504},
    {"match": SUBMISSION, "action": "accept_then_reset"},
    {"match": SUBMISSION, "action": "accept_then_cut"},
    {"match": SUBMISSION, "action": "status", "status": 503},
    {"match": SUBMISSION, "action": "reset"},
    {"match": SUBMISSION, "action": "garbage"},
    {"match": {"method": "GET"}, "action": "status", "status": 500},
    {"match": {"method": "GET"}, "action": "reset"},
    {"match": {"method": "GET"}, "action": "garbage"},
)


@dataclass(frozen=True)
class Leftovers:
    threads: int
    descriptors: int
    bytes: int

    @classmethod
    def now(cls) -> "Leftovers":
        gc.collect()
        return cls(
            threading.active_count(), len(list(Path("/proc/self/fd").iterdir())), tracemalloc.get_traced_memory()[0]
        )


class Unheard:
    def notify(self, alert: Alert) -> bool:
        return True


def descriptors(leftovers):
    return [left.descriptors for left in leftovers]


@contextmanager
def trading(folder):
    running = start_simulator(folder / "simulator", start=MONDAY_MORNING, seed=7, watch_parent=True)
    try:
        job = Job(str(folder), "", running.url, running.key_id, running.secret_key, "", "", order_timeout=8.0)
        yield running, job
    finally:
        running.stop()


def asked(question, venue):
    """Ask as often as a person would: a dependency that is left alone for a while needs that while."""
    for _ in range(MOST_ATTEMPTS):
        with suppress(TransientError):
            return question()
        venue.clock.wait(PATIENCE)
    raise AssertionError(f"no answer in {MOST_ATTEMPTS} attempts")


def plan_of(venue, session) -> Plan:
    """Return the orders that turn what is held into weights which the session alone decides."""
    portfolio = asked(venue.broker.portfolio, venue)
    quotes = asked(lambda: venue.market_data.quotes(SYMBOLS), venue)
    draws = random.Random(session.toordinal())  # noqa: S311 - repeatable, not secret
    chosen = draws.choices(range(1, 10), k=len(SYMBOLS))
    session_before = previous_session(session)
    plan_id = f"{session_before}.1"
    intents = []
    for symbol, weight in zip(SYMBOLS, chosen, strict=True):
        price = quotes[symbol].mid
        wanted = portfolio.equity * Decimal(weight) / Decimal(sum(chosen)) * Decimal("0.98") / price
        missing = wanted - portfolio.quantity(symbol)
        side = Side.BUY if missing > 0 else Side.SELL
        quantity = round_quantity(abs(missing), SHARE)
        if quantity * price > SMALLEST_TRADE:
            name = client_order_id(portfolio.account_number, plan_id, symbol, side)
            limit = round_price(price * (Decimal("1.05") if side is Side.BUY else Decimal("0.95")), up=side is Side.BUY)
            intents.append(
                OrderIntent(name, 0, symbol, side, quantity, OrderType.LIMIT, limit, price, TimeInForce.DAY, "")
            )
    ordered = sorted(intents, key=lambda intent: intent.side is Side.BUY)
    orders = tuple(replace(intent, sequence=place) for place, intent in enumerate(ordered))
    made_at = venue.clock.now()
    account = portfolio.account_number
    return Plan(plan_id, account, session_before, session, 1, made_at, False, orders, (), "", "", approved(orders))


def executed(plan, venue, rules):
    """Execute as the sensor would: again, as long as something is open."""
    for _ in range(MOST_ATTEMPTS):
        try:
            done = execute(plan, venue, rules)
        except TransientError:
            # As the sensor would: a dependency that is left alone for a while needs that while.
            venue.clock.wait(PATIENCE)
            continue
        if not done.unresolved:
            return done
    raise AssertionError(f"plan {plan.plan_id} did not come to an end in {MOST_ATTEMPTS} attempts")


def lived(folder, *, faulty: bool):
    """Live the sessions; return the equity at each close, how many faults struck, and what was left after each day."""
    equity, leftovers, struck = [], [], 0
    with trading(folder) as (running, job):
        venue, rules, wall = venue_of(job, threading.Event()), rules_of(job), WallClock()
        keys = Keys(running.key_id, running.secret_key)
        for number in range(SESSIONS):
            running.control.move_to_next("open")
            running.control.advance(timedelta(minutes=5))
            plan = plan_of(venue, session_at(running.control.now()))
            running.control.seed(number)
            for fault in FAULTS if faulty else ():
                running.control.add_fault(**{**fault, "match": {**fault["match"], "probability": 0.1}, "times": 3})
            url, options = stream_url(running.url), stream_options(MonitoringSettings())
            stream = OrderStream(url, keys, None, Unheard(), wall, options) if number % 2 else nullcontext()
            with stream as updates:
                executed(plan, replace(venue, updates=updates), rules)
            struck += sum(fault["applied"] for fault in running.control.faults())
            running.control.clear_faults()
            running.control.move_to_next("close")
            closed = session_at(running.control.now()) or plan.execution_session
            equity.append((closed, asked(venue.broker.portfolio, venue).equity))
            leftovers.append(Leftovers.now())
    return equity, struck, leftovers


@pytest.mark.slow
def test_many_sessions_with_faults_earn_what_they_earn_without_and_nothing_piles_up(tmp_path):
    tracemalloc.start()
    try:
        peaceful, none_struck, _ = lived(tmp_path / "peaceful", faulty=False)
        faulty, struck, leftovers = lived(tmp_path / "faulty", faulty=True)
    finally:
        tracemalloc.stop()

    assert none_struck == 0
    assert struck >= SESSIONS // 2
    assert faulty == peaceful
    assert len({equity for _, equity in peaceful}) > SESSIONS // 2
    assert next_session(peaceful[0][0]) == peaceful[1][0]
    if FULL:
        assert_nothing_piles_up(leftovers)


def assert_nothing_piles_up(leftovers):
    first, last = leftovers[SETTLED_AFTER], leftovers[-1]
    assert last.threads <= first.threads
    assert last.bytes <= first.bytes + MOST_GROWTH_BYTES
    # Every sender may keep one connection; once the pools are full, nothing is added any more.
    middle, end = descriptors(leftovers[SESSIONS // 3 : -SESSIONS // 3]), descriptors(leftovers[-SESSIONS // 3 :])
    assert max(end) <= max(middle) + FILES_OF_ONE_CONNECTION
    assert max(end) <= first.descriptors + FILES_OF_ONE_CONNECTION * Job.orders_in_flight
