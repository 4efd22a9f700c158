"""Readings: what strategies read off closes, and the panel of them that they decide on."""

import collections
import functools
import hashlib
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from trading_pipeline.domain.bars import ClosePanel
from trading_pipeline.domain.errors import BrokenContract, InvalidInput, PermanentError
from trading_pipeline.domain.indicators import PLANS, FloatArray, Indicator, ReadingDesk, check_window
from trading_pipeline.domain.smoothing import Smoothing

_READING_COLUMNS = ["symbol", "indicator", "window"]


@dataclass(frozen=True, order=True)
class Reading:
    """One thing that a strategy reads: an indicator of a symbol over a window of sessions (1 for a price).

    >>> print(Reading("SPY", Indicator.RSI, 10), Reading("SPY", Indicator.PRICE, 1))
    rsi(SPY,10) price(SPY)

    Raises:
        InvalidInput: the window is too small for the indicator.
    """

    symbol: str
    indicator: Indicator
    window: int

    def __post_init__(self) -> None:
        """Refuse a window over which the indicator has no meaning."""
        check_window(self.indicator, self.window)

    def __str__(self) -> str:
        """Name the reading as the strategies' definitions do."""
        if self.indicator is Indicator.PRICE:
            return f"price({self.symbol})"
        return f"{self.indicator}({self.symbol},{self.window})"


_Kind = tuple[Indicator, int]
_KIND: Callable[[Reading], _Kind] = operator.attrgetter("indicator", "window")


def _by_symbol(readings: Iterable[Reading]) -> list[tuple[str, list[_Kind], list[Reading]]]:
    """Sort ``readings`` by symbol and kind, each once; neighbours of which the same is asked share their list of kinds.

    In a wide panel that is nearly all of them: their readings are sorted, and
    planned, only once.
    """
    found: dict[str, list[Reading]] = collections.defaultdict(list)
    for reading in readings:
        found[reading.symbol].append(reading)
    asked: list[tuple[str, list[_Kind], list[Reading]]] = []
    given: list[_Kind] = []
    for symbol, own in sorted(found.items()):
        before, given = given, list(map(_KIND, own))
        if given != before:
            first = {kind: place for place, kind in reversed(list(enumerate(given)))}
            kinds = sorted(first)
            order = [first[kind] for kind in kinds]
        asked.append((symbol, kinds, [own[place] for place in order]))
    return asked


def _fill(
    table: FloatArray, closes: ClosePanel, asked: list[tuple[str, list[_Kind], list[Reading]]], smoothing: Smoothing
) -> None:
    """Write each of the readings ``asked`` for into its column of ``table``."""
    series = dict(zip(closes.symbols, closes.values.T, strict=True))  # noqa: PD011 an array of ours
    missing = np.full(len(table), np.nan)
    columns = iter(table.T)
    before: list[_Kind] | None = None
    for symbol, kinds, _ in asked:
        if kinds is not before:
            desk = ReadingDesk(len(table), smoothing)
            answers = [PLANS[indicator](desk, window) for indicator, window in kinds]
            before = kinds
        desk.lay(series.get(symbol, missing))
        for answer in answers:
            answer(next(columns))


