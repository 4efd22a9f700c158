import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import optimize, stats

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.risk.model_backtest import (
    LikelihoodRatio,
    Zone,
    backtest,
    christoffersen,
    kupiec,
    traffic_light,
)

NAN = math.nan
confidences = st.sampled_from([0.9, 0.95, 0.975, 0.99])
hits = st.lists(st.booleans(), min_size=2, max_size=60).map(np.array)


def judged(exceeded, confidence=0.99, missing=()):
    """The backtest of a model that says 2 %, on losses of 1 % and, where exceeded, 3 %."""
    losses = np.where(exceeded, 0.03, 0.01)
    figures = np.full(losses.size, 0.02)
    figures[list(missing)] = NAN
    return backtest(losses, figures, confidence)


def log_likelihood(exceeded, probability_after):
    """Session by session from the second on, with the probability of an exception given the session before."""
    total = 0.0
    for before, now in pairwise(exceeded):
        probability = probability_after(bool(before))
        total += math.log(probability if now else 1 - probability)
    return total


@pytest.mark.parametrize(
    ("exceptions", "statistic", "p_value"),
    [(0, 5.0252, 0.025), (2, 0.1084, 0.742), (6, 3.5554, 0.059), (10, 12.9555, 0.0003)],
)
def test_kupiec_has_the_published_numbers(exceptions, statistic, p_value):
    found = kupiec(exceptions, 250, 0.99)

    assert found.statistic == pytest.approx(statistic, abs=5e-5)
    assert found.p_value == pytest.approx(p_value, abs=5e-4)


@pytest.mark.parametrize(
    ("sessions", "confidence", "least", "most"),
    [
        # Kupiec (1995), table 3: the counts at which a test of 95 % does not refuse the model. Of the first row
        # he gives the upper end alone, "fewer than 7"; his formula gives none of 255 a ratio of 5.13.
        (255, 0.99, 1, 6),
        (510, 0.99, 2, 10),
        (1000, 0.99, 5, 16),
        (255, 0.975, 3, 11),
        (510, 0.975, 7, 20),
        (1000, 0.975, 16, 35),
        (255, 0.95, 7, 20),
        (510, 0.95, 17, 35),
        (1000, 0.95, 38, 64),
    ],
)
def test_kupiec_accepts_the_counts_of_his_table(sessions, confidence, least, most):
    accepted = [count for count in range(100) if kupiec(count, sessions, confidence).p_value > 0.05]

    assert accepted == list(range(least, most + 1))


@given(st.integers(1, 400), st.data(), confidences)
def test_kupiec_is_the_ratio_of_two_binomial_probabilities(sessions, data, confidence):
    exceptions = data.draw(st.integers(0, sessions))
    said, free = (stats.binom.logpmf(exceptions, sessions, rate) for rate in (1 - confidence, exceptions / sessions))

    found = kupiec(exceptions, sessions, confidence)

    assert found.statistic == pytest.approx(2 * (free - said), abs=1e-7)
    assert found.p_value == pytest.approx(stats.chi2.sf(found.statistic, 1), abs=1e-12)


def test_the_zones_of_250_sessions_are_those_of_the_committee():
    zones = [traffic_light(count, 250, 0.99).zone for count in range(20)]

    assert zones == [Zone.GREEN] * 5 + [Zone.YELLOW] * 5 + [Zone.RED] * 10


def test_the_multipliers_of_250_sessions_are_those_of_the_committee():
    multipliers = [traffic_light(count, 250, 0.99).multiplier for count in range(12)]

    assert multipliers == [3, 3, 3, 3, 3, 3.4, 3.5, 3.65, 3.75, 3.85, 4, 4]


@pytest.mark.parametrize(
    ("exceptions", "published"),
    [(0, 8.11), (1, 28.58), (2, 54.32), (3, 75.81), (4, 89.22), (5, 95.88), (6, 98.63), (7, 99.60), (8, 99.89)],
)
def test_the_cumulative_probabilities_are_those_of_the_committee(exceptions, published):
    assert 100 * traffic_light(exceptions, 250, 0.99).cumulative_probability == pytest.approx(published, abs=0.006)


@given(st.integers(1, 1_500), st.data(), confidences)
def test_zone_and_multiplier_of_other_counts_follow_the_binomial_distribution(sessions, data, confidence):
    exceptions = data.draw(st.integers(1, min(sessions, 100)))
    probability = stats.binom.cdf(exceptions, sessions, 1 - confidence)
    assume(min(abs(probability - 0.95), abs(probability - 0.9999)) > 1e-9)

    found = traffic_light(exceptions, sessions, confidence)

    assert found.cumulative_probability == pytest.approx(probability)
    assert (found.zone is Zone.GREEN) == (probability < 0.95) == (found.multiplier == 3)
    assert (found.zone is Zone.RED) == (probability >= 0.9999) == (found.multiplier == 4)
    more = traffic_light(min(exceptions + 1, sessions), sessions, confidence)
    assert more.multiplier >= found.multiplier


def test_no_exception_is_green_however_few_the_sessions():
    found = traffic_light(0, 1, 0.99)

    assert (found.zone, found.multiplier) == (Zone.GREEN, 3.0)


