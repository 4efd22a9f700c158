"""``risk_watch``: looks at account and market while the session is open, tells a person of what trips, and latches."""

import dagster as dg

from trading_pipeline.adapters.alpaca.account_figures import AlpacaAccountFigures
from trading_pipeline.adapters.storage.objects import FileObjects
from trading_pipeline.adapters.storage.risk_watch import StoredRiskWatch
from trading_pipeline.application.risk_watch import NAME, RiskSources, RiskWatchRules, watch
from trading_pipeline.defs.looking import looking_sensor
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain.errors import TradingHalted
from trading_pipeline.domain.risk.watch_state import AccountFigures


def looked(world: TradingWorld) -> str:
    """Look once at the risk of the open session, do what is due, and return what was found in a line for people.

    Raises:
        PipelineError: store or trading state gave no usable answer, or the account is another; the next look is as
            good. What cannot be read of account and market is told of instead.
    """
    sources = RiskSources(lambda: _figures(world), world.broker, world.market_data, world.market_data)
    store = StoredRiskWatch(FileObjects(world.home.objects))
    now = world.clock.now()
    return watch(store, world.trading_state, world.notifier, world.metrics, sources, rules_of(world), now)


def rules_of(world: TradingWorld) -> RiskWatchRules:
    """Return how risk is watched, as the settings say."""
    chosen = world.settings.risk_watch
    return RiskWatchRules(world.settings.drawdown.limits, chosen.market_symbol, chosen.price_age, chosen.patience)


def _figures(world: TradingWorld) -> AccountFigures:
    figures = AlpacaAccountFigures(world.trading_api, world.clock).read()
    number = figures.portfolio.account_number
    if not world.endpoint.fits(number):
        raise TradingHalted(
            f"mode {world.settings.mode} met account ...{number[-4:]}, which is not of that mode; its risk is not "
            f"watched: check TRADING_MODE, the keys and TRADING_LIVE_ACCOUNT"
        )
    return figures


def risk_watch(interval_seconds: int) -> dg.SensorDefinition:
    """Return the sensor that looks every ``interval_seconds`` at the risk of the open session."""
    return looking_sensor(
        NAME,
        (
            "Looks at the account and the market while the session is open: one alert for each rung of a drawdown "
            "that trips (within the session, since the close before, from the peak), for equity that contradicts "
            "positions and prices, and for a market-wide breaker that ends the session. All but warnings hold the "
            "trading state to reducing or halted. Launches nothing."
        ),
        interval_seconds,
        looked,
    )
