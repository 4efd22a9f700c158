"""Which alert is to go by which channel, which of them was sent, and who is sending it now."""

import hashlib
import sqlite3
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from trading_pipeline.adapters.alerting.database import AlertFile, as_text
from trading_pipeline.domain.errors import DependencyUnavailable
from trading_pipeline.ports import RECOVERED, Alert, Delivery, Severity

MOST_IN_A_DIGEST = 200
_ID_DIGITS = 32
# Rows that are looked at to choose one; what is behind them has its turn later.
_MOST_ROWS = 1_000
# Another process may have read the clock that much later and noted it first; beyond it, the clock was put back.
_CLOCKS_APART = timedelta(minutes=1)
# What was noted in what is the future now was noted before the clock was put back: nothing follows from it.
_IS_FREE = "(due_at <= :now OR changed_at > :ahead) AND (leased_until <= :now OR leased_until > :longest_lease)"
_DUE = f"""
SELECT key, message, is_digest, is_held, attempts, severity FROM deliveries JOIN alerts USING (key)
WHERE channel = :channel AND state IN ('pending', 'failed') AND {_IS_FREE}
ORDER BY severity = 'critical' DESC, alerts.rowid LIMIT {_MOST_ROWS}
"""  # noqa: S608 - our own words
_HOLD = f"""
UPDATE deliveries SET is_held = 1 WHERE channel = :channel AND state = 'pending' AND is_held = 0 AND is_digest = 0
AND {_IS_FREE} AND key IN (SELECT key FROM alerts WHERE severity <> 'critical')
"""  # noqa: S608 - our own words


class DeliveryState(StrEnum):
    """Where one alert stands on one channel; sent alone or in a digest, it is over, and so it is once given up."""

    PENDING = "pending"
    FAILED = "failed"
    SENT = "sent"
    DIGESTED = "digested"
    GIVEN_UP = "given up"


@dataclass(frozen=True)
class DeliveryStatus:
    """What became of one alert on one channel: how often it was sent, and what was answered last."""

    channel: str
    state: DeliveryState
    attempts: int
    answer: str
    changed_at: datetime


