"""The drawdown guard: how far an account has fallen within the session, since the close before, and from its peak.

Each of the three has a ladder of rungs: a warning, then trading that only
reduces, then none. A rung trips once, when two readings that lie apart agree
on it, so that one bad print trips nothing; neither does one that is too high,
since a new high too must be seen twice. Falls are measured by the worth of a
unit (:mod:`trading_pipeline.domain.risk.unit_value`), which deposits and
withdrawals leave alone.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal

from trading_pipeline.domain import sessions
from trading_pipeline.domain.risk.drawdown_limits import DrawdownLimits, Measure, Rung
from trading_pipeline.domain.risk.trading_state import Latch
from trading_pipeline.domain.risk.unit_value import CashFlow, Units, begun, priced

INCONSISTENT = "inconsistent equity"
"""The name of the latch that is set where broker and own reckoning of the equity contradict each other."""


@dataclass(frozen=True)
class Reading:
    """An account as it was read at a UTC instant inside ``session``; what could not be read is None.

    Attributes:
        at: the instant.
        session: the session that is open then.
        equity: what the broker says the account is worth, in dollars.
        flows: every movement of cash from or to outside of the last days, in which no flow may be left out.
        previous_close: what the broker says it was worth at the close before, in dollars.
        mark: what we reckon it is worth, in dollars: cash, and positions at the latest prices.
    """

    at: datetime
    session: date
    equity: Decimal | None
    flows: tuple[CashFlow, ...] | None = ()
    previous_close: Decimal | None = None
    mark: Decimal | None = None


@dataclass(frozen=True)
class Height:
    """A worth of a unit that was seen at an instant, and is no new high before another reading agrees."""

    at: datetime
    value: Decimal


@dataclass(frozen=True)
class SessionClose:
    """What a unit was worth at the end of a session, as far as readings tell."""

    session: date
    value: Decimal


@dataclass(frozen=True)
class Crossing:
    """A rung that readings have been beyond since an instant, and that has not tripped yet."""

    measure: Measure
    rung: Rung
    since: datetime


@dataclass(frozen=True)
class DrawdownState:
    """What the guard remembers; a plain value, so that it outlives the process.

    Attributes:
        session: the session of the last usable reading; None before the first.
        seen_at: its UTC instant.
        units: the account in units.
        high: the highest worth of a unit in the session that two readings agreed on.
        rising: a reading above it that no other has confirmed.
        closes: those of the sessions before, oldest first.
        crossings: rungs that are crossed and not confirmed.
        tripped: the rungs that have tripped. Those of a session's measures are forgotten when the next begins, those
            of the trailing drawdown when a session ends with less of it than would be warned of.
        inconsistent_in: the session in which the equity was last found to be inconsistent.
    """

    session: date | None = None
    seen_at: datetime | None = None
    units: Units = field(default_factory=Units)
    high: Decimal | None = None
    rising: Height | None = None
    closes: tuple[SessionClose, ...] = ()
    crossings: tuple[Crossing, ...] = ()
    tripped: tuple[tuple[Measure, Rung], ...] = ()
    inconsistent_in: date | None = None


@dataclass(frozen=True)
class Trip:
    """A rung that tripped at a reading; ``name`` is the measure's, or that of inconsistent figures."""

    name: str
    rung: Rung
    reason: str
    at: datetime
    session: date

    @property
    def latch(self) -> Latch | None:
        """What the trading state is to be held to; None for a warning."""
        if self.rung.mode is None:
            return None
        return Latch(self.name, self.rung.mode, self.reason, self.name, self.at, session=self.session, is_risk=True)


@dataclass(frozen=True)
class Observation:
    """What a reading led to.

    ``falls`` are fractions, zero at or above the origin, None where that is
    not known; ``missing`` names what could not be used. Without equity or
    flows the reading counts for nothing.
    """

    state: DrawdownState
    trips: tuple[Trip, ...] = ()
    falls: Mapping[Measure, Decimal | None] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


