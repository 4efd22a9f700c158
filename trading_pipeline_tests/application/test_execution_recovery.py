from contextlib import suppress
from dataclasses import replace
from decimal import Decimal

import pytest

from trading_pipeline.adapters.storage.journal import SqliteJournal
from trading_pipeline.application.execution import Venue, execute
from trading_pipeline.domain.errors import DependencyUnavailable, RateLimited
from trading_pipeline.domain.orders import OrderStatus
from trading_pipeline.ports import IntentState
from trading_pipeline_tests.builders import (
    FILLED,
    INSIDE_WINDOW,
    RULES,
    WORKING,
    Killed,
    ScriptedBroker,
    Step,
    Tripwire,
    buy,
    details,
    make_plan,
    make_venue,
    sell,
    states,
)

ROTATION = make_plan(sell("TLT", "10"), buy("SPY", "8"), buy("QQQ", "20"))
PARTIAL = Step(OrderStatus.PARTIALLY_FILLED, "0.25")


@pytest.fixture
def venue(tmp_path):
    return make_venue(tmp_path)


def calls_of_a_whole_run(tmp_path):
    wire = Tripwire(0, Killed)
    execute(ROTATION, through(wire, make_venue(tmp_path / "counted")), RULES)
    return wire.calls


def through(wire, venue):
    parts = (venue.broker, venue.market_data, venue.journal, venue.trading_state)
    broker, market_data, journal, trading_state = map(wire.around, parts)
    return Venue(broker, market_data, journal, trading_state, venue.clock)


def assert_one_order_each_and_all_over(venue, plan):
    assert set(states(venue, plan).values()) <= {IntentState.FILLED}, details(venue, plan)
    assert set(venue.broker.known) == {order.client_order_id for order in plan.orders}
    assert all(order.status is OrderStatus.FILLED for order in venue.broker.known.values())
    quantities = {order.symbol: order.quantity for order in venue.broker.known.values()}
    assert quantities == {order.symbol: order.quantity for order in plan.orders}


