"""Why a session is unavailable: the first undecidable thing in the tree's reading order, down to the symbol.

Asked only for the sessions that could not be decided, after they are known.
"""

from typing import assert_never

import numpy as np
import numpy.typing as npt

from trading_pipeline.domain.readings import Reading
from trading_pipeline.domain.strategies.comparing import EQUAL_WITHIN, BoolArray
from trading_pipeline.domain.strategies.evaluator import Evaluator, Rows
from trading_pipeline.domain.strategies.tree import (
    CLOSE,
    And,
    Asset,
    Comparison,
    Condition,
    Filter,
    Group,
    If,
    InverseVolatility,
    Measure,
    Node,
    Not,
    Or,
)

Codes = npt.NDArray[np.int64]

DECIDED = 0
MOST_NAMED = 8


def reasons_for(tree: Node, evaluator: Evaluator, rows: Rows) -> tuple[Codes, tuple[str, ...]]:
    """Return why ``tree`` cannot be decided on ``rows``.

    Returns:
        One code for each session of the panel, 0 where it was not asked for,
        and the reasons that the codes are places of; the first is empty.
    """
    search = _Search(evaluator)
    codes = np.zeros(evaluator.length, dtype=np.int64)
    codes[rows] = search.of_node(tree, rows)
    return codes, tuple(search.reasons)


class _Search:
    def __init__(self, evaluator: Evaluator) -> None:
        self.reasons = [""]
        self._evaluator = evaluator
        self._code_by_reason: dict[str, int] = {}

    def of_node(self, top: Node, rows: Rows) -> Codes:
        """Return the code of the first reason under ``top`` for each of ``rows``, 0 where there is none."""
        codes = np.zeros(self._evaluator.length, dtype=np.int64)
        searched: dict[int, BoolArray] = {}
        waiting = [(top, rows)]
        while waiting:
            node, reached = waiting.pop()
            before = searched.setdefault(id(node), np.zeros(codes.size, dtype=np.bool_))
            left = reached[(codes[reached] == DECIDED) & ~before[reached]]
            before[left] = True
            step = self._evaluator.step(node, left, np.ones(left.size))
            codes[step.undecided] = self._of_step(node, step.undecided)
            waiting.extend((choice.child, choice.rows) for choice in reversed(step.choices))
        return codes[rows]

    def _of_step(self, node: Node, rows: Rows) -> Codes:
        match node:
            case If():
                return self._of_condition(node.condition, rows)
            case InverseVolatility():
                return self._of_inverse_volatility(node, rows)
            case Filter():
                return np.full(rows.size, self._code(_nobody(node)))
            case _:
                return np.zeros(rows.size, dtype=np.int64)

    def _of_inverse_volatility(self, node: InverseVolatility, rows: Rows) -> Codes:
        codes = np.zeros(rows.size, dtype=np.int64)
        for measure in node.measures():
            flat = self._evaluator.values(measure)[rows] <= EQUAL_WITHIN
            found = np.where(flat, self._code(f"{measure} is zero"), self._of_measure(measure, rows))
            codes = np.where(codes == DECIDED, found, codes)
        return codes

    def _of_condition(self, condition: Condition, rows: Rows) -> Codes:
        """Return the reason where ``condition`` is undecidable, 0 elsewhere."""
        truth = self._evaluator.truth(condition)
        codes = np.zeros(rows.size, dtype=np.int64)
        for part in _parts(condition):
            found = self._of_measure(part, rows) if isinstance(part, Measure) else self._of_condition(part, rows)
            codes = np.where(codes == DECIDED, found, codes)
        return np.where(truth.true[rows] | truth.false[rows], DECIDED, codes)

    def _of_measure(self, measure: Measure, rows: Rows) -> Codes:
        """Return the reason where the reading is missing, 0 elsewhere."""
        absent = np.isnan(self._evaluator.values(measure)[rows])
        codes = np.zeros(rows.size, dtype=np.int64)
        if isinstance(measure.subject, Asset):
            codes[absent] = self._code(f"{measure} is missing")
        elif absent.any():
            codes[absent] = self._of_reading(measure, self._of_series(measure.subject, rows[absent]))
        return codes

    def _of_reading(self, measure: Measure, causes: Codes) -> Codes:
        distinct, place = np.unique(causes, return_inverse=True)
        texts = [f"{measure} is missing" + (f" because {self.reasons[cause]}" if cause else "") for cause in distinct]
        codes: Codes = np.array([self._code(text) for text in texts], dtype=np.int64)
        return codes[place]

    def _of_series(self, group: Group, rows: Rows) -> Codes:
        """Return why the series of ``group`` last broke, up to each of ``rows``; 0 where it never did."""
        outcome = self._evaluator.outcome(group)
        # Nothing is earned in the session after each of these.
        broken = np.isnan(outcome.earned[:-1])
        last = np.maximum.accumulate(np.concatenate(([-1], np.where(broken, np.arange(broken.size), -1))))[rows]
        causes, place = np.unique(last, return_inverse=True)
        codes = np.zeros(causes.size, dtype=np.int64)
        undecided = (causes >= 0) & ~outcome.decided[causes]
        unearned = (causes >= 0) & outcome.decided[causes]
        codes[undecided] = self.of_node(group, causes[undecided])
        codes[unearned] = self._of_returns(group, causes[unearned])
        repeated: Codes = codes[place]
        return repeated

    def _of_returns(self, group: Group, rows: Rows) -> Codes:
        """Return the first holding of ``rows`` that has no return in the session after."""
        held = self._evaluator.holdings(group, rows)
        closes = [Reading(symbol, *CLOSE) for symbol in held.symbols]
        known = ~np.isnan(np.column_stack([self._evaluator.panel.values(reading) for reading in closes]))
        absent = ~(known[rows] & known[rows + 1])
        first: Rows = (absent & (held.weights[rows] > 0)).argmax(axis=1)
        codes: Codes = np.array([self._code(f"{reading} is missing") for reading in closes], dtype=np.int64)
        return codes[first]

    def _code(self, reason: str) -> int:
        if reason not in self._code_by_reason:
            self._code_by_reason[reason] = len(self.reasons)
            self.reasons.append(reason)
        return self._code_by_reason[reason]


def _parts(condition: Condition) -> tuple[Measure | Condition, ...]:
    match condition:
        case Comparison(left, _, right):
            return tuple(side for side in (left, right) if isinstance(side, Measure))
        case Not(inner):
            return (inner,)
        case And(conditions) | Or(conditions):
            return conditions
        case _:
            assert_never(condition)


def _nobody(node: Filter) -> str:
    groups = any(isinstance(candidate, Group) for candidate in node.candidates)
    names = ", ".join(str(candidate) for candidate in node.candidates[:MOST_NAMED])
    more = f" and {len(node.candidates) - MOST_NAMED} more" if len(node.candidates) > MOST_NAMED else ""
    return f"no candidate has {node.indicator}({node.window}){' and can be decided' if groups else ''}: {names}{more}"
