"""Metrics: a file of lines that any collector can read, or nowhere.

A line is one datum as a JSON object::

    {"time": "2026-08-03T14:00:00.000000Z", "name": "fallback_total", "kind": "count", "value": 1,
     "labels": {"kind": "resized"}}

``kind`` is *count* (add ``value`` to a counter), *observation* (one value of a
histogram) or *level* (the value that a gauge has from then on); ``labels`` are
texts. Lines are in the order in which they were written.
"""

import json
import math
import os
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import accumulate
from pathlib import Path

import structlog
from filelock import FileLock, Timeout

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.redaction import Redactor, may_be_shown
from trading_pipeline.ports import Metrics

LARGEST_FILE = 10_000_000
LONGEST_UNSEEN = timedelta(seconds=1)


class Kind(StrEnum):
    """What a datum does to its series."""

    COUNT = "count"
    OBSERVATION = "observation"
    LEVEL = "level"


@dataclass(frozen=True)
class Datum:
    """One line: ``value`` of series ``name`` with ``labels`` at a UTC instant."""

    time: datetime
    name: str
    kind: Kind
    value: float
    labels: Mapping[str, str]

    @property
    def series(self) -> str:
        """The series as Prometheus writes it, labels in alphabetical order.

        >>> from datetime import UTC
        >>> Datum(datetime(2026, 8, 3, tzinfo=UTC), "orders_total", Kind.COUNT, 1, {"state": "filled"}).series
        'orders_total{state="filled"}'
        """
        labels = ",".join(f'{name}="{value}"' for name, value in sorted(self.labels.items()))
        return f"{self.name}{{{labels}}}" if labels else self.name


class NoMetrics:
    """Records nothing."""

    def count(self, name: str, value: int = 1, **labels: str) -> None:
        """Do nothing."""

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Do nothing."""

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Do nothing."""


class NeutralMetrics:
    """Metrics without symbols and figures: what a name does not mark as harmless is counted, and not measured."""

    def __init__(self, inner: Metrics, redactor: Redactor) -> None:
        """Pass on to ``inner`` what ``redactor`` leaves."""
        self._inner = inner
        self._redactor = redactor

    def count(self, name: str, value: int = 1, **labels: str) -> None:
        """Add ``value`` to a counter."""
        self._inner.count(name, value, **self._shown(labels))

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add an observation, unless it may be a figure."""
        if may_be_shown(name):
            self._inner.observe(name, value, **self._shown(labels))

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a level, unless it may be a figure."""
        if may_be_shown(name):
            self._inner.gauge(name, value, **self._shown(labels))

    def _shown(self, labels: Mapping[str, str]) -> Mapping[str, str]:
        return {name: str(self._redactor.value(name, value)) for name, value in labels.items()}


class MetricsFile:
    """Metrics as lines of one file, which any number of threads and processes may write at once.

    A line is one write to a file opened for appending, so that lines never
    mix. A file of ``largest`` bytes is renamed to ``NAME.1``, in the place of
    the one before, and a new one is begun. A value that is not finite is no
    figure and is left out. What the disk refuses is lost, and said once in the
    log: recording never fails the work.

    The file stays open, since orders wait for their lines. That another
    process renamed it, or somebody moved it away, is seen within a second:
    until then lines go where it went.
    """

    def __init__(self, path: Path, now: Callable[[], datetime], largest: int = LARGEST_FILE) -> None:
        """Write to ``path``, in a folder that is there; ``now`` gives the instant of a line."""
        self._path = path
        self._now = now
        self._largest = largest
        self._said = False
        self._open: _OpenFile | None = None

    def count(self, name: str, value: int = 1, **labels: str) -> None:
        """Add ``value`` to a counter."""
        self._append(Kind.COUNT, name, value, labels)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add an observation to a histogram."""
        self._append(Kind.OBSERVATION, name, value, labels)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a level."""
        self._append(Kind.LEVEL, name, value, labels)

    def _append(self, kind: Kind, name: str, value: float, labels: Mapping[str, str]) -> None:
        if not math.isfinite(value):
            return
        now = self._now()
        written = now.isoformat(timespec="microseconds").replace("+00:00", "Z")
        datum = {"time": written, "name": name, "kind": kind.value, "value": value, "labels": labels}
        try:
            if self._file(now).append((json.dumps(datum) + "\n").encode()) >= self._largest:
                self._rotate()
                self._open = None
        except OSError as error:
            self._say(error)

    def _file(self, now: datetime) -> "_OpenFile":
        """Return the open file; a thread that goes on with the one before keeps that open until it has written."""
        file = self._open
        if file is None or not file.is_still_at(self._path, now):
            file = self._open = _OpenFile(self._path, now)
        return file

    def _rotate(self) -> None:
        # One of those who find the file full renames it; the others see the new one, or leave it to the next line.
        with suppress(Timeout, FileNotFoundError), FileLock(f"{self._path}.lock", timeout=0):
            if self._path.stat().st_size >= self._largest:
                self._path.rename(_older(self._path))

    def _say(self, error: OSError) -> None:
        if not self._said:
            self._said = True
            structlog.get_logger(__name__).warning("metrics_lost", path=str(self._path), error=str(error))


