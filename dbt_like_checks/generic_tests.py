"""The vocabulary: everything that a contract can promise of a table.

A test maps a frame to one truth value a row, or to one for the whole frame.
What it needs besides the frame is passed in as a :class:`Context`, never looked
up. The first line of its docstring, with the arguments filled in, is the
sentence that a person reads.

Nulls: every test lets a null value pass; only ``not_null`` speaks of nulls. An
expression passes where any of its columns is null. An empty frame keeps every
promise but ``row_count``.

The index of the frame must be unique.
"""

import ast
import functools
import inspect
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, NewType

if TYPE_CHECKING:
    import pandas as pd

ColumnName = NewType("ColumnName", str)
ColumnNames = tuple[ColumnName, ...]
Count = NewType("Count", int)
Expression = NewType("Expression", str)
Pattern = NewType("Pattern", str)

LONGEST_EXPRESSION = 500


@dataclass(frozen=True)
class Context:
    """What tests know besides the frame.

    ``session`` is the newest session that the table should hold, ``earlier``
    the sessions before it, newest first, as far back as a ``recency`` test
    asks. ``related`` holds the frames that ``relationships`` refers to, by
    table name.
    """

    session: date | None = None
    earlier: Sequence[date] = ()
    related: Mapping[str, "pd.DataFrame"] = field(default_factory=dict)


def not_null(frame: "pd.DataFrame", *, columns: ColumnNames) -> "pd.Series[bool]":
    """{columns} {are} never null."""
    return frame[list(columns)].notna().all(axis=1)


def unique(frame: "pd.DataFrame", *, columns: ColumnNames) -> "pd.Series[bool]":
    """No two rows share the same {columns}.

    A row with a null among ``columns`` passes.
    """
    keys = frame[list(columns)]
    return ~keys.duplicated(keep=False) | keys.isna().any(axis=1)


def accepted_values(frame: "pd.DataFrame", *, column: ColumnName, values: tuple[str, ...]) -> "pd.Series[bool]":
    """{column} is always {values}."""
    return frame[column].isna() | frame[column].isin(list(values))


def accepted_range(
    frame: "pd.DataFrame",
    *,
    columns: ColumnNames,
    min: float = -math.inf,  # noqa: A002 - the word that contracts use
    max: float = math.inf,  # noqa: A002 - the word that contracts use
    exclusive: bool = False,
) -> "pd.Series[bool]":
    """{columns} {are} {bounds}."""
    above, below = (operator.gt, operator.lt) if exclusive else (operator.ge, operator.le)
    truths = [_where_known(frame[column], lambda known: above(known, min) & below(known, max)) for column in columns]
    return functools.reduce(operator.and_, truths)


def matches(frame: "pd.DataFrame", *, column: ColumnName, pattern: Pattern) -> "pd.Series[bool]":
    """{column} matches {pattern} from end to end."""
    wanted = re.compile(pattern)
    return _where_known(frame[column], lambda known: known.map(lambda text: wanted.fullmatch(text) is not None))


def relationships(
    frame: "pd.DataFrame", context: Context, *, column: ColumnName, to: str, field: str
) -> "pd.Series[bool]":
    """Every {column} is found in {to}.{field}."""
    there = set(context.related[to][field].dropna())
    return frame[column].isna() | frame[column].isin(there)


def recency(frame: "pd.DataFrame", context: Context, *, column: ColumnName, sessions: Count = Count(0)) -> bool:
    """The newest {column} is {age}.

    It is never newer than that either.
    """
    known = frame[column].dropna()
    return known.empty or known.max() in [context.session, *context.earlier][: sessions + 1]


def sums_to_one(
    frame: "pd.DataFrame", *, column: ColumnName, by: ColumnNames, tolerance: float = 1e-9
) -> "pd.Series[bool]":
    """{column} sums to 1, within {tolerance}, for each {by}.

    Every row of a group that does not is broken.
    """
    # Whatever stands for nothing becomes NaN first: not all of it can be turned into a number.
    numbers = frame[column].where(frame[column].notna(), math.nan).astype("float64")
    totals = frame.assign(**{column: numbers}).groupby(list(by), dropna=False)[column]
    total = totals.transform("sum", min_count=1)
    return total.isna() | ((total - 1).abs() <= tolerance)


def increasing(frame: "pd.DataFrame", *, column: ColumnName, by: ColumnNames) -> "pd.Series[bool]":
    """{column} grows from row to row for each {by}."""
    known = frame[frame[column].notna()]
    previous = known.groupby(list(by), dropna=False)[column].shift().dropna()
    truth = _all_true(frame)
    truth[previous.index] = known.loc[previous.index, column] > previous
    return truth


def expression_is_true(frame: "pd.DataFrame", *, expression: Expression) -> "pd.Series[bool]":
    """In every row, {expression}."""
    known = frame[list(columns_of(expression))].dropna()
    truth = _all_true(frame)
    if known.empty:
        # Without a value, columns have whatever dtype, and arithmetic on it may have no sense.
        return truth
    judged: Any = known.eval(expression, engine="python")
    truth[known.index] = judged
    return truth


