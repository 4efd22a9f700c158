"""What ``health`` is judged from, collected in one home; without Dagster, whose import takes longer than the answer."""

import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import TypeVar

from trading_pipeline.adapters.clocks import WallClock
from trading_pipeline.adapters.health_records import StoredHeartbeat, daemon_heartbeats, keeps_runs_itself
from trading_pipeline.adapters.notifiers import AlertOutbox
from trading_pipeline.adapters.storage.home import Home
from trading_pipeline.adapters.storage.journal import SqliteJournal
from trading_pipeline.adapters.storage.liquidations import StoredLiquidations
from trading_pipeline.adapters.storage.objects import FileObjects, StoredPlans
from trading_pipeline.adapters.storage.trading_state import StoredTradingState
from trading_pipeline.application.effective_state import EffectiveState
from trading_pipeline.application.health import (
    AlertsFact,
    DecisionFact,
    Health,
    HealthFacts,
    HealthRules,
    Heartbeat,
    OrdersFact,
    heartbeat_from,
    judged,
)
from trading_pipeline.defs.kill_switch import effective_state, local_sources
from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import DataError, DependencyUnavailable, PipelineError
from trading_pipeline.domain.orders import Plan
from trading_pipeline.domain.risk.state_sources import BROKER
from trading_pipeline.domain.risk.trading_state import TradingMode, TradingState
from trading_pipeline.ports import Severity
from trading_pipeline.settings import Mode, Settings

# Of plans that were never begun (nothing traded for days) no more are passed over.
MOST_PLANS_BACK = 10
WAITING = ("pending", "failed")
GIVEN_UP = "given up"
# Failures of Dagster and of what it keeps its records in, by module and name: which of these are loaded, or are
# installed at all, is up to dagster.yaml, and what is not loaded has not failed.
MISCONFIGURED = (
    ("dagster", "DagsterError"),
    ("dagster._check", "CheckError"),
    ("yaml", "YAMLError"),
    # A driver that lacks a part, and a value of the wrong kind.
    ("builtins", "ImportError"),
    ("builtins", "TypeError"),
    ("builtins", "ValueError"),
)
UNREACHABLE = (
    ("builtins", "OSError"),
    ("sqlalchemy.exc", "SQLAlchemyError"),
    ("psycopg2", "Error"),
    ("dagster_postgres.utils", "DagsterPostgresException"),
    ("dagster_mysql.utils", "DagsterMySQLException"),
)
LONGEST_QUOTE = 300
T = TypeVar("T")


