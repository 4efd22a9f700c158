import dataclasses
import math
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_pipeline.domain.bars import ClosePanel
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.risk.model_backtest import backtest
from trading_pipeline.domain.risk.scenarios import scenarios_of
from trading_pipeline.domain.risk.tail_risk import (
    historical_value_at_risk,
    normal_value_at_risk,
    student_t_value_at_risk,
)
from trading_pipeline.domain.risk.volatility import filtered_historical
from trading_pipeline.research.tail_backtest import (
    QUICK_MODELS,
    TailOptions,
    ValueAtRiskModel,
    tail_backtest,
)
from trading_pipeline_tests.research.evaluations import closes_of, days, evaluation_of

BEFORE, TESTED = 80, 30
FIRST = date(2026, 3, 2) + timedelta(days=BEFORE)
SMALL = TailOptions(confidence=0.95, window=60, minimum=40)
MODEL = ValueAtRiskModel


def drawn(seed, count=BEFORE + TESTED):
    generator = np.random.default_rng(seed)
    return 100 * np.cumprod(1 + 0.01 * generator.standard_t(4, count))


CLOSES = closes_of(A=drawn(1), B=drawn(2))
HELD = [{"A": 0.7, "B": 0.3} if place % 3 else {"B": 1.0} for place in range(TESTED)]


def evaluated(*holdings):
    return evaluation_of(*(holdings or HELD), first=FIRST)


def outcome(*holdings, closes=CLOSES, options=SMALL):
    return tail_backtest({"one": evaluated(*holdings)}, closes, FIRST, options)


def run_of(found, model, strategy="one"):
    [run] = [run for run in found.of(strategy) if run.model is model]
    return run


def changed(closes, symbol, rows, value):
    values = np.column_stack([closes.column(each) for each in closes.symbols])
    values[rows, closes.symbols.index(symbol)] = value
    return dataclasses.replace(closes, values=values)


def test_each_session_from_the_second_on_brings_a_loss():
    found = outcome()

    assert found.sessions == days(BEFORE + TESTED)[BEFORE + 1 :]
    assert found.losses["one"].size == TESTED - 1
    assert [(run.strategy, run.model) for run in found.runs] == [("one", model) for model in QUICK_MODELS]


def test_the_loss_of_a_session_is_that_of_the_weights_held_before_it():
    found = outcome()

    prices = np.column_stack([CLOSES.column("A"), CLOSES.column("B")])
    moves = prices[1:] / prices[:-1] - 1
    expected = [
        -sum(weight * moves[BEFORE + place, "AB".index(symbol)] for symbol, weight in held.items())
        for place, held in enumerate(HELD[:-1])
    ]
    assert found.losses["one"] == pytest.approx(expected)


@pytest.mark.parametrize("place", [0, 1, TESTED - 2])
def test_a_figure_is_what_the_model_says_of_the_closes_so_far(place):
    """By plain returns: no scenarios of ours but for what is fitted and filtered."""
    found = outcome(options=dataclasses.replace(SMALL, models=tuple(MODEL)))
    prices = {symbol: CLOSES.column(symbol) for symbol in "AB"}
    frame = pd.DataFrame(prices, index=list(CLOSES.sessions)).iloc[: BEFORE + place + 1]
    held = HELD[place]
    losses = -(frame.pct_change()[list(held)] * pd.Series(held)).sum(axis=1).to_numpy()[-60:]
    scenarios = scenarios_of(frame[list(held)], 60, 40)

    said = {run.model: run.value_at_risk[place] for run in found.runs}

    assert said[MODEL.HISTORICAL] == pytest.approx(historical_value_at_risk(losses, 0.95))
    assert said[MODEL.NORMAL] == pytest.approx(normal_value_at_risk(losses, 0.95))
    fitted = scenarios.degrees_of_freedom
    assert said[MODEL.STUDENT_T] == pytest.approx(student_t_value_at_risk(losses, 0.95, fitted))
    filtered = scenarios.portfolio(held).filtered
    assert said[MODEL.FILTERED] == pytest.approx(historical_value_at_risk(filtered, 0.95))
    series = filtered_historical(-losses, alpha_var=0.95)
    assert said[MODEL.GARCH_FILTERED] == pytest.approx(series.value_at_risk)


def test_the_tests_are_those_of_the_losses_and_the_figures():
    found = outcome()

    for run in found.runs:
        assert run.result == backtest(found.losses["one"], run.value_at_risk, 0.95)
        assert run.result.sessions == TESTED - 1
        assert run.recent == run.result
        assert run.mean_value_at_risk == pytest.approx(run.value_at_risk.mean())


