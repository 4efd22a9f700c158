"""Telling a person that the feed as a whole is dead, once each time, and that it is alive again."""

from collections.abc import Iterator
from datetime import date
from itertools import count
from typing import Protocol

from trading_pipeline.domain import sessions
from trading_pipeline.ports import RECOVERED, Alert, Clock, Notifier, Severity

RUNBOOK = "data-feed"


class ToldBefore(Notifier, Protocol):
    """Tells people, and knows what it told them."""

    def knows(self, key: str) -> bool:
        """Tell whether an alert of that key is kept."""
        ...


def tell_of_dead_feed(told: ToldBefore, clock: Clock, session: date, remedy: str) -> bool:
    """Tell a person that nothing is decided for ``session``, and what to do; not while history is decided again.

    It is told once until the feed is alive again, and anew when it dies after that.

    Raises:
        DependencyUnavailable: it was told, but whether for the first time cannot be read.
    """
    if not _is_newest(clock, session):
        return False
    title = f"Market data of {session} cannot be used: nothing is decided"
    keys = _keys(session)
    while not told.notify(Alert(key := next(keys), Severity.CRITICAL, title, remedy, clock.now(), RUNBOOK)):
        if not told.knows(key + RECOVERED):
            return False
    return True


def tell_of_recovery(told: ToldBefore, clock: Clock, session: date) -> bool:
    """Tell a person that the feed, if it was dead before, may be used for ``session``.

    Not while history is decided again.

    Raises:
        DependencyUnavailable: whether it was dead cannot be read.
    """
    if not _is_newest(clock, session):
        return False
    key = next(key for key in _keys(session) if not told.knows(key + RECOVERED))
    if not told.knows(key):
        return False
    text = "The bars of the session are there now; what was decided from them is in job decide."
    title = f"Market data of {session} can be used again"
    return told.notify(Alert(key + RECOVERED, Severity.INFO, title, text, clock.now(), RUNBOOK))


def _keys(session: date) -> Iterator[str]:
    """Yield the key of the feed's first death in the session, the second and so on."""
    first = f"data_feed:{session}"
    yield first
    yield from (f"{first}:{number}" for number in count(2))


def _is_newest(clock: Clock, session: date) -> bool:
    return session == sessions.last_completed_session(clock.now())
