"""Telling people: alerts that are said at once, kept, and put down for the channels that carry them further."""

import hashlib
import sqlite3
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from trading_pipeline.adapters.alerting.database import AlertFile, as_instant, as_text
from trading_pipeline.adapters.alerting.ledger import DeliveryLedger, alert_of, enqueue
from trading_pipeline.adapters.clocks import WallClock
from trading_pipeline.domain.errors import DependencyUnavailable
from trading_pipeline.ports import RECOVERED, Alert, Severity

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

RECOVERY = "its recovery"
_LEVELS = {Severity.INFO: "info", Severity.WARNING: "warning", Severity.CRITICAL: "critical"}
_SEVERITIES = list(Severity)
_INSERT = """
INSERT OR IGNORE INTO alerts (key, severity, title, text, at, runbook, html, told_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_ACKNOWLEDGE = "UPDATE alerts SET acknowledged_at = ?, acknowledged_by = ? WHERE key = ? AND acknowledged_at = ''"
_KEY_DIGITS = 12


@dataclass(frozen=True)
class KeptAlert:
    """An alert, when it was told by this machine's clock, and who acknowledged it when (UTC)."""

    alert: Alert
    told_at: datetime
    acknowledged_at: datetime | None = None
    acknowledged_by: str = ""


@dataclass(frozen=True)
class _Told:
    alert: Alert
    told_at: datetime
    without: frozenset[str]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_KEY_DIGITS]


