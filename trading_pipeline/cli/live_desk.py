"""What the live page shows, gathered at each look; tables are read again only where they changed."""

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING

from trading_pipeline.adapters.storage.tables import DeltaTables
from trading_pipeline.application.health import Health
from trading_pipeline.application.performance import BROKER
from trading_pipeline.defs.assets.daily_report import PlanTimes, neutral, plan_times, report_context
from trading_pipeline.defs.health_facts import HealthDesk
from trading_pipeline.defs.kill_switch import effective_state, local_sources
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import DependencyUnavailable, TradingHalted
from trading_pipeline.domain.risk.trading_state import TradingState
from trading_pipeline.ports import Alert, JournalEntry, Severity
from trading_pipeline.reporting import dashboard, pages
from trading_pipeline.reporting.pages import Document
from trading_pipeline.reporting.report_files import sessions_reported
from trading_pipeline.reporting.session_facts import TABLES, ReportContext, SessionFacts, gathered

if TYPE_CHECKING:
    import pandas as pd

MOST_KEPT = 64
SECONDS_KEPT = 1.0


class CachedTables:
    """Tables whose rows are kept while the version of their table is the same; for one thread at a time.

    Asking for a version costs some milliseconds, reading rows up to seconds:
    versions are asked for once a look, rows are read where the version is new.
    """

    def __init__(self, tables: DeltaTables) -> None:
        """Read from ``tables``; nothing is read yet."""
        self._tables = tables
        self._versions: dict[str, int | None] = {}
        self._kept: OrderedDict[tuple[str, date | None, date | None], tuple[int | None, pd.DataFrame]] = OrderedDict()

    def look_again(self) -> None:
        """Ask for the versions anew from here on."""
        self._versions.clear()

    def version(self, name: str) -> int | None:
        """Return the version of a table at this look, None where it was never written; raises as :meth:`read`."""
        if name not in self._versions:
            self._versions[name] = self._tables.version(name)
        return self._versions[name]

    def read(self, name: str, first: date | None = None, last: date | None = None) -> "pd.DataFrame":
        """Return the rows of sessions ``first`` to ``last``; whoever changes the frame changes what others get.

        Raises:
            InvalidInput: the table cannot be read.
        """
        asked, version = (name, first, last), self.version(name)
        kept = self._kept.get(asked)
        if kept is not None and kept[0] == version:
            return kept[1]
        frame = self._tables.read(name, first, last, version)
        self._kept[asked] = (version, frame)
        self._kept.move_to_end(asked)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return frame


@dataclass
class LiveDesk:
    """Gathers the live page of one market's folder; it reads, and changes nothing."""

    world: TradingWorld
    health_desk: HealthDesk
    _facts: tuple[tuple[object, ...], SessionFacts] | None = field(default=None, init=False)
    _shown: tuple[float, str] | None = field(default=None, init=False)
    _looking: threading.Lock = field(default_factory=threading.Lock, init=False)

    @cached_property
    def tables(self) -> CachedTables:
        """The tables, with a memory."""
        return CachedTables(self.world.tables)

    def fragment(self) -> str:
        """Return the part of the page that is replaced; whoever asks within a second is given the same.

        Raises:
            PipelineError: a table or record that everything depends on cannot be read.
        """
        with self._looking:
            now = self.world.wall.elapsed()
            if self._shown is None or now - self._shown[0] >= SECONDS_KEPT:
                self._shown = (now, dashboard.fragment(self.document()))
            return self._shown[1]

    def document(self) -> Document:
        """Return how things stand, as it may be shown; raises as :meth:`fragment`."""
        self.tables.look_again()
        facts_session, account = self._newest()
        state = self._state()
        context = self._context(facts_session, state)
        facts = None if facts_session is None else self._gathered(facts_session, context)
        live = dashboard.LiveFacts(
            context=context,
            facts=facts,
            state=state,
            health=self._health(),
            entries=self._entries(account, facts_session),
            recent=self._recent(facts_session),
            alerts=self._unacknowledged(),
            reports=sessions_reported(self.world.home.folder),
        )
        return self._as_shown(facts, dashboard.document(live))

    def _gathered(self, session: date, context: ReportContext) -> SessionFacts:
        seen = (session, *(self.tables.version(name) for name in TABLES))
        if self._facts is not None and self._facts[0] == seen:
            return replace(self._facts[1], context=context)
        facts = gathered(self.tables, session, context)
        self._facts = (seen, facts)
        return facts

    def _as_shown(self, facts: SessionFacts | None, made: Document) -> Document:
        if facts is not None:
            return neutral(self.world, facts, made)
        redactor = self.world.redactor
        return made if redactor is None else pages.redacted(made, redactor.text)

    def _newest(self) -> tuple[date | None, str]:
        snapshots = self.tables.read("portfolio_snapshot")
        own = snapshots[snapshots["source"] == BROKER]
        if own.empty:
            return None, ""
        newest = own[own["session"] == own["session"].max()]
        return newest["session"].iloc[0], str(newest["account_number"].iloc[0])

    def _context(self, session: date | None, state: TradingState | None) -> ReportContext:
        now = self.world.wall.now()
        looked_at = session or sessions.last_completed_session(now)
        return report_context(self.world, looked_at, now, state, self._plan_times)

    @cached_property
    def _plan_times(self) -> PlanTimes:
        return plan_times(self.world)

    def _state(self) -> TradingState | None:
        settings, wall = self.world.settings, self.world.wall
        sources = local_sources(settings, self.world.home, os.environ, wall)
        try:
            # What the broker holds is told by the heartbeat: a page asks no broker.
            return effective_state(settings.trading_state, self.world.stored_state, sources, wall).read()
        except TradingHalted:
            return None

    def _health(self) -> Health:
        return self.health_desk.health()

    def _entries(self, account: str, session: date | None) -> Sequence[JournalEntry]:
        if session is None:
            return ()
        plan_id = self.world.journal.claimed(account, session)
        return () if plan_id is None else self.world.journal.entries(plan_id, account)

    def _recent(self, session: date | None) -> "pd.DataFrame":
        last = session or sessions.last_completed_session(self.world.wall.now())
        first = sessions.previous_session(last, self.world.settings.service_levels.sessions - 1)
        return self.tables.read("execution_quality", first, last)

    def _unacknowledged(self) -> Sequence[Alert] | None:
        try:
            kept = self.world.notifier.kept(unacknowledged=True)
        except DependencyUnavailable:
            return None
        # What only informs, such as a report, waits for nobody's word.
        return [each.alert for each in kept if each.alert.severity is not Severity.INFO]
