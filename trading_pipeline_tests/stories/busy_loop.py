"""The program that the kill switch is tried on: it sends orders from several threads, as fast as it can, for ever.

``python -m trading_pipeline_tests.stories.busy_loop JOB`` takes the JSON of a
:class:`~trading_pipeline_tests.faults.child.Job` and commands on standard
input: ``go N`` begins to send the orders of journal N and answers once one was
taken, where N is even with one thread that reads the state, and sends long
after it has changed; ``refused N`` answers once so many more tries were stopped by the
trading state; ``end`` stops the threads and answers what else went wrong.
"""

import json
import sys
import threading
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

from trading_pipeline.adapters.clocks import WallClock
from trading_pipeline.adapters.logs import configure_logging
from trading_pipeline.adapters.storage.journal import SqliteJournal
from trading_pipeline.adapters.storage.sending_gate import GATE_FILE, FileGate
from trading_pipeline.application.effective_state import EffectiveState
from trading_pipeline.application.sizing import Order
from trading_pipeline.application.submission import submitted
from trading_pipeline.application.venue import Desk, Pursuit
from trading_pipeline.domain.errors import PipelineError, TradingHalted
from trading_pipeline.domain.orders import OrderIntent, OrderType, Plan, Side, TimeInForce, client_order_id
from trading_pipeline.domain.sessions import next_session
from trading_pipeline.settings import LogFormat, LogLevel
from trading_pipeline_tests.builders import approved
from trading_pipeline_tests.faults.child import Job, rules_of, venue_of

THREADS = 4
INTENTS = 4_000
DEADLINE = 120
LATE_SECONDS = 1.5
SYMBOL = "SPY"
# Far below any price, so that the order works and does not fill.
LIMIT = Decimal("1.50")


def intents_of(account, plan_id, count):
    """Return limit orders that work until they are cancelled, each under an id of its own."""
    return tuple(
        OrderIntent(
            client_order_id=client_order_id(account, f"{plan_id}.{number}", SYMBOL, Side.BUY),
            sequence=number,
            symbol=SYMBOL,
            side=Side.BUY,
            quantity=Decimal(1),
            order_type=OrderType.LIMIT,
            limit_price=LIMIT,
            reference_price=LIMIT,
            time_in_force=TimeInForce.DAY,
            reason="",
        )
        for number in range(count)
    )


class LateBroker:
    """A broker whose first order is on its way for long: it leaves so much later than trading was halted."""

    def __init__(self, venue):
        self.venue, self.is_first = venue, threading.Lock()
        self.is_on_its_way = threading.Event()

    def __getattr__(self, name):
        return getattr(self.venue.broker, name)

    def submit(self, intent):
        if self.is_first.acquire(blocking=False):
            self.is_on_its_way.set()
            while self.venue.trading_state.read().allows_trading:
                self.venue.clock.wait(0.01)
            self.venue.clock.wait(LATE_SECONDS)
        return self.venue.broker.submit(intent)


class BusyLoop:
    def __init__(self, job, number):
        wall = WallClock()
        venue = venue_of(job, threading.Event())
        self.late = LateBroker(venue) if number % 2 == 0 else None
        session, plan_id = date.fromisoformat(job.session), f"{job.session}.{number}"
        intents = intents_of(job.account, plan_id, INTENTS)
        now = venue.clock.now()
        execution = next_session(session)
        plan = Plan(plan_id, job.account, session, execution, 1, now, False, intents, (), "", "", approved(intents))
        journal = SqliteJournal(Path(job.home) / f"journal-{number}.sqlite")
        journal.claim(plan, now)
        state = EffectiveState(venue.trading_state, [], wall)
        gate = FileGate(Path(job.home) / GATE_FILE, wall)
        venue = replace(venue, broker=self.late or venue.broker, journal=journal, trading_state=state, gate=gate)
        self.desk = Desk(plan, venue, rules_of(job), now, now, venue.clock.elapsed())
        self.over, self.changed = threading.Event(), threading.Condition()
        self.left, self.sent, self.refused, self.failures = list(intents), 0, 0, []
        self.threads = [threading.Thread(target=self.run) for _ in range(THREADS)]
        for thread in self.threads:
            thread.start()

    def run(self):
        while not self.over.is_set():
            try:
                intent = self.left.pop()
                plan = self.desk.plan
                pursuit = Pursuit(intent, plan.account_number, f"{plan.plan_id}.{intent.sequence}")
                submitted(pursuit, Order(intent), self.desk)
            except TradingHalted:
                self.left.append(intent)
                self.count(refused=1)
            except (PipelineError, IndexError) as error:
                self.failures.append(repr(error))
                return
            else:
                self.count(sent=1)

    def count(self, sent=0, refused=0):
        with self.changed:
            self.sent, self.refused = self.sent + sent, self.refused + refused
            self.changed.notify_all()

    def first_sent(self):
        """Wait for the first order that the broker took, and return how many it has taken."""
        assert self.late is None or self.late.is_on_its_way.wait(DEADLINE)
        with self.changed:
            assert self.changed.wait_for(lambda: self.sent, DEADLINE), self.failures
            return self.sent

    def more_refused(self, count):
        """Wait until so many more tries were stopped, and return how many orders were sent."""
        with self.changed:
            wanted = self.refused + count
            assert self.changed.wait_for(lambda: self.refused >= wanted, DEADLINE), self.failures
            return self.sent

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join()
        return self.failures


def main():
    # Standard output is for answers.
    configure_logging(LogFormat.JSON, LogLevel.ERROR, sys.stderr)
    job, loop = Job(**json.loads(sys.argv[1])), None
    for line in sys.stdin:
        command, _, number = line.strip().partition(" ")
        if command == "go":
            loop = BusyLoop(job, int(number))
            answer = loop.first_sent()
        else:
            answer = loop.more_refused(int(number)) if command == "refused" else loop.end()
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
