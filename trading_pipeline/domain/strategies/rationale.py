"""Why a session was decided as it was: the path that it took through the tree, with the readings at every turn.

A path is a list of steps that lead to each other, not a nested thing: a subtree
that is reached twice is one step, so a path is never longer than the tree has
distinct nodes, and never deeper than a list.
"""

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import TypeAlias, assert_never, cast

import numpy as np

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.indicators import Indicator
from trading_pipeline.domain.readings import IndicatorPanel
from trading_pipeline.domain.smoothing import Smoothing
from trading_pipeline.domain.strategies.comparing import EQUAL_WITHIN, best
from trading_pipeline.domain.strategies.evaluation import evaluate
from trading_pipeline.domain.strategies.evaluator import Evaluator
from trading_pipeline.domain.strategies.missing import reasons_for
from trading_pipeline.domain.strategies.sharing import Number
from trading_pipeline.domain.strategies.tree import (
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
    if_,
)

WHOLE = 100.0
"""All points of an index, all percent of a price."""


@dataclass(frozen=True)
class Term:
    """One side of a comparison: a reading, or a number, for which ``measure`` is None; NaN where it is missing."""

    name: str
    value: float
    measure: Measure | None = None


@dataclass(frozen=True)
class Gap:
    """Two values that were compared, in the unit of their indicator."""

    left: Term
    right: Term

    @property
    def distance(self) -> float:
        """How far ``left`` is above ``right``; NaN where either is missing."""
        return self.left.value - self.right.value

    @property
    def is_nothing(self) -> bool:
        """Tell whether the two differ by rounding alone, if at all, and so count as equal."""
        return abs(self.distance) <= EQUAL_WITHIN * max(abs(self.right.value), 1)

    @property
    def closeness(self) -> float:
        """The distance as a fraction, so that gaps of different units compare; 0 or more, NaN where undefined.

        Of the 100 points of a relative strength; of the price, for returns (a
        mean return counts once for each session of its window); of the larger
        side, for what cannot be negative.
        """
        if self.is_nothing:
            return 0.0
        if math.isnan(self.distance):
            return math.nan
        return abs(self.distance) / self._scale

    @property
    def _scale(self) -> float:
        measure = self.left.measure or self.right.measure
        match measure and measure.indicator:
            case Indicator.RSI | Indicator.CUMULATIVE_RETURN:
                return WHOLE
            case Indicator.MEAN_RETURN:
                return WHOLE / cast("Measure", measure).window
            case _:
                return max(abs(self.left.value), abs(self.right.value))


@dataclass(frozen=True)
class Compared:
    """A comparison as it was tested; ``truth`` is None where it is undecidable."""

    gap: Gap
    operator: Operator
    truth: bool | None

    def __str__(self) -> str:
        """Name the test: ``rsi(SPY,10) > 79``."""
        return f"{self.gap.left.name} {self.operator} {self.gap.right.name}"


class Connective(StrEnum):
    """How tests combine."""

    AND = "and"
    OR = "or"
    NOT = "not"


@dataclass(frozen=True)
class Combined:
    """Tests and what they amount to in Kleene's logic; ``truth`` is None where that is undecidable."""

    connective: Connective
    parts: "tuple[Tested, ...]"
    truth: bool | None


Tested: TypeAlias = Compared | Combined


@dataclass(frozen=True)
class Branch:
    """A way on: the place of a step in the path, and the fraction of the parent's share that it gets."""

    step: int
    weight: float


@dataclass(frozen=True)
class Step:
    """One node that the session reached, with its ``share`` of the sleeve, all ways to it taken together."""

    share: float
    branches: tuple[Branch, ...]


@dataclass(frozen=True)
class Held(Step):
    """Everything that arrived is held in one symbol."""

    symbol: str


@dataclass(frozen=True)
class GroupEntered(Step):
    """A named subtree begins."""

    name: str


