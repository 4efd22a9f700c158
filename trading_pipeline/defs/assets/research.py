"""Group research: what every strategy held over history, and how different the strategies were.

The history is computed by one graph of steps, whatever runs them: the years
are asked once, bars are fetched once, and every shard of strategies is a step
of its own.
"""

import base64
import os
import platform
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd

from dbt_like_checks.contract import contract
from dbt_like_checks.verification import BrokenPromise, verify
from trading_pipeline.application.decision import sessions_needed
from trading_pipeline.application.sharded_history import coverage, evaluations_of, history_of, shards, size_of
from trading_pipeline.defs import metadata
from trading_pipeline.defs.partitions import days_of, year_partitions
from trading_pipeline.defs.research import EXCHANGE, SIGNAL_HISTORY, STRATEGY_DIVERSITY
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain import bars as bars_domain
from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import BrokenContract, DataError, InvalidInput
from trading_pipeline.domain.strategies import Strategy, tree
from trading_pipeline.reporting.diversity_plot import diversity_plot
from trading_pipeline.research.diversity import Diversity, diversity

GROUP = "research"
OWNERS = ["team:trading"]
KINDS = {"pandas", "deltalake"}
# The drawing lies in Dagster's record and grows with the square of the strategies.
MOST_DRAWN = 30


def research_assets() -> Sequence[dg.AssetsDefinition]:
    """Return the assets of the research graph, upstream first."""
    # It takes from this module what all assets of the group share.
    from trading_pipeline.defs.assets.sizing_comparison import sizing_comparison

    return [signal_history, strategy_diversity, sizing_comparison]


@dg.op(
    out={"asked": dg.Out(io_manager_key=EXCHANGE), "dealt": dg.DynamicOut(io_manager_key=EXCHANGE)},
    required_resource_keys={"world"},
)
def history_shards(
    context: dg.OpExecutionContext,
) -> Iterator[dg.Output[pd.DataFrame] | dg.DynamicOutput[pd.DataFrame]]:
    """Deals the strategies to shards, and says from which session to which they are asked."""
    world: TradingWorld = context.resources.world
    keys = context.partition_key_range
    first, last = _asked(days_of(keys.start)[0], days_of(keys.end)[1], world)
    dealt = shards(
        {name: size_of(each) for name, each in world.strategies.items()}, world.settings.research.shard_count
    )
    rows = [(name, shard, first, last) for shard, names in enumerate(dealt) for name in names]
    asked = pd.DataFrame(rows, columns=["strategy", "shard", "first", "last"])
    for shard, names in enumerate(dealt):
        context.log.info(f"shard {shard}: {', '.join(names)}")
        yield dg.DynamicOutput(asked[asked["shard"] == shard], output_name="dealt", mapping_key=str(shard))
    yield dg.Output(asked, output_name="asked")


def _asked(first: date, last: date, world: TradingWorld) -> tuple[date, date]:
    completed = sessions.last_completed_session(world.clock.now())
    days = sessions.sessions_between(first, min(last, completed))
    if not days:
        raise DataError(
            f"no session from {first} to {last} is over, the newest that is is {completed}; choose earlier years"
        )
    return days[0], days[-1]


@dg.op(out=dg.Out(io_manager_key=EXCHANGE), required_resource_keys={"world"})
def history_bars(context: dg.OpExecutionContext, asked: pd.DataFrame) -> pd.DataFrame:
    """Fetches every symbol that the strategies read, over the years asked and the look-back before them."""
    world: TradingWorld = context.resources.world
    strategies = _named(world, asked["strategy"])
    symbols = sorted({symbol for strategy in strategies for symbol in tree.symbols(strategy.tree)})
    first, last = asked["first"].min(), asked["last"].max()
    before = sessions.sessions_between(sessions.FIRST_DATE, first)[-sessions_needed(strategies) :]
    found = fetched_bars(context, symbols, before[0], last)
    without = sorted(set(symbols) - set(found["symbol"]))
    told = {"symbols": len(symbols), "symbols_without_bars": ", ".join(without) or "none"}
    context.add_output_metadata(metadata.shown(told))
    return found