@dataclass(frozen=True, eq=False)
class IndicatorPanel:
    """Readings over sessions, NaN where undefined; never changed once made.

    ``table`` holds a row for each session, oldest first, and a column for each
    reading. Panels are compared by ``fingerprint``.
    """

    sessions: tuple[date, ...]
    readings: tuple[Reading, ...]
    table: FloatArray

    def __post_init__(self) -> None:
        """Close the table to changes.

        Raises:
            InvalidInput: the table's shape is not sessions by readings.
        """
        wanted = (len(self.sessions), len(self.readings))
        if self.table.shape != wanted:
            raise InvalidInput(
                f"the table of a panel had the shape {self.table.shape}: it must be sessions by readings, {wanted}"
            )
        self.table.setflags(write=False)

    @classmethod
    def from_closes(
        cls, closes: ClosePanel, readings: Iterable[Reading], smoothing: Smoothing = Smoothing.WILDER
    ) -> "IndicatorPanel":
        """Compute each of ``readings`` once; those of a symbol without closes are NaN."""
        asked = _by_symbol(readings)
        wanted = tuple(reading for _, _, own in asked for reading in own)
        # A column is what is read, so a column is what lies together in memory.
        table = np.empty((len(closes.sessions), len(wanted)), order="F")
        _fill(table, closes, asked, smoothing)
        return cls(closes.sessions, wanted, table)

    def values(self, reading: Reading) -> FloatArray:
        """Return ``reading`` over the panel's sessions, oldest first, closed to changes.

        Raises:
            PermanentError: nobody computed it. There is no default.
        """
        place = self._places.get(reading)
        if place is None:
            raise PermanentError(
                f"{reading} was asked for and is not among the {len(self.readings)} readings of this panel: "
                "declare it where the panel is made"
            )
        return self.table[:, place]

    @functools.cached_property
    def _places(self) -> Mapping[Reading, int]:
        return {reading: place for place, reading in enumerate(self.readings)}

    def __contains__(self, reading: Reading) -> bool:
        """Tell whether somebody computed ``reading``."""
        return reading in self._places

    def with_columns(self, columns: Mapping[Reading, FloatArray]) -> "IndicatorPanel":
        """Return this panel with further readings, one value a session each; those that it has stay as they are."""
        added = {reading: values for reading, values in columns.items() if reading not in self}
        table = np.empty((len(self.sessions), len(self.readings) + len(added)), order="F")
        table[:, : len(self.readings)] = self.table
        for place, values in enumerate(added.values(), start=len(self.readings)):
            table[:, place] = values
        return IndicatorPanel(self.sessions, (*self.readings, *added), table)

    def of(self, readings: Iterable[Reading]) -> "IndicatorPanel":
        """Return the panel of these readings alone.

        Raises:
            PermanentError: nobody computed one of them.
        """
        wanted = tuple(readings)
        columns = [self.values(reading) for reading in wanted]
        table = np.stack(columns).T if columns else np.empty((len(self.sessions), 0))
        return IndicatorPanel(self.sessions, wanted, table)

    def last(self, count: int) -> "IndicatorPanel":
        """Return the panel of the last ``count`` sessions, or of all if there are fewer."""
        first = max(len(self.sessions) - count, 0)
        return IndicatorPanel(self.sessions[first:], self.readings, self.table[first:])

    def to_frame(self, session: date) -> pd.DataFrame:
        """Return the panel as rows of the table ``indicators`` for the decision session ``session``.

        One row for each session and reading; ``observed`` is the reading's own
        session, ``value`` is NaN where undefined.
        """
        rows = np.repeat(np.arange(len(self.sessions)), len(self.readings))
        columns = np.tile(np.arange(len(self.readings)), len(self.sessions))
        symbols = np.array([reading.symbol for reading in self.readings], dtype=object)
        names = np.array([str(reading.indicator) for reading in self.readings], dtype=object)
        windows = np.array([reading.window for reading in self.readings], dtype=np.int64)
        return pd.DataFrame(
            {
                "session": np.full(rows.size, session, dtype=object),
                "observed": np.array(self.sessions, dtype=object)[rows],
                "symbol": pd.Series(symbols[columns], dtype="str"),
                "indicator": pd.Series(names[columns], dtype="str"),
                "window": windows[columns],
                "value": self.table.ravel(),
            }
        )

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> "IndicatorPanel":
        """Return the panel that ``to_frame`` wrote; a value that is null, or has no row, is NaN.

        Raises:
            BrokenContract: a reading appears twice in a session, or its indicator is unknown.
        """
        twice = frame.duplicated(["observed", *_READING_COLUMNS])
        if twice.any():
            raise BrokenContract(
                f"{int(twice.sum())} readings appear twice in a session, the first: "
                f"{_described(frame[twice].iloc[0])}. Rebuild the indicators of the decision session"
            )
        rows, sessions = pd.factorize(frame["observed"], sort=True)
        columns, keys = pd.factorize(pd.MultiIndex.from_frame(frame[_READING_COLUMNS]), sort=True)
        table = np.full((len(sessions), len(keys)), np.nan, order="F")
        table[rows, columns] = frame["value"].to_numpy(dtype=np.float64, na_value=np.nan)
        return cls(tuple(sessions), tuple(_reading(*key) for key in keys), table)

    def fingerprint(self) -> str:
        """Return a SHA-256, in hex, of the sessions, the readings and the values of the last session.

        The same on any machine; every NaN counts as one and the same.
        """
        newest = np.full(len(self.readings), np.nan) if not self.sessions else self.table[-1] + 0.0
        newest = np.where(np.isnan(newest), np.nan, newest).astype("<f8")
        names = [*map(str, self.sessions), *map(str, self.readings)]
        return hashlib.sha256("\n".join(names).encode() + newest.tobytes()).hexdigest()


def _reading(symbol: str, indicator: str, window: int) -> Reading:
    try:
        return Reading(symbol, Indicator(indicator), int(window))
    except ValueError as error:
        raise BrokenContract(
            f"the indicator of {symbol} was {indicator!r}: it must be one of {', '.join(Indicator)}"
        ) from error


def _described(row: "pd.Series[Any]") -> str:
    return f"{row['indicator']}({row['symbol']},{row['window']}) of {row['observed']}"
