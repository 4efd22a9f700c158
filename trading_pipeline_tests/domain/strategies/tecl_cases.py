"""TECL for the long term: readings on which each of its branches is taken, and what it then holds."""

import math

from trading_pipeline.domain.strategies.tecl import TECL

IS_BULL = {"price(SPY)": 101}
IS_BEAR = {"price(SPY)": 99}
HEDGE = {"UVXY": 0.25, "BIL": 0.75}
SPIKE_HEDGE = {"UVXY": 0.15, "BIL": 0.85}
TECHNOLOGY = {"TECL": 1.0}
CASH = {"BIL": 1.0}
DEFENSE = {"SQQQ": 1.0}
BULL_CASES = [
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
]
BEAR_CASES = [
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
]
CASES = [
    *[(TECL, IS_BULL | readings, expected) for readings, expected in BULL_CASES],
    *[(TECL, IS_BEAR | readings, expected) for readings, expected in BEAR_CASES],
]
