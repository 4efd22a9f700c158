"""From bars to a target for one session: the last row of what is evaluated over history."""

from collections.abc import Sequence
from datetime import date

import numpy as np
import pandas as pd

from trading_pipeline.domain import sessions
from trading_pipeline.domain.allocation import Allocation, allocate, from_frame
from trading_pipeline.domain.bars import close_panel
from trading_pipeline.domain.indicators import IndicatorPanel, Smoothing
from trading_pipeline.domain.signals import Signal, signals_from_frame, signals_of
from trading_pipeline.domain.strategies import Strategy, tree
from trading_pipeline.domain.strategies.evaluation import evaluate
from trading_pipeline.settings import StrategySettings

# A recursion forgets its start to a millionth within the look-back of its tree. Where a price has fallen by orders of
# magnitude, as that of a volatility fund has, the start was so much larger that a millionth of it still shows.
LOOK_BACKS = 2


def sessions_needed(strategies: Sequence[Strategy]) -> int:
    """Return how many sessions of bars a decision is made from, the decided one included."""
    return LOOK_BACKS * max(tree.look_back(strategy.tree) for strategy in strategies)


def panel_of(strategies: Sequence[Strategy], bars: pd.DataFrame, session: date, smoothing: Smoothing) -> IndicatorPanel:
    """Compute every reading of ``strategies`` once, over the sessions that a decision at ``session`` looks at.

    ``bars`` must reach back over the look-back of the strategies; bars after
    ``session`` are not looked at.
    """
    readings = {reading for strategy in strategies for reading in tree.readings(strategy.tree)}
    days = sessions.sessions_between(min(bars["session"], default=session), session)
    closes = close_panel(bars, sorted({reading.symbol for reading in readings}), days)
    trailing = max(tree.trailing_sessions(strategy.tree, smoothing) for strategy in strategies)
    return IndicatorPanel.from_closes(closes, readings, smoothing).last(trailing)


def signal_of(strategy: Strategy, panel: IndicatorPanel, smoothing: Smoothing) -> Signal:
    """Return what ``strategy`` wants on the last session of ``panel``."""
    own = _own_readings(strategy, panel, smoothing)
    return signals_of(strategy.name, evaluate(strategy.tree, own, smoothing), own)[-1]


def _own_readings(strategy: Strategy, panel: IndicatorPanel, smoothing: Smoothing) -> IndicatorPanel:
    # So that the hash of a signal's inputs does not change with the readings and sessions that another strategy needs.
    readings = tree.readings(strategy.tree)
    own = IndicatorPanel(panel.sessions, readings, np.column_stack([panel.values(reading) for reading in readings]))
    return own.last(tree.trailing_sessions(strategy.tree, smoothing))


def newest(allocations: pd.DataFrame) -> Allocation | None:
    """Return the allocation of the newest session in rows of table ``allocation``, or None where there are none."""
    if allocations.empty:
        return None
    return from_frame(allocations[allocations["session"] == allocations["session"].max()])


def consolidated(
    session: date, signals: Sequence[pd.DataFrame], previous: pd.DataFrame, chosen: StrategySettings
) -> Allocation:
    """Combine the signals of the strategies that have a share of capital into the account's target.

    ``signals`` and ``previous`` (the allocations of the sessions before, as far
    back as a sleeve may be carried) are rows of their tables.
    """
    shares = chosen.capital_shares
    decided = [signal for frame in signals for signal in signals_from_frame(frame) if signal.strategy in shares]
    return allocate(
        session,
        decided,
        shares,
        newest(previous),
        safe_asset=chosen.safe_asset,
        max_carried_sessions=chosen.max_carried_sessions,
    )
