"""KLM: readings on which each branch of the variants made of shared blocks is taken, and each variant held."""

from trading_pipeline.domain.strategies.klm import (
    KLM,
    NOVA,
    VARIANT_410,
    VARIANT_506,
    VARIANT_520,
    VARIANT_530,
    VARIANT_830,
    VARIANT_1200,
    VARIANT_1280,
)

# Strategies.md, section 5, "Shared blocks".
OVERBOUGHT_ABOVE = {
    "QQQE": 79,
    "VTV": 79,
    "VOX": 79,
    "TECL": 79,
    "VOOG": 79,
    "VOOV": 79,
    "XLP": 75,
    "TQQQ": 79,
    "XLY": 80,
    "FAS": 80,
    "SPY": 80,
}
OVERBOUGHT_CASES = [({f"rsi({symbol},10)": above + 0.5}, "UVXY") for symbol, above in OVERBOUGHT_ABOVE.items()]
POP_BOT_CASES = [
    ({"rsi(TQQQ,10)": 29.5}, "TECL"),
    ({"rsi(SOXL,10)": 29}, "SOXL"),
    ({"rsi(SPXL,10)": 29}, "SPXL"),
]
TECHNOLOGY_LEADS = {"rsi(XLK,10)": 51}


def popped(volatility):
    return [
        ({f"rsi({volatility},21)": 65.5, "rsi(SPY,21)": 30.5}, "VIXM"),
        ({f"rsi({volatility},21)": 66, "rsi(SPY,21)": 30}, "SPXL"),
        ({f"rsi({volatility},21)": 66, "rsi(TQQQ,10)": 29}, "VIXM"),
    ]


def leading(*cases):
    return [(TECHNOLOGY_LEADS | readings, expected) for readings, expected in cases]


UVXY_POPPED, UVIX_POPPED = popped("UVXY"), popped("UVIX")
CALMEST_HEDGE = [
    ({}, "UUP"),
    ({"sdret(FTLS,6)": 0.5}, "FTLS"),
    ({"sdret(FTLS,6)": 0.5, "sdret(KMLM,6)": 0.4}, "KMLM"),
]
STRONGER_DEFENSE = [({}, "SQQQ"), ({"rsi(TLT,10)": 51}, "TLT")]
# The strongest of these is held, and the first of them where none is.
GIANTS = ["FNGO", "TSLA", "MSFT", "AAPL", "NVDA", "GOOGL", "AMZN"]

# What each variant asks after the shared blocks, and what it holds when nothing moves.
OWN_CASES = {
    VARIANT_506: [*UVXY_POPPED, *leading(({}, "FNGU")), *CALMEST_HEDGE],
    VARIANT_1280: [
        ({"rsi(LABU,10)": 24.5}, "LABU"),
        ({"rsi(LABU,10)": 25}, "SQQQ"),
        ({"rsi(LABU,10)": 24, "rsi(SPXL,10)": 29}, "SPXL"),
        *leading(
            ({}, "TECL SOXL"),
            ({"rsi(TECL,10)": 60}, "SOXL SVIX"),
            ({"rsi(SOXL,10)": 60}, "TECL SVIX"),
            ({"rsi(LABU,10)": 24}, "LABU"),
        ),
        *STRONGER_DEFENSE,
    ],
    VARIANT_1200: [
        *UVXY_POPPED,
        *leading(({}, "TECL"), ({"rsi(SOXL,10)": 49}, "SOXL"), ({"rsi(SOXL,10)": 49, "rsi(SVIX,10)": 48}, "SVIX")),
        *STRONGER_DEFENSE,
    ],
    VARIANT_520: [
        *UVXY_POPPED,
        *leading(({}, "TECL"), ({"rsi(SVIX,10)": 49}, "SVIX")),
        ({}, "TMV TMF SVXY"),
        ({"sdret(VIXM,6)": 0.5, "sdret(FTLS,6)": 0.6, "sdret(KMLM,6)": 0.7}, "VIXM FTLS KMLM"),
        ({"sdret(UUP,6)": 0.5}, "UUP TMV TMF"),
    ],
    VARIANT_410: [*UVXY_POPPED, *leading(({}, "FNGU")), *CALMEST_HEDGE],
    NOVA: [
        *UVIX_POPPED,
        *leading(({}, "FNGO"), *[({f"rsi({giant},11)": 51}, giant) for giant in GIANTS]),
        *CALMEST_HEDGE,
    ],
    VARIANT_830: [
        *UVXY_POPPED,
        *leading(({}, "TECL"), ({"rsi(SOXL,10)": 51}, "SOXL"), ({"rsi(SOXL,10)": 51, "rsi(SVIX,10)": 52}, "SVIX")),
        ({"maret(BND,20)": 0.1}, "KMLM"),
        ({"maret(BND,20)": 0.1, "rsi(SPLV,10)": 49}, "SPLV"),
        ({}, "TLT"),
        ({"rsi(LABD,10)": 51}, "LABD"),
        ({"rsi(LABD,10)": 51, "rsi(TZA,10)": 52}, "TZA"),
    ],
}

# On these readings every variant holds something else, and what moves tells which of them is held.
TELLING = TECHNOLOGY_LEADS | {"rsi(SOXL,10)": 40, "rsi(SVIX,10)": 60}
HELD = {
    VARIANT_506: "FNGU",
    VARIANT_1280: "TECL SOXL",
    VARIANT_1200: "SOXL",
    VARIANT_520: "TECL",
    VARIANT_530: "QID",
    NOVA: "FNGO",
    VARIANT_830: "SVIX",
}


def moving(**percent):
    """State that symbols move to and fro by so many percent."""
    return TELLING | {f"close({symbol})": (100, 100 + size) for symbol, size in percent.items()}


LIVELIEST = [
    (moving(FNGU=2, FNGO=1), VARIANT_506),
    (moving(TECL=1, SOXL=1), VARIANT_1280),
    (moving(SOXL=2, TECL=1), VARIANT_1200),
    (moving(TECL=2, SOXL=1), VARIANT_520),
    (moving(QID=2, FNGU=1), VARIANT_530),
    (moving(FNGO=2, FNGU=1), NOVA),
    (moving(SVIX=2, FNGU=1), VARIANT_830),
    (TELLING, VARIANT_506),
]


def shares(symbols):
    """Return equal shares of symbols that are written in one line."""
    return dict.fromkeys(symbols.split(), 1 / len(symbols.split()))


CASES = [
    *[
        (variant, readings, shares(expected))
        for variant, own in OWN_CASES.items()
        for readings, expected in [*OVERBOUGHT_CASES, *POP_BOT_CASES, *own]
    ],
    *[(KLM, readings, shares(HELD[liveliest])) for readings, liveliest in LIVELIEST],
]
