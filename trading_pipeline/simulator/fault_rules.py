"""What is to go wrong, as a table of rules: ``{"match": {...}, "action": NAME, "times": N, ...options}``.

``match`` says which requests a rule is about; all that is said must hold:

======================  ====================================================================
``method``              the HTTP method
``path_re``             a regular expression found in the path
``symbol``              the symbol that the request is about, or one of them
``client_order_id_re``  a regular expression found in the client order id it is about
``account``             the number of the account whose keys it carries
``between``             two instants of simulated time, the second excluded
``nth``                 only the nth of the requests that match so far, from 1
``every``               only each nth of them
``probability``         only that part of them, drawn from the table's seed
======================  ====================================================================

Rules are evaluated in order. Those that only tell how an order is to behave,
shift the clock or count (``pass``) let the next ones be evaluated; the first
other rule that applies decides what happens to the request. ``times`` is how
often a rule may apply; without it there is no end.
"""

import random
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.simulator.records import Behaviour, Status
from trading_pipeline.simulator.refusals import NAMED

Json = dict[str, Any]
Reader = Callable[[Any], Any]

MOST_LOGGED = 10_000
_SUBMISSION = {"method": "POST", "path_re": r"^/v2/orders$"}


@dataclass(frozen=True)
class Facts:
    """What a rule can match of a request; ``at`` is the simulated instant at which it came."""

    method: str
    path: str
    account: str
    at: datetime
    symbols: frozenset[str] = frozenset()
    client_order_id: str = ""
    feed: str = ""
    pages_on: bool = False


@dataclass(frozen=True)
class Action:
    """Options of an action with their readers and defaults; where it holds unless told otherwise."""

    options: Mapping[str, tuple[Reader, object]] = field(default_factory=dict)
    where: Mapping[str, str] = field(default_factory=dict)
    decides: bool = True
    only: Callable[[Facts], bool] = lambda _: True


@dataclass(frozen=True)
class Match:
    """Which requests a rule is about; None matches all."""

    method: str | None = None
    path_re: str | None = None
    symbol: str | None = None
    client_order_id_re: str | None = None
    account: str | None = None
    between: tuple[datetime, datetime] | None = None
    nth: int | None = None
    every: int | None = None
    probability: float | None = None

    def is_about(self, facts: Facts) -> bool:
        """Tell whether the request is one of those, whichever of them is meant."""
        return (
            self.method in (None, facts.method)
            and _found(self.path_re, facts.path)
            and (self.symbol is None or self.symbol in facts.symbols)
            and _found(self.client_order_id_re, facts.client_order_id)
            and self.account in (None, facts.account)
            and (self.between is None or self.between[0] <= facts.at < self.between[1])
        )

    def picks(self, seen: int, draw: Callable[[], float]) -> bool:
        """Tell whether the rule is about the request that is the ``seen``th of those."""
        return (
            self.nth in (None, seen)
            and (self.every is None or seen % self.every == 0)
            and (self.probability is None or draw() < self.probability)
        )


@dataclass
class Rule:
    """A rule, how many requests it was about (``seen``) and how often it applied (``applied``)."""

    id: int
    action: str
    match: Match
    times: int | None
    options: Mapping[str, Any]
    given: Json
    seen: int = 0
    applied: int = 0

    @property
    def decides(self) -> bool:
        """Whether no later rule is evaluated once it applies."""
        return ACTIONS[self.action].decides

    def applies(self, facts: Facts, draw: Callable[[], float]) -> bool:
        """Count the request if the rule is about it; tell whether it applies."""
        if not (ACTIONS[self.action].only(facts) and self.match.is_about(facts)):
            return False
        self.seen += 1
        if (self.times is not None and self.applied >= self.times) or not self.match.picks(self.seen, draw):
            return False
        self.applied += 1
        return True


