from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.application import books
from trading_pipeline.application.books import Kind, Known, Ours, Status, Theirs
from trading_pipeline.domain.errors import DataError
from trading_pipeline.domain.fills import Fill
from trading_pipeline.domain.orders import OrderStatus, Side
from trading_pipeline.ports import IntentState
from trading_pipeline_tests.application.two_books import (
    BEFORE,
    BOUGHT,
    BY_HAND,
    DECIDED,
    DIVIDEND,
    ENDED_WELL,
    FEE,
    MANUAL,
    MANUAL_ORDER,
    OURS,
    PLACED,
    THEIRS,
    WITH_MANUAL,
    account,
    execution,
    items,
    lines,
    movement,
    only_break,
    order,
    order_id,
)

MONEY = st.decimals("0.01", "900", places=2)
SHARES = st.decimals("0.000000001", "1000", places=9)


def test_books_that_agree_have_a_row_for_everything_and_no_difference():
    found = books.reconcile(OURS, THEIRS)

    assert found.differences == ()
    assert [(item.kind, item.name) for item in found.items] == [
        (Kind.POSITION, "SPY"),
        (Kind.POSITION, "TLT"),
        (Kind.CASH, "CASH"),
        (Kind.ORDER, order_id("SPY", Side.BUY)),
        (Kind.FILL, "x1"),
    ]
    assert [(item.ours, item.theirs) for item in found.items] == [(5, 5), (10, 10), (500, 500), (5, 5), (5, 5)]


@pytest.mark.parametrize("held", ["4", "0", "5.000000001", "-5"])
def test_a_position_that_differs_at_all_is_a_break_of_exactly_that_quantity(held):
    theirs = replace(THEIRS, portfolio=account("500", PLACED, TLT="10", SPY=held))

    item = only_break(books.reconcile(OURS, theirs))

    assert (item.kind, item.name) == (Kind.POSITION, "SPY")
    assert item.difference == Decimal(held) - 5
    assert item.explanation == "0 before, 5 by our fills, 0 by orders that are not ours"


def test_a_position_that_is_gone_is_a_break():
    theirs = replace(THEIRS, portfolio=account("500", PLACED, SPY="5"))

    item = only_break(books.reconcile(OURS, theirs))

    assert (item.name, item.difference, item.price) == ("TLT", -10, None)


def test_cash_may_differ_by_a_cent_for_each_fill_and_no_more():
    def cash(amount):
        theirs = replace(THEIRS, portfolio=replace(THEIRS.portfolio, cash=Decimal(amount)))
        return items(books.reconcile(OURS, theirs), Kind.CASH)["CASH"].status

    assert [cash(amount) for amount in ("499.98", "499.99", "500", "500.01", "500.02")] == [
        Status.BREAK,
        Status.EQUAL,
        Status.EQUAL,
        Status.EQUAL,
        Status.BREAK,
    ]


def test_without_fills_cash_must_not_change():
    ours, theirs = Ours(BEFORE, (), ()), Theirs(account("1000.01", PLACED, TLT="10"), (), ())

    item = only_break(books.reconcile(ours, theirs))

    assert (item.kind, item.difference, item.explanation) == (Kind.CASH, Decimal("0.01"), "1000 before, 0 fills")


def test_sales_bring_cash_and_commissions_cost_it():
    sale = execution("x1", "TLT", Side.SELL, "2.5", "90.01", commission="1.5")
    ours = Ours(BEFORE, (sale,), lines(*ENDED_WELL, symbol="TLT", side=Side.SELL))
    # 2.5 x 90.01 = 225.025: the cent is rounded half to even.
    theirs = Theirs(account("1223.52", PLACED, TLT="7.5"), (order("TLT", Side.SELL, "2.5"),), (sale,))

    found = books.reconcile(ours, theirs)

    assert found.differences == ()
    assert items(found, Kind.CASH)["CASH"].ours == Decimal("1223.52")


def cash_of(movements, amount, theirs=THEIRS):
    held = replace(theirs.portfolio, cash=Decimal(amount))
    return items(books.reconcile(OURS, replace(theirs, portfolio=held, movements=movements)), Kind.CASH)["CASH"]


def test_cash_that_movements_explain_is_equal_and_lists_them():
    item = cash_of([DIVIDEND, FEE], "511.82")

    assert (item.status, item.ours, item.difference) == (Status.EQUAL, Decimal("511.82"), 0)
    assert item.explanation == "2026-07-30 DIV SPY +12.34; 2026-07-31 FEE -0.52"


