from datetime import date

import numpy as np
import pytest

from trading_pipeline.domain import sessions
from trading_pipeline.domain.risk.drawdown_limits import DrawdownLimits
from trading_pipeline.domain.risk.profit_trend import TrendLevels
from trading_pipeline.research.guard_history import drawdown_rules, trend_rules
from trading_pipeline.research.rule_history import RuleKind, Worths, largest

DAYS = sessions.sessions_between(date(2026, 6, 1), date(2026, 7, 31))


def worths(closes, highs=None, lows=None):
    """What was held as multiples of the close before; highs and lows where nothing else is said are the closes."""
    closes = np.array([*closes, *[1.0] * (len(DAYS) - len(closes))])
    changed = [closes.copy(), closes.copy()]
    for series, values in zip(changed, (highs, lows), strict=True):
        for place, value in (values or {}).items():
            series[place] = value
    return Worths(closes, *changed)


def guarded(*given, limits=None, **ranges):
    """The histories by kind and rule."""
    rules = drawdown_rules("one", DAYS, worths(*given, **ranges), limits or DrawdownLimits())
    return {(each.kind, each.rule): each for each in rules}


def acted(history):
    return [action.session for action in history.actions]


def test_a_rung_acts_in_the_session_that_lost_as_much():
    found = guarded([1.0, 0.93, 1.0, 0.89])

    assert acted(found[RuleKind.CLOSES, "daily loss: warning"]) == [DAYS[1], DAYS[3]]
    assert acted(found[RuleKind.CLOSES, "daily loss: reducing"]) == [DAYS[3]]
    assert acted(found[RuleKind.CLOSES, "daily loss: halted"]) == []
    assert found[RuleKind.CLOSES, "daily loss: halted"].highest == pytest.approx(0.11)
    assert found[RuleKind.CLOSES, "daily loss: halted"].limit == 0.15


def test_the_trailing_rung_acts_once_until_the_fall_is_made_good():
    found = guarded([1.1, 0.9, 0.85, 1.0, 0.99, 1.4, 0.7])

    # 1.1, 0.99, 0.8415 (23.5 % below), ..., back above, then 30 % below the new peak.
    assert acted(found[RuleKind.CLOSES, "trailing drawdown: warning"]) == [DAYS[2], DAYS[6]]
    assert acted(found[RuleKind.CLOSES, "trailing drawdown: reducing"]) == [DAYS[6]]


def test_the_first_session_is_measured_from_the_close_before_it():
    found = guarded([0.93])

    assert acted(found[RuleKind.CLOSES, "daily loss: warning"]) == [DAYS[0]]


def test_extremes_are_all_highs_first_and_all_lows_after_them():
    found = guarded([1.0, 1.0], highs={1: 1.05}, lows={1: 0.95})

    fall = 1 - 0.95 / 1.05
    assert found[RuleKind.EXTREMES, "intraday drawdown: warning"].highest == pytest.approx(fall)
    assert acted(found[RuleKind.EXTREMES, "intraday drawdown: warning"]) == [DAYS[1]]
    assert acted(found[RuleKind.EXTREMES, "daily loss: warning"]) == []
    assert found[RuleKind.EXTREMES, "daily loss: warning"].highest == pytest.approx(0.05)
    assert acted(found[RuleKind.CLOSES, "daily loss: warning"]) == []
    assert (RuleKind.CLOSES, "intraday drawdown: warning") not in found


def test_a_session_that_is_not_known_is_passed_over():
    found = guarded([1.0, np.nan, 0.93])

    # Without a close before there is no loss of the day, and the trailing fall goes on from the last known close.
    assert acted(found[RuleKind.CLOSES, "daily loss: warning"]) == []
    assert found[RuleKind.CLOSES, "trailing drawdown: warning"].highest == pytest.approx(0.07)


def test_falls_agree_with_those_of_the_series_itself():
    moves = 1 + np.random.default_rng(3).normal(0, 0.04, len(DAYS))
    found = guarded(moves)

    values = np.cumprod(np.concatenate([[1.0], moves]))
    assert found[RuleKind.CLOSES, "daily loss: halted"].highest == pytest.approx(1 - moves.min())
    deepest = (1 - values / np.maximum.accumulate(values)).max()
    assert found[RuleKind.CLOSES, "trailing drawdown: halted"].highest == pytest.approx(deepest)
    assert len(acted(found[RuleKind.CLOSES, "daily loss: warning"])) == int((1 - moves >= 0.06).sum()) > 0


def test_losing_streaks_are_counted_from_the_closes():
    closes = worths([0.99] * 3 + [1.01] + [0.999] * 7).closes

    rules = {each.rule: each for each in trend_rules("one", DAYS, closes, TrendLevels(losing_sessions=3))}

    assert acted(rules["losing streak"]) == [DAYS[2], *DAYS[6:11]]
    assert (rules["losing streak"].highest, rules["losing streak"].limit) == (7, 3)


def test_falling_profit_is_told_of_where_the_t_value_says_so():
    closes = worths([0.99, 0.97] * 10).closes

    rules = {each.rule: each for each in trend_rules("one", DAYS, closes, TrendLevels(sessions=20))}

    steps = closes[:20] - 1
    t_value = steps.mean() / (steps.std(ddof=1) / np.sqrt(20))
    assert DAYS[19] in acted(rules["falling profit"])
    assert DAYS[18] not in acted(rules["falling profit"])
    assert rules["falling profit"].highest <= t_value


def test_the_largest_of_what_is_known_is_none_where_nothing_is():
    assert np.isnan(largest(np.array([np.nan, np.inf])))
    assert largest(np.array([np.nan, -1.0, 2.0])) == 2.0
