"""What each form of a symphony's text means: a word and its arguments to a part of a tree.

A form's arguments have been read before the form itself, so they are values
already: tickers and names as text, numbers, vectors as tuples, and the parts
that inner forms made.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar, cast

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.indicators import Indicator
from trading_pipeline.domain.readings import Reading
from trading_pipeline.domain.strategies.tree import (
    And,
    Asset,
    Comparison,
    Condition,
    End,
    Equal,
    Expression,
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
)

MAX_CHARACTERS = 10_000_000
"""Longer texts are refused unread."""
MAX_LEAVES = 50_000
"""How many assets a text may name, repetitions counted."""
MAX_DEPTH = 256
"""How many nodes, conditions and readings may stand inside one another, the outermost node counted."""

FREQUENCIES = ("daily", "weekly", "monthly", "quarterly", "yearly")
OPTIONS = ("asset-class", "rebalance-frequency", "rebalance-threshold", "window")
NEVER = "none"
"""How some exports say that no calendar rebalances the symphony."""

INDICATOR_WORDS = {
    Indicator.RSI: "rsi",
    Indicator.PRICE: "current-price",
    Indicator.SMA: "moving-average-price",
    Indicator.EMA: "exponential-moving-average-price",
    Indicator.MEAN_RETURN: "moving-average-return",
    Indicator.CUMULATIVE_RETURN: "cumulative-return",
    Indicator.RETURN_DEVIATION: "stdev-return",
    Indicator.PRICE_DEVIATION: "stdev-price",
    Indicator.MAX_DRAWDOWN: "max-drawdown",
}
_OTHER_INDICATOR_WORDS = {
    "relative-strength-index": Indicator.RSI,
    "standard-deviation-return": Indicator.RETURN_DEVIATION,
    "standard-deviation-price": Indicator.PRICE_DEVIATION,
}
TICKER_PREFIX, TICKER_SUFFIX = "EQUITIES::", "//USD"
"""What some exports put around a ticker."""
MAX_COUNT = 1_000_000
"""The largest window, and the largest number of candidates kept."""
_NAMED_IN_DESCRIPTIONS = 3


@dataclass(frozen=True)
class Symphony:
    """A tree with what its text says about it.

    ``rebalance_frequency`` is one of ``FREQUENCIES`` or None.
    ``rebalance_threshold`` is how far (fraction of the portfolio) a weight may
    drift before it is rebalanced, above 0 and at most 1, or None.

    Raises:
        InvalidInput: the name is blank, the frequency unknown or the threshold out of range.
    """

    name: str
    tree: Node
    asset_class: str | None = None
    rebalance_frequency: str | None = None
    rebalance_threshold: float | None = None

    def __post_init__(self) -> None:
        """Refuse what no text could say."""
        if not self.name.strip():
            raise InvalidInput("a symphony needs a name, was blank")
        if self.rebalance_frequency is not None and self.rebalance_frequency not in FREQUENCIES:
            raise InvalidInput(f"a frequency is one of {', '.join(FREQUENCIES)}, was {self.rebalance_frequency!r}")
        if self.rebalance_threshold is not None and not 0 < self.rebalance_threshold <= 1:
            raise InvalidInput(f"a threshold is a fraction above 0 and at most 1, was {self.rebalance_threshold}")


class Misfit(Exception):
    """An argument is not what its form needs.

    ``path`` leads to it: its index among the form's arguments, then the index
    inside that argument, if it is a vector or map. An index one past the last
    is the closing bracket: something is missing.
    """

    def __init__(self, expected: str, *path: int) -> None:
        """Remember what was expected, and where."""
        super().__init__(expected)
        self.expected = expected
        self.path = path


class Nil(Enum):
    """The value of ``nil``."""

    NIL = "nil"


@dataclass(frozen=True)
class Keyword:
    """A word that begins with a colon, without it."""

    name: str


@dataclass(frozen=True)
class Options:
    """A map: its keys and values by turns, as written."""

    items: tuple["Value", ...]


@dataclass(frozen=True)
class Ranking:
    """An indicator that has yet to be given a subject: what a filter ranks by."""

    indicator: Indicator
    window: int


@dataclass(frozen=True)
class Selection:
    """Which candidates a filter keeps."""

    end: End
    count: int


@dataclass(frozen=True)
class Word:
    """A word of the language and how to build its form from the arguments."""

    name: str
    build: "Callable[[Forms, Sequence[Value]], Value]"


Value: TypeAlias = (
    str
    | float
    | Nil
    | Keyword
    | Word
    | Options
    | Ranking
    | Selection
    | Measure
    | Condition
    | Node
    | Symphony
    | tuple["Value", ...]
)
Arguments: TypeAlias = Sequence[Value]

_BLOCK = "a block such as (asset …), (if …) or (weight-equal …)"
_Kind = TypeVar("_Kind", bound=Expression)
# The commonest first: they are asked in order.
_NODES = (Asset, Equal, If, Filter, Group, Specified, InverseVolatility)
_NODE_TYPES = frozenset(_NODES)
_SUBJECTS = (Asset, Group)
_CONDITIONS = (Comparison, And, Or, Not)
_SIDES = (float, Measure)


class Forms:
    """The forms of one text: each method builds one from its arguments.

    Equal expressions become one object, so that later stages can tell them by
    identity.
    """

    def __init__(self) -> None:
        """Start without any expression."""
        self._first: dict[Expression, Any] = {}

    def same(self, expression: _Kind) -> _Kind:
        """Return the first of equal expressions."""
        first: _Kind = self._first.setdefault(expression, expression)
        return first

    def defsymphony(self, arguments: Arguments) -> Symphony:
        """Read a name, options if any, and a block."""
        name = _text(arguments, 0, "the symphony's name in quotes")
        if not name.strip():
            raise Misfit("a name that is not blank", 0)
        has_options = len(arguments) > 1 and isinstance(arguments[1], Options)
        asset_class, frequency, threshold = _symphony_options(arguments) if has_options else (None, None, None)
        _end(arguments, 2 + has_options)
        return Symphony(name, self._block(arguments, 1 + has_options), asset_class, frequency, threshold)

    def asset(self, arguments: Arguments) -> Asset:
        """Read a ticker, and leave the fund's name."""
        symbol = _text(arguments, 0, "a ticker in quotes")
        if len(arguments) > 1 and not isinstance(arguments[1], str | Nil):
            raise Misfit("a name in quotes, nil or )", 1)
        _end(arguments, 2)
        return Asset(_symbol(symbol))

    def group(self, arguments: Arguments) -> Group:
        """Read a name and a block; a blank name gives way to what the block does."""
        name = _text(arguments, 0, "the group's name in quotes")
        _end(arguments, 2)
        child = self._block(arguments, 1)
        return Group(name if name.strip() else _described(child), child)

    def weight_equal(self, arguments: Arguments) -> Equal:
        """Read blocks."""
        return Equal(_blocks(arguments, 0))

    def weight_specified(self, arguments: Arguments) -> Specified:
        """Read a weight and a block by turns."""
        positions = range(0, max(len(arguments), 1), 2)
        weights = tuple(_number(arguments, position, "a weight such as 0.25") for position in positions)
        return Specified(weights, tuple(self._block(arguments, position + 1) for position in positions))

    def weight_inverse_volatility(self, arguments: Arguments) -> InverseVolatility:
        """Read a window and blocks."""
        window = _count(arguments, 0, "a window such as 14")
        return InverseVolatility(window, self._subjects(arguments, 1))

    def if_(self, arguments: Arguments) -> If:
        """Read a condition and two blocks."""
        _end(arguments, 3)
        condition = _condition(arguments, 0)
        then = self._block(arguments, 1)
        return If(condition, then, self._block(arguments, 2, "a block to hold otherwise, such as [(asset …)]"))

    def filter_(self, arguments: Arguments) -> Filter:
        """Read what to rank by, what to keep, and blocks."""
        ranking, selection = _at(arguments, 0), _at(arguments, 1)
        if not isinstance(ranking, Ranking):
            raise Misfit("what to rank by, such as (rsi {:window 10})", 0)
        if not isinstance(selection, Selection):
            raise Misfit("what to keep, such as (select-top 1)", 1)
        candidates = self._subjects(arguments, 2)
        return Filter(selection.end, selection.count, ranking.indicator, ranking.window, candidates)

    def select(self, end: End, arguments: Arguments) -> Selection:
        """Read how many."""
        count = _count(arguments, 0, "how many to keep, such as 1")
        if count < 1:
            raise Misfit("at least 1 to keep", 0)
        _end(arguments, 1)
        return Selection(end, count)

    def reading(self, indicator: Indicator, arguments: Arguments) -> Measure | Ranking:
        """Read a ticker or group and a window; without a subject it is what a filter ranks by."""
        match _at(arguments, 0):
            case str() as ticker:
                return Measure(indicator, self.same(Asset(_symbol(ticker))), _window(indicator, arguments, 1))
            case Asset() | Group() as subject:
                return Measure(indicator, subject, _window(indicator, arguments, 1))
            case None | float() | Options():
                window = _window(indicator, arguments, 0)
                return Ranking(indicator, Reading("", indicator, window).window)
            case _:
                raise Misfit("a ticker in quotes, a group or a window", 0)

    def compare(self, operator: Operator, arguments: Arguments) -> Comparison:
        """Read two sides."""
        _end(arguments, 2)
        return Comparison(_side(arguments, 0), operator, _side(arguments, 1))

    def and_(self, arguments: Arguments) -> And:
        """Read conditions."""
        return And(_conditions(arguments))

    def or_(self, arguments: Arguments) -> Or:
        """Read conditions."""
        return Or(_conditions(arguments))

    def not_(self, arguments: Arguments) -> Not:
        """Read one condition."""
        _end(arguments, 1)
        return Not(_condition(arguments, 0))

    def _block(self, arguments: Arguments, position: int, expected: str = _BLOCK) -> Node:
        """Read one block, or a vector of them; those of a vector share equally."""
        value = _at(arguments, position)
        if isinstance(value, tuple):
            nodes = _nodes(value, position)
            return nodes[0] if len(nodes) == 1 else self.same(Equal(nodes))
        if not isinstance(value, _NODES):
            raise Misfit(expected, position)
        return value

    def _subjects(self, arguments: Arguments, start: int) -> tuple[Asset | Group, ...]:
        """Read blocks that can be ranked: assets and groups; anything else becomes a group called by what it does."""
        return tuple(
            node if isinstance(node, _SUBJECTS) else self.same(Group(_described(node), node))
            for node in _blocks(arguments, start)
        )


