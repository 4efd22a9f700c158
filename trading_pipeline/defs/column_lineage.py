"""Which columns the columns of a table are made of, as Dagster draws them: from a fill back to the close of a bar."""

from collections.abc import Mapping, Sequence

import dagster as dg

from trading_pipeline.defs.signal_names import is_signal

COLUMN_LINEAGE = "dagster/column_lineage"
Origin = tuple[str, str]

_SAME: Mapping[str, tuple[str, Sequence[str]]] = {
    # Columns that are taken over as they are: from which asset, and which.
    "approved_orders": (
        "order_plan",
        (
            *(
                "session",
                "execution_session",
                "client_order_id",
                "sequence",
                "symbol",
                "side",
                "quantity",
                "order_type",
            ),
            *("limit_price", "reference_price", "notional", "time_in_force", "reason"),
        ),
    ),
    "fills": ("approved_orders", ("session", "execution_session", "plan_id", "client_order_id", "symbol", "side")),
    "execution_quality": ("approved_orders", ("session", "execution_session", "plan_id", "client_order_id", "symbol")),
}
_MADE: Mapping[str, Mapping[str, Sequence[Origin]]] = {
    "data_freshness": {
        "newest_session": [("bars", "session")],
        "age_sessions": [("bars", "session")],
        "close_unchanged_sessions": [("bars", "close"), ("bars", "volume")],
    },
    "indicators": {
        "observed": [("bars", "session")],
        "symbol": [("bars", "symbol")],
        "value": [("bars", "close"), ("data_freshness", "status")],
    },
    "portfolio_snapshot": {"price": [("bars", "close")], "market_value": [("bars", "close")]},
    "order_plan": {
        "symbol": [("allocation", "symbol"), ("portfolio_snapshot", "symbol")],
        "quantity": [("allocation", "weight"), ("portfolio_snapshot", "quantity"), ("bars", "close")],
        "reference_price": [("bars", "close")],
        "limit_price": [("bars", "close")],
    },
    "approved_orders": {
        "approved_quantity": [("order_plan", "quantity"), ("portfolio_snapshot", "quantity"), ("allocation", "weight")],
        "decision": [("order_plan", "quantity"), ("portfolio_snapshot", "quantity"), ("asset_catalog", "tradable")],
    },
    "fills": {"quantity": [("approved_orders", "approved_quantity")], "price": [("approved_orders", "limit_price")]},
    "performance": {
        "realised": [("fills", "price"), ("fills", "quantity")],
        "unrealised": [("portfolio_snapshot", "market_value"), ("fills", "price")],
        "equity": [("portfolio_snapshot", "market_value")],
    },
    "risk_report": {"value": [("approved_orders", "approved_quantity"), ("portfolio_snapshot", "market_value")]},
}
_OF_SIGNALS: Mapping[str, Sequence[Origin]] = {
    "weight": [("indicators", "value")],
    "status": [("indicators", "value")],
    "inputs_hash": [("indicators", "value")],
}


def origins(asset: str, upstream: Sequence[str]) -> Mapping[str, Sequence[Origin]]:
    """Return by column of ``asset`` the assets and columns that it is made of; ``upstream`` are what it reads."""
    if is_signal(asset):
        return _OF_SIGNALS
    if asset == "allocation":
        signals = [name for name in upstream if is_signal(name)]
        return {column: [(signal, column) for signal in signals] for column in ("symbol", "weight")}
    source, columns = _SAME.get(asset, ("", ()))
    return {**{column: [(source, column)] for column in columns}, **_MADE.get(asset, {})}


def column_lineage(asset: str, upstream: Sequence[str]) -> Mapping[str, dg.TableColumnLineage]:
    """Return the metadata that shows the lineage of the columns of ``asset``; none where nothing is known."""
    found = origins(asset, upstream)
    if not found:
        return {}
    deps = {
        column: [dg.TableColumnDep(dg.AssetKey(origin), of) for origin, of in made] for column, made in found.items()
    }
    return {COLUMN_LINEAGE: dg.TableColumnLineage(deps)}
