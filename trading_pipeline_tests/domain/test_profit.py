from collections import deque
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.fills import Fill
from trading_pipeline.domain.orders import Side
from trading_pipeline.domain.portfolio import Portfolio, Position
from trading_pipeline.domain.profit import (
    Lot,
    Valuation,
    drawdowns,
    executed,
    opened,
    profits,
    quantity_of,
    traded,
    unit_values,
)

SESSIONS = [date(2026, 7, day) for day in (28, 29, 30, 31)]
SYMBOLS = ("SPY", "TLT", "GLD")
PRICES = st.decimals("0.01", "5000", places=9)
SHARES = st.decimals("0.000000001", "900", places=9)


def fill(symbol, side, quantity, price, commission="0", day=SESSIONS[1], number=0):
    at = datetime(day.year, day.month, day.day, 14, tzinfo=UTC) + timedelta(seconds=number)
    return Fill(
        f"{day}-{number:04d}", "order", symbol, side, Decimal(quantity), Decimal(price), Decimal(commission), at
    )


def valued(session, cash, **held):
    positions = {name: Position(name, Decimal(shares), Decimal(price)) for name, (shares, price) in held.items()}
    return Valuation(session, Portfolio("SIM1", datetime(2026, 7, 1, tzinfo=UTC), Decimal(cash), positions))


def by_single_shares(trades):
    """First in, first out, one share at a time: what a sale of each share realised."""
    queue, realised = deque(), 0
    for shares, price in trades:
        for _ in range(abs(shares)):
            if queue and (queue[0][0] > 0) != (shares > 0):
                direction, paid = queue.popleft()
                realised += direction * (price - paid)
            else:
                queue.append((1 if shares > 0 else -1, price))
    return realised, sum(direction for direction, _ in queue)


@given(st.lists(st.tuples(st.integers(-9, 9).filter(bool), st.integers(1, 500)), max_size=30))
def test_lots_realise_what_single_shares_in_a_queue_do(trades):
    lots, realised = {}, Decimal(0)
    for shares, price in trades:
        lots, gained = traded(lots, "SPY", Decimal(shares), Decimal(price))
        realised += gained

    assert (realised, quantity_of(lots, "SPY")) == by_single_shares(trades)
    assert all(lot.quantity for held in lots.values() for lot in held)


@st.composite
def histories(draw):
    """Accounts over four sessions: executions of any size, cash and shares that come and go, prices that move."""
    shares = {name: draw(SHARES) for name in SYMBOLS}
    cash = draw(st.decimals("-1000", "100000", places=9))
    moved = {}
    valuations, fills = [], {}
    for session in SESSIONS:
        if valuations:
            fills[session] = [
                fill(
                    draw(st.sampled_from(SYMBOLS)),
                    draw(st.sampled_from(Side)),
                    draw(SHARES),
                    draw(PRICES),
                    draw(st.decimals("0", "5", places=2)),
                    session,
                    number,
                )
                for number in range(draw(st.integers(0, 4)))
            ]
            cash_moved = draw(st.decimals("-50", "50", places=9))
            name, share_moved = draw(st.sampled_from(SYMBOLS)), draw(st.one_of(st.just(Decimal(0)), SHARES))
            for done in fills[session]:
                shares[done.symbol] += done.signed_quantity
                cash -= done.signed_quantity * done.price + done.commission
            cash += cash_moved
            shares[name] += share_moved
            moved[session] = (cash_moved, name, share_moved)
        held = {each: (count, draw(PRICES)) for each, count in shares.items() if count}
        valuations.append(valued(session, cash, **held))
    return valuations, fills, moved


@given(histories())
def test_realised_and_unrealised_are_exactly_the_change_of_equity_less_what_came_or_went(history):
    valuations, fills, moved = history

    rows = profits(valuations, fills)

    for row, valuation in zip(rows, valuations, strict=True):
        held = {name: position.quantity for name, position in valuation.portfolio.positions.items()}
        assert {name: quantity_of(row.lots, name) for name in row.lots} == held, "lots are of the shares that are held"
    for before, row in pairwise(rows):
        assert row.realised + row.unrealised_change == row.equity - before.equity - row.movements
        assert row.cash_movements == moved[row.session][0], "cash that no execution explains is told to the last digit"
        assert row.commissions == sum(done.commission for done in fills[row.session])
        assert row.unrealised_change == row.unrealised - before.unrealised


