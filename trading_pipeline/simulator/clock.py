"""Simulated time: it stands still and moves when it is told to, or it runs with the computer's.

Clock modes ``frozen`` and ``stepped`` are the same thing: nothing but a call
moves it. ``replay`` runs a number of simulated seconds a second, ``wall`` runs
with the computer's clock and starts at its instant.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Protocol

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.sessions import NEW_YORK, close_of, open_of, session_at, sessions_between

MODES = ("frozen", "stepped", "replay", "wall")
NEVER_LONGER_SHUT = timedelta(days=14)
_ONE_STEP = timedelta(microseconds=1)


class Instants(Protocol):
    """Where instants are kept, so that a restart continues where it stopped."""

    def instant(self, name: str) -> datetime | None:
        """Return the instant kept under ``name``, or None."""
        ...

    def keep_instant(self, name: str, instant: datetime) -> None:
        """Keep ``instant`` under ``name``."""
        ...


class Clock:
    """The instant that the simulator takes for now, UTC."""

    def __init__(self, instants: Instants) -> None:
        self._instants = instants
        self._session: tuple[datetime, date | None] | None = None

    def now(self) -> datetime:
        """Return the simulated instant, UTC."""
        now = self._instants.instant("now")
        if now is None:
            raise InvalidInput("the simulated clock was never set; start the simulator with --start")
        return now

    def session(self) -> date | None:
        """Return the session that is open now, or None."""
        now = self.now()
        # Orders ask by the thousand in one moment.
        if self._session is None or self._session[0] != now:
            self._session = (now, session_at(now))
        return self._session[1]

    def set(self, instant: datetime) -> None:
        """Move to ``instant``; who may move where is decided by the caller."""
        self._instants.keep_instant("now", instant)

    def stamp(self) -> datetime:
        """Return an instant for something that happens now, a microsecond after the one given out before.

        Events of one standing moment keep their order that way, and asking for
        what happened *after* an instant read from the clock finds them.
        """
        latest = self._instants.instant("stamp")
        stamp = self.now() if latest is None else max(self.now(), latest + _ONE_STEP)
        self._instants.keep_instant("stamp", stamp)
        return stamp


@dataclass
class Pace:
    """How fast simulated time runs: ``factor`` simulated seconds a second, 0 for a clock that stands.

    ``seconds`` tells the time that passes, in seconds since any instant.
    """

    factor: float = 0.0
    seconds: Callable[[], float] = time.monotonic
    _from: tuple[datetime, float] | None = field(default=None, init=False)

    def restart(self, now: datetime) -> None:
        """Run from ``now`` on."""
        self._from = (now, self.seconds())

    def due(self, now: datetime) -> datetime:
        """Return the instant that the clock, which stands at ``now``, should have reached."""
        if not self.factor:
            return now
        if self._from is None:
            self.restart(now)
        begun, at = self._from or (now, self.seconds())
        return max(now, begun + timedelta(seconds=(self.seconds() - at) * self.factor))


@dataclass(frozen=True)
class Boundary:
    """The instant at which a session opens or closes."""

    instant: datetime
    opens: bool


def boundaries(after: datetime, until: datetime) -> Iterator[Boundary]:
    """Yield every open and close later than ``after`` and not later than ``until``, in order."""
    days = sessions_between(after.astimezone(NEW_YORK).date(), until.astimezone(NEW_YORK).date())
    for session in days:
        for boundary in (Boundary(open_of(session), opens=True), Boundary(close_of(session), opens=False)):
            if after < boundary.instant <= until:
                yield boundary


def next_boundary(after: datetime, *, opens: bool) -> datetime:
    """Return the first open (or close) later than ``after``."""
    found = boundaries(after, after + NEVER_LONGER_SHUT)
    return next(boundary.instant for boundary in found if boundary.opens is opens)


def is_open(now: datetime) -> bool:
    """Tell whether a session is open at ``now``."""
    return session_at(now) is not None
