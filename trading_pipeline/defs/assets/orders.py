"""Group orders: what the account holds, what it should trade, and what of that is allowed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

import dagster as dg
import pandas as pd
import structlog

from trading_pipeline import __version__
from trading_pipeline.adapters.logs import bound
from trading_pipeline.application import planning, plans, risk_inputs
from trading_pipeline.application.decision import newest
from trading_pipeline.application.reconciliation_table import fills_from_frame
from trading_pipeline.application.risk_inputs import HISTORY_SESSIONS
from trading_pipeline.application.symbol_facts import closes, instruments_of, tradability_of
from trading_pipeline.defs import metadata
from trading_pipeline.defs.assets.reconciliation import before_planning
from trading_pipeline.defs.assets.table_asset import table_asset
from trading_pipeline.defs.checks import verified
from trading_pipeline.defs.io_manager import SESSIONS
from trading_pipeline.defs.lineage import PLAN_ID, lineage_of
from trading_pipeline.defs.partitions import session_of
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.defs.signal_names import signal_name
from trading_pipeline.defs.sized_target import sized_of, told_of
from trading_pipeline.domain import allocation as allocations
from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import DataError, InvalidInput
from trading_pipeline.domain.freshness import reasons_against
from trading_pipeline.domain.orders import OrderIntent, Plan
from trading_pipeline.domain.portfolio import Portfolio
from trading_pipeline.domain.risk.decisions import BreachCode
from trading_pipeline.domain.risk.engine import decide
from trading_pipeline.domain.risk.state import RiskState
from trading_pipeline.ports import Alert, Severity

if TYPE_CHECKING:
    from datetime import date

GROUP = "orders"
BACKFILL_TAG = "dagster/backfill"


def behind_a_plan(strategies: Iterable[str]) -> tuple[str, ...]:
    """Return the assets whose materialisations a plan rests on, upstream first."""
    signals = (signal_name(name) for name in strategies)
    prices = ("asset_catalog", "bars", "data_freshness", "indicators")
    return (*prices, *signals, "allocation", "portfolio_snapshot", "order_plan")


def is_backfill(context: dg.AssetExecutionContext) -> bool:
    """Tell whether the run belongs to a backfill."""
    return BACKFILL_TAG in context.run.tags


@table_asset("portfolio_snapshot", GROUP, "alpaca")
def portfolio_snapshot(
    context: dg.AssetExecutionContext, bars: pd.DataFrame, asset_catalog: pd.DataFrame
) -> dg.Output[pd.DataFrame]:
    """Cash and positions from which orders are derived.

    The broker's word while the session's orders can still be executed. In a
    backfill, or when their window is over, a model portfolio that holds the
    previous session's allocation: plans made from it are never executable.
    A backfill of a session that can still be traded is refused.
    The broker's positions are compared with what they were after the last
    orders: what nothing explains moves the trading state to reducing.
    """
    world: TradingWorld = context.resources.world
    session = session_of(context.partition_key)
    account = world.portfolio()
    plans.refuse_if_executed(world.journal, account.account_number, session)
    modelled = _is_modelled(world, session, backfill=is_backfill(context))
    held = model_portfolio_of(world, session, bars, asset_catalog) if modelled else account
    valued = planning.valued_at(held, closes(bars))
    frame = planning.portfolio_to_frame(valued, session, "model" if modelled else "broker")
    compared = {} if modelled else before_planning(world, session, account.account_number)
    return metadata.materialised(
        context,
        frame,
        {
            "equity": float(frame["market_value"].sum()),
            "source": "model" if modelled else "broker",
            "positions": metadata.table(frame[["symbol", "quantity", "price", "market_value", "weight"]]),
            **compared,
        },
    )


def _is_modelled(world: TradingWorld, session: "date", *, backfill: bool) -> bool:
    window, now = world.rules.window(sessions.next_session(session)), world.clock.now()
    if backfill and now < window.end:
        raise InvalidInput(
            f"orders of session {session} can be placed until {window.end.isoformat()}, and a backfill would put a "
            f"model portfolio and its orders in the place of theirs; backfill past sessions, decide this one by job "
            f"decide"
        )
    return plans.is_hypothetical(window, now, backfill=backfill)


def model_portfolio_of(world: TradingWorld, session: "date", bars: pd.DataFrame, catalog: pd.DataFrame) -> Portfolio:
    """Return the model portfolio that holds the previous session's allocation at this session's closes."""
    day_before = sessions.previous_session(session)
    target = newest(world.tables.read("allocation", day_before, day_before))
    equity, as_of = world.settings.orders.model_equity, sessions.close_of(session)
    return plans.model_portfolio(
        target, closes(bars), instruments_of(tradability_of(catalog), world.instruments), equity, as_of
    )


@table_asset("order_plan", GROUP)
def order_plan(
    context: dg.AssetExecutionContext,
    allocation: pd.DataFrame,
    portfolio_snapshot: pd.DataFrame,
    bars: pd.DataFrame,
    asset_catalog: pd.DataFrame,
) -> dg.Output[pd.DataFrame]:
    """Orders that would turn what is held into the allocation: sells first, nothing inside the band."""
    world: TradingWorld = context.resources.world
    session = session_of(context.partition_key)
    portfolio, chosen = planning.portfolio_from_frame(portfolio_snapshot), world.settings.orders
    number = _number(world, portfolio_snapshot, session)
    sized = sized_of(world, allocations.from_frame(allocation), portfolio)
    planned = planning.plan_orders(
        sized.allocation,
        portfolio,
        closes(bars),
        sized.tradable(instruments_of(tradability_of(asset_catalog), world.instruments)),
        account=portfolio.account_number,
        plan_id=number.plan_id,
        collar=chosen.collar,
        band=chosen.band,
        minimum_notional=chosen.minimum_notional,
        whole_shares=chosen.whole_shares,
    )
    planned = sized.explained(planned)
    frame = planning.intents_to_frame(planned.intents, session)
    return metadata.materialised(
        context,
        frame,
        {
            PLAN_ID: number.plan_id,
            "turnover": float(sum(frame["notional"])) / float(portfolio.equity) if portfolio.equity > 0 else 0.0,
            "orders": metadata.table(frame[["symbol", "side", "quantity", "limit_price", "notional", "reason"]]),
            "left_out": "\n".join(f"{left.symbol}: {left.reason}" for left in planned.skipped) or "none",
            "why_none": planned.reason,
            **told_of(sized),
        },
    )


def _number(world: TradingWorld, snapshot: pd.DataFrame, session: "date") -> plans.PlanNumber:
    account, source = snapshot["account_number"].iloc[0], snapshot["source"].iloc[0]
    plans.refuse_if_executed(world.journal, account, session)
    return plans.next_number(world.plans, account, session, hypothetical=source == "model")


def _log_planned(plan: Plan) -> None:
    """Begin the trail that the log keeps of each order, under its id, from here to its last fill."""
    for order in plan.orders:
        structlog.get_logger().info(
            "order_planned",
            correlation_id=order.client_order_id,
            symbol=order.symbol,
            side=order.side.value,
            quantity=str(order.quantity),
            limit_price=str(order.limit_price),
            reason=order.reason,
        )


@table_asset("approved_orders", GROUP, ins={"bars": dg.AssetIn(metadata={SESSIONS: HISTORY_SESSIONS})})
def approved_orders(
    context: dg.AssetExecutionContext,
    order_plan: pd.DataFrame,
    portfolio_snapshot: pd.DataFrame,
    allocation: pd.DataFrame,
    asset_catalog: pd.DataFrame,
    data_freshness: pd.DataFrame,
    bars: pd.DataFrame,
) -> dg.Output[pd.DataFrame]:
    """The risk engine's decision on every order; what it lets pass is stored as the session's plan.

    The inputs are verified against their contracts once more, since a
    blocking check guards only the run that it is part of. The decisions are
    kept with the plan, those that deny too: without one no order leaves.
    """
    world: TradingWorld = context.resources.world
    session = session_of(context.partition_key)
    inputs = {
        "order_plan": order_plan,
        "portfolio_snapshot": portfolio_snapshot,
        "asset_catalog": asset_catalog,
        "allocation": allocation,
    }
    verified(session, **inputs)
    verified(session, data_freshness=data_freshness)
    number = _number(world, portfolio_snapshot, session)
    intents = planning.intents_from_frame(order_plan)
    not_fresh = reasons_against(data_freshness, {intent.symbol for intent in intents})
    facts = risk_inputs.KnownFacts(tradability_of(asset_catalog), world.instruments, bars, not_fresh=not_fresh)
    state = _risk_state(world, number, intents, portfolio_snapshot, allocation, facts)
    decisions = decide(intents, state, world.limits)
    frame = planning.decisions_to_frame(decisions, session, number.plan_id)
    verified(session, inputs, approved_orders=frame)
    plan = Plan(
        plan_id=number.plan_id,
        account_number=state.portfolio.account_number,
        session=session,
        execution_session=sessions.next_session(session),
        version=number.version,
        created_at=world.clock.now(),
        hypothetical=number.hypothetical,
        orders=planning.approved_intents_from_frame(frame),
        lineage=lineage_of(context.instance, behind_a_plan(world.strategies), context.partition_key),
        code_version=__version__,
        config_hash=world.settings.fingerprint(),
        decisions=planning.archived(decisions),
    )
    plans.store(plan, world.plans)
    world.audit.record(world.audit.scribe(context.run.run_id).plan(plan))
    with bound(session=session, plan_id=plan.plan_id, run_id=context.run.run_id):
        _log_planned(plan)
    if not plan.hypothetical:
        _tell_of_denials(world, plan)
    return metadata.materialised(
        context,
        frame,
        {
            PLAN_ID: plan.plan_id,
            "executable": not plan.hypothetical,
            "execution_session": str(plan.execution_session),
            "approved": int((frame["approved_quantity"] > 0).sum()),
            "denied": int((frame["decision"] == "denied").sum()),
            "decisions": metadata.table(
                frame[["symbol", "side", "quantity", "approved_quantity", "decision", "breaches", "warnings"]]
            ),
        },
    )


def _risk_state(
    world: TradingWorld,
    number: plans.PlanNumber,
    intents: Sequence[OrderIntent],
    snapshot: pd.DataFrame,
    allocation: pd.DataFrame,
    facts: risk_inputs.KnownFacts,
) -> RiskState:
    session = snapshot["session"].iloc[0]
    portfolio, target = planning.portfolio_from_frame(snapshot), allocations.from_frame(allocation)
    if not number.hypothetical:
        portfolio = _still_so(portfolio, world.portfolio())
        facts = replace(facts, fills=fills_from_frame(world.tables.read("fills")))
    symbols = frozenset(intent.symbol for intent in intents)
    question = risk_inputs.RiskQuestion(portfolio, symbols, sessions.next_session(session), world.clock.now())
    trading_state = world.trading_state.certain()
    if number.hypothetical:
        return risk_inputs.modelled_state(question, target, trading_state, facts)
    return risk_inputs.account_state(
        question, target, trading_state, facts, world.broker, world.market_sources, world.watch_rules
    )


def _still_so(snapshot: Portfolio, now: Portfolio) -> Portfolio:
    """Return the snapshot with the broker's word on the account of now.

    Raises:
        DataError: cash or positions are not those of the snapshot any more.
    """
    held = {symbol: position.quantity for symbol, position in snapshot.positions.items() if position.quantity}
    found = {symbol: position.quantity for symbol, position in now.positions.items() if position.quantity}
    if (held, snapshot.cash) != (found, now.cash):
        raise DataError(
            f"the account has changed since its snapshot was taken at {snapshot.as_of.isoformat()}: it held "
            f"{_told(held, snapshot.cash)}, it holds {_told(found, now.cash)}; materialise portfolio_snapshot and "
            f"order_plan again"
        )
    return replace(snapshot, blocked=now.blocked)


def _told(held: Mapping[str, Decimal], cash: Decimal) -> str:
    shares = ", ".join(f"{quantity.normalize():f} {symbol}" for symbol, quantity in sorted(held.items()))
    return f"{cash:.2f} dollars and {shares or 'no shares'}"


def _tell_of_denials(world: TradingWorld, plan: Plan) -> None:
    # Whoever set the trading state has told of it.
    told_before = (BreachCode.TRADING_HALTED, BreachCode.REDUCING_ONLY)
    denied = [
        made
        for made in plan.decisions
        if made.decision == "denied" and not all(breach.startswith(told_before) for breach in made.breaches)
    ]
    if denied:
        told = "\n".join(f"{made.client_order_id}: {'; '.join(made.breaches)}" for made in denied)
        title = f"{len(denied)} of {len(plan.decisions)} orders of plan {plan.plan_id} were denied by the risk engine"
        key, now = f"denied:{plan.plan_id}", world.wall.now()
        world.notifier.notify(Alert(key, Severity.WARNING, title, told, now, runbook="orders-were-denied"))
