"""Backtests of the value-at-risk models on what the strategies held and lost.

After the close of each session every model says a figure for the weights that
a strategy then holds, from the returns of those symbols up to that close: what
the account's own limits would have been held against. The next session brings
the loss of those weights. A model sees nothing of it, so the test is out of
sample throughout.

A session has no figure where the strategy was unavailable or a symbol that it
held has too short a history for scenarios, and no loss where a close is
missing. Such sessions are counted as missing, not as passes.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from trading_pipeline.domain.bars import ClosePanel
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.indicators import FloatArray
from trading_pipeline.domain.risk.model_backtest import BASEL_SESSIONS, ModelBacktest, backtest
from trading_pipeline.domain.risk.scenarios import MINIMUM, WINDOW, PortfolioScenarios, scenarios_of
from trading_pipeline.domain.risk.tail_risk import (
    ALPHA_VAR,
    historical_value_at_risk,
    normal_value_at_risk,
    student_t_value_at_risk,
)
from trading_pipeline.domain.risk.volatility import WARM_UP, filtered_historical
from trading_pipeline.domain.strategies.evaluation import Evaluation

if TYPE_CHECKING:
    import pandas as pd


class ValueAtRiskModel(StrEnum):
    """How the value at risk of today's weights is made from the scenarios."""

    HISTORICAL = "historical"
    NORMAL = "normal"
    STUDENT_T = "student-t"
    FILTERED = "filtered-historical"
    GARCH_FILTERED = "garch-filtered-historical"


QUICK_MODELS = (
    ValueAtRiskModel.HISTORICAL,
    ValueAtRiskModel.NORMAL,
    ValueAtRiskModel.STUDENT_T,
    ValueAtRiskModel.FILTERED,
)
"""Those that fit nothing by search; GARCH takes a tenth of a second for each strategy and session."""


@dataclass(frozen=True)
class TailOptions:
    """What is tested.

    Attributes:
        confidence: Of the value at risk, in [0.5, 1).
        window: Scenarios at most; see ``scenarios_of``.
        minimum: Returns that each symbol held needs at least.
        models: The models, each once.
    """

    confidence: float = ALPHA_VAR
    window: int = WINDOW
    minimum: int = MINIMUM
    models: tuple[ValueAtRiskModel, ...] = QUICK_MODELS

    @property
    def sessions_before(self) -> int:
        """Sessions of closes that the first figure wants before its own."""
        return self.window + WARM_UP


@dataclass(frozen=True, eq=False)
class TailRun:
    """One model on one strategy.

    Attributes:
        strategy: The strategy.
        model: The model.
        value_at_risk: What the model said before each session, a fraction of equity; NaN where it said nothing.
        result: Over all sessions.
        recent: Over the last 250 sessions, those of the Basel traffic light.
    """

    strategy: str
    model: ValueAtRiskModel
    value_at_risk: FloatArray
    result: ModelBacktest
    recent: ModelBacktest

    @property
    def mean_value_at_risk(self) -> float:
        """Mean of the figures, a fraction of equity; NaN if there is none."""
        known = self.value_at_risk[np.isfinite(self.value_at_risk)]
        return float(known.mean()) if known.size else math.nan


@dataclass(frozen=True, eq=False)
class TailBacktest:
    """Every model on every strategy.

    Attributes:
        options: What was tested.
        sessions: The sessions that brought the losses, oldest first.
        losses: Of each strategy on each of them, a fraction of equity, negative for a gain; NaN where unknown.
        runs: By strategy, then by model.
    """

    options: TailOptions
    sessions: tuple[date, ...]
    losses: Mapping[str, FloatArray]
    runs: tuple[TailRun, ...]

    def of(self, strategy: str) -> tuple[TailRun, ...]:
        """Return the runs of one strategy."""
        return tuple(run for run in self.runs if run.strategy == strategy)

    def to_frame(self) -> "pd.DataFrame":
        """Return a row per strategy and model, with the last and the first of the sessions in each."""
        import pandas as pd

        frame = pd.DataFrame([self._row(run) for run in self.runs])
        return frame.astype(dict.fromkeys(("strategy", "model", "zone", "recent_zone"), "str"))

    def _row(self, run: TailRun) -> dict[str, object]:
        result, recent = run.result, run.recent
        return {
            "session": self.sessions[-1],
            "first": self.sessions[0],
            "strategy": run.strategy,
            "model": run.model.value,
            "confidence": self.options.confidence,
            "window": self.options.window,
            "sessions": result.sessions,
            "missing": result.missing,
            "exceptions": result.exceptions,
            "expected_exceptions": result.expected_exceptions,
            "kupiec": result.kupiec.statistic,
            "kupiec_p": result.kupiec.p_value,
            "independence": result.independence.statistic,
            "independence_p": result.independence.p_value,
            "conditional_coverage": result.conditional_coverage.statistic,
            "conditional_coverage_p": result.conditional_coverage.p_value,
            "zone": result.traffic_light.zone.value,
            "multiplier": result.traffic_light.multiplier,
            "recent_sessions": recent.sessions,
            "recent_exceptions": recent.exceptions,
            "recent_zone": recent.traffic_light.zone.value,
            "mean_value_at_risk": run.mean_value_at_risk,
        }