def test_a_movement_that_was_in_the_account_before_explains_nothing():
    assert cash_of([DIVIDEND, FEE], "499.48").explanation == "2026-07-31 FEE -0.52"
    assert cash_of([DIVIDEND, FEE], "500").explanation == ""


def test_an_earlier_movement_without_the_later_ones_is_no_explanation():
    item = cash_of([DIVIDEND, FEE], "512.34")

    assert (item.status, item.ours, item.difference) == (Status.BREAK, 500, Decimal("12.34"))
    assert item.explanation == (
        "1000 before, 1 fills; not explained by 2026-07-30 DIV SPY +12.34; 2026-07-31 FEE -0.52"
    )


def test_what_movements_leave_unexplained_is_a_break():
    assert [cash_of([FEE], amount).status for amount in ("499.46", "499.47", "499.49", "499.50")] == [
        Status.BREAK,
        Status.EQUAL,
        Status.EQUAL,
        Status.BREAK,
    ]


def test_movements_and_orders_by_hand_are_both_told():
    item = cash_of([DIVIDEND], "422.34", WITH_MANUAL)

    assert (item.status, item.difference) == (Status.EXTERNAL, -90)
    assert item.explanation == "2026-07-30 DIV SPY +12.34; -90 by orders that are not ours"


def test_no_more_movements_are_listed_than_a_person_reads():
    item = cash_of([movement("-1") for _ in range(25)], "475")

    assert item.status is Status.EQUAL
    assert item.explanation.count("FEE -1") == 20
    assert item.explanation.endswith("; and 5 more")


@given(
    amounts=st.lists(st.decimals("-50", "50", places=2), max_size=8),
    data=st.data(),
)
def test_the_latest_movements_explain_cash_and_nothing_else_does(amounts, data):
    movements = [movement(str(amount)) for amount in amounts]
    booked = data.draw(st.integers(0, len(amounts)))
    stray = data.draw(st.decimals("-1", "1", places=2))
    held = 1000 + sum(amounts[booked:]) + stray
    theirs = Theirs(account(str(held), PLACED, TLT="10"), (), (), movements)
    explicable = {sum(amounts[place:]) for place in range(len(amounts) + 1)}

    [item] = items(books.reconcile(Ours(BEFORE, (), ()), theirs), Kind.CASH).values()

    is_explained = sum(amounts[booked:]) + stray in explicable
    assert item.status is (Status.EQUAL if is_explained else Status.BREAK)
    assert item.difference == (0 if is_explained else held - 1000)


def test_books_of_another_account_are_not_compared():
    theirs = replace(THEIRS, portfolio=replace(THEIRS.portfolio, account_number="SIM0002"))

    with pytest.raises(DataError, match=r"account SIM0001 cannot be compared with those of SIM0002"):
        books.reconcile(OURS, theirs)
    with pytest.raises(DataError, match=r"account SIM0001 cannot be compared with those of SIM0002"):
        books.compare_with_known(Known(BEFORE, frozenset()), theirs)


def test_an_order_without_a_line_in_the_journal_is_a_break():
    for journal in ((), lines(IntentState.PLANNED), lines(IntentState.PLANNED, IntentState.PARKED)):
        item = only_break(books.reconcile(replace(OURS, journal=journal), THEIRS))

        assert (item.kind, item.difference) == (Kind.ORDER, 0)
        assert "no line of the journal" in item.explanation


@pytest.mark.parametrize(
    "journal",
    [
        lines(IntentState.SUBMITTING, IntentState.ACKNOWLEDGED),
        lines(IntentState.SUBMITTING, IntentState.ACKNOWLEDGED, IntentState.CANCELLING),
        lines(IntentState.FILLED),
        lines(IntentState.ACKNOWLEDGED, IntentState.ABANDONED),
    ],
)
def test_an_order_that_the_broker_had_and_does_not_know_is_a_break(journal):
    ours, theirs = Ours(BEFORE, (), journal), Theirs(account("1000", PLACED, TLT="10"), (), ())

    item = only_break(books.reconcile(ours, theirs))

    assert (item.kind, item.name) == (Kind.ORDER, order_id("SPY", Side.BUY))
    assert item.explanation == f"{journal[-1].state} in the journal, unknown to the broker"


