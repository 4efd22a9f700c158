from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.domain.bars import ClosePanel
from trading_pipeline.domain.errors import BrokenContract, InvalidInput, PermanentError
from trading_pipeline.domain.indicators import Indicator, compute
from trading_pipeline.domain.readings import IndicatorPanel, Reading
from trading_pipeline.domain.smoothing import Smoothing
from trading_pipeline_tests.domain.price_series import NAN, assert_close, prices, series, windows

SESSIONS = (date(2026, 7, 28), date(2026, 7, 29), date(2026, 7, 30), date(2026, 7, 31))
READINGS = (Reading("SPY", Indicator.SMA, 2), Reading("SPY", Indicator.PRICE, 1))


def panel_of(*columns, readings=READINGS):
    closes = ClosePanel(SESSIONS, ("SPY", "QQQ"), np.array(columns, dtype=float).T)
    return IndicatorPanel.from_closes(closes, readings)


@pytest.fixture
def panel():
    return panel_of([1, 2, 4, NAN], [5, 6, 7, 8])


def test_readings_are_named_as_in_the_definitions_of_strategies():
    assert str(Reading("SPY", Indicator.RSI, 10)) == "rsi(SPY,10)"
    assert str(Reading("SPY", Indicator.PRICE, 1)) == "price(SPY)"


def test_a_panel_holds_each_reading_once_and_in_order():
    twice = [Reading("SPY", Indicator.SMA, 2), Reading("QQQ", Indicator.RSI, 2), Reading("SPY", Indicator.SMA, 2)]
    found = panel_of([1, 2, 3, 4], [5, 6, 7, 8], readings=twice).readings
    assert found == (Reading("QQQ", Indicator.RSI, 2), Reading("SPY", Indicator.SMA, 2))


def test_a_panel_answers_with_the_indicator_of_its_closes(panel):
    assert_close(panel.values(Reading("SPY", Indicator.SMA, 2)), [NAN, 1.5, 3, NAN])
    assert_close(panel.values(Reading("SPY", Indicator.PRICE, 1)), [1, 2, 4, NAN])


@given(st.lists(series, min_size=1, max_size=4), st.data(), st.sampled_from(Smoothing))
def test_a_panel_answers_to_the_last_bit_as_each_reading_alone(columns, data, smoothing):
    symbols = [f"S{number}" for number in range(len(columns))]
    length = min(column.size for column in columns)
    kinds = [
        (indicator, window) for indicator in Indicator for window in (1, 2, 3, 5, 8, 12) if allowed(indicator, window)
    ]
    asked = st.tuples(st.sampled_from(symbols), st.sampled_from(kinds))
    readings = [Reading(symbol, *kind) for symbol, kind in data.draw(st.lists(asked, max_size=40))]
    table = np.column_stack([column[:length] for column in columns])
    closes = ClosePanel(tuple(SESSIONS[0] + timedelta(days=n) for n in range(length)), tuple(symbols), table)
    panel = IndicatorPanel.from_closes(closes, readings, smoothing)
    assert panel.readings == tuple(sorted(set(readings)))
    for reading in panel.readings:
        alone = compute(reading.indicator, closes.column(reading.symbol), reading.window, smoothing)
        np.testing.assert_array_equal(panel.values(reading), alone)


def allowed(indicator, window):
    return window == 1 if indicator is Indicator.PRICE else window > 1 or indicator is not Indicator.RSI


def test_a_panel_refuses_closes_that_are_no_prices():
    with pytest.raises(InvalidInput, match=r"close 1 of 4 was -2\.0"):
        panel_of([1, -2, 4, NAN], [5, 6, 7, 8])


def test_a_panel_without_sessions_or_readings_is_empty():
    closes = ClosePanel((), ("SPY",), np.empty((0, 1)))
    assert IndicatorPanel.from_closes(closes, READINGS).table.shape == (0, 2)
    assert panel_of([1, 2, 3, 4], [5, 6, 7, 8], readings=[]).table.shape == (4, 0)


def test_a_panel_passes_its_smoothing_on():
    closes = ClosePanel(SESSIONS, ("SPY",), np.array([[10.0], [11], [10], [12]]))
    reading = Reading("SPY", Indicator.RSI, 2)
    for smoothing, last in ((Smoothing.WILDER, 83.3333333333), (Smoothing.CUTLER, 66.6666666667)):
        assert_close(IndicatorPanel.from_closes(closes, [reading], smoothing).values(reading)[-1], last)


def test_a_symbol_without_closes_has_no_readings():
    reading = Reading("GONE", Indicator.PRICE, 1)
    assert np.isnan(panel_of([1, 2, 3, 4], [5, 6, 7, 8], readings=[reading]).values(reading)).all()


