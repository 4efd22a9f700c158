from datetime import date
from decimal import Decimal

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.domain.errors import DataError, InvalidInput
from trading_pipeline.domain.risk.corporate_actions import (
    SPLIT_RATIOS,
    ActionKind,
    CorporateAction,
    basis_doubt,
    blocking_actions,
    split_like_ratio,
)

FRIDAY, MONDAY, TUESDAY = date(2026, 7, 24), date(2026, 7, 27), date(2026, 7, 28)


def action(kind=ActionKind.FORWARD_SPLIT, *symbols, on=MONDAY):
    return CorporateAction("1", kind, symbols or ("TQQQ",), on)


@pytest.mark.parametrize("kind", ActionKind)
def test_everything_but_a_dividend_in_cash_blocks_its_symbol(kind):
    assert bool(blocking_actions([action(kind)], MONDAY)) is (kind is not ActionKind.CASH_DIVIDEND)


def test_an_action_blocks_in_its_own_session_only():
    blocked = [day for day in (FRIDAY, MONDAY, TUESDAY) if blocking_actions([action()], day)]

    assert blocked == [MONDAY]


def test_an_action_on_a_day_without_trading_blocks_in_the_next_session():
    sunday = action(ActionKind.NAME_CHANGE, on=date(2026, 7, 26))

    assert blocking_actions([sunday], MONDAY) == {"TQQQ": "name change on 2026-07-26"}
    assert not blocking_actions([sunday], FRIDAY)
    assert not blocking_actions([sunday], TUESDAY)


def test_both_names_of_a_change_of_name_are_blocked_and_reasons_are_joined():
    found = blocking_actions([action(ActionKind.NAME_CHANGE, "OLD", "NEW"), action(ActionKind.SPIN_OFF, "NEW")], MONDAY)

    assert found == {
        "OLD": "name change on 2026-07-27",
        "NEW": "name change on 2026-07-27; spin off on 2026-07-27",
    }


def test_a_day_without_trading_is_no_session():
    with pytest.raises(InvalidInput, match="not a session"):
        blocking_actions([action()], date(2026, 7, 26))


@pytest.mark.parametrize(
    ("previous", "price", "ratio"),
    [
        ("100", "50", 2),
        ("100", "55", 2),
        ("100", "33.40", 3),
        ("1000", "99", 10),
        ("1208.88", "120.37", 10),
        ("499.23", "126.52", 4),
        ("50", "1000", "0.05"),
        ("2", "20.5", "0.1"),
    ],
)
def test_a_jump_by_about_a_usual_ratio_looks_like_a_split(previous, price, ratio):
    assert split_like_ratio(Decimal(previous), Decimal(price)) == Decimal(ratio)


@pytest.mark.parametrize(
    ("previous", "price"), [("100", "65"), ("100", "70"), ("100", "135"), ("100", "61"), ("100", "160")]
)
def test_a_smaller_jump_or_one_by_another_ratio_does_not(previous, price):
    assert split_like_ratio(Decimal(previous), Decimal(price)) is None


@given(st.sampled_from(SPLIT_RATIOS), st.decimals("1", "1000", places=2), st.decimals("-0.08", "0.08", places=4))
def test_every_usual_split_is_noticed_whatever_the_night_adds(ratio, close, night):
    found = split_like_ratio(close, close / ratio * (1 + night))

    assert found is not None
    assert abs(found / ratio - 1) < Decimal("0.2")


@given(st.decimals("1", "1000", places=2), st.decimals("-0.35", "0.35", places=4))
def test_no_move_of_up_to_thirty_five_percent_is_taken_for_a_split(close, move):
    assert split_like_ratio(close, close * (1 + move)) is None


def doubt(traded, adjusted, price):
    return basis_doubt(Decimal(traded), Decimal(adjusted), Decimal(price))


def test_an_ordinary_night_raises_no_doubt():
    assert doubt("100", "100", "97") == ""
    assert doubt("100", "98.7", "101") == ""


def test_a_split_that_is_adjusted_for_is_noticed_by_the_two_closes():
    assert doubt("100", "50", "51") == "the last close is 100 dollars as traded and 50 as adjusted"
    assert doubt("90", "60", "61")


def test_a_split_that_nobody_adjusted_for_yet_is_noticed_by_the_price():
    assert doubt("100", "100", "51") == "the price went from 100 to 51 dollars, as by a split of 2 for 1"
    assert doubt("2", "2", "20") == "the price went from 2 to 20 dollars, as by a split of 1 for 10"


def test_on_the_day_after_both_closes_are_of_the_new_shares_and_nothing_is_doubted():
    assert doubt("51", "51", "52") == ""


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("wrong", ["NaN", "0", "-5", "Infinity"])
def test_no_split_is_told_from_what_is_no_price(place, wrong):
    figures = ["100", "100", "100"]
    figures[place] = wrong

    with pytest.raises(DataError, match="positive number"):
        doubt(*figures)


def test_of_eleven_years_of_adjusted_opens_only_two_panics_look_like_a_split(shared_folder):
    bars = pd.read_parquet(shared_folder / "data" / "bars.parquet", columns=["symbol", "date", "open", "close"])
    bars = bars[bars["date"] >= date(2015, 1, 2)]
    previous = bars.groupby("symbol", observed=True)["close"].shift()
    known = bars["open"].notna() & previous.notna()
    gaps = (bars["open"] / previous - 1).abs()
    jumps = bars[known & (gaps > 0.35)].assign(previous=previous)

    found = {
        (row.symbol, row.date)
        for row in jumps.itertuples()
        if split_like_ratio(Decimal(str(row.previous)), Decimal(str(row.open))) is not None
    }

    assert known.sum() > 300_000
    assert found == {("SVXY", date(2018, 2, 6)), ("UVIX", date(2024, 8, 5))}
