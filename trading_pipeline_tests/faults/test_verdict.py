from dataclasses import replace
from decimal import Decimal

import pytest

from trading_pipeline.ports import IntentState, JournalEntry
from trading_pipeline_tests.builders import ACCOUNT, INSIDE_WINDOW, buy, make_plan
from trading_pipeline_tests.faults.verdict import (
    Books,
    Verdict,
    duplicates,
    imbalances,
    lost,
    slice_ids,
    undecided,
    unjournalled,
)

PLAN = make_plan(buy("SPY", "8"), account_number=ACCOUNT)
FIRST, SECOND, *_ = slice_ids(PLAN, PLAN.orders[0])
BEFORE = Books(Decimal(1000), {"TLT": Decimal(3)}, (), ())


def order(name, filled="8", status="filled", submitted="2026-07-31T14:00:00Z", canceled=None):
    return {
        "client_order_id": name,
        "symbol": "SPY",
        "quantity": "8",
        "filled_quantity": filled,
        "status": status,
        "submitted_at": submitted,
        "canceled_at": canceled,
    }


def execution(name, quantity="8", amount="800", side="buy"):
    return {"client_order_id": name, "symbol": "SPY", "side": side, "quantity": quantity, "amount": amount}


GOOD = Books(Decimal(200), {"TLT": Decimal(3), "SPY": Decimal(8)}, (order(FIRST),), (execution(FIRST),))


def entry(state, name=FIRST):
    return JournalEntry(FIRST, PLAN.plan_id, state, "why", INSIDE_WINDOW, name, INSIDE_WINDOW, ACCOUNT, PLAN.session)


def test_a_plan_that_was_executed_once_has_nothing_wrong():
    assert duplicates(PLAN, GOOD) == ()
    assert lost(PLAN, [entry(IntentState.FILLED)], GOOD, GOOD) == ()
    assert unjournalled([entry(IntentState.SUBMITTING)], GOOD) == ()
    assert imbalances(BEFORE, GOOD) == ()
    assert undecided(PLAN, GOOD) == ()
    assert Verdict().violations == ()


@pytest.mark.parametrize(
    ("orders", "words"),
    [
        ([order(FIRST), order("tp1-other")], "tp1-other is not of the plan"),
        ([order(FIRST), order(SECOND)], "16 filled of 8"),
        ([order(FIRST, "3", "new"), order(SECOND, "5")], "while the one before was new"),
        (
            [order(FIRST, "3", "canceled", canceled="2026-07-31T14:00:09Z"), order(SECOND, "5")],
            "while the one before was canceled",
        ),
    ],
)
def test_more_than_was_wanted_is_a_duplicate(orders, words):
    assert any(words in found for found in duplicates(PLAN, replace(GOOD, orders=orders)))


def test_a_rest_that_is_sent_after_the_cancel_is_none():
    slices = [
        order(FIRST, "3", "canceled", canceled="2026-07-31T14:00:09Z"),
        order(SECOND, "5", submitted="2026-07-31T14:00:10Z"),
    ]

    assert duplicates(PLAN, replace(GOOD, orders=slices)) == ()


@pytest.mark.parametrize("state", [IntentState.SUBMITTING, IntentState.PARKED, IntentState.ABANDONED])
def test_an_intent_that_is_open_or_given_up_is_lost(state):
    assert lost(PLAN, [entry(state)], GOOD, GOOD) == (f"SPY is {state}: why",)


def test_an_intent_without_a_row_or_without_its_shares_is_lost():
    assert lost(PLAN, [], GOOD, GOOD) == ("SPY is nowhere",)
    fewer = replace(GOOD, positions={"SPY": Decimal(7)})
    assert "7 held where 8 would be" in lost(PLAN, [entry(IntentState.CANCELED)], fewer, GOOD)[0]


def test_an_order_without_a_decision_that_lets_it_pass_is_told():
    denied = replace(PLAN, decisions=(replace(PLAN.decisions[0], decision="denied", quantity=Decimal(0)),))
    reduced = replace(PLAN, decisions=(replace(PLAN.decisions[0], decision="reduced", quantity=Decimal(7)),))
    by_hand = replace(GOOD, orders=(order("by-hand"),))

    assert undecided(replace(PLAN, decisions=()), GOOD) == (f"order {FIRST} of SPY is for 8 shares, 0 were approved",)
    assert undecided(denied, GOOD) == (f"order {FIRST} of SPY is for 8 shares, 0 were approved",)
    assert undecided(reduced, GOOD) == (f"order {FIRST} of SPY is for 8 shares, 7 were approved",)
    assert undecided(PLAN, by_hand) == ("order by-hand of SPY is of no intent",)


def test_an_order_without_a_row_is_unjournalled():
    assert unjournalled([entry(IntentState.SUBMITTING, SECOND)], GOOD) == (f"order {FIRST} of SPY",)


@pytest.mark.parametrize(
    "changes",
    [
        {"cash": Decimal(199)},
        {"positions": {"TLT": Decimal(3), "SPY": Decimal(9)}},
        {"executions": (execution(FIRST), execution(FIRST))},
        {"orders": (order(FIRST, "7"),)},
    ],
)
def test_books_that_do_not_follow_from_the_executions_are_out_of_balance(changes):
    assert imbalances(BEFORE, replace(GOOD, **changes))
