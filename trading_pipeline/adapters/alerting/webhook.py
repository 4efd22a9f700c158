"""Messages posted as JSON to an address, as Slack's incoming webhooks take them.

The address is a secret: who knows it may post. No message of ours quotes more
of it than its host, and no failure of requests, which would, is passed on.
"""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from requests import exceptions

from trading_pipeline.adapters.alerting.rendering import blocks
from trading_pipeline.adapters.bounded_http import BoundedAdapter, BoundedSession, TimeLimits
from trading_pipeline.adapters.request_quota import retry_after
from trading_pipeline.adapters.resilience import ResiliencePolicy, Verb
from trading_pipeline.domain.errors import (
    DependencyUnavailable,
    InvalidInput,
    PipelineError,
    RateLimited,
    RequestRefused,
    Unauthorized,
)
from trading_pipeline.ports import Clock, Message
from trading_pipeline.settings.alerts import WebhookChannelSettings, is_loopback

if TYPE_CHECKING:
    from requests import Response

IDEMPOTENCY_HEADER = "Idempotency-Key"
_LONGEST_QUOTE = 200
_UNSENDABLE = (
    exceptions.TooManyRedirects,
    exceptions.InvalidSchema,
    exceptions.MissingSchema,
    exceptions.InvalidURL,
    exceptions.InvalidHeader,
)
_UNAUTHORIZED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE})


class WebhookChannel:
    """Posts messages to one address."""

    name = "webhook"

    def __init__(self, chosen: WebhookChannelSettings, policy: ResiliencePolicy, clock: Clock) -> None:
        """Post as ``chosen`` says, one attempt at a time under ``policy``; nothing is connected yet."""
        self._url = chosen.url.get_secret_value()
        self._policy = policy
        self._clock = clock
        self._place = f"webhook at {urlsplit(self._url).hostname}"

    def send(self, message: Message) -> str:
        """Post a message, and return what was answered.

        Raises:
            TransientError: no usable answer, or it was asked to wait.
            PermanentError: the address or the message was refused.
        """
        return self._policy.call(Verb.ORDER, "posting to the webhook", lambda limits: self._posted(limits, message))

    def _posted(self, limits: TimeLimits, message: Message) -> str:
        adapter = BoundedAdapter(_nothing_to_learn)
        adapter.limits = limits
        with BoundedSession(adapter) as session:
            # HTTP_PROXY would otherwise capture calls to this very machine.
            session.trust_env = not is_loopback(urlsplit(self._url).hostname or "")
            # What is posted is classified here: no failure leaves that quotes the address.
            return self._classified(
                lambda: session.post(self._url, json=blocks(message), headers={IDEMPOTENCY_HEADER: message.id})
            )

    def _classified(self, post: Callable[[], "Response"]) -> str:
        try:
            response = post()
        except _UNSENDABLE as error:
            raise InvalidInput(f"{self._place}: {type(error).__name__}; check alerts.webhook.url") from None
        except exceptions.RequestException as error:
            raise DependencyUnavailable(f"{self._place}: {_innermost(error)}") from None
        return self._answered(response)

    def _answered(self, response: "Response") -> str:
        status, said = response.status_code, self._said(response)
        told = f"{self._place}: answered {status}{f' {said}' if said else ''}"
        if response.ok:
            return f"{status}{f' {said}' if said else ''}"
        raise self._refusal(status, told, response.headers)

    def _refusal(self, status: int, told: str, headers: Mapping[str, str]) -> PipelineError:
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            return RateLimited(f"{told}; too many messages", retry_after(headers, self._clock.now()))
        if status in _UNAUTHORIZED:
            return Unauthorized(f"{told}; check alerts.webhook.url: it may have been withdrawn")
        if status == HTTPStatus.REQUEST_TIMEOUT or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return DependencyUnavailable(told)
        return RequestRefused(f"{told}; it does not take messages as Slack does", str(status))

    def _said(self, response: "Response") -> str:
        words = " ".join(response.text.split())
        # A server may well say what was asked for.
        words = words.replace(self._url, "...").replace(urlsplit(self._url).path or "\0", "/...")
        return words if len(words) <= _LONGEST_QUOTE else f"{words[:_LONGEST_QUOTE]}…"


def _nothing_to_learn(_status: int, _headers: Mapping[str, str]) -> None:
    """Webhooks name no quota."""


def _innermost(error: BaseException) -> str:
    """Name the kinds of a failure from the outside in; their texts quote the address."""
    kinds, seen = [type(error).__name__], error
    while (inner := seen.__cause__ or seen.__context__) is not None:
        kinds.append(type(inner).__name__)
        seen = inner
    return " by ".join(dict.fromkeys(kinds))
