"""Clocks: the machine's, and the broker's; and being asked to end."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from types import FrameType
from typing import TYPE_CHECKING

from trading_pipeline.adapters.alpaca import translation
from trading_pipeline.domain.errors import Interrupted

if TYPE_CHECKING:
    from trading_pipeline.adapters.alpaca.transport import Api

ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_MANY_SIGNALS = 65_536


class WallClock:
    """The machine's own clock."""

    def __init__(self, ending: threading.Event | None = None) -> None:
        """Wait no longer than until ``ending`` is set."""
        self._ending = ending or threading.Event()

    def now(self) -> datetime:
        """Return the UTC instant."""
        return datetime.now(UTC)  # noqa: TID251 - the one place where the machine's time is read

    def wait(self, seconds: float) -> None:
        """Let ``seconds`` pass; none where it is negative.

        Raises:
            Interrupted: the process was asked to end, before or meanwhile.
        """
        if self._ending.wait(max(0.0, seconds)):
            raise Interrupted("the process was asked to end; what was begun is journalled and is taken up by the next")

    def elapsed(self) -> float:
        """Return seconds since an arbitrary point, by a clock that is never set back."""
        return time.monotonic()


class BrokerClock:
    """The time by which the broker trades: asked for anew at each call, never remembered.

    A clock that the simulator steps, or one that runs ahead of this machine,
    is then the clock of everything that is decided by it. Waiting takes the
    machine's time.
    """

    def __init__(self, trading: "Api", wall: WallClock | None = None) -> None:
        """Take the trading API whose ``/clock`` is asked, and the clock by which is waited."""
        self._trading = trading
        self._wall = wall or WallClock()

    def now(self) -> datetime:
        """Return the broker's UTC instant.

        Raises:
            TransientError: the broker gave no usable answer.
            PermanentError: the broker refused to answer.
        """
        return translation.broker_time(self._trading.get("/clock"))

    def wait(self, seconds: float) -> None:
        """Let ``seconds`` of the machine's time pass; raises as :meth:`WallClock.wait`."""
        self._wall.wait(seconds)

    def elapsed(self) -> float:
        """Return seconds of the machine's time since an arbitrary point."""
        return self._wall.elapsed()


@contextmanager
def ended_by_signal(ending: threading.Event) -> Iterator[None]:
    """Set ``ending`` when the process is asked to end (SIGTERM, SIGINT), instead of ending it at once.

    Inside the block every wait raises :class:`Interrupted` from then on, so
    that work ends where nothing is half done. Only the main thread may receive
    signals: in any other the block changes nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_number: int, _frame: FrameType | None) -> None:
        ending.set()

    before = {number: signal.signal(number, end) for number in ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def ending_signals_noticed() -> Iterator[Callable[[], bool]]:
    """Notice that the process is asked to end (SIGTERM, SIGINT) whoever else takes the signal meanwhile.

    Yields what tells whether that came since the block began. Who takes the
    signals after it is who took them before it. Only the main thread may ask:
    in any other nothing is noticed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    heard, told = os.pipe()
    for end in (heard, told):
        os.set_blocking(end, False)
    numbers = bytearray()

    def came() -> bool:
        with suppress(BlockingIOError):
            numbers.extend(os.read(heard, _MANY_SIGNALS))
        return any(number in numbers for number in ENDING_SIGNALS)

    handlers = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    # The interpreter writes a signal's number there before it calls any handler.
    before = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    try:
        yield came
    finally:
        signal.set_wakeup_fd(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(heard)
        os.close(told)
