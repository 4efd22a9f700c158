from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.domain.errors import DataError
from trading_pipeline.domain.fills import Fill
from trading_pipeline.domain.orders import Side
from trading_pipeline.domain.risk.wash import disallowed_loss, opposite_order, rebuys_after_loss
from trading_pipeline.domain.sessions import NEW_YORK

BUY, SELL = Side.BUY, Side.SELL
START = date(2026, 1, 5)


@dataclass(frozen=True)
class Order:
    symbol: str
    side: Side
    client_order_id: str = "order-1"


def fill(day, side, quantity, price, **changes):
    at = datetime.combine(date.fromisoformat(str(day)), time(15, 45), NEW_YORK).astimezone(UTC)
    name = f"{day}-{side}-{quantity}-{price}"
    made = Fill(name, f"order-{name}", "M", side, Decimal(str(quantity)), Decimal(str(price)), Decimal(0), at)
    return replace(made, **changes)


def disallowed(fills, quantity, price, on, symbol="M"):
    return disallowed_loss(fills, symbol, Decimal(str(quantity)), Decimal(str(price)), date.fromisoformat(str(on)))


def rebuys(fills, on, quantity=None):
    return rebuys_after_loss(fills, "M", date.fromisoformat(str(on)), quantity and Decimal(quantity))


def test_the_first_open_order_on_the_other_side_of_the_symbol_is_found():
    orders = [
        Order("SPY", BUY, "a"),
        Order("TQQQ", SELL, "b"),
        Order("SPY", SELL, "c"),
        Order("SPY", SELL, "d"),
    ]

    assert opposite_order("SPY", BUY, orders) is orders[2]
    assert opposite_order("SPY", SELL, orders) is orders[0]
    assert opposite_order("TQQQ", SELL, orders) is None
    assert opposite_order("BIL", BUY, orders) is None
    assert opposite_order("SPY", BUY, []) is None


# The examples of 26 CFR 1.1091-1(h) and 1.1091-2(a), which IRS Publication 550 tells in other words.


def test_as_many_shares_bought_before_the_sale_disallow_the_whole_loss():
    bought = [fill("1954-12-01", BUY, 100, 100), fill("1954-12-15", BUY, 100, 90)]

    assert disallowed(bought, 100, 90, "1955-01-03") == 1_000


def test_fewer_shares_bought_before_the_sale_disallow_their_part_of_the_loss():
    bought = [fill("1954-09-21", BUY, 100, 50), fill("1954-12-21", BUY, 50, 55), fill("1954-12-27", BUY, 25, 45)]

    assert disallowed(bought, 100, 40, "1955-01-03") == 750


def test_the_first_shares_bought_after_the_sale_replace_the_lost_ones_and_later_ones_do_not():
    fills = [fill("1954-09-15", BUY, 100, 50), fill("1956-02-01", SELL, 100, 40)]
    before = [fill(f"1956-02-{day}", BUY, 50, 40) for day in (15, 16)]

    assert rebuys(fills, "1956-02-15") == 1_000
    assert rebuys(fills, "1956-02-15", "50") == 500
    assert rebuys([*fills, before[0]], "1956-02-16", "50") == 500
    assert rebuys([*fills, *before], "1956-02-17") == 0


def test_a_disallowed_loss_is_added_to_the_cost_of_the_shares_that_replace_the_lost_ones():
    fills = [fill("1935-01-15", BUY, 1, 100), fill("1955-01-15", SELL, 1, 80), fill("1955-02-01", BUY, 1, 90)]
    newer = fill("1955-02-10", BUY, 1, 50)

    assert disallowed([*fills, newer], 1, 110, "1955-02-11") == 0
    assert disallowed([*fills, newer], 1, 105, "1955-02-11") == 5


def test_a_purchase_cheaper_than_the_sale_takes_the_loss_over_too():
    fills = [fill("1935-01-15", BUY, 1, 100), fill("1955-01-15", SELL, 1, 80), fill("1955-02-01", BUY, 1, 70)]
    newer = fill("1955-02-10", BUY, 1, 50)

    assert disallowed([*fills, newer], 1, 90, "1955-02-11") == 0
    assert disallowed([*fills, newer], 1, 89, "1955-02-11") == 1


def test_stock_bought_for_1000_sold_for_750_and_bought_again_for_800_has_250_disallowed_and_1050_of_cost():
    fills = [fill("2026-01-05", BUY, 100, 10), fill("2026-03-02", SELL, 100, "7.50")]
    again, newer = fill("2026-03-12", BUY, 100, 8), fill("2026-03-20", BUY, 100, 5)

    assert rebuys(fills, "2026-03-12") == 250
    assert disallowed([*fills, again, newer], 100, "10.50", "2026-03-23") == 0
    assert disallowed([*fills, again, newer], 100, "10.49", "2026-03-23") == 1


