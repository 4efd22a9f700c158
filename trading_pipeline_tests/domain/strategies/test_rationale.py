import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.indicators import Indicator
from trading_pipeline.domain.smoothing import Smoothing
from trading_pipeline.domain.strategies.evaluation import evaluate
from trading_pipeline.domain.strategies.nuclear import NUCLEAR
from trading_pipeline.domain.strategies.rationale import (
    Combined,
    Connective,
    FilterRanked,
    Gap,
    GroupEntered,
    Held,
    IfTaken,
    InverseVolatilityWeighted,
    Split,
    Standing,
    Term,
    decisive,
    explain,
)
from trading_pipeline.domain.strategies.tree import (
    Asset,
    End,
    bottom,
    cumret,
    equal,
    group,
    if_,
    inverse_volatility,
    maret,
    price,
    rsi,
    sma,
    specified,
    top,
)
from trading_pipeline_tests.domain.strategies.test_reference import TREES, markets
from trading_pipeline_tests.domain.strategies.test_reference import panel_of as panel_of_market

pytestmark = pytest.mark.unmeasured


@pytest.fixture
def explained(panel_of):
    """Explain stated readings on one session."""

    def of(node, readings=None):
        return explain(node, panel_of(node, readings or {}))

    return of


def kinds(rationale):
    return [type(step) for step in rationale.steps]


def only(rationale, kind):
    [step] = [step for step in rationale.steps if isinstance(step, kind)]
    return step


@settings(deadline=None, max_examples=150)
@given(tree=TREES, market=markets(), smoothing=st.sampled_from(Smoothing), data=st.data())
def test_the_path_holds_what_the_evaluation_holds_and_ends_where_that_is_unavailable(tree, market, smoothing, data):
    panel = panel_of_market(market, tree, smoothing)
    row = data.draw(st.integers(0, len(panel.sessions) - 1))

    rationale = explain(tree, panel, row, smoothing)

    evaluation = evaluate(tree, panel, smoothing)
    assert rationale.session == panel.sessions[row]
    assert rationale.reason == evaluation.reason(row)
    held = [rationale.weights.get(symbol, 0.0) for symbol in evaluation.symbols]
    if rationale.reason is None:
        np.testing.assert_allclose(held, evaluation.weights[row], rtol=0, atol=1e-9)
    else:
        assert rationale.weights == {}


@settings(deadline=None, max_examples=150)
@given(tree=TREES, market=markets(), smoothing=st.sampled_from(Smoothing))
def test_shares_flow_from_the_root_to_what_is_held_and_nothing_is_lost(tree, market, smoothing):
    rationale = explain(tree, panel_of_market(market, tree, smoothing), smoothing=smoothing)

    arrived = [1.0] + [0.0] * (len(rationale.steps) - 1)
    for place, step in enumerate(rationale.steps):
        assert step.share == pytest.approx(arrived[place], abs=1e-12)
        assert all(branch.step > place for branch in step.branches)
        if step.branches:
            assert math.fsum(branch.weight for branch in step.branches) == pytest.approx(1)
        for branch in step.branches:
            arrived[branch.step] += step.share * branch.weight


@settings(deadline=None, max_examples=150)
@given(tree=TREES, market=markets())
def test_a_filter_leads_to_those_that_it_says_it_kept_in_their_order(tree, market):
    rationale = explain(tree, panel_of_market(market, tree, Smoothing.WILDER))

    for step in rationale.steps:
        if isinstance(step, FilterRanked):
            kept = [entry.candidate for entry in step.candidates if entry.standing is Standing.KEPT]
            led_to = [rationale.steps[branch.step] for branch in step.branches]
            assert [to.symbol if isinstance(to, Held) else to.name for to in led_to] == kept
            ranked = [entry for entry in step.candidates if entry.place is not None]
            assert [entry.place for entry in ranked] == list(range(1, len(ranked) + 1))
            assert step.candidates[: len(ranked)] == tuple(ranked)
            assert all(not math.isnan(entry.term.value) for entry in ranked)
            readings = [entry.term.value for entry in ranked]
            assert readings == sorted(readings, reverse=step.end is End.TOP)


