"""Mails: the report of a session, what went wrong, and that trading is held; each as HTML and as text.

A mail needs nothing from elsewhere: its styles stand in its elements, since
readers of mail drop style sheets, and drawings are left to the page. What the
text says, the HTML says.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from trading_pipeline.domain.risk.trading_state import TradingMode, TradingState
from trading_pipeline.ports import Alert, Severity
from trading_pipeline.reporting import pages
from trading_pipeline.reporting.pages import Cell, Document, Section, Table

TEMPLATE = "mail.html.j2"
OPERATIONS = "docs/operations.md"
MOST_ROWS = 20
MAILED = ("holdings", "orders", "executions", "profit", "data", "books", "alerts", "levels")
WIDTH = 78
TONES = {Severity.INFO: pages.FAINT, Severity.WARNING: pages.WARN, Severity.CRITICAL: pages.BAD}


@dataclass(frozen=True)
class Mail:
    """A mail as text and as HTML; ``subject`` is one line and names the mode."""

    subject: str
    text: str
    html: str


def render_session(document: Document, link: str = "") -> Mail:
    """Return the mail of a session's report; ``link`` says where the page is, such as its path."""
    shown = tuple(_abridged(section) for section in document.sections if section.anchor in MAILED)
    foot = (*document.foot, *((f"The whole report: {link}",) if link else ()))
    abridged = replace(document, sections=shown, foot=foot)
    orders = next((f"orders {tile.value} {tile.note}" for tile in document.tiles if tile.label == "Orders"), "")
    look = pages.counted(len(document.attention), "thing") + " to look at" if document.attention else "all well"
    return _mail(f"{document.title}: {look}" + (f", {orders}" if orders else ""), abridged)


def render_alert(alert: Alert, chips: Sequence[Cell] = (), runbook: str = OPERATIONS) -> Mail:
    """Return the mail of something that a person should know, such as a failed check or run.

    ``runbook`` is where the anchors of alerts are read, such as a web address.
    """
    lines = tuple(line for line in alert.text.splitlines() if line.strip())
    foot = (f"At {pages.instant(alert.at)}", *_answers(alert, runbook))
    label = Cell(alert.severity.value, TONES[alert.severity])
    document = Document(alert.title, (label, *chips), sections=(Section("what", "", lines),), foot=foot)
    return _mail(alert.title, document)


def _answers(alert: Alert, runbook: str) -> Sequence[str]:
    """Return what a person can do with an alert: read on, name it, acknowledge it."""
    look = (f"What to do: {runbook}#{alert.runbook}",) if alert.runbook else ()
    acknowledge = (f"To acknowledge: trading-pipeline alerts ack '{alert.key}'",)
    return (*look, f"Key: {alert.key}", *(acknowledge if alert.severity is Severity.CRITICAL else ()))


def render_halt(
    state: TradingState, at: datetime, chips: Sequence[Cell] = (), alert: Alert | None = None, runbook: str = OPERATIONS
) -> Mail:
    """Return the mail that trading is held: to what, by whom and why, and how a person lets go of it.

    With the ``alert`` that carries it, it also says how that is acknowledged.
    """
    rows = [
        (
            Cell(held.name),
            Cell(held.mode.value, pages.BAD if held.mode is TradingMode.HALTED else pages.WARN),
            Cell(held.reason),
            Cell(held.set_by),
            Cell(pages.instant(held.set_at)),
        )
        for held in state.latches
    ]
    heads = pages.columns("Held by", "To", "Why", "Set by", "Since")
    meaning = "No order is sent." if not state.allows_trading else "Only orders that lower an exposure are sent."
    words = (meaning, "Cancellations always pass.") if state.latches else ("Nothing holds trading.",)
    advice = Section(
        "advice",
        "What to do",
        (
            "trading-pipeline kill status shows what holds trading.",
            "trading-pipeline kill reset says how to let go of it.",
        ),
    )
    held = Section("held", "What holds trading", words, (Table(heads, rows),) if rows else ())
    title = f"Trading is {state.mode.value}"
    answers = () if alert is None else _answers(alert, runbook)
    label = Cell(state.mode.value, pages.BAD if rows else pages.GOOD)
    document = Document(
        title, (label, *chips), state.reason, sections=(held, advice), foot=(f"At {pages.instant(at)}", *answers)
    )
    return _mail(title, document)


def alert_html(alert: Alert, chips: Sequence[Cell] = ()) -> str:
    """Return an alert as a page for mails: what it brings along, or its text laid out as other mails are."""
    return alert.html or render_alert(alert, chips).html


def _mail(title: str, document: Document) -> Mail:
    labels = ", ".join(chip.text for chip in document.chips)
    subject = " ".join(f"[{labels}] {title}".split()) if labels else " ".join(title.split())
    return Mail(subject, as_text(document), pages.render_document(TEMPLATE, document))


def _abridged(section: Section) -> Section:
    return replace(section, tables=tuple(table.head(MOST_ROWS) for table in section.tables), drawings=())


def as_text(document: Document) -> str:
    """Return a document as plain text, tables in columns."""
    lines = [document.title, "=" * len(document.title)]
    if document.chips:
        lines.append(" | ".join(chip.text.upper() for chip in document.chips))
    if document.lead:
        lines.append(document.lead)
    if document.attention:
        lines += ["", "To look at:", *(f"  * {told}" for told in document.attention)]
    if document.tiles:
        wide = max(len(tile.label) for tile in document.tiles)
        lines += ["", *(f"{tile.label:<{wide}}  {tile.value}  ({tile.note})" for tile in document.tiles)]
    for section in document.sections:
        lines += ["", *_section_lines(section)]
    if document.foot:
        lines += ["", "-" * min(WIDTH, 40), *document.foot]
    return "\n".join(lines) + "\n"


def _section_lines(section: Section) -> list[str]:
    lines = [section.title, "-" * len(section.title)] if section.title else []
    lines += section.words
    for table in section.tables:
        lines += ["", *_table_lines(table)]
    return lines


def _table_lines(table: Table) -> list[str]:
    rows = [[column.title for column in table.columns], *([cell.text for cell in row] for row in table.rows)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(table.columns))]
    lines = []
    for row in rows:
        parts = [
            text.rjust(wide) if column.is_number else text.ljust(wide)
            for text, wide, column in zip(row, widths, table.columns, strict=True)
        ]
        lines.append("  ".join(parts).rstrip())
    return [*lines, *([table.note] if table.note else [])]
