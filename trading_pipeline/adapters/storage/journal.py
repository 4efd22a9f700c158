"""The journal of orders: what was intended and attempted, on disk before the first byte leaves.

SQLite in WAL mode with full synchronisation: a row is on the disk when a call
returns, and any number of processes on one machine may share the file. Lines
that several threads want to write at once share one synchronisation.
"""

import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

from trading_pipeline.adapters.clocks import WallClock
from trading_pipeline.adapters.storage.sqlite_files import create_once
from trading_pipeline.domain.errors import AlreadyEnded, DataError, DependencyUnavailable, InvalidInput, PipelineError
from trading_pipeline.domain.orders import OrderIntent, Plan
from trading_pipeline.ports import Attempt, IntentState, JournalEntry

BUSY_SECONDS = 10.0

_TABLES = """
CREATE TABLE IF NOT EXISTS claims (
    account_number TEXT NOT NULL,
    session TEXT NOT NULL,
    plan_id TEXT NOT NULL,
    claimed_at TEXT NOT NULL,
    PRIMARY KEY (account_number, session)
);
CREATE TABLE IF NOT EXISTS intents (
    client_order_id TEXT PRIMARY KEY,
    plan_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL,
    quantity TEXT NOT NULL,
    order_type TEXT NOT NULL,
    limit_price TEXT,
    reference_price TEXT NOT NULL,
    time_in_force TEXT NOT NULL,
    reason TEXT NOT NULL,
    account_number TEXT NOT NULL DEFAULT '',
    session TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS intents_of_plan ON intents (plan_id, sequence);
CREATE TABLE IF NOT EXISTS events (
    event INTEGER PRIMARY KEY,
    client_order_id TEXT NOT NULL REFERENCES intents (client_order_id),
    state TEXT NOT NULL,
    detail TEXT NOT NULL,
    recorded_at TEXT NOT NULL,
    order_id TEXT NOT NULL DEFAULT '',
    written_at TEXT NOT NULL DEFAULT '',
    mid TEXT
);
CREATE INDEX IF NOT EXISTS events_of_intent ON events (client_order_id, event);
"""
# Journals of version 0 knew one order for each intent, and no time of writing.
SCHEMA_VERSION = 1
_FROM_VERSION_0 = (
    "ALTER TABLE events ADD COLUMN order_id TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE events ADD COLUMN written_at TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE events ADD COLUMN mid TEXT",
    "UPDATE events SET order_id = client_order_id, written_at = recorded_at",
    "ALTER TABLE intents ADD COLUMN account_number TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE intents ADD COLUMN session TEXT NOT NULL DEFAULT ''",
    "UPDATE intents SET (account_number, session) = "
    "(SELECT account_number, session FROM claims WHERE claims.plan_id = intents.plan_id)",
)
_ENTRIES = """
SELECT intents.client_order_id, plan_id, state, detail, recorded_at, order_id, written_at, account_number, session,
    mid, event
FROM intents JOIN events USING (client_order_id)
"""
_IS_LATEST = """event = (
    SELECT MAX(event) FROM events AS any_event WHERE any_event.client_order_id = intents.client_order_id
)"""
_OF_PLAN = "WHERE plan_id = ?1 AND (?2 IS NULL OR account_number = ?2)"
_IN_PLAN_ORDER = "ORDER BY sequence, intents.client_order_id"
_A_PERSON_MUST_ACT = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM})
# SQLITE_ERROR means that a table is missing: the file belongs to something else.
_DAMAGED = frozenset({sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR})


@dataclass(eq=False)
class _Line:
    """A line that somebody waits for, and what became of it: None until then."""

    client_order_id: str
    state: IntentState
    detail: str
    at: datetime
    told: Attempt
    outcome: bool | PipelineError | None = None

    def row(self, written: datetime) -> tuple[str | None, ...]:
        # Half of a pair of signs, as JSON can spell it, is no text that a file takes.
        detail = self.detail.encode("utf-8", "replace").decode()
        mid = None if self.told.mid is None else str(self.told.mid)
        return (
            self.client_order_id,
            self.state.value,
            detail,
            _text(self.at),
            self.told.order_id,
            _text(written),
            mid,
        )