@dataclass(frozen=True)
class IfTaken(Step):
    """A test decided; where it is undecidable there is no branch, and the path ends."""

    tested: Tested
    then: Node
    otherwise: Node

    @property
    def not_taken(self) -> Node | None:
        """The side that was not taken, None where neither was."""
        if self.tested.truth is None:
            return None
        return self.otherwise if self.tested.truth else self.then


@dataclass(frozen=True)
class Split(Step):
    """Given shares; children whose share is zero are not reached."""

    is_equal: bool


class Standing(StrEnum):
    """What became of a candidate."""

    KEPT = "kept"
    OUTRANKED = "outranked"
    MISSING = "missing"
    """Left out for want of a reading to rank it by."""
    UNDECIDABLE = "undecidable"
    """A group, left out because it cannot be decided this session, whatever its series says."""


@dataclass(frozen=True)
class Ranked:
    """One candidate of a filter; ``reason`` says what was missing where it was left out unranked."""

    term: Term
    candidate: str
    standing: Standing
    place: int | None
    reason: str | None


@dataclass(frozen=True)
class FilterRanked(Step):
    """A ranking, best first and the unranked last; without anyone to keep there is no branch, and the path ends.

    ``gap`` is between the last one kept and the first one outranked that would
    hold something else today; None where there is no such.
    """

    end: End
    count: int
    indicator: Indicator
    window: int
    candidates: tuple[Ranked, ...]
    gap: Gap | None


@dataclass(frozen=True)
class Weighed:
    """A child weighed by its calm: its deviation, and the fraction that it gets, NaN where that is undecidable."""

    child: str
    deviation: Term
    weight: float


@dataclass(frozen=True)
class InverseVolatilityWeighted(Step):
    """Fractions by inverse volatility; where a deviation is missing or zero the path ends."""

    window: int
    children: tuple[Weighed, ...]


@dataclass(frozen=True)
class ClosestCall:
    """The turn of the path that would have gone another way most easily."""

    step: int
    gap: Gap


@dataclass(frozen=True)
class Rationale:
    """The path of one session.

    ``steps`` begins with the root; each comes after every step that leads to
    it. ``weights`` are the fractions held, by symbol, which the shares of the
    ``Held`` steps are; empty where the session is unavailable, and then
    ``reason`` is that of the evaluation.
    """

    session: date
    weights: Mapping[str, float]
    reason: str | None
    steps: tuple[Step, ...]

    @property
    def closest(self) -> ClosestCall | None:
        """The closest turn of the path, the first of them among equals; None where nothing was compared."""
        gaps = ((place, _gap_of(step)) for place, step in enumerate(self.steps))
        calls = [ClosestCall(place, gap) for place, gap in gaps if gap is not None]
        return min(calls, key=lambda call: call.gap.closeness, default=None)


def explain(tree: Node, panel: IndicatorPanel, row: int = -1, smoothing: Smoothing = Smoothing.WILDER) -> Rationale:
    """Return the path that the session of ``row`` takes through ``tree``, by default the newest of ``panel``.

    The arguments are those of ``evaluate``, and the answer is the one it gives:
    only nodes that the session reaches are looked at.

    >>> from trading_pipeline.domain.readings import Reading
    >>> from trading_pipeline.domain.strategies.tree import rsi
    >>> readings = (Reading("SPY", Indicator.RSI, 10),)
    >>> panel = IndicatorPanel((date(2026, 7, 31),), readings, np.array([[78.5]]))
    >>> path = explain(if_(rsi("SPY", 10) > 79, "UVXY", "BIL"), panel)
    >>> dict(path.weights), [type(step).__name__ for step in path.steps]
    ({'BIL': 1.0}, ['IfTaken', 'Held'])
    >>> path.closest.gap.distance
    -0.5

    Raises:
        InvalidInput: the panel has no such row.
        PermanentError: a reading that the path needs is not in the panel.
    """
    if not -len(panel.sessions) <= row < len(panel.sessions):
        raise InvalidInput(f"row {row} was to be explained of a panel of {len(panel.sessions)} sessions: choose one")
    return _Path(tree, panel, row % len(panel.sessions), smoothing).rationale()


