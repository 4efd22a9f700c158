"""The language of strategies: trees whose inner nodes test indicators and whose leaves are assets.

A tree is a value: frozen, hashable, equal to any tree of the same shape, and
checked when it is built. Small constructors let a strategy read like its
description, and a symbol may stand wherever a node may:

>>> hedge = specified((0.75, "UVXY"), (0.25, "BTAL"))
>>> tree = first_match(
...     (rsi("SPY", 10) > 79, hedge),
...     (price("SPY") > sma("SPY", 200), top(3, "EXC", "NLR", "LEU", "BWXT", by=Indicator.MEAN_RETURN, window=90)),
...     otherwise="BIL",
... )
>>> symbols(tree)
('BIL', 'BTAL', 'BWXT', 'EXC', 'LEU', 'NLR', 'SPY', 'UVXY')

What a tree needs (symbols, readings, look-back) is derived from it and never
listed a second time.
"""

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn, TypeAlias

from trading_pipeline.domain import indicators
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.indicators import Indicator
from trading_pipeline.domain.readings import Reading
from trading_pipeline.domain.smoothing import Smoothing

WEIGHT_TOLERANCE = 1e-9
CLOSE = (Indicator.PRICE, 1)
"""The reading from which a group earns the returns of what it holds."""


class Expression:
    """Anything a tree is made of: equal by value, and hashed once, when it is built."""

    parts: tuple[object, ...]
    """What it was built of, in the order of its fields."""
    _hash: int

    def __post_init__(self) -> None:
        """Check the parts, then remember the hash, so that hashing a deep tree costs no walk through it."""
        # What the dataclass has set so far: its fields, in their order.
        own = vars(self)
        parts = tuple(own.values())
        self._check()
        # Past the freezing of the dataclass, which ends here.
        own["parts"] = parts
        own["_hash"] = hash((type(self), *parts))

    def _check(self) -> None:
        """Raise InvalidInput if the parts make no sense together."""

    def inner(self) -> "Iterator[Expression]":
        """Yield the expressions among the parts, in order."""
        for part in self.parts:
            if isinstance(part, Expression):
                yield part
            elif isinstance(part, tuple):
                yield from (element for element in part if isinstance(element, Expression))

    def __hash__(self) -> int:
        """Return the hash made at construction."""
        return self._hash

    def __eq__(self, other: object) -> bool:
        """Tell whether the other is built of equal parts."""
        if self is other:
            return True
        if not isinstance(other, Expression) or type(self) is not type(other) or self._hash != other._hash:
            return False
        return self.parts == other.parts

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the parts: hashes of strings differ from process to process, so it is built anew."""
        return type(self), self.parts


class Logical(Expression):
    """A condition: true, false, or undecidable; combined by ``&``, ``|`` and ``~`` in Kleene's three-valued logic."""

    def __and__(self, other: "Condition") -> "And":
        """Both."""
        return And((self, other))  # type: ignore[arg-type]  # conditions are the only subclasses

    def __or__(self, other: "Condition") -> "Or":
        """At least one."""
        return Or((self, other))  # type: ignore[arg-type]  # conditions are the only subclasses

    def __invert__(self) -> "Not":
        """The opposite."""
        return Not(self)  # type: ignore[arg-type]  # conditions are the only subclasses

    def __bool__(self) -> NoReturn:
        """Refuse: ``and``, ``or``, ``not`` and chained comparisons would drop half of the condition.

        Raises:
            InvalidInput: always.
        """
        raise InvalidInput("a condition has no truth of its own: combine conditions with &, | and ~, and do not chain")


@dataclass(frozen=True, eq=False)
class Measure(Expression):
    """An indicator of an asset, or of a group's own value series; comparing it makes a condition."""

    indicator: Indicator
    subject: "Asset | Group"
    window: int

    def _check(self) -> None:
        _check_readable((self.subject,), self.indicator, self.window)

    def __gt__(self, other: "Side") -> "Comparison":
        """Strictly above."""
        return Comparison(self, Operator.ABOVE, other)

    def __lt__(self, other: "Side") -> "Comparison":
        """Strictly below."""
        return Comparison(self, Operator.BELOW, other)

    def __ge__(self, other: "Side") -> "Comparison":
        """Above or equal."""
        return Comparison(self, Operator.AT_LEAST, other)

    def __le__(self, other: "Side") -> "Comparison":
        """Below or equal."""
        return Comparison(self, Operator.AT_MOST, other)

    def __str__(self) -> str:
        """Name it as a reading is named: ``rsi(SPY,10)``."""
        return str(Reading(str(self.subject), self.indicator, self.window))


