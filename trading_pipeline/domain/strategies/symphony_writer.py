"""Write a tree in Composer's parenthesised text form."""

import functools
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.indicators import Indicator
from trading_pipeline.domain.strategies.symphony_forms import (
    INDICATOR_WORDS,
    MAX_CHARACTERS,
    MAX_DEPTH,
    MAX_LEAVES,
    TICKER_PREFIX,
    TICKER_SUFFIX,
    Symphony,
)
from trading_pipeline.domain.strategies.tree import (
    And,
    Asset,
    Comparison,
    Equal,
    Expression,
    Filter,
    Group,
    If,
    InverseVolatility,
    Measure,
    Not,
    Or,
    Side,
    Specified,
)

_TO_ESCAPE = re.compile(r'["\\\x00-\x1f\x7f-\x9f]')
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_WIDTH = 80
"""Forms are broken where a line would be longer."""
_SHORT = 48
"""Forms that are not longer stay whole, however far they are indented."""


@dataclass(frozen=True)
class _Form:
    """A part of the text in brackets, ``( )`` or ``[ ]``.

    ``flat`` is its text on one line, None if a line is too short for it.
    ``depth`` counts the forms inside one another, ``leaves`` the assets.
    """

    opening: str
    parts: "tuple[str | _Form, ...]"
    closing: str
    flat: str | None
    depth: int
    leaves: int


_Spelling: TypeAlias = tuple[str | Expression | tuple[Expression, ...], ...]


def write_symphony(symphony: Symphony) -> str:
    """Return the symphony's text, indented as Composer does; equal symphonies have equal texts.

    Raises:
        InvalidInput: the tree is larger or deeper than could be read again, or a name cannot be written.
    """
    tree = _written(symphony.tree)
    if tree.depth > MAX_DEPTH:
        raise InvalidInput(f"expected at most {MAX_DEPTH} forms inside one another, this tree needs {tree.depth:,}")
    if tree.leaves > MAX_LEAVES:
        raise InvalidInput(f"expected at most {MAX_LEAVES:,} assets, this tree names {tree.leaves:,}")
    form = _form("(", ("defsymphony", _quoted(symphony.name), _options(symphony), tree), ")")
    text = "\n".join(_lines(form)) + "\n"
    if len(text) > MAX_CHARACTERS:
        raise InvalidInput(f"expected at most {MAX_CHARACTERS:,} characters, this text needs {len(text):,}")
    return text


def _options(symphony: Symphony) -> str:
    options = []
    if symphony.asset_class is not None:
        options.append(f":asset-class {_quoted(symphony.asset_class)}")
    if symphony.rebalance_frequency is not None:
        options.append(f":rebalance-frequency :{symphony.rebalance_frequency}")
    if symphony.rebalance_threshold is not None:
        options.append(f":rebalance-threshold {_number(symphony.rebalance_threshold)}")
    return "{" + ", ".join(options) + "}"


def _written(tree: Expression) -> _Form:
    """Return the form of a tree; an expression that stands in several places is written once."""
    forms: dict[int, _Form] = {}
    waiting = [(tree, _spelled(tree))]
    while waiting:
        expression, spelling = waiting[-1]
        inner = [part for part in _inner(spelling) if id(part) not in forms]
        if inner:
            waiting.extend((part, _spelled(part)) for part in inner)
        else:
            waiting.pop()
            forms[id(expression)] = _form("(", tuple(_part(part, forms) for part in spelling), ")")
    return forms[id(tree)]


def _inner(spelling: _Spelling) -> Iterator[Expression]:
    for part in spelling:
        if isinstance(part, tuple):
            yield from part
        elif isinstance(part, Expression):
            yield part


def _part(part: str | Expression | tuple[Expression, ...], forms: Mapping[int, _Form]) -> str | _Form:
    if isinstance(part, tuple):
        return _form("[", tuple(forms[id(element)] for element in part), "]")
    return part if isinstance(part, str) else forms[id(part)]


def _form(opening: str, parts: tuple[str | _Form, ...], closing: str) -> _Form:
    forms = [part for part in parts if isinstance(part, _Form)]
    return _Form(
        opening,
        parts,
        closing,
        _flat(opening, parts, closing),
        depth=(opening == "(") + max((form.depth for form in forms), default=0),
        leaves=(parts[0] == "asset") + sum(form.leaves for form in forms),
    )