def test_who_sells_a_part_of_one_purchase_replaces_nothing():
    assert disallowed([fill("2011-03-01", BUY, 200, 50)], 100, 40, "2011-03-20") == 0


def test_executions_of_one_order_are_one_purchase():
    whole = [fill("2011-03-01", BUY, 100, price, client_order_id="one") for price in (50, 51)]
    apart = [replace(one, client_order_id=one.execution_id) for one in whole]

    assert disallowed(whole, 100, 40, "2011-03-20") == 0
    assert disallowed(apart, 100, 40, "2011-03-20") == 1_000


def test_shares_that_are_sold_with_the_lost_ones_replace_none():
    bought = [fill("2026-01-05", BUY, 100, 10), fill("2026-03-02", BUY, 100, 9)]

    assert disallowed(bought, 200, 7, "2026-03-10") == 0
    assert disallowed(bought, 150, 7, "2026-03-10") == 50 * 3


def test_a_share_replaces_one_lost_share_only():
    bought = [fill("2026-01-05", BUY, 60, 10), fill("2026-01-06", BUY, 60, 10), fill("2026-03-02", BUY, 60, 8)]
    sold = fill("2026-03-09", SELL, 60, 7)

    assert disallowed(bought, 60, 7, "2026-03-09") == 180
    assert disallowed([*bought, sold], 60, 7, "2026-03-10") == 0


def test_a_sale_at_a_gain_has_no_loss_to_disallow():
    bought = [fill("2026-01-05", BUY, 10, 10), fill("2026-03-02", BUY, 10, 12)]

    assert disallowed(bought, 10, 11, "2026-03-10") == 0
    assert disallowed(bought, 10, 10, "2026-03-10") == 0


@pytest.mark.parametrize(
    ("bought", "sold", "loss"),
    [
        ("2026-01-30", "2026-03-01", 30),
        ("2026-01-29", "2026-03-01", 0),
        ("2024-01-31", "2024-03-01", 30),
        ("2024-01-30", "2024-03-01", 0),
        ("2025-12-15", "2026-01-14", 30),
        ("2026-03-01", "2026-03-01", 30),
    ],
)
def test_the_thirty_days_are_calendar_days_over_the_ends_of_months_and_years(bought, sold, loss):
    held = [fill("2020-06-01", BUY, 10, 10), fill(bought, BUY, 10, 9)]
    lost = [fill("2020-06-01", BUY, 10, 10), fill(bought, SELL, 10, 7)]

    assert disallowed(held, 10, 7, sold) == loss
    assert rebuys(lost, sold) == loss


def test_the_day_is_that_of_new_york():
    late = datetime(2026, 1, 30, 4, 30, tzinfo=UTC)
    held = [fill("2020-06-01", BUY, 10, 10), fill("2026-01-30", BUY, 10, 9, filled_at=late)]

    assert disallowed(held, 10, 7, "2026-03-01") == 0


def test_commissions_belong_to_the_cost_and_reduce_the_proceeds():
    bought = fill("2026-01-05", BUY, 10, 10, commission=Decimal(5))
    sold = fill("2026-03-02", SELL, 10, 10, commission=Decimal(2))
    newer = fill("2026-03-01", BUY, 10, 20)

    assert disallowed([bought, newer], 10, 10, "2026-03-02") == 5
    assert rebuys([bought, sold], "2026-03-03") == 7


def test_fills_after_the_day_and_of_other_symbols_do_not_matter():
    held = [fill("2020-06-01", BUY, 10, 10)]
    others = [fill("2026-03-02", BUY, 10, 9, symbol="N"), fill("2026-03-11", BUY, 10, 9)]

    assert disallowed([*held, *others], 10, 7, "2026-03-10") == 0
    assert disallowed([*held, *others], 10, 7, "2026-03-11") == 30


def test_shares_of_unknown_cost_have_no_known_loss():
    assert disallowed([], 10, 7, "2026-03-10") == 0
    assert disallowed([fill("2026-03-01", BUY, 5, 10), fill("2026-03-02", BUY, 5, 10)], 20, 7, "2026-03-10") == 0


@pytest.mark.parametrize("figure", ["NaN", "Infinity", "0", "-1"])
def test_figures_that_are_no_positive_numbers_are_refused(figure):
    held = [fill("2026-01-05", BUY, 10, 10)]

    for quantity, price in ((figure, 7), (10, figure)):
        with pytest.raises(DataError, match=f"must be positive numbers, found {figure}"):
            disallowed(held, quantity, price, "2026-03-10")
    with pytest.raises(DataError, match="must be positive numbers"):
        rebuys(held, "2026-03-10", figure)
    with pytest.raises(DataError, match="positive number"):
        disallowed([fill("2026-01-05", BUY, 10, figure)], 10, 7, "2026-03-10")
    with pytest.raises(DataError, match="positive number"):
        rebuys([fill("2026-01-05", BUY, figure, 10)], "2026-03-10")


