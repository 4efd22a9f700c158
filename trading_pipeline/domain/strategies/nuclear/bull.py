"""Bull: while the market stands above its long mean, hold the leaders among nuclear energy."""

from trading_pipeline.domain.indicators import Indicator
from trading_pipeline.domain.strategies.tree import price, sma, top

IS_BULL = price("SPY") > sma("SPY", 200)

BULL = top(3, "SMR", "BWXT", "LEU", "EXC", "NLR", "OKLO", by=Indicator.MEAN_RETURN, window=90)
"""The three with the highest mean return of ninety sessions; one without that history yet is left out."""
