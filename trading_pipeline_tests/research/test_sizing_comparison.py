import math
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from trading_pipeline.domain.allocation import SleeveStatus
from trading_pipeline.domain.bars import ClosePanel, close_panel
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.sizing.options import SizingOptions, SizingPart
from trading_pipeline.domain.sizing.panel import sizing_panel
from trading_pipeline.domain.strategies.evaluation import Evaluation
from trading_pipeline.research.sizing_comparison import (
    BY_STRATEGIES,
    TOGETHER,
    AccountRules,
    allocations_of,
    compare,
    methods_of,
)
from trading_pipeline_tests.domain.sizing.bars import DAYS, bars_of

SYMBOLS = ("BIL", "SPY", "TECL")
DEVIATIONS = {"BIL": 0.0005, "SPY": 0.01, "TECL": 0.04}
OPTIONS = SizingOptions(volatility_sessions=20, atr_sessions=3, volume_sessions=5)
ALONE = {BY_STRATEGIES: OPTIONS}
LEAD = 45
COMPARED = DAYS[LEAD:]
RULES = AccountRules(
    shares={"one": 1.0},
    drift_thresholds={},
    safe_asset="BIL",
    max_carried_sessions=3,
    band=0.0,
    equity=Decimal(100_000),
)
BARS = pd.concat([bars_of(symbol, deviation=DEVIATIONS[symbol]) for symbol in SYMBOLS], ignore_index=True)
CLOSES = close_panel(BARS, SYMBOLS, COMPARED)
PRICES = np.column_stack([CLOSES.column(symbol) for symbol in SYMBOLS])
MOVES = PRICES[1:] / PRICES[:-1]
PANEL = sizing_panel(BARS, SYMBOLS, DAYS, OPTIONS)


def evaluation_of(held, days=COMPARED):
    """What was held on each of ``days``: weights by symbol, one for all of them or a list; None where unknown."""
    rows = held if isinstance(held, list) else [held] * len(days)
    weights = [[math.nan if row is None else row.get(symbol, 0.0) for symbol in SYMBOLS] for row in rows]
    codes = np.array([int(row is None) for row in rows])
    return Evaluation(tuple(days), SYMBOLS, np.array(weights), codes, ("", "a reading is missing"))


def allocations(held, rules=RULES, closes=CLOSES):
    return allocations_of({"one": evaluation_of(held, closes.sessions)}, closes, rules)


def only(held, rules=RULES, panel=PANEL, methods=ALONE):
    return compare(allocations(held, rules), panel, methods, rules).runs[0]


def test_one_symbol_that_is_held_throughout_is_worth_what_its_closes_say():
    run = only({"SPY": 1.0})

    np.testing.assert_allclose(run.value, CLOSES.column("SPY") / CLOSES.column("SPY")[0], rtol=1e-12)
    assert run.turnover[0] == 0.5
    np.testing.assert_allclose(run.turnover[1:], 0, atol=1e-12)
    np.testing.assert_allclose(run.cash, 0, atol=1e-12)


def test_two_that_are_rebalanced_at_every_close_earn_the_mean_of_both():
    run = only({"SPY": 0.5, "TECL": 0.5})

    np.testing.assert_allclose(run.value[1:] / run.value[:-1], MOVES[:, 1:].mean(axis=1), rtol=1e-12)
    # Each side of the drift is half of the difference of both moves over what they come to.
    drift = np.abs(MOVES[:, 1] - MOVES[:, 2]) / (2 * MOVES[:, 1:].sum(axis=1))
    np.testing.assert_allclose(run.turnover[1:], drift, rtol=1e-9)