def test_a_commission_that_is_no_number_leaves_losses_unknown():
    with pytest.raises(DataError, match="of M cost NaN; no loss is known"):
        disallowed([fill("2026-01-05", BUY, 10, 10, commission=Decimal("NaN"))], 10, 7, "2026-03-10")


trades = st.lists(
    st.tuples(st.integers(0, 90), st.sampled_from(Side), st.integers(1, 6), st.integers(5, 15)), max_size=12
)


def drawn(rows):
    ordered = sorted(rows, key=lambda row: row[0])
    return [
        replace(fill(START + timedelta(days=day), side, size, price), execution_id=f"{n:03}", client_order_id=f"o{n}")
        for n, (day, side, size, price) in enumerate(ordered)
    ]


def share_by_share(fills):
    """Every share on its own: dollars disallowed by each sale at once, and what later purchases may still disallow."""
    shares, lost, at_sale = [], [], []
    for one in fills:
        day = one.filled_at.astimezone(NEW_YORK).date()
        if one.side is BUY:
            shares += [
                {"order": one.client_order_id, "day": day, "cost": one.price, "used": False}
                for _ in range(int(one.quantity))
            ]
            new = [share for share in shares if share["order"] == one.client_order_id]
            for share in new:
                match = next((loss for loss in lost if 0 <= (day - loss["day"]).days <= 30), None)
                if match:
                    lost.remove(match)
                    share.update(used=True, cost=share["cost"] + match["loss"])
            continue
        sold, shares = shares[: int(one.quantity)], shares[int(one.quantity) :]
        total = Decimal(0)
        for share in sold:
            loss = share["cost"] - one.price
            if loss <= 0:
                continue
            stand_in = next(
                (
                    kept
                    for kept in shares
                    if not kept["used"] and kept["order"] != share["order"] and (day - kept["day"]).days <= 30
                ),
                None,
            )
            if stand_in is None:
                lost.append({"day": day, "loss": loss})
                continue
            stand_in.update(used=True, cost=stand_in["cost"] + loss)
            total += loss
        at_sale.append(total)
    return at_sale, lost


@given(trades, st.integers(1, 20), st.integers(5, 15), st.integers(0, 30))
def test_lots_give_what_share_by_share_accounting_gives(rows, quantity, price, later):
    fills = drawn(rows)
    on = max((one.filled_at.astimezone(NEW_YORK).date() for one in fills), default=START) + timedelta(days=later)
    sale = replace(fill(on, SELL, quantity, price), execution_id="zzz")

    at_sale, _ = share_by_share([*fills, sale])
    _, lost = share_by_share(fills)

    assert disallowed(fills, quantity, price, on) == at_sale[-1]
    assert rebuys(fills, on) == sum(loss["loss"] for loss in lost if (on - loss["day"]).days <= 30)


@given(trades, st.integers(1, 20), st.integers(5, 15), st.randoms(use_true_random=False))
def test_the_order_in_which_fills_are_listed_changes_nothing(rows, quantity, price, random):
    fills = drawn(rows)
    on = START + timedelta(days=91)
    shuffled = random.sample(fills, len(fills))

    assert disallowed(shuffled, quantity, price, on) == disallowed(fills, quantity, price, on)
    assert rebuys(shuffled, on) == rebuys(fills, on)


@given(trades, st.integers(1, 20), st.integers(5, 15))
def test_nothing_is_disallowed_but_losses_and_a_larger_rebuy_never_disallows_less(rows, quantity, price):
    fills = drawn(rows)
    on = START + timedelta(days=91)

    assert disallowed(fills, quantity, price, on) >= 0
    assert disallowed(fills, quantity, 10_000, on) == 0
    assert 0 <= rebuys(fills, on, str(quantity)) <= rebuys(fills, on, str(quantity + 1)) <= rebuys(fills, on)
    assert rebuys(fills, on, "1000") == rebuys(fills, on)


def test_lost_shares_are_replaced_in_the_order_of_their_purchase_and_not_of_their_loss():
    bought = [fill("2026-01-05", BUY, 1, 5), fill("2026-01-06", BUY, 1, 7), fill("2026-03-02", BUY, 1, 5)]

    assert disallowed(bought, 2, 5, "2026-03-10") == 2
    assert disallowed(bought, 2, 4, "2026-03-10") == 1
