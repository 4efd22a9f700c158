"""Surveillance of our own orders: symbols traded to and fro or failing too often.

A lock follows from the history of events alone, so that it survives restarts
and is the same in backtests; nothing has to remember it. It lasts for whole
sessions. What is exempt from it, such as sales out of a position, is for those
to say who ask.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from itertools import pairwise

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.fills import Fill
from trading_pipeline.domain.orders import Side
from trading_pipeline.domain.sessions import NEW_YORK, close_of, count_between, sessions_between

DUPLICATE_WINDOW = timedelta(seconds=60)
"""The span within which equal orders look like one that was sent again by mistake."""

_LONGEST_CLOSURE = timedelta(days=14)


class OrderEventKind(StrEnum):
    """What happened to an order."""

    TRADED = "traded"
    CANCELED = "canceled"
    REJECTED = "rejected"


@dataclass(frozen=True)
class OrderEvent:
    """Something that happened to an order of a symbol at a UTC instant: as a rule, that it was sent or filled."""

    symbol: str
    side: Side
    at: datetime
    kind: OrderEventKind = OrderEventKind.TRADED


def fill_events(fills: Iterable[Fill]) -> tuple[OrderEvent, ...]:
    """Return the events that executions are."""
    return tuple(OrderEvent(fill.symbol, fill.side, fill.filled_at) for fill in fills)


@dataclass(frozen=True)
class SurveillanceRules:
    """When a symbol is locked, and for how long.

    A *reversal* is a trade on the other side than the symbol's trade before it.
    A symbol is locked with more than ``most_reversals`` within
    ``reversal_sessions`` sessions, or with more than ``most_failures`` canceled
    and rejected orders within ``failure_window``; until the end of the
    ``lock_sessions``-th session, that of the event being the first.

    A strategy that decides once a session reverses a symbol at most once in
    each, hence no more often than ``reversal_sessions`` times: the defaults
    leave it alone, and so would a second decision in one session of the two.

    Raises:
        InvalidInput: a count is below one, or the window is not positive.
    """

    most_reversals: int = 3
    reversal_sessions: int = 2
    most_failures: int = 5
    failure_window: timedelta = timedelta(minutes=10)
    lock_sessions: int = 1

    def __post_init__(self) -> None:
        """Refuse rules that would lock everything or nothing."""
        counts = (self.most_reversals, self.reversal_sessions, self.most_failures, self.lock_sessions)
        if min(counts) < 1 or self.failure_window <= timedelta(0):
            raise InvalidInput(f"surveillance needs counts of one and more and a positive window, found {self}")


@dataclass(frozen=True)
class SymbolLock:
    """A symbol that is not to be traded before the UTC instant ``until``, and why."""

    symbol: str
    reason: str
    until: datetime


def symbol_locks(
    events: Sequence[OrderEvent], now: datetime, rules: SurveillanceRules | None = None
) -> tuple[SymbolLock, ...]:
    """Return the locks that hold at the instant ``now``, one a symbol, in order of symbols.

    ``events`` are in any order; those after ``now`` are left out of account. An
    event that breaks a rule while a lock holds makes the lock last longer.

    Raises:
        InvalidInput: an instant has no time zone.
    """
    _require_time_zones([now, *(event.at for event in events)])
    by_symbol: dict[str, list[OrderEvent]] = {}
    for event in sorted(events, key=lambda event: (event.at, event.side, event.kind)):
        if event.at <= now:
            by_symbol.setdefault(event.symbol, []).append(event)
    locks = (_lock(by_symbol[symbol], rules or SurveillanceRules()) for symbol in sorted(by_symbol))
    return tuple(lock for lock in locks if lock is not None and now < lock.until)


def _lock(events: Sequence[OrderEvent], rules: SurveillanceRules) -> SymbolLock | None:
    """Return the last lock that the events of one symbol, in order of time, brought about."""
    found = [lock for lock in (_churn(events, rules), _failures(events, rules)) if lock is not None]
    return max(found, key=lambda lock: lock.until, default=None)


def _churn(events: Sequence[OrderEvent], rules: SurveillanceRules) -> SymbolLock | None:
    trades = [event for event in events if event.kind is OrderEventKind.TRADED]
    reversals = [later for earlier, later in pairwise(trades) if later.side is not earlier.side]
    for place in range(len(reversals) - 1, rules.most_reversals - 1, -1):
        first, last = reversals[place - rules.most_reversals], reversals[place]
        if count_between(_day(first.at), _day(last.at)) < rules.reversal_sessions:
            reason = f"more than {rules.most_reversals} reversals in {rules.reversal_sessions} sessions"
            return SymbolLock(last.symbol, reason, _end(last.at, rules.lock_sessions))
    return None


def _failures(events: Sequence[OrderEvent], rules: SurveillanceRules) -> SymbolLock | None:
    failures = [event for event in events if event.kind is not OrderEventKind.TRADED]
    for place in range(len(failures) - 1, rules.most_failures - 1, -1):
        first, last = failures[place - rules.most_failures], failures[place]
        if last.at - first.at <= rules.failure_window:
            reason = f"more than {rules.most_failures} orders canceled or rejected in {rules.failure_window}"
            return SymbolLock(last.symbol, reason, _end(last.at, rules.lock_sessions))
    return None


def _day(at: datetime) -> date:
    return at.astimezone(NEW_YORK).date()


def _end(at: datetime, count: int) -> datetime:
    """Return the close of the ``count``-th session that ends after the instant ``at``."""
    ahead = sessions_between(_day(at), _day(at) + _LONGEST_CLOSURE + timedelta(days=2 * count))
    return [close for close in map(close_of, ahead) if close > at][count - 1]


def _require_time_zones(instants: Iterable[datetime]) -> None:
    naive = [instant.isoformat() for instant in instants if instant.tzinfo is None]
    if naive:
        raise InvalidInput(f"instants need a time zone, found {', '.join(naive)} without one")
