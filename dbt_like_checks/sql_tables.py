"""Frames as DuckDB sees them, and singular tests over them: the only module here that knows DuckDB.

Frames go through Arrow with the types that their contracts promise, so that a
decimal stays what it is, to nine places as the tables keep it, and never
becomes a float. The engine reads nothing but these frames: no file, no
extension, no variable of Python.
"""

import functools
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from dbt_like_checks.contract import ColumnType, Contract, InvalidContract, Severity, contract
from dbt_like_checks.singular_tests import SingularTest
from dbt_like_checks.verification import SAMPLE_ROWS, BrokenPromise, Result, Verdict

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

ARROW_TYPES: Mapping[ColumnType, pa.DataType] = {
    ColumnType.STR: pa.string(),
    ColumnType.FLOAT: pa.float64(),
    ColumnType.INT: pa.int64(),
    ColumnType.BOOL: pa.bool_(),
    ColumnType.DATE: pa.date32(),
    ColumnType.DECIMAL: pa.decimal128(38, 9),
    ColumnType.TIMESTAMP: pa.timestamp("us", "UTC"),
}
# One thread: rows come back in one order, and a check does not take the machine.
_SEALED: dict[str, str | bool | int | float | list[str]] = {
    "threads": 1,
    "enable_external_access": False,
    "python_enable_replacements": False,
    "lock_configuration": True,
}
_LINE = re.compile(r"LINE (\d+):")
NOTHING = pd.DataFrame()
LONGEST_TOLD = 300


def evaluate_singular(tests: Sequence[SingularTest], frames: Mapping[str, pd.DataFrame]) -> tuple[Result, ...]:
    """Return one result a test, in their order; ``frames`` are the tables by the names of their contracts.

    A test is not judged where a table is not among ``frames``, lacks a column
    that the test reads, or holds values that are not of the column's type.
    Extra columns and the frame's index are not seen. ``checked_rows`` are those
    of the table that the test is shown on.

    Raises:
        InvalidContract: the body of a test cannot be understood.
    """
    if not tests:
        return ()
    with _engine() as engine:
        tables = _Tables(engine, frames)
        return tuple(_judged(test, tables) for test in tests)


def verify_singular(frames: Mapping[str, pd.DataFrame], tests: Sequence[SingularTest]) -> None:
    """Refuse frames that break a test of severity error; tests of tables that are not among them are passed over.

    Raises:
        BrokenPromise: at least one of the tests is broken, or cannot be judged on what the frames hold.
    """
    asked = [test for test in tests if test.severity is Severity.ERROR and set(test.tables) <= frames.keys()]
    broken = [
        (test.on, result)
        for test, result in zip(asked, evaluate_singular(asked, frames), strict=True)
        if not result.passed
    ]
    if broken:
        raise BrokenPromise(broken[0][0], [result for _, result in broken])


@functools.cache
def refuse_wrong_body(test: SingularTest) -> None:
    """Look at what a test asks by asking it of empty tables, which are made from the contracts.

    Raises:
        InvalidContract: the body is not one SELECT over the columns of the
            tables that the header names; the message names file and line.
    """
    import duckdb

    with _engine() as engine:
        for table in test.tables:
            engine.register(table, _schema(contract(table)).empty_table())
        try:
            _refuse_unless_one_select(engine, test)
            # Not by `sql`, which does not say in which line it stumbled.
            engine.execute(test.sql)
            read = _tables_read(engine, test.sql)
        except duckdb.Error as problem:
            raise InvalidContract(f"{test.path}:{_line(problem)}: {_told(problem)}") from problem
    if unread := [table for table in test.tables if table not in read]:
        raise InvalidContract(f"{test.path}:1: the header names {', '.join(unread)}, which the body does not read")


def _tables_read(engine: "DuckDBPyConnection", sql: str) -> set[str]:
    """Return the names after FROM and JOIN, as the engine's own parser finds them."""
    [tree] = engine.execute("select json_serialize_sql(?::varchar)", [sql]).fetchone() or [""]
    return set(re.findall(r'"table_name":"([^"]*)"', tree))


def _refuse_unless_one_select(engine: "DuckDBPyConnection", test: SingularTest) -> None:
    from duckdb import StatementType

    kinds = [statement.type for statement in engine.extract_statements(test.sql)]
    if kinds != [StatementType.SELECT]:
        found = ", ".join(kind.name for kind in kinds) or "nothing"
        raise InvalidContract(f"{test.path}:{_body_line(test)}: the body is one SELECT, found {found}")


