"""The one evaluator: what a tree holds on every session at once.

Sessions travel down the tree in arrays: each node hands the sessions that
reach it on to its children, so a branch that is not reached is never looked at.
The live decision is the last row. Missing readings follow the rules of the
strategies: a comparison with NaN is undecidable, ``and``, ``or`` and ``not`` are
Kleene's, a filter leaves out what it cannot rank, and a session whose decision
depends on anything undecidable is unavailable, with the reason.

Readings that differ by less than 1e-10, or that part of themselves if they are
large, are equal: otherwise the rounding of a quotient or of a compounded level
would decide ties and comparisons.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import assert_never

import numpy as np
import numpy.typing as npt

from trading_pipeline.domain.indicators import FloatArray, IndicatorPanel, Reading, Smoothing, compute
from trading_pipeline.domain.strategies.tree import (
    DAILY_RETURN,
    And,
    Asset,
    Comparison,
    Condition,
    End,
    Equal,
    Filter,
    Group,
    If,
    InverseVolatility,
    Measure,
    Node,
    Not,
    Operator,
    Or,
    Side,
    Specified,
    assets,
    readings,
)

Rows = npt.NDArray[np.intp]
BoolArray = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int64]

DECIDED = 0
EQUAL_DECIMALS = 10
EQUAL_WITHIN = 10.0**-EQUAL_DECIMALS


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
    for absent in sorted(set(readings(tree)).difference(panel.readings)):
        panel.values(absent)
    evaluator = _Evaluator(panel, smoothing)
    holdings = evaluator.holdings(tree)
    return Evaluation(
        sessions=panel.sessions,
        symbols=holdings.symbols,
        weights=np.where(holdings.decided[:, np.newaxis], holdings.weights, np.nan),
        codes=holdings.codes,
        reasons=tuple(evaluator.reasons),
    )


@dataclass(frozen=True, eq=False)
class _Holdings:
    """Weights while they are being placed, zero at first; ``codes`` marks the sessions that cannot be decided."""

    symbols: tuple[str, ...]
    weights: FloatArray
    codes: Codes

    @property
    def decided(self) -> BoolArray:
        return np.equal(self.codes, DECIDED)

    def add(self, symbol: str, rows: Rows, share: FloatArray) -> None:
        self.weights[rows, self.symbols.index(symbol)] += share

    def fail(self, rows: Rows, codes: Codes) -> None:
        # The first reason found stands: it is the one nearest to the top of the tree's reading order.
        self.codes[rows] = np.where(self.codes[rows] == DECIDED, codes, self.codes[rows])


@dataclass(frozen=True, eq=False)
class _Values:
    """Readings over all sessions, with the reason where one is NaN."""

    numbers: FloatArray
    codes: Codes


@dataclass(frozen=True, eq=False)
class _Truth:
    """A condition over all sessions; where neither true nor false, ``codes`` has the reason, elsewhere 0."""

    true: BoolArray
    false: BoolArray
    codes: Codes


@dataclass(frozen=True, eq=False)
class _Series:
    """A group's own value over all sessions.

    ``levels`` is NaN where there is none. A session in ``starts`` begins a
    stretch: it has a level and no return. ``causes`` is the reason of the
    latest break up to each session, 0 if there was none.
    """

    levels: FloatArray
    starts: Rows
    causes: Codes


class _Evaluator:
    """One run over a panel; equal subtrees are evaluated once."""

    def __init__(self, panel: IndicatorPanel, smoothing: Smoothing) -> None:
        self.reasons = [""]
        self._panel = panel
        self._smoothing = smoothing
        self._length = len(panel.sessions)
        self._code_by_reason: dict[str, int] = {}
        self._holdings: dict[Node, _Holdings] = {}
        self._series: dict[Node, _Series] = {}
        self._values: dict[Measure, _Values] = {}
        self._truths: dict[Condition, _Truth] = {}

    def holdings(self, tree: Node) -> _Holdings:
        """Return what ``tree`` holds on every session."""
        if tree not in self._holdings:
            symbols = assets(tree)
            blank = _Holdings(symbols, np.zeros((self._length, len(symbols))), np.zeros(self._length, np.int64))
            self._place(tree, np.arange(self._length), np.ones(self._length), blank)
            self._holdings[tree] = blank
        return self._holdings[tree]

    def _place(self, node: Node, rows: Rows, share: FloatArray, into: _Holdings) -> None:
        """Put ``share`` of the account, one for each of ``rows``, into what ``node`` chooses there."""
        if not rows.size:
            return
        match node:
            case Asset(symbol):
                into.add(symbol, rows, share)
            case Group(_, child):
                self._place(child, rows, share, into)
            case If():
                self._place_if(node, rows, share, into)
            case Equal() | Specified():
                self._place_shares(node, rows, share, into)
            case InverseVolatility():
                self._place_inverse_volatility(node, rows, share, into)
            case Filter():
                self._place_filter(node, rows, share, into)
            case _:
                assert_never(node)

    def _place_shares(self, node: Equal | Specified, rows: Rows, share: FloatArray, into: _Holdings) -> None:
        for child, weight in zip(node.children, node.weights, strict=True):
            self._place(child, rows, share * weight, into)

    def _place_if(self, node: If, rows: Rows, share: FloatArray, into: _Holdings) -> None:
        truth = self._truth(node.condition)
        true, false = truth.true[rows], truth.false[rows]
        undecided = rows[~(true | false)]
        into.fail(undecided, truth.codes[undecided])
        self._place(node.then, rows[true], share[true], into)
        self._place(node.otherwise, rows[false], share[false], into)

    def _place_inverse_volatility(
        self, node: InverseVolatility, rows: Rows, share: FloatArray, into: _Holdings
    ) -> None:
        deviations = np.empty((rows.size, len(node.children)))
        for column, measure in enumerate(node.measures()):
            values = self._measured(measure)
            flat = np.abs(values.numbers[rows]) <= EQUAL_WITHIN
            into.fail(rows, np.where(flat, self._code(f"{measure} is zero"), values.codes[rows]))
            deviations[:, column] = values.numbers[rows]
        usable = (deviations > EQUAL_WITHIN).all(axis=1)
        inverse = 1 / deviations[usable]
        portions = inverse / inverse.sum(axis=1, keepdims=True)
        for column, child in enumerate(node.children):
            self._place(child, rows[usable], share[usable] * portions[:, column], into)

    def _place_filter(self, node: Filter, rows: Rows, share: FloatArray, into: _Holdings) -> None:
        ranked_by = np.column_stack([self._ranked_by(measure)[rows] for measure in node.measures()])
        kept = _kept(ranked_by, node.end, node.count)
        count = kept.sum(axis=1)
        nobody = rows[count == 0]
        into.fail(nobody, np.full(nobody.size, self._code(_nobody_reason(node)), np.int64))
        for column, candidate in enumerate(node.candidates):
            chosen = kept[:, column]
            self._place(candidate, rows[chosen], share[chosen] / count[chosen], into)

    def _ranked_by(self, measure: Measure) -> FloatArray:
        """Return the readings of a candidate, NaN where it cannot be held."""
        numbers = self._measured(measure).numbers
        if isinstance(measure.subject, Asset):
            return numbers
        return np.where(self.holdings(measure.subject.child).decided, numbers, np.nan)

    def _truth(self, condition: Condition) -> _Truth:
        if condition not in self._truths:
            self._truths[condition] = self._decide(condition)
        return self._truths[condition]

    def _decide(self, condition: Condition) -> _Truth:
        match condition:
            case Comparison():
                return self._compare(condition)
            case Not(inner):
                return _opposite(self._truth(inner))
            case And(conditions):
                return _all([self._truth(part) for part in conditions])
            case Or(conditions):
                # De Morgan: something is true unless everything is false.
                return _opposite(_all([_opposite(self._truth(part)) for part in conditions]))
            case _:
                assert_never(condition)

    def _compare(self, condition: Comparison) -> _Truth:
        left, right = self._side(condition.left), self._side(condition.right)
        codes = np.where(left.codes == DECIDED, right.codes, left.codes)
        true = _holds(left.numbers, condition.operator, right.numbers)
        decided = codes == DECIDED
        return _Truth(true & decided, ~true & decided, codes)

    def _side(self, side: Side) -> _Values:
        if isinstance(side, Measure):
            return self._measured(side)
        return _Values(np.full(self._length, float(side)), np.zeros(self._length, np.int64))

    def _measured(self, measure: Measure) -> _Values:
        if measure not in self._values:
            self._values[measure] = self._read(measure)
        return self._values[measure]

    def _read(self, measure: Measure) -> _Values:
        if isinstance(measure.subject, Asset):
            numbers = self._panel.values(Reading(measure.subject.symbol, measure.indicator, measure.window))
            return _Values(numbers, np.where(np.isnan(numbers), self._code(f"{measure} is missing"), DECIDED))
        series = self._simulated(measure.subject.child)
        # A break parts the series without a session of its own, so one is put between: no window spans it.
        parted = np.insert(series.levels, series.starts, np.nan)
        answers = compute(measure.indicator, parted, measure.window, self._smoothing)
        numbers = np.delete(answers, series.starts + np.arange(series.starts.size))
        return _Values(numbers, np.where(np.isnan(numbers), self._missing_codes(measure, series.causes), DECIDED))

    def _missing_codes(self, measure: Measure, causes: Codes) -> Codes:
        distinct, place = np.unique(causes, return_inverse=True)
        texts = [f"{measure} is missing" + (f" because {self.reasons[cause]}" if cause else "") for cause in distinct]
        return np.array([self._code(text) for text in texts], dtype=np.int64)[place]

    def _simulated(self, tree: Node) -> _Series:
        if tree not in self._series:
            self._series[tree] = self._simulate(tree)
        return self._series[tree]

    def _simulate(self, tree: Node) -> _Series:
        """Hold at each close what ``tree`` chooses there, and earn the returns of the next session."""
        holdings = self.holdings(tree)
        daily = [Reading(symbol, *DAILY_RETURN) for symbol in holdings.symbols]
        market = np.column_stack([self._panel.values(reading) / 100 for reading in daily])
        held = holdings.weights[:-1] > 0
        earned = np.where(held, holdings.weights[:-1] * market[1:], 0.0).sum(axis=1)
        returns = np.full(self._length, np.nan)
        returns[1:] = np.where(holdings.decided[:-1], earned, np.nan)
        going = ~np.isnan(returns)
        starts = holdings.decided & ~going
        levels = np.where(going | starts, np.cumprod(1 + np.where(going, returns, 0.0)), np.nan)
        lost = self._first_missing(np.isnan(market[1:]) & held, daily)
        breaks = np.where(holdings.decided[:-1], lost, holdings.codes[:-1])
        return _Series(levels, np.flatnonzero(starts), _carried(np.concatenate(([DECIDED], breaks))))

    def _first_missing(self, missing: BoolArray, daily: Sequence[Reading]) -> Codes:
        """Return the reason of the first column that is missing in each row, 0 where none is."""
        codes = np.array([self._code(f"{reading} is missing") for reading in daily], dtype=np.int64)
        return np.where(missing.any(axis=1), codes[missing.argmax(axis=1)], DECIDED)

    def _code(self, reason: str) -> int:
        if reason not in self._code_by_reason:
            self._code_by_reason[reason] = len(self.reasons)
            self.reasons.append(reason)
        return self._code_by_reason[reason]


def _carried(codes: Codes) -> Codes:
    """Repeat the latest code that is not 0."""
    places = np.where(codes != DECIDED, np.arange(codes.size), 0)
    return codes[np.maximum.accumulate(places)]


def _opposite(truth: _Truth) -> _Truth:
    return _Truth(truth.false, truth.true, truth.codes)


def _all(parts: Sequence[_Truth]) -> _Truth:
    true = np.logical_and.reduce([part.true for part in parts])
    false = np.logical_or.reduce([part.false for part in parts])
    codes = np.zeros(true.size, dtype=np.int64)
    for part in reversed(parts):
        codes = np.where(part.codes == DECIDED, codes, part.codes)
    return _Truth(true, false, np.where(true | false, DECIDED, codes))


def _holds(left: FloatArray, operator: Operator, right: FloatArray) -> BoolArray:
    equal = np.abs(left - right) <= EQUAL_WITHIN * np.maximum(np.abs(right), 1)
    match operator:
        case Operator.ABOVE:
            return (left > right) & ~equal
        case Operator.BELOW:
            return (left < right) & ~equal
        case Operator.AT_LEAST:
            return (left > right) | equal
        case Operator.AT_MOST:
            return (left < right) | equal
        case _:
            assert_never(operator)


def _kept(ranked_by: FloatArray, end: End, count: int) -> BoolArray:
    """Tell which candidates, one a column, are among the ``count`` of each session, one a row."""
    magnitude = 10 ** np.floor(np.log10(np.maximum(np.abs(ranked_by), 1)))
    ascending = np.round(ranked_by / magnitude, EQUAL_DECIMALS) * magnitude * (-1 if end is End.TOP else 1)
    # NaN sorts last, and a stable sort leaves ties in the order listed.
    places = np.argsort(np.argsort(ascending, axis=1, kind="stable"), axis=1)
    return (places < count) & ~np.isnan(ranked_by)


def _nobody_reason(node: Filter) -> str:
    groups = any(isinstance(candidate, Group) for candidate in node.candidates)
    names = ", ".join(str(candidate) for candidate in node.candidates)
    return f"no candidate has {node.indicator}({node.window}){' and can be decided' if groups else ''}: {names}"
