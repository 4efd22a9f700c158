import math
from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from trading_pipeline.domain.errors import DataError, InvalidInput
from trading_pipeline.domain.instruments import CASH
from trading_pipeline.domain.risk.scenarios import FATTEST, GREATEST_RESCALING, THINNEST, scenarios_of
from trading_pipeline.domain.risk.volatility import WARM_UP, ewma_sigma
from trading_pipeline_tests.domain.risk.markets import closes_of, returns_of, sessions

NAN = math.nan
RETURNS = returns_of(600)
CLOSES = closes_of(RETURNS)
weights = st.floats(-3, 3)
books = st.fixed_dictionaries({"A": weights, "B": weights, "C": weights})


@pytest.fixture(scope="module")
def scenarios():
    return scenarios_of(CLOSES)


def without(symbol, rows, closes=CLOSES):
    """The closes, those of a symbol missing on some rows."""
    changed = closes.copy()
    changed.iloc[rows, changed.columns.get_loc(symbol)] = NAN
    return changed


def test_the_scenarios_are_the_last_returns_of_all_symbols(scenarios):
    assert scenarios.symbols == ("A", "B", "C")
    assert scenarios.sessions == tuple(sessions(601)[-500:])
    assert scenarios.historical == pytest.approx(RETURNS[-500:])
    assert scenarios.returns_of("B") == pytest.approx(RETURNS[-500:, 1])
    assert not scenarios.missing


def test_filtered_scenarios_are_the_returns_at_the_volatility_of_now(scenarios):
    """Spelled out session by session, with the recursion of RiskMetrics."""
    recent = RETURNS[-520:, 0]
    variance, before = float(np.mean(recent[:WARM_UP] ** 2)), []
    for value in recent[WARM_UP:]:
        before.append(math.sqrt(variance))
        variance = 0.94 * variance + 0.06 * value**2

    expected = recent[WARM_UP:] * math.sqrt(variance) / np.array(before)

    assert scenarios.filtered[:, 0] == pytest.approx(expected)


def test_in_a_storm_the_filtered_losses_are_greater_and_in_a_calm_smaller():
    calm = RETURNS.copy()
    calm[-60:] /= 4
    stormy = RETURNS.copy()
    stormy[-60:] *= 4
    ratios = [
        found.filtered.std() / found.historical.std() for found in map(scenarios_of, map(closes_of, (calm, stormy)))
    ]

    assert ratios[0] < 0.6
    assert ratios[1] > 1.5


def test_no_filtered_return_loses_more_than_all_and_none_is_enlarged_without_end():
    sleepy = np.full((560, 1), 1e-9)
    sleepy[-30:, 0] = np.tile([0.05, -0.05], 15)
    sleepy[100, 0] = -0.04
    found = scenarios_of(closes_of(sleepy))

    assert found.filtered.min() >= -1
    assert np.abs(found.filtered / found.historical).max() <= GREATEST_RESCALING * (1 + 1e-9)
    assert found.filtered[100 - 60, 0] == pytest.approx(max(-0.04 * GREATEST_RESCALING, -1))


@given(books)
def test_a_portfolio_loses_the_weighted_sum_of_the_returns(scenarios, book):
    portfolio = scenarios.portfolio(book)

    for losses, returns in ((portfolio.historical, scenarios.historical), (portfolio.filtered, scenarios.filtered)):
        expected = [-sum(book[symbol] * row[place] for place, symbol in enumerate("ABC")) for row in returns.tolist()]
        assert losses == pytest.approx(expected, abs=1e-12)


@given(books, st.sampled_from("ABC"), weights)
def test_one_more_weight_is_the_same_as_building_the_portfolio_again(scenarios, book, symbol, delta):
    moved = scenarios.portfolio(book).with_weight(symbol, delta)
    built = scenarios.portfolio(book | {symbol: book[symbol] + delta})

    assert moved.historical == pytest.approx(built.historical, abs=1e-12)
    assert moved.filtered == pytest.approx(built.filtered, abs=1e-12)
    assert moved.scenarios is scenarios


