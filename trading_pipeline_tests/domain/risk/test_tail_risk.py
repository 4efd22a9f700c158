import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import integrate, stats

from trading_pipeline.domain.errors import DataError, InvalidInput
from trading_pipeline.domain.instruments import CASH
from trading_pipeline.domain.risk.scenarios import scenarios_of
from trading_pipeline.domain.risk.student_t import student_t_quantile, student_t_tail_mean
from trading_pipeline.domain.risk.tail_risk import (
    TailModel,
    component_expected_shortfall,
    cornish_fisher_value_at_risk,
    historical_expected_shortfall,
    historical_value_at_risk,
    normal_expected_shortfall,
    normal_value_at_risk,
    student_t_expected_shortfall,
    student_t_value_at_risk,
    tail_measures,
    tail_size,
)
from trading_pipeline_tests.domain.risk.markets import closes_of, returns_of

NAN = math.nan
LOSSES = -returns_of(500, 1)[:, 0]
MEASURES = [
    historical_value_at_risk,
    historical_expected_shortfall,
    normal_value_at_risk,
    normal_expected_shortfall,
    cornish_fisher_value_at_risk,
    lambda losses, confidence: student_t_value_at_risk(losses, confidence, 4.0),
    lambda losses, confidence: student_t_expected_shortfall(losses, confidence, 4.0),
]
confidences = st.floats(0.5, 0.999)
degrees = st.floats(2.1, 100)
losses_of_any_size = arrays.arrays(np.float64, st.integers(2, 80), elements=st.floats(-1, 1, width=32))
weights_of_three = st.lists(st.floats(-2, 2), min_size=3, max_size=3).map(
    lambda held: dict(zip("ABC", held, strict=True))
)


@pytest.fixture(scope="module")
def scenarios():
    return scenarios_of(closes_of(returns_of(520)))


MODEL = TailModel(0.975, 0.99, 4.5)


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.975, 0.99, 0.995])
def test_historical_measures_are_those_of_skfolio_where_its_tail_has_a_whole_number_of_losses(confidence):
    """For a whole alpha * T its tail is (1 - alpha) T losses, one fewer than ours, whose edge it puts outside."""
    measures = pytest.importorskip("skfolio.measures")
    size = round((1 - confidence) * 1_000)
    losses = -returns_of(1_000, 1)[:, 0]
    beyond = np.sort(losses)[-size:]

    assert measures.value_at_risk(-losses, beta=confidence) == pytest.approx(
        historical_value_at_risk(losses, confidence)
    )
    assert measures.cvar(-losses, beta=confidence) == pytest.approx(beyond.mean())
    edge = historical_value_at_risk(losses, confidence)
    ours = historical_expected_shortfall(losses, confidence)
    assert ours == pytest.approx((size * measures.cvar(-losses, beta=confidence) + edge) / (size + 1))


@pytest.mark.parametrize("confidence", [0.95, 0.975, 0.99])
@pytest.mark.parametrize("count", [250, 500, 777])
def test_value_at_risk_of_two_libraries_lies_between_neighbouring_losses_of_ours(count, confidence):
    measures = pytest.importorskip("skfolio.measures")
    empyrical = pytest.importorskip("empyrical")
    losses = -returns_of(count, 1, seed=count)[:, 0]
    ranked = np.sort(losses)
    place = int(np.flatnonzero(ranked == historical_value_at_risk(losses, confidence))[0])

    for theirs in (
        -empyrical.value_at_risk(-losses, cutoff=1 - confidence),
        measures.value_at_risk(-losses, beta=confidence),
    ):
        assert ranked[place - 1] - 1e-12 <= theirs <= ranked[place + 1] + 1e-12


@pytest.mark.parametrize("count", [41, 201, 401, 1_001])
def test_value_at_risk_is_exactly_that_of_empyrical_where_its_quantile_is_a_loss(count):
    """Its quantile interpolates at (T - 1) (1 - alpha), which is whole for these counts."""
    empyrical = pytest.importorskip("empyrical")
    losses = -returns_of(count, 1, seed=count)[:, 0]

    assert historical_value_at_risk(losses, 0.95) == pytest.approx(-empyrical.value_at_risk(-losses, cutoff=0.05))


