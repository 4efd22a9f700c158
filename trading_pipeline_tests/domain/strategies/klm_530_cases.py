"""KLM's variant 530/18: readings on which each of its branches is taken, and what it then holds."""

from trading_pipeline.domain.strategies.klm import VARIANT_530

# Strategies.md, section 5, "Variant 530/18".
VIX_PLUS_PLUS = {"UVXY": 2 / 3, "VIXM": 1 / 3}
VIX_PLUS = {"UVXY": 1 / 3, "VXX": 1 / 3, "VIXM": 1 / 3}
VIX = {"VIXY": 1 / 3, "VXX": 1 / 3, "VIXM": 1 / 3}
CALM = {"BTAL": 0.5, "BIL": 0.5}
HALF_COMMODITIES = {"GLD": 0.25, "SLV": 0.125, "PDBC": 0.125}
COMMODITIES = {"GLD": 0.5, "SLV": 0.25, "PDBC": 0.25}
UNDECIDED_BEAR = {"QID": 1.0}

SCALE_INS = [
    ("SPY", 80, VIX_PLUS, 82.5, VIX_PLUS_PLUS),
    ("IOO", 80, VIX_PLUS, 82.5, VIX_PLUS_PLUS),
    ("QQQ", 79, VIX_PLUS, 82.5, VIX_PLUS_PLUS),
    ("VTV", 79, VIX, 85, VIX_PLUS),
    ("XLP", 77, VIX, 85, VIX_PLUS),
    ("XLF", 81, VIX, 85, VIX_PLUS),
    ("RETL", 82, CALM, 85, VIX),
]
SCALE_IN_CASES = [
    ({f"rsi({symbol},10)": reading}, expected)
    for symbol, above, first, further, then in SCALE_INS
    for reading, expected in [(above + 0.5, first), (further, first), (further + 0.5, then)]
]

LONG_RUN = {"rsi(SPY,70)": 63.5}
STOCKS = {"TQQQ": 0.1, "SPXL": 0.1, "SOXL": 0.1, "FNGU": 0.1, "ERX": 0.1}
LONG_RUN_CASES = [
    (LONG_RUN, COMMODITIES),
    (LONG_RUN | {"rsi(AGG,15)": 51}, STOCKS | HALF_COMMODITIES),
    (LONG_RUN | {"rsi(QQQ,90)": 60.5}, {"VIXY": 0.5} | HALF_COMMODITIES),
    (LONG_RUN | {"rsi(QQQ,14)": 80.5}, {"VIXY": 0.5} | HALF_COMMODITIES),
    (LONG_RUN | {"rsi(QQQ,5)": 90.5}, {"VIXY": 0.5} | HALF_COMMODITIES),
    (LONG_RUN | {"rsi(QQQ,3)": 95.5}, {"VIXY": 0.5} | HALF_COMMODITIES),
    (LONG_RUN | {"rsi(QQQ,15)": 49, "rsi(QQQ,3)": 95.5}, STOCKS | {"VIXY": 0.5}),
    (
        LONG_RUN | {"rsi(QQQ,90)": 60, "rsi(QQQ,14)": 80, "rsi(QQQ,5)": 90, "rsi(QQQ,3)": 95},
        COMMODITIES,
    ),
    (LONG_RUN | {"rsi(XLP,10)": 77.5}, VIX),
    ({"rsi(SPY,70)": 63}, UNDECIDED_BEAR),
]

OVERBOUGHT_CASES = [
    ({"rsi(VOX,10)": 79.5}, VIX),
    ({"rsi(VOX,10)": 79}, UNDECIDED_BEAR),
    ({"rsi(XLP,10)": 75.5}, VIX),
    ({"rsi(XLP,10)": 75}, UNDECIDED_BEAR),
]

FALL = {"cumret(TQQQ,6)": -12.5}
FALL_CASES = [
    (FALL | {"cumret(TQQQ,1)": 6}, VIX_PLUS),
    (FALL | {"cumret(TQQQ,1)": 5.5, "rsi(TQQQ,10)": 30.5}, {"TECL": 1.0}),
    (FALL | {"rsi(TQQQ,10)": 31, "rsi(SOXL,10)": 29}, {"SOXL": 1.0}),
    (FALL | {"rsi(SOXL,10)": 30, "rsi(SPXL,10)": 29}, {"SPXL": 1.0}),
    (FALL | {"rsi(SPXL,10)": 30}, {"SVXY": 1 / 3, "VIXM": 1 / 3, "FTLS": 1 / 3}),
    ({"cumret(TQQQ,6)": -12, "rsi(TQQQ,10)": 29}, UNDECIDED_BEAR),
]

