"""Of group risk: every measure of the account against its limit, once the approved orders have filled."""

import base64
import math
from typing import Any

import dagster as dg
import pandas as pd

from trading_pipeline.adapters.storage.objects import FileObjects
from trading_pipeline.adapters.storage.risk_watch import StoredRiskWatch
from trading_pipeline.application import planning, risk_inputs
from trading_pipeline.application.risk_inputs import HISTORY_SESSIONS
from trading_pipeline.application.risk_report import codes_counted, counted_frame, report_frame
from trading_pipeline.application.symbol_facts import tradability_of
from trading_pipeline.defs import metadata
from trading_pipeline.defs.assets.table_asset import table_asset
from trading_pipeline.defs.io_manager import SESSIONS
from trading_pipeline.defs.partitions import session_of
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain import allocation as allocations
from trading_pipeline.domain import sessions
from trading_pipeline.domain.risk.profit_trend import TrendLevels
from trading_pipeline.domain.risk.report import COMPONENT, EXPECTED_SHORTFALL, VALUE_AT_RISK, account_measures
from trading_pipeline.domain.risk.report_losses import loss_measures
from trading_pipeline.domain.risk.state import RiskState
from trading_pipeline.domain.risk.trading_state import ACTIVE
from trading_pipeline.domain.risk.watch_state import WatchState
from trading_pipeline.reporting.risk_report_plot import FigureBar, FigurePanel, LimitBar, risk_report_plot

NAME = "risk_report"
GROUP = "risk"
MOST_BARS = 40
_PANELS = (VALUE_AT_RISK, EXPECTED_SHORTFALL, COMPONENT)
_TREND = TrendLevels()


@table_asset(NAME, GROUP, ins={"bars": dg.AssetIn(metadata={SESSIONS: HISTORY_SESSIONS})})
def risk_report(
    context: dg.AssetExecutionContext,
    approved_orders: pd.DataFrame,
    portfolio_snapshot: pd.DataFrame,
    allocation: pd.DataFrame,
    asset_catalog: pd.DataFrame,
    bars: pd.DataFrame,
) -> dg.Output[pd.DataFrame]:
    """Every measure of the account against its limit, once the approved orders of the session have filled.

    Weights, leverage, concentration, exposures, value at risk and expected
    shortfall by every model, the orders themselves, and, of sessions that
    ``risk_watch`` looked at, drawdowns and the trend of the profit. It decides
    nothing: orders may leave without it.
    """
    world: TradingWorld = context.resources.world
    session = session_of(context.partition_key)
    state = _state(world, approved_orders, portfolio_snapshot, allocation, asset_catalog, bars)
    orders = planning.approved_intents_from_frame(approved_orders)
    watched = _watched(world, portfolio_snapshot)
    measures = (
        *account_measures(state, orders, world.limits, with_garch=True),
        *loss_measures(watched.drawdown, session, world.settings.drawdown.limits, _TREND),
    )
    frame = report_frame(measures, session)
    counted = counted_frame(codes_counted(approved_orders))
    return metadata.materialised(context, frame, _told(frame, counted, approved_orders, world))


def _state(
    world: TradingWorld,
    approved_orders: pd.DataFrame,
    snapshot: pd.DataFrame,
    allocation: pd.DataFrame,
    catalog: pd.DataFrame,
    bars: pd.DataFrame,
) -> RiskState:
    # The account as the tables say: what the broker says now is of another moment, and of no past session at all.
    portfolio, session = planning.portfolio_from_frame(snapshot), snapshot["session"].iloc[0]
    symbols = frozenset(approved_orders["symbol"])
    question = risk_inputs.RiskQuestion(portfolio, symbols, sessions.next_session(session), portfolio.as_of)
    facts = risk_inputs.KnownFacts(tradability_of(catalog), world.instruments, bars)
    return risk_inputs.modelled_state(question, allocations.from_frame(allocation), ACTIVE, facts)


def _watched(world: TradingWorld, snapshot: pd.DataFrame) -> WatchState:
    """Return what the watch remembers of the account of the snapshot; of another account it remembers nothing."""
    state = StoredRiskWatch(FileObjects(world.home.objects)).read().state
    is_ours = state.account_number == snapshot["account_number"].iloc[0]
    return state if is_ours else WatchState()


def _told(
    frame: pd.DataFrame, counted: pd.DataFrame, approved_orders: pd.DataFrame, world: TradingWorld
) -> dict[str, Any]:
    limited = frame[frame["limit"].notna()]
    broken = limited[limited["share_of_limit"] > 1]
    return {
        "risk": _drawing(frame),
        "limits": metadata.table(_by_share(limited).drop(columns="session")),
        "broken": metadata.table(broken.drop(columns="session")),
        "limits_broken": len(broken),
        "unknown": ", ".join(sorted(set(frame.loc[frame["value"].isna(), "measure"]))) or "none",
        "decisions": {name: int((approved_orders["decision"] == name).sum()) for name in _DECISIONS},
        "decisions_by_code": metadata.table(counted),
        "family": world.settings.risk.family.value,
        "market": world.market,
    }


_DECISIONS = ("approved", "reduced", "denied")


def _by_share(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sort_values("share_of_limit", ascending=False, kind="stable", na_position="first")


def _drawing(frame: pd.DataFrame) -> dg.MetadataValue[Any]:
    # What is not known is told in a list of its own, and comes last here.
    limited = frame[frame["limit"].notna()]
    limited = limited.sort_values("share_of_limit", ascending=False, kind="stable").head(MOST_BARS)
    bars = [
        LimitBar(f"{row['measure']}: {row['part']}", row["value"], row["limit"], row["share_of_limit"])
        for row in limited.to_dict("records")
    ]
    panels = [FigurePanel(name, _figures(frame[frame["measure"] == name])) for name in _PANELS]
    svg = risk_report_plot(frame["session"].iloc[0], bars, panels)
    return dg.MetadataValue.md(f"![risk](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})")


def _figures(rows: pd.DataFrame) -> list[FigureBar]:
    return [FigureBar(row["part"], row["value"]) for row in rows.to_dict("records") if not math.isnan(row["value"])]
