"""The audit trail, wired; without Dagster, whose import takes longer than a halt or a verification should."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from trading_pipeline import __version__
from trading_pipeline.adapters.clocks import WallClock
from trading_pipeline.adapters.storage.audit import StoredAuditLog
from trading_pipeline.adapters.storage.audit_sources import JournalLines
from trading_pipeline.adapters.storage.audit_spool import AuditSpool
from trading_pipeline.adapters.storage.home import Home
from trading_pipeline.adapters.storage.objects import FileObjects, Objects
from trading_pipeline.adapters.storage.trading_state import StoredTradingState
from trading_pipeline.application.audit_trail import AuditTrail, InForce
from trading_pipeline.application.auditing import Scribe, lines_missing, of_source
from trading_pipeline.domain.audit import JOURNAL, STATES
from trading_pipeline.domain.audit_verification import Finding, FindingKind
from trading_pipeline.ports import AuditLog, Notifier
from trading_pipeline.settings import Settings

SPOOL = "audit_spool"


def spool_of(home: Home) -> AuditSpool:
    """Return where the drafts of a market wait that could not be appended."""
    return AuditSpool(home.folder / SPOOL)


def trail_of(settings: Settings, home: Home, notifier: Notifier, clock: WallClock | None = None) -> AuditTrail:
    """Return the audit trail of a market and account; nothing is opened yet."""
    objects, wall = FileObjects(home.objects), clock or WallClock()
    return AuditTrail(
        log=StoredAuditLog(objects, wall.now),
        spool=spool_of(home),
        journal=JournalLines(home.journal),
        states=StoredTradingState(objects, wall.now),
        in_force=InForce(__version__, settings.fingerprint(), lambda: _values(settings)),
        notifier=notifier,
        now=wall.now,
    )


def _values(settings: Settings) -> Mapping[str, Any]:
    """Return every setting but the keys; what else is secret is masked by its type."""
    return settings.model_dump(mode="json", exclude={"broker": {"key_id", "secret_key"}})


def sources_missing(log: AuditLog, objects: Objects, home: Home) -> Iterator[Finding]:
    """Yield what the log does not hold, or holds otherwise, of the lines and changes that it has followed.

    Raises:
        DataError: the log or the journal cannot be read.
        PipelineError: the folder cannot be used.
    """
    if log.head().sequence == 0:
        # What decides records that before an order is journalled: no line waits for a log that never began.
        yield from lines_of_an_empty_log(objects, home)
        return
    scribe, journal = Scribe(WallClock().now()), JournalLines(home.journal)
    changes = StoredTradingState(objects).changes_after(0, mend=False)
    entries = [scribe.state(number, entry).payload for number, entry in changes if entry is not None]
    yield from _missing(log, JOURNAL, journal.after(0))
    yield from _missing(log, STATES, entries)
    waiting = {JOURNAL: sum(1 for _ in journal.after(_last(log, JOURNAL)))}
    waiting[STATES] = sum(1 for number, _ in changes if number > _last(log, STATES))
    for source, count in waiting.items():
        if count:
            yield Finding(FindingKind.NOTE, source, f"{count} lines wait to be recorded; the next that follows does")


def lines_of_an_empty_log(objects: Objects, home: Home) -> Iterator[Finding]:
    """Yield what the journal and the history of the state hold, where the log of both holds no record at all.

    Raises:
        DataError: the journal cannot be read.
        PipelineError: the folder cannot be used.
    """
    lines = sum(1 for _ in JournalLines(home.journal).after(0))
    changes = len(StoredTradingState(objects).changes_after(0, mend=False))
    for source, count in ((JOURNAL, lines), (STATES, changes)):
        if count:
            text = f"the log is empty, and {count} lines are there that it should hold"
            yield Finding(FindingKind.REMOVED, source, text)


def _missing(log: AuditLog, source: str, there: Iterable[Mapping[str, object]]) -> Iterator[Finding]:
    for number, text in lines_missing(of_source(log.records(), source), there):
        yield Finding(FindingKind.REMOVED, f"{source}:{number}", text)


def _last(log: AuditLog, source: str) -> int:
    mark = log.head().marks.get(source)
    return 0 if mark is None else mark.number
