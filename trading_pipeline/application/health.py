"""Whether the pipeline is well: judged from a few facts, which others collect."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any

from trading_pipeline.domain.errors import DataError
from trading_pipeline.domain.risk.trading_state import TradingMode

DOCUMENT_VERSION = 1
# Dagster's daemons write theirs every half minute.
NEEDED_DAEMONS = ("SENSOR", "SCHEDULER")


class Level(StrEnum):
    """How well something is; UNKNOWN where it could not be told."""

    HEALTHY = "healthy"
    UNKNOWN = "unknown"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True)
class Heartbeat:
    """What the pipeline said of itself when it last did.

    Attributes:
        at: this machine's instant, UTC.
        version: of the code.
        market_time: the broker's instant, UTC; None where it did not answer.
        trading: the trading state in force: active, reducing or halted.
        held_by: what holds trading, a line each.
        bars_session: newest session with bars; None where there are none.
        sessions_behind: sessions by which they lag behind the newest that is due; None where that is not known.
        reconciled_session: newest session whose orders were compared with the broker's books.
        faults: what could not be found out, a line each.
    """

    at: datetime
    version: str
    market_time: datetime | None = None
    trading: str = ""
    held_by: tuple[str, ...] = ()
    bars_session: date | None = None
    sessions_behind: int | None = None
    reconciled_session: date | None = None
    faults: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """Return the heartbeat as JSON knows it."""
        return {
            "schema_version": DOCUMENT_VERSION,
            "at": self.at.isoformat(),
            "version": self.version,
            "market_time": None if self.market_time is None else self.market_time.isoformat(),
            "trading": self.trading,
            "held_by": list(self.held_by),
            "bars_session": None if self.bars_session is None else str(self.bars_session),
            "sessions_behind": self.sessions_behind,
            "reconciled_session": None if self.reconciled_session is None else str(self.reconciled_session),
            "faults": list(self.faults),
        }


def heartbeat_from(document: Mapping[str, Any]) -> Heartbeat:
    """Read what :meth:`Heartbeat.document` returned.

    >>> from datetime import UTC
    >>> beat = Heartbeat(datetime(2026, 8, 3, tzinfo=UTC), "1.0", bars_session=date(2026, 7, 31), sessions_behind=0)
    >>> heartbeat_from(beat.document()) == beat
    True

    Raises:
        DataError: it is something else.
    """
    if document.get("schema_version") != DOCUMENT_VERSION:
        raise DataError(
            f"the heartbeat has schema version {document.get('schema_version')!r}, this code reads {DOCUMENT_VERSION}; "
            f"run the same version everywhere"
        )
    try:
        return Heartbeat(
            datetime.fromisoformat(document["at"]),
            str(document["version"]),
            _read(datetime.fromisoformat, document["market_time"]),
            str(document["trading"]),
            tuple(map(str, document["held_by"])),
            _read(date.fromisoformat, document["bars_session"]),
            _read(int, document["sessions_behind"]),
            _read(date.fromisoformat, document["reconciled_session"]),
            tuple(map(str, document["faults"])),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"the heartbeat cannot be read ({error}); it is written anew by the next one") from error


def _read(kind: Any, value: Any) -> Any:  # noqa: ANN401 - a value of JSON is what it is
    return None if value is None else kind(value)


@dataclass(frozen=True)
class DecisionFact:
    """The newest decision: its session and plan, when it was made (UTC), and how many orders it has."""

    session: date
    plan_id: str
    made_at: datetime
    orders: int


@dataclass(frozen=True)
class OrdersFact:
    """Orders of the newest plan that was begun: its session, the journal's last line (UTC), how many stand where."""

    session: date
    written_at: datetime
    states: Mapping[str, int]


@dataclass(frozen=True)
class AlertsFact:
    """Critical alerts that nobody acknowledged, and deliveries that wait or were given up."""

    unacknowledged: int = 0
    waiting: int = 0
    given_up: int = 0