@pytest.mark.parametrize("last", [IntentState.SUBMITTING, IntentState.REJECTED, IntentState.ABANDONED])
def test_an_order_that_never_arrived_is_no_break_and_is_told(last):
    journal = lines(IntentState.PLANNED, IntentState.SUBMITTING, last)
    ours, theirs = Ours(BEFORE, (), journal), Theirs(account("1000", PLACED, TLT="10"), (), ())

    found = books.reconcile(ours, theirs)

    assert found.breaks == ()
    (item,) = items(found, Kind.ORDER).values()
    assert item.explanation == f"{last}, not at the broker"


def test_an_intent_that_was_not_sent_is_not_compared():
    ours = Ours(BEFORE, (), lines(IntentState.PLANNED, IntentState.PARKED))

    assert items(books.reconcile(ours, Theirs(account("1000", PLACED, TLT="10"), (), ())), Kind.ORDER) == {}


def test_an_order_that_is_over_for_us_and_open_at_the_broker_is_a_break():
    theirs = replace(THEIRS, orders=(order(quantity="8", status=OrderStatus.PARTIALLY_FILLED),))

    item = only_break(books.reconcile(OURS, theirs))

    assert item.explanation == "filled in the journal, partially_filled at the broker"


def test_an_order_that_is_still_open_is_told_and_no_break():
    ours = replace(OURS, journal=lines(IntentState.SUBMITTING, IntentState.ACKNOWLEDGED))
    theirs = replace(THEIRS, orders=(order(quantity="8", status=OrderStatus.PARTIALLY_FILLED),))

    found = books.reconcile(ours, theirs)

    assert found.differences == ()
    assert items(found, Kind.ORDER)[order_id("SPY", Side.BUY)].explanation == "partially_filled"


def test_each_slice_of_an_intent_is_an_order_of_its_own():
    second = order_id("SPY", Side.BUY, 1)
    fills = (replace(BOUGHT, quantity=Decimal(2)), execution("x2", quantity="3", order=second))
    journal = [
        *lines(IntentState.SUBMITTING, IntentState.ACKNOWLEDGED, IntentState.CANCELLING),
        *lines(IntentState.SUBMITTING, IntentState.ACKNOWLEDGED, IntentState.FILLED, slice_number=1),
    ]
    orders = (
        order(filled="2", quantity="5", status=OrderStatus.CANCELED),
        order(filled="3", client_order_id=second),
    )

    found = books.reconcile(Ours(BEFORE, fills, journal), Theirs(THEIRS.portfolio, orders, fills))

    assert found.differences == ()
    assert {name: item.ours for name, item in items(found, Kind.ORDER).items()} == {
        order_id("SPY", Side.BUY): 2,
        second: 3,
    }


def test_a_filled_quantity_that_the_executions_do_not_add_up_to_is_a_break():
    item = only_break(books.reconcile(OURS, replace(THEIRS, orders=(order(filled="6"),))))

    assert (item.kind, item.ours, item.theirs) == (Kind.ORDER, 5, 6)


@pytest.mark.parametrize("changed", [{"price": Decimal(101)}, {"symbol": "QQQ"}, {"side": Side.SELL}])
def test_an_execution_that_was_recorded_otherwise_is_a_break(changed):
    found = books.reconcile(OURS, replace(THEIRS, executions=(replace(BOUGHT, **changed),)))

    item = items(found, Kind.FILL)["x1"]
    assert item.status is Status.BREAK
    assert item.explanation.startswith("recorded as buy 5 SPY at 100, order tp1-")


def test_an_execution_that_came_after_the_fills_were_recorded_is_no_break_while_its_intent_is_under_way():
    ours = replace(OURS, fills=(), journal=lines(IntentState.SUBMITTING, IntentState.ACKNOWLEDGED))

    found = books.reconcile(ours, THEIRS)

    assert found.differences == ()
    assert items(found, Kind.FILL)["x1"].explanation.startswith("not recorded yet: buy 5 SPY at 100")


def test_a_slice_that_is_over_is_under_way_as_long_as_its_intent_is():
    second = lines(IntentState.SUBMITTING, slice_number=1)
    first = lines(IntentState.SUBMITTING, IntentState.ACKNOWLEDGED, IntentState.CANCELLING)

    assert books.reconcile(replace(OURS, fills=(), journal=[*first, *second]), THEIRS).breaks == ()

    ended = lines(IntentState.ABANDONED, slice_number=1)
    broken = books.reconcile(replace(OURS, fills=(), journal=[*first, *second, *ended]), THEIRS).breaks
    assert {item.kind for item in broken} == {Kind.POSITION, Kind.CASH, Kind.ORDER, Kind.FILL}


