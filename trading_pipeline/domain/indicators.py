"""Indicators of daily closes, and the panel of readings that strategies decide on.

Every function takes one series of completed, adjusted closes, oldest first,
and answers an array of the same length. **Missing is missing**: where a window
holds a NaN or is not yet full the answer is NaN, a recursion starts anew after
a gap, and nothing is ever filled in. Closes must be positive.

The recursions are TA-Lib's. Windows are folded here instead: a running sum
carries the rounding of old, larger prices along for ever (an adjusted
reverse-split fund falls from 5e11 to 10), and TA-Lib's deviation, a difference
of squares, loses its digits where prices hardly move.
"""

import functools
import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from trading_pipeline.domain.bars import ClosePanel
from trading_pipeline.domain.errors import BrokenContract, InvalidInput, PermanentError

FloatArray = npt.NDArray[np.float64]

SESSIONS_PER_YEAR = 252
WILDER_LOOK_BACK = 14
EXPONENTIAL_LOOK_BACK = 7
NEUTRAL_RSI = 50.0
_READING_COLUMNS = ["symbol", "indicator", "window"]


class Indicator(StrEnum):
    """What can be read off a series of closes; the value is its name in trees, tables and messages."""

    RSI = "rsi"
    """Relative strength, 0 to 100."""
    PRICE = "price"
    """Last close, in dollars."""
    SMA = "sma"
    """Mean close, in dollars."""
    EMA = "ema"
    """Exponential mean close, in dollars."""
    MEAN_RETURN = "maret"
    """Mean daily return, in percent a day."""
    CUMULATIVE_RETURN = "cumret"
    """Return over the window, in percent."""
    RETURN_DEVIATION = "sdret"
    """Sample standard deviation of daily returns, in percent."""
    PRICE_DEVIATION = "sdprice"
    """Sample standard deviation of closes, in dollars."""
    MAX_DRAWDOWN = "mdd"
    """Largest fall from a peak, in percent, positive."""


class Smoothing(StrEnum):
    """How the RSI averages gains and losses."""

    WILDER = "wilder"
    """Wilder's recursion, started on a plain mean."""
    CUTLER = "cutler"
    """Plain means of the window."""


def compute(
    indicator: Indicator, closes: FloatArray, window: int, smoothing: Smoothing = Smoothing.WILDER
) -> FloatArray:
    """Return ``indicator`` over ``window`` sessions of ``closes``.

    ``smoothing`` is read by the RSI alone.

    >>> compute(Indicator.SMA, np.array([1.0, 2.0, 3.0, np.nan, 5.0, 6.0]), 2)
    array([nan, 1.5, 2.5, nan, nan, 5.5])

    Raises:
        InvalidInput: the window is too small, or the closes are not one series of positive numbers.
    """
    if indicator is Indicator.RSI:
        return rsi(closes, window, smoothing)
    return _BY_NAME[indicator](closes, window)


def rsi(closes: FloatArray, window: int, smoothing: Smoothing = Smoothing.WILDER) -> FloatArray:
    """Return the relative strength index, 0 to 100; needs ``window`` + 1 closes.

    Wilder's averages of gains and losses start as the plain mean of the first
    ``window`` changes and go on as a = a + (x - a) / window (J. Welles Wilder,
    New Concepts in Technical Trading Systems, 1978); Cutler's are plain means.
    The index is 100 - 100 / (1 + gain / loss): 100 without a loss, 50 without
    any change.

    >>> rsi(np.array([10.0, 11.0, 10.0, 12.0]), 2)
    array([        nan,         nan, 50.        , 83.33333333])

    Raises:
        InvalidInput: ``window`` is below 2, or the closes are not one series of positive numbers.
    """
    series = _checked(Indicator.RSI, closes, window)
    if smoothing is Smoothing.CUTLER:
        return _cutler(series, window)
    return _by_run(series, window + 1, lambda run: _wilder(run, window))


def price(closes: FloatArray, window: int = 1) -> FloatArray:
    """Return the closes themselves; ``window`` is 1.

    Raises:
        InvalidInput: ``window`` is not 1, or the closes are not one series of positive numbers.
    """
    return _checked(Indicator.PRICE, closes, window).copy()