@dataclass(frozen=True)
class HealthFacts:
    """What was found at ``now``, this machine's time; None where nothing is there.

    ``daemons`` are Dagster's own heartbeats by kind; ``decision_due`` the
    newest session whose decision must be there by now, None where that is not
    known; ``liquidations`` where each stands that was agreed to and is not over,
    a line each; ``unreadable`` what could not be read, by the part's name, and why.
    """

    now: datetime
    heartbeat: Heartbeat | None = None
    daemons: Mapping[str, datetime] = field(default_factory=dict)
    trading: TradingMode = TradingMode.ACTIVE
    held_by: tuple[str, ...] = ()
    liquidations: tuple[str, ...] = ()
    decision: DecisionFact | None = None
    decision_due: date | None = None
    orders: OrdersFact | None = None
    bars_session: date | None = None
    sessions_behind: int | None = None
    reconciled_session: date | None = None
    alerts: AlertsFact = field(default_factory=AlertsFact)
    unreadable: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class HealthRules:
    """After how long a heartbeat is too old, and how many sessions the bars may lag behind."""

    stale_after: timedelta = timedelta(minutes=3)
    bars_behind: int = 0


@dataclass(frozen=True)
class Part:
    """How well one part is, and why in words."""

    name: str
    level: Level
    text: str


@dataclass(frozen=True)
class Health:
    """How well the pipeline is at an instant (UTC), and each part of it."""

    at: datetime
    parts: tuple[Part, ...]

    @property
    def level(self) -> Level:
        """The gravest level of all parts; what is unknown is graver than what is well, and lighter than what is not."""
        return max((part.level for part in self.parts), key=list(Level).index, default=Level.UNKNOWN)

    @property
    def exit_code(self) -> int:
        """0 where all is well, 2 where that cannot be told, 1 otherwise.

        >>> from datetime import UTC
        >>> at = datetime(2026, 8, 3, tzinfo=UTC)
        >>> [Health(at, (Part("data", level, ""),)).exit_code for level in Level]
        [0, 2, 1, 1]
        """
        return {Level.HEALTHY: 0, Level.UNKNOWN: 2}.get(self.level, 1)

    def document(self) -> dict[str, Any]:
        """Return it as JSON knows it."""
        parts = {part.name: {"level": part.level.value, "text": part.text} for part in self.parts}
        return {"at": self.at.isoformat(), "level": self.level.value, "parts": parts}


def judged(facts: HealthFacts, rules: HealthRules) -> Health:
    """Return how well each part is.

    A part that could not be read is unknown, whatever else is known of it:
    silence is never taken for health.
    """
    parts = (
        _unreadable(part, facts.unreadable)
        for part in (
            _heartbeat(facts, rules),
            _daemons(facts, rules),
            _trading(facts),
            _liquidation(facts),
            _decision(facts),
            _orders(facts),
            _data(facts, rules),
            _reconciliation(facts),
            _alerts(facts),
        )
    )
    return Health(facts.now, tuple(parts))


def _unreadable(part: Part, unreadable: Mapping[str, str]) -> Part:
    return Part(part.name, Level.UNKNOWN, unreadable[part.name]) if part.name in unreadable else part


def _heartbeat(facts: HealthFacts, rules: HealthRules) -> Part:
    beat = facts.heartbeat
    if beat is None:
        return Part("heartbeat", Level.UNHEALTHY, "there is none: nothing watches here; start `trading-pipeline dev`")
    text = f"{_ago(facts.now, beat.at)}, version {beat.version}"
    if facts.now - beat.at > rules.stale_after:
        return Part("heartbeat", Level.UNHEALTHY, f"{text}: it is too old, so nothing watches any more")
    if beat.at - facts.now > rules.stale_after:
        return Part("heartbeat", Level.DEGRADED, f"{text}: it comes from the future; look at the clocks")
    if beat.faults:
        return Part("heartbeat", Level.DEGRADED, f"{text}; not known: {'; '.join(beat.faults)}")
    return Part("heartbeat", Level.HEALTHY, text)


