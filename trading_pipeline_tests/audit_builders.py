"""Audit logs for tests: drafts, and objects that need no disk to be safe."""

from datetime import UTC, datetime
from pathlib import Path

from trading_pipeline.adapters.storage.audit import StoredAuditLog
from trading_pipeline.adapters.storage.audit_sources import JournalLines
from trading_pipeline.adapters.storage.audit_spool import AuditSpool
from trading_pipeline.adapters.storage.trading_state import StoredTradingState
from trading_pipeline.application.audit_trail import AuditTrail, InForce
from trading_pipeline.domain.audit import AuditDraft

NOON = datetime(2026, 7, 31, 16, tzinfo=UTC)


def make_draft(number=0, event="signal", correlation="", /, **payload) -> AuditDraft:
    """Return a draft that is told from others by its number."""
    return AuditDraft(
        event=event,
        payload={"n": number, **payload},
        at=NOON,
        actor="a test",
        correlation_id=correlation,
        run_id="run",
        code_version="1",
        config_hash="abc",
    )


def drafts(count, first=0):
    """Return so many drafts."""
    return [make_draft(first + number) for number in range(count)]


class MemoryObjects:
    """Objects in memory, with the promises of those on disk."""

    def __init__(self, content=None):
        """Begin with ``content``, or nothing."""
        self.content = dict(content or {})
        self.failure = None

    def put_if_absent(self, key, content):
        """Write unless the key exists."""
        self._fail()
        if key in self.content:
            return False
        self.content[key] = content
        return True

    def replace(self, key, expected, content):
        """Write where what is there is expected."""
        self._fail()
        if self.content.get(key) != expected:
            return False
        self.content[key] = content
        return True

    def put(self, key, content):
        """Write."""
        self.content[key] = content

    def get(self, key):
        """Return what is there."""
        return self.content.get(key)

    def list(self, prefix):
        """Return the keys that begin so."""
        return sorted(key for key in self.content if key.startswith(prefix))

    def _fail(self):
        if self.failure is not None:
            raise self.failure


def log_over(objects, at=NOON):
    """Return a log whose clock stands still."""
    return StoredAuditLog(objects, lambda: at)


class Told(list):
    """Keeps what people are told."""

    def notify(self, alert):
        """Keep it."""
        self.append(alert)
        return True


def audit_in_memory(objects=None) -> AuditTrail:
    """Return a trail for a world that nothing else is recorded of: no journal, no history, no folder."""
    return AuditTrail(
        log=log_over(MemoryObjects() if objects is None else objects),
        spool=AuditSpool(Path("no-folder-of-a-spool")),
        journal=JournalLines(Path("no-journal")),
        states=StoredTradingState(MemoryObjects()),
        in_force=InForce("1.0", "abc", lambda: {"risk": {"limit": "0.2"}}),
        notifier=Told(),
        now=lambda: NOON,
    )