def _blocks(arguments: Arguments, start: int) -> tuple[Node, ...]:
    """Read the blocks from ``start`` on, those of vectors among them."""
    if len(arguments) <= start:
        raise Misfit("blocks in [ ]", start)
    first = arguments[start]
    if len(arguments) == start + 1 and isinstance(first, tuple):
        return _nodes(first, start)
    nodes: list[Node] = []
    for position in range(start, len(arguments)):
        value = arguments[position]
        if isinstance(value, tuple):
            nodes += _nodes(value, position)
        elif isinstance(value, _NODES):
            nodes.append(value)
        else:
            raise Misfit(_BLOCK, position)
    return tuple(nodes)


def _nodes(vector: tuple[Value, ...], position: int) -> tuple[Node, ...]:
    if not vector or not _NODE_TYPES.issuperset(map(type, vector)):
        strange = (index for index, value in enumerate(vector) if not isinstance(value, _NODES))
        raise Misfit(_BLOCK, position, next(strange, 0))
    return cast("tuple[Node, ...]", vector)


def _window(indicator: Indicator, arguments: Arguments, position: int) -> int:
    _end(arguments, position + 1)
    value = _at(arguments, position)
    if value is None and indicator is Indicator.PRICE:
        return 1
    if not isinstance(value, Options):
        return _count(arguments, position, "a window such as {:window 10}")
    for index, _, number in _pairs(arguments, position, "window"):
        return _whole(number, "a window such as 10", position, index)
    raise Misfit(":window", position, 0)