def decisive(tested: Tested) -> Compared | None:
    """Return the comparison that would have to change for the test to change, None where it is undecidable.

    Of tests that all had to be so, the closest; of those of which one would
    have been enough, the one that is furthest from changing.
    """
    if tested.truth is None:
        return None
    if isinstance(tested, Compared):
        return tested
    if tested.connective is Connective.NOT:
        return decisive(tested.parts[0])
    found = [decisive(part) for part in tested.parts if part.truth is tested.truth]
    all_needed = tested.truth is (tested.connective is Connective.AND)
    comparisons = [comparison for comparison in found if comparison is not None]
    return (min if all_needed else max)(comparisons, key=lambda comparison: comparison.gap.closeness)


def _operands(condition: And | Or) -> Sequence[Condition]:
    """Return what is combined, across any nesting of the same connective: ``a | b | c`` combines three."""
    waiting: list[Condition] = [condition]
    found: list[Condition] = []
    while waiting:
        part = waiting.pop()
        if isinstance(part, And | Or) and type(part) is type(condition):
            waiting.extend(reversed(part.conditions))
        else:
            found.append(part)
    return found


def _gap_of(step: Step) -> Gap | None:
    if isinstance(step, IfTaken):
        comparison = decisive(step.tested)
        return None if comparison is None else comparison.gap
    return step.gap if isinstance(step, FilterRanked) else None


@dataclass(frozen=True)
class _Visit:
    node: Node
    share: float
    ways: tuple[tuple[Number, float], ...]