@pytest.mark.parametrize("after_effect", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("failure", [Killed, lambda: DependencyUnavailable("gone")], ids=["killed", "unavailable"])
def test_whatever_call_a_run_dies_at_the_next_one_finishes_it_with_one_order_for_each_intent(
    tmp_path, failure, after_effect
):
    for place in range(1, calls_of_a_whole_run(tmp_path) + 1):
        venue = make_venue(tmp_path / str(place))
        wire = Tripwire(place, failure, after_effect)
        with suppress(Killed, DependencyUnavailable):
            execute(ROTATION, through(wire, venue), RULES)

        execute(ROTATION, venue, RULES)

        assert wire.calls >= place
        assert_one_order_each_and_all_over(venue, ROTATION)


@pytest.mark.parametrize("answer", ["lose", "drop", "late"])
def test_whatever_call_a_run_dies_at_while_answers_are_lost_the_next_one_finishes_it(tmp_path, answer):
    for place in range(1, 2 * calls_of_a_whole_run(tmp_path), 3):
        venue = make_venue(tmp_path / str(place))
        venue.broker.answers |= {symbol: [answer] for symbol in ("TLT", "SPY", "QQQ")}
        wire = Tripwire(place, Killed, after_effect=place % 2 == 0)
        with suppress(Killed):
            execute(ROTATION, through(wire, venue), RULES)

        execute(ROTATION, venue, RULES)

        assert_one_order_each_and_all_over(venue, ROTATION)


def test_when_the_journal_is_lost_every_order_is_asked_for_and_none_is_sent_again(tmp_path):
    venue = make_venue(tmp_path)
    execute(ROTATION, venue, RULES)
    count = len(venue.broker.sent)

    bare = replace(venue, journal=SqliteJournal(tmp_path / "new.sqlite"))
    execute(ROTATION, bare, RULES)

    assert len(venue.broker.sent) == count
    assert_one_order_each_and_all_over(bare, ROTATION)


def test_an_order_whose_answer_was_lost_is_adopted(venue):
    venue.broker.answers["SPY"] = ["lose"]
    plan = make_plan(buy("SPY", "8"))

    execute(plan, venue, RULES)

    assert [intent.symbol for intent in venue.broker.sent] == ["SPY"]
    assert states(venue, plan) == {"SPY": IntentState.FILLED}


def test_an_order_that_never_arrived_is_sent_once_more_under_its_id_after_several_questions(venue):
    venue.broker.answers["SPY"] = ["drop"]
    plan = make_plan(buy("SPY", "8"))

    execute(plan, venue, RULES)

    assert [intent.client_order_id for intent in venue.broker.sent] == [plan.orders[0].client_order_id] * 2
    assert venue.broker.sent[0] == venue.broker.sent[1]
    assert venue.clock.waits[:4] == [0.5, 1.0, 2.0, 2.0]


def test_an_order_that_nobody_ever_sees_stays_open_with_the_evidence_and_is_not_sent_a_third_time(venue):
    venue.broker.answers["SPY"] = ["drop"] * 9
    plan = make_plan(buy("SPY", "8"))

    done = execute(plan, venue, RULES)

    assert len(venue.broker.sent) == 2
    assert [entry.state for entry in done.unresolved] == [IntentState.SUBMITTING]
    assert "connection refused" in details(venue, plan)["SPY"]


def test_an_order_that_arrives_while_it_is_waited_for_is_adopted(venue):
    venue.broker.answers["SPY"] = ["drop", "late"]
    plan = make_plan(buy("SPY", "8"))

    execute(plan, venue, RULES)

    assert len(venue.broker.sent) == 2
    assert states(venue, plan) == {"SPY": IntentState.FILLED}


def test_cash_of_an_order_that_may_exist_is_not_spent_on_the_next(tmp_path):
    venue = make_venue(tmp_path, cash="1000")
    venue.broker.answers["SPY"] = ["drop"] * 9
    plan = make_plan(buy("SPY", "6"), buy("QQQ", "6"))

    execute(plan, venue, RULES)

    limit = Decimal("100.10")
    assert venue.broker.sent[-1].quantity <= (1000 - 6 * limit) / limit
    assert states(venue, plan)["QQQ"] is IntentState.FILLED


def test_while_the_broker_does_not_answer_the_question_nothing_is_sent_again(venue):
    class Silent(ScriptedBroker):
        def order(self, client_order_id):
            if self.sent:
                raise RateLimited("slow down")
            return super().order(client_order_id)

    broker = Silent()
    broker.answers["SPY"] = ["drop"]
    plan = make_plan(buy("SPY", "8"))

    with pytest.raises(RateLimited):
        execute(plan, replace(venue, broker=broker), RULES)

    assert len(broker.sent) == 1
    assert states(venue, plan) == {"SPY": IntentState.SUBMITTING}


def test_one_question_without_an_answer_is_asked_again(venue):
    class Stuttering(ScriptedBroker):
        silent = 2

        def order(self, client_order_id):
            if self.sent and self.silent:
                self.silent -= 1
                raise DependencyUnavailable("reset")
            return super().order(client_order_id)

    broker = Stuttering()
    broker.answers["SPY"] = ["lose"]
    plan = make_plan(buy("SPY", "8"))

    execute(plan, replace(venue, broker=broker), RULES)

    assert len(broker.sent) == 1
    assert states(venue, plan) == {"SPY": IntentState.FILLED}


def test_an_order_sent_before_whose_price_left_the_collar_is_watched_not_abandoned(venue):
    plan = make_plan(buy("SPY", "8"))
    venue.broker.answers["SPY"] = ["drop"] * 2
    execute(plan, venue, RULES)
    venue.market_data.prices["SPY"] = "200"

    done = execute(plan, venue, RULES)

    assert len(venue.broker.sent) == 2
    assert [entry.state for entry in done.unresolved] == [IntentState.SUBMITTING]
    assert "not sent again: quoted at 200" in details(venue, plan)["SPY"]


@pytest.mark.parametrize("state", [IntentState.SUBMITTING, IntentState.FILLED])
def test_what_a_run_beside_this_one_has_taken_up_is_not_abandoned(tmp_path, state):
    venue = make_venue(tmp_path, prices={})
    plan = make_plan(buy("SPY", "8"))

    class Overtaken(ScriptedBroker):
        def portfolio(self):
            venue.journal.record(plan.orders[0].client_order_id, state, "by another run", INSIDE_WINDOW)
            return super().portfolio()

    execute(plan, replace(venue, broker=Overtaken()), RULES)

    assert states(venue, plan) == {"SPY": state}


@pytest.mark.parametrize("steps", [[WORKING, FILLED], [WORKING, PARTIAL], [PARTIAL]])
def test_an_adopted_buy_takes_its_cash_once(tmp_path, steps):
    venue = make_venue(tmp_path, cash="1000")
    venue.broker.steps["SPY"] = steps
    venue.broker.deaf_to_cancels = True
    plan = make_plan(buy("SPY", "6"), buy("QQQ", "3.5"))
    venue.journal.claim(plan, INSIDE_WINDOW)
    venue.broker.submit(replace(plan.orders[0], limit_price=Decimal("100.10")))

    execute(plan, venue, RULES)

    assert [intent.quantity for intent in venue.broker.sent] == [6, Decimal("3.5")]
    assert states(venue, plan)["QQQ"] is IntentState.FILLED


class LateArrival(ScriptedBroker):
    """A broker at which what a dead run sent arrives, and is filled, when it is asked for that order or for cash."""

    def __init__(self, late, arrives_before, **changes):
        super().__init__(**changes)
        self.steps = {late.symbol: [FILLED]}
        self._on_its_way, self._arrives_before = [late], arrives_before

    def _arrive(self, question):
        if self._on_its_way and question == self._arrives_before:
            arrived = self._on_its_way.pop()
            self._taken(arrived)
            super().order(arrived.client_order_id)

    def order(self, client_order_id):
        self._arrive("order")
        return super().order(client_order_id)

    def portfolio(self):
        self._arrive("portfolio")
        return super().portfolio()


@pytest.mark.parametrize("arrives_before", ["order", "portfolio"])
def test_what_an_order_took_that_arrived_late_is_not_counted_twice(tmp_path, arrives_before):
    plan = make_plan(buy("SPY", "4"), buy("QQQ", "5"))
    late = replace(plan.orders[0], limit_price=Decimal(100))
    venue = replace(make_venue(tmp_path), broker=LateArrival(late, arrives_before, cash="1000"))
    venue.journal.claim(plan, INSIDE_WINDOW)
    venue.journal.record(late.client_order_id, IntentState.SUBMITTING, "4 at 100", INSIDE_WINDOW)

    execute(plan, venue, RULES)
    if arrives_before == "portfolio":
        # It arrived between the question and the look at the cash.
        assert details(venue, plan)["QQQ"] == "waits to know what SPY takes, sent and not seen yet"
        execute(plan, venue, RULES)

    assert_one_order_each_and_all_over(venue, plan)
    assert venue.broker.shares == {"SPY": 4, "QQQ": 5}


def test_an_adopted_buy_that_comes_later_in_the_plan_counts_before_the_first_is_sized(tmp_path):
    venue = make_venue(tmp_path, cash="1000")
    venue.broker.steps["QQQ"] = [WORKING]
    venue.broker.deaf_to_cancels = True
    plan = make_plan(buy("SPY", "9"), buy("QQQ", "6"))
    venue.journal.claim(plan, INSIDE_WINDOW)
    venue.broker.submit(replace(plan.orders[1], limit_price=Decimal(100)))

    execute(plan, venue, RULES)

    assert [intent.symbol for intent in venue.broker.sent] == ["QQQ", "SPY"]
    assert venue.broker.sent[1].quantity == 3
    assert states(venue, plan)["SPY"] is IntentState.FILLED
