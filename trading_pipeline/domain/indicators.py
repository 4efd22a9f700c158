"""Indicators of daily closes, and the panel of readings that strategies decide on.

Every function takes one series of completed, adjusted closes, oldest first,
and answers an array of the same length. **Missing is missing**: where a window
holds a NaN or is not yet full the answer is NaN, a recursion starts anew after
a gap, and nothing is ever filled in. Closes must be positive.

The recursions are TA-Lib's. Windows are put together here instead (see
``windows``): a running sum carries the rounding of old, larger prices along for
ever (an adjusted reverse-split fund falls from 5e11 to 10), and TA-Lib's
deviation, a difference of squares, loses its digits where returns hardly differ.
"""

import collections
import functools
import hashlib
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from trading_pipeline.domain.bars import ClosePanel
from trading_pipeline.domain.errors import BrokenContract, InvalidInput, PermanentError
from trading_pipeline.domain.smoothing import Smoothing
from trading_pipeline.domain.windows import (
    ONE,
    PriceWindows,
    WindowSpreads,
    all_hold,
    at_full_windows,
    drawdowns,
    spreads,
    stretches,
)

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
    _check_window(indicator, window)
    series = _series(closes)
    desk = _Desk(series.size, smoothing)
    answer = _PLANS[indicator](desk, window)
    desk.lay(series)
    answers = np.empty(series.size)
    answer(answers)
    return answers


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
    return compute(Indicator.RSI, closes, window, smoothing)


def price(closes: FloatArray, window: int = 1) -> FloatArray:
    """Return the closes themselves; ``window`` is 1.

    Raises:
        InvalidInput: ``window`` is not 1, or the closes are not one series of positive numbers.
    """
    return compute(Indicator.PRICE, closes, window)


def sma(closes: FloatArray, window: int) -> FloatArray:
    """Return the mean of the last ``window`` closes, in dollars.

    A window of equal closes has exactly that mean, so that ``price > sma`` is
    false there.

    >>> sma(np.array([1.0, 2.0, 6.0]), 3)
    array([nan, nan,  3.])

    Raises:
        InvalidInput: ``window`` is below 1, or the closes are not one series of positive numbers.
    """
    return compute(Indicator.SMA, closes, window)


def ema(closes: FloatArray, window: int) -> FloatArray:
    """Return the exponential mean of span ``window`` (alpha = 2 / (window + 1)), in dollars.

    It starts on the plain mean of the first ``window`` closes, and anew after a gap.

    >>> ema(np.array([1.0, 3.0, 8.0]), 2)
    array([nan,  2.,  6.])

    Raises:
        InvalidInput: ``window`` is below 1, or the closes are not one series of positive numbers.
    """
    return compute(Indicator.EMA, closes, window)


def mean_return(closes: FloatArray, window: int) -> FloatArray:
    """Return the mean of the last ``window`` simple daily returns, in percent a day; needs one close more.

    >>> mean_return(np.array([100.0, 110.0, 99.0]), 2).round(12)
    array([nan, nan,  0.])

    Raises:
        InvalidInput: ``window`` is below 1, or the closes are not one series of positive numbers.
    """
    return compute(Indicator.MEAN_RETURN, closes, window)


def cumulative_return(closes: FloatArray, window: int) -> FloatArray:
    """Return the return over the last ``window`` sessions, in percent; needs one close more.

    NaN also where a close between the two ends is missing.

    >>> cumulative_return(np.array([100.0, 90.0, 125.0]), 2)
    array([nan, nan, 25.])

    Raises:
        InvalidInput: ``window`` is below 1, or the closes are not one series of positive numbers.
    """
    return compute(Indicator.CUMULATIVE_RETURN, closes, window)


def return_deviation(closes: FloatArray, window: int) -> FloatArray:
    """Return the sample standard deviation of the last ``window`` daily returns, in percent; needs one close more.

    NaN throughout for a window of 1: one value has no sample deviation.

    >>> return_deviation(np.array([100.0, 110.0, 99.0]), 2).round(6)
    array([      nan,       nan, 14.142136])

    Raises:
        InvalidInput: ``window`` is below 1, or the closes are not one series of positive numbers.
    """
    return compute(Indicator.RETURN_DEVIATION, closes, window)


def price_deviation(closes: FloatArray, window: int) -> FloatArray:
    """Return the sample standard deviation of the last ``window`` closes, in dollars.

    NaN throughout for a window of 1: one value has no sample deviation.

    >>> price_deviation(np.array([1.0, 2.0, 3.0]), 3)
    array([nan, nan,  1.])

    Raises:
        InvalidInput: ``window`` is below 1, or the closes are not one series of positive numbers.
    """
    return compute(Indicator.PRICE_DEVIATION, closes, window)


def max_drawdown(closes: FloatArray, window: int) -> FloatArray:
    """Return the largest fall from a peak to a later close within the last ``window`` closes, in percent, positive.

    >>> max_drawdown(np.array([100.0, 80.0, 90.0, 45.0]), 3)
    array([nan, nan, 20., 50.])

    Raises:
        InvalidInput: ``window`` is below 1, or the closes are not one series of positive numbers.
    """
    return compute(Indicator.MAX_DRAWDOWN, closes, window)


