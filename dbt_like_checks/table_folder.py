"""The tables that lie in one folder, for checking them together and without the pipeline."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd

from dbt_like_checks import table_files
from dbt_like_checks.contract import Contract, contract_kept_by
from dbt_like_checks.table_files import UnreadableTable

DELTA_LOG = "_delta_log"
FILES = (".parquet", ".csv")


@dataclass(frozen=True)
class StoredTable:
    """A table in a folder, and the contract that it keeps: a folder of Delta Lake, or a Parquet or CSV file."""

    name: str
    contract: Contract
    path: Path

    @property
    def is_delta(self) -> bool:
        """Tell whether it is a folder of Delta Lake."""
        return self.path.is_dir()

    def rows(self, session: date | None) -> pd.DataFrame:
        """Return the rows of a session, or all where the table is of no one session or none is given.

        Raises:
            UnreadableTable: it cannot be read.
        """
        column = self.contract.session_column
        if session is None or column is None:
            return self._read(None)
        frame = self._read([(column, "=", session)] if self.is_delta else None)
        # Without the column nobody can say which rows are meant; the contract says that it is missing.
        return frame[frame[column] == session] if column in frame.columns else frame

    def sessions(self) -> set[date]:
        """Return the sessions that it has rows of; none where it is of no one session.

        Raises:
            UnreadableTable: it cannot be read.
        """
        column = self.contract.session_column
        if column is None:
            return set()
        frame = self._read(None, [column]) if self.is_delta else self._read(None)
        found = frame[column].dropna() if column in frame.columns else pd.Series([], dtype=object)
        # What is no date is no session: the promise on types says so.
        return {day for day in found.unique().tolist() if type(day) is date}

    def _read(self, filters: list[tuple[str, str, Any]] | None, columns: list[str] | None = None) -> pd.DataFrame:
        if not self.is_delta:
            return table_files.read(self.path, self.contract)
        from deltalake import DeltaTable

        with _named_errors(self.path):
            table = DeltaTable(str(self.path))
            known = [field.name for field in table.schema().fields]
            parts = {name for name in table.metadata().partition_columns if name not in self._promised}
            wanted = [name for name in columns or known if name in known and name not in parts]
            kept = [each for each in filters or [] if each[0] in known] or None
            frame: pd.DataFrame = table.to_pyarrow_table(columns=wanted, filters=kept).to_pandas()
        return frame

    @property
    def _promised(self) -> set[str]:
        return {column.name for column in self.contract.columns}


def tables_in(folder: Path) -> tuple[tuple[StoredTable, ...], Mapping[str, str]]:
    """Return the tables of a folder that keep a contract, by name; and of all else there why it is left out.

    Raises:
        UnreadableTable: the folder cannot be listed, or holds two tables of one name.
    """
    found: dict[str, StoredTable] = {}
    left_out: dict[str, str] = {}
    for path in _entries(folder):
        if path.is_dir() and not (path / DELTA_LOG).is_dir():
            left_out[path.name] = f"a folder without {DELTA_LOG}, so no Delta table"
            continue
        if path.is_file() and path.suffix not in FILES:
            left_out[path.name] = "neither a Parquet nor a CSV file"
            continue
        name = path.name if path.is_dir() else path.stem
        if name in found:
            raise UnreadableTable(f"{folder} holds the table {name} twice: {found[name].path.name} and {path.name}")
        kept = contract_kept_by(name)
        if kept is None:
            left_out[path.name] = "there is no contract of this name"
        else:
            found[name] = StoredTable(name, kept, path)
    return tuple(found.values()), left_out


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith((".", "_")))
    except OSError as problem:
        raise UnreadableTable(f"{folder}: a folder of tables was wanted: {problem.strerror}") from problem


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    from deltalake.exceptions import DeltaError

    try:
        yield
    except (DeltaError, OSError, ValueError) as problem:
        raise UnreadableTable(f"{path}: cannot be read as a Delta table: {problem}") from problem
