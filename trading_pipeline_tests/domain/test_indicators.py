import math
import statistics
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.indicators import (
    Indicator,
    annualised_volatility,
    average_true_range,
    compute,
    daily_returns,
    ema,
    look_back,
    rsi,
    sma,
)
from trading_pipeline.domain.readings import Reading
from trading_pipeline.domain.smoothing import Smoothing
from trading_pipeline_tests.domain.price_series import (
    NAN,
    assert_close,
    indicators,
    series,
    whole_series,
    windows,
)

SHARED = Path(__file__).resolve().parents[3] / "shared"
SYMBOLS = [
    *("SPY", "IOO", "TQQQ", "VTV", "XLF", "VOX", "UVXY", "BTAL", "QQQ", "SQQQ", "PSQ", "UPRO", "TLT", "IEF"),
    *("SMR", "BWXT", "LEU", "EXC", "NLR", "OKLO", "XLK", "KMLM", "TECL", "BIL", "BSV", "SPXL"),
]
PUBLISHED_CLOSES = [
    *(44.3389, 44.0902, 44.1497, 43.6124, 44.3278, 44.8264, 45.0955, 45.4245, 45.8433, 46.0826),
    *(45.8931, 46.0328, 45.6140, 46.2820, 46.2820, 46.0028, 46.0328, 46.4116, 46.2222),
]
SCALE_FREE = (
    Indicator.RSI,
    Indicator.MEAN_RETURN,
    Indicator.CUMULATIVE_RETURN,
    Indicator.RETURN_DEVIATION,
    Indicator.MAX_DRAWDOWN,
)


def over(indicator, closes, window, smoothing=Smoothing.WILDER):
    return compute(indicator, closes, 1 if indicator is Indicator.PRICE else window, smoothing)


# The definitions once more, read off their table and written as loops over exact numbers.


def wilder_by_hand(closes, window):
    answers, changes, gain, loss = [], [], Decimal(0), Decimal(0)
    before = None
    for close in closes:
        if math.isnan(close):
            before, changes = None, []
            answers.append(NAN)
            continue
        now = Decimal(float(close))
        if before is not None:
            changes.append(now - before)
        before = now
        if len(changes) < window:
            answers.append(NAN)
            continue
        if len(changes) == window:
            gain = sum((change for change in changes if change > 0), Decimal(0)) / window
            loss = -sum((change for change in changes if change < 0), Decimal(0)) / window
        else:
            gain += (max(changes[-1], Decimal(0)) - gain) / window
            loss += (max(-changes[-1], Decimal(0)) - loss) / window
        answers.append(index_by_hand(gain, loss))
    return answers


def index_by_hand(gain, loss):
    if loss == 0:
        return 50.0 if gain == 0 else 100.0
    return float(100 - 100 / (1 + gain / loss))


def ema_by_hand(closes, window):
    answers, run, mean = [], [], Decimal(0)
    for close in closes:
        run = [] if math.isnan(close) else [*run[-window:], Decimal(float(close))]
        if len(run) == window:
            mean = sum(run, Decimal(0)) / window
        elif len(run) > window:
            mean += (run[-1] - mean) * 2 / (window + 1)
        answers.append(float(mean) if len(run) >= window else NAN)
    return answers


def returns_by_hand(closes):
    return [later / earlier - 1 for earlier, later in pairwise(closes)]


def deviation_by_hand(values):
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def cutler_by_hand(closes):
    changes = [Decimal(later) - Decimal(earlier) for earlier, later in pairwise(closes)]
    return index_by_hand(sum(max(c, Decimal(0)) for c in changes), sum(max(-c, Decimal(0)) for c in changes))


def drawdown_by_hand(closes):
    peak, deepest = closes[0], 0.0
    for close in closes:
        peak = max(peak, close)
        deepest = max(deepest, (peak - close) / peak)
    return 100 * deepest


BY_HAND = {
    Indicator.PRICE: (0, lambda closes: closes[-1]),
    Indicator.SMA: (0, lambda closes: math.fsum(closes) / len(closes)),
    Indicator.PRICE_DEVIATION: (0, deviation_by_hand),
    Indicator.MAX_DRAWDOWN: (0, drawdown_by_hand),
    Indicator.MEAN_RETURN: (1, lambda closes: 100 * math.fsum(returns_by_hand(closes)) / (len(closes) - 1)),
    Indicator.CUMULATIVE_RETURN: (1, lambda closes: 100 * (closes[-1] / closes[0] - 1)),
    Indicator.RETURN_DEVIATION: (1, lambda closes: 100 * deviation_by_hand(returns_by_hand(closes))),
}


