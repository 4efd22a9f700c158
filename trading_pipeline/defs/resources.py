"""What assets, checks and sensors use of the world: chosen by mode in one table, made when first asked for."""

import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import structlog
from filelock import FileLock, Timeout

from trading_pipeline.adapters.clocks import BrokerClock, WallClock, ended_by_signal
from trading_pipeline.adapters.metrics import MetricsFile, NeutralMetrics, NoMetrics
from trading_pipeline.adapters.neutral_mode import put_in_force, redactor_of, speak_as_chosen
from trading_pipeline.adapters.notifiers import AlertOutbox
from trading_pipeline.adapters.storage.home import DEFAULT_HOME, HOME_VARIABLE, Home, home_of
from trading_pipeline.adapters.storage.journal import SqliteJournal
from trading_pipeline.adapters.storage.objects import FileObjects, StoredPlans
from trading_pipeline.adapters.storage.sending_gate import GATE_FILE, FileGate
from trading_pipeline.adapters.storage.tables import DeltaTables
from trading_pipeline.adapters.storage.trading_state import StoredTradingState
from trading_pipeline.adapters.symphony_files import known_strategies
from trading_pipeline.application.audit_trail import AuditTrail
from trading_pipeline.application.decision import sessions_needed
from trading_pipeline.application.effective_state import AskedSource, EffectiveState
from trading_pipeline.application.execution import ExecutionRules, Venue
from trading_pipeline.application.ingestion import History
from trading_pipeline.application.market_watch import MarketPauses, MarketSources, WatchRules
from trading_pipeline.application.risk_inputs import HISTORY_SESSIONS
from trading_pipeline.defs.audit import trail_of
from trading_pipeline.defs.kill_switch import broker_source, effective_state, local_sources
from trading_pipeline.defs.outbox import outbox_of
from trading_pipeline.defs.run_log import told_once
from trading_pipeline.domain.errors import InvalidInput, TradingHalted
from trading_pipeline.domain.portfolio import Portfolio
from trading_pipeline.domain.redaction import Redactor
from trading_pipeline.domain.risk.limits import RiskLimits
from trading_pipeline.domain.smoothing import Smoothing
from trading_pipeline.domain.strategies import Strategy, tree
from trading_pipeline.ports import Metrics, OrderUpdates
from trading_pipeline.settings import Mode, Settings, load_settings

if TYPE_CHECKING:
    from trading_pipeline.adapters.alpaca.broker import AlpacaBroker
    from trading_pipeline.adapters.alpaca.market_data import AlpacaMarketData
    from trading_pipeline.adapters.alpaca.transport import Api, Connection, Keys

SIMULATED_ACCOUNT = "SIM"
PAPER_ACCOUNT = "PA"
LEASE_PAUSE_SECONDS = 0.1
LIVE_URL = "https://api.alpaca.markets"


@dataclass(frozen=True)
class Endpoint:
    """Where a mode trades, with which keys, and which account numbers it may meet there."""

    connection: "Connection"
    keys: "Keys"
    fits: Callable[[str], bool]


