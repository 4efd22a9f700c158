"""The path of a session in words: an outline of lines, which the text and the drawing share."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from typing import TypeAlias, assert_never

from trading_pipeline.domain.indicators import Indicator
from trading_pipeline.domain.strategies.rationale import (
    Combined,
    Compared,
    Connective,
    FilterRanked,
    Gap,
    GroupEntered,
    Held,
    IfTaken,
    InverseVolatilityWeighted,
    Ranked,
    Rationale,
    Standing,
    Step,
    Term,
    Tested,
)
from trading_pipeline.domain.strategies.tree import (
    And,
    Asset,
    Comparison,
    Condition,
    Equal,
    Filter,
    Group,
    If,
    InverseVolatility,
    Node,
    Not,
    Or,
    Specified,
    assets,
)

IN_PERCENT = frozenset(
    {Indicator.MEAN_RETURN, Indicator.CUMULATIVE_RETURN, Indicator.RETURN_DEVIATION, Indicator.MAX_DRAWDOWN}
)
IN_DOLLARS = frozenset({Indicator.PRICE, Indicator.SMA, Indicator.EMA, Indicator.PRICE_DEVIATION})
FEWEST_DECIMALS, MOST_DECIMALS = 2, 10
LARGEST_DENOMINATOR = 12
MOST_NAMED = 4
WIDEST_TEST = 72
INDENT = "  "
DEEPEST = 16
"""What lies deeper is not indented further."""
UNPRINTABLE = "\N{REPLACEMENT CHARACTER}"

ANSWERS = {True: "yes", False: "no", None: "cannot tell"}
HEADS = {Connective.AND: "all of", Connective.OR: "any of", Connective.NOT: "not"}


class LineKind(StrEnum):
    """What a line of the outline shows."""

    TEST = "test"
    """A condition that was tested."""
    PART = "part"
    """A condition within one that combines several."""
    RANKING = "ranking"
    """The head of a ranking, or of shares by inverse volatility."""
    CANDIDATE = "candidate"
    """One of those ranked or weighed."""
    HEADING = "heading"
    """A group, or a part of a split."""
    HELD = "held"
    """A symbol that is held."""
    REPEATED = "repeated"
    """A step that is shown further up."""


@dataclass(frozen=True)
class Line:
    """One line: what was asked, and what the answer was.

    ``answered`` is whether a test was true, None where it was undecidable, and
    whether a candidate was kept; lines of other kinds have True. ``not_taken``
    says in a few words what the other side of a test would have been; ``value``
    is the reading of a candidate, NaN elsewhere and where it is missing;
    ``is_closest`` marks the closest call of the path.
    """

    depth: int
    kind: LineKind
    text: str
    answer: str = ""
    answered: bool | None = True
    not_taken: str = ""
    value: float = math.nan
    is_closest: bool = False


_Way: TypeAlias = tuple[int, int, float | None]
"""Step, depth, and the fraction to name there; None where all goes one way."""


def to_text(rationale: Rationale, title: str, most_lines: int | None = None) -> str:
    """Return the path as indented text that ends with its closest call; ``title`` is the strategy's name.

    A path of more than ``most_lines`` lines is shown without its middle; by
    default all of it is shown.
    """
    lines = shortened(outline(rationale), most_lines)
    indents = [INDENT * (1 + min(line.depth, DEEPEST)) for line in lines]
    widths = [len(indent + line.text) for indent, line in zip(indents, lines, strict=True) if line.answer]
    column = max((width for width in widths if width <= WIDEST_TEST), default=0) + 2
    body = [
        f"{indent + line.text:{column}}{_spaced(indent + line.text, column)}{line.answer}".rstrip()
        for indent, line in zip(indents, lines, strict=True)
    ]
    return "\n".join(map(printable, [headline(rationale, title), *body, *_closing(rationale)]))


def headline(rationale: Rationale, title: str) -> str:
    """Return what was decided, in one line."""
    return f"{title}, session {rationale.session}: {decision(rationale)}"


def decision(rationale: Rationale) -> str:
    """Return what is held, largest first, or why that cannot be told."""
    if rationale.reason is not None:
        return f"unavailable, {rationale.reason}"
    return weighted(rationale.weights)


def closest_call(rationale: Rationale) -> str:
    """Return the closest call in words, empty where nothing was compared."""
    call = rationale.closest
    if call is None:
        return ""
    decimals = _decimals(call.gap)
    left, right = (_named(term, decimals) for term in (call.gap.left, call.gap.right))
    return f"{left} against {right}, {_apart(call.gap)}"


def printable(text: str) -> str:
    """Return ``text`` on one line and without what steers a terminal: names in trees come from anywhere."""
    return text if text.isprintable() else "".join(one if one.isprintable() else UNPRINTABLE for one in text)


def shortened(lines: Sequence[Line], most: int | None) -> Sequence[Line]:
    """Return at most ``most`` lines, and one in the middle that says how many are left out; None keeps all."""
    if most is None or len(lines) <= most:
        return lines
    first, last = most - most // 2, len(lines) - most // 2
    between = f"... {last - first} lines more ..."
    return [*lines[:first], Line(lines[first].depth, LineKind.REPEATED, between), *lines[last:]]


def outline(rationale: Rationale) -> tuple[Line, ...]:
    """Return the lines of the path from the root on; a step that is reached again is named, not repeated."""
    closest = rationale.closest
    lines: list[Line] = []
    shown: set[int] = set()
    waiting: list[_Way] = [(0, 0, None)]
    while waiting:
        place, depth, weight = waiting.pop()
        step = rationale.steps[place]
        if place in shown and not isinstance(step, Held):
            lines.append(Line(depth, LineKind.REPEATED, f"{_fraction(weight)}as above: {_head(step)}"))
            continue
        shown.add(place)
        own, ways = _shown(rationale, step, depth, weight)
        if closest is not None and place == closest.step:
            own = _marked(own)
        lines.extend(own)
        waiting.extend(reversed(ways))
    return tuple(lines)


def _shown(rationale: Rationale, step: Step, depth: int, weight: float | None) -> tuple[list[Line], list[_Way]]:
    if isinstance(step, Held):
        return [Line(depth, LineKind.HELD, f"{_fraction(weight) or 'hold '}{step.symbol}")], []
    if isinstance(step, GroupEntered):
        return [Line(depth, LineKind.HEADING, f"{_fraction(weight)}{step.name}:")], _ways(step, depth + 1)
    if weight is None:
        return _of_turn(rationale, step, depth)
    own, ways = _of_turn(rationale, step, depth + 1)
    return [Line(depth, LineKind.HEADING, f"{fraction(weight)} to"), *own], ways


def _of_turn(rationale: Rationale, step: Step, depth: int) -> tuple[list[Line], list[_Way]]:
    match step:
        case IfTaken():
            return _of_test(step, depth), _ways(step, depth)
        case FilterRanked():
            return _of_ranking(step, depth), _ways_of_groups(rationale, step, depth + 1)
        case InverseVolatilityWeighted():
            return _of_volatilities(step, depth), _ways_of_groups(rationale, step, depth + 1)
        case _:
            return [], _ways(step, depth + min(len(step.branches) - 1, 1))


def _ways(step: Step, depth: int) -> list[_Way]:
    is_whole = len(step.branches) == 1
    return [(branch.step, depth, None if is_whole else branch.weight) for branch in step.branches]


def _ways_of_groups(rationale: Rationale, step: Step, depth: int) -> list[_Way]:
    # The line of a candidate says all there is to say of an asset.
    return [way for way in _ways(step, depth) if not isinstance(rationale.steps[way[0]], Held)]


def _marked(lines: list[Line]) -> list[Line]:
    place = next(place for place, line in enumerate(lines) if line.kind in {LineKind.TEST, LineKind.RANKING})
    return [*lines[:place], replace(lines[place], is_closest=True), *lines[place + 1 :]]


def _of_test(step: IfTaken, depth: int) -> list[Line]:
    first, *parts = _of_condition(step.tested, depth)
    other = step.not_taken
    not_taken = "" if other is None else f"{ANSWERS[not step.tested.truth]}: {sketch(other)}"
    return [replace(first, kind=LineKind.TEST, not_taken=not_taken), *parts]


def _of_condition(tested: Tested, depth: int) -> Iterator[Line]:
    if isinstance(tested, Compared):
        yield Line(depth, LineKind.PART, _question(tested), _answer(tested), tested.truth)
        return
    yield Line(depth, LineKind.PART, f"{HEADS[tested.connective]}:", ANSWERS[tested.truth], tested.truth)
    for part in tested.parts:
        yield from _of_condition(part, depth + 1)


def _question(tested: Compared) -> str:
    decimals = _decimals(tested.gap)
    return f"{_named(tested.gap.left, decimals)} {tested.operator} {_named(tested.gap.right, decimals)}?"


def _answer(tested: Compared) -> str:
    answer = ANSWERS[tested.truth]
    return answer if tested.truth is None else f"{answer}, {_apart(tested.gap)}"


def _of_ranking(step: FilterRanked, depth: int) -> list[Line]:
    gap = step.gap
    decimals = FEWEST_DECIMALS if gap is None else _decimals(gap)
    head = f"{step.end} {step.count} by {step.indicator}({step.window}):"
    answer = "" if gap is None else f"{_subject(gap.left)} before {_subject(gap.right)}, {_apart(gap)}"
    rows = [_of_candidate(entry, depth + 1, decimals) for entry in step.candidates]
    return [Line(depth, LineKind.RANKING, head, answer), *rows]


def _of_candidate(entry: Ranked, depth: int, decimals: int) -> Line:
    is_kept = entry.standing is Standing.KEPT
    place = f"{entry.place}." if entry.place else "-"
    text = f"{place:3} {entry.candidate}"
    value = _value(entry.term, decimals) + (", kept" if is_kept else "")
    answer = value if entry.reason is None else f"left out: {entry.reason}"
    return Line(depth, LineKind.CANDIDATE, text, answer, is_kept, value=entry.term.value)


def _of_volatilities(step: InverseVolatilityWeighted, depth: int) -> list[Line]:
    head = Line(depth, LineKind.RANKING, f"inverse volatility of {step.window} sessions:")
    return [head] + [
        Line(
            depth + 1,
            LineKind.CANDIDATE,
            child.child,
            f"{_named(child.deviation, FEWEST_DECIMALS)}"
            + ("" if math.isnan(child.weight) else f", gets {fraction(child.weight)}"),
            not math.isnan(child.weight),
            value=child.weight,
        )
        for child in step.children
    ]


def _head(step: Step) -> str:
    match step:
        case IfTaken(tested=tested):
            return f"{_of_tested(tested)}?"
        case GroupEntered(name=name):
            return name
        case FilterRanked():
            return f"{step.end} {step.count} by {step.indicator}({step.window})"
        case InverseVolatilityWeighted():
            return f"inverse volatility of {step.window} sessions"
        case _:
            return f"{len(step.branches)} parts"


def _of_tested(tested: Tested) -> str:
    while isinstance(tested, Combined):
        tested = tested.parts[0]
    return str(tested)


def sketch(node: Node) -> str:
    """Return what a subtree is about, in one line.

    >>> from trading_pipeline.domain.strategies.tree import equal, if_, rsi
    >>> sketch(if_(rsi("SPY", 10) > 81, "UVXY", equal("UVXY", "BTAL")))
    'rsi(SPY,10) > 81? leads to BTAL, UVXY'
    >>> sketch(equal(*"ABCDEF"))
    '1/6 A, 1/6 B, 1/6 C, 1/6 D, 2 more'
    """
    match node:
        case Asset() | Group():
            return str(node)
        case If(condition, _, _):
            return f"{_first_comparison(condition)}? leads to {_listed(assets(node))}"
        case Filter(end, count, indicator, window, candidates):
            return f"{end} {count} by {indicator}({window}) of {_listed(map(str, candidates))}"
        case InverseVolatility(window, parts):
            return f"inverse volatility of {window} sessions: {_listed(map(str, parts))}"
        case Equal() | Specified():
            shares = zip(node.weights, node.children, strict=True)
            return _listed(f"{fraction(weight)} {_label(child)}" for weight, child in shares)
        case _:
            assert_never(node)


def _label(node: Node) -> str:
    return str(node) if isinstance(node, Asset | Group) else f"of {_listed(assets(node))}"


def _first_comparison(condition: Condition) -> str:
    match condition:
        case Comparison(left, operator, right):
            return f"{left} {operator} {right if not isinstance(right, float | int) else f'{right:.10g}'}"
        case Not(inner):
            return f"not {_first_comparison(inner)}"
        case And(conditions) | Or(conditions):
            return f"{_first_comparison(conditions[0])} {'and' if isinstance(condition, And) else 'or'} more"
        case _:
            assert_never(condition)


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    # One more is no longer than saying so.
    shown = every if len(every) <= MOST_NAMED + 1 else every[:MOST_NAMED]
    left = len(every) - len(shown)
    return ", ".join([*shown, f"{left} more"] if left else shown)


def fraction(weight: float) -> str:
    """Return a fraction as a person writes it: in percent if that is short, else as a quotient if that is.

    >>> fraction(0.75), fraction(1 / 3), fraction(0.614285), fraction(0.125)
    ('75%', '1/3', '61.43%', '12.5%')
    """
    percent = weight * 100
    if abs(percent - round(percent, 1)) <= 1e-7:
        return f"{percent:.1f}".removesuffix(".0") + "%"
    quotient = Fraction(weight).limit_denominator(LARGEST_DENOMINATOR)
    return str(quotient) if abs(quotient - weight) <= 1e-9 else f"{percent:.2f}%"


def _fraction(weight: float | None) -> str:
    return "" if weight is None else f"{fraction(weight)} "


def weighted(weights: Mapping[str, float]) -> str:
    """Return weights in words, largest first: ``UVXY 75%, BTAL 25%``."""
    largest_first = sorted(weights.items(), key=lambda held: (-round(held[1], 9), held[0]))
    return ", ".join(f"{symbol} {fraction(weight)}" for symbol, weight in largest_first)


def _decimals(gap: Gap) -> int:
    """Return how many decimals tell the two apart: two digits of their distance."""
    apart = abs(gap.distance)
    if math.isnan(apart) or gap.is_nothing:
        return FEWEST_DECIMALS
    # 79 - 78.9 is a little less than a tenth, and is meant to be one.
    return min(max(FEWEST_DECIMALS, 1 + math.ceil(-math.log10(apart) - 1e-9)), MOST_DECIMALS)


def _value(term: Term, decimals: int) -> str:
    if math.isnan(term.value):
        return "missing"
    unit = "%" if term.measure and term.measure.indicator in IN_PERCENT else ""
    return f"{term.value:,.{decimals}f}{unit}"


def _named(term: Term, decimals: int) -> str:
    return term.name if term.measure is None else f"{term.name} = {_value(term, decimals)}"


def _subject(term: Term) -> str:
    return term.name if term.measure is None else str(term.measure.subject)


def _apart(gap: Gap) -> str:
    if gap.is_nothing:
        return "equal but for rounding" if gap.distance else "equal"
    measure = gap.left.measure or gap.right.measure
    unit = "%" if measure and measure.indicator in IN_PERCENT else ""
    relative = f" ({gap.closeness:.1%})" if measure and measure.indicator in IN_DOLLARS else ""
    return f"by {abs(gap.distance):,.{_decimals(gap)}f}{unit}{relative}"


def _spaced(text: str, column: int) -> str:
    return "  " if len(text) >= column else ""


def _closing(rationale: Rationale) -> list[str]:
    call = closest_call(rationale)
    return [f"closest: {call}"] if call else []
