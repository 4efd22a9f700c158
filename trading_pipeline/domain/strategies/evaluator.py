"""The one evaluator: what a tree holds on every session at once.

Sessions travel down the tree in arrays: each node hands the sessions that
reach it on to its children, with the share of the account that is placed there,
so a branch that no session reaches is never looked at. Equal subtrees are one
(``sharing``), so a block costs once however many variants hold it.

A group whose own value series is read earns, in the session after each close,
what its subtree chose there: those earnings are computed from the leaves up, on
all sessions, equal subtrees once again.

Missing readings follow the rules of the strategies: a comparison with NaN is
undecidable, ``and``, ``or`` and ``not`` are Kleene's, a filter leaves out what
it cannot rank, and a session whose decision depends on anything undecidable is
unavailable. Why is asked afterwards, for those sessions alone (``missing``).
"""

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import assert_never, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from trading_pipeline.domain.indicators import FloatArray, Indicator, compute
from trading_pipeline.domain.readings import IndicatorPanel, Reading
from trading_pipeline.domain.smoothing import Smoothing
from trading_pipeline.domain.strategies.comparing import EQUAL_WITHIN, BoolArray, best, holds, inverse_shares
from trading_pipeline.domain.strategies.sharing import Number, SharedTree
from trading_pipeline.domain.strategies.tree import (
    CLOSE,
    And,
    Asset,
    Comparison,
    Condition,
    Equal,
    Filter,
    Group,
    If,
    InverseVolatility,
    Measure,
    Node,
    Not,
    Or,
    Side,
    Specified,
    assets,
    children_of,
    measures_of,
    readings_among,
)

Rows = npt.NDArray[np.intp]
GROUP_MARK = "#"
NO_ROWS: Rows = np.empty(0, dtype=np.intp)


@dataclass(frozen=True, eq=False)
class Holdings:
    """What a tree holds; rows that ``failed`` could not be decided, and their weights mean nothing."""

    symbols: tuple[str, ...]
    weights: FloatArray
    failed: BoolArray


@dataclass(frozen=True, eq=False)
class Truth:
    """A condition over all sessions: true, false, or neither where it is undecidable."""

    true: BoolArray
    false: BoolArray

    @cached_property
    def on(self) -> Rows:
        """The sessions on which it is true."""
        return np.flatnonzero(self.true)

    @cached_property
    def off(self) -> Rows:
        """The sessions on which it is false."""
        return np.flatnonzero(self.false)

    @cached_property
    def neither(self) -> Rows:
        """The sessions on which it is undecidable."""
        return np.flatnonzero(~(self.true | self.false))


@dataclass(frozen=True, eq=False)
class Choice:
    """Sessions that a node hands to a child, with the share of the account that it places there."""

    child: Node
    rows: Rows
    share: FloatArray


