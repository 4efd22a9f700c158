"""Telling people: alerts that are said at once, and kept."""

import os
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trading_pipeline.domain.errors import DependencyUnavailable
from trading_pipeline.ports import Alert, Severity

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

# A cancel may be waiting behind the alert.
BUSY_SECONDS = 2.0

_TABLE = """
CREATE TABLE alerts (
    key TEXT PRIMARY KEY,
    severity TEXT NOT NULL,
    title TEXT NOT NULL,
    text TEXT NOT NULL,
    at TEXT NOT NULL
)
"""
_LEVELS = {Severity.INFO: "info", Severity.WARNING: "warning", Severity.CRITICAL: "critical"}


class AlertOutbox:
    """Alerts in one SQLite file, each key once, and one line of each on standard error when it is new.

    A connection per call, so threads and processes may share the object and
    the file. :meth:`notify` never raises: what it tells must not stop what it
    tells of. Where the file fails (a full disk, say) the alert is said all
    the same, with a second line that says why it is not kept; it is kept at
    the next call for which the file works again, and until then only this
    process knows that it was said.
    """

    def __init__(self, path: Path) -> None:
        """Keep the alerts at ``path``; file and folder are created at the first call."""
        self._path = path
        self._unkept: dict[str, Alert] = {}

    def notify(self, alert: Alert) -> bool:
        """Say and keep an alert unless one of its key was said before; tell whether it was said now.

        It is said before it counts as kept: a process that dies in between
        says it once more, and never not at all.
        """
        waiting = dict(self._unkept)
        is_new = False
        try:
            with self._transaction() as connection:
                for earlier in waiting.values():
                    _insert(connection, earlier)
                is_new = _insert(connection, alert)
                if is_new:
                    _say(alert)
        except (sqlite3.Error, OSError) as error:
            return self._not_kept(alert, error, was_said=is_new)
        for key in waiting:
            self._unkept.pop(key, None)
        return is_new

    def alerts(self, since: datetime | None = None) -> Sequence[Alert]:
        """Return the alerts of the instant ``since`` or later, all without it, oldest first; none where none is kept.

        Raises:
            DependencyUnavailable: the file cannot be read.
        """
        earliest = "" if since is None else _text(since)
        try:
            with self._connection() as connection:
                query = "SELECT key, severity, title, text, at FROM alerts WHERE at >= ? ORDER BY at, rowid"
                rows = connection.execute(query, (earliest,)).fetchall()
        except (sqlite3.Error, OSError) as error:
            raise DependencyUnavailable(
                f"the alerts {self._path} cannot be read: {error}; free space or move the file away"
            ) from error
        return [
            Alert(key, Severity(severity), title, text, datetime.fromisoformat(at))
            for key, severity, title, text, at in rows
        ]

    def _not_kept(self, alert: Alert, error: Exception, *, was_said: bool) -> bool:
        if alert.key in self._unkept:
            return False
        self._unkept[alert.key] = alert
        if not was_said:
            _say(alert)
        with _whatever_becomes_of_it():
            _logger().error("alert not kept", alert=alert.key, outbox=str(self._path), error=str(error))
        return True

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._connection() as connection:
            # IMMEDIATE: of two that tell the same at once, the second waits and finds that it was said.
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        self._create_once()
        with closing(_connected(self._path)) as connection:
            yield connection

    def _create_once(self) -> None:
        if self._path.exists():
            return
        folder = self._path.parent
        folder.mkdir(parents=True, exist_ok=True)
        # Made aside and linked into place: whoever sees the file sees its table, and one of two makers wins.
        with tempfile.TemporaryDirectory(prefix=".alerts-", dir=folder) as aside:
            made = Path(aside) / self._path.name
            with closing(_connected(made)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute(_TABLE)
            with suppress(FileExistsError):
                os.link(made, self._path)


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = FULL")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _insert(connection: sqlite3.Connection, alert: Alert) -> bool:
    values = (alert.key, alert.severity.value, alert.title, alert.text, _text(alert.at))
    return connection.execute("INSERT OR IGNORE INTO alerts VALUES (?, ?, ?, ?, ?)", values).rowcount == 1


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _say(alert: Alert) -> None:
    with _whatever_becomes_of_it():
        say = getattr(_logger(), _LEVELS[alert.severity])
        say(alert.title, alert=alert.key, at=alert.at.isoformat(), text=alert.text)


def _whatever_becomes_of_it() -> suppress:
    # Nobody reads standard error any more, and there is no other place left in which to say so.
    return suppress(OSError, ValueError)


def _logger() -> "FilteringBoundLogger":
    import structlog

    if structlog.is_configured():
        logger: FilteringBoundLogger = structlog.get_logger()
        return logger
    processors: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.LogfmtRenderer(key_order=["level", "event"]),
    ]
    own: FilteringBoundLogger = structlog.wrap_logger(structlog.PrintLogger(sys.stderr), processors=processors)
    return own