class Operator(StrEnum):
    """How two sides compare; equality satisfies only the latter two."""

    ABOVE = ">"
    BELOW = "<"
    AT_LEAST = ">="
    AT_MOST = "<="


@dataclass(frozen=True, eq=False)
class Comparison(Logical):
    """``left operator right``; undecidable where either side is missing."""

    left: "Side"
    operator: Operator
    right: "Side"

    def _check(self) -> None:
        for side in (self.left, self.right):
            if not isinstance(side, Measure) and not math.isfinite(side):
                raise InvalidInput(f"a comparison needs readings or finite numbers, was {side}")


@dataclass(frozen=True, eq=False)
class And(Logical):
    """True when all are true; false as soon as one is false, whatever is missing."""

    conditions: tuple["Condition", ...]

    def _check(self) -> None:
        _check_not_empty(self.conditions, "and")


@dataclass(frozen=True, eq=False)
class Or(Logical):
    """True as soon as one is true, whatever is missing; false when all are false."""

    conditions: tuple["Condition", ...]

    def _check(self) -> None:
        _check_not_empty(self.conditions, "or")


@dataclass(frozen=True, eq=False)
class Not(Logical):
    """The opposite; undecidable stays undecidable."""

    condition: "Condition"


@dataclass(frozen=True, eq=False)
class Asset(Expression):
    """Everything in one symbol."""

    symbol: str

    def _check(self) -> None:
        if not self.symbol or self.symbol.split() != [self.symbol]:
            raise InvalidInput(f"a symbol is a word without spaces, was {self.symbol!r}")

    def __str__(self) -> str:
        """Name the symbol."""
        return self.symbol


@dataclass(frozen=True, eq=False)
class If(Expression):
    """``then`` where the condition is true, ``otherwise`` where it is false; undecidable where it is."""

    condition: "Condition"
    then: "Node"
    otherwise: "Node"


@dataclass(frozen=True, eq=False)
class Equal(Expression):
    """The same share for each child."""

    children: tuple["Node", ...]

    def _check(self) -> None:
        _check_not_empty(self.children, "equal")

    @property
    def weights(self) -> tuple[float, ...]:
        """The share of each child, in the children's order."""
        return (1 / len(self.children),) * len(self.children)


@dataclass(frozen=True, eq=False)
class Specified(Expression):
    """A given share for each child; the shares are fractions that sum to 1."""

    weights: tuple[float, ...]
    children: tuple["Node", ...]

    def _check(self) -> None:
        _check_not_empty(self.children, "specified")
        if len(self.weights) != len(self.children):
            raise InvalidInput(
                f"specified needs a weight for each child, was {len(self.weights)} for {len(self.children)}"
            )
        if not all(0 <= weight <= 1 for weight in self.weights):
            raise InvalidInput(f"specified weights lie between 0 and 1, were {self.weights}")
        if abs(sum(self.weights) - 1) > WEIGHT_TOLERANCE:
            raise InvalidInput(f"specified weights must sum to 1, summed to {sum(self.weights)}: {self.weights}")


@dataclass(frozen=True, eq=False)
class InverseVolatility(Expression):
    """Shares proportional to 1 / sdret(child, window)."""

    window: int
    children: tuple["Asset | Group", ...]

    def _check(self) -> None:
        _check_not_empty(self.children, "inverse_volatility")
        _check_readable(self.children, Indicator.RETURN_DEVIATION, self.window)

    def measures(self) -> tuple[Measure, ...]:
        """Return the deviation of each child, in the children's order."""
        return self._measures

    @functools.cached_property
    def _measures(self) -> tuple[Measure, ...]:
        return tuple(Measure(Indicator.RETURN_DEVIATION, child, self.window) for child in self.children)


class End(StrEnum):
    """Which end of a ranking is kept."""

    TOP = "top"
    BOTTOM = "bottom"


@dataclass(frozen=True, eq=False)
class Filter(Expression):
    """The ``count`` candidates at one end of a ranking, in equal shares; ties go to the order listed."""

    end: End
    count: int
    indicator: Indicator
    window: int
    candidates: tuple["Asset | Group", ...]

    def _check(self) -> None:
        _check_not_empty(self.candidates, "filter")
        if self.count < 1:
            raise InvalidInput(f"a filter must keep at least 1 candidate, was {self.count}")
        _check_readable(self.candidates, self.indicator, self.window)

    def measures(self) -> tuple[Measure, ...]:
        """Return what each candidate is ranked by, in the candidates' order."""
        return self._measures

    @functools.cached_property
    def _measures(self) -> tuple[Measure, ...]:
        return tuple(Measure(self.indicator, candidate, self.window) for candidate in self.candidates)


