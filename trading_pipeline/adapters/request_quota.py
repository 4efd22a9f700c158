"""Requests a minute: never more than the other side allows, and no slower than that where nothing is known.

Two things must hold before a request leaves. A token bucket smooths: it holds
a burst, and fills at a rate such that burst and rate together stay inside
the quota of any minute. And the figures of the last answer
(``X-RateLimit-Limit``, ``-Remaining``, ``-Reset``) bound: what they leave,
less what is under way, is spent evenly until the reset, whoever else uses the
same account. From the first such answer on the rate is theirs alone.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import IntEnum
from http import HTTPStatus
from itertools import count
from math import inf

from trading_pipeline.domain.errors import InvalidInput, RateLimited
from trading_pipeline.ports import Clock

MINUTE = 60.0
# A wait shorter than this would be a spin.
_SHORTEST_WAIT = 0.001
_MOST_DIGITS = 15
_LONGEST_RETRY_AFTER = 86_400.0


class Urgency(IntEnum):
    """Whose turn it is first."""

    CANCEL = 0
    ORDER = 1
    READ = 2


# Seconds by which the urgent may overtake; what waited longer goes first, so that nothing waits for ever.
_HEAD_START = {Urgency.CANCEL: MINUTE, Urgency.ORDER: 2.0, Urgency.READ: 0.0}
# Fractions of the limit that are left to the more urgent, and to requests of others that nobody told us of.
_KEPT = {Urgency.CANCEL: 0.0, Urgency.ORDER: 0.02, Urgency.READ: 0.05}


@dataclass(frozen=True)
class QuotaRules:
    """What is assumed until an answer tells.

    Attributes:
        requests_per_minute: the quota of the account.
        burst: requests that may leave at once after a rest; fewer than the quota.
    """

    requests_per_minute: int = 200
    burst: int = 60

    def __post_init__(self) -> None:
        """Refuse a burst that leaves nothing to refill it with.

        Raises:
            InvalidInput: ``burst`` is not between 1 and ``requests_per_minute``.
        """
        if not 1 <= self.burst < self.requests_per_minute:
            raise InvalidInput(
                f"a burst must be at least 1 and less than the {self.requests_per_minute} requests a minute, "
                f"was {self.burst}"
            )


@dataclass(frozen=True)
class QuotaHealth:
    """What is known of the quota: requests a minute, what is left of them until when, and who waited how long."""

    limit: int
    remaining: int | None
    resets_at: datetime | None
    waits: int
    waited_seconds: float


@dataclass(frozen=True)
class _Window:
    """The minute that the other side counts in; ``reset`` is its end in its own terms, ``ends`` in ours."""

    reset: float
    ends: float
    remaining: float


class RequestQuota:
    """The quota of one account, shared by all its callers; safe to use from many threads."""

    def __init__(self, rules: QuotaRules, clock: Clock) -> None:
        """Begin with a full burst and no knowledge of what was used before."""
        self._burst = rules.burst
        self._limit = rules.requests_per_minute
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens = float(rules.burst)
        self._refilled = clock.elapsed()
        self._window: _Window | None = None
        self._shut_until = -inf
        self._under_way = 0
        self._waiting: set[tuple[float, int]] = set()
        self._numbers = count()
        self._waits = 0
        self._waited = 0.0

    @contextmanager
    def request(self, urgency: Urgency, longest_wait: float) -> Iterator[None]:
        """Wait for a turn, at most ``longest_wait`` seconds; the request is sent inside the block.

        Raises:
            RateLimited: the turn would come later; nothing was sent.
            Interrupted: the process was asked to end while it waited.
        """
        self._await_turn(urgency, longest_wait)
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= 1

    def observe(self, status: int, headers: Mapping[str, str]) -> None:
        """Learn from an answer's headers; called while its request is still under way."""
        told = _date(headers.get("Date")) or self._clock.now()
        with self._lock:
            now = self._clock.elapsed()
            self._learn_window(headers, told, now)
            again = retry_after(headers, told)
            if again is not None:
                self._shut_until = max(self._shut_until, now + min((again - told).total_seconds(), MINUTE))
            if status == HTTPStatus.TOO_MANY_REQUESTS:
                self._tokens = 0.0
                self._use_up(self._current_window(now))

    def health(self) -> QuotaHealth:
        """Return what is known now."""
        with self._lock:
            now = self._clock.elapsed()
            window = self._current_window(now)
            remaining = None if window is None else max(0, int(window.remaining))
            resets_at = None if window is None else self._clock.now() + timedelta(seconds=window.ends - now)
            return QuotaHealth(self._limit, remaining, resets_at, self._waits, self._waited)

    def _await_turn(self, urgency: Urgency, longest_wait: float) -> None:
        began = self._clock.elapsed()
        ticket = (began - _HEAD_START[urgency], next(self._numbers))
        with self._lock:
            self._waiting.add(ticket)
        try:
            while (seconds := self._seconds_or_turn(urgency, ticket)) > 0:
                self._wait(seconds, began + longest_wait)
        finally:
            with self._lock:
                self._waiting.remove(ticket)
                waited = self._clock.elapsed() - began
                self._waits += waited > _SHORTEST_WAIT
                self._waited += waited

    def _wait(self, seconds: float, until: float) -> None:
        if self._clock.elapsed() + seconds > until:
            free = self._clock.now() + timedelta(seconds=seconds)
            raise RateLimited(
                f"not sent: {self._limit} requests a minute are allowed, and the next is free in {seconds:.1f} s, "
                f"too late for this one; ask for less, or later",
                free,
            )
        self._clock.wait(seconds)

    def _seconds_or_turn(self, urgency: Urgency, ticket: tuple[float, int]) -> float:
        """Take the turn and return 0, or return the seconds after which to look again."""
        with self._lock:
            now = self._clock.elapsed()
            self._refill(now)
            # One token for each that goes before, and one for itself.
            needed = 1 + sum(other < ticket for other in self._waiting)
            seconds = self._seconds_until(needed, urgency, now)
            if seconds <= 0:
                self._take(now)
            return seconds

    def _seconds_until(self, needed: int, urgency: Urgency, now: float) -> float:
        if now < self._shut_until:
            return max(self._shut_until - now, _SHORTEST_WAIT)
        window = self._current_window(now)
        if window is not None and window.remaining - int(_KEPT[urgency] * self._limit) < needed:
            return max(window.ends - now, _SHORTEST_WAIT)
        if self._tokens >= needed:
            return 0.0
        return max((needed - self._tokens) / self._rate(now), _SHORTEST_WAIT)

    def _take(self, now: float) -> None:
        self._tokens -= 1
        self._under_way += 1
        window = self._current_window(now)
        if window is not None:
            self._window = replace(window, remaining=window.remaining - 1)

    def _refill(self, now: float) -> None:
        self._tokens = min(float(self._burst), self._tokens + max(now - self._refilled, 0.0) * self._rate(now))
        self._refilled = now

    def _rate(self, now: float) -> float:
        """Return tokens a second."""
        window = self._current_window(now)
        if window is None:
            return (self._limit - self._burst) / MINUTE
        left = window.remaining - int(_KEPT[Urgency.READ] * self._limit)
        return min(self._limit / MINUTE, max(left, 1) / max(window.ends - now, _SHORTEST_WAIT))

    def _current_window(self, now: float) -> _Window | None:
        """Return the minute that is being counted; one that is over is followed by a fresh one."""
        if self._window is not None and self._window.ends <= now:
            minutes = (now - self._window.ends) // MINUTE + 1
            # What is under way may arrive on either side of the reset.
            fresh = float(self._limit - self._under_way)
            self._window = _Window(self._window.reset + minutes * MINUTE, self._window.ends + minutes * MINUTE, fresh)
        return self._window

    def _learn_window(self, headers: Mapping[str, str], told: datetime, now: float) -> None:
        limit, remaining, reset = (
            _number(headers.get(f"X-RateLimit-{name}")) for name in ("Limit", "Remaining", "Reset")
        )
        if limit:
            self._limit = int(limit)
            self._burst = min(self._burst, max(self._limit - 1, 1))
        if remaining is None or reset is None or not (ahead := reset - told.timestamp()) > 0:
            return
        # Whether the others under way are counted in it already is not known.
        left = remaining - max(self._under_way - 1, 0)
        window = self._current_window(now)
        if window is None or reset > window.reset:
            self._window = _Window(reset, now + min(ahead, MINUTE), left)
        elif reset == window.reset:
            self._window = replace(window, remaining=min(window.remaining, left))

    def _use_up(self, window: _Window | None) -> None:
        if window is not None:
            self._window = replace(window, remaining=0.0)


def retry_after(headers: Mapping[str, str], told: datetime | None = None) -> datetime | None:
    """Return the UTC instant that ``Retry-After`` names (RFC 9110, 10.2.3), None where it names none that can be read.

    It holds a date, or seconds, which count from ``told`` or else from the answer's own ``Date``.
    """
    after, told = headers.get("Retry-After"), told or _date(headers.get("Date"))
    seconds = _number(after)
    if seconds is None or told is None:
        return _date(after)
    return told + timedelta(seconds=min(seconds, _LONGEST_RETRY_AFTER))


def _number(text: str | None) -> float | None:
    digits = (text or "").strip()
    return float(digits) if digits.isdecimal() and len(digits) <= _MOST_DIGITS else None


def _date(text: str | None) -> datetime | None:
    try:
        return parsedate_to_datetime(text or "").astimezone(UTC)
    except (ValueError, OverflowError):
        return None
