"""The assets of the trading graph, one module for each of the six nouns."""

from collections.abc import Sequence

import dagster as dg


def all_assets() -> Sequence[dg.AssetsDefinition]:
    """Return every asset, upstream first."""
    from trading_pipeline.defs.assets import allocation, bars, fills, indicators, orders, signals

    return [
        bars.asset_catalog,
        bars.bars,
        indicators.indicators,
        *signals.signal_assets,
        allocation.allocation,
        orders.portfolio_snapshot,
        orders.order_plan,
        orders.approved_orders,
        fills.fills,
    ]
