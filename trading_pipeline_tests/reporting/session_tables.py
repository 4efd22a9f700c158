"""The tables of a small account over two sessions, whose figures are easily reckoned by hand."""

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser

import pandas as pd

from trading_pipeline.adapters.storage.schemas import table_schema
from trading_pipeline.application import performance as earned
from trading_pipeline.domain import sessions
from trading_pipeline.ports import Alert, Severity
from trading_pipeline.reporting.session_facts import ReportContext, gathered

BEFORE, SESSION, EXECUTION = date(2026, 7, 29), date(2026, 7, 30), date(2026, 7, 31)
ACCOUNT = "SIM0001"
WRITTEN = datetime(2026, 7, 31, 14, 5, tzinfo=UTC)


def frame(table, rows):
    """Rows of a table, columns that are not given missing."""
    columns = list(table_schema(table).columns)
    made = pd.DataFrame([{name: row.get(name) for name in columns} for row in rows], columns=columns)
    for name, kind in table_schema(table).columns.items():
        if str(kind) == "double":
            made[name] = made[name].astype("float64")
        if str(kind).startswith("timestamp"):
            made[name] = pd.to_datetime(made[name], utc=True)
    return made


def held(session, symbol, quantity, price, equity, source="broker"):
    worth = Decimal(quantity) * Decimal(price)
    return {
        "session": session,
        "symbol": symbol,
        "quantity": Decimal(quantity),
        "price": Decimal(price),
        "market_value": worth,
        "weight": float(worth / Decimal(equity)),
        "source": source,
        "account_number": ACCOUNT,
        "as_of": sessions.close_of(session) + timedelta(minutes=30),
    }


def fill(session, name, symbol, side, quantity, price, commission="0"):
    execution = sessions.next_session(session)
    return {
        "session": session,
        "execution_session": execution,
        "plan_id": f"{session}.1",
        "client_order_id": f"tp1-{session}-{symbol}",
        "execution_id": name,
        "symbol": symbol,
        "side": side,
        "quantity": Decimal(quantity),
        "price": Decimal(price),
        "commission": Decimal(commission),
        "filled_at": sessions.open_of(execution) + timedelta(minutes=2),
    }


def order(symbol, side, quantity, approved, limit, reference, decision, *, sequence=0, breaches=None):
    return {
        "session": SESSION,
        "execution_session": EXECUTION,
        "client_order_id": f"tp1-{SESSION}-{symbol}",
        "sequence": sequence,
        "symbol": symbol,
        "side": side,
        "quantity": Decimal(quantity),
        "order_type": "limit",
        "limit_price": Decimal(limit),
        "reference_price": Decimal(reference),
        "notional": Decimal(quantity) * Decimal(reference),
        "time_in_force": "day",
        "reason": f"{symbol} to target",
        "plan_id": f"{SESSION}.1",
        "decision": decision,
        "approved_quantity": Decimal(approved),
        "breaches": breaches,
        "warnings": None,
    }


def quality(symbol, side, quantity, price, mid, slippage, acknowledged, state="filled"):
    return {
        "session": SESSION,
        "execution_session": EXECUTION,
        "plan_id": f"{SESSION}.1",
        "client_order_id": f"tp1-{SESSION}-{symbol}",
        "order_id": f"tp1-{SESSION}-{symbol}",
        "slice_number": 0,
        "symbol": symbol,
        "side": side,
        "state": state,
        "detail": "",
        "quantity": Decimal(quantity),
        "filled_quantity": Decimal(quantity),
        "arrival_mid": Decimal(mid),
        "average_price": Decimal(price),
        "slippage_bps": slippage,
        "submit_to_ack_seconds": acknowledged,
        "ack_to_first_fill_seconds": 0.0,
        "submit_to_done_seconds": acknowledged + 1,
        "resends": 1 if symbol == "GLD" else 0,
        "whole_shares": symbol == "GLD",
        "resized": False,
        "parked": False,
    }


