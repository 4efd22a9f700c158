"""The blocks that the variants share: overbought chain, popped gate, pop bot, and the switch that sorts the rest.

A block is a run of cases, asked in order; where none of them is true the
variant goes on with its next block.
"""

from typing import TypeAlias

from trading_pipeline.domain.indicators import Indicator
from trading_pipeline.domain.strategies.tree import (
    Condition,
    Filter,
    Node,
    bottom,
    first_match,
    if_,
    rsi,
)

Block: TypeAlias = tuple[tuple[Condition, Node | str], ...]

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

OVERBOUGHT_CHAIN: Block = tuple((rsi(symbol, 10) > limit, "UVXY") for symbol, limit in OVERBOUGHT_ABOVE.items())
"""Volatility as soon as one of the watched funds has run too far."""

POP_BOT: Block = (
    (rsi("TQQQ", 10) < 30, "TECL"),
    (rsi("SOXL", 10) < 30, "SOXL"),
    (rsi("SPXL", 10) < 30, "SPXL"),
)
"""Buy the bounce of what is oversold, technology first."""

TECHNOLOGY_LEADS = rsi("XLK", 10) > rsi("KMLM", 10)


def popped_gate(volatility: str) -> Block:
    """After ``volatility`` has popped: mid-term volatility, or leveraged stocks once the market is washed out."""
    return ((rsi(volatility, 21) > 65, if_(rsi("SPY", 21) > 30, "VIXM", "SPXL")),)


def switch(technology: Node | str, other: Node | str) -> Node:
    """Take the side of technology while it is stronger than managed futures, else the other side."""
    return if_(TECHNOLOGY_LEADS, technology, other)


def sorter(popped: str, technology: Node | str, other: Node | str) -> Node:
    """The usual order of the blocks, ending in the switch; ``popped`` is the fund that the gate watches."""
    return first_match(*OVERBOUGHT_CHAIN, *popped_gate(popped), *POP_BOT, otherwise=switch(technology, other))


def calmest(count: int, *symbols: str) -> Filter:
    """The ``count`` symbols whose returns deviated least over six sessions."""
    return bottom(count, *symbols, by=Indicator.RETURN_DEVIATION, window=6)
