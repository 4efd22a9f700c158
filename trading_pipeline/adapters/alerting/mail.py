"""Messages by mail: one SMTP conversation each, that ends in time whatever the server does.

smtplib knows a timeout for each silence only: a server that drips keeps it
for ever, and so does a name that is not resolved. Here each conversation has
a time by which it is over; then its socket is shut, which ends whatever waits
for it.
"""

import smtplib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from trading_pipeline.adapters.alerting.rendering import html_page, plain, subject
from trading_pipeline.adapters.bounded_http import TimeLimits
from trading_pipeline.adapters.resilience import ResiliencePolicy, Verb
from trading_pipeline.domain.errors import (
    DependencyUnavailable,
    InvalidInput,
    PermanentError,
    PipelineError,
    RequestRefused,
    Unauthorized,
)
from trading_pipeline.ports import Clock, Message, Severity
from trading_pipeline.settings.alerts import EmailChannelSettings, MailSecurity

DOMAIN = "trading-pipeline.invalid"
_LONGEST_QUOTE = 300
_PERMANENT = range(500, 600)
_UNAUTHORIZED = frozenset({530, 534, 535, 538})


class MailChannel:
    """Sends messages by one mail server."""

    name = "email"

    def __init__(self, chosen: EmailChannelSettings, policy: ResiliencePolicy, clock: Clock) -> None:
        """Send as ``chosen`` says, one attempt at a time under ``policy``; nothing is connected yet."""
        self._chosen = chosen
        self._policy = policy
        self._clock = clock

    def send(self, message: Message) -> str:
        """Hand a message to the server, and return what it answered.

        Raises:
            TransientError: no usable answer, or the server asks to come back later.
            PermanentError: login, certificate, sender, every recipient or the mail itself was refused.
        """
        mail = self._mail(message)
        return self._policy.call(Verb.ORDER, "sending mail", lambda limits: self._within(limits, mail))

    def _mail(self, message: Message) -> EmailMessage:
        mail = EmailMessage(policy=SMTP)
        try:
            mail["From"], mail["To"] = self._chosen.sender, ", ".join(self._chosen.recipients)
            mail["Subject"] = subject(message)
            mail["Date"] = format_datetime(self._clock.now())
            mail["Message-ID"] = message_id(message.id)
            # Nobody's absence notice should answer it: RFC 3834.
            mail["Auto-Submitted"] = "auto-generated"
            if message.answers:
                mail["In-Reply-To"] = mail["References"] = message_id(message.answers)
            if message.severity is Severity.CRITICAL:
                mail["Importance"] = "high"
            mail.set_content(plain(message))
            mail.add_alternative(html_page(message), subtype="html")
        except ValueError as error:
            raise InvalidInput(f"no mail can be made of message {message.id}: {error}; correct the settings") from error
        return mail

    def _within(self, limits: TimeLimits, mail: EmailMessage) -> str:
        talk = _Conversation(self._chosen, limits)
        seconds = min(limits.connect + limits.answer, limits.total)
        try:
            return ended_within(seconds, lambda: talk.carried_out(mail), talk.cut, f"{talk.place}: not over")
        except DependencyUnavailable:
            if talk.accepted:
                # Only the farewell failed: a repetition would be a second mail.
                return talk.accepted
            raise


def message_id(identity: str) -> str:
    """Return the Message-ID of a message: the same at each repetition, so that a receiver recognises it.

    >>> message_id("9f86d081884c7d65")
    '<9f86d081884c7d65@trading-pipeline.invalid>'
    """
    return f"<{identity}@{DOMAIN}>"


