"""The file of the alerts: its tables, and how one of an earlier version becomes one of this."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from trading_pipeline.adapters.storage.sqlite_files import create_once

# A cancel may be waiting behind the alert.
BUSY_SECONDS = 2.0

_FIRST_TABLE = """
CREATE TABLE alerts (
    key TEXT PRIMARY KEY,
    severity TEXT NOT NULL,
    title TEXT NOT NULL,
    text TEXT NOT NULL,
    at TEXT NOT NULL
)
"""
# Version 0 kept what was said, and no more. What it kept is neither delivered later nor waited upon.
SCHEMA_VERSION = 2
_FROM_VERSION_0 = (
    "ALTER TABLE alerts ADD COLUMN runbook TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE alerts ADD COLUMN html TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE alerts ADD COLUMN told_at TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE alerts ADD COLUMN acknowledged_at TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE alerts ADD COLUMN acknowledged_by TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE alerts ADD COLUMN escalated_at TEXT NOT NULL DEFAULT ''",
    "UPDATE alerts SET told_at = at, acknowledged_at = at, acknowledged_by = 'an earlier version'",
    """
    CREATE TABLE deliveries (
        key TEXT NOT NULL REFERENCES alerts (key),
        channel TEXT NOT NULL,
        state TEXT NOT NULL,
        message TEXT NOT NULL,
        is_digest INTEGER NOT NULL DEFAULT 0,
        is_held INTEGER NOT NULL DEFAULT 0,
        attempts INTEGER NOT NULL DEFAULT 0,
        due_at TEXT NOT NULL,
        lease TEXT NOT NULL DEFAULT '',
        leased_until TEXT NOT NULL DEFAULT '',
        answer TEXT NOT NULL DEFAULT '',
        changed_at TEXT NOT NULL,
        PRIMARY KEY (key, channel)
    )
    """,
    "CREATE INDEX deliveries_by_state ON deliveries (channel, state, changed_at)",
    "CREATE INDEX deliveries_of_message ON deliveries (channel, message)",
    # Two outboxes may tell of the same: what they send is told apart by this.
    "CREATE TABLE outbox (id TEXT NOT NULL)",
    "INSERT INTO outbox VALUES (lower(hex(randomblob(16))))",
)
# A clock may be put back: what was sent last has the highest number. What version 1 sent has none.
_FROM_VERSION_1 = (
    "ALTER TABLE deliveries ADD COLUMN sent_number INTEGER NOT NULL DEFAULT 0",
    "CREATE INDEX deliveries_by_number ON deliveries (channel, sent_number, changed_at)",
)


class AlertFile:
    """One SQLite file in WAL mode, with a connection per call, so that threads and processes may share it.

    Every method raises what sqlite3 and the file system raise.
    """

    def __init__(self, path: Path) -> None:
        """Use the file at ``path``; file and folder are created, and an earlier version upgraded, at the first call."""
        self.path = path

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the file for writing while the block lasts; it is written whole, or not at all."""
        with self.connection() as connection, _written(connection):
            yield connection

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """Open the file for the block."""
        create_once(self.path, connected, _make, BUSY_SECONDS)
        with closing(connected(self.path)) as connection:
            _upgrade(connection)
            yield connection


def connected(path: Path) -> sqlite3.Connection:
    """Open the file at ``path``, such that what is committed survives a power cut."""
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = FULL")
    except sqlite3.Error:
        connection.close()
        raise
    connection.row_factory = sqlite3.Row
    return connection


def _make(connection: sqlite3.Connection) -> None:
    connection.execute(_FIRST_TABLE)
    _upgrade(connection)


@contextmanager
def _written(connection: sqlite3.Connection) -> Iterator[None]:
    # IMMEDIATE: of two that do the same at once, the second waits and finds it done.
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # A failed commit may have ended the transaction already.
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _upgrade(connection: sqlite3.Connection) -> None:
    if _version(connection) >= SCHEMA_VERSION:
        return
    with _written(connection):
        # Read anew under the lock: another process may have done it meanwhile.
        for statements in (_FROM_VERSION_0, _FROM_VERSION_1)[_version(connection) :]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {max(SCHEMA_VERSION, _version(connection))}")


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def as_text(at: datetime) -> str:
    """Write a UTC instant such that texts are in the order of their instants.

    >>> as_text(datetime(2026, 7, 31, 16, tzinfo=UTC))
    '2026-07-31T16:00:00.000000+00:00'
    """
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def as_instant(text: str) -> datetime | None:
    """Read what :func:`as_text` wrote; None for an empty text."""
    return datetime.fromisoformat(text) if text else None
