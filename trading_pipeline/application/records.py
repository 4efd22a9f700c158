"""Where things are recorded, and what is read of that for an explanation, each once."""

import functools
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

from trading_pipeline.application.decision import newest, sessions_needed
from trading_pipeline.application.tracing import (
    AuditMark,
    AuditMarks,
    Materialised,
    NoAudit,
    NoRecords,
    Origin,
    RunRecords,
    VersionedTables,
)
from trading_pipeline.domain import sessions
from trading_pipeline.domain.readings import IndicatorPanel
from trading_pipeline.domain.signals import Signal, signals_from_frame
from trading_pipeline.domain.smoothing import Smoothing
from trading_pipeline.domain.strategies import Strategy, tree
from trading_pipeline.domain.strategies.rationale import Rationale, explain

if TYPE_CHECKING:
    import pandas as pd

    from trading_pipeline.domain.allocation import Allocation
    from trading_pipeline.domain.orders import LineageEntry, Plan
    from trading_pipeline.ports import OrderJournal, PlanStore

REMEMBERED_SESSIONS = 60
"""How far back the allocation of a session looks for the one before it."""


@dataclass(frozen=True, eq=False)
class Chain:
    """The materialisations behind one decision: of a plan, or the newest where there is no plan.

    ``entries`` are by asset. Code version and settings are the plan's, empty without one.
    """

    session: date
    entries: Mapping[str, "LineageEntry"]
    plan: "Plan | None" = None

    def version(self, asset: str) -> int | None:
        """Return the table version that an asset wrote for the decision; None where that is not known."""
        entry = self.entries.get(asset)
        return None if entry is None or entry.table_version < 0 else entry.table_version


@dataclass(frozen=True)
class Closes:
    """The bars of one symbol: their sessions, oldest first, and their closes in dollars, NaN where missing."""

    sessions: Sequence[date]
    values: Sequence[float]

    def since(self, first: date) -> Sequence[float]:
        """Return the closes from a session on."""
        return self.values[bisect_left(self.sessions, first) :]


NO_CLOSES = Closes((), ())


