"""Group signals: one asset for each strategy, from one factory."""

import dagster as dg
import pandas as pd

from trading_pipeline.application.decision import signal_of
from trading_pipeline.defs import metadata
from trading_pipeline.defs.assets.table_asset import table_asset
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain.indicators import IndicatorPanel
from trading_pipeline.domain.signals import to_frame
from trading_pipeline.domain.strategies import STRATEGIES, Strategy

GROUP = "signals"


def signal_name(strategy: str) -> str:
    """Return the name of a strategy's signal asset."""
    return f"{strategy}_signal"


def signal_asset(strategy: Strategy) -> dg.AssetsDefinition:
    """Return the asset that holds what ``strategy`` wants each session."""

    @table_asset(signal_name(strategy.name), GROUP, description=f"{strategy.title}: {strategy.description}")
    def signal(context: dg.AssetExecutionContext, indicators: pd.DataFrame) -> dg.Output[pd.DataFrame]:
        world: TradingWorld = context.resources.world
        decided = signal_of(strategy, IndicatorPanel.from_frame(indicators), world.smoothing)
        frame = to_frame(decided)
        return metadata.materialised(
            context,
            frame,
            {
                "status": decided.status.value,
                "reason": decided.reason or "",
                "weights": metadata.table(frame[["symbol", "weight"]].dropna()),
                "inputs_hash": decided.inputs_hash,
            },
        )

    return signal


signal_assets = [signal_asset(strategy) for strategy in STRATEGIES.values()]
