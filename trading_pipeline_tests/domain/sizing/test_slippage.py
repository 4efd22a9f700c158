import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.sizing.slippage import no_trade_band, slippage_bps

quantities = st.floats(0, 1e9)
volumes = st.floats(1, 1e9)
deviations = st.floats(0, 1)
COSTS = {"half_spread_bps": 2.0, "impact": 0.7}


def test_a_tenth_of_a_days_volume_by_hand():
    # 2 + 0.7 x 300 basis points x the root of 0.09
    assert slippage_bps(9_000, 100_000, 0.03, **COSTS) == pytest.approx(2 + 0.7 * 300 * 0.3)


def test_trading_nothing_costs_half_the_spread():
    assert slippage_bps(0, 1, 0.5, **COSTS) == 2.0


@given(quantities, quantities, volumes, deviations)
def test_more_costs_more_and_never_less_than_the_spread(one, other, volume, deviation):
    less, more = (slippage_bps(each, volume, deviation, **COSTS) for each in sorted([one, other]))

    assert 2.0 <= less <= more


@given(quantities, volumes, deviations, st.floats(1e-3, 1e3))
def test_shares_or_dollars_make_no_difference(quantity, volume, deviation, price):
    in_shares = slippage_bps(quantity, volume, deviation, **COSTS)

    assert slippage_bps(quantity * price, volume * price, deviation, **COSTS) == pytest.approx(in_shares, rel=1e-9)


@pytest.mark.parametrize("place", range(3))
def test_a_figure_that_is_not_known_makes_the_cost_and_the_band_unknown(place):
    figures = [100.0, 1000.0, 0.02]
    figures[place] = math.nan

    cost = slippage_bps(*figures, **COSTS)

    assert math.isnan(cost)
    assert math.isnan(no_trade_band(cost, 0.005))


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ((-1, 10, 0.1), "quantity -1"),
        ((1, 0, 0.1), "average volume 0"),
        ((1, -5, 0.1), "average volume -5"),
        ((1, 10, -0.1), "deviation -0.1"),
    ],
)
def test_figures_below_nothing_are_refused(figures, said):
    with pytest.raises(InvalidInput, match=f"some average volume, found {said}"):
        slippage_bps(*figures, **COSTS)


@pytest.mark.parametrize(("cost", "band"), [(0, 0.005), (0.25, 0.005), (1, 0.01), (9, 0.03), (100, 0.1)])
def test_the_band_is_the_root_of_the_cost_and_at_least_the_least(cost, band):
    assert no_trade_band(cost, 0.005) == pytest.approx(band)
