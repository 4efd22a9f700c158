"""Tables as they lie on the disk, for whoever looks for what was altered there.

A file that somebody wrote again is of another length than the table's log says,
and the table cannot be read any more. What is in it is read all the same.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from trading_pipeline.adapters.storage.schemas import table_schema
from trading_pipeline.adapters.storage.tables import DeltaTables
from trading_pipeline.domain.errors import DataError, InvalidInput


@dataclass(frozen=True)
class RecordedTables:
    """The tables, whatever was done to their files."""

    tables: DeltaTables

    def version(self, name: str) -> int | None:
        """Return the table's newest version, or None where it was never written."""
        return self.tables.version(name)

    def read(
        self, name: str, first: date | None = None, last: date | None = None, version: int | None = None
    ) -> pd.DataFrame:
        """Return rows as :meth:`DeltaTables.read` does; those of files that are no tables any more are missing.

        Raises:
            DataError: the table cannot be read: it is not on this machine, never had that version, or lost its log.
        """
        try:
            return self.tables.read(name, first, last, version)
        except (pa.ArrowException, InvalidInput) as error:
            if "://" not in self.tables.root:
                with suppress(DeltaError, OSError):
                    return self._from_files(name, first or date.min, last or date.max, version)
            raise DataError(f"table {name} cannot be read ({error}): restore its files from a copy") from error

    def _from_files(self, name: str, first: date, last: date, version: int | None) -> pd.DataFrame:
        schema = table_schema(name)
        wanted = pa.schema(list(schema.columns.items()))
        folder = Path(self.tables.root) / name
        parts = [wanted.empty_table(), *_readable(DeltaTable(str(folder), version=version), first, last, wanted)]
        frame: pd.DataFrame = pa.concat_tables(parts).to_pandas()
        return frame[frame["session"].between(first, last)].sort_values(list(schema.key), ignore_index=True)


def _readable(table: DeltaTable, first: date, last: date, wanted: pa.Schema) -> Iterator[pa.Table]:
    for path in (Path(unquote(uri.removeprefix("file://"))) for uri in table.file_uris()):
        if first.year <= int(path.parent.name.removeprefix("year=")) <= last.year:
            try:
                rows = pq.read_table(path, partitioning=None)
                yield rows.select(wanted.names).cast(wanted)
            except (pa.ArrowException, OSError, KeyError):
                # What was in it is missing then, and named for that.
                continue