def average_true_range(high: FloatArray, low: FloatArray, close: FloatArray, window: int) -> FloatArray:
    """Return Wilder's average true range, in dollars; needs ``window`` + 1 bars.

    The true range is the largest of high - low, |high - last close| and
    |low - last close|. The average starts as the plain mean of the first
    ``window`` true ranges and goes on as a = a + (x - a) / window (J. Welles
    Wilder, New Concepts in Technical Trading Systems, 1978). NaN where a bar
    lacks its high, low or close; it starts anew after.

    >>> average_true_range(np.array([9.0, 11.0, 14.0]), np.array([8.0, 9.0, 13.0]), np.array([8.5, 10.0, 13.0]), 2)
    array([ nan,  nan, 3.25])

    Raises:
        InvalidInput: ``window`` is below 1, or the three are not series of positive numbers of one length.
    """
    if window < 1:
        raise InvalidInput(f"the window of an average true range was {window}: it must be at least 1")
    high, low, close = _series(high), _series(low), _series(close)
    if not high.size == low.size == close.size:
        raise InvalidInput(
            f"high, low and close held {high.size}, {low.size} and {close.size} prices: "
            "they must be of the same sessions"
        )
    return _true_range_mean(high, low, close, window)


def daily_returns(closes: FloatArray) -> FloatArray:
    """Return the simple daily returns as fractions; the first is NaN, as is each beside a missing close.

    >>> daily_returns(np.array([100.0, 110.0, 99.0]))
    array([ nan,  0.1, -0.1])

    Raises:
        InvalidInput: the closes are not one series of positive numbers.
    """
    series = _series(closes)
    _check_prices("close", series)
    returns = np.full_like(series, np.nan)
    returns[1:] = series[1:] / series[:-1] - 1
    return returns


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


def _check_window(indicator: Indicator, window: int) -> None:
    smallest = 2 if indicator is Indicator.RSI else 1
    if window < smallest:
        raise InvalidInput(f"the window of {indicator} was {window}: it must be at least {smallest}")
    if indicator is Indicator.PRICE and window != 1:
        raise InvalidInput(f"the window of price was {window}: a price is one close, its window must be 1")


def _series(prices: FloatArray) -> FloatArray:
    series = np.ascontiguousarray(prices, dtype=np.float64)
    if series.ndim != 1:
        raise InvalidInput(f"prices had the shape {series.shape}: one series at a time, oldest first")
    return series


def _check_prices(name: str, prices: FloatArray) -> None:
    wrong = np.flatnonzero((prices <= 0) | np.isinf(prices))
    if wrong.size:
        raise InvalidInput(
            f"{name} {wrong[0]} of {prices.size} was {prices[wrong[0]]}: {name}s must be positive, or NaN where missing"
        )


def _is_positive(prices: FloatArray) -> bool:
    """Tell whether there are ``prices``, all of them positive and none missing."""
    # To find the place is faster than to reduce, and the place of the first NaN comes before any other.
    return prices.size > 0 and bool(prices[prices.argmin()] > 0)


class _Desk(PriceWindows):
    """Where readings of one series of closes after another are computed, all of one length."""

    def __init__(self, length: int, smoothing: Smoothing) -> None:
        super().__init__(length)
        self.smoothing = smoothing
        self.whole = False
        """Whether there are closes, and none is missing."""

    def lay(self, closes: FloatArray) -> None:
        """Take ``closes`` in, once they are known to be prices."""
        self.whole = _is_positive(closes) and bool(closes[closes.argmax()] < math.inf)
        if not self.whole:
            _check_prices("close", closes)
        self.take(closes)


_HUNDRED = np.array(100.0)

_Answer = Callable[[FloatArray], None]
"""Write a reading of the closes that lie on the desk into an array as long as they are."""


def _price(desk: _Desk, window: int) -> _Answer:  # noqa: ARG001
    def answer(out: FloatArray) -> None:
        out[:] = desk.closes

    return answer


def _mean(desk: _Desk, window: int) -> _Answer:
    [sums], repeats, size = desk.prices.of(window), desk.repeats, np.array(float(window))

    def answer(out: FloatArray) -> None:
        desk.prices.refresh()
        means = np.divide(sums, size, at_full_windows(out, sums.size))
        if 0 < window - 1 <= np.count_nonzero(repeats):
            flat = all_hold(repeats, window - 1)
            means[flat] = desk.closes[window - 1 :][flat]

    return answer


def _mean_return(desk: _Desk, window: int) -> _Answer:
    sums, _ = desk.returns.of(window)
    percent = np.array(100 / window)

    def answer(out: FloatArray) -> None:
        desk.returns.refresh()
        np.multiply(sums, percent, at_full_windows(out, sums.size))

    return answer


def _cumulative_return(desk: _Desk, window: int) -> _Answer:
    later, earlier = desk.closes[window:], desk.closes[:-window]
    ratios = desk.room[: later.size]

    def answer(out: FloatArray) -> None:
        np.divide(later, earlier, ratios)
        np.subtract(ratios, ONE, ratios)
        changes = np.multiply(ratios, _HUNDRED, at_full_windows(out, ratios.size))
        if not desk.whole:
            changes[~all_hold(~np.isnan(desk.closes), window + 1)] = np.nan

    return answer


