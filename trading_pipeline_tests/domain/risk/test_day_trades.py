from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.domain.errors import DataError
from trading_pipeline.domain.fills import Fill
from trading_pipeline.domain.orders import Side
from trading_pipeline.domain.risk.day_trades import (
    PATTERN_DAY_TRADES,
    PATTERN_EQUITY,
    PATTERN_SESSIONS,
    DayTradeRule,
    completes_day_trade,
    day_trades,
)
from trading_pipeline.domain.sessions import NEW_YORK

THURSDAY, FRIDAY, MONDAY = date(2026, 7, 30), date(2026, 7, 31), date(2026, 8, 3)
DAYS = (THURSDAY, FRIDAY, MONDAY)
sides = st.sampled_from(Side)
ledgers = st.lists(st.tuples(st.sampled_from(DAYS), sides, st.integers(1, 5)), max_size=14)


def fill(number, text, day=FRIDAY, at=None, symbol="ABC"):
    """A fill from "B 250" or "S 500 XYZ", one minute after the one of the number before."""
    letter, quantity, *other = text.split()
    side = Side.BUY if letter == "B" else Side.SELL
    when = datetime.combine(day, at or time(9, 30), NEW_YORK).astimezone(UTC) + timedelta(minutes=number)
    name = other[0] if other else symbol
    return Fill(f"e{number:03}", f"o{number}", name, side, Decimal(quantity), Decimal(10), Decimal(0), when)


def ledger(*rows, day=FRIDAY, first=0):
    return [fill(first + number, row, day) for number, row in enumerate(rows)]


def drawn(rows):
    ordered = sorted(rows, key=lambda row: row[0])
    return [fill(n, f"{'B' if side is Side.BUY else 'S'} {size}", day) for n, (day, side, size) in enumerate(ordered)]


def count(fills, since=THURSDAY, until=MONDAY, **options):
    return len(day_trades(fills, since, until, **options))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["B 250", "B 250", "S 500"], 1),
        (["B 100", "S 100", "B 100", "S 100"], 2),
        (["B 500", "S 100", "S 100", "S 300"], 1),
        (["B 250", "B 300", "B 100", "S 150", "S 175"], 1),
        (["B 199", "B 142", "S 1", "B 45", "S 100", "S 200"], 2),
        (["B 200", "B 100 XYZ", "S 100", "S 100 XYZ"], 2),
    ],
)
def test_the_examples_that_finra_and_alpaca_publish_are_counted_as_they_say(rows, expected):
    assert count(ledger(*rows)) == expected


def test_a_short_sale_that_is_covered_in_the_session_is_a_day_trade():
    assert count(ledger("S 100", "B 100")) == 1


def test_a_sale_through_zero_that_is_bought_back_is_a_second_day_trade():
    assert [trade.quantity for trade in day_trades(ledger("B 100", "S 250", "B 150"), FRIDAY, FRIDAY)] == [100, 150]


def test_what_was_held_overnight_may_be_sold_and_bought_back():
    held = ledger("B 100", day=THURSDAY)

    assert count([*held, *ledger("S 100", first=1)]) == 0
    assert count([*held, *ledger("S 100", "B 100", first=1)]) == 0
    assert count([*held, *ledger("S 60", "B 60", "S 1", first=1)]) == 1


def test_shares_held_overnight_are_sold_once_only():
    held = ledger("B 100", day=THURSDAY)

    assert count([*held, *ledger("S 100", "B 10", "S 20", first=1)]) == 1
    assert count([*held, *ledger("S 100", "B 10", "S 20", "B 10", first=1)]) == 2


def test_after_a_new_purchase_shares_held_overnight_shield_no_sale():
    held = ledger("B 100", day=THURSDAY)

    (trade,) = day_trades([*held, *ledger("B 10", "S 100", first=1)], FRIDAY, FRIDAY)

    assert trade.quantity == 10


def test_a_day_trade_names_its_session_its_shares_and_when_it_was_completed():
    fills = ledger("B 250", "S 100", "S 50")

    (trade,) = day_trades(fills, FRIDAY, FRIDAY)

    assert (trade.symbol, trade.session, trade.quantity) == ("ABC", FRIDAY, 150)
    assert trade.completed_at == fills[1].filled_at


def test_only_the_sessions_asked_for_are_counted_and_both_ends_are():
    fills = [
        fill(n, "B 1" if n % 2 == 0 else "S 1", day) for n, day in enumerate(day for day in DAYS for _ in range(2))
    ]

    assert count(fills) == 3
    assert [trade.session for trade in day_trades(fills, FRIDAY, MONDAY)] == [FRIDAY, MONDAY]
    assert count(fills, FRIDAY, FRIDAY) == 1


