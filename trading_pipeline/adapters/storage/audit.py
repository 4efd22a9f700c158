"""The audit log among the objects: small segments that are written once, and a head apart from them.

Whoever appends wants the one key that follows the last segment, and writes it
unless it exists: of all who want it at once one gets it, reads nothing more
and is done; the others read what was written and want the next. So the chain
never forks, whoever writes from wherever, and a segment that was written is
whole. The head is moved after its segment: who dies in between leaves a head
that is behind, and the next who appends moves it.

What there is of a log is read and never mended: a head that is missing or
damaged while there are segments is made anew with a record that says so.
"""

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

import structlog

from trading_pipeline.adapters.clocks import WallClock
from trading_pipeline.adapters.storage.objects import Objects
from trading_pipeline.domain.audit import (
    CONTINUED_IN,
    GENESIS,
    AuditDraft,
    AuditEvent,
    AuditHead,
    AuditRecord,
    day_of,
    first_segment,
    head_of,
    record_of,
)
from trading_pipeline.domain.canonical import canonical
from trading_pipeline.domain.errors import DataError, DependencyUnavailable, PipelineError

SEGMENTS = "audit/"
HEAD_KEY = "anchors/audit_head.json"
MOST_RECORDS = 500
"""Records of one segment; a batch of more becomes several."""

MOST_CONFLICTS = 1_000
ACTOR = "audit log"
_SEGMENT = re.compile(r"audit/\d{4}/\d{2}/\d{2}/(\d{12})\.jsonl")

Make = Callable[[AuditHead], Sequence[AuditDraft]]
"""Makes what is to be appended after a head; called again when others wrote meanwhile, until it makes nothing."""


@dataclass(frozen=True)
class _Tail:
    """Where the chain ends, what is kept as its head, and why that could not be used."""

    head: AuditHead
    stored: bytes | None
    lost: str = ""


