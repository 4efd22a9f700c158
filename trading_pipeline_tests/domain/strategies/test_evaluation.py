import math

import numpy as np
import pytest

from trading_pipeline.domain.errors import PermanentError
from trading_pipeline.domain.indicators import Indicator
from trading_pipeline.domain.readings import IndicatorPanel
from trading_pipeline.domain.strategies import tree
from trading_pipeline.domain.strategies.evaluation import evaluate
from trading_pipeline.domain.strategies.tree import (
    bottom,
    cumret,
    equal,
    first_match,
    group,
    if_,
    inverse_volatility,
    price,
    rsi,
    sdret,
    sma,
    specified,
    top,
)

NAN = math.nan
HIGH, LOW = rsi("A", 10) > 70, rsi("B", 10) < 30


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (rsi("A", 10) > 50, "NO"),
        (rsi("A", 10) < 50, "NO"),
        (rsi("A", 10) >= 50, "YES"),
        (rsi("A", 10) <= 50, "YES"),
        (cumret("C", 1) > 5.5, "NO"),
    ],
)
def test_equality_satisfies_no_strict_comparison(held, condition, expected):
    # (105.5 / 100 - 1) * 100 is 5.500000000000005 in floating point: equal all the same.
    readings = {"cumret(C,1)": (105.5 / 100 - 1) * 100}
    read = {str(reading) for reading in tree.readings(if_(condition, "YES", "NO"))}

    result = held(if_(condition, "YES", "NO"), {name: value for name, value in readings.items() if name in read})

    assert result == {expected: 1.0}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (HIGH & LOW, {(1, 1): "YES", (1, 0): "NO", (0, None): "NO", (None, 0): "NO", (None, 1): "A", (1, None): "B"}),
        (HIGH | LOW, {(0, 0): "NO", (1, None): "YES", (None, 1): "YES", (None, 0): "A", (0, None): "B"}),
        (~HIGH | LOW, {(1, 0): "NO", (0, None): "YES", (None, 1): "YES", (None, 0): "A", (1, None): "B"}),
        (~(HIGH & LOW) & LOW, {(None, 0): "NO", (None, 1): "A", (1, 1): "NO", (0, 1): "YES"}),
    ],
)
def test_conditions_follow_kleenes_logic(held, condition, expected):
    high, low = {1: 80.0, 0: 50.0, None: NAN}, {1: 20.0, 0: 50.0, None: NAN}
    for (first, second), answer in expected.items():
        result = held(if_(condition, "YES", "NO"), {"rsi(A,10)": high[first], "rsi(B,10)": low[second]})

        assert result == (f"rsi({answer},10) is missing" if answer in {"A", "B"} else {answer: 1.0})


def test_an_undecidable_branch_that_was_not_reached_does_no_harm(held):
    node = first_match((rsi("A", 10) > 70, "X"), (rsi("B", 10) > 70, "Y"), otherwise="Z")

    assert held(node, {"rsi(A,10)": 71, "rsi(B,10)": NAN}) == {"X": 1.0}
    assert held(node, {"rsi(A,10)": 70, "rsi(B,10)": NAN}) == "rsi(B,10) is missing"
    assert held(node, {"rsi(A,10)": NAN, "rsi(B,10)": 71}) == "rsi(A,10) is missing"


def test_weights_of_the_same_symbol_add(held):
    assert held(specified((0.5, equal("A", "B")), (0.3, "A"), (0.2, "C")), {}) == pytest.approx(
        {"A": 0.55, "B": 0.25, "C": 0.2}
    )


def test_a_blend_of_which_one_part_is_undecidable_is_undecidable(held):
    assert held(equal("A", if_(HIGH, "B", "C")), {"rsi(A,10)": NAN}) == "rsi(A,10) is missing"


def test_a_filter_keeps_the_ends_of_its_ranking_and_leaves_out_what_has_no_rank(held):
    returns = {"maret(A,5)": 3, "maret(B,5)": NAN, "maret(C,5)": 1, "maret(D,5)": 2}
    best = top(2, "A", "B", "C", "D", by=Indicator.MEAN_RETURN, window=5)
    worst = bottom(2, "A", "B", "C", "D", by=Indicator.MEAN_RETURN, window=5)

    assert held(best, returns) == {"A": 0.5, "D": 0.5}
    assert held(worst, returns) == {"C": 0.5, "D": 0.5}


