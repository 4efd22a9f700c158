"""A decision made again from what was recorded for it: bars, readings, signals, allocation, orders, risk decisions."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trading_pipeline.application.decision import consolidated, panel_of, sessions_needed, signal_of
from trading_pipeline.application.records import REMEMBERED_SESSIONS, Chain, Records
from trading_pipeline.application.replay import KeptRows, Replay, Replayed, Verdict, check_bars, compared
from trading_pipeline.application.replayed_orders import replayed_orders
from trading_pipeline.application.risk_inputs import HISTORY_SESSIONS
from trading_pipeline.domain import sessions
from trading_pipeline.domain.allocation import Allocation, from_frame, to_frame
from trading_pipeline.domain.errors import PipelineError
from trading_pipeline.domain.freshness import usable_bars
from trading_pipeline.domain.instruments import CASH
from trading_pipeline.domain.readings import IndicatorPanel
from trading_pipeline.domain.signals import Signal
from trading_pipeline.domain.signals import to_frame as signal_frame
from trading_pipeline.domain.strategies.rationale_text import weighted
from trading_pipeline.settings import Settings

if TYPE_CHECKING:
    from datetime import date

    import pandas as pd

WEIGHT_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Replayer:
    """Makes decisions again by the code and the ``settings`` of now; ``kept`` is what was recorded of the bars."""

    records: Records
    settings: Settings
    code_version: str
    kept: KeptRows | None = None

    def replay(self, chain: Chain) -> Replay:
        """Make the decision of a chain again and compare every step with what is stored of it.

        Each step is made from what the step before gives now, so that what
        differs is followed to the orders. Where a bar was altered, the decision
        is also made from the bars as they were recorded.
        """
        session, version = chain.session, chain.version("bars")
        first = self._first(session)
        checked = check_bars(self.records.tables, self.kept, version, first, session)
        bars = self.records.rows("bars", first, session, version)
        said = f"{len(bars)} bars of version {version}, {bars['session'].min()} to {session}"
        steps = (compared("bars", said, list(map(str, checked.altered))), *self._decided(chain, bars))
        notes = [*self._changes(chain), *checked.notes]
        if checked.altered and self.kept is not None:
            notes.append(self._from_recorded(chain, self.kept.rows("bars", version, first, session)))
        plan_id = "" if chain.plan is None else chain.plan.plan_id
        return Replay(session, plan_id, steps, checked.altered, tuple(notes))

    def _first(self, session: "date") -> "date":
        needed = max(sessions_needed(list(self.records.strategies.values())), HISTORY_SESSIONS, REMEMBERED_SESSIONS + 1)
        return sessions.previous_session(session, needed - 1)

    def _changes(self, chain: Chain) -> Iterator[str]:
        if chain.plan is None:
            yield "no plan names what is behind this allocation: its newest materialisations are taken for it"
            return
        now = self.settings.fingerprint()
        if chain.plan.config_hash != now:
            yield f"settings have changed since ({chain.plan.config_hash} then, {now} now): those of now were used"
        if chain.plan.code_version != self.code_version:
            yield f"the code has changed since ({chain.plan.code_version} then, {self.code_version} now)"

    def _from_recorded(self, chain: Chain, bars: "pd.DataFrame") -> str:
        differing = [step.step for step in self._decided(chain, bars) if step.verdict is Verdict.DIFFERS]
        if differing:
            return f"from the bars as they were recorded the decision differs too: {', '.join(differing)}"
        return "from the bars as they were recorded the decision is equal at every step"

    def _decided(self, chain: Chain, bars: "pd.DataFrame") -> Sequence[Replayed]:
        session, strategies = chain.session, list(self.records.strategies.values())
        looked_at = _since(bars, sessions.previous_session(session, sessions_needed(strategies) - 1))
        freshness = self.records.freshness(chain)
        if freshness is not None:
            looked_at = usable_bars(looked_at, freshness, session)
        try:
            panel = panel_of(strategies, looked_at, session, self.records.smoothing)
        except PipelineError as error:
            return [Replayed("indicators", Verdict.DIFFERS, "", (f"these bars cannot be computed with: {error}",))]
        # As a table holds it and gives it back.
        again = IndicatorPanel.from_frame(panel.to_frame(session))
        signals = [signal_of(strategy, again, self.records.smoothing) for strategy in strategies]
        steps = [self._readings(chain, again), *(self._signal(chain, signal) for signal in signals)]
        target, step = self._allocated(chain, signals, bars)
        if target is None:
            return [*steps, step]
        return [*steps, step, *replayed_orders(self.records, chain, target, bars, self.settings)]

    def _readings(self, chain: Chain, now: IndicatorPanel) -> Replayed:
        then = self.records.panel(chain, chain.session)
        if then is None:
            return Replayed("indicators", Verdict.UNKNOWN, f"no readings of {chain.session} are stored")
        said = f"{len(now.readings)} readings of {chain.session}"
        return compared("indicators", said, list(_different_readings(then, now)))

    def _signal(self, chain: Chain, now: Signal) -> Replayed:
        name, then = f"{now.strategy}_signal", self.records.signal(chain, now.strategy, chain.session)
        if then is None:
            return Replayed(name, Verdict.UNKNOWN, "it is not stored")
        return compared(name, _holding(now), list(_different_signals(then, now)))

    def _allocated(
        self, chain: Chain, signals: Iterable[Signal], bars: "pd.DataFrame"
    ) -> tuple[Allocation | None, Replayed]:
        then = self.records.allocation(chain)
        if then is None:
            return None, Replayed("allocation", Verdict.UNKNOWN, "it is not stored")
        since = sessions.previous_session(chain.session, REMEMBERED_SESSIONS)
        strategies = list(self.records.strategies.values())
        frames, before = [signal_frame(signal) for signal in signals], self.records.allocations_before(chain)
        try:
            now = consolidated(
                chain.session, frames, before, _since(bars, since), strategies, self.settings.strategies
            ).allocation
        except PipelineError as error:
            return None, Replayed("allocation", Verdict.UNKNOWN, f"the settings of now do not lead to one: {error}")
        # In the order in which the table gives it back to whoever plans orders.
        now = from_frame(to_frame(now).sort_values(["strategy", "symbol"]))
        return now, compared("allocation", _target(now), list(_different_targets(then, now)))


def _target(now: Allocation) -> str:
    return weighted({symbol: weight for symbol, weight in {**now.weights, CASH: now.cash}.items() if weight})


def _since(bars: "pd.DataFrame", first: "date") -> "pd.DataFrame":
    return bars[bars["session"] >= first]


def _different_readings(then: IndicatorPanel, now: IndicatorPanel) -> Iterator[str]:
    if then.sessions != now.sessions:
        old, new = (f"{panel.sessions[0]} to {panel.sessions[-1]}" for panel in (then, now))
        yield f"sessions: recorded {old}, now {new}"
        return
    for reading in sorted({*then.readings, *now.readings}):
        if reading not in then or reading not in now:
            yield f"{reading}: {'is not asked for any more' if reading in then else 'was not asked for then'}"
            continue
        pairs = zip(then.sessions, then.values(reading).tolist(), now.values(reading).tolist(), strict=True)
        yield from (
            f"{reading} of {day}: recorded {_figure(old)}, now {_figure(new)}"
            for day, old, new in pairs
            if old != new and not (math.isnan(old) and math.isnan(new))
        )


def _different_signals(then: Signal, now: Signal) -> Iterator[str]:
    if (then.status, then.reason) != (now.status, now.reason) or not _same(then.weights, now.weights):
        yield f"recorded {_holding(then)}, now {_holding(now)}"
    if then.inputs_hash != now.inputs_hash:
        yield f"decided on other readings: inputs hash {then.inputs_hash[:16]} recorded, {now.inputs_hash[:16]} now"


def _holding(signal: Signal) -> str:
    return weighted(signal.weights) if signal.reason is None else f"unavailable ({signal.reason})"


def _same(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    return one.keys() == other.keys() and all(
        math.isclose(weight, other[symbol], rel_tol=0, abs_tol=WEIGHT_TOLERANCE) for symbol, weight in one.items()
    )


def _different_targets(then: Allocation, now: Allocation) -> Iterator[str]:
    old = {(part.strategy, part.symbol): part for part in then.contributions}
    new = {(part.strategy, part.symbol): part for part in now.contributions}
    for strategy, symbol in sorted(old.keys() | new.keys()):
        before, after = old.get((strategy, symbol)), new.get((strategy, symbol))
        if before is None or after is None:
            there, where = (before, "recorded") if before is not None else (after, "now")
            yield f"{symbol} from {strategy}: only {where}" + ("" if there is None else f", {there.weight:.6g}")
        elif not math.isclose(before.weight, after.weight, rel_tol=0, abs_tol=WEIGHT_TOLERANCE) or (
            replace(before, weight=0.0) != replace(after, weight=0.0)
        ):
            yield (
                f"{symbol} from {strategy}: recorded {before.weight:.10g} {before.status} since {before.decided_on}, "
                f"now {after.weight:.10g} {after.status} since {after.decided_on}"
            )


def _figure(value: float) -> str:
    return "missing" if math.isnan(value) else f"{value:.10g}"
