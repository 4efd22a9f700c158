"""Tables of one small session, as the pipeline hands them to the checks; a test changes what it is about."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pandas as pd

from dbt_like_checks.contract import ColumnType, contract

THURSDAY, FRIDAY, MONDAY = date(2026, 7, 30), date(2026, 7, 31), date(2026, 8, 3)
INSTANT = datetime(2026, 8, 3, 14, tzinfo=UTC)
BUY_ID, SELL_ID = "tp1-" + "b" * 32, "tp1-" + "5" * 32
PLAN = "2026-07-31.1"

_CATALOG = {
    "session": FRIDAY,
    "symbol": "SPY",
    "name": "SPDR S&P 500",
    "exchange": "ARCA",
    "asset_class": "equity index",
    "leverage": 1.0,
    "tradable": True,
    "fractionable": True,
}
_BAR = {"session": FRIDAY, "symbol": "SPY", "open": 600.0, "high": 602.0, "low": 599.0, "close": 601.0, "volume": 5e6}
_READING = {
    "session": FRIDAY,
    "observed": FRIDAY,
    "symbol": "SPY",
    "indicator": "rsi",
    "window": 10,
    "value": 55.0,
}
_SIGNAL = {
    "session": FRIDAY,
    "strategy": "tecl",
    "symbol": "TECL",
    "weight": 0.75,
    "status": "available",
    "reason": None,
    "inputs_hash": "0f",
}
_SHARE = {
    "session": FRIDAY,
    "symbol": "TECL",
    "strategy": "tecl",
    "weight": 0.45,
    "status": "decided",
    "decided_on": FRIDAY,
}
_HOLDING = {
    "session": FRIDAY,
    "symbol": "SPY",
    "quantity": Decimal("10.5"),
    "price": Decimal(601),
    "market_value": Decimal("6310.5"),
    "weight": 0.6,
    "source": "broker",
    "account_number": "SIM0001",
    "as_of": INSTANT,
}
_CASH = {"symbol": "CASH", "quantity": Decimal(4200), "price": Decimal(1), "market_value": Decimal(4200), "weight": 0.4}
_ORDER = {
    "session": FRIDAY,
    "execution_session": MONDAY,
    "client_order_id": SELL_ID,
    "sequence": 1,
    "symbol": "SPY",
    "side": "sell",
    "quantity": Decimal("10.5"),
    "order_type": "limit",
    "limit_price": Decimal(600),
    "reference_price": Decimal(601),
    "notional": Decimal("6310.5"),
    "time_in_force": "day",
    "reason": "no strategy holds it",
}
_BUY = {
    "client_order_id": BUY_ID,
    "sequence": 2,
    "symbol": "TECL",
    "side": "buy",
    "quantity": Decimal("87.570833333"),
    "limit_price": Decimal(122),
    "reference_price": Decimal(120),
    "notional": Decimal("10508.49999996"),
}
_DECISION = {"plan_id": PLAN, "decision": "approved", "breaches": None, "warnings": None}
_FILL = {
    "session": FRIDAY,
    "execution_session": MONDAY,
    "plan_id": PLAN,
    "client_order_id": BUY_ID,
    "execution_id": "e1",
    "symbol": "TECL",
    "side": "buy",
    "quantity": Decimal("87.570833333"),
    "price": Decimal("120.01"),
    "commission": Decimal(0),
    "filled_at": INSTANT,
}
_EXECUTED = {
    "session": FRIDAY,
    "execution_session": MONDAY,
    "plan_id": PLAN,
    "client_order_id": BUY_ID,
    "order_id": BUY_ID,
    "slice_number": 0,
    "symbol": "TECL",
    "side": "buy",
    "state": "filled",
    "detail": "filled",
    "quantity": Decimal("87.570833333"),
    "filled_quantity": Decimal("87.570833333"),
    "arrival_mid": Decimal(120),
    "average_price": Decimal("120.01"),
    "slippage_bps": 0.8,
    "submit_to_ack_seconds": 0.02,
    "ack_to_first_fill_seconds": 0.0,
    "submit_to_done_seconds": 0.1,
    "resends": 0,
    "whole_shares": False,
    "resized": False,
    "parked": False,
}
ROWS = {
    "asset_catalog": [_CATALOG, _CATALOG | {"symbol": "TECL", "asset_class": "leveraged", "leverage": 3.0}],
    "bars": [_BAR, _BAR | {"symbol": "TECL", "open": 119.0, "high": 121.0, "low": 118.0, "close": 120.0}],
    "indicators": [
        _READING,
        _READING | {"symbol": "TECL", "value": 80.0},
        _READING | {"symbol": "TECL", "observed": THURSDAY},
        _READING | {"symbol": "group:abc", "indicator": "cumret"},
        _READING | {"symbol": "SPY", "indicator": "sma", "value": None},
    ],
    "signals": [_SIGNAL, _SIGNAL | {"symbol": "SPY", "weight": 0.25}],
    "allocation": [
        _SHARE,
        _SHARE | {"symbol": "SPY", "weight": 0.15},
        _SHARE | {"symbol": "SPY", "strategy": "klm", "weight": 0.4, "status": "held"},
    ],
    "portfolio_snapshot": [_HOLDING, _HOLDING | _CASH],
    "order_plan": [_ORDER, _ORDER | _BUY],
    "approved_orders": [
        _ORDER | _DECISION | {"approved_quantity": Decimal("10.5")},
        _ORDER | _BUY | _DECISION | {"approved_quantity": Decimal("87.570833333")},
    ],
    "fills": [
        _FILL | {"quantity": Decimal("80.570833333")},
        _FILL | {"execution_id": "e2", "quantity": Decimal(7)},
    ],
    "execution_quality": [_EXECUTED],
}


def frame_of(table: str, rows: list[dict]) -> pd.DataFrame:
    """Return rows as the frame that the pipeline reads: text and dates as objects, numbers as numbers."""
    of = contract(table)
    frame = pd.DataFrame(rows, columns=[column.name for column in of.columns], dtype=object)
    dtypes = {ColumnType.FLOAT: "float64", ColumnType.TIMESTAMP: "datetime64[us, UTC]"}
    return frame.astype({column.name: dtypes[column.type] for column in of.columns if column.type in dtypes})


def frames(**changes: tuple[int, dict] | list[dict]) -> dict[str, pd.DataFrame]:
    """Return all tables: of those named, ``(place, values)`` changes a row, and a list of rows takes their place."""
    rows = {table: [dict(row) for row in given] for table, given in ROWS.items()}
    for table, change in changes.items():
        if isinstance(change, list):
            rows[table] = change
        else:
            place, values = change
            rows[table][place] |= values
    return {table: frame_of(table, given) for table, given in rows.items()}


def without(table: str, place: int) -> list[dict]:
    """Return the rows of a table but one."""
    return [row for number, row in enumerate(ROWS[table]) if number != place]


def more(table: str, place: int, **values: object) -> list[dict]:
    """Return the rows of a table and one more, which is that of a place with other values."""
    return [*ROWS[table], ROWS[table][place] | values]
