"""Where the stream of order changes stands, as a pure function of what happens to it.

::

    CONNECTING ──opened──► AUTHENTICATING ──authorized──► LIVE ──contradicted──► STALE
        ▲                        │                          │                      │
        │                        └──────────┬─── failed ────┴──────────────────────┘
        │                                   ▼
        ├──────── retried ──────── BACKING_OFF    (fewer failures in a row than allowed)
        └──────── retried ──────── POLLING_ONLY   (as many, or more: a person is told)

Failures in a row are forgotten when news is heard or a connection has held
for long, not when it is made: a server that accepts and hangs up is failing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum


class StreamState(StrEnum):
    """Where the stream stands; orders are asked for over REST in every state, sooner where the stream says so."""

    CONNECTING = "connecting"
    AUTHENTICATING = "authenticating"
    LIVE = "live"
    STALE = "stale"
    BACKING_OFF = "backing off"
    POLLING_ONLY = "polling only"
    CLOSED = "closed"


class Happening(StrEnum):
    """What may happen to a stream.

    OPENED: the connection stands. AUTHORIZED: keys and subscription were
    accepted. HEARD: an order change arrived. HELD: the connection has stood
    for as long as the longest backoff. CONTRADICTED: the broker, when asked,
    tells of a change that the stream kept to itself. FAILED: no connection, or
    none any more. RETRIED: the pause is over. CLOSED: nobody wants it.
    """

    OPENED = "opened"
    AUTHORIZED = "authorized"
    HEARD = "heard"
    HELD = "held"
    CONTRADICTED = "contradicted"
    FAILED = "failed"
    RETRIED = "retried"
    CLOSED = "closed"


@dataclass(frozen=True)
class Standing:
    """A state, and how often in a row the stream failed before."""

    state: StreamState
    failures: int = 0


CLOSED = Standing(StreamState.CLOSED)
CONNECTING = Standing(StreamState.CONNECTING)

_ALWAYS_REACHED: Mapping[tuple[StreamState, Happening], StreamState] = {
    (StreamState.CONNECTING, Happening.OPENED): StreamState.AUTHENTICATING,
    (StreamState.AUTHENTICATING, Happening.AUTHORIZED): StreamState.LIVE,
    (StreamState.LIVE, Happening.CONTRADICTED): StreamState.STALE,
    (StreamState.BACKING_OFF, Happening.RETRIED): StreamState.CONNECTING,
    (StreamState.POLLING_ONLY, Happening.RETRIED): StreamState.CONNECTING,
}
_CONNECTED = frozenset(
    {StreamState.CONNECTING, StreamState.AUTHENTICATING, StreamState.LIVE, StreamState.STALE},
)


def after(standing: Standing, happening: Happening, failures_before_polling: int) -> Standing:
    """Return where the stream stands once ``happening`` happened; what comes too late to matter changes nothing.

    >>> after(Standing(StreamState.LIVE), Happening.FAILED, failures_before_polling=5)
    Standing(state=<StreamState.BACKING_OFF: 'backing off'>, failures=1)
    """
    if standing.state is StreamState.CLOSED or happening is Happening.CLOSED:
        return CLOSED
    if happening is Happening.FAILED:
        return _failed(standing, failures_before_polling)
    if happening in (Happening.HEARD, Happening.HELD):
        return replace(standing, failures=0) if standing.state is StreamState.LIVE else standing
    return replace(standing, state=_ALWAYS_REACHED.get((standing.state, happening), standing.state))


def _failed(standing: Standing, failures_before_polling: int) -> Standing:
    if standing.state not in _CONNECTED:
        return standing
    failures = standing.failures + 1
    is_given_up = failures >= failures_before_polling
    return Standing(StreamState.POLLING_ONLY if is_given_up else StreamState.BACKING_OFF, failures)


@dataclass(frozen=True)
class Backoff:
    """Pauses before another connection, in seconds: even between the shortest and a bound that doubles."""

    first_seconds: float = 1.0
    longest_seconds: float = 30.0

    def pause(self, standing: Standing, draw: float) -> float:
        """Return the pause after ``standing``'s failures; ``draw`` is even in [0, 1).

        Where orders are polled only, the stream is tried at the longest pause.

        >>> [Backoff().pause(Standing(StreamState.BACKING_OFF, failures), 0.5) for failures in (1, 2, 3, 4)]
        [1.5, 2.5, 4.5, 8.5]
        """
        if standing.state is StreamState.POLLING_ONLY:
            return self.longest_seconds
        # Beyond a few doublings the bound is reached anyway, and a float would overflow in time.
        bound = min(self.longest_seconds, self.first_seconds * float(1 << min(standing.failures, 16)))
        return self.first_seconds + draw * (bound - self.first_seconds)