def _daemons(facts: HealthFacts, rules: HealthRules) -> Part:
    ages = {name: facts.daemons.get(name) for name in NEEDED_DAEMONS}
    silent = [name.lower() for name, at in ages.items() if at is None or facts.now - at > rules.stale_after]
    told = ", ".join(f"{name.lower()} {'never' if at is None else _ago(facts.now, at)}" for name, at in ages.items())
    if silent:
        return Part("daemon", Level.UNHEALTHY, f"{told}: Dagster's daemon does not run ({', '.join(silent)})")
    return Part("daemon", Level.HEALTHY, told)


def _trading(facts: HealthFacts) -> Part:
    if facts.trading is TradingMode.ACTIVE:
        return Part("trading", Level.HEALTHY, "active")
    return Part("trading", Level.DEGRADED, f"{facts.trading}, held by {'; '.join(facts.held_by) or 'nothing named'}")


def _liquidation(facts: HealthFacts) -> Part:
    if not facts.liquidations:
        return Part("liquidation", Level.HEALTHY, "none was agreed to")
    text = f"{'; '.join(facts.liquidations)}; `trading-pipeline liquidate` shows it"
    return Part("liquidation", Level.DEGRADED, text)


def _decision(facts: HealthFacts) -> Part:
    made, due = facts.decision, facts.decision_due
    if made is None:
        return Part("decision", Level.DEGRADED, "none was ever made; job decide makes one")
    text = f"session {made.session}, {made.orders} orders, made {made.made_at:%Y-%m-%d %H:%M} UTC, plan {made.plan_id}"
    if due is not None and made.session < due:
        return Part("decision", Level.UNHEALTHY, f"{text}; that of session {due} should be there by now")
    return Part("decision", Level.HEALTHY, text)


def _orders(facts: HealthFacts) -> Part:
    found = facts.orders
    if found is None:
        return Part("orders", Level.HEALTHY, "none were placed")
    counts = ", ".join(f"{count} {state}" for state, count in sorted(found.states.items())) or "none"
    text = f"of session {found.session}: {counts}; last written {_ago(facts.now, found.written_at)}"
    return Part("orders", Level.HEALTHY, text)


def _data(facts: HealthFacts, rules: HealthRules) -> Part:
    if facts.bars_session is None:
        return Part("data", Level.DEGRADED, "there are no bars; job decide fetches them")
    text = f"bars up to session {facts.bars_session}"
    if facts.sessions_behind is None:
        return Part("data", Level.UNKNOWN, f"{text}; which ones are due is not known, the market's time is missing")
    if facts.sessions_behind > rules.bars_behind:
        return Part("data", Level.UNHEALTHY, f"{text}, {facts.sessions_behind} sessions behind")
    return Part("data", Level.HEALTHY, f"{text}, {facts.sessions_behind or 'none'} behind")


def _reconciliation(facts: HealthFacts) -> Part:
    placed, done = facts.orders, facts.reconciled_session
    if done is None:
        level = Level.HEALTHY if placed is None else Level.DEGRADED
        return Part("reconciliation", level, "never" if placed is None else "never, though orders were placed")
    text = f"newest is of session {done}"
    if placed is not None and done < placed.session:
        return Part("reconciliation", Level.DEGRADED, f"{text}; orders of session {placed.session} are not compared")
    return Part("reconciliation", Level.HEALTHY, text)


def _alerts(facts: HealthFacts) -> Part:
    found = facts.alerts
    text = (
        f"{found.unacknowledged} critical unacknowledged, {found.waiting} waiting to be delivered, "
        f"{found.given_up} given up"
    )
    is_bad = found.unacknowledged or found.given_up
    return Part("alerts", Level.DEGRADED if is_bad else Level.HEALTHY, text)


def _ago(now: datetime, at: datetime) -> str:
    """Return how long before ``now`` it was, in words of one unit."""
    seconds = (now - at).total_seconds()
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def redacted(health: Health, hide: Callable[[str], str]) -> Health:
    """Return it with the words of every part as ``hide`` lets them be shown."""
    return replace(health, parts=tuple(replace(part, text=hide(part.text)) for part in health.parts))


def lines(health: Health) -> Iterator[str]:
    """Yield the verdict, and a line for each part, for people."""
    yield health.level.value
    for part in health.parts:
        yield f"  {part.name:<15}{part.level.value:<10} {part.text}"
