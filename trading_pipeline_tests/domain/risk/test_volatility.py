import math
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.risk.tail_risk import historical_expected_shortfall, historical_value_at_risk
from trading_pipeline.domain.risk.volatility import (
    LEAST_GARCH_RETURNS,
    WARM_UP,
    VolatilityMethod,
    ewma_sigma,
    ewma_volatility,
    filtered_historical,
    garch_volatility,
)
from trading_pipeline_tests.domain.risk.markets import returns_of

NAN = math.nan
RETURNS = returns_of(500, 1)[:, 0]
GJR = VolatilityMethod.GJR_GARCH
series = arrays.arrays(np.float64, st.integers(0, 60), elements=st.floats(-0.5, 0.5, width=32))


@pytest.fixture
def arch():
    return pytest.importorskip("arch")


def clustered(count, seed=5):
    """Returns of a GARCH(1,1) with Student-t innovations, about 1 % a day, and a drift."""
    generator = np.random.default_rng(seed)
    shocks = generator.standard_t(6, count) / math.sqrt(6 / 4)
    variance, returns = 1e-4, []
    for shock in shocks:
        moved = math.sqrt(variance) * shock
        returns.append(moved + 0.0005)
        variance = 4e-6 + (0.05 + 0.06 * (moved < 0)) * moved**2 + 0.88 * variance
    return np.array(returns)


def fails_with(monkeypatch, **changes):
    """Make the fit of arch end as if by ``changes``."""
    fit = {
        "convergence_flag": 0,
        "conditional_volatility": np.ones(500),
        "forecast": lambda **_: SimpleNamespace(variance=pd.DataFrame([[1.0]])),
        "params": {"mu": 0.0},
    }
    ended = SimpleNamespace(**(fit | changes))
    model = SimpleNamespace(fit=lambda **_: ended)
    monkeypatch.setitem(sys.modules, "arch", SimpleNamespace(arch_model=lambda *_, **__: model))


def test_ewma_is_the_recursion_of_pandas():
    sigma = ewma_sigma(RETURNS)
    seeded = np.concatenate([[np.mean(RETURNS[:WARM_UP] ** 2)], RETURNS[WARM_UP:] ** 2])

    expected = np.sqrt(pd.Series(seeded).ewm(alpha=0.06, adjust=False).mean())

    assert np.isnan(sigma[:WARM_UP]).all()
    assert sigma[WARM_UP:] == pytest.approx(expected)


def test_ewma_of_several_symbols_is_that_of_each():
    several = returns_of(80, 3)

    assert ewma_sigma(several)[WARM_UP:] == pytest.approx(
        np.column_stack([ewma_sigma(column)[WARM_UP:] for column in several.T])
    )


@given(series, st.integers(0, 60))
def test_volatility_knows_only_the_returns_before_its_session(returns, place):
    row = min(place, returns.size)
    changed = returns.copy()
    changed[row:] = 0.4

    assert np.array_equal(ewma_sigma(changed)[: row + 1], ewma_sigma(returns)[: row + 1], equal_nan=True)


@given(series, st.floats(0.01, 100))
def test_volatility_grows_with_the_returns(returns, size):
    expected = size * ewma_sigma(returns)

    assert ewma_sigma(size * returns) == pytest.approx(expected, nan_ok=True, abs=1e-12)


def test_a_missing_return_makes_all_later_volatility_of_its_symbol_missing():
    returns = returns_of(60, 2)
    returns[30, 0] = NAN

    sigma = ewma_sigma(returns)

    assert np.isfinite(sigma[WARM_UP:31, 0]).all()
    assert np.isnan(sigma[31:, 0]).all()
    assert np.isfinite(sigma[WARM_UP:, 1]).all()


@pytest.mark.parametrize("count", [0, 1, WARM_UP - 1])
def test_too_few_returns_have_no_volatility(count):
    found = ewma_volatility(np.full(count, 0.01))

    assert np.isnan(found.sigma).all()
    assert found.sigma.size == count
    assert math.isnan(found.forecast)


def test_ewma_is_what_was_asked_for_and_measures_from_zero():
    found = ewma_volatility(RETURNS)

    assert (found.method, found.mean, found.fallback, found.converged) == (VolatilityMethod.EWMA, 0.0, "", True)
    assert found.forecast == ewma_sigma(RETURNS)[-1]


def test_garch_is_that_of_arch(arch):
    """Fitted by arch in percent, its usual unit, where ours is fitted in standard deviations."""
    returns = clustered(1_500)
    model = arch.arch_model(returns * 100, mean="Constant", vol="GARCH", p=1, o=1, q=1, dist="t", rescale=False)
    theirs = model.fit(disp="off")

    ours = garch_volatility(returns)

    assert (ours.method, ours.converged) == (GJR, True)
    assert ours.sigma == pytest.approx(theirs.conditional_volatility / 100, rel=0.01)
    assert ours.mean == pytest.approx(theirs.params["mu"] / 100, rel=0.02)
    ahead = math.sqrt(theirs.forecast(horizon=1).variance.iloc[-1, 0]) / 100
    assert ours.forecast == pytest.approx(ahead, rel=0.01)


