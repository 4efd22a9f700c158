"""530/18: the variant with a tree of its own.

It scales into volatility as funds grow more overbought, hedges a long run of
the market, buys sharp falls of the Nasdaq, and else asks the Holy Grail.
"""

from trading_pipeline.domain.indicators import Indicator
from trading_pipeline.domain.strategies.klm.blocks import TECHNOLOGY_LEADS, Block, calmest
from trading_pipeline.domain.strategies.tree import (
    Node,
    bottom,
    cumret,
    equal,
    first_match,
    group,
    if_,
    price,
    rsi,
    sma,
    specified,
    top,
)

VIX_PLUS_PLUS = specified((2 / 3, "UVXY"), (1 / 3, "VIXM"))
VIX_PLUS = equal("UVXY", "VXX", "VIXM")
VIX = equal("VIXY", "VXX", "VIXM")
COMMODITIES = specified((0.5, "GLD"), (0.25, "SLV"), (0.25, "PDBC"))

IS_BULL = price("SPY") > sma("SPY", 200)


def scale_in(symbol: str, above: float, first: Node, further: float, then: Node) -> Block:
    """Hold ``first`` when the symbol is overbought, and ``then`` once it is further so."""
    strength = rsi(symbol, 10)
    return ((strength > above, if_(strength > further, then, first)),)


SCALE_INS: Block = (
    *scale_in("SPY", 80, VIX_PLUS, 82.5, VIX_PLUS_PLUS),
    *scale_in("IOO", 80, VIX_PLUS, 82.5, VIX_PLUS_PLUS),
    *scale_in("QQQ", 79, VIX_PLUS, 82.5, VIX_PLUS_PLUS),
    *scale_in("VTV", 79, VIX, 85, VIX_PLUS),
    *scale_in("XLP", 77, VIX, 85, VIX_PLUS),
    *scale_in("XLF", 81, VIX, 85, VIX_PLUS),
    *scale_in("RETL", 82, equal("BTAL", "BIL"), 85, VIX),
)

LONG_RUN = rsi("SPY", 70) > 63
NASDAQ_IS_STRETCHED = (rsi("QQQ", 90) > 60) | (rsi("QQQ", 14) > 80) | (rsi("QQQ", 5) > 90) | (rsi("QQQ", 3) > 95)
LONG_RUN_HEDGE = equal(
    if_(rsi("AGG", 15) > rsi("QQQ", 15), equal("TQQQ", "SPXL", "SOXL", "FNGU", "ERX"), COMMODITIES),
    if_(NASDAQ_IS_STRETCHED, "VIXY", COMMODITIES),
)

FNGU_OR_LEADER = group(
    "FNGU and the leader",
    equal("FNGU", top(1, "FNGU", "SPXL", "XLE", "XLK", "AGG", by=Indicator.MEAN_RETURN, window=20)),
)
FNGU_SWITCHER = if_(
    TECHNOLOGY_LEADS,
    bottom(1, "TECL", "SVXY", FNGU_OR_LEADER, by=Indicator.RSI, window=10),
    calmest(3, "SVXY", "VIXM", "FTLS", "KMLM", "UUP"),
)

NASDAQ_FELL_SHARPLY = cumret("TQQQ", 6) < -12
AFTER_THE_FALL = first_match(
    (cumret("TQQQ", 1) > 5.5, VIX_PLUS),
    (rsi("TQQQ", 10) < 31, "TECL"),
    (rsi("SOXL", 10) < 30, "SOXL"),
    (rsi("SPXL", 10) < 30, "SPXL"),
    otherwise=FNGU_SWITCHER,
)

HOLY_GRAIL = first_match(
    (IS_BULL, FNGU_SWITCHER),
    (rsi("QQQ", 10) < 31, "TECL"),
    (rsi("SPY", 10) < 30, "UPRO"),
    (cumret("QQQ", 60) < -12, "BIL"),
    (price("TQQQ") > sma("TQQQ", 20), if_(rsi("PSQ", 10) < 32.5, "PSQ", FNGU_SWITCHER)),
    otherwise=if_(rsi("IEF", 10) > rsi("PSQ", 20), "PSQ", "QID"),
)

BULL = if_(
    sma("SPY", 3) < sma("SPY", 200),
    top(2, "TQQQ", "SPXL", "TMF", by=Indicator.RSI, window=10),
    HOLY_GRAIL,
)
"""The price has crossed above its long mean; until the short mean follows, the stronger of stocks and treasuries."""

BEAR = if_(
    sma("SPY", 3) > sma("SPY", 200),
    top(2, "SQQQ", "SPXU", "TMF", "TMV", by=Indicator.RSI, window=10),
    HOLY_GRAIL,
)
"""The price has crossed below its long mean; until the short mean follows, the stronger of inverses and treasuries."""

VARIANT_530 = group(
    "530/18 (29)",
    first_match(
        *SCALE_INS,
        (LONG_RUN, LONG_RUN_HEDGE),
        (rsi("VOX", 10) > 79, VIX),
        (rsi("XLP", 10) > 75, VIX),
        (NASDAQ_FELL_SHARPLY, AFTER_THE_FALL),
        (IS_BULL, BULL),
        otherwise=BEAR,
    ),
)
