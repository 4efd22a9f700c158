import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.sizing.covariance import covariance, ewma_covariance, ledoit_wolf, portfolio_volatility
from trading_pipeline.domain.sizing.options import CovarianceMethod

# Multiples of a millionth: squares of smaller returns underflow, here as in every other library.
moves = st.integers(-200_000, 200_000).map(lambda millionths: millionths / 1e6)
shapes = st.tuples(st.integers(2, 30), st.integers(1, 6))
samples = shapes.flatmap(lambda shape: hnp.arrays(np.float64, shape, elements=moves))


def drawn(sessions, symbols, seed=1):
    chance = np.random.default_rng(seed)
    mixed = chance.normal(size=(symbols, symbols))
    return 0.01 * chance.standard_t(4, size=(sessions, symbols)) @ mixed + 0.001


@pytest.mark.parametrize(("sessions", "symbols"), [(2, 2), (10, 3), (63, 5), (63, 26), (30, 60), (252, 1)])
def test_shrunk_covariance_is_that_of_scikit_learn(sessions, symbols):
    peer = pytest.importorskip("sklearn.covariance", reason="scikit-learn, the peer, is not installed")
    returns = drawn(sessions, symbols)

    wanted, shrinkage = peer.ledoit_wolf(returns)

    assert 0 <= shrinkage <= 1
    np.testing.assert_allclose(ledoit_wolf(returns), wanted, rtol=1e-9, atol=1e-15)


@given(samples)
def test_shrunk_covariance_is_that_of_scikit_learn_whatever_the_returns(returns):
    peer = pytest.importorskip("sklearn.covariance", reason="scikit-learn, the peer, is not installed")
    sample = np.cov(returns.T, ddof=0).reshape(returns.shape[1], -1)

    wanted, _ = peer.ledoit_wolf(returns)

    # Returns that are all alike have nothing to be shrunk: there the peer divides rounding by rounding.
    tolerance = 1e-9 * max(np.abs(sample).max(), 1e-12)
    np.testing.assert_allclose(ledoit_wolf(returns), wanted, rtol=1e-7, atol=tolerance)


@given(samples)
def test_shrinking_keeps_the_variance_in_all_and_leaves_a_covariance(returns):
    sample = np.cov(returns.T, ddof=0).reshape(returns.shape[1], -1)

    found = ledoit_wolf(returns)

    assert np.trace(found) == pytest.approx(np.trace(sample), rel=1e-9, abs=1e-15)
    np.testing.assert_array_equal(found, found.T)
    assert np.linalg.eigvalsh(found).min() >= -1e-12 * max(np.trace(found), 1e-12)


def test_few_sessions_of_many_symbols_still_can_be_inverted():
    returns = drawn(20, 40)

    assert np.linalg.matrix_rank(np.cov(returns.T)) < 40
    assert np.linalg.matrix_rank(ledoit_wolf(returns)) == 40


def test_weighting_by_age_is_the_recursion_of_riskmetrics():
    # s = 0.94 s + 0.06 r r', begun so that the weights of 50 sessions sum to 1.
    returns = drawn(50, 4)
    running = np.outer(returns[0], returns[0]) * (1 - 0.94)
    for row in returns[1:]:
        running = 0.94 * running + 0.06 * np.outer(row, row)

    np.testing.assert_allclose(ewma_covariance(returns), running / (1 - 0.94**50), rtol=1e-12)


@given(samples)
def test_without_decay_weighting_by_age_is_the_mean_of_squares(returns):
    np.testing.assert_allclose(ewma_covariance(returns, decay=1.0), returns.T @ returns / len(returns), atol=1e-15)


def test_the_newest_returns_count_most():
    calm_then_wild = np.array([[0.001], [0.001], [0.05]])

    assert ewma_covariance(calm_then_wild)[0, 0] > ewma_covariance(calm_then_wild[::-1])[0, 0]


def test_of_returns_that_never_differ_in_size_both_weightings_say_the_same():
    returns = np.array([[0.01], [-0.01]] * 40)

    assert ewma_covariance(returns)[0, 0] == pytest.approx(1e-4)
    assert ledoit_wolf(returns)[0, 0] == pytest.approx(1e-4)


def test_the_method_chooses_the_estimate():
    returns = drawn(40, 3)

    np.testing.assert_array_equal(covariance(returns, CovarianceMethod.LEDOIT_WOLF), ledoit_wolf(returns))
    np.testing.assert_array_equal(covariance(returns, CovarianceMethod.EWMA), ewma_covariance(returns))


@given(samples, st.data())
def test_the_volatility_of_a_portfolio_is_that_of_its_returns(returns, data):
    weights = np.array(data.draw(st.lists(st.floats(0, 1), min_size=returns.shape[1], max_size=returns.shape[1])))
    sample = np.cov(returns.T, ddof=0).reshape(returns.shape[1], -1)

    found = portfolio_volatility(weights, sample)

    assert found == pytest.approx((returns @ weights).std() * math.sqrt(252), rel=1e-6, abs=1e-8)


def test_a_perfect_hedge_has_no_volatility_and_no_root_of_less_than_nothing():
    hedged = np.array([[0.04, -0.04], [-0.04, 0.04]]) - 1e-18

    assert portfolio_volatility(np.array([0.5, 0.5]), hedged) == 0.0


@pytest.mark.parametrize("method", CovarianceMethod)
@pytest.mark.parametrize(
    "returns",
    [np.array([[0.01], [math.nan], [0.02]]), np.array([[0.01], [math.inf]]), np.array([[0.01, 0.02]]), np.ones(5)],
)
def test_missing_or_too_few_returns_have_no_covariance(method, returns):
    with pytest.raises(InvalidInput, match="a covariance needs 2 sessions or more of finite returns, found the shape"):
        covariance(returns, method)