@dataclass
class HealthDesk:
    """Collects and judges the health of one market's folder; nothing is opened before it is asked."""

    settings: Settings
    home: Home
    environment: Mapping[str, str]
    clock: WallClock = field(default_factory=WallClock)

    def health(self) -> Health:
        """Return how well the pipeline is now.

        Raises:
            DataError: the folder is not there, so that nothing can be told.
        """
        chosen = self.settings.health
        rules = HealthRules(timedelta(seconds=chosen.heartbeat_stale_after_seconds), chosen.bars_behind_sessions)
        return judged(self.facts(), rules)

    def facts(self) -> HealthFacts:
        """Return what is found now; raises as :meth:`health`."""
        if self.home.absence:
            raise DataError(self.home.absence)
        now, unreadable = self.clock.now(), dict[str, str]()
        beat = _read("heartbeat", self._heartbeat, unreadable, None)
        state = _read("trading", self._trading_state, unreadable, None)
        by_broker = self._held_by_the_broker(now, beat)
        return HealthFacts(
            now=now,
            heartbeat=beat,
            daemons=_read("daemon", self._daemons, unreadable, {}),
            trading=TradingMode.HALTED if state is None else _severest(state, by_broker),
            held_by=(*map(str, state.latches if state else ()), *(by_broker.held_by if by_broker else ())),
            liquidations=_read("liquidation", self._liquidations, unreadable, ()),
            decision=_read("decision", self._decision, unreadable, None),
            decision_due=self._decision_due(now, beat),
            orders=_read("orders", self._orders, unreadable, None),
            bars_session=beat.bars_session if beat else None,
            sessions_behind=beat.sessions_behind if beat else None,
            reconciled_session=beat.reconciled_session if beat else None,
            alerts=_read("alerts", self._alerts, unreadable, AlertsFact()),
            unreadable={**unreadable, **_told_by_the_beat_alone(beat)},
        )

    def _heartbeat(self) -> Heartbeat | None:
        document = StoredHeartbeat(FileObjects(self.home.objects)).read()
        return None if document is None else heartbeat_from(document)

    def _daemons(self) -> Mapping[str, datetime]:
        if keeps_runs_itself(self.home.dagster):
            return daemon_heartbeats(self.home.dagster)
        return _from_instance(self.home)

    def _trading_state(self) -> TradingState:
        stored = StoredTradingState(FileObjects(self.home.objects))
        sources = local_sources(self.settings, self.home, self.environment, self.clock)
        in_force: EffectiveState = effective_state(self.settings.trading_state, stored, sources, self.clock)
        return in_force.read()

    def _liquidations(self) -> tuple[str, ...]:
        return tuple(request.standing for request in StoredLiquidations(FileObjects(self.home.objects)).agreed())

    def _held_by_the_broker(self, now: datetime, beat: Heartbeat | None) -> Heartbeat | None:
        """Return a fresh heartbeat with the broker's flags alone, if they hold trading: nobody asks for them here."""
        if beat is None or now - beat.at > timedelta(seconds=self.settings.health.heartbeat_stale_after_seconds):
            return None
        flags = tuple(line for line in beat.held_by if line.startswith(f"{BROKER}: "))
        return replace(beat, held_by=flags) if flags else None

    def _decision(self) -> DecisionFact | None:
        newest = next(iter(self._plans()), None)
        if newest is None:
            return None
        plan = self._plan(*newest)
        return DecisionFact(plan.session, plan.plan_id, plan.created_at, len(plan.orders))

    def _orders(self) -> OrdersFact | None:
        if not self.home.journal.exists():
            return None
        journal = SqliteJournal(self.home.journal)
        for account, session in self._plans()[:MOST_PLANS_BACK]:
            plan_id = journal.claimed(account, session)
            entries = [] if plan_id is None else journal.entries(plan_id, account)
            if entries:
                states = Counter(entry.state.value for entry in entries)
                return OrdersFact(session, max(entry.written_at for entry in entries), states)
        return None

    def _plans(self) -> list[tuple[str, date]]:
        """Return account and session of every executable plan, newest session first."""
        keys = FileObjects(self.home.objects).list("plans/")
        found = {(account, date.fromisoformat(session)) for _, account, session, _ in (key.split("/") for key in keys)}
        return sorted(found, key=lambda plan: plan[1], reverse=True)

    def _plan(self, account: str, session: date) -> Plan:
        return StoredPlans(FileObjects(self.home.objects)).versions(account, session)[-1]

    def _decision_due(self, now: datetime, beat: Heartbeat | None) -> date | None:
        market = beat.market_time if beat else None
        if market is None:
            # A simulated market has a time of its own.
            if self.settings.mode is Mode.SIMULATED:
                return None
            market = now
        session = sessions.last_completed_session(market)
        opens = timedelta(minutes=self.settings.execution.window_opens_after_minutes)
        before = timedelta(minutes=self.settings.health.decision_deadline_minutes)
        deadline = sessions.open_of(sessions.next_session(session)) + opens - before
        return session if market >= deadline else sessions.previous_session(session)

    def _alerts(self) -> AlertsFact:
        if not self.home.alerts.exists():
            return AlertsFact()
        outbox = AlertOutbox(self.home.alerts)
        unacknowledged = outbox.kept(unacknowledged=True)
        counts = Counter[str]()
        for states in outbox.deliveries.counts().values():
            counts.update({state.value: count for state, count in states.items()})
        return AlertsFact(
            unacknowledged=sum(kept.alert.severity is Severity.CRITICAL for kept in unacknowledged),
            waiting=sum(counts[state] for state in WAITING),
            given_up=counts[GIVEN_UP],
        )


def _read(part: str, look: Callable[[], T], unreadable: dict[str, str], otherwise: T) -> T:
    try:
        return look()
    except PipelineError as error:
        unreadable[part] = str(error)
        return otherwise


def _severest(state: TradingState, by_broker: Heartbeat | None) -> TradingMode:
    known = TradingMode(by_broker.trading) if by_broker else TradingMode.ACTIVE
    return max(state.mode, known, key=lambda mode: mode.severity)


def _told_by_the_beat_alone(beat: Heartbeat | None) -> Mapping[str, str]:
    if beat is not None:
        return {}
    return dict.fromkeys(("data", "reconciliation"), "not known: a heartbeat says it, and there is none")


def _from_instance(home: Home) -> Mapping[str, datetime]:
    """Return the heartbeats of Dagster's daemons where Dagster alone knows how they are kept; it takes seconds.

    Raises:
        DataError: Dagster cannot make anything of its dagster.yaml, a driver that it names is missing among it.
        DependencyUnavailable: what keeps its records does not answer.
    """
    from datetime import UTC

    import dagster as dg

    configuration = home.dagster / "dagster.yaml"
    try:
        with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
            beats = instance.get_daemon_heartbeats()
    except known(UNREACHABLE) as error:
        raise DependencyUnavailable(
            f"Dagster's records, where {configuration} says, cannot be read: {_quoted(error)}; see that they answer"
        ) from error
    except known(MISCONFIGURED) as error:
        raise DataError(f"Dagster does not take {configuration}: {_quoted(error)}; correct it") from error
    return {kind: datetime.fromtimestamp(beat.timestamp, UTC) for kind, beat in beats.items()}


def known(named: Sequence[tuple[str, str]]) -> tuple[type[Exception], ...]:
    """Return those of the failures, by module and name, whose modules are loaded.

    >>> known([("json", "JSONDecodeError"), ("no_module", "Error")])
    (<class 'json.decoder.JSONDecodeError'>,)
    """
    loaded = ((sys.modules.get(module), name) for module, name in named)
    return tuple(getattr(module, name) for module, name in loaded if hasattr(module, name))


def _quoted(error: Exception) -> str:
    """Return kind and first line; what follows in Dagster's and SQLAlchemy's is settings and statements."""
    line = next(iter(str(error).splitlines()), "")
    shown = re.sub(r"//\S*@", "//...@", line)
    return f"{type(error).__name__}: {shown[:LONGEST_QUOTE]}"