def test_an_execution_that_the_broker_does_not_know_is_a_break():
    item = items(books.reconcile(OURS, replace(THEIRS, executions=())), Kind.FILL)["x1"]

    assert (item.status, item.difference) == (Status.BREAK, -5)
    assert item.explanation.startswith("unknown to the broker: buy 5 SPY")


@dataclass(frozen=True)
class Day:
    """Fills of our own orders in one symbol each, and what the broker says after them."""

    fills: tuple[Fill, ...]
    ours: Ours
    theirs: Theirs


@st.composite
def days(draw):
    symbols = draw(st.lists(st.sampled_from("ABCDEF"), min_size=1, max_size=12))
    fills = tuple(
        execution(f"x{number}", symbol, Side.BUY, str(draw(SHARES)), str(draw(MONEY)))
        for number, symbol in enumerate(symbols)
    )
    held = {symbol: sum(fill.quantity for fill in fills if fill.symbol == symbol) for symbol in set(symbols)}
    spent = sum(round(fill.quantity * fill.price, 2) for fill in fills)
    journal = [entry for symbol in held for entry in lines(*ENDED_WELL, symbol=symbol)]
    now = account(str(1000 - spent), PLACED, **{symbol: str(count) for symbol, count in held.items()})
    orders = tuple(order(symbol, filled=str(count)) for symbol, count in held.items())
    return Day(fills, Ours(account(), fills, journal), Theirs(now, orders, fills))


@given(day=days(), data=st.data())
def test_fills_that_are_shuffled_and_repeated_change_nothing(day, data):
    repeated = data.draw(st.permutations([*day.fills, *data.draw(st.lists(st.sampled_from(day.fills)))]))
    theirs = data.draw(st.permutations([*day.fills, *data.draw(st.lists(st.sampled_from(day.fills)))]))

    found = books.reconcile(replace(day.ours, fills=repeated), replace(day.theirs, executions=theirs))

    assert found == books.reconcile(day.ours, day.theirs)
    assert found.differences == ()


@given(day=days(), data=st.data())
def test_a_fill_that_was_dropped_is_a_break_of_exactly_its_quantity(day, data):
    dropped = data.draw(st.sampled_from(day.fills))
    kept = data.draw(st.permutations([fill for fill in day.fills if fill != dropped]))

    broken = {
        (item.kind, item.name): item.difference
        for item in books.reconcile(replace(day.ours, fills=kept), day.theirs).breaks
        if item.kind is not Kind.CASH
    }

    assert broken == {
        (Kind.POSITION, dropped.symbol): dropped.quantity,
        (Kind.ORDER, dropped.client_order_id): dropped.quantity,
        (Kind.FILL, dropped.execution_id): dropped.quantity,
    }


@given(day=days(), data=st.data())
def test_a_fill_that_the_broker_lost_is_a_break_of_exactly_its_quantity(day, data):
    lost = data.draw(st.sampled_from(day.fills))
    left = tuple(fill for fill in day.fills if fill != lost)

    found = books.reconcile(day.ours, replace(day.theirs, executions=left))

    assert {(item.name, item.difference) for item in found.breaks} == {(lost.execution_id, -lost.quantity)}


def test_what_others_did_is_external_and_never_a_break():
    found = books.reconcile(OURS, WITH_MANUAL)

    assert found.breaks == ()
    assert {(item.kind, item.name): item.difference for item in found.external} == {
        (Kind.POSITION, "TLT"): 1,
        (Kind.CASH, "CASH"): -90,
        (Kind.FILL, "x2"): 1,
        (Kind.EXTERNAL, MANUAL): 1,
    }
    assert items(found, Kind.EXTERNAL)[MANUAL].explanation == "buy 1 TLT, filled: not ours, left alone"


def test_what_others_did_does_not_explain_more_than_it_explains():
    found = books.reconcile(OURS, replace(WITH_MANUAL, portfolio=account("410", PLACED, TLT="12", SPY="5")))

    item = only_break(found)
    assert (item.name, item.difference) == ("TLT", 2)
    assert item.explanation == "10 before, 0 by our fills, 1 by orders that are not ours"


