from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from trading_pipeline.adapters.storage.journal import SqliteJournal
from trading_pipeline.adapters.storage.objects import FileObjects
from trading_pipeline.adapters.storage.trading_state import StoredTradingState
from trading_pipeline.application.halting import HaltingRules, OrdersLeft, Switch, halt
from trading_pipeline.domain.errors import (
    DependencyUnavailable,
    Interrupted,
    InvalidInput,
    RequestRefused,
    Unauthorized,
)
from trading_pipeline.domain.orders import BrokerOrder, OrderStatus, Side
from trading_pipeline.domain.risk.trading_state import TradingMode, TradingState
from trading_pipeline.ports import Attempt, IntentState
from trading_pipeline_tests.builders import INSIDE_WINDOW, TurnedClock, buy, make_plan

NOW = datetime(2026, 7, 31, 15, tzinfo=UTC)


def order(name, status=OrderStatus.NEW, filled=0, prefix="tp1-"):
    return BrokerOrder(
        client_order_id=f"{prefix}{name}",
        venue_order_id=f"venue-{name}",
        symbol="SPY",
        side=Side.BUY,
        quantity=Decimal(4),
        filled_quantity=Decimal(filled),
        average_price=None,
        limit_price=Decimal(1),
        status=status,
        submitted_at=INSIDE_WINDOW,
    )


class Broker:
    """Orders by name; a cancel takes effect at the second look, unless the order is deaf, filled by then or lost."""

    def __init__(self, *orders):
        self.known = {each.venue_order_id: each for each in orders}
        self.asked, self.looks = [], 0
        self.ending = {}
        self.deaf, self.filled, self.lost = set(), set(), set()
        self.failures = []

    def orders(self, since=None):
        self.looks += 1
        if self.failures:
            raise self.failures.pop(0)
        for name, looks in list(self.ending.items()):
            self.ending[name] = looks - 1
            if looks == 1:
                self.end(name)
        return [each for each in self.known.values() if since is not None or not each.status.is_terminal]

    def end(self, name):
        del self.ending[name]
        is_filled = name in self.filled
        ended = {"status": OrderStatus.FILLED, "filled_quantity": Decimal(4)} if is_filled else {"status": "canceled"}
        self.known[name] = replace(self.known[name], **{**ended, "status": OrderStatus(ended["status"])})

    def order(self, client_order_id):
        return next((each for each in self.known.values() if each.client_order_id == client_order_id), None)

    def cancel(self, venue_order_id):
        self.asked.append(venue_order_id)
        if venue_order_id in self.lost:
            self.lost.discard(venue_order_id)
            raise DependencyUnavailable("no answer")
        if venue_order_id in self.deaf:
            raise RequestRefused("it cannot be cancelled", "42210000")
        self.known[venue_order_id] = replace(self.known[venue_order_id], status=OrderStatus.PENDING_CANCEL)
        self.ending.setdefault(venue_order_id, 2)


@dataclass
class Gate:
    """A gate that does ``while_shut`` before it is granted."""

    while_shut: object = lambda: None
    shut_at: list = field(default_factory=list)

    @contextmanager
    def shut(self):
        self.while_shut()
        self.shut_at.append(True)
        yield


@pytest.fixture
def stored(tmp_path):
    return StoredTradingState(FileObjects(tmp_path / "objects"))


@pytest.fixture
def journal(tmp_path):
    return SqliteJournal(tmp_path / "journal.sqlite")


@pytest.fixture
def switch_of(stored, journal):
    def make(broker, **changes):
        switch = Switch(
            trading_state=stored,
            gate=Gate(),
            broker=lambda: broker,
            journal=lambda: journal,
            clock=TurnedClock(),
            market_time=lambda: INSIDE_WINDOW,
            last_resort=pytest.fail,
            rules=HaltingRules(patience=10.0, first_poll=0.1, longest_poll=1.0),
        )
        return replace(switch, **changes)

    return make


def names(orders):
    return [each.venue_order_id for each in orders]


