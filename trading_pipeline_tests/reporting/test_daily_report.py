"""The page of a session, read back as a reader does; every figure is reckoned again here."""

import functools
from datetime import timedelta
from decimal import Decimal

from trading_pipeline.domain import sessions
from trading_pipeline.reporting import daily_report
from trading_pipeline_tests.reporting.session_tables import (
    EXECUTION,
    SESSION,
    Read,
    compared,
    facts,
    fill,
    freshness,
    order,
    quality,
    usual_rows,
)

SECTIONS = [
    "Targets and holdings",
    "Orders and risk decisions",
    "Executions",
    "Profit",
    "Exposure and risk",
    "Age of the data",
    "Books",
    "Alerts",
    "Service levels",
]
MINUS, DASH, THIN = "\N{MINUS SIGN}", "\N{EN DASH}", "\N{NARROW NO-BREAK SPACE}"


def page(rows=None, **changes):
    return _usual() if rows is None and not changes else Read(daily_report.page(facts(rows, **changes)))


@functools.cache
def _usual():
    return Read(daily_report.page(facts()))


def percent(fraction, places=1):
    return f"{fraction * 100:.{places}f}{THIN}%"


def test_the_page_has_a_heading_for_each_part():
    shown = page()

    assert shown.headings == [f"Session {EXECUTION}", *SECTIONS]
    assert shown.chips == ["simulated", "synthetic market"]


def test_the_page_fetches_nothing_and_runs_nothing():
    text = daily_report.page(facts())

    assert Read(text).fetched == []
    assert "<script" not in text
    assert "url(" not in text
    assert "@import" not in text
    assert text.count("http") == text.count("http://www.w3.org/2000/svg"), "the name of SVG alone is an address"


def test_a_real_market_bears_no_synthetic_label():
    shown = page(mode="paper", market="Alpaca, paper account")

    assert shown.chips == ["paper", "Alpaca, paper account"]
    assert "synthetic" not in "".join(shown.text)


def test_headlines_are_those_of_hand_arithmetic():
    shown = page()
    equity = 6 * 505 + 20 * 92 + Decimal("10251.75")
    realised_before = 4 * (510 - 500) - Decimal("0.5")
    unrealised = 6 * (505 - 500) + 20 * (92 - 90)

    assert shown.tile("Equity") == (f"${equity:,}", f"at the close of {SESSION}")
    assert shown.tile("Profit") == (
        f"+${realised_before + unrealised:,.2f}",
        f"of {SESSION}: realised +${realised_before:.2f}, unrealised +${unrealised:.2f}",
    )
    assert shown.tile("Realised")[0] == f"+${6 * (504 - 500) - Decimal('0.25'):.2f}"
    assert shown.tile("Drawdown")[0] == percent(0)
    assert shown.tile("Orders") == ("2 of 2", "filled")
    assert shown.tile("Books")[0] == "1 break"


def test_holdings_after_the_orders_are_those_before_and_what_was_executed():
    shown = page()
    cash = Decimal("10251.75") + 6 * 504 - Decimal("0.25") - 8 * 201
    worth = {"TLT": Decimal(20 * 92), "GLD": Decimal(8 * 200), "cash": cash, "SPY": Decimal(0)}
    equity = sum(worth.values())
    targets = {"TLT": 0.125, "GLD": 0.125, "cash": 0.75, "SPY": 0.0}

    symbols = shown.column("Targets and holdings", "Symbol")
    assert symbols == ["TLT", "GLD", "SPY", "cash"]
    for symbol, target, after, drift, value in zip(
        symbols,
        *(shown.column("Targets and holdings", title) for title in ("Target", "After", "Drift", "Value")),
        strict=True,
    ):
        now = float(worth[symbol] / equity)
        assert target == percent(targets[symbol])
        assert after == percent(now)
        assert value == f"${worth[symbol]:,.2f}"
        assert drift.replace(MINUS, "-").replace("+", "") == percent(round(now - targets[symbol], 3))


def test_each_order_is_shown_with_what_the_risk_rules_said():
    shown = page()

    assert shown.rows("Orders and risk decisions") == [
        ["SPY", "sell", "6", "6", "$480.00", "$3,030.00", "approved", "SPY to target"],
        ["GLD", "buy", "10", "8", "$210.00", "$2,000.00", "reduced", "GLD to target; POSITION_WEIGHT 0.13 > 0.12"],
        ["TQQQ", "buy", "5", "0", "$60.00", "$275.00", "denied", "TQQQ to target; STALE_PRICE 3 > 0"],
    ]
    assert "3 orders: 1 approved, 1 reduced, 1 denied." in shown.paragraphs
    assert "1 order denied by the risk rules" in shown.items


