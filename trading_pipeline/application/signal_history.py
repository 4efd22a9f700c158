"""Signals over history: one strategy evaluated on all sessions of a range at once."""

from datetime import date
from typing import TYPE_CHECKING

from trading_pipeline.domain import sessions
from trading_pipeline.domain.bars import close_panel
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.indicators import IndicatorPanel, Smoothing
from trading_pipeline.domain.signals import history_frame
from trading_pipeline.domain.strategies import Strategy, tree
from trading_pipeline.domain.strategies.evaluation import evaluate

if TYPE_CHECKING:
    import pandas as pd


def signal_history(
    strategy: Strategy,
    bars: "pd.DataFrame",
    first: date | None = None,
    last: date | None = None,
    smoothing: Smoothing = Smoothing.WILDER,
) -> "pd.DataFrame":
    """Return what ``strategy`` held after each session from ``first`` to ``last``.

    ``bars`` is a Bars frame. All of its history up to ``last`` counts, nothing
    after it. Only sessions that the bars of the strategy's symbols cover are
    answered; the bounds default to the first and the last of them.

    Returns:
        A frame with the columns session, symbol, weight, status and reason, by
        session, then symbol: see ``history_frame``.

    Raises:
        InvalidInput: no session lies between the bounds, or the bars do not cover any that does.
    """
    symbols = tree.symbols(strategy.tree)
    known = bars[bars["symbol"].isin(symbols)]
    if known.empty:
        raise InvalidInput(f"the bars hold none of the symbols that {strategy.name} reads: {', '.join(symbols)}")
    start, end = known["session"].min(), known["session"].max()
    asked = sessions.sessions_between(first or start, last or end)
    if not asked:
        raise InvalidInput(f"no session lies between {first or start} and {last or end}: ask for a longer range")
    covered = sessions.sessions_between(start, min(end, asked[-1]))
    if not covered or covered[-1] < asked[0]:
        raise InvalidInput(
            f"the bars cover {start} to {end}, not {asked[0]} to {asked[-1]}: ask for sessions that they cover"
        )
    panel = IndicatorPanel.from_closes(
        close_panel(known[known["session"] <= covered[-1]], symbols, covered), tree.readings(strategy.tree), smoothing
    )
    return history_frame(evaluate(strategy.tree, panel, smoothing), asked[0], asked[-1])
