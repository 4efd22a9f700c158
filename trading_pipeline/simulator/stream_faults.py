"""What can go wrong on a websocket, as a table of rules.

A rule is JSON: ``{"action": NAME, "stream": "trading" | "data", "times": N, ...}``.
Without ``stream`` it holds for both, without ``times`` until it is cleared.
Rules act in the order in which they were added; each use is counted.

=====================  ==================================================================
action                 what the client meets
=====================  ==================================================================
``ws_refuse``          the handshake is answered with HTTP ``status`` (default 503)
``ws_no_auth_answer``  authentication is never answered
``ws_unauth``          the keys are taken for wrong
``ws_error``           data only: authentication is answered with error ``code`` (default 500)
``ws_406``             data only: the account has too many connections
``ws_symbol_limit``    data only: no more than ``symbols`` (default 30) may be subscribed to
``ws_drop``            acts at once: connections end, with close ``code``, or without a word
``ws_mute``            connected and silent; with ``"pings": false`` pings are not answered either
``ws_drop_event``      an event never arrives
``ws_dup_event``       an event arrives twice
``ws_reorder``         an event arrives after the one that follows it
``ws_garbage``         an event arrives as a frame that cannot be read
``ws_unknown_event``   an event arrives under a name that nobody has heard of
=====================  ==================================================================
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from trading_pipeline.domain.errors import InvalidInput

Json = dict[str, Any]

TRADING, DATA = "trading", "data"
# What each action may say besides action, stream and times, and what it says where it says nothing.
OPTIONS: Mapping[str, Mapping[str, object]] = {
    "ws_refuse": {"status": 503},
    "ws_no_auth_answer": {},
    "ws_unauth": {},
    "ws_error": {"code": 500},
    "ws_406": {},
    "ws_symbol_limit": {"symbols": 30},
    "ws_drop": {"code": None},
    "ws_mute": {"pings": True},
    "ws_drop_event": {},
    "ws_dup_event": {},
    "ws_reorder": {},
    "ws_garbage": {},
    "ws_unknown_event": {},
}
UNHEARD_OF = "unheard_of"


@dataclass(frozen=True)
class Garbage:
    """A frame that cannot be read, in the place of an event."""


# As it goes on the wire: an object to those who follow orders, a list of objects to those who follow the market.
Message = Json | list[Json]
Event = Message | Garbage


@dataclass
class StreamRule:
    """A rule and how often it was used; ``times`` None means until it is cleared."""

    id: int
    action: str
    stream: str | None
    times: int | None
    options: Mapping[str, Any]
    used: int = 0

    def holds(self, action: str, stream: str) -> bool:
        """Tell whether the rule is about ``action`` on ``stream`` and not used up."""
        return (
            self.action == action
            and self.stream in (None, stream)
            and (self.times is None or self.used < self.times)
        )  # fmt: skip


class StreamFaults:
    """The rules of both streams."""

    def __init__(self) -> None:
        self._rules: list[StreamRule] = []
        self._added = 0
        self._held: dict[str, list[Event]] = {}

    def add(self, body: Mapping[str, Any]) -> StreamRule:
        """Add the rule that ``body`` describes.

        Raises:
            InvalidInput: an action, stream, number of times or option that does not exist.
        """
        action = body.get("action", "")
        options = _options(action, body)
        self._added += 1
        rule = StreamRule(self._added, action, body.get("stream"), body.get("times"), options)
        self._rules.append(rule)
        return rule

    def clear(self) -> None:
        """Forget every rule; an event that was held back still follows the next one."""
        self._rules.clear()

    def rules(self) -> list[Json]:
        """Return the rules and how often each was used."""
        return [asdict(rule) for rule in self._rules]

    def active(self, action: str, stream: str) -> StreamRule | None:
        """Return the first rule for ``action`` on ``stream`` without using it."""
        return next((rule for rule in self._rules if rule.holds(action, stream)), None)

    def take(self, action: str, stream: str) -> StreamRule | None:
        """Return the first rule for ``action`` on ``stream``, used once more, or None."""
        rule = self.active(action, stream)
        if rule is not None:
            rule.used += 1
        return rule

    def distorted(self, stream: str, among: str, message: Message) -> list[Event]:
        """Return what becomes of an event; ``among`` names those between whom order is kept."""
        if self.take("ws_mute", stream) or self.take("ws_drop_event", stream):
            return []
        event = self._changed(stream, message)
        events = [event, event] if self.take("ws_dup_event", stream) else [event]
        if among in self._held:
            return events + self._held.pop(among)
        if self.take("ws_reorder", stream):
            self._held[among] = events
            return []
        return events

    def _changed(self, stream: str, message: Message) -> Event:
        if self.take("ws_garbage", stream):
            return Garbage()
        if self.take("ws_unknown_event", stream):
            return _unheard_of(message)
        return message


def _unheard_of(message: Message) -> Message:
    if isinstance(message, list):
        return [{**item, "T": UNHEARD_OF} for item in message]
    return {**message, "data": {**message["data"], "event": UNHEARD_OF}}


def _options(action: str, body: Mapping[str, Any]) -> Mapping[str, object]:
    times = body.get("times")
    if action not in OPTIONS:
        raise InvalidInput(f"a stream fault is JSON with an action out of {', '.join(OPTIONS)}, was {action!r}")
    if body.get("stream") not in (None, TRADING, DATA):
        raise InvalidInput(f"a stream is {TRADING} or {DATA}, was {body['stream']!r}; leave it out for both")
    if times is not None and not _is_count(times):
        raise InvalidInput(f"times is a number from 1 on, was {times!r}; leave it out for a fault that stays")
    given = {name: value for name, value in body.items() if name not in ("action", "stream", "times")}
    unknown = given.keys() - OPTIONS[action].keys()
    if unknown:
        allowed = ", ".join(["stream", "times", *OPTIONS[action]])
        raise InvalidInput(f"{action} knows no {', '.join(sorted(unknown))}; it may have {allowed}")
    for name, value in given.items():
        _require_kind(action, name, value)
    return {**OPTIONS[action], **given}


def _require_kind(action: str, name: str, value: object) -> None:
    right = isinstance(value, bool) if name == "pings" else _is_count(value)
    if not right:
        wanted = "true or false" if name == "pings" else "a whole number from 1 on"
        raise InvalidInput(f"{name} of {action} is {wanted}, was {value!r}")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
