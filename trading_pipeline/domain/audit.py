"""The audit log as a chain: each record holds the hash of the one before, and the head anchors the last.

A record is kept as one line, in one form only (:mod:`trading_pipeline.domain.canonical`), so that
whoever has the lines can compute the hashes anew with nothing but JSON and
SHA-256. The chain shows what was edited, removed, moved or repeated; the head,
kept in another place, shows what was cut off at the end.
"""

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import date, datetime
from enum import StrEnum
from typing import Any, NoReturn

from trading_pipeline.domain.canonical import Plain, canonical, digest, instant_text, plain
from trading_pipeline.domain.errors import DataError, InvalidInput

GENESIS = "0" * 64
"""What the first record names as the hash before it."""

HEAD_VERSION = 1


class AuditEvent(StrEnum):
    """What a record tells of.

    The last four are about the log itself: a source that it follows was put in
    the place of another, the head was not there, the log goes on in the folder
    of another day.
    """

    SIGNAL = "signal"
    ALLOCATION = "allocation"
    PLAN = "plan"
    RISK_DECISION = "risk_decision"
    ORDER = "order"
    FILL = "fill"
    TRADING_STATE = "trading_state"
    RISK_OVERRIDE = "risk_override"
    ALERT_ACKNOWLEDGED = "alert_acknowledged"
    SETTINGS = "settings"
    SOURCE_REPLACED = "source_replaced"
    HEAD_LOST = "head_lost"
    NEXT_DAY = "next_day"


JOURNAL, STATES, SETTINGS = "journal", "trading_state", "settings"
"""What the log follows: the lines of the order journal, the changes of the trading state, the settings in force."""

FOLLOWED: Mapping[str, str] = {
    AuditEvent.ORDER: JOURNAL,
    AuditEvent.TRADING_STATE: STATES,
    AuditEvent.RISK_OVERRIDE: STATES,
}
NUMBER = "number"
"""The place of a followed line in its source, in the payload of its record."""


@dataclass(frozen=True)
class AuditDraft:
    """What is to be recorded, before it has its place in the chain.

    Attributes:
        event: what happened, one of :class:`AuditEvent`.
        payload: what is to be known of it, plain (see :func:`~trading_pipeline.domain.canonical.plain`).
        at: when it was recorded, by this machine's clock, UTC.
        actor: who or what did it: an asset, a rule, a person.
        correlation_id: what belongs together: the id of an order, a plan, a session.
        causation_id: what led to it: the plan of an order, the session of a plan.
        run_id: Dagster's run, where it was one.
        code_version: the version of this code.
        config_hash: the fingerprint of the settings in force.
    """

    event: str
    payload: Mapping[str, Plain]
    at: datetime
    actor: str = ""
    correlation_id: str = ""
    causation_id: str = ""
    run_id: str = ""
    code_version: str = ""
    config_hash: str = ""

    def as_plain(self) -> dict[str, Plain]:
        """Return every field as it is kept."""
        # A record holds nothing but its fields.
        return {**{name: getattr(self, name) for name in self.__dataclass_fields__}, "at": instant_text(self.at)}

    def chained(self, sequence: int, previous_hash: str) -> "AuditRecord":
        """Return the record of it at that place of the chain."""
        own = {name: getattr(self, name) for name in AuditDraft.__dataclass_fields__}
        unsealed = AuditRecord(**own, sequence=sequence, previous_hash=previous_hash)
        return replace(unsealed, hash=unsealed.computed_hash())


@dataclass(frozen=True)
class AuditRecord(AuditDraft):
    """A link of the chain: ``sequence`` counts from 1, ``hash`` is the SHA-256 of all other fields."""

    sequence: int = 0
    previous_hash: str = GENESIS
    hash: str = ""

    def computed_hash(self) -> str:
        """Return the hash that the other fields have: the SHA-256 of the line without its hash and its end."""
        # Before it come fields of text alone, in which a quotation mark is escaped: the first is the record's own.
        named = b',"hash":' + canonical(self.hash)
        return hashlib.sha256(self.line.rstrip(b"\n").replace(named, b"", 1)).hexdigest()

    @functools.cached_property
    def line(self) -> bytes:
        """The record as it is kept, with the end of its line."""
        return canonical(self.as_plain()) + b"\n"


def record_of(line: bytes) -> AuditRecord:
    """Return the record that a line holds, whether or not its hash fits.

    Raises:
        DataError: it is not a record in the canonical form, with the end of its line.
    """
    found = _parsed(line)
    try:
        record = AuditRecord(**{**found, "at": datetime.fromisoformat(found["at"])})
        is_whole = _has_types(found) and record.line == line
    except (TypeError, ValueError, KeyError, RecursionError, InvalidInput) as error:
        raise DataError(f"it is no record ({type(error).__name__}); restore the file from a copy") from error
    if not is_whole:
        raise DataError("it is not in the form in which records are written; restore the file from a copy")
    return record


_NO_TEXT: Mapping[str, type] = {"payload": dict, "sequence": int, "count": int, "marks": dict}


def _has_types(found: Mapping[str, Plain]) -> bool:
    return all(type(value) is _NO_TEXT.get(name, str) for name, value in found.items())


