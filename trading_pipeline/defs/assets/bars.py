"""Group market_data: what may be traded, and the bars of the session."""

from contextlib import suppress
from datetime import date
from typing import Any

import dagster as dg
import pandas as pd

from trading_pipeline.application.feed_alarm import tell_of_dead_feed
from trading_pipeline.application.ingestion import KEY, Ingested, ingest, silence
from trading_pipeline.defs import metadata
from trading_pipeline.defs.assets.table_asset import table_asset
from trading_pipeline.defs.io_manager import UPSERT, VERSION_BEFORE, WRITE
from trading_pipeline.defs.partitions import session_of
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import DataError, DependencyUnavailable

GROUP = "market_data"


@table_asset("asset_catalog", GROUP, "alpaca")
def asset_catalog(context: dg.AssetExecutionContext) -> dg.Output[pd.DataFrame]:
    """What the broker lets us do with each symbol that the strategies read, and what kind of fund it is."""
    world: TradingWorld = context.resources.world
    frame = catalog_frame(world, context.partition_key)
    return metadata.materialised(
        context,
        frame,
        {
            "tradable": int(frame["tradable"].sum()),
            "unknown_to_the_broker": ", ".join(sorted(set(world.symbols) - set(frame["symbol"]))) or "none",
        },
    )


def catalog_frame(world: TradingWorld, partition_key: str) -> pd.DataFrame:
    """Return the table ``asset_catalog``: one row for each of our symbols that the broker knows."""
    known = world.instruments
    rows = [
        {
            "session": session_of(partition_key),
            "symbol": asset.symbol,
            "name": asset.name,
            "exchange": asset.exchange,
            "asset_class": known[asset.symbol].asset_class.value if asset.symbol in known else None,
            "leverage": float(known[asset.symbol].leverage) if asset.symbol in known else None,
            "tradable": asset.tradable,
            "fractionable": asset.fractionable,
        }
        for asset in world.broker.assets(world.symbols).values()
    ]
    columns = [column.name for column in metadata.column_schema("asset_catalog").columns]
    return pd.DataFrame(rows, columns=columns).sort_values("symbol", ignore_index=True)


@table_asset("bars", GROUP, "alpaca", metadata={WRITE: UPSERT})
def bars(context: dg.AssetExecutionContext) -> dg.Output[pd.DataFrame]:
    """Daily bars through the session, adjusted for splits and dividends; completed sessions only.

    The first time the whole look-back is fetched, later the new session and
    an overlap. Where the overlap was restated, the symbol's history is
    fetched again.
    """
    world: TradingWorld = context.resources.world
    session = session_of(context.partition_key)
    version = world.tables.version("bars")
    stored = world.tables.read("bars", version=version)
    begun = world.wall.elapsed()
    ingested = ingest(world.market_data, stored, session, world.symbols, world.history, world.clock.now())
    fetch_seconds = world.wall.elapsed() - begun
    world.metrics.observe("fetch_seconds", fetch_seconds, what="bars")
    _quarantine(ingested.refused, world)
    _refuse_silence(ingested, world, session)
    _observe_restatements(context, ingested.restated_sessions, ingested.restated)
    return metadata.materialised(
        context,
        ingested.changes,
        {
            "symbols": len(world.symbols) - len(ingested.missing),
            "missing_symbols": ", ".join(ingested.missing) or "none",
            "restated_symbols": ", ".join(ingested.restated) or "none",
            "quarantined_rows": len(ingested.refused),
            "fetch_seconds": fetch_seconds,
            "market": world.market,
            VERSION_BEFORE: -1 if version is None else version,
        },
        _behind(session, stored, ingested.changes, world.history.look_back),
    )


def _behind(session: date, stored: pd.DataFrame, changes: pd.DataFrame, look_back: int) -> pd.DataFrame:
    # Fetching again what has not changed must not make everything downstream look stale.
    known = pd.concat([stored, changes]).drop_duplicates(KEY, keep="last")
    first = sessions.previous_session(session, look_back)
    return known[(known["session"] >= first) & (known["session"] <= session)].sort_values(KEY, ignore_index=True)


def _refuse_silence(ingested: Ingested, world: TradingWorld, session: date) -> None:
    silent = silence(ingested, world.symbols, session)
    if silent:
        # Without a row of the session no asset downstream is reached that could tell of it.
        with suppress(DependencyUnavailable):
            tell_of_dead_feed(world.notifier, world.clock, session, silent)
        raise DataError(silent)


def _quarantine(refused: pd.DataFrame, world: TradingWorld) -> None:
    if len(refused):
        stamped = refused.assign(quarantined_at=pd.Timestamp(world.clock.now()))
        world.tables.upsert("bars_quarantine", stamped)


def _observe_restatements(context: dg.AssetExecutionContext, touched: Any, symbols: tuple[str, ...]) -> None:  # noqa: ANN401
    # Only partitions that exist can be told of it; older sessions of the look-back were never materialised.
    there = context.instance.get_materialized_partitions(context.asset_key) if touched else set()
    for session in touched:
        if str(session) in there:
            restated = {"restated_symbols": ", ".join(symbols)}
            context.log_event(
                dg.AssetObservation(context.asset_key, partition=str(session), metadata=metadata.shown(restated))
            )
