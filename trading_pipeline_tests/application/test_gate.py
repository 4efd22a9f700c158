import ast
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

import trading_pipeline
from trading_pipeline.application.execution import execute
from trading_pipeline.application.gate import REFUSED_HERE, refuse_undecided
from trading_pipeline.domain.errors import DataError, RateLimited, TradingHalted
from trading_pipeline.domain.orders import ArchivedDecision, NotSent
from trading_pipeline.domain.risk.trading_state import TradingMode, TradingState
from trading_pipeline.ports import IntentState
from trading_pipeline_tests.builders import RULES, approved, buy, details, make_plan, make_venue, sell, states

PACKAGE = Path(trading_pipeline.__file__).parent
GATE = "application/gate.py"
ROTATION = make_plan(sell("TLT", "10"), buy("SPY", "8"))


@pytest.fixture
def venue(tmp_path):
    return make_venue(tmp_path)


def denied(order):
    return ArchivedDecision(order.client_order_id, "denied", Decimal(0), ("ORDER_VALUE 9 > 1",))


@pytest.mark.parametrize(
    "decisions",
    [(), approved(ROTATION.orders[:1]), (*approved(ROTATION.orders[:1]), denied(ROTATION.orders[1]))],
)
def test_a_plan_with_an_order_that_nobody_let_pass_is_not_begun(venue, decisions):
    plan = replace(ROTATION, decisions=decisions)

    with pytest.raises(DataError, match=r"SPY without a decision .* materialise approved_orders"):
        execute(plan, venue, RULES)

    assert venue.broker.sent == []
    assert venue.journal.history(plan.plan_id) == []


def test_a_plan_whose_every_order_was_let_pass_is_begun():
    refuse_undecided(ROTATION)
    refuse_undecided(make_plan())


def test_an_order_whose_decision_was_lost_after_the_plan_was_begun_is_stopped_at_the_last_hop(venue):
    venue.journal.claim(ROTATION, venue.clock.now())
    changed = replace(ROTATION, decisions=approved(ROTATION.orders[:1]))

    execute(changed, venue, RULES)

    assert [intent.symbol for intent in venue.broker.sent] == ["TLT"]
    assert states(venue, ROTATION) == {"TLT": IntentState.FILLED, "SPY": IntentState.ABANDONED}
    assert details(venue, ROTATION)["SPY"].startswith(f"{REFUSED_HERE}: ORDER_WITHOUT_DECISION")


def test_no_more_shares_leave_than_were_approved(venue):
    fewer = tuple(replace(made, decision="reduced", quantity=Decimal(7)) for made in ROTATION.decisions)

    execute(replace(ROTATION, decisions=fewer), venue, RULES)

    assert venue.broker.sent == []
    assert "PARENT_QUANTITY 8 > 7" in details(venue, ROTATION)["SPY"]


def waiting(venue, meanwhile=lambda: None, late=None):
    """The venue where an order waits a minute for its turn, while something happens."""

    @contextmanager
    def turn():
        if late is not None:
            raise late
        meanwhile()
        venue.clock.wait(60)
        yield

    return replace(venue, turn=turn)


def test_an_order_that_waits_for_its_turn_is_looked_at_after_it(venue):
    """Else it would leave after the window's end, or after trading was reduced."""
    plan = make_plan(buy("SPY", "8"))
    venue.clock.instant = RULES.window(plan.execution_session).end - timedelta(seconds=30)

    execute(plan, waiting(venue), RULES)

    assert venue.broker.sent == []
    assert (states(venue, plan)["SPY"], details(venue, plan)["SPY"]) == (
        IntentState.PARKED,
        "the execution window has ended",
    )


def test_a_buy_does_not_leave_when_trading_was_reduced_while_it_waited_for_its_turn(venue):
    reduced = TradingState(TradingMode.REDUCING, "drawdown", "risk watch", venue.clock.now())

    with pytest.raises(TradingHalted, match="reducing: drawdown"):
        execute(make_plan(buy("SPY", "8")), waiting(venue, lambda: venue.trading_state.write(reduced)), RULES)

    assert venue.broker.sent == []


def test_an_order_whose_turn_would_come_too_late_is_parked_and_not_taken_for_sent(venue):
    plan = make_plan(buy("SPY", "8"))

    execute(plan, waiting(venue, late=RateLimited("not sent: the next is free in 99 s")), RULES)

    assert (states(venue, plan)["SPY"], details(venue, plan)["SPY"]) == (
        IntentState.PARKED,
        "not sent: the next is free in 99 s",
    )
    assert IntentState.SUBMITTING not in {entry.state for entry in venue.journal.history(plan.plan_id)}
    assert execute(plan, venue, RULES).fills


def test_an_order_that_was_certainly_not_sent_is_parked_and_sent_by_the_next_run(venue, monkeypatch):
    plan = make_plan(buy("SPY", "8"))
    with monkeypatch.context() as left_alone:
        left_alone.setattr(
            venue.broker, "submit", lambda order: NotSent(order.client_order_id, "orders are left alone")
        )
        execute(plan, venue, RULES)

    assert (states(venue, plan)["SPY"], details(venue, plan)["SPY"]) == (
        IntentState.PARKED,
        "not sent: orders are left alone",
    )
    assert len(execute(plan, venue, RULES).fills) == len(venue.broker.sent) == 1


def calls_of(name):
    """Every place of the package that calls a method of that name, as path and line."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == name:
                yield path.relative_to(PACKAGE).as_posix(), ast.unparse(node.func)


def test_orders_leave_from_the_gate_alone():
    # The simulator receives orders; thread pools take functions.
    ours = [(path, call) for path, call in calls_of("submit") if not path.startswith("simulator/")]

    assert [call for path, call in ours if path == GATE] == ["desk.venue.broker.submit"]
    assert {call for path, call in ours if path != GATE} <= {"senders.submit", "pool.submit"}


def test_nothing_but_the_broker_itself_knows_how_an_order_is_sent():
    sending = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if any(
            word in path.read_text()
            for word in ("LimitOrderRequest", "MarketOrderRequest", "submit_order", '"/orders"')
        )
    }

    assert {path for path in sending if not path.startswith("simulator/")} <= {
        "adapters/alpaca/broker.py",
        "adapters/alpaca/translation.py",
    }


def test_no_method_is_fetched_by_a_name_that_could_hide_a_sending():
    hidden = [
        (path.relative_to(PACKAGE).as_posix(), ast.unparse(node))
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "submit" and not path.is_relative_to(PACKAGE / "simulator")
    ]
    called = [(path, call) for path, call in calls_of("submit") if not path.startswith("simulator/")]

    assert sorted(hidden) == sorted(called)
