"""What can go wrong on the way to Alpaca, cut by what the caller does next.

========================================================  ==========================================
alpaca-py or requests                                     ours
========================================================  ==========================================
refused, reset, timed out, cut off, undecodable, empty    DependencyUnavailable
408 and 5xx; a refusal that is cut off                    DependencyUnavailable
429                                                       RateLimited, with the instant named
401; 403 without Alpaca's own code                        Unauthorized
any other 4xx                                             RequestRefused, with Alpaca's own code or ""
a redirect; a request that cannot be sent at all          InvalidInput
========================================================  ==========================================
"""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

from requests import exceptions

from trading_pipeline.adapters.request_quota import retry_after
from trading_pipeline.domain.errors import (
    DependencyUnavailable,
    InvalidInput,
    PipelineError,
    RateLimited,
    RequestRefused,
    Unauthorized,
)

if TYPE_CHECKING:
    from alpaca.common.exceptions import APIError

T = TypeVar("T")
_LONGEST_QUOTE = 300
_UNSENDABLE = (
    exceptions.TooManyRedirects,
    exceptions.InvalidSchema,
    exceptions.MissingSchema,
    exceptions.InvalidURL,
)


def classified(request: str, operation: Callable[[], T]) -> T:
    """Return what ``operation`` answers, or raise one of ours in place of its failure.

    ``request`` names method and URL for the message; keys travel in headers,
    which no message quotes.

    Raises:
        DependencyUnavailable: no usable answer.
        RateLimited: asked too often.
        Unauthorized: the keys were not accepted.
        RequestRefused: Alpaca understood and said no.
        InvalidInput: the address is wrong.
    """
    from alpaca.common.exceptions import APIError

    try:
        return operation()
    except APIError as error:
        raise _answered(request, error) from error
    except _UNSENDABLE as error:
        raise InvalidInput(f"{request}: {_quoted(str(error))}; check the URL in the settings") from error
    except exceptions.RequestException as error:
        raise DependencyUnavailable(f"{request}: {type(error).__name__}: {_quoted(str(error))}") from error
    # JSON may fail as a plain ValueError too: an integer of 5,000 digits does; or by its depth.
    except (ValueError, RecursionError) as error:
        raise DependencyUnavailable(f"{request}: undecodable answer: {_quoted(str(error))}") from error


def _answered(request: str, error: "APIError") -> PipelineError:
    status = int(error.status_code or 0)
    text = str(error)
    code, reason = _code_and_reason(text)
    found = f"{request}: answered {status}{f' code {code}' if code else ''}: {reason}"
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return RateLimited(f"{found}; too many requests for this account", _retry_at(_headers(error)))
    if status == HTTPStatus.UNAUTHORIZED or (status == HTTPStatus.FORBIDDEN and not code):
        return Unauthorized(f"{found}; check that the keys belong to this URL and that the account may use it")
    if status == HTTPStatus.REQUEST_TIMEOUT or not HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return DependencyUnavailable(found)
    # Alpaca's words begin here and are cut off: what they would have been is not known.
    if text.startswith("{") and not _is_json(text):
        return DependencyUnavailable(found)
    return RequestRefused(found, code, _details(text))


def _code_and_reason(text: str) -> tuple[str, str]:
    """Read an error body that may be JSON with or without a code, HTML, or nothing."""
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        return "", _quoted(text)
    return str(body.get("code") or ""), _quoted(str(body.get("message") or text))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _details(text: str) -> Mapping[str, str]:
    """Return the figures of a refusal, such as what is available, as they were written."""
    try:
        body = json.loads(text, parse_float=str, parse_int=str)
    except ValueError:
        return {}
    return {name: str(value) for name, value in body.items()} if isinstance(body, dict) else {}


def _headers(error: "APIError") -> Mapping[str, str]:
    response: Any = error.response
    headers: Mapping[str, str] = response.headers if response is not None else {}
    return headers


def _retry_at(headers: Mapping[str, str]) -> datetime | None:
    """Return the instant that the answer names, if it names one that can be read.

    ``X-RateLimit-Reset`` holds seconds since 1970.
    """
    if "X-RateLimit-Reset" not in headers:
        return retry_after(headers)
    try:
        return datetime.fromtimestamp(float(headers["X-RateLimit-Reset"]), UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _quoted(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _LONGEST_QUOTE else f"{words[:_LONGEST_QUOTE]}…"
