"""What a strategy's sleeve rests on: its signal and path, the readings on the path, and the bars behind those."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from trading_pipeline.application.records import NO_CLOSES, Chain, Closes, Records
from trading_pipeline.application.tracing import AuditMark, Grid, Noun, Origin, Step
from trading_pipeline.domain import sessions
from trading_pipeline.domain.allocation import Allocation, SleeveStatus
from trading_pipeline.domain.audit import AuditEvent
from trading_pipeline.domain.freshness import reasons_against
from trading_pipeline.domain.indicators import look_back
from trading_pipeline.domain.smoothing import Smoothing
from trading_pipeline.domain.strategies import tree
from trading_pipeline.domain.strategies.rationale import (
    Compared,
    FilterRanked,
    IfTaken,
    InverseVolatilityWeighted,
    Rationale,
    Term,
    Tested,
)
from trading_pipeline.domain.strategies.rationale_text import closest_call, decision
from trading_pipeline.domain.strategies.tree import Group

SHOWN_OF_A_HASH = 16


@dataclass(frozen=True)
class Need:
    """Bars that something read on a path needs: ``count`` sessions of ``symbol``, the last one that of the decision."""

    symbol: str
    count: int


def signal_step(records: Records, chain: Chain, target: Allocation, strategy: str) -> Step:
    """Return why a strategy's sleeve of ``target`` is what it is; a carried one leads on to where it was decided."""
    sleeve = target.sleeve(strategy)
    step = _of_session(records, chain, strategy, chain.session)
    if not sleeve or sleeve[0].status not in {SleeveStatus.CARRIED, SleeveStatus.FALLBACK}:
        return step
    earlier = _of_session(records, chain, strategy, sleeve[0].decided_on)
    return replace(step, below=(*step.below, earlier))


def _of_session(records: Records, chain: Chain, strategy: str, session: date) -> Step:
    signal, rationale = records.signal(chain, strategy, session), records.rationale(chain, strategy, session)
    facts = [] if signal is None else [("inputs hash", signal.inputs_hash[:SHOWN_OF_A_HASH])]
    call = "" if rationale is None else closest_call(rationale)
    facts += [("closest call", call)] if call else []
    title = f"{strategy} on {session}: {_said(rationale)}"
    if signal is not None and rationale is None:
        title = f"{strategy} on {session}: {signal.reason or ', '.join(signal.weights)}; its readings are not kept"
    name = f"{strategy}_signal"
    origin = _origin_of(records, chain, name, session, records.audit.of(AuditEvent.SIGNAL, str(session), name))
    below = () if rationale is None else (_readings(records, chain, rationale),)
    return Step(Noun.SIGNAL, title, tuple(facts), origin, strategy=strategy, rationale=rationale, below=below)


def _said(rationale: Rationale | None) -> str:
    return "nothing is recorded" if rationale is None else decision(rationale)


def _origin_of(records: Records, chain: Chain, asset: str, session: date, audit: Sequence[AuditMark] = ()) -> Origin:
    if session == chain.session:
        return records.origin(chain, asset, audit)
    # An earlier decision, as this one's version of the table holds it.
    return replace(records.origin_of(records.runs.newest(asset, session), asset, audit), version=chain.version(asset))


def _readings(records: Records, chain: Chain, rationale: Rationale) -> Step:
    terms = list(dict.fromkeys(_terms(rationale)))
    rows = tuple((str(term.measure), _figure(term.value), _needed(term, records.smoothing)) for term in terms)
    symbols = len({need.symbol for term in terms for need in needs_of(term, records.smoothing)})
    title = f"{len(terms)} readings of {symbols} symbols were looked at on the way"
    origin = _origin_of(records, chain, "indicators", rationale.session)
    grid = Grid(("reading", "value", "needs bars of"), rows)
    return Step(Noun.READINGS, title, (), origin, grid, below=(_bars(records, chain, rationale, terms),))


def _terms(rationale: Rationale) -> Iterator[Term]:
    """Yield what was read on the path, in its order."""
    for step in rationale.steps:
        match step:
            case IfTaken(tested=tested):
                yield from _terms_of(tested)
            case FilterRanked(candidates=candidates):
                yield from (entry.term for entry in candidates)
            case InverseVolatilityWeighted(children=children):
                yield from (child.deviation for child in children)
            case _:
                pass


def _terms_of(tested: Tested) -> Iterator[Term]:
    if isinstance(tested, Compared):
        yield from (term for term in (tested.gap.left, tested.gap.right) if term.measure is not None)
        return
    for part in tested.parts:
        yield from _terms_of(part)


def needs_of(term: Term, smoothing: Smoothing) -> Sequence[Need]:
    """Return the bars that a reading needs so that earlier ones do not matter; a group needs those of all its parts."""
    measure = term.measure
    if measure is None:
        return ()
    count = look_back(measure.indicator, measure.window, smoothing)
    if not isinstance(measure.subject, Group):
        return (Need(measure.subject.symbol, count),)
    # Its value series is simulated over that many sessions, each decided by readings of its own.
    inner = tree.look_back(measure.subject.child, smoothing)
    return tuple(Need(symbol, count - 1 + inner) for symbol in tree.symbols(measure.subject.child))


def _needed(term: Term, smoothing: Smoothing) -> str:
    needs = needs_of(term, smoothing)
    named = ", ".join(need.symbol for need in needs)
    sessions_read = "" if not needs else "1 session" if needs[0].count == 1 else f"{needs[0].count} sessions"
    return f"{named}: {sessions_read}" if needs else ""


def _bars(records: Records, chain: Chain, rationale: Rationale, terms: Sequence[Term]) -> Step:
    needed: dict[str, int] = {}
    for need in (need for term in terms for need in needs_of(term, records.smoothing)):
        needed[need.symbol] = max(needed.get(need.symbol, 0), need.count)
    closes = records.closes(chain, rationale.session)
    rows = tuple(
        _bars_row(symbol, closes.get(symbol, NO_CLOSES), count, rationale.session)
        for symbol, count in sorted(needed.items())
    )
    title = f"{sum(int(row[3]) for row in rows)} bars of {len(rows)} symbols, through {rationale.session}"
    origin = _origin_of(records, chain, "bars", rationale.session)
    if rationale.session == chain.session:
        origin = replace(origin, version=records.bars_version(chain))
    facts = _not_fresh(records, chain, rationale.session, needed)
    return Step(Noun.BARS, title, facts, origin, Grid(("symbol", "from", "to", "bars", "missing", "last close"), rows))


def _not_fresh(
    records: Records, chain: Chain, session: date, symbols: Mapping[str, int]
) -> tuple[tuple[str, str], ...]:
    freshness = records.freshness(chain) if session == chain.session else None
    reasons = {} if freshness is None else reasons_against(freshness, symbols)
    return tuple((f"{symbol} not fresh", reason) for symbol, reason in reasons.items())


def _bars_row(symbol: str, closes: Closes, count: int, session: date) -> tuple[str, ...]:
    first = sessions.previous_session(session, count - 1) if count > 1 else session
    own = closes.since(first)
    known = [close for close in own if not math.isnan(close)]
    last = _figure(known[-1]) if known else "none"
    return symbol, str(first), str(session), str(len(own)), str(count - len(own)), last


def _figure(value: float) -> str:
    return "missing" if math.isnan(value) else f"{value:.10g}"
