"""Structured logs: one event a line on standard error, JSON for machines, columns for a person at a terminal.

Whoever logs writes ``structlog.get_logger().info("order_acknowledged", client_order_id=...)``.
Nothing is configured when this module is imported: :func:`configure_logging`
is called at the door, by a command or by a run of Dagster's.
"""

import functools
import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

import structlog

from trading_pipeline.adapters.shared_writing import SharedWriter
from trading_pipeline.domain.redaction import Redactor
from trading_pipeline.settings import LogFormat, LogLevel

OURS = "trading_pipeline"
HANDLER = "trading_pipeline"
MASK = "********"
# The attribute of a log record that holds our event, whatever others make of its message.
EVENT = "trading_pipeline_event"
_SAID_ELSEWHERE = frozenset({"event", "level", "logger", "timestamp", "exc_info", "stack_info"})
_SECRET = re.compile(r"key|secret|token|password|authorization", re.IGNORECASE)
_NO_SECRET = frozenset({"asset_key", "partition_key", "run_key"})


class _ErrorHandler(logging.StreamHandler[TextIO]):
    """Writes to what standard error is when the line is written, unless a stream was given.

    A live line of progress, or a test, puts another stream in its place for a
    while. What a stream refuses is reported by logging and never fails the work.
    Our own events are written from ``lowest`` on; below that they only reach
    whoever else listens, such as Dagster's run log.
    """

    def __init__(self, stream: TextIO | None, lowest: int) -> None:
        self._given = stream
        self._lowest = lowest
        super().__init__(stream)
        self._lines = SharedWriter(self._write)
        self.set_name(HANDLER)

    def filter(self, record: logging.LogRecord) -> bool:
        is_below = record.levelno < self._lowest and record.name.partition(".")[0] == OURS
        return not is_below and bool(super().filter(record))

    def handle(self, record: logging.LogRecord) -> bool:
        # Without the handler's lock: orders wait for their lines, and none is made while another is written.
        is_wanted = self.filter(record)
        if is_wanted:
            self.emit(record)
        return is_wanted

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record) + self.terminator
        except Exception:  # noqa: BLE001 - whatever the text of a value raises; logging tells it
            self.handleError(record)
        else:
            self._lines.add((record, line))

    def flush(self) -> None:
        self._lines.flush()

    def _write(self, lines: Sequence[tuple[logging.LogRecord, str]]) -> None:
        try:
            self.stream.write("".join(line for _, line in lines))
            self.stream.flush()
        except Exception:  # noqa: BLE001 - whatever a stream raises; logging tells it
            if len(lines) == 1:
                self.handleError(lines[0][0])
                return
            # One that the stream refuses takes no other with it.
            for line in lines:
                self._write([line])

    @property
    def stream(self) -> TextIO:
        return self._given or sys.stderr

    @stream.setter
    def stream(self, _stream: TextIO) -> None:
        """Stay with the stream that was given, or standard error."""


class _Event(dict[str, Any]):
    """An event whose text is a line for people: what happened, and each fact as ``name=value``."""

    def __str__(self) -> str:
        facts = (f"{name}={_fact(value)}" for name, value in self.items() if name not in _SAID_ELSEWHERE)
        return " ".join([str(self.get("event", "")), *facts])


def _fact(value: object) -> str:
    text = str(value)
    return text if text and not any(letter.isspace() or letter in "\"'=" for letter in text) else json.dumps(text)


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Writes our events as they were logged, even where another handler put its own message in their place."""

    def __init__(self, rendering: Sequence[structlog.typing.Processor]) -> None:
        """Make a line of each event by ``rendering``, of which the last returns text."""
        super().__init__(foreign_pre_chain=_described(), processors=[self.remove_processors_meta, *rendering])
        self._rendering = rendering

    def format(self, record: logging.LogRecord) -> str:
        if not is_ours(record):
            return super().format(record)
        # Orders wait for their lines: what structlog does to records of others, two copies among it, is left out.
        event: Any = dict(getattr(record, EVENT))
        for processor in self._rendering:
            event = processor(None, record.levelname.lower(), event)
        return str(event)


class _Logger:
    """A logger of the standard library's, such as structlog calls it.

    Orders wait for their lines: the search for the line of code that logs,
    which none of our formats tells, is left out.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever structlog asks a logger for
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._logger, name)

    def _told(self, level: int, event: _Event) -> None:
        logger = self._logger
        if logger.isEnabledFor(level):
            logger.handle(logger.makeRecord(logger.name, level, "", 0, event, (), None, extra={EVENT: event}))

    debug = functools.partialmethod(_told, logging.DEBUG)
    info = functools.partialmethod(_told, logging.INFO)
    warning = functools.partialmethod(_told, logging.WARNING)
    error = functools.partialmethod(_told, logging.ERROR)
    critical = functools.partialmethod(_told, logging.CRITICAL)


class _Loggers(structlog.stdlib.LoggerFactory):
    """Finds the logger of the module that asks for one."""

    def __call__(self, *names: Any) -> Any:  # noqa: ANN401 - structlog's own
        return _Logger(super().__call__(*names))


def is_ours(record: logging.LogRecord) -> bool:
    """Tell whether a log record holds one of our events."""
    return hasattr(record, EVENT)


def configure_logging(
    log_format: LogFormat = LogFormat.AUTO,
    level: LogLevel = LogLevel.AUTO,
    stream: TextIO | None = None,
    redactor: Redactor | None = None,
) -> None:
    """Send our events, and the warnings of libraries, as lines to ``stream`` (standard error where not given).

    A ``redactor`` takes out of both what may not be said. Our events are made
    from level info on even where fewer are shown, for those who listen to the
    logger ``trading_pipeline``. May be called again: the last call counts.
    """
    at_terminal = (stream or sys.stderr).isatty()
    as_console = log_format is LogFormat.CONSOLE or (log_format is LogFormat.AUTO and at_terminal)
    shown = _AUTO_LEVEL[at_terminal] if level is LogLevel.AUTO else level
    lowest = logging.getLevelNamesMapping()[shown.upper()]
    neutral = [] if redactor is None else [_Neutral(redactor)]
    handler = _ErrorHandler(stream, lowest)
    handler.setFormatter(
        _Formatter(
            [
                structlog.processors.format_exc_info,
                *neutral,
                _renderer(as_console=as_console, colours=at_terminal),
            ]
        )
    )
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    root.handlers = [*(other for other in root.handlers if other.name != HANDLER), handler]
    logging.getLogger(OURS).setLevel(min(lowest, logging.INFO))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_described(),
            *neutral,
            _as_event,
        ],
        logger_factory=_Loggers(ignore_frame_names=[__name__]),
        wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
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


def _renderer(*, as_console: bool, colours: bool) -> structlog.typing.Processor:
    if as_console:
        # Never structlog's own choice, which shows the local variables of every frame.
        return structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=structlog.dev.plain_traceback)
    return structlog.processors.JSONRenderer(default=str)


class _Neutral:
    """Takes out of an event what may not be said."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    def __call__(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:  # noqa: ANN401 - structlog's own
        # The exception itself is made text later, and redacted then.
        return {
            name: value if name in {"exc_info", "stack_info"} else self._redactor.value(name, value)
            for name, value in event.items()
        }


def _as_event(
    _logger: Any,  # noqa: ANN401 - structlog's own
    _method: str,
    event: MutableMapping[str, Any],
) -> tuple[tuple[_Event], dict[str, Any]]:
    return (_Event(event),), {}


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