class FaultTable:
    """The rules in force, and a log of what they did."""

    def __init__(self, seed: int = 0) -> None:
        self._rules: list[Rule] = []
        self._added = 0
        self._log: deque[Json] = deque(maxlen=MOST_LOGGED)
        self.reseed(seed)

    def __bool__(self) -> bool:
        """Tell whether there is any rule."""
        return bool(self._rules)

    def reseed(self, seed: int) -> None:
        """Begin the draws of ``probability`` anew."""
        # A test repeats its draws; nothing is kept secret with them.
        self._random = random.Random(seed)  # noqa: S311

    def add(self, body: Mapping[str, Any]) -> int:
        """Add the rule that ``body`` describes and return its id.

        Raises:
            InvalidInput: an action, key or value that does not exist; the message names what does.
        """
        rule = _rule(self._added + 1, body)
        self._added += 1
        self._rules.append(rule)
        return rule.id

    def clear(self) -> None:
        """Forget every rule and the log."""
        self._rules.clear()
        self._log.clear()

    def rules(self) -> list[Json]:
        """Return each rule as it was given, with its id and counts."""
        return [{**rule.given, "id": rule.id, "seen": rule.seen, "applied": rule.applied} for rule in self._rules]

    def log(self) -> list[Json]:
        """Return what rules did, oldest first."""
        return list(self._log)

    def applying(self, facts: Facts) -> list[Rule]:
        """Return the rules that apply to a request, in order; only the last of them may decide."""
        found: list[Rule] = []
        for rule in self._rules:
            if not rule.applies(facts, self._random.random):
                continue
            found.append(rule)
            self._log.append({"rule": rule.id, "action": rule.action, "method": facts.method, "path": facts.path,
                              "at": facts.at.isoformat()})  # fmt: skip
            if rule.decides:
                break
        return found


def behaviour_of(rules: Sequence[Rule]) -> Behaviour:
    """Return how an order is to behave to whose request these rules apply."""
    changes: Json = {}
    for rule in rules:
        match rule.action:
            case "partial":
                changes |= {"partial": rule.options["fractions"], "then": rule.options["then"]}
            case "stuck":
                changes |= {"stuck": rule.options["status"], "until": rule.options["until"]}
            case "reject_later":
                changes |= {"reject": True}
            case "cancel_race":
                changes |= {"cancel_race": True, "refuse_cancel": rule.options["refuse"]}
    return Behaviour(**changes)


def _rule(number: int, body: Mapping[str, Any]) -> Rule:
    name = body.get("action")
    if not isinstance(name, str) or name not in ACTIONS:
        raise InvalidInput(f"the fault {name!r} does not exist; there are {', '.join(sorted(ACTIONS))}")
    action = ACTIONS[name]
    given = {key: value for key, value in body.items() if key not in ("action", "match", "times")}
    _require_known(f"the fault {name}", given, ["match", "times", *action.options])
    options = {
        key: _read(f"{key} of {name}", reader, given.get(key, default))
        for key, (reader, default) in action.options.items()
    }
    times = _read("times", _optional(_count), body.get("times"))
    return Rule(number, name, _match(body.get("match", {}), action), times, options, dict(body))


def _match(given: object, action: Action) -> Match:
    if not isinstance(given, Mapping):
        raise InvalidInput(f"match is an object, was {given!r}; it may have {', '.join(_MATCH)}")
    _require_known("match", given, list(_MATCH))
    wanted = {**action.where, **given}
    return Match(**{key: _read(f"match.{key}", _MATCH[key], value) for key, value in wanted.items()})


def _require_known(what: str, given: Mapping[str, Any], allowed: Sequence[str]) -> None:
    unknown = sorted(set(given) - set(allowed))
    if unknown:
        raise InvalidInput(f"{what} knows no {', '.join(unknown)}; it may have {', '.join(allowed)}")


def _read(what: str, reader: Reader, value: object) -> Any:  # noqa: ANN401 - each reader has its own kind
    try:
        return reader(value)
    except (ValueError, TypeError, InvalidOperation, re.error) as failure:
        raise InvalidInput(f"{what} cannot be {value!r}: {failure}") from failure


def _found(pattern: str | None, text: str) -> bool:
    return pattern is None or re.search(pattern, text) is not None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("it is a text")
    return value


def _pattern(value: object) -> str:
    return re.compile(_text(value)).pattern


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError("it is a whole number from 1 on")
    return value


def _seconds(value: object) -> float:
    seconds = float(str(value))
    if not 0 <= seconds < float("inf"):
        raise ValueError("it is a number of seconds from 0 on")
    return seconds


def _any_seconds(value: object) -> float:
    return float(str(value))


def _part(value: object) -> float:
    part = float(str(value))
    if not 0 <= part <= 1:
        raise ValueError("it lies between 0 and 1")
    return part


def _fractions(value: object) -> tuple[Decimal, ...]:
    if not isinstance(value, list | tuple) or not value:
        raise ValueError('it is a list of fractions like ["0.3", "0.2"]')
    fractions = tuple(Decimal(str(item)) for item in value)
    if not all(item.is_finite() and 0 < item <= 1 for item in fractions):
        raise ValueError("each fraction lies above 0 and not above 1")
    return fractions


