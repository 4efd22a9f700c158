import math
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.instruments import WHOLE_SHARE
from trading_pipeline.domain.sizing.options import SizingOptions
from trading_pipeline.domain.sizing.panel import sizing_panel
from trading_pipeline_tests.domain.sizing.bars import DAYS, bars_of, bars_of_all

OPTIONS = SizingOptions(volatility_sessions=20, atr_sessions=14, volume_sessions=10)
HELD = {"SPY": 0.5}


def panel_of(bars, symbols=("SPY", "TECL"), days=DAYS, options=OPTIONS):
    return sizing_panel(bars, symbols, days, options)


def without(bars, symbol, place, *columns):
    changed = bars.copy()
    changed.loc[(changed["symbol"] == symbol) & (changed["session"] == DAYS[place]), list(columns)] = math.nan
    return changed


@pytest.mark.parametrize("window", [1, 7, 14])
def test_ranges_are_wilders_as_ta_lib_has_them(window):
    talib = pytest.importorskip("talib", reason="TA-Lib, the peer, is not installed")
    bars = bars_of_all("SPY", "TECL")

    found = panel_of(bars, options=SizingOptions(atr_sessions=window)).ranges

    for place, symbol in enumerate(("SPY", "TECL")):
        own = bars[bars["symbol"] == symbol]
        wanted = talib.ATR(*(own[name].to_numpy() for name in ("high", "low", "close")), window)
        assert np.isnan(wanted[:window]).all()
        np.testing.assert_array_equal(found[:, place], wanted)


def test_ranges_are_wilders_as_his_recursion_has_them():
    bars = bars_of("SPY")
    high, low, close = (bars[name].tolist() for name in ("high", "low", "close"))
    true = [
        max(high[now] - low[now], abs(high[now] - close[now - 1]), abs(low[now] - close[now - 1]))
        for now in range(1, len(close))
    ]
    mean = sum(true[:14]) / 14
    wanted = [mean]
    for width in true[14:]:
        mean += (width - mean) / 14
        wanted.append(mean)

    found = panel_of(bars, ["SPY"]).ranges[:, 0]

    assert np.isnan(found[:14]).all()
    np.testing.assert_allclose(found[14:], wanted, rtol=1e-12)


def test_the_other_figures_are_what_pandas_makes_of_the_same_bars():
    bars = bars_of_all("SPY", "TECL")
    by_symbol = bars.pivot_table(index="session", columns="symbol")
    moves = by_symbol["close"].pct_change(fill_method=None)

    found = panel_of(bars)

    np.testing.assert_array_equal(found.closes, by_symbol["close"].to_numpy())
    np.testing.assert_allclose(found.returns, moves.to_numpy(), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(found.deviations, moves.rolling(20).std().to_numpy(), rtol=1e-9)
    np.testing.assert_allclose(found.volumes, by_symbol["volume"].rolling(10).mean().to_numpy(), rtol=1e-12)


@pytest.mark.parametrize("columns", [("high",), ("low",), ("high", "low", "volume")])
def test_a_gap_stays_a_gap_and_reaches_as_far_as_its_window(columns):
    gap = 30
    whole = panel_of(bars_of_all("SPY", "TECL"))

    found = panel_of(without(bars_of_all("SPY", "TECL"), "TECL", gap, *columns))

    assert np.isnan(found.ranges[gap : gap + 15, 1]).all()
    assert not np.isnan(found.ranges[gap + 15 :, 1]).any()
    assert np.isnan(found.volumes[gap : gap + 10, 1]).all() == ("volume" in columns)
    np.testing.assert_array_equal(found.ranges[:, 0], whole.ranges[:, 0])
    np.testing.assert_array_equal(found.deviations, whole.deviations)


def test_a_missing_close_is_in_no_return_and_no_deviation():
    found = panel_of(without(bars_of_all("SPY", "TECL"), "SPY", 30, "close"))

    assert np.flatnonzero(np.isnan(found.returns[:, 0])).tolist() == [0, 30, 31]
    assert np.isnan(found.deviations[30:51, 0]).all()
    assert not np.isnan(found.deviations[51:, 0]).any()


def test_a_symbol_without_bars_has_figures_that_are_all_missing():
    found = panel_of(bars_of("SPY"), ("SPY", "NONE"))

    for table in (found.closes, found.returns, found.deviations, found.ranges, found.volumes):
        assert np.isnan(table[:, 1]).all()


def test_no_row_knows_what_comes_after_it():
    row = 40
    bars = bars_of_all("SPY", "TECL")
    later = bars["session"] > DAYS[row]
    changed = bars.assign(**{name: bars[name].mask(later, 2 * bars[name]) for name in ("high", "low", "close")})

    one, other = (panel_of(each).inputs(row, Decimal(1000), HELD) for each in (bars, changed))

    for name in ("returns", "deviations", "closes", "ranges", "volumes"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_the_inputs_of_a_session_are_its_row_and_the_returns_up_to_it():
    panel = panel_of(bars_of_all("SPY", "TECL"))

    found = panel.inputs(40, Decimal(1000), HELD, WHOLE_SHARE)

    np.testing.assert_array_equal(found.returns, panel.returns[21:41])
    np.testing.assert_array_equal(found.ranges, panel.ranges[40])
    assert (found.equity, found.held, found.quantity_step) == (Decimal(1000), HELD, WHOLE_SHARE)
    assert [found.place(symbol) for symbol in ("SPY", "TECL", "BIL")] == [0, 1, None]


def test_tables_of_a_panel_cannot_be_written_to():
    with pytest.raises(ValueError, match="read-only"):
        panel_of(bars_of("SPY")).ranges[0, 0] = 1.0


def test_a_symbol_named_twice_has_one_column():
    assert panel_of(bars_of("SPY"), ["SPY", "SPY"]).symbols == ("SPY",)


@pytest.mark.parametrize("row", [-1, len(DAYS)])
def test_a_session_that_the_panel_lacks_has_no_inputs(row):
    with pytest.raises(InvalidInput, match=f"a panel of {len(DAYS)} sessions has no row {row}"):
        panel_of(bars_of("SPY")).inputs(row, Decimal(1000), HELD)


@pytest.mark.parametrize("equity", ["0", "-5", "NaN", "Infinity"])
def test_without_a_positive_equity_nothing_is_sized(equity):
    with pytest.raises(InvalidInput, match="weights are sized by a positive equity, was"):
        panel_of(bars_of("SPY")).inputs(5, Decimal(equity), HELD)


def test_fewer_sessions_than_the_windows_leave_figures_missing():
    days = DAYS[:5]
    bars = bars_of("SPY")

    found = panel_of(bars[bars["session"].isin(days)], ["SPY"], days)

    assert np.isnan([found.deviations, found.ranges, found.volumes]).all()
    assert len(found.inputs(4, Decimal(1000), HELD).returns) == 5


def test_the_days_of_the_tests_are_sessions():
    assert all(sessions.is_session(day) for day in DAYS)
    assert pd.Index(DAYS).is_monotonic_increasing
