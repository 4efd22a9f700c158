"""The lines of the order journal as the audit log follows them: read only, whatever else is done to the file."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from trading_pipeline.domain.errors import DataError, DependencyUnavailable, PipelineError

BUSY_SECONDS = 5.0
_PASSING = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN})
_LINES = """
SELECT event, client_order_id, order_id, plan_id, session, symbol, side, quantity, limit_price, state, detail, mid,
    recorded_at, written_at
FROM events JOIN intents USING (client_order_id)
WHERE event > ? ORDER BY event
"""
_NAMES = (
    "number",
    "client_order_id",
    "order_id",
    "plan_id",
    "session",
    "symbol",
    "side",
    "quantity",
    "limit_price",
    "state",
    "detail",
    "mid",
    "recorded_at",
    "written_at",
)


@dataclass(frozen=True)
class JournalLines:
    """The lines of the journal at ``path``; none where there is no file."""

    path: Path

    def after(self, number: int) -> Iterator[dict[str, int | str | None]]:
        """Yield the lines after that of ``number``, oldest first, each with what its intent is.

        Raises:
            DependencyUnavailable: the disk fails, or another process holds the file for too long.
            DataError: the file is damaged, or no journal.
        """
        if not self.path.exists():
            return
        try:
            with closing(
                sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)
            ) as connection:
                for row in connection.execute(_LINES, (number,)):
                    yield dict(zip(_NAMES, row, strict=True))
        except sqlite3.Error as error:
            raise _failure(f"the order journal {self.path} cannot be read: {error}", error) from error


def _failure(found: str, error: sqlite3.Error) -> PipelineError:
    # The primary code is the low byte; the rest says where inside SQLite it arose.
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in _PASSING:
        return DependencyUnavailable(f"{found}; try again")
    return DataError(f"{found}; restore it from a copy")