def window_by_hand(indicator, closes, window, place):
    extra, answer = BY_HAND[indicator]
    first = place + 1 - window - extra
    held = [float(close) for close in closes[max(first, 0) : place + 1]]
    return NAN if first < 0 or any(map(math.isnan, held)) else answer(held)


@pytest.fixture(scope="module")
def real_closes():
    path = SHARED / "data" / "bars.parquet"
    if not path.exists():
        pytest.skip("../shared is not here: no real bars to compute on")
    bars = pd.read_parquet(path, columns=["symbol", "close"], filters=[("symbol", "in", SYMBOLS)])
    return {symbol: rows.to_numpy(np.float64) for symbol, rows in bars.groupby("symbol", observed=True)["close"]}


def test_wilders_rsi_equals_the_published_series():
    found = rsi(np.array(PUBLISHED_CLOSES), 14)
    assert np.isnan(found[:14]).all()
    np.testing.assert_allclose(found[14:], [70.53, 66.32, 66.55, 69.41, 66.36], atol=0.01)


@pytest.mark.parametrize("smoothing", Smoothing)
def test_a_flat_series_reads_fifty(smoothing):
    found = rsi(np.full(40, 100.1), 10, smoothing)
    assert np.isnan(found[:10]).all()
    assert (found[10:] == 50).all()


@pytest.mark.parametrize("smoothing", Smoothing)
def test_a_series_that_only_rises_reads_a_hundred_and_one_that_only_falls_zero(smoothing):
    rising = np.linspace(10, 20, 30)
    assert (rsi(rising, 10, smoothing)[10:] == 100).all()
    assert (rsi(rising[::-1].copy(), 10, smoothing)[10:] == 0).all()


def test_a_flat_start_reads_fifty_until_the_first_change():
    closes = np.array([5.0] * 6 + [4.0, 4.0])
    assert_close(rsi(closes, 3), [NAN, NAN, NAN, 50, 50, 50, 0, 0])


def test_a_halt_leaves_wilders_rsi_where_it_was():
    closes = np.array([*PUBLISHED_CLOSES, *[PUBLISHED_CLOSES[-1]] * 400])
    found = rsi(closes, 14)
    assert_close(found[len(PUBLISHED_CLOSES) :], found[len(PUBLISHED_CLOSES) - 1])


@pytest.mark.parametrize("window", [10, 20, 90])
def test_wilders_rsi_equals_the_definition_on_real_bars(real_closes, window):
    for closes in real_closes.values():
        assert_close(rsi(closes, window), wilder_by_hand(closes, window))


def test_the_exponential_mean_equals_the_definition_on_real_bars(real_closes):
    for closes in real_closes.values():
        assert_close(ema(closes, 20), ema_by_hand(closes, 20), relative=1e-12)


@pytest.mark.parametrize(("indicator", "window"), [(indicator, 14) for indicator in BY_HAND] + [(Indicator.SMA, 200)])
def test_every_windowed_indicator_equals_the_definition_on_real_bars(real_closes, indicator, window):
    window = 1 if indicator is Indicator.PRICE else window
    for closes in real_closes.values():
        places = np.arange(closes.size % 5, closes.size, 5)
        wanted = [window_by_hand(indicator, closes, window, place) for place in places]
        assert_close(compute(indicator, closes, window)[places], wanted, absolute=1e-12)


def test_cutlers_rsi_equals_the_definition_on_real_bars(real_closes):
    for closes in real_closes.values():
        places = np.arange(10, closes.size, 11)
        wanted = [cutler_by_hand(closes[place - 10 : place + 1].tolist()) for place in places]
        assert_close(rsi(closes, 10, Smoothing.CUTLER)[places], wanted)


@given(series, windows, st.sampled_from(sorted(BY_HAND)))
def test_windows_with_gaps_equal_the_definition(closes, window, indicator):
    window = 1 if indicator is Indicator.PRICE else window
    wanted = [window_by_hand(indicator, closes, window, place) for place in range(closes.size)]
    assert_close(compute(indicator, closes, window), wanted)


@given(series, windows)
def test_recursions_with_gaps_equal_the_definition(closes, window):
    assert_close(rsi(closes, window), wilder_by_hand(closes, window))
    assert_close(ema(closes, window), ema_by_hand(closes, window))