@settings(max_examples=15)
@given(st.integers(1, TESTED - 2), st.floats(0.2, 5))
def test_no_figure_knows_what_comes_after_it(place, factor):
    later = changed(CLOSES, "B", slice(BEFORE + place + 1, None), CLOSES.column("B")[BEFORE + place + 1 :] * factor)

    plain, other = outcome(), outcome(closes=later)

    for ours, theirs in zip(plain.runs, other.runs, strict=True):
        assert np.array_equal(ours.value_at_risk[: place + 1], theirs.value_at_risk[: place + 1])
    assert np.array_equal(plain.losses["one"][:place], other.losses["one"][:place])


def test_a_fall_that_no_model_saw_is_an_exception_of_each():
    fallen = changed(CLOSES, "B", slice(BEFORE + 10, None), CLOSES.column("B")[BEFORE + 10 :] / 2)

    plain, found = outcome(*[{"B": 1.0}] * TESTED), outcome(*[{"B": 1.0}] * TESTED, closes=fallen)

    assert found.losses["one"][9] == pytest.approx(0.5, abs=0.05)
    for run in found.runs:
        assert found.losses["one"][9] > run.value_at_risk[9]
        assert run.value_at_risk[10] > run_of(plain, run.model).value_at_risk[10]


def test_a_session_on_which_the_strategy_was_unavailable_is_missing_and_no_pass():
    holdings = [*HELD[:5], "no data", *HELD[6:]]

    found = outcome(*holdings)

    for run in found.runs:
        assert np.flatnonzero(np.isnan(run.value_at_risk)).tolist() == [5]
        assert (run.result.sessions, run.result.missing) == (TESTED - 2, 1)
    assert np.flatnonzero(np.isnan(found.losses["one"])).tolist() == [5]


def test_sessions_that_an_evaluation_lacks_are_missing():
    short = evaluation_of(*HELD[:10], first=FIRST)

    found = tail_backtest({"one": short}, CLOSES, FIRST, SMALL)

    assert {(run.result.sessions, run.result.missing) for run in found.runs} == {(10, TESTED - 11)}


def test_a_missing_close_of_what_is_held_has_no_loss_and_no_figure_on_its_session():
    gap = changed(CLOSES, "A", [BEFORE + 7], np.nan)

    found = outcome(closes=gap)

    # After sessions 6 and 9 only B is held. After 7 and 8 A is, whose return of each needs that close.
    assert np.flatnonzero(np.isnan(found.losses["one"])).tolist() == [7]
    run = run_of(found, MODEL.HISTORICAL)
    assert np.flatnonzero(np.isnan(run.value_at_risk)).tolist() == [7, 8]
    assert run.result.missing == 2


def test_a_symbol_that_is_too_young_or_unknown_has_no_figure():
    young = changed(CLOSES, "A", slice(0, BEFORE - 20), np.nan)

    for found in (outcome(*[{"A": 1.0}] * TESTED, closes=young), outcome(*[{"Z": 1.0}] * TESTED)):
        first = run_of(found, MODEL.HISTORICAL)
        assert np.isnan(first.value_at_risk[:20]).all()
    assert first.result.sessions == 0
    assert math.isnan(first.mean_value_at_risk)
    assert found.to_frame()["zone"].tolist() == ["unknown"] * 4


def test_what_a_strategy_does_not_hold_changes_nothing():
    without = changed(CLOSES, "A", slice(None), np.nan)
    only_b = [{"A": 0.0, "B": 1.0}] * TESTED

    for ours, theirs in zip(outcome(*only_b).runs, outcome(*only_b, closes=without).runs, strict=True):
        assert np.array_equal(ours.value_at_risk, theirs.value_at_risk)
        assert ours.result == theirs.result


def test_one_strategy_changes_nothing_for_another():
    both = tail_backtest({"one": evaluated(), "two": evaluated(*[{"A": 1.0}] * TESTED)}, CLOSES, FIRST, SMALL)

    for ours, theirs in zip(both.of("one"), outcome().runs, strict=True):
        assert np.array_equal(ours.value_at_risk, theirs.value_at_risk)