class _Path:
    def __init__(self, tree: Node, panel: IndicatorPanel, row: int, smoothing: Smoothing) -> None:
        self._tree = tree
        self._panel, self._row, self._smoothing = panel, row, smoothing
        self._evaluator = Evaluator(tree, panel, smoothing)
        self._shared = self._evaluator.tree
        self._rows = np.array([row])
        self._place: dict[Number, int] = {}

    def rationale(self) -> Rationale:
        visits = self._visits()
        self._place = {number: place for place, number in enumerate(visits)}
        steps = tuple(self._step(visit) for visit in visits.values())
        # Everything but an asset leads on, unless it is undecidable.
        stopped = any(not step.branches and not isinstance(step, Held) for step in steps)
        reason = self._reason(self._tree) if stopped else None
        held = {} if stopped else {step.symbol: step.share for step in steps if isinstance(step, Held)}
        return Rationale(self._panel.sessions[self._row], dict(sorted(held.items())), reason, steps)

    def _visits(self) -> Mapping[Number, _Visit]:
        """Visit each distinct node that the session reaches, after every node that leads to it."""
        shares, waiting = {self._shared.root: 1.0}, [-self._shared.root]
        visits: dict[Number, _Visit] = {}
        while waiting:
            number = -heapq.heappop(waiting)
            node = cast("Node", self._shared.expressions[number])
            choices = self._evaluator.step(node, self._rows, np.ones(1)).choices
            ways = tuple((self._shared.number(choice.child), float(choice.share[0])) for choice in choices)
            visits[number] = _Visit(node, shares[number], ways)
            for child, weight in ways:
                if child not in shares:
                    heapq.heappush(waiting, -child)
                shares[child] = shares.get(child, 0.0) + shares[number] * weight
        return visits

    def _step(self, visit: _Visit) -> Step:
        branches = tuple(Branch(self._place[number], weight) for number, weight in visit.ways)
        match visit.node:
            case Asset(symbol):
                return Held(visit.share, branches, symbol)
            case Group(name, _):
                return GroupEntered(visit.share, branches, name)
            case If(condition, then, otherwise):
                return IfTaken(visit.share, branches, self._tested(condition), then, otherwise)
            case Equal() | Specified():
                return Split(visit.share, branches, isinstance(visit.node, Equal))
            case InverseVolatility(window, _):
                return InverseVolatilityWeighted(visit.share, branches, window, self._weighed(visit.node, branches))
            case Filter():
                return self._filtered(visit.node, visit, branches)
            case _:
                assert_never(visit.node)

    def _tested(self, condition: Condition) -> Tested:
        truth = self._evaluator.truth(condition)
        known = True if truth.true[self._row] else False if truth.false[self._row] else None
        match condition:
            case Comparison(left, operator, right):
                return Compared(Gap(self._term(left), self._term(right)), operator, known)
            case And():
                return Combined(Connective.AND, self._all_tested(_operands(condition)), known)
            case Or():
                return Combined(Connective.OR, self._all_tested(_operands(condition)), known)
            case Not(inner):
                return Combined(Connective.NOT, self._all_tested([inner]), known)
            case _:
                assert_never(condition)

    def _all_tested(self, conditions: Sequence[Condition]) -> tuple[Tested, ...]:
        return tuple(self._tested(condition) for condition in conditions)

    def _term(self, side: Side) -> Term:
        if isinstance(side, Measure):
            return Term(str(side), float(self._evaluator.values(side)[self._row]), side)
        return Term(f"{side:.10g}", float(side))

    def _weighed(self, node: InverseVolatility, branches: Sequence[Branch]) -> tuple[Weighed, ...]:
        weights = [branch.weight for branch in branches] or [math.nan] * len(node.children)
        measures = zip(node.measures(), weights, strict=True)
        return tuple(Weighed(str(measure.subject), self._term(measure), weight) for measure, weight in measures)

    def _filtered(self, node: Filter, visit: _Visit, branches: tuple[Branch, ...]) -> FilterRanked:
        measures, readings = node.measures(), self._evaluator.ranking(node, self._rows)
        best_first = best(readings, node.end, len(measures))[:, 0]
        ranked = [measures[place] for place in best_first.tolist() if place >= 0]
        left_out = [measures[place] for place in np.flatnonzero(np.isnan(readings[:, 0])).tolist()]
        count = min(node.count, len(ranked))
        candidates = [
            *(self._candidate(measure, place, count) for place, measure in enumerate(ranked, start=1)),
            *map(self._left_out, left_out),
        ]
        gap = self._gap(ranked[count - 1], ranked[count:]) if ranked else None
        options = node.end, node.count, node.indicator, node.window
        return FilterRanked(visit.share, branches, *options, tuple(candidates), gap)

    def _gap(self, last: Measure, outranked: Sequence[Measure]) -> Gap | None:
        held = self._held(last.subject)
        others = (measure for measure in outranked if self._held(measure.subject) != held)
        first = next(others, None)
        return None if first is None else Gap(self._term(last), self._term(first))

    def _held(self, node: Node) -> Mapping[str, float]:
        if isinstance(node, Asset):
            return {node.symbol: 1.0}
        holdings = self._evaluator.holdings(node, self._rows)
        weights = zip(holdings.symbols, holdings.weights[self._row].round(9).tolist(), strict=True)
        return {symbol: weight for symbol, weight in weights if weight}

    def _candidate(self, measure: Measure, place: int, count: int) -> Ranked:
        standing = Standing.KEPT if place <= count else Standing.OUTRANKED
        return Ranked(self._term(measure), str(measure.subject), standing, place, None)

    def _left_out(self, measure: Measure) -> Ranked:
        subject, name = measure.subject, str(measure.subject)
        if isinstance(subject, Asset):
            return Ranked(self._term(measure), name, Standing.MISSING, None, f"{measure} is missing")
        if not self._evaluator.outcome(subject).decided[self._row]:
            return Ranked(self._term(measure), name, Standing.UNDECIDABLE, None, self._reason(subject))
        # A condition of its own, which this tree does not have, finds out what the series of the group lacked.
        asked = evaluate(if_(measure >= 0, subject, subject), self._panel, self._smoothing)
        return Ranked(self._term(measure), name, Standing.MISSING, None, asked.reason(self._row))

    def _reason(self, node: Node) -> str | None:
        codes, reasons = reasons_for(node, self._evaluator, self._rows)
        return reasons[codes[self._row]] or None
