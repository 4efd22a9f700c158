"""Structural sharing: what a tree says twice is found once.

Symphonies repeat themselves: the same block under every variant, the same
filter in a dozen branches. Here every distinct expression of a tree gets one
number, and parts are numbered before what they are part of, so that rising
numbers walk a tree from its leaves and falling numbers from its root, without
recursion, however deep it is.
"""

import hashlib
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from functools import cached_property

from trading_pipeline.domain.strategies.tree import Expression, Node, children_of

Number = int
"""What stands for all equal expressions of one tree."""
DIGEST_LENGTH = 12


class SharedTree:
    """The distinct expressions of one tree.

    ``expressions[n]`` is the expression numbered n; ``children[n]`` are the
    numbers of the nodes that it hands its sessions to, in order; empty for
    conditions, readings and assets.

    >>> from trading_pipeline.domain.strategies.tree import equal, group
    >>> tree = equal(group("left", equal("A", "B")), group("right", equal("A", "B")))
    >>> shared = SharedTree(tree)
    >>> [type(expression).__name__ for expression in shared.expressions]
    ['Asset', 'Asset', 'Equal', 'Group', 'Group', 'Equal']
    >>> shared.children[shared.root]
    (3, 4)
    """

    def __init__(self, tree: Node) -> None:
        distinct: dict[tuple[object, ...], Number] = {}
        self._number_by_id: dict[int, Number] = {}
        expressions: list[Expression] = []
        for expression in _parts_first(tree):
            number = distinct.setdefault(self._key(expression), len(expressions))
            self._number_by_id[id(expression)] = number
            if number == len(expressions):
                expressions.append(expression)
        self.expressions: tuple[Expression, ...] = tuple(expressions)
        self.children = tuple(tuple(map(self.number, children_of(expression))) for expression in expressions)
        self.root = self.number(tree)
        self._parents = Counter(child for numbers in self.children for child in set(numbers))

    def number(self, expression: Expression) -> Number:
        """Return the number of an expression of this tree."""
        known = self._number_by_id.get(id(expression))
        return self.expressions.index(expression) if known is None else known

    @cached_property
    def digests(self) -> tuple[str, ...]:
        """A hash of each expression's structure, 12 hexadecimal digits; the same on any machine."""
        found: list[str] = []
        for expression in self.expressions:
            kind, *parts = self._key(expression)
            named = [getattr(kind, "__name__", ""), *(_digested(part, found) for part in parts)]
            found.append(hashlib.sha256(repr(named).encode()).hexdigest()[:DIGEST_LENGTH])
        return tuple(found)

    def is_shared(self, number: Number) -> bool:
        """Tell whether several nodes hand their sessions to this one."""
        return self._parents[number] > 1

    def below(self, top: Number, done: Container[Number]) -> list[Number]:
        """Return the nodes that ``top`` may hand sessions to, itself included, children first; not through ``done``."""
        found, waiting = set(), [top]
        while waiting:
            number = waiting.pop()
            if number not in found and number not in done:
                found.add(number)
                waiting.extend(self.children[number])
        return sorted(found)

    def _key(self, expression: Expression) -> tuple[object, ...]:
        return type(expression), *(self._named(part) for part in expression.parts)

    def _named(self, part: object) -> object:
        number = self._number_by_id.get(id(part))
        if number is not None:
            # In a tuple of its own: a number must never equal a window or a threshold.
            return (number,)
        return tuple(map(self._named, part)) if isinstance(part, tuple) else part


def _digested(part: object, found: Sequence[str]) -> object:
    match part:
        case (int(number),):
            return (found[number],)
        case tuple():
            return tuple(_digested(inner, found) for inner in part)
        case _:
            return str(part)


def _parts_first(root: Expression) -> Iterator[Expression]:
    """Visit each object once, after its parts."""
    waiting: list[tuple[Expression, bool]] = [(root, False)]
    seen: set[int] = set()
    while waiting:
        expression, is_ready = waiting.pop()
        if is_ready:
            yield expression
        elif id(expression) not in seen:
            seen.add(id(expression))
            waiting.append((expression, True))
            waiting.extend((part, False) for part in reversed([*expression.inner()]))
