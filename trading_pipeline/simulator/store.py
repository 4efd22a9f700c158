"""The state of the simulated broker in one SQLite file (WAL), so that it survives a restart.

Whole records are kept as JSON. What is asked for often (orders, executions,
positions) is also held in memory, which the single process that may use the
file keeps equal to it: a change that was not kept is forgotten there too.
"""

import contextlib
import sqlite3
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from trading_pipeline.domain.errors import DependencyUnavailable, InvalidInput
from trading_pipeline.simulator.records import (
    ZERO,
    AccountFlags,
    ActivityFilter,
    Event,
    Execution,
    Movement,
    Order,
    OrderFilter,
    Position,
    Side,
)

FILE_NAME = "simulator.db"
_VERSION = 2
_SCHEMA = """
CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS orders (
    account INTEGER, sequence INTEGER, id TEXT NOT NULL, client_order_id TEXT NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (account, sequence), UNIQUE (account, client_order_id)
);
CREATE TABLE IF NOT EXISTS execution (
    account INTEGER, sequence INTEGER, id TEXT UNIQUE NOT NULL, body TEXT NOT NULL, PRIMARY KEY (account, sequence)
);
CREATE TABLE IF NOT EXISTS movement (
    account INTEGER, sequence INTEGER, body TEXT NOT NULL, PRIMARY KEY (account, sequence)
);
CREATE TABLE IF NOT EXISTS event (
    account INTEGER, sequence INTEGER, body TEXT NOT NULL, PRIMARY KEY (account, sequence)
);
CREATE TABLE IF NOT EXISTS position (account INTEGER, symbol TEXT, body TEXT NOT NULL, PRIMARY KEY (account, symbol));
CREATE TABLE IF NOT EXISTS closing_equity (
    account INTEGER, session TEXT, equity TEXT NOT NULL, PRIMARY KEY (account, session)
);
"""
_ACCOUNT_TABLES = ("orders", "execution", "movement", "event", "position", "closing_equity")
_ORDER = TypeAdapter(Order)
_EXECUTION = TypeAdapter(Execution)
_MOVEMENT = TypeAdapter(Movement)
_POSITION = TypeAdapter(Position)
_EVENT = TypeAdapter(Event)
_FLAGS = TypeAdapter(AccountFlags)


class StateNotWritten(DependencyUnavailable):
    """The state could not be written; nothing of the change was kept."""


