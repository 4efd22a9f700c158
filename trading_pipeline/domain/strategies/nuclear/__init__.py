"""Nuclear: nuclear energy in bull markets, volatility when overbought, two views of the Nasdaq in bear markets."""

from trading_pipeline.domain.strategies.nuclear.bear import BEAR
from trading_pipeline.domain.strategies.nuclear.bull import BULL, IS_BULL
from trading_pipeline.domain.strategies.nuclear.overbought import OVERBOUGHT
from trading_pipeline.domain.strategies.tree import first_match, rsi

NUCLEAR = first_match(
    *OVERBOUGHT,
    (rsi("TQQQ", 10) < 30, "TQQQ"),
    (rsi("SPY", 10) < 30, "UPRO"),
    (IS_BULL, BULL),
    otherwise=BEAR,
)
