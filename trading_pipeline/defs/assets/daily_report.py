"""Group fills: the report on a session, as one page and as a mail."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import dagster as dg

from trading_pipeline.application.service_levels import Verdict
from trading_pipeline.defs.assets.fills import GROUP
from trading_pipeline.defs.assets.orders import is_backfill
from trading_pipeline.defs.assets.table_asset import OWNERS
from trading_pipeline.defs.partitions import session_of, session_partitions
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import DataError, DependencyUnavailable, PermanentError
from trading_pipeline.domain.risk.trading_state import TradingState
from trading_pipeline.ports import Alert, Severity
from trading_pipeline.reporting import pages
from trading_pipeline.reporting.daily_report import TEMPLATE, document
from trading_pipeline.reporting.email import render_session
from trading_pipeline.reporting.pages import Document
from trading_pipeline.reporting.report_files import report_path, write_page
from trading_pipeline.reporting.session_facts import REPORT_KEY, ReportContext, SessionFacts, gathered

NAME = "daily_report"
PlanTimes = Callable[[date], datetime | None]
UPSTREAM = ("fills", "reconciliation", "execution_quality", "performance", "risk_report")


@dg.asset(
    name=NAME,
    group_name=GROUP,
    partitions_def=session_partitions(),
    deps=UPSTREAM,
    required_resource_keys={"world"},
    kinds={"html"},
    owners=OWNERS,
    code_version="1",
)
def daily_report(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
    """One page on the session: targets, orders, executions, profit, risk, alerts and service levels.

    Written to the folder ``reports``, named for the session in which the
    orders were placed, and given once as an alert of severity info, by which
    it reaches people as a mail. Materialising it again writes the page anew
    from the tables; it reads, and trades nothing.
    """
    world: TradingWorld = context.resources.world
    session = session_of(context.partition_key)
    now = world.clock.now()
    facts = gathered(world.tables, session, report_context(world, session, now, world.trading_state.read()))
    shown = shown_document(world, facts)
    page = rendered(shown)
    path = write_page(report_path(world.home.folder, facts.execution_session), page)
    if world.settings.reports.email and facts.is_placed and not is_backfill(context):
        mail = render_session(shown, str(path))
        key = f"{REPORT_KEY}{facts.execution_session}"
        world.notifier.notify(Alert(key, Severity.INFO, mail.subject, mail.text, now, html=mail.html))
    version = hashlib.sha256(page.encode()).hexdigest()[:16]
    return dg.MaterializeResult(metadata=_told(world, facts, shown, str(path)), data_version=dg.DataVersion(version))


def rendered(shown: Document) -> str:
    """Return a report as a page."""
    return pages.render_document(TEMPLATE, shown)


def shown_document(world: TradingWorld, facts: SessionFacts) -> Document:
    """Return the report as it may be shown: in neutral mode without symbols and figures."""
    return neutral(world, facts, document(facts))


def neutral(world: TradingWorld, facts: SessionFacts, made: Document) -> Document:
    """Return a document of a session as it may be shown."""
    redactor = world.redactor
    if redactor is None:
        return made
    redactor.learn({*facts.snapshot["symbol"], *facts.targets["symbol"], *facts.orders["symbol"]})
    return pages.redacted(made, redactor.text)


def report_context(
    world: TradingWorld, session: date, now: datetime, state: TradingState | None, times: PlanTimes | None = None
) -> ReportContext:
    """Return what the tables do not say of a session; ``state`` is None where nobody knows it.

    ``times`` tells when plans were made, with the memory of who asks often.
    """
    settings = world.settings
    promised = settings.service_levels
    before = timedelta(minutes=promised.planned_before_window_minutes)
    return ReportContext(
        mode=settings.mode.value,
        market=world.market,
        written_at=now,
        alerts=_alerts(world, session),
        planned_at=times or plan_times(world),
        deadline=lambda decided: world.rules.window(sessions.next_session(decided)).start - before,
        promised=promised,
        sessions_shown=settings.reports.sessions_shown,
        trading_state="" if state is None else in_words(state),
        audit_head=_audit_head(world),
    )


def in_words(state: TradingState) -> str:
    """Return a state as its mode, and why where it holds something.

    >>> from trading_pipeline.domain.risk.trading_state import ACTIVE, TradingMode
    >>> in_words(ACTIVE), in_words(TradingState(TradingMode.HALTED, "a break", "reconciliation"))
    ('active', 'halted (a break)')
    """
    return f"{state.mode.value} ({state.reason})" if state.latches and state.reason else state.mode.value


def _alerts(world: TradingWorld, session: date) -> Sequence[Alert] | None:
    try:
        return world.notifier.alerts(sessions.close_of(session) - timedelta(days=1))
    except DependencyUnavailable:
        return None


def plan_times(world: TradingWorld) -> PlanTimes:
    """Return who tells when the first executable plan of a session was made; each is read once, since none changes.

    A plan that cannot be read counts as none: it can place no order.
    """
    known: dict[date, datetime] = {}
    accounts: list[str] = []

    def planned_at(session: date) -> datetime | None:
        if session not in known:
            if not accounts:
                accounts.extend(_accounts(world))
            try:
                plans = [plan for account in accounts for plan in world.plans.versions(account, session)]
            except DataError:
                return None
            if not plans:
                return None
            known[session] = min(plan.created_at for plan in plans)
        return known[session]

    return planned_at


def _accounts(world: TradingWorld) -> Sequence[str]:
    snapshots = world.tables.read("portfolio_snapshot")
    return sorted(set(snapshots.loc[snapshots["source"] == "broker", "account_number"]))


def _audit_head(world: TradingWorld) -> str:
    try:
        head = world.audit.log.head()
    except (DataError, PermanentError, DependencyUnavailable) as error:
        return f"cannot be read ({error})"
    return head.anchor if head.count else ""


def _told(world: TradingWorld, facts: SessionFacts, shown: Document, path: str) -> Mapping[str, Any]:
    sent = int((facts.orders["approved_quantity"] > 0).sum())
    missed = [level.name for level in facts.service_levels if level.verdict is Verdict.MISSED]
    figures: dict[str, Any] = {"orders": sent, "executions": len(facts.fills), "service_levels_missed": len(missed)}
    if facts.realised is not None:
        figures["realised"] = float(facts.realised)
    if len(facts.history):
        last = facts.history.iloc[-1]
        found = {name: last[name] for name in ("equity", "profit", "drawdown") if pages.is_known(last[name])}
        figures |= {name: float(value) for name, value in found.items()}
    if facts.alerts is not None:
        figures["alerts"] = len(facts.alerts)
    tiles = "\n".join(f"| {tile.label} | {tile.value} | {tile.note} |" for tile in shown.tiles)
    return {
        "report": dg.MetadataValue.path(path),
        "execution_session": str(facts.execution_session),
        "headlines": dg.MetadataValue.md(f"| | | |\n|---|---:|---|\n{tiles}"),
        "to_look_at": "\n".join(shown.attention) or "nothing",
        **figures,
        "market": world.market,
    }
