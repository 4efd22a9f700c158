"""What the watch over risk remembers: one object, compared and set, so that a restart goes on where it was."""

import functools
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trading_pipeline.adapters.storage.objects import Objects
from trading_pipeline.domain.errors import PipelineError
from trading_pipeline.domain.risk.watch_state import WatchState

if TYPE_CHECKING:
    from pydantic import TypeAdapter

RISK_WATCH_KEY = "state/risk_watch.json"
SCHEMA_VERSION = 2
# Version 1 did not know whether a person was told of figures that are missing.
_ADDED_SINCE = {1: {"unread_told"}, SCHEMA_VERSION: set[str]()}


@dataclass(frozen=True)
class StoredWatch:
    """What was stored: its bytes (None: nothing), and its meaning, or why it has none any more."""

    content: bytes | None
    state: WatchState
    fault: str = ""


class StoredRiskWatch:
    """The state of the watch as one JSON object sealed with a checksum; any number of processes may share it."""

    def __init__(self, objects: Objects) -> None:
        """Keep the state among ``objects``, at ``state/risk_watch.json``."""
        self._objects = objects

    def read(self) -> StoredWatch:
        """Return what is stored; an empty state where nothing is, or where it cannot be read, with the ``fault``.

        Raises:
            InvalidInput: the folder cannot be used.
            DependencyUnavailable: the disk fails.
        """
        content = self._objects.get(RISK_WATCH_KEY)
        if content is None:
            return StoredWatch(None, WatchState())
        try:
            return StoredWatch(content, _unsealed(content))
        except (PipelineError, ValueError, TypeError, KeyError) as error:
            return StoredWatch(content, WatchState(), f"{RISK_WATCH_KEY} cannot be read: {error}")

    def replace(self, earlier: StoredWatch, state: WatchState) -> bool:
        """Store ``state`` if what is there is still ``earlier``; tell whether it was, durably.

        Raises:
            InvalidInput: the folder cannot be used.
            DependencyUnavailable: the disk fails.
        """
        body = _adapter().dump_json(state)
        seal = hashlib.sha256(body).hexdigest()
        content = b'{"schema_version":%d,"sha256":"%b","state":%b}\n' % (SCHEMA_VERSION, seal.encode(), body)
        return self._objects.replace(RISK_WATCH_KEY, earlier.content, content)


@functools.cache
def _adapter() -> "TypeAdapter[WatchState]":
    from pydantic import TypeAdapter

    return TypeAdapter(WatchState)


def _unsealed(content: bytes) -> WatchState:
    from pydantic_core import from_json

    envelope = from_json(content)
    version = envelope["schema_version"]
    if version not in _ADDED_SINCE:
        raise ValueError(f"schema version {version}, this code reads up to {SCHEMA_VERSION}")
    state = _adapter().validate_python(envelope["state"])
    if hashlib.sha256(_adapter().dump_json(state, exclude=_ADDED_SINCE[version])).hexdigest() != envelope["sha256"]:
        raise ValueError("it was changed after it was written")
    return state