class _OpenFile:
    """A metrics file that is open, and closed once nobody holds it any more; the process closes the last one."""

    def __init__(self, path: Path, now: datetime) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        weakref.finalize(self, os.close, self._descriptor).atexit = False
        self._seen, self._seen_at = os.fstat(self._descriptor), now
        self._size = self._seen.st_size

    def is_still_at(self, path: Path, now: datetime) -> bool:
        """Tell whether the file still bears its name, by a look that is no older than a second."""
        if self._seen_at <= now < self._seen_at + LONGEST_UNSEEN:
            return True
        try:
            seen = path.stat()
        except FileNotFoundError:
            return False
        is_same = os.path.samestat(seen, self._seen)
        if is_same:
            self._seen_at, self._size = now, seen.st_size
        return is_same

    def append(self, line: bytes) -> int:
        """Write a line and return the size of the file, as far as this process knows it."""
        self._size += os.write(self._descriptor, line)
        return self._size


def _older(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")


def read_metrics(path: Path) -> list[Datum]:
    """Return every datum of a metrics file and of the one before it, oldest first; none where there is no file.

    A line that a crash or a full disk cut off is passed over.

    Raises:
        InvalidInput: the file cannot be read.
    """
    try:
        texts = [file.read_text(encoding="utf-8") for file in (_older(path), path) if file.exists()]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"metrics {path} cannot be read: {error}; move the file away to begin a new one") from error
    # A process that has not seen yet that a file was renamed goes on with the older one. Within each file the order of
    # the lines counts, whatever the clock was set to.
    found = [timed for text in texts for timed in _with_newest_time(text)]
    return [datum for _, datum in sorted(found, key=lambda timed: timed[0])]


def _with_newest_time(text: str) -> Iterable[tuple[datetime, Datum]]:
    """Return each line's datum with the newest time up to it."""
    data = [datum for line in text.splitlines() if (datum := _datum(line)) is not None]
    return zip(accumulate((datum.time for datum in data), max), data, strict=True)


def _datum(line: str) -> Datum | None:
    try:
        found = json.loads(line)
        time = datetime.fromisoformat(found["time"])
        if time.tzinfo is None:
            return None
        return Datum(time, found["name"], Kind(found["kind"]), found["value"], found["labels"])
    except (ValueError, KeyError, TypeError):
        return None


@dataclass(frozen=True)
class MetricsSummary:
    """What a file adds up to, by series: totals of counters, observations in their order, the newest levels."""

    counters: Mapping[str, float]
    observations: Mapping[str, tuple[float, ...]]
    levels: Mapping[str, float]


def summary(path: Path) -> MetricsSummary:
    """Return what a metrics file adds up to; raises as :func:`read_metrics`."""
    counters: dict[str, float] = defaultdict(float)
    observations: dict[str, tuple[float, ...]] = defaultdict(tuple)
    levels: dict[str, float] = {}
    for datum in read_metrics(path):
        match datum.kind:
            case Kind.COUNT:
                counters[datum.series] += datum.value
            case Kind.OBSERVATION:
                observations[datum.series] += (datum.value,)
            case Kind.LEVEL:
                levels[datum.series] = datum.value
    return MetricsSummary(dict(counters), dict(observations), levels)