def test_trades_before_the_open_and_after_the_close_belong_to_the_day_in_new_york():
    early = fill(0, "B 1", at=time(4, 0))
    late = fill(1, "S 1", at=time(20, 30))

    assert late.filled_at.date() != FRIDAY
    assert count([early, late]) == 1


def test_an_execution_that_is_listed_twice_counts_once():
    fills = ledger("B 100", "S 100")

    assert count([*fills, *fills]) == 1
    assert day_trades([*fills, *fills], FRIDAY, FRIDAY)[0].quantity == 100


def test_a_sale_of_shares_that_the_ledger_does_not_know_counts_unless_they_are_said_to_be_held():
    fills = ledger("S 100", "B 100")

    assert count(fills) == 1
    assert count(fills, held={"ABC": Decimal(100)}) == 0
    assert completes_day_trade(fills[:1], "ABC", Side.BUY, FRIDAY)
    assert not completes_day_trade(fills[:1], "ABC", Side.BUY, FRIDAY, held={"ABC": Decimal(100)})


def test_a_sale_of_what_was_bought_today_completes_a_day_trade_and_a_further_sale_does_not():
    bought = ledger("B 100", "S 10 XYZ")

    assert completes_day_trade(bought, "ABC", Side.SELL, FRIDAY)
    assert not completes_day_trade(bought, "ABC", Side.BUY, FRIDAY)
    assert not completes_day_trade(bought, "OTHER", Side.SELL, FRIDAY)
    assert not completes_day_trade(bought, "ABC", Side.SELL, MONDAY)
    assert not completes_day_trade([*bought, *ledger("S 40", first=5)], "ABC", Side.SELL, FRIDAY)


@pytest.mark.parametrize("quantity", ["NaN", "Infinity", "0", "-1"])
def test_a_quantity_that_is_no_positive_number_counts_nothing(quantity):
    fills = [fill(0, f"B {quantity}")]

    with pytest.raises(DataError, match=r"e000 of ABC has .*, wanted a positive number"):
        day_trades(fills, FRIDAY, FRIDAY)
    with pytest.raises(DataError, match="wanted a positive number"):
        completes_day_trade(fills, "ABC", Side.SELL, FRIDAY)


def test_an_instant_without_a_time_zone_counts_nothing():
    naive = fill(0, "B 1")
    naive = Fill(**{**vars(naive), "filled_at": naive.filled_at.replace(tzinfo=None)})

    with pytest.raises(DataError, match="wanted an instant with a time zone"):
        day_trades([naive], FRIDAY, FRIDAY)


@given(ledgers)
def test_without_short_sales_day_trades_are_the_changes_from_buying_to_selling(rows):
    fills, owned = [], Decimal(0)
    for one in drawn(rows):
        if owned + one.signed_quantity >= 0:
            fills.append(one)
            owned += one.signed_quantity
    by_day = [[one.side for one in fills if one.filled_at.astimezone(NEW_YORK).date() == day] for day in DAYS]

    changes = sum(pair == (Side.BUY, Side.SELL) for day in by_day for pair in pairwise(day))

    assert count(fills) == changes


@given(ledgers, sides)
def test_an_order_is_said_to_complete_a_day_trade_exactly_if_its_fill_adds_one(rows, side):
    fills = drawn([row for row in rows if row[0] <= FRIDAY])
    more = fill(200, f"{'B' if side is Side.BUY else 'S'} 1")

    assert completes_day_trade(fills, "ABC", side, FRIDAY) == (count([*fills, more]) > count(fills))


@given(ledgers, st.randoms(use_true_random=False))
def test_the_order_in_which_fills_are_listed_changes_nothing(rows, random):
    fills = drawn(rows)
    shuffled = random.sample(fills, len(fills))

    assert day_trades(shuffled, THURSDAY, MONDAY) == day_trades(fills, THURSDAY, MONDAY)


@given(ledgers, st.integers(1, 10))
def test_shares_said_to_be_held_count_like_shares_bought_the_day_before(rows, shares):
    fills = drawn(rows)
    bought = fill(0, f"B {shares}", THURSDAY - timedelta(days=1))
    bought = Fill(**{**vars(bought), "execution_id": "before"})

    assert day_trades(fills, THURSDAY, MONDAY, {"ABC": Decimal(shares)}) == day_trades(
        [bought, *fills], THURSDAY, MONDAY
    )


def test_the_figures_of_the_rule_are_four_in_five_sessions_and_25_000_dollars():
    assert (PATTERN_DAY_TRADES, PATTERN_SESSIONS, PATTERN_EQUITY) == (4, 5, 25_000)


def test_each_rule_says_what_it_watches():
    watched = {rule.value: (rule.counts_day_trades, rule.watches_margin) for rule in DayTradeRule}

    assert watched == {"legacy_pdt": (True, False), "intraday_margin": (False, True), "both": (True, True)}
