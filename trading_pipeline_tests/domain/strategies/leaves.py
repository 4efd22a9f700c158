"""Which leaves of a tree can be reached at all, and which of them were.

A leaf is named by the way to it: every side taken of a condition, every
candidate kept, every part held. A group begins a way of its own, so its leaves
count wherever the group is reached.
"""

import math
import operator
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from trading_pipeline.domain.strategies.evaluator import Evaluator
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
    Specified,
)

Way = tuple[str, ...]
Fact = tuple[Comparison, bool]

HOLDS = {
    Operator.ABOVE: operator.gt,
    Operator.BELOW: operator.lt,
    Operator.AT_LEAST: operator.ge,
    Operator.AT_MOST: operator.le,
}


def unreached(root: Node, cases: Iterable[tuple[Node, Evaluator]]) -> list[str]:
    """Return the leaves under ``root`` that the last sessions of the cases, each a tree within it, do not reach."""
    reached = {way for node, evaluator in cases for way in walked(node, evaluator)}
    return [" / ".join(way) for way in dict.fromkeys(leaves(root)) if way not in reached]


@dataclass(frozen=True)
class Branch:
    """One way on from a node; ``condition`` must be ``then`` for it to be taken, if there is one."""

    label: str
    child: Node
    condition: Condition | None = None
    then: bool = True


def leaves(node: Node, way: Way = (), facts: tuple[Fact, ...] = ()) -> Iterator[Way]:
    """Yield the ways to the leaves under ``node``, without those that are logically impossible."""
    if isinstance(node, Asset | Group):
        yield (*way, str(node))
    if isinstance(node, Group):
        yield from leaves(node.child, (node.name,))
    for branch in branches(node):
        known = (*facts, *_facts(branch.condition, branch.then))
        if not contradictory(known):
            yield from leaves(branch.child, (*way, branch.label), known)


def walked(node: Node, evaluator: Evaluator, way: Way = ()) -> Iterator[Way]:
    """Yield the ways to the leaves that are held on the last session."""
    if isinstance(node, Asset | Group):
        yield (*way, str(node))
    if isinstance(node, Group):
        yield from walked(node.child, evaluator, (node.name,))
    kept = _kept(node, evaluator) if isinstance(node, Filter) else None
    for branch in branches(node):
        taken = branch.condition is None or truth(branch.condition, evaluator) is branch.then
        if taken and (kept is None or branch.child in kept):
            yield from walked(branch.child, evaluator, (*way, branch.label))


def branches(node: Node) -> Iterator[Branch]:
    """Yield the ways on from a node; none from an asset, nor from a group, which begins a way of its own."""
    match node:
        case If(condition, then, otherwise):
            yield Branch(_text(condition), then, condition, then=True)
            yield Branch(f"not {_text(condition)}", otherwise, condition, then=False)
        case Filter():
            yield from (Branch(f"{node.end} {node.count}", candidate) for candidate in _choosable(node))
        case Equal() | Specified() | InverseVolatility():
            yield from (Branch(f"part {place}", child) for place, child in enumerate(node.children, 1))


def truth(condition: Condition, evaluator: Evaluator) -> bool | None:
    """Tell whether the condition holds on the last session; None where it is undecidable."""
    match condition:
        case Comparison(left, sign, right):
            sides = [_last(side, evaluator) if isinstance(side, Measure) else side for side in (left, right)]
            return None if any(map(math.isnan, sides)) else HOLDS[sign](*sides)
        case Not(inner):
            opposite = truth(inner, evaluator)
            return None if opposite is None else not opposite
        case And(conditions) | Or(conditions):
            decisive = isinstance(condition, Or)
            truths = [truth(part, evaluator) for part in conditions]
            return decisive if decisive in truths else None if None in truths else not decisive


def contradictory(facts: Iterable[Fact]) -> bool:
    """Tell whether no readings satisfy all the facts: bounds that leave no number, or two orders of the same pair."""
    asked = defaultdict(list)
    for comparison, then in facts:
        of_a_pair = isinstance(comparison.right, Measure)
        subject = (comparison.left, comparison.right if of_a_pair else None)
        # A pair is asked which way its difference lies from nothing.
        asked[subject].append((HOLDS[comparison.operator], 0.0 if of_a_pair else comparison.right, then))
    return not all(map(_satisfiable, asked.values()))


def _satisfiable(bounds: list[tuple[Callable[[float, float], bool], float, bool]]) -> bool:
    limits = sorted({limit for _, limit, _ in bounds})
    between = [(low + high) / 2 for low, high in pairwise(limits)]
    return any(
        all(holds(point, limit) is then for holds, limit, then in bounds)
        for point in (limits[0] - 1, *limits, *between, limits[-1] + 1)
    )


def _facts(condition: Condition | None, then: bool) -> Iterator[Fact]:
    """Yield the comparisons that are settled where the condition is as said."""
    match condition:
        case Comparison():
            yield condition, then
        case Not(inner):
            yield from _facts(inner, not then)
        case And(conditions) | Or(conditions):
            if isinstance(condition, And) is then:
                for part in conditions:
                    yield from _facts(part, then)


def _choosable(node: Filter) -> Iterator[Node]:
    """Yield the candidates, without those that tie with enough earlier ones whatever happens."""
    for place, candidate in enumerate(node.candidates):
        twins = sum(_same_series(candidate, earlier) for earlier in node.candidates[:place])
        if twins < node.count:
            yield candidate


def _same_series(one: Node, other: Node) -> bool:
    return one == other or (isinstance(one, Group) and isinstance(other, Group) and one.child == other.child)


def _kept(node: Filter, evaluator: Evaluator) -> list[Node]:
    sign = -1 if node.end is End.TOP else 1
    ranked = {
        candidate: sign * value
        for candidate, measure in zip(node.candidates, node.measures(), strict=True)
        if not math.isnan(value := _last(measure, evaluator))
    }
    return sorted(ranked, key=lambda candidate: ranked[candidate])[: node.count]


def _last(measure: Measure, evaluator: Evaluator) -> float:
    return float(evaluator.values(measure)[-1])


def _text(condition: Condition) -> str:
    match condition:
        case Comparison(left, sign, right):
            return f"{left} {sign} {right}"
        case Not(inner):
            return f"({_text(inner)}) is false"
        case And(conditions) | Or(conditions):
            return f" {type(condition).__name__.lower()} ".join(map(_text, conditions))
