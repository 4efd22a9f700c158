import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.risk.profit_trend import (
    TrendFinding,
    TrendLevels,
    TrendSign,
    findings,
    profit_trend,
)
from trading_pipeline.domain.risk.trading_state import TradingMode

profits = st.lists(st.floats(-1000, 1000).map(lambda value: round(value, 2)), min_size=3, max_size=40)


def varied(values):
    assume(np.std(values) > 1e-6)
    return values


@given(profits)
def test_the_t_value_is_that_of_a_test_of_one_sample(values):
    trend = profit_trend(varied(values), len(values))

    expected = stats.ttest_1samp(values, 0.0)
    assert trend.t_value == pytest.approx(expected.statistic)
    assert trend.standard_error == pytest.approx(stats.sem(values))


@given(profits)
def test_the_slope_is_that_of_a_line_through_their_sum_laid_by_generalised_least_squares(values):
    count = len(varied(values))
    numbers = np.arange(1, count + 1, dtype=float)
    # The sum of n independent steps has the covariance min(i, j) with that of another number of them.
    inverse = np.linalg.inv(np.minimum.outer(numbers, numbers))
    slope = (numbers @ inverse @ np.cumsum(values)) / (numbers @ inverse @ numbers)

    assert profit_trend(values, count).slope == pytest.approx(slope, abs=1e-6)


@given(profits, st.floats(0.01, 1000))
def test_the_unit_of_the_profits_changes_the_slope_and_not_the_t_value(values, unit):
    own = profit_trend(varied(values), len(values))
    other = profit_trend([value * unit for value in values], len(values))

    assert other.t_value == pytest.approx(own.t_value)
    assert other.slope == pytest.approx(own.slope * unit)


def test_only_the_last_sessions_count():
    assert profit_trend([100.0, 1.0, 2.0, 3.0], 3) == profit_trend([-7.0, 1.0, 2.0, 3.0], 3)
    assert profit_trend([100.0, 1.0, 2.0, 3.0], 3).slope == 2.0


@pytest.mark.parametrize("values", [[1.0, math.nan, 2.0], [1.0, math.inf, 2.0], [1.0, 2.0], []])
def test_a_trend_of_which_a_session_is_not_known_is_unknown_and_finds_nothing(values):
    trend = profit_trend(values, 3)

    assert not trend.is_known
    assert math.isnan(trend.t_value)
    assert not findings(trend, TrendLevels(sessions=3))


@pytest.mark.parametrize(("step", "t_value"), [(0.1, math.inf), (-0.1, -math.inf)])
def test_profits_that_are_all_the_same_leave_no_doubt(step, t_value):
    assert profit_trend([step] * 7, 7).t_value == t_value


def test_no_profit_at_all_is_no_trend():
    assert math.isnan(profit_trend([0.0] * 7, 7).t_value)


@pytest.mark.parametrize(
    ("values", "streak"),
    [
        ([-1.0, -1.0, -1.0], 3),
        ([-1.0, 0.0, -1.0], 1),
        ([-1.0, -1.0, 2.0], 0),
        ([-1.0, math.nan, -1.0, -2.0], 2),
        ([], 0),
    ],
)
def test_a_streak_is_what_was_lost_last_in_a_row(values, streak):
    assert profit_trend(values, 3).losing_streak == streak


def test_levels_only_warn_unless_they_say_otherwise():
    trend = profit_trend([-1.0, -1.1, -0.9] * 7, 20)

    assert {finding.mode for finding in findings(trend, TrendLevels())} == {TradingMode.ACTIVE}


def test_levels_that_reduce_do_so_from_their_own_figure_on():
    levels = TrendLevels(sessions=3, losing_sessions=2, reducing_losing_sessions=4, t_value=-1, reducing_t_value=-1000)

    def streak_of(count):
        return findings(profit_trend([1.0, *[-1.0 - number / 10 for number in range(count)]], 3), levels)[-1]

    assert streak_of(3) == TrendFinding(TrendSign.STREAK, 3, 2, TradingMode.ACTIVE)
    assert streak_of(4) == TrendFinding(TrendSign.STREAK, 4, 4, TradingMode.REDUCING)
    assert str(streak_of(4)) == "losing streak: 4, reduces from 4 on"


def test_a_level_is_reached_at_its_very_figure():
    trend = profit_trend([-1.0, -2.0, -4.0], 3)
    at, beyond = (TrendLevels(sessions=3, t_value=trend.t_value * factor, losing_sessions=4) for factor in (1, 1.01))

    assert [finding.sign for finding in findings(trend, at)] == [TrendSign.FALLING]
    assert not findings(trend, beyond)


@pytest.mark.parametrize(
    "wrong",
    [
        {"sessions": 2},
        {"t_value": 0.0},
        {"losing_sessions": 0},
        {"reducing_t_value": -1.0},
        {"reducing_losing_sessions": 2},
        {"t_value": math.nan},
    ],
)
def test_levels_that_would_always_or_never_be_reached_are_refused(wrong):
    with pytest.raises(InvalidInput, match="a trend needs"):
        TrendLevels(**wrong)


def test_a_trend_of_two_sessions_is_refused():
    with pytest.raises(InvalidInput, match="at least 3 sessions"):
        profit_trend([1.0, 2.0], 2)
