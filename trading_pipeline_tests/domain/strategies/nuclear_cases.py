"""Nuclear: readings on which each of its branches is taken, and what it then holds."""

from trading_pipeline.domain.strategies.nuclear import NUCLEAR

HEDGE = {"UVXY": 0.75, "BTAL": 0.25}
VOLATILITY = {"UVXY": 1.0}
BULL_MARKET = {"price(SPY)": 101}
LEADERS = {"maret(SMR,90)": 1, "maret(BWXT,90)": 3, "maret(LEU,90)": 2, "maret(EXC,90)": 0.5}

# Strategies.md, section 3: the funds asked in order, and those that each of them watches.
WATCHED = {
    "SPY": ("SPY", "IOO", "TQQQ", "VTV", "XLF"),
    "IOO": ("IOO", "TQQQ", "VTV", "XLF"),
    "TQQQ": ("TQQQ", "VTV", "XLF"),
    "VTV": ("VTV", "XLF"),
    "XLF": ("XLF",),
    "VOX": (),
}
OVERBOUGHT_CASES = [({f"rsi({fund},10)": 80}, HEDGE) for fund in WATCHED] + [
    ({f"rsi({fund},10)": 80} | {f"rsi({extreme},10)": 82}, VOLATILITY)
    for fund, watched in WATCHED.items()
    for extreme in watched
]
BULL_CASES = [
    ({"rsi(TQQQ,10)": 29}, {"TQQQ": 1.0}),
    ({"rsi(SPY,10)": 29}, {"UPRO": 1.0}),
    (BULL_MARKET | {"rsi(TQQQ,10)": 29, "rsi(SPY,10)": 29}, {"TQQQ": 1.0}),
    (BULL_MARKET, {"SMR": 1 / 3, "BWXT": 1 / 3, "LEU": 1 / 3}),
    (BULL_MARKET | LEADERS, {"SMR": 1 / 3, "BWXT": 1 / 3, "LEU": 1 / 3}),
    (
        BULL_MARKET | {"maret(EXC,90)": 0.1, "maret(NLR,90)": 0.2, "maret(OKLO,90)": 0.3},
        {"EXC": 1 / 3, "NLR": 1 / 3, "OKLO": 1 / 3},
    ),
]
# The two views of the bear are weighted by how much what they hold has moved: to x times its price and back is a
# deviation in proportion to x - 1/x, which is 15/4 for the leveraged funds and 3/2 for the others.
MOVES = {"close(SQQQ)": (25, 100), "close(TQQQ)": (25, 100), "close(QQQ)": (50, 100), "close(PSQ)": (50, 100)}
RECOVERING = {"close(TQQQ)": (101, 404)}
BEAR_CASES = [
    ({"rsi(PSQ,10)": 34, "rsi(TLT,20)": 51}, {"SQQQ": 1.0}),
    ({"cumret(QQQ,60)": -11, "rsi(TLT,20)": 51}, {"TQQQ": 2 / 7, "QQQ": 5 / 7}),
    ({"cumret(QQQ,60)": -11}, {"PSQ": 5 / 7, "SQQQ": 2 / 7}),
    (RECOVERING | {"rsi(TLT,20)": 51}, {"TQQQ": 1.0}),
    (RECOVERING, {"SQQQ": 1.0}),
    ({"rsi(IEF,10)": 51, "rsi(TLT,20)": 51}, {"SQQQ": 2 / 7, "QQQ": 5 / 7}),
    ({"rsi(TLT,20)": 51}, {"QQQ": 1.0}),
    ({}, {"SQQQ": 1.0}),
]
CASES = [
    *[(NUCLEAR, *case) for case in OVERBOUGHT_CASES + BULL_CASES],
    *[(NUCLEAR, MOVES | readings, expected) for readings, expected in BEAR_CASES],
]
