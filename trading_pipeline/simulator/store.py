"""The state of the simulated broker in one SQLite file (WAL), so that it survives a restart.

Decimals are kept as text, sessions as ISO dates, instants as ISO UTC text of
one fixed length, so that text order is time order.
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence, Set
from dataclasses import fields
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.simulator.records import (
    OPEN_STATUSES,
    ActivityFilter,
    Execution,
    Order,
    OrderFilter,
    OrderType,
    Position,
    Side,
    Status,
)

Record = TypeVar("Record", Order, Execution, Position)

FILE_NAME = "simulator.db"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS orders (
    sequence INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, client_order_id TEXT UNIQUE NOT NULL,
    symbol TEXT NOT NULL, side TEXT NOT NULL, type TEXT NOT NULL, quantity TEXT, notional TEXT, limit_price TEXT,
    extended_hours TEXT NOT NULL, reserved TEXT NOT NULL, session TEXT NOT NULL, status TEXT NOT NULL,
    submitted_at TEXT NOT NULL, updated_at TEXT NOT NULL, filled_quantity TEXT NOT NULL, filled_price TEXT,
    filled_at TEXT, canceled_at TEXT, expired_at TEXT, failed_at TEXT
);
CREATE INDEX IF NOT EXISTS orders_by_status ON orders (status);
CREATE TABLE IF NOT EXISTS execution (
    sequence INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, order_id TEXT NOT NULL REFERENCES orders (id),
    client_order_id TEXT NOT NULL, symbol TEXT NOT NULL, side TEXT NOT NULL, quantity TEXT NOT NULL,
    price TEXT NOT NULL, amount TEXT NOT NULL, at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS position (
    symbol TEXT PRIMARY KEY, quantity TEXT NOT NULL, cost_basis TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS halt (symbol TEXT, session TEXT, PRIMARY KEY (symbol, session)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS closing_equity (session TEXT PRIMARY KEY, equity TEXT NOT NULL) WITHOUT ROWID;
"""
_DECIMALS = frozenset(
    {"quantity", "notional", "limit_price", "reserved", "filled_quantity", "filled_price", "price", "amount"}
    | {"cost_basis"}
)
_INSTANTS = frozenset({"submitted_at", "updated_at", "filled_at", "canceled_at", "expired_at", "failed_at", "at"})
_READERS: dict[str, Any] = {
    **dict.fromkeys(_DECIMALS, Decimal),
    **dict.fromkeys(_INSTANTS, datetime.fromisoformat),
    "session": date.fromisoformat,
    "side": Side,
    "type": OrderType,
    "status": Status,
    "extended_hours": "True".__eq__,
}


