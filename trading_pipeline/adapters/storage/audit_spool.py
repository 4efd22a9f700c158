"""Drafts of audit records that could not be appended: kept on this machine until they can."""

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from trading_pipeline.adapters.storage.objects import FileObjects
from trading_pipeline.domain.audit import AuditDraft, draft_of
from trading_pipeline.domain.canonical import canonical
from trading_pipeline.ports import AuditLog

SPOOLED = "spooled"
"""What a draft's payload says of where it waited, so that it is appended once, whenever who appends it dies."""

_LOCK = ".appending.lock"


@dataclass(frozen=True)
class AuditSpool:
    """Drafts in files of a folder, one file for each time that appending failed.

    Raises, from every method:
        InvalidInput: the folder cannot be used.
        DependencyUnavailable: the disk fails.
        DataError: a file holds no drafts.
    """

    folder: Path

    def keep(self, drafts: Sequence[AuditDraft]) -> None:
        """Keep ``drafts``; durable when this returns."""
        # The name puts them in order; two at once are told apart by chance.
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"
        kept = [
            replace(draft, payload={**draft.payload, SPOOLED: f"{name}:{number}"})
            for number, draft in enumerate(drafts, start=1)
        ]
        content = b"".join(canonical(draft.as_plain()) + b"\n" for draft in kept)
        FileObjects(self.folder).put_if_absent(f"{name}.jsonl", content)

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

    def _appended(self, key: str, log: AuditLog) -> Sequence[AuditDraft]:
        drafts = self._drafts(key)
        log.follow(_what_is_missing(log, drafts))
        (self.folder / key).unlink(missing_ok=True)
        return drafts

    def _keys(self) -> Sequence[str]:
        return FileObjects(self.folder).list("")

    def _drafts(self, key: str) -> Sequence[AuditDraft]:
        content = FileObjects(self.folder).get(key) or b""
        return [draft_of(line) for line in content.splitlines(keepends=True)]


def _what_is_missing(log: AuditLog, drafts: Sequence[AuditDraft]) -> Callable[[object], Sequence[AuditDraft]]:
    since = min((draft.at.date() for draft in drafts), default=None)

    def missing(_head: object) -> Sequence[AuditDraft]:
        known = {record.payload.get(SPOOLED) for record in log.records(since=since)}
        return [draft for draft in drafts if draft.payload[SPOOLED] not in known]

    return missing
