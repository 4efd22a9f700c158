"""Faults, restarts, a lost journal and steps of the clock in any order, on a scripted broker in this process."""

import os
import shutil
import tempfile
from collections import defaultdict
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from trading_pipeline.adapters.storage.journal import SqliteJournal
from trading_pipeline.application.execution import Venue, execute, settle
from trading_pipeline.domain.errors import DependencyUnavailable, PipelineError
from trading_pipeline.domain.orders import OrderStatus
from trading_pipeline.domain.risk.trading_state import ACTIVE, TradingMode, TradingState
from trading_pipeline.domain.sessions import close_of
from trading_pipeline.ports import IntentState
from trading_pipeline_tests.builders import (
    ACCOUNT,
    FILLED,
    INSIDE_WINDOW,
    RULES,
    WORKING,
    Killed,
    ScriptedBroker,
    Step,
    Tripwire,
    buy,
    make_plan,
    make_venue,
    sell,
)
from trading_pipeline_tests.faults.verdict import slice_ids

PLAN = make_plan(sell("TLT", "10"), buy("SPY", "8"), buy("QQQ", "20"))
REPRICING = replace(RULES, max_reprices=2)
PARTIAL = Step(OrderStatus.PARTIALLY_FILLED, "0.25")
LIVES = {
    "fills": (WORKING, FILLED),
    "fills in parts": (WORKING, PARTIAL, Step(OrderStatus.PARTIALLY_FILLED, "0.5"), FILLED),
    "stops in the middle": (WORKING, PARTIAL),
    "never fills": (WORKING,),
    "is rejected later": (WORKING, Step(OrderStatus.REJECTED)),
    "is cancelled by the broker": (WORKING, PARTIAL, Step(OrderStatus.CANCELED, "0.25")),
}
MOST_CALLS = 60
SYMBOLS = st.sampled_from([order.symbol for order in PLAN.orders])
ANSWERS = ("accept", "drop", "late", "lose")
HALTED = TradingState(TradingMode.HALTED, "a test", "a test", INSIDE_WINDOW)


def each_symbols(choices):
    """Draw, for each symbol, what its first orders meet."""
    return st.fixed_dictionaries({o.symbol: st.lists(st.sampled_from(choices), max_size=3) for o in PLAN.orders})


class WatchingBroker(ScriptedBroker):
    """Takes no order whose row is not in the journal; a new order lives the next of its symbol's ``lives``."""

    journal: SqliteJournal

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.lives = defaultdict(list)

    def _taken(self, intent):
        lives = self.lives[intent.symbol]
        self.steps[intent.symbol] = LIVES[lives.pop(0) if lives else "fills"]
        return super()._taken(intent)

    def submit(self, intent):
        rows = self.journal.history(PLAN.plan_id)
        known = {row.order_id for row in rows if row.state is IntentState.SUBMITTING}
        assert intent.client_order_id in known, "an order left before its row was written"
        return super().submit(intent)


class Trading(RuleBasedStateMachine):
    @initialize(lives=each_symbols(sorted(LIVES)), answers=each_symbols(ANSWERS))
    def open(self, lives, answers):
        self.folder = Path(tempfile.mkdtemp(prefix="machine-"))
        broker = WatchingBroker("10000", {"TLT": "10", "GLD": "5"})
        broker.lives |= lives
        broker.answers |= answers
        self.venue = replace(make_venue(self.folder), broker=broker)
        broker.journal = self.venue.journal
        self.journals = 0

    @rule(symbol=SYMBOLS, answer=st.sampled_from(ANSWERS))
    def lose_an_answer(self, symbol, answer):
        self.venue.broker.answers[symbol].append(answer)

    @rule(symbol=SYMBOLS, life=st.sampled_from(sorted(LIVES)))
    def decide_how_an_order_lives(self, symbol, life):
        self.venue.broker.lives[symbol].append(life)

    @rule()
    def run(self):
        self.tried(self.venue)

    @rule(at=st.integers(1, MOST_CALLS), after=st.booleans())
    def run_and_die(self, at, after):
        self.tried(self.through(Tripwire(at, Killed, after)))

    @rule(at=st.integers(1, MOST_CALLS), after=st.booleans())
    def run_while_something_fails(self, at, after):
        self.tried(self.through(Tripwire(at, lambda: DependencyUnavailable("gone"), after)))

    @rule()
    def lose_the_journal(self):
        self.journals += 1
        journal = SqliteJournal(self.folder / f"journal-{self.journals}.sqlite")
        self.venue = replace(self.venue, journal=journal)
        self.venue.broker.journal = journal

    @rule(minutes=st.integers(1, 45))
    def let_time_pass(self, minutes):
        self.venue.clock.instant += timedelta(minutes=minutes)

    @rule(state=st.sampled_from([ACTIVE, HALTED]))
    def halt_or_resume(self, state):
        self.venue.trading_state.write(state)

    @invariant()
    def no_intent_is_two_orders(self):
        known, derivable = self.venue.broker.known, set()
        for intent in PLAN.orders:
            slices = [known[name] for name in slice_ids(PLAN, intent) if name in known]
            assert sum(order.filled_quantity for order in slices) <= intent.quantity
            assert sum(not order.status.is_terminal for order in slices) <= 1
            derivable |= {order.client_order_id for order in slices}
        assert set(known) == derivable

    def teardown(self):
        if not hasattr(self, "folder"):
            return
        try:
            self.every_intent_ends()
            self.no_intent_is_two_orders()
        finally:
            shutil.rmtree(self.folder)

    def every_intent_ends(self):
        """When the session is over nothing is left open, whatever happened in it."""
        self.venue.trading_state.write(ACTIVE)
        self.venue.broker.answers.clear()
        self.tried(self.venue)
        after = close_of(PLAN.execution_session) + timedelta(minutes=1)
        self.venue.clock.instant = max(self.venue.clock.instant, after)
        for _ in range(4):
            left = settle(self.venue, REPRICING, self.venue.clock.now(), ACCOUNT)
        assert not left, left
        assert all(entry.state.is_terminal for entry in self.venue.journal.entries(PLAN.plan_id))

    def tried(self, venue):
        with suppress(Killed, PipelineError):
            execute(PLAN, venue, REPRICING)

    def through(self, wire):
        parts = (self.venue.broker, self.venue.market_data, self.venue.journal, self.venue.trading_state)
        return Venue(*map(wire.around, parts), self.venue.clock)


def test_whatever_happens_in_whatever_order_no_intent_is_doubled_lost_or_sent_unjournalled():
    run_state_machine_as_test(
        Trading,
        settings=settings(
            max_examples=1500 if os.environ.get("FULL") else 120,
            stateful_step_count=8,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
