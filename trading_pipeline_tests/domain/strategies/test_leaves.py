"""The measure of what cases reach, measured itself."""

import pytest

from trading_pipeline.domain.indicators import Indicator
from trading_pipeline.domain.strategies.tree import equal, first_match, group, if_, inverse_volatility, price, rsi, top
from trading_pipeline_tests.domain.strategies.leaves import leaves

HIGH = rsi("A", 10) > 70


def test_the_way_to_a_leaf_names_every_side_taken():
    node = if_(HIGH, equal("X", "Y"), if_(rsi("A", 10) < rsi("B", 10), "Z", "X"))

    assert list(map(" / ".join, leaves(node))) == [
        "rsi(A,10) > 70 / part 1 / X",
        "rsi(A,10) > 70 / part 2 / Y",
        "not rsi(A,10) > 70 / rsi(A,10) < rsi(B,10) / Z",
        "not rsi(A,10) > 70 / not rsi(A,10) < rsi(B,10) / X",
    ]


@pytest.mark.parametrize(
    ("outer", "inner", "possible"),
    [
        (HIGH, HIGH, "XZ"),
        (HIGH, rsi("A", 10) > 80, "XYZ"),
        (HIGH, rsi("A", 10) < 60, "YZ"),
        (HIGH, rsi("A", 10) <= 70, "YZ"),
        (rsi("A", 10) >= 70, rsi("A", 10) <= 70, "XYZ"),
        (HIGH, rsi("A", 11) < 60, "XYZ"),
        (HIGH | (rsi("B", 10) > 70), HIGH, "XYZ"),
        (HIGH & (rsi("B", 10) > 70), HIGH, "XZ"),
        (~HIGH, HIGH, "YZ"),
        (price("A") > price("B"), price("A") < price("B"), "YZ"),
        (price("A") >= price("B"), price("A") <= price("B"), "XYZ"),
        (price("A") > price("B"), price("A") < price("C"), "XYZ"),
    ],
)
def test_what_no_readings_lead_to_is_left_out(outer, inner, possible):
    assert {way[-1] for way in leaves(if_(outer, if_(inner, "X", "Y"), "Z"))} == set(possible)


def test_a_side_that_needs_all_of_an_or_to_be_false_knows_so():
    node = if_(HIGH | (rsi("B", 10) > 70), "X", if_(HIGH, "Y", "Z"))

    assert {way[-1] for way in leaves(node)} == {"X", "Z"}


def test_a_group_that_always_ties_with_an_earlier_one_cannot_be_kept():
    twins = [group(name, if_(HIGH, "X", "Y")) for name in ("one", "two", "three")]

    kept = {way[-1] for way in leaves(top(2, *twins, by=Indicator.RSI, window=10)) if way[0] == "top 2"}

    assert kept == {"one", "two"}


def test_what_no_case_reaches_is_named(missed_leaves):
    view = group("view", if_(rsi("B", 10) > 60, "Q", "R"))
    node = first_match(
        (HIGH, top(1, "X", "Y", by=Indicator.RSI, window=5)),
        (rsi("C", 10) < 30, inverse_volatility(5, view, "Z")),
        otherwise="Z",
    )

    assert missed_leaves(node, [(node, {}), (node, {"rsi(A,10)": 71}), (view, {"rsi(B,10)": 61})]) == [
        "rsi(A,10) > 70 / top 1 / Y",
        "not rsi(A,10) > 70 / rsi(C,10) < 30 / part 1 / view",
        "view / not rsi(B,10) > 60 / R",
        "not rsi(A,10) > 70 / rsi(C,10) < 30 / part 2 / Z",
    ]
    missing = {"rsi(A,10)": float("nan")}
    assert len(missed_leaves(node, [(node, missing)])) == 7