def risk(measure, part, value, limit=None):
    share = float("nan") if limit is None else value / limit
    return {
        "session": SESSION,
        "measure": measure,
        "part": part,
        "value": value,
        "limit": limit,
        "share_of_limit": share,
    }


def freshness(symbol, status="fresh", age=0.0, read_by="nuclear", session=SESSION):
    return {
        "session": session,
        "symbol": symbol,
        "newest_session": sessions.previous_session(session, int(age)) if age else session,
        "age_sessions": age,
        "status": status,
        "close_unchanged_sessions": 0.0,
        "read_by": read_by,
        "reason": None if status == "fresh" else "its newest bar is old",
        "feed": "usable",
    }


def compared(kind, name, ours, theirs, status="equal", explanation=None):
    return {
        "session": SESSION,
        "account_number": ACCOUNT,
        "kind": kind,
        "name": name,
        "ours": Decimal(ours),
        "theirs": Decimal(theirs),
        "difference": Decimal(theirs) - Decimal(ours),
        "price": None,
        "status": status,
        "explanation": explanation,
        "as_of": WRITTEN,
    }


def usual_rows():
    return {
        "portfolio_snapshot": [
            held(BEFORE, "SPY", "10", "500", "15000"),
            held(BEFORE, "CASH", "10000", "1", "15000"),
            held(SESSION, "SPY", "6", "505", "15121.75"),
            held(SESSION, "TLT", "20", "92", "15121.75"),
            # A dividend of 12.25 dollars came.
            held(SESSION, "CASH", "10251.75", "1", "15121.75"),
        ],
        "fills": [
            fill(BEFORE, "1", "SPY", "sell", "4", "510", "0.5"),
            fill(BEFORE, "2", "TLT", "buy", "20", "90"),
            fill(SESSION, "3", "SPY", "sell", "6", "504", "0.25"),
            fill(SESSION, "4", "GLD", "buy", "8", "201"),
        ],
        "allocation": [
            {"session": SESSION, "symbol": symbol, "strategy": strategy, "weight": weight, "status": "decided"}
            for symbol, strategy, weight in (
                ("TLT", "nuclear", 0.125),
                ("GLD", "nuclear", 0.075),
                ("GLD", "tecl", 0.05),
                ("CASH", "cash", 0.75),
            )
        ],
        "approved_orders": [
            order("SPY", "sell", "6", "6", "480", "505", "approved"),
            order("GLD", "buy", "10", "8", "210", "200", "reduced", sequence=1, breaches="POSITION_WEIGHT 0.13 > 0.12"),
            order("TQQQ", "buy", "5", "0", "60", "55", "denied", sequence=2, breaches="STALE_PRICE 3 > 0"),
        ],
        "execution_quality": [
            quality("SPY", "sell", "6", "504", "505", 1 / 505 * 10_000, 0.25),
            quality("GLD", "buy", "8", "201", "200", 50.0, 1.5),
        ],
        "reconciliation": [
            compared("cash", "CASH", "11667.5", "11667.5"),
            compared("position", "TLT", "20", "20"),
            compared("position", "GLD", "8", "7", "break", "8 expected"),
        ],
        "risk_report": [
            risk("gross leverage", "account", 0.95, 1.0),
            risk("daily loss", "warning", float("nan"), 0.1),
            risk("position weight", "TLT", 0.5, 0.4),
            risk("cash", "account", 0.75),
        ],
        "data_freshness": [freshness("SPY"), freshness("TLT"), freshness("GLD", "stale", 2.0)],
    }


@dataclass
class HeldTables:
    """Tables in memory; ``performance`` is made of the others, as its asset makes it."""

    rows: dict = field(default_factory=usual_rows)

    def read(self, name, first=None, last=None):
        found = self._performance() if name == "performance" else frame(name, self.rows.get(name, []))
        kept = [(first is None or day >= first) and (last is None or day <= last) for day in found["session"]]
        return found[pd.Series(kept, index=found.index, dtype=bool)].reset_index(drop=True)

    def _performance(self):
        snapshots, fills = (frame(name, self.rows.get(name, [])) for name in ("portfolio_snapshot", "fills"))
        account = earned.account_of(snapshots)
        if account is None:
            return frame("performance", [])
        valuations = earned.valuations_of(snapshots, account)
        return earned.to_frame(earned.performance(valuations, earned.executions_by_session(fills)), valuations)