def test_an_account_begins_at_what_it_is_worth_with_nothing_gained():
    [row] = profits([valued(SESSIONS[0], "100", SPY=("2", "500"))], {})

    assert (row.equity, row.unrealised, row.realised, row.profit, row.movements) == (1100, 0, None, None, None)
    assert opened(valued(SESSIONS[0], "1", SPY=("0", "500")).portfolio) == {}


def test_a_round_trip_over_sessions_that_were_not_valued_is_counted_once():
    bought, sold = (
        fill("SPY", Side.BUY, "3", "100", "1", SESSIONS[1]),
        fill("SPY", Side.SELL, "3", "110", "1", SESSIONS[2]),
    )

    row = profits(
        [valued(SESSIONS[0], "1000"), valued(SESSIONS[3], "1028")], {SESSIONS[1]: [bought], SESSIONS[2]: [sold]}
    )[-1]

    assert (row.realised, row.commissions, row.unrealised, row.movements) == (28, 2, 0, 0)


@pytest.mark.parametrize(("new", "old", "price"), [(2, 1, "255"), (1, 10, "5050"), (3, 2, "340")])
def test_a_split_moves_nothing_and_realises_nothing(new, old, price):
    before = valued(SESSIONS[0], "0", SPY=("60", "500"))
    after = valued(SESSIONS[1], "0", SPY=(str(60 * new // old), price))

    row = profits([before, after], {})[-1]

    assert (row.realised, row.share_movements) == (0, 0)
    assert round(row.unrealised, 20) == row.equity - 60 * 500


def test_twice_the_shares_at_the_same_price_are_no_split():
    row = profits([valued(SESSIONS[0], "0", SPY=("60", "500")), valued(SESSIONS[1], "0", SPY=("120", "500"))], {})[-1]

    assert (row.share_movements, row.profit) == (60 * 500, 0)


def test_shares_that_vanish_go_at_the_price_that_they_had():
    row = profits([valued(SESSIONS[0], "0", SPY=("2", "500")), valued(SESSIONS[1], "1020")], {})[-1]

    assert (row.cash_movements, row.share_movements, row.profit, row.lots) == (1020, -1000, 0, {})


def test_executions_count_in_the_order_of_their_instants():
    later, earlier = fill("SPY", Side.SELL, "1", "120", number=2), fill("SPY", Side.BUY, "1", "100", number=1)

    lots, realised = executed({"SPY": (Lot(Decimal(1), Decimal(90)),)}, [later, earlier])

    assert realised == 30
    assert lots == {"SPY": (Lot(Decimal(1), Decimal(100)),)}


def test_valuations_out_of_order_are_refused():
    with pytest.raises(InvalidInput, match="valuations must ascend"):
        profits([valued(SESSIONS[1], "1"), valued(SESSIONS[0], "1")], {})


def test_a_deposit_is_no_return_and_no_end_of_a_drawdown():
    # A loss of ten per cent, a deposit that doubles the account, a gain of five per cent.
    told = [("0", "100"), ("0", "90"), ("900", "90"), ("900", "99")]
    accounts = [valued(day, cash, SPY=("10", price)) for day, (cash, price) in zip(SESSIONS, told, strict=False)]
    rows = profits(accounts, {})

    values = unit_values(rows)

    assert values == [1, Decimal("0.9"), Decimal("0.9"), Decimal("0.945")]
    assert drawdowns(values) == [0, Decimal("0.1"), Decimal("0.1"), Decimal("0.055")]


def test_from_an_equity_of_nothing_on_no_return_is_known():
    rows = profits([valued(SESSIONS[0], "5"), valued(SESSIONS[1], "0"), valued(SESSIONS[2], "5")], {})

    assert unit_values([*rows[:1], replace(rows[1], equity=Decimal(0)), rows[2]])[2] is None
    assert drawdowns([None, Decimal(1)]) == [None, 0]
