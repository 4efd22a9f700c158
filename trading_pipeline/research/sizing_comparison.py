"""Sizing side by side: what an account would have held, and been worth, by each way of sizing the same allocations.

The account decides at each close and holds what it decided from that close on:
no fill, spread or fee is modelled, and what sizing saves in costs shows as
turnover alone. What is left alone (see ``SizedWeights``), what
differs by less than the band of orders, and what has no close on that session
is kept as it has moved; where cash is short, all buys are cut alike. A holding
without a close is valued at the last one that is known. Holdings are simulated
in float64: they are statistics, not an account.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from trading_pipeline.domain.allocation import Allocation, allocate, drift_of
from trading_pipeline.domain.bars import ClosePanel
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.indicators import SESSIONS_PER_YEAR, FloatArray
from trading_pipeline.domain.instruments import CASH
from trading_pipeline.domain.signals import Signal, SignalStatus
from trading_pipeline.domain.sizing.options import SizingOptions, SizingPart
from trading_pipeline.domain.sizing.panel import SizingPanel
from trading_pipeline.domain.sizing.weights import SizedWeights, sized_weights
from trading_pipeline.domain.strategies.evaluation import Evaluation

if TYPE_CHECKING:
    import pandas as pd

BoolArray = npt.NDArray[np.bool_]

BY_STRATEGIES = "strategies"
TOGETHER = "together"


@dataclass(frozen=True)
class AccountRules:
    """How strategies share an account, as the settings say: see ``allocate`` and ``plan_orders``.

    ``shares`` are fractions of equity by strategy, ``drift_thresholds`` those
    of the strategies that are rebalanced by drift, ``band`` is the weight
    difference below which nothing trades, ``equity`` dollars at the start.
    ``safe_assets`` are by strategy, where one has its own.
    """

    shares: Mapping[str, float]
    drift_thresholds: Mapping[str, float]
    safe_asset: str
    max_carried_sessions: int
    band: float
    equity: Decimal
    cool_down_sessions: int = 1
    safe_assets: Mapping[str, str] = field(default_factory=dict)

    @property
    def all_safe_assets(self) -> frozenset[str]:
        """Every symbol that the account may be parked in, whoever wants it."""
        return frozenset({self.safe_asset, *self.safe_assets.values()})


@dataclass(frozen=True, eq=False)
class SizingRun:
    """An account sized in one way, over sessions.

    Attributes:
        method: A part of sizing, ``strategies`` (nothing is on) or ``together`` (everything is).
        weights: Fractions of equity held after the close, sessions by symbols.
        turnover: Half of what was traded at the close, as a fraction of equity.
        value: Worth of a dollar that was there on the first session, before trading at the close.
        missing: How many symbols could not be sized.
        fallbacks: Whether the safe asset stood in for want of any known volatility.
    """

    method: str
    weights: FloatArray
    turnover: FloatArray
    value: FloatArray
    missing: npt.NDArray[np.int64]
    fallbacks: BoolArray

    @property
    def cash(self) -> FloatArray:
        """Fraction of equity that is cash after each close."""
        left: FloatArray = 1 - self.weights.sum(axis=1)
        return left

    @property
    def returns(self) -> FloatArray:
        """Daily returns, one fewer than sessions."""
        earned: FloatArray = self.value[1:] / self.value[:-1] - 1
        return earned

    @property
    def volatility(self) -> float:
        """Sample deviation of the returns times the root of 252; NaN of fewer than two."""
        return _annual_deviation(self.returns)

    @property
    def growth(self) -> float:
        """Return a year, compounded, as a fraction; NaN of one session."""
        years = (self.value.size - 1) / SESSIONS_PER_YEAR
        return float(self.value[-1]) ** (1 / years) - 1 if years else math.nan

    @property
    def largest_fall(self) -> float:
        """Largest fall from a peak, as a positive fraction."""
        return float((1 - self.value / np.maximum.accumulate(self.value)).max())

    @property
    def turnover_a_year(self) -> float:
        """Mean turnover of a session times 252."""
        return float(self.turnover.mean()) * SESSIONS_PER_YEAR

    def rolling_volatility(self, window: int) -> FloatArray:
        """Return the annualised deviation of the last ``window`` returns at each session; NaN where there are fewer."""
        rolling = np.full(self.value.size, np.nan)
        if self.returns.size >= window:
            windows = np.lib.stride_tricks.sliding_window_view(self.returns, window)
            rolling[window:] = windows.std(axis=1, ddof=1) * math.sqrt(SESSIONS_PER_YEAR)
        return rolling


@dataclass(frozen=True, eq=False)
class SizingComparison:
    """The same allocations, sized in several ways; the first of ``runs`` is by the strategies alone."""

    sessions: tuple[date, ...]
    symbols: tuple[str, ...]
    runs: tuple[SizingRun, ...]

    def to_frame(self) -> "pd.DataFrame":
        """Return a row per session, method and symbol held, cash always among them.

        Columns: session, first (session of the range), method, symbol, weight
        (after the close), turnover and value (the same for all symbols).
        """
        import pandas as pd

        frame = pd.concat([self._rows(run) for run in self.runs], ignore_index=True)
        return frame.sort_values(["session", "method", "symbol"], ignore_index=True)

    def summary_frame(self) -> "pd.DataFrame":
        """Return a row per method: growth and volatility a year, largest fall, turnover a year, invested on average.

        Fractions all; ``missing`` counts symbols that could not be sized over all sessions, ``fallbacks`` sessions.
        """
        import pandas as pd

        rows = [
            {
                "method": run.method,
                "growth": run.growth,
                "volatility": run.volatility,
                "largest_fall": run.largest_fall,
                "turnover_a_year": run.turnover_a_year,
                "invested": float(run.weights.sum(axis=1).mean()),
                "missing": int(run.missing.sum()),
                "fallbacks": int(run.fallbacks.sum()),
            }
            for run in self.runs
        ]
        return pd.DataFrame(rows)

    def beside_each_other(self, row: int = -1) -> "pd.DataFrame":
        """Return what each method held after the close of one session: a row per symbol, a column per method."""
        import pandas as pd

        table = np.column_stack([np.append(run.weights[row], run.cash[row]) for run in self.runs])
        held = (table != 0).any(axis=1)
        frame = pd.DataFrame(table[held], columns=[run.method for run in self.runs])
        symbols = np.array([*self.symbols, CASH], dtype=object)[held]
        frame.insert(0, "symbol", pd.Series(symbols, dtype="str"))
        return frame

    def _rows(self, run: SizingRun) -> "pd.DataFrame":
        import pandas as pd

        table = np.column_stack([run.weights, run.cash])
        shown = table != 0
        shown[:, -1] = True
        rows, columns = np.nonzero(shown)
        return pd.DataFrame(
            {
                "session": pd.Series(np.array(self.sessions, dtype=object)[rows], dtype=object),
                "first": pd.Series([self.sessions[0]] * rows.size, dtype=object),
                "method": pd.Series([run.method] * rows.size, dtype="str"),
                "symbol": pd.Series(np.array([*self.symbols, CASH], dtype=object)[columns], dtype="str"),
                "weight": table[rows, columns],
                "turnover": run.turnover[rows],
                "value": run.value[rows],
            }
        )


def methods_of(options: SizingOptions) -> Mapping[str, SizingOptions]:
    """Return, by name, nothing on, each part alone and all parts together, with the figures of ``options``."""
    alone = {part.value: options.with_parts(part) for part in SizingPart}
    return {BY_STRATEGIES: options.with_parts(), **alone, TOGETHER: options.with_parts(*SizingPart)}


def allocations_of(
    evaluations: Mapping[str, Evaluation], closes: ClosePanel, rules: AccountRules
) -> tuple[Allocation, ...]:
    """Return the account's target for every session of ``closes``, each carried on from the one before.

    A session that the evaluation of a strategy lacks, or a strategy without
    one, counts as unavailable.
    """
    rows = {name: {day: row for row, day in enumerate(each.sessions)} for name, each in evaluations.items()}
    found: list[Allocation] = []
    for place, session in enumerate(closes.sessions):
        signals = [
            _signal(name, session, evaluations.get(name), rows.get(name, {}).get(session)) for name in rules.shares
        ]
        found.append(_allocation(signals, found[-1] if found else None, _growth(closes, place), rules))
    return tuple(found)


def compare(
    allocations: Sequence[Allocation], panel: SizingPanel, methods: Mapping[str, SizingOptions], rules: AccountRules
) -> SizingComparison:
    """Return the account of ``allocations`` sized by each of ``methods``.

    Args:
        allocations: targets of consecutive sessions, which are the last ones of ``panel``.
        panel: figures of every symbol that an allocation names and of the safe asset; what it lacks is never held.
        methods: options by the name of the method.
        rules: the band and the equity at the start.

    Raises:
        InvalidInput: there is no allocation, or the panel does not end with their sessions.
    """
    days = tuple(allocation.session for allocation in allocations)
    if not days or panel.sessions[-len(days) :] != days:
        raise InvalidInput(
            f"{len(days)} sessions are to be compared, and a panel of {len(panel.sessions)} does not end with them; "
            f"make the panel of the sessions before and of these"
        )
    account = _Account(allocations, panel, rules, _last_known(panel.closes))
    return SizingComparison(days, panel.symbols, tuple(account.run(name, each) for name, each in methods.items()))


@dataclass(frozen=True, eq=False)
class _Account:
    allocations: Sequence[Allocation]
    panel: SizingPanel
    rules: AccountRules
    prices: FloatArray

    def run(self, method: str, options: SizingOptions) -> SizingRun:
        length = len(self.allocations)
        run = SizingRun(
            method,
            weights=np.zeros((length, len(self.panel.symbols))),
            turnover=np.zeros(length),
            value=np.ones(length),
            missing=np.zeros(length, dtype=np.int64),
            fallbacks=np.zeros(length, dtype=bool),
        )
        held = np.zeros(len(self.panel.symbols))
        for place, allocation in enumerate(self.allocations):
            row = len(self.panel.sessions) - length + place
            if place:
                held, run.value[place] = self._moved(row, held, run.value[place - 1])
            if not allocation.is_undecided:
                sized = self._sized(allocation, row, held, run.value[place], options)
                traded = self._traded(row, held, sized)
                run.turnover[place] = np.abs(traded - held).sum() / 2
                run.missing[place], run.fallbacks[place] = len(sized.missing), sized.used_fallback
                held = traded
            run.weights[place] = held
        return run

    def _moved(self, row: int, held: FloatArray, value: float) -> tuple[FloatArray, float]:
        grown = held.copy()
        owned = held != 0
        grown[owned] *= self.prices[row, owned] / self.prices[row - 1, owned]
        factor = 1 + grown.sum() - held.sum()
        return grown / factor, value * factor

    def _sized(
        self, allocation: Allocation, row: int, held: FloatArray, value: float, options: SizingOptions
    ) -> SizedWeights:
        now = {self.panel.symbols[place]: float(held[place]) for place in np.flatnonzero(held)}
        equity = self.rules.equity * Decimal(repr(float(value)))
        return sized_weights(allocation.weights, self.panel.inputs(row, equity, now), options)

    def _traded(self, row: int, held: FloatArray, sized: SizedWeights) -> FloatArray:
        target = np.array([sized.weights.get(symbol, 0.0) for symbol in self.panel.symbols])
        alone = np.array([symbol in sized.left_alone for symbol in self.panel.symbols])
        alone |= np.isnan(self.panel.closes[row]) | ((target > 0) & (np.abs(target - held) < self.rules.band))
        wanted = np.where(alone, held, target)
        kept = np.minimum(wanted, held)
        buys, room = wanted - kept, max(1 - kept.sum(), 0.0)
        short = buys.sum() > room
        return np.asarray(kept + buys * (room / buys.sum()) if short else wanted, dtype=np.float64)


def _last_known(closes: FloatArray) -> FloatArray:
    """Return ``closes`` with each gap closed by the close before it; what comes before the first stays NaN."""
    rows = np.where(np.isnan(closes), 0, np.arange(len(closes))[:, np.newaxis])
    known: FloatArray = np.take_along_axis(closes, np.maximum.accumulate(rows, axis=0), axis=0)
    return known


def _signal(strategy: str, session: date, evaluation: Evaluation | None, row: int | None) -> Signal:
    if evaluation is None or row is None:
        return Signal(strategy, session, SignalStatus.UNAVAILABLE, {}, "it has no history on that session", "")
    reason = evaluation.reason(row)
    held = zip(evaluation.symbols, evaluation.weights[row].tolist(), strict=True)
    weights = {symbol: weight for symbol, weight in held if weight > 0}
    status = SignalStatus.AVAILABLE if reason is None else SignalStatus.UNAVAILABLE
    return Signal(strategy, session, status, weights, reason, "")


def _growth(closes: ClosePanel, place: int) -> Mapping[str, float]:
    if not place:
        return {}
    return dict(zip(closes.symbols, (closes.values[place] / closes.values[place - 1]).tolist(), strict=True))  # noqa: PD011 an array of ours


def _allocation(
    signals: Sequence[Signal], before: Allocation | None, growth: Mapping[str, float], rules: AccountRules
) -> Allocation:
    thresholds = rules.drift_thresholds
    measured = {
        signal.strategy: drift_of(signal, before, growth, thresholds[signal.strategy])
        for signal in signals
        if signal.strategy in thresholds
    }
    return allocate(
        signals[0].session,
        signals,
        rules.shares,
        before,
        {strategy: drift for strategy, drift in measured.items() if drift is not None},
        safe_asset=rules.safe_asset,
        max_carried_sessions=rules.max_carried_sessions,
        cool_down_sessions=rules.cool_down_sessions,
        safe_assets=rules.safe_assets,
    )


def _annual_deviation(returns: FloatArray) -> float:
    return float(returns.std(ddof=1)) * math.sqrt(SESSIONS_PER_YEAR) if returns.size > 1 else math.nan
