"""Group fills: how fast and at what cost the orders of a plan were executed."""

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import pandas as pd

from trading_pipeline.adapters.resilience import Health
from trading_pipeline.application import execution
from trading_pipeline.application import execution_quality as quality
from trading_pipeline.defs import metadata
from trading_pipeline.defs.assets.fills import GROUP
from trading_pipeline.defs.assets.table_asset import table_asset
from trading_pipeline.defs.lineage import PLAN_ID
from trading_pipeline.defs.partitions import session_of
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain.errors import DataError
from trading_pipeline.domain.orders import Plan
from trading_pipeline.ports import IntentState
from trading_pipeline.reporting.latency_plot import latency_plot

EXECUTION_QUALITY = "execution_quality"
SHOWN = ["symbol", "side", "state", "quantity", "filled_quantity", "arrival_mid", "average_price", "slippage_bps"]
STEPS: Mapping[str, str] = {
    "sent to acknowledged": "submit_to_ack_seconds",
    "to first execution": "ack_to_first_fill_seconds",
    "sent to done": "submit_to_done_seconds",
}


@table_asset(EXECUTION_QUALITY, GROUP, deps=["fills"])
def execution_quality(context: dg.AssetExecutionContext) -> dg.Output[pd.DataFrame]:
    """How each order of the plan went: latency, slippage against the arrival mid, and what had to be done twice.

    Read from the plan, the journal and the broker's executions. Metrics are
    recorded once a plan, when it is over.
    """
    world: TradingWorld = context.resources.world
    plan = _plan(world, context.partition_key)
    # Table fills names the intent of an execution; the broker names its order, which is one of the intent's slices.
    executions = execution.report(plan, world.venue).fills
    rows = quality.order_quality(plan, world.journal.history(plan.plan_id, plan.account_number), executions)
    if all(row.is_over for row in quality.final_orders(rows)) and not _is_recorded(world, plan):
        quality.record_execution(rows, world.metrics)
    frame = quality.to_frame(rows)
    told = {
        PLAN_ID: plan.plan_id,
        **_figures(rows),
        **_requests(world.trading_api.health()),
        **_calls(world),
        **_pictures(rows, frame),
    }
    return metadata.materialised(context, frame, told)


def _plan(world: TradingWorld, partition_key: str) -> Plan:
    session = session_of(partition_key)
    plan = execution.plan_in_force(world.plans, world.journal, world.portfolio().account_number, session)
    if plan is None:
        raise DataError(f"session {session} has no executable plan, so nothing of it was executed; see job decide")
    return plan


def _is_recorded(world: TradingWorld, plan: Plan) -> bool:
    """Tell whether an earlier run saw the plan over, and so recorded its metrics."""
    stored = world.tables.read(EXECUTION_QUALITY, plan.session, plan.session)
    rows = stored[stored["plan_id"] == plan.plan_id].sort_values("slice_number")
    last = rows.drop_duplicates("client_order_id", keep="last")
    return len(last) == len(plan.orders) > 0 and all(IntentState(state).is_terminal for state in last["state"])


def _figures(rows: Sequence[quality.OrderQuality]) -> Mapping[str, Any]:
    """Return the numbers of the plan, which Dagster plots over the sessions; those not known are left out."""
    found = quality.summary(rows)
    counts = {"intents": found.intents, "repriced": found.repriced, "resends": found.resends}
    fallbacks = {"whole_shares": found.whole_shares, "resized": found.resized, "parked": found.parked}
    ended = {state: found.states.get(state, 0) for state in ("filled", "canceled", "rejected", "expired", "abandoned")}
    latencies = {
        f"{name.removesuffix('_seconds')}_{part}_seconds": getattr(latency, part)
        for name, latency in found.latencies.items()
        for part in ("p50", "p95", "p99", "longest")
    }
    cost = {"slippage_bps": found.slippage_bps, "slippage_dollars": found.slippage_dollars}
    return (
        counts
        | fallbacks
        | ended
        | {name: value for name, value in (latencies | cost).items() if not math.isnan(value)}
    )


def _calls(world: TradingWorld) -> Mapping[str, dg.MetadataValue[Any]]:
    """Return how each dependency bore each kind of call since this process began."""
    rows = [
        {
            "dependency": health.dependency,
            "kind": kind.verb,
            "breaker": kind.breaker,
            "calls": kind.calls,
            "failures": kind.failures,
            "retries": kind.retries,
            "refused": kind.refused,
            "last_failure": kind.last_failure,
        }
        for health in (world.trading_api.health(), world.data_api.health())
        for kind in health.calls.values()
    ]
    return {"calls": metadata.table(pd.DataFrame(rows))}


def _requests(health: Health) -> Mapping[str, Any]:
    """Return what the orders took of the quota, counted since this process began; the rest only where it is told."""
    told = {
        "requests_made": sum(kind.calls for kind in health.calls.values()),
        "requests_repeated": sum(kind.retries for kind in health.calls.values()),
    }
    quota = health.quota
    if quota is not None:
        told["requests_held_back"] = quota.waits
    if quota is not None and quota.remaining is not None:
        told["requests_left"] = quota.remaining
    return told


def _pictures(rows: Sequence[quality.OrderQuality], frame: pd.DataFrame) -> Mapping[str, dg.MetadataValue[Any]]:
    histograms = {step: quality.histogram(getattr(row, name) for row in rows) for step, name in STEPS.items()}
    svg = latency_plot("How long orders took", histograms)
    drawing = f"![latencies](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"
    buckets = pd.DataFrame(histograms).rename_axis("at_most_seconds").reset_index()
    buckets["at_most_seconds"] = ["longer" if math.isinf(end) else f"{end:g}" for end in buckets["at_most_seconds"]]
    return {
        "latencies": dg.MetadataValue.md(drawing),
        "latency_histogram": metadata.table(buckets),
        "orders": metadata.table(frame[SHOWN]),
    }
