"""The report on one session: what was wanted, ordered, executed and earned, at which risk, and how well it went."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from trading_pipeline.application.service_levels import ServiceLevel, Verdict
from trading_pipeline.domain.instruments import CASH
from trading_pipeline.ports import Severity
from trading_pipeline.reporting import pages
from trading_pipeline.reporting.execution_section import execution_section, orders_section
from trading_pipeline.reporting.pages import Cell, Document, Section, Table, Tile
from trading_pipeline.reporting.performance_plot import drawdown_drawing, equity_drawing, weights_drawing
from trading_pipeline.reporting.risk_section import broken_limits, exposure_section
from trading_pipeline.reporting.session_facts import ReportContext, SessionFacts, holdings

if TYPE_CHECKING:
    import pandas as pd

TEMPLATE = "daily_report.html.j2"
MOST_ALERTS = 50
MOST_NAMED = 5
_LOST = ["rejected", "expired", "abandoned", "canceled"]
SYNTHETIC_LABEL = "synthetic market"
DRIFT_SHOWN = 0.01
"""A drift of one per cent of equity is worth a look; below it prices move that much in a session."""
MODE_TONES = {"simulated": pages.FAINT, "paper": pages.WARN, "live": pages.BAD}
LEVEL_TONES = {Verdict.KEPT: pages.GOOD, Verdict.MISSED: pages.BAD, Verdict.UNKNOWN: pages.FAINT}
SEVERITY_TONES = {Severity.INFO: pages.FAINT, Severity.WARNING: pages.WARN, Severity.CRITICAL: pages.BAD}


def page(facts: SessionFacts) -> str:
    """Return the report as one HTML page that needs nothing else."""
    return pages.render_document(TEMPLATE, document(facts))


def document(facts: SessionFacts) -> Document:
    """Return the report as a value, of which pages and mails are made."""
    return Document(
        title=f"Session {facts.execution_session}",
        chips=chips(facts.context),
        lead=f"Orders of {facts.execution_session}, decided from the bars of {facts.session}",
        attention=tuple(attention(facts)),
        tiles=tiles(facts),
        sections=(
            holdings_section(facts),
            orders_section(facts),
            execution_section(facts),
            profit_section(facts),
            exposure_section(facts.risk),
            freshness_section(facts.freshness),
            reconciliation_section(facts.reconciled),
            alerts_section(facts),
            levels_section(facts.service_levels, facts.context.promised.sessions),
        ),
        foot=_foot(facts.context),
    )


def chips(context: ReportContext) -> tuple[Cell, ...]:
    """Return the labels that every page bears: the mode, and whether prices are made up."""
    mode = Cell(context.mode, MODE_TONES.get(context.mode, ""))
    return (mode, Cell(SYNTHETIC_LABEL, pages.WARN)) if context.is_synthetic else (mode, Cell(context.market))


def _foot(context: ReportContext) -> tuple[str, ...]:
    state = f"Trading state when this was written: {context.trading_state}" if context.trading_state else ""
    head = f"Head of the audit log: {context.audit_head}" if context.audit_head else ""
    dash = f"{pages.UNKNOWN} means not known. Profit is realised first in, first out."
    return tuple(told for told in (f"Written {pages.instant(context.written_at)}", state, head, dash) if told)


def attention(facts: SessionFacts) -> Iterator[str]:
    """Give what a person should look at, the most urgent first."""
    for alert in facts.alerts or ():
        if alert.severity is Severity.CRITICAL:
            yield f"Critical alert: {alert.title}"
    warnings = sum(alert.severity is Severity.WARNING for alert in facts.alerts or ())
    if warnings:
        yield f"{pages.counted(warnings, 'warning')} given: see the alerts"
    breaks = int((facts.reconciled["status"] == "break").sum())
    if breaks:
        yield f"{pages.counted(breaks, 'difference')} between the broker's books and ours that nothing explains"
    yield from broken_limits(facts.risk)
    if facts.context.trading_state not in {"", "active"}:
        yield f"Trading state: {facts.context.trading_state}"
    yield from _unfinished(facts)
    for level in facts.service_levels:
        if level.verdict is Verdict.MISSED:
            yield f"Service level missed, {level.name}: {level.good:,} of {level.total:,} ({level.worst})"


def _unfinished(facts: SessionFacts) -> Iterator[str]:
    if not facts.is_decided:
        yield f"Session {facts.session} was not decided: there is no snapshot of the account and no plan"
    denied = int((facts.orders["decision"] == "denied").sum())
    if denied:
        yield f"{pages.counted(denied, 'order')} denied by the risk rules"
    last = facts.quality.drop_duplicates("client_order_id", keep="last")
    has_ended = last["state"].isin(["filled", *_LOST])
    for orders, what in (
        (last[last["state"].isin(_LOST)], "ended without being filled"),
        (last[~has_ended], "not filled yet"),
    ):
        if len(orders):
            yield f"{pages.counted(len(orders), 'order')} {what}: {_named(orders)}"
    stale = int((~facts.freshness["status"].isin(["fresh", "listed later"])).sum())
    if stale:
        yield f"Prices of {pages.counted(stale, 'symbol')} were not fresh"


def _named(orders: "pd.DataFrame") -> str:
    """Name orders with where they stand and why, no more of them than a person reads."""
    rows = orders.to_dict("records")
    told = [f"{row['symbol']} {row['state']} ({row['detail'] or 'no reason given'})" for row in rows[:MOST_NAMED]]
    more = [f"and {len(rows) - MOST_NAMED} more"] if len(rows) > MOST_NAMED else []
    return "; ".join([*told, *more])


def tiles(facts: SessionFacts) -> tuple[Tile, ...]:
    """Return the headline figures."""
    return (*account_tiles(facts.history), _realised_tile(facts), *_order_tiles(facts))


def account_tiles(history: "pd.DataFrame") -> tuple[Tile, ...]:
    """Return worth, profit and drawdown at the newest close, of rows of table ``performance``."""
    if history.empty:
        unknown = "known after the first session"
        return tuple(Tile(name, pages.UNKNOWN, unknown, pages.FAINT) for name in ("Equity", "Profit", "Drawdown"))
    last = history.iloc[-1]
    at = f"at the close of {last['session']}"
    profit = pages.money(last["profit"], signed=True)
    return (
        Tile("Equity", pages.money(last["equity"]), at),
        Tile("Profit", profit, _of_profit(last), pages.tone_of(last["profit"])),
        Tile("Drawdown", pages.percent(last["drawdown"]), _since(history)),
    )


def _of_profit(last: "pd.Series[Any]") -> str:
    if not pages.is_known(last["profit"]):
        return "known from the second session on"
    realised = pages.money(_amount(last["realised"]), signed=True)
    unrealised = pages.money(_amount(last["unrealised_change"]), signed=True)
    return f"of {last['session']}: realised {realised}, unrealised {unrealised}"


def _amount(value: object) -> Decimal | None:
    return value if isinstance(value, Decimal) else None


def _since(history: "pd.DataFrame") -> str:
    return f"since {history['session'].iloc[0]}, at the closes"


def _realised_tile(facts: SessionFacts) -> Tile:
    if facts.realised is None:
        told = "nothing was executed" if facts.is_placed else "no execution is recorded yet"
        return Tile("Realised", pages.UNKNOWN, told, pages.FAINT)
    text = pages.money(facts.realised, signed=True)
    return Tile("Realised", text, "by these orders, commissions taken off", pages.tone_of(facts.realised))


def _order_tiles(facts: SessionFacts) -> Iterator[Tile]:
    if not facts.is_decided:
        yield Tile("Orders", pages.UNKNOWN, "not decided yet", pages.FAINT)
        return
    sent = int((facts.orders["approved_quantity"] > 0).sum())
    last = facts.quality.drop_duplicates("client_order_id", keep="last")
    filled = int((last["state"] == "filled").sum())
    if not facts.is_placed:
        yield Tile("Orders", f"{sent:,}", "approved, not placed yet")
    elif facts.quality.empty and sent:
        yield Tile("Orders", f"{sent:,}", "approved; how they went is not recorded")
    else:
        yield Tile("Orders", f"{filled:,} of {sent:,}", "filled", "" if filled == sent else pages.WARN)
    if len(facts.reconciled):
        breaks = int((facts.reconciled["status"] == "break").sum())
        words = "agree" if not breaks else pages.counted(breaks, "break")
        yield Tile("Books", words, "the broker's and ours", pages.GOOD if not breaks else pages.BAD)
    else:
        yield Tile("Books", pages.UNKNOWN, "not compared yet", pages.FAINT)


def holdings_section(facts: SessionFacts) -> Section:
    """Return what is held against what is wanted."""
    title, words = "Targets and holdings", list[str]()
    if facts.targets.empty:
        words.append("No target is recorded for this session.")
    if not facts.is_decided:
        words.append("What the account held is not recorded for this session.")
    elif not facts.is_placed:
        words.append("The orders have not been placed yet: holdings are those before them.")
    found = holdings(facts)
    if not found:
        return Section("holdings", title, tuple(words))
    rows = [
        (
            Cell("cash" if each.symbol == CASH else each.symbol),
            Cell(pages.percent(each.target), fill=each.target or None),
            Cell(pages.percent(each.before)),
            Cell(pages.percent(each.now)),
            _drift_cell(each.drift),
            Cell(pages.quantity(each.shares) if each.symbol != CASH else ""),
            Cell(pages.money(each.value)),
        )
        for each in found
    ]
    heads = pages.columns("Symbol", "#Target", "#Before", "#After", "#Drift", "#Shares", "#Value")
    note = f"Share of equity, at the prices of {facts.session}; drift is after less target"
    return Section("holdings", title, tuple(words), (Table(heads, rows, note),))


def _drift_cell(drift: float | None) -> Cell:
    return Cell(pages.percent(drift, signed=True), pages.WARN if drift and abs(drift) > DRIFT_SHOWN else "")


def profit_section(facts: SessionFacts) -> Section:
    """Return what was earned, session by session, and its drawings."""
    title, history = "Profit", facts.history
    if history.empty:
        return Section("profit", title, ("Nothing was earned yet: profit is known after the first session.",))
    shown = history.iloc[::-1].head(facts.context.sessions_shown)
    rows = [
        (
            Cell(str(row["session"])),
            Cell(pages.money(row["equity"])),
            pages.signed_money(row["profit"]),
            pages.signed_money(row["realised"]),
            pages.signed_money(row["unrealised_change"]),
            Cell(pages.money(_movements(row["cash_movements"], row["share_movements"]), signed=True)),
            Cell(pages.percent(row["drawdown"])),
        )
        for row in shown.to_dict("records")
    ]
    heads = pages.columns("Session", "#Equity", "#Profit", "#Realised", "#Unrealised", "#Came or went", "#Drawdown")
    words = (
        f"Realised since {history['session'].iloc[0]}: {pages.money(history['realised_total'].iloc[-1], signed=True)}.",
    )
    drawings = (equity_drawing(history), drawdown_drawing(history), weights_drawing(facts.weights))
    return Section("profit", title, words, (Table(heads, rows, _about_movements(len(history), len(shown))),), drawings)


def _movements(cash: Decimal | None, shares: Decimal | None) -> Decimal | None:
    return None if cash is None or shares is None else cash + shares


def _about_movements(known: int, shown: int) -> str:
    more = f"; the last {shown} of {known:,} sessions" if shown < known else ""
    return f"What came or went without an execution of ours, such as dividends and deposits, is no profit{more}"


def freshness_section(freshness: "pd.DataFrame") -> Section:
    """Return how old prices were, those that were not fresh by name."""
    title = "Age of the data"
    if freshness.empty:
        return Section("data", title, ("How old the prices were is not recorded for this session.",))
    later = int((freshness["status"] == "listed later").sum())
    odd = freshness[~freshness["status"].isin(["fresh", "listed later"])]
    judged = len(freshness) - later
    counts = f"{judged - len(odd):,} of {pages.counted(judged, 'symbol')} fresh"
    listed = f"; {pages.counted(later, 'symbol')} listed later" if later else ""
    words = (f"{counts}{listed}. The feed is {freshness['feed'].iloc[0]}.",)
    rows = [
        (
            Cell(row["symbol"]),
            Cell(row["status"], pages.WARN),
            Cell(pages.day(row["newest_session"])),
            Cell(pages.figure(row["age_sessions"])),
            Cell(row["read_by"] if pages.is_known(row["read_by"]) else "nobody"),
            Cell(row["reason"] if pages.is_known(row["reason"]) else ""),
        )
        for row in odd.to_dict("records")
    ]
    heads = pages.columns("Symbol", "Status", "Newest bar", "#Age, sessions", "Read by", "Why")
    return Section("data", title, words, (Table(heads, rows),) if rows else ())


def reconciliation_section(reconciled: "pd.DataFrame") -> Section:
    """Return whether the broker's books agree with ours, and every difference."""
    title = "Books"
    if reconciled.empty:
        return Section("books", title, ("The broker's books have not been compared with ours for this session.",))
    odd = reconciled[reconciled["status"] != "equal"]
    agreed = f"{len(reconciled) - len(odd):,} of {len(reconciled):,} positions, orders, executions and cash agree."
    rows = [
        (
            Cell(row["kind"]),
            Cell(row["name"]),
            Cell(pages.quantity(row["ours"])),
            Cell(pages.quantity(row["theirs"])),
            Cell(row["status"], pages.BAD if row["status"] == "break" else pages.WARN),
            Cell(row["explanation"] if pages.is_known(row["explanation"]) else ""),
        )
        for row in odd.to_dict("records")
    ]
    heads = pages.columns("What", "Name", "#Ours", "#Broker's", "Status", "Why")
    return Section("books", title, (agreed,), (Table(heads, rows),) if rows else ())


