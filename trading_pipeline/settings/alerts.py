"""Settings of alerts: the channels by which they reach people, how many, how patiently, and who must answer."""

import ipaddress
import re
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from trading_pipeline.ports import Severity
from trading_pipeline.settings.section import Seconds, Section

_LOCAL_NAMES = frozenset({"localhost"})
_ADDRESS = re.compile(r"[^\s@<>,;:\"\\()\x00-\x1f\x7f]+@[^\s@<>,;:\"\\()\x00-\x1f\x7f]+")
_HOST = re.compile(r"[A-Za-z0-9.-]+")


class MailSecurity(StrEnum):
    """How mail is kept from others on its way: not at all, by STARTTLS, or by TLS from the first byte."""

    NONE = "none"
    STARTTLS = "starttls"
    TLS = "tls"


def _as_text(value: Any) -> Any:  # noqa: ANN401 - whatever the file spells
    # YAML reads a password of digits as a number, and a refusal would quote it.
    return value if isinstance(value, str | SecretStr) else str(value)


def _as_list(value: Any) -> Any:  # noqa: ANN401 - whatever the file spells
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Secret = Annotated[SecretStr, BeforeValidator(_as_text)]
Addresses = Annotated[tuple[str, ...], BeforeValidator(_as_list)]


class ChannelSettings(Section):
    """What every channel is told: from which severity on, and how much at most."""

    minimum_severity: Severity = Field(
        default=Severity.WARNING, description="Lowest severity that goes this way: info, warning or critical."
    )
    most_messages: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=20, description="Messages in window_minutes after which alerts are collected into one; never critical."
    )
    window_minutes: Annotated[int, Field(ge=1, le=1440)] = Field(
        default=60, description="Minutes over which messages are counted."
    )


class EmailChannelSettings(ChannelSettings):
    """Mail by SMTP; not used without a host."""

    minimum_severity: Severity = Field(
        default=Severity.INFO, description="Lowest severity that goes this way; reports of sessions are info."
    )
    host: str = Field(default="", description="The server that takes the mail, such as smtp.example.com.")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(default=587, description="Its port.")
    security: MailSecurity = Field(
        default=MailSecurity.STARTTLS, description="starttls, tls, or none (for a server on this machine)."
    )
    username: str = Field(default="", description="Name to log in with; without one there is no login.")
    password: Secret = Field(
        default=SecretStr(""), description="Its password; set TRADING_PIPELINE__ALERTS__EMAIL__PASSWORD."
    )
    sender: str = Field(default="", description="Address that the mail is from.")
    recipients: Addresses = Field(default=(), description="Addresses that the mail goes to.")

    @model_validator(mode="after")
    def _can_be_sent(self) -> "EmailChannelSettings":
        if not self.host:
            return self
        if not (_HOST.fullmatch(self.host) or _address(self.host)):
            raise ValueError("host must be the name or address of a mail server, with neither scheme nor port")
        for address in (self.sender, *self.recipients):
            if not _ADDRESS.fullmatch(address):
                raise ValueError(f"sender and recipients must be addresses such as a@example.com, was {address!r}")
        if not self.recipients:
            raise ValueError("recipients must name whom the mail goes to")
        return self

    @model_validator(mode="after")
    def _keeps_the_password(self) -> "EmailChannelSettings":
        if bool(self.username) != bool(self.password.get_secret_value()):
            raise ValueError("username and password go together: set both, or none")
        if self.username and self.security is MailSecurity.NONE and not is_loopback(self.host):
            raise ValueError("a password is sent encrypted only: set security to starttls or tls")
        return self


class WebhookChannelSettings(ChannelSettings):
    """Messages posted as JSON to an address as Slack gives one; not used without it."""

    url: Secret = Field(
        default=SecretStr(""),
        description="Address to post to, a secret like a password; set TRADING_PIPELINE__ALERTS__WEBHOOK__URL.",
    )

    @model_validator(mode="after")
    def _is_kept_secret(self) -> "WebhookChannelSettings":
        url = self.url.get_secret_value()
        if not url:
            return self
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            host = None
        if not host or not url.isascii() or not url.isprintable() or " " in url:
            raise ValueError("url must be an address such as https://hooks.example.com/services/...")
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
            raise ValueError("url must be https (http for a server on this machine only)")
        return self


class ConsoleChannelSettings(ChannelSettings):
    """Messages on standard error of whichever process delivers them."""

    enabled: bool = Field(default=True, description="Print messages where alerts are delivered.")


class AlertSettings(Section):
    """How alerts reach people, and what happens where nobody answers."""

    email: EmailChannelSettings = Field(default_factory=EmailChannelSettings)
    webhook: WebhookChannelSettings = Field(default_factory=WebhookChannelSettings)
    console: ConsoleChannelSettings = Field(default_factory=ConsoleChannelSettings)
    acknowledge_within_minutes: Annotated[int, Field(ge=1, le=10_080)] | None = Field(
        default=60,
        description="Minutes for `alerts ack` on a critical alert before trading only reduces; null: never.",
    )
    delivery_interval_seconds: Annotated[int, Field(ge=5, le=3600)] = Field(
        default=30, description="Seconds between two deliveries of what is pending."
    )
    connect_seconds: Seconds = Field(default=5.0, description="Seconds for a connection to a channel.")
    answer_seconds: Seconds = Field(default=10.0, description="Seconds for all that a channel says after that.")
    first_retry_seconds: Seconds = Field(
        default=30.0, description="Longest wait after a first failure, in seconds; it doubles with each further one."
    )
    longest_retry_minutes: Annotated[int, Field(ge=1, le=1440)] = Field(
        default=30, description="Longest wait between two attempts, in minutes."
    )
    failures_before_telling: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=3, description="Failures of one message after which the other channels are told that a channel fails."
    )
    give_up_after_hours: Annotated[int, Field(ge=1, le=720)] = Field(
        default=24, description="Hours after which a channel that keeps failing is given up for a message."
    )
    runbook: str = Field(
        default="docs/operations.md",
        description="Where docs/operations.md is to be read by who gets a message, such as its web address.",
    )

    @model_validator(mode="after")
    def _waits_longer(self) -> "AlertSettings":
        if self.longest_retry_minutes * 60 < self.first_retry_seconds:
            raise ValueError(
                f"longest_retry_minutes, {self.longest_retry_minutes}, must not be below first_retry_seconds, "
                f"{self.first_retry_seconds:g}"
            )
        return self


def is_loopback(host: str) -> bool:
    """Tell whether ``host`` is this machine by its name or address.

    >>> [is_loopback(host) for host in ("localhost", "127.0.0.1", "::1", "mail.example.com")]
    [True, True, True, False]
    """
    address = _address(host)
    return host.lower() in _LOCAL_NAMES if address is None else address.is_loopback


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