def tail_backtest(
    evaluations: Mapping[str, Evaluation], closes: ClosePanel, first: date, options: TailOptions | None = None
) -> TailBacktest:
    """Return how each model would have fared on what each strategy held.

    Args:
        evaluations: What each strategy holds, by its name. A session that an
            evaluation lacks is one on which that strategy was unavailable.
        closes: Adjusted closes in dollars: ``options.sessions_before`` sessions before ``first``, then those tested.
        first: The session after whose close the first figure is said; the loss comes on the next.
        options: What is tested; without it, the four models without GARCH at 99 %.

    Raises:
        InvalidInput: no strategy was given, no model or one twice, the closes have no two sessions from ``first`` on,
            or the numbers of the options do not fit.
    """
    chosen = options or TailOptions()
    begin = sum(session < first for session in closes.sessions)
    _check(evaluations, chosen, len(closes.sessions) - begin)
    history = _History(_frame(closes), closes, begin, chosen)
    losses: dict[str, FloatArray] = {}
    runs: list[TailRun] = []
    for name, evaluation in evaluations.items():
        weights = history.weights(evaluation)
        losses[name] = history.losses(evaluation.symbols, weights)
        figures = history.figures(evaluation.symbols, weights)
        runs += [
            _run(name, model, losses[name], figures[:, place], chosen) for place, model in enumerate(chosen.models)
        ]
    return TailBacktest(chosen, closes.sessions[begin + 1 :], losses, tuple(runs))


@dataclass(frozen=True, eq=False)
class _History:
    """Closes up to each session; figures are said after all of those from ``begin`` on but the last."""

    frame: "pd.DataFrame"
    closes: ClosePanel
    begin: int
    options: TailOptions

    def weights(self, evaluation: Evaluation) -> FloatArray:
        """Return what is held after each session that a figure is said after; NaN where unavailable."""
        said = self.closes.sessions[self.begin : -1]
        row_of = {session: row for row, session in enumerate(evaluation.sessions)}
        rows = np.array([row_of.get(session, -1) for session in said], dtype=np.intp)
        weights = np.full((rows.size, len(evaluation.symbols)), np.nan)
        weights[rows >= 0] = evaluation.weights[rows[rows >= 0]]
        return weights

    def losses(self, symbols: tuple[str, ...], weights: FloatArray) -> FloatArray:
        """Return what those weights lost by the next close; NaN where unavailable or a close is missing."""
        prices = np.column_stack([self.closes.column(symbol)[self.begin :] for symbol in symbols])
        # What is not held needs no close, and NaN is not held but unavailable.
        moves = np.where(weights == 0, 0.0, prices[1:] / prices[:-1] - 1)
        lost: FloatArray = -(weights * moves).sum(axis=1)
        return lost

    def figures(self, symbols: tuple[str, ...], weights: FloatArray) -> FloatArray:
        """Return the value at risk after each session by each model, sessions by models."""
        found = np.full((len(weights), len(self.options.models)), np.nan)
        for place, row in enumerate(weights):
            held = {symbol: float(weight) for symbol, weight in zip(symbols, row, strict=True) if weight != 0}
            if not np.isnan(row).any():
                found[place] = self._said(self.begin + place, held)
        return found

    def _said(self, row: int, held: Mapping[str, float]) -> list[float]:
        models, confidence = self.options.models, self.options.confidence
        if not held.keys() <= set(self.closes.symbols):
            return [math.nan] * len(models)
        seen = self.frame[list(held)].iloc[max(row - self.options.sessions_before, 0) : row + 1]
        scenarios = scenarios_of(seen, self.options.window, self.options.minimum)
        if scenarios.missing:
            return [math.nan] * len(models)
        portfolio = scenarios.portfolio(held)
        return [_FIGURES[model](portfolio, confidence) for model in models]


def _historical(portfolio: PortfolioScenarios, confidence: float) -> float:
    return historical_value_at_risk(portfolio.historical, confidence)


def _normal(portfolio: PortfolioScenarios, confidence: float) -> float:
    return normal_value_at_risk(portfolio.historical, confidence)


def _student_t(portfolio: PortfolioScenarios, confidence: float) -> float:
    return student_t_value_at_risk(portfolio.historical, confidence, portfolio.scenarios.degrees_of_freedom)


def _filtered(portfolio: PortfolioScenarios, confidence: float) -> float:
    return historical_value_at_risk(portfolio.filtered, confidence)


def _garch_filtered(portfolio: PortfolioScenarios, confidence: float) -> float:
    return filtered_historical(-portfolio.historical, alpha_var=confidence).value_at_risk


_FIGURES: Mapping[ValueAtRiskModel, Callable[[PortfolioScenarios, float], float]] = {
    ValueAtRiskModel.HISTORICAL: _historical,
    ValueAtRiskModel.NORMAL: _normal,
    ValueAtRiskModel.STUDENT_T: _student_t,
    ValueAtRiskModel.FILTERED: _filtered,
    ValueAtRiskModel.GARCH_FILTERED: _garch_filtered,
}


def _run(
    strategy: str, model: ValueAtRiskModel, losses: FloatArray, figures: FloatArray, options: TailOptions
) -> TailRun:
    return TailRun(
        strategy,
        model,
        figures,
        backtest(losses, figures, options.confidence),
        backtest(losses[-BASEL_SESSIONS:], figures[-BASEL_SESSIONS:], options.confidence),
    )


def _frame(closes: ClosePanel) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(closes.values, index=pd.Index(closes.sessions, dtype=object), columns=list(closes.symbols))


def _check(evaluations: Mapping[str, Evaluation], options: TailOptions, tested: int) -> None:
    if not evaluations:
        raise InvalidInput("no strategy was given: a backtest of models needs at least one")
    if not options.models or len(set(options.models)) < len(options.models):
        raise InvalidInput(f"a backtest needs models, each once; was given {', '.join(options.models) or 'none'}")
    if tested <= 1:
        raise InvalidInput(
            f"the closes have {tested} sessions from the first tested on, wanted 2; choose a longer range"
        )
