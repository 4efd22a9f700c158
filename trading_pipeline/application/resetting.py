"""Trading again, in two steps: what holds trading is shown with a code, and the code is repeated with a reason.

The code is of what was shown. Whatever else begins to hold trading meanwhile
makes it another one, so that nobody resets what they have not seen.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from trading_pipeline.domain.errors import InvalidInput, TradingHalted
from trading_pipeline.domain.risk.trading_state import Latch, TradingState


class RecordedTradingState(Protocol):
    """A stored state, and what its history holds of it."""

    def read(self) -> TradingState:
        """Return the state.

        Raises:
            TradingHalted: the stored state cannot be read.
        """
        ...

    def last_recorded(self) -> TradingState:
        """Return the newest state of the history that can be read."""
        ...

    def mend(self, change: Callable[[TradingState], TradingState]) -> TradingState:
        """Replace the state by what ``change`` makes of it, or of the newest recorded one."""
        ...


@dataclass(frozen=True)
class Offer:
    """What the first step shows.

    Attributes:
        state: what is stored, or the newest that was recorded.
        latches: those that would be reset.
        code: what the second step repeats.
        bound: those of the latches that a limit on risk set, and whose session is not over.
        damage: why the stored state cannot be read; empty where it can.
    """

    state: TradingState
    latches: tuple[Latch, ...]
    code: str
    bound: tuple[Latch, ...]
    damage: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to reset."""
        return not self.latches and not self.damage

    def lines(self) -> Sequence[str]:
        """Return what a person should read before the second step."""
        told = [f"{self.damage}\nThe newest state that was recorded:"] if self.damage else []
        told += [f"{held}, set by {held.set_by or 'nobody known'}{_since(held)}" for held in self.latches]
        told += [
            f"{held.name} holds until session {held.session} is over, unless risk is overridden" for held in self.bound
        ]
        return [*told, f"code {self.code}"] if not self.is_empty else ["nothing that is stored holds trading"]


def offered(stored: RecordedTradingState, names: Sequence[str], now: datetime) -> Offer:
    """Return what would be reset at ``now`` (UTC): the latches of these names, all where none is named.

    Raises:
        InvalidInput: there is no latch of a name, or the folder cannot be used.
        DependencyUnavailable: the disk fails.
    """
    try:
        state, damage = stored.read(), ""
    except TradingHalted as error:
        state, damage = stored.last_recorded(), str(error)
    chosen = tuple(_known(state, name) for name in names) or state.latches
    bound = tuple(held for held in chosen if held.is_bound(now))
    return Offer(state, chosen, state.reset_code([held.name for held in chosen]), bound, damage)


def reset(
    stored: RecordedTradingState,
    code: str,
    reason: str,
    set_by: str,
    now: datetime,
    names: Sequence[str] = (),
    *,
    overrides_risk: bool = False,
) -> TradingState:
    """Reset what the first step showed under ``code``, and return the stored state; one that is damaged is mended.

    Raises:
        InvalidInput: the reason is empty, the code is of something else, or a limit on risk holds until its session
            is over and ``overrides_risk`` is not said.
        DependencyUnavailable: the disk fails.
    """
    if not reason.strip():
        raise InvalidInput("trading goes on for a reason; give one, for whoever looks later")

    def without(state: TradingState) -> TradingState:
        chosen = list(names) or [held.name for held in state.latches]
        if state.reset_code(chosen) != code:
            raise InvalidInput(
                f"the code {code!r} is not of what holds trading now ({listed(state)}); take the first step again, "
                f"for the same latches, and look anew"
            )
        return state.cleared(chosen, reason, set_by, now, overrides_risk=overrides_risk)

    return stored.mend(without)


def listed(state: TradingState) -> str:
    """Return every latch of a state in one line.

    >>> from trading_pipeline.domain.risk.trading_state import ACTIVE
    >>> listed(ACTIVE)
    'nothing'
    """
    return "; ".join(map(str, state.latches)) or "nothing"


def _known(state: TradingState, name: str) -> Latch:
    found = state.latch(name)
    if found is None:
        raise InvalidInput(f"there is no latch {name!r}; those that hold are: {listed(state)}")
    return found


def _since(held: Latch) -> str:
    return "" if held.set_at is None else f" since {held.set_at:%Y-%m-%d %H:%M} UTC"
