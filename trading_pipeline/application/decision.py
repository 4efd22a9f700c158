"""From bars to a target for one session: the last row of what is evaluated over history."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import pandas as pd

from trading_pipeline.domain import sessions
from trading_pipeline.domain.allocation import Allocation, Drift, allocate, breaker_of, drift_of, from_frame
from trading_pipeline.domain.bars import close_panel
from trading_pipeline.domain.readings import IndicatorPanel
from trading_pipeline.domain.signals import Signal, signals_from_frame, signals_of
from trading_pipeline.domain.smoothing import Smoothing
from trading_pipeline.domain.strategies import Strategy, tree
from trading_pipeline.domain.strategies.evaluation import evaluate
from trading_pipeline.domain.strategies.evaluator import Evaluator
from trading_pipeline.domain.strategy_breaker import Breaker
from trading_pipeline.settings import StrategySettings

# A recursion forgets its start to a millionth within the look-back of its tree. Where a price has fallen by orders of
# magnitude, as that of a volatility fund has, the start was so much larger that a millionth of it still shows.
LOOK_BACKS = 2


def sessions_needed(strategies: Sequence[Strategy]) -> int:
    """Return how many sessions of bars a decision is made from, the decided one included."""
    return LOOK_BACKS * max(tree.look_back(strategy.tree) for strategy in strategies)


def panel_of(strategies: Sequence[Strategy], bars: pd.DataFrame, session: date, smoothing: Smoothing) -> IndicatorPanel:
    """Compute every reading of ``strategies`` once, over the sessions that a decision at ``session`` looks at.

    Readings of groups are among them, so that they come from all of the bars
    and not from the sessions that are kept alone. ``bars`` must reach back over
    the look-back of the strategies; bars after ``session`` are not looked at.
    """
    readings = {reading for strategy in strategies for reading in tree.readings(strategy.tree)}
    days = sessions.sessions_between(min(bars["session"], default=session), session)
    closes = close_panel(bars, sorted({reading.symbol for reading in readings}), days)
    trailing = max(tree.trailing_sessions(strategy.tree, smoothing) for strategy in strategies)
    panel = IndicatorPanel.from_closes(closes, readings, smoothing)
    for strategy in strategies:
        panel = panel.with_columns(Evaluator(strategy.tree, panel, smoothing).group_readings())
    return panel.last(trailing)


def signal_of(strategy: Strategy, panel: IndicatorPanel, smoothing: Smoothing) -> Signal:
    """Return what ``strategy`` wants on the last session of ``panel``."""
    own = _own_readings(strategy, panel, smoothing)
    return signals_of(strategy.name, evaluate(strategy.tree, own, smoothing), own)[-1]


def _own_readings(strategy: Strategy, panel: IndicatorPanel, smoothing: Smoothing) -> IndicatorPanel:
    # So that the hash of a signal's inputs does not change with the readings and sessions that another strategy needs.
    trailing = panel.last(tree.trailing_sessions(strategy.tree, smoothing))
    groups = [reading for reading in Evaluator(strategy.tree, trailing, smoothing).groups_read() if reading in trailing]
    return trailing.of([*tree.readings(strategy.tree), *groups])


def newest(allocations: pd.DataFrame) -> Allocation | None:
    """Return the allocation of the newest session in rows of table ``allocation``, or None where there are none."""
    if allocations.empty:
        return None
    return from_frame(allocations[allocations["session"] == allocations["session"].max()])


@dataclass(frozen=True)
class Consolidation:
    """The account's target, and by strategy what led to it.

    ``drifts`` are of the sleeves that are rebalanced by drift, as far as there
    was one; ``safe_assets`` are what sleeves are parked in where a breaker opens.
    """

    allocation: Allocation
    drifts: Mapping[str, Drift]
    breakers: Mapping[str, Breaker]
    safe_assets: Mapping[str, str]

    def sleeves(self) -> pd.DataFrame:
        """Return one row for each strategy: what became of its sleeve, and the drift behind that.

        ``drift`` and ``threshold`` (fractions of the sleeve) are NaN for a
        sleeve that was not compared; ``without_close`` names the symbols for
        want of which a drift could not be measured.
        """
        rows = [_sleeve(strategy, self) for strategy in _strategies(self.allocation)]
        return pd.DataFrame(rows, columns=["strategy", "status", "decided_on", "drift", "threshold", "without_close"])

    def breaker_table(self) -> pd.DataFrame:
        """Return one row for each strategy: its breaker, sessions without a signal, since and until when it is open."""
        rows = [
            (name, each.status.value, each.failures, each.opened_on, each.counts_from, self.safe_assets[name])
            for name, each in self.breakers.items()
        ]
        columns = ["strategy", "status", "failures", "opened_on", "counts_from", "safe_asset"]
        return pd.DataFrame(rows, columns=columns)


def _strategies(allocation: Allocation) -> Sequence[str]:
    return list(dict.fromkeys(part.strategy for part in allocation.contributions))


def _sleeve(strategy: str, consolidation: Consolidation) -> tuple[object, ...]:
    part = consolidation.allocation.sleeve(strategy)[0]
    drift = consolidation.drifts.get(strategy)
    measured = (drift.distance, drift.threshold, ", ".join(drift.unpriced)) if drift else (math.nan, math.nan, "")
    return (strategy, part.status.value, part.decided_on, *measured)


def consolidated(
    session: date,
    signals: Sequence[pd.DataFrame],
    previous: pd.DataFrame,
    bars: pd.DataFrame,
    strategies: Sequence[Strategy],
    chosen: StrategySettings,
) -> Consolidation:
    """Combine the signals of the strategies that have a share of capital into the account's target.

    ``signals`` and ``previous`` (the allocations of the sessions before, as far
    back as a sleeve may be carried) are rows of their tables. ``bars`` must
    reach back over the same sessions: by its closes the sleeves of the
    ``strategies`` that are rebalanced by drift have moved.
    """
    shares = chosen.capital_shares
    decided = [signal for frame in signals for signal in signals_from_frame(frame) if signal.strategy in shares]
    before = newest(previous)
    thresholds = {each.name: each.drift_threshold for each in strategies if each.drift_threshold is not None}
    drifts = _drifts(session, decided, before, bars, thresholds) if before else {}
    target = allocate(
        session,
        decided,
        shares,
        before,
        drifts,
        safe_asset=chosen.safe_asset,
        max_carried_sessions=chosen.max_carried_sessions,
        cool_down_sessions=chosen.breaker_cool_down_sessions,
        safe_assets=chosen.safe_assets,
    )
    rules = chosen.breaker_rules
    return Consolidation(
        target,
        drifts,
        breakers={signal.strategy: breaker_of(signal, before, rules) for signal in decided},
        safe_assets={strategy: rules.safe_asset_of(strategy) for strategy in shares},
    )


def _drifts(
    session: date, signals: Sequence[Signal], before: Allocation, bars: pd.DataFrame, thresholds: Mapping[str, float]
) -> Mapping[str, Drift]:
    growth = _growth(bars, list(before.weights), before.session, session)
    measured = {
        signal.strategy: drift_of(signal, before, growth, thresholds[signal.strategy])
        for signal in signals
        if signal.strategy in thresholds
    }
    return {strategy: drift for strategy, drift in measured.items() if drift is not None}


def _growth(bars: pd.DataFrame, symbols: Sequence[str], since: date, session: date) -> Mapping[str, float]:
    panel = close_panel(bars, symbols, (since, session))
    closes = {symbol: panel.column(symbol) for symbol in panel.symbols}
    return {symbol: float(now / then) for symbol, (then, now) in closes.items()}
