"""Emergency liquidation, wired; without Dagster's decorators, so that the command line may use it."""

from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from trading_pipeline import __version__
from trading_pipeline.adapters.storage.liquidations import StoredLiquidations
from trading_pipeline.adapters.storage.objects import FileObjects
from trading_pipeline.application import liquidation_watch
from trading_pipeline.application.halting import cleared
from trading_pipeline.application.liquidation import Liquidated, liquidate
from trading_pipeline.application.liquidation_desk import LiquidationDesk, LiquidationRules
from trading_pipeline.application.market_watch import WatchRules, market_status
from trading_pipeline.defs.kill_switch import switch_of
from trading_pipeline.domain.liquidation import COLLARS, LiquidationRequest
from trading_pipeline.domain.risk.market_status import MarketStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trading_pipeline.application.venue import Venue
    from trading_pipeline.defs.resources import TradingWorld

# What does not trade now is waited for until the window ends.
WHOLE_DAY = timedelta(days=1)


def desk_of(world: "TradingWorld", venue: "Venue | None" = None) -> LiquidationDesk:
    """Return what a liquidation of the world's account needs; ``venue`` is the one that places orders, if one does.

    Raises:
        TradingHalted: the account does not fit the mode.
        TransientError: the broker gave no usable answer.
    """
    world.portfolio()
    switch = switch_of(world.settings, world.home, world.stored_state, world.wall, lambda: world)

    def market(symbols: "Sequence[str]", session: date, now: datetime) -> MarketStatus:
        rules = WatchRules(market_symbol=world.settings.risk_watch.market_symbol, instruments=world.instruments)
        return market_status(symbols, session, world.market_sources, now, rules)

    return LiquidationDesk(
        venue=venue or world.venue,
        plans=world.plans,
        requests=StoredLiquidations(FileObjects(world.home.objects)),
        notifier=world.notifier,
        assets=world.broker.assets,
        market=market,
        clear=lambda reason: cleared(switch, reason),
        instruments=world.instruments,
        rules=rules_of(world),
        code_version=__version__,
        config_hash=world.settings.fingerprint(),
    )


def rules_of(world: "TradingWorld") -> LiquidationRules:
    """Return how positions are got out of, as the settings say."""
    chosen = world.settings.liquidation
    execution = replace(
        world.rules,
        order_timeout=chosen.slice_seconds * len(COLLARS),
        max_reprices=len(COLLARS) - 1,
        time_limit=WHOLE_DAY,
        last_stays=True,
    )
    return LiquidationRules(
        execution=execution,
        code_valid=timedelta(minutes=chosen.code_valid_minutes),
        patience=chosen.patience_seconds,
        afterwards=chosen.afterwards,
    )


def carried_out(world: "TradingWorld", request: LiquidationRequest) -> Liquidated:
    """Carry out a liquidation that was agreed to, as the one on this machine that places orders.

    Raises:
        PipelineError: as :func:`trading_pipeline.application.liquidation.liquidate` does.
    """
    with world.placing_orders() as venue:
        return liquidate(desk_of(world, venue), request)


def looked(world: "TradingWorld") -> str:
    """Look once at what sets a liquidation off, and return what was found in a line for people.

    Raises:
        PipelineError: a source gave no usable answer; the next look is as good.
    """
    chosen = world.settings
    return liquidation_watch.looked(
        desk_of(world), world.market_data, chosen.liquidation, chosen.risk_watch.market_symbol
    )
