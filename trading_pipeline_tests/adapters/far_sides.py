"""The other ends of the channels of alerts: real servers on loopback, that accept, refuse, wait, drip and break off."""

import asyncio
import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult

from trading_pipeline.adapters.alerting.channels import channels
from trading_pipeline.ports import Message, Severity
from trading_pipeline.settings import AlertSettings

NOON = datetime(2026, 7, 31, 16, tzinfo=UTC)
MESSAGE = Message(
    id="0123456789abcdef",
    severity=Severity.CRITICAL,
    title="Positions differ",
    text="SPY: ours 10 <theirs 9> & more, größer als …",
    at=NOON,
    key="reconciliation:2026-07-31",
    runbook="https://wiki.example.com/operations#reconciliation-broken",
)
LONG_ENOUGH = 10.0
SHORT = 0.3


@dataclass
class Arrived:
    """A message as its receiver sees it: what tells a repetition, the line it is listed by, and what it says."""

    id: str
    title: str
    text: str
    raw: Any = None


class MailServer:
    """aiosmtpd on a port of its own; ``answers`` are given to DATA, one each, and the last for ever."""

    def __init__(self, **options: Any) -> None:
        self.arrived: list[Arrived] = []
        self.logins: list[tuple[str, str]] = []
        self.answers = ["250 queued"]
        self.refused: dict[str, str] = {}
        self._options = options
        self._loop = asyncio.new_event_loop()

    def __enter__(self) -> "MailServer":
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._opened(), self._loop).result(LONG_ENOUGH)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._closed(), self._loop).result(LONG_ENOUGH)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _opened(self) -> asyncio.AbstractServer:
        options = {"authenticator": self._authenticate, "auth_require_tls": False, **self._options}
        implicit = options.pop("implicit_tls", None)
        return await self._loop.create_server(
            lambda: SMTP(self, loop=self._loop, **options), "127.0.0.1", 0, ssl=implicit
        )

    async def _closed(self) -> None:
        self._server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _authenticate(self, server, session, envelope, mechanism, login) -> AuthResult:
        found = (login.login.decode(), login.password.decode())
        self.logins.append(found)
        return AuthResult(success=found == ("ana", "the-password"), handled=False)

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802 - aiosmtpd calls it so
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802 - aiosmtpd calls it so
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        if answer.startswith("250"):
            mail = message_from_bytes(envelope.content, policy=default)
            assert isinstance(mail, EmailMessage)
            text = mail.get_body(("plain",)).get_content()
            self.arrived.append(Arrived(mail["Message-ID"], mail["Subject"], text, mail))
        return answer


class RawServer:
    """A server that does one thing with each connection."""

    def __init__(self, act: Callable[[socket.socket, threading.Event], None]) -> None:
        self._act = act
        self.released = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> "RawServer":
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        # Closing alone would leave accept waiting.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in (self._accepting, *self._threads):
            thread.join(LONG_ENOUGH)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            self._act(connection, self.released)


def silent(connection: socket.socket, released: threading.Event) -> None:
    released.wait(LONG_ENOUGH)


def reset(connection: socket.socket, _released: threading.Event) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def dripping(first: bytes) -> Callable[[socket.socket, threading.Event], None]:
    """Never silent for long, and never done."""

    def act(connection: socket.socket, released: threading.Event) -> None:
        connection.sendall(first)
        while not released.wait(0.02):
            connection.sendall(b"x")

    return act


@dataclass
class FarSide:
    """One kind of channel as the contract sees it: a channel towards a server that does what a test says."""

    kind: str
    settings: Callable[[int], dict[str, Any]]
    accepting: Callable[..., Any]
    drip: bytes
    opened: list[Any] = field(default_factory=list)

    def channel(self, port: int, clock: Any, *, seconds: float = LONG_ENOUGH) -> Any:
        chosen = AlertSettings.model_validate(
            {
                self.kind: self.settings(port),
                "console": {"enabled": False},
                "connect_seconds": seconds,
                "answer_seconds": seconds,
            }
        )
        [channel] = channels(chosen, clock)
        return channel


def email_settings(port: int, **more: Any) -> dict[str, Any]:
    return {
        "host": "127.0.0.1",
        "port": port,
        "security": "none",
        "sender": "pipeline@example.com",
        "recipients": ["ana@example.com"],
        **more,
    }


def webhook_settings(port: int) -> dict[str, Any]:
    return {"url": f"http://127.0.0.1:{port}/services/T0SECRET/B0SECRET"}


class Hook:
    """The scripted HTTP server as a receiver of messages."""

    path = "/services/T0SECRET/B0SECRET"

    def __init__(self, server: Any) -> None:
        self.server = server
        self.port = server.server_address[1]

    @property
    def arrived(self) -> list[Arrived]:
        found = [request for request in self.server.received if request.method == "POST"]
        return [
            Arrived(
                request.headers["Idempotency-Key"],
                request.body["blocks"][0]["text"]["text"],
                json.dumps(request.body, ensure_ascii=False),
                request,
            )
            for request in found
        ]


@contextlib.contextmanager
def mail_server(**options: Any) -> Iterator[MailServer]:
    with MailServer(**options) as server:
        yield server