def test_an_order_by_hand_that_has_not_filled_is_external():
    waiting = replace(MANUAL_ORDER, filled_quantity=Decimal(0), status=OrderStatus.NEW)

    (item,) = books.reconcile(OURS, replace(THEIRS, orders=(*THEIRS.orders, waiting))).external

    assert (item.kind, item.name, item.difference) == (Kind.EXTERNAL, MANUAL, 0)


def test_an_order_by_hand_that_was_open_before_and_did_nothing_is_listed_and_no_news():
    old = replace(MANUAL_ORDER, status=OrderStatus.NEW, submitted_at=DECIDED - timedelta(days=3))

    found = books.reconcile(OURS, replace(THEIRS, orders=(*THEIRS.orders, old)))

    assert found.differences == ()
    assert items(found, Kind.EXTERNAL)[MANUAL].ours == 1


def test_an_execution_of_an_order_by_hand_that_is_no_longer_listed_is_external_all_the_same():
    found = books.reconcile(OURS, replace(WITH_MANUAL, orders=THEIRS.orders))

    assert found.breaks == ()
    assert "x2" in {item.name for item in found.external}


@pytest.mark.parametrize(
    ("held", "now", "price", "split"),
    [
        ("10", "20", "52", "split 2 for 1"),
        ("10", "15", "66", "split 3 for 2"),
        ("10", "3.333333333", "290", "split 1 for 3"),
        ("0.5", "5", "9", "split 10 for 1"),
    ],
)
def test_a_position_that_a_split_explains_is_equal_and_says_so(held, now, price, split):
    ours = Ours(account(TQQQ=held), (), ())
    theirs = Theirs(account("1000", PLACED, {"TQQQ": price}, TQQQ=now), (), ())

    found = books.reconcile(ours, theirs)

    assert found.differences == ()
    item = items(found, Kind.POSITION)["TQQQ"]
    assert (item.ours, item.explanation) == (Decimal(now), split)


def test_shares_that_doubled_while_the_price_did_not_move_are_a_break():
    ours = Ours(account(TQQQ="10"), (), ())

    item = only_break(books.reconcile(ours, Theirs(account("1000", PLACED, TQQQ="20"), (), ())))

    assert item.difference == 10


def test_a_price_of_nothing_tells_no_split():
    ours = Ours(account(prices={"TQQQ": "0"}, TQQQ="10"), (), ())

    assert books.reconcile(ours, Theirs(account("1000", PLACED, TQQQ="20"), (), ())).breaks


def test_a_split_and_an_order_by_hand_are_both_told():
    by_hand = execution("x2", "TQQQ", Side.BUY, "1", "50", order=MANUAL)
    theirs = Theirs(account("950", PLACED, {"TQQQ": "50"}, TQQQ="21"), (), (by_hand,))

    item = items(books.reconcile(Ours(account(TQQQ="10"), (), ()), theirs), Kind.POSITION)["TQQQ"]

    assert (item.status, item.ours) == (Status.EXTERNAL, 20)
    assert item.explanation == "split 2 for 1; 1 by orders that are not ours"


KNOWN = Known(account("500", PLACED, TLT="10", SPY="5"), frozenset({"x1"}))


def later(**shares):
    return account("555", PLACED + timedelta(hours=7), **shares)


def test_positions_that_stayed_as_they_were_are_equal_and_cash_is_left_out():
    found = books.compare_with_known(KNOWN, Theirs(later(TLT="10", SPY="5"), THEIRS.orders, (BOUGHT,)))

    assert found.differences == ()
    assert [item.name for item in found.items] == ["SPY", "TLT"]


def test_our_own_late_executions_since_are_no_break():
    late = execution("x9", quantity="2")

    assert not books.compare_with_known(KNOWN, Theirs(later(TLT="10", SPY="7"), (), (BOUGHT, late))).differences


def test_positions_that_changed_by_nothing_we_know_of_are_a_break():
    item = only_break(books.compare_with_known(KNOWN, Theirs(later(TLT="9", SPY="5"), (), (BOUGHT,))))

    assert (item.name, item.difference) == ("TLT", -1)


def test_what_others_did_since_is_external_and_what_was_known_of_it_is_not_told_again():
    theirs = Theirs(later(TLT="11", SPY="5"), (MANUAL_ORDER,), (BOUGHT, BY_HAND))

    assert {item.name for item in books.compare_with_known(KNOWN, theirs).external} == {"TLT", MANUAL}

    known = Known(account("410", PLACED, TLT="11", SPY="5"), frozenset({"x1", "x2", MANUAL}))
    assert books.compare_with_known(known, theirs).differences == ()