def test_a_portfolio_is_not_changed_by_one_that_is_made_from_it(scenarios):
    portfolio = scenarios.portfolio({"A": 0.5})
    before = portfolio.historical.copy()

    portfolio.with_weight("A", 0.5)

    assert np.array_equal(portfolio.historical, before)
    with pytest.raises(ValueError, match="read-only"):
        scenarios.historical[0, 0] = 0


def test_cash_earns_nothing(scenarios):
    alone = scenarios.portfolio({CASH: 1.0})

    assert not alone.historical.any()
    assert alone.with_weight(CASH, 5.0) is alone
    assert np.array_equal(scenarios.returns_of(CASH), np.zeros(500))


@pytest.mark.parametrize("weight", [NAN, math.inf, -math.inf])
def test_a_weight_that_is_not_finite_makes_all_losses_missing(scenarios, weight):
    for portfolio in (
        scenarios.portfolio({"A": weight, "B": 0.5}),
        scenarios.portfolio({"B": 0.5}).with_weight("A", weight),
    ):
        assert np.isnan(portfolio.historical).all()
        assert np.isnan(portfolio.filtered).all()


@pytest.mark.parametrize(
    "ask",
    [
        lambda scenarios: scenarios.portfolio({"Z": 0.0}),
        lambda scenarios: scenarios.portfolio({}).with_weight("Z", 0.1),
        lambda scenarios: scenarios.returns_of("Z"),
    ],
)
def test_a_symbol_without_scenarios_is_refused_by_name(scenarios, ask):
    with pytest.raises(DataError, match="Z has no scenarios: it was not among the closes"):
        ask(scenarios)


def test_a_symbol_that_is_too_young_is_left_out_and_named():
    found = scenarios_of(without("B", range(400)))

    assert found.symbols == ("A", "C")
    assert found.missing == {"B": "has 200 returns in the last 520 sessions, wanted 250"}
    assert len(found.sessions) == 500
    with pytest.raises(DataError, match="B has no scenarios: it has 200 returns"):
        found.portfolio({"B": 0.1})


def test_a_symbol_without_a_last_return_is_left_out_and_named():
    assert scenarios_of(without("C", [-1])).missing == {"C": "has no return on the last session"}


@pytest.mark.parametrize("wrong", [0.0, -5.0, math.inf, NAN])
def test_a_close_that_is_no_price_costs_two_returns_and_nothing_is_filled(wrong):
    closes = CLOSES.copy()
    closes.iloc[-100, 0] = wrong

    found = scenarios_of(closes)

    # The row of that close, and the one after it, have no return of A.
    gone = [sessions(601)[-100], sessions(601)[-99]]
    assert not set(gone) & set(found.sessions)
    assert len(found.sessions) == 498
    assert found.symbols == ("A", "B", "C")
    assert np.isfinite(found.historical).all()


def test_of_symbols_with_too_little_in_common_the_one_with_the_fewest_returns_goes():
    """B and C have returns enough, but hardly on the same sessions."""
    closes = without("B", range(81, 340))
    closes = without("C", range(340, 580), closes)

    found = scenarios_of(closes)

    assert found.symbols == ("A", "C")
    assert set(found.missing) == {"B"}
    assert found.missing["B"].startswith("has 260 returns, but with it all symbols had only ")
    assert found.missing["B"].endswith("sessions in common, wanted 250")


def test_the_order_of_the_symbols_changes_only_their_order(scenarios):
    turned = scenarios_of(CLOSES[["C", "A", "B"]])

    assert turned.symbols == ("C", "A", "B")
    for symbol in "ABC":
        assert np.array_equal(turned.returns_of(symbol), scenarios.returns_of(symbol))
    assert turned.degrees_of_freedom == pytest.approx(scenarios.degrees_of_freedom)


