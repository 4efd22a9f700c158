"""Whether the audit log that is stored is the one that was written, segment by segment."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

from trading_pipeline.adapters.storage.audit import HEAD_KEY, SEGMENTS, in_chain_order, segment_number
from trading_pipeline.adapters.storage.objects import Objects
from trading_pipeline.domain.audit import GENESIS, AuditHead, AuditRecord, day_of, head_of
from trading_pipeline.domain.audit_verification import ChainVerifier, Finding, FindingKind
from trading_pipeline.domain.errors import DataError, InvalidInput

NOTHING = AuditHead(0, GENESIS, 0, "", "")


def holds_log(objects: Objects) -> bool:
    """Tell whether there is anything of an audit log among ``objects``.

    Raises:
        InvalidInput: the folder cannot be read.
        DependencyUnavailable: the disk fails.
    """
    return objects.get(HEAD_KEY) is not None or bool(objects.list(SEGMENTS))


@dataclass(frozen=True)
class Anchor:
    """A head that was kept elsewhere, in an e-mail, say: the sequence and the beginning of its hash."""

    sequence: int
    hash: str

    @classmethod
    def of(cls, text: str) -> "Anchor":
        """Return the anchor of a text such as ``1234:9f2c41d0``.

        Raises:
            InvalidInput: it is none; eight digits of the hash are the fewest that tell anything.
        """
        sequence, _, found = text.partition(":")
        if not sequence.isdecimal() or not _is_hash(found):
            raise InvalidInput(f"an anchor is a sequence and a hash, such as 1234:9f2c41d0, was {text!r}")
        return cls(int(sequence), found)


def _is_hash(text: str) -> bool:
    return len(GENESIS) >= len(text) >= 8 and set(text) <= set("0123456789abcdef")  # noqa: PLR2004 - said above


@dataclass
class LogVerification:
    """One look at a log: :meth:`findings` goes through it, the figures are of what was read so far.

    With ``since`` only the days from that one (UTC) on are read; the first of
    their records is believed, and an anchor before it is refused. Memory holds
    one segment at a time.
    """

    objects: Objects
    since: date | None = None
    anchor: Anchor | None = None
    segments: int = 0
    head: AuditHead = NOTHING
    _chain: ChainVerifier = field(default_factory=ChainVerifier)
    _reached: AuditHead = NOTHING
    _is_matched: bool = False
    _is_anchored: bool = False
    _place: str = "the log"

    @property
    def records(self) -> int:
        """How many records were read."""
        return self._chain.count

    @property
    def is_empty(self) -> bool:
        """Whether no record was found, nor a head that names any."""
        return self.segments == 0 and self.head.sequence == 0

    @property
    def _is_partial(self) -> bool:
        return self.since is not None

    def findings(self) -> Iterator[Finding]:
        """Yield what does not fit, in the order of the log.

        Raises:
            InvalidInput: the folder cannot be read, or the anchor lies before the part that is.
            DependencyUnavailable: the disk fails.
        """
        # The head before the list: whoever appends meanwhile writes a segment first.
        stored, keys = self.objects.get(HEAD_KEY), self.objects.list(SEGMENTS)
        yield from self._read_head(stored, is_empty=not keys)
        yield from (Finding(FindingKind.STRAY, key, "is no segment") for key in keys if segment_number(key) is None)
        for key in self._chosen(in_chain_order(keys)):
            yield from self._segment(key)
        yield from self._ended(stored)

    def _chosen(self, keys: Sequence[str]) -> Sequence[str]:
        if self.since is None:
            return keys
        # The last is read in any case: it is what the head speaks of.
        chosen = [key for key in keys if day_of(key) >= self.since.isoformat()] or keys[-1:]
        first = 1 if not chosen else segment_number(chosen[0]) or 0
        # Not because fewer were chosen than there are: folders before it may have been moved elsewhere.
        if first != 1:
            self._chain = ChainVerifier(None, None)
            self._refuse_an_anchor_before(first)
        return chosen

    def _refuse_an_anchor_before(self, first: int) -> None:
        # It would be compared with nothing, and whoever gave it would take the log for the one it was taken of.
        if self.anchor is not None and self.anchor.sequence < first:
            raise InvalidInput(
                f"the anchor is record {self.anchor.sequence}, before what is read, which begins with record {first}: "
                f"verify from an earlier day on, or the whole log"
            )

    def _read_head(self, stored: bytes | None, *, is_empty: bool) -> Iterator[Finding]:
        if stored is None:
            text = "is not there: whether records were cut off at the end cannot be told"
            kind = FindingKind.NOTE if is_empty else FindingKind.HEAD
            yield Finding(kind, HEAD_KEY, "is not there, and no record is: the log is empty" if is_empty else text)
            return
        try:
            self.head = head_of(stored)
        except DataError as error:
            yield Finding(FindingKind.HEAD, HEAD_KEY, f"{error}: whether records were cut off cannot be told")
            return
        self._is_matched = self.head == replace(NOTHING, following=self.head.following)

    def _segment(self, key: str) -> Iterator[Finding]:
        self.segments += 1
        content, self._place = self.objects.get(key), key
        if not content:
            yield Finding(FindingKind.REMOVED, key, "holds nothing: its records were taken out")
            return
        records: list[AuditRecord] = []
        for number, line in enumerate(content.splitlines(keepends=True), start=1):
            self._place = f"{key}:{number}"
            record, found = self._chain.take(self._place, line)
            yield from found
            if record is not None:
                records.append(record)
                yield from self._against_anchor(record)
        if not content.endswith(b"\n"):
            yield Finding(FindingKind.TRUNCATED, self._place, "the file ends within a line")
        if len(records) == number:
            yield from self._placed(key, records)
        else:
            self._reach(records, key)

    def _placed(self, key: str, records: Sequence[AuditRecord]) -> Iterator[Finding]:
        named, following = segment_number(key), self._reached.following
        if named != records[0].sequence:
            text = f"is named for record {named} and begins with {records[0].sequence}"
            yield Finding(FindingKind.REORDERED, key, text)
        elif key != following and segment_number(following) == named:
            yield Finding(FindingKind.REORDERED, key, f"lies in another folder than it was written to, {following}")
            key = following
        self._reach(records, key)

    def _reach(self, records: Sequence[AuditRecord], key: str) -> None:
        self._reached = self._reached.after(records, key) if records else NOTHING
        self._compare(self._reached, self.head)

    def _compare(self, reached: AuditHead, head: AuditHead) -> None:
        if reached.sequence != head.sequence:
            return
        # In a part of the log it is not known how far the sources were followed before.
        same = replace(reached, marks=head.marks) if self._is_partial else reached
        self._is_matched = same == head

    def _against_anchor(self, record: AuditRecord) -> Iterator[Finding]:
        if self.anchor is None or record.sequence != self.anchor.sequence:
            return
        self._is_anchored = True
        if not record.hash.startswith(self.anchor.hash):
            text = f"record {record.sequence} has the hash {record.hash[:12]}, the anchor says {self.anchor.hash[:12]}"
            yield Finding(FindingKind.EDITED, self._place, f"{text}: the log was written anew from there or before")

    def _ended(self, stored: bytes | None) -> Iterator[Finding]:
        yield from self._chain.ended(self.head, self._place)
        last = self._chain.last
        if self.head is not NOTHING and self.head.sequence <= last and not self._is_matched and self._is_in_part(last):
            yield Finding(
                FindingKind.HEAD, HEAD_KEY, f"does not fit record {self.head.sequence}, which it names as the last"
            )
        if self.anchor is not None and not self._is_anchored and self.anchor.sequence > last:
            text = f"the log ends with record {last}, the anchor is record {self.anchor.sequence}"
            yield Finding(
                FindingKind.TRUNCATED, self._place, f"{text}: the end was cut off, of the log and of the head"
            )
        yield from self._behind(stored, last)

    def _is_in_part(self, last: int) -> bool:
        """Tell whether the record that the head names was read, or should have been."""
        return not self._is_partial or self.head.sequence > last - self._chain.count

    def _behind(self, stored: bytes | None, last: int) -> Iterator[Finding]:
        # Who appends meanwhile has moved it by now.
        now = self.objects.get(HEAD_KEY)
        if self.head is NOTHING or now != stored or self.head.sequence >= last:
            return
        text = f"is {last - self.head.sequence} records behind: a writer ended before it moved it"
        yield Finding(FindingKind.NOTE, HEAD_KEY, f"{text}; the next that appends does")