def test_a_filter_takes_those_there_are_and_says_when_there_is_none(held):
    node = top(3, "A", "B", by=Indicator.MEAN_RETURN, window=90)

    assert held(node, {"maret(A,90)": NAN}) == {"B": 1.0}
    assert held(node, {"maret(A,90)": NAN, "maret(B,90)": NAN}) == "no candidate has maret(90): A, B"


@pytest.mark.parametrize("choose", [top, bottom])
def test_ties_go_to_the_order_listed(held, choose):
    node = choose(2, "C", "A", "B", by=Indicator.RSI, window=5)

    assert held(node, {"rsi(C,5)": 0.3, "rsi(A,5)": 0.3, "rsi(B,5)": 0.3}) == {"A": 0.5, "C": 0.5}


def test_inverse_volatility_holds_the_calm_larger(held):
    node = inverse_volatility(14, "A", "B")

    assert held(node, {"sdret(A,14)": 1, "sdret(B,14)": 3}) == pytest.approx({"A": 0.75, "B": 0.25})


def test_inverse_volatility_names_the_child_without_a_deviation(held):
    node = inverse_volatility(14, "A", "B")

    assert held(node, {"sdret(B,14)": NAN}) == "sdret(B,14) is missing"
    assert held(node, {"sdret(A,14)": 0.0, "sdret(B,14)": NAN}) == "sdret(A,14) is zero"


def rows_of(*sessions):
    """Rows of readings in which a symbol's return, in percent, stands for its closes."""
    closes, rows = {}, []
    for readings in sessions:
        moved = {name: value for name, value in readings.items() if name.startswith("return ")}
        for name, value in moved.items():
            symbol = name.removeprefix("return ")
            closes[symbol] = closes.get(symbol, 100.0) * (1 + value / 100)
        known = {f"price({symbol})": close for symbol, close in closes.items()}
        rows.append({**known, **{name: value for name, value in readings.items() if name not in moved}})
    return rows


def available(node, panel):
    return evaluate(node, panel).available.tolist()


def test_a_group_earns_the_next_sessions_return_of_what_it_chose(panel_of):
    # A is chosen at 0 and 1, B at 2: the group earns A's 10 %, A's -10 %, then B's 50 %.
    chooser = group("G", if_(rsi("R", 2) > 50, "A", "B"))
    rows = [
        {"rsi(R,2)": 60, "return A": 7, "return B": 7},
        {"rsi(R,2)": 60, "return A": 10, "return B": 0},
        {"rsi(R,2)": 40, "return A": -10, "return B": 0},
        {"rsi(R,2)": 40, "return A": 0, "return B": 50},
    ]
    levels = (1, 1.1, 0.99, 1.485)
    for row, level in enumerate(levels):
        exact = if_((price(chooser) >= level) & (price(chooser) <= level), "YES", "NO")
        evaluation = evaluate(exact, panel_of(exact, *rows_of(*rows)))

        assert evaluation.weights[row, evaluation.symbols.index("YES")] == 1


def test_a_group_is_rebalanced_daily(panel_of):
    halves = group("halves", equal("A", "B"))
    node = if_((price(halves) >= 1.1025) & (price(halves) <= 1.1025), "YES", "NO")
    rows = [{}, {"return A": 10}, {"return A": 10}]

    evaluation = evaluate(node, panel_of(node, *rows_of(*rows)))

    assert evaluation.weights[2, evaluation.symbols.index("YES")] == 1


def test_after_a_gap_a_group_continues_at_the_same_level_and_no_window_spans_the_gap(panel_of):
    # The group cannot be decided at 2: it still earns session 2, and nothing in session 3, where it starts again.
    chooser = group("G", if_(rsi("R", 2) > 50, "A", "B"))
    strength = [60, 60, NAN, 60, 60, 60]
    rows = [{"rsi(R,2)": value, "return A": 10} for value in strength]

    at_level = if_((price(chooser) >= 1.21) & (price(chooser) <= 1.21), "YES", "NO")
    mean_of_two = if_(sma(chooser, 2) > 0, "YES", "NO")
    two_returns = if_(sdret(chooser, 2) >= 0, "YES", "NO")

    rows = rows_of(*rows)
    evaluation = evaluate(at_level, panel_of(at_level, *rows))
    assert evaluation.weights[:, evaluation.symbols.index("YES")].tolist() == [0, 0, 1, 1, 0, 0]
    assert available(mean_of_two, panel_of(mean_of_two, *rows)) == [
        False,
        True,
        True,
        False,
        True,
        True,
    ]
    assert available(two_returns, panel_of(two_returns, *rows)) == [
        False,
        False,
        True,
        False,
        False,
        True,
    ]


