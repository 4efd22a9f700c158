import math

from trading_pipeline.domain.strategies.tecl import TECL
from trading_pipeline_tests.domain.strategies.tecl_cases import DEFENSE, IS_BULL


def test_a_price_at_its_long_mean_is_a_bear(held):
    assert held(TECL, {}) == DEFENSE


def test_without_managed_futures_the_rotation_cannot_be_decided(held):
    assert held(TECL, IS_BULL | {"rsi(KMLM,10)": math.nan}) == "rsi(KMLM,10) is missing"