@pytest.mark.parametrize("count", [41, 201, 401, 1_001])
def test_expected_shortfall_is_exactly_that_of_empyrical(count):
    """Its tail is int((T - 1) (1 - alpha)) + 1 losses."""
    empyrical = pytest.importorskip("empyrical")
    losses = -returns_of(count, 1, seed=count)[:, 0]
    theirs = -empyrical.conditional_value_at_risk(-losses, cutoff=0.05 + 1e-12)

    assert historical_expected_shortfall(losses, 0.95) == pytest.approx(theirs)


@given(losses_of_any_size, confidences)
def test_historical_value_at_risk_is_the_inverted_distribution(losses, confidence):
    found = historical_value_at_risk(losses, confidence)

    assert np.count_nonzero(losses <= found) >= confidence * losses.size - 1e-6
    assert np.count_nonzero(losses < found) < confidence * losses.size
    assert found in losses


@pytest.mark.parametrize(
    ("count", "confidence", "size"), [(250, 0.99, 3), (500, 0.975, 13), (100, 0.93, 8), (1, 0.5, 1)]
)
def test_the_tail_begins_at_the_loss_of_the_value_at_risk(count, confidence, size):
    losses = np.arange(1.0, count + 1)

    assert tail_size(count, confidence) == size
    assert historical_value_at_risk(losses, confidence) == count - size + 1
    assert historical_expected_shortfall(losses, confidence) == pytest.approx(count - (size - 1) / 2)


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_normal_measures_are_those_of_scipy(confidence):
    fitted = stats.norm(LOSSES.mean(), LOSSES.std(ddof=1))
    quantile = fitted.ppf(confidence)

    assert normal_value_at_risk(LOSSES, confidence) == pytest.approx(quantile)
    beyond = fitted.expect(lambda loss: loss, lb=quantile, conditional=True)
    assert normal_expected_shortfall(LOSSES, confidence) == pytest.approx(beyond, rel=1e-6)


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.975, 0.99])
@pytest.mark.parametrize("n", [2.5, 3, 4.7, 30, 100])
def test_student_t_measures_are_those_of_scipy(confidence, n):
    deviation = LOSSES.std(ddof=1)
    fitted = stats.t(n, LOSSES.mean(), deviation * math.sqrt((n - 2) / n))
    assert fitted.std() == pytest.approx(deviation)

    quantile = fitted.ppf(confidence)
    beyond = integrate.quad(fitted.ppf, confidence, 1, epsabs=1e-12)[0] / (1 - confidence)

    assert student_t_value_at_risk(LOSSES, confidence, n) == pytest.approx(quantile)
    assert student_t_expected_shortfall(LOSSES, confidence, n) == pytest.approx(beyond, rel=1e-4)


def test_a_student_t_of_many_degrees_is_nearly_normal():
    assert student_t_quantile(0.99, 1e6) == pytest.approx(stats.norm.ppf(0.99), rel=1e-4)
    assert student_t_tail_mean(0.975, 1e6) == pytest.approx(2.3378, abs=1e-4)


def test_cornish_fisher_is_normal_where_there_is_neither_skewness_nor_excess():
    third = math.sqrt(3)
    losses = np.repeat([-third, 0.0, third], [1, 4, 1])
    assert stats.kurtosis(losses) == pytest.approx(0, abs=1e-12)

    expected = losses.std(ddof=1) * stats.norm.ppf(0.99)

    assert cornish_fisher_value_at_risk(losses, 0.99) == pytest.approx(expected)


def test_cornish_fisher_expands_by_the_moments_of_scipy():
    plain = stats.t(8).ppf(np.linspace(0.001, 0.999, 999))
    losses = plain + 0.02 * plain**2
    skewness, excess, z = stats.skew(losses), stats.kurtosis(losses), stats.norm.ppf(0.99)
    terms = (z**2 - 1) / 6 * skewness, (z**3 - 3 * z) / 24 * excess, -(2 * z**3 - 5 * z) / 36 * skewness**2

    found = cornish_fisher_value_at_risk(losses, 0.99)

    assert found == pytest.approx(losses.mean() + losses.std(ddof=1) * (z + sum(terms)))
    assert skewness > 0.1
    assert found == pytest.approx(historical_value_at_risk(losses, 0.99), rel=0.05)