def observed(state: DrawdownState, reading: Reading, limits: DrawdownLimits) -> Observation:
    """Return what the guard knows after ``reading``, and the rungs that trip by it, the mildest first.

    A reading that cannot be used, or is no later than the last one, changes
    nothing: it neither confirms what was seen before nor contradicts it.

    Raises:
        InvalidInput: the session of the reading is none.
    """
    missing, doubt = _missing(state, reading), _contradiction(state, reading, limits)
    equity, flows = reading.equity, reading.flows
    told = (doubt,) if doubt else ()
    known = replace(state, inconsistent_in=reading.session) if doubt else state
    if equity is None or flows is None or _unusable(missing):
        return Observation(known, told, missing=missing)
    before = sessions.previous_session(reading.session)
    counted = _counted(_in_session(known, reading.session, limits), equity, flows, before, reading, limits)
    if counted.units.unpriced is not None:
        return Observation(counted, told, missing=(*missing, "price of a new cash flow"))
    if counted.units.count <= 0:
        return Observation(counted, told, missing=(*missing, "positive equity"))
    value = equity / counted.units.count
    marked = _with_high(_marked(counted, equity, reading, limits), Height(reading.at, value), limits.confirmation)
    falls = {measure: _fall(value, origin) for measure, origin in _origins(marked, reading, before).items()}
    final, trips = _climbed(marked, falls, reading, limits)
    return Observation(final, (*told, *trips), falls, missing)


_FOR_ANYTHING = ("equity", "cash flows", "a later instant")


def _missing(state: DrawdownState, reading: Reading) -> tuple[str, ...]:
    begins = state.session is None
    found = {
        "equity": not _is_number(reading.equity) or (begins and reading.equity is not None and reading.equity <= 0),
        "cash flows": reading.flows is None or not all(flow.amount.is_finite() for flow in reading.flows),
        "a later instant": state.seen_at is not None and reading.at <= state.seen_at,
        "previous close": not _is_positive(reading.previous_close),
        "own mark": not _is_positive(reading.mark),
    }
    return tuple(name for name, is_missing in found.items() if is_missing)


def _unusable(missing: Sequence[str]) -> bool:
    return any(name in missing for name in _FOR_ANYTHING)


def _is_number(figure: Decimal | None) -> bool:
    return figure is not None and figure.is_finite()


def _is_positive(figure: Decimal | None) -> bool:
    return figure is not None and figure.is_finite() and figure > 0


def _contradiction(state: DrawdownState, reading: Reading, limits: DrawdownLimits) -> Trip | None:
    """Return that the broker's equity is too far below our own mark, once a session; no second reading is awaited."""
    equity, mark = reading.equity, reading.mark
    if equity is None or mark is None or not (_is_number(equity) and _is_positive(mark)):
        return None
    if equity >= limits.consistency * mark or state.inconsistent_in == reading.session:
        return None
    reason = (
        f"inconsistent figures: the broker says {equity:.2f} dollars of equity, cash and positions at the latest "
        f"prices make {mark:.2f}"
    )
    return Trip(INCONSISTENT, Rung.REDUCING, reason, reading.at, reading.session)


def _in_session(state: DrawdownState, session: date, limits: DrawdownLimits) -> DrawdownState:
    """Return the state at the begin of ``session``, or as it is where that is under way."""
    if state.session is None or state.session == session:
        return state
    close = state.units.close(state.session)
    closes = state.closes if close is None else (*state.closes, SessionClose(state.session, close))
    kept = closes[-limits.trailing_sessions :]
    peak = max((each.value for each in kept), default=None)
    fall = None if close is None else _fall(close, peak)
    is_over = fall is not None and fall < limits.trailing.warn
    tripped = () if is_over else tuple(trip for trip in state.tripped if trip[0] is Measure.TRAILING)
    units = replace(state.units, since_close=Decimal(0))
    return replace(
        state, session=session, units=units, high=None, rising=None, closes=kept, crossings=(), tripped=tripped
    )


