"""Mails, read back as a reader of mail shows them: text and HTML say the same."""

import re
from datetime import UTC, date, datetime

from trading_pipeline.domain.redaction import Redactor
from trading_pipeline.domain.risk.trading_state import ACTIVE, Latch, TradingMode
from trading_pipeline.ports import Alert, Severity
from trading_pipeline.reporting import pages
from trading_pipeline.reporting.daily_report import chips, document
from trading_pipeline.reporting.email import alert_html, as_text, render_alert, render_halt, render_session
from trading_pipeline_tests.reporting.session_tables import Read, context, facts, order, usual_rows

NOON = datetime(2026, 7, 31, 16, tzinfo=UTC)
EVIL = "<script>alert(1)</script>\r\nBcc: everyone@example.com"
LABELS = chips(context())


def halted():
    risk = Latch("drawdown", TradingMode.HALTED, "18.4 % below the peak", "risk_watch", NOON, date(2026, 7, 31), True)
    return ACTIVE.latched(Latch("a person", TradingMode.REDUCING, "looking", "ann", NOON)).latched(risk)


def is_self_contained(html):
    shown = Read(html)
    return not shown.fetched and "<script" not in html and "<svg" not in html and "http" not in html


def words(text):
    return re.sub(r"\s+", " ", text)


def test_the_mail_of_a_session_names_mode_market_and_what_to_look_at():
    made = document(facts())
    mail = render_session(made, "/home/reports/2026-07-31.html")

    expected = f"[simulated, synthetic market] Session 2026-07-31: {len(made.attention)} things to look at"
    assert mail.subject == f"{expected}, orders 2 of 2 filled"
    assert is_self_contained(mail.html)
    assert "The whole report: /home/reports/2026-07-31.html" in mail.text


def test_every_figure_of_the_html_is_in_the_text():
    mail = render_session(document(facts()))
    shown, text = Read(mail.html), words(mail.text)

    cells = [cell for tables in shown.tables.values() for table in tables for row in table for cell in row]
    assert len(cells) > 100
    assert [cell for cell in cells if words(cell).strip() not in text] == []
    assert all(item in text for item in map(words, shown.items))


def test_the_mail_holds_the_same_orders_as_the_page():
    made = document(facts())
    shown = Read(render_session(made).html)

    assert shown.column("Orders and risk decisions", "Symbol") == ["SPY", "GLD", "TQQQ"]
    assert shown.column("Orders and risk decisions", "Decision") == ["approved", "reduced", "denied"]
    assert shown.headings[0] == made.title


def test_a_mail_of_a_thousand_orders_names_twenty_and_counts_the_rest():
    rows = usual_rows()
    rows["approved_orders"] = [
        order(f"S{number:04d}", "buy", "1", "1", "2", "2", "approved", sequence=number) for number in range(1000)
    ]
    mail = render_session(document(facts(rows)))

    assert len(Read(mail.html).rows("Orders and risk decisions")) == 20
    assert "and 980 more on the page" in mail.text
    assert len(mail.html) < 200_000


def test_numbers_of_the_text_stand_under_each_other():
    lines = render_session(document(facts())).text.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("Symbol  Side  Shares"))
    heading, rows = lines[start], lines[start + 1 : start + 4]

    end = heading.index("Shares") + len("Shares")
    assert [row[:end].split()[-1] for row in rows] == ["6", "10", "5"]
    assert all(row[end - 1].isdigit() and row[end] == " " for row in rows)


def test_an_alert_is_laid_out_with_what_to_do_and_its_key():
    alert = Alert(
        "check:bars", Severity.CRITICAL, "Check unique of bars failed", "3 rows.\n\nRun 8f2b", NOON, "failed-check"
    )
    mail = render_alert(alert, LABELS)
    shown = Read(mail.html)

    assert mail.subject == "[critical, simulated, synthetic market] Check unique of bars failed"
    assert shown.headings == ["Check unique of bars failed"]
    assert shown.paragraphs[1:3] == ["3 rows.", "Run 8f2b"]
    assert "docs/operations.md#failed-check" in mail.text
    assert "Key: check:bars" in mail.html
    assert alert_html(alert, LABELS) == mail.html


def test_an_alert_that_brings_its_own_html_keeps_it():
    alert = Alert("report", Severity.INFO, "Report", "text", NOON, html="<html>whole</html>")

    assert alert_html(alert) == "<html>whole</html>"


def test_a_halt_says_what_holds_trading_and_how_to_let_go():
    mail = render_halt(halted(), NOON, LABELS)
    shown = Read(mail.html)

    assert mail.subject == "[halted, simulated, synthetic market] Trading is halted"
    assert [row[:4] for row in shown.rows("What holds trading")] == [
        ["a person", "reducing", "looking", "ann"],
        ["drawdown", "halted", "18.4 % below the peak", "risk_watch"],
    ]
    assert "No order is sent." in shown.paragraphs
    assert "trading-pipeline kill reset" in mail.text
    assert is_self_contained(mail.html)


def test_a_state_that_reduces_and_one_that_is_active_are_told_apart():
    reducing = ACTIVE.latched(Latch("a person", TradingMode.REDUCING, "looking", "ann", NOON))

    assert "Only orders that lower an exposure are sent." in render_halt(reducing, NOON).text
    assert "Nothing holds trading." in render_halt(ACTIVE, NOON).text


def test_subjects_are_one_line_and_markup_from_outside_is_text():
    mails = [
        render_alert(Alert(EVIL, Severity.WARNING, EVIL, EVIL, NOON, EVIL)),
        render_halt(ACTIVE.latched(Latch(EVIL, TradingMode.HALTED, EVIL, EVIL, NOON)), NOON),
        render_session(document(facts(mode=EVIL, market=EVIL))),
    ]
    for mail in mails:
        assert "\n" not in mail.subject
        assert "\r" not in mail.subject
        assert "<script" not in mail.html
        assert "&lt;script&gt;" in mail.html


def test_a_session_of_which_nothing_is_known_is_told_without_figures():
    mail = render_session(document(facts({})))

    assert "$" not in mail.text
    assert "was not decided" in mail.text
    assert "orders \N{EN DASH} not decided yet" in mail.subject


def test_neutral_mode_leaves_no_symbol_amount_bar_or_drawing():
    made = document(facts())
    hidden = pages.redacted(made, Redactor(["SPY", "TLT", "GLD", "TQQQ"], b"key").text)
    text, mail = as_text(hidden), render_session(hidden)
    tables = [table for section in hidden.sections for table in section.tables]

    for shown in (text, mail.text, mail.html):
        assert not re.search(r"\b(SPY|TLT|GLD|TQQQ)\b", shown)
        assert not re.search(r"\$\s?\d", shown)
        assert "15,121" not in shown
        assert "SYM_" in shown
    assert {cell.fill for table in tables for row in table.rows for cell in row} == {None}
    assert [section.drawings for section in hidden.sections if section.drawings] == []
    assert pages.NOT_DRAWN in text
    assert "2026-07-31" in hidden.title
