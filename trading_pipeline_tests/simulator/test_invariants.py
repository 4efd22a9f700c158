import contextlib
import tempfile
from collections import Counter
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from trading_pipeline.domain.instruments import QUANTITY_STEP, round_quantity
from trading_pipeline.simulator.process import Options, open_simulator
from trading_pipeline.simulator.records import OrderFilter, OrderRequest, OrderType, Side
from trading_pipeline.simulator.refusals import Refusal
from trading_pipeline.simulator.store import Store

MORNING = datetime.fromisoformat("2025-11-18T10:00-05:00")
CASH = Decimal(10_000)
SYMBOLS = ("SPY", "TQQQ", "UVXY", "LEU")
EVERYTHING = OrderFilter(is_open=None, limit=10_000, ascending=True)

quantities = st.decimals("0.01", "9", places=9)
amounts = st.decimals("1", "4000", places=2)
limits = st.decimals("1", "900", places=2)


@st.composite
def requests(draw):
    by_quantity = draw(st.booleans())
    limited = draw(st.booleans())
    return OrderRequest(
        symbol=draw(st.sampled_from(SYMBOLS)),
        side=draw(st.sampled_from([Side.BUY, Side.BUY, Side.SELL])),
        type=OrderType.LIMIT if limited else OrderType.MARKET,
        quantity=draw(quantities) if by_quantity else None,
        notional=None if by_quantity else draw(amounts),
        limit_price=draw(limits) if limited else None,
        client_order_id=None,
    )


steps = st.one_of(
    requests(),
    requests(),
    st.decimals("0.1", "1", places=2),
    st.sampled_from(["read", "cancel", "halt"]),
    st.integers(0, 60 * 60 * 30).map(lambda seconds: timedelta(seconds=seconds)),
)


def sell_part(broker, part):
    """Sell that part of the first position."""
    for position in broker.positions()[:1]:
        quantity = round_quantity(position.quantity * part, QUANTITY_STEP)
        broker.submit(OrderRequest(position.symbol, Side.SELL, OrderType.MARKET, quantity, None, None, None))


def take(broker, step):
    with contextlib.suppress(Refusal):
        if isinstance(step, OrderRequest):
            broker.submit(step)
        elif isinstance(step, Decimal):
            sell_part(broker, step)
        elif isinstance(step, timedelta):
            broker.move_clock(broker.clock.now() + step)
        elif step == "cancel":
            broker.cancel_all()
        elif step == "halt":
            broker.halt("SPY", datetime(2025, 11, 21, tzinfo=MORNING.tzinfo).date())
        else:
            broker.account()


def check_books(broker):
    state = broker.state()
    executions, orders = state["executions"], state["orders"]
    moved = sum((row.amount if row.side is Side.SELL else -row.amount for row in executions), Decimal(0))
    assert state["account"].cash == CASH + moved >= 0
    assert 0 <= state["account"].buying_power <= state["account"].cash
    by_order = Counter()
    for row in executions:
        by_order[row.order_id] += row.quantity
    assert all(order.filled_quantity == by_order[order.id] for order in orders)
    for position in state["positions"]:
        assert 0 <= position.available <= position.quantity
    return state


def finished(state):
    return {order.id: order for order in state["orders"] if not order.status.is_open}


@settings(max_examples=60, deadline=None)
@given(st.lists(steps, min_size=8, max_size=40))
def test_whatever_is_ordered_the_books_balance_and_what_is_over_stays(taken):
    with tempfile.TemporaryDirectory() as folder:
        options = Options(state=Path(folder), start=MORNING, cash=CASH)
        store = Store(options.state)
        broker = open_simulator(store, options).broker
        over = {}
        for step in taken:
            take(broker, step)
            state = check_books(broker)
            assert over.items() <= finished(state).items()
            over = finished(state)
        shares = Counter()
        executions = broker.state()["executions"]
        event(f"{min(len(executions), 5)} executions, five standing for more")
        for row in executions:
            shares[row.symbol] += row.quantity if row.side is Side.BUY else -row.quantity
        held = {row.symbol: row.quantity for row in broker.state()["positions"]}
        # The split of TQQQ lies inside the days lived through; its shares are not only bought and sold.
        for symbol in set(SYMBOLS) - {"TQQQ"}:
            assert held.get(symbol, 0) == shares[symbol]
        store.close()


def test_the_same_calls_leave_the_same_state(tmp_path):
    states = []
    for name in ("first", "second"):
        options = Options(state=tmp_path / name, start=MORNING)
        store = Store(options.state)
        broker = open_simulator(store, options).broker
        order = OrderRequest("SPY", Side.BUY, OrderType.MARKET, Decimal(3), None, None, None)
        broker.submit(order), broker.account(), broker.account()
        broker.move_clock(MORNING + timedelta(days=3))
        states.append(broker.state())
        store.close()

    assert states[0] == states[1]


@pytest.mark.parametrize("way", [timedelta(seconds=-1), timedelta(days=-400)])
def test_a_refused_move_of_the_clock_changes_nothing(tmp_path, way):
    options = Options(state=tmp_path, start=MORNING)
    store = Store(options.state)
    broker = open_simulator(store, options).broker
    before = broker.state()

    with pytest.raises(Exception, match="cannot go back"):
        broker.move_clock(MORNING + way)

    assert (broker.state(), broker.clock.now()) == (before, MORNING)
    store.close()