def _body_line(test: SingularTest) -> int:
    lines = test.sql.splitlines()
    return next(
        (number for number, line in enumerate(lines, start=1) if line.strip() and not line.startswith("--")),
        max(len(lines), 1),
    )


@functools.cache
def _database() -> "DuckDBPyConnection":
    # An import that reading contracts does not wait for, and a start that is paid once.
    import duckdb

    return duckdb.connect(":memory:", config=_SEALED)


@contextmanager
def _engine() -> Iterator["DuckDBPyConnection"]:
    """Give a connection of its own to the one empty database: what it is shown ends with it."""
    engine = _database().cursor()
    try:
        yield engine
    finally:
        engine.close()


@dataclass(frozen=True, eq=False)
class _Tables:
    """The frames that an engine was shown, each when a test first asks for it."""

    engine: "DuckDBPyConnection"
    frames: Mapping[str, pd.DataFrame]
    wrong: dict[str, str] = field(default_factory=dict)

    def problem(self, table: str) -> str:
        """Show the engine a table; return why that cannot be, or nothing."""
        if table not in self.frames:
            return f"the table {table} was not given"
        if table not in self.wrong:
            self.wrong[table] = self._shown(table)
        return self.wrong[table]

    def _shown(self, table: str) -> str:
        try:
            self.engine.register(table, arrow_table(self.frames[table], contract(table)))
        except ValueError as problem:
            return str(problem)
        return ""

    def missing(self, tables: Sequence[str]) -> str:
        return "; ".join(
            f"the column {column.name} of the table {table} was not given"
            for table in tables
            for column in contract(table).columns
            if column.name not in self.frames[table].columns
        )


def _judged(test: SingularTest, tables: _Tables) -> Result:
    import duckdb

    if problems := [problem for table in test.tables if (problem := tables.problem(table))]:
        return _result(test, tables, Verdict.NOT_JUDGED, NOTHING, "; ".join(problems))
    try:
        found = tables.engine.sql(test.sql).to_arrow_table()
    except duckdb.Error as problem:
        # The body is to blame, or what it was shown: only now is it worth the time to tell which.
        refuse_wrong_body(test)
        missing = tables.missing(test.tables) if isinstance(problem, duckdb.BinderException) else ""
        return _result(test, tables, Verdict.NOT_JUDGED, NOTHING, missing or f"cannot be judged: {_told(problem)}")
    sample = found.slice(0, SAMPLE_ROWS).to_pandas()
    return _result(test, tables, Verdict.BROKEN if len(found) else Verdict.KEPT, sample, rows=len(found))


def _result(
    test: SingularTest, tables: _Tables, verdict: Verdict, sample: pd.DataFrame, detail: str = "", rows: int = 0
) -> Result:
    checked = len(tables.frames.get(test.on, NOTHING))
    return Result(test.name, test.sentence, test.severity, verdict, checked, rows, sample, detail)


def arrow_table(frame: pd.DataFrame, of: Contract) -> pa.Table:
    """Return the columns of a contract that a frame has, in the types of the contract; NaN is null.

    Raises:
        ValueError: a value is not of its column's type, or a decimal has more than nine places.
    """
    # Of two columns of one name nobody can say which is meant: neither is there.
    rows = frame.loc[:, ~frame.columns.duplicated(keep=False)]
    present = [column for column in of.columns if column.name in rows.columns]
    arrays = [_array(rows[column.name], column.type, f"{of.table}.{column.name}") for column in present]
    return pa.table(arrays, names=[column.name for column in present])


def _array(values: "pd.Series[Any]", kind: ColumnType, name: str) -> pa.Array:
    try:
        return pa.Array.from_pandas(values, type=ARROW_TYPES[kind])
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as problem:
        raise ValueError(f"{name} is not all {kind}: {problem}") from problem


def _schema(of: Contract) -> pa.Schema:
    return pa.schema([(column.name, ARROW_TYPES[column.type]) for column in of.columns])


def _line(problem: Exception) -> int:
    found = _LINE.search(str(problem))
    return int(found[1]) if found else 1


def _told(problem: Exception) -> str:
    """Return what the engine says, in one line and without the excerpt of the text."""
    return textwrap.shorten(str(problem).partition("\n\nLINE ")[0], LONGEST_TOLD)
