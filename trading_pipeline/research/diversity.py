"""Diversity: how different the strategies of an account are, in what they earn, decide and hold.

With ``w`` the weights that a strategy holds at the close of a session and ``r``
the returns of the symbols by the next close, two strategies a and b have

* a *return correlation*: Pearson's, of the daily returns ``sum(w * r)``;
* a *signal correlation*: Pearson's, of the weights with the mean of each symbol
  removed, all symbols and sessions taken together: ``sum(a * b) / sqrt(sum(a * a) * sum(b * b))``
  of those deviations. It is 1 for the same decisions and 0 where they hold
  nothing in common; a symbol that neither trades changes nothing;
* an *overlap*: the mean over sessions of ``sum(min(w_a, w_b))``, which is 1 less
  their total variation distance: 1 for the same holdings, 0 for none in common.

All figures of a pair are made from the sessions that both have, and so those of
another pair may be made from others; how many there were is kept beside them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from trading_pipeline.domain.bars import ClosePanel
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.indicators import FloatArray
from trading_pipeline.domain.strategies.evaluation import Evaluation

if TYPE_CHECKING:
    import pandas as pd

BoolArray = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]

LEAST_SESSIONS = 3
"""Two points always lie on a line: a correlation of fewer than three sessions says nothing."""

CONSTANT_WITHIN = 1e-12
"""A root mean square below this is what rounding leaves of a figure that never changes."""


@dataclass(frozen=True, eq=False)
class Diversity:
    """How different strategies are; matrices have a row and a column per name, in the order of ``names``.

    Correlations lie between -1 and 1, and are NaN where fewer than three
    sessions are common or one of the two never changes. Overlaps lie between 0
    and 1, and are NaN where no session is common.

    Attributes:
        names: The strategies.
        period: First and last session on which any of them was available; None if none ever was.
        return_correlation: Of daily returns.
        signal_correlation: Of decisions.
        overlap: Of holdings.
        return_sessions: How many sessions each return correlation was made from.
        signal_sessions: How many sessions each signal correlation and each overlap was made from.
        effective_number: Of the strategies that were not left out; see the function of that name.
        added: What each strategy adds to the effective number of the others: below 0 where it only
            repeats one of several, NaN where it was left out or either number is undefined.
        left_out: The strategies whose returns correlate with nothing, and why.
    """

    names: tuple[str, ...]
    period: tuple[date, date] | None
    return_correlation: FloatArray
    signal_correlation: FloatArray
    overlap: FloatArray
    return_sessions: Counts
    signal_sessions: Counts
    effective_number: float
    added: FloatArray
    left_out: Mapping[str, str]

    def to_frame(self) -> "pd.DataFrame":
        """Return a row per ordered pair of strategies, each with itself included."""
        import pandas as pd

        names, size = np.array(self.names, dtype=object), len(self.names)
        return pd.DataFrame(
            {
                "strategy": pd.Series(np.repeat(names, size), dtype="str"),
                "other": pd.Series(np.tile(names, size), dtype="str"),
                "return_correlation": self.return_correlation.ravel(),
                "signal_correlation": self.signal_correlation.ravel(),
                "overlap": self.overlap.ravel(),
                "return_sessions": self.return_sessions.ravel(),
                "signal_sessions": self.signal_sessions.ravel(),
            }
        )

    def strategies_frame(self) -> "pd.DataFrame":
        """Return a row per strategy: its sessions, what it adds to the effective number, why it was left out."""
        import pandas as pd

        return pd.DataFrame(
            {
                "strategy": pd.Series(list(self.names), dtype="str"),
                "signal_sessions": np.diag(self.signal_sessions),
                "return_sessions": np.diag(self.return_sessions),
                "added": self.added,
                "left_out": pd.Series([self.left_out.get(name) for name in self.names], dtype="str"),
            }
        )


def diversity(evaluations: Mapping[str, Evaluation], closes: ClosePanel) -> Diversity:
    """Return how different the strategies are over the sessions of ``closes``.

    Args:
        evaluations: What each strategy holds, by its name. A session that an
            evaluation lacks is one on which that strategy was unavailable.
        closes: Adjusted closes in dollars. Where a close of a holding is
            missing, the session before it and that session have no return.

    Raises:
        InvalidInput: no strategy was given.
    """
    if not evaluations:
        raise InvalidInput("no strategy was given: diversity needs at least one")
    names = tuple(evaluations)
    held = [_Held.of(evaluation, closes) for evaluation in evaluations.values()]
    correlations = _pairwise(held, _return_correlation)
    earning = ~np.isnan(np.diag(correlations))
    return Diversity(
        names=names,
        period=_period(closes.sessions, held),
        return_correlation=correlations,
        signal_correlation=_pairwise(held, _signal_correlation),
        overlap=_pairwise(held, _overlap),
        return_sessions=_common_sessions([each.earning for each in held]),
        signal_sessions=_common_sessions([each.available for each in held]),
        effective_number=_effective_number_of(correlations, earning),
        added=_added(correlations, earning),
        left_out=MappingProxyType(
            {name: _why_left_out(each) for name, each, kept in zip(names, held, earning, strict=True) if not kept}
        ),
    )


def effective_number(correlation: FloatArray) -> float:
    """Return how many uncorrelated strategies are as diverse as those of a correlation matrix.

    The participation ratio of its eigenvalues, ``sum(l)**2 / sum(l**2)``: the
    inverse Herfindahl index of the shares of variance that the principal
    components have. (Meucci, Managing Diversification, Risk 22(5), 2009, takes
    the exponential of the entropy of such shares instead.) With a diagonal of
    ones it is ``n**2 / sum(correlation**2)``, and so it lies between 1 (all the
    same or opposite) and n (all uncorrelated) even if each correlation was made
    from other sessions, which may leave some eigenvalue negative. NaN if any
    correlation is, or if there is none.

    >>> effective_number(np.eye(3)), effective_number(np.ones((3, 3)))
    (3.0, 1.0)
    """
    if not correlation.size:
        return float("nan")
    return float(np.trace(correlation) ** 2 / np.square(correlation).sum())


@dataclass(frozen=True, eq=False)
class _Held:
    """Holdings and what they earn, over the sessions of the closes; NaN throughout where unavailable."""

    symbols: tuple[str, ...]
    weights: FloatArray
    returns: FloatArray

    @classmethod
    def of(cls, evaluation: Evaluation, closes: ClosePanel) -> "_Held":
        weights = _aligned(evaluation, closes.sessions)
        return cls(evaluation.symbols, weights, _returns(evaluation.symbols, weights, closes))

    @property
    def available(self) -> BoolArray:
        return ~np.isnan(self.weights[:, 0])

    @property
    def earning(self) -> BoolArray:
        return ~np.isnan(self.returns)


def _aligned(evaluation: Evaluation, sessions: Sequence[date]) -> FloatArray:
    """Return the weights on each of ``sessions``, NaN where the evaluation lacks it."""
    row_of = {session: row for row, session in enumerate(evaluation.sessions)}
    rows = np.array([row_of.get(session, -1) for session in sessions], dtype=np.intp)
    weights = np.full((rows.size, len(evaluation.symbols)), np.nan)
    weights[rows >= 0] = evaluation.weights[rows[rows >= 0]]
    return weights


def _returns(symbols: Sequence[str], weights: FloatArray, closes: ClosePanel) -> FloatArray:
    """Return what each session's holdings earn by the next close, a fraction; NaN on the last session."""
    prices = np.column_stack([closes.column(symbol) for symbol in symbols])
    held = weights[:-1] > 0
    moves = np.where(held, prices[1:] / prices[:-1] - 1, 0.0)
    earned = np.where(np.isnan(weights[:-1, 0]), np.nan, (np.where(held, weights[:-1], 0.0) * moves).sum(axis=1))
    return np.append(earned, np.nan)


