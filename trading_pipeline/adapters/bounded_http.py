"""HTTP requests that end: every one has a time by which it is over, whatever the server does.

requests knows a timeout for the connection and one for each silence. Neither
bounds a name that is not resolved, headers that drip, or a body without an
end. Here the time that is left is set anew before each read of the socket,
and an answer has a greatest length.
"""

import io
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, InvalidStateError, wait
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPResponse
from math import inf
from typing import TYPE_CHECKING, Any

from requests import PreparedRequest, Request, Response, Session
from requests.adapters import HTTPAdapter
from requests.exceptions import TooManyRedirects
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, ProtocolError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

LARGEST_ANSWER_BYTES = 64 * 2**20
_CHUNK_BYTES = 65_536
_REDIRECTS = range(300, 400)
# A timeout of zero would mean not to wait at all, which is another error than being late.
_SHORTEST_SECONDS = 0.001


@dataclass(frozen=True)
class TimeLimits:
    """How long one request may take, in seconds.

    Attributes:
        connect: for the name, the connection and the handshake.
        answer: for the whole answer, from the last byte of the request to the last of the answer.
        total: for all of it.
    """

    connect: float
    answer: float
    total: float

    def as_timeout(self) -> Timeout:
        """Return them in urllib3's terms."""
        connect, answer, total = (max(each, _SHORTEST_SECONDS) for each in (self.connect, self.answer, self.total))
        return Timeout(connect=min(connect, total), read=answer, total=total)


class BoundedAdapter(HTTPAdapter):
    """Sends within :attr:`limits`, refuses redirects, and shows every answer's status and headers to ``observe``.

    One at a time: it belongs to a session that one thread uses.
    """

    def __init__(self, observe: Callable[[int, Mapping[str, str]], None]) -> None:
        """Begin with limits of ten seconds; whoever sends sets others before."""
        # One session serves one thread, so one connection to its one host is all it can use.
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)
        self.limits = TimeLimits(connect=10.0, answer=10.0, total=10.0)
        self._observe = observe

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as requests has it
        """Make connections of our kind."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as requests has it
        """Make connections of our kind through a proxy, too."""
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:  # noqa: ANN401 - as requests has it
        """Send ``request``, and return the answer whose body is still to be read.

        Raises:
            RequestException: no answer in time, or a redirect.
        """
        kwargs["timeout"] = self.limits.as_timeout()
        response = super().send(request, *args, **kwargs)
        self._observe(response.status_code, response.headers)
        if response.status_code in _REDIRECTS:
            response.close()
            raise TooManyRedirects(f"redirected to {response.headers.get('Location')!r}", response=response)
        raw: Any = response.raw
        raw.stream = _not_endless(raw)
        return response


class BoundedSession(Session):
    """A session that sends through one adapter, whatever the scheme.

    It gives a request its own headers and nothing else: no cookie of an earlier
    answer, and no password that ``~/.netrc`` holds for the host. What requests
    merges into each besides costs a fifth of a request on loopback, for orders
    that wait for it.
    """

    def __init__(self, adapter: BoundedAdapter) -> None:
        """Send through ``adapter``."""
        super().__init__()
        for scheme in ("https://", "http://"):
            self.mount(scheme, adapter)

    def prepare_request(self, request: Request) -> PreparedRequest:
        """Return ``request`` with the session's headers beside its own, which count."""
        prepared = PreparedRequest()
        prepared.prepare(
            method=request.method,
            url=request.url,
            headers={**self.headers, **(request.headers or {})},
            files=request.files,
            data=request.data,
            json=request.json,
            params=request.params,
            auth=request.auth,
            cookies=request.cookies,
            hooks=request.hooks,
        )
        return prepared


def _not_endless(raw: Any) -> Callable[..., Iterator[bytes]]:  # noqa: ANN401 - urllib3's response
    chunks: Callable[..., Iterator[bytes]] = raw.stream

    def stream(amt: int = _CHUNK_BYTES, decode_content: bool | None = None) -> Iterator[bytes]:  # noqa: FBT001 - urllib3's
        length = 0
        for chunk in chunks(amt, decode_content):
            length += len(chunk)
            if length > LARGEST_ANSWER_BYTES:
                raw.close()
                raise ProtocolError(f"the answer is longer than {LARGEST_ANSWER_BYTES} bytes")
            yield chunk

    return stream


class _BoundedHTTP(HTTPConnection):
    """A connection whose ``timeout`` is an end, and no longer a longest silence.

    A request leaves in one piece, where urllib3 sends its headers first and
    its body after them: the other side wakes once for it.
    """

    _pieces: list[bytes] | None = None

    def request(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as urllib3 has it
        pieces: list[bytes] = []
        self._pieces = pieces
        try:
            super().request(*args, **kwargs)
        finally:
            self._pieces = None
        super().send(b"".join(pieces))

    def send(self, data: Any) -> None:  # noqa: ANN401 - as http.client has it
        if self._pieces is None:
            super().send(data)
        else:
            self._pieces.append(data)

    def _new_conn(self) -> socket.socket:
        seconds = self.timeout or 0.0
        until = time.monotonic() + seconds
        # Neither the resolver nor a list of dead addresses keeps to the timeout of one connection.
        connected = _within(seconds, super()._new_conn, self)
        # What is left is for the handshake that follows.
        connected.settimeout(max(until - time.monotonic(), _SHORTEST_SECONDS))
        return connected

    def response_class(self, sock: socket.socket, **kwargs: Any) -> HTTPResponse:  # type: ignore[override] # noqa: ANN401 - http.client only calls it
        until_deadline: Any = _Answering(sock, time.monotonic() + (self.timeout or 0.0))
        return HTTPResponse(until_deadline, **kwargs)


class _BoundedHTTPS(_BoundedHTTP, HTTPSConnection):
    pass


class _BoundedHTTPPool(HTTPConnectionPool):
    ConnectionCls = _BoundedHTTP


class _BoundedHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _BoundedHTTPS


_POOLS = {"http": _BoundedHTTPPool, "https": _BoundedHTTPSPool}


class _Answering:
    """A socket as far as http.client's response needs it: something to be read, here until a deadline."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline

    def makefile(self, *_mode: str) -> io.BufferedReader:
        return io.BufferedReader(_ReadUntil(self._sock, self._deadline))


class _ReadUntil(io.RawIOBase):
    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._file = sock.makefile("rb", buffering=0)
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer was not complete at its deadline")
        # urllib3 has just set it for the first reading, to no more than an instant longer.
        if (self._sock.gettimeout() or inf) - left > _SHORTEST_SECONDS:
            self._sock.settimeout(left)
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


def _within(seconds: float, connect: Callable[[], socket.socket], connection: HTTPConnection) -> socket.socket:
    """Return what ``connect`` returns, unless it takes longer; what comes later is closed."""
    promised: Future[socket.socket] = Future()

    def work() -> None:
        try:
            connected = connect()
        except HTTPError as error:
            with suppress(InvalidStateError):
                promised.set_exception(error)
            return
        try:
            promised.set_result(connected)
        except InvalidStateError:
            connected.close()

    threading.Thread(target=work, name="connect", daemon=True).start()
    wait([promised], seconds)
    if promised.cancel():
        raise ConnectTimeoutError(connection, f"no connection to {connection.host} in {seconds:g} s")
    return promised.result()
