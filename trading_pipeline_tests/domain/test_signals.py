import math
from datetime import date, timedelta

import numpy as np
import pytest

from trading_pipeline.domain.errors import DataError
from trading_pipeline.domain.readings import IndicatorPanel
from trading_pipeline.domain.signals import (
    HISTORY_COLUMNS,
    SIGNAL_COLUMNS,
    Signal,
    SignalStatus,
    history_frame,
    signals_from_frame,
    signals_of,
    to_frame,
)
from trading_pipeline.domain.strategies.evaluation import evaluate
from trading_pipeline.domain.strategies.tree import if_, readings, rsi, specified

SESSION = date(2024, 3, 1)
TREE = if_(rsi("SPY", 10) > 50, specified((0.25, "UVXY"), (0.75, "BIL")), "TECL")


@pytest.fixture
def panel():
    strength = np.array([[60.0], [math.nan], [40.0]])
    return IndicatorPanel(tuple(SESSION + timedelta(days=n) for n in range(3)), readings(TREE), strength)


@pytest.fixture
def signals(panel):
    return signals_of("tecl", evaluate(TREE, panel), panel)


def test_each_session_has_a_signal_or_a_reason(signals, panel):
    first, second, third = signals

    assert first.weights == {"BIL": 0.75, "UVXY": 0.25}
    assert (second.status, second.reason) == (SignalStatus.UNAVAILABLE, "rsi(SPY,10) is missing")
    assert not second.weights
    assert third == Signal("tecl", panel.sessions[2], SignalStatus.AVAILABLE, {"TECL": 1.0}, None, panel.fingerprint())


def test_a_signal_becomes_one_row_for_each_symbol(signals):
    frame = to_frame(signals[0])

    assert tuple(frame.columns) == SIGNAL_COLUMNS
    assert frame["symbol"].tolist() == ["BIL", "UVXY"]
    assert frame["weight"].tolist() == [0.75, 0.25]
    assert frame["reason"].isna().all()
    assert frame["session"].tolist() == [SESSION, SESSION]


def test_an_unavailable_signal_is_one_row_with_its_reason(signals):
    frame = to_frame(signals[1])

    assert len(frame) == 1
    assert frame[["symbol", "weight"]].isna().all(axis=None)
    assert frame["status"].item() == "unavailable"
    assert frame["reason"].item() == "rsi(SPY,10) is missing"


def test_available_and_unavailable_frames_have_the_same_types(signals):
    assert to_frame(signals[0]).dtypes.equals(to_frame(signals[1]).dtypes)


def test_signals_survive_their_frame(signals):
    for signal in signals:
        assert signals_from_frame(to_frame(signal)) == (signal,)


def test_signals_of_several_sessions_are_read_back_in_order(signals):
    import pandas as pd

    assert signals_from_frame(pd.concat([to_frame(signal) for signal in reversed(signals)])) == signals


@pytest.mark.parametrize(
    ("status", "weights", "reason", "message"),
    [
        (SignalStatus.AVAILABLE, {"A": 0.5, "B": 0.4}, None, "sum to 0.9"),
        (SignalStatus.AVAILABLE, {"A": math.nan}, None, "sum to nan"),
        (SignalStatus.AVAILABLE, {"A": 1.5, "B": -0.5}, None, "not positive"),
        (SignalStatus.AVAILABLE, {}, None, "contradicts itself"),
        (SignalStatus.AVAILABLE, {"A": 1.0}, "why", "contradicts itself"),
        (SignalStatus.UNAVAILABLE, {"A": 1.0}, "why", "contradicts itself"),
        (SignalStatus.UNAVAILABLE, {}, None, "contradicts itself"),
    ],
)
def test_a_signal_that_breaks_its_promise_cannot_be_made(status, weights, reason, message):
    with pytest.raises(DataError, match=message):
        Signal("tecl", SESSION, status, weights, reason, "")


def test_the_weights_of_a_signal_cannot_be_changed(signals):
    with pytest.raises(TypeError):
        signals[0].weights["SPY"] = 1.0


def test_history_is_in_order_of_session_and_symbol(panel):
    frame = history_frame(evaluate(TREE, panel), panel.sessions[0], panel.sessions[2])

    assert tuple(frame.columns) == HISTORY_COLUMNS
    assert frame["session"].tolist() == [panel.sessions[n] for n in (0, 0, 1, 2)]
    assert frame["symbol"].fillna("-").tolist() == ["BIL", "UVXY", "-", "TECL"]
    assert frame["status"].tolist() == ["available", "available", "unavailable", "available"]
    assert frame["reason"].dropna().tolist() == ["rsi(SPY,10) is missing"]


def test_history_holds_the_range_that_was_asked(panel):
    frame = history_frame(evaluate(TREE, panel), panel.sessions[2], panel.sessions[2] + timedelta(days=9))

    assert frame["session"].tolist() == [panel.sessions[2]]
    assert history_frame(evaluate(TREE, panel), date(2030, 1, 1), date(2030, 2, 1)).empty