IS_BULL = {"price(SPY)": 101}
IS_BEAR = {"price(SPY)": 99}
CROSSING_CASES = [
    ({"sma(SPY,200)": 99.5, "sma(SPY,3)": 99}, {"TQQQ": 0.5, "SPXL": 0.5}),
    (IS_BULL | {"sma(SPY,3)": 99}, {"TQQQ": 0.5, "SPXL": 0.5}),
    (IS_BULL | {"sma(SPY,3)": 99, "rsi(TMF,10)": 51}, {"TMF": 0.5, "TQQQ": 0.5}),
    ({"sma(SPY,200)": 99.5, "sma(SPY,3)": 99.7}, {"SVXY": 1 / 3, "VIXM": 1 / 3, "FTLS": 1 / 3}),
    ({"sma(SPY,200)": 100.5, "sma(SPY,3)": 100.3}, UNDECIDED_BEAR),
    ({"sma(SPY,200)": 100.5, "sma(SPY,3)": 101}, {"SQQQ": 0.5, "SPXU": 0.5}),
    (IS_BEAR | {"sma(SPY,3)": 101}, {"SQQQ": 0.5, "SPXU": 0.5}),
    (IS_BEAR | {"sma(SPY,3)": 101, "rsi(TMF,10)": 51, "rsi(TMV,10)": 52}, {"TMF": 0.5, "TMV": 0.5}),
]

HOLY_GRAIL_CASES = [
    (IS_BEAR | {"rsi(QQQ,10)": 30}, {"TECL": 1.0}),
    (IS_BEAR | {"rsi(QQQ,10)": 31}, UNDECIDED_BEAR),
    (IS_BEAR | {"rsi(SPY,10)": 29}, {"UPRO": 1.0}),
    (IS_BEAR | {"rsi(SPY,10)": 30}, UNDECIDED_BEAR),
    (IS_BEAR | {"cumret(QQQ,60)": -12.5, "price(TQQQ)": 101}, {"BIL": 1.0}),
    (IS_BEAR | {"cumret(QQQ,60)": -12}, UNDECIDED_BEAR),
    (IS_BEAR | {"price(TQQQ)": 101, "rsi(PSQ,10)": 32}, {"PSQ": 1.0}),
    (IS_BEAR | {"sma(TQQQ,20)": 99, "rsi(PSQ,10)": 32}, {"PSQ": 1.0}),
    (IS_BEAR | {"rsi(IEF,10)": 51}, {"PSQ": 1.0}),
    (IS_BEAR | {"rsi(PSQ,20)": 49}, {"PSQ": 1.0}),
    (IS_BEAR, UNDECIDED_BEAR),
    ({}, UNDECIDED_BEAR),
]

# The FNGU switcher is asked after a fall, in a bull market, and in a bear market that recovers.
SWITCHER_CONTEXTS = [FALL, IS_BULL, IS_BEAR | {"price(TQQQ)": 101, "rsi(PSQ,10)": 32.5}]
TECHNOLOGY_LEADS = {"rsi(XLK,10)": 51}
# A group that only falls has no strength at all, so it is the weakest candidate.
FNGU_FALLS = TECHNOLOGY_LEADS | {"close(FNGU)": tuple(range(100, 80, -1))}
SWITCHER = [
    ({}, {"SVXY": 1 / 3, "VIXM": 1 / 3, "FTLS": 1 / 3}),
    ({"sdret(KMLM,6)": 0.5, "sdret(UUP,6)": 0.9}, {"KMLM": 1 / 3, "UUP": 1 / 3, "SVXY": 1 / 3}),
    (TECHNOLOGY_LEADS, {"TECL": 1.0}),
    (TECHNOLOGY_LEADS | {"rsi(SVXY,10)": 49}, {"SVXY": 1.0}),
    (TECHNOLOGY_LEADS | {"close(FNGU)": tuple(range(80, 100))}, {"TECL": 1.0}),
    (FNGU_FALLS, {"FNGU": 1.0}),
    *[
        (FNGU_FALLS | {f"maret({leader},20)": 0.1}, {"FNGU": 0.5, leader: 0.5})
        for leader in ("SPXL", "XLE", "XLK", "AGG")
    ],
]
SWITCHER_CASES = [(context | readings, expected) for context in SWITCHER_CONTEXTS for readings, expected in SWITCHER]

CASES = [
    (VARIANT_530, *case)
    for cases in (
        SCALE_IN_CASES,
        LONG_RUN_CASES,
        OVERBOUGHT_CASES,
        FALL_CASES,
        CROSSING_CASES,
        HOLY_GRAIL_CASES,
        SWITCHER_CASES,
    )
    for case in cases
]
