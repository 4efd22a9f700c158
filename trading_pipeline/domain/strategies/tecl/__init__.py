"""TECL for the long term: leveraged technology while it leads, T-bills, volatility or defence when it does not."""

from trading_pipeline.domain.strategies.tecl.bear import BEAR
from trading_pipeline.domain.strategies.tecl.bull import BULL
from trading_pipeline.domain.strategies.tree import if_, price, sma

IS_BULL = price("SPY") > sma("SPY", 200)

TECL = if_(IS_BULL, BULL, BEAR)