def test_a_group_has_no_return_where_what_it_holds_has_none(panel_of):
    chooser = group("G", equal("A", "B"))
    node = if_(cumret(chooser, 1) > 5, "YES", "NO")
    rows = [{"price(A)": close} for close in (NAN, 100, 112)]

    evaluation = evaluate(node, panel_of(node, *rows))

    assert evaluation.available.tolist() == [False, False, True]
    assert evaluation.reason(0) == "cumret(G,1) is missing"
    assert evaluation.reason(1) == "cumret(G,1) is missing because price(A) is missing"
    assert evaluation.weights[2, evaluation.symbols.index("YES")] == 1


def test_the_reason_for_a_missing_group_reading_goes_down_to_the_symbol(panel_of):
    chooser = group("G", if_(rsi("R", 2) > 50, "A", "B"))
    node = inverse_volatility(2, chooser)
    rows = [{"rsi(R,2)": value} for value in (60, NAN, 60)]

    evaluation = evaluate(node, panel_of(node, *rows_of(*rows)))

    assert evaluation.reason(1) == "sdret(G,2) is missing"
    assert evaluation.reason(2) == "sdret(G,2) is missing because rsi(R,2) is missing"


def test_a_candidate_group_that_is_undecidable_today_is_left_out_though_its_series_has_a_rank(panel_of):
    moody = group("moody", if_(rsi("R", 2) > 50, "A", "B"))
    node = top(1, moody, "C", by=Indicator.CUMULATIVE_RETURN, window=1)
    rows = [{"rsi(R,2)": value, "return A": 9} for value in (60, 60, NAN)]

    evaluation = evaluate(node, panel_of(node, *rows_of(*rows)))

    assert evaluation.symbols[evaluation.weights[1].argmax()] == "A"
    assert evaluation.symbols[evaluation.weights[2].argmax()] == "C"


def test_a_filter_of_groups_without_any_says_so(held):
    node = top(1, group("G", "A"), by=Indicator.CUMULATIVE_RETURN, window=1)

    assert held(node, {}) == "no candidate has cumret(1) and can be decided: G"


def test_groups_that_always_held_the_same_tie(panel_of):
    first = group("first", first_match((rsi("Q", 2) > 70, "X"), otherwise="B"))
    second = group("second", first_match((rsi("Q", 2) > 70, "Y"), otherwise="B"))
    rows = [{"rsi(Q,2)": 80 if n == 9 else 50, "price(B)": 100 + n * n} for n in range(10)]

    for candidates, chosen in (((first, second), "X"), ((second, first), "Y")):
        node = top(1, *candidates, by=Indicator.RETURN_DEVIATION, window=3)
        evaluation = evaluate(node, panel_of(node, *rows))

        assert evaluation.symbols[evaluation.weights[-1].argmax()] == chosen


def test_readings_that_nobody_computed_are_refused_even_if_unreached(panel_of):
    node = if_(HIGH, "X", if_(LOW, "Y", "Z"))
    whole = panel_of(node, {"rsi(A,10)": 90})
    partial = IndicatorPanel(whole.sessions, whole.readings[:1], whole.table[:, :1].copy())

    with pytest.raises(PermanentError, match=r"rsi\(B,10\)"):
        evaluate(node, partial)


def test_no_session_gives_no_rows(panel_of):
    node = inverse_volatility(14, group("G", top(1, "A", by=Indicator.RSI, window=5)), "B")
    empty = panel_of(node, {}).last(0)

    assert evaluate(node, empty).weights.shape == (0, 2)


def test_unavailable_sessions_hold_nothing_at_all(panel_of):
    node = equal("A", if_(HIGH, "B", "C"))

    evaluation = evaluate(node, panel_of(node, {"rsi(A,10)": NAN}, {}))

    assert np.isnan(evaluation.weights[0]).all()
    assert evaluation.weights[1].tolist() == [0.5, 0, 0.5]
    assert evaluation.available.tolist() == [False, True]