class TradingWorld:
    """The world of one market and account; every part is made when it is first asked for."""

    def __init__(self, settings: Settings, home: Home) -> None:
        """Keep settings and folder, and read the strategies; nothing is opened yet.

        Raises:
            InvalidInput: a strategy is given capital that nobody defines or may hold what nobody knows, or a symphony
                file cannot be used.
        """
        self.settings = settings
        self.home = home
        self.strategies = known_strategies(settings.strategies.folder)
        unknown = sorted(set(settings.strategies.capital_shares) - set(self.strategies))
        if unknown:
            raise InvalidInput(
                f"strategies.capital_shares names {', '.join(unknown)}; known strategies are "
                f"{', '.join(self.strategies)}, and the files of strategies.folder"
            )
        self.instruments = settings.known_instruments()
        for name in settings.strategies.capital_shares:
            _refuse_unknown_holdings(self.strategies[name], self.instruments)

    @cached_property
    def tables(self) -> DeltaTables:
        """The Delta Lake tables."""
        return DeltaTables(str(self.home.tables))

    @cached_property
    def plans(self) -> StoredPlans:
        """The plans, each written once."""
        return StoredPlans(FileObjects(self.home.objects))

    @cached_property
    def stored_state(self) -> StoredTradingState:
        """The persisted trading state and its history; the audit trail hears of every change."""
        return StoredTradingState(FileObjects(self.home.objects), after_change=self.audit.follow_soon)

    @cached_property
    def audit(self) -> AuditTrail:
        """Records what is decided and done, in a log that is only appended to."""
        return trail_of(self.settings, self.home, self.notifier, self.wall)

    @cached_property
    def trading_state(self) -> EffectiveState:
        """The trading state in force: what is stored, and whatever else holds trading; changes go to the store."""
        chosen = self.settings.trading_state
        sources = [*self.local_sources, broker_source(chosen, lambda: self.broker)]
        return effective_state(chosen, self.stored_state, sources, WallClock(self.ending))

    @cached_property
    def local_sources(self) -> Sequence[AskedSource]:
        """What may hold trading beside the stored state, and lies on this machine."""
        return local_sources(self.settings, self.home, os.environ, WallClock(self.ending))

    @cached_property
    def gate(self) -> FileGate:
        """What every order passes, and whoever halts trading shuts for a moment."""
        return FileGate(self.home.folder / GATE_FILE, self.wall)

    @cached_property
    def journal(self) -> SqliteJournal:
        """The journal of order attempts."""
        return SqliteJournal(self.home.journal)

    @cached_property
    def metrics(self) -> Metrics:
        """Where counters and latencies are recorded."""
        wanted = self.settings.observability.metrics
        kept = MetricsFile(self.home.metrics, self.wall.now) if wanted else NoMetrics()
        return kept if self.redactor is None else NeutralMetrics(kept, self.redactor)

    @cached_property
    def notifier(self) -> AlertOutbox:
        """Tells people, and keeps what it told."""
        return outbox_of(self.settings, self.home, self.redactor)

    @cached_property
    def redactor(self) -> Redactor | None:
        """What hides symbols and figures wherever people look; None where all may be shown."""
        return redactor_of(self.settings)

    @cached_property
    def endpoint(self) -> Endpoint:
        """Where this mode trades."""
        return ENDPOINTS[self.settings.mode](self)

    @cached_property
    def trading_api(self) -> "Api":
        """The trading API of the broker."""
        from trading_pipeline.adapters.alpaca.transport import trading_api

        return trading_api(self.endpoint.keys, self.endpoint.connection, self.wall, self.metrics)

    @cached_property
    def data_api(self) -> "Api":
        """The market data API of the broker."""
        from trading_pipeline.adapters.alpaca.transport import data_api

        return data_api(self.endpoint.keys, self.endpoint.connection, self.wall, self.metrics)

    @cached_property
    def ending(self) -> threading.Event:
        """Set when the process is asked to end; every wait of this world ends with it."""
        return threading.Event()

    @cached_property
    def wall(self) -> WallClock:
        """This machine's time."""
        return WallClock(self.ending)

    @cached_property
    def clock(self) -> BrokerClock:
        """The time by which the broker trades."""
        return BrokerClock(self.trading_api, self.wall)

    @cached_property
    def broker(self) -> "AlpacaBroker":
        """The account and its orders."""
        from trading_pipeline.adapters.alpaca.broker import AlpacaBroker

        return AlpacaBroker(self.trading_api, self.clock)

    @cached_property
    def market_data(self) -> "AlpacaMarketData":
        """Bars and quotes."""
        from trading_pipeline.adapters.alpaca.market_data import AlpacaMarketData, MarketDataOptions

        chosen = self.settings.market_data
        options = MarketDataOptions(chosen.bars_feed, chosen.quotes_feed, most_chains=chosen.connections)
        return AlpacaMarketData(self.data_api, self.clock, options)

    @property
    def market_sources(self) -> MarketSources:
        """Where halts, corporate actions and the like are read."""
        return MarketSources(self.broker, self.market_data, self.market_data)

    @property
    def watch_rules(self) -> WatchRules:
        """How halts are inferred; funds that the settings describe have the price bands of their multiples."""
        return WatchRules(instruments=self.instruments)

    @cached_property
    def market_pauses(self) -> MarketPauses:
        """Which symbols do not trade at this moment, and why."""
        return MarketPauses(self.market_sources, self.clock.now, self.watch_rules)

    @property
    def market(self) -> str:
        """Where prices come from, said wherever they are shown: a generated market is synthetic."""
        if self.settings.mode is not Mode.SIMULATED:
            return f"Alpaca, {self.settings.mode} account"
        bars = self.settings.simulator.bars
        return "synthetic" if bars is None else f"simulated on {bars.name}"

    @property
    def venue(self) -> Venue:
        """What the submit loop needs."""
        return Venue(
            self.broker,
            self.market_data,
            self.journal,
            self.trading_state,
            self.clock,
            gate=self.gate,
            stopped=self.market_pauses,
            turn=self._turn_to_submit,
        )

    def _turn_to_submit(self) -> AbstractContextManager[None]:
        return self.broker.turn_to_submit()

    @property
    def rules(self) -> ExecutionRules:
        """How orders are placed."""
        chosen, orders = self.settings.execution, self.settings.orders
        return ExecutionRules(
            opens_after=timedelta(minutes=chosen.window_opens_after_minutes),
            closes_before=timedelta(minutes=chosen.window_closes_before_minutes),
            order_timeout=chosen.order_timeout_seconds,
            first_poll=chosen.first_poll_seconds,
            longest_poll=chosen.longest_poll_seconds,
            marketable_offset=orders.marketable_offset,
            max_reprices=chosen.max_reprices,
            orders_in_flight=chosen.orders_in_flight,
            time_limit=timedelta(minutes=chosen.time_limit_minutes),
            quote_age=timedelta(minutes=chosen.max_quote_age_minutes),
        )

    @contextmanager
    def placing_orders(self) -> Iterator[Venue]:
        """Be the one on this machine that places orders, and end where nothing is half done when asked to end.

        A courtesy: whoever waits for it longer than the settings say goes on,
        since two that execute one plan place no order twice. The venue hears of
        its orders by the stream, where the settings want one.
        """
        lease = FileLock(self.home.lease)
        with ended_by_signal(self.ending):
            self._await(lease)
            try:
                with self._order_updates() as updates:
                    yield replace(self.venue, updates=updates)
            finally:
                lease.release()

    @property
    def is_placing_orders(self) -> bool:
        """Whether a process of this machine holds the lease of :meth:`placing_orders`."""
        lease = FileLock(self.home.lease)
        try:
            lease.acquire(timeout=0)
        except Timeout:
            return True
        lease.release()
        return False

    def _await(self, lease: FileLock) -> None:
        deadline = self.wall.elapsed() + self.settings.execution.lease_wait_seconds
        while True:
            try:
                lease.acquire(timeout=0)
            except Timeout:
                if self.wall.elapsed() >= deadline:
                    structlog.get_logger().warning("lease_not_obtained", lease=str(self.home.lease))
                    return
                self.wall.wait(LEASE_PAUSE_SECONDS)
            else:
                return

    @contextmanager
    def _order_updates(self) -> Iterator[OrderUpdates | None]:
        chosen = self.settings.monitoring
        if not chosen.stream:
            yield None
            return
        from trading_pipeline.adapters.alpaca.stream import OrderStream, stream_options, stream_url

        url, options = stream_url(self.endpoint.connection.trading_url), stream_options(chosen)
        # After each gap the loop reads its orders by REST anyway.
        with OrderStream(url, self.endpoint.keys, None, self.notifier, self.wall, options) as updates:
            yield updates

    @property
    def limits(self) -> RiskLimits:
        """The limits that every order must pass."""
        return self.settings.risk.limits

    @property
    def smoothing(self) -> Smoothing:
        """How the relative strength index is smoothed."""
        return Smoothing(self.settings.strategies.rsi_smoothing)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Every symbol that the strategies read or may hold, and the safe assets."""
        read = {symbol for strategy in self.strategies.values() for symbol in tree.symbols(strategy.tree)}
        return tuple(sorted(read | self.settings.strategies.breaker_rules.symbols))

    @property
    def history(self) -> History:
        """How many sessions of bars the strategies and the risk engine need."""
        needed = max(sessions_needed(list(self.strategies.values())), HISTORY_SESSIONS)
        return History(needed, self.settings.market_data.overlap_sessions)

    def portfolio(self) -> Portfolio:
        """Return the account's portfolio, having made sure that it is the account that the mode means.

        Raises:
            TradingHalted: the account does not fit the mode.
        """
        portfolio = self.broker.portfolio()
        if self.redactor is not None:
            self.redactor.learn(portfolio.positions, [portfolio.account_number])
        if not self.endpoint.fits(portfolio.account_number):
            raise TradingHalted(
                f"mode {self.settings.mode} met account ...{portfolio.account_number[-4:]}, which is not of that mode; "
                f"nothing was read or sent: check TRADING_MODE, the keys and TRADING_LIVE_ACCOUNT"
            )
        return portfolio


def _refuse_unknown_holdings(strategy: Strategy, known: Collection[str]) -> None:
    unknown = [symbol for symbol in tree.assets(strategy.tree) if symbol not in known]
    if unknown:
        raise InvalidInput(
            f"{strategy.name} has capital and may hold {', '.join(unknown)}, of which neither kind nor leverage is "
            f"known: describe them in settings under instruments, as {{{unknown[0]}: {{asset_class: equity sector, "
            f"leverage: 1}}}}"
        )


def _connection(settings: Settings, trading_url: str, data_url: str) -> "Connection":
    from trading_pipeline.adapters.alpaca.transport import Connection

    return Connection(trading_url, data_url, settings.resilience)


def _keys(settings: Settings) -> "Keys":
    from trading_pipeline.adapters.alpaca.transport import Keys

    key_id, secret_key = settings.broker.key_id.get_secret_value(), settings.broker.secret_key.get_secret_value()
    if not (key_id and secret_key):
        raise InvalidInput(
            f"mode {settings.mode} needs keys: set APCA_API_KEY_ID and APCA_API_SECRET_KEY, or leave TRADING_MODE "
            f"unset to trade on the simulator"
        )
    return Keys(key_id, secret_key)


def _simulated(world: TradingWorld) -> Endpoint:
    from trading_pipeline.adapters.alpaca.transport import Keys
    from trading_pipeline.simulator.control import find_simulator

    running = find_simulator(world.home.simulator)
    if running is None:
        raise InvalidInput(
            f"no simulator is running for {world.home.folder}; `trading-pipeline dev` starts one beside Dagster's UI, "
            f"`trading-pipeline run` for as long as it runs"
        )
    return Endpoint(
        _connection(world.settings, running.url, running.url),
        Keys(running.key_id, running.secret_key),
        lambda account: account.startswith(SIMULATED_ACCOUNT),
    )


def _paper(world: TradingWorld) -> Endpoint:
    from trading_pipeline.adapters.alpaca.transport import DATA_URL, PAPER_URL

    return Endpoint(
        _connection(world.settings, PAPER_URL, DATA_URL),
        _keys(world.settings),
        lambda account: account.startswith(PAPER_ACCOUNT),
    )


def _live(world: TradingWorld) -> Endpoint:
    from trading_pipeline.adapters.alpaca.transport import DATA_URL

    meant = world.settings.broker.live_account
    return Endpoint(
        _connection(world.settings, LIVE_URL, DATA_URL),
        _keys(world.settings),
        lambda account: account.endswith(meant) and not account.startswith((SIMULATED_ACCOUNT, PAPER_ACCOUNT)),
    )


ENDPOINTS: Mapping[Mode, Callable[[TradingWorld], Endpoint]] = {
    Mode.SIMULATED: _simulated,
    Mode.PAPER: _paper,
    Mode.LIVE: _live,
}


def chosen_settings(environment: Mapping[str, str]) -> Settings:
    """Read the settings from the file that the environment names, and from the environment."""
    return load_settings(None, environment).settings


def open_world(environment: Mapping[str, str]) -> TradingWorld:
    """Read the settings and choose the folder that the environment names."""
    settings = chosen_settings(environment)
    put_in_force(settings)
    root = Path(environment.get(HOME_VARIABLE) or DEFAULT_HOME)
    return TradingWorld(settings, home_of(settings, root).prepared())


@dg.resource(description="Settings, tables, broker, market data and plans of the chosen mode.")
def world(context: dg.InitResourceContext) -> TradingWorld:
    """Open the world when a run, a check or a sensor first needs it."""
    speak_as_chosen(chosen_settings(os.environ))
    told_once(context.log)
    return open_world(os.environ)