class StoredAuditLog:
    """An :class:`~trading_pipeline.ports.AuditLog`; any number of threads and processes may append at once.

    Raises, from every method:
        DataError: what is stored cannot be read as a log; ``trading-pipeline audit verify`` says where.
        InvalidInput: the folder cannot be used, or a draft has no plain form.
        DependencyUnavailable: the disk fails, or others write without end.
    """

    def __init__(self, objects: Objects, machine_time: Callable[[], datetime] | None = None) -> None:
        """Keep the log among ``objects``, below ``audit/`` and at ``anchors/``; nothing is read yet.

        ``machine_time`` tells into which day's folder is written; it is this machine's clock where not given.
        """
        self._objects = objects
        self._machine_time = machine_time or WallClock().now
        self._writing = threading.Lock()

    def append(self, drafts: Sequence[AuditDraft]) -> Sequence[AuditRecord]:
        """Append ``drafts`` in their order and return their records; durable when this returns."""
        written: list[AuditRecord] = []
        return self._appended(lambda _: drafts[len(written) :], written)

    def follow(self, make: Make) -> Sequence[AuditRecord]:
        """Append what ``make`` makes of the head of the log, and again, until it makes nothing; return the records.

        What a head's marks say of a source holds until a record is written
        after it, whoever else follows the same source meanwhile: no line of it
        is recorded twice.
        """
        return self._appended(make, [])

    def head(self) -> AuditHead:
        """Return where the log ends; nothing is written."""
        stored = self._objects.get(HEAD_KEY)
        return self._run_on(self._beginning() if stored is None else head_of(stored))

    def records(self, *, since: date | None = None, event: str = "", correlation_id: str = "") -> Iterator[AuditRecord]:
        """Yield the records, oldest first: of the days from ``since`` (UTC) on, of an event, of what belongs together.

        The log is read segment by segment, as the caller goes on.
        """
        wanted = [canonical(text) for text in (event, correlation_id) if text]
        for key in segment_keys(self._objects, since):
            for record in self._records(key, wanted):
                if event in {"", record.event} and correlation_id in {"", record.correlation_id}:
                    yield record

    def newest_first(self) -> Iterator[AuditRecord]:
        """Yield the records, newest first, reading no further back than the caller goes."""
        for key in reversed(segment_keys(self._objects)):
            yield from reversed(list(self._records(key)))

    def _records(self, key: str, wanted: Sequence[bytes] = ()) -> Iterator[AuditRecord]:
        content = self._objects.get(key)
        if content is None:
            raise DataError(f"{key} was listed and is gone; segments of the audit log must never be deleted")
        for number, line in enumerate(content.splitlines(keepends=True), start=1):
            if all(part in line for part in wanted):
                yield _record(line, f"{key}:{number}")

    def _appended(self, make: Make, written: list[AuditRecord]) -> Sequence[AuditRecord]:
        with self._writing:
            tail, conflicts = self._tail(), 0
            while drafts := make(tail.head):
                own, batch = self._batch(tail, drafts[:MOST_RECORDS])
                records = _chained(batch, tail.head)
                if self._objects.put_if_absent(tail.head.following, b"".join(record.line for record in records)):
                    written += records[len(records) - own :] if own else ()
                    tail = self._anchored(replace(tail, head=tail.head.after(records, tail.head.following)))
                    continue
                tail, conflicts = self._tail(), conflicts + 1
                if conflicts > MOST_CONFLICTS:
                    raise DependencyUnavailable(
                        f"others wrote the audit log {MOST_CONFLICTS} times first; find who writes it without end"
                    )
            self._mended(tail)
            return written

    def _batch(self, tail: _Tail, drafts: Sequence[AuditDraft]) -> tuple[int, Sequence[AuditDraft]]:
        """Return how many of the drafts the next segment takes, and all that it takes: first what the log itself says.

        Where the day has changed it takes nothing but the name of the new day's folder.
        """
        now = self._machine_time()
        own = replace(drafts[0], at=now, actor=ACTOR, correlation_id="", causation_id="")
        told = [replace(own, event=AuditEvent.HEAD_LOST, payload={"found": tail.lost})] if tail.lost else []
        folder = first_segment(now.astimezone(UTC).date()).rpartition("/")[0] + "/"
        if tail.head.following.rpartition("/")[0] + "/" >= folder:
            return len(drafts), [*told, *drafts]
        return 0, [*told, replace(own, event=AuditEvent.NEXT_DAY, payload={CONTINUED_IN: folder})]

    def _tail(self) -> _Tail:
        stored = self._objects.get(HEAD_KEY)
        if stored is None and not segment_keys(self._objects):
            # Written before the first segment, so that a log without a head was robbed of it.
            self._objects.put_if_absent(HEAD_KEY, self._beginning().line)
        if stored is None:
            stored = self._objects.get(HEAD_KEY)
        if stored is None:
            return _Tail(self._rebuilt(), None, "the head is missing")
        try:
            head = head_of(stored)
        except DataError as error:
            return _Tail(self._rebuilt(), stored, str(error))
        return _Tail(self._run_on(head), stored)

    def _beginning(self) -> AuditHead:
        return AuditHead(0, GENESIS, 0, "", first_segment(self._machine_time().astimezone(UTC).date()))

    def _run_on(self, head: AuditHead) -> AuditHead:
        """Return the head after whatever was written since it was moved."""
        while (content := self._objects.get(head.following)) is not None:
            lines = content.splitlines(keepends=True)
            records = [_record(line, f"{head.following}:{number}") for number, line in enumerate(lines, start=1)]
            sequences = [record.sequence for record in records]
            if not records or sequences != list(range(head.sequence + 1, head.sequence + 1 + len(records))):
                raise DataError(f"{head.following} does not go on after record {head.sequence}; {_LOOK}")
            head = head.after(records, head.following)
        return head

    def _rebuilt(self) -> AuditHead:
        """Return the head after everything that can be read."""
        head = self._beginning()
        for key in segment_keys(self._objects):
            lines = (self._objects.get(key) or b"").splitlines(keepends=True)
            records = [record for record in map(_record_or_none, lines) if record is not None]
            head = head.after(records, key) if records else head
        return self._run_on(head)

    def _anchored(self, tail: _Tail) -> _Tail:
        """Move the head to the end of the chain; where that fails it stays behind, and the records stand."""
        try:
            return self._moved(tail)
        except PipelineError as error:
            structlog.get_logger().warning("audit_head_not_moved", sequence=tail.head.sequence, error=str(error))
            return replace(tail, lost="")

    def _moved(self, tail: _Tail) -> _Tail:
        stored, line = tail.stored, tail.head.line
        for _ in range(MOST_CONFLICTS):
            if self._objects.replace(HEAD_KEY, stored, line):
                return _Tail(tail.head, line)
            stored = self._objects.get(HEAD_KEY)
            # Others may have gone on. A head that was taken away or damaged meanwhile is for the next call to tell of.
            if stored is None or _is_as_far(stored, tail.head):
                break
        return _Tail(tail.head, stored)

    def _mended(self, tail: _Tail) -> None:
        # Others may have moved it on meanwhile: it never goes back.
        if not tail.lost and not (tail.stored is not None and _is_as_far(tail.stored, tail.head)):
            self._anchored(tail)


_LOOK = "see `trading-pipeline audit verify`"


def segment_keys(objects: Objects, since: date | None = None) -> Sequence[str]:
    """Return the keys of the segments in the order of the chain; of the days from ``since`` (UTC) on."""
    return [key for key in in_chain_order(objects.list(SEGMENTS)) if since is None or day_of(key) >= since.isoformat()]


def in_chain_order(keys: Sequence[str]) -> Sequence[str]:
    """Return those of ``keys`` that are of segments, by the sequence with which they begin."""
    numbered = sorted((number, key) for key in keys if (number := segment_number(key)) is not None)
    return [key for _, key in numbered]


def segment_number(key: str) -> int | None:
    """Return the sequence with which the segment of that key begins; None where it is no key of a segment.

    >>> segment_number("audit/2026/07/31/000000000017.jsonl"), segment_number("audit/2026/notes.txt")
    (17, None)
    """
    found = _SEGMENT.fullmatch(key)
    return None if found is None else int(found[1])


def _chained(drafts: Sequence[AuditDraft], head: AuditHead) -> Sequence[AuditRecord]:
    records, previous = [], head.hash
    for sequence, draft in enumerate(drafts, start=head.sequence + 1):
        records.append(draft.chained(sequence, previous))
        previous = records[-1].hash
    return records


def _record(line: bytes, place: str) -> AuditRecord:
    try:
        return record_of(line)
    except DataError as error:
        raise DataError(f"{place}: {error}; {_LOOK}") from error


def _record_or_none(line: bytes) -> AuditRecord | None:
    try:
        return record_of(line)
    except DataError:
        return None


def _is_as_far(stored: bytes, head: AuditHead) -> bool:
    try:
        return head_of(stored).sequence >= head.sequence
    except DataError:
        return True
