"""The live page as a value and as a fragment; how it is served is tested with its command."""

import re
from datetime import date, timedelta

from trading_pipeline.application.health import Health, Level, Part
from trading_pipeline.domain.risk.trading_state import ACTIVE, Latch, TradingMode
from trading_pipeline.ports import Alert, IntentState, JournalEntry, Severity
from trading_pipeline.reporting import dashboard
from trading_pipeline_tests.reporting.session_tables import (
    ACCOUNT,
    EXECUTION,
    SESSION,
    WRITTEN,
    Read,
    context,
    facts,
    frame,
    quality,
)

WELL = Health(WRITTEN, (Part("heartbeat", Level.HEALTHY, "10 s ago"), Part("data", Level.HEALTHY, "of 2026-07-30")))
ALERT = Alert("feed", Severity.CRITICAL, "The feed <b>stood</b> still", "", WRITTEN)


def entry(symbol, state, detail=""):
    return JournalEntry(
        client_order_id=f"tp1-{SESSION}-{symbol}",
        plan_id=f"{SESSION}.1",
        state=state,
        detail=detail,
        recorded_at=WRITTEN,
        order_id=f"tp1-{SESSION}-{symbol}",
        written_at=WRITTEN,
        account_number=ACCOUNT,
        session=SESSION,
    )


def live(**changes):
    usual = {
        "context": context(),
        "facts": facts(),
        "state": ACTIVE,
        "health": WELL,
        "entries": [entry("SPY", IntentState.FILLED), entry("GLD", IntentState.PARKED, "waits for cash")],
        "recent": frame("execution_quality", [quality("SPY", "sell", "6", "504", "505", 0.0, 0.25)]),
        "alerts": [ALERT],
        "reports": [EXECUTION, SESSION],
    }
    return dashboard.LiveFacts(**(usual | changes))


def shown(**changes):
    return Read(dashboard.fragment(dashboard.document(live(**changes))))


def test_the_page_shows_state_orders_holdings_profit_latency_health_and_alerts():
    page = shown()

    assert page.headings == [
        "Trading now",
        "Orders of the plan",
        "Targets and holdings",
        "Profit",
        "Latency",
        "Health",
        "Alerts that nobody acknowledged",
        "Age of the data",
        "Service levels",
        "Daily reports",
    ]
    assert page.chips == ["simulated", "synthetic market", "active"]
    assert set(page.tiles) == {"Equity", "Profit", "Drawdown", "Orders", "Health", "Alerts"}


def test_orders_are_shown_by_state_with_what_was_executed_of_each():
    page = shown()

    assert "Plan 2026-07-30.1: 1 parked, 1 filled." in page.paragraphs
    assert [row[:6] for row in page.rows("Orders of the plan")] == [
        ["SPY", "sell", "6", "6", "filled", ""],
        ["GLD", "buy", "8", "8", "parked", "waits for cash"],
    ]
    assert page.tile("Orders") == ("1 of 2", "filled, under way")


def test_what_holds_trading_and_what_is_ill_stands_at_the_top():
    held = ACTIVE.latched(Latch("a person", TradingMode.HALTED, "looking", "ann", WRITTEN))
    ill = Health(WRITTEN, (Part("heartbeat", Level.UNHEALTHY, "5 minutes ago"),))
    page = shown(state=held, health=ill)

    assert page.items[:2] == ["Trading is held by a person: halted (looking)", "heartbeat: 5 minutes ago"]
    assert page.chips[-1] == "halted"
    assert page.tile("Health") == ("unhealthy", "heartbeat")


def test_a_state_that_cannot_be_read_is_never_shown_as_active():
    page = shown(state=None)

    assert page.chips[-1] == "state unknown"
    assert page.items[0] == "The trading state cannot be read: nothing may be traded"


def test_a_folder_in_which_nothing_happened_yet_says_so():
    nothing = {"facts": None, "entries": [], "recent": frame("execution_quality", []), "alerts": [], "reports": []}
    page = shown(**nothing)

    assert "No session was decided yet" in page.paragraphs
    assert page.tile("Orders") == ("\N{EN DASH}", "no plan yet")
    assert {"No order was placed yet.", "None was written yet.", "None."} <= set(page.paragraphs)
    assert "$" not in "".join(page.text)


def test_a_plan_that_was_not_begun_shows_the_orders_with_their_decisions():
    page = shown(entries=[])

    assert page.tile("Orders") == ("2", "approved, none placed yet")
    assert page.column("Orders and risk decisions", "Decision") == ["approved", "reduced", "denied"]


def test_alerts_are_text_newest_first_and_unreadable_ones_are_not_none():
    later = Alert("later", Severity.WARNING, "Later", "", WRITTEN + timedelta(minutes=1))
    text = dashboard.fragment(dashboard.document(live(alerts=[ALERT, later])))

    assert [row[3] for row in Read(text).rows("Alerts that nobody acknowledged")] == ["later", "feed"]
    assert "<b>" not in text
    assert shown(alerts=None).tile("Alerts") == ("\N{EN DASH}", "cannot be read")


def test_reports_are_linked_by_their_sessions():
    many = [date(2026, 7, 31) - timedelta(days=number) for number in range(30)]
    text = dashboard.fragment(dashboard.document(live(reports=many)))

    assert re.findall(r'<a href="([^"]*)">', text)[:2] == ["reports/2026-07-31.html", "reports/2026-07-30.html"]
    assert "and 10 earlier ones in the folder reports." in Read(text).paragraphs


def test_the_page_around_it_refreshes_itself_from_its_own_server_alone():
    text = dashboard.page(dashboard.fragment(dashboard.document(live())), "simulated", 7, "nonce-1")

    assert text.count("<script") == text.count('<script nonce="nonce-1">') == 1
    assert 'fetch("fragment"' in text
    assert "setInterval(refresh, 7000)" in text
    assert "https:" not in text
    assert [part for part in Read(text).fetched if part] == []
