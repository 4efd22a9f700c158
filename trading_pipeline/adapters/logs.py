"""Structured logs: one event a line on standard error, JSON for machines, columns for a person at a terminal.

Whoever logs writes ``structlog.get_logger().info("order_acknowledged", client_order_id=...)``.
Nothing is configured when this module is imported: :func:`configure_logging`
is called at the door, by a command or by a run of Dagster's.
"""

import functools
import logging
import re
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any, TextIO

import structlog

from trading_pipeline.settings import LogFormat, LogLevel

OURS = "trading_pipeline"
HANDLER = "trading_pipeline"
MASK = "********"
_SECRET = re.compile(r"key|secret|token|password|authorization", re.IGNORECASE)
_NO_SECRET = frozenset({"asset_key", "partition_key", "run_key"})


class _ErrorHandler(logging.StreamHandler[TextIO]):
    """Writes to what standard error is when the line is written, unless a stream was given.

    A live line of progress, or a test, puts another stream in its place for a
    while. What a stream refuses is reported by logging and never fails the work.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._given = stream
        super().__init__(stream)
        self.set_name(HANDLER)

    @property
    def stream(self) -> TextIO:
        return self._given or sys.stderr

    @stream.setter
    def stream(self, _stream: TextIO) -> None:
        """Stay with the stream that was given, or standard error."""


def configure_logging(
    log_format: LogFormat = LogFormat.AUTO, level: LogLevel = LogLevel.AUTO, stream: TextIO | None = None
) -> None:
    """Send our events, and the warnings of libraries, as lines to ``stream`` (standard error where not given).

    May be called again: the last call counts.
    """
    at_terminal = (stream or sys.stderr).isatty()
    as_console = log_format is LogFormat.CONSOLE or (log_format is LogFormat.AUTO and at_terminal)
    shown = _AUTO_LEVEL[at_terminal] if level is LogLevel.AUTO else level
    handler = _ErrorHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_described(),
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_rendered(as_console=as_console, colours=at_terminal),
            ],
        )
    )
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    root.handlers = [*(other for other in root.handlers if other.name != HANDLER), handler]
    logging.getLogger(OURS).setLevel(shown.upper())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_described(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        # Those who took their logger before this call are configured by it too.
        cache_logger_on_first_use=False,
    )


_AUTO_LEVEL: Mapping[bool, LogLevel] = {True: LogLevel.WARNING, False: LogLevel.INFO}


def _described() -> list[structlog.typing.Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _masked,
    ]


def _rendered(*, as_console: bool, colours: bool) -> list[structlog.typing.Processor]:
    if as_console:
        return [structlog.dev.ConsoleRenderer(colors=colours)]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]


def _masked(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:  # noqa: ANN401 - structlog's own
    return {name: _shown(name, value) for name, value in event.items()}


def _shown(name: str, value: Any) -> Any:  # noqa: ANN401 - events hold anything
    if _speaks_of_secrets(name) and value:
        return MASK
    if isinstance(value, dict):
        return {inner: _shown(str(inner), part) for inner, part in value.items()}
    if isinstance(value, list):
        return [_shown(name, part) for part in value]
    return value


@functools.lru_cache(maxsize=1024)
def _speaks_of_secrets(name: str) -> bool:
    return name not in _NO_SECRET and _SECRET.search(name) is not None


@contextmanager
def bound(**names: object) -> Iterator[None]:
    """Add ``names`` to every event inside the block, such as ``session``, ``plan_id``, ``run_id``, ``correlation_id``.

    Threads that are started inside begin without them, unless they are given a
    copy of the context.
    """
    with structlog.contextvars.bound_contextvars(**{name: str(value) for name, value in names.items()}):
        yield
