"""The trading state and its history: one object that is compared and set, and one for each change, written once.

The state is written first and its entry of the history after it. Whoever dies
in between leaves a state that is newer than the history, which is harmless:
the next change writes the missing entry first. A state that is older than the
history was rolled back, by a copy that was restored, say; then nothing is
traded, for what was latched since is not in it.
"""

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from trading_pipeline.adapters.clocks import WallClock
from trading_pipeline.adapters.storage.objects import Objects
from trading_pipeline.domain.errors import DataError, DependencyUnavailable, PipelineError, TradingHalted
from trading_pipeline.domain.risk.trading_state import ACTIVE, Action, RecordedState, StateChange, TradingState

if TYPE_CHECKING:
    from pydantic import TypeAdapter

TRADING_STATE_KEY = "state/trading_state.json"
HISTORY_PREFIX = "state/history/"
# The first version had no seal, the second one mode and no latches.
SCHEMA_VERSION = 3
_ADDED_SINCE = {2: {"latches", "epoch", "change"}, SCHEMA_VERSION: set[str]()}
_UNSEALED_VERSION = 1
MOST_CONFLICTS = 1_000


class StoredTradingState:
    """The trading state as JSON objects sealed with checksums; any number of processes may share them."""

    def __init__(
        self,
        objects: Objects,
        machine_time: Callable[[], datetime] | None = None,
        after_change: Callable[[], object] | None = None,
    ) -> None:
        """Keep the state among ``objects``, at ``state/trading_state.json`` and below ``state/history/``.

        ``machine_time`` tells when a change is written; it is this machine's clock where not given.
        ``after_change`` is called once a change is stored, whoever made it; it must neither raise nor wait.
        """
        self._objects = objects
        self._machine_time = machine_time or WallClock().now
        self._after_change = after_change

    def read(self) -> TradingState:
        """Return the state; ACTIVE where none was ever written.

        Raises:
            TradingHalted: the stored state cannot be read or was rolled back: failing closed. Its cause is a
                TransientError where asking again may help.
        """
        return self._stored()[1]

    def write(self, state: TradingState) -> None:
        """Persist the state, whatever was there; durable when this returns.

        Raises:
            InvalidInput: the folder cannot be used.
            DependencyUnavailable: the disk fails, or others write without end.
        """
        change = StateChange(Action.WRITTEN, (), state.reason, state.set_by, state.set_at)
        self.mend(lambda _: replace(state, change=change))

    def change(self, change: Callable[[TradingState], TradingState]) -> TradingState:
        """Replace the state by what ``change`` makes of it, and return that; of two writers at once none is lost.

        ``change`` is called again when another process wrote meanwhile, so it
        should do nothing but compute. A state that stays equal is not written.

        Raises:
            TradingHalted: the stored state cannot be read; :meth:`mend` writes it anew.
            InvalidInput: the folder cannot be used.
            DependencyUnavailable: the disk fails, or others write without end.
        """
        return self._changed(self._stored, change)

    def mend(self, change: Callable[[TradingState], TradingState]) -> TradingState:
        """Do as :meth:`change` does, and take the newest state of the history where the stored one cannot be read.

        Raises:
            InvalidInput: the folder cannot be used.
            DependencyUnavailable: the disk fails, or others write without end.
        """
        return self._changed(self._stored_or_none, change)

    def history(self) -> Sequence[RecordedState]:
        """Return every state that was stored, oldest first, and write the newest one's entry where it is missing.

        Raises:
            DataError: an entry of the history cannot be read.
            InvalidInput: the folder cannot be used.
            DependencyUnavailable: the disk fails.
        """
        _, state = self._stored_or_none()
        if state is not None:
            self._record(state)
        return [_recorded(key, self._objects.get(key)) for key in self._objects.list(HISTORY_PREFIX)]

    def changes_after(self, epoch: int, *, mend: bool = True) -> Sequence[tuple[int, RecordedState | None]]:
        """Return the number of every change after ``epoch`` and what it made, oldest first; None where damaged.

        The newest one's entry is written where it is missing, unless ``mend`` is not wanted.

        Raises:
            InvalidInput: the folder cannot be used.
            DependencyUnavailable: the disk fails.
        """
        state = self._stored_or_none()[1] if mend else None
        if state is not None:
            self._record(state)
        later = [key for key in self._objects.list(HISTORY_PREFIX) if _epoch_of(key) > epoch]
        return [(_epoch_of(key), self._recorded_or_none(key)) for key in later]

    def _recorded_or_none(self, key: str) -> RecordedState | None:
        try:
            return _recorded(key, self._objects.get(key))
        except DataError:
            return None

    def last_recorded(self) -> TradingState:
        """Return the newest state of the history that can be read; ACTIVE where there is none.

        Raises:
            InvalidInput: the folder cannot be used.
            DependencyUnavailable: the disk fails.
        """
        for key in reversed(self._objects.list(HISTORY_PREFIX)):
            try:
                return _recorded(key, self._objects.get(key)).state
            except DataError:
                continue
        return ACTIVE

    def _changed(
        self,
        stored: Callable[[], tuple[bytes | None, TradingState | None]],
        change: Callable[[TradingState], TradingState],
    ) -> TradingState:
        for _ in range(MOST_CONFLICTS):
            content, state = stored()
            base = self.last_recorded() if state is None else state
            changed = change(base)
            if changed == state:
                return changed
            if state is not None:
                # Its writer may have died before the history had it.
                self._record(state)
            changed = replace(changed, epoch=self._next_epoch(state))
            if self._objects.replace(TRADING_STATE_KEY, content, _sealed("state", _adapter(TradingState), changed)):
                self._record(changed)
                if self._after_change is not None:
                    self._after_change()
                return changed
        raise DependencyUnavailable(
            f"the trading state {TRADING_STATE_KEY} was written by others {MOST_CONFLICTS} times before it could be "
            f"changed; find who writes it without end"
        )

    def _next_epoch(self, state: TradingState | None) -> int:
        if state is not None:
            return state.epoch + 1
        keys = self._objects.list(HISTORY_PREFIX)
        return _epoch_of(keys[-1]) + 1 if keys else 1

    def _record(self, state: TradingState) -> None:
        if state.epoch:
            entry = RecordedState(state, self._machine_time())
            self._objects.put_if_absent(_history_key(state.epoch), _sealed("entry", _adapter(RecordedState), entry))

    def _stored_or_none(self) -> tuple[bytes | None, TradingState | None]:
        content = self._objects.get(TRADING_STATE_KEY)
        try:
            return content, self._in_force(content)
        except (PipelineError, ValueError, TypeError, KeyError):
            return content, None

    def _stored(self) -> tuple[bytes | None, TradingState]:
        try:
            content = self._objects.get(TRADING_STATE_KEY)
            return content, self._in_force(content)
        except (PipelineError, ValueError, TypeError, KeyError) as error:
            raise TradingHalted(
                f"the trading state {TRADING_STATE_KEY} cannot be read, so nothing is traded: {error}; "
                f"look at it, then write it anew with `trading-pipeline kill reset`"
            ) from error

    def _in_force(self, content: bytes | None) -> TradingState:
        """Return the state of ``content``.

        Raises:
            DataError: the history knows of a later one, and the stored one is still this.
        """
        while True:
            state = ACTIVE if content is None else _unsealed_state(content)
            later = _history_key(state.epoch + 1)
            if self._objects.get(later) is None:
                return state
            # Somebody may have written between the two readings: the state first, and then its entry.
            before, content = content, self._objects.get(TRADING_STATE_KEY)
            if content == before:
                raise DataError(f"it is of change {state.epoch}, and {later} is of a later one: it was rolled back")