def test_tests_are_named_with_readings_threshold_distance_and_outcome(explained):
    rationale = explained(if_(price("SPY") > sma("SPY", 200), "SPY", "BIL"), {"price(SPY)": 106})

    step = only(rationale, IfTaken)
    assert str(step.tested) == "price(SPY) > sma(SPY,200)"
    assert (step.tested.gap.left.value, step.tested.gap.right.value) == (106, 100)
    assert (step.tested.truth, step.not_taken) == (True, Asset("BIL"))
    assert step.tested.gap.distance == 6
    assert step.tested.gap.closeness == pytest.approx(6 / 106)
    assert rationale.weights == {"SPY": 1.0}


def test_equality_goes_to_the_other_side_and_is_as_close_as_can_be(explained):
    rationale = explained(if_(rsi("SPY", 10) > 79, "UVXY", "BIL"), {"rsi(SPY,10)": 79 + 1e-12})

    assert rationale.weights == {"BIL": 1.0}
    assert only(rationale, IfTaken).tested.gap.is_nothing
    assert rationale.closest.gap.closeness == 0


@pytest.mark.parametrize(
    ("left", "right", "closeness"),
    [
        (rsi("A", 10), 79.0, 0.09),
        (cumret("A", 60), 0.0, 0.7),
        (maret("A", 20), 0.0, 14.0),
        (price("A"), 100.0, 0.3),
    ],
)
def test_gaps_of_different_units_are_compared_as_fractions(left, right, closeness):
    gap = Gap(Term("", 70.0, left), Term("", right))

    assert gap.closeness == pytest.approx(closeness)


def test_a_missing_reading_ends_the_path_with_the_reason_of_the_evaluation(explained):
    rationale = explained(NUCLEAR, {"rsi(SPY,10)": math.nan})

    assert kinds(rationale) == [IfTaken]
    assert rationale.steps[0].tested.truth is None
    assert rationale.steps[0].not_taken is None
    assert (rationale.reason, rationale.weights) == ("rsi(SPY,10) is missing", {})
    assert rationale.closest is None


def test_a_side_that_cannot_be_decided_makes_all_unavailable_and_the_rest_is_still_shown(explained):
    rationale = explained(equal("A", if_(rsi("B", 10) > 50, "C", "D")), {"rsi(B,10)": math.nan})

    assert rationale.reason == "rsi(B,10) is missing"
    assert rationale.weights == {}
    assert [step.symbol for step in rationale.steps if isinstance(step, Held)] == ["A"]


def test_a_ranking_names_who_was_kept_outranked_and_left_out(explained):
    tree = top(2, "A", "B", "C", "D", by=Indicator.RSI, window=10)

    rationale = explained(tree, {"rsi(A,10)": 60, "rsi(B,10)": math.nan, "rsi(C,10)": 70, "rsi(D,10)": 59})

    step = only(rationale, FilterRanked)
    assert [(entry.candidate, entry.place, entry.standing) for entry in step.candidates] == [
        ("C", 1, Standing.KEPT),
        ("A", 2, Standing.KEPT),
        ("D", 3, Standing.OUTRANKED),
        ("B", None, Standing.MISSING),
    ]
    assert step.candidates[-1].reason == "rsi(B,10) is missing"
    assert (step.gap.left.name, step.gap.right.name, step.gap.distance) == ("rsi(A,10)", "rsi(D,10)", 1)
    assert rationale.weights == {"A": 0.5, "C": 0.5}