def test_a_reading_that_nobody_computed_cannot_be_read(panel):
    with pytest.raises(PermanentError, match=r"rsi\(SPY,10\) was asked for and is not among the 2 readings"):
        panel.values(Reading("SPY", Indicator.RSI, 10))


def test_a_panel_cannot_be_changed(panel):
    with pytest.raises(ValueError, match="read-only"):
        panel.values(Reading("SPY", Indicator.PRICE, 1))[0] = 3


def test_a_table_of_another_shape_than_its_panel_is_refused():
    with pytest.raises(InvalidInput, match=r"shape \(1, 1\): it must be sessions by readings, \(4, 0\)"):
        IndicatorPanel(SESSIONS, (), np.ones((1, 1)))


def test_the_last_sessions_of_a_panel_are_its_last(panel):
    assert panel.last(2).sessions == SESSIONS[-2:]
    assert_close(panel.last(2).values(Reading("SPY", Indicator.SMA, 2)), [3, NAN])
    assert panel.last(9).sessions == SESSIONS
    assert panel.last(0).sessions == ()


def test_a_panel_becomes_the_rows_of_its_table(panel):
    frame = panel.last(1).to_frame(SESSIONS[-1])
    assert frame.columns.tolist() == ["session", "observed", "symbol", "indicator", "window", "value"]
    assert frame.drop(columns="value").to_numpy().tolist() == [
        [SESSIONS[-1], SESSIONS[-1], "SPY", "price", 1],
        [SESSIONS[-1], SESSIONS[-1], "SPY", "sma", 2],
    ]
    assert frame["window"].dtype == np.int64
    assert frame["value"].isna().all()


@given(st.lists(st.lists(st.one_of(prices, st.just(NAN)), min_size=4, max_size=4), min_size=2, max_size=2), st.data())
def test_a_panel_survives_its_table_in_any_order_of_rows(columns, data):
    readings = data.draw(
        st.sets(st.builds(Reading, st.sampled_from(["SPY", "QQQ"]), st.just(Indicator.RSI), windows), min_size=1)
    )
    panel = panel_of(*columns, readings=readings)
    frame = panel.to_frame(SESSIONS[-1]).sample(frac=1, random_state=data.draw(st.integers(0, 99)))
    again = IndicatorPanel.from_frame(frame)
    assert (again.sessions, again.readings) == (panel.sessions, panel.readings)
    np.testing.assert_array_equal(again.table, panel.table)
    assert again.fingerprint() == panel.fingerprint()


def test_a_row_that_is_absent_is_missing(panel):
    frame = panel.to_frame(SESSIONS[-1])
    again = IndicatorPanel.from_frame(frame[~((frame["observed"] == SESSIONS[1]) & (frame["indicator"] == "sma"))])
    assert_close(again.values(Reading("SPY", Indicator.SMA, 2)), [NAN, NAN, 3, NAN])


def test_a_table_with_a_reading_twice_is_refused(panel):
    frame = panel.to_frame(SESSIONS[-1])
    with pytest.raises(BrokenContract, match=r"8 readings appear twice .* price\(SPY,1\) of 2026-07-28"):
        IndicatorPanel.from_frame(pd.concat([frame, frame]))


def test_a_table_with_an_unknown_indicator_is_refused(panel):
    frame = panel.to_frame(SESSIONS[-1]).replace({"indicator": {"sma": "magic"}})
    with pytest.raises(BrokenContract, match="the indicator of SPY was 'magic': it must be one of rsi, price"):
        IndicatorPanel.from_frame(frame)


def test_an_empty_panel_survives_its_table():
    empty = IndicatorPanel((), (), np.empty((0, 0)))
    again = IndicatorPanel.from_frame(empty.to_frame(SESSIONS[-1]))
    assert (again.sessions, again.readings, again.fingerprint()) == ((), (), empty.fingerprint())


def test_a_fingerprint_tells_sessions_readings_and_newest_values_apart(panel):
    other_value = panel_of([1, 2, 4, 5], [5, 6, 7, 8])
    other_reading = panel_of([1, 2, 4, NAN], [5, 6, 7, 8], readings=[Reading("SPY", Indicator.SMA, 3)])
    prints = {panel.fingerprint(), panel.last(1).fingerprint(), other_value.fingerprint(), other_reading.fingerprint()}
    assert len(prints) == 4
    assert all(len(found) == 64 for found in prints)


def test_every_missing_value_has_the_same_fingerprint():
    readings = (Reading("SPY", Indicator.PRICE, 1),)
    ordinary = IndicatorPanel(SESSIONS[:1], readings, np.array([[NAN]]))
    negative = IndicatorPanel(SESSIONS[:1], readings, np.copysign(np.array([[NAN]]), -1))
    assert ordinary.table.tobytes() != negative.table.tobytes()
    assert ordinary.fingerprint() == negative.fingerprint()
