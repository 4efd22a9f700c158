"""A run of Dagster's that may be killed: ``python -m trading_pipeline_tests.faults.dagster_run JOB SESSION [RUN]``.

JOB is ``place_orders``, or ``retried``: the same fills in a process of their own, which Dagster starts again when it
dies. With RUN, the id of an earlier run, it is executed again as from the UI.
"""

import os
import sys
from collections.abc import Sequence

import dagster as dg

from trading_pipeline.definitions import wired
from trading_pipeline.defs.io_manager import tables_io_manager
from trading_pipeline.defs.resources import chosen_settings, world

RETRIED = dg.define_asset_job(
    "retried",
    selection=dg.AssetSelection.assets("fills"),
    executor_def=dg.multiprocess_executor,
    op_retry_policy=dg.RetryPolicy(max_retries=2),
)


def place_orders() -> dg.JobDefinition:
    return wired(chosen_settings(os.environ), world=world, tables=tables_io_manager).resolve_job_def("place_orders")


def retried() -> dg.JobDefinition:
    ours = wired(chosen_settings(os.environ), world=world, tables=tables_io_manager)
    return dg.Definitions(
        assets=ours.assets, asset_checks=ours.asset_checks, resources=ours.resources, jobs=[RETRIED]
    ).resolve_job_def(RETRIED.name)


def main(arguments: Sequence[str]) -> int:
    job, session, *parent = arguments
    again = dg.ReexecutionOptions(parent_run_id=parent[0]) if parent else None
    with dg.DagsterInstance.get() as instance:
        result = dg.execute_job(
            dg.reconstructable({"place_orders": place_orders, "retried": retried}[job]),
            instance,
            tags={"dagster/partition": session},
            reexecution_options=again,
            raise_on_error=False,
        )
    return int(not result.success)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
