"""The Arrow schema of every table; column meanings and promises are in ``dbt_like_checks/contracts``.

Every table has the column ``session`` and is split into files by the year of
it. Money and quantities are decimals of nine places, statistics are doubles.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

TEXT = pa.string()
DAY = pa.date32()
NUMBER = pa.float64()
COUNT = pa.int64()
MONEY = pa.decimal128(38, 9)
INSTANT = pa.timestamp("us", "UTC")
TRUTH = pa.bool_()
SIGNAL_SUFFIX = "_signal"


@dataclass(frozen=True)
class TableSchema:
    """Columns of a table in order, and those that together name one row."""

    name: str
    columns: Mapping[str, pa.DataType]
    key: tuple[str, ...]

    @property
    def arrow(self) -> pa.Schema:
        """Return the columns as stored, the partition column ``year`` last."""
        return pa.schema([*self.columns.items(), ("year", pa.int32())])


_SIGNAL = {
    "session": DAY,
    "strategy": TEXT,
    "symbol": TEXT,
    "weight": NUMBER,
    "status": TEXT,
    "reason": TEXT,
    "inputs_hash": TEXT,
}
_ORDER = {
    "session": DAY,
    "execution_session": DAY,
    "client_order_id": TEXT,
    "sequence": COUNT,
    "symbol": TEXT,
    "side": TEXT,
    "quantity": MONEY,
    "order_type": TEXT,
    "limit_price": MONEY,
    "reference_price": MONEY,
    "notional": MONEY,
    "time_in_force": TEXT,
    "reason": TEXT,
}
_BARS = {
    "symbol": TEXT,
    "session": DAY,
    "open": NUMBER,
    "high": NUMBER,
    "low": NUMBER,
    "close": NUMBER,
    "volume": NUMBER,
}


def signal_table(strategy: str) -> TableSchema:
    """Return the schema of a strategy's signal table."""
    return TableSchema(strategy + SIGNAL_SUFFIX, _SIGNAL, ("session", "strategy", "symbol"))