def test_the_frame_has_a_row_per_strategy_and_model():
    found = tail_backtest({"b": evaluated(), "a": evaluated(*[{"A": 1.0}] * TESTED)}, CLOSES, FIRST, SMALL)

    frame = found.to_frame()

    assert list(zip(frame["strategy"], frame["model"], strict=True)) == [
        (name, model.value) for name in "ba" for model in QUICK_MODELS
    ]
    assert set(frame["session"]) == {found.sessions[-1]}
    assert set(frame["first"]) == {found.sessions[0]}
    assert set(frame["confidence"]) == {0.95}
    row, result = frame.iloc[0], found.runs[0].result
    assert (row["exceptions"], row["sessions"], row["missing"]) == (result.exceptions, result.sessions, result.missing)
    assert row["expected_exceptions"] == pytest.approx(0.05 * (TESTED - 1))
    tests = [row[name] for name in ("kupiec", "independence", "conditional_coverage")]
    assert tests[2] == pytest.approx(tests[0] + tests[1])
    assert row["kupiec_p"] == result.kupiec.p_value
    assert (row["zone"], row["multiplier"]) == (result.traffic_light.zone.value, result.traffic_light.multiplier)
    assert all(str(frame[name].dtype) == "str" for name in ("strategy", "model", "zone", "recent_zone"))


def test_the_traffic_light_of_late_is_of_the_last_250_sessions():
    count = 300
    closes = closes_of(A=drawn(4, BEFORE + count))
    found = tail_backtest({"one": evaluated(*[{"A": 1.0}] * count)}, closes, FIRST, SMALL)

    run = run_of(found, MODEL.HISTORICAL)

    assert (run.result.sessions, run.recent.sessions) == (count - 1, 250)
    assert run.recent == backtest(found.losses["one"][-250:], run.value_at_risk[-250:], 0.95)


def test_a_model_of_the_losses_own_distribution_is_accepted_and_one_of_calmer_days_is_not():
    """Losses of a known normal distribution; before the test they had a third of the spread."""
    generator = np.random.default_rng(12)
    calm, right = (generator.normal(0, 0.01, 520) * [*[scale] * 120, *[1.0] * 400] for scale in (0.2, 1.0))
    day_before = days(521)[120]
    still = TailOptions(confidence=0.95, window=100, minimum=60, models=(MODEL.NORMAL,))
    zones = []
    for returns, tested_until in ((right, 521), (calm, 160)):
        prices = 100 * np.cumprod(np.append(1.0, 1 + returns))[:tested_until]
        closes = ClosePanel(days(tested_until), ("A",), prices[:, np.newaxis])
        held = evaluation_of(*[{"A": 1.0}] * (tested_until - 120), first=day_before)
        zones.append(tail_backtest({"one": held}, closes, day_before, still).runs[0].result)

    assert zones[0].kupiec.p_value > 0.05
    assert zones[0].traffic_light.zone == "green"
    assert zones[1].kupiec.p_value < 0.05
    assert zones[1].traffic_light.zone != "green"


def test_as_many_sessions_before_as_the_options_say_fill_the_window():
    assert TailOptions().sessions_before == 520
    assert SMALL.sessions_before == BEFORE

    exact = outcome()
    longer = closes_of(
        first=days(1)[0] - timedelta(days=9), A=[*[1.0] * 9, *CLOSES.column("A")], B=[*[1.0] * 9, *CLOSES.column("B")]
    )

    for ours, theirs in zip(exact.runs, outcome(closes=longer).runs, strict=True):
        assert np.array_equal(ours.value_at_risk, theirs.value_at_risk)


@pytest.mark.parametrize(
    ("evaluations", "first", "options", "message"),
    [
        ({}, FIRST, SMALL, "no strategy was given"),
        ({"one": evaluated()}, days(BEFORE + TESTED)[-1], SMALL, "1 sessions from the first tested on, wanted 2"),
        ({"one": evaluated()}, date(2030, 1, 1), SMALL, "0 sessions from the first tested on"),
        ({"one": evaluated()}, FIRST, dataclasses.replace(SMALL, models=()), "was given none"),
        ({"one": evaluated()}, FIRST, dataclasses.replace(SMALL, models=(MODEL.NORMAL,) * 2), "normal, normal"),
        ({"one": evaluated()}, FIRST, dataclasses.replace(SMALL, confidence=0.2), "a confidence must be at least"),
        ({"one": evaluated()}, FIRST, dataclasses.replace(SMALL, minimum=200), "minimum was 200"),
    ],
)
def test_what_cannot_be_tested_is_refused(evaluations, first, options, message):
    with pytest.raises(InvalidInput, match=message):
        tail_backtest(evaluations, CLOSES, first, options)
