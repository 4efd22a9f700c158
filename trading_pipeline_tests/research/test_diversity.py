import math
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.research.diversity import diversity, effective_number
from trading_pipeline_tests.research.evaluations import FIRST, closes_of, evaluation_of

NAN = math.nan
A, B, C = {"A": 1.0}, {"B": 1.0}, {"C": 1.0}
# Daily returns of A: +10 %, -10 %, +10 %, -10 %; of B: +10 %, +10 %, -10 %, -10 %: uncorrelated.
CLOSES = closes_of(A=[100, 110, 99, 108.9, 98.01], B=[100, 110, 121, 108.9, 98.01], C=[7, 7, 7, 7, 7])
LAST = FIRST + timedelta(days=4)

weights = st.lists(st.floats(0, 1), min_size=3, max_size=3).filter(lambda shares: sum(shares) > 1e-3)
held = st.one_of(
    weights.map(lambda shares: {symbol: share / sum(shares) for symbol, share in zip("ABC", shares, strict=True)}),
    st.sampled_from([A, B, C, "x is missing"]),
)
evaluations = st.lists(held, min_size=6, max_size=6).map(lambda days: evaluation_of(*days))
accounts = st.lists(evaluations, min_size=1, max_size=4).map(
    lambda each: {f"s{place}": evaluation for place, evaluation in enumerate(each)}
)
prices = st.lists(st.floats(50, 200), min_size=6, max_size=6)
markets = st.builds(lambda a, b, c: closes_of(A=a, B=b, C=c), prices, prices, prices)


def pair(first, second, closes=CLOSES):
    return diversity({"first": first, "second": second}, closes)


def test_two_strategies_by_hand():
    first = evaluation_of(A, A, B, B, B)
    second = evaluation_of(A, B, B, A, A)

    result = pair(first, second)

    # Returns 10, -10, -10, -10 and 10, 10, -10, -10 %: means -5 and 0, covariance 200 over sqrt(300 * 400).
    assert result.return_correlation[0, 1] == pytest.approx(200 / math.sqrt(300 * 400))
    # Of A: 1, 1, 0, 0, 0 and 1, 0, 0, 1, 1 about 0.4 and 0.6: covariance -0.2, variances 1.2; B mirrors A.
    assert result.signal_correlation[0, 1] == pytest.approx(-0.2 / 1.2)
    assert result.overlap[0, 1] == pytest.approx(2 / 5)
    assert result.return_sessions.tolist() == [[4, 4], [4, 4]]
    assert result.signal_sessions.tolist() == [[5, 5], [5, 5]]
    assert result.effective_number == pytest.approx(4 / (2 + 2 / 3))
    assert result.period == (FIRST, LAST)
    assert not result.left_out


def test_the_same_strategy_twice_is_one():
    same = evaluation_of(A, B, {"A": 0.5, "C": 0.5}, B, A)

    result = pair(same, same)

    for matrix in (result.return_correlation, result.signal_correlation, result.overlap):
        assert matrix == pytest.approx(np.ones((2, 2)))
    assert result.effective_number == pytest.approx(1)
    assert result.added == pytest.approx([0, 0])


def test_uncorrelated_strategies_count_in_full():
    result = pair(evaluation_of(A, A, A, A, A), evaluation_of(B, B, B, B, B))

    assert result.return_correlation == pytest.approx(np.eye(2))
    assert result.overlap.tolist() == [[1, 0], [0, 1]]
    assert result.effective_number == pytest.approx(2)
    assert result.added == pytest.approx([1, 1])


def test_a_strategy_that_repeats_one_of_two_adds_less_than_nothing():
    first, second = evaluation_of(A, A, A, A, A), evaluation_of(B, B, B, B, B)

    result = diversity({"first": first, "second": second, "again": second}, CLOSES)

    # Eigenvalues 1, 2, 0: 9 / 5; without the first 1, without one of the others 2.
    assert result.effective_number == pytest.approx(9 / 5)
    assert result.added == pytest.approx([0.8, -0.2, -0.2])