@pytest.mark.parametrize("losses", [np.zeros(100), np.full(100, 0.1), np.tile([0, 1e-200], 50)])
def test_cornish_fisher_of_losses_that_do_not_differ_in_what_can_be_told_is_that_loss(losses):
    assert cornish_fisher_value_at_risk(losses, 0.99) == pytest.approx(losses[0])


def test_cornish_fisher_is_undefined_outside_its_domain():
    assert math.isnan(cornish_fisher_value_at_risk(np.append(np.zeros(99), 1.0), 0.99))


@given(losses_of_any_size, confidences, degrees)
def test_expected_shortfall_is_never_below_value_at_risk(losses, confidence, n):
    pairs = [
        (historical_expected_shortfall(losses, confidence), historical_value_at_risk(losses, confidence)),
        (normal_expected_shortfall(losses, confidence), normal_value_at_risk(losses, confidence)),
        (student_t_expected_shortfall(losses, confidence, n), student_t_value_at_risk(losses, confidence, n)),
    ]

    assert all(shortfall >= value - 1e-9 for shortfall, value in pairs)


@given(losses_of_any_size, confidences, st.data())
def test_expected_shortfall_of_two_portfolios_is_at_most_the_sum_of_theirs(losses, confidence, data):
    others = data.draw(arrays.arrays(np.float64, losses.size, elements=st.floats(-1, 1, width=32)))
    for shortfall in (
        historical_expected_shortfall,
        normal_expected_shortfall,
        lambda held, alpha: student_t_expected_shortfall(held, alpha, 4.0),
    ):
        together = shortfall(losses + others, confidence)
        assert together <= shortfall(losses, confidence) + shortfall(others, confidence) + 1e-9


def test_historical_value_at_risk_is_not_sub_additive():
    """Why no limit is held against it: two bonds that each fail in 1 % of sessions, never together."""
    one, other = np.zeros(200), np.zeros(200)
    one[:2] = other[2:4] = 1.0

    assert historical_value_at_risk(one, 0.985) == historical_value_at_risk(other, 0.985) == 0
    assert historical_value_at_risk(one + other, 0.985) == 1


@given(losses_of_any_size, confidences, st.floats(0.01, 10), st.floats(-1, 1))
def test_measures_grow_with_the_size_of_the_position_and_by_what_is_lost_for_certain(losses, confidence, size, sure):
    for measure in MEASURES[:4] + MEASURES[5:]:
        expected = size * measure(losses, confidence) + sure
        assert measure(size * losses + sure, confidence) == pytest.approx(expected, abs=1e-6)


@given(losses_of_any_size, confidences, st.randoms(use_true_random=False))
def test_the_order_of_sessions_changes_nothing(losses, confidence, random):
    shuffled = np.array(random.sample(losses.tolist(), losses.size))

    for measure in MEASURES[:4]:
        assert measure(shuffled, confidence) == pytest.approx(measure(losses, confidence), abs=1e-9)


@pytest.mark.parametrize("measure", MEASURES)
def test_a_missing_loss_makes_every_measure_missing(measure):
    losses = LOSSES.copy()
    losses[100] = NAN

    assert math.isnan(measure(losses, 0.99))
    assert math.isnan(measure(np.empty(0), 0.99))
    assert math.isfinite(measure(np.zeros(3), 0.99))


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("confidence", [0.49, 1.0, 99.0, NAN])
def test_a_confidence_that_is_none_is_refused(measure, confidence):
    with pytest.raises(InvalidInput, match=r"a confidence must be at least 0\.5 and below 1"):
        measure(LOSSES, confidence)


@pytest.mark.parametrize("n", [2.0, -1.0, math.inf, NAN])
def test_degrees_of_freedom_without_a_variance_are_refused(n):
    for refused in (lambda: student_t_quantile(0.99, n), lambda: TailModel(0.975, 0.99, n)):
        with pytest.raises(InvalidInput, match="more than 2 degrees of freedom"):
            refused()


@given(weights_of_three, confidences)
def test_the_components_sum_to_the_expected_shortfall(scenarios, weights, confidence):
    parts = component_expected_shortfall(scenarios, weights | {CASH: 0.3}, confidence)

    whole = historical_expected_shortfall(scenarios.portfolio(weights).historical, confidence)
    assert sum(parts.values()) == pytest.approx(whole, abs=1e-12)
    assert parts[CASH] == 0


