"""Overbought: when a broad fund has run too far, hold volatility.

The funds are asked in a fixed order; the first that is overbought hedges, and
the further funds of the list tell how strongly.
"""

from trading_pipeline.domain.strategies.tree import Condition, Node, first_match, rsi, specified

HEDGE = specified((0.75, "UVXY"), (0.25, "BTAL"))


def is_overbought(symbol: str) -> Condition:
    """Above 79 in the relative strength of ten sessions."""
    return rsi(symbol, 10) > 79


def overbought_hedge(*watched: str) -> Node:
    """All in UVXY if any of the watched funds is extremely overbought, above 81; otherwise UVXY tempered by BTAL."""
    return first_match(*((rsi(symbol, 10) > 81, "UVXY") for symbol in watched), otherwise=HEDGE)


OVERBOUGHT: tuple[tuple[Condition, Node], ...] = (
    (is_overbought("SPY"), overbought_hedge("SPY", "IOO", "TQQQ", "VTV", "XLF")),
    (is_overbought("IOO"), overbought_hedge("IOO", "TQQQ", "VTV", "XLF")),
    (is_overbought("TQQQ"), overbought_hedge("TQQQ", "VTV", "XLF")),
    (is_overbought("VTV"), overbought_hedge("VTV", "XLF")),
    (is_overbought("XLF"), overbought_hedge("XLF")),
    (is_overbought("VOX"), overbought_hedge("XLF")),
)
"""The cases in which the market is overbought, in the order in which they are asked."""
