import math

import pytest

from trading_pipeline.domain.strategies.nuclear import NUCLEAR
from trading_pipeline.domain.strategies.nuclear.bear import BEAR_1, BEAR_2
from trading_pipeline.domain.strategies.nuclear.bull import BULL
from trading_pipeline_tests.domain.strategies.nuclear_cases import BULL_MARKET, HEDGE, LEADERS

BASKET = pytest.approx({"BWXT": 1 / 3, "LEU": 1 / 3, "SMR": 1 / 3})


@pytest.mark.parametrize("symbol", ["SPY", "IOO", "TQQQ", "VTV", "XLF", "VOX"])
def test_an_overbought_fund_hedges_and_one_at_79_does_not(held, symbol):
    assert held(NUCLEAR, BULL_MARKET | LEADERS | {f"rsi({symbol},10)": 79.5}) == HEDGE
    assert held(NUCLEAR, BULL_MARKET | LEADERS | {f"rsi({symbol},10)": 79}) == BASKET


@pytest.mark.parametrize("overbought", ["SPY", "VOX"])
def test_a_fund_that_is_not_watched_does_not_make_the_hedge_all_volatility(held, overbought):
    assert held(NUCLEAR, {f"rsi({overbought},10)": 80} | {"rsi(VOX,10)": 82}) == HEDGE


def test_81_itself_is_not_extreme(held):
    assert held(NUCLEAR, {"rsi(SPY,10)": 81}) == HEDGE


def test_an_earlier_fund_that_is_missing_stops_the_search(held):
    assert held(NUCLEAR, {"rsi(SPY,10)": math.nan, "rsi(IOO,10)": 90}) == "rsi(SPY,10) is missing"


@pytest.mark.parametrize(("symbol", "bought"), [("TQQQ", "TQQQ"), ("SPY", "UPRO")])
def test_an_oversold_index_is_bought_with_leverage_and_one_at_30_is_not(held, symbol, bought):
    assert held(NUCLEAR, BULL_MARKET | LEADERS | {f"rsi({symbol},10)": 29}) == {bought: 1.0}
    assert held(NUCLEAR, BULL_MARKET | LEADERS | {f"rsi({symbol},10)": 30}) == BASKET


def test_the_bull_holds_the_three_leaders_in_the_order_listed_among_equals(held):
    assert held(BULL, {}) == pytest.approx({"SMR": 1 / 3, "BWXT": 1 / 3, "LEU": 1 / 3})
    assert held(BULL, {"maret(OKLO,90)": 1, "maret(SMR,90)": math.nan}) == pytest.approx(
        {"OKLO": 1 / 3, "BWXT": 1 / 3, "LEU": 1 / 3}
    )


BEAR_1_CASES = [
    ({"rsi(PSQ,10)": 34}, "SQQQ"),
    ({"cumret(QQQ,60)": -11, "rsi(TLT,20)": 51}, "TQQQ"),
    ({"cumret(QQQ,60)": -11}, "PSQ"),
    ({"price(TQQQ)": 101, "rsi(TLT,20)": 51}, "TQQQ"),
    ({"price(TQQQ)": 101}, "SQQQ"),
    ({"rsi(IEF,10)": 51, "rsi(TLT,20)": 51}, "SQQQ"),
    ({"rsi(TLT,20)": 51}, "QQQ"),
    ({}, "SQQQ"),
    ({"rsi(PSQ,10)": 35, "rsi(TLT,20)": 51}, "QQQ"),
    ({"cumret(QQQ,60)": -10, "rsi(TLT,20)": 51}, "QQQ"),
]
BEAR_2_CASES = [
    ({"rsi(PSQ,10)": 34, "rsi(TLT,20)": 51}, "SQQQ"),
    ({"price(TQQQ)": 101, "rsi(TLT,20)": 51}, "TQQQ"),
    ({"price(TQQQ)": 101}, "SQQQ"),
    ({"rsi(TLT,20)": 51}, "QQQ"),
    ({}, "SQQQ"),
]


@pytest.mark.parametrize(
    ("view", "readings", "expected"),
    [(BEAR_1, *case) for case in BEAR_1_CASES] + [(BEAR_2, *case) for case in BEAR_2_CASES],
)
def test_each_view_of_the_bear_takes_its_branch(held, view, readings, expected):
    assert held(view, readings) == {expected: 1.0}


def test_the_views_of_the_bear_need_a_history_of_their_own(held):
    assert held(NUCLEAR, {}) == "sdret(Bear 1,14) is missing"
