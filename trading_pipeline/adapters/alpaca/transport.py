"""The way to Alpaca: real alpaca-py clients that never hang, never repeat by themselves and fail in our terms.

alpaca-py 0.44 sets no timeout and repeats a POST after 429 and 504. Both are
corrected on each client that is built here: one request per call, an end to
every wait, and an exception of ours for whatever goes wrong
(:mod:`~trading_pipeline.adapters.alpaca.failures`).
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests.exceptions import TooManyRedirects
from urllib3.exceptions import ReadTimeoutError

from trading_pipeline.adapters.alpaca.failures import classified
from trading_pipeline.adapters.clocks import WallClock
from trading_pipeline.adapters.resilience import RetryPolicy, call_with_retries
from trading_pipeline.domain.errors import DependencyUnavailable, InvalidInput, Unauthorized
from trading_pipeline.ports import Clock

if TYPE_CHECKING:
    from alpaca.common.rest import RESTClient

T = TypeVar("T")
PAPER_URL = "https://paper-api.alpaca.markets"
DATA_URL = "https://data.alpaca.markets"
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})
_CHUNK_BYTES = 65_536
_REDIRECTS = range(300, 400)


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
    """Where Alpaca is, and how long an answer may take.

    Attributes:
        trading_url: base of the trading API: scheme, host and port, no path.
        data_url: base of the market data API, likewise.
        connect_seconds: longest wait for a connection.
        read_seconds: longest silence while an answer is awaited or read.
        answer_seconds: longest time for the whole body of an answer, however steadily it drips.
        retries: how reads are repeated; orders never are.
    """

    trading_url: str = PAPER_URL
    data_url: str = DATA_URL
    connect_seconds: float = 3.05
    read_seconds: float = 10.0
    answer_seconds: float = 30.0
    retries: RetryPolicy = field(default_factory=RetryPolicy)

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


class _BoundedAdapter(HTTPAdapter):
    """Sends with timeouts, refuses redirects and stops reading at a deadline."""

    def __init__(self, connection: Connection) -> None:
        # One client serves one thread, so one connection to its one host is all it can use.
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)
        self._connection = connection

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:  # noqa: ANN401 - as requests has it
        kwargs["timeout"] = (self._connection.connect_seconds, self._connection.read_seconds)
        response = super().send(request, *args, **kwargs)
        if response.status_code in _REDIRECTS:
            response.close()
            raise TooManyRedirects(f"redirected to {response.headers.get('Location')!r}", response=response)
        # A read timeout bounds each silence, not their sum: a server that drips bytes would hold us for ever.
        raw: Any = response.raw
        raw.stream = _stream_until(time.monotonic() + self._connection.answer_seconds, raw)
        return response


def _stream_until(deadline: float, raw: Any) -> Callable[..., Iterator[bytes]]:  # noqa: ANN401 - urllib3's response
    def stream(amt: int = _CHUNK_BYTES, decode_content: bool | None = None) -> Iterator[bytes]:  # noqa: FBT001 - urllib3's
        while chunk := raw.read1(amt, decode_content=decode_content):
            yield chunk
            if time.monotonic() > deadline:
                raw.close()
                raise ReadTimeoutError(raw.connection, raw.geturl(), "the answer dripped past its deadline")

    return stream


def _corrected(client: T, base_url: str, connection: Connection) -> T:
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
    session = untyped._session  # noqa: SLF001 - the only handle there is
    session.mount("https://", _BoundedAdapter(connection))
    session.mount("http://", _BoundedAdapter(connection))
    # HTTP_PROXY would otherwise capture calls to this very machine.
    session.trust_env = urlsplit(base_url).hostname not in LOOPBACK_HOSTS
    return client


class Api:
    """One of Alpaca's APIs: the client's own calls, with reads repeated and failures classified.

    Each thread has its own client: a requests.Session is not promised to be
    safe across threads, and a lock would put concurrent pages in a row again.

    Answers are Alpaca's JSON as it came; ``translation`` alone knows its
    fields. The models of alpaca-py refuse a whole list for one enum value
    that Alpaca has added since, and turn Decimals into floats.
    """

    def __init__(self, base_url: str, build: Callable[[], "RESTClient"], policy: RetryPolicy, clock: Clock) -> None:
        """Remember how a thread's client is built; nothing is connected yet."""
        self._base_url = base_url
        self._build = build
        self._policy = policy
        self._clock = clock
        self._of_thread = threading.local()

    def client(self) -> "RESTClient":
        """Return the calling thread's alpaca-py client."""
        if not hasattr(self._of_thread, "client"):
            self._of_thread.client = self._build()
        client: RESTClient = self._of_thread.client
        return client

    def get(self, path: str, parameters: Mapping[str, str | int] | None = None) -> Any:  # noqa: ANN401 - JSON
        """Return the JSON at ``path`` (without its version), asking again where that may help.

        Raises:
            TransientError: no usable answer within the retry policy.
            PermanentError: Alpaca refused.
        """

        def ask() -> Any:  # noqa: ANN401 - JSON
            return self._answer("GET", path, lambda: self.client().get(path, dict(parameters or {})))

        return call_with_retries(ask, "reading from Alpaca", self._policy, self._clock)

    def post(self, path: str, body: Mapping[str, str]) -> Any:  # noqa: ANN401 - JSON
        """Send ``body`` exactly once and return the JSON that answers it.

        Raises:
            TransientError: no usable answer; the request may or may not have been carried out.
            PermanentError: Alpaca refused.
        """
        return self._answer("POST", path, lambda: self.client().post(path, dict(body)))

    def delete(self, path: str) -> None:
        """Ask exactly once for ``path`` to be deleted; raises as :meth:`post`."""
        classified(self._described("DELETE", path), lambda: self.client().delete(path))

    def _answer(self, method: str, path: str, call: Callable[[], Any]) -> Any:  # noqa: ANN401 - JSON
        request = self._described(method, path)
        answer = classified(request, call)
        if answer is None:
            raise DependencyUnavailable(f"{request}: an empty answer where JSON was expected")
        return answer

    def _described(self, method: str, path: str) -> str:
        return f"{method} {self._base_url}/v2{path}"


def trading_api(keys: Keys, connection: Connection, clock: Clock | None = None) -> Api:
    """Return the trading API: account, orders, assets, clock.

    ``clock`` paces the retries; it is the machine's where none is given.
    """

    def build() -> "RESTClient":
        from alpaca.trading.client import TradingClient

        url = connection.trading_url
        client = TradingClient(keys.key_id, keys.secret_key, raw_data=True, url_override=url)
        return _corrected(client, url, connection)

    return Api(connection.trading_url, build, connection.retries, clock or WallClock())


def data_api(keys: Keys, connection: Connection, clock: Clock | None = None) -> Api:
    """Return the market data API: bars and quotes; ``clock`` as for :func:`trading_api`."""

    def build() -> "RESTClient":
        from alpaca.data.historical.stock import StockHistoricalDataClient

        url = connection.data_url
        client = StockHistoricalDataClient(keys.key_id, keys.secret_key, raw_data=True, url_override=url)
        return _corrected(client, url, connection)

    return Api(connection.data_url, build, connection.retries, clock or WallClock())
