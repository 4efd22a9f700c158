"""Bull: take some volatility when overbought; otherwise follow technology, or wait in T-bills."""

from trading_pipeline.domain.strategies.tecl.rotation import rotation
from trading_pipeline.domain.strategies.tree import first_match, rsi, specified

OVERBOUGHT_HEDGE = specified((0.25, "UVXY"), (0.75, "BIL"))

BULL = first_match(
    (rsi("TQQQ", 10) > 79, OVERBOUGHT_HEDGE),
    (rsi("SPY", 10) > 80, OVERBOUGHT_HEDGE),
    otherwise=rotation(otherwise="BIL"),
)
