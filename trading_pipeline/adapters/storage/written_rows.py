"""What was written to a table, kept apart from it, so that a row that somebody alters by hand can be told and named.

A table on disk keeps every version, but nothing in it tells whether a file of
an old version is still what was written. So the rows of each write are kept a
second time, sealed, before they go into the table; put on top of each other
up to a version they are what that version must hold.
"""

import hashlib
import io
import itertools
import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from trading_pipeline.adapters.storage.objects import FileObjects, Objects
from trading_pipeline.adapters.storage.schemas import table_schema
from trading_pipeline.domain.errors import DataError, DependencyUnavailable

FOLDER = "_written"
"""Beside the tables, inside their folder."""

BEFORE = b"trading_pipeline.version_before"
WHOLE = b"trading_pipeline.whole_table"
NO_VERSION = -1
LOCK_SECONDS = 120.0


@dataclass(frozen=True)
class Begun:
    """A write whose rows are kept and whose version is not known yet; ``seal`` is the SHA-256 of what is kept."""

    table: str
    number: int
    seal: str


@dataclass(frozen=True)
class _Kept:
    number: int
    version_before: int
    version: int | None
    is_whole: bool
    rows: pa.Table

    @property
    def expected(self) -> int:
        # Making a table is its version 0, so that the first rows are in version 1.
        return self.version_before if self.is_whole else max(self.version_before, 0) + 1


