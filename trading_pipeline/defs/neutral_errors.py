"""Errors at the edge of an asset: what Dagster records and prints of them says nothing that neutral mode hides."""

import functools
from collections.abc import Callable
from types import TracebackType
from typing import Any

import dagster as dg

from trading_pipeline.adapters.neutral_mode import redactor_in_force
from trading_pipeline.domain.errors import PipelineError
from trading_pipeline.domain.redaction import Redactor


class RedactedError(Exception):
    """Stands for an error that nobody foresaw: its class and what may be said of its message."""


class NeutralEdge:
    """A block whose errors leave it redacted, with the places in the code and without what caused them."""

    def __enter__(self) -> None:
        """Begin; nothing is read yet."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Raise what may be said of the error, where neutral mode is on."""
        redactor = redactor_in_force()
        # Dagster's own carry what it does next; its records redact what they say.
        if redactor is None or not isinstance(error, Exception) or isinstance(error, dg.DagsterError | dg.Failure):
            return
        raise redacted_error(redactor, error).with_traceback(trace) from None


def redacted_error(redactor: Redactor, error: Exception) -> Exception:
    """Return an error to be raised in the place of ``error``; ours keep their class, so that they are still caught.

    >>> redacted_error(Redactor(["SPY"], b"key"), KeyError("SPY"))
    RedactedError("KeyError: 'SYM_d787'")
    """
    if not isinstance(error, PipelineError):
        return RedactedError(redactor.text(f"{type(error).__name__}: {error}"))
    shown = type(error).__new__(type(error))
    shown.__dict__.update(error.__dict__)
    shown.args = (redactor.text(str(error)),)
    return shown


def neutral_errors(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``function`` with a neutral edge around it."""

    @functools.wraps(function)
    def edged(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever the function takes
        with NeutralEdge():
            return function(*arguments, **named)

    return edged
