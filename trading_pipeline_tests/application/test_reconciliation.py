from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import pytest

from trading_pipeline.application import books, reconciliation
from trading_pipeline.application.books import Ours, Theirs
from trading_pipeline.application.reconciliation import MOST_READINGS, observed
from trading_pipeline.domain.errors import DependencyUnavailable, TransientError
from trading_pipeline.domain.fills import Fill
from trading_pipeline.domain.orders import BrokerOrder, OrderStatus, Side
from trading_pipeline.domain.portfolio import Portfolio
from trading_pipeline.domain.risk.trading_state import ACTIVE, TradingMode, TradingState
from trading_pipeline.ports import Alert, CashMovement, Severity
from trading_pipeline_tests.application.two_books import (
    BOUGHT,
    BROKEN,
    BY_HAND,
    DECIDED,
    FEE,
    MANUAL,
    MANUAL_ORDER,
    OURS,
    PLACED,
    SESSION,
    THEIRS,
    TOUCHED,
    account,
    execution,
    order,
    order_id,
)
from trading_pipeline_tests.builders import TurnedClock


@dataclass
class ReadBroker:
    """Answers from lists; of ``arriving`` and ``booking`` one comes in after each reading."""

    held: Portfolio = THEIRS.portfolio
    listed: Sequence[BrokerOrder] = ()
    still_open: Sequence[BrokerOrder] = ()
    executed: Sequence[Fill] = ()
    arriving: Sequence[Fill] = ()
    movements: Sequence[CashMovement] = ()
    booking: Sequence[CashMovement] = ()
    asked: list[datetime] = field(default_factory=list)

    def portfolio(self):
        return self.held

    def orders(self, since=None):
        return self.still_open if since is None else self.listed

    def executions(self, after):
        self.asked.append(after)
        found = tuple(self.executed)
        self.executed, self.arriving = (*self.executed, *self.arriving[:1]), self.arriving[1:]
        return found

    def cash_movements(self, after):
        self.asked.append(after)
        found = tuple(self.movements)
        self.movements, self.booking = (*self.movements, *self.booking[:1]), self.booking[1:]
        return found


def test_what_is_open_and_what_is_new_is_read_once():
    old, clock = replace(MANUAL_ORDER, status=OrderStatus.NEW), TurnedClock()
    broker = ReadBroker(listed=[order(), MANUAL_ORDER], still_open=[MANUAL_ORDER, old], executed=[BOUGHT])

    seen = observed(broker, clock, DECIDED)

    assert seen.portfolio == THEIRS.portfolio
    assert [found.client_order_id for found in seen.orders] == [order_id("SPY", Side.BUY), MANUAL]
    assert seen.executions == (BOUGHT,)
    assert set(broker.asked) == {DECIDED}
    assert clock.waits == []


def test_an_execution_between_two_answers_is_read_again():
    clock = TurnedClock()

    assert observed(ReadBroker(arriving=[BOUGHT]), clock, DECIDED).executions == (BOUGHT,)
    assert len(clock.waits) == 1


def test_movements_are_read_from_a_ledger_only():
    broker = ReadBroker(movements=[FEE])

    assert observed(broker, TurnedClock(), DECIDED).movements == ()
    assert observed(broker, TurnedClock(), DECIDED, broker).movements == (FEE,)
    assert set(broker.asked) == {DECIDED}


def test_a_movement_between_two_answers_is_read_again():
    clock, broker = TurnedClock(), ReadBroker(booking=[FEE])

    assert observed(broker, clock, DECIDED, broker).movements == (FEE,)
    assert len(clock.waits) == 1


def test_an_execution_that_is_told_later_than_its_order_is_waited_for():
    late = ReadBroker(listed=[order()], arriving=[BY_HAND, BOUGHT])

    assert observed(late, TurnedClock(), DECIDED).executions == (BY_HAND, BOUGHT)


def test_what_does_not_add_up_in_the_end_is_returned_as_it_is():
    clock = TurnedClock()

    seen = observed(ReadBroker(listed=[order()]), clock, DECIDED)

    assert (seen.orders, seen.executions) == ((order(),), ())
    assert len(clock.waits) == MOST_READINGS - 1


def test_a_broker_that_never_rests_is_given_up():
    broker = ReadBroker(arriving=[execution(f"x{number}") for number in range(100)])

    with pytest.raises(TransientError, match="when its orders rest"):
        observed(broker, TurnedClock(), DECIDED)


@dataclass
class States:
    state: TradingState = ACTIVE
    failure: Exception | None = None

    def read(self):
        return self.state

    def write(self, state):
        self.state = state

    def change(self, change):
        if self.failure is not None:
            raise self.failure
        self.state = change(self.state)
        return self.state


@dataclass
class Alerts:
    given: dict[str, Alert] = field(default_factory=dict)

    def notify(self, alert):
        return self.given.setdefault(alert.key, alert) is alert


def respond(found, states=None, **options):
    states, alerts = states or States(), Alerts()
    reconciliation.respond(found, SESSION, "after placing", states, alerts, **options)
    return states.state, list(alerts.given.values())


def test_books_that_agree_change_nothing_and_tell_nobody():
    assert respond(books.reconcile(OURS, THEIRS)) == (ACTIVE, [])


def test_a_break_reduces_and_is_critical():
    state, (alert,) = respond(BROKEN)

    assert state == TradingState(
        TradingMode.REDUCING, "reconciliation of 2026-07-30 after placing: 1 broken", "reconciliation", PLACED
    )
    assert alert.severity is Severity.CRITICAL
    assert alert.key.startswith("reconciliation:2026-07-30:after placing:")
    assert alert.title == state.reason
    assert alert.text.startswith("position SPY: ours 5, theirs 4 (break: 0 before")


def test_external_orders_do_what_is_wanted_of_them_and_warn():
    state, (alert,) = respond(TOUCHED)
    assert state.mode is TradingMode.REDUCING
    assert alert.severity is Severity.WARNING
    assert "4 by orders that are not ours" in alert.title

    assert respond(TOUCHED, on_external=TradingMode.ACTIVE)[0] == ACTIVE
    assert respond(BROKEN, on_external=TradingMode.ACTIVE)[0].mode is TradingMode.REDUCING


def test_what_was_halted_stays_halted():
    halted = TradingState(TradingMode.HALTED, "drill")

    state, _ = respond(BROKEN, States(halted))

    assert (state.mode, state.reason) == (TradingMode.HALTED, "drill")
    assert [latch.name for latch in state.latches] == ["a person", "reconciliation"]


def test_people_are_told_even_where_the_state_cannot_be_changed():
    alerts = Alerts()

    with pytest.raises(DependencyUnavailable):
        reconciliation.respond(BROKEN, SESSION, "after placing", States(failure=DependencyUnavailable("disk")), alerts)
    assert len(alerts.given) == 1


def test_the_same_differences_are_one_alert_and_others_another():
    alerts = Alerts()
    for found in (BROKEN, replace(BROKEN, items=BROKEN.items[::-1]), TOUCHED):
        reconciliation.respond(found, SESSION, "after placing", States(), alerts)

    assert len(alerts.given) == 2


def test_an_alert_names_no_more_than_a_person_reads():
    held = {f"S{number:02}": "1" for number in range(25)}
    _, (alert,) = respond(books.reconcile(Ours(account(**held), (), ()), Theirs(account("1000", PLACED), (), ())))

    assert alert.text.endswith("; and 5 more")
    assert alert.text.count("position") == 20