def test_without_any_symbol_every_portfolio_is_without_losses():
    found = scenarios_of(CLOSES.iloc[:100])

    assert set(found.missing) == set("ABC")
    assert found.symbols == found.sessions == ()
    assert found.portfolio({}).historical.size == 0
    assert found.degrees_of_freedom == FATTEST


def test_days_may_be_dates_or_timestamps(scenarios):
    stamped = CLOSES.set_axis(pd.DatetimeIndex(CLOSES.index))

    found = scenarios_of(stamped)

    assert found.sessions == scenarios.sessions
    assert not isinstance(found.sessions[0], datetime)


def test_what_comes_before_the_window_changes_nothing(scenarios):
    changed = CLOSES.copy()
    changed.iloc[:80] *= 3

    found = scenarios_of(changed)

    assert np.array_equal(found.historical, scenarios.historical)
    assert np.array_equal(found.filtered, scenarios.filtered)


@pytest.mark.parametrize("n", [3.5, 5.0, 8.0])
def test_the_degrees_of_freedom_of_drawn_returns_are_found(n):
    drawn = stats.t(n).rvs(size=(4_020, 6), random_state=11) * 0.003

    found = scenarios_of(closes_of(drawn), window=4_000).degrees_of_freedom

    assert found == pytest.approx(n, rel=0.15)


def test_the_degrees_of_freedom_are_the_most_likely_ones_of_scipy(scenarios):
    standardised = stats.zscore(scenarios.historical, ddof=1).ravel()

    def likelihood(n):
        return stats.t(n, scale=math.sqrt((n - 2) / n)).logpdf(standardised).sum()

    best = max(np.linspace(3, 30, 500), key=likelihood)
    assert scenarios.degrees_of_freedom == pytest.approx(best, rel=0.02)


def test_normal_returns_have_many_degrees_of_freedom_and_wild_ones_few():
    normal = np.random.default_rng(3).normal(0, 0.01, (520, 3))
    wild = normal.copy()
    wild[::100] *= 60

    assert 20 < scenarios_of(closes_of(normal)).degrees_of_freedom <= THINNEST
    assert scenarios_of(closes_of(wild)).degrees_of_freedom == pytest.approx(FATTEST, rel=0.05)


def test_symbols_that_never_move_have_no_tail_and_no_loss():
    found = scenarios_of(closes_of(np.zeros((520, 2))))

    assert found.degrees_of_freedom == FATTEST
    assert not found.portfolio({"A": 0.5, "B": 0.5}).filtered.any()


@pytest.mark.parametrize(
    ("closes", "message"),
    [
        (CLOSES.iloc[::-1], "one row per session, in rising order"),
        (CLOSES.iloc[[0, 0, 1]], "one row per session"),
        (CLOSES[["A", "A"]], "one column per symbol"),
    ],
)
def test_closes_out_of_order_are_refused(closes, message):
    with pytest.raises(InvalidInput, match=message):
        scenarios_of(closes)


@pytest.mark.parametrize(("window", "minimum"), [(100, 121), (100, 21), (100, 0)])
def test_numbers_that_do_not_fit_are_refused(window, minimum):
    with pytest.raises(InvalidInput, match=f"minimum was {minimum}"):
        scenarios_of(CLOSES, window, minimum)


def test_the_volatility_that_filters_is_that_of_the_returns_before(scenarios):
    """A return does not filter itself: a wild last day changes no earlier figure but by the volatility of now."""
    wild = RETURNS.copy()
    wild[-1] = 0.2
    found = scenarios_of(closes_of(wild))
    factor = ewma_sigma(wild[-520:])[-1] / ewma_sigma(RETURNS[-520:])[-1]

    assert found.filtered[:-1] == pytest.approx(np.maximum(scenarios.filtered[:-1] * factor, -1))
    assert found.sessions[-1] == date(2020, 1, 1) + timedelta(days=600)
