from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.domain.orders import Side
from trading_pipeline.domain.risk.trading_state import ACTIVE, TradingMode, TradingState

NOON = datetime(2026, 7, 31, 16, tzinfo=UTC)
MODES = st.sampled_from(TradingMode)


@pytest.mark.parametrize(
    ("mode", "buys", "sells", "opens", "trades"),
    [
        (TradingMode.ACTIVE, True, True, True, True),
        (TradingMode.REDUCING, False, True, False, True),
        (TradingMode.HALTED, False, False, False, False),
    ],
)
def test_each_mode_allows_what_it_says(mode, buys, sells, opens, trades):
    state = TradingState(mode)

    assert (state.allows(Side.BUY), state.allows(Side.SELL)) == (buys, sells)
    assert (state.allows_opening, state.allows_trading) == (opens, trades)


def test_the_severer_the_mode_the_less_it_allows():
    assert sorted(TradingMode, key=lambda mode: mode.severity) == ["active", "reducing", "halted"]


@given(before=MODES, found=MODES)
def test_tightening_never_loosens(before, found):
    after = TradingState(before, "first").tightened(found, "second", "a rule", NOON)

    assert after.mode.severity == max(before.severity, found.severity)


def test_a_severer_mode_comes_with_its_reason_and_who_set_it_when():
    after = TradingState(TradingMode.REDUCING, "first").tightened(TradingMode.HALTED, "second", "a rule", NOON)

    assert after == TradingState(TradingMode.HALTED, "second", "a rule", NOON)


@pytest.mark.parametrize("mode", [TradingMode.REDUCING, TradingMode.HALTED])
def test_the_first_reason_of_a_mode_stays(mode):
    first = ACTIVE.tightened(mode, "first", "one", NOON)

    assert first.tightened(mode, "second", "another", NOON) is first
