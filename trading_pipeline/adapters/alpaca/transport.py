"""The way to Alpaca: real alpaca-py clients that never hang, never repeat by themselves and fail in our terms.

alpaca-py 0.44 sets no timeout and repeats a POST after 429 and 504. Both are
corrected on each client that is built here: one request per call, an end to
every wait, and an exception of ours for whatever goes wrong
(:mod:`~trading_pipeline.adapters.alpaca.failures`).
"""

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from trading_pipeline.adapters.alpaca.failures import classified
from trading_pipeline.adapters.bounded_http import BoundedAdapter, BoundedSession, TimeLimits
from trading_pipeline.adapters.circuit_breaker import BreakerRules
from trading_pipeline.adapters.clocks import WallClock
from trading_pipeline.adapters.request_quota import QuotaRules, RequestQuota
from trading_pipeline.adapters.resilience import CallRules, Health, ResiliencePolicy, RetryPolicy, Verb
from trading_pipeline.domain.errors import DependencyUnavailable, InvalidInput, Unauthorized
from trading_pipeline.ports import Clock, Metrics
from trading_pipeline.settings import OrderCallSettings, QuotaSettings, ReadCallSettings, ResilienceSettings

if TYPE_CHECKING:
    from alpaca.common.rest import RESTClient

T = TypeVar("T")
PAPER_URL = "https://paper-api.alpaca.markets"
DATA_URL = "https://data.alpaca.markets"
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})
VERSION = "v2"
_PURPOSES = {
    Verb.READ: "reading from Alpaca",
    Verb.ORDER: "placing an order at Alpaca",
    Verb.CANCEL: "cancelling at Alpaca",
}


@dataclass(frozen=True)
class Keys:
    """An account's API keys; they are in no message and no ``repr``."""

    key_id: str = field(repr=False)
    secret_key: str = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse keys that cannot be keys.

        requests would quote a key that cannot be a header in its own error, so it must not come that far.

        Raises:
            Unauthorized: one of the two is empty, or holds a space, a line end or a letter outside ASCII.
        """
        for name, key in (("key id", self.key_id), ("secret key", self.secret_key)):
            if not key:
                raise Unauthorized(f"Alpaca's {name} is empty: set both the key id and the secret key")
            if not (key.isascii() and key.isprintable()) or " " in key:
                raise Unauthorized(f"Alpaca's {name} holds a space or a sign that no key has: copy it again")


@dataclass(frozen=True)
class Connection:
    """Where Alpaca is, and how it is called.

    Attributes:
        trading_url: base of the trading API: scheme, host and port, no path.
        data_url: base of the market data API, likewise.
        resilience: patience, breakers and quotas by kind of call.
    """

    trading_url: str = PAPER_URL
    data_url: str = DATA_URL
    resilience: ResilienceSettings = field(default_factory=ResilienceSettings)

    def __post_init__(self) -> None:
        """Refuse an address to which keys must not be sent.

        Raises:
            InvalidInput: a URL has a path or is not https (http is for loopback only).
        """
        for url in (self.trading_url, self.data_url):
            _check_base_url(url)


def _check_base_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS):
        raise InvalidInput(f"Alpaca's URL must be https (http for loopback only), was {url!r}")
    # Alpaca's version is appended by the client; "//v2" would be another path.
    if parts.path or parts.query or not parts.hostname:
        raise InvalidInput(f"Alpaca's URL must be scheme, host and port only, such as {PAPER_URL}, was {url!r}")


def _corrected(client: T, base_url: str, adapter: BoundedAdapter) -> T:
    """Switch off the client's own retries and give it our adapter.

    Raises:
        InvalidInput: this alpaca-py keeps them elsewhere, so that it would run without timeouts.
    """
    for name in ("_retry", "_session"):
        if not hasattr(client, name):
            raise InvalidInput(
                f"alpaca-py's {type(client).__name__} has no {name}: its retries and timeouts cannot be set; "
                "install the version named in requirements.lock"
            )
    untyped: Any = client
    # 0 means one attempt: the client repeats 429 and 504 while this is above zero, POST included.
    untyped._retry = 0  # noqa: SLF001 - the only handle there is
    untyped._session = session = BoundedSession(adapter)  # noqa: SLF001 - the only handle there is
    # HTTP_PROXY would otherwise capture calls to this very machine.
    session.trust_env = urlsplit(base_url).hostname not in LOOPBACK_HOSTS
    return client


@dataclass(frozen=True)
class _Line:
    """One thread's way to Alpaca: a client, and the adapter through which it sends."""

    client: "RESTClient"
    adapter: BoundedAdapter


