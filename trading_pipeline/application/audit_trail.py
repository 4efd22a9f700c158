"""The audit trail: what happens is recorded after it happened, and never stops it.

The order journal and the history of the trading state are durable by
themselves, and before anything is done. The trail follows them: it records the
lines that the log does not hold yet, whoever wrote them, and however its
writer ended. What cannot be recorded waits in the spool, and a person is told.
"""

import itertools
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog

from trading_pipeline.application.auditing import Scribe
from trading_pipeline.domain.audit import (
    JOURNAL,
    SETTINGS,
    STATES,
    AuditDraft,
    AuditEvent,
    AuditHead,
    identity,
    settings_digest,
)
from trading_pipeline.domain.errors import PipelineError
from trading_pipeline.domain.fills import Fill
from trading_pipeline.domain.orders import Plan
from trading_pipeline.domain.risk.trading_state import RecordedState
from trading_pipeline.ports import RECOVERED, Alert, AuditLog, Notifier, Severity

MOST_AT_ONCE = 500
KEY = "audit"
LOST = "audit_lost"
"""Begins the key of what is in the log of the process only; no recovery follows it, for a person has to look."""

RECORDS = "records"
"""What fails where drafts cannot be appended, beside the sources that are followed."""

RUNBOOK = "audit-log-could-not-be-written"


class Spool(Protocol):
    """Where drafts wait that could not be appended."""

    def keep(self, drafts: Sequence[AuditDraft]) -> None:
        """Keep ``drafts``; durable when this returns."""
        ...

    def drain(self, log: AuditLog) -> Sequence[AuditDraft]:
        """Append what waits to ``log`` and return it."""
        ...

    def is_empty(self) -> bool:
        """Tell whether nothing waits."""
        ...

    def failed(self, source: str, at: datetime) -> str:
        """Note that ``source`` cannot be recorded; return what names the failure, until all works again."""
        ...

    def worked(self, sources: Collection[str]) -> Sequence[str]:
        """Note that ``sources`` can be recorded; return what names the failures that are over and not told so yet."""
        ...

    def told(self, failures: Collection[str]) -> None:
        """Forget failures whose end was told."""
        ...


class Lines(Protocol):
    """The lines of the order journal."""

    def after(self, number: int) -> Iterable[Mapping[str, object]]:
        """Yield the lines after that of ``number``, oldest first."""
        ...


class Changes(Protocol):
    """The history of the trading state."""

    def changes_after(self, epoch: int) -> Sequence[tuple[int, RecordedState | None]]:
        """Return the number of every change after ``epoch`` and what it made, oldest first; None where damaged."""
        ...


@dataclass(frozen=True)
class InForce:
    """The code and the settings that act: the version, the fingerprint, and the values without secrets."""

    code_version: str
    config_hash: str
    values: Callable[[], Mapping[str, object]]