def test_every_open_order_of_ours_is_cancelled_and_none_that_is_not(switch_of, stored):
    broker = Broker(
        *(order(name) for name in "abc"), order("by-hand", prefix="x-"), order("old", OrderStatus.FILLED, 4)
    )

    state, cleared = halt(switch_of(broker), "drill", "Ann", NOW)

    assert stored.read() == state == TradingState(TradingMode.HALTED, "drill", "Ann", NOW)
    assert sorted(broker.asked) == ["venue-a", "venue-b", "venue-c"]
    assert sorted(names(cleared.cancelled)) == ["venue-a", "venue-b", "venue-c"]
    assert (cleared.filled, cleared.left, names(cleared.not_ours)) == ((), (), ["venue-by-hand"])


def test_the_state_is_written_before_the_broker_is_even_opened(switch_of, stored):
    def opened():
        assert stored.read().mode is TradingMode.HALTED
        raise InvalidInput("there is no simulator")

    with pytest.raises(InvalidInput, match="no simulator"):
        halt(replace(switch_of(None), broker=opened), "drill", "Ann", NOW)
    assert stored.read().mode is TradingMode.HALTED


def test_what_was_filled_before_the_cancel_came_is_told_apart(switch_of):
    broker = Broker(order("a"), order("b", OrderStatus.PARTIALLY_FILLED, 1))
    broker.filled = {"venue-a"}

    _, cleared = halt(switch_of(broker), "drill", "Ann", NOW)

    assert (names(cleared.filled), names(cleared.cancelled)) == (["venue-a"], ["venue-b"])
    assert cleared.cancelled[0].filled_quantity == 1
    assert str(cleared).startswith("1 orders cancelled, 1 filled meanwhile, none left, in ")


def test_an_order_that_was_being_sent_is_waited_for_and_cancelled_as_well(switch_of):
    broker = Broker(order("a"))

    def arrive():
        assert broker.asked == ["venue-a"], "whatever works is cancelled before anybody is waited for"
        broker.known["venue-late"] = order("late")

    _, cleared = halt(switch_of(broker, gate=Gate(arrive)), "drill", "Ann", NOW)

    assert sorted(names(cleared.cancelled)) == ["venue-a", "venue-late"]


def test_a_cancel_without_an_answer_is_asked_for_again(switch_of):
    broker = Broker(order("a"))
    broker.lost = {"venue-a"}

    _, cleared = halt(switch_of(broker), "drill", "Ann", NOW)

    assert names(cleared.cancelled) == ["venue-a"]
    assert broker.asked == ["venue-a", "venue-a"]


def test_what_cannot_be_cancelled_is_named_and_trading_is_halted_all_the_same(switch_of, stored):
    broker = Broker(order("a"), order("b"))
    broker.deaf = {"venue-b"}

    with pytest.raises(OrdersLeft, match=r"1 left \(SPY buy venue-b\)") as caught:
        halt(switch_of(broker), "drill", "Ann", NOW)

    assert stored.read().mode is TradingMode.HALTED
    assert (names(caught.value.cleared.cancelled), names(caught.value.cleared.left)) == (["venue-a"], ["venue-b"])


def test_it_backs_off_and_gives_up_when_patience_ends(switch_of):
    broker = Broker(order("a"))
    broker.deaf = {"venue-a"}
    switch = switch_of(broker)

    with pytest.raises(OrdersLeft):
        halt(switch, "drill", "Ann", NOW)

    assert switch.clock.waits[:5] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0])
    assert 10.0 <= sum(switch.clock.waits) < 11.5


def test_a_list_that_fails_is_asked_for_again(switch_of):
    broker = Broker(order("a"))
    broker.failures = [DependencyUnavailable("no answer"), DependencyUnavailable("no answer")]

    _, cleared = halt(switch_of(broker), "drill", "Ann", NOW)

    assert (names(cleared.cancelled), cleared.obstacle) == (["venue-a"], "")


def test_where_the_broker_never_answers_nothing_is_claimed(switch_of, stored):
    broker = Broker(order("a"))
    broker.failures = [DependencyUnavailable("no answer")] * 1_000

    with pytest.raises(OrdersLeft, match="could not be listed: no answer"):
        halt(switch_of(broker), "drill", "Ann", NOW)
    assert stored.read().mode is TradingMode.HALTED