def sma(closes: FloatArray, window: int) -> FloatArray:
    """Return the mean of the last ``window`` closes, in dollars.

    A window of equal closes has exactly that mean, so that ``price > sma`` is
    false there.

    >>> sma(np.array([1.0, 2.0, 6.0]), 3)
    array([nan, nan,  3.])

    Raises:
        InvalidInput: ``window`` is below 1, or the closes are not one series of positive numbers.
    """
    return _window_mean(_checked(Indicator.SMA, closes, window), window)


def ema(closes: FloatArray, window: int) -> FloatArray:
    """Return the exponential mean of span ``window`` (alpha = 2 / (window + 1)), in dollars.

    It starts on the plain mean of the first ``window`` closes, and anew after a gap.

    >>> ema(np.array([1.0, 3.0, 8.0]), 2)
    array([nan,  2.,  6.])

    Raises:
        InvalidInput: ``window`` is below 1, or the closes are not one series of positive numbers.
    """
    series = _checked(Indicator.EMA, closes, window)
    if window == 1:
        return series.copy()
    return _by_run(series, window, lambda run: _exponential(run, window))


def mean_return(closes: FloatArray, window: int) -> FloatArray:
    """Return the mean of the last ``window`` simple daily returns, in percent a day; needs one close more.

    >>> mean_return(np.array([100.0, 110.0, 99.0]), 2).round(12)
    array([nan, nan,  0.])

    Raises:
        InvalidInput: ``window`` is below 1, or the closes are not one series of positive numbers.
    """
    return _window_mean(_returns(_checked(Indicator.MEAN_RETURN, closes, window)), window) * 100


def cumulative_return(closes: FloatArray, window: int) -> FloatArray:
    """Return the return over the last ``window`` sessions, in percent; needs one close more.

    NaN also where a close between the two ends is missing.

    >>> cumulative_return(np.array([100.0, 90.0, 125.0]), 2)
    array([nan, nan, 25.])

    Raises:
        InvalidInput: ``window`` is below 1, or the closes are not one series of positive numbers.
    """
    series = _checked(Indicator.CUMULATIVE_RETURN, closes, window)
    changes = np.full_like(series, np.nan)
    changes[window:] = (series[window:] / series[:-window] - 1) * 100
    changes[_sessions_since_gap(series) <= window] = np.nan
    return changes


def return_deviation(closes: FloatArray, window: int) -> FloatArray:
    """Return the sample standard deviation of the last ``window`` daily returns, in percent; needs one close more.

    NaN throughout for a window of 1: one value has no sample deviation.

    >>> return_deviation(np.array([100.0, 110.0, 99.0]), 2).round(6)
    array([      nan,       nan, 14.142136])

    Raises:
        InvalidInput: ``window`` is below 1, or the closes are not one series of positive numbers.
    """
    return _window_deviation(_returns(_checked(Indicator.RETURN_DEVIATION, closes, window)), window) * 100


def price_deviation(closes: FloatArray, window: int) -> FloatArray:
    """Return the sample standard deviation of the last ``window`` closes, in dollars.

    NaN throughout for a window of 1: one value has no sample deviation.

    >>> price_deviation(np.array([1.0, 2.0, 3.0]), 3)
    array([nan, nan,  1.])

    Raises:
        InvalidInput: ``window`` is below 1, or the closes are not one series of positive numbers.
    """
    return _window_deviation(_checked(Indicator.PRICE_DEVIATION, closes, window), window)


def max_drawdown(closes: FloatArray, window: int) -> FloatArray:
    """Return the largest fall from a peak to a later close within the last ``window`` closes, in percent, positive.

    >>> max_drawdown(np.array([100.0, 80.0, 90.0, 45.0]), 3)
    array([nan, nan, 20., 50.])

    Raises:
        InvalidInput: ``window`` is below 1, or the closes are not one series of positive numbers.
    """
    series = _checked(Indicator.MAX_DRAWDOWN, closes, window)
    # The fall of a single close from itself: zero, and NaN where the close is.
    falls, _, _ = _fold((series - series, series, series), window, _merge_drawdowns)
    return _aligned(falls, series.size) * 100


def daily_returns(closes: FloatArray) -> FloatArray:
    """Return the simple daily returns as fractions; the first is NaN, as is each beside a missing close.

    >>> daily_returns(np.array([100.0, 110.0, 99.0]))
    array([ nan,  0.1, -0.1])

    Raises:
        InvalidInput: the closes are not one series of positive numbers.
    """
    return _returns(_checked_closes(closes))


