"""Of group research: how the value-at-risk models fared on what every strategy held."""

import base64
from typing import Any

import dagster as dg
import pandas as pd

from trading_pipeline.application.sharded_history import evaluations_of
from trading_pipeline.defs import metadata
from trading_pipeline.defs.assets.research import GROUP, KINDS, OWNERS, Range, fetched_bars
from trading_pipeline.defs.research import TAIL_BACKTEST
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain import bars as bars_domain
from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import DataError
from trading_pipeline.reporting.tail_backtest_plot import ModelLine, StrategyPanel, tail_backtest_plot
from trading_pipeline.research.tail_backtest import (
    QUICK_MODELS,
    TailBacktest,
    TailOptions,
    TailRun,
    ValueAtRiskModel,
)
from trading_pipeline.research.tail_backtest import tail_backtest as backtest_of

# The drawing lies in Dagster's record; each strategy is some tens of kilobytes of it.
MOST_DRAWN = 10


class TailRange(Range):
    """Which sessions are tested, and whether GARCH is: it takes a tenth of a second per strategy and session."""

    garch: bool = False

    @property
    def models(self) -> tuple[ValueAtRiskModel, ...]:
        """The models that are tested."""
        return tuple(ValueAtRiskModel) if self.garch else QUICK_MODELS


@dg.asset(
    name=TAIL_BACKTEST,
    group_name=GROUP,
    required_resource_keys={"world"},
    io_manager_key="tables",
    metadata=metadata.definition_metadata(TAIL_BACKTEST),
    owners=OWNERS,
    kinds=KINDS,
    code_version="1",
)
def tail_backtest(
    context: dg.AssetExecutionContext, config: TailRange, signal_history: pd.DataFrame
) -> dg.Output[pd.DataFrame]:
    """How often the strategies lost more than each value-at-risk model had said the session before.

    With the tests of Kupiec and Christoffersen and the zone of the Basel
    traffic light. Sessions without a figure are counted, and are no passes.
    """
    world: TradingWorld = context.resources.world
    history = config.of(signal_history)
    options = TailOptions(models=config.models)
    first, last = history["session"].min(), history["session"].max()
    held = sorted(set(history["symbol"].dropna()))
    tested = sessions.sessions_between(first, last)
    if not held or len(tested) <= 1:
        raise DataError(f"no strategy held anything over two sessions from {first} to {last}; choose a longer range")
    before = sessions.sessions_between(sessions.FIRST_DATE, first)[-options.sessions_before - 1 : -1]
    days = [*before, *tested]
    closes = bars_domain.close_panel(fetched_bars(context, held, days[0], last), held, days)
    found = backtest_of(evaluations_of(history), closes, first, options)
    frame = found.to_frame()
    return metadata.materialised(context, frame, _told(found, frame, world.market))


def _told(found: TailBacktest, frame: pd.DataFrame, market: str) -> dict[str, Any]:
    return {
        "tail_backtest": _drawing(found),
        "first": str(found.sessions[0]),
        "last": str(found.sessions[-1]),
        "models": metadata.table(frame.drop(columns=["session", "first"])),
        "not_green": int((frame["zone"] != "green").sum()),
        "missing": int(frame["missing"].sum()),
        "market": market,
    }


def _drawing(found: TailBacktest) -> dg.MetadataValue[Any]:
    if len(found.losses) > MOST_DRAWN:
        return dg.MetadataValue.text(f"{len(found.losses)} strategies are too many to draw; at most {MOST_DRAWN} are")
    panels = [
        StrategyPanel(name, losses, [_line(run) for run in found.of(name)]) for name, losses in found.losses.items()
    ]
    svg = tail_backtest_plot(found.sessions, panels, found.options.confidence)
    return dg.MetadataValue.md(f"![tail_backtest](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})")


def _line(run: TailRun) -> ModelLine:
    result = run.result
    return ModelLine(
        run.model.value,
        run.value_at_risk,
        result.expected_exceptions,
        result.kupiec.p_value,
        result.traffic_light.zone.value,
    )