def test_the_statistics_are_what_pandas_makes_of_the_worth():
    run = only({"SPY": 0.5, "TECL": 0.5})
    value = pd.Series(run.value)
    moves = value.pct_change().dropna()

    assert run.volatility == pytest.approx(moves.std() * math.sqrt(252))
    assert run.growth == pytest.approx(value.iloc[-1] ** (252 / len(moves)) - 1)
    assert run.largest_fall == pytest.approx((1 - value / value.cummax()).max())
    assert run.turnover_a_year == pytest.approx(run.turnover.mean() * 252)
    rolling = pd.Series(run.returns).rolling(20).std().to_numpy() * math.sqrt(252)
    np.testing.assert_allclose(run.rolling_volatility(20)[1:], rolling, rtol=1e-9)
    assert np.isnan(run.rolling_volatility(10_000)).all()


def test_a_dollar_that_is_never_invested_stays_a_dollar():
    run = only([None] * len(COMPARED))

    np.testing.assert_array_equal(run.value, 1.0)
    assert (run.turnover_a_year, run.volatility, run.largest_fall) == (0, 0, 0)


def test_what_differs_less_than_the_band_of_orders_drifts_on():
    run = only({"SPY": 0.5, "TECL": 0.5}, replace(RULES, band=1.0))

    # A target of 0.5 is never a band of 1 away from what is held: nothing is ever bought.
    np.testing.assert_array_equal(run.weights, 0)
    wide = only(
        [{"SPY": 1.0}, {"SPY": 0.95, "BIL": 0.05}, *[{"SPY": 0.9, "BIL": 0.1}] * (len(COMPARED) - 2)],
        replace(RULES, band=0.07),
    )
    assert wide.weights[1] == pytest.approx([0, 1, 0])
    assert wide.weights[2] == pytest.approx([0.1, 0.9, 0])


def test_what_is_no_longer_wanted_is_sold_whatever_the_band():
    run = only([{"SPY": 0.95, "TECL": 0.05}] + [{"SPY": 1.0}] * (len(COMPARED) - 1), replace(RULES, band=0.04))

    assert run.weights[0] == pytest.approx([0, 0.95, 0.05])
    assert run.weights[1:, 2] == pytest.approx(np.zeros(len(COMPARED) - 1))


def test_a_symbol_without_a_close_is_kept_at_its_last_one_and_not_traded():
    gap = LEAD + 10
    lacking = BARS.assign(close=BARS["close"].mask((BARS["symbol"] == "TECL") & (BARS["session"] == DAYS[gap])))
    run = only({"SPY": 0.5, "TECL": 0.5}, panel=sizing_panel(lacking, SYMBOLS, DAYS, OPTIONS))

    before, now, after = run.value[9:12]
    moves = PRICES[9:12]
    assert now / before == pytest.approx(0.5 + 0.5 * moves[1, 1] / moves[0, 1])
    # What did not move for a session moves both days' way on the next.
    spy, tecl = 0.5 * moves[1, 1] / moves[0, 1], 0.5
    assert run.weights[10, 2] == pytest.approx(tecl / (spy + tecl))
    worth = run.weights[10, 1] * moves[2, 1] / moves[1, 1] + run.weights[10, 2] * moves[2, 2] / moves[0, 2]
    assert after / now == pytest.approx(worth + run.cash[10])


def test_buys_are_cut_alike_where_cash_is_short():
    # SPY has no close on the second session, so that it cannot be sold to pay for both others.
    lacking = BARS.assign(close=BARS["close"].mask((BARS["symbol"] == "SPY") & (BARS["session"] == COMPARED[1])))
    held = [{"SPY": 0.6}] + [{"BIL": 0.5, "TECL": 0.5}] * (len(COMPARED) - 1)
    weights = [{**row} for row in held]
    weights[0] = {"SPY": 0.6, "BIL": 0.4}
    run = only(weights, panel=sizing_panel(lacking, SYMBOLS, DAYS, OPTIONS))

    assert run.weights[1].sum() == pytest.approx(1)
    assert run.weights[1, 1] == pytest.approx(0.6, abs=1e-3)
    assert run.cash[1] == pytest.approx(0, abs=1e-12)
    assert (run.weights >= 0).all()


