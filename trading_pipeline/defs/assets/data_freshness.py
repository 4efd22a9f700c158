"""Of group market_data: how old the newest bar of each symbol is, and whether anything may be decided from them."""

import base64
from collections.abc import Mapping
from datetime import date
from typing import Any

import dagster as dg
import pandas as pd

from trading_pipeline.application.feed_alarm import tell_of_dead_feed, tell_of_recovery
from trading_pipeline.defs import metadata
from trading_pipeline.defs.assets.bars import GROUP
from trading_pipeline.defs.assets.table_asset import table_asset
from trading_pipeline.defs.io_manager import SESSIONS
from trading_pipeline.defs.partitions import session_of
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain.errors import DependencyUnavailable
from trading_pipeline.domain.freshness import (
    FeedFreshness,
    SymbolFreshness,
    SymbolStatus,
    feed_freshness,
    to_frame,
)
from trading_pipeline.domain.strategies import tree
from trading_pipeline.reporting.data_age_plot import AgeBar, data_age_plot

DATA_FRESHNESS = "data_freshness"
YEAR = 260
"""Sessions that are looked back over: a symbol without a bar in all of them counts as never seen."""

_SHOWN = ["symbol", "status", "newest_session", "age_sessions", "close_unchanged_sessions", "read_by", "reason"]


@table_asset(DATA_FRESHNESS, GROUP, ins={"bars": dg.AssetIn(metadata={SESSIONS: YEAR})})
def data_freshness(context: dg.AssetExecutionContext, bars: pd.DataFrame) -> dg.Output[pd.DataFrame]:
    """The age of each symbol's newest bar in sessions of the exchange: fresh, stale, frozen, never seen, listed later.

    Strategies read what is not fresh as missing, and no order buys it. Where
    too much of what they read is not fresh, or no close and no volume changed,
    the check ``the_feed_is_usable`` fails, nothing is decided, and a person is
    told. Rules are in section ``freshness`` of the settings.
    """
    world: TradingWorld = context.resources.world
    session = session_of(context.partition_key)
    feed = _judged(world, bars, session)
    _measure(world, feed)
    _tell(context, world, feed)
    frame = to_frame(feed)
    return metadata.materialised(context, frame, {**_figures(feed), **_pictures(feed, frame), "market": world.market})


def _judged(world: TradingWorld, bars: pd.DataFrame, session: date) -> FeedFreshness:
    rules, read_by = world.settings.freshness.rules, readers(world)
    feed = feed_freshness(bars, session, world.symbols, read_by, rules)
    unseen = [each.symbol for each in feed.symbols if each.status is SymbolStatus.NEVER_SEEN]
    later = _listed_later(world, unseen, session)
    return feed_freshness(bars, session, world.symbols, read_by, rules, later) if later else feed


def readers(world: TradingWorld) -> Mapping[str, list[str]]:
    """Return by symbol the strategies that read or may hold it; what is a safe asset alone is read by nobody."""
    wanted = {name: set(tree.symbols(strategy.tree)) for name, strategy in world.strategies.items()}
    return {symbol: [name for name, symbols in wanted.items() if symbol in symbols] for symbol in world.symbols}


def _listed_later(world: TradingWorld, unseen: list[str], session: date) -> frozenset[str]:
    """Return which of the symbols have bars after the session only: known where history is decided again."""
    if not unseen:
        return frozenset()
    stored = world.tables.read("bars")
    known = stored[stored["symbol"].isin(unseen)]
    return frozenset(known.loc[known["session"] > session, "symbol"]) - frozenset(
        known.loc[known["session"] <= session, "symbol"]
    )


def _measure(world: TradingWorld, feed: FeedFreshness) -> None:
    for each in feed.symbols:
        if each.age_sessions is not None:
            world.metrics.gauge("data_age_sessions", each.age_sessions, symbol=each.symbol)
    world.metrics.gauge("data_stale_symbols", len(feed.unusable))


def _tell(context: dg.AssetExecutionContext, world: TradingWorld, feed: FeedFreshness) -> None:
    try:
        if feed.remedy:
            context.log.error(feed.remedy)
            tell_of_dead_feed(world.notifier, world.clock, feed.session, feed.remedy)
        else:
            tell_of_recovery(world.notifier, world.clock, feed.session)
    except DependencyUnavailable as unread:
        # What is decided does not depend on who was told before.
        context.log.warning(str(unread))


def _figures(feed: FeedFreshness) -> Mapping[str, Any]:
    """Return the numbers of the session, which Dagster plots over the sessions; an age that nothing has is left out."""
    counts = {status: sum(each.status is status for each in feed.symbols) for status in SymbolStatus}
    age = {} if feed.oldest_age is None else {"oldest_age_sessions": feed.oldest_age}
    return {
        **age,
        "share_stale": feed.stale_share,
        "stale_symbols": len(feed.unusable),
        **{f"{status.value.replace(' ', '_')}_symbols": n for status, n in counts.items() if status != "stale"},
        "feed": feed.status.value,
        "what_to_do": feed.remedy or "nothing",
    }


def _pictures(feed: FeedFreshness, frame: pd.DataFrame) -> Mapping[str, dg.MetadataValue[Any]]:
    svg = data_age_plot(feed.session, [_bar(each) for each in feed.symbols])
    drawing = f"![data age](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"
    worst_first = frame.assign(is_fresh=frame["status"] == SymbolStatus.FRESH).sort_values(
        ["is_fresh", "age_sessions", "close_unchanged_sessions", "symbol"],
        ascending=[True, False, False, True],
        na_position="first",
    )
    return {"data_age": dg.MetadataValue.md(drawing), "ages": metadata.table(worst_first[_SHOWN])}


def _bar(each: SymbolFreshness) -> AgeBar:
    return AgeBar(each.symbol, each.status.value, each.age_sessions, each.reason)
