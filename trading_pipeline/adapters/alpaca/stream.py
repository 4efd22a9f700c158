"""Order changes as they happen: a hint that it is time to ask, never the truth itself.

An :class:`OrderStream` keeps one connection to Alpaca's trading stream alive
from a thread of its own. It may fail in any way: whoever waits on it then
waits as long as without it, and reads orders over REST either way.
"""

import asyncio
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import structlog

from trading_pipeline.adapters.alpaca.stream_news import (
    ACKNOWLEDGEMENTS,
    TRADE_UPDATES,
    FillSeen,
    News,
    NewsCounts,
    OrderChange,
    Quarantined,
    Witness,
    order_change,
    read_frame,
)
from trading_pipeline.adapters.alpaca.stream_states import (
    CLOSED,
    CONNECTING,
    Backoff,
    Happening,
    Standing,
    StreamState,
    after,
)
from trading_pipeline.adapters.alpaca.transport import LOOPBACK_HOSTS, Keys
from trading_pipeline.domain.errors import DependencyUnavailable, InvalidInput, PipelineError
from trading_pipeline.domain.orders import BrokerOrder
from trading_pipeline.ports import Alert, Clock, Notifier, Severity
from trading_pipeline.settings import MonitoringSettings

if TYPE_CHECKING:
    from types import TracebackType

    from trading_pipeline.adapters.alpaca.trade_socket import TradeSocket

CLOSE_SECONDS = 2.0
# A process that is asked to end learns of it this soon.
LONGEST_SLICE_SECONDS = 0.5
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class StreamOptions:
    """Deadlines and pauses of the stream, in seconds.

    Attributes:
        connect_seconds: for the connection, its handshake included.
        authenticate_seconds: for the keys and the subscription to be accepted.
        ping_seconds: between two pings.
        pong_seconds: for a ping to be answered before the connection counts as dead.
        grace_seconds: by which the stream may lag behind what the broker answers.
        backoff: pauses before another connection.
        failures_before_polling: failures in a row at which a person is told.
    """

    connect_seconds: float = 10.0
    authenticate_seconds: float = 10.0
    ping_seconds: float = 10.0
    pong_seconds: float = 10.0
    grace_seconds: float = 2.0
    backoff: Backoff = field(default_factory=Backoff)
    failures_before_polling: int = 5


def stream_options(chosen: MonitoringSettings) -> StreamOptions:
    """Return the deadlines and pauses of the settings."""
    return StreamOptions(
        connect_seconds=chosen.stream_connect_seconds,
        authenticate_seconds=chosen.stream_authenticate_seconds,
        ping_seconds=chosen.stream_ping_seconds,
        pong_seconds=chosen.stream_pong_seconds,
        grace_seconds=chosen.stream_grace_seconds,
        backoff=Backoff(chosen.stream_first_backoff_seconds, chosen.stream_longest_backoff_seconds),
        failures_before_polling=chosen.stream_failures_before_polling,
    )


@dataclass(frozen=True)
class StreamSnapshot:
    """Where the stream stands, since which UTC instant, and what it came through.

    ``connects`` counts subscriptions that were accepted, ``failures`` attempts
    and connections that ended, of which ``failures_in_a_row`` without news
    since; ``last_failure`` is empty where there was none.
    """

    state: StreamState
    since: datetime
    connects: int
    failures: int
    failures_in_a_row: int
    news: NewsCounts
    last_failure: str


def stream_url(trading_url: str) -> str:
    """Return the address of the stream that belongs to a trading API.

    >>> stream_url("https://paper-api.alpaca.markets")
    'wss://paper-api.alpaca.markets/stream'
    """
    return "ws" + trading_url.removeprefix("http") + "/stream"


