"""Whether the system may trade: what persons and rules have latched, of which the severest decides.

Each source has one latch, under its own name, so that lifting what one set
leaves what another set. The state is a value: every change makes a new one,
and the store counts them (``epoch``).
"""

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime
from enum import StrEnum

from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.orders import Side

PERSON = "a person"
CODE_LENGTH = 6


class TradingMode(StrEnum):
    """ACTIVE trades; REDUCING sends only orders that lower an exposure; HALTED sends none. Cancels always pass."""

    ACTIVE = "active"
    REDUCING = "reducing"
    HALTED = "halted"

    @property
    def severity(self) -> int:
        """How much is forbidden: 0 where nothing is, 2 where everything is."""
        return list(TradingMode).index(self)


@dataclass(frozen=True)
class Latch:
    """What one source holds trading to, until it is reset.

    Attributes:
        name: the source, such as "a person", "drawdown" or "reconciliation"; a state has one latch of each.
        mode: REDUCING or HALTED.
        reason: why, for people.
        set_by: who set it; the source itself where nothing else is said.
        set_at: when, UTC; None where that is not known.
        session: the session in which it was set, or last found to be still deserved; needed for a risk latch.
        is_risk: whether a limit on risk set it, so that it is not reset before its session is over.
    """

    name: str
    mode: TradingMode
    reason: str = ""
    set_by: str = ""
    set_at: datetime | None = None
    session: date | None = None
    is_risk: bool = False

    def __post_init__(self) -> None:
        """Refuse a latch that holds nothing, and a risk latch of which nobody could tell when it ends.

        Raises:
            InvalidInput: the name is empty, the mode is ACTIVE, or the session of a risk latch is none.
        """
        if not self.name or self.mode is TradingMode.ACTIVE:
            raise InvalidInput(f"a latch needs a name and the mode reducing or halted, was {self.name!r}, {self.mode}")
        if self.is_risk and (self.session is None or not sessions.is_session(self.session)):
            raise InvalidInput(f"risk latch {self.name} needs the session in which it was set, was {self.session}")

    def is_bound(self, now: datetime) -> bool:
        """Tell whether it must stay at ``now``: a risk latch whose session has not closed yet.

        >>> from datetime import UTC
        >>> latch = Latch("drawdown", TradingMode.HALTED, session=date(2026, 7, 31), is_risk=True)
        >>> [latch.is_bound(datetime(2026, 7, 31, hour, tzinfo=UTC)) for hour in (19, 20)]
        [True, False]
        """
        return self.is_risk and self.session is not None and now < sessions.close_of(self.session)

    def joined(self, found: "Latch") -> "Latch":
        """Return this latch after its source found reason again: as it was, or as found where that is severer.

        What was a risk latch stays one, and is bound to the later of the sessions.
        """
        kept = self if found.mode.severity <= self.mode.severity else found
        days = [latch.session for latch in (self, found) if latch.session is not None]
        return replace(kept, session=max(days, default=None), is_risk=self.is_risk or found.is_risk)

    def __str__(self) -> str:
        """Show it in one line.

        >>> str(Latch("drawdown", TradingMode.HALTED, "12 % below the peak"))
        'drawdown: halted (12 % below the peak)'
        """
        return f"{self.name}: {self.mode}" + (f" ({self.reason})" if self.reason else "")


class Action(StrEnum):
    """What made a state of the one before: a latch was set or raised, some were reset, or it was written anew."""

    LATCHED = "latched"
    RESET = "reset"
    WRITTEN = "written"


@dataclass(frozen=True)
class StateChange:
    """What was done last to a state, why, by whom and when (UTC).

    ``names`` are the latches that were set or reset; ``overrides_risk`` tells
    that a risk latch was reset before its session was over.
    """

    action: Action
    names: tuple[str, ...]
    reason: str
    set_by: str
    set_at: datetime | None
    overrides_risk: bool = False