def alerts_section(facts: SessionFacts) -> Section:
    """Return what was told to people."""
    if facts.alerts is None:
        return Section("alerts", "Alerts", ("The alerts cannot be read.",))
    if not facts.alerts:
        return Section("alerts", "Alerts", ("None.",))
    rows = [
        (
            Cell(pages.instant(alert.at)),
            Cell(alert.severity.value, SEVERITY_TONES[alert.severity]),
            Cell(alert.title),
        )
        for alert in facts.alerts
    ]
    return Section("alerts", "Alerts", (), (Table(pages.columns("When", "Severity", "What"), rows),))


def levels_section(levels: Sequence[ServiceLevel], sessions: int) -> Section:
    """Return what was promised of the service, what was kept, and what is left of the error budget."""
    rows = [
        (
            Cell(level.promise),
            Cell(level.verdict.value, LEVEL_TONES[level.verdict]),
            Cell(pages.percent(level.attained, places=2)),
            Cell(f"{level.good:,} of {pages.counted(level.total, level.unit.removesuffix('s'))}"),
            Cell(f"{level.bad:,} of {_events(level.budget)}"),
            Cell(_events(level.budget_left), pages.BAD if level.budget_left < 0 else ""),
        )
        for level in levels
    ]
    heads = pages.columns("Promise", "Kept", "#Attained", "#Good", "#Budget spent", "#Left")
    note = f"Over the last {sessions} sessions at most; the budget is how many events may be bad"
    return Section("levels", "Service levels", (), (Table(heads, rows, note),))


def _events(number: Decimal) -> str:
    """Return a number of events, parts of one among them.

    >>> _events(Decimal("0.300")), _events(Decimal("12.00"))
    ('0.3', '12')
    """
    text = f"{abs(number):,.2f}".rstrip("0").rstrip(".")
    return f"{pages.MINUS if number < 0 else ''}{text}"