def test_somebody_who_does_not_end_sending_is_no_reason_to_leave_orders_and_none_to_claim_an_end(switch_of):
    def fail():
        raise DependencyUnavailable("a process has been sending for more than 120 seconds")

    broker = Broker(order("a"))
    with pytest.raises(OrdersLeft, match="a process has been sending") as caught:
        halt(switch_of(broker, gate=Gate(fail)), "drill", "Ann", NOW)
    assert names(caught.value.cleared.cancelled) == ["venue-a"]


@pytest.mark.parametrize("failure", [Unauthorized("keys are wrong"), Interrupted("asked to end")])
def test_what_no_second_question_can_help_is_raised_as_it_is(switch_of, stored, failure):
    broker = Broker(order("a"))
    broker.failures = [failure]

    with pytest.raises(type(failure)):
        halt(switch_of(broker), "drill", "Ann", NOW)
    assert stored.read().mode is TradingMode.HALTED


def test_a_state_that_cannot_be_read_is_written_anew(switch_of, stored, tmp_path):
    stored.write(TradingState(TradingMode.REDUCING, "a break", "reconciliation"))
    (tmp_path / "objects/state/trading_state.json").write_text("{")

    halt(switch_of(Broker()), "drill", "Ann", NOW)

    assert (stored.read().mode, stored.read().reason) == (TradingMode.HALTED, "drill")
    assert stored.read().latch("reconciliation").reason == "a break"


def test_where_the_state_cannot_be_written_the_last_resort_is_taken_and_orders_are_cancelled(switch_of, tmp_path):
    (tmp_path / "objects").write_text("a file where the folder should be")
    broker, told = Broker(order("a")), []

    state, cleared = halt(switch_of(broker, last_resort=told.append), "drill", "Ann", NOW)

    assert (state.mode, names(cleared.cancelled)) == (TradingMode.HALTED, ["venue-a"])
    assert told[0].startswith("drill (the trading state could not be written: ")


def test_a_halt_after_a_halt_keeps_the_first_reason_and_cancels_what_is_open(switch_of, stored):
    halt(switch_of(Broker()), "first", "Ann", NOW)

    _, cleared = halt(switch_of(Broker(order("a"))), "second", "Ann", NOW)

    assert stored.read().reason == "first"
    assert names(cleared.cancelled) == ["venue-a"]


def test_the_journal_learns_how_intents_ended_and_what_was_never_sent_stays_as_it_was(switch_of, journal):
    sent, unseen, planned = buy("SPY", "4"), buy("QQQ", "4"), buy("GLD", "4")
    plan = make_plan(sent, unseen, planned)
    journal.claim(plan, INSIDE_WINDOW)
    for intent in (sent, unseen):
        journal.record(intent.client_order_id, IntentState.SUBMITTING, "", INSIDE_WINDOW)
    journal.record(sent.client_order_id, IntentState.ACKNOWLEDGED, "", INSIDE_WINDOW, Attempt(sent.client_order_id))
    broker = Broker(replace(order("a"), client_order_id=sent.client_order_id))

    _, cleared = halt(switch_of(broker), "drill", "Ann", NOW)

    states = [entry.state for entry in journal.entries(plan.plan_id)]
    assert states == [IntentState.CANCELED, IntentState.SUBMITTING, IntentState.PLANNED]
    assert journal.entries(plan.plan_id)[0].detail == "canceled, 0 of 4 filled; trading was halted: drill"
    assert cleared.in_doubt == (unseen.client_order_id,)


def test_a_journal_that_is_damaged_stops_no_cancel(switch_of, tmp_path):
    (tmp_path / "journal.sqlite").write_text("no database")

    _, cleared = halt(switch_of(Broker(order("a"))), "drill", "Ann", NOW)

    assert names(cleared.cancelled) == ["venue-a"]


def test_many_orders_are_named_in_few_words(switch_of):
    broker = Broker(*(order(f"{number:02}") for number in range(25)))
    broker.deaf = set(broker.known)

    with pytest.raises(OrdersLeft, match=r"25 left \(.*venue-09, and 15 more\)"):
        halt(switch_of(broker), "drill", "Ann", NOW)