class SqliteJournal:
    """The journal in one SQLite file; no two calls share a connection at once, so threads may share the object.

    Raises, from every method:
        InvalidInput: the file cannot be opened or written.
        DependencyUnavailable: the disk fails or is full, or another process holds the file for too long.
        DataError: the file is damaged, or the call contradicts what it holds.
    """

    def __init__(self, path: Path, machine_time: Callable[[], datetime] | None = None) -> None:
        """Keep the journal at ``path``; file and folder are created at the first call.

        ``machine_time`` tells when a line is written; it is this machine's clock where not given.
        """
        self._path = path
        self._machine_time = machine_time or WallClock().now
        self._idle: list[tuple[int, sqlite3.Connection]] = []
        self._writing = threading.Lock()
        self._waiting: list[_Line] = []
        weakref.finalize(self, _close_all, self._idle)

    def claim(self, plan: Plan, at: datetime) -> str:
        """Journal every intent of ``plan`` at once, unless another plan of its account and session was.

        A liquidation is beside the session's plan: it is refused for another one of the same number only.
        Returns the id of the plan that holds the session from now on: this one, or the earlier.

        Raises:
            InvalidInput: the plan is hypothetical, which is never executed.
        """
        if plan.hypothetical:
            raise InvalidInput(f"plan {plan.plan_id} is hypothetical: it can never be executed, so never be journalled")
        with self._writing, self._transaction() as connection:
            holder = _holder(connection, plan.account_number, _claim_of(plan))
            if holder is not None:
                return holder
            _insert_plan(connection, plan, _text(at), _text(self._machine_time()))
            return plan.plan_id

    def claimed(self, account_number: str, session: date, liquidation: int | None = None) -> str | None:
        """Return the id of the plan that holds the session, or that liquidation of it, if one does."""
        with self._connection() as connection:
            return _holder(connection, account_number, _claim(session, liquidation))

    def record(
        self, client_order_id: str, state: IntentState, detail: str, at: datetime, attempt: Attempt | None = None
    ) -> bool:
        """Append where an intent stands now; durable when this returns.

        Without an ``attempt`` the line speaks of the order that bears the intent's own id. Tells whether the line
        was written, which it is not where another came after the one that was expected.

        What was given up or rejected may turn up at the broker after all: it is then acknowledged.

        Raises:
            AlreadyEnded: the intent has ended in another state.
            DataError: the intent was never claimed.
        """
        line = _Line(client_order_id, state, detail, at, attempt or Attempt(client_order_id))
        try:
            self._waiting.append(line)
            with self._writing:
                if line.outcome is None:
                    self._write_with_others(line)
        finally:
            self._waiting.remove(line)
        if isinstance(line.outcome, PipelineError):
            raise line.outcome
        return line.outcome is True

    def _write_with_others(self, own: _Line) -> None:
        # Whoever comes first writes for those who wait meanwhile: the disk is synchronised once for all of them.
        # A copy, since those who were written for take their lines away at any time.
        others = [line for line in self._waiting.copy() if line is not own and line.outcome is None]
        try:
            self._write([own, *others])
        except DependencyUnavailable as failure:
            # The disk is full, or the file held: for all of them, and none waits for its turn to hear it.
            for line in others:
                line.outcome = DependencyUnavailable(str(failure))
            raise
        except Exception:
            if not others:
                raise
            # Whose line it was hears of it: the others try again by themselves.
            self._write([own])

    def _write(self, lines: Sequence[_Line]) -> None:
        with self._transaction() as connection:
            outcomes = [_written(connection, line, self._machine_time()) for line in lines]
        for line, outcome in zip(lines, outcomes, strict=True):
            line.outcome = outcome

    def entries(self, plan_id: str, account_number: str | None = None) -> Sequence[JournalEntry]:
        """Return the latest entry of each intent of an account's plan, in the plan's order; without one, of any's.

        Plans of two accounts that follow one another may bear one id.
        """
        return self._entries(f"{_OF_PLAN} AND {_IS_LATEST} {_IN_PLAN_ORDER}", plan_id, account_number)

    def history(self, plan_id: str, account_number: str | None = None) -> Sequence[JournalEntry]:
        """Return every entry of an account's plan, oldest first; without one, of any account's."""
        return self._entries(f"{_OF_PLAN} ORDER BY event", plan_id, account_number)

    def unfinished(self) -> Sequence[JournalEntry]:
        """Return the latest entry of each intent, of whichever plan, that has not ended."""
        ended = [state.value for state in IntentState if state.is_terminal]
        marks = ", ".join("?" for _ in ended)
        return self._entries(f"WHERE state NOT IN ({marks}) AND {_IS_LATEST} {_IN_PLAN_ORDER}", *ended)

    def _entries(self, condition: str, *values: str | None) -> Sequence[JournalEntry]:
        with self._connection() as connection:
            return [_entry(row) for row in connection.execute(_ENTRIES + condition, values)]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        # SQLite lets those who find the file locked sleep, ever longer; the threads of one process take turns before.
        with self._connection() as connection:
            # IMMEDIATE takes the write lock before the first read: what was read still holds at the commit.
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                # On a full disk SQLite has rolled back by itself; its own word is the one that counts.
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with self._classified():
            file, connection = self._borrowed()
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
            self._idle.append((file, connection))

    def _borrowed(self) -> tuple[int, sqlite3.Connection]:
        """Return an idle connection, or a new one, and the number of its file.

        A connection to a file that was moved away would write where nobody reads.
        """
        file = self._file()
        # Other threads borrow too: whether there is one is known by taking it.
        with suppress(IndexError):
            while True:
                number, connection = self._idle.pop()
                if number == file:
                    return file, connection
                connection.close()
        return file, _connected(self._path)

    def _file(self) -> int:
        """Return the number of the file, which is made if it is not there."""
        try:
            return self._path.stat().st_ino
        except FileNotFoundError:
            create_once(self._path, _connected, _make, wait=-1)
            return self._path.stat().st_ino

    @contextmanager
    def _classified(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _failure(self._path, error) from error
        except OSError as error:
            raise InvalidInput(
                f"{error.filename or self._path}: {error.strerror or error}; name a folder that this user may write"
            ) from error


def _close_all(idle: list[tuple[int, sqlite3.Connection]]) -> None:
    while idle:
        idle.pop()[1].close()


def _make(connection: sqlite3.Connection) -> None:
    connection.executescript(_TABLES)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        for pragma in ("synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")
        _upgrade(connection)
    except (sqlite3.Error, DataError):
        connection.close()
        raise
    return connection


def _upgrade(connection: sqlite3.Connection) -> None:
    """Bring a journal of an earlier version up to date; one that is being made has no tables yet."""
    version = _version(connection)
    if version > SCHEMA_VERSION:
        raise DataError(f"the order journal has version {version}, this code knows {SCHEMA_VERSION}: upgrade it")
    if version == SCHEMA_VERSION or not _has_tables(connection):
        return
    connection.execute("BEGIN IMMEDIATE")
    # Read anew under the lock: another process may have done it meanwhile.
    if _version(connection) == version:
        for statement in (*_FROM_VERSION_0, f"PRAGMA user_version = {SCHEMA_VERSION}"):
            connection.execute(statement)
    connection.execute("COMMIT")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _has_tables(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'events'").fetchone() is not None


def _failure(path: Path, error: sqlite3.Error) -> PipelineError:
    found = f"the order journal {path}: {error}"
    # The primary code is the low byte; the rest says where inside SQLite it arose.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _A_PERSON_MUST_ACT:
        return InvalidInput(f"{found}; name a file that this user may write")
    if code in _DAMAGED:
        return DataError(f"{found}; move it and its -wal and -shm away: its intents are then asked of the broker")
    if isinstance(error, sqlite3.IntegrityError):
        return DataError(f"{found}; two plans hold one intent")
    return DependencyUnavailable(f"{found}; free space or end the process that holds it, then try again")


def _claim(session: date, liquidation: int | None) -> str:
    """Return what is claimed: the session itself, or one liquidation of it, which does not take the session away."""
    return session.isoformat() if liquidation is None else f"{session.isoformat()} liquidation {liquidation}"


def _claim_of(plan: Plan) -> str:
    return _claim(plan.session, plan.liquidation)


def _holder(connection: sqlite3.Connection, account_number: str, claim: str) -> str | None:
    row = connection.execute(
        "SELECT plan_id FROM claims WHERE account_number = ? AND session = ?", (account_number, claim)
    ).fetchone()
    return None if row is None else str(row[0])


def _latest(connection: sqlite3.Connection, client_order_id: str) -> tuple[int, IntentState]:
    row = connection.execute(
        "SELECT event, state FROM events WHERE client_order_id = ? ORDER BY event DESC LIMIT 1", (client_order_id,)
    ).fetchone()
    if row is None:
        raise DataError(f"intent {client_order_id} is not in the journal: claim its plan before recording anything")
    return int(row[0]), IntentState(row[1])


def _written(connection: sqlite3.Connection, line: _Line, now: datetime) -> bool | PipelineError:
    """Write the line and return True, or return False or the error for which it must not be written."""
    try:
        number, before = _latest(connection, line.client_order_id)
    except DataError as unclaimed:
        return unclaimed
    if line.told.expecting is not None and line.told.expecting.number != number:
        return False
    if before.is_terminal and line.state is not before and not _turned_up(before, line.state):
        return AlreadyEnded(
            f"intent {line.client_order_id} ended {before.value}, it cannot become {line.state.value}: "
            "compare the journal with the broker's order"
        )
    _append(connection, line.row(now))
    return True


def _turned_up(before: IntentState, state: IntentState) -> bool:
    return state is IntentState.ACKNOWLEDGED and before in {IntentState.ABANDONED, IntentState.REJECTED}


def _entry(row: Sequence[str]) -> JournalEntry:
    client_order_id, plan_id, state, detail, recorded_at, order_id, written_at, account, session, mid, number = row
    return JournalEntry(
        client_order_id=client_order_id,
        plan_id=plan_id,
        state=IntentState(state),
        detail=detail,
        recorded_at=datetime.fromisoformat(recorded_at),
        order_id=order_id,
        written_at=datetime.fromisoformat(written_at),
        account_number=account,
        session=date.fromisoformat(session),
        mid=None if mid is None else Decimal(mid),
        number=int(number),
    )


def _insert_plan(connection: sqlite3.Connection, plan: Plan, at: str, written: str) -> None:
    connection.execute(
        "INSERT INTO claims VALUES (?, ?, ?, ?)", (plan.account_number, _claim_of(plan), plan.plan_id, at)
    )
    for intent in plan.orders:
        connection.execute(
            "INSERT INTO intents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", _intent_row(plan, intent)
        )
        name = intent.client_order_id
        _append(connection, (name, IntentState.PLANNED.value, "", at, name, written, None))


def _intent_row(plan: Plan, intent: OrderIntent) -> tuple[str | int | None, ...]:
    return (
        intent.client_order_id,
        plan.plan_id,
        intent.sequence,
        intent.symbol,
        intent.side.value,
        str(intent.quantity),
        intent.order_type.value,
        None if intent.limit_price is None else str(intent.limit_price),
        str(intent.reference_price),
        intent.time_in_force.value,
        intent.reason,
        plan.account_number,
        plan.session.isoformat(),
    )


def _append(connection: sqlite3.Connection, event: tuple[str | None, ...]) -> None:
    connection.execute(
        "INSERT INTO events (client_order_id, state, detail, recorded_at, order_id, written_at, mid) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        event,
    )


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()