def _instant(value: object) -> datetime:
    instant = datetime.fromisoformat(_text(value))
    if instant.tzinfo is None:
        raise ValueError("it needs its offset, as in 2026-07-24T16:30-04:00")
    return instant


def _two_instants(value: object) -> tuple[datetime, datetime]:
    if not isinstance(value, list | tuple) or len(value) != 2:  # noqa: PLR2004 - a beginning and an end
        raise ValueError("it is a list of two instants")
    return _instant(value[0]), _instant(value[1])


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError("it is true or false")
    return value


def _http_status(value: object) -> int:
    status = _count(value)
    if not 200 <= status <= 599:  # noqa: PLR2004 - final HTTP statuses
        raise ValueError("it is an HTTP status from 200 to 599")
    return status


def _headers(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise TypeError("it is an object of header names and values")
    return {str(name): str(text) for name, text in value.items()}


def _process(value: object) -> int:
    pid = _count(value)
    if pid == 1:
        raise ValueError("process 1 is not to be killed")
    return pid


def _anything(value: object) -> object:
    return value


def _one_of(*choices: str) -> Reader:
    def read(value: object) -> str:
        if value not in choices:
            raise ValueError(f"it is one of {', '.join(choices)}")
        return str(value)

    return read


def _optional(reader: Reader) -> Reader:
    return lambda value: None if value is None else reader(value)


def _stuck_in(value: object) -> Status:
    return Status(_one_of("pending_new", "accepted", "new", "pending_cancel")(value))


_MATCH: Mapping[str, Reader] = {
    "method": _text,
    "path_re": _pattern,
    "symbol": _text,
    "client_order_id_re": _pattern,
    "account": _text,
    "between": _two_instants,
    "nth": _count,
    "every": _count,
    "probability": _part,
}
_REPLY: Mapping[str, tuple[Reader, object]] = {
    "status": (_http_status, 503),
    "headers": (_headers, {}),
    "body": (_anything, None),
    "bare": (_flag, False),
}
ACTIONS: Mapping[str, Action] = {
    "pass": Action(decides=False),
    "status": Action(_REPLY),
    "maintenance": Action(_REPLY),
    "reject": Action({"name": (_one_of(*NAMED), "insufficient_buying_power")}, _SUBMISSION),
    "duplicate_cid": Action({}, _SUBMISSION),
    "hang": Action({"seconds": (_seconds, 3600)}),
    "reset": Action(),
    "drip": Action({"interval": (_seconds, 0.5)}),
    "late_accept": Action({"seconds": (_seconds, 1), "status": (_optional(_http_status), None)}),
    "accept_then_status": Action({**_REPLY, "status": (_http_status, 504)}),
    "accept_then_hang": Action({"seconds": (_seconds, 3600)}),
    "accept_then_cut": Action(),
    "accept_then_reset": Action(),
    "garbage": Action({"kind": (_one_of("truncated", "object", "html", "empty"), "truncated")}),
    "unknown_enum": Action({"field": (_text, "status"), "value": (_text, "unheard_of")}),
    "drop_field": Action({"field": (_text, "status")}),
    "extra_field": Action({"field": (_text, "unheard_of"), "value": (_anything, "unheard_of")}),
    "page_repeat": Action(where={"method": "GET"}),
    "page_fail": Action(
        {**_REPLY, "status": (_http_status, 500)}, {"method": "GET"}, only=lambda facts: facts.pages_on
    ),
    "sip_403": Action(where={"path_re": r"^/v2/stocks/"}, only=lambda facts: facts.feed != "iex"),
    "clock_skew": Action({"seconds": (_any_seconds, 60)}, decides=False),
    "kill": Action({"pid": (_process, None), "when": (_one_of("before", "after"), "before")}),
    "partial": Action(
        {"fractions": (_fractions, ["0.5"]), "then": (_one_of("rest", "cancel", "wait"), "rest")},
        _SUBMISSION,
        decides=False,
    ),
    "stuck": Action(
        {"status": (_stuck_in, "pending_new"), "until": (_optional(_instant), None)}, _SUBMISSION, decides=False
    ),
    "reject_later": Action({}, _SUBMISSION, decides=False),
    "cancel_race": Action({"refuse": (_flag, False)}, _SUBMISSION, decides=False),
}