def test_among_equals_the_one_listed_first_is_placed_first(explained):
    step = only(explained(bottom(1, "A", "B", "C", by=Indicator.RSI, window=10)), FilterRanked)

    assert [(entry.candidate, entry.place) for entry in step.candidates] == [("A", 1), ("B", 2), ("C", 3)]
    assert [entry.candidate for entry in step.candidates if entry.standing is Standing.KEPT] == ["A"]
    assert step.gap.is_nothing


def test_the_gap_of_a_ranking_is_to_the_first_that_would_hold_something_else(stated):
    tree = top(1, group("one", "A"), group("same", "A"), group("other", "B"), by=Indicator.PRICE, window=1)

    rationale = explain(tree, stated(tree, {"price(A)": (1, 2), "price(B)": (3, 4)}))

    assert (rationale.closest.gap.left.name, rationale.closest.gap.right.name) == ("price(one)", "price(other)")


def test_a_filter_without_anyone_to_keep_ends_the_path(explained):
    rationale = explained(
        top(1, "A", "B", by=Indicator.RSI, window=10), dict.fromkeys(["rsi(A,10)", "rsi(B,10)"], math.nan)
    )

    assert only(rationale, FilterRanked).branches == ()
    assert only(rationale, FilterRanked).gap is None
    assert rationale.reason == "no candidate has rsi(10): A, B"


def test_a_group_that_cannot_be_decided_is_left_out_with_what_it_lacks(stated):
    tree = top(
        1,
        group("gated", if_(rsi("V", 10) > 60, "A", "B")),
        group("plain", "B"),
        by=Indicator.RETURN_DEVIATION,
        window=3,
    )

    rationale = explain(tree, stated(tree, {"price(B)": (100, 101)}, today={"rsi(V,10)": math.nan}))

    [plain, gated] = only(rationale, FilterRanked).candidates
    assert (plain.candidate, plain.standing) == ("plain", Standing.KEPT)
    assert (gated.candidate, gated.standing, gated.reason) == (
        "gated",
        Standing.UNDECIDABLE,
        "rsi(V,10) is missing",
    )
    assert not math.isnan(gated.term.value), "its series has a value all the same"
    assert rationale.weights == {"B": 1.0}


def test_a_group_without_a_series_long_enough_is_left_out_as_missing(stated):
    tree = top(1, group("late", "A"), group("plain", "B"), by=Indicator.RETURN_DEVIATION, window=3)

    rationale = explain(tree, stated(tree, {"price(B)": (100, 101)}, today={"price(A)": math.nan}))

    late = only(rationale, FilterRanked).candidates[-1]
    assert (late.standing, late.place) == (Standing.MISSING, None)
    assert late.reason == "sdret(late,3) is missing because price(A) is missing"


def test_inverse_volatility_shows_deviations_and_fractions(explained):
    rationale = explained(inverse_volatility(14, "A", "B"), {"sdret(A,14)": 1, "sdret(B,14)": 3})

    step = only(rationale, InverseVolatilityWeighted)
    assert [(child.child, child.deviation.value, child.weight) for child in step.children] == [
        ("A", 1, 0.75),
        ("B", 3, 0.25),
    ]
    assert rationale.weights == {"A": 0.75, "B": 0.25}


@pytest.mark.parametrize(("deviation", "reason"), [(0, "is zero"), (math.nan, "is missing")])
def test_inverse_volatility_that_cannot_be_weighed_ends_the_path(explained, deviation, reason):
    rationale = explained(inverse_volatility(14, "A", "B"), {"sdret(B,14)": deviation})

    assert all(math.isnan(child.weight) for child in only(rationale, InverseVolatilityWeighted).children)
    assert rationale.reason == f"sdret(B,14) {reason}"


def test_splits_and_groups_are_steps_of_their_own(explained):
    rationale = explained(group("all", specified((0.75, "A"), (0.25, equal("A", "B")), (0.0, "C"))))

    assert kinds(rationale) == [GroupEntered, Split, Split, Held, Held]
    assert rationale.weights == {"A": 0.875, "B": 0.125}