class AlertOutbox:
    """Alerts in one SQLite file, each key once, and one line of each on standard error when it is new.

    Threads and processes may share the object and the file. :meth:`notify`
    never raises and sends nothing: what it tells must neither stop nor wait
    for what it tells of. In the transaction that keeps an alert it is put down
    for each channel; who delivers does so later (:attr:`deliveries`). Where
    the file fails (a full disk, say) the alert is said all the same, with a
    second line that says why it is not kept; it is kept at the next call for
    which the file works again, and until then only this process knows that it
    was said.
    """

    def __init__(
        self,
        path: Path,
        channels: Mapping[str, Severity] = MappingProxyType({}),
        redact: Callable[[str], str] | None = None,
        name: Callable[[str], str] = _digest,
        machine_time: Callable[[], datetime] | None = None,
    ) -> None:
        """Keep the alerts at ``path``; file and folder are created at the first call.

        Args:
            path: the file.
            channels: from which severity on each channel carries alerts.
            redact: what makes texts fit to be shown; applied before anything is said or kept.
            name: names a key that is not fit to be shown, by the same name in every process and run.
            machine_time: tells when an alert is told; this machine's clock where not given.
        """
        self._file = AlertFile(path)
        self._channels = dict(channels)
        self._redact = redact
        self._name = name
        self._machine_time = machine_time or WallClock().now
        self._unkept: dict[str, _Told] = {}

    @property
    def deliveries(self) -> DeliveryLedger:
        """What is to be sent by the channels, and what became of it."""
        return DeliveryLedger(self._file)

    def notify(self, alert: Alert, *, without: Collection[str] = ()) -> bool:
        """Say and keep an alert unless one of its key was said before; tell whether it was said now.

        It is said before it counts as kept: a process that dies in between
        says it once more, and never not at all. Channels ``without`` which it
        is told are those that it tells of.
        """
        told = _Told(self._shown(alert), self._machine_time(), frozenset(without))
        waiting = dict(self._unkept)
        is_new = False
        try:
            with self._file.transaction() as connection:
                for earlier in waiting.values():
                    self._insert(connection, earlier)
                is_new = self._insert(connection, told)
                if is_new:
                    _say(told.alert)
        except (sqlite3.Error, OSError) as error:
            return self._not_kept(told, error, was_said=is_new)
        for key in waiting:
            self._unkept.pop(key, None)
        return is_new

    def knows(self, key: str) -> bool:
        """Tell whether an alert of that key is kept; raises as :meth:`alerts`."""
        clean = _clean(key)
        return self.is_kept(clean if self._redact is None else shown_key(clean, self._redact, self._name))

    def is_kept(self, shown_key: str) -> bool:
        """Tell whether an alert is kept under that key, as it is shown; raises as :meth:`alerts`."""
        return bool(self._rows("SELECT key FROM alerts WHERE key = ?", shown_key))

    def alerts(self, since: datetime | None = None) -> Sequence[Alert]:
        """Return the alerts of the instant ``since`` or later, all without it, oldest first; none where none is kept.

        Raises:
            DependencyUnavailable: the file cannot be read.
        """
        earliest = "" if since is None else as_text(since)
        rows = self._rows("SELECT * FROM alerts WHERE at >= ? ORDER BY at, rowid", earliest)
        return [alert_of(row) for row in rows]

    def kept(self, since: datetime | None = None, *, unacknowledged: bool = False) -> Sequence[KeptAlert]:
        """Return what was told at ``since`` or later, or only what nobody acknowledged; raises likewise."""
        earliest = "" if since is None else as_text(since)
        query = "SELECT * FROM alerts WHERE told_at >= ? AND (acknowledged_at = '' OR ?) ORDER BY told_at, rowid"
        return [_kept(row) for row in self._rows(query, earliest, not unacknowledged)]

    def of_kind(self, prefix: str) -> Sequence[Alert]:
        """Return the alerts whose keys begin with ``prefix``, oldest first; raises as :meth:`alerts`."""
        query = "SELECT * FROM alerts WHERE key >= ? AND key < ? ORDER BY told_at, rowid"
        return [alert_of(row) for row in self._rows(query, prefix, f"{prefix}\U0010ffff")]

    def unanswered(self, told_before: datetime, told_after: datetime | None = None) -> Sequence[Alert]:
        """Return critical alerts of that time that nobody acknowledged and of which nothing came; raises likewise.

        Those that claim to be told later than ``told_after`` are among them: the clock was put back since.
        """
        query = (
            "SELECT * FROM alerts WHERE severity = 'critical' AND acknowledged_at = '' AND escalated_at = '' "
            "AND (told_at <= ? OR (? AND told_at > ?)) ORDER BY told_at, rowid"
        )
        future = "" if told_after is None else as_text(told_after)
        return [alert_of(row) for row in self._rows(query, as_text(told_before), told_after is not None, future)]

    def acknowledge(self, keys: Collection[str], by: str) -> Sequence[str]:
        """Note that somebody knows of these alerts, and return the keys of which nobody did; raises likewise."""
        now = as_text(self._machine_time())
        return [key for key in keys if self._changed(_ACKNOWLEDGE, now, by, key)]

    def escalated(self, keys: Collection[str]) -> None:
        """Note that what follows from nobody's answering was done for these alerts; raises likewise."""
        now = as_text(self._machine_time())
        for key in keys:
            self._changed("UPDATE alerts SET escalated_at = ? WHERE key = ?", now, key)

    def _insert(self, connection: sqlite3.Connection, told: _Told) -> bool:
        alert, now = told.alert, as_text(told.told_at)
        values = (alert.key, alert.severity.value, alert.title, alert.text, as_text(alert.at))
        if connection.execute(_INSERT, (*values, alert.runbook, alert.html, now)).rowcount != 1:
            return False
        failure = _failure_of(alert)
        if failure is not None:
            connection.execute(_ACKNOWLEDGE, (now, RECOVERY, failure))
        enqueue(connection, alert.key, self._destinations(connection, alert, failure) - told.without, now)
        return True

    def _destinations(self, connection: sqlite3.Connection, alert: Alert, failure: str | None) -> frozenset[str]:
        rank = _SEVERITIES.index(alert.severity)
        chosen = {name for name, least in self._channels.items() if rank >= _SEVERITIES.index(least)}
        if failure is not None:
            rows = connection.execute("SELECT channel FROM deliveries WHERE key = ?", (failure,)).fetchall()
            chosen |= {row["channel"] for row in rows}
        return frozenset(chosen)

    def _shown(self, alert: Alert) -> Alert:
        key, title, text, html, runbook = (
            _clean(shown) for shown in (alert.key, alert.title, alert.text, alert.html, alert.runbook)
        )
        alert = replace(alert, key=key, title=title, text=text, html=html, runbook=runbook)
        if self._redact is None:
            return alert
        title, text, html = (self._redact(shown) for shown in (alert.title, alert.text, alert.html))
        return replace(alert, key=shown_key(alert.key, self._redact, self._name), title=title, text=text, html=html)

    def _rows(self, query: str, *values: str | bool) -> Sequence[sqlite3.Row]:
        with self._classified(), self._file.connection() as connection:
            return connection.execute(
                query, [_clean(value) if isinstance(value, str) else value for value in values]
            ).fetchall()

    def _changed(self, statement: str, *values: str) -> bool:
        with self._classified(), self._file.transaction() as connection:
            return connection.execute(statement, [_clean(value) for value in values]).rowcount == 1

    @contextmanager
    def _classified(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise DependencyUnavailable(
                f"the alerts {self._file.path} cannot be read: {error}; free space or move the file away"
            ) from error

    def _not_kept(self, told: _Told, error: Exception, *, was_said: bool) -> bool:
        alert = told.alert
        if alert.key in self._unkept:
            return False
        self._unkept[alert.key] = told
        if not was_said:
            _say(alert)
        with _whatever_becomes_of_it():
            _logger().error("alert not kept", alert=alert.key, outbox=str(self._file.path), error=str(error))
        return True


def _clean(text: str) -> str:
    """Return a text that can be written: half a sign, as JSON may name one, gives way to a question mark."""
    return text.encode(errors="replace").decode()


def shown_key(key: str, redact: Callable[[str], str], name: Callable[[str], str]) -> str:
    """Return a key that is fit to be shown, and still of no other alert: what may not be shown gives way to a name.

    >>> shown_key("watchdog:SPY:recovered", lambda text: text.replace("SPY", "A"), lambda key: "3a6c")
    'watchdog#3a6c:recovered'
    >>> shown_key("heartbeat", lambda text: text.replace("SPY", "A"), lambda key: "3a6c")
    'heartbeat'
    """
    bare = key.removesuffix(RECOVERED)
    # What is redacted alike may have been two, and is redacted otherwise by another run.
    shown = bare if redact(bare) == bare else f"{bare.partition(':')[0]}#{name(bare)}"
    return shown + key[len(bare) :]


def _failure_of(alert: Alert) -> str | None:
    """Return the key of the failure whose end is told, if that is what the alert tells."""
    is_recovery = alert.severity is Severity.INFO and alert.key.endswith(RECOVERED)
    return alert.key.removesuffix(RECOVERED) if is_recovery else None


def _kept(row: sqlite3.Row) -> KeptAlert:
    alert, told_at = alert_of(row), as_instant(row["told_at"])
    return KeptAlert(alert, told_at or alert.at, as_instant(row["acknowledged_at"]), row["acknowledged_by"])


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