@given(series, windows, indicators, st.sampled_from(Smoothing), st.data())
def test_the_future_changes_no_answer(closes, window, indicator, smoothing, data):
    now = data.draw(st.integers(0, closes.size - 1))
    whole = over(indicator, closes, window, smoothing)
    np.testing.assert_array_equal(over(indicator, closes[: now + 1], window, smoothing), whole[: now + 1])


@given(series, series, windows, indicators, st.sampled_from(Smoothing))
def test_after_a_gap_answers_are_those_of_the_tail_alone(before, after, window, indicator, smoothing):
    answers = over(indicator, np.concatenate([before, [NAN], after]), window, smoothing)
    assert np.isnan(answers[before.size])
    np.testing.assert_array_equal(answers[before.size + 1 :], over(indicator, after, window, smoothing))


@given(whole_series, windows, indicators.filter(lambda indicator: indicator is not Indicator.EMA))
def test_no_windowed_answer_depends_on_what_came_before_its_look_back(closes, window, indicator):
    window = 1 if indicator is Indicator.PRICE else window
    needed = look_back(indicator, window, Smoothing.CUTLER)
    whole = compute(indicator, closes, window, Smoothing.CUTLER)
    for now in range(needed - 1, closes.size):
        tail = compute(indicator, closes[now + 1 - needed : now + 1], window, Smoothing.CUTLER)
        assert tail[-1] == whole[now]
        assert np.isnan(tail[:-1]).all()


@given(whole_series, windows, st.sampled_from(SCALE_FREE), st.floats(1e-6, 1e9), st.sampled_from(Smoothing))
def test_ratios_do_not_depend_on_the_unit_of_price(closes, window, indicator, factor, smoothing):
    assert_close(
        compute(indicator, closes * factor, window, smoothing),
        compute(indicator, closes, window, smoothing),
        relative=1e-6,
        absolute=1e-6,
    )


@given(st.integers(1, 10**9).map(lambda cents: cents / 100), st.integers(1, 250))
def test_a_flat_price_equals_its_means_to_the_last_bit(price, window):
    closes = np.full(260, price)
    for found in (sma(closes, window), ema(closes, window)):
        assert (found[window - 1 :] == price).all()


def test_a_fall_from_great_heights_leaves_no_rounding_behind():
    heights = np.random.default_rng(7).uniform(1e17, 5e17, 100)
    closes = np.concatenate([heights, np.random.default_rng(8).uniform(10, 11, 100)])
    found, wanted = sma(closes, 20)[-1], math.fsum(closes[-20:]) / 20
    assert found == pytest.approx(wanted, rel=1e-14)
    deviation = compute(Indicator.PRICE_DEVIATION, closes, 20)[-1]
    assert deviation == pytest.approx(statistics.stdev(closes[-20:].tolist()), rel=1e-12)


def test_the_deviation_of_a_series_that_hardly_moves_keeps_its_digits():
    closes = 1e6 + np.arange(40) % 2 * 1e-6
    wanted = statistics.stdev(closes[-10:].tolist())
    assert compute(Indicator.PRICE_DEVIATION, closes, 10)[-1] == pytest.approx(wanted, rel=1e-9)


def test_equal_closes_after_a_lively_past_have_exactly_their_mean():
    closes = np.concatenate([np.random.default_rng(3).uniform(1, 9, 70), np.full(40, 0.1), [7.0]])
    found = sma(closes, 20)
    assert (found[89:110] == 0.1).all()
    assert not np.isin(found[[88, 110]], 0.1).any()


@pytest.mark.parametrize("window", [2, 6, 20])
def test_a_constant_return_has_no_deviation(window):
    closes = 100 * 1.001 ** np.arange(60)
    assert compute(Indicator.RETURN_DEVIATION, closes, window)[window:].max() < 1e-12


@pytest.mark.parametrize("apart", [1e-3, 1e-5, 1e-7, 1e-9])
def test_the_deviation_of_returns_that_hardly_differ_keeps_its_digits(apart):
    closes = 100 * np.cumprod(1.01 + apart * np.random.default_rng(4).uniform(-1, 1, 60))
    wanted = 100 * statistics.stdev(map(Fraction, daily_returns(closes)[-14:].tolist()))
    assert compute(Indicator.RETURN_DEVIATION, closes, 14)[-1] == pytest.approx(wanted, rel=2e-11 + 1e-17 / apart)


