import math
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from trading_pipeline.domain import sessions
from trading_pipeline.domain.risk.drawdown import DrawdownState, Reading, observed
from trading_pipeline.domain.risk.drawdown_limits import DrawdownLimits, Measure
from trading_pipeline.domain.risk.profit_trend import TrendLevels
from trading_pipeline.domain.risk.report_losses import loss_measures
from trading_pipeline_tests.risk_states import SESSION

LIMITS, LEVELS = DrawdownLimits(), TrendLevels(sessions=3, losing_sessions=2)


def watched(*days, limits=LIMITS):
    """What the guard remembers after days of equities, each read twice, the last day being SESSION."""
    state = DrawdownState()
    for place, equities in enumerate(days):
        day = sessions.previous_session(SESSION, len(days) - 1 - place)
        instant = sessions.open_of(day)
        for equity in equities:
            for _ in range(2):
                instant += timedelta(minutes=1)
                state = observed(state, Reading(instant, day, Decimal(equity)), limits).state
    return state


def losses(state, session=SESSION, levels=LEVELS, limits=LIMITS):
    return {(each.name, each.part): each for each in loss_measures(state, session, limits, levels)}


def test_falls_are_measured_at_the_end_of_the_session():
    found = losses(watched([1_000], [800], [900, 950, 760]))

    assert found["intraday drawdown", "warning"].value == pytest.approx(1 - 760 / 950)
    assert found["daily loss", "warning"].value == pytest.approx(1 - 760 / 800)
    assert found["trailing drawdown", "warning"].value == pytest.approx(1 - 760 / 1_000)


def test_the_trailing_drawdown_is_that_of_the_guard_up_to_its_oldest_close():
    limits = DrawdownLimits(trailing_sessions=3)
    days = ([1_000], [800], [810], [790])
    last = Reading(sessions.open_of(SESSION) + timedelta(hours=1), SESSION, Decimal(790))
    guard = observed(watched(*days, limits=limits), last, limits)

    found = losses(guard.state, limits=limits)["trailing drawdown", "warning"].value
    assert found == float(guard.falls[Measure.TRAILING]) == pytest.approx(1 - 790 / 1_000)

    older = watched([2_000], *days, limits=limits)
    assert losses(older, limits=limits)["trailing drawdown", "warning"].value == found


def test_every_rung_is_a_limit_and_names_no_rule():
    found = losses(watched([1_000], [880]))

    limits = {part: each.limit for (name, part), each in found.items() if name == "daily loss"}
    assert limits == {"warning": 0.06, "reducing": 0.10, "halted": 0.15}
    assert found["daily loss", "reducing"].share == pytest.approx(1.2)
    assert {each.code for each in found.values()} == {None}


def test_a_gain_is_no_fall():
    found = losses(watched([1_000], [1_100]))

    assert found["daily loss", "halted"].value == 0
    assert found["trailing drawdown", "halted"].value == 0


def test_the_trend_is_that_of_the_returns_between_the_closes():
    found = losses(watched([1_000], [990], [970], [960]))

    returns = [990 / 1_000 - 1, 970 / 990 - 1, 960 / 970 - 1]
    mean = sum(returns) / 3
    error = math.sqrt(sum((each - mean) ** 2 for each in returns) / 2 / 3)
    assert found["falling profit", None].value == pytest.approx(mean / error)
    assert found["losing streak", None].value == 3
    assert found["losing streak", None].share == pytest.approx(1.5)


def test_a_session_in_the_past_is_reported_as_it_ended_then():
    state = watched([1_000], [800], [900])
    before = sessions.previous_session(SESSION)

    found = losses(state, before)

    assert found["daily loss", "warning"].value == pytest.approx(0.2)
    assert found["trailing drawdown", "warning"].value == pytest.approx(0.2)
    assert math.isnan(found["intraday drawdown", "warning"].value)


@pytest.mark.parametrize("session", [SESSION, sessions.next_session(SESSION), sessions.previous_session(SESSION, 40)])
def test_of_what_the_guard_did_not_watch_nothing_is_known(session):
    state = DrawdownState() if session == SESSION else watched([1_000], [800])

    found = losses(state, session)

    assert len(found) == 11
    assert all(math.isnan(each.value) for each in found.values())


def test_a_session_that_was_missed_leaves_the_loss_of_the_day_and_the_trend_unknown():
    state = watched([1_000], [950], [900])
    missed = replace(state, closes=state.closes[:1])

    found = losses(missed)

    assert math.isnan(found["daily loss", "warning"].value)
    assert math.isnan(found["falling profit", None].value)
    assert found["trailing drawdown", "warning"].value == pytest.approx(0.1)


def test_one_reading_may_be_bad_and_is_no_close():
    single = observed(DrawdownState(), Reading(sessions.open_of(SESSION), SESSION, Decimal(1_000)), LIMITS).state

    assert all(math.isnan(each.value) for each in losses(single).values())
