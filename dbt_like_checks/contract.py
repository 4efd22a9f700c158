"""Contracts: what a table promises, read from YAML into frozen values.

A file that cannot be understood completely is refused with its file and line:
unknown keys, tests and columns are errors, never ignored.
"""

import fnmatch
import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from dbt_like_checks import generic_tests, placed_yaml
from dbt_like_checks.generic_tests import ColumnName, ColumnNames, Count, Expression, Pattern
from dbt_like_checks.placed_yaml import InvalidContract, Placed

__all__ = [
    "Column",
    "ColumnType",
    "Contract",
    "InvalidContract",
    "Promise",
    "Severity",
    "contract",
    "contract_kept_by",
    "load",
    "tables",
]

FOLDER = Path(__file__).parent / "contracts"
COLUMNS_TEST = "columns"
TYPES_TEST = "types"
OPTIONS = ("name", "severity", "where")


class ColumnType(StrEnum):
    """What a column holds, besides nulls."""

    STR = "str"
    FLOAT = "float"
    INT = "int"
    BOOL = "bool"
    DATE = "date"
    DECIMAL = "decimal"
    TIMESTAMP = "timestamp"


class Severity(StrEnum):
    """What a broken promise means: an error stops what is downstream, a warning is shown."""

    ERROR = "error"
    WARN = "warn"


@dataclass(frozen=True)
class Column:
    """A column: what it holds, in which unit, and what it means."""

    name: str
    type: ColumnType
    unit: str
    meaning: str


@dataclass(frozen=True)
class Promise:
    """One test of a contract.

    ``name`` is unique in the contract; ``test`` is a word of the vocabulary, or
    ``columns`` or ``types``; ``where`` limits it to the rows for which that
    expression is true; ``columns`` are all that it reads.
    """

    name: str
    test: str
    arguments: Mapping[str, Any]
    severity: Severity
    where: str | None
    columns: tuple[str, ...]
    sentence: str


@dataclass(frozen=True)
class Contract:
    """What a table promises: ``grain`` says in words what a row is, ``key`` which columns tell rows apart.

    ``kept_by`` is a pattern such as ``*_signal``: tables of such a name keep this
    contract, and together they are the table of its name.
    """

    table: str
    description: str
    grain: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    may_be_empty: bool
    promises: tuple[Promise, ...]
    kept_by: str = ""

    @property
    def session_column(self) -> str | None:
        """The column that is promised to hold the expected session, or None where a table is of no one session."""
        return next((promise.arguments["column"] for promise in self.promises if promise.test == "recency"), None)

    @property
    def related(self) -> tuple[str, ...]:
        """The other tables that its promises refer to."""
        return tuple(sorted({promise.arguments["to"] for promise in self.promises if "to" in promise.arguments}))

    @property
    def reach(self) -> int:
        """How many sessions before the expected one its promises must know."""
        return max((promise.arguments.get("sessions", 0) for promise in self.promises), default=0)

    def type_of(self, column: str) -> ColumnType:
        """Return the type of a column."""
        return next(found.type for found in self.columns if found.name == column)