class Store:
    """Orders, executions, positions and settings; one thread at a time."""

    def __init__(self, folder: Path) -> None:
        """Open the state in ``folder``, or start one there.

        Raises:
            InvalidInput: the folder cannot be written.
        """
        path = folder / FILE_NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._connection.row_factory = sqlite3.Row
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.executescript(_SCHEMA)
            path.chmod(0o600)
        except (OSError, sqlite3.Error) as failure:
            raise InvalidInput(f"the state folder {folder} cannot be used: {failure}") from failure

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Keep all changes made inside, or none of them; transactions do not nest."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def setting(self, name: str) -> str | None:
        """Return the text kept under ``name``, or None."""
        row = self._connection.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row["value"])

    def keep_setting(self, name: str, value: str) -> None:
        """Keep ``value`` under ``name``."""
        self._connection.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", (name, value))

    def instant(self, name: str) -> datetime | None:
        """Return the UTC instant kept under ``name``, or None."""
        text = self.setting(name)
        return None if text is None else datetime.fromisoformat(text)

    def keep_instant(self, name: str, instant: datetime) -> None:
        """Keep ``instant`` under ``name``."""
        self.keep_setting(name, _text(instant) or "")

    @property
    def cash(self) -> Decimal:
        """Dollars in the account, whole cents."""
        return Decimal(self.setting("cash") or 0)

    @cash.setter
    def cash(self, amount: Decimal) -> None:
        self.keep_setting("cash", str(amount))

    def add_order(self, order: Order) -> None:
        """Add an order whose ids are new."""
        self._insert("orders", order)

    def keep_order(self, order: Order) -> None:
        """Replace the order of the same id."""
        columns = [field.name for field in fields(order)]
        assignments = ", ".join(f"{column} = ?" for column in columns)
        values = [_text(getattr(order, column)) for column in columns]
        self._connection.execute(f"UPDATE orders SET {assignments} WHERE id = ?", (*values, order.id))  # noqa: S608 - columns are our own

    def order_count(self) -> int:
        """Return how many orders there ever were."""
        return int(self._connection.execute("SELECT count(*) FROM orders").fetchone()[0])

    def order(self, order_id: str) -> Order | None:
        """Return the order of that id, or None."""
        return self._one(Order, "SELECT * FROM orders WHERE id = ?", order_id)

    def order_by_client_id(self, client_order_id: str) -> Order | None:
        """Return the order of that client id, or None."""
        return self._one(Order, "SELECT * FROM orders WHERE client_order_id = ?", client_order_id)

    def open_orders(self) -> Sequence[Order]:
        """Return the orders to which anything can still happen, oldest first."""
        marks = ", ".join("?" for _ in OPEN_STATUSES)
        query = f"SELECT * FROM orders WHERE status IN ({marks}) ORDER BY sequence"  # noqa: S608 - only marks vary
        return self._all(Order, query, *OPEN_STATUSES)

    def orders(self, wanted: OrderFilter) -> Sequence[Order]:
        """Return the orders that match, by submission."""
        every = self._all(Order, "SELECT * FROM orders ORDER BY sequence")
        found = [order for order in every if _matches(order, wanted)]
        return (found if wanted.ascending else found[::-1])[: wanted.limit]

    def add_execution(self, execution: Execution) -> None:
        """Add an execution."""
        self._insert("execution", execution)

    def executions(self) -> Sequence[Execution]:
        """Return every execution, oldest first."""
        return self._all(Execution, "SELECT * FROM execution ORDER BY sequence")

    def activities(self, wanted: ActivityFilter) -> Sequence[Execution]:
        """Return one page of the executions that match, oldest or newest first."""
        found = [
            execution
            for execution in self.executions()
            if (wanted.after is None or execution.at > wanted.after)
            and (wanted.until is None or execution.at < wanted.until)
        ]
        ordered = found if wanted.ascending else found[::-1]
        seen = [place for place, execution in enumerate(ordered, 1) if execution.id == wanted.after_id]
        start = seen[0] if seen else 0
        return ordered[start : start + wanted.page_size]

    def positions(self) -> Sequence[Position]:
        """Return every position, by symbol."""
        return self._all(Position, "SELECT * FROM position ORDER BY symbol")

    def position(self, symbol: str) -> Position | None:
        """Return the position in ``symbol``, or None."""
        return self._one(Position, "SELECT * FROM position WHERE symbol = ?", symbol)

    def keep_position(self, position: Position) -> None:
        """Replace the position in its symbol; one without shares is removed."""
        self._connection.execute("DELETE FROM position WHERE symbol = ?", (position.symbol,))
        if position.quantity:
            self._insert("position", position)

    def halts(self) -> Set[tuple[str, date]]:
        """Return the symbols and sessions that were halted by hand."""
        rows = self._connection.execute("SELECT symbol, session FROM halt")
        return {(row["symbol"], date.fromisoformat(row["session"])) for row in rows}

    def add_halt(self, symbol: str, session: date) -> None:
        """Halt ``symbol`` for the whole of ``session``."""
        self._connection.execute("INSERT OR IGNORE INTO halt VALUES (?, ?)", (symbol, session.isoformat()))

    def keep_closing_equity(self, session: date, equity: Decimal) -> None:
        """Keep the account's equity at the close of ``session``."""
        self._connection.execute(
            "INSERT OR REPLACE INTO closing_equity VALUES (?, ?)", (session.isoformat(), str(equity))
        )

    def closing_equity(self, before: date) -> Decimal | None:
        """Return the equity at the newest close before the day ``before``, or None."""
        query = "SELECT equity FROM closing_equity WHERE session < ? ORDER BY session DESC LIMIT 1"
        row = self._connection.execute(query, (before.isoformat(),)).fetchone()
        return None if row is None else Decimal(row["equity"])

    def _insert(self, table: str, record: Record) -> None:
        columns = [field.name for field in fields(record)]
        marks = ", ".join("?" for _ in columns)
        values = [_text(getattr(record, column)) for column in columns]
        query = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 - names are our own
        self._connection.execute(query, values)

    def _one(self, kind: type[Record], query: str, *values: str) -> Record | None:
        found = self._all(kind, query, *values)
        return found[0] if found else None

    def _all(self, kind: type[Record], query: str, *values: str) -> list[Record]:
        names = [field.name for field in fields(kind)]
        rows = self._connection.execute(query, values).fetchall()
        return [kind(**{name: _value(name, row[name]) for name in names}) for row in rows]


def _matches(order: Order, wanted: OrderFilter) -> bool:
    return (
        (wanted.is_open is None or order.status.is_open is wanted.is_open)
        and (wanted.after is None or order.submitted_at > wanted.after)
        and (wanted.until is None or order.submitted_at < wanted.until)
        and (not wanted.symbols or order.symbol in wanted.symbols)
        and (wanted.side is None or order.side is wanted.side)
    )


def _text(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    return value.value if isinstance(value, StrEnum) else str(value)


def _value(name: str, text: str | None) -> Any:  # noqa: ANN401 - the kind depends on the column
    return None if text is None else _READERS.get(name, str)(text)