def _counted(
    state: DrawdownState,
    equity: Decimal,
    flows: tuple[CashFlow, ...],
    before: date,
    reading: Reading,
    limits: DrawdownLimits,
) -> DrawdownState:
    """Return the state with its cash flows counted; one whose account begins, or begins anew, knows no highs."""
    seen = replace(state, session=reading.session, seen_at=reading.at)
    if state.units.count <= 0:
        return replace(seen, units=begun(equity, flows, before)) if equity > 0 else state
    units = priced(state.units, equity, flows, before, reading.at, limits.confirmation)
    is_anew = bool(state.units.recent) and not units.recent
    return replace(seen, units=units, high=None, rising=None, closes=()) if is_anew else replace(seen, units=units)


def _marked(state: DrawdownState, equity: Decimal, reading: Reading, limits: DrawdownLimits) -> DrawdownState:
    return replace(state, units=state.units.marked(reading.at, reading.session, equity, limits.confirmation))


def _with_high(state: DrawdownState, seen: Height, apart: timedelta) -> DrawdownState:
    """Return the state after a worth was seen: a new high is what two readings are above."""
    high, rising = state.high, state.rising
    if high is not None and seen.value <= high:
        return replace(state, rising=None)
    if rising is None:
        return replace(state, rising=seen)
    agreed = min(rising.value, seen.value)
    if seen.at - rising.at < apart:
        return replace(state, rising=Height(rising.at, agreed))
    return replace(state, high=agreed, rising=seen if seen.value > agreed else None)


def _origins(state: DrawdownState, reading: Reading, before: date) -> Mapping[Measure, Decimal | None]:
    """Return by measure the worth of a unit that a fall is measured from."""
    heights = [close.value for close in state.closes] + ([] if state.high is None else [state.high])
    return {
        Measure.INTRADAY: state.high,
        Measure.DAILY: _worth_at_close(state, reading.previous_close, before),
        Measure.TRAILING: max(heights, default=None),
    }


def _worth_at_close(state: DrawdownState, told: Decimal | None, before: date) -> Decimal | None:
    if told is not None and _is_positive(told) and state.units.at_the_close > 0:
        return told / state.units.at_the_close
    last = state.closes[-1] if state.closes else None
    return last.value if last is not None and last.session == before else None


def _fall(value: Decimal, origin: Decimal | None) -> Decimal | None:
    return None if origin is None or origin <= 0 else max(1 - value / origin, Decimal(0))


def _climbed(
    state: DrawdownState, falls: Mapping[Measure, Decimal | None], reading: Reading, limits: DrawdownLimits
) -> tuple[DrawdownState, tuple[Trip, ...]]:
    """Return the state and the trips after the falls were held against every rung that has not tripped."""
    since = {(crossing.measure, crossing.rung): crossing.since for crossing in state.crossings}
    crossings: list[Crossing] = []
    trips: dict[tuple[Measure, Rung], Trip] = {}
    for rung, measure in itertools.product(Rung, Measure):
        fall, limit, began = falls[measure], limits.ladder(measure).of(rung), since.get((measure, rung))
        if (measure, rung) in state.tripped or (fall is not None and fall < limit) or (fall is None and not began):
            continue
        crossing = Crossing(measure, rung, began or reading.at)
        if fall is not None and reading.at - crossing.since >= limits.confirmation:
            reason = f"equity is {fall:.2%} below {measure.origin}, the limit is {limit:.2%}"
            trips[measure, rung] = Trip(measure.value, rung, reason, reading.at, reading.session)
        else:
            crossings.append(crossing)
    tripped = (*state.tripped, *trips)
    return replace(state, crossings=tuple(crossings), tripped=tripped), tuple(trips.values())
