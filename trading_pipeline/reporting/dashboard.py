"""The live page: how things stand now, made anew from the tables and records at each look."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from trading_pipeline.application import execution_quality as quality
from trading_pipeline.application.health import Health, Level
from trading_pipeline.domain.risk.trading_state import TradingMode, TradingState
from trading_pipeline.ports import Alert, IntentState, JournalEntry
from trading_pipeline.reporting import daily_report as report
from trading_pipeline.reporting import pages
from trading_pipeline.reporting.execution_section import orders_section
from trading_pipeline.reporting.pages import Cell, Document, Section, Table, Tile
from trading_pipeline.reporting.performance_plot import durations_plot
from trading_pipeline.reporting.session_facts import ReportContext, SessionFacts

if TYPE_CHECKING:
    import pandas as pd

SHELL = "dashboard.html.j2"
FRAGMENT = "dashboard_fragment.html.j2"
MOST_REPORTS = 20
STATE_TONES = {TradingMode.ACTIVE: pages.GOOD, TradingMode.REDUCING: pages.WARN, TradingMode.HALTED: pages.BAD}
LEVEL_TONES = {Level.HEALTHY: pages.GOOD, Level.UNKNOWN: pages.WARN, Level.DEGRADED: pages.WARN}
INTENT_TONES = {
    IntentState.FILLED: pages.GOOD,
    IntentState.REJECTED: pages.BAD,
    IntentState.ABANDONED: pages.BAD,
    IntentState.EXPIRED: pages.WARN,
    IntentState.CANCELED: pages.WARN,
    IntentState.PARKED: pages.WARN,
}


@dataclass(frozen=True, eq=False)
class LiveFacts:
    """How things stand.

    Attributes:
        context: mode, market and the like.
        facts: the newest session that was decided; None where none was.
        state: the trading state in force, None where it cannot be read.
        health: how well each part is.
        entries: where each intent of the plan in force stands, by the journal; empty where it was not begun.
        recent: rows of table ``execution_quality`` of the last sessions.
        alerts: what nobody acknowledged, oldest first; None where that cannot be read.
        reports: the execution sessions that have a report, newest first.
    """

    context: ReportContext
    facts: SessionFacts | None
    state: TradingState | None
    health: Health
    entries: Sequence[JournalEntry]
    recent: "pd.DataFrame"
    alerts: Sequence[Alert] | None
    reports: Sequence[date]


def document(live: LiveFacts) -> Document:
    """Return the live page as a value."""
    facts = live.facts
    of_session = (
        (_plan_section(live, facts), report.holdings_section(facts), report.profit_section(facts)) if facts else ()
    )
    after = (report.freshness_section(facts.freshness), _levels(facts)) if facts else ()
    return Document(
        title="Trading now",
        chips=(*report.chips(live.context), _state_chip(live.state)),
        lead=_lead(facts),
        attention=tuple(_attention(live)),
        tiles=_tiles(live),
        sections=(
            *of_session,
            _latency_section(live.recent),
            _health_section(live.health),
            _alerts_section(live.alerts),
            *after,
            _reports_section(live.reports),
        ),
        foot=("Figures are of the tables and records of this folder; it is read at each refresh.",),
    )


def fragment(shown: Document) -> str:
    """Return what is replaced at each refresh."""
    return pages.render_document(FRAGMENT, shown)


def page(shown: str, mode: str, refresh_seconds: int, nonce: str) -> str:
    """Return the page around a fragment; ``nonce`` marks its one script as ours."""
    from markupsafe import Markup

    inner = Markup(shown)  # noqa: S704 - made by the same templates, which escape what comes from outside
    return pages.render(SHELL, fragment=inner, mode=mode, refresh_seconds=refresh_seconds, nonce=nonce)


def _lead(facts: SessionFacts | None) -> str:
    if facts is None:
        return "No session was decided yet"
    return f"Orders of {facts.execution_session}, decided from the bars of {facts.session}"


def _state_chip(state: TradingState | None) -> Cell:
    return Cell("state unknown", pages.BAD) if state is None else Cell(state.mode.value, STATE_TONES[state.mode])


def _attention(live: LiveFacts) -> Sequence[str]:
    told = ["The trading state cannot be read: nothing may be traded"] if live.state is None else []
    told += [f"Trading is held by {held}" for held in (live.state.latches if live.state else ())]
    told += [
        f"{part.name}: {part.text}" for part in live.health.parts if _is_ill(part.level) and part.name != "trading"
    ]
    facts = live.facts
    own = report.attention(facts) if facts else ()
    # What holds trading, and what was told, is said above, and by the alerts below.
    return [*told, *(line for line in own if not line.startswith(("Trading state", "Critical alert")))]


def _is_ill(level: Level) -> bool:
    return level not in {Level.HEALTHY, Level.UNKNOWN}


def _tiles(live: LiveFacts) -> tuple[Tile, ...]:
    account = report.account_tiles(live.facts.history) if live.facts else ()
    return (*account, _orders_tile(live), _health_tile(live.health), _alerts_tile(live.alerts))


def _orders_tile(live: LiveFacts) -> Tile:
    if live.facts is None:
        return Tile("Orders", pages.UNKNOWN, "no plan yet", pages.FAINT)
    sent = int((live.facts.orders["approved_quantity"] > 0).sum())
    if not live.entries:
        return Tile("Orders", f"{sent:,}", "approved, none placed yet")
    filled = sum(entry.state is IntentState.FILLED for entry in live.entries)
    is_over = all(entry.state.is_terminal for entry in live.entries)
    return Tile("Orders", f"{filled:,} of {len(live.entries):,}", "filled" if is_over else "filled, under way")


def _health_tile(health: Health) -> Tile:
    ill = [part.name for part in health.parts if part.level is health.level is not Level.HEALTHY]
    return Tile("Health", health.level.value, ", ".join(ill) or "every part", _tone_of_level(health.level))


def _tone_of_level(level: Level) -> str:
    return LEVEL_TONES.get(level, pages.BAD)


def _alerts_tile(alerts: Sequence[Alert] | None) -> Tile:
    if alerts is None:
        return Tile("Alerts", pages.UNKNOWN, "cannot be read", pages.BAD)
    return Tile("Alerts", f"{len(alerts):,}", "not acknowledged", pages.WARN if alerts else pages.GOOD)


def _plan_section(live: LiveFacts, facts: SessionFacts) -> Section:
    if not live.entries:
        return orders_section(facts)
    counts = Counter(entry.state for entry in live.entries)
    told = ", ".join(f"{counts[state]:,} {state.value}" for state in IntentState if counts[state])
    orders = {row["client_order_id"]: row for row in facts.orders.to_dict("records")}
    filled = facts.fills.groupby("client_order_id")["quantity"].sum().to_dict()
    rows = []
    for entry in live.entries:
        order = orders.get(entry.client_order_id, {})
        rows.append(
            (
                Cell(str(order.get("symbol", pages.UNKNOWN))),
                Cell(str(order.get("side", pages.UNKNOWN))),
                Cell(pages.quantity(order.get("approved_quantity"))),
                Cell(pages.quantity(filled.get(entry.client_order_id)) if entry.client_order_id in filled else ""),
                Cell(entry.state.value, INTENT_TONES.get(entry.state, "")),
                Cell(entry.detail),
                Cell(pages.instant(entry.written_at)),
            )
        )
    heads = pages.columns("Symbol", "Side", "#Shares", "#Executed", "State", "Detail", "Since")
    plan = live.entries[0].plan_id
    return Section("plan", "Orders of the plan", (f"Plan {plan}: {told}.",), (Table(heads, rows),))


def _latency_section(recent: "pd.DataFrame") -> Section:
    title = "Latency"
    if recent.empty:
        return Section("latency", title, ("No order was placed yet.",))
    sent, done = (quality.histogram(recent[name]) for name in ("submit_to_ack_seconds", "submit_to_done_seconds"))
    first, last = recent["session"].min(), recent["session"].max()
    words = f"{pages.counted(len(recent), 'order')} of the decisions of {first} to {last}."
    drawings = (durations_plot("Sent to acknowledged, orders", sent), durations_plot("Sent to done, orders", done))
    return Section("latency", title, (words,), (), drawings)


def _health_section(health: Health) -> Section:
    rows = [
        (Cell(part.name), Cell(part.level.value, _tone_of_level(part.level)), Cell(part.text)) for part in health.parts
    ]
    return Section("health", "Health", (), (Table(pages.columns("Part", "Level", "What"), rows),))


def _alerts_section(alerts: Sequence[Alert] | None) -> Section:
    title = "Alerts that nobody acknowledged"
    if alerts is None:
        return Section("alerts", title, ("The alerts cannot be read.",))
    if not alerts:
        return Section("alerts", title, ("None.",))
    rows = [
        (
            Cell(pages.instant(alert.at)),
            Cell(alert.severity.value, report.SEVERITY_TONES[alert.severity]),
            Cell(alert.title),
            Cell(alert.key),
        )
        for alert in reversed(alerts)
    ]
    words = ("trading-pipeline alerts ack KEY says that somebody knows.",)
    table = Table(pages.columns("When", "Severity", "What", "Key"), rows).head(report.MOST_ALERTS)
    return Section("alerts", title, words, (table,))


def _levels(facts: SessionFacts) -> Section:
    return report.levels_section(facts.service_levels, facts.context.promised.sessions)


def _reports_section(reports: Sequence[date]) -> Section:
    title = "Daily reports"
    if not reports:
        return Section("reports", title, ("None was written yet.",))
    rows = [(Cell(str(day), link=f"reports/{day}.html"),) for day in reports[:MOST_REPORTS]]
    table = Table(pages.columns("Session"), rows)
    more = len(reports) - len(rows)
    words = (f"and {more:,} earlier ones in the folder reports.",) if more > 0 else ()
    return Section("reports", title, words, (table,))


def hidden(shown: Document, hide: Callable[[str], str] | None) -> Document:
    """Return a document as it may be shown; ``hide`` is None where all may be."""
    return shown if hide is None else pages.redacted(shown, hide)