def draft_of(line: bytes) -> AuditDraft:
    """Return the draft that a line holds; raises as :func:`record_of`."""
    found = _parsed(line)
    try:
        return AuditDraft(**{**found, "at": datetime.fromisoformat(found["at"])})
    except (TypeError, ValueError, KeyError) as error:
        raise DataError(f"it is no draft of a record ({type(error).__name__}); look at the file") from error


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        found = _DECODER.decode(line.decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"it cannot be read ({type(error).__name__}); restore the file from a copy") from error
    if not isinstance(found, dict):
        raise DataError("it is not a mapping; restore the file from a copy")
    return found


def _refused(text: str) -> NoReturn:
    raise ValueError(f"numbers that are not whole are kept as text, was {text}")


_DECODER = json.JSONDecoder(parse_float=_refused, parse_constant=_refused)


@dataclass(frozen=True)
class Mark:
    """How far a source was followed: the number of its last line in the log, and what tells that line from others."""

    number: int
    digest: str


@dataclass(frozen=True)
class AuditHead:
    """Where the chain ends, kept apart from it.

    Attributes:
        sequence: the last record's; 0 where there is none.
        hash: the last record's.
        count: how many records there are.
        segment: the key of the segment that holds the last one; empty where there is none.
        following: the key that the next segment will have.
        marks: how far each source was followed.
    """

    sequence: int
    hash: str
    count: int
    segment: str
    following: str
    marks: Mapping[str, Mark] = field(default_factory=dict)

    @property
    def line(self) -> bytes:
        """The head as it is kept."""
        return canonical({"schema_version": HEAD_VERSION, **self._as_plain()}) + b"\n"

    def _as_plain(self) -> dict[str, Plain]:
        return {each.name: plain(getattr(self, each.name)) for each in fields(self)}

    @property
    def anchor(self) -> str:
        """What a person keeps elsewhere, to compare with one day: the sequence and the hash.

        >>> AuditHead(7, "ab" * 32, 7, "", "").anchor
        '7:abababababababababababababababababababababababababababababababab'
        """
        return f"{self.sequence}:{self.hash}"

    def after(self, records: Sequence[AuditRecord], segment: str) -> "AuditHead":
        """Return the head after a segment of at least one record."""
        last, marks = records[-1], self.marks
        for record in records:
            marks = marks_after(marks, record)
        # Sequences count from 1 without a gap; where there is one, verification tells of it.
        return AuditHead(last.sequence, last.hash, last.sequence, segment, following_segment(segment, last), marks)


def head_of(content: bytes) -> AuditHead:
    """Return the head that was kept.

    Raises:
        DataError: it is no head in the form in which heads are written, or of a later version.
    """
    found = _parsed(content)
    try:
        version = found.pop("schema_version")
        marks = {name: Mark(**mark) for name, mark in found.pop("marks").items()}
        head = AuditHead(**found, marks=marks)
        is_whole = version == HEAD_VERSION and _has_types(found) and head.line == content
    except (TypeError, ValueError, KeyError, AttributeError, InvalidInput) as error:
        raise DataError(f"the head of the audit log is no head ({type(error).__name__})") from error
    if not is_whole:
        raise DataError("the head of the audit log is not in the form in which heads are written")
    return head


def marks_after(marks: Mapping[str, Mark], record: AuditRecord) -> Mapping[str, Mark]:
    """Return how far each source was followed once ``record`` was written."""
    source, number = FOLLOWED.get(record.event), record.payload.get(NUMBER)
    if source is not None and isinstance(number, int):
        return {**marks, source: Mark(number, identity(record.payload))}
    if record.event == AuditEvent.SETTINGS:
        return {**marks, SETTINGS: Mark(0, settings_digest(record.code_version, record.config_hash))}
    if record.event == AuditEvent.SOURCE_REPLACED:
        return {name: mark for name, mark in marks.items() if name != record.payload.get("source")}
    return marks


def identity(payload: Mapping[str, Plain]) -> str:
    """Return what tells a line of a source from one of the same number in another source.

    Not all that it says: later code may say more of the same line.
    """
    return digest([payload.get(name) for name in (NUMBER, "written_at", "client_order_id")])


def settings_digest(code_version: str, config_hash: str) -> str:
    """Return what tells one pair of code and settings from another."""
    return digest([code_version, config_hash])


CONTINUED_IN = "continued_in"


def first_segment(day: date) -> str:
    """Return the key of the first segment of a log that begins on ``day`` (UTC).

    >>> first_segment(date(2026, 7, 31))
    'audit/2026/07/31/000000000001.jsonl'
    """
    return segment_key(f"audit/{day:%Y/%m/%d}/", 1)


def segment_key(folder: str, sequence: int) -> str:
    """Return the key of the segment in ``folder`` whose first record has that sequence."""
    return f"{folder}{sequence:012d}.jsonl"


def following_segment(segment: str, last: AuditRecord) -> str:
    """Return the key of the segment after the one that ends with ``last``.

    It depends on nothing but the chain, so that all who write at once want
    the same key, of whom one gets it. A record of the end of a day names the
    folder of the next.
    """
    named = last.payload.get(CONTINUED_IN) if last.event == AuditEvent.NEXT_DAY else None
    folder = named if isinstance(named, str) else segment.rpartition("/")[0] + "/"
    return segment_key(folder, last.sequence + 1)


def day_of(segment: str) -> str:
    """Return the day in whose folder a segment lies.

    >>> day_of("audit/2026/07/31/000000000001.jsonl")
    '2026-07-31'
    """
    return "-".join(segment.split("/")[1:4])
