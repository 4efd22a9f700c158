"""The trading state that counts: the severest of what is stored and of everything else that may hold trading.

Read before anything is planned, before every batch and before every order. A
source that cannot be read counts as it was last known for a while, then lets
exposures be reduced only, then nothing.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trading_pipeline.domain.errors import (
    DataError,
    PermanentError,
    PipelineError,
    TradingHalted,
    TransientError,
)
from trading_pipeline.domain.risk.state_sources import KnownSource, SourcePatience, merged
from trading_pipeline.domain.risk.trading_state import ACTIVE, Latch, TradingState
from trading_pipeline.ports import Clock, MendableTradingState, StateSource

STORE = "stored state"
# Everything that a source may fail with; being asked to end is none of it.
_FAILURES = (TransientError, PermanentError, DataError, TradingHalted)


@dataclass(frozen=True)
class AskedSource:
    """A source, and for how many seconds its answer counts before it is asked again; 0 asks at every reading."""

    source: StateSource
    fresh_for: float = 0.0


class EffectiveState:
    """The state in force. It reads all sources, and writes to the stored state alone; safe to use from many threads.

    Its memory of what sources last said is this object's: a process that has
    just started, and cannot read a source, may trade nothing.
    """

    def __init__(
        self,
        stored: MendableTradingState,
        sources: Sequence[AskedSource],
        clock: Clock,
        patience: SourcePatience | None = None,
    ) -> None:
        """Join ``sources`` to what is ``stored``; ``clock`` tells how long ago something was read."""
        self._stored = stored
        self._clock = clock
        self._patience = patience or SourcePatience()
        self._store = _Asked(AskedSource(_Store(stored)), clock, self._patience)
        self._others = [_Asked(source, clock, self._patience) for source in sources]
        self._held: TradingState = ACTIVE
        self._lock = threading.Lock()

    def read(self) -> TradingState:
        """Return the state in force; it is never less severe than what any source says, or last said.

        Raises:
            Interrupted: the process was asked to end while a source was asked.
        """
        with self._lock:
            held = self._held
        return merged(self._store.state(), [held, *(source.state() for source in self._others)])

    def certain(self) -> TradingState:
        """Return the state in force where every source says so itself; for plans, which are fixed once they are made.

        Raises:
            TradingHalted: a source could not be read, so that its silence would decide; ask again later.
            Interrupted: the process was asked to end while a source was asked.
        """
        state = self.read()
        silent = [asked for asked in (self._store, *self._others) if asked.failure]
        if silent:
            told = "; ".join(f"{asked.name}: {asked.failure}" for asked in silent)
            raise TradingHalted(f"whether trading is allowed is not known ({told}); mend it, then try again")
        return state

    def write(self, state: TradingState) -> None:
        """Store ``state``, whatever was stored; what other sources say goes on to count.

        Raises:
            InvalidInput: the folder cannot be used.
            DependencyUnavailable: the disk fails.
        """
        self._stored.write(state)

    def change(self, change: Callable[[TradingState], TradingState]) -> TradingState:
        """Replace the stored state by what ``change`` makes of it, and return that.

        Raises:
            TradingHalted: the stored state cannot be read.
            InvalidInput: the folder cannot be used.
            DependencyUnavailable: the disk fails.
        """
        return self._stored.change(change)

    def mend(self, change: Callable[[TradingState], TradingState]) -> TradingState:
        """Do as :meth:`change` does, on the newest state that is known where the stored one cannot be read.

        Raises:
            InvalidInput: the folder cannot be used.
            DependencyUnavailable: the disk fails.
        """
        return self._stored.mend(change)

    def latch(self, latch: Latch) -> TradingState:
        """Hold trading to ``latch``, store it, and return the stored state.

        Where it cannot be stored, it holds in this process all the same, until it could be.

        Raises:
            TradingHalted: the stored state cannot be read.
            InvalidInput: the folder cannot be used.
            DependencyUnavailable: the disk fails.
        """
        with self._lock:
            self._held = self._held.latched(latch)
            mine = self._held.latch(latch.name)
        stored = self._stored.change(lambda state: state.latched(latch if mine is None else mine))
        with self._lock:
            # One that was raised meanwhile is not stored yet.
            self._held = ACTIVE.joined(held for held in self._held.latches if held != mine)
        return stored


class _Store:
    """The stored state as a source among the others; the failure that it hides in its own is the one that counts."""

    name = STORE

    def __init__(self, stored: MendableTradingState) -> None:
        self._stored = stored

    def read(self) -> TradingState:
        return self._stored.read()


class _Asked:
    """One source with what is known of it."""

    def __init__(self, asked: AskedSource, clock: Clock, patience: SourcePatience) -> None:
        self._source = asked.source
        self._fresh_for = asked.fresh_for
        self._clock = clock
        self._patience = patience
        self._known: KnownSource | None = None
        self._lock = threading.Lock()
        self._asking = threading.Lock()

    @property
    def name(self) -> str:
        """What the source is called."""
        return self._source.name

    @property
    def failure(self) -> str:
        """Why it could not be read when it was last asked; empty where it could."""
        with self._lock:
            return "" if self._known is None else self._known.failure

    def state(self) -> TradingState:
        """Return what the source holds trading to, asking it where its last answer is too old."""
        if self._fresh_for <= 0:
            return self._answer()
        if (known := self._fresh()) is not None:
            return self._in_force(known)
        with self._asking:
            # Whoever waited here is content with what the one before was told.
            known = self._fresh()
            return self._answer() if known is None else self._in_force(known)

    def _fresh(self) -> KnownSource | None:
        with self._lock:
            known = self._known
        is_fresh = known is not None and self._clock.elapsed() - known.asked_at < self._fresh_for
        return known if is_fresh else None

    def _answer(self) -> TradingState:
        asked_at = self._clock.elapsed()
        try:
            state = self._source.read()
        except _FAILURES as error:
            return self._in_force(self._failed(error, asked_at))
        with self._lock:
            self._known = (self._known or KnownSource()).read(state, asked_at)
        return state

    def _failed(self, error: PipelineError, asked_at: float) -> KnownSource:
        with self._lock:
            known = self._known or KnownSource()
            is_final = not _may_pass(error)
            self._known = known.failed(str(error), asked_at, self._patience, is_final=is_final)
            return self._known

    def _in_force(self, known: KnownSource) -> TradingState:
        return known.in_force(self._source.name, self._clock.elapsed(), self._patience)


def _may_pass(error: PipelineError) -> bool:
    """Tell whether asking again may help; a store that fails closed keeps why it did as the cause."""
    return isinstance(error, TransientError) or isinstance(error.__cause__, TransientError)