def test_a_component_is_how_the_shortfall_grows_with_its_weight(scenarios):
    """Euler: a part is the weight times the slope, measured here by a small step."""
    weights, step = {"A": 0.5, "B": -0.2, "C": 0.7}, 1e-7
    parts = component_expected_shortfall(scenarios, weights, 0.975)

    def shortfall(held):
        return historical_expected_shortfall(scenarios.portfolio(held).historical, 0.975)

    for symbol, weight in weights.items():
        slope = (shortfall(weights | {symbol: weight + step}) - shortfall(weights)) / step
        assert parts[symbol] == pytest.approx(weight * slope, abs=1e-6)


@pytest.mark.parametrize("weight", [NAN, math.inf, -math.inf])
def test_with_a_weight_that_is_not_finite_nothing_is_known(scenarios, weight):
    weights = {"A": weight, "B": 0.5, CASH: 0.5}

    parts = component_expected_shortfall(scenarios, weights, 0.975)
    gate = MODEL.gate(scenarios.portfolio(weights))

    assert math.isnan(parts["A"])
    assert math.isnan(parts["B"])
    assert math.isnan(gate.expected_shortfall)
    assert math.isnan(gate.value_at_risk)


def test_a_component_without_returns_is_named(scenarios):
    with pytest.raises(DataError, match="D has no scenarios: it was not among the closes"):
        component_expected_shortfall(scenarios, {"D": 0.1}, 0.975)


@given(weights_of_three)
def test_the_gate_is_the_greatest_of_three_shortfalls_and_the_student_t_value_at_risk(scenarios, weights):
    portfolio = scenarios.portfolio(weights)
    losses = portfolio.historical

    gate = MODEL.gate(portfolio)

    assert gate.value_at_risk == pytest.approx(student_t_value_at_risk(losses, 0.99, 4.5))
    assert gate.expected_shortfall == pytest.approx(
        max(
            historical_expected_shortfall(losses, 0.975),
            historical_expected_shortfall(portfolio.filtered, 0.975),
            student_t_expected_shortfall(losses, 0.975, 4.5),
        )
    )
    measures = tail_measures(scenarios, weights, MODEL)
    assert measures.expected_shortfall_gate == gate.expected_shortfall
    assert measures.value_at_risk_gate == gate.value_at_risk


@given(weights_of_three, weights_of_three, st.floats(0, 1))
def test_the_gate_is_convex_in_the_weights(scenarios, one, other, share):
    between = {symbol: share * one[symbol] + (1 - share) * other[symbol] for symbol in one}
    gates = [MODEL.gate(scenarios.portfolio(held)) for held in (one, other, between)]

    for figure in ("expected_shortfall", "value_at_risk"):
        first, second, middle = (getattr(gate, figure) for gate in gates)
        assert middle <= share * first + (1 - share) * second + 1e-9


def test_every_measure_is_reported_of_the_losses_it_says(scenarios):
    weights = {"A": 0.6, "C": 0.4}
    portfolio = scenarios.portfolio(weights)

    found = tail_measures(scenarios, weights, MODEL)

    assert (found.model, found.sessions) == (MODEL, 500)
    assert found.historical_value_at_risk == historical_value_at_risk(portfolio.historical, 0.99)
    assert found.filtered_value_at_risk == historical_value_at_risk(portfolio.filtered, 0.99)
    assert found.filtered_expected_shortfall == historical_expected_shortfall(portfolio.filtered, 0.975)
    assert found.normal_value_at_risk == normal_value_at_risk(portfolio.historical, 0.99)
    assert found.normal_expected_shortfall == normal_expected_shortfall(portfolio.historical, 0.975)
    assert found.cornish_fisher_value_at_risk == pytest.approx(
        cornish_fisher_value_at_risk(portfolio.historical, 0.99), nan_ok=True
    )
    assert sum(found.components.values()) == pytest.approx(found.historical_expected_shortfall)


def test_a_single_loss_has_no_deviation_and_no_gate():
    single = SimpleNamespace(historical=np.array([0.02]), filtered=np.array([0.02]))

    gate = MODEL.gate(single)

    assert math.isnan(gate.expected_shortfall)
    assert math.isnan(gate.value_at_risk)
    assert historical_value_at_risk(single.historical, 0.99) == 0.02