def test_the_first_run_is_the_strategies_alone_and_each_part_has_its_own():
    methods = methods_of(OPTIONS)

    assert list(methods) == [BY_STRATEGIES, *(part.value for part in SizingPart), TOGETHER]
    assert methods[BY_STRATEGIES].parts == frozenset()
    assert methods[TOGETHER].parts == frozenset(SizingPart)
    assert {len(methods[part.value].parts) for part in SizingPart} == {1}


@pytest.fixture(scope="module")
def comparison():
    return compare(allocations({"SPY": 0.3, "TECL": 0.7}), PANEL, methods_of(OPTIONS), RULES)


def test_every_way_of_sizing_does_what_it_says(comparison):
    runs = {run.method: run for run in comparison.runs}
    by_strategies = runs[BY_STRATEGIES]

    assert by_strategies.weights[:, 2] == pytest.approx(np.full(len(COMPARED), 0.7))
    assert runs["weight_caps"].weights.max() <= 0.5 + 1e-12
    assert runs["volatility_target"].volatility < by_strategies.volatility
    # Half a percent of equity over two ranges.
    own = PANEL.closes[LEAD:, 2] * 0.005 / (2 * PANEL.ranges[LEAD:, 2])
    assert (runs["atr_caps"].weights[:, 2] <= own + 1e-9).all()
    assert runs["no_trade_band"].turnover_a_year < by_strategies.turnover_a_year
    inverse = runs["inverse_volatility"]
    risks = inverse.weights[:, 1:] * PANEL.deviations[LEAD:, 1:]
    np.testing.assert_allclose(risks[:, 0], risks[:, 1], rtol=1e-9)
    assert runs[TOGETHER].weights.sum(axis=1).max() <= 1


def test_no_day_is_sized_by_what_comes_after_it(comparison):
    row = 30
    later = BARS["session"] > COMPARED[row]
    changed = BARS.assign(**{name: BARS[name].mask(later, 3 * BARS[name]) for name in ("high", "low", "close")})
    panel = sizing_panel(changed, SYMBOLS, DAYS, OPTIONS)
    other = compare(allocations({"SPY": 0.3, "TECL": 0.7}), panel, methods_of(OPTIONS), RULES)

    for one, two in zip(comparison.runs, other.runs, strict=True):
        np.testing.assert_array_equal(one.weights[: row + 1], two.weights[: row + 1])
        np.testing.assert_array_equal(one.value[: row + 1], two.value[: row + 1])


def test_what_cannot_be_sized_is_counted_and_never_bought():
    lacking = BARS.assign(high=BARS["high"].mask(BARS["symbol"] == "TECL"))
    run = only(
        {"SPY": 0.3, "TECL": 0.7},
        panel=sizing_panel(lacking, SYMBOLS, DAYS, OPTIONS),
        methods={"atr_caps": OPTIONS.with_parts(SizingPart.ATR_CAPS)},
    )

    assert (run.missing == 1).all()
    assert (run.weights[:, 2] == 0).all()


def test_sessions_without_any_volatility_count_as_fallbacks():
    days = DAYS[:10]
    panel = sizing_panel(BARS, SYMBOLS, days, OPTIONS)
    closes = close_panel(BARS, SYMBOLS, days)
    held = allocations({"TECL": 1.0}, closes=closes)

    [run] = compare(held, panel, {"i": OPTIONS.with_parts(SizingPart.INVERSE_VOLATILITY)}, RULES).runs

    assert run.fallbacks.all()
    assert run.weights[:, 0] == pytest.approx(np.ones(10))


def test_the_table_has_a_whole_account_a_session_and_method(comparison):
    frame = comparison.to_frame()

    totals = frame.groupby(["session", "method"])["weight"].sum()
    assert len(totals) == len(COMPARED) * len(comparison.runs)
    assert totals.to_numpy() == pytest.approx(np.ones(len(totals)))
    assert set(frame["first"]) == {COMPARED[0]}
    assert not frame.duplicated(["session", "method", "symbol"]).any()
    value = frame[frame["method"] == "atr_caps"].groupby("session")["value"].first().to_numpy()
    np.testing.assert_array_equal(value, comparison.runs[2].value)


