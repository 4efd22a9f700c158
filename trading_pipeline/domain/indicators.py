"""Indicators of daily closes.

Every function takes one series of completed, adjusted closes, oldest first,
and answers an array of the same length. **Missing is missing**: where a window
holds a NaN or is not yet full the answer is NaN, a recursion starts anew after
a gap, and nothing is ever filled in. Closes must be positive.

The recursions are TA-Lib's. Windows are put together here instead (see
``windows``): a running sum carries the rounding of old, larger prices along for
ever (an adjusted reverse-split fund falls from 5e11 to 10), and TA-Lib's
deviation, a difference of squares, loses its digits where returns hardly differ.
"""

import math
from collections.abc import Callable, Mapping
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from trading_pipeline.domain.errors import InvalidInput
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
    check_window(indicator, window)
    series = _series(closes)
    desk = ReadingDesk(series.size, smoothing)
    answer = PLANS[indicator](desk, window)
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
    check_window(indicator, window)
    if indicator is Indicator.RSI and smoothing is Smoothing.WILDER:
        return WILDER_LOOK_BACK * window + 1
    if indicator is Indicator.EMA:
        return EXPONENTIAL_LOOK_BACK * window
    return window + 1 if indicator in _OF_CHANGES else window


_OF_CHANGES = frozenset({Indicator.RSI, Indicator.MEAN_RETURN, Indicator.CUMULATIVE_RETURN, Indicator.RETURN_DEVIATION})


def check_window(indicator: Indicator, window: int) -> None:
    """Refuse a window over which the indicator has no meaning.

    Raises:
        InvalidInput: it is too small, or a price is asked for over more than one close.
    """
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


class ReadingDesk(PriceWindows):
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

Answer = Callable[[FloatArray], None]
"""Write a reading of the closes that lie on the desk into an array as long as they are."""


def _price(desk: ReadingDesk, window: int) -> Answer:  # noqa: ARG001
    def answer(out: FloatArray) -> None:
        out[:] = desk.closes

    return answer


def _mean(desk: ReadingDesk, window: int) -> Answer:
    [sums], repeats, size = desk.prices.of(window), desk.repeats, np.array(float(window))

    def answer(out: FloatArray) -> None:
        desk.prices.refresh()
        means = np.divide(sums, size, at_full_windows(out, sums.size))
        if 0 < window - 1 <= np.count_nonzero(repeats):
            flat = all_hold(repeats, window - 1)
            means[flat] = desk.closes[window - 1 :][flat]

    return answer


def _mean_return(desk: ReadingDesk, window: int) -> Answer:
    sums, _ = desk.returns.of(window)
    percent = np.array(100 / window)

    def answer(out: FloatArray) -> None:
        desk.returns.refresh()
        np.multiply(sums, percent, at_full_windows(out, sums.size))

    return answer


def _cumulative_return(desk: ReadingDesk, window: int) -> Answer:
    later, earlier = desk.closes[window:], desk.closes[:-window]
    ratios = desk.room[: later.size]

    def answer(out: FloatArray) -> None:
        np.divide(later, earlier, ratios)
        np.subtract(ratios, ONE, ratios)
        changes = np.multiply(ratios, _HUNDRED, at_full_windows(out, ratios.size))
        if not desk.whole:
            changes[~all_hold(~np.isnan(desk.closes), window + 1)] = np.nan

    return answer


def _return_deviation(desk: ReadingDesk, window: int) -> Answer:
    if window == 1:
        return _nothing
    spreads_of_returns = WindowSpreads(desk.returns, window, desk.room)
    percent = np.array(1e4 / (window - 1))

    def answer(out: FloatArray) -> None:
        spread = spreads_of_returns.now()
        np.sqrt(np.multiply(spread, percent, spread), at_full_windows(out, spread.size))

    return answer


def _price_deviation(desk: ReadingDesk, window: int) -> Answer:
    if window == 1:
        return _nothing

    def answer(out: FloatArray) -> None:
        # Closes lie far from zero: most of their differences of squares would have lost their digits.
        spread = spreads(desk.closes, window)
        np.sqrt(spread / (window - 1), at_full_windows(out, spread.size))

    return answer


def _nothing(out: FloatArray) -> None:
    out[:] = np.nan


def _max_drawdown(desk: ReadingDesk, window: int) -> Answer:
    def answer(out: FloatArray) -> None:
        falls = drawdowns(desk.closes, window)
        np.multiply(falls, 100, at_full_windows(out, falls.size))

    return answer


def _relative_strength(desk: ReadingDesk, window: int) -> Answer:
    if desk.smoothing is Smoothing.CUTLER:
        return _cutler(desk, window)

    def answer(out: FloatArray) -> None:
        _by_run(desk, window + 1, lambda run: _wilder(run, window), out)

    return answer


def _cutler(desk: ReadingDesk, window: int) -> Answer:
    gains, losses = desk.moves.of(window)

    def answer(out: FloatArray) -> None:
        desk.moves.refresh()
        total = gains + losses
        index = np.divide(gains, total, out=np.full_like(total, NEUTRAL_RSI / 100), where=total != 0)
        np.multiply(index, 100, at_full_windows(out, index.size))

    return answer


def _exponential_mean(desk: ReadingDesk, window: int) -> Answer:
    if window == 1:
        return _price(desk, window)

    def answer(out: FloatArray) -> None:
        _by_run(desk, window, lambda run: _exponential(run, window), out)

    return answer


def _by_run(desk: ReadingDesk, needed: int, answer: Callable[[FloatArray], FloatArray], out: FloatArray) -> None:
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


PLANS: Mapping[Indicator, Callable[[ReadingDesk, int], Answer]] = {
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
"""How each indicator over a window is read off a desk, whatever closes will lie there."""
