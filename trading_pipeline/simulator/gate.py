"""What every request passes before it reaches an endpoint: counting, keys or token, the rate limit.

Plain ASGI, outside the application, so that it sees requests as they arrive. The
keys decide which account a request is about; it finds it in its scope.
"""

import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trading_pipeline.simulator.broker import Broker

CONTROL = "/_sim/"
HEALTH = "/_sim/health"
MARKET_DATA = ("/v2/stocks/", "/v1/corporate-actions")
WINDOW_SECONDS = 60
# In the scope of a request: its account, whether its reply goes without rate limit, by how much its date is off.
ACCOUNT = "trading_pipeline.account"
BARE = "trading_pipeline.bare"
SKEW = "trading_pipeline.skew"


@dataclass(frozen=True)
class Credentials:
    """The API keys of a simulated account, and the token of the control plane."""

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


@dataclass(frozen=True)
class Account:
    """A simulated account: its keys, its share of requests, its broker."""

    credentials: Credentials
    rate_limit: RateLimit
    broker: Broker

    def has(self, key_id: str, secret_key: str) -> bool:
        """Tell whether these are its keys."""
        return (key_id, secret_key) == (self.credentials.key_id, self.credentials.secret_key)


class Gate:
    """ASGI middleware: counts requests by method and path, and turns away those that may not pass."""

    def __init__(self, app: ASGIApp, accounts: Sequence[Account], requests: Counter[str]) -> None:
        self._app = app
        self._accounts = accounts
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
        found = self._account(headers)
        rate_limit = (found or self._accounts[0]).rate_limit
        within = rate_limit.take()
        scope[ACCOUNT] = found
        answer = _key_refusal(headers) if found is None else None if within else too_many(path)

        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = MutableHeaders(scope=message)
                told["Date"] = formatdate(rate_limit.seconds() + scope.get(SKEW, 0), usegmt=True)
                for name, value in ({} if scope.get(BARE) else rate_limit.headers()).items():
                    told.setdefault(name, value)
            await send(message)

        await (answer or self._app)(scope, receive, send_with_limits)

    def _account(self, headers: Headers) -> Account | None:
        key_id, secret_key = headers.get("APCA-API-KEY-ID", ""), headers.get("APCA-API-SECRET-KEY", "")
        return next((account for account in self._accounts if account.has(key_id, secret_key)), None)

    def _control_refusal(self, path: str, headers: Headers) -> Response | None:
        given = headers.get("X-Sim-Token", "")
        wanted = self._accounts[0].credentials.control_token
        if path == HEALTH or secrets.compare_digest(given.encode(), wanted.encode()):
            return None
        return JSONResponse({"message": "the control plane needs its token in X-Sim-Token"}, 401)


def _key_refusal(headers: Headers) -> Response:
    if headers.get("APCA-API-KEY-ID") and headers.get("APCA-API-SECRET-KEY"):
        return JSONResponse({"message": "unauthorized."}, 401)
    return HTMLResponse("<html>401 from nginx</html>", 401)


def too_many(path: str) -> Response:
    """Return the answer to one request too many."""
    if path.startswith(MARKET_DATA):
        return JSONResponse({"message": "too many requests."}, 429)
    return JSONResponse({"code": 42910000, "message": "rate limit exceeded"}, 429)