@functools.cache
def _tables() -> Mapping[str, TableSchema]:
    schemas = (
        TableSchema(
            "asset_catalog",
            {
                "session": DAY,
                "symbol": TEXT,
                "name": TEXT,
                "exchange": TEXT,
                "asset_class": TEXT,
                "leverage": NUMBER,
                "tradable": TRUTH,
                "fractionable": TRUTH,
            },
            ("session", "symbol"),
        ),
        TableSchema("bars", _BARS, ("symbol", "session")),
        TableSchema(
            "bars_quarantine",
            {**_BARS, "reason": TEXT, "quarantined_at": INSTANT},
            # Two different bars of one symbol and session are refused together, and both are evidence.
            (*_BARS, "reason"),
        ),
        TableSchema(
            "data_freshness",
            {
                "session": DAY,
                "symbol": TEXT,
                "newest_session": DAY,
                "age_sessions": NUMBER,
                "status": TEXT,
                "close_unchanged_sessions": NUMBER,
                "read_by": TEXT,
                "reason": TEXT,
                "feed": TEXT,
            },
            ("session", "symbol"),
        ),
        TableSchema(
            "indicators",
            {
                "session": DAY,
                "observed": DAY,
                "symbol": TEXT,
                "indicator": TEXT,
                "window": COUNT,
                "value": NUMBER,
            },
            ("session", "observed", "symbol", "indicator", "window"),
        ),
        TableSchema(
            "allocation",
            {
                "session": DAY,
                "symbol": TEXT,
                "strategy": TEXT,
                "weight": NUMBER,
                "status": TEXT,
                "decided_on": DAY,
            },
            ("session", "strategy", "symbol"),
        ),
        TableSchema(
            "portfolio_snapshot",
            {
                "session": DAY,
                "symbol": TEXT,
                "quantity": MONEY,
                "price": MONEY,
                "market_value": MONEY,
                "weight": NUMBER,
                "source": TEXT,
                "account_number": TEXT,
                "as_of": INSTANT,
            },
            ("session", "symbol"),
        ),
        TableSchema("order_plan", _ORDER, ("session", "sequence")),
        TableSchema(
            "approved_orders",
            {
                **_ORDER,
                "plan_id": TEXT,
                "decision": TEXT,
                "approved_quantity": MONEY,
                "breaches": TEXT,
                "warnings": TEXT,
            },
            ("session", "sequence"),
        ),
        TableSchema(
            "fills",
            {
                "session": DAY,
                "execution_session": DAY,
                "plan_id": TEXT,
                "client_order_id": TEXT,
                "execution_id": TEXT,
                "symbol": TEXT,
                "side": TEXT,
                "quantity": MONEY,
                "price": MONEY,
                "commission": MONEY,
                "filled_at": INSTANT,
            },
            ("execution_id",),
        ),
        TableSchema(
            "execution_quality",
            {
                "session": DAY,
                "execution_session": DAY,
                "plan_id": TEXT,
                "client_order_id": TEXT,
                "order_id": TEXT,
                "slice_number": COUNT,
                "symbol": TEXT,
                "side": TEXT,
                "state": TEXT,
                "detail": TEXT,
                "quantity": MONEY,
                "filled_quantity": MONEY,
                "arrival_mid": MONEY,
                "average_price": MONEY,
                "slippage_bps": NUMBER,
                "submit_to_ack_seconds": NUMBER,
                "ack_to_first_fill_seconds": NUMBER,
                "submit_to_done_seconds": NUMBER,
                "resends": COUNT,
                "whole_shares": TRUTH,
                "resized": TRUTH,
                "parked": TRUTH,
            },
            ("order_id",),
        ),
        TableSchema(
            "reconciliation",
            {
                "session": DAY,
                "account_number": TEXT,
                "kind": TEXT,
                "name": TEXT,
                "ours": MONEY,
                "theirs": MONEY,
                "difference": MONEY,
                "price": MONEY,
                "status": TEXT,
                "explanation": TEXT,
                "as_of": INSTANT,
            },
            ("session", "kind", "name"),
        ),
        TableSchema(
            "risk_report",
            {
                "session": DAY,
                "measure": TEXT,
                "part": TEXT,
                "value": NUMBER,
                "limit": NUMBER,
                "share_of_limit": NUMBER,
                "code": TEXT,
            },
            ("session", "measure", "part"),
        ),
        TableSchema(
            "performance",
            {
                "session": DAY,
                "account_number": TEXT,
                "as_of": INSTANT,
                "equity": MONEY,
                "cash": MONEY,
                "profit": MONEY,
                "realised": MONEY,
                "unrealised_change": MONEY,
                "unrealised": MONEY,
                "commissions": MONEY,
                "cash_movements": MONEY,
                "share_movements": MONEY,
                "realised_total": MONEY,
                "unit_value": NUMBER,
                "drawdown": NUMBER,
            },
            ("session",),
        ),
        TableSchema(
            "risk_history",
            {
                "session": DAY,
                "first": DAY,
                "strategy": TEXT,
                "family": TEXT,
                "kind": TEXT,
                "rule": TEXT,
                "sessions": COUNT,
                "sessions_with_orders": COUNT,
                "orders": COUNT,
                "denied": COUNT,
                "reduced": COUNT,
                "warned": COUNT,
                "sessions_acted": COUNT,
                "last_acted": DAY,
                "highest": NUMBER,
                "limit": NUMBER,
            },
            ("session", "strategy", "family", "kind", "rule"),
        ),
        TableSchema(
            "signal_history",
            {
                "session": DAY,
                "strategy": TEXT,
                "symbol": TEXT,
                "weight": NUMBER,
                "status": TEXT,
                "reason": TEXT,
            },
            ("session", "strategy", "symbol"),
        ),
        TableSchema(
            "sizing_comparison",
            {
                "session": DAY,
                "first": DAY,
                "method": TEXT,
                "symbol": TEXT,
                "weight": NUMBER,
                "turnover": NUMBER,
                "value": NUMBER,
            },
            ("session", "method", "symbol"),
        ),
        TableSchema(
            "strategy_diversity",
            {
                "session": DAY,
                "first": DAY,
                "strategy": TEXT,
                "other": TEXT,
                "return_correlation": NUMBER,
                "signal_correlation": NUMBER,
                "overlap": NUMBER,
                "return_sessions": COUNT,
                "signal_sessions": COUNT,
                "effective_number": NUMBER,
            },
            ("session", "strategy", "other"),
        ),
        TableSchema(
            "tail_backtest",
            {
                "session": DAY,
                "first": DAY,
                "strategy": TEXT,
                "model": TEXT,
                "confidence": NUMBER,
                "window": COUNT,
                "sessions": COUNT,
                "missing": COUNT,
                "exceptions": COUNT,
                "expected_exceptions": NUMBER,
                "kupiec": NUMBER,
                "kupiec_p": NUMBER,
                "independence": NUMBER,
                "independence_p": NUMBER,
                "conditional_coverage": NUMBER,
                "conditional_coverage_p": NUMBER,
                "zone": TEXT,
                "multiplier": NUMBER,
                "recent_sessions": COUNT,
                "recent_exceptions": COUNT,
                "recent_zone": TEXT,
                "mean_value_at_risk": NUMBER,
            },
            ("session", "strategy", "model"),
        ),
    )
    return {schema.name: schema for schema in schemas}


def table_schema(name: str) -> TableSchema:
    """Return the schema of a table by its name.

    Raises:
        KeyError: no table of that name is known.
    """
    if name.endswith(SIGNAL_SUFFIX):
        return signal_table(name.removesuffix(SIGNAL_SUFFIX))
    return _tables()[name]
