"""Bear: buy the oversold, ride or sit out spikes of volatility; otherwise follow technology, or go defensive."""

from trading_pipeline.domain.indicators import Indicator
from trading_pipeline.domain.strategies.tecl.rotation import rotation
from trading_pipeline.domain.strategies.tree import first_match, rsi, specified, top

SPIKE_HEDGE = specified((0.15, "UVXY"), (0.85, "BIL"))
DEFENSE = top(1, "SQQQ", "BSV", by=Indicator.RSI, window=9)

BEAR = first_match(
    (rsi("TQQQ", 10) < 31, "TECL"),
    (rsi("SPXL", 10) < 29, "SPXL"),
    (rsi("UVXY", 10) > 84, SPIKE_HEDGE),
    (rsi("UVXY", 10) > 74, "BIL"),
    otherwise=rotation(otherwise=DEFENSE),
)
