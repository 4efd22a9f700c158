"""Frames to and from Delta tables, by asset and session or year; the versions read and written are recorded."""

from collections import defaultdict
from collections.abc import Callable
from datetime import date
from typing import Any

import dagster as dg
import pandas as pd

from trading_pipeline import __version__
from trading_pipeline.adapters.storage.tables import DeltaTables
from trading_pipeline.adapters.storage.written_rows import WrittenRows, written_beside
from trading_pipeline.defs.partitions import days_of
from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import DataError

UPSERT = "upsert"
WRITE = "trading_pipeline/write"
SESSIONS = "trading_pipeline/sessions"
TABLE_VERSION = "table_version"
TABLES_READ = "tables_read"
# The version of an asset's own table that it compared with, or carried on from; -1 where there was none.
VERSION_BEFORE = "table_version_before"
# SHA-256 of the rows that were written, as they are kept beside the tables.
ROWS_SHA256 = "rows_sha256"
CODE_VERSION = "code_version"
MAY_BE_EMPTY = frozenset({"order_plan", "approved_orders", "fills", "execution_quality"})


class DeltaIOManager(dg.IOManager):
    """One table for each asset, one session or year for each partition.

    A run over a range of years replaces the rows of all of them in one version
    of the table. An asset without partitions replaces the sessions that its
    rows are of, and its readers are given the whole table.

    An asset whose definition metadata holds ``trading_pipeline/write: upsert``
    returns rows of any session, which are inserted or replaced by key; they
    are kept a second time beside the tables, so that one altered by hand can
    be told (:mod:`trading_pipeline.adapters.storage.written_rows`). An
    input whose metadata holds ``trading_pipeline/sessions: n`` is given the n
    sessions up to the partition's, never a later one.
    """

    def __init__(self, tables: DeltaTables, told: Callable[[str, date], None] | None = None) -> None:
        """Keep the tables; nothing is opened yet. ``told`` hears of every table and session written."""
        self._tables = tables
        self._written = written_beside(tables.root)
        self._told = told or (lambda _name, _session: None)
        self._read: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)

    def handle_output(self, context: dg.OutputContext, obj: pd.DataFrame) -> None:
        """Write the frame and record rows, the version written and the versions read."""
        name = context.asset_key.path[-1]
        first, last = _days(context) or (obj["session"].min(), obj["session"].max())
        told: dict[str, Any] = {}
        if (context.definition_metadata or {}).get(WRITE) == UPSERT:
            version, told = self._upserted(name, obj)
        else:
            version = self._tables.replace_sessions(name, first, last, obj)
        metadata: dict[str, Any] = {
            "dagster/row_count": len(obj),
            TABLE_VERSION: -1 if version is None else version,
            CODE_VERSION: __version__,
            **told,
        }
        read = self._read.pop((context.run_id, context.step_key), None)
        if read:
            metadata[TABLES_READ] = dg.JsonMetadataValue(read)
        context.add_output_metadata(metadata)
        self._told(name, last)

    def _upserted(self, name: str, rows: pd.DataFrame) -> tuple[int | None, dict[str, Any]]:
        """Insert or replace rows; return the version and what is told of it."""
        if rows.empty:
            return self._tables.version(name), {}
        if self._written is None:
            return self._tables.upsert(name, rows), {}
        with self._written.writing(name):
            return self._upserted_and_kept(name, rows, self._written)

    def _upserted_and_kept(
        self, name: str, rows: pd.DataFrame, written: WrittenRows
    ) -> tuple[int | None, dict[str, Any]]:
        before = self._tables.version(name)
        if before is not None and written.is_empty(name):
            whole = written.begin(name, self._tables.read(name, version=before), before, is_whole=True)
            written.end(whole, before)
        # Kept first: of a write that is cut off there is a trace, and never a version without one.
        begun = written.begin(name, rows, before)
        version = self._tables.upsert(name, rows)
        written.end(begun, version)
        return version, {ROWS_SHA256: begun.seal}

    def load_input(self, context: dg.InputContext) -> pd.DataFrame:
        """Return the rows of the partitions' sessions, or of the sessions up to them.

        Raises:
            DataError: the table has no row of the partitions and promises to have some.
        """
        name, days = context.asset_key.path[-1], _days(context) or (sessions.FIRST_DATE, sessions.LAST_DATE)
        count = int((context.definition_metadata or {}).get(SESSIONS, 1))
        version = self._tables.version(name)
        self._remember(context, name, version)
        frame = self._tables.read(name, *_reaching_back(days, count), version)
        if name not in MAY_BE_EMPTY and not frame["session"].between(*days).any():
            raise DataError(f"{name} has no rows of {_named(*days)}; materialise {name} for that session first")
        return frame

    def _remember(self, context: dg.InputContext, name: str, version: int | None) -> None:
        if version is not None:
            self._read[context.step_context.run_id, context.step_context.step.key][name] = version


def _days(context: dg.OutputContext | dg.InputContext) -> tuple[date, date] | None:
    """Return the first and last day of the context's partitions, or None where the asset has none."""
    if not context.has_asset_partitions:
        return None
    keys = context.asset_partition_key_range
    return days_of(keys.start)[0], days_of(keys.end)[1]


def _reaching_back(days: tuple[date, date], count: int) -> tuple[date, date]:
    first, last = days
    return (first if count == 1 else sessions.previous_session(first, count - 1)), last


def _named(first: date, last: date) -> str:
    return f"session {first}" if first == last else f"any session from {first} to {last}"


@dg.io_manager(required_resource_keys={"world"}, description="Delta Lake tables of the chosen mode.")
def tables_io_manager(context: dg.InitResourceContext) -> DeltaIOManager:
    """Open the tables of the world when a run first needs them."""
    return DeltaIOManager(context.resources.world.tables)
