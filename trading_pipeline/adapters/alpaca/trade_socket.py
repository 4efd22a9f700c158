"""One connection of alpaca-py's ``TradingStream``, step by step, each step failing in our terms.

alpaca-py's own loop waits for ever for an answer to its keys, notices a dead
peer after three minutes and drops what it cannot read. So its connection, its
authentication and its subscription are used here, and its loop is not.
Importing this module imports alpaca-py's streams.
"""

import asyncio
import json
from typing import Any

from alpaca.trading.stream import TradingStream
from websockets.exceptions import WebSocketException

from trading_pipeline.adapters.alpaca.transport import Keys
from trading_pipeline.domain.errors import DependencyUnavailable, Unauthorized

CLOSE_SECONDS = 0.25
# alpaca-py reads the answer to the keys without looking at its shape.
_UNREADABLE = (json.JSONDecodeError, UnicodeDecodeError, AttributeError, TypeError, RecursionError)


class TradeSocket(TradingStream):
    """A single connection; whoever uses it sets the deadlines of each step but :meth:`open`."""

    def __init__(self, url: str, keys: Keys, connect_seconds: float, ping_seconds: float, pong_seconds: float) -> None:
        """Prepare a connection to ``url``; nothing is opened yet."""
        super().__init__(
            keys.key_id,
            keys.secret_key,
            raw_data=True,
            url_override=url,
            websocket_params={
                "open_timeout": connect_seconds,
                "close_timeout": CLOSE_SECONDS,
                "ping_interval": ping_seconds,
                "ping_timeout": pong_seconds,
                "max_queue": 1024,
            },
        )
        self._url = url
        # alpaca-py subscribes only where somebody handles what comes.
        self.subscribe_trade_updates(self._unused)

    async def open(self) -> None:
        """Connect.

        Raises:
            DependencyUnavailable: there is no connection within the time that was given for it.
        """
        try:
            await self._connect()  # type: ignore[no-untyped-call] # alpaca-py's own
        except (OSError, EOFError, WebSocketException) as error:
            raise self._unavailable("connecting", error) from error

    async def authenticate(self) -> None:
        """Send the keys, and ask for order changes once they are accepted.

        Raises:
            Unauthorized: the keys were refused.
            DependencyUnavailable: the connection ended, or the answer cannot be read.
        """
        try:
            await self._auth()  # type: ignore[no-untyped-call] # alpaca-py's own
            await self._subscribe_trade_updates()
        except (OSError, WebSocketException, *_UNREADABLE) as error:
            raise self._unavailable("authenticating", error) from error
        except ValueError as error:
            raise Unauthorized(
                f"the stream {self._url} refused the keys: check the key id, the secret key and the mode they belong to"
            ) from error

    async def frame(self) -> str | bytes:
        """Return the next frame.

        Raises:
            DependencyUnavailable: the connection ended, or its pings are not answered.
        """
        try:
            frame: str | bytes = await self._connection.recv()
        except (OSError, WebSocketException) as error:
            raise self._unavailable("listening", error) from error
        return frame

    async def leave(self) -> None:
        """End the connection: politely where the other side takes part, and at once where it does not."""
        if self._connection is None:
            return
        connection = self._connection
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.close()
        except (OSError, WebSocketException):
            connection.transport.abort()

    def abort(self) -> None:
        """Cut the connection; whoever waits for a frame fails."""
        if self._connection is not None:
            self._connection.transport.abort()

    @property
    def _connection(self) -> Any:  # noqa: ANN401 - alpaca-py says None, and puts a websocket there
        return self._ws

    async def _unused(self, _message: object) -> None:
        """Frames are read by :meth:`frame`."""

    def _unavailable(self, step: str, error: Exception) -> DependencyUnavailable:
        return DependencyUnavailable(f"{step} to the stream {self._url} failed: {type(error).__name__} {error}")
