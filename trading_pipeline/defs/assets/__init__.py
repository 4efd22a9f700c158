"""The assets of the trading graph, one module for each of the six nouns."""

from collections.abc import Mapping, Sequence

import dagster as dg

from trading_pipeline.domain.strategies import Strategy


def all_assets(strategies: Mapping[str, Strategy]) -> Sequence[dg.AssetsDefinition]:
    """Return every asset of the trading graph of ``strategies``, upstream first."""
    from trading_pipeline.defs.assets import (
        allocation,
        bars,
        execution_quality,
        fills,
        indicators,
        orders,
        reconciliation,
        risk_report,
        signals,
        trading_state,
    )

    return [
        bars.asset_catalog,
        bars.bars,
        indicators.indicators_asset(strategies),
        *(signals.signal_asset(strategy) for strategy in strategies.values()),
        allocation.allocation_asset(strategies),
        orders.portfolio_snapshot,
        orders.order_plan,
        orders.approved_orders,
        risk_report.risk_report,
        fills.fills,
        reconciliation.reconciliation,
        execution_quality.execution_quality,
        trading_state.trading_state,
    ]
