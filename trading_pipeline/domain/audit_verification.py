"""Whether a chain of audit records is whole, told record by record in bounded memory."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from trading_pipeline.domain.audit import GENESIS, AuditEvent, AuditHead, AuditRecord, record_of
from trading_pipeline.domain.errors import DataError

REMEMBERED = 2_000
"""Records of which the hash is remembered, to tell what was repeated or moved; the chain needs one."""


class FindingKind(StrEnum):
    """What is wrong; a NOTE is not."""

    EDITED = "edited"
    REMOVED = "removed"
    REORDERED = "reordered"
    TRUNCATED = "truncated"
    FORKED = "forked"
    DUPLICATED = "duplicated"
    HEAD = "head"
    STRAY = "stray"
    NOTE = "note"


@dataclass(frozen=True)
class Finding:
    """Something that was found: what, where (file and line, or sequence), and what it means."""

    kind: FindingKind
    place: str
    text: str

    @property
    def is_corruption(self) -> bool:
        """Whether the log is not what was written."""
        return self.kind is not FindingKind.NOTE

    def __str__(self) -> str:
        """Show it in one line.

        >>> str(Finding(FindingKind.REMOVED, "a.jsonl:3", "records 7 to 9 are missing before record 10"))
        'removed: a.jsonl:3: records 7 to 9 are missing before record 10'
        """
        return f"{self.kind}: {self.place}: {self.text}"


@dataclass
class _Gap:
    first: int
    last: int
    place: str


@dataclass
class ChainVerifier:
    """Takes the lines of a log in the order of their segments and tells what does not fit.

    ``expected`` is the sequence that comes next, ``previous_hash`` the hash
    that it must name; None where that is not known, at the beginning of a
    part of a log.
    """

    expected: int | None = 1
    previous_hash: str | None = GENESIS
    count: int = 0
    _gaps: list[_Gap] = field(default_factory=list)
    _recent: OrderedDict[int, str] = field(default_factory=OrderedDict)

    @property
    def last(self) -> int:
        """The highest sequence that was taken; 0 before the first."""
        return 0 if self.expected is None else self.expected - 1

    def take(self, place: str, line: bytes) -> tuple[AuditRecord | None, list[Finding]]:
        """Return the record of a line, or None where it holds none, and what is wrong with it."""
        try:
            record = record_of(line)
        except DataError as error:
            return None, [Finding(FindingKind.EDITED, place, str(error))]
        self.count += 1
        return record, list(self._found(record, place))

    def _found(self, record: AuditRecord, place: str) -> Iterator[Finding]:
        if record.computed_hash() != record.hash:
            yield Finding(FindingKind.EDITED, place, f"record {record.sequence} does not have the hash that it names")
            if record.sequence != self.expected:
                # Its place is not to be believed either.
                return
        yield from self._placed(record, place)
        if record.event == AuditEvent.HEAD_LOST:
            yield Finding(
                FindingKind.HEAD,
                place,
                f"record {record.sequence} tells that the head was missing or damaged when it was written: what came "
                f"before it may have been cut off",
            )
        self._remember(record)

    def _placed(self, record: AuditRecord, place: str) -> Iterator[Finding]:
        sequence = record.sequence
        if self.expected is None:
            self.expected = sequence
        if sequence < self.expected:
            yield self._out_of_turn(record, place)
            return
        if sequence > self.expected:
            self._gaps.append(_Gap(self.expected, sequence - 1, place))
        elif self.previous_hash is not None and record.previous_hash != self.previous_hash:
            yield Finding(
                FindingKind.EDITED,
                place,
                f"record {sequence} names {record.previous_hash[:12]} as the hash before it, which is "
                f"{self.previous_hash[:12]}: one of both was changed, or put in the place of another",
            )
        self.expected, self.previous_hash = sequence + 1, record.hash

    def _out_of_turn(self, record: AuditRecord, place: str) -> Finding:
        sequence = record.sequence
        gap = next((gap for gap in self._gaps if gap.first <= sequence <= gap.last), None)
        if gap is not None:
            self._gaps.remove(gap)
            parts = (_Gap(gap.first, sequence - 1, gap.place), _Gap(sequence + 1, gap.last, gap.place))
            self._gaps += [part for part in parts if part.first <= part.last]
            return Finding(FindingKind.REORDERED, place, f"record {sequence} is not in its place")
        if self._recent.get(sequence, record.hash) != record.hash:
            return Finding(FindingKind.FORKED, place, f"there is another record {sequence}, which says something else")
        return Finding(FindingKind.DUPLICATED, place, f"record {sequence} is there a second time")

    def _remember(self, record: AuditRecord) -> None:
        self._recent[record.sequence] = record.hash
        if len(self._recent) > REMEMBERED:
            self._recent.popitem(last=False)

    def ended(self, head: AuditHead, place: str) -> Iterator[Finding]:
        """Tell what is missing, once every line was taken; ``place`` is that of the last."""
        for gap in sorted(self._gaps, key=lambda gap: gap.first):
            told = f"records {gap.first} to {gap.last} are" if gap.last > gap.first else f"record {gap.first} is"
            yield Finding(FindingKind.REMOVED, gap.place, f"{told} missing before this one")
        if head.sequence > self.last:
            yield Finding(
                FindingKind.TRUNCATED,
                place,
                f"the head names record {head.sequence} as the last, the log ends with {self.last}: "
                f"{head.sequence - self.last} records were cut off",
            )
