import re

import numpy as np
import pytest

from trading_pipeline.domain.bars import ClosePanel
from trading_pipeline.domain.readings import IndicatorPanel
from trading_pipeline.domain.smoothing import Smoothing
from trading_pipeline.domain.strategies import STRATEGIES, tree
from trading_pipeline.domain.strategies.evaluation import evaluate
from trading_pipeline.domain.strategies.evaluator import Evaluator
from trading_pipeline.domain.strategies.klm import KLM, VARIANTS
from trading_pipeline.domain.strategies.tree import if_, rsi

SAMPLE = 30
MISSING = r"is missing$|^no candidate has sdret\(5\) and can be decided: 506/38 "


def evaluated(node, closes, smoothing=Smoothing.WILDER):
    return evaluate(node, IndicatorPanel.from_closes(closes, tree.readings(node), smoothing), smoothing)


def between(closes, first, last):
    return ClosePanel(closes.sessions[first:last], closes.symbols, closes.values[first:last])


def weights_on(evaluation, row):
    return {s: float(w) for s, w in zip(evaluation.symbols, evaluation.weights[row], strict=True) if w}


def sampled_rows(whole):
    return np.random.default_rng(7).choice(np.flatnonzero(whole.available), SAMPLE, replace=False)


def assert_the_future_changes_nothing(evaluator, closes):
    """What is held on a session is the same whether or not later closes are known."""
    whole = evaluator(closes)
    for row in sampled_rows(whole):
        cut = evaluator(between(closes, 0, row + 1))
        np.testing.assert_array_equal(cut.weights[row], whole.weights[row], str(whole.sessions[row]))


def by_session(frame):
    return {
        session: dict(zip(rows["symbol"], rows["weight"], strict=True)) for session, rows in frame.groupby("session")
    }


def assert_equals(evaluation, expected):
    rows = {session: row for row, session in enumerate(evaluation.sessions)}
    for session, weights in expected.items():
        assert weights_on(evaluation, rows[session]) == pytest.approx(weights, rel=0, abs=1e-9), session


@pytest.mark.parametrize(("name", "length"), [("nuclear", 501), ("tecl", 501), ("klm", 142)])
def test_signals_equal_the_expected_answers_on_every_session(name, length, real_closes, goldens):
    expected = by_session(goldens(name))

    assert len(expected) == length
    assert_equals(evaluated(STRATEGIES[name].tree, real_closes), expected)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_each_variant_of_klm_equals_the_expected_answers_on_every_session(variant, real_closes, goldens):
    wanted = goldens("klm_variants").query("variant == @variant.name")

    assert wanted["session"].nunique() == 142
    assert_equals(evaluated(variant.child, real_closes), by_session(wanted))


def test_the_variants_of_klm_are_ranked_by_the_expected_deviations(real_closes, goldens):
    panel = IndicatorPanel.from_closes(real_closes, tree.readings(KLM))
    evaluator = Evaluator(KLM, panel)
    wanted = goldens("klm_variants").groupby(["variant", "session"])["sdret5"].first()

    for measure in KLM.measures():
        values = dict(zip(panel.sessions, evaluator.values(measure), strict=True))
        expected = wanted[str(measure.subject)]
        np.testing.assert_allclose([values[session] for session in expected.index], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("smoothing", Smoothing)
@pytest.mark.parametrize("name", STRATEGIES)
def test_cutting_off_the_future_changes_nothing(name, smoothing, real_closes):
    assert_the_future_changes_nothing(lambda closes: evaluated(STRATEGIES[name].tree, closes, smoothing), real_closes)


def test_a_strategy_that_looks_ahead_is_caught(real_closes):
    def tomorrow(closes):
        shifted = np.vstack((closes.values[1:], closes.values[-1:]))
        return evaluated(if_(rsi("SPY", 2) > 50, "SPY", "BIL"), ClosePanel(closes.sessions, closes.symbols, shifted))

    with pytest.raises(AssertionError):
        assert_the_future_changes_nothing(tomorrow, real_closes)


@pytest.mark.parametrize("smoothing", Smoothing)
@pytest.mark.parametrize("name", STRATEGIES)
def test_the_look_back_is_all_the_history_that_a_decision_needs(name, smoothing, real_closes):
    node = STRATEGIES[name].tree
    whole = evaluated(node, real_closes, smoothing)
    length = tree.look_back(node, smoothing)

    for row in sampled_rows(whole):
        recent = evaluated(node, between(real_closes, row + 1 - length, row + 1), smoothing)
        np.testing.assert_allclose(recent.weights[-1], whole.weights[row], rtol=0, atol=1e-9)


@pytest.mark.parametrize("smoothing", Smoothing)
@pytest.mark.parametrize("name", STRATEGIES)
def test_the_trailing_readings_are_all_that_a_decision_needs(name, smoothing, real_closes):
    node = STRATEGIES[name].tree
    panel = IndicatorPanel.from_closes(real_closes, tree.readings(node), smoothing)
    whole = evaluate(node, panel, smoothing)

    latest = evaluate(node, panel.last(tree.trailing_sessions(node, smoothing)), smoothing)

    np.testing.assert_allclose(latest.weights[-1], whole.weights[-1], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", STRATEGIES)
def test_real_weights_sum_to_one_or_the_session_says_what_was_missing(name, real_closes):
    evaluation = evaluated(STRATEGIES[name].tree, real_closes)

    np.testing.assert_allclose(evaluation.weights[evaluation.available].sum(axis=1), 1, rtol=0, atol=1e-9)
    unavailable = np.flatnonzero(~evaluation.available)
    assert all(re.search(MISSING, evaluation.reason(row)) for row in unavailable)


def test_before_its_youngest_symbol_a_strategy_names_it(real_closes):
    evaluation = evaluated(STRATEGIES["tecl"].tree, real_closes)

    row = [str(session) for session in evaluation.sessions].index("2020-12-01")
    assert evaluation.reason(row) == "rsi(KMLM,10) is missing"
