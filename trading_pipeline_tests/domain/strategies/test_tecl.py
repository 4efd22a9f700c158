import math

import pytest

from trading_pipeline.domain.strategies.tecl import TECL

IS_BULL = {"price(SPY)": 101}
IS_BEAR = {"price(SPY)": 99}
HEDGE = {"UVXY": 0.25, "BIL": 0.75}
SPIKE_HEDGE = {"UVXY": 0.15, "BIL": 0.85}
TECHNOLOGY = {"TECL": 1.0}
CASH = {"BIL": 1.0}
DEFENSE = {"SQQQ": 1.0}


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        ({"rsi(TQQQ,10)": 80}, HEDGE),
        ({"rsi(TQQQ,10)": 79}, CASH),
        ({"rsi(SPY,10)": 81}, HEDGE),
        ({"rsi(SPY,10)": 80}, CASH),
        ({"rsi(XLK,10)": 51}, TECHNOLOGY),
        ({"rsi(XLK,10)": 82}, CASH),
        ({"rsi(XLK,10)": 81}, TECHNOLOGY),
        ({"rsi(XLK,10)": 28}, TECHNOLOGY),
        ({"rsi(XLK,10)": 29}, CASH),
        ({"rsi(UVXY,10)": 90}, CASH),
        ({"rsi(UVXY,10)": math.nan}, CASH),
        ({}, CASH),
    ],
)
def test_a_bull_market(held, readings, expected):
    assert held(TECL, IS_BULL | readings) == expected


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        ({"rsi(TQQQ,10)": 30}, TECHNOLOGY),
        ({"rsi(TQQQ,10)": 31}, DEFENSE),
        ({"rsi(SPXL,10)": 28}, {"SPXL": 1.0}),
        ({"rsi(SPXL,10)": 29}, DEFENSE),
        ({"rsi(UVXY,10)": 85}, SPIKE_HEDGE),
        ({"rsi(UVXY,10)": 84}, CASH),
        ({"rsi(UVXY,10)": 75}, CASH),
        ({"rsi(UVXY,10)": 74}, DEFENSE),
        ({"rsi(XLK,10)": 51}, TECHNOLOGY),
        ({"rsi(XLK,10)": 82}, CASH),
        ({"rsi(XLK,10)": 28}, TECHNOLOGY),
        ({"rsi(TQQQ,10)": 80}, DEFENSE),
        ({"rsi(BSV,9)": 51}, {"BSV": 1.0}),
        ({}, DEFENSE),
    ],
)
def test_a_bear_market(held, readings, expected):
    assert held(TECL, IS_BEAR | readings) == expected


def test_a_price_at_its_long_mean_is_a_bear(held):
    assert held(TECL, {}) == DEFENSE


def test_without_managed_futures_the_rotation_cannot_be_decided(held):
    assert held(TECL, IS_BULL | {"rsi(KMLM,10)": math.nan}) == "rsi(KMLM,10) is missing"
