"""The Definitions object: wires everything, decides nothing. Built when Dagster asks for it, not on import."""

import os
from typing import Any

import dagster as dg

from trading_pipeline.settings import Settings


def wired(settings: Settings, **resources: Any) -> dg.Definitions:  # noqa: ANN401 - resources are what they are
    """Return assets, checks, jobs, schedules and sensors of both graphs over the given resources."""
    from trading_pipeline.adapters.symphony_files import known_strategies
    from trading_pipeline.defs.alert_delivery import alert_delivery
    from trading_pipeline.defs.assets import all_assets
    from trading_pipeline.defs.assets.research import research_assets
    from trading_pipeline.defs.assets.risk_history import risk_history
    from trading_pipeline.defs.assets.tail_backtest import tail_backtest
    from trading_pipeline.defs.checks import contract_checks
    from trading_pipeline.defs.health_sensors import health_sensors
    from trading_pipeline.defs.jobs import JOBS
    from trading_pipeline.defs.liquidation_jobs import liquidation_watch
    from trading_pipeline.defs.research import EXCHANGE, exchange, research_checks, research_job
    from trading_pipeline.defs.risk_watch import risk_watch
    from trading_pipeline.defs.schedules import schedules
    from trading_pipeline.defs.sensors import order_placement_sensor
    from trading_pipeline.defs.watchdog import order_watchdog

    strategies, chosen = known_strategies(settings.strategies.folder), settings.schedule
    return dg.Definitions(
        assets=[*all_assets(strategies), *research_assets(), tail_backtest, risk_history],
        asset_checks=[*contract_checks(tuple(strategies), settings.checks.folder), *research_checks()],
        jobs=[*JOBS, research_job(settings.research)],
        schedules=schedules(chosen),
        sensors=[
            order_placement_sensor(chosen.sensor_interval_seconds),
            order_watchdog(settings.monitoring.watchdog_interval_seconds),
            risk_watch(settings.risk_watch.interval_seconds),
            liquidation_watch(settings.risk_watch.interval_seconds),
            *health_sensors(settings.health),
            alert_delivery(settings.alerts.delivery_interval_seconds),
        ],
        resources={EXCHANGE: exchange, **resources},
        # For every run, backfills and those of the UI too: a process for each step is fifteen times slower.
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """Return the trading graph of the settings and the folder that the environment names."""
    from trading_pipeline.defs.io_manager import tables_io_manager
    from trading_pipeline.defs.resources import chosen_settings, world

    return wired(chosen_settings(os.environ), world=world, tables=tables_io_manager)
