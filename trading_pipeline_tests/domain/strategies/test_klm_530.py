import math

import pytest

from trading_pipeline.domain.strategies.klm import VARIANT_530
from trading_pipeline_tests.domain.strategies.klm_530_cases import (
    CALM,
    COMMODITIES,
    FALL,
    HALF_COMMODITIES,
    IS_BEAR,
    IS_BULL,
    LONG_RUN,
    SCALE_INS,
    TECHNOLOGY_LEADS,
    UNDECIDED_BEAR,
    VIX,
    VIX_PLUS,
)


@pytest.mark.parametrize(("symbol", "above"), [(symbol, above) for symbol, above, *_ in SCALE_INS])
def test_a_scale_in_begins_above_its_limit(held_at_last, symbol, above):
    # XLP has a second, lower limit further down.
    expected = VIX if symbol == "XLP" else UNDECIDED_BEAR
    assert held_at_last(VARIANT_530, {f"rsi({symbol},10)": above}) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        ({"rsi(SPY,10)": 81, "rsi(IOO,10)": 83, "rsi(RETL,10)": 83}, VIX_PLUS),
        ({"rsi(XLF,10)": 82, "rsi(RETL,10)": 83}, VIX),
        (LONG_RUN | {"rsi(RETL,10)": 83}, CALM),
        (LONG_RUN | FALL | {"rsi(VOX,10)": 80}, COMMODITIES),
        (FALL | {"rsi(VOX,10)": 80, "rsi(TQQQ,10)": 29}, VIX),
        (FALL | IS_BULL | {"rsi(TQQQ,10)": 30, "rsi(SOXL,10)": 29}, {"TECL": 1.0}),
        (FALL | {"rsi(SOXL,10)": 29, "rsi(SPXL,10)": 29}, {"SOXL": 1.0}),
        (IS_BEAR | {"rsi(QQQ,10)": 30, "rsi(SPY,10)": 29}, {"TECL": 1.0}),
        (IS_BEAR | {"rsi(SPY,10)": 29, "cumret(QQQ,60)": -13}, {"UPRO": 1.0}),
        (IS_BULL | {"rsi(QQQ,10)": 30}, {"SVXY": 1 / 3, "VIXM": 1 / 3, "FTLS": 1 / 3}),
    ],
)
def test_what_is_asked_first_wins(held_at_last, readings, expected):
    assert held_at_last(VARIANT_530, readings) == pytest.approx(expected)


def test_the_group_of_the_switcher_is_left_out_while_it_has_no_history(held_at_last):
    new = FALL | TECHNOLOGY_LEADS | {"close(FNGU)": math.nan}

    assert held_at_last(VARIANT_530, new) == {"TECL": 1.0}
    assert held_at_last(VARIANT_530, new | {"rsi(SVXY,10)": 49}) == {"SVXY": 1.0}


def test_any_of_the_four_signs_of_a_stretched_nasdaq_settles_it(held_at_last):
    missing = LONG_RUN | {"rsi(QQQ,90)": math.nan}

    assert held_at_last(VARIANT_530, missing | {"rsi(QQQ,5)": 91}) == pytest.approx({"VIXY": 0.5} | HALF_COMMODITIES)
    assert held_at_last(VARIANT_530, missing) == "rsi(QQQ,90) is missing"
