"""What a panel of indicators costs beside a plain loop over TA-Lib.

Claim: ``IndicatorPanel.from_closes`` and ``average_true_range`` together take at
most 1.3 times the CPU time of TA-Lib for RSI(10), RSI(20), SMA(20), SMA(200),
the deviation of returns (6, 14, 20), the cumulative return (60, 90), the mean
return (20) and ATR(14), at 60 symbols x 2,500 sessions and at 500 x 7,500.

Run it: ``python benchmarks/indicators.py [--rounds 9] [--sizes 60x2500 500x7500]``.

Timed on both sides: everything from the prices of all symbols, a contiguous
series each, to a contiguous column for each reading in memory that the side
asks for itself. Not timed: making prices, and saying which readings are wanted.
The peer is TA-Lib as one would write it by hand for prices without a gap: no
check of prices, no care for gaps or for the rounding of running sums, returns
once for each symbol. Both run in turn, after one round that is not counted.

Equal outputs are asserted within a relative 1e-9, of the largest value that the
symbol has for the reading: TA-Lib's running sums carry their rounding along. Its
fractions are made percent, and its population deviation that of a sample.
"""

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import talib

from trading_pipeline.domain.bars import ClosePanel
from trading_pipeline.domain.indicators import FloatArray, Indicator, average_true_range
from trading_pipeline.domain.readings import IndicatorPanel, Reading

CLAIM = 1.3
TOLERANCE = 1e-9
RANGE_WINDOW = 14
ASKED = (
    *((Indicator.RSI, window) for window in (10, 20)),
    *((Indicator.SMA, window) for window in (20, 200)),
    *((Indicator.RETURN_DEVIATION, window) for window in (6, 14, 20)),
    *((Indicator.CUMULATIVE_RETURN, window) for window in (60, 90)),
    (Indicator.MEAN_RETURN, 20),
)


@dataclass(frozen=True, eq=False)
class Market:
    """Random walks of one per cent a day: sessions by symbols, each symbol's prices together in memory."""

    closes: ClosePanel
    high: FloatArray
    low: FloatArray
    readings: tuple[Reading, ...]


def market(symbols: int, sessions: int) -> Market:
    """Make prices for ``symbols`` over ``sessions``, the same each time."""
    random = np.random.default_rng(20260731)
    closes = 100 * np.exp(np.cumsum(random.normal(0.0002, 0.01, (symbols, sessions)), axis=1)).T
    names = tuple(f"S{number:04}" for number in range(symbols))
    first = date(2000, 1, 3)
    days = tuple(first + timedelta(days=number) for number in range(sessions))
    readings = tuple(Reading(symbol, indicator, window) for symbol in names for indicator, window in ASKED)
    high, low = (np.asfortranarray(closes * (1 + sign * random.uniform(0, 0.01, closes.shape))) for sign in (1, -1))
    return Market(ClosePanel(days, names, closes), high, low, readings)


Answers = tuple[IndicatorPanel, FloatArray]


def ours(bars: Market) -> Answers:
    """Compute the panel, and the ranges."""
    panel = IndicatorPanel.from_closes(bars.closes, bars.readings)
    closes = bars.closes.values
    ranges = np.empty(closes.shape, order="F")
    for place in range(closes.shape[1]):
        ranges[:, place] = average_true_range(bars.high[:, place], bars.low[:, place], closes[:, place], RANGE_WINDOW)
    return panel, ranges


def plain(bars: Market) -> FloatArray:
    """Call TA-Lib for each symbol: readings by sessions by symbols, in the order of ``ASKED``, the ranges last."""
    closes = bars.closes.values
    out = np.empty((len(ASKED) + 1, *closes.shape[::-1])).transpose(0, 2, 1)
    for place in range(closes.shape[1]):
        close = closes[:, place]
        returns = talib.ROCP(close, 1)
        out[0, :, place] = talib.RSI(close, 10)
        out[1, :, place] = talib.RSI(close, 20)
        out[2, :, place] = talib.SMA(close, 20)
        out[3, :, place] = talib.SMA(close, 200)
        out[4, :, place] = talib.STDDEV(returns, 6)
        out[5, :, place] = talib.STDDEV(returns, 14)
        out[6, :, place] = talib.STDDEV(returns, 20)
        out[7, :, place] = talib.ROC(close, 60)
        out[8, :, place] = talib.ROC(close, 90)
        out[9, :, place] = talib.SMA(returns, 20)
        out[10, :, place] = talib.ATR(bars.high[:, place], bars.low[:, place], close, RANGE_WINDOW)
    return out


def assert_equal(bars: Market, found: Answers, wanted: FloatArray) -> None:
    """Compare what is missing exactly, and values within ``TOLERANCE``."""
    panel, ranges = found
    for number, (indicator, window) in enumerate(ASKED):
        columns = [panel.values(Reading(symbol, indicator, window)) for symbol in bars.closes.symbols]
        _compare(f"{indicator}({window})", np.column_stack(columns), wanted[number] * _unit(indicator, window))
    _compare(f"atr({RANGE_WINDOW})", ranges, wanted[-1])


def _unit(indicator: Indicator, window: int) -> float:
    if indicator is Indicator.RETURN_DEVIATION:
        return 100 * math.sqrt(window / (window - 1))
    return 100 if indicator is Indicator.MEAN_RETURN else 1


def _compare(name: str, found: FloatArray, wanted: FloatArray) -> None:
    assert (np.isnan(found) == np.isnan(wanted)).all(), f"{name}: other sessions are missing"
    apart = np.nanmax(np.abs(found - wanted), axis=0) / np.nanmax(np.abs(wanted), axis=0)
    assert apart.max() <= TOLERANCE, f"{name}: {apart.max():.1e} apart"


def measured(side: Callable[[Market], object], bars: Market) -> float:
    """Return the CPU milliseconds of one run of ``side``."""
    before = time.process_time()
    side(bars)
    return 1000 * (time.process_time() - before)


def compare(symbols: int, sessions: int, rounds: int) -> bool:
    """Measure both sides in turn, print what was found and tell whether the claim holds."""
    bars = market(symbols, sessions)
    assert_equal(bars, ours(bars), plain(bars))
    times: dict[str, list[float]] = {"ours": [], "TA-Lib": []}
    for _ in range(rounds):
        times["ours"].append(measured(ours, bars))
        times["TA-Lib"].append(measured(plain, bars))
    print(f"{symbols} symbols x {sessions:,} sessions, {len(ASKED) + 1} readings each, equal within {TOLERANCE:g}")
    for side, taken in times.items():
        middle, low, high = statistics.median(taken), min(taken), max(taken)
        print(f"  {side:7} {middle:7.1f} ms CPU (median of {rounds}; {low:.1f} to {high:.1f})")
    ratio = statistics.median(times["ours"]) / statistics.median(times["TA-Lib"])
    print(f"  ratio {ratio:.2f}, claimed at most {CLAIM}")
    return ratio <= CLAIM


def _size(text: str) -> tuple[int, int]:
    symbols, sessions = text.split("x")
    return int(symbols), int(sessions)


def main() -> None:
    """Measure each size, and end with 1 if the claim was missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sizes", type=_size, nargs="+", default=[(60, 2500), (500, 7500)], metavar="SYMBOLSxSESSIONS")
    options = parser.parse_args()
    kept = [compare(symbols, sessions, options.rounds) for symbols, sessions in options.sizes]
    sys.exit(0 if all(kept) else 1)


if __name__ == "__main__":
    main()