@dataclass(frozen=True, eq=False)
class Step:
    """What a node does with the sessions that reach it: its choices in the order of its children, and the undecided."""

    choices: tuple[Choice, ...]
    undecided: Rows


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a node earns in the session after each, as a fraction; NaN where it is undecided or a return is missing."""

    earned: FloatArray
    decided: BoolArray


@dataclass(frozen=True, eq=False)
class Series:
    """A group's own value over all sessions.

    ``returns`` are those of each session, as fractions, and ``levels`` what they
    make of 1; NaN where there is none. A session in ``starts`` begins a stretch:
    it has a level and no return.
    """

    returns: FloatArray
    levels: FloatArray
    starts: Rows


class Evaluator:
    """One tree over one panel; nothing in it is computed twice.

    ``tree`` holds its distinct expressions. Values and truths are arrays over all sessions. They are handed out as they
    are kept: whoever asks must not change them.

    Raises:
        PermanentError: a reading of the tree is not in the panel, whether a session reaches it or not.
    """

    def __init__(self, tree: Node, panel: IndicatorPanel, smoothing: Smoothing = Smoothing.WILDER) -> None:
        self.panel = panel
        self.length = len(panel.sessions)
        self._smoothing = smoothing
        self._holds_groups = any(GROUP_MARK in reading.symbol for reading in panel.readings)
        self.tree = SharedTree(tree)
        self._everywhere = np.arange(self.length)
        self._whole = np.ones(self.length)
        self._always = np.ones(self.length, dtype=np.bool_)
        self._values: dict[tuple[str, int, Number], FloatArray] = {}
        self._truths: dict[Number, Truth] = {}
        self._outcomes: dict[Number, Outcome] = {}
        self._series: dict[Number, Series] = {}
        for reading in readings_among(self.tree.expressions):
            panel.values(reading)

    def holdings(self, node: Node, rows: Rows | None = None) -> Holdings:
        """Return what ``node`` holds on ``rows``, by default on all sessions.

        A row for each session of the panel; those not asked for are zero.
        """
        symbols = assets(node)
        table = np.zeros((len(symbols), self.length))
        column = {symbol: table[place] for place, symbol in enumerate(symbols)}
        failed = np.zeros(self.length, dtype=np.bool_)
        for placed, step in self._walk(node, self._everywhere if rows is None else rows):
            if step.undecided.size:
                failed[step.undecided] = True
            if isinstance(placed.child, Asset):
                column[placed.child.symbol][placed.rows] += placed.share
        return Holdings(symbols, table.T, failed)

    def _walk(self, top: Node, rows: Rows) -> Iterator[tuple[Choice, Step]]:
        """Visit each distinct node that a session reaches, after every node that hands sessions to it."""
        first = self.tree.number(top)
        arrived: dict[Number, list[Choice]] = {first: [Choice(top, rows, self._whole[: rows.size])]}
        waiting = [-first]
        while waiting:
            placed = self._merged(arrived.pop(-heapq.heappop(waiting)))
            step = self.step(placed.child, placed.rows, placed.share)
            yield placed, step
            for choice in step.choices:
                number = self.tree.number(choice.child)
                if number not in arrived:
                    arrived[number] = []
                    heapq.heappush(waiting, -number)
                arrived[number].append(choice)

    def _merged(self, choices: list[Choice]) -> Choice:
        if len(choices) == 1:
            return choices[0]
        reached, total = np.zeros(self.length, dtype=np.bool_), np.zeros(self.length)
        for choice in choices:
            reached[choice.rows] = True
            total[choice.rows] += choice.share
        rows = np.flatnonzero(reached)
        return Choice(choices[0].child, rows, total[rows])

    def step(self, node: Node, rows: Rows, share: FloatArray) -> Step:
        """Decide ``node`` itself on ``rows``: which child gets which of them, and how much of the ``share`` placed."""
        match node:
            case Asset():
                return Step((), NO_ROWS)
            case Group(_, child):
                return _step([(child, rows, share)])
            case If():
                return self._step_if(node, rows, share)
            case Equal() | Specified():
                shares = zip(node.children, node.weights, strict=True)
                return _step([(child, rows, share * weight) for child, weight in shares if weight])
            case InverseVolatility():
                return self._step_inverse_volatility(node, rows, share)
            case Filter():
                return self._step_filter(node, rows, share)
            case _:
                assert_never(node)

    def _step_if(self, node: If, rows: Rows, share: FloatArray) -> Step:
        truth, reached = self.truth(node.condition), self._fewest(rows)
        true, false = truth.true[reached], truth.false[reached]
        sides = [(node.then, rows[true], share[true]), (node.otherwise, rows[false], share[false])]
        return _step(sides, rows[~(true | false)] if truth.neither.size else None)

    def _step_inverse_volatility(self, node: InverseVolatility, rows: Rows, share: FloatArray) -> Step:
        deviations = np.stack([self.values(measure)[self._fewest(rows)] for measure in node.measures()])
        usable = (deviations > EQUAL_WITHIN).all(axis=0)
        shares = share[usable] * inverse_shares(deviations[:, usable])
        return _step(
            [(child, rows[usable], part) for child, part in zip(node.children, shares, strict=True)], rows[~usable]
        )

    def _step_filter(self, node: Filter, rows: Rows, share: FloatArray) -> Step:
        places = best(self.ranking(node, rows), node.end, node.count)
        count = (places >= 0).sum(axis=0)
        part = share / np.maximum(count, 1)
        # One choice for each place and candidate, the best first: what they earn is added in that order.
        sides = [
            (candidate, rows[taken], part[taken])
            for place in places
            for number, candidate in enumerate(node.candidates)
            if (taken := place == number).any()
        ]
        return _step(sides, rows[count == 0])

    def ranking(self, node: Filter, rows: Rows) -> FloatArray:
        """Return the readings of the candidates, one a row, on ``rows``; NaN where one cannot be held."""
        return np.stack([self._ranked_by(measure)[self._fewest(rows)] for measure in node.measures()])

    def _ranked_by(self, measure: Measure) -> FloatArray:
        values = self.values(measure)
        if isinstance(measure.subject, Asset):
            return values
        return np.where(self.outcome(measure.subject).decided, values, np.nan)

    def truth(self, condition: Condition) -> Truth:
        """Return where ``condition`` is true and where it is false."""
        number = self.tree.number(condition)
        if number not in self._truths:
            self._truths[number] = self._decide(condition)
        return self._truths[number]

    def _decide(self, condition: Condition) -> Truth:
        match condition:
            case Comparison(left, operator, right):
                compared = np.broadcast_to(self._side(left), self.length)
                return Truth(*holds(compared, operator, self._side(right)))
            case Not(inner):
                opposite = self.truth(inner)
                return Truth(opposite.false, opposite.true)
            case And(conditions):
                truths = [self.truth(part) for part in conditions]
                return Truth(_in_all([one.true for one in truths]), _in_any([one.false for one in truths]))
            case Or(conditions):
                truths = [self.truth(part) for part in conditions]
                return Truth(_in_any([one.true for one in truths]), _in_all([one.false for one in truths]))
            case _:
                assert_never(condition)

    def _side(self, side: Side) -> FloatArray | float:
        return self.values(side) if isinstance(side, Measure) else side

    def values(self, measure: Measure) -> FloatArray:
        """Return what is read, over all sessions; NaN where it is missing."""
        key = measure.indicator, measure.window, self.tree.number(measure.subject)
        if key not in self._values:
            self._values[key] = self._read(measure)
        return self._values[key]

    def _read(self, measure: Measure) -> FloatArray:
        if isinstance(measure.subject, Asset):
            return self.panel.values(Reading(measure.subject.symbol, measure.indicator, measure.window))
        if self._holds_groups and (stored := self.reading_of(measure)) in self.panel:
            return self.panel.values(stored)
        series = self.series(measure.subject)
        if measure.indicator is Indicator.RETURN_DEVIATION:
            return _deviation(series.returns, measure.window)
        # A break parts the series without a session of its own, so one is put between: no window spans it.
        parted = np.insert(series.levels, series.starts, np.nan)
        answers = compute(measure.indicator, parted, measure.window, self._smoothing)
        return np.delete(answers, series.starts + np.arange(series.starts.size))

    def reading_of(self, measure: Measure) -> Reading:
        """Return how a reading of a group is called in a panel: by the group's name and a hash of what it holds."""
        digest = self.tree.digests[self.tree.number(measure.subject)]
        return Reading(f"{measure.subject}{GROUP_MARK}{digest}", measure.indicator, measure.window)

    def groups_read(self) -> Mapping[Reading, Measure]:
        """Return what the tree reads of groups, by what it is called in a panel."""
        measures = (part for expression in self.tree.expressions for part in measures_of(expression))
        return {self.reading_of(measure): measure for measure in measures if isinstance(measure.subject, Group)}

    def group_readings(self) -> Mapping[Reading, FloatArray]:
        """Return every reading of a group that the tree asks for, over all sessions."""
        return {reading: self.values(measure) for reading, measure in self.groups_read().items()}

    def series(self, group: Group) -> Series:
        """Return the value of ``group``: it holds at each close what it chooses there, and earns the next session."""
        number = self.tree.number(group)
        if number not in self._series:
            self._series[number] = _simulated(self.outcome(group))
        return self._series[number]

    def outcome(self, node: Node) -> Outcome:
        """Return what ``node`` earns after each session, computed from its leaves up."""
        top = self.tree.number(node)
        if top not in self._outcomes:
            self._outcomes[top] = self._earned_from_below(top)
        return self._outcomes[top]

    def _earned_from_below(self, top: Number) -> Outcome:
        below = self.tree.below(top, self._outcomes)
        users = Counter(child for number in below for child in self.tree.children[number])
        at_hand: dict[Number, Outcome] = {}
        for number in below:
            children = self.tree.children[number]
            outcomes = [at_hand.get(child) or self._outcomes[child] for child in children]
            at_hand[number] = self._earned(cast("Node", self.tree.expressions[number]), outcomes)
            for child in children:
                users[child] -= 1
                if not users[child] and child in at_hand:
                    self._let_go(child, at_hand.pop(child))
        return at_hand[top]

    def _let_go(self, number: Number, outcome: Outcome) -> None:
        # Twenty years of one node are 45 kB: only what another part of the tree will ask for again is kept.
        if self.tree.is_shared(number):
            self._outcomes[number] = outcome

    def _earned(self, node: Node, children: Sequence[Outcome]) -> Outcome:
        match node:
            case Asset():
                return Outcome(self._next_return(node), self._always)
            case Group():
                return children[0]
            case If():
                return _either(self.truth(node.condition), *children)
            case _:
                step = self.step(node, self._everywhere, self._whole)
                by_child = dict(zip(map(id, children_of(node)), children, strict=True))
                return self._together(step, [by_child[id(choice.child)] for choice in step.choices])

    def _together(self, step: Step, outcomes: Sequence[Outcome]) -> Outcome:
        earned, decided = np.zeros(self.length), self._always.copy()
        decided[step.undecided] = False
        for choice, outcome in zip(step.choices, outcomes, strict=True):
            rows = self._fewest(choice.rows)
            earned[rows] += choice.share * outcome.earned[rows]
            decided[rows] &= outcome.decided[rows]
        earned[~decided] = np.nan
        return Outcome(earned, decided)

    def _next_return(self, asset: Asset) -> FloatArray:
        closes = self.panel.values(Reading(asset.symbol, *CLOSE))
        return np.append(closes[1:] / closes[:-1] - 1, np.nan)[: self.length]

    def _fewest(self, rows: Rows) -> Rows | slice:
        # All sessions are taken as they lie, without a copy.
        return slice(None) if rows.size == self.length else rows


