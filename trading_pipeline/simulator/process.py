"""The simulator as a process: state folder, socket, ready line, end."""

import json
import os
import secrets
import signal
import socket
import sys
import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import FrameType

import structlog
import uvicorn
from filelock import FileLock, Timeout

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.instruments import round_cents
from trading_pipeline.domain.sessions import LAST_DATE, NEW_YORK
from trading_pipeline.simulator.broker import Broker
from trading_pipeline.simulator.clock import MODES, Clock, Pace
from trading_pipeline.simulator.control import ADVERTISEMENT, LOCK, READY
from trading_pipeline.simulator.control_plane import Identity
from trading_pipeline.simulator.exchange import Exchange
from trading_pipeline.simulator.gate import Account, Credentials, RateLimit
from trading_pipeline.simulator.market import GENERATED, market_from
from trading_pipeline.simulator.overrides import Overrides
from trading_pipeline.simulator.protocol import HttpProtocol
from trading_pipeline.simulator.records import Position
from trading_pipeline.simulator.server import Simulator, application
from trading_pipeline.simulator.store import Store
from trading_pipeline.simulator.stream_endpoint import StreamProtocol
from trading_pipeline.simulator.universe import FIRST_SESSION
from trading_pipeline.simulator.venue import Venue

HOST = "127.0.0.1"
PARENT_WATCH_SECONDS = 0.5


@dataclass(frozen=True)
class Options:
    """What a simulator is started with; see ``--help`` for each."""

    state: Path
    start: datetime
    bars: str = GENERATED
    seed: int = 7
    cash: Decimal = Decimal(100_000)
    holdings: Mapping[str, Decimal] = field(default_factory=dict)
    half_spread_bps: Decimal = Decimal(2)
    port: int = 0
    rate_limit: int = 10_000
    key_id: str = ""
    secret_key: str = ""
    clock: str = MODES[0]
    factor: float = 1.0
    accounts: int = 1
    watch_parent: bool = False


@dataclass(frozen=True)
class Advertisement:
    """What ``simulator.json`` tells those who look for a running simulator."""

    url: str
    port: int
    pid: int
    key_id: str
    secret_key: str
    control_token: str
    market: str
    seed: int
    started: str
    accounts: Sequence[Mapping[str, str]]


def serve(options: Options) -> None:
    """Serve until SIGTERM.

    Raises:
        InvalidInput: the port is taken, the bars cannot be used, the state folder
            cannot be written, is in use, or belongs to another market.
    """
    _log_to_stderr()
    signal.signal(signal.SIGTERM, _leave)
    with _bound(options.port) as listening:
        store = Store(options.state)
        with _held(options.state):
            simulator = open_simulator(store, options)
            advertisement = _advertisement(simulator, listening.getsockname()[1])
            try:
                _Server(simulator, advertisement, options).run(sockets=[listening])
            finally:
                (options.state / ADVERTISEMENT).unlink(missing_ok=True)
                store.close()


def open_simulator(store: Store, options: Options) -> Simulator:
    """Return the simulator of ``store``: new accounts, or those that are there.

    Raises:
        InvalidInput: the bars cannot be used, or the state belongs to another market.
    """
    market = market_from(options.bars, options.seed, options.start.astimezone(NEW_YORK).date())
    overrides = Overrides(store)
    exchange = Exchange(market, options.half_spread_bps, overrides)
    clock = Clock(store)
    stores = [store, *(store.further(number) for number in range(2, options.accounts + 1))]
    _begin(store, options, exchange)
    control_token = secrets.token_urlsafe(24)
    accounts = tuple(
        _account(place, number, options, exchange, clock, control_token) for number, place in enumerate(stores, 1)
    )
    pace = Pace({"replay": options.factor, "wall": 1.0}.get(options.clock, 0.0))
    venue = Venue(store, exchange, overrides, [account.broker for account in accounts], pace)
    if options.clock == "wall":
        venue.move_clock(datetime.fromtimestamp(time.time(), UTC))
    identity = Identity(market.name, options.seed, str(options.state.resolve()), accounts[0].broker.account_number)
    return Simulator(venue=venue, exchange=exchange, identity=identity, accounts=accounts)


def server_config(simulator: Simulator) -> uvicorn.Config:
    """Return how uvicorn serves ``simulator``: without logs of its own, with connections that faults can end."""
    return uvicorn.Config(
        application(simulator),
        http=HttpProtocol,
        ws=StreamProtocol,
        # Connections end when they are told to, and never because a test holds back its pongs.
        ws_ping_interval=None,
        date_header=False,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=2,
    )


def _account(
    store: Store, number: int, options: Options, exchange: Exchange, clock: Clock, control_token: str
) -> Account:
    _open_account(store, options, exchange, clock)
    return Account(
        credentials=_credentials(store, options, number, control_token),
        rate_limit=RateLimit(options.rate_limit),
        broker=Broker(store, exchange, _account_number(exchange.name, options.seed, number), clock),
    )