def _flat(opening: str, parts: tuple[str | _Form, ...], closing: str) -> str | None:
    texts = [part if isinstance(part, str) else part.flat for part in parts]
    whole = [text for text in texts if text is not None]
    flat = f"{opening}{' '.join(whole)}{closing}"
    return flat if len(whole) == len(texts) and len(flat) <= _WIDTH else None


def _lines(form: _Form) -> Iterator[str]:
    """Yield the lines of a form: what does not fit one has its word alone, and its parts below."""
    waiting: list[tuple[str, str | _Form, str]] = [("", form, "")]
    while waiting:
        before, part, after = waiting.pop()
        flat = part if isinstance(part, str) else part.flat
        if isinstance(part, str) or (flat is not None and _fits(before, flat, after)):
            yield f"{before}{flat}{after}"
        else:
            waiting.extend(reversed(_broken(before, part, after)))


def _fits(before: str, flat: str, after: str) -> bool:
    return len(flat) <= _SHORT or len(before) + len(flat) + len(after) <= _WIDTH


def _broken(before: str, form: _Form, after: str) -> list[tuple[str, str | _Form, str]]:
    indent = " " * (len(before) + 1)
    befores = [before + form.opening] + [indent] * (len(form.parts) - 1)
    afters = [""] * (len(form.parts) - 1) + [form.closing + after]
    return list(zip(befores, form.parts, afters, strict=True))


@functools.singledispatch
def _spelled(expression: Expression) -> _Spelling:
    """Return the word of an expression and what follows it; expressions in a tuple stand in a vector."""
    raise InvalidInput(f"a symphony has no word for {type(expression).__name__}")


@_spelled.register
def _(node: Asset) -> _Spelling:
    return "asset", _ticker(node)


@_spelled.register
def _(node: If) -> _Spelling:
    return "if", node.condition, (node.then,), (node.otherwise,)


@_spelled.register
def _(node: Equal) -> _Spelling:
    return "weight-equal", node.children


@_spelled.register
def _(node: Specified) -> _Spelling:
    pairs = zip(map(_number, node.weights), node.children, strict=True)
    return "weight-specified", *itertools.chain.from_iterable(pairs)


@_spelled.register
def _(node: InverseVolatility) -> _Spelling:
    return "weight-inverse-volatility", str(node.window), node.children


@_spelled.register
def _(node: Filter) -> _Spelling:
    ranking = " ".join((INDICATOR_WORDS[node.indicator], *_window(node)))
    return "filter", f"({ranking})", f"(select-{node.end} {node.count})", node.candidates


@_spelled.register
def _(node: Group) -> _Spelling:
    return "group", _quoted(node.name), (node.child,)


@_spelled.register
def _(condition: Comparison) -> _Spelling:
    return str(condition.operator), _side(condition.left), _side(condition.right)


@_spelled.register(And)
@_spelled.register(Or)
def _(condition: And | Or) -> _Spelling:
    return type(condition).__name__.lower(), *condition.conditions


@_spelled.register
def _(condition: Not) -> _Spelling:
    return "not", condition.condition


@_spelled.register
def _(measure: Measure) -> _Spelling:
    subject = _ticker(measure.subject) if isinstance(measure.subject, Asset) else measure.subject
    return INDICATOR_WORDS[measure.indicator], subject, *_window(measure)


def _side(side: Side) -> str | Measure:
    return side if isinstance(side, Measure) else _number(side)


def _window(read: Measure | Filter) -> tuple[str, ...]:
    return () if read.indicator is Indicator.PRICE else (f"{{:window {read.window}}}",)


def _ticker(asset: Asset) -> str:
    symbol = asset.symbol
    # A symbol that looks like an export's is wrapped once more, since a reader takes one wrapping off.
    wrapped = symbol.startswith(TICKER_PREFIX) and symbol.endswith(TICKER_SUFFIX)
    return _quoted(f"{TICKER_PREFIX}{symbol}{TICKER_SUFFIX}" if wrapped else symbol)


def _number(number: float) -> str:
    return repr(float(number)).removesuffix(".0")


def _quoted(text: str) -> str:
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidInput(f"a text of half characters cannot be written, was {text!r}: name it anew")
    return '"' + _TO_ESCAPE.sub(_escaped, text) + '"'


def _escaped(match: re.Match[str]) -> str:
    return _ESCAPES.get(match[0]) or f"\\u{ord(match[0]):04x}"
