"""A code location whose checks fail as a run's tags say, watched by the real sensors on a real home."""

import warnings

import dagster as dg

from trading_pipeline.defs.check_alerts import failed_check_alerts
from trading_pipeline.defs.resources import world
from trading_pipeline.defs.run_alerts import run_failure_alerts

CHECKS = tuple(f"check_{number}" for number in range(10))
FAILING_TAG = "failing"
JOB = "decide"
PARTITIONS = dg.DailyPartitionsDefinition("2026-01-01", end_date="2026-08-01")


@dg.asset(partitions_def=PARTITIONS)
def bars():
    return 1


with warnings.catch_warnings():
    warnings.simplefilter("ignore", dg.PreviewWarning)

    @dg.multi_asset_check(
        name="bars_contract",
        # Those that block let the run fail, so that runs of either end hold failed results.
        specs=[
            dg.AssetCheckSpec(name, asset="bars", blocking=name.endswith("0"), partitions_def=PARTITIONS)
            for name in CHECKS
        ],
    )
    def bars_contract(context):
        failing = context.run.tags[FAILING_TAG].split(",")
        for name in CHECKS:
            yield dg.AssetCheckResult(passed=name not in failing, check_name=name, asset_key="bars")


@dg.definitions
def defs():
    return dg.Definitions(
        assets=[bars],
        asset_checks=[bars_contract],
        jobs=[dg.define_asset_job(JOB, selection="*")],
        sensors=[failed_check_alerts(1), run_failure_alerts(1, [JOB])],
        resources={"world": world},
        executor=dg.in_process_executor,
    )