def _account_number(market: str, seed: int, number: int) -> str:
    name = f"{Path(market).name}:{seed}" if number == 1 else f"{Path(market).name}:{seed}:{number}"
    return f"SIM{zlib.crc32(name.encode()) % 10**9:09d}"


def _open_account(store: Store, options: Options, exchange: Exchange, clock: Clock) -> None:
    """Give a new account its cash and holdings."""
    if store.setting("opening cash") is not None:
        return
    with store.transaction():
        store.keep_setting("opening cash", str(round_cents(options.cash)))
        store.cash = round_cents(options.cash)
        store.keep_instant("created", clock.now())
        _invest(store, options, exchange)


def _begin(store: Store, options: Options, exchange: Exchange) -> None:
    """Start a new state, or make sure that the one that is there belongs to this market and seed."""
    wanted = f"{exchange.name}, seed {options.seed}"
    found = store.setting("market")
    if found is None:
        _require_start(options)
        with store.transaction():
            store.keep_setting("market", wanted)
            store.keep_instant("now", options.start.astimezone(UTC))
    elif found != wanted:
        raise InvalidInput(
            f"the state folder {options.state} holds an account of the market {found}, not of {wanted}; "
            "start with another state folder, or with the market that is there"
        )


def _invest(store: Store, options: Options, exchange: Exchange) -> None:
    """Turn parts of the opening cash into whole shares; a symbol without a price then stays in cash."""
    for symbol, fraction in options.holdings.items():
        price = exchange.price(symbol, options.start)
        shares = Decimal(int(options.cash * fraction / price)) if price else Decimal(0)
        cost = round_cents(shares * (price or Decimal(0)))
        store.keep_position(Position(symbol, shares, cost))
        store.cash -= cost


def _require_start(options: Options) -> None:
    day = options.start.astimezone(NEW_YORK).date()
    first = FIRST_SESSION.replace(month=2) if options.bars == GENERATED else FIRST_SESSION.replace(year=1991)
    if not first <= day < LAST_DATE.replace(month=12, day=1):
        raise InvalidInput(f"the clock can start from {first} to {LAST_DATE.replace(month=11, day=30)}, not on {day}")


def _credentials(store: Store, options: Options, number: int, control_token: str) -> Credentials:
    """Return the keys of an account; those that were asked for are the first account's."""
    wanted = (options.key_id, options.secret_key) if number == 1 else ("", "")
    key_id = wanted[0] or store.setting("key id") or f"SIM{secrets.token_hex(8).upper()}"
    secret_key = wanted[1] or store.setting("secret key") or secrets.token_urlsafe(24)
    with store.transaction():
        store.keep_setting("key id", key_id)
        store.keep_setting("secret key", secret_key)
    return Credentials(key_id, secret_key, control_token)


class _Server(uvicorn.Server):
    """Uvicorn that advertises itself once it serves."""

    def __init__(self, simulator: Simulator, advertisement: Advertisement, options: Options) -> None:
        super().__init__(server_config(simulator))
        self._advertisement = advertisement
        self._options = options

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        _advertise(self._options.state / ADVERTISEMENT, self._advertisement)
        if self._options.watch_parent:
            threading.Thread(target=self._end_with_parent, args=(os.getppid(),), daemon=True).start()
        structlog.get_logger().info("serving", url=self._advertisement.url, market=self._advertisement.market)
        sys.stdout.write(f"{READY} {self._advertisement.url}\n")
        sys.stdout.flush()

    def _end_with_parent(self, parent: int) -> None:
        ended = threading.Event()
        while os.getppid() == parent:
            ended.wait(PARENT_WATCH_SECONDS)
        self.should_exit = True


def _advertisement(simulator: Simulator, port: int) -> Advertisement:
    credentials, identity = simulator.credentials, simulator.identity
    return Advertisement(
        url=f"http://{HOST}:{port}",
        port=port,
        pid=os.getpid(),
        key_id=credentials.key_id,
        secret_key=credentials.secret_key,
        control_token=credentials.control_token,
        market=identity.market,
        seed=identity.seed,
        started=datetime.fromtimestamp(time.time(), UTC).isoformat(),
        accounts=[
            {
                "account_number": account.broker.account_number,
                "key_id": account.credentials.key_id,
                "secret_key": account.credentials.secret_key,
            }
            for account in simulator.accounts
        ],
    )


def _advertise(path: Path, advertisement: Advertisement) -> None:
    """Write the file whole or not at all, for its owner only."""
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(asdict(advertisement), file, indent=1)
    draft.replace(path)


def _bound(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
    except (OSError, OverflowError) as failure:
        listening.close()
        raise InvalidInput(
            f"port {port} of {HOST} cannot be used ({failure}); choose another, or 0 for any free one"
        ) from failure
    return listening


def _held(state: Path) -> FileLock:
    lock = FileLock(state / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as failure:
        raise InvalidInput(
            f"another simulator holds the state folder {state}; stop it, or use another folder"
        ) from failure
    return lock


def _log_to_stderr() -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.LogfmtRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _leave(_: int, __: FrameType | None) -> None:
    raise SystemExit(0)
