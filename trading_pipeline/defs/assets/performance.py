"""Group fills: what the account earned."""

import base64
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg
import pandas as pd

from trading_pipeline.application import performance as earned
from trading_pipeline.application.execution import report
from trading_pipeline.defs import metadata
from trading_pipeline.defs.assets.fills import GROUP
from trading_pipeline.defs.assets.table_asset import table_asset
from trading_pipeline.defs.partitions import session_of
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import DataError
from trading_pipeline.domain.fills import Fill
from trading_pipeline.reporting.performance_plot import drawdown_drawing, equity_drawing, weights_drawing

PERFORMANCE = "performance"
SHOWN = ["session", "equity", "profit", "realised", "unrealised_change", "cash_movements", "drawdown"]
MOST_SHOWN = 20


@table_asset(PERFORMANCE, GROUP, deps=["fills"])
def performance(context: dg.AssetExecutionContext, portfolio_snapshot: pd.DataFrame) -> dg.Output[pd.DataFrame]:
    """What the account was worth at the session's close, what it gained since the one before, and its drawdown.

    From every snapshot of the account up to the session and the executions
    between them: what sales realised (first in, first out), what is open, and
    what came or went without an execution. The orders of the session itself
    are executed in the next one, and are in its row.
    """
    world: TradingWorld = context.resources.world
    session = session_of(context.partition_key)
    account = earned.account_of(portfolio_snapshot)
    if account is None:
        raise DataError(
            f"the snapshot of session {session} is of a model portfolio, which earns nothing; materialise "
            f"portfolio_snapshot while the session's orders can still be placed"
        )
    snapshots = world.tables.read("portfolio_snapshot", last=session)
    valuations = earned.valuations_of(snapshots, account)
    executions = earned.executions_by_session(world.tables.read("fills", last=session))
    rows = earned.performance(valuations, executions)
    sold = _liquidated(world, account, earned.gaps_with_moved_shares(rows))
    if sold:
        rows = earned.performance(valuations, earned.joined(executions, sold))
    history = earned.to_frame(rows, valuations)
    frame = history[history["session"] == session].reset_index(drop=True)
    return metadata.materialised(context, frame, _told(history, earned.weights_over_time(snapshots, account), world))


def _liquidated(world: TradingWorld, account: str, gaps: Sequence[tuple[date, date]]) -> Mapping[date, Sequence[Fill]]:
    """Return the executions of emergency liquidations, which no table of the trading graph holds."""
    found: dict[date, list[Fill]] = {}
    for before, at in gaps:
        for decided in sessions.sessions_between(before, sessions.previous_session(at)):
            for plan in world.plans.liquidations(account, decided):
                for fill in report(plan, world.venue).fills:
                    found.setdefault(plan.execution_session, []).append(fill)
    return found


def _told(history: pd.DataFrame, weights: pd.DataFrame, world: TradingWorld) -> Mapping[str, Any]:
    last = history.iloc[-1]
    known = {name: last[name] for name in ("profit", "realised", "unrealised_change") if last[name] is not None}
    figures = {name: float(value) for name, value in known.items()}
    fractions = {name: float(last[name]) for name in ("unit_value", "drawdown") if pd.notna(last[name])}
    return {
        "equity": float(last["equity"]),
        "unrealised": float(last["unrealised"]),
        "realised_total": float(last["realised_total"]),
        **figures,
        **fractions,
        "equity_curve": _picture("equity", equity_drawing(history)),
        "drawdown_curve": _picture("drawdown", drawdown_drawing(history)),
        "weights_over_time": _picture("weights", weights_drawing(weights)),
        "sessions": metadata.table(history[SHOWN].iloc[::-1].head(MOST_SHOWN)),
        "market": world.market,
    }


def _picture(name: str, svg: str) -> dg.MetadataValue[Any]:
    return dg.MetadataValue.md(f"![{name}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})")
