"""Of group research: every way of sizing, side by side over the same history of signals."""

import base64
from collections.abc import Mapping
from datetime import date
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd

from trading_pipeline.application.sharded_history import evaluations_of
from trading_pipeline.defs import metadata
from trading_pipeline.defs.assets.research import GROUP, KINDS, OWNERS, Range, fetched_bars
from trading_pipeline.defs.research import SIZING_COMPARISON
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain import sessions
from trading_pipeline.domain.bars import close_panel
from trading_pipeline.domain.errors import DataError
from trading_pipeline.domain.sizing.options import SizingOptions
from trading_pipeline.domain.sizing.panel import sizing_panel
from trading_pipeline.reporting.sizing_plot import SizingLine, sizing_plot
from trading_pipeline.research.sizing_comparison import (
    AccountRules,
    SizingComparison,
    allocations_of,
    compare,
    methods_of,
)


@dg.asset(
    name=SIZING_COMPARISON,
    group_name=GROUP,
    required_resource_keys={"world"},
    io_manager_key="tables",
    metadata=metadata.definition_metadata(SIZING_COMPARISON),
    owners=OWNERS,
    kinds=KINDS,
    code_version="1",
)
def sizing_comparison(
    context: dg.AssetExecutionContext, config: Range, signal_history: pd.DataFrame
) -> dg.Output[pd.DataFrame]:
    """What the account would have held and been worth by each way of sizing, whichever is on in the settings.

    The figures of the settings are taken, and each part alone, all together
    and none are compared. No fill, spread or fee is modelled: what a way
    of sizing trades less shows as turnover.
    """
    world: TradingWorld = context.resources.world
    rules = account_rules(world)
    history = config.of(signal_history)
    history = history[history["strategy"].isin(list(rules.shares))]
    if not history["symbol"].notna().any():
        raise DataError("no strategy with a share of capital was available in the range; choose later sessions")
    first, last = history["session"].min(), history["session"].max()
    chosen = world.settings.sizing.options(rules.safe_asset)
    found = _compared(context, history, rules, methods_of(chosen), chosen)
    context.set_data_version(dg.AssetKey(SIZING_COMPARISON), dg.DataVersion(metadata.content_hash(found.to_frame())))
    return dg.Output(
        found.to_frame(),
        metadata=metadata.shown(
            {
                "sizing": _drawing(found, chosen.volatility_sessions),
                "methods": metadata.table(found.summary_frame()),
                "weights": metadata.table(found.beside_each_other()),
                "on": ", ".join(sorted(chosen.parts)) or "none",
                "first": str(first),
                "last": str(last),
                "market": world.market,
            }
        ),
    )


def account_rules(world: TradingWorld) -> AccountRules:
    """Return how the strategies share the account, as the settings and the strategies say."""
    chosen, orders = world.settings.strategies, world.settings.orders
    drifting = {name: each.drift_threshold for name, each in world.strategies.items()}
    return AccountRules(
        shares=chosen.capital_shares,
        drift_thresholds={name: threshold for name, threshold in drifting.items() if threshold is not None},
        safe_asset=chosen.safe_asset,
        max_carried_sessions=chosen.max_carried_sessions,
        cool_down_sessions=chosen.breaker_cool_down_sessions,
        safe_assets=chosen.safe_assets,
        band=float(orders.band),
        equity=orders.model_equity,
    )


def _compared(
    context: dg.AssetExecutionContext,
    history: pd.DataFrame,
    rules: AccountRules,
    methods: Mapping[str, SizingOptions],
    chosen: SizingOptions,
) -> SizingComparison:
    first, last = history["session"].min(), history["session"].max()
    needed = max(options.sessions_needed for options in methods.values())
    symbols = sorted({*history["symbol"].dropna(), *rules.all_safe_assets})
    days = sessions.sessions_between(_before(first, needed), last)
    bars = fetched_bars(context, symbols, days[0], last)
    closes = close_panel(bars, symbols, sessions.sessions_between(first, last))
    allocations = allocations_of(evaluations_of(history), closes, rules)
    return compare(allocations, sizing_panel(bars, symbols, days, chosen), methods, rules)


def _before(first: date, needed: int) -> date:
    """Return the session from which on ``first`` has the sessions needed, as far as the calendar goes back."""
    return sessions.sessions_between(sessions.FIRST_DATE, first)[-needed:][0]


def _drawing(found: SizingComparison, window: int) -> dg.MetadataValue[Any]:
    lines = [
        SizingLine(
            run.method.replace("_", " "),
            run.value,
            run.rolling_volatility(window),
            np.asarray(run.weights.sum(axis=1), dtype=np.float64),
            {
                "growth": run.growth,
                "volatility": run.volatility,
                "largest fall": run.largest_fall,
                "turnover a year": run.turnover_a_year,
            },
        )
        for run in found.runs
    ]
    svg = sizing_plot(found.sessions, lines)
    return dg.MetadataValue.md(f"![sizing](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})")