@dataclass(frozen=True, eq=False)
class Records:
    """Tables, plans, journal and Dagster's record, read each once."""

    tables: VersionedTables
    plans: "PlanStore"
    journal: "OrderJournal"
    strategies: Mapping[str, Strategy]
    smoothing: Smoothing = Smoothing.WILDER
    runs: RunRecords = field(default_factory=NoRecords)
    audit: AuditMarks = field(default_factory=NoAudit)
    liquidated: Sequence[tuple[str, date]] = ()
    """Account and session of each emergency liquidation; its orders are in no table."""

    def chain_of(self, plan: "Plan") -> Chain:
        """Return what is behind a plan: the same chain each time, so that what was read of it is not read again."""
        return self._chain(plan.account_number, plan.plan_id, plan)

    @functools.lru_cache(maxsize=64)  # noqa: B019 - lives as long as one command
    def _chain(self, account_number: str, plan_id: str, plan: "Plan") -> Chain:  # noqa: ARG002 - they name the plan
        return Chain(plan.session, {entry.asset: entry for entry in plan.lineage}, plan)

    def newest_chain(self, session: date, assets: Sequence[str]) -> Chain:
        """Return the newest materialisations of ``assets`` for a session, as far as Dagster's record is at hand."""
        found = {asset: self.runs.newest(asset, session) for asset in assets}
        return Chain(session, {asset: each.entry for asset, each in found.items() if each is not None})

    def origin(self, chain: Chain, asset: str, audit: Sequence[AuditMark] = ()) -> Origin:
        """Return where an asset of the chain was recorded."""
        entry, plan = chain.entries.get(asset), chain.plan
        told = None if entry is None else self.runs.of(entry)
        return Origin(
            asset,
            chain.version(asset),
            "" if entry is None else entry.run_id,
            None if entry is None else entry.materialization_id,
            None if told is None else told.at,
            (told.code_version if told else "") or (plan.code_version if plan else ""),
            plan.config_hash if plan else _newest(audit).config_hash,
            tuple(audit),
        )

    def origin_of(self, found: Materialised | None, table: str, audit: Sequence[AuditMark] = ()) -> Origin:
        """Return where a materialisation that no plan names was recorded; the table alone where it is not known."""
        mark = _newest(audit)
        if found is None:
            version = self.tables.version(table)
            return Origin(table, version, "", None, None, mark.code_version, mark.config_hash, tuple(audit))
        entry, code = found.entry, found.code_version or mark.code_version
        version, number = entry.table_version, entry.materialization_id
        return Origin(table, version, entry.run_id, number, found.at, code, mark.config_hash, tuple(audit))

    def bars_version(self, chain: Chain, read_by: str = "indicators") -> int | None:
        """Return the version of the bars that an asset of the chain was made from."""
        entry = chain.entries.get(read_by)
        told = None if entry is None else self.runs.of(entry)
        return (told.tables_read.get("bars") if told else None) or chain.version("bars")

    @functools.lru_cache(maxsize=256)  # noqa: B019 - lives as long as one command
    def rows(self, table: str, first: date, last: date, version: int | None) -> "pd.DataFrame":
        """Return rows of a table, read once."""
        return self.tables.read(table, first, last, version)

    def allocation(self, chain: Chain) -> "Allocation | None":
        """Return the decision's allocation, or None where there is none."""
        return newest(self.rows("allocation", chain.session, chain.session, chain.version("allocation")))

    def allocation_before(self, chain: Chain) -> "Allocation | None":
        """Return the newest allocation before the decision's, or None where there is none."""
        return newest(self.allocations_before(chain))

    def allocations_before(self, chain: Chain) -> "pd.DataFrame":
        """Return the allocations of the sessions before, as far back as a decision looks."""
        first = sessions.previous_session(chain.session, REMEMBERED_SESSIONS)
        last = sessions.previous_session(chain.session)
        return self.rows("allocation", first, last, chain.version("allocation"))

    def signal(self, chain: Chain, strategy: str, session: date) -> Signal | None:
        """Return the stored signal of a strategy and session, or None where there is none."""
        name = f"{strategy}_signal"
        found = signals_from_frame(self.rows(name, session, session, chain.version(name)))
        return found[0] if found else None

    @functools.lru_cache(maxsize=64)  # noqa: B019 - lives as long as one command
    def panel(self, chain: Chain, session: date) -> IndicatorPanel | None:
        """Return the readings stored for a session's decision, or None where there are none."""
        frame = self.rows("indicators", session, session, chain.version("indicators"))
        return None if frame.empty else IndicatorPanel.from_frame(frame)

    @functools.lru_cache(maxsize=64)  # noqa: B019 - lives as long as one command
    def rationale(self, chain: Chain, strategy: str, session: date) -> Rationale | None:
        """Return the path that a session took through a strategy's tree, by the readings stored for it."""
        panel, known = self.panel(chain, session), self.strategies.get(strategy)
        if panel is None or known is None:
            return None
        trailing = panel.last(tree.trailing_sessions(known.tree, self.smoothing))
        return explain(known.tree, trailing, smoothing=self.smoothing)

    def freshness(self, chain: Chain) -> "pd.DataFrame | None":
        """Return how fresh each symbol's newest bar was; None of a decision that did not ask."""
        version = chain.version("data_freshness")
        return None if version is None else self.rows("data_freshness", chain.session, chain.session, version)

    def bars(self, chain: Chain, session: date) -> "pd.DataFrame":
        """Return the bars that the decision of a session looked back over."""
        first = sessions.previous_session(session, sessions_needed(list(self.strategies.values())) - 1)
        return self.rows("bars", first, session, self.bars_version(chain))

    @functools.lru_cache(maxsize=16)  # noqa: B019 - lives as long as one command
    def closes(self, chain: Chain, session: date) -> Mapping[str, Closes]:
        """Return the bars of :meth:`bars` by symbol."""
        return {
            str(symbol): Closes(own["session"].tolist(), own["close"].tolist())
            for symbol, own in self.bars(chain, session).groupby("symbol")
        }

    def plans_of(self, session: date) -> Iterator["Plan"]:
        """Yield the plans of a session, oldest first: those of its accounts, liquidations, and hypothetical ones."""
        for account in self.tables.read("portfolio_snapshot", session, session)["account_number"].unique().tolist():
            yield from self.plans.versions(account, session)
        yield from self.liquidations(session)
        yield from self.plans.hypothetical(session)

    def liquidations(self, session: date | None = None) -> Iterator["Plan"]:
        """Yield the plans that get out of positions, of one session or of all, oldest first."""
        for account, decided_on in sorted(self.liquidated):
            if session in {None, decided_on}:
                yield from self.plans.liquidations(account, decided_on)


def _newest(audit: Sequence[AuditMark]) -> AuditMark:
    return audit[-1] if audit else AuditMark(0, "")