@dataclass(frozen=True)
class AuditTrail:
    """Records what happens in ``log``, and never fails for what the pipeline foresees.

    Attributes:
        log: the chain of records.
        spool: where waits what could not be appended.
        journal: the lines of the order journal, which are followed.
        states: the history of the trading state, which is followed.
        in_force: what acts.
        notifier: tells a person that something waits.
        now: this machine's time, UTC.
    """

    log: AuditLog
    spool: Spool
    journal: Lines
    states: Changes
    in_force: InForce
    notifier: Notifier
    now: Callable[[], datetime]

    def scribe(self, run_id: str = "") -> Scribe:
        """Return who records now."""
        return Scribe(self.now(), run_id, self.in_force.code_version, self.in_force.config_hash)

    def record(self, drafts: Sequence[AuditDraft]) -> bool:
        """Append ``drafts``, after what waits and the settings where they changed; tell whether that worked.

        What could not be appended waits in the spool, and a person is told.
        """
        try:
            self._before()
            self.log.append(drafts)
        except PipelineError as error:
            self._spooled(drafts, error)
            return False
        self._works()
        return True

    def record_fills(self, plan: Plan, fills: Sequence[Fill], intents: Mapping[str, str], run_id: str = "") -> bool:
        """Record the executions of a plan that the log does not hold yet, as :meth:`record` does.

        ``intents`` names the intent of each order; an order that is not in it is its own.
        """
        scribe = self.scribe(run_id)
        drafts = [
            scribe.fill(fill, intents.get(fill.client_order_id, fill.client_order_id), plan.plan_id) for fill in fills
        ]
        try:
            self._before()
            self.log.follow(lambda _: self._unknown(drafts, plan.plan_id))
        except PipelineError as error:
            self._spooled(drafts, error)
            return False
        self._works()
        return True

    def _unknown(self, drafts: Sequence[AuditDraft], plan_id: str) -> Sequence[AuditDraft]:
        # The fills of a plan come after the plan.
        since_plan = itertools.takewhile(
            lambda record: not (record.event == AuditEvent.PLAN and record.correlation_id == plan_id),
            self.log.newest_first(),
        )
        known = {record.payload.get("execution_id") for record in since_plan if record.event == AuditEvent.FILL}
        return [draft for draft in drafts if draft.payload["execution_id"] not in known]

    def follow(self, run_id: str = "") -> bool:
        """Record the lines of the journal and the changes of the state that the log does not hold yet.

        Tells whether that worked. Where it did not, nothing is lost: they are where they were, for the next call.
        """
        return all([self._follows(STATES, self._states, run_id), self._follows(JOURNAL, self._lines, run_id)])

    def follow_soon(self) -> threading.Thread | None:
        """Do as :meth:`follow` does in a thread of its own, for whoever must not wait; return it, if there is one.

        The process ends once the thread has. Where none can be started the next call follows.
        """
        thread = threading.Thread(target=self.follow, name="audit", daemon=False)
        try:
            thread.start()
        except RuntimeError as error:
            structlog.get_logger().error("audit_failed", what="no thread could be started", error=str(error))
            return None
        return thread

    def _follows(self, source: str, make: Callable[[AuditHead, Scribe], Sequence[AuditDraft]], run_id: str) -> bool:
        scribe = self.scribe(run_id)
        try:
            self._before()
            self.log.follow(lambda head: make(head, scribe))
        except PipelineError as error:
            self._told(source, f"{source} could not be followed, and is with the next call", error)
            return False
        self._works(source)
        return True

    def _states(self, head: AuditHead, scribe: Scribe) -> Sequence[AuditDraft]:
        mark = head.marks.get(STATES)
        changes = self.states.changes_after(mark.number - 1 if mark else 0)
        drafts = [scribe.state(number, entry) for number, entry in changes[: MOST_AT_ONCE + 1]]
        # What was recorded and cannot be read any more is not another history.
        is_damaged = bool(mark and changes and changes[0] == (mark.number, None))
        there = bool(changes or self.states.changes_after(0))
        return _beyond(head, STATES, drafts, scribe, is_same=is_damaged, is_there=there)

    def _lines(self, head: AuditHead, scribe: Scribe) -> Sequence[AuditDraft]:
        mark = head.marks.get(JOURNAL)
        lines = itertools.islice(self.journal.after(mark.number - 1 if mark else 0), MOST_AT_ONCE + 1)
        drafts = [scribe.order(line) for line in lines]
        there = bool(drafts) or any(True for _ in self.journal.after(0))
        return _beyond(head, JOURNAL, drafts, scribe, is_there=there)

    def _before(self) -> None:
        self.spool.drain(self.log)
        wanted = settings_digest(self.in_force.code_version, self.in_force.config_hash)

        def changed(head: AuditHead) -> Sequence[AuditDraft]:
            mark = head.marks.get(SETTINGS)
            if mark is not None and mark.digest == wanted:
                return []
            return [self.scribe().settings(self.in_force.values())]

        self.log.follow(changed)

    def _spooled(self, drafts: Sequence[AuditDraft], error: PipelineError) -> None:
        try:
            self.spool.keep(drafts)
        except PipelineError as worse:
            lines = [draft.as_plain() for draft in drafts]
            structlog.get_logger().critical("audit_records_lost", error=str(error), spool=str(worse), records=lines)
            what = f"{len(drafts)} records are kept in the log of the process only ({worse})"
            self._alerted(f"{LOST}:{self.now().date()}", what, error)
            return
        self._told(RECORDS, f"{len(drafts)} records wait in the spool", error)

    def _told(self, source: str, what: str, error: PipelineError) -> None:
        """Tell that ``source`` fails, once for each failure however often it is met and by whom."""
        self._alerted(f"{KEY}:{self.spool.failed(source, self.now())}", what, error)

    def _alerted(self, key: str, what: str, error: PipelineError) -> None:
        structlog.get_logger().error("audit_failed", what=what, error=str(error))
        commands = (
            "`trading-pipeline audit spool` shows what waits, `trading-pipeline audit verify` whether the log is whole"
        )
        text, title = f"{what}: {error}; {commands}", "The audit log could not be written"
        self.notifier.notify(Alert(key, Severity.CRITICAL, title, text, self.now(), runbook=RUNBOOK))

    def _works(self, *sources: str) -> None:
        """Tell what failures are over now that ``sources`` work; where that fails, whoever records next does."""
        try:
            # What waits is appended before anything else is; some may still where another process is about it.
            over = self.spool.worked([*sources, RECORDS] if self.spool.is_empty() else sources)
            for since in over:
                self._recovered(since)
            if over:
                # Last: who dies before tells it again, which is told once.
                self.spool.told(over)
        except PipelineError as error:
            structlog.get_logger().warning("audit_recovery_not_told", error=str(error))

    def _recovered(self, since: str) -> None:
        title, text = "The audit log is written again", f"What could not be recorded since {since} is in the audit log"
        key = f"{KEY}:{since}{RECOVERED}"
        self.notifier.notify(Alert(key, Severity.INFO, title, text, self.now(), runbook=RUNBOOK))


def _beyond(
    head: AuditHead,
    source: str,
    drafts: Sequence[AuditDraft],
    scribe: Scribe,
    *,
    is_there: bool,
    is_same: bool = False,
) -> Sequence[AuditDraft]:
    """Return the drafts beyond the mark of ``source``; the first of them is what the mark is of, if it is the same."""
    mark = head.marks.get(source)
    if mark is None or not is_there:
        return drafts
    if drafts and (is_same or identity(drafts[0].payload) == mark.digest):
        return drafts[1:]
    return [scribe.replaced(source, mark.number)]