def test_executions_and_their_cost_are_reckoned_against_the_mid_at_arrival():
    shown = page()
    cost = 6 * (505 - 504) + 8 * (201 - 200)
    mids = 6 * 505 + 8 * 200

    assert [row[:6] for row in shown.rows("Executions")] == [
        ["SPY", "sell", "6", "$504.00", "$3,024.00", "$0.25"],
        ["GLD", "buy", "8", "$201.00", "$1,608.00", "$0.00"],
    ]
    assert f"2 executions for ${6 * 504 + 8 * 201:,}.00, commissions $0.25." in shown.paragraphs
    told = f"Slippage against the mid at arrival: +{cost / mids * 10_000:.1f}{THIN}bp, +${cost}.00; plus is a cost."
    assert told in shown.paragraphs
    assert "Fallbacks: 1 sent again, 1 in whole shares instead." in shown.paragraphs
    assert shown.rows("Executions", 2)[0] == [
        *("Sent to acknowledged", "2", f"{875}{THIN}ms"),
        *(f"{0.25 + 1.25 * share:.2f}{THIN}s" for share in (0.95, 0.99, 1.0)),
    ]


def test_profits_of_sessions_add_up_to_the_change_of_equity():
    newest, first = page().rows("Profit")
    signs = str.maketrans({"$": "", ",": "", "+": "", MINUS: "-"})
    amounts = [Decimal(text.translate(signs)) for text in newest[1:6]]
    equity, profit, realised, unrealised, moved = amounts

    assert realised + unrealised == profit
    assert profit + moved == equity - Decimal(first[1].translate(signs))
    assert moved == Decimal("12.25"), "the dividend is no profit of a trade"
    assert first[2:6] == [DASH] * 4


def test_risk_is_shown_against_its_limits_the_broken_first():
    shown = page()

    assert shown.rows("Exposure and risk", 1) == [
        ["position weight", "TLT", f"50.00{THIN}%", f"40.00{THIN}%", f"125{THIN}%"],
        ["gross leverage", "account", "0.95\N{MULTIPLICATION SIGN}", "1.00\N{MULTIPLICATION SIGN}", f"95{THIN}%"],
    ]
    assert "Limited and not known: daily loss." in shown.paragraphs
    assert f"Limit broken: position weight of TLT is 50.00{THIN}%, the limit 40.00{THIN}%" in shown.items


def test_stale_data_breaks_and_critical_alerts_are_named_at_the_top():
    shown = page(trading_state="halted (a break)")

    assert shown.items[:2] == [
        "Critical alert: The feed stood still",
        "1 difference between the broker's books and ours that nothing explains",
    ]
    assert "Trading state: halted (a break)" in shown.items
    assert "Prices of 1 symbol were not fresh" in shown.items
    assert shown.rows("Age of the data")[0][:4] == ["GLD", "stale", "2026-07-28", "2"]
    assert "2 of 3 symbols fresh. The feed is usable." in shown.paragraphs
    assert [row[2] for row in shown.rows("Alerts")] == ["The feed stood still"]


def test_orders_that_were_not_filled_are_named_at_the_top_with_the_reason():
    rows = usual_rows()
    waiting = [quality(f"S{place}", "buy", "1", "2", "2", 0.0, 1.0, "parked") for place in range(7)]
    lost = quality("GLD", "buy", "1", "2", "2", 0.0, 1.0, "abandoned")
    rows["execution_quality"] = [{**row, "detail": "the market is halted"} for row in waiting] + [lost]
    shown = page(rows)

    assert "1 order ended without being filled: GLD abandoned (no reason given)" in shown.items
    [waits] = [item for item in shown.items if "not filled yet" in item]
    assert waits.startswith(
        "7 orders not filled yet: S0 parked (the market is halted); S1 parked (the market is halted)"
    )
    assert waits.endswith("; and 2 more")


def test_service_levels_are_shown_with_what_is_left_of_their_budgets():
    shown = page()
    rows = {row[0]: row[1:] for row in shown.rows("Service levels")}

    assert rows["99.5 % of the sessions have an executable plan in time before their window"] == [
        *("kept", f"100.00{THIN}%", "2 of 2 sessions", "0 of 0.01", "0.01")
    ]
    spent = 1 - 3 * (1 - 0.995)
    assert rows["99.5 % of the prices that strategies read are fresh when they decide"] == [
        *("missed", f"{200 / 3:.2f}{THIN}%", "2 of 3 prices", "1 of 0.02", f"{MINUS}{spent:.2f}")
    ]
    assert rows["99 % of the orders are acknowledged within 2 s"][:3] == [*("kept", f"100.00{THIN}%", "2 of 2 orders")]
    assert rows["No order is sent twice, and none without a record before it"][1:] == [
        *(f"50.00{THIN}%", "2 of 4 orders", "2 of 0", f"{MINUS}2")
    ], "of the day before only the executions are known here, and nobody approved them"


