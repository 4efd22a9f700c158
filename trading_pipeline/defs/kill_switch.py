"""The trading state and the kill switch, wired; without Dagster, whose import takes longer than a halt should."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from trading_pipeline.adapters.storage.home import Home
from trading_pipeline.adapters.storage.sending_gate import GATE_FILE, FileGate
from trading_pipeline.adapters.trading_state_sources import BrokerFlags, EnvironmentWord, KeyAge, WordFiles
from trading_pipeline.application.effective_state import AskedSource, EffectiveState
from trading_pipeline.application.halting import HaltingRules, Switch
from trading_pipeline.domain.risk.state_sources import SourcePatience
from trading_pipeline.ports import Broker, Clock, MendableTradingState
from trading_pipeline.settings import Mode, Settings, TradingStateSettings

if TYPE_CHECKING:
    from trading_pipeline.defs.resources import TradingWorld


def word_files(home: Home) -> WordFiles:
    """Return the files HALT and REDUCE of the market's folder, and of the one above it for all markets."""
    return WordFiles([home.folder, home.folder.parent])


def local_sources(
    settings: Settings, home: Home, environment: Mapping[str, str], clock: Clock
) -> Sequence[AskedSource]:
    """Return what may hold trading and lies on this machine: the variable, the files, the age of real keys."""
    sources = [AskedSource(EnvironmentWord(environment)), AskedSource(word_files(home))]
    made_on, longest = settings.trading_state.keys_made_on, settings.trading_state.keys_max_age_days
    if settings.mode is Mode.SIMULATED or made_on is None or longest is None:
        return sources
    return [*sources, AskedSource(KeyAge(made_on, timedelta(days=longest), clock.now))]


def broker_source(chosen: TradingStateSettings, broker: Callable[[], Broker]) -> AskedSource:
    """Return the broker's own flags, which count for a while before they are asked for again."""
    return AskedSource(BrokerFlags(broker), chosen.broker_flags_seconds)


def effective_state(
    chosen: TradingStateSettings, stored: MendableTradingState, sources: Sequence[AskedSource], clock: Clock
) -> EffectiveState:
    """Return the state in force over what is stored and ``sources``."""
    patience = SourcePatience(chosen.last_known_seconds, chosen.errors_before_halting)
    return EffectiveState(stored, sources, clock, patience)


def switch_of(
    settings: Settings, home: Home, stored: MendableTradingState, clock: Clock, world: Callable[[], "TradingWorld"]
) -> Switch:
    """Return the kill switch; the world is opened once the state is written."""
    chosen, execution = settings.trading_state, settings.execution

    def market_time() -> datetime:
        return world().clock.now()

    return Switch(
        trading_state=stored,
        gate=FileGate(home.folder / GATE_FILE, clock),
        broker=lambda: world().broker,
        journal=lambda: world().journal,
        clock=clock,
        market_time=market_time,
        last_resort=word_files(home).put,
        rules=HaltingRules(
            cancels_in_flight=chosen.cancels_in_flight,
            patience=chosen.cancel_patience_seconds,
            first_poll=execution.first_poll_seconds,
            longest_poll=execution.longest_poll_seconds,
        ),
    )
