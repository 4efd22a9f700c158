"""Group allocation: the account's target, after the strategies are consolidated."""

from collections.abc import Mapping
from datetime import date

import dagster as dg
import pandas as pd

from trading_pipeline.application.decision import Consolidation, consolidated
from trading_pipeline.defs import metadata
from trading_pipeline.defs.assets.table_asset import table_asset
from trading_pipeline.defs.io_manager import SESSIONS, VERSION_BEFORE
from trading_pipeline.defs.partitions import session_of
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.defs.signal_names import signal_name
from trading_pipeline.domain import sessions
from trading_pipeline.domain.allocation import to_frame
from trading_pipeline.domain.strategies import Strategy
from trading_pipeline.ports import Alert, Severity

GROUP = "allocation"
# After a longer pause nothing is known of what a strategy held.
REMEMBERED_SESSIONS = 60
BARS_SINCE = dg.AssetIn(metadata={SESSIONS: REMEMBERED_SESSIONS + 1})


def allocation_asset(strategies: Mapping[str, Strategy]) -> dg.AssetsDefinition:
    """Return the asset that holds the target of an account that ``strategies`` share."""

    @table_asset(
        "allocation",
        GROUP,
        ins={"bars": BARS_SINCE} | {name: dg.AssetIn(key=signal_name(name)) for name in strategies},
    )
    def allocation(
        context: dg.AssetExecutionContext, bars: pd.DataFrame, **signals: pd.DataFrame
    ) -> dg.Output[pd.DataFrame]:
        """Target weights of the whole account: every strategy's weights times its share of capital, and cash.

        What a sleeve was given before is read back from the allocation of the
        previous session: a strategy that could not decide keeps it
        (``carried``), and so does one that is rebalanced by drift only while
        it is near its target, as far as closes have moved it (``held``). One
        whose breaker opens is parked in its safe asset, and a person is told.
        """
        world: TradingWorld = context.resources.world
        session = session_of(context.partition_key)
        version = world.tables.version("allocation")
        first, last = sessions.previous_session(session, REMEMBERED_SESSIONS), sessions.previous_session(session)
        before = world.tables.read("allocation", first, last, version)
        chosen = world.settings.strategies
        consolidation = consolidated(session, list(signals.values()), before, bars, list(strategies.values()), chosen)
        _tell_of_open_breakers(world, session, consolidation)
        target = consolidation.allocation
        world.audit.record([world.audit.scribe(context.run.run_id).allocation(target)])
        frame = to_frame(target)
        weights = pd.DataFrame(
            [{"symbol": symbol, "weight": weight} for symbol, weight in target.weights.items()],
            columns=["symbol", "weight"],
        )
        return metadata.materialised(
            context,
            frame,
            {
                "weights": metadata.table(weights),
                "contributions": metadata.table(frame.drop(columns="session")),
                "sleeves": metadata.table(consolidation.sleeves()),
                "breakers": metadata.table(consolidation.breaker_table()),
                "cash": target.cash,
                "symbols": len(weights),
                "undecided": target.is_undecided,
                VERSION_BEFORE: -1 if version is None else version,
            },
        )

    return allocation


def _tell_of_open_breakers(world: TradingWorld, session: date, consolidation: Consolidation) -> None:
    """Tell a person once of each breaker that opened; not while history is decided again."""
    opened = {name: breaker for name, breaker in consolidation.breakers.items() if breaker.is_parked}
    if not opened or session != sessions.last_completed_session(world.clock.now()):
        return
    for name, breaker in opened.items():
        text = (
            f"{name} had no signal that counted for {breaker.failures} sessions. Its sleeve is in "
            f"{consolidation.safe_assets[name]} since session {breaker.opened_on}; from {breaker.counts_from} on its "
            f"signals count again. See the reason of its signal."
        )
        key = f"strategy_breaker:{name}:{breaker.opened_on}"
        title, now = f"Breaker of {name} is open", world.clock.now()
        world.notifier.notify(Alert(key, Severity.WARNING, title, text, now, runbook="breaker-of-a-strategy-is-open"))
