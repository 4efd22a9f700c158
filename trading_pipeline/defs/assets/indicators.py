"""Group indicators: every reading that the strategies ask for, each computed once."""

from collections.abc import Mapping

import dagster as dg
import pandas as pd

from trading_pipeline.application.decision import panel_of, sessions_needed
from trading_pipeline.defs import metadata
from trading_pipeline.defs.assets.table_asset import table_asset
from trading_pipeline.defs.io_manager import SESSIONS
from trading_pipeline.defs.partitions import session_of
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain.freshness import usable_bars
from trading_pipeline.domain.strategies import Strategy

GROUP = "indicators"


def indicators_asset(strategies: Mapping[str, Strategy]) -> dg.AssetsDefinition:
    """Return the asset that holds every reading of ``strategies``."""
    chosen = list(strategies.values())
    history = dg.AssetIn(metadata={SESSIONS: sessions_needed(chosen)})

    @table_asset("indicators", GROUP, "pandas", ins={"bars": history})
    def indicators(
        context: dg.AssetExecutionContext, bars: pd.DataFrame, data_freshness: pd.DataFrame
    ) -> dg.Output[pd.DataFrame]:
        """The readings behind the session's decision: relative strength, averages, returns, deviations.

        Groups of symbols have a value series of their own, so the last few
        sessions are kept too (column ``observed``). What cannot be computed is
        null, and so is what reads a symbol that is not fresh.
        """
        world: TradingWorld = context.resources.world
        session = session_of(context.partition_key)
        panel = panel_of(chosen, usable_bars(bars, data_freshness, session), session, world.smoothing)
        frame = panel.to_frame(session)
        today = frame[frame["observed"] == session]
        return metadata.materialised(
            context,
            frame,
            {
                "readings": len(panel.readings),
                "undefined": int(today["value"].isna().sum()),
                "panel_fingerprint": panel.fingerprint(),
                "readings_of_the_session": metadata.table(today[["symbol", "indicator", "window", "value"]]),
            },
        )

    return indicators