def _pairwise(held: Sequence[_Held], figure: Callable[[_Held, _Held], float]) -> FloatArray:
    table = np.empty((len(held), len(held)))
    for row, left in enumerate(held):
        for column, right in enumerate(held[: row + 1]):
            table[row, column] = table[column, row] = figure(left, right)
    return table


def _return_correlation(left: _Held, right: _Held) -> float:
    common = left.earning & right.earning
    only = np.array([0])
    return _correlation(left.returns[common, np.newaxis], right.returns[common, np.newaxis], only, only)


def _signal_correlation(left: _Held, right: _Held) -> float:
    common = left.available & right.available
    return _correlation(left.weights[common], right.weights[common], *_shared_columns(left, right))


def _overlap(left: _Held, right: _Held) -> float:
    common = left.available & right.available
    if not common.any():
        return float("nan")
    ours, theirs = _shared_columns(left, right)
    smaller = np.minimum(left.weights[np.ix_(common, ours)], right.weights[np.ix_(common, theirs)])
    return float(np.clip(smaller.sum(axis=1).mean(), 0, 1))


def _shared_columns(left: _Held, right: _Held) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    shared = [symbol for symbol in left.symbols if symbol in right.symbols]
    ours, theirs = ([each.symbols.index(symbol) for symbol in shared] for each in (left, right))
    return np.array(ours, dtype=np.intp), np.array(theirs, dtype=np.intp)


def _correlation(
    left: FloatArray, right: FloatArray, ours: npt.NDArray[np.intp], theirs: npt.NDArray[np.intp]
) -> float:
    """Correlate deviations of which column ``ours[k]`` on the left is column ``theirs[k]`` on the right."""
    if len(left) < LEAST_SESSIONS:
        return float("nan")
    left, right = left - left.mean(axis=0), right - right.mean(axis=0)
    spread = np.sqrt([np.square(left).sum(), np.square(right).sum()])
    if (spread <= CONSTANT_WITHIN * np.sqrt(len(left))).any():
        return float("nan")
    return float(np.clip((left[:, ours] * right[:, theirs]).sum() / spread.prod(), -1, 1))


def _common_sessions(present: Sequence[BoolArray]) -> Counts:
    table = np.stack(present).astype(np.int64)
    return table @ table.T


def _effective_number_of(correlations: FloatArray, kept: BoolArray) -> float:
    return effective_number(correlations[np.ix_(kept, kept)])


def _added(correlations: FloatArray, kept: BoolArray) -> FloatArray:
    added = np.full(kept.size, np.nan)
    whole = _effective_number_of(correlations, kept)
    for place in np.flatnonzero(kept):
        others = kept.copy()
        others[place] = False
        added[place] = whole - _effective_number_of(correlations, others) if others.any() else whole
    return added


def _why_left_out(held: _Held) -> str:
    if not held.available.any():
        return "was never available"
    if np.count_nonzero(held.earning) < LEAST_SESSIONS:
        return f"has fewer than {LEAST_SESSIONS} sessions with a return"
    return "earned the same on every session"


def _period(sessions: Sequence[date], held: Sequence[_Held]) -> tuple[date, date] | None:
    rows = np.flatnonzero(np.any([each.available for each in held], axis=0))
    return (sessions[rows[0]], sessions[rows[-1]]) if rows.size else None