def _conditions(arguments: Arguments) -> tuple[Condition, ...]:
    return tuple(_condition(arguments, position) for position in range(max(len(arguments), 1)))


def _condition(arguments: Arguments, position: int) -> Condition:
    value = _at(arguments, position)
    if isinstance(value, _CONDITIONS):
        return value
    raise Misfit("a condition such as (> … 79), (and …) or (or …)", position)


def _side(arguments: Arguments, position: int) -> Side:
    value = _at(arguments, position)
    if isinstance(value, _SIDES):
        return value
    raise Misfit('a number, or a reading such as (rsi "SPY" {:window 10})', position)


def _symphony_options(arguments: Arguments) -> tuple[str | None, str | None, float | None]:
    asset_class, frequency, threshold = None, None, None
    for index, name, value in _pairs(arguments, 1, "asset-class", "rebalance-frequency", "rebalance-threshold"):
        if name == "asset-class":
            asset_class = _asset_class(value, index)
        elif name == "rebalance-frequency":
            frequency = _frequency(value, index)
        else:
            threshold = _threshold(value, index)
    return asset_class, frequency, threshold


def _asset_class(value: Value, index: int) -> str:
    if not isinstance(value, str):
        raise Misfit("an asset class in quotes", 1, index)
    return value


def _frequency(value: Value, index: int) -> str | None:
    name = value.name if isinstance(value, Keyword) else value
    if name == NEVER:
        return None
    if not isinstance(name, str) or name not in FREQUENCIES:
        raise Misfit("one of " + ", ".join(f":{known}" for known in (*FREQUENCIES, NEVER)), 1, index)
    return name


def _threshold(value: Value, index: int) -> float:
    if not isinstance(value, float) or not 0 < value <= 1:
        raise Misfit("a fraction above 0 and at most 1", 1, index)
    return value