class Api:
    """One of Alpaca's APIs: the client's own calls under our policy, with failures classified.

    Each thread has its own client: a requests.Session is not promised to be
    safe across threads, and a lock would put concurrent pages in a row again.

    Answers are Alpaca's JSON as it came; ``translation`` alone knows its
    fields. The models of alpaca-py refuse a whole list for one enum value
    that Alpaca has added since, and turn Decimals into floats.
    """

    def __init__(
        self, base_url: str, build: Callable[[], "RESTClient"], policy: ResiliencePolicy, quota: RequestQuota
    ) -> None:
        """Remember how a thread's client is built, and tell ``quota`` of each answer; nothing is connected yet."""
        self._base_url = base_url
        self._build = build
        self._policy = policy
        self._quota = quota
        self._of_thread = threading.local()

    def client(self) -> "RESTClient":
        """Return the calling thread's alpaca-py client."""
        return self._line().client

    def health(self) -> Health:
        """Return what became of the calls so far: breakers, counts, the latest failures, and what the quota leaves."""
        return self._policy.snapshot()

    def get(self, path: str, parameters: Mapping[str, str | int] | None = None, *, version: str = VERSION) -> Any:  # noqa: ANN401 - JSON
        """Return the JSON at ``path`` of that version of the API, asking again where that may help.

        Raises:
            TransientError: no usable answer within the policy, or none asked for since the last ones failed.
            PermanentError: Alpaca refused.
        """
        request = self._described("GET", path, version)
        return self._answer(
            Verb.READ, request, lambda client: client.get(path, dict(parameters or {}), api_version=version)
        )

    def post(self, path: str, body: Mapping[str, str]) -> Any:  # noqa: ANN401 - JSON
        """Send ``body`` exactly once and return the JSON that answers it.

        Raises:
            CircuitOpen: nothing was sent, since the last ones failed.
            TransientError: no usable answer; the request may or may not have been carried out.
            PermanentError: Alpaca refused.
        """
        request = self._described("POST", path)
        return self._answer(Verb.ORDER, request, lambda client: client.post(path, dict(body)))

    def turn_to_post(self) -> AbstractContextManager[None]:
        """Wait for a turn of the quota; what this thread posts first inside the block uses it, and does not wait.

        Raises:
            RateLimited: the turn would come after the deadline; nothing was sent.
            Interrupted: the process was asked to end while it waited.
        """
        return self._policy.turn(Verb.ORDER)

    def delete(self, path: str) -> None:
        """Ask exactly once for ``path`` to be deleted; raises as :meth:`post`, but never for a breaker."""
        request = self._described("DELETE", path)
        self._send(Verb.CANCEL, lambda client: classified(request, lambda: client.delete(path)))

    def _answer(self, verb: Verb, request: str, call: Callable[["RESTClient"], Any]) -> Any:  # noqa: ANN401
        def ask(client: "RESTClient") -> Any:  # noqa: ANN401 - JSON
            answer = classified(request, lambda: call(client))
            if answer is None:
                raise DependencyUnavailable(f"{request}: an empty answer where JSON was expected")
            return answer

        return self._send(verb, ask)

    def _send(self, verb: Verb, ask: Callable[["RESTClient"], T]) -> T:
        line = self._line()

        def within(limits: TimeLimits) -> T:
            line.adapter.limits = limits
            return ask(line.client)

        return self._policy.call(verb, _PURPOSES[verb], within)

    def _line(self) -> _Line:
        if not hasattr(self._of_thread, "line"):
            adapter = BoundedAdapter(self._quota.observe)
            client = _corrected(self._build(), self._base_url, adapter)
            self._of_thread.line = _Line(client, adapter)
        line: _Line = self._of_thread.line
        return line

    def _described(self, method: str, path: str, version: str = VERSION) -> str:
        return f"{method} {self._base_url}/{version}{path}"


def trading_api(keys: Keys, connection: Connection, clock: Clock | None = None, metrics: Metrics | None = None) -> Api:
    """Return the trading API: account, orders, assets, clock.

    ``clock`` paces the calls and is the machine's where none is given; ``metrics`` receives their counts.
    """

    def build() -> "RESTClient":
        from alpaca.trading.client import TradingClient

        return TradingClient(keys.key_id, keys.secret_key, raw_data=True, url_override=connection.trading_url)

    chosen = connection.resilience
    rules = {
        Verb.READ: _read_rules(chosen.trading_read),
        Verb.ORDER: _order_rules(chosen.trading_order),
        Verb.CANCEL: _order_rules(chosen.trading_cancel),
    }
    return _api("trading", connection.trading_url, build, rules, chosen.trading_quota, clock or WallClock(), metrics)


def data_api(keys: Keys, connection: Connection, clock: Clock | None = None, metrics: Metrics | None = None) -> Api:
    """Return the market data API: bars and quotes; ``clock`` and ``metrics`` as for :func:`trading_api`."""

    def build() -> "RESTClient":
        from alpaca.data.historical.stock import StockHistoricalDataClient

        return StockHistoricalDataClient(keys.key_id, keys.secret_key, raw_data=True, url_override=connection.data_url)

    chosen = connection.resilience
    rules = {Verb.READ: _read_rules(chosen.market_data_read)}
    return _api(
        "market data", connection.data_url, build, rules, chosen.market_data_quota, clock or WallClock(), metrics
    )


def _api(
    dependency: str,
    base_url: str,
    build: Callable[[], "RESTClient"],
    rules: Mapping[Verb, CallRules],
    allowed: QuotaSettings,
    clock: Clock,
    metrics: Metrics | None,
) -> Api:
    quota = RequestQuota(QuotaRules(allowed.requests_per_minute, allowed.burst), clock)
    return Api(base_url, build, ResiliencePolicy(dependency, rules, clock, quota, metrics), quota)


def _read_rules(chosen: ReadCallSettings) -> CallRules:
    retry = RetryPolicy(
        chosen.attempts, chosen.first_wait_seconds, chosen.longest_wait_seconds, chosen.deadline_seconds
    )
    return CallRules(retry, chosen.connect_seconds, chosen.answer_seconds, _breaker_rules(chosen))


def _order_rules(chosen: OrderCallSettings) -> CallRules:
    once = RetryPolicy(attempts=1, deadline_seconds=chosen.deadline_seconds)
    return CallRules(once, chosen.connect_seconds, chosen.answer_seconds, _breaker_rules(chosen))


def _breaker_rules(chosen: ReadCallSettings | OrderCallSettings) -> BreakerRules:
    return BreakerRules(
        failures=chosen.breaker_failures,
        window_seconds=chosen.breaker_window_seconds,
        pause_seconds=chosen.breaker_pause_seconds,
    )