def annualised_volatility(closes: FloatArray, window: int) -> FloatArray:
    """Return the sample deviation of the last ``window`` daily returns times the root of 252, as a fraction.

    Raises:
        InvalidInput: ``window`` is below 1, or the closes are not one series of positive numbers.
    """
    return return_deviation(closes, window) / 100 * math.sqrt(SESSIONS_PER_YEAR)


def look_back(indicator: Indicator, window: int, smoothing: Smoothing = Smoothing.WILDER) -> int:
    """Return how many sessions, the last included, a reading needs so that earlier ones do not matter.

    Exact for windows. A recursion forgets its start, never wholly: 14 windows
    of Wilder's leave some two millionths of it, 7 of an exponential mean six.
    That is nothing unless prices were much larger where the history begins: a
    fund that fell a thousandfold meanwhile has an RSI off by tenths of a point.

    >>> look_back(Indicator.SMA, 200), look_back(Indicator.CUMULATIVE_RETURN, 60), look_back(Indicator.RSI, 90)
    (200, 61, 1261)

    Raises:
        InvalidInput: the window is too small.
    """
    _check_window(indicator, window)
    if indicator is Indicator.RSI and smoothing is Smoothing.WILDER:
        return WILDER_LOOK_BACK * window + 1
    if indicator is Indicator.EMA:
        return EXPONENTIAL_LOOK_BACK * window
    return window + 1 if indicator in _OF_CHANGES else window


_OF_CHANGES = frozenset({Indicator.RSI, Indicator.MEAN_RETURN, Indicator.CUMULATIVE_RETURN, Indicator.RETURN_DEVIATION})

_BY_NAME: Mapping[Indicator, Callable[[FloatArray, int], FloatArray]] = {
    Indicator.PRICE: price,
    Indicator.SMA: sma,
    Indicator.EMA: ema,
    Indicator.MEAN_RETURN: mean_return,
    Indicator.CUMULATIVE_RETURN: cumulative_return,
    Indicator.RETURN_DEVIATION: return_deviation,
    Indicator.PRICE_DEVIATION: price_deviation,
    Indicator.MAX_DRAWDOWN: max_drawdown,
}


def _check_window(indicator: Indicator, window: int) -> None:
    smallest = 2 if indicator is Indicator.RSI else 1
    if window < smallest:
        raise InvalidInput(f"the window of {indicator} was {window}: it must be at least {smallest}")
    if indicator is Indicator.PRICE and window != 1:
        raise InvalidInput(f"the window of price was {window}: a price is one close, its window must be 1")


def _checked_closes(closes: FloatArray) -> FloatArray:
    series = np.ascontiguousarray(closes, dtype=np.float64)
    if series.ndim != 1:
        raise InvalidInput(f"closes had the shape {series.shape}: one series at a time, oldest first")
    wrong = np.flatnonzero((series <= 0) | np.isinf(series))
    if wrong.size:
        raise InvalidInput(
            f"close {wrong[0]} of {series.size} was {series[wrong[0]]}: closes must be positive, or NaN where missing"
        )
    return series


def _checked(indicator: Indicator, closes: FloatArray, window: int) -> FloatArray:
    _check_window(indicator, window)
    return _checked_closes(closes)


def _returns(series: FloatArray) -> FloatArray:
    returns = np.full_like(series, np.nan)
    returns[1:] = series[1:] / series[:-1] - 1
    return returns


def _sessions_since_gap(series: FloatArray) -> npt.NDArray[np.int64]:
    """Count the closes up to each session since the last missing one, zero where it is missing itself."""
    places = np.arange(1, series.size + 1)
    return places - np.maximum.accumulate(np.where(np.isnan(series), places, 0))


def _runs(series: FloatArray) -> Iterator[slice]:
    present = np.concatenate(([False], ~np.isnan(series), [False]))
    edges = np.flatnonzero(present[1:] != present[:-1])
    return (slice(first, last) for first, last in zip(edges[::2], edges[1::2], strict=True))