class WrittenRows:
    """The rows of each write of a table.

    Writes of a table one at a time (:meth:`writing`) are told apart in any
    case. Of some at once that ended, the versions that they were told to be say
    which came last; of one at once with others that was cut off, it is inferred.

    Raises, from every method:
        DataError: what is kept was changed, or cannot be read.
        InvalidInput: the folder cannot be used.
        DependencyUnavailable: the disk fails.
    """

    def __init__(self, objects: Objects, locks: Path | None = None) -> None:
        """Keep rows among ``objects``, below the name of their table; ``locks`` is the folder of :meth:`writing`'s."""
        self._objects = objects
        self._locks = locks

    @contextmanager
    def writing(self, table: str) -> Iterator[None]:
        """Keep others from writing ``table`` while the block looks at its version, begins, writes and ends.

        The system lets go of it when the process ends, however it does. Without a folder of locks nobody is kept.
        """
        lock = None if self._locks is None else FileLock(self._locks / f".{table}.lock", timeout=LOCK_SECONDS)
        if lock is None:
            yield
            return
        try:
            Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except OSError as error:
            raise DependencyUnavailable(
                f"table {table} is being written by another process, or {lock.lock_file} cannot be: {error}; try again"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def begin(self, table: str, rows: pd.DataFrame, version_before: int | None, *, is_whole: bool = False) -> Begun:
        """Keep ``rows``, which are about to be written after ``version_before`` (None: to a new table).

        ``is_whole`` says that they are everything that the version before holds, which nobody kept yet.
        """
        content = _parquet(table, rows, NO_VERSION if version_before is None else version_before, is_whole=is_whole)
        number = len(self._keys(table)) + 1
        while not self._objects.put_if_absent(f"{table}/{number:08d}.parquet", content):
            number += 1
        return Begun(table, number, hashlib.sha256(content).hexdigest())

    def end(self, begun: Begun, version: int) -> None:
        """Say which version of the table holds the rows; a write that was cut off before is understood without it."""
        said = json.dumps({"version": version, "sha256": begun.seal}).encode()
        self._objects.put_if_absent(f"{begun.table}/{begun.number:08d}.version", said)

    def is_empty(self, table: str) -> bool:
        """Tell whether nothing was ever kept of a table."""
        return not self._keys(table)

    def rows(
        self, table: str, version: int | None = None, first: date | None = None, last: date | None = None
    ) -> pd.DataFrame:
        """Return what ``version`` (None: the newest) must hold of sessions ``first`` to ``last``, sorted by key.

        An empty frame with every column where nothing was kept.
        """
        schema = table_schema(table)
        wanted = [kept for kept in self._counted(table) if version is None or (kept.version or 0) <= version]
        columns = list(schema.columns)
        parts = [kept.rows.select(columns).to_pandas() for kept in wanted]
        frame = pd.concat(parts, ignore_index=True) if parts else schema.arrow.empty_table().select(columns).to_pandas()
        inside = frame["session"].between(first or date.min, last or date.max)
        key = list(schema.key)
        found: pd.DataFrame = frame[inside].drop_duplicates(key, keep="last").sort_values(key, ignore_index=True)
        return found

    def versions(self, table: str) -> frozenset[int]:
        """Return the versions that the pipeline wrote, as far as rows were kept."""
        return frozenset(kept.version for kept in self._counted(table) if kept.version is not None)

    def first_version(self, table: str) -> int | None:
        """Return the oldest version of which all rows are kept, or None where none is."""
        return min(self.versions(table), default=None)

    def _counted(self, table: str) -> Sequence[_Kept]:
        """Return the writes that reached the table, in the order in which they did: that of their versions."""
        kept = [self._read(key) for key in self._keys(table)]
        taken, counted = _taken(kept), []
        for number, each in enumerate(kept):
            version = each.version if each.version is not None else _reached(each, kept[number + 1 :], taken)
            if version is not None:
                counted.append(replace(each, version=version))
                taken.add(version)
        return sorted(counted, key=lambda each: (each.version or 0, each.number))

    def _keys(self, table: str) -> Sequence[str]:
        return [key for key in self._objects.list(f"{table}/") if key.endswith(".parquet")]

    def _read(self, key: str) -> _Kept:
        content, said = self._objects.get(key), self._objects.get(key.replace(".parquet", ".version"))
        version = None
        if said is not None:
            version, seal = _said(key, said)
            if content is None or hashlib.sha256(content).hexdigest() != seal:
                raise DataError(f"the rows kept as {key} were changed after they were written; restore a copy")
        return _kept(key, content or b"", version)


def written_beside(root: str) -> WrittenRows | None:
    """Return what is kept of the tables below ``root``; None where they are not on this machine, and nothing is."""
    return None if "://" in root else WrittenRows(FileObjects(Path(root) / FOLDER), Path(root) / FOLDER)


def _taken(kept: Sequence[_Kept]) -> set[int]:
    """Return the versions that are known to be of a write that ended, those that gave it its new columns too."""
    ended = {each.version for each in kept if each.version is not None}
    widened = {
        after.version - 1
        for before, after in itertools.pairwise(kept)
        if after.version is not None and {*before.rows.column_names} < {*after.rows.column_names}
    }
    return ended | widened


def _reached(cut: _Kept, later: Sequence[_Kept], taken: Collection[int]) -> int | None:
    """Return the version of a write that was cut off; None where it did not reach the table.

    It is the first that nobody else made. Whoever began later found it there,
    or was overtaken by it: else it was never made.
    """
    if cut.is_whole:
        return cut.expected
    version = next(number for number in itertools.count(cut.expected) if number not in taken)
    is_there = all(each.version_before >= version or (each.version or 0) > version for each in later)
    return version if is_there else None


def _parquet(table: str, rows: pd.DataFrame, version_before: int, *, is_whole: bool) -> bytes:
    schema = table_schema(table)
    columns = pa.schema(list(schema.columns.items()))
    about = {BEFORE: str(version_before).encode(), WHOLE: str(int(is_whole)).encode()}
    arrow = pa.Table.from_pandas(rows[list(schema.columns)], schema=columns, preserve_index=False)
    to = io.BytesIO()
    pq.write_table(arrow.replace_schema_metadata(about), to, compression="zstd")
    return to.getvalue()


def _kept(key: str, content: bytes, version: int | None) -> _Kept:
    try:
        rows = pq.read_table(io.BytesIO(content))
        about = rows.schema.metadata
        before, is_whole = int(about[BEFORE]), about[WHOLE] == b"1"
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"the rows kept as {key} cannot be read ({error}); restore them from a copy") from error
    return _Kept(int(Path(key).stem), before, version, is_whole, rows.replace_schema_metadata(None))


def _said(key: str, content: bytes) -> tuple[int, str]:
    try:
        said = json.loads(content)
        return int(said["version"]), str(said["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"what is said of the rows kept as {key} cannot be read; restore it from a copy") from error