def test_a_shared_subtree_is_one_step_however_many_ways_lead_to_it(explained):
    tree = Asset("A")
    for level in range(60):
        tree = equal(group(f"left {level}", tree), group(f"right {level}", tree))

    rationale = explained(tree)

    assert len(rationale.steps) == 3 * 60 + 1
    assert rationale.weights == {"A": 1.0}


def test_a_tree_may_be_as_deep_as_it_likes(explained):
    tree = Asset("A")
    for level in range(5000):
        tree = group(str(level), tree)

    assert len(explained(tree).steps) == 5001


HIGH, LOW = rsi("A", 10), rsi("B", 10)


@pytest.mark.parametrize(
    ("condition", "truth", "deciding"),
    [
        ((HIGH > 60) & (LOW < 40), True, "rsi(A,10) > 60"),
        ((HIGH > 80) & (LOW > 40), False, "rsi(A,10) > 80"),
        ((HIGH > 50) & (LOW > 40), False, "rsi(B,10) > 40"),
        ((HIGH > 60) | (LOW < 40), True, "rsi(B,10) < 40"),
        ((HIGH > 80) | (LOW > 40), False, "rsi(B,10) > 40"),
        (~((HIGH > 80) | (LOW > 99)), True, "rsi(A,10) > 80"),
    ],
)
def test_the_deciding_comparison_is_the_one_that_would_have_to_change(explained, condition, truth, deciding):
    rationale = explained(if_(condition, "X", "Y"), {"rsi(A,10)": 65, "rsi(B,10)": 31})

    tested = only(rationale, IfTaken).tested
    assert tested.truth is truth
    assert str(decisive(tested)) == deciding


def test_a_chain_of_one_connective_is_one_test_of_many_parts(explained):
    condition = (HIGH > 80) | (LOW > 80) | (HIGH < 20)
    for _ in range(200):
        condition = condition | (LOW < 20)

    tested = only(explained(if_(condition, "X", "Y")), IfTaken).tested

    assert (tested.connective, tested.truth, len(tested.parts)) == (Connective.OR, False, 203)
    assert [str(part) for part in tested.parts[:3]] == ["rsi(A,10) > 80", "rsi(B,10) > 80", "rsi(A,10) < 20"]


def test_kleene_decides_in_spite_of_a_missing_side(explained):
    tree = if_((HIGH > 60) | (LOW < 40), "X", "Y")

    decided = only(explained(tree, {"rsi(A,10)": 65, "rsi(B,10)": math.nan}), IfTaken).tested
    undecided = only(explained(tree, {"rsi(A,10)": 55, "rsi(B,10)": math.nan}), IfTaken).tested

    assert isinstance(decided, Combined)
    assert (decided.connective, [part.truth for part in decided.parts]) == (Connective.OR, [True, None])
    assert str(decisive(decided)) == "rsi(A,10) > 60"
    assert decisive(undecided) is None


def test_the_closest_call_may_be_a_ranking(explained):
    tree = if_(rsi("A", 10) > 79, "A", top(1, "A", "B", by=Indicator.RSI, window=10))

    rationale = explained(tree, {"rsi(A,10)": 60, "rsi(B,10)": 59.5})

    assert isinstance(rationale.steps[rationale.closest.step], FilterRanked)
    assert rationale.closest.gap.distance == pytest.approx(0.5)


def test_any_session_of_the_panel_can_be_asked_for_and_no_other(panel_of):
    tree = if_(rsi("A", 10) > 50, "X", "Y")
    panel = panel_of(tree, {"rsi(A,10)": 40}, {"rsi(A,10)": 60})

    assert [dict(explain(tree, panel, row).weights) for row in (0, 1, -2)] == [{"Y": 1}, {"X": 1}, {"Y": 1}]
    for row in (2, -3):
        with pytest.raises(InvalidInput, match=f"row {row} .* panel of 2 sessions"):
            explain(tree, panel, row)