class OrderStream:
    """Alpaca's trading stream, supervised; implements :class:`~trading_pipeline.ports.OrderUpdates`.

    Use it as a context manager, or call :meth:`start` and :meth:`close`.
    """

    def __init__(
        self,
        url: str,
        keys: Keys,
        on_gap: Callable[[], None] | None,
        notifier: Notifier | None,
        clock: Clock,
        options: StreamOptions | None = None,
    ) -> None:
        """Prepare the stream; nothing is opened before :meth:`start`.

        Args:
            url: the complete address, as of :func:`stream_url`; ws is for loopback only.
            keys: the account's keys.
            on_gap: called from the stream's thread when changes may have been missed (after every connection, an
                unreadable frame, an overflow); it must return at once and never fail, such as ``Event.set``.
            notifier: told once a day when orders are polled only.
            clock: the machine's; its ``wait`` decides whether a wait is to be broken off.
            options: deadlines and pauses.

        Raises:
            InvalidInput: keys must not be sent to such an address.
        """
        _check_url(url)
        self._url = url
        self._keys = keys
        self._on_gap = on_gap
        self._notifier = notifier
        self._clock = clock
        self._options = options or StreamOptions()
        self._lock = threading.RLock()
        self._woken = threading.Event()
        self._standing = CLOSED
        self._since = clock.now()
        self._connects = self._failures = 0
        self._last_failure = ""
        self._news = News()
        self._witness = Witness(self._options.grace_seconds)
        self._socket: TradeSocket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending = asyncio.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "OrderStream":
        """Start the stream."""
        self.start()
        return self

    def __exit__(
        self, kind: "type[BaseException] | None", error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        """Close the stream."""
        self.close()

    def start(self) -> None:
        """Begin to connect, in a thread of its own; returns at once, and does nothing where it has begun."""
        if self._thread is not None:
            return
        self._ending = asyncio.Event()
        self._move_to(CONNECTING, "started")
        runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._loop = runner.get_loop()
        self._thread = threading.Thread(target=self._run, args=(runner,), name="order-stream", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the connection and the thread, within two seconds; does nothing where there is none."""
        if self._thread is None:
            return
        self._call_in_loop(self._ending.set)
        self._thread.join(CLOSE_SECONDS)
        self._thread = self._loop = None

    @property
    def state(self) -> StreamState:
        """Where the stream stands."""
        return self._standing.state

    def snapshot(self) -> StreamSnapshot:
        """Return where the stream stands and what it came through."""
        with self._lock:
            return StreamSnapshot(
                self._standing.state,
                self._since,
                self._connects,
                self._failures,
                self._standing.failures,
                self._news.counts,
                self._last_failure,
            )

    def wait(self, seconds: float) -> None:
        """Return when news came since the last call, at the latest after ``seconds``.

        News is any change of an order, and whatever may have hidden one: a new
        connection, a frame that cannot be read, a contradiction.

        Raises:
            Interrupted: the process was asked to end.
        """
        left = seconds
        while left > 0 and not self._woken.wait(min(left, LONGEST_SLICE_SECONDS)):
            left -= LONGEST_SLICE_SECONDS
            self._clock.wait(0.0)
        self._woken.clear()

    def take(self) -> Sequence[OrderChange]:
        """Return the changes that were told since the last call, oldest first; at most the newest thousand."""
        with self._lock:
            return self._news.take()

    @property
    def fills(self) -> Sequence[FillSeen]:
        """The newest executions that were told, each once; at most ten thousand."""
        with self._lock:
            return self._news.fills

    def filled_quantity(self, client_order_id: str) -> Decimal:
        """Return the most shares of an order that stream or broker told to be filled; it never shrinks."""
        with self._lock:
            return self._news.filled_quantity(client_order_id)

    @property
    def quarantine(self) -> Sequence[Quarantined]:
        """The newest frames that could not be used, and why; at most a hundred."""
        with self._lock:
            return self._news.quarantine

    def compare(self, orders: Sequence[BrokerOrder]) -> None:
        """Take in what the broker answered to the same question as last time.

        A change that the stream still keeps to itself after the grace makes it
        stale: the connection is cut and made anew.
        """
        with self._lock:
            self._news.fill_gap(orders)
            if self.state is not StreamState.LIVE:
                return
            missed = self._witness.contradiction(orders, self._clock.elapsed())
            if missed is not None:
                self._contradicted(missed)

    def _contradicted(self, missed: BrokerOrder) -> None:
        self._happened(
            Happening.CONTRADICTED,
            f"order {missed.client_order_id} is {missed.status}, {missed.filled_quantity} filled, and was not told of",
        )
        if self._socket is not None:
            self._call_in_loop(self._socket.abort)

    def _call_in_loop(self, call: Callable[[], None]) -> None:
        # A loop that has ended by itself refuses the call, and needs none.
        with suppress(RuntimeError):
            if self._loop is not None:
                self._loop.call_soon_threadsafe(call)

    def _run(self, runner: asyncio.Runner) -> None:
        try:
            with runner:
                runner.run(self._supervised())
        finally:
            self._happened(Happening.CLOSED, "closed")

    async def _supervised(self) -> None:
        life = asyncio.create_task(self._lived())
        ending = asyncio.create_task(self._ending.wait())
        await asyncio.wait({life, ending}, return_when=asyncio.FIRST_COMPLETED)
        if ending.done():
            life.cancel()
        with suppress(asyncio.CancelledError):
            await life

    async def _lived(self) -> None:
        while True:
            try:
                await self._connected_once()
            except PipelineError as error:
                self._failed(error)
            # Both draws and pauses are of no consequence but load.
            pause = self._options.backoff.pause(self._standing, random.random())  # noqa: S311
            await asyncio.sleep(pause)
            self._happened(Happening.RETRIED, f"after {pause:.1f} s")

    async def _connected_once(self) -> None:
        from trading_pipeline.adapters.alpaca.trade_socket import TradeSocket

        chosen = self._options
        socket = TradeSocket(self._url, self._keys, chosen.connect_seconds, chosen.ping_seconds, chosen.pong_seconds)
        try:
            await socket.open()
            self._happened(Happening.OPENED)
            await self._subscribed(socket)
            await self._listened(socket)
        finally:
            self._socket = None
            await socket.leave()

    async def _subscribed(self, socket: "TradeSocket") -> None:
        seconds = self._options.authenticate_seconds
        try:
            async with asyncio.timeout(seconds):
                await socket.authenticate()
                while not _is_subscription(await self._read(socket)):
                    pass
        except TimeoutError as error:
            raise DependencyUnavailable(f"the stream accepted no keys or subscription within {seconds:g} s") from error

    async def _listened(self, socket: "TradeSocket") -> None:
        self._went_live(socket)
        held = asyncio.get_running_loop().call_later(
            self._options.backoff.longest_seconds, self._happened, Happening.HELD
        )
        try:
            while True:
                await self._read(socket)
        finally:
            held.cancel()

    def _went_live(self, socket: "TradeSocket") -> None:
        with self._lock:
            self._socket = socket
            self._connects += 1
            self._witness = Witness(self._options.grace_seconds)
            self._happened(Happening.AUTHORIZED)
        self._report_gap()

    async def _read(self, socket: "TradeSocket") -> Mapping[str, Any]:
        frame = await socket.frame()
        try:
            message = read_frame(frame)
            self._understood(message)
        except DependencyUnavailable as error:
            self._set_aside(frame, error)
            return {}
        return message

    def _understood(self, message: Mapping[str, Any]) -> None:
        kind = message.get("stream")
        if kind == TRADE_UPDATES:
            self._tell(order_change(message.get("data")))
        elif kind not in ACKNOWLEDGEMENTS:
            raise DependencyUnavailable(f"a frame of stream {kind!r} was not asked for")

    def _tell(self, change: OrderChange) -> None:
        with self._lock:
            self._witness.heard(change.order)
            dropped = self._news.counts.overflowed
            is_new = self._news.tell(change)
            has_overflowed = self._news.counts.overflowed > dropped
            self._happened(Happening.HEARD)
        if has_overflowed:
            self._report_gap()
        elif is_new:
            self._woken.set()

    def _set_aside(self, frame: str | bytes, error: DependencyUnavailable) -> None:
        with self._lock:
            self._news.set_aside(frame, str(error), self._clock.now())
        log.warning("order_stream_frame_quarantined", reason=str(error))
        self._report_gap()

    def _report_gap(self) -> None:
        self._woken.set()
        if self._on_gap is not None:
            self._on_gap()

    def _failed(self, error: PipelineError) -> None:
        with self._lock:
            self._failures += 1
            self._last_failure = f"{type(error).__name__}: {error}"
            self._happened(Happening.FAILED, self._last_failure)
        self._woken.set()
        if self._standing.failures == self._options.failures_before_polling:
            self._tell_a_person()

    def _tell_a_person(self) -> None:
        if self._notifier is None:
            return
        now = self._clock.now()
        self._notifier.notify(
            Alert(
                key=f"order_stream:polling_only:{now.date()}",
                severity=Severity.WARNING,
                title="Orders are polled only: the stream of order changes does not stand",
                text=(
                    f"{self._standing.failures} failures in a row, the last: {self._last_failure}. Orders are traded "
                    f"as before, by asking; the stream is tried again every "
                    f"{self._options.backoff.longest_seconds:g} seconds. Check the network and the keys."
                ),
                at=now,
                runbook="orders-are-polled-only",
            )
        )

    def _happened(self, happening: Happening, why: str = "") -> None:
        with self._lock:
            self._move_to(after(self._standing, happening, self._options.failures_before_polling), why or happening)

    def _move_to(self, standing: Standing, why: str) -> None:
        if standing.state is not self._standing.state:
            self._since = self._clock.now()
            log.info("order_stream", state=standing.state.value, before=self._standing.state.value, why=why)
        self._standing = standing


def _is_subscription(message: Mapping[str, Any]) -> bool:
    """Tell whether the stream acknowledges that order changes will come.

    Raises:
        DependencyUnavailable: it says that they will not.
    """
    if message.get("stream") != "listening":
        return False
    data = message.get("data")
    streams = data.get("streams") if isinstance(data, dict) else None
    if not (isinstance(streams, list) and TRADE_UPDATES in streams):
        raise DependencyUnavailable(f"the stream does not offer order changes, but answers {data!r}")
    return True


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "wss" and not (parts.scheme == "ws" and parts.hostname in LOOPBACK_HOSTS):
        raise InvalidInput(f"the stream's address must be wss (ws for loopback only), was {url!r}")