def context(**changes):
    made = ReportContext(
        mode="simulated",
        market="synthetic",
        written_at=WRITTEN,
        alerts=[
            Alert(
                "feed:2026-07-30", Severity.CRITICAL, "The feed stood still", "", datetime(2026, 7, 30, 21, tzinfo=UTC)
            ),
            Alert("old", Severity.WARNING, "Long ago", "", datetime(2026, 6, 1, tzinfo=UTC)),
            Alert("report:2026-07-31", Severity.INFO, "The report itself", "", WRITTEN),
        ],
        planned_at=lambda session: sessions.close_of(session) + timedelta(minutes=31),
        deadline=lambda session: sessions.open_of(sessions.next_session(session)) - timedelta(minutes=5),
        trading_state="active",
    )
    return replace(made, **changes)


def facts(rows=None, session=SESSION, **changes):
    tables = HeldTables() if rows is None else HeldTables(rows)
    return gathered(tables, session, context(**changes))


class Read(HTMLParser):
    """What a page says: headings, list items, tiles, tables by the heading above them, and whatever it would fetch."""

    def __init__(self, page):
        super().__init__()
        self.headings, self.items, self.paragraphs, self.chips = [], [], [], []
        self.tables, self.tiles, self.fetched, self.open = {}, {}, [], []
        self._cells, self._tile = None, []
        self.text = []
        self.feed(page)
        self.close()
        assert self.open == [], f"left open: {self.open}"

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.fetched += [found[name] for name in ("src", "srcset", "data", "action") if name in found]
        if tag in {"link", "iframe", "object", "embed", "base"} or "xlink:href" in found:
            self.fetched.append(f"<{tag}>")
        if tag in {"meta", "br", "link", "img"}:
            return
        self.open.append((tag, found.get("class", "")))
        self._start(tag)

    def handle_startendtag(self, tag, attributes):
        """Drawings close their elements at once."""

    def _start(self, tag):
        if tag == "table":
            self.tables.setdefault(self.headings[-1] if self.headings else "", []).append([])
        if tag == "tr":
            self._rows().append([])
        if tag in {"td", "th"}:
            self._rows()[-1].append("")
        if tag == "li":
            self.items.append("")
        if tag in {"h1", "h2"}:
            self.headings.append("")
        if tag == "p":
            self.paragraphs.append("")

    def handle_endtag(self, tag):
        opened = self.open.pop()
        assert opened[0] == tag, f"{opened} closed by {tag}"

    def _rows(self):
        return self.tables[self.headings[-1] if self.headings else ""][-1]

    def handle_data(self, data):
        tags = [tag for tag, _ in self.open]
        classes = " ".join(name for _, name in self.open).split()
        if "style" in tags or "script" in tags:
            return
        self.text.append(data)
        if "td" in tags or "th" in tags:
            self._rows()[-1][-1] += data
        elif "li" in tags:
            self.items[-1] += data
        elif {"h1", "h2"} & set(tags):
            self.headings[-1] += data
        elif "tile" in classes:
            self._in_tile(classes, data)
        elif "chip" in classes:
            self.chips.append(data)
        elif "p" in tags:
            self.paragraphs[-1] += data

    def _in_tile(self, classes, data):
        if "label" in classes:
            self.tiles[data] = []
            self._tile = self.tiles[data]
        elif data.strip():
            self._tile.append(data)

    def tile(self, label):
        value, *note = self.tiles[label]
        return value, "".join(note)

    def rows(self, heading, number=0):
        return self.tables[heading][number][1:]

    def column(self, heading, title, number=0):
        head, *rows = self.tables[heading][number]
        return [row[head.index(title)] for row in rows]
