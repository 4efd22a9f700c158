"""Clocks: the machine's, and the broker's."""

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from trading_pipeline.adapters.alpaca import translation

if TYPE_CHECKING:
    from trading_pipeline.adapters.alpaca.transport import Api


class WallClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """Return the UTC instant."""
        return datetime.now(UTC)  # noqa: TID251 - the one place where the machine's time is read

    def wait(self, seconds: float) -> None:
        """Let ``seconds`` pass; none where it is negative."""
        time.sleep(max(0.0, seconds))  # noqa: TID251 - the one place where the program sleeps


class BrokerClock:
    """The time by which the broker trades: asked for anew at each call, never remembered.

    A clock that the simulator steps, or one that runs ahead of this machine,
    is then the clock of everything that is decided by it.
    """

    def __init__(self, trading: "Api") -> None:
        """Take the trading API whose ``/clock`` is asked."""
        self._trading = trading

    def now(self) -> datetime:
        """Return the broker's UTC instant.

        Raises:
            TransientError: the broker gave no usable answer.
            PermanentError: the broker refused to answer.
        """
        return translation.broker_time(self._trading.get("/clock"))

    def wait(self, seconds: float) -> None:
        """Let ``seconds`` of the machine's time pass."""
        WallClock().wait(seconds)