def nothing_but(*tables):
    return {name: rows for name, rows in usual_rows().items() if name in tables}


def test_a_session_of_which_nothing_is_known_says_so_and_shows_no_zero():
    shown = page({})

    assert shown.headings[1:] == SECTIONS
    assert shown.items[0] == "Critical alert: The feed stood still"
    assert f"Session {SESSION} was not decided: there is no snapshot of the account and no plan" in shown.items
    assert all(value[0] == DASH for value in shown.tiles.values())
    assert set(shown.tables) <= {"Alerts", "Service levels"}
    assert "$" not in "".join(shown.text)
    assert set(shown.column("Service levels", "Kept")) == {"unknown"}
    assert set(shown.column("Service levels", "Attained")) == {DASH}


def test_a_plan_that_is_not_placed_yet_shows_no_executions_and_no_result():
    rows = nothing_but("portfolio_snapshot", "allocation", "approved_orders", "risk_report", "data_freshness")
    shown = page(rows)

    assert shown.tile("Orders") == ("2", "approved, not placed yet")
    assert shown.tile("Realised") == (DASH, "no execution is recorded yet")
    assert shown.tile("Books") == (DASH, "not compared yet")
    assert set(shown.column("Targets and holdings", "After")) == {DASH}
    assert "The orders have not been placed yet, or nothing of it is recorded." in shown.paragraphs


def test_a_session_that_traded_nothing_says_so():
    rows = nothing_but("portfolio_snapshot", "allocation", "risk_report") | {
        "reconciliation": [compared("cash", "CASH", "10251.75", "10251.75")]
    }
    shown = page(rows)

    assert "Nothing had to be traded." in shown.paragraphs
    assert "Nothing was executed." in shown.paragraphs
    assert shown.tile("Orders") == ("0 of 0", "filled")
    assert shown.tile("Books")[0] == "agree"


def test_alerts_that_cannot_be_read_are_not_taken_for_none():
    assert "The alerts cannot be read." in page(alerts=None).paragraphs
    assert "None." in page(alerts=[]).paragraphs


def test_whatever_comes_from_outside_is_escaped():
    evil = '<script>alert("x")</script>'
    rows = usual_rows()
    rows["approved_orders"].append(order(evil, "buy", "1", "1", "2", "2", evil, sequence=3, breaches=evil))
    rows["fills"].append(fill(SESSION, "5", evil, "buy", "1", "2"))
    rows["execution_quality"].append(quality(evil, "buy", "1", "2", "2", 0.0, 0.1, state=evil))
    rows["reconciliation"].append(compared(evil, evil, "1", "2", evil, evil))
    rows["data_freshness"].append(freshness(evil, evil, read_by=evil))
    rows["portfolio_snapshot"].append(rows["portfolio_snapshot"][0] | {"symbol": evil, "session": SESSION})
    text = daily_report.page(facts(rows, mode=evil, market=evil, trading_state=evil, audit_head=evil))

    assert "<script" not in text
    assert evil in Read(text).column("Orders and risk decisions", "Symbol")
    assert text.count("<svg") == text.count("</svg>") == 4


def test_a_thousand_orders_fill_one_page_completely():
    rows = usual_rows()
    names = [f"S{number:04d}" for number in range(1000)]
    rows["approved_orders"] = [
        order(name, "buy", "1", "1", "2", "2", "approved", sequence=place) for place, name in enumerate(names)
    ]
    rows["fills"] = rows["fills"][:2] + [fill(SESSION, name, name, "buy", "1", "2") for name in names]
    rows["execution_quality"] = [quality(name, "buy", "1", "2", "2", 0.0, 0.1) for name in names]
    text = daily_report.page(facts(rows))
    shown = Read(text)

    assert shown.column("Orders and risk decisions", "Symbol") == names
    assert shown.tile("Orders") == ("1,000 of 1,000", "filled")
    assert len(shown.rows("Executions")) == 1000
    assert len(text) < 2_000_000


def test_a_missed_plan_spends_the_budget():
    late = facts(planned_at=lambda session: sessions.open_of(sessions.next_session(session)) + timedelta(minutes=1))
    missing = facts(planned_at=lambda _: None)

    for known, told in ((late, "(at 13:31 UTC)"), (missing, "(no plan)")):
        level = known.service_levels[0]
        assert (level.good, level.total, level.verdict) == (0, 2, "missed")
        assert told in level.worst
        [item] = [item for item in Read(daily_report.page(known)).items if "sessions planned in time" in item]
        assert item.startswith("Service level missed, sessions planned in time: 0 of 2")


def test_every_tone_is_one_that_the_style_sheet_knows():
    tables = [table for section in daily_report.document(facts()).sections for table in section.tables]

    assert {cell.tone for table in tables for row in table.rows for cell in row} <= {"", "good", "bad", "warn", "faint"}
