"""What a tree holds on every session at once, and why it cannot tell on some.

The live decision is the last row.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np

from trading_pipeline.domain.indicators import FloatArray
from trading_pipeline.domain.readings import IndicatorPanel
from trading_pipeline.domain.smoothing import Smoothing
from trading_pipeline.domain.strategies.comparing import BoolArray
from trading_pipeline.domain.strategies.evaluator import Evaluator
from trading_pipeline.domain.strategies.missing import DECIDED, Codes, reasons_for
from trading_pipeline.domain.strategies.tree import Node


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a tree holds over sessions.

    ``weights`` has a row per session, oldest first, and a column per symbol
    that the tree may hold: fractions that sum to 1, or NaN throughout where the
    session is unavailable. ``codes`` has one number per session, the place of
    its reason in ``reasons``; 0 where the session is available.
    """

    sessions: tuple[date, ...]
    symbols: tuple[str, ...]
    weights: FloatArray
    codes: Codes
    reasons: tuple[str, ...]

    @property
    def available(self) -> BoolArray:
        """Tell for each session whether the tree could be decided."""
        return np.equal(self.codes, DECIDED)

    def reason(self, row: int) -> str | None:
        """Return why the session of that row is unavailable, or None if it is not."""
        return None if self.codes[row] == DECIDED else self.reasons[self.codes[row]]


def evaluate(tree: Node, panel: IndicatorPanel, smoothing: Smoothing = Smoothing.WILDER) -> Evaluation:
    """Return what ``tree`` holds on every session of ``panel``.

    ``panel`` must hold ``readings(tree)``; ``smoothing`` is that of the RSI of
    groups, and should be the one the panel was made with. Row t depends on rows
    up to t alone.

    Raises:
        PermanentError: a reading of the tree is not in the panel, whether a session reaches it or not.
    """
    evaluator = Evaluator(tree, panel, smoothing)
    holdings = evaluator.holdings(tree)
    codes, reasons = reasons_for(tree, evaluator, np.flatnonzero(holdings.failed))
    weights = holdings.weights
    weights[holdings.failed] = np.nan
    return Evaluation(panel.sessions, holdings.symbols, weights, codes, reasons)