class Database:
    """The file: transactions, and settings by name; one thread at a time."""

    def __init__(self, folder: Path) -> None:
        """Open the file in ``folder``, or start one there.

        Raises:
            InvalidInput: the folder cannot be written, or holds the state of another version.
        """
        path = folder / FILE_NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode=WAL")
            # The state outlives this process, which may be killed; it need not outlive the machine.
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._prepare(folder)
            path.chmod(0o600)
        except (OSError, sqlite3.Error) as failure:
            raise InvalidInput(f"the state folder {folder} cannot be used: {failure}") from failure
        self._writes = 0
        self._forget: list[Callable[[], None]] = []
        self._tell: list[Callable[[], None]] = []

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def on_rollback(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` whenever changes were undone."""
        self._forget.append(callback)

    def on_commit(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` whenever changes were kept."""
        self._tell.append(callback)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Keep all changes made inside, or none of them; one inside another is part of it.

        Raises:
            StateNotWritten: the file cannot be written.
        """
        if self._connection.in_transaction:
            yield
            return
        self._writes = 0
        self._connection.execute("BEGIN")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException as failure:
            self._undo()
            if isinstance(failure, sqlite3.Error):
                raise StateNotWritten(f"the state cannot be written: {failure}") from failure
            raise
        if self._writes:
            for callback in self._tell:
                callback()

    def write(self, query: str, *values: object) -> None:
        """Change something."""
        self._writes += 1
        self._connection.execute(query, values)

    def read(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of ``query``."""
        return self._connection.execute(query, values).fetchall()

    def refuse_writing(self, *, refused: bool) -> None:
        """Fail every change from now on, as a full disk does, or let changes be kept again."""
        self._connection.execute(f"PRAGMA query_only = {'ON' if refused else 'OFF'}")

    def _prepare(self, folder: Path) -> None:
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        is_new = not self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if not is_new and version != _VERSION:
            raise InvalidInput(
                f"the state folder {folder} holds an account of another version of the simulator; "
                "start with another state folder"
            )
        self._connection.executescript(_SCHEMA)
        self._connection.execute(f"PRAGMA user_version = {_VERSION}")

    def _undo(self) -> None:
        self._connection.rollback()
        if self._writes:
            for callback in self._forget:
                callback()


class Store:
    """Settings, orders, executions, movements, positions and events of one account; one thread at a time."""

    def __init__(self, place: "Path | Database", account: int = 1) -> None:
        """Open the account of that number in a folder, or in a file that is open already.

        Raises:
            InvalidInput: the folder cannot be written, or holds the state of another version.
        """
        self._database = place if isinstance(place, Database) else Database(place)
        self._account = account
        self._listeners: list[Callable[[Event], None]] = []
        self._untold: list[Event] = []
        self._load()
        self._database.on_rollback(self._load)
        self._database.on_commit(self._tell)

    def close(self) -> None:
        """Close the file, for all accounts in it."""
        self._database.close()

    def further(self, account: int) -> "Store":
        """Return the account of that number in the same file."""
        return Store(self._database, account)

    def transaction(self) -> contextlib.AbstractContextManager[None]:
        """Keep all changes made inside, or none of them, whichever account they are of."""
        return self._database.transaction()

    def refuse_writing(self, *, refused: bool) -> None:
        """Fail every change from now on, as a full disk does, or let changes be kept again."""
        self._database.refuse_writing(refused=refused)

    def setting(self, name: str) -> str | None:
        """Return the text kept under ``name``, or None."""
        return self._settings.get(name)

    def keep_setting(self, name: str, value: str) -> None:
        """Keep ``value`` under ``name``."""
        self._database.write("INSERT OR REPLACE INTO setting VALUES (?, ?)", f"{self._account}/{name}", value)
        self._settings[name] = value

    def instant(self, name: str) -> datetime | None:
        """Return the UTC instant kept under ``name``, or None."""
        text = self.setting(name)
        return None if text is None else datetime.fromisoformat(text)

    def keep_instant(self, name: str, instant: datetime) -> None:
        """Keep ``instant`` under ``name``."""
        self.keep_setting(name, instant.isoformat(timespec="microseconds"))

    @property
    def cash(self) -> Decimal:
        """Dollars in the account, whole cents."""
        return Decimal(self.setting("cash") or 0)

    @cash.setter
    def cash(self, amount: Decimal) -> None:
        self.keep_setting("cash", str(amount))

    @property
    def flags(self) -> AccountFlags:
        """What stops the account from trading."""
        text = self.setting("flags")
        return AccountFlags() if text is None else _FLAGS.validate_json(text)

    @flags.setter
    def flags(self, flags: AccountFlags) -> None:
        self.keep_setting("flags", _FLAGS.dump_json(flags).decode())

    def add_order(self, order: Order) -> None:
        """Add an order whose ids are new."""
        body = _ORDER.dump_json(order).decode()
        self._database.write(
            "INSERT INTO orders VALUES (?, ?, ?, ?, ?)",
            *(self._account, len(self._orders) + 1, order.id, order.client_order_id, body),
        )
        self._take(order)

    def keep_order(self, order: Order) -> None:
        """Replace the order of the same id."""
        self._database.write(
            "UPDATE orders SET body = ? WHERE account = ? AND sequence = ?",
            *(_ORDER.dump_json(order).decode(), self._account, self._sequences[order.id]),
        )
        self._take(order)

    def order_count(self) -> int:
        """Return how many orders there ever were."""
        return len(self._orders)

    def order(self, order_id: str) -> Order | None:
        """Return the order of that id, or None."""
        return self._orders.get(order_id)

    def order_by_client_id(self, client_order_id: str) -> Order | None:
        """Return the order of that client id, or None."""
        order_id = self._by_client_id.get(client_order_id)
        return None if order_id is None else self._orders[order_id]

    def open_orders(self, symbol: str | None = None) -> Sequence[Order]:
        """Return the orders to which anything can still happen, oldest first: all, or those in ``symbol``."""
        chosen = self._open if symbol is None else self._open_in.get(symbol, {})
        return list(chosen.values())

    def reserved_cash(self) -> Decimal:
        """Return the dollars that open buys hold back."""
        return self._reserved_cash

    def reserved_shares(self, symbol: str) -> Decimal:
        """Return the shares that open sells of ``symbol`` hold back."""
        return self._reserved_shares.get(symbol, ZERO)

    def orders(self, wanted: OrderFilter) -> Sequence[Order]:
        """Return the orders that match, by submission."""
        found = (order for order in self._candidates(wanted) if _matches(order, wanted))
        return list(islice(found, wanted.limit))

    def add_execution(self, execution: Execution) -> None:
        """Add an execution."""
        sequence = len(self._executions) + 1
        body = _EXECUTION.dump_json(execution).decode()
        self._database.write("INSERT INTO execution VALUES (?, ?, ?, ?)", self._account, sequence, execution.id, body)
        self._executions.append(execution)
        self._add_activity(execution)

    def executions(self) -> Sequence[Execution]:
        """Return every execution, oldest first."""
        return list(self._executions)

    def add_movement(self, movement: Movement) -> None:
        """Add a movement of cash."""
        sequence, body = len(self._activities) + 1, _MOVEMENT.dump_json(movement).decode()
        self._database.write("INSERT INTO movement VALUES (?, ?, ?)", self._account, sequence, body)
        self._add_activity(movement)

    def activity_count(self) -> int:
        """Return how many executions and movements there ever were."""
        return len(self._activities)

    def activities(self, wanted: ActivityFilter) -> Sequence[Execution | Movement]:
        """Return one page of the executions and movements that match, oldest or newest first."""
        first, last = _between(self._activities, wanted.after, wanted.until, key=lambda row: row.at)
        seen = self._place_of_activity.get(wanted.after_id or "")
        if seen is not None:
            first, last = (max(first, seen + 1), last) if wanted.ascending else (first, min(last, seen))
        places = range(first, last) if wanted.ascending else reversed(range(first, last))
        found = (self._activities[place] for place in places)
        return list(islice((row for row in found if row.kind in wanted.kinds), wanted.page_size))

    def _add_activity(self, activity: Execution | Movement) -> None:
        self._place_of_activity[activity.id] = len(self._activities)
        self._activities.append(activity)

    def add_event(self, kind: str, order: Order, execution: Execution | None = None) -> None:
        """Note that something happened to ``order``; listeners are told once it is kept."""
        held = self._positions.get(order.symbol)
        event = Event(
            sequence=self._event_count + 1,
            kind=kind,
            at=order.updated_at,
            order=order,
            position=held.quantity if held else ZERO,
            execution=execution,
        )
        self._database.write(
            "INSERT INTO event VALUES (?, ?, ?)", self._account, event.sequence, _EVENT.dump_json(event).decode()
        )
        self._event_count += 1
        self._untold.append(event)

    def event_count(self) -> int:
        """Return how many events there ever were."""
        return self._event_count

    def events(self, after: int = 0) -> Sequence[Event]:
        """Return the events later than the one of that sequence number, oldest first."""
        query = "SELECT body FROM event WHERE account = ? AND sequence > ? ORDER BY sequence"
        return [_EVENT.validate_json(body) for (body,) in self._database.read(query, self._account, after)]

    def listen(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Call ``listener`` with each event once it is kept; return what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def positions(self) -> Sequence[Position]:
        """Return every position, by symbol."""
        return [position for _, position in sorted(self._positions.items())]

    def position(self, symbol: str) -> Position | None:
        """Return the position in ``symbol``, or None."""
        return self._positions.get(symbol)

    def keep_position(self, position: Position) -> None:
        """Replace the position in its symbol; one without shares is removed."""
        self._database.write("DELETE FROM position WHERE account = ? AND symbol = ?", self._account, position.symbol)
        self._positions.pop(position.symbol, None)
        if position.quantity:
            body = _POSITION.dump_json(position).decode()
            self._database.write("INSERT INTO position VALUES (?, ?, ?)", self._account, position.symbol, body)
            self._positions[position.symbol] = position

    def keep_closing_equity(self, session: date, equity: Decimal) -> None:
        """Keep the account's equity at the close of ``session``."""
        self._database.write(
            "INSERT OR REPLACE INTO closing_equity VALUES (?, ?, ?)", self._account, session.isoformat(), str(equity)
        )

    def closing_equity(self, before: date) -> Decimal | None:
        """Return the equity at the newest close before the day ``before``, or None."""
        query = "SELECT equity FROM closing_equity WHERE account = ? AND session < ? ORDER BY session DESC LIMIT 1"
        found = self._database.read(query, self._account, before.isoformat())
        return Decimal(found[0][0]) if found else None

    def clear(self) -> None:
        """Forget the account's orders, executions, events and positions; its settings stay."""
        for table in _ACCOUNT_TABLES:
            self._database.write(f"DELETE FROM {table} WHERE account = ?", self._account)  # noqa: S608 - our own names
        self._load()

    def _candidates(self, wanted: OrderFilter) -> Iterable[Order]:
        if wanted.is_open:
            found = self._open.values()
            return found if wanted.ascending else reversed(found)
        first, last = _between(self._submitted, wanted.after, wanted.until, key=lambda row: row[0])
        rows = self._submitted[first:last] if wanted.ascending else reversed(self._submitted[first:last])
        return (self._orders[order_id] for _, order_id in rows)

    def _take(self, order: Order) -> None:
        before = self._orders.get(order.id)
        self._reserve(order, order.reserved - (before.reserved if before else ZERO))
        if before is None:
            self._sequences[order.id] = len(self._orders) + 1
            self._by_client_id[order.client_order_id] = order.id
            self._submitted.append((order.submitted_at, order.id))
        self._orders[order.id] = order
        for chosen in (self._open, self._open_in.setdefault(order.symbol, {})):
            if order.status.is_open:
                chosen[order.id] = order
            else:
                chosen.pop(order.id, None)

    def _reserve(self, order: Order, more: Decimal) -> None:
        """Keep the sums of what open orders hold back, so that nobody has to add them up for each order."""
        if order.side is Side.BUY:
            self._reserved_cash += more
        else:
            self._reserved_shares[order.symbol] = self.reserved_shares(order.symbol) + more

    def _load(self) -> None:
        """Read into memory what the file holds."""
        prefix = f"{self._account}/"
        settings = self._database.read("SELECT name, value FROM setting WHERE name LIKE ?", f"{prefix}%")
        self._settings: dict[str, str] = {name.removeprefix(prefix): value for name, value in settings}
        self._orders: dict[str, Order] = {}
        self._sequences: dict[str, int] = {}
        self._by_client_id: dict[str, str] = {}
        self._submitted: list[tuple[datetime, str]] = []
        self._open: dict[str, Order] = {}
        self._open_in: dict[str, dict[str, Order]] = {}
        self._reserved_cash = ZERO
        self._reserved_shares: dict[str, Decimal] = {}
        for body in self._bodies("orders"):
            self._take(_ORDER.validate_json(body))
        self._executions = [_EXECUTION.validate_json(body) for body in self._bodies("execution")]
        movements = (_MOVEMENT.validate_json(body) for body in self._bodies("movement"))
        self._activities: list[Execution | Movement] = sorted((*self._executions, *movements), key=lambda row: row.at)
        self._place_of_activity = {row.id: place for place, row in enumerate(self._activities)}
        positions = (_POSITION.validate_json(body) for body in self._bodies("position", by="symbol"))
        self._positions = {position.symbol: position for position in positions}
        count = "SELECT count(*) FROM event WHERE account = ?"
        self._event_count = int(self._database.read(count, self._account)[0][0])
        self._untold.clear()

    def _bodies(self, table: str, by: str = "sequence") -> Iterator[str]:
        query = f"SELECT body FROM {table} WHERE account = ? ORDER BY {by}"  # noqa: S608 - names are our own
        return (body for (body,) in self._database.read(query, self._account))

    def _tell(self) -> None:
        told, self._untold = self._untold, []
        for event in told:
            for listener in tuple(self._listeners):
                listener(event)


def _between(
    rows: Sequence[Any], after: datetime | None, until: datetime | None, key: Callable[[Any], datetime]
) -> tuple[int, int]:
    """Return the places of the rows strictly between two instants; ``rows`` are in order of time."""
    first = 0 if after is None else bisect_right(rows, after, key=key)
    last = len(rows) if until is None else bisect_left(rows, until, key=key)
    return first, max(first, last)


def _matches(order: Order, wanted: OrderFilter) -> bool:
    return (
        (wanted.is_open is None or order.status.is_open is wanted.is_open)
        and (wanted.after is None or order.submitted_at > wanted.after)
        and (wanted.until is None or order.submitted_at < wanted.until)
        and (not wanted.symbols or order.symbol in wanted.symbols)
        and (wanted.side is None or order.side is wanted.side)
    )