@dataclass(frozen=True)
class TradingState:
    """The mode, why it was set, by whom and when (UTC), and every latch behind it.

    Made of a mode alone it has one latch, of whoever is named. Two states are
    equal where mode and latches are, whatever led there.

    Attributes:
        mode: the severest latch's; ACTIVE where there is none.
        reason: the reason of that latch (of equals the first that was set); of the last reset where there is none.
        set_by: likewise who set it.
        set_at: likewise when.
        latches: all that hold, in the order in which they were set.
        epoch: how many changes of the stored state led here; 0 where it was never stored.
        change: what the last of them was, where that is known.
    """

    mode: TradingMode
    reason: str = ""
    set_by: str = ""
    set_at: datetime | None = None
    latches: tuple[Latch, ...] = ()
    epoch: int = field(default=0, compare=False)
    change: StateChange | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Latch what a bare mode says, and refuse a mode that its latches contradict.

        Raises:
            InvalidInput: mode, reason, set_by or set_at are not those of the latch that decides.
        """
        if not self.latches and self.mode is not TradingMode.ACTIVE:
            latch = Latch(self.set_by or PERSON, self.mode, self.reason, self.set_by, self.set_at)
            object.__setattr__(self, "latches", (latch,))
        found, wanted = (self.mode, self.reason, self.set_by, self.set_at), _head(self.latches)
        if wanted is not None and found != wanted:
            raise InvalidInput(
                f"a state is as its severest latch says, {self.deciding}; it was said to be {self.mode} "
                f"({self.reason}); change the latches"
            )

    @property
    def deciding(self) -> Latch | None:
        """The severest latch, of equals the first that was set; None where there is none."""
        return _severest(self.latches)

    @property
    def allows_trading(self) -> bool:
        """Tell whether any order may be sent."""
        return self.mode is not TradingMode.HALTED

    @property
    def allows_opening(self) -> bool:
        """Tell whether an exposure may be opened or raised."""
        return self.mode is TradingMode.ACTIVE

    def allows(self, side: Side) -> bool:
        """Tell whether an order of that side may be sent; a sale is taken to be of what is held.

        >>> TradingState(TradingMode.REDUCING).allows(Side.SELL), TradingState(TradingMode.REDUCING).allows(Side.BUY)
        (True, False)
        """
        return self.allows_trading if side is Side.SELL else self.allows_opening

    def latch(self, name: str) -> Latch | None:
        """Return the latch of that name, or None where there is none."""
        return next((latch for latch in self.latches if latch.name == name), None)

    def tightened(self, mode: TradingMode, reason: str, set_by: str, set_at: datetime) -> "TradingState":
        """Return this state with the latch of ``set_by`` at ``mode`` at least; itself where it is so already.

        So nothing that a rule finds ever loosens what a person or another rule
        set, and the first reason stays. ACTIVE tightens nothing.

        >>> from datetime import UTC
        >>> noon = datetime(2026, 7, 31, 16, tzinfo=UTC)
        >>> ACTIVE.tightened(TradingMode.REDUCING, "a break", "reconciliation", noon).reason
        'a break'
        """
        if mode is TradingMode.ACTIVE:
            return self
        return self.latched(Latch(set_by, mode, reason, set_by, set_at))

    def latched(self, latch: Latch) -> "TradingState":
        """Return this state with that latch, joined with an earlier one of its name; itself where nothing changes."""
        earlier = self.latch(latch.name)
        joined = latch if earlier is None else earlier.joined(latch)
        if joined == earlier:
            return self
        # One that was raised is as new as the reason that raised it.
        kept = [other for other in self.latches if other.name != latch.name]
        is_raised = earlier is None or joined.mode is not earlier.mode
        latches = (*kept, joined) if is_raised else tuple(joined if o.name == latch.name else o for o in self.latches)
        change = StateChange(Action.LATCHED, (latch.name,), latch.reason, latch.set_by, latch.set_at)
        return self._with(latches, change)

    def joined(self, latches: Iterable[Latch]) -> "TradingState":
        """Return this state with the latches of other sources, which are not stored with it."""
        state = self
        for latch in latches:
            state = state.latched(latch)
        return self if state is self else replace(state, change=self.change)

    def cleared(
        self, names: Collection[str], reason: str, set_by: str, set_at: datetime, *, overrides_risk: bool = False
    ) -> "TradingState":
        """Return this state without the latches of these names.

        Raises:
            InvalidInput: there is no latch of a name, or it is a risk latch whose session is not over at
                ``set_at`` and ``overrides_risk`` is not said.
        """
        chosen = [self._known(name) for name in names]
        bound = [latch for latch in chosen if latch.is_bound(set_at)]
        if bound and not overrides_risk:
            raise InvalidInput(f"{'; '.join(_why_bound(latch) for latch in bound)}; wait, or override it on purpose")
        told = tuple(latch.name for latch in chosen)
        change = StateChange(Action.RESET, told, reason, set_by, set_at, overrides_risk=bool(bound))
        return self._with(tuple(latch for latch in self.latches if latch.name not in names), change)

    def reset_code(self, names: Collection[str]) -> str:
        """Return what a person repeats to reset the latches of these names: it changes whenever the state does.

        The last six characters of a SHA-256 over the epoch, every latch and the names.

        >>> len(ACTIVE.reset_code([])), ACTIVE.reset_code([]) == replace(ACTIVE, epoch=1).reset_code([])
        (6, False)
        """
        told = [self.epoch, sorted(names), [asdict(latch) for latch in self.latches]]
        return hashlib.sha256(json.dumps(told, default=str).encode()).hexdigest()[-CODE_LENGTH:]

    def _with(self, latches: tuple[Latch, ...], change: StateChange) -> "TradingState":
        mode, reason, set_by, set_at = _head(latches) or (
            TradingMode.ACTIVE,
            change.reason,
            change.set_by,
            change.set_at,
        )
        return TradingState(mode, reason, set_by, set_at, latches, self.epoch, change)

    def _known(self, name: str) -> Latch:
        latch = self.latch(name)
        if latch is None:
            held = ", ".join(repr(other.name) for other in self.latches) or "none"
            raise InvalidInput(f"there is no latch {name!r}; those that hold are: {held}")
        return latch


def _severest(latches: Iterable[Latch]) -> Latch | None:
    return max(latches, key=lambda latch: latch.mode.severity, default=None)


def _head(latches: Iterable[Latch]) -> tuple[TradingMode, str, str, datetime | None] | None:
    latch = _severest(latches)
    return None if latch is None else (latch.mode, latch.reason, latch.set_by, latch.set_at)


def _why_bound(latch: Latch) -> str:
    return f"risk latch {latch.name} holds until session {latch.session} is over"


ACTIVE = TradingState(TradingMode.ACTIVE)


@dataclass(frozen=True)
class RecordedState:
    """A state as the history holds it; ``written_at`` is this machine's time, UTC."""

    state: TradingState
    written_at: datetime
