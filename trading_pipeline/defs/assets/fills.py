"""Group fills: the one asset with consequences. Materialising it twice does not trade twice."""

import dagster as dg
import pandas as pd

from trading_pipeline.adapters.logs import bound
from trading_pipeline.application import execution
from trading_pipeline.defs import metadata
from trading_pipeline.defs.assets.orders import is_backfill
from trading_pipeline.defs.assets.table_asset import table_asset
from trading_pipeline.defs.checks import blocking_checks, verified
from trading_pipeline.defs.lineage import PLAN_ID, broken_promises
from trading_pipeline.defs.partitions import session_of
from trading_pipeline.defs.recorded_fills import FILLS, UNRESOLVED
from trading_pipeline.defs.refused_orders import REFUSED, reduce_after_refusals
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain.errors import BrokenContract, DataError, OutsideExecutionWindow
from trading_pipeline.domain.orders import Plan

GROUP = "fills"


@table_asset(FILLS, GROUP, "alpaca", trades=True)
def fills(context: dg.AssetExecutionContext, approved_orders: pd.DataFrame) -> dg.Output[pd.DataFrame]:
    """Places the session's approved orders and records what was executed.

    Refuses any session whose execution window is not now, and any run of a
    backfill: history is never traded. Orders go out once under ids that the
    plan decides, whoever runs it again. A plan that was begun, and whose
    window has ended, is only settled and recorded.
    """
    world: TradingWorld = context.resources.world
    session = session_of(context.partition_key)
    if is_backfill(context):
        raise OutsideExecutionWindow(f"fills of {session} were asked for in a backfill; a backfill never places orders")
    plan = execution.plan_in_force(world.plans, world.journal, world.portfolio().account_number, session)
    if plan is None:
        raise OutsideExecutionWindow(f"session {session} has no executable plan; job decide, run in time, makes one")
    verified(session, approved_orders=approved_orders)
    _refuse_another_plan(plan.plan_id, approved_orders)
    if not execution.is_over(plan, world.venue, world.rules, world.clock.now()):
        _refuse_broken_promises(context, world, plan)
    with world.placing_orders() as venue, bound(session=session, plan_id=plan.plan_id, run_id=context.run.run_id):
        try:
            done = execution.execute(plan, venue, world.rules)
        finally:
            reduce_after_refusals(world, plan.plan_id, plan.account_number, plan.symbols)
            world.audit.follow(context.run.run_id)
    world.audit.record_fills(plan, done.fills, done.intents_by_order, context.run.run_id)
    return _recorded(context, done)


def _refuse_another_plan(plan_id: str, approved: pd.DataFrame) -> None:
    others = set(approved["plan_id"]) - {plan_id}
    if others:
        raise DataError(f"table approved_orders holds plan {sorted(others)}, the plan in force is {plan_id}")


def _refuse_broken_promises(context: dg.AssetExecutionContext, world: TradingWorld, plan: Plan) -> None:
    promises = blocking_checks(world.strategies, world.settings.checks.folder)
    problems = broken_promises(context.instance, plan, promises, context.partition_key)
    if problems:
        raise BrokenContract(f"plan {plan.plan_id} is not executed: {'; '.join(problems[:5])}")


def _recorded(context: dg.AssetExecutionContext, done: execution.ExecutionReport) -> dg.Output[pd.DataFrame]:
    frame = execution.fills_to_frame(done)
    symbols = done.plan.symbols
    states = pd.DataFrame(
        [
            {
                "symbol": symbols[entry.client_order_id],
                "state": entry.state.value,
                "detail": entry.detail,
                "client_order_id": entry.client_order_id,
            }
            for entry in done.entries
        ],
        columns=["symbol", "state", "detail", "client_order_id"],
    )
    return metadata.materialised(
        context,
        frame,
        {
            PLAN_ID: done.plan.plan_id,
            "orders": len(done.entries),
            UNRESOLVED: len(done.unresolved),
            "rejected_or_abandoned": sum(entry.state in REFUSED for entry in done.entries),
            "orders_at_the_broker": len(done.orders),
            "turnover_dollars": float((frame["quantity"] * frame["price"]).sum()),
            "how_orders_ended": metadata.table(states),
            "executions": metadata.table(frame[["symbol", "side", "quantity", "price"]]),
        },
    )