def fetched_bars(
    context: dg.OpExecutionContext | dg.AssetExecutionContext, symbols: Sequence[str], first: date, last: date
) -> pd.DataFrame:
    """Fetch bars in one basis of adjustment; rows that are not sound go to the quarantine, with the reason.

    Raises:
        DataError: there is no bar at all.
    """
    world: TradingWorld = context.resources.world
    context.log.info(f"asking for bars of {len(symbols)} symbols, {first} to {last}")
    good, refused = bars_domain.quarantine(world.market_data.daily_bars(symbols, first, last))
    if len(refused):
        context.log.warning(f"{len(refused)} bars are not sound and were left out: {bars_domain.described(refused)}")
        world.tables.upsert("bars_quarantine", refused.assign(quarantined_at=pd.Timestamp(world.clock.now())))
    if good.empty:
        raise DataError(
            f"there are no bars of {len(symbols)} symbols from {first} to {last}; choose years that the market data has"
        )
    context.log.info(f"{len(good)} bars, {good['session'].min()} to {good['session'].max()}")
    return good


@dg.op(out=dg.Out(io_manager_key=EXCHANGE), required_resource_keys={"world"})
def shard_history(context: dg.OpExecutionContext, bars: pd.DataFrame, shard: pd.DataFrame) -> pd.DataFrame:
    """Evaluates the strategies of one shard over all sessions at once."""
    world: TradingWorld = context.resources.world
    strategies = _named(world, shard["strategy"])
    history = history_of(strategies, bars, shard["first"].min(), shard["last"].max(), world.smoothing)
    context.add_output_metadata(
        {
            "strategies": ", ".join(strategy.name for strategy in strategies),
            "rows": len(history),
            "process": os.getpid(),
            "machine": platform.node(),
        }
    )
    return history


def _named(world: TradingWorld, names: Sequence[str] | pd.Series) -> list[Strategy]:
    unknown = sorted(set(names) - set(world.strategies))
    if unknown:
        raise InvalidInput(
            f"{', '.join(unknown)} is not known in this process; every machine must see the same strategies.folder"
        )
    return [world.strategies[name] for name in names]


@dg.op(out=dg.Out(io_manager_key="tables"), required_resource_keys={"world"}, code_version="1")
def history_table(
    context: dg.OpExecutionContext, asked: pd.DataFrame, parts: list[pd.DataFrame]
) -> dg.Output[pd.DataFrame]:
    """Puts the shards together, and refuses to write what breaks the contract.

    A run over a range of years has no verdict for each of them, so it is
    verified here, before the table is touched.
    """
    world: TradingWorld = context.resources.world
    history = pd.concat(parts, ignore_index=True).sort_values(["session", "strategy", "symbol"], ignore_index=True)
    try:
        verify(history, contract(SIGNAL_HISTORY))
    except BrokenPromise as broken:
        raise BrokenContract(str(broken)) from broken
    first, last = asked["first"].min(), asked["last"].max()
    covered = coverage(history, sorted(asked["strategy"]), first, last)
    return _materialised(
        context,
        SIGNAL_HISTORY,
        history,
        {
            "first": str(first),
            "last": str(last),
            "strategies": len(asked),
            "shards": int(asked["shard"].nunique()),
            "coverage": metadata.table(covered),
            "sessions_without_bars": int(covered["without_bars"].sum()),
            "undecided_sessions": int(covered["undecided"].sum()),
            "market": world.market,
        },
    )


def _materialised(
    context: dg.OpExecutionContext | dg.AssetExecutionContext, name: str, frame: pd.DataFrame, told: dict[str, Any]
) -> dg.Output[pd.DataFrame]:
    context.set_data_version(dg.AssetKey(name), dg.DataVersion(metadata.content_hash(frame)))
    return dg.Output(frame, metadata=metadata.shown(told))