@dataclass(frozen=True, eq=False)
class Group(Expression):
    """A named subtree; it has a value series of its own, so indicators apply to it."""

    name: str
    child: "Node"

    def _check(self) -> None:
        if not self.name.strip():
            raise InvalidInput("a group needs a name, was blank")

    def __str__(self) -> str:
        """Name the group."""
        return self.name


Node: TypeAlias = Asset | If | Equal | Specified | InverseVolatility | Filter | Group
Side: TypeAlias = Measure | float
Condition: TypeAlias = Comparison | And | Or | Not


def _check_not_empty(parts: tuple[object, ...], name: str) -> None:
    if not parts:
        raise InvalidInput(f"{name} needs at least one child, had none")


def _check_readable(subjects: tuple[object, ...], indicator: Indicator, window: int) -> None:
    """Refuse what has no value series of its own, and a window over which the indicator has no meaning."""
    for subject in subjects:
        # A tuple is checked in half the time of a union, and large symphonies have thousands.
        if not isinstance(subject, (Asset, Group)):
            found = type(subject).__name__
            raise InvalidInput(f"{indicator} applies to assets and groups, was given {found}: name it by group(…)")
    Reading("", indicator, window)


def _node(child: Node | str) -> Node:
    return Asset(child) if isinstance(child, str) else child


def _subject(subject: Asset | Group | str) -> Asset | Group:
    return Asset(subject) if isinstance(subject, str) else subject


def _nodes(children: Iterable[Node | str]) -> tuple[Node, ...]:
    return tuple(_node(child) for child in children)


def _subjects(subjects: Iterable[Asset | Group | str]) -> tuple[Asset | Group, ...]:
    return tuple(_subject(subject) for subject in subjects)


def rsi(subject: Asset | Group | str, window: int) -> Measure:
    """Relative strength index, 0 to 100."""
    return Measure(Indicator.RSI, _subject(subject), window)


def price(subject: Asset | Group | str) -> Measure:
    """Last completed close, in dollars; of a group, its level."""
    return Measure(Indicator.PRICE, _subject(subject), 1)


def sma(subject: Asset | Group | str, window: int) -> Measure:
    """Mean of the last closes, in dollars."""
    return Measure(Indicator.SMA, _subject(subject), window)


def ema(subject: Asset | Group | str, window: int) -> Measure:
    """Exponential mean of the closes, in dollars."""
    return Measure(Indicator.EMA, _subject(subject), window)


def maret(subject: Asset | Group | str, window: int) -> Measure:
    """Mean daily return, in percent a day."""
    return Measure(Indicator.MEAN_RETURN, _subject(subject), window)


def cumret(subject: Asset | Group | str, window: int) -> Measure:
    """Return over the window, in percent."""
    return Measure(Indicator.CUMULATIVE_RETURN, _subject(subject), window)


def sdret(subject: Asset | Group | str, window: int) -> Measure:
    """Sample standard deviation of daily returns, in percent."""
    return Measure(Indicator.RETURN_DEVIATION, _subject(subject), window)


def sdprice(subject: Asset | Group | str, window: int) -> Measure:
    """Sample standard deviation of closes, in dollars."""
    return Measure(Indicator.PRICE_DEVIATION, _subject(subject), window)


def mdd(subject: Asset | Group | str, window: int) -> Measure:
    """Largest fall from a peak within the window, as a positive percentage."""
    return Measure(Indicator.MAX_DRAWDOWN, _subject(subject), window)


def if_(condition: Condition, then: Node | str, otherwise: Node | str) -> If:
    """Choose between two subtrees."""
    return If(condition, _node(then), _node(otherwise))


def first_match(*cases: tuple[Condition, Node | str], otherwise: Node | str) -> Node:
    """Choose the subtree of the first condition that is true, in the order given.

    A condition that is undecidable stops the search: what follows is not reached.
    """
    chosen = _node(otherwise)
    for condition, then in reversed(cases):
        chosen = if_(condition, then, chosen)
    return chosen


def equal(*children: Node | str) -> Equal:
    """Hold each child in the same share."""
    return Equal(_nodes(children))


def specified(*shares: tuple[float, Node | str]) -> Specified:
    """Hold each child in its share; the shares must sum to 1."""
    return Specified(tuple(weight for weight, _ in shares), _nodes(child for _, child in shares))


def inverse_volatility(window: int, *children: Asset | Group | str) -> InverseVolatility:
    """Hold each child in proportion to one over its deviation of daily returns."""
    return InverseVolatility(window, _subjects(children))