def test_weights_that_never_change_have_no_signal_correlation_but_an_overlap():
    steady, moving = {"A": 0.4, "B": 0.6}, evaluation_of(A, B, A, B, {"A": 0.5, "C": 0.5})

    result = pair(evaluation_of(*[steady] * 5), moving)

    assert np.isnan(result.signal_correlation[0]).all()
    assert result.signal_correlation[1, 1] == pytest.approx(1)
    assert result.overlap[0, 1] == pytest.approx((0.4 + 0.6 + 0.4 + 0.6 + 0.4) / 5)


def test_strategies_of_other_symbols_are_uncorrelated_in_what_they_decide():
    result = pair(evaluation_of(A, B, A, B, B), evaluation_of(C, {"D": 1}, C, {"D": 1}, C))

    assert result.signal_correlation[0, 1] == 0
    assert result.overlap[0, 1] == 0


def test_only_sessions_that_both_have_are_compared():
    first, second = evaluation_of("late", B, A, B, B), evaluation_of(A, B, B, B, "x is missing")

    result = pair(first, second)

    assert result.overlap[0, 1] == pytest.approx(2 / 3)
    assert result.signal_sessions.tolist() == [[4, 3], [3, 4]]
    # The last session has no next close.
    assert result.return_sessions.tolist() == [[3, 3], [3, 4]]


def test_a_session_that_an_evaluation_lacks_is_one_without_it():
    short = evaluation_of(B, A, B, first=FIRST + timedelta(days=1))
    padded = evaluation_of("absent", B, A, B, "absent")
    other = evaluation_of(A, B, A, A, B)

    pd.testing.assert_frame_equal(pair(short, other).to_frame(), pair(padded, other).to_frame())


def test_a_missing_close_of_what_is_held_leaves_no_return_around_it():
    gap = closes_of(A=[100, 110, NAN, 120, 130], B=[100, 90, 80, NAN, 60])

    result = diversity({"only": evaluation_of(A, A, A, A, A)}, gap)

    # From 100 to 110 and from 120 to 130; B is not held.
    assert result.return_sessions.tolist() == [[2]]
    assert result.left_out == {"only": "has fewer than 3 sessions with a return"}


def test_a_strategy_whose_returns_correlate_with_nothing_is_left_out_and_named():
    result = diversity(
        {
            "moving": evaluation_of(A, A, A, A, A),
            "flat": evaluation_of(C, C, C, C, C),
            "absent": evaluation_of(*["x is missing"] * 5),
            "young": evaluation_of(*["x is missing"] * 3, A, A),
        },
        CLOSES,
    )

    assert result.left_out == {
        "flat": "earned the same on every session",
        "absent": "was never available",
        "young": "has fewer than 3 sessions with a return",
    }
    assert np.isnan(result.return_correlation[1:]).all()
    assert np.isnan(result.overlap[2]).all()
    assert result.effective_number == 1
    assert result.added.tolist() == pytest.approx([1, NAN, NAN, NAN], nan_ok=True)


def test_a_steady_rise_is_constant_in_spite_of_rounding():
    rise = closes_of(A=100 * 1.001 ** np.arange(50))

    result = diversity({"bills": evaluation_of(*[A] * 50)}, rise)

    assert result.left_out == {"bills": "earned the same on every session"}


def test_strategies_without_a_common_session_have_nothing_to_compare():
    closes = closes_of(A=[100, 110, 99, 108, 98, 110, 90, 100, 95])
    first, second = (evaluation_of(*[A] * 4, *["x"] * 5), evaluation_of(*["x"] * 4, *[A] * 5))

    result = pair(first, second, closes)

    assert np.isnan([result.return_correlation[0, 1], result.signal_correlation[0, 1], result.overlap[0, 1]]).all()
    assert result.return_sessions[0, 1] == 0
    assert not result.left_out
    assert math.isnan(result.effective_number)
    assert np.isnan(result.added).all()


def test_one_strategy_is_one():
    result = diversity({"only": evaluation_of(A, B, A, B, A)}, CLOSES)

    assert result.effective_number == 1
    assert result.added.tolist() == [1]


def test_an_account_that_was_never_available_has_no_period():
    result = diversity({"absent": evaluation_of("x", "x", "x", "x", "x")}, CLOSES)

    assert result.period is None
    assert math.isnan(result.effective_number)