class _Conversation:
    """One connection to the server, that another thread may cut."""

    def __init__(self, chosen: EmailChannelSettings, limits: TimeLimits) -> None:
        self._chosen = chosen
        self._limits = limits
        self._server: smtplib.SMTP | None = None
        self._is_cut = threading.Event()
        self.place = f"mail server {chosen.host}:{chosen.port}"
        self.accepted = ""

    def cut(self) -> None:
        self._is_cut.set()
        server = self._server
        open_socket = None if server is None else server.sock
        if open_socket is not None:
            # The plain method: TLS's own would talk, and wait for an answer.
            with suppress(OSError):
                socket.socket.shutdown(open_socket, socket.SHUT_RDWR)

    def carried_out(self, mail: EmailMessage) -> str:
        """Connect, log in, send, and return what was answered; :attr:`accepted` says it as soon as it is known."""
        with self._classified(), self._connected() as server:
            self.accepted = self._told(server.send_message(mail))
            server.quit()
        return self.accepted

    def _told(self, refused: Mapping[str, tuple[int, bytes]]) -> str:
        accepted = [address for address in self._chosen.recipients if address not in refused]
        names = "".join(f"; {address} was refused: {_said(*refused[address])}" for address in refused)
        return f"accepted for {', '.join(accepted)}{names}"

    @contextmanager
    def _connected(self) -> Iterator[smtplib.SMTP]:
        chosen = self._chosen
        seconds = self._limits.connect
        if chosen.security is MailSecurity.TLS:
            server: smtplib.SMTP = smtplib.SMTP_SSL(timeout=seconds, context=ssl.create_default_context())
        else:
            server = smtplib.SMTP(timeout=seconds)
        self._server = server
        try:
            self._greeted(server)
            yield server
        finally:
            server.close()

    def _greeted(self, server: smtplib.SMTP) -> None:
        chosen = self._chosen
        # What smtplib checks the certificate against.
        server._host = chosen.host  # type: ignore[attr-defined]  # noqa: SLF001 - set by its constructor only
        code, answer = server.connect(chosen.host, chosen.port)
        if self._is_cut.is_set():
            raise smtplib.SMTPServerDisconnected("it was too late")
        if code != _READY:
            raise smtplib.SMTPConnectError(code, answer)
        if server.sock is not None:
            server.sock.settimeout(self._limits.answer)
        if chosen.security is MailSecurity.STARTTLS:
            _encrypt(server)
        if chosen.username:
            server.login(chosen.username, chosen.password.get_secret_value())

    @contextmanager
    def _classified(self) -> Iterator[None]:
        # From None: what smtplib raises may quote what it sent, the login among it.
        try:
            yield
        except ssl.SSLCertVerificationError as error:
            raise Unauthorized(
                f"{self.place}: its certificate is not accepted ({error.verify_message}); check host and port"
            ) from None
        except smtplib.SMTPNotSupportedError as error:
            raise InvalidInput(f"{self.place}: {error}; check port and security") from None
        except smtplib.SMTPRecipientsRefused as error:
            raise self._refused(error) from None
        except smtplib.SMTPResponseException as error:
            raise self._answered(error) from None
        except (smtplib.SMTPException, OSError, EOFError, UnicodeError) as error:
            raise DependencyUnavailable(f"{self.place}: {type(error).__name__}: {_quoted(str(error))}") from None

    def _refused(self, error: smtplib.SMTPRecipientsRefused) -> PipelineError:
        told = "; ".join(f"{address}: {_said(*answer)}" for address, answer in error.recipients.items())
        if all(code in _PERMANENT for code, _ in error.recipients.values()):
            return RequestRefused(f"{self.place} refused every recipient: {told}; check the addresses")
        return DependencyUnavailable(f"{self.place} takes no mail now: {told}")

    def _answered(self, error: smtplib.SMTPResponseException) -> PipelineError:
        code, told = error.smtp_code, f"{self.place} answered {_said(error.smtp_code, error.smtp_error)}"
        if code not in _PERMANENT or isinstance(error, _OF_THE_SERVER):
            return DependencyUnavailable(told)
        if code in _UNAUTHORIZED or isinstance(error, smtplib.SMTPAuthenticationError):
            return Unauthorized(f"{told}; check username and password")
        if isinstance(error, smtplib.SMTPSenderRefused) and code != _TOO_BIG:
            return Unauthorized(f"{told}; check alerts.email.sender and who may send as that")
        return RequestRefused(f"{told}; check sender, recipients and what the server asks for", str(code))


_READY = 220
# RFC 1870: a mail's size is announced, and may be refused, with its sender.
_TOO_BIG = 552
# Said before the server knows of any mail: the next one would fare no better, and this one is not at fault.
_OF_THE_SERVER = (smtplib.SMTPConnectError, smtplib.SMTPHeloError)


def _encrypt(server: smtplib.SMTP) -> None:
    try:
        server.starttls(context=ssl.create_default_context())
    except smtplib.SMTPResponseException as error:
        # smtplib does not tell a refusal of STARTTLS from one of a mail.
        raise smtplib.SMTPConnectError(error.smtp_code, error.smtp_error) from None


def ended_within(seconds: float, work: Callable[[], str], cut: Callable[[], None], what: str) -> str:
    """Return what ``work`` returns, unless it takes longer; then ``cut`` it, and let it end by itself.

    Raises:
        DependencyUnavailable: it took longer.
        PipelineError: what ``work`` raised.
    """
    promised: Future[str] = Future()

    def run() -> None:
        try:
            promised.set_result(work())
        except PipelineError as error:
            promised.set_exception(error)
        finally:
            # Whatever else it was, a bug among it, nobody waits for it in vain.
            if not promised.done():
                promised.set_exception(PermanentError(f"{what}: it ended with a failure that nobody foresaw"))

    threading.Thread(target=run, name="mail", daemon=True).start()
    if wait([promised], max(seconds, 0.0)).not_done:
        cut()
        raise DependencyUnavailable(f"{what} in {seconds:g} s")
    return promised.result()


def _said(code: int, answer: bytes | str) -> str:
    text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
    return f"{code} {_quoted(text)}".strip()


def _quoted(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _LONGEST_QUOTE else f"{words[:_LONGEST_QUOTE]}…"