def top(count: int, *candidates: Asset | Group | str, by: Indicator, window: int) -> Filter:
    """Hold the ``count`` candidates with the highest readings."""
    return Filter(End.TOP, count, by, window, _subjects(candidates))


def bottom(count: int, *candidates: Asset | Group | str, by: Indicator, window: int) -> Filter:
    """Hold the ``count`` candidates with the lowest readings."""
    return Filter(End.BOTTOM, count, by, window, _subjects(candidates))


def group(name: str, child: Node | str) -> Group:
    """Name a subtree, so that indicators can be read of it."""
    return Group(name, _node(child))


def children_of(expression: Expression) -> tuple[Node, ...]:
    """Return the nodes that a node hands its sessions to, in order; none for assets, conditions and readings."""
    match expression:
        case Group(_, child):
            return (child,)
        case If(_, then, otherwise):
            return then, otherwise
        case Equal() | Specified() | InverseVolatility():
            return expression.children
        case Filter():
            return expression.candidates
        case _:
            return ()


def symbols(tree: Node) -> tuple[str, ...]:
    """Return every symbol that the tree reads or may hold, in alphabetical order."""
    read = {reading.symbol for reading in readings(tree)}
    return tuple(sorted(read.union(assets(tree))))


def assets(tree: Node) -> tuple[str, ...]:
    """Return every symbol that the tree may hold, in alphabetical order."""
    return tuple(sorted({leaf.symbol for leaf in _walk([tree], children_of) if isinstance(leaf, Asset)}))


def readings(tree: Node) -> tuple[Reading, ...]:
    """Return every reading of a symbol that deciding the tree may need, in order.

    A group whose own value series is read is simulated from the readings of
    its subtree and the closes of each symbol that it may hold.
    """
    return tuple(sorted(readings_among(_walk([tree], Expression.inner))))


def readings_among(expressions: Iterable[Expression]) -> frozenset[Reading]:
    """Return the readings of symbols that these expressions themselves need, not those of their parts."""
    measures = {measure for expression in expressions for measure in measures_of(expression)}
    groups = [measure.subject for measure in measures if isinstance(measure.subject, Group)]
    held = {leaf.symbol for leaf in _walk(groups, children_of) if isinstance(leaf, Asset)}
    return frozenset(
        [
            Reading(measure.subject.symbol, measure.indicator, measure.window)
            for measure in measures
            if isinstance(measure.subject, Asset)
        ]
        + [Reading(symbol, *CLOSE) for symbol in held]
    )


def trailing_sessions(tree: Node, smoothing: Smoothing = Smoothing.WILDER) -> int:
    """Return how many sessions of readings a decision needs, the last included.

    One, unless a group's value series is read: the series is simulated over
    as many sessions as the indicator read of it needs.
    """
    return _sessions_needed(tree, lambda _: 1, smoothing)


def look_back(tree: Node, smoothing: Smoothing = Smoothing.WILDER) -> int:
    """Return how many sessions of bars a decision needs, the last included, to equal one made from all history.

    The level of a group counts from 1 on the first session evaluated, so a
    comparison of it with a number depends on where the bars begin.
    """
    return _sessions_needed(tree, lambda read: indicators.look_back(read.indicator, read.window, smoothing), smoothing)


def _walk(roots: Sequence[Expression], inner: Callable[[Expression], Iterable[Expression]]) -> Iterator[Expression]:
    """Visit each object under ``roots`` once."""
    waiting, seen = [*roots], {id(root) for root in roots}
    while waiting:
        expression = waiting.pop()
        yield expression
        found = [part for part in inner(expression) if id(part) not in seen]
        seen.update(map(id, found))
        waiting.extend(found)


def measures_of(expression: Expression) -> tuple[Measure, ...]:
    """Return the readings, of symbols and of groups, that this expression itself asks for."""
    if isinstance(expression, Measure):
        return (expression,)
    return expression.measures() if isinstance(expression, Filter | InverseVolatility) else ()


def _decided_by(expression: Expression) -> Iterator[Expression]:
    return iter(()) if isinstance(expression, Measure) else expression.inner()


def _sessions_needed(tree: Node, of_symbol: Callable[[Measure], int], smoothing: Smoothing) -> int:
    @functools.cache
    def by_node(node: Node) -> int:
        measures = (measure for part in _walk([node], _decided_by) for measure in measures_of(part))
        return max((by_measure(measure) for measure in measures), default=1)

    def by_measure(measure: Measure) -> int:
        if isinstance(measure.subject, Asset):
            return of_symbol(measure)
        simulated = indicators.look_back(measure.indicator, measure.window, smoothing)
        return simulated - 1 + by_node(measure.subject.child)

    return by_node(tree)
