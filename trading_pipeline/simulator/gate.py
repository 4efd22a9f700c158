"""What every request passes before it reaches an endpoint: counting, keys or token, the rate limit.

Plain ASGI, outside the application, so that it sees requests as they arrive.
"""

import secrets
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTROL = "/_sim/"
HEALTH = "/_sim/health"
MARKET_DATA = "/v2/stocks/"
WINDOW_SECONDS = 60


@dataclass(frozen=True)
class Credentials:
    """The API keys of the simulated account, and the token of the control plane."""

    key_id: str
    secret_key: str
    control_token: str


@dataclass
class RateLimit:
    """At most ``limit`` requests in each minute of wall time; ``seconds`` tells that time in Unix seconds."""

    limit: int
    seconds: Callable[[], float] = time.time
    _window: int = field(default=0, init=False)
    _used: int = field(default=0, init=False)

    def take(self) -> bool:
        """Count a request; tell whether it is within the limit."""
        window = int(self.seconds()) // WINDOW_SECONDS
        if window != self._window:
            self._window, self._used = window, 0
        self._used += 1
        return self._used <= self.limit

    def headers(self) -> dict[str, str]:
        """Return the headers that tell how much is left, and the Unix second at which counting starts again."""
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(max(self.limit - self._used, 0)),
            "X-RateLimit-Reset": str((self._window + 1) * WINDOW_SECONDS),
        }


class Gate:
    """ASGI middleware: counts requests by method and path, and turns away those that may not pass."""

    def __init__(self, app: ASGIApp, credentials: Credentials, rate_limit: RateLimit, requests: Counter[str]) -> None:
        self._app = app
        self._credentials = credentials
        self._rate_limit = rate_limit
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, headers = scope["path"], Headers(scope=scope)
        if path.startswith(CONTROL):
            await (self._control_refusal(path, headers) or self._app)(scope, receive, send)
            return
        self._requests[f"{scope['method']} {path}"] += 1
        within = self._rate_limit.take()
        answer = self._key_refusal(headers) or (None if within else _too_many(path))

        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._rate_limit.headers())
            await send(message)

        await (answer or self._app)(scope, receive, send_with_limits)

    def _control_refusal(self, path: str, headers: Headers) -> Response | None:
        given = headers.get("X-Sim-Token", "")
        if path == HEALTH or secrets.compare_digest(given.encode(), self._credentials.control_token.encode()):
            return None
        return JSONResponse({"message": "the control plane needs its token in X-Sim-Token"}, 401)

    def _key_refusal(self, headers: Headers) -> Response | None:
        key_id, secret_key = headers.get("APCA-API-KEY-ID"), headers.get("APCA-API-SECRET-KEY")
        if not key_id or not secret_key:
            return HTMLResponse("<html>401 from nginx</html>", 401)
        wanted = self._credentials
        if (key_id, secret_key) != (wanted.key_id, wanted.secret_key):
            return JSONResponse({"message": "unauthorized."}, 401)
        return None


def _too_many(path: str) -> Response:
    if path.startswith(MARKET_DATA):
        return JSONResponse({"message": "too many requests."}, 429)
    return JSONResponse({"code": 42910000, "message": "rate limit exceeded"}, 429)