def _by_run(series: FloatArray, needed: int, answer: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """Answer each stretch without a gap on its own: after a NaN TA-Lib's RSI says 0.0 for ever."""
    answers = np.full_like(series, np.nan)
    for run in _runs(series):
        if run.stop - run.start >= needed:
            answers[run] = answer(series[run])
    return answers


def _wilder(run: FloatArray, window: int) -> FloatArray:
    import talib

    index: FloatArray = talib.RSI(run, window)
    if (index == 0).any():
        # TA-Lib says 0 both for nothing but losses, which is right, and for no change at all, which is neutral.
        unchanged = np.logical_and.accumulate(run == run[0])
        index[window:][unchanged[window:]] = NEUTRAL_RSI
    return index


def _cutler(series: FloatArray, window: int) -> FloatArray:
    changes = np.full_like(series, np.nan)
    changes[1:] = np.diff(series)
    gain = _window_mean(np.maximum(changes, 0), window)
    total = gain + _window_mean(np.maximum(-changes, 0), window)
    return np.divide(100 * gain, total, out=np.full_like(total, NEUTRAL_RSI), where=total != 0)


def _exponential(run: FloatArray, window: int) -> FloatArray:
    import talib

    # Rounding may carry the recursion an ulp past its extremes, which would make a flat price differ from its mean.
    means: FloatArray = talib.EMA(run, window)
    return np.clip(means, np.minimum.accumulate(run), np.maximum.accumulate(run))


_State = tuple[FloatArray, ...]
_Merge = Callable[[_State, _State, int, int], _State]


def _fold(leaves: _State, window: int, merge: _Merge) -> _State:
    """Merge the leaves of every full window, in steps that double and add one: about log2(window) of them.

    What a window answers depends on its own leaves and on nothing before them,
    to the last bit; NaN spreads to every window that holds one.
    """
    state, size = leaves, 1
    for bit in f"{window:b}"[1:]:
        state, size = _join(state, state, size, size, merge), 2 * size
        if bit == "1":
            state, size = _join(state, leaves, size, 1, merge), size + 1
    return state


def _join(older: _State, newer: _State, older_size: int, newer_size: int, merge: _Merge) -> _State:
    later = tuple(part[older_size:] for part in newer)
    earlier = tuple(part[: last.size] for part, last in zip(older, later, strict=True))
    return merge(earlier, later, older_size, newer_size)


def _merge_means(older: _State, newer: _State, older_size: int, newer_size: int) -> _State:
    (mean,), (newer_mean,) = older, newer
    return (mean + (newer_mean - mean) * (newer_size / (older_size + newer_size)),)


def _merge_moments(older: _State, newer: _State, older_size: int, newer_size: int) -> _State:
    """Merge means and sums of squared deviations (Chan, Golub and LeVeque, 1979): no difference of squares."""
    (mean, squares), (newer_mean, newer_squares) = older, newer
    share = newer_size / (older_size + newer_size)
    apart = newer_mean - mean
    return mean + apart * share, squares + newer_squares + apart * apart * (older_size * share)


def _merge_drawdowns(older: _State, newer: _State, older_size: int, newer_size: int) -> _State:  # noqa: ARG001
    (fall, peak, trough), (newer_fall, newer_peak, newer_trough) = older, newer
    across = 1 - newer_trough / peak
    return (
        np.maximum(np.maximum(fall, newer_fall), across),
        np.maximum(peak, newer_peak),
        np.minimum(trough, newer_trough),
    )


def _aligned(answers: FloatArray, length: int) -> FloatArray:
    """Put the answers of full windows at the session on which each ends."""
    aligned = np.full(length, np.nan)
    aligned[length - answers.size :] = answers
    return aligned


def _window_mean(values: FloatArray, window: int) -> FloatArray:
    (means,) = _fold((values,), window, _merge_means)
    return _aligned(means, values.size)


def _window_deviation(values: FloatArray, window: int) -> FloatArray:
    if window == 1:
        return np.full_like(values, np.nan)
    _, squares = _fold((values, values - values), window, _merge_moments)
    return _aligned(np.sqrt(squares / (window - 1)), values.size)


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
        _check_window(self.indicator, self.window)

    def __str__(self) -> str:
        """Name the reading as the strategies' definitions do."""
        if self.indicator is Indicator.PRICE:
            return f"price({self.symbol})"
        return f"{self.indicator}({self.symbol},{self.window})"


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
        wanted = tuple(sorted(set(readings)))
        # A column is what is read, so a column is what lies together in memory.
        table = np.full((len(closes.sessions), len(wanted)), np.nan, order="F")
        for place, reading in enumerate(wanted):
            series = closes.column(reading.symbol)
            table[:, place] = compute(reading.indicator, series, reading.window, smoothing)
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
