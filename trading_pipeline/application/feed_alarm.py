"""Telling a person that the feed as a whole is dead, once a session, and that it is alive again."""

from datetime import date

from trading_pipeline.domain import sessions
from trading_pipeline.ports import RECOVERED, Alert, Clock, Notifier, Severity

RUNBOOK = "data-feed"


def tell_of_dead_feed(notifier: Notifier, clock: Clock, session: date, remedy: str) -> bool:
    """Tell a person that nothing is decided for ``session``, and what to do; not while history is decided again."""
    if not _is_newest(clock, session):
        return False
    title = f"Market data of {session} cannot be used: nothing is decided"
    return notifier.notify(Alert(_key(session), Severity.CRITICAL, title, remedy, clock.now(), RUNBOOK))


def tell_of_recovery(notifier: Notifier, clock: Clock, session: date) -> bool:
    """Tell a person that the feed, dead before, may be used for ``session``; not while history is decided again."""
    if not _is_newest(clock, session):
        return False
    text = "The bars of the session are there now; what was decided from them is in job decide."
    title = f"Market data of {session} can be used again"
    return notifier.notify(Alert(_key(session) + RECOVERED, Severity.INFO, title, text, clock.now(), RUNBOOK))


def _key(session: date) -> str:
    return f"data_feed:{session}"


def _is_newest(clock: Clock, session: date) -> bool:
    return session == sessions.last_completed_session(clock.now())