def _step(choices: Sequence[tuple[Node, Rows, FloatArray]], undecided: Rows | None = None) -> Step:
    taken = tuple(Choice(*choice) for choice in choices if choice[1].size)
    return Step(taken, NO_ROWS if undecided is None else undecided)


def _either(truth: Truth, then: Outcome, otherwise: Outcome) -> Outcome:
    # What ``step`` and ``_together`` come to for two sides, by changing the smaller: most nodes are of this kind.
    more, fewer, rows = (otherwise, then, truth.on) if truth.on.size < truth.off.size else (then, otherwise, truth.off)
    earned, decided = more.earned.copy(), more.decided.copy()
    earned[rows], decided[rows] = fewer.earned[rows], fewer.decided[rows]
    earned[truth.neither] = np.nan
    decided[truth.neither] = False
    return Outcome(earned, decided)


def _simulated(outcome: Outcome) -> Series:
    returns = np.concatenate(([np.nan], outcome.earned[:-1]))[: outcome.earned.size]
    going = ~np.isnan(returns)
    starts = outcome.decided & ~going
    levels = np.where(going | starts, np.cumprod(1 + np.where(going, returns, 0.0)), np.nan)
    return Series(returns, levels, np.flatnonzero(starts))


def _deviation(returns: FloatArray, window: int) -> FloatArray:
    """Return the sample deviation of the last ``window`` returns, in percent.

    Of the returns themselves, as pandas rolls over them: groups that held the
    same for a whole window differ in the last bits alone, and rank by those.
    """
    deviation: FloatArray = pd.Series(returns).rolling(window).std().to_numpy() * 100
    return deviation


def _in_all(truths: list[BoolArray]) -> BoolArray:
    everywhere: BoolArray = np.logical_and.reduce(truths)
    return everywhere


def _in_any(truths: list[BoolArray]) -> BoolArray:
    somewhere: BoolArray = np.logical_or.reduce(truths)
    return somewhere