class DeliveryLedger:
    """The deliveries of an outbox. Every instant is this machine's, UTC.

    Raises, from every method:
        DependencyUnavailable: the file cannot be used; nothing was changed.
    """

    def __init__(self, file: AlertFile) -> None:
        """Use the tables of ``file``."""
        self._file = file

    def claim(self, channel: str, now: datetime, most: int, window: timedelta, lease: timedelta) -> Delivery | None:
        """Return what is to be sent next by ``channel``, for whoever asked alone as long as the ``lease`` lasts.

        Critical alerts go first, and always. Of the others ``most`` messages
        leave in any ``window``; beyond it they are held, and once there is room
        everything that waits goes as one digest. What was tried before keeps
        its message. None where nothing is due.

        Where the clock was put back, nothing waits for what it showed before:
        neither for an instant noted then, nor for a lease longer than any is,
        nor for room that was taken then.
        """
        values = _values(channel, now, window, lease)
        with self._transaction() as connection:
            room = most - _used(connection, values)
            chosen = _chosen(connection.execute(_DUE, values).fetchall(), has_room=room > 0)
            if chosen is None:
                connection.execute(_HOLD, values)
                return None
            if chosen[0]["is_held"] and len(chosen) > 1 and not chosen[0]["is_digest"]:
                message = _id(connection, *sorted(row["key"] for row in chosen))
                marks = [(message, row["key"], channel) for row in chosen]
                connection.executemany(
                    "UPDATE deliveries SET message = ?, is_digest = 1 WHERE key = ? AND channel = ?", marks
                )
            else:
                message = chosen[0]["message"]
            return _leased(connection, channel, message, as_text(now + lease))

    def sent(self, delivery: Delivery, answer: str, now: datetime) -> None:
        """Note that a message was accepted, and what was answered."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE deliveries SET state = CASE WHEN is_digest THEN 'digested' ELSE 'sent' END, "
                "sent_number = (SELECT MAX(sent_number) + 1 FROM deliveries WHERE channel = :channel), "
                "changed_at = :now, answer = :answer, attempts = attempts + 1, lease = '', leased_until = '' "
                "WHERE channel = :channel AND message = :message",
                {"channel": delivery.channel, "message": delivery.message, "now": as_text(now), "answer": answer},
            )

    def failed(self, delivery: Delivery, answer: str, now: datetime, due_at: datetime | None) -> None:
        """Note that a message was not accepted, why, and when it is tried again; it is given up without an instant."""
        state = DeliveryState.GIVEN_UP if due_at is None else DeliveryState.FAILED
        values = (state.value, as_text(now), answer, as_text(due_at or now))
        with self._transaction() as connection:
            connection.execute(
                "UPDATE deliveries SET state = ?, changed_at = ?, answer = ?, due_at = ?, attempts = attempts + 1, "
                "lease = '', leased_until = '' WHERE channel = ? AND message = ? AND lease = ?",
                (*values, delivery.channel, delivery.message, delivery.lease),
            )

    def put_off(self, channel: str, now: datetime, until: datetime) -> None:
        """Let nothing more go by ``channel`` from ``now`` on, before that instant."""
        values = {"channel": channel, "now": as_text(now), "until": as_text(until), "ahead": _ahead(now)}
        with self._transaction() as connection:
            connection.execute(
                "UPDATE deliveries SET due_at = :until, changed_at = :now WHERE channel = :channel "
                "AND state IN ('pending', 'failed') AND (due_at < :until OR changed_at > :ahead)",
                values,
            )

    def again(self, now: datetime) -> int:
        """Put whatever was not sent down for now, given up or put off, and return how many alerts these are."""
        with self._transaction() as connection:
            return connection.execute(
                "UPDATE deliveries SET due_at = :now, changed_at = :now, "
                "state = CASE state WHEN 'given up' THEN 'failed' ELSE state END "
                "WHERE state IN ('pending', 'failed', 'given up')",
                {"now": as_text(now)},
            ).rowcount

    def last_sent(self, channel: str) -> datetime | None:
        """Return when ``channel`` last accepted something, by the clock of then, which may have been put back since."""
        query = (
            "SELECT changed_at FROM deliveries WHERE channel = ? AND state IN ('sent', 'digested') "
            "ORDER BY sent_number DESC, changed_at DESC LIMIT 1"
        )
        with self._reading() as connection:
            row = connection.execute(query, (channel,)).fetchone()
        return None if row is None else datetime.fromisoformat(row["changed_at"])

    def counts(self) -> Mapping[str, Mapping[DeliveryState, int]]:
        """Return how many alerts stand where, by channel."""
        found: dict[str, dict[DeliveryState, int]] = {}
        query = "SELECT channel, state, COUNT(*) AS n FROM deliveries GROUP BY channel, state ORDER BY channel"
        with self._reading() as connection:
            for row in connection.execute(query):
                found.setdefault(row["channel"], {})[DeliveryState(row["state"])] = row["n"]
        return found

    def status(self, key: str) -> Sequence[DeliveryStatus]:
        """Return where the alert of that key stands on each of its channels."""
        with self._reading() as connection:
            rows = connection.execute("SELECT * FROM deliveries WHERE key = ? ORDER BY channel", (key,)).fetchall()
        return [
            DeliveryStatus(
                row["channel"],
                DeliveryState(row["state"]),
                row["attempts"],
                row["answer"],
                datetime.fromisoformat(row["changed_at"]),
            )
            for row in rows
        ]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._classified(), self._file.transaction() as connection:
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._classified(), self._file.connection() as connection:
            yield connection

    @contextmanager
    def _classified(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise DependencyUnavailable(
                f"the alerts {self._file.path} cannot be used: {error}; free space or move the file away"
            ) from error


def enqueue(connection: sqlite3.Connection, key: str, channels: Collection[str], now: str) -> None:
    """Put an alert down for its channels, due at once, in the transaction that keeps it."""
    message = _id(connection, key)
    connection.executemany(
        "INSERT INTO deliveries (key, channel, state, message, due_at, changed_at) VALUES (?, ?, 'pending', ?, '', ?)",
        [(key, channel, message, now) for channel in sorted(channels)],
    )


def alert_of(row: sqlite3.Row) -> Alert:
    """Return the alert of a row of its table."""
    at = datetime.fromisoformat(row["at"])
    severity = Severity(row["severity"])
    return Alert(row["key"], severity, row["title"], row["text"], at, row["runbook"], row["html"])


def _id(connection: sqlite3.Connection, *keys: str) -> str:
    outbox = connection.execute("SELECT id FROM outbox").fetchone()["id"]
    return hashlib.sha256("\n".join([outbox, *keys]).encode()).hexdigest()[:_ID_DIGITS]


def _ahead(now: datetime) -> str:
    return as_text(now + _CLOCKS_APART)


def _values(channel: str, now: datetime, window: timedelta, lease: timedelta) -> Mapping[str, str]:
    return {
        "channel": channel,
        "now": as_text(now),
        "since": as_text(now - window),
        "ahead": _ahead(now),
        "longest_lease": _ahead(now + lease),
    }


def _used(connection: sqlite3.Connection, values: Mapping[str, str]) -> int:
    """Count the messages that left in the window, and those that others are sending."""
    query = (
        "SELECT COUNT(DISTINCT message) AS n FROM deliveries WHERE channel = :channel "
        "AND ((state IN ('sent', 'digested') AND changed_at > :since AND changed_at <= :ahead) "
        "OR (leased_until > :now AND leased_until <= :longest_lease))"
    )
    used: int = connection.execute(query, values).fetchone()["n"]
    return used


def _chosen(due: Sequence[sqlite3.Row], *, has_room: bool) -> Sequence[sqlite3.Row] | None:
    """Return the rows of the next message: one, those of a digest that was begun, or those that make a new one."""
    if due and due[0]["severity"] == Severity.CRITICAL:
        return due[:1]
    if not (due and has_room):
        return None
    first = next((row for row in due if row["is_digest"]), None)
    if first is not None:
        return [row for row in due if row["message"] == first["message"]]
    # What was tried alone may have arrived: it is repeated as it was.
    untried = [row for row in due if row["attempts"] == 0]
    held = [row for row in untried if row["is_held"]]
    return [*held, *(row for row in untried if not row["is_held"])][:MOST_IN_A_DIGEST] if held else due[:1]


def _leased(connection: sqlite3.Connection, channel: str, message: str, until: str) -> Delivery:
    lease = uuid.uuid4().hex
    connection.execute(
        "UPDATE deliveries SET lease = ?, leased_until = ? WHERE channel = ? AND message = ?",
        (lease, until, channel, message),
    )
    rows = connection.execute(
        "SELECT * FROM deliveries JOIN alerts USING (key) WHERE channel = ? AND message = ? ORDER BY alerts.rowid",
        (channel, message),
    ).fetchall()
    return Delivery(
        channel=channel,
        message=message,
        alerts=tuple(alert_of(row) for row in rows),
        told_at=min(datetime.fromisoformat(row["told_at"]) for row in rows),
        attempts=max(row["attempts"] for row in rows),
        lease=lease,
        answers=_answered(connection, channel, rows[0]["key"]) if len(rows) == 1 else "",
    )


def _answered(connection: sqlite3.Connection, channel: str, key: str) -> str:
    """Return the message that told of the failure whose recovery ``key`` is."""
    if not key.endswith(RECOVERED):
        return ""
    row = connection.execute(
        "SELECT message FROM deliveries WHERE key = ? AND channel = ?", (key.removesuffix(RECOVERED), channel)
    ).fetchone()
    return "" if row is None else str(row["message"])