def _pairs(arguments: Arguments, position: int, *known: str) -> Iterator[tuple[int, str, Value]]:
    """Yield each option of the map at ``position``: where its value is, its name, its value."""
    options = arguments[position]
    items = options.items if isinstance(options, Options) else ()
    seen: set[str] = set()
    for index in range(0, len(items), 2):
        key = items[index]
        if not isinstance(key, Keyword) or key.name not in known:
            raise Misfit("one of " + ", ".join(f":{name}" for name in known), position, index)
        if key.name in seen:
            raise Misfit(f":{key.name} once", position, index)
        if index + 1 == len(items):
            raise Misfit(f"a value for :{key.name}", position, index + 1)
        seen.add(key.name)
        yield index + 1, key.name, items[index + 1]


def _symbol(ticker: str) -> str:
    wrapped = ticker.startswith(TICKER_PREFIX) and ticker.endswith(TICKER_SUFFIX)
    return ticker[len(TICKER_PREFIX) : -len(TICKER_SUFFIX)] if wrapped else ticker


def _text(arguments: Arguments, position: int, expected: str) -> str:
    value = _at(arguments, position)
    if not isinstance(value, str):
        raise Misfit(expected, position)
    return value


def _number(arguments: Arguments, position: int, expected: str) -> float:
    value = _at(arguments, position)
    if not isinstance(value, float):
        raise Misfit(expected, position)
    return value


def _count(arguments: Arguments, position: int, expected: str) -> int:
    return _whole(_at(arguments, position), expected, position)


def _whole(value: Value | None, expected: str, *path: int) -> int:
    if not isinstance(value, float):
        raise Misfit(expected, *path)
    if not value.is_integer() or not 0 <= value <= MAX_COUNT:
        raise Misfit(f"a whole number up to {MAX_COUNT:,}", *path)
    return int(value)


def _at(arguments: Arguments, position: int) -> Value | None:
    return arguments[position] if position < len(arguments) else None


def _end(arguments: Arguments, position: int) -> None:
    if len(arguments) > position:
        raise Misfit(")", position)


def _described(node: Node) -> str:
    """Say in a few words what a block does, the same words for equal blocks."""
    match node:
        case If(condition=Comparison(left=left, operator=operator, right=right)):
            return f"if {_brief(left)} {operator} {_brief(right)}"
        case If(condition=condition):
            return f"if {type(condition).__name__.lower()}"
        case Filter():
            return f"{node.end} {node.count} by {node.indicator}({node.window}) of {_listed(node.candidates)}"
        case InverseVolatility():
            return f"inverse volatility({node.window}) of {_listed(node.children)}"
        case Equal() | Specified():
            return f"{type(node).__name__.lower()} weights of {_listed(node.children)}"
        case Asset() | Group():
            return f"block of {node}"


def _brief(side: Side) -> str:
    return f"{side:g}" if isinstance(side, float) else str(side)


def _listed(children: Sequence[Node]) -> str:
    names = [str(child) if isinstance(child, Asset | Group) else type(child).__name__.lower() for child in children]
    more = [f"{len(names) - _NAMED_IN_DESCRIPTIONS} more"] if len(names) > _NAMED_IN_DESCRIPTIONS else []
    return ", ".join(names[:_NAMED_IN_DESCRIPTIONS] + more)


def _words() -> dict[str, Word]:
    builders: dict[str, Callable[[Forms, Arguments], Value]] = {
        "defsymphony": Forms.defsymphony,
        "weight-equal": Forms.weight_equal,
        "weight-specified": Forms.weight_specified,
        "weight-inverse-volatility": Forms.weight_inverse_volatility,
        "if": Forms.if_,
        "filter": Forms.filter_,
        "select-top": lambda forms, arguments: forms.select(End.TOP, arguments),
        "select-bottom": lambda forms, arguments: forms.select(End.BOTTOM, arguments),
        "group": Forms.group,
        "asset": Forms.asset,
        "and": Forms.and_,
        "or": Forms.or_,
        "not": Forms.not_,
    }
    indicators = {word: indicator for indicator, word in INDICATOR_WORDS.items()} | _OTHER_INDICATOR_WORDS
    builders |= {word: _reading_of(indicator) for word, indicator in indicators.items()}
    builders |= {str(operator): _comparison_by(operator) for operator in Operator}
    return {name: Word(name, build) for name, build in builders.items()}


def _reading_of(indicator: Indicator) -> "Callable[[Forms, Arguments], Value]":
    return lambda forms, arguments: forms.reading(indicator, arguments)


def _comparison_by(operator: Operator) -> "Callable[[Forms, Arguments], Value]":
    return lambda forms, arguments: forms.compare(operator, arguments)


WORDS: Mapping[str, Word] = MappingProxyType(_words())
"""Every word that may follow an opening bracket."""
KEYWORDS = (*OPTIONS, *FREQUENCIES, NEVER)
"""Every word that may follow a colon."""