@dg.graph_asset(
    name=SIGNAL_HISTORY,
    group_name=GROUP,
    partitions_def=year_partitions(),
    backfill_policy=dg.BackfillPolicy.single_run(),
    metadata=metadata.definition_metadata(SIGNAL_HISTORY),
    owners=OWNERS,
    kinds=KINDS,
)
def signal_history() -> pd.DataFrame:
    """What every strategy held after each session of a year; any range of years is one run and one fetch of bars.

    Its steps run where the setting ``research.executor`` says. Of a year that
    is not over there are the sessions so far. Sessions before the bars of a
    strategy begin have no row, and are counted in the metadata.
    """
    asked, dealt = history_shards()
    bars = history_bars(asked)
    parts = dealt.map(lambda shard: shard_history(bars, shard)).collect()
    table: pd.DataFrame = history_table(asked, parts)
    return table


class Range(dg.Config):
    """Which sessions are compared: ISO dates, both included; without one, as far as the history goes."""

    first: str | None = None
    last: str | None = None

    def of(self, history: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of the range.

        Raises:
            InvalidInput: a date cannot be read, or the history has no session in the range.
        """
        try:
            first, last = (
                date.fromisoformat(self.first or "0001-01-01"),
                date.fromisoformat(self.last or "9999-12-31"),
            )
        except ValueError as error:
            raise InvalidInput(f"a range has dates such as 2026-07-31: {error}") from None
        rows = history[history["session"].between(first, last)]
        if rows.empty:
            raise InvalidInput(
                f"signal_history has no session from {first} to {last}; it holds "
                f"{history['session'].min()} to {history['session'].max()}"
            )
        return rows


@dg.asset(
    name=STRATEGY_DIVERSITY,
    group_name=GROUP,
    required_resource_keys={"world"},
    io_manager_key="tables",
    metadata=metadata.definition_metadata(STRATEGY_DIVERSITY),
    owners=OWNERS,
    kinds=KINDS,
    code_version="1",
)
def strategy_diversity(
    context: dg.AssetExecutionContext, config: Range, signal_history: pd.DataFrame
) -> dg.Output[pd.DataFrame]:
    """How different each two strategies were: correlation of returns and of signals, overlap of holdings.

    The effective number says how many uncorrelated strategies would be as
    diverse as all of them.
    """
    world: TradingWorld = context.resources.world
    history = config.of(signal_history)
    first, last = history["session"].min(), history["session"].max()
    held = sorted(set(history["symbol"].dropna()))
    if not held:
        raise DataError(f"no strategy was available from {first} to {last}; choose later sessions")
    closes = bars_domain.close_panel(
        fetched_bars(context, held, first, last), held, sessions.sessions_between(first, last)
    )
    found = diversity(evaluations_of(history), closes)
    frame = found.to_frame().assign(session=last, first=first, effective_number=found.effective_number)
    return _materialised(
        context,
        STRATEGY_DIVERSITY,
        frame,
        {
            "diversity": _drawing(found),
            "first": str(first),
            "last": str(last),
            "effective_number": "undefined" if np.isnan(found.effective_number) else found.effective_number,
            "pairs": metadata.table(found.to_frame()),
            "strategies": metadata.table(found.strategies_frame()),
            "market": world.market,
        },
    )


def _drawing(found: Diversity) -> dg.MetadataValue[Any]:
    if len(found.names) > MOST_DRAWN:
        return dg.MetadataValue.text(f"{len(found.names)} strategies are too many to draw; at most {MOST_DRAWN} are")
    svg = diversity_plot(
        found.names,
        found.return_correlation,
        found.signal_correlation,
        found.overlap,
        found.effective_number,
        found.period,
    )
    return dg.MetadataValue.md(f"![diversity](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})")
