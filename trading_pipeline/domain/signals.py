"""Signals: what one strategy wants to hold after one session, or why it cannot tell."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from trading_pipeline.domain.errors import DataError
from trading_pipeline.domain.readings import IndicatorPanel
from trading_pipeline.domain.strategies.evaluation import Evaluation

if TYPE_CHECKING:
    import pandas as pd

WEIGHT_TOLERANCE = 1e-9
SIGNAL_COLUMNS = ("session", "strategy", "symbol", "weight", "status", "reason", "inputs_hash")
HISTORY_COLUMNS = ("session", "symbol", "weight", "status", "reason")


class SignalStatus(StrEnum):
    """Whether a strategy could be decided."""

    AVAILABLE = "available"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True)
class Signal:
    """One strategy's target after the close of ``session``.

    ``weights`` are fractions of the strategy's own capital: positive, summing
    to 1, in alphabetical order of their symbols; empty where the strategy is
    unavailable, and then ``reason`` names what was missing. ``inputs_hash`` is
    the fingerprint of the readings that decided.

    Raises:
        DataError: status, weights and reason contradict each other, or the weights do not sum to 1 within 1e-9.
    """

    strategy: str
    session: date
    status: SignalStatus
    weights: Mapping[str, float]
    reason: str | None
    inputs_hash: str

    def __post_init__(self) -> None:
        """Check what every signal promises, and close the weights to changes."""
        available = self.status is SignalStatus.AVAILABLE
        if available != bool(self.weights) or available != (self.reason is None):
            raise DataError(f"{self} contradicts itself: available means weights and no reason, unavailable a reason")
        if available:
            _check_weights(self)
        object.__setattr__(self, "weights", MappingProxyType(dict(sorted(self.weights.items()))))


def signals_of(strategy: str, evaluation: Evaluation, panel: IndicatorPanel) -> tuple[Signal, ...]:
    """Return the signal of ``strategy`` for each session of ``evaluation``, oldest first.

    ``panel`` is the panel that was evaluated; its fingerprint goes into every signal.

    Raises:
        DataError: the weights of an available session do not sum to 1.
    """
    fingerprint = panel.fingerprint()
    return tuple(_signal(strategy, evaluation, row, fingerprint) for row in range(len(evaluation.sessions)))


def to_frame(signal: Signal) -> "pd.DataFrame":
    """Return the signal as rows of a signal table.

    One row per symbol; an unavailable signal is one row without symbol and weight.
    """
    import pandas as pd

    symbols: list[str | None] = [*signal.weights] or [None]
    weights = list(signal.weights.values()) or [math.nan]
    rows = len(symbols)
    return pd.DataFrame(
        {
            "session": pd.Series([signal.session] * rows, dtype=object),
            "strategy": pd.Series([signal.strategy] * rows, dtype="str"),
            "symbol": pd.Series(np.array(symbols, dtype=object), dtype="str"),
            "weight": pd.Series(weights, dtype="float64"),
            "status": pd.Series([str(signal.status)] * rows, dtype="str"),
            "reason": pd.Series([signal.reason] * rows, dtype="str"),
            "inputs_hash": pd.Series([signal.inputs_hash] * rows, dtype="str"),
        },
        columns=list(SIGNAL_COLUMNS),
    )


def signals_from_frame(frame: "pd.DataFrame") -> tuple[Signal, ...]:
    """Return the signals that ``to_frame`` wrote, by session, then strategy."""
    return tuple(_from_rows(rows) for _, rows in frame.groupby(["session", "strategy"]))


def history_frame(evaluation: Evaluation, first: date, last: date) -> "pd.DataFrame":
    """Return what was held after each session from ``first`` to ``last``, by session, then symbol.

    Columns session (date), symbol, weight (fraction), status and reason. A
    session that is unavailable is one row with the reason and neither symbol
    nor weight. Sessions that were not evaluated have no row.
    """
    import pandas as pd

    days = np.array(evaluation.sessions, dtype=object)
    wanted = (days >= first) & (days <= last)
    held_rows, columns = np.nonzero((evaluation.weights > 0) & wanted[:, np.newaxis])
    closed_rows = np.flatnonzero(~evaluation.available & wanted)
    held = pd.DataFrame(
        {
            "row": held_rows,
            "symbol": np.array(evaluation.symbols, dtype=object)[columns],
            "weight": evaluation.weights[held_rows, columns],
            "status": str(SignalStatus.AVAILABLE),
            "reason": None,
        }
    )
    closed = pd.DataFrame(
        {
            "row": closed_rows,
            "symbol": None,
            "weight": np.nan,
            "status": str(SignalStatus.UNAVAILABLE),
            "reason": np.array(evaluation.reasons, dtype=object)[evaluation.codes[closed_rows]],
        }
    )
    text = {"symbol": "str", "status": "str", "reason": "str", "weight": "float64"}
    history = pd.concat([held.astype(text), closed.astype(text)]).sort_values("row", kind="stable", ignore_index=True)
    history["session"] = pd.Series(days[history["row"]], dtype=object)
    return history[list(HISTORY_COLUMNS)]


def _check_weights(signal: Signal) -> None:
    total = math.fsum(signal.weights.values())
    if not abs(total - 1) <= WEIGHT_TOLERANCE:
        raise DataError(f"the weights of {signal.strategy} on {signal.session} sum to {total!r}, not to 1")
    if min(signal.weights.values()) <= 0:
        raise DataError(f"{signal.strategy} on {signal.session} has a weight that is not positive: {signal.weights}")


def _signal(strategy: str, evaluation: Evaluation, row: int, fingerprint: str) -> Signal:
    held = zip(evaluation.symbols, evaluation.weights[row], strict=True)
    weights = {symbol: float(weight) for symbol, weight in held if weight > 0}
    reason = evaluation.reason(row)
    status = SignalStatus.AVAILABLE if reason is None else SignalStatus.UNAVAILABLE
    return Signal(strategy, evaluation.sessions[row], status, weights, reason, fingerprint)


def _from_rows(rows: "pd.DataFrame") -> Signal:
    first = rows.iloc[0]
    held = rows.dropna(subset=["symbol"])
    weights = dict(zip(held["symbol"].astype(str), held["weight"].astype(float), strict=True))
    status = SignalStatus(first["status"])
    reason = None if status is SignalStatus.AVAILABLE else str(first["reason"])
    return Signal(str(first["strategy"]), first["session"], status, weights, reason, str(first["inputs_hash"]))