def test_no_strategy_is_refused():
    with pytest.raises(InvalidInput, match="no strategy was given"):
        diversity({}, CLOSES)


@pytest.mark.parametrize(
    ("correlation", "expected"),
    [
        (np.eye(5), 5),
        (np.ones((4, 4)), 1),
        (np.array([[1, -1], [-1, 1]]), 1),
        (np.array([[1, 0.5], [0.5, 1]]), 1.6),
        (np.array([[1, NAN], [NAN, 1]]), NAN),
        (np.empty((0, 0)), NAN),
    ],
)
def test_the_effective_number_of_known_matrices(correlation, expected):
    assert effective_number(correlation) == pytest.approx(expected, nan_ok=True)


@given(st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_the_effective_number_is_the_participation_ratio_of_eigenvalues(size, seed):
    correlation = np.corrcoef(np.random.default_rng(seed).normal(size=(size, 20)))
    eigenvalues = np.linalg.eigvalsh(correlation)

    assert effective_number(correlation) == pytest.approx(eigenvalues.sum() ** 2 / (eigenvalues**2).sum())


@given(accounts, markets)
def test_matrices_are_symmetric_and_within_their_bounds(account, market):
    result = diversity(account, market)

    for matrix, lowest in (
        (result.return_correlation, -1),
        (result.signal_correlation, -1),
        (result.overlap, 0),
    ):
        assert np.array_equal(matrix, matrix.T, equal_nan=True)
        defined = matrix[~np.isnan(matrix)]
        assert ((defined >= lowest) & (defined <= 1)).all()
        own = np.diag(matrix)
        assert own[~np.isnan(own)] == pytest.approx(1)
    kept = len(account) - len(result.left_out)
    assert math.isnan(result.effective_number) or 1 - 1e-9 <= result.effective_number <= kept + 1e-9


@given(accounts, markets, st.randoms(use_true_random=False))
def test_permuting_the_strategies_permutes_the_figures_and_changes_none(account, market, random):
    order = list(account)
    random.shuffle(order)

    straight, shuffled = diversity(account, market), diversity({name: account[name] for name in order}, market)

    by_pair = [each.to_frame().set_index(["strategy", "other"]).sort_index() for each in (straight, shuffled)]
    pd.testing.assert_frame_equal(*by_pair)
    by_name = [each.strategies_frame().set_index("strategy").sort_index() for each in (straight, shuffled)]
    pd.testing.assert_frame_equal(*by_name)
    assert shuffled.effective_number == pytest.approx(straight.effective_number, nan_ok=True)


@given(accounts, markets)
def test_correlations_agree_with_those_of_pandas(account, market):
    result = diversity(account, market)

    returns = pd.DataFrame({name: _returns(each, market) for name, each in account.items()})
    expected = returns.corr(min_periods=3).to_numpy()
    defined = ~np.isnan(result.return_correlation)
    spread = returns.std().to_numpy()
    # What pandas says of series that hardly move is made of rounding.
    clear = defined & (np.minimum.outer(spread, spread) > 1e-6)
    assert result.return_correlation[clear] == pytest.approx(expected[clear], abs=1e-6)


def _returns(evaluation, market):
    frame = pd.DataFrame(market.values, columns=list(market.symbols))
    moves = frame.pct_change().shift(-1)[list(evaluation.symbols)] if evaluation.symbols != ("NONE",) else 0.0
    weights = pd.DataFrame(evaluation.weights, columns=list(evaluation.symbols))
    return (weights * moves).sum(axis=1, skipna=False)


def test_tables_have_a_row_per_pair_and_per_strategy():
    result = diversity({"a": evaluation_of(A, B, A, B, A), "b": evaluation_of(*["x"] * 5)}, CLOSES)

    pairs, each = result.to_frame(), result.strategies_frame()

    assert pairs[["strategy", "other"]].to_numpy().tolist() == [["a", "a"], ["a", "b"], ["b", "a"], ["b", "b"]]
    assert pairs["signal_sessions"].tolist() == [5, 0, 0, 0]
    assert pairs["overlap"].tolist() == pytest.approx([1, NAN, NAN, NAN], nan_ok=True)
    assert each["strategy"].tolist() == ["a", "b"]
    assert each["left_out"].isna().tolist() == [True, False]