def test_where_some_windows_hardly_move_the_others_answer_as_without_them():
    lively, still = 100 * np.cumprod(np.random.default_rng(5).uniform(0.97, 1.03, 50)), np.full(30, 1.001)
    both = np.concatenate([lively, lively[-1] * np.cumprod(still)])
    alone = compute(Indicator.RETURN_DEVIATION, lively, 6)
    np.testing.assert_array_equal(compute(Indicator.RETURN_DEVIATION, both, 6)[:50], alone)


def test_a_return_beside_a_missing_close_is_missing():
    assert_close(daily_returns(np.array([100.0, 110.0, NAN, 100.0, 90.0])), [NAN, 0.1, NAN, NAN, -0.1])


def test_annualised_volatility_is_the_deviation_of_returns_over_252_sessions():
    closes = np.array(PUBLISHED_CLOSES)
    wanted = statistics.stdev(returns_by_hand(PUBLISHED_CLOSES)[-10:]) * math.sqrt(252)
    assert annualised_volatility(closes, 10)[-1] == pytest.approx(wanted)


def test_one_value_has_no_sample_deviation():
    closes = np.array([1.0, 2.0, 3.0])
    for indicator in (Indicator.RETURN_DEVIATION, Indicator.PRICE_DEVIATION):
        assert np.isnan(compute(indicator, closes, 1)).all()


@pytest.mark.parametrize("indicator", Indicator)
@pytest.mark.parametrize("length", [0, 1, 2])
def test_a_series_shorter_than_the_window_is_all_missing(indicator, length):
    found = over(indicator, np.full(length, 5.0), 9)
    assert found.shape == (length,)
    assert indicator is Indicator.PRICE or np.isnan(found).all()


@pytest.mark.parametrize(
    ("indicator", "window", "wanted"),
    [
        (Indicator.RSI, 1, "rsi was 1: it must be at least 2"),
        (Indicator.SMA, 0, "sma was 0: it must be at least 1"),
        (Indicator.MAX_DRAWDOWN, -3, "mdd was -3: it must be at least 1"),
        (Indicator.PRICE, 5, "price was 5: a price is one close, its window must be 1"),
    ],
)
def test_a_wrong_window_is_refused_with_what_was_found_and_wanted(indicator, window, wanted):
    for ask in (
        lambda: compute(indicator, np.array([1.0]), window),
        lambda: look_back(indicator, window),
        lambda: Reading("SPY", indicator, window),
    ):
        with pytest.raises(InvalidInput, match=wanted):
            ask()


@pytest.mark.parametrize("close", [0.0, -1.0, math.inf])
def test_closes_that_are_no_prices_are_refused(close):
    with pytest.raises(InvalidInput, match=f"close 1 of 3 was {close}: closes must be positive"):
        sma(np.array([1.0, close, 2.0]), 2)


def test_a_table_is_not_a_series():
    with pytest.raises(InvalidInput, match=r"shape \(2, 2\): one series at a time"):
        sma(np.ones((2, 2)), 2)


def test_no_answer_is_a_view_of_the_closes():
    closes = np.array([1.0, 2.0])
    for indicator in (Indicator.PRICE, Indicator.SMA, Indicator.EMA):
        compute(indicator, closes, 1)[:] = 0
    assert closes.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("indicator", "sessions"),
    [
        (Indicator.RSI, 141),
        (Indicator.EMA, 70),
        (Indicator.SMA, 10),
        (Indicator.PRICE_DEVIATION, 10),
        (Indicator.MAX_DRAWDOWN, 10),
        (Indicator.MEAN_RETURN, 11),
        (Indicator.CUMULATIVE_RETURN, 11),
        (Indicator.RETURN_DEVIATION, 11),
    ],
)
def test_look_back_is_the_window_or_long_enough_for_a_recursion_to_forget(indicator, sessions):
    assert look_back(indicator, 10) == sessions
    assert look_back(Indicator.PRICE, 1) == 1
    assert look_back(Indicator.RSI, 10, Smoothing.CUTLER) == 11


def true_ranges_by_hand(high, low, close):
    for now in range(1, len(close)):
        before = Decimal(close[now - 1])
        top, bottom = Decimal(high[now]), Decimal(low[now])
        yield max(top - bottom, abs(top - before), abs(bottom - before))


def true_range_mean_by_hand(high, low, close, window):
    ranges = list(true_ranges_by_hand(high, low, close))
    answers, mean = [NAN] * window, sum(ranges[:window], Decimal(0)) / window
    for number in range(window, len(close)):
        if number > window:
            mean += (ranges[number - 1] - mean) / window
        answers.append(float(mean))
    return answers[: len(close)]


