import string
from decimal import Decimal

import pytest
from alpaca.trading.enums import OrderSide as AlpacaOrderSide
from alpaca.trading.enums import OrderStatus as AlpacaOrderStatus
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.domain.orders import OrderIntent, OrderStatus, OrderType, Side, TimeInForce, client_order_id

names = st.text(string.ascii_letters + string.digits + "-/.", min_size=1, max_size=30)
inputs = st.tuples(names, names, names, st.sampled_from(Side), st.integers(0, 99))


@given(inputs)
def test_a_client_order_id_is_the_same_whenever_it_is_asked_for(named):
    assert client_order_id(*named) == client_order_id(*named)


@given(inputs, inputs)
def test_client_order_ids_differ_wherever_an_input_does(one, other):
    assert (client_order_id(*one) == client_order_id(*other)) == (one == other)


@pytest.mark.parametrize(
    "changed",
    [
        ("SIM0002", "2026-07-31/1", "SPY", Side.BUY, 0),
        ("SIM0001", "2026-07-31/2", "SPY", Side.BUY, 0),
        ("SIM0001", "2026-07-31/1", "QQQ", Side.BUY, 0),
        ("SIM0001", "2026-07-31/1", "SPY", Side.SELL, 0),
        ("SIM0001", "2026-07-31/1", "SPY", Side.BUY, 1),
    ],
    ids=["account", "plan", "symbol", "side", "slice"],
)
def test_each_input_alone_changes_the_client_order_id(changed):
    assert client_order_id(*changed) != client_order_id("SIM0001", "2026-07-31/1", "SPY", Side.BUY, 0)


@given(inputs)
def test_a_client_order_id_is_what_every_age_of_alpaca_takes(named):
    identifier = client_order_id(*named)

    assert len(identifier) <= 48
    assert set(identifier) <= set(string.ascii_letters + string.digits + "-")


def test_an_id_that_is_on_record_at_the_broker_never_changes_with_a_release():
    assert client_order_id("SIM0001", "2026-07-31/1", "SPY", Side.BUY) == "tp1-6848b6a5cd7df9e487ed7d550723adeb"


def test_our_order_statuses_are_alpacas_and_one_for_what_they_add_later():
    ours = {status.value for status in OrderStatus} - {"unrecognised"}

    assert ours == {status.value for status in AlpacaOrderStatus}


def test_our_sides_are_alpacas():
    assert {side.value for side in Side} == {side.value for side in AlpacaOrderSide}


def test_the_statuses_that_alpaca_documents_as_final_are_terminal_and_no_other():
    terminal = {status.value for status in OrderStatus if status.is_terminal}

    assert terminal == {"filled", "canceled", "expired", "rejected", "replaced"}


@pytest.mark.parametrize("side", Side)
def test_notional_is_positive_on_either_side_and_taken_at_the_reference_price(side):
    intent = OrderIntent(
        client_order_id="tp1-0",
        sequence=1,
        symbol="SPY",
        side=side,
        quantity=Decimal("2.5"),
        order_type=OrderType.LIMIT,
        limit_price=Decimal("404.00"),
        reference_price=Decimal("400.00"),
        time_in_force=TimeInForce.DAY,
        reason="a test",
    )

    assert intent.notional == Decimal(1000)
