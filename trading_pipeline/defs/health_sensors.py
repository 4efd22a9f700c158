"""The sensors that watch over the pipeline itself and launch nothing."""

from collections.abc import Sequence

import dagster as dg

from trading_pipeline.defs.check_alerts import failed_check_alerts
from trading_pipeline.defs.deadlines import deadline_watch
from trading_pipeline.defs.heartbeat import heartbeat
from trading_pipeline.defs.jobs import DECIDE, PLACE_ORDERS
from trading_pipeline.defs.kill_jobs import KILL_JOBS
from trading_pipeline.defs.liquidation_jobs import liquidate_job
from trading_pipeline.defs.run_alerts import run_failure_alerts
from trading_pipeline.settings import HealthSettings

CRITICAL_JOBS = (DECIDE, PLACE_ORDERS, *(job.name for job in (*KILL_JOBS, liquidate_job)))


def health_sensors(chosen: HealthSettings) -> Sequence[dg.SensorDefinition]:
    """Return the sensors, at the paces that the settings choose."""
    return (
        failed_check_alerts(chosen.look_interval_seconds),
        run_failure_alerts(chosen.look_interval_seconds, CRITICAL_JOBS),
        deadline_watch(chosen.look_interval_seconds),
        heartbeat(chosen.heartbeat_interval_seconds),
    )
