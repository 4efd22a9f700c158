"""Drafts of audit records that could not be appended: kept on this machine until they can; and since when one fails."""

import json
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime, timedelta
from pathlib import Path

from filelock import FileLock, Timeout

from trading_pipeline.adapters.storage.objects import FileObjects
from trading_pipeline.domain.audit import AuditDraft, AuditHead, day_of, draft_of
from trading_pipeline.domain.canonical import canonical, instant_text
from trading_pipeline.domain.errors import DependencyUnavailable, PipelineError
from trading_pipeline.ports import AuditLog

SPOOLED = "spooled"
"""What a draft's payload says of where it waited, so that it is appended once, whenever who appends it dies."""

CLOCK_SET_BACK = timedelta(days=7)
"""How far back a clock may have been set since a draft was made: it is looked for among what was filed since then."""

MOST_CONFLICTS = 1_000
_LOCK = ".appending.lock"
_DRAFTS = ".jsonl"


@dataclass(frozen=True)
class _Failing:
    """What fails now and since when, and the failures that are over and whose end was not told yet."""

    since: str = ""
    sources: tuple[str, ...] = ()
    over: tuple[str, ...] = ()

    def failed(self, source: str, at: str) -> "_Failing":
        return replace(self, since=self.since or at, sources=tuple(sorted({*self.sources, source})))

    def worked(self, sources: Collection[str]) -> "_Failing":
        left = tuple(source for source in self.sources if source not in sources)
        if left or not self.since:
            return replace(self, sources=left)
        return _Failing(over=tuple(sorted({*self.over, self.since})))

    def told(self, failures: Collection[str]) -> "_Failing":
        return replace(self, over=tuple(since for since in self.over if since not in failures))


@dataclass(frozen=True)
class AuditSpool:
    """Drafts in files of a folder, one file for each time that appending failed.

    Beside the folder it is kept since when recording fails, so that whichever
    process records next can tell that this is over.

    Raises, from every method:
        InvalidInput: the folder cannot be used.
        DependencyUnavailable: the disk fails.
        DataError: a file holds no drafts.
    """

    folder: Path
    _unkept: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def keep(self, drafts: Sequence[AuditDraft]) -> None:
        """Keep ``drafts``; durable when this returns."""
        # The name puts them in order; two at once are told apart by chance.
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"
        kept = [
            replace(draft, payload={**draft.payload, SPOOLED: f"{name}:{number}"})
            for number, draft in enumerate(drafts, start=1)
        ]
        content = b"".join(canonical(draft.as_plain()) + b"\n" for draft in kept)
        FileObjects(self.folder).put_if_absent(f"{name}{_DRAFTS}", content)

    def waiting(self) -> Sequence[AuditDraft]:
        """Return what waits, oldest first."""
        return [draft for key in self._keys() for draft in self._drafts(key)]

    def drain(self, log: AuditLog) -> Sequence[AuditDraft]:
        """Append what waits to ``log`` and return it; nothing where another process does that."""
        if not self._keys():
            return []
        try:
            with FileLock(self.folder / _LOCK, timeout=0):
                return [draft for key in self._keys() for draft in self._appended(key, log)]
        except Timeout:
            return []

    def is_empty(self) -> bool:
        """Tell whether nothing waits."""
        return not self._keys()

    def failed(self, source: str, at: datetime) -> str:
        """Note that ``source`` cannot be recorded; return what names the failure: the instant at which it began.

        It is one failure until all that failed has worked again, whoever notes
        it. Where that cannot be written either, this process alone knows of it.
        """
        # What was noted here only is the same failure once it can be written.
        earlier = list(self._unkept.values())
        since = earlier[0] if earlier else instant_text(at)
        try:
            since = self._changed(lambda failing: failing.failed(source, since)).since
        except PipelineError:
            return self._unkept.setdefault(source, since)
        self._unkept.pop(source, None)
        return since

    def worked(self, sources: Collection[str]) -> Sequence[str]:
        """Note that ``sources`` can be recorded; return what names the failures that are over and not told so yet."""
        over = self._changed(lambda failing: failing.worked(sources)).over
        # Only now: a failure that this process alone knows of is forgotten once its end is told.
        own = {self._unkept.pop(source) for source in sources if source in self._unkept} - {*self._unkept.values()}
        return sorted({*own, *over})

    def told(self, failures: Collection[str]) -> None:
        """Forget failures whose end was told."""
        self._changed(lambda failing: failing.told(failures))

    def _changed(self, change: Callable[[_Failing], _Failing]) -> _Failing:
        objects, key = FileObjects(self.folder.parent), f"{self.folder.name}.failing.json"
        for _ in range(MOST_CONFLICTS):
            stored = objects.get(key)
            before = _failing_of(stored)
            after = change(before)
            if after == before or objects.replace(key, stored, json.dumps(asdict(after)).encode() + b"\n"):
                return after
        raise DependencyUnavailable(f"others wrote {key} {MOST_CONFLICTS} times first; find who writes it without end")

    def _appended(self, key: str, log: AuditLog) -> Sequence[AuditDraft]:
        drafts = self._drafts(key)
        # The lock keeps everybody else from appending them: what is missing now is missing until it is appended here,
        # once, whether or not it would be found again.
        log.append(_missing(log, drafts))
        (self.folder / key).unlink(missing_ok=True)
        return drafts

    def _keys(self) -> Sequence[str]:
        return [key for key in FileObjects(self.folder).list("") if key.endswith(_DRAFTS)]

    def _drafts(self, key: str) -> Sequence[AuditDraft]:
        content = FileObjects(self.folder).get(key) or b""
        return [draft_of(line) for line in content.splitlines(keepends=True)]


def _missing(log: AuditLog, drafts: Sequence[AuditDraft]) -> Sequence[AuditDraft]:
    """Return what of the drafts the log does not hold: whoever appended them may have died before forgetting them."""
    known = {record.payload.get(SPOOLED) for record in log.records(since=_since(log, drafts))}
    return [draft for draft in drafts if draft.payload[SPOOLED] not in known]


def _since(log: AuditLog, drafts: Sequence[AuditDraft]) -> date:
    """Return the day from which on the drafts may have been filed.

    A record is filed by the clock at the time of its appending, and never
    before the newest folder. The clock that a draft was made by may have been
    ahead of that.
    """
    heads: list[AuditHead] = []

    def look(head: AuditHead) -> Sequence[AuditDraft]:
        heads.append(head)
        return []

    # A head that is lost is made anew by that, where only looking at it would fail.
    log.follow(look)
    days = [draft.at.date() for draft in drafts] + [date.fromisoformat(day_of(head.following)) for head in heads]
    return min(days) - CLOCK_SET_BACK


def _failing_of(content: bytes | None) -> _Failing:
    if content is None:
        return _Failing()
    try:
        found = json.loads(content)
        return _Failing(str(found["since"]), tuple(found["sources"]), tuple(found["over"]))
    except (ValueError, TypeError, KeyError):
        # Whatever was told stays unanswered then, for a person to look at.
        return _Failing()
