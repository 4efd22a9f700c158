import math

import pytest

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.sizing.options import SizingOptions, SizingPart
from trading_pipeline.settings import Settings, SizingSettings


def test_nothing_is_on_unless_somebody_says_so():
    assert SizingOptions().parts == frozenset()
    assert Settings().sizing.options("BIL") == SizingOptions()


@pytest.mark.parametrize("part", SizingPart)
def test_every_part_has_a_switch_of_its_name_that_turns_on_it_alone(part):
    assert SizingSettings(**{part.value: True}).options("SHY") == SizingOptions(safe_asset="SHY").with_parts(part)


def test_every_figure_of_the_settings_reaches_the_options():
    changed = {
        "volatility_sessions": 21,
        "covariance": "ewma",
        "target_volatility": 0.11,
        "largest_scale": 0.91,
        "atr_risk": 0.011,
        "atr_multiple": 3.5,
        "atr_sessions": 7,
        "max_weight": 0.31,
        "least_band": 0.021,
        "half_spread_bps": 5.5,
        "impact": 1.1,
        "volume_sessions": 33,
    }
    switches = {part.value for part in SizingPart}

    options = SizingSettings(**changed).options("BIL")

    assert set(changed) == set(SizingSettings.model_fields) - switches
    assert {name: getattr(options, name) for name in changed} == changed


@pytest.mark.parametrize(
    ("parts", "needed"),
    [
        ((), 0),
        ((SizingPart.WEIGHT_CAPS,), 1),
        ((SizingPart.INVERSE_VOLATILITY,), 64),
        ((SizingPart.VOLATILITY_TARGET,), 64),
        ((SizingPart.NO_TRADE_BAND,), 64),
        ((SizingPart.ATR_CAPS,), 14 * 14 + 1),
        (tuple(SizingPart), 14 * 14 + 1),
    ],
)
def test_as_many_sessions_are_needed_as_the_longest_window_of_what_is_on(parts, needed):
    assert SizingOptions().with_parts(*parts).sessions_needed == needed


def test_a_long_average_of_volume_is_counted_too():
    assert SizingOptions(volume_sessions=100).with_parts(SizingPart.NO_TRADE_BAND).sessions_needed == 100


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *[
            (name, wrong)
            for name in ("target_volatility", "atr_risk", "atr_multiple")
            for wrong in (0.0, -1.0, math.nan)
        ],
        *[(name, wrong) for name in ("largest_scale", "max_weight") for wrong in (0.0, 1.01, math.nan)],
        *[(name, wrong) for name in ("half_spread_bps", "impact") for wrong in (-0.1, math.inf, math.nan)],
        *[("least_band", wrong) for wrong in (-0.1, 1.1, math.nan)],
        *[("volatility_sessions", 1), ("atr_sessions", 0), ("volume_sessions", 0)],
    ],
)
def test_a_figure_out_of_its_range_is_named(name, wrong):
    with pytest.raises(InvalidInput, match=f"sizing has figures out of range: {name} {wrong}; correct them"):
        SizingOptions(**{name: wrong})
