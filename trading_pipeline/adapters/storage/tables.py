"""Delta Lake tables: one session replaced at a time, transactionally, every version kept.

A table is created once and then written by predicate only: two processes that
create one by overwriting it lose rows. Two writers of the same year's file
conflict; the loser opens the table again and rewrites. Nothing is vacuumed and
no log expires, so that any version that was ever read can be read again.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from deltalake import DeltaTable, Field, Schema, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from trading_pipeline.adapters.clocks import WallClock
from trading_pipeline.adapters.resilience import RetryPolicy, call_with_retries
from trading_pipeline.adapters.storage.schemas import TableSchema, table_schema
from trading_pipeline.domain.errors import DataError, InvalidInput, TransientError

KEPT_FOR_YEARS = {
    "delta.logRetentionDuration": "interval 36500 days",
    "delta.deletedFileRetentionDuration": "interval 36500 days",
    "delta.enableExpiredLogCleanup": "false",
}
CONFLICTS = RetryPolicy(attempts=12, first_wait_seconds=0.02, longest_wait_seconds=0.5, deadline_seconds=30.0)


class WriteConflict(TransientError):
    """Another process wrote the same table at the same moment."""


@dataclass(frozen=True)
class DeltaTables:
    """The tables under one folder (or ``s3://`` address)."""

    root: str

    def version(self, name: str) -> int | None:
        """Return the table's newest version, or None where it was never written.

        Raises:
            InvalidInput: the table is there and cannot be opened.
        """
        table = self._open(name)
        return None if table is None else int(table.version())

    def read(
        self, name: str, first: date | None = None, last: date | None = None, version: int | None = None
    ) -> pd.DataFrame:
        """Return the rows of sessions ``first`` to ``last`` (both included; None is open-ended), sorted by key.

        An empty frame with every column means that there are none. Dates are
        ``datetime.date``, money is ``Decimal``. An earlier ``version`` is read
        as it was.

        Raises:
            InvalidInput: the table cannot be read, or never had that version.
        """
        schema = table_schema(name)
        table = self._open(name, version)
        with _named_errors(f"table {name} below {self.root} cannot be read"):
            filters = _filters(first, last)
            arrow = schema.arrow.empty_table() if table is None else table.to_pyarrow_table(filters=filters)
        frame: pd.DataFrame = _completed(arrow, schema).select(list(schema.columns)).to_pandas()
        return frame.sort_values(list(schema.key), ignore_index=True)

    def replace_session(self, name: str, session: date, frame: pd.DataFrame) -> int:
        """Put ``frame`` in the place of every row of ``session``: see ``replace_sessions``."""
        return self.replace_sessions(name, session, session, frame)

    def replace_sessions(self, name: str, first: date, last: date, frame: pd.DataFrame) -> int:
        """Put ``frame`` in the place of every row of ``first`` to ``last``; return the version written.

        Raises:
            DataError: the frame does not fit the table's columns, or holds a session outside.
            InvalidInput: the table cannot be written.
            WriteConflict: others wrote the same year at the same moment, again and again.
        """
        schema = table_schema(name)
        rows = _arrow(schema, frame)
        others = {session for session in frame["session"] if type(session) is not date or not first <= session <= last}
        if others:
            wanted = f"session {first}" if first == last else f"sessions {first} to {last}"
            raise DataError(
                f"table {name}: rows of {wanted} were to be written, found some of "
                f"{', '.join(sorted(map(str, others)))}; write these by themselves"
            )
        days = f"session >= '{first}' AND session <= '{last}' AND year >= {first.year} AND year <= {last.year}"
        return self._written(schema, lambda table: write_deltalake(table, rows, mode="overwrite", predicate=days))

    def upsert(self, name: str, frame: pd.DataFrame) -> int:
        """Insert the rows of ``frame``, replacing those of the same key; return the version written.

        Raises:
            DataError: the frame does not fit the table's columns, or holds two rows of one key.
            InvalidInput: the table cannot be written.
            WriteConflict: others wrote the same year at the same moment, again and again.
        """
        schema = table_schema(name)
        rows = _arrow(schema, frame)
        repeated = frame[frame.duplicated(list(schema.key))]
        if len(repeated):
            first = ", ".join(str(repeated[column].iloc[0]) for column in schema.key)
            raise DataError(f"table {name} has one row for each {', '.join(schema.key)}; {first} came more than once")
        return self._written(schema, lambda table: _merge(table, schema, rows))

    def _written(self, schema: TableSchema, write: Callable[[DeltaTable], None]) -> int:
        def attempt() -> int:
            with _named_errors(f"table {schema.name} cannot be written below {self.root}"):
                table = self._opened(schema)
                write(table)
                return int(table.version())

        return call_with_retries(attempt, f"writing table {schema.name}", CONFLICTS, WallClock())

    def _opened(self, schema: TableSchema) -> DeltaTable:
        table = DeltaTable.create(
            self._uri(schema.name),
            schema=schema.arrow,
            mode="ignore",
            partition_by=["year"],
            configuration=KEPT_FOR_YEARS,
        )
        added = _columns_added(table, schema)
        if added:
            table.alter.add_columns(added)
        return table

    def _open(self, name: str, version: int | None = None) -> DeltaTable | None:
        with _named_errors(f"table {name} below {self.root} cannot be opened"):
            try:
                return DeltaTable(self._uri(name), version=version)
            except TableNotFoundError:
                return None

    def _uri(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{name}" if "://" in self.root else str(Path(self.root) / name)


@contextmanager
def _named_errors(what: str) -> Iterator[None]:
    try:
        yield
    except CommitFailedError as conflict:
        raise WriteConflict(f"{what}: {conflict}") from conflict
    except (DeltaError, OSError) as error:
        raise InvalidInput(f"{what}: {error}; check the folder, its rights and its free space") from error


def _columns_added(table: DeltaTable, schema: TableSchema) -> list[Field]:
    """Return the columns that the schema has gained since the table was made."""
    held = {field.name for field in table.schema().fields}
    return [field for field in Schema.from_arrow(schema.arrow).fields if field.name not in held]


def _completed(arrow: pa.Table, schema: TableSchema) -> pa.Table:
    """Return the rows with every column of the schema: what was not known when they were written is missing."""
    for field in schema.arrow:
        if field.name not in arrow.column_names:
            arrow = arrow.append_column(field, pa.nulls(len(arrow), field.type))
    return arrow


def _merge(table: DeltaTable, schema: TableSchema, rows: pa.Table) -> None:
    years = ", ".join(str(year) for year in sorted(set(rows.column("year").to_pylist())))
    # A missing value equals a missing value here, which it does not with "=".
    same_key = " AND ".join(f"(stored.{column} IS NOT DISTINCT FROM new.{column})" for column in schema.key)
    merge: Any = table.merge(
        rows,
        # Naming the years lets the other files be passed over.
        predicate=f"stored.year IN ({years or 0}) AND {same_key}",
        source_alias="new",
        target_alias="stored",
    )
    merge.when_matched_update_all().when_not_matched_insert_all().execute()


def _filters(first: date | None, last: date | None) -> list[tuple[str, str, Any]] | None:
    filters: list[tuple[str, str, Any]] = []
    if first is not None:
        filters += [("session", ">=", first), ("year", ">=", first.year)]
    if last is not None:
        filters += [("session", "<=", last), ("year", "<=", last.year)]
    return filters or None


def _arrow(schema: TableSchema, frame: pd.DataFrame) -> pa.Table:
    if set(frame.columns) != set(schema.columns):
        odd = sorted(set(frame.columns) ^ set(schema.columns))
        raise DataError(f"table {schema.name} has the columns {', '.join(schema.columns)}; missing or unknown: {odd}")
    try:
        years = pd.Series([day.year for day in frame["session"]], index=frame.index, dtype="int32")
        return pa.Table.from_pandas(frame.assign(year=years), schema=schema.arrow, preserve_index=False)
    except AttributeError as error:
        raise DataError(f"table {schema.name}: a session is not a date: {error}") from error
    except (pa.ArrowException, OverflowError) as error:
        raise DataError(f"table {schema.name}: a value does not fit its column: {error}") from error