def test_the_forecast_of_garch_goes_on_from_its_last_session(arch):
    """After a fall of many deviations the session after has more volatility than the one before."""
    returns = np.append(clustered(1_000), -0.08)

    found = garch_volatility(returns)

    assert found.converged
    assert found.forecast > 1.5 * found.sigma[-1]


def test_garch_comes_out_the_same_in_another_unit(arch):
    returns = clustered(800)

    small, large = garch_volatility(returns / 50), garch_volatility(returns)

    assert small.converged
    assert small.sigma * 50 == pytest.approx(large.sigma, rel=1e-3)


def test_without_arch_ewma_serves_and_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "arch", None)

    found = garch_volatility(RETURNS)

    assert (found.method, found.converged) == (VolatilityMethod.EWMA, False)
    assert found.fallback == "package arch is not installed (extra garch)"
    assert np.array_equal(found.sigma, ewma_sigma(RETURNS)[:-1], equal_nan=True)
    assert found.forecast == ewma_sigma(RETURNS)[-1]


@pytest.mark.parametrize(
    "changes",
    [
        {"convergence_flag": 9},
        {"conditional_volatility": np.append(np.ones(499), NAN)},
        {"forecast": lambda **_: SimpleNamespace(variance=pd.DataFrame([[NAN]]))},
        {"forecast": lambda **_: SimpleNamespace(variance=pd.DataFrame([[math.inf]]))},
    ],
)
def test_a_fit_that_does_not_converge_leaves_it_to_ewma(monkeypatch, changes):
    fails_with(monkeypatch, **changes)

    found = garch_volatility(RETURNS)

    assert (found.method, found.converged) == (VolatilityMethod.EWMA, False)
    assert found.fallback.startswith("the fit did not converge (code ")
    assert found.forecast == ewma_sigma(RETURNS)[-1]


def test_a_fit_that_converges_is_taken(monkeypatch):
    fails_with(monkeypatch)

    found = garch_volatility(RETURNS)

    assert (found.method, found.converged) == (GJR, True)
    assert found.forecast == pytest.approx(RETURNS.std())


def test_too_few_returns_are_not_fitted():
    found = garch_volatility(RETURNS[: LEAST_GARCH_RETURNS - 1])

    assert found.method is VolatilityMethod.EWMA
    assert found.fallback == "249 returns are too few for a fit, wanted 250"


@pytest.mark.parametrize("value", [0.0, 0.0001])
def test_returns_that_never_change_are_not_fitted(value):
    found = garch_volatility(np.full(300, value))

    assert found.fallback == "the returns never change"
    assert found.forecast == pytest.approx(value)


def test_filtered_simulation_scales_standardised_returns_by_the_forecast():
    sigma = ewma_sigma(RETURNS)
    losses = -RETURNS[WARM_UP:] / sigma[WARM_UP:-1] * sigma[-1]

    found = filtered_historical(RETURNS, VolatilityMethod.EWMA)

    assert found.value_at_risk == pytest.approx(historical_value_at_risk(losses, 0.99))
    assert found.expected_shortfall == pytest.approx(historical_expected_shortfall(losses, 0.975))


def test_filtered_simulation_of_garch_is_that_of_the_residuals_of_arch(arch):
    returns = clustered(1_000)
    model = arch.arch_model(returns * 100, mean="Constant", vol="GARCH", p=1, o=1, q=1, dist="t", rescale=False)
    fit = model.fit(disp="off")
    ahead = math.sqrt(fit.forecast(horizon=1).variance.iloc[-1, 0])
    losses = -(fit.params["mu"] + fit.std_resid * ahead) / 100

    found = filtered_historical(returns, alpha_var=0.99, alpha_es=0.95)

    assert found.volatility.method is GJR
    assert found.value_at_risk == pytest.approx(historical_value_at_risk(losses, 0.99), rel=0.02)
    assert found.expected_shortfall == pytest.approx(historical_expected_shortfall(losses, 0.95), rel=0.02)


def test_after_a_storm_the_filtered_tail_is_longer_than_the_plain_one():
    stormy = np.append(RETURNS, 4 * RETURNS[:40])

    assert filtered_historical(stormy, VolatilityMethod.EWMA).value_at_risk > 1.5 * historical_value_at_risk(
        -RETURNS, 0.99
    )


def test_without_volatility_the_filtered_tail_is_missing():
    found = filtered_historical(np.full(10, 0.01), VolatilityMethod.EWMA)

    assert math.isnan(found.value_at_risk)
    assert math.isnan(found.expected_shortfall)
    assert math.isnan(filtered_historical(np.zeros(300)).value_at_risk)


@pytest.mark.parametrize("ask", [ewma_volatility, garch_volatility, filtered_historical])
@pytest.mark.parametrize("returns", [np.array([0.01, NAN]), np.array([math.inf]), np.zeros((30, 2))])
def test_returns_that_are_not_one_finite_series_are_refused(ask, returns):
    with pytest.raises(InvalidInput, match="one series of finite daily returns"):
        ask(returns)