def _history_key(epoch: int) -> str:
    return f"{HISTORY_PREFIX}{epoch:08d}.json"


def _epoch_of(key: str) -> int:
    return int(key.removeprefix(HISTORY_PREFIX).removesuffix(".json"))


@functools.cache
def _adapter(kind: type[Any]) -> "TypeAdapter[Any]":
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _sealed(name: str, adapter: "TypeAdapter[Any]", value: object) -> bytes:
    body = adapter.dump_json(value)
    seal = hashlib.sha256(body).hexdigest()
    return b'{"schema_version":%d,"sha256":"%b","%b":%b}\n' % (SCHEMA_VERSION, seal.encode(), name.encode(), body)


def _recorded(key: str, content: bytes | None) -> RecordedState:
    from pydantic_core import from_json

    try:
        envelope = from_json(content or b"")
        entry: RecordedState = _adapter(RecordedState).validate_python(envelope["entry"])
        seal = hashlib.sha256(_adapter(RecordedState).dump_json(entry)).hexdigest()
        is_whole = envelope["schema_version"] == SCHEMA_VERSION and seal == envelope["sha256"]
    except (PipelineError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{key} cannot be read ({type(error).__name__}); restore it from a copy") from error
    if not is_whole or key != _history_key(entry.state.epoch):
        raise DataError(f"{key} was changed after it was written; restore it from a copy")
    return entry


def _unsealed_state(content: bytes) -> TradingState:
    from pydantic_core import from_json

    envelope = from_json(content)
    version = envelope["schema_version"]
    if version not in {_UNSEALED_VERSION, *_ADDED_SINCE}:
        raise ValueError(f"schema version {version}, this code reads up to {SCHEMA_VERSION}")
    state: TradingState = _adapter(TradingState).validate_python(envelope["state"])
    if version == _UNSEALED_VERSION and "sha256" not in envelope:
        return state
    body = _adapter(TradingState).dump_json(state, exclude=_ADDED_SINCE.get(version, _ADDED_SINCE[2]))
    if hashlib.sha256(body).hexdigest() != envelope["sha256"]:
        raise ValueError("it was changed after it was written")
    return state