def _return_deviation(desk: _Desk, window: int) -> _Answer:
    if window == 1:
        return _nothing
    spreads_of_returns = WindowSpreads(desk.returns, window, desk.room)
    percent = np.array(1e4 / (window - 1))

    def answer(out: FloatArray) -> None:
        spread = spreads_of_returns.now()
        np.sqrt(np.multiply(spread, percent, spread), at_full_windows(out, spread.size))

    return answer


def _price_deviation(desk: _Desk, window: int) -> _Answer:
    if window == 1:
        return _nothing

    def answer(out: FloatArray) -> None:
        # Closes lie far from zero: most of their differences of squares would have lost their digits.
        spread = spreads(desk.closes, window)
        np.sqrt(spread / (window - 1), at_full_windows(out, spread.size))

    return answer


def _nothing(out: FloatArray) -> None:
    out[:] = np.nan


def _max_drawdown(desk: _Desk, window: int) -> _Answer:
    def answer(out: FloatArray) -> None:
        falls = drawdowns(desk.closes, window)
        np.multiply(falls, 100, at_full_windows(out, falls.size))

    return answer


def _relative_strength(desk: _Desk, window: int) -> _Answer:
    if desk.smoothing is Smoothing.CUTLER:
        return _cutler(desk, window)

    def answer(out: FloatArray) -> None:
        _by_run(desk, window + 1, lambda run: _wilder(run, window), out)

    return answer


def _cutler(desk: _Desk, window: int) -> _Answer:
    gains, losses = desk.moves.of(window)

    def answer(out: FloatArray) -> None:
        desk.moves.refresh()
        total = gains + losses
        index = np.divide(gains, total, out=np.full_like(total, NEUTRAL_RSI / 100), where=total != 0)
        np.multiply(index, 100, at_full_windows(out, index.size))

    return answer


def _exponential_mean(desk: _Desk, window: int) -> _Answer:
    if window == 1:
        return _price(desk, window)

    def answer(out: FloatArray) -> None:
        _by_run(desk, window, lambda run: _exponential(run, window), out)

    return answer


def _by_run(desk: _Desk, needed: int, answer: Callable[[FloatArray], FloatArray], out: FloatArray) -> None:
    """Answer each stretch without a gap on its own: after a NaN TA-Lib's RSI says 0.0 for ever."""
    if desk.whole and desk.closes.size >= needed:
        out[:] = answer(desk.closes)
        return
    out[:] = np.nan
    for run in stretches(np.isnan(desk.closes)):
        if run.stop - run.start >= needed:
            out[run] = answer(desk.closes[run])


def _wilder(run: FloatArray, window: int) -> FloatArray:
    import talib

    index: FloatArray = talib.RSI(run, window)
    if index[window] == 0:
        # TA-Lib says 0 both for nothing but losses, which is right, and for no change at all, which is neutral.
        unchanged = np.logical_and.accumulate(run == run[0])
        index[window:][unchanged[window:]] = NEUTRAL_RSI
    return index


def _exponential(run: FloatArray, window: int) -> FloatArray:
    import talib

    # Rounding may carry the recursion an ulp past its extremes, which would make a flat price differ from its mean.
    means: FloatArray = talib.EMA(run, window)
    return np.clip(means, np.minimum.accumulate(run), np.maximum.accumulate(run))


def _true_range_mean(high: FloatArray, low: FloatArray, close: FloatArray, window: int) -> FloatArray:
    import talib

    if close.size > window and _is_positive(high) and _is_positive(low) and _is_positive(close):
        answers: FloatArray = talib.ATR(high, low, close, window)
        # One infinite price makes all answers after it infinite or NaN; three prices are in no answer.
        if math.isfinite(answers[-1] + high[0] + low[0] + close[-1]):
            return answers
    for name, prices in (("high", high), ("low", low), ("close", close)):
        _check_prices(name, prices)
    answers = np.full_like(close, np.nan)
    for run in stretches(np.isnan(high) | np.isnan(low) | np.isnan(close)):
        if run.stop - run.start > window:
            answers[run] = talib.ATR(high[run], low[run], close[run], window)
    return answers


_PLANS: Mapping[Indicator, Callable[[_Desk, int], _Answer]] = {
    Indicator.RSI: _relative_strength,
    Indicator.PRICE: _price,
    Indicator.SMA: _mean,
    Indicator.EMA: _exponential_mean,
    Indicator.MEAN_RETURN: _mean_return,
    Indicator.CUMULATIVE_RETURN: _cumulative_return,
    Indicator.RETURN_DEVIATION: _return_deviation,
    Indicator.PRICE_DEVIATION: _price_deviation,
    Indicator.MAX_DRAWDOWN: _max_drawdown,
}


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
            desk = _Desk(len(table), smoothing)
            answers = [_PLANS[indicator](desk, window) for indicator, window in kinds]
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
