"""The research graph by itself, as a code location of its own."""

import os

import dagster as dg

from trading_pipeline.defs.assets.research import research_assets
from trading_pipeline.defs.assets.risk_history import risk_history
from trading_pipeline.defs.assets.tail_backtest import tail_backtest
from trading_pipeline.defs.io_manager import tables_io_manager
from trading_pipeline.defs.research import EXCHANGE, exchange, research_checks, research_job
from trading_pipeline.defs.resources import chosen_settings, world


def research_graph(settings, **resources):
    """Return the research graph over the given resources."""
    return dg.Definitions(
        assets=[*research_assets(), tail_backtest, risk_history],
        asset_checks=research_checks(),
        jobs=[research_job(settings.research)],
        resources={EXCHANGE: exchange, **resources},
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs():
    """Return the research graph of the settings and the folder that the environment names."""
    return research_graph(chosen_settings(os.environ), world=world, tables=tables_io_manager)