def row_count(
    frame: "pd.DataFrame",
    *,
    min: float = 0,  # noqa: A002 - the word that contracts use
    max: float = math.inf,  # noqa: A002 - the word that contracts use
) -> bool:
    """The number of rows is {bounds}."""
    return min <= len(frame) <= max


GenericTest = Callable[..., "pd.Series[bool] | bool"]

VOCABULARY: Mapping[str, GenericTest] = {
    test.__name__: test
    for test in (
        not_null,
        unique,
        accepted_values,
        accepted_range,
        matches,
        relationships,
        recency,
        sums_to_one,
        increasing,
        expression_is_true,
        row_count,
    )
}


def parameters(test: str) -> Mapping[str, inspect.Parameter]:
    """Return the arguments that a contract gives to a test, by name."""
    signature = inspect.signature(VOCABULARY[test])
    return {name: given for name, given in signature.parameters.items() if name not in {"frame", "context"}}


def needs_context(test: str) -> bool:
    """Tell whether a test needs more than the frame."""
    return "context" in inspect.signature(VOCABULARY[test]).parameters


def sentence(test: str, arguments: Mapping[str, Any]) -> str:
    """Return what a test promises, for a person to read.

    >>> sentence("accepted_range", {"columns": ("weight",), "min": 0, "max": 1})
    'weight is between 0 and 1, both included.'

    Raises:
        ValueError: the arguments contradict each other.
    """
    template = (inspect.getdoc(VOCABULARY[test]) or "").splitlines()[0]
    words = {name: _in_words(value, "or" if name == "values" else "and") for name, value in arguments.items()}
    words["are"] = "are" if len(arguments.get("columns", ())) > 1 else "is"
    if "{bounds}" in template:
        words["bounds"] = _bounds(
            **{name: arguments[name] for name in ("min", "max", "exclusive") if name in arguments}
        )
    if "{age}" in template:
        words["age"] = _age(arguments.get("sessions", 0))
    if "{tolerance}" in template:
        words["tolerance"] = f"{arguments.get('tolerance', 1e-9):g}"
    return template.format(**words)


def columns_of(expression: str) -> tuple[str, ...]:
    """Return the columns that an expression names, in alphabetical order.

    An expression compares columns and constants and joins comparisons with
    ``and``, ``or``, ``not``; it may add, subtract and multiply.

    >>> columns_of("low <= close <= high")
    ('close', 'high', 'low')

    Raises:
        ValueError: the expression holds anything else, such as a call, an attribute or ``@``.
    """
    if len(expression) > LONGEST_EXPRESSION:
        raise ValueError(f"an expression has at most {LONGEST_EXPRESSION} characters, this one {len(expression)}")
    try:
        tree = ast.parse(expression, mode="eval").body
    except (SyntaxError, ValueError) as problem:
        raise ValueError(f"{expression!r} is no expression: {problem}") from problem
    if not _is_truth(tree):
        raise ValueError(f"{expression!r} must compare something: it is neither true nor false")
    if not all(isinstance(part, _ALLOWED) for part in ast.walk(tree)):
        raise ValueError(f"{expression!r} may hold columns, constants, + - *, comparisons, and, or, not; nothing else")
    names = tuple(sorted({part.id for part in ast.walk(tree) if isinstance(part, ast.Name)}))
    if not names:
        raise ValueError(f"{expression!r} names no column")
    return names


_ALLOWED = (
    *(ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.Compare),
    *(ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE),
    *(ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Name, ast.Load, ast.Constant),
)


def _is_truth(tree: ast.expr) -> bool:
    match tree:
        case ast.BoolOp(values=parts):
            return all(_is_truth(part) for part in parts)
        case ast.UnaryOp(op=ast.Not(), operand=part):
            return _is_truth(part)
        case _:
            return isinstance(tree, ast.Compare)


def _all_true(frame: "pd.DataFrame") -> "pd.Series[bool]":
    # Imported late: reading contracts needs this module, and no pandas.
    import pandas as pd

    return pd.Series(data=True, index=frame.index)


def _where_known(values: "pd.Series[Any]", judge: Callable[["pd.Series[Any]"], "pd.Series[bool]"]) -> "pd.Series[bool]":
    truth = values.isna()
    truth[~truth] = judge(values[~truth]).to_numpy(dtype=bool)
    return truth


def _in_words(value: object, joined: str) -> str:
    if not isinstance(value, tuple):
        return str(value)
    *most, last = [str(part) for part in value]
    return f"{', '.join(most)} {joined} {last}" if most else last


def _bounds(min: float = -math.inf, max: float = math.inf, *, exclusive: bool = False) -> str:  # noqa: A002 - as above
    if min > max:
        raise ValueError(f"min {min} is above max {max}")
    if math.isfinite(min) and math.isfinite(max):
        return f"between {min} and {max}, both {'excluded' if exclusive else 'included'}"
    if math.isfinite(min):
        return f"{'above' if exclusive else 'at least'} {min}"
    if math.isfinite(max):
        return f"{'below' if exclusive else 'at most'} {max}"
    raise ValueError("min or max is needed")


def _age(sessions: int) -> str:
    if sessions == 0:
        return "the expected session"
    return f"at most {sessions} session{'s' if sessions > 1 else ''} before the expected session"
