from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.domain.orders import ArchivedDecision, BrokerOrder, OrderStatus, OrderType, Side
from trading_pipeline.domain.risk.decisions import BreachCode
from trading_pipeline.domain.risk.last_hop import Parent, last_hop
from trading_pipeline_tests.risk_states import NOW, order

INTENT = order(quantity=10, price=100)
SALE = order(Side.SELL, quantity=10, price=100)


def word(decision="approved", quantity=10):
    return ArchivedDecision(INTENT.client_order_id, decision, Decimal(quantity))


def piece(quantity, filled, status):
    return BrokerOrder(
        "tp1-0", "v", "SPY", Side.BUY, Decimal(quantity), Decimal(filled), None, Decimal(100), status, NOW
    )


def parent(decision=None, *sent, intent=INTENT, most=4):
    own = replace(decision or word(), client_order_id=intent.client_order_id)
    return Parent(intent, own, sent, most)


def codes(sent, of):
    return [breach.code for breach in last_hop(sent, of)]


def test_the_order_that_was_approved_passes():
    assert codes(INTENT, parent()) == []


@pytest.mark.parametrize("decision", [None, word("denied", 0), word("whatever")])
def test_an_order_without_a_decision_that_lets_it_pass_does_not_leave(decision):
    assert codes(INTENT, Parent(INTENT, decision, (), 4)) == [BreachCode.ORDER_WITHOUT_DECISION]


@pytest.mark.parametrize("changed", [{"symbol": "QQQ"}, {"side": Side.SELL}, {"order_type": OrderType.MARKET}])
def test_a_decision_on_one_order_lets_no_other_pass(changed):
    assert codes(replace(INTENT, **changed), parent()) == [BreachCode.ORDER_WITHOUT_DECISION]


def test_a_reduced_order_leaves_with_the_reduced_quantity_at_most():
    reduced = parent(word("reduced", 7))

    assert codes(replace(INTENT, quantity=Decimal(7)), reduced) == []
    assert codes(replace(INTENT, quantity=Decimal("7.000000001")), reduced) == [BreachCode.PARENT_QUANTITY]


def test_what_earlier_slices_filled_or_may_still_fill_counts():
    over = piece(10, 4, OrderStatus.CANCELED)
    working = piece(5, 1, OrderStatus.PARTIALLY_FILLED)

    assert codes(replace(INTENT, quantity=Decimal(6)), parent(None, over)) == []
    assert codes(replace(INTENT, quantity=Decimal("6.1")), parent(None, over)) == [BreachCode.PARENT_QUANTITY]
    assert codes(replace(INTENT, quantity=Decimal("1.1")), parent(None, over, working)) == [BreachCode.PARENT_QUANTITY]


def test_an_order_has_no_more_slices_than_it_may():
    unfilled = piece(10, 0, OrderStatus.CANCELED)

    assert codes(INTENT, parent(None, unfilled, unfilled, most=3)) == []
    assert codes(INTENT, parent(None, unfilled, unfilled, unfilled, most=3)) == [BreachCode.PARENT_ORDERS]


@pytest.mark.parametrize("limit", ["100.01", "99.999", "0", "-1", "NaN", "Infinity", None])
def test_a_buy_leaves_at_its_limit_or_below_on_the_tick(limit):
    assert codes(replace(INTENT, limit_price=None if limit is None else Decimal(limit)), parent())


@pytest.mark.parametrize("limit", ["99.99", "0"])
def test_a_sale_leaves_at_its_limit_or_above(limit):
    of = parent(intent=SALE)

    assert codes(replace(SALE, limit_price=Decimal(limit)), of)
    assert codes(replace(SALE, limit_price=Decimal("100.5")), of) == []


def test_a_market_order_that_was_approved_as_one_has_no_price_to_look_at():
    market = order(order_type=OrderType.MARKET, limit_price=None)

    assert codes(market, parent(intent=market)) == []


@pytest.mark.parametrize("quantity", ["0", "-1", "NaN", "Infinity"])
def test_a_quantity_that_is_no_positive_number_does_not_leave(quantity):
    assert codes(replace(INTENT, quantity=Decimal(quantity)), parent()) == [BreachCode.QUANTITY_NOT_POSITIVE]


parts = st.lists(st.tuples(st.integers(1, 12), st.integers(0, 12), st.booleans()), max_size=3)


@given(parts, st.integers(1, 12), st.integers(1, 12))
def test_slices_together_never_trade_more_than_was_approved(earlier, quantity, approved):
    sent = [
        piece(size, min(filled, size), OrderStatus.CANCELED if is_over else OrderStatus.NEW)
        for size, filled, is_over in earlier
    ]
    of = Parent(INTENT, word("reduced", approved), sent, 10)

    if not last_hop(replace(INTENT, quantity=Decimal(quantity)), of):
        assert of.taken + quantity <= approved


def test_a_decision_on_another_order_lets_this_one_not_pass():
    other = replace(word(), client_order_id="tp1-other")

    assert codes(INTENT, Parent(INTENT, other, (), 4)) == [BreachCode.ORDER_WITHOUT_DECISION]


@pytest.mark.parametrize("quantity", ["NaN", "Infinity", "0", "-1"])
def test_a_decision_for_no_number_of_shares_lets_nothing_pass(quantity):
    assert codes(INTENT, parent(word("reduced", quantity))) == [BreachCode.ORDER_WITHOUT_DECISION]


@pytest.mark.parametrize("filled", ["NaN", "-990"])
def test_slices_of_which_the_broker_says_the_impossible_stop_the_next(filled):
    broken = replace(piece(10, 0, OrderStatus.CANCELED), filled_quantity=Decimal(filled))

    assert codes(INTENT, parent(None, broken)) == [BreachCode.PARENT_QUANTITY]


@pytest.mark.parametrize("collar", ["NaN", "0", "1e30"])
def test_a_collar_of_no_price_lets_nothing_pass(collar):
    assert codes(INTENT, parent(intent=replace(INTENT, limit_price=Decimal(collar)))) == [BreachCode.PRICE_NOT_POSITIVE]


def test_a_price_beyond_all_prices_does_not_leave():
    assert codes(replace(INTENT, limit_price=Decimal("1e30")), parent()) == [BreachCode.PRICE_NOT_POSITIVE]