def tables() -> tuple[str, ...]:
    """Return the tables that have a contract here, in alphabetical order."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yml")))


@functools.cache
def contract(table: str) -> Contract:
    """Return the contract of a table; each file is read once.

    Raises:
        InvalidContract: there is none, or it cannot be understood.
    """
    path = FOLDER / f"{table}.yml"
    if not path.is_file():
        raise InvalidContract(f"no contract is named {table!r}; there are {', '.join(tables())}")
    return load(path)


def contract_kept_by(table: str) -> Contract | None:
    """Return the contract that the table of a name keeps: its own, one kept by all tables of such names, or None.

    Raises:
        InvalidContract: a contract cannot be understood.
    """
    if table in tables():
        return contract(table)
    shared = (found for found in map(contract, tables()) if found.kept_by)
    return next((found for found in shared if fnmatch.fnmatchcase(table, found.kept_by)), None)


def load(path: Path) -> Contract:
    """Return the contract that a YAML file holds.

    Raises:
        InvalidContract: the file cannot be read or understood; the message names file and line.
    """
    given = placed_yaml.read(path).known_fields(
        required=("table", "description", "grain", "columns"), optional=("may_be_empty", "kept_by", "tests")
    )
    columns = tuple(_column(name, placed) for name, placed in given["columns"].fields().items())
    if not columns:
        raise given["columns"].error("a table has at least one column")
    names = [column.name for column in columns]
    grain = given["grain"].known_fields(required=("row", "key"))
    key = _column_names(grain["key"], names)
    may_be_empty = given["may_be_empty"].boolean() if "may_be_empty" in given else False
    return Contract(
        table=_identifier(given["table"]),
        description=given["description"].text(),
        grain=grain["row"].text(),
        key=key,
        columns=columns,
        may_be_empty=may_be_empty,
        promises=(*_implied(names, key, may_be_empty=may_be_empty), *_stated(given, names)),
        kept_by=given["kept_by"].text() if "kept_by" in given else "",
    )


def _column(name: str, placed: Placed) -> Column:
    given = placed.known_fields(required=("type", "meaning"), optional=("unit", "tests"))
    kind = given["type"].text()
    if kind not in set(ColumnType):
        raise given["type"].error(f"unknown type {kind!r}; known are {', '.join(ColumnType)}")
    if not name.isidentifier():
        raise placed.error(f"{name!r} cannot name a column: letters, digits and _ only")
    unit = given["unit"].text() if "unit" in given else ""
    return Column(name, ColumnType(kind), unit, given["meaning"].text())


def _implied(names: Sequence[str], key: tuple[str, ...], *, may_be_empty: bool) -> list[Promise]:
    promises = [
        _built_in(COLUMNS_TEST, f"The columns are {', '.join(names)}, and no other."),
        _built_in(TYPES_TEST, "Every column holds values of its type."),
    ]
    if not may_be_empty:
        promises.append(_promise("row_count", "row_count", {"min": 1}))
    return [*promises, _promise("unique_grain", "unique", {"columns": key})]


def _built_in(name: str, sentence: str) -> Promise:
    return Promise(name, name, {}, Severity.ERROR, None, (), sentence)


def _stated(given: Mapping[str, Placed], names: Sequence[str]) -> list[Promise]:
    found = list(_tests_of_columns(given["columns"], names))
    if "tests" in given:
        found += [(placed, _test(placed, names, None)) for placed in given["tests"].entries()]
    taken = {COLUMNS_TEST, TYPES_TEST, "row_count", "unique_grain"}
    for placed, promise in found:
        if promise.name in taken:
            raise placed.error(f"a test named {promise.name!r} is there already; give this one a name: of its own")
        taken.add(promise.name)
    return [promise for _, promise in found]


def _tests_of_columns(columns: Placed, names: Sequence[str]) -> list[tuple[Placed, Promise]]:
    return [
        (test, _test(test, names, name))
        for name, column in columns.fields().items()
        for fields in [column.fields()]
        if "tests" in fields
        for test in fields["tests"].entries()
    ]


def _test(placed: Placed, names: Sequence[str], column: str | None) -> Promise:
    word, given = _word_and_arguments(placed)
    implied = _implied_column(word, column)
    wanted = {name: taken for name, taken in generic_tests.parameters(word).items() if name not in implied}
    for name, value in given.items():
        if name not in wanted and name not in OPTIONS:
            raise value.error(f"{word} has no argument {name!r}; it has {', '.join([*wanted, *OPTIONS])}")
    for name, taken in wanted.items():
        if taken.default is inspect.Parameter.empty and name not in given:
            raise placed.error(f"{word} needs the argument {name!r}")
    stated = {name: _argument(given[name], taken, names) for name, taken in wanted.items() if name in given}
    arguments = {**implied, **stated}
    try:
        return _promise(
            _name(given.get("name"), word, arguments),
            word,
            arguments,
            _severity(given.get("severity")),
            _expression(given["where"], names) if "where" in given else None,
        )
    except InvalidContract:
        raise
    except ValueError as problem:
        raise placed.error(f"{word}: {problem}") from problem


def _word_and_arguments(placed: Placed) -> tuple[str, Mapping[str, Placed]]:
    if isinstance(placed.value, str):
        word, arguments = placed.text(), {}
    else:
        fields = placed.fields()
        if len(fields) != 1:
            raise placed.error("a test is one word, or one word with its arguments: accepted_range: {min: 0}")
        [(word, given)] = fields.items()
        arguments = given.fields()
    if word not in generic_tests.VOCABULARY:
        raise placed.error(f"unknown test {word!r}; known are {', '.join(generic_tests.VOCABULARY)}")
    return word, arguments


def _implied_column(word: str, column: str | None) -> dict[str, Any]:
    if column is None:
        return {}
    taken = generic_tests.parameters(word)
    if "columns" in taken:
        return {"columns": (column,)}
    return {"column": column} if "column" in taken else {}


def _promise(
    name: str,
    test: str,
    arguments: Mapping[str, Any],
    severity: Severity = Severity.ERROR,
    where: str | None = None,
) -> Promise:
    sentence = generic_tests.sentence(test, arguments)
    if where:
        sentence = f"{sentence.removesuffix('.')}, where {where}."
    return Promise(name, test, arguments, severity, where, _columns_read(test, arguments, where), sentence)


def _columns_read(test: str, arguments: Mapping[str, Any], where: str | None) -> tuple[str, ...]:
    read: list[str] = []
    for name, taken in generic_tests.parameters(test).items():
        value = arguments.get(name, ())
        if taken.annotation is ColumnName:
            read.append(value)
        elif taken.annotation == ColumnNames:
            read += value
        elif taken.annotation is Expression:
            read += generic_tests.columns_of(value)
    if where:
        read += generic_tests.columns_of(where)
    return tuple(dict.fromkeys(read))


def _name(placed: Placed | None, word: str, arguments: Mapping[str, Any]) -> str:
    if placed is not None:
        return _identifier(placed)
    columns = arguments.get("columns", ())
    column = columns[0] if len(columns) == 1 else arguments.get("column")
    return f"{word}_{column}" if column else word


def _identifier(placed: Placed) -> str:
    name = placed.text()
    if not re.fullmatch(r"[A-Za-z0-9_]+", name):
        raise placed.error(f"{name!r} cannot be a name: letters, digits and _ only")
    return name


def _severity(placed: Placed | None) -> Severity:
    if placed is None:
        return Severity.ERROR
    word = placed.text()
    if word not in set(Severity):
        raise placed.error(f"severity is {' or '.join(Severity)}, was {word!r}")
    return Severity(word)


def _argument(placed: Placed, taken: inspect.Parameter, names: Sequence[str]) -> object:
    return _READERS[taken.annotation](placed, names)


def _column_name(placed: Placed, names: Sequence[str]) -> str:
    name = placed.text()
    if name not in names:
        raise placed.error(f"unknown column {name!r}; known are {', '.join(names)}")
    return name


def _column_names(placed: Placed, names: Sequence[str]) -> tuple[str, ...]:
    found = tuple(_column_name(entry, names) for entry in placed.entries())
    if not found:
        raise placed.error("at least one column is needed")
    return found


def _texts(placed: Placed, _: Sequence[str]) -> tuple[str, ...]:
    found = tuple(entry.text() for entry in placed.entries())
    if not found:
        raise placed.error("at least one value is needed")
    return found


def _expression(placed: Placed, names: Sequence[str]) -> str:
    expression = placed.text()
    try:
        read = generic_tests.columns_of(expression)
    except ValueError as problem:
        raise placed.error(str(problem)) from problem
    for name in read:
        if name not in names:
            raise placed.error(f"unknown column {name!r} in {expression!r}; known are {', '.join(names)}")
    return expression


def _pattern(placed: Placed, _: Sequence[str]) -> str:
    pattern = placed.text()
    try:
        re.compile(pattern)
    except re.error as problem:
        raise placed.error(f"{pattern!r} is no regular expression: {problem}") from problem
    return pattern


_READERS: Mapping[object, Callable[[Placed, Sequence[str]], object]] = {
    ColumnName: _column_name,
    ColumnNames: _column_names,
    Expression: _expression,
    Pattern: _pattern,
    tuple[str, ...]: _texts,
    str: lambda placed, _: placed.text(),
    float: lambda placed, _: placed.number(),
    Count: lambda placed, _: placed.count(),
    bool: lambda placed, _: placed.boolean(),
}