@given(hits, confidences)
def test_christoffersen_agrees_with_a_likelihood_added_up_session_by_session(exceeded, confidence):
    def rate(sessions):
        # A rate of 0 or 1 is certain of what was seen, and only of that.
        return min(max(float(np.mean(sessions)), 1e-300), 1 - 1e-16) if sessions.size else 0.5

    before, now = exceeded[:-1], exceeded[1:]
    after = {state: rate(now[before == state]) for state in (False, True)}
    one = log_likelihood(exceeded, lambda _: rate(now))
    two = log_likelihood(exceeded, lambda state: after[state])

    found = judged(exceeded, confidence)

    assert found.independence.statistic == pytest.approx(2 * (two - one), abs=1e-6)
    assert found.independence.p_value == pytest.approx(stats.chi2.sf(found.independence.statistic, 1))
    both = found.kupiec.statistic + found.independence.statistic
    assert found.conditional_coverage.statistic == pytest.approx(both)
    assert found.conditional_coverage.p_value == pytest.approx(stats.chi2.sf(both, 2))


def test_christoffersen_finds_the_greatest_likelihood_that_a_search_finds():
    exceeded = np.array([0, 0, 1, 1, 0, 0, 0, 1, 0, 1, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0], dtype=bool)

    def lost(probabilities):
        return -log_likelihood(exceeded, lambda state: probabilities[int(state)])

    free = optimize.minimize(lost, [0.3, 0.4], bounds=[(1e-6, 1 - 1e-6)] * 2)
    tied = optimize.minimize_scalar(lambda p: lost([p, p]), bounds=(1e-6, 1 - 1e-6), method="bounded")

    assert judged(exceeded).independence.statistic == pytest.approx(2 * (tied.fun - free.fun), abs=1e-6)


def test_exceptions_in_a_row_are_told_from_the_same_number_apart():
    together, apart = np.zeros(250, dtype=bool), np.zeros(250, dtype=bool)
    together[100:105] = apart[::50] = True

    found = judged(together), judged(apart)

    assert found[0].kupiec == found[1].kupiec
    assert found[0].independence.p_value < 0.001
    assert found[1].independence.p_value > 0.5


@pytest.mark.parametrize("exceeded", [np.zeros(250, dtype=bool), np.ones(250, dtype=bool)])
def test_what_never_changes_shows_no_dependence(exceeded):
    assert judged(exceeded).independence == LikelihoodRatio(0.0, 1.0)


def test_a_loss_of_just_the_figure_is_no_exception():
    assert backtest(np.array([0.02, 0.0200001]), np.array([0.02, 0.02]), 0.99).exceptions == 1


def test_sessions_without_a_figure_are_missing_and_no_passes():
    exceeded = np.zeros(300, dtype=bool)
    exceeded[:5] = True

    found = judged(exceeded, missing=range(50, 100))

    assert (found.sessions, found.missing, found.exceptions) == (250, 50, 5)
    assert found.kupiec == kupiec(5, 250, 0.99)
    assert found.traffic_light.zone is Zone.YELLOW
    assert judged(exceeded).traffic_light.zone is Zone.GREEN
    assert found.rate == 5 / 250
    assert found.expected_exceptions == pytest.approx(2.5)


@pytest.mark.parametrize("unknown", [NAN, math.inf, -math.inf])
def test_what_is_not_finite_is_missing_on_either_side(unknown):
    found = backtest(np.array([unknown, 0.01, 0.03]), np.array([0.02, unknown, 0.02]), 0.99)

    assert (found.sessions, found.missing, found.exceptions) == (1, 2, 1)


def test_exceptions_on_both_sides_of_a_missing_session_are_no_neighbours():
    exceeded = np.zeros(60, dtype=bool)
    exceeded[[20, 22]] = True

    found = judged(exceeded, missing=[21]).independence

    alone = np.zeros(61, dtype=bool)
    alone[[20, 41]] = True
    known = np.ones(61, dtype=bool)
    known[[21, 40]] = False
    assert found == christoffersen(exceeded, np.arange(60) != 21)
    closed_up = judged(np.delete(exceeded, 21)).independence
    assert found.statistic < closed_up.statistic


@pytest.mark.parametrize("count", [0, 5])
def test_without_a_session_nothing_is_known(count):
    found = backtest(np.full(count, NAN), np.full(count, 0.02), 0.99)

    assert (found.sessions, found.missing, found.exceptions) == (0, count, 0)
    assert found.traffic_light.zone is Zone.UNKNOWN
    figures = [found.kupiec, found.independence, found.conditional_coverage]
    assert all(math.isnan(each.statistic) and math.isnan(each.p_value) for each in figures)
    assert math.isnan(found.rate)
    assert math.isnan(found.traffic_light.multiplier)


def test_without_neighbours_independence_is_unknown_and_coverage_with_it():
    found = judged(np.array([False, False, True]), missing=[1])

    assert math.isnan(found.independence.statistic)
    assert math.isnan(found.conditional_coverage.p_value)
    assert found.kupiec == kupiec(1, 2, 0.99)


def test_losses_and_figures_of_different_length_are_refused():
    with pytest.raises(InvalidInput, match=r"one loss and one value at risk per session, found shapes \(2,\) and \(3,"):
        backtest(np.zeros(2), np.zeros(3), 0.99)


@pytest.mark.parametrize(("exceptions", "sessions"), [(-1, 250), (251, 250)])
def test_counts_that_do_not_fit_are_refused(exceptions, sessions):
    with pytest.raises(InvalidInput, match=f"of 250 sessions, {exceptions} cannot be exceptions"):
        kupiec(exceptions, sessions, 0.99)


@pytest.mark.parametrize("confidence", [0, 1, 99, NAN])
def test_a_confidence_that_is_no_probability_is_refused(confidence):
    with pytest.raises(InvalidInput, match="between 0 and 1"):
        backtest(np.zeros(2), np.ones(2), confidence)