def test_methods_are_summed_up_and_their_weights_laid_side_by_side(comparison):
    summary, weights = comparison.summary_frame(), comparison.beside_each_other()

    assert summary["method"].tolist() == [run.method for run in comparison.runs]
    assert summary["largest_fall"].tolist() == [run.largest_fall for run in comparison.runs]
    assert weights.columns.tolist() == ["symbol", *summary["method"]]
    assert weights.set_index("symbol").sum().to_numpy() == pytest.approx(np.ones(7))
    assert weights.set_index("symbol").loc["TECL", BY_STRATEGIES] == pytest.approx(0.7)


def test_a_strategy_that_cannot_decide_is_carried_and_then_parked():
    found = allocations([{"TECL": 1.0}, *[None] * (len(COMPARED) - 1)])

    statuses = [allocation.contributions[0].status for allocation in found]
    assert statuses[:5] == [SleeveStatus.DECIDED, *[SleeveStatus.CARRIED] * 3, SleeveStatus.FALLBACK]
    assert found[4].weights == {"BIL": 1.0}


def test_a_strategy_is_parked_in_its_own_safe_asset_until_it_has_cooled_down():
    rules = replace(RULES, safe_assets={"one": "SPY"}, cool_down_sessions=3)
    found = allocations([{"TECL": 1.0}, *[None] * 4, *[{"TECL": 1.0}] * (len(COMPARED) - 5)], rules)

    assert rules.all_safe_assets == {"BIL", "SPY"}
    assert [list(each.weights) for each in found[3:8]] == [["TECL"], ["SPY"], ["SPY"], ["SPY"], ["TECL"]]


def test_a_strategy_without_history_is_cash():
    rules = replace(RULES, shares={"one": 0.5, "other": 0.5})

    found = allocations_of({"one": evaluation_of({"SPY": 1.0})}, CLOSES, rules)

    assert {(round(each.cash, 12), each.weights["SPY"]) for each in found} == {(0.5, 0.5)}


def test_a_strategy_that_is_rebalanced_by_drift_is_held_until_it_has_drifted():
    rules = replace(RULES, drift_thresholds={"one": 0.05})
    found = allocations({"SPY": 0.5, "TECL": 0.5}, rules)

    statuses = {allocation.contributions[0].status for allocation in found}
    assert statuses == {SleeveStatus.DECIDED, SleeveStatus.HELD}
    drift = 0.5 * MOVES[0, 2] / (0.5 * MOVES[0, 1] + 0.5 * MOVES[0, 2])
    assert found[1].weights["TECL"] == pytest.approx(drift if abs(drift - 0.5) <= 0.05 else 0.5)


@pytest.mark.parametrize("days", [DAYS[:-1], DAYS[-3:]])
def test_a_panel_that_does_not_end_with_the_sessions_is_refused(days):
    with pytest.raises(InvalidInput, match=f"and a panel of {len(days)} does not end with them"):
        compare(allocations({"SPY": 1.0}), sizing_panel(BARS, SYMBOLS, days, OPTIONS), ALONE, RULES)


def test_no_allocation_is_no_comparison():
    with pytest.raises(InvalidInput, match="0 sessions are to be compared"):
        compare([], PANEL, ALONE, RULES)


def test_of_one_session_there_is_no_growth_and_no_volatility():
    closes = ClosePanel(COMPARED[-1:], SYMBOLS, PRICES[-1:])
    [run] = compare(allocations({"SPY": 1.0}, closes=closes), PANEL, ALONE, RULES).runs

    assert math.isnan(run.growth)
    assert math.isnan(run.volatility)
    assert run.largest_fall == 0
