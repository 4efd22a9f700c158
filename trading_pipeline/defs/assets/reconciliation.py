"""Group fills: whether the broker's books agree with ours."""

from dataclasses import replace
from datetime import date, datetime
from typing import Any

import dagster as dg
import pandas as pd

from trading_pipeline.application import books
from trading_pipeline.application.execution import report
from trading_pipeline.application.planning import portfolio_from_frame
from trading_pipeline.application.reconciliation import observed, respond
from trading_pipeline.application.reconciliation_table import fills_from_frame, last_known, to_frame
from trading_pipeline.defs import metadata
from trading_pipeline.defs.assets.table_asset import table_asset
from trading_pipeline.defs.partitions import session_of
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import OutsideExecutionWindow
from trading_pipeline.domain.orders import Plan
from trading_pipeline.domain.portfolio import Portfolio
from trading_pipeline.domain.risk.trading_state import TradingMode

GROUP = "fills"
TABLE = "reconciliation"
# After a longer rest nothing is known of the account.
MOST_SESSIONS_BACK = 60


@table_asset(TABLE, GROUP, "alpaca")
def reconciliation(
    context: dg.AssetExecutionContext, fills: pd.DataFrame, portfolio_snapshot: pd.DataFrame
) -> dg.Output[pd.DataFrame]:
    """Compares positions, cash, orders and executions of the session with the broker's, to the share.

    Dividends, fees and the like explain cash. A difference that nothing
    explains, or an order that is not ours, moves the trading state to
    reducing and alerts. Materialising it again takes the broker's figures
    as the known ones.
    """
    world: TradingWorld = context.resources.world
    session = session_of(context.partition_key)
    before = portfolio_from_frame(portfolio_snapshot)
    theirs = observed(world.broker, world.clock, before.as_of, world.broker)
    _refuse_late(session, theirs.portfolio.as_of)
    found = books.reconcile(_ours(world, session, before, fills), theirs)
    _respond(world, found, session, "after placing")
    return metadata.materialised(context, to_frame(found, session), described(found, session))


def _ours(world: TradingWorld, session: date, before: Portfolio, fills: pd.DataFrame) -> books.Ours:
    """Return what we know of the session: what was recorded of its plan, and of liquidations beside it."""
    account = before.account_number
    begun = [plan for plan in world.plans.liquidations(account, session) if _was_begun(world, plan)]
    holder = world.journal.claimed(account, session)
    plans = [plan.plan_id for plan in begun] + ([holder] if holder else [])
    sold = [fill for plan in begun for fill in report(plan, world.venue).fills]
    journal = [line for plan_id in plans for line in world.journal.history(plan_id, account)]
    return books.Ours(before, (*fills_from_frame(fills), *sold), journal)


def _was_begun(world: TradingWorld, plan: Plan) -> bool:
    return world.journal.claimed(plan.account_number, plan.session, plan.liquidation) == plan.plan_id


def _refuse_late(session: date, now: datetime) -> None:
    end = sessions.open_of(sessions.next_session(session, 2))
    if now >= end:
        raise OutsideExecutionWindow(
            f"the account could be compared with the orders of session {session} until {end.isoformat()}, when those "
            f"of the next session began to change it; now is {now.isoformat()}"
        )


def before_planning(world: TradingWorld, session: date, account_number: str) -> dict[str, Any]:
    """Compare the broker's positions with what they were when last compared, act on it, and say what was found.

    Where nothing was ever compared, there is nothing to compare with, and nothing is wrong.
    """
    first, last = sessions.previous_session(session, MOST_SESSIONS_BACK), sessions.previous_session(session)
    known = last_known(world.tables.read(TABLE, first, last), account_number)
    if known is None:
        return {"compared": 0}
    found = books.compare_with_known(known, observed(world.broker, world.clock, known.portfolio.as_of))
    _respond(world, found, session, "before planning")
    return described(found, session)


def _respond(world: TradingWorld, found: books.Reconciliation, session: date, when: str) -> None:
    reduces = world.settings.monitoring.reduce_on_external_orders
    on_external = TradingMode.REDUCING if reduces else TradingMode.ACTIVE
    respond(found, session, when, world.trading_state, world.notifier, on_external)


def described(found: books.Reconciliation, session: date) -> dict[str, Any]:
    """Return what a person wants to see of a comparison: counts, and the differences."""
    differences = to_frame(replace(found, items=found.differences), session)
    return {
        "compared": len(found.items),
        "broken": len(found.breaks),
        "external": len(found.external),
        "differences": metadata.table(
            differences[["kind", "name", "ours", "theirs", "difference", "status", "explanation"]]
        ),
    }
