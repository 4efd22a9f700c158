"""Parts of a report: the orders with what the risk rules said, their executions, and how fast and dear they were."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trading_pipeline.application import execution_quality as quality
from trading_pipeline.reporting import pages
from trading_pipeline.reporting.pages import Cell, Section, Table
from trading_pipeline.reporting.performance_plot import durations_plot
from trading_pipeline.reporting.session_facts import SessionFacts

if TYPE_CHECKING:
    import pandas as pd

DECISION_TONES = {"approved": pages.GOOD, "reduced": pages.WARN, "denied": pages.BAD}
STATE_TONES = {"filled": pages.GOOD, "rejected": pages.BAD, "abandoned": pages.BAD, "expired": pages.WARN}
STEPS: Mapping[str, str] = {
    "Sent to acknowledged": "submit_to_ack_seconds",
    "To first execution": "ack_to_first_fill_seconds",
    "Sent to done": "submit_to_done_seconds",
}


def orders_section(facts: SessionFacts) -> Section:
    """Return the orders with the decisions of the risk rules."""
    title = "Orders and risk decisions"
    if not facts.is_decided:
        return Section("orders", title, ("No orders are recorded: the session was not decided.",))
    if facts.orders.empty:
        return Section("orders", title, ("Nothing had to be traded.",))
    rows = [_order_row(row) for row in facts.orders.to_dict("records")]
    heads = pages.columns("Symbol", "Side", "#Shares", "#Approved", "#Limit", "#Value", "Decision", "Why")
    return Section("orders", title, (_decisions(facts.orders),), (Table(heads, rows),))


def _decisions(orders: "pd.DataFrame") -> str:
    counts = orders["decision"].value_counts()
    told = [f"{int(counts[name]):,} {name}" for name in DECISION_TONES if name in counts]
    return f"{pages.counted(len(orders), 'order')}: {', '.join(told)}."


def _order_row(row: Mapping[Any, Any]) -> tuple[Cell, ...]:
    why = [row["reason"], *(row[name] for name in ("breaches", "warnings") if pages.is_known(row[name]))]
    return (
        Cell(row["symbol"]),
        Cell(row["side"]),
        Cell(pages.quantity(row["quantity"])),
        Cell(pages.quantity(row["approved_quantity"])),
        Cell(pages.money(row["limit_price"])),
        Cell(pages.money(row["notional"])),
        Cell(row["decision"], DECISION_TONES.get(row["decision"], "")),
        Cell("; ".join(why)),
    )


def execution_section(facts: SessionFacts) -> Section:
    """Return what was executed, how fast, and at what cost against the mid."""
    title = "Executions"
    if not facts.is_placed:
        return Section("executions", title, ("The orders have not been placed yet, or nothing of it is recorded.",))
    tables: list[Table] = []
    words = [_executed(facts.fills)]
    if len(facts.fills):
        tables.append(_fills_table(facts.fills))
    if facts.quality.empty:
        words.append("How fast the orders went is not recorded.")
        return Section("executions", title, tuple(words), tuple(tables))
    words += [_cost(facts.quality), _repeats(facts.quality)]
    tables += [_states_table(facts.quality), _latency_table(facts.quality)]
    acknowledged = quality.histogram(facts.quality["submit_to_ack_seconds"])
    drawing = durations_plot("Sent to acknowledged, orders", acknowledged)
    return Section("executions", title, tuple(words), tuple(tables), (drawing,))


def _executed(fills: "pd.DataFrame") -> str:
    if fills.empty:
        return "Nothing was executed."
    traded = pages.money(sum(fills["quantity"] * fills["price"]))
    return (
        f"{pages.counted(len(fills), 'execution')} for {traded}, commissions {pages.money(sum(fills['commission']))}."
    )


def _fills_table(fills: "pd.DataFrame") -> Table:
    rows = [
        (
            Cell(row["symbol"]),
            Cell(row["side"]),
            Cell(pages.quantity(row["quantity"])),
            Cell(pages.money(row["price"])),
            Cell(pages.money(row["quantity"] * row["price"])),
            Cell(pages.money(row["commission"])),
            Cell(pages.instant(row["filled_at"].to_pydatetime())),
        )
        for row in fills.sort_values("filled_at", kind="stable").to_dict("records")
    ]
    return Table(pages.columns("Symbol", "Side", "#Shares", "#Price", "#Value", "#Commission", "When"), rows)


def _cost(frame: "pd.DataFrame") -> str:
    known = frame[frame["slippage_bps"].notna() & frame["arrival_mid"].notna()]
    if known.empty:
        return "What they cost against the mid is not known."
    values = [float(row["filled_quantity"] * row["arrival_mid"]) for row in known.to_dict("records")]
    dollars = sum(value * bps / pages.BASIS_POINTS for value, bps in zip(values, known["slippage_bps"], strict=True))
    mean = dollars / sum(values) * pages.BASIS_POINTS if sum(values) else math.nan
    told = f"{pages.basis_points(mean)}, {pages.money(dollars, signed=True)}"
    return f"Slippage against the mid at arrival: {told}; plus is a cost."


def _repeats(frame: "pd.DataFrame") -> str:
    counts = {
        "sent again": int(frame["resends"].sum()),
        "re-priced": int((frame["slice_number"] > 0).sum()),
        "in whole shares instead": int(frame["whole_shares"].sum()),
        "for less instead": int(frame["resized"].sum()),
        "had to wait": int(frame["parked"].sum()),
    }
    told = ", ".join(f"{number:,} {name}" for name, number in counts.items() if number)
    return f"Fallbacks: {told}." if told else "Fallbacks: none."


def _states_table(frame: "pd.DataFrame") -> Table:
    rows = [
        (
            Cell(row["symbol"]),
            Cell(row["side"]),
            Cell(row["state"], STATE_TONES.get(row["state"], "")),
            Cell(f"{pages.quantity(row['filled_quantity'])} of {pages.quantity(row['quantity'])}"),
            Cell(pages.money(row["average_price"])),
            Cell(pages.money(row["arrival_mid"])),
            Cell(pages.basis_points(row["slippage_bps"])),
            Cell(pages.seconds(row["submit_to_ack_seconds"])),
            Cell(pages.seconds(row["submit_to_done_seconds"])),
        )
        for row in frame.to_dict("records")
    ]
    heads = ("Symbol", "Side", "State", "#Filled", "#Average", "#Mid at arrival", "#Slippage", "#Acknowledged", "#Done")
    return Table(pages.columns(*heads), rows)


def _latency_table(frame: "pd.DataFrame") -> Table:
    rows = []
    for name, column in STEPS.items():
        known = quality.latency(frame[column])
        figures = (known.p50, known.p95, known.p99, known.longest)
        rows.append((Cell(name), Cell(f"{known.count:,}"), *(Cell(pages.seconds(each)) for each in figures)))
    return Table(pages.columns("Step", "#Orders", "#Median", "#95 %", "#99 %", "#Longest"), rows)
