"""The assets of the trading graph, one module for each of the six nouns."""

from collections.abc import Mapping, Sequence

import dagster as dg

from trading_pipeline.domain.strategies import Strategy


def all_assets(strategies: Mapping[str, Strategy]) -> Sequence[dg.AssetsDefinition]:
    """Return every asset of the trading graph of ``strategies``, upstream first."""
    from trading_pipeline.defs.assets import (
        allocation,
        bars,
        daily_report,
        data_freshness,
        execution_quality,
        fills,
        indicators,
        orders,
        performance,
        reconciliation,
        risk_report,
        signals,
        trading_state,
    )
    from trading_pipeline.defs.decided_daily import decided_daily

    decided = [
        bars.asset_catalog,
        bars.bars,
        data_freshness.data_freshness,
        indicators.indicators_asset(strategies),
        *(signals.signal_asset(strategy) for strategy in strategies.values()),
        allocation.allocation_asset(strategies),
        orders.portfolio_snapshot,
        orders.order_plan,
        orders.approved_orders,
        risk_report.risk_report,
    ]
    return [
        *decided_daily(decided),
        fills.fills,
        reconciliation.reconciliation,
        execution_quality.execution_quality,
        performance.performance,
        daily_report.daily_report,
        trading_state.trading_state,
    ]