@st.composite
def bars(draw, min_size=1):
    def dollars(cents):
        return np.array(cents) / 100

    rows = draw(st.lists(st.tuples(st.integers(1, 10**6), st.integers(0, 10**5), st.floats(0, 1)), min_size=min_size))
    low, spans, share = (np.array(part) for part in zip(*rows, strict=True))
    return dollars(low + spans), dollars(low), dollars(low + np.floor(spans * share))


@given(bars(), st.integers(1, 12))
def test_the_average_true_range_equals_the_definition(prices, window):
    wanted = true_range_mean_by_hand(*(part.tolist() for part in prices), window)
    assert_close(average_true_range(*prices, window), wanted)


@given(bars(min_size=2), st.integers(1, 6), st.data())
def test_the_average_true_range_starts_anew_after_a_bar_that_lacks_a_price(prices, window, data):
    gap = data.draw(st.integers(0, prices[0].size - 1))
    data.draw(st.sampled_from(prices))[gap] = NAN
    found = average_true_range(*prices, window)
    assert np.isnan(found[gap])
    np.testing.assert_array_equal(found[:gap], average_true_range(*(part[:gap] for part in prices), window))
    np.testing.assert_array_equal(found[gap + 1 :], average_true_range(*(part[gap + 1 :] for part in prices), window))


@pytest.mark.parametrize("wrong", [0.0, -2.0, math.inf])
@pytest.mark.parametrize("name", ["high", "low", "close"])
@pytest.mark.parametrize("place", [0, 3, 5])
def test_bars_that_are_no_prices_have_no_range(name, place, wrong):
    prices = {"high": np.full(6, 9.0), "low": np.full(6, 7.0), "close": np.full(6, 8.0)}
    prices[name][place] = wrong
    with pytest.raises(InvalidInput, match=f"{name} {place} of 6 was {wrong}: {name}s must be positive"):
        average_true_range(**prices, window=2)


def test_a_range_of_no_sessions_or_of_unequal_ones_is_refused():
    with pytest.raises(InvalidInput, match="window of an average true range was 0: it must be at least 1"):
        average_true_range(np.ones(3), np.ones(3), np.ones(3), 0)
    with pytest.raises(InvalidInput, match="held 3, 3 and 2 prices: they must be of the same sessions"):
        average_true_range(np.ones(3), np.ones(3), np.ones(2), 1)


def averages(closes, window):
    """Wilder's averages of gain and loss after every change from the first window on."""
    changes = np.diff(closes)
    gains, losses = np.maximum(changes, 0), np.maximum(-changes, 0)
    pairs = [(gains[:window].mean(), losses[:window].mean())]
    for gain, loss in zip(gains[window:], losses[window:], strict=True):
        pairs.append((pairs[-1][0] + (gain - pairs[-1][0]) / window, pairs[-1][1] + (loss - pairs[-1][1]) / window))
    return np.array(pairs)


@pytest.mark.parametrize("window", [10, 20])
def test_history_before_the_look_back_moves_an_rsi_by_no_more_than_its_start_can(real_closes, window):
    # Cut and whole history differ, once the cut one has its start, by d = (dG, dL); 13 windows later by d times
    # (1 - 1/n)^(13 n). With p = G / (G + L) in 0..1, G/(G+L) - G'/(G'+L') = ((1-p) dG - p dL) / (G'+L'), which is
    # at most max(|dG|, |dL|) / (G'+L').
    needed = look_back(Indicator.RSI, window)
    left = (1 - 1 / window) ** (needed - 1 - window)
    for closes in real_closes.values():
        whole, answers = averages(closes, window), rsi(closes, window)
        for now in range(needed, closes.size, 97):
            tail = closes[now + 1 - needed : now + 1]
            cut = averages(tail, window)
            bound = 100 * left * np.abs(cut[0] - whole[now + 1 - needed]).max() / cut[-1].sum()
            assert abs(rsi(tail, window)[-1] - answers[now]) <= bound + 1e-9


def test_history_before_the_look_back_moves_an_rsi_of_the_index_by_less_than_a_ten_thousandth(real_closes):
    closes, needed = real_closes["SPY"], look_back(Indicator.RSI, 10)
    answers = rsi(closes, 10)
    for now in range(needed, closes.size, 11):
        assert abs(rsi(closes[now + 1 - needed : now + 1], 10)[-1] - answers[now]) < 1e-4
