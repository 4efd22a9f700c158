import math
import re
from datetime import date
from itertools import combinations, pairwise
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings

from trading_pipeline.domain.indicators import Indicator
from trading_pipeline.domain.readings import IndicatorPanel
from trading_pipeline.domain.smoothing import Smoothing
from trading_pipeline.domain.strategies import STRATEGIES
from trading_pipeline.domain.strategies.rationale import explain
from trading_pipeline.domain.strategies.tree import (
    Asset,
    cumret,
    equal,
    group,
    if_,
    inverse_volatility,
    maret,
    readings,
    rsi,
    top,
)
from trading_pipeline.reporting.strategy_drawing import LETTER, WIDTH, strategy_drawing
from trading_pipeline_tests.domain.strategies.test_reference import TREES, markets, panel_of

SVG = "{http://www.w3.org/2000/svg}"
SESSION = date(2026, 7, 31)
LINE = 12


def parsed(drawing):
    return ET.fromstring(drawing)  # noqa: S314 - our own drawing


def drawn(tree, **values):
    """Draw a tree on one session: every reading is 50 unless ``values`` gives one, by the symbol that is read."""
    wanted = readings(tree)
    row = [[values.get(reading.symbol, 50.0) for reading in wanted]]
    return parsed(strategy_drawing(explain(tree, IndicatorPanel((SESSION,), wanted, np.array(row))), "mine"))


def words(root):
    return [element.text for element in root.iter(f"{SVG}text")]


def boxes(root, *styles):
    return [element for element in root.iter(f"{SVG}rect") if element.get("class") in styles]


def spans(element, start="y", length="height"):
    return float(element.get(start)), float(element.get(start)) + float(element.get(length))


def text_box(element):
    """Where a text is, about: from left to right, and its base line."""
    x, width = float(element.get("x")), LETTER * len(element.text)
    left = x - width if "e" in element.get("class", "").split() else x
    return left, left + width, float(element.get("y"))


def assert_nothing_overlaps(root):
    head, *lines = root.iter(f"{SVG}text")
    assert text_box(head)[0] >= 0
    placed = list(map(text_box, lines))
    for (left, right, y), (other_left, other_right, other_y) in combinations(placed, 2):
        assert abs(other_y - y) >= LINE or other_left >= right or left >= other_right
    for left, right, _ in placed:
        assert left >= 0
        assert right <= WIDTH
    stacked = sorted(map(spans, boxes(root, "box", "near", "end")))
    assert all(bottom <= top for (_, bottom), (top, _) in pairwise(stacked))


def test_the_path_is_drawn_with_readings_answers_and_what_was_not_taken():
    root = drawn(if_(rsi("SPY", 10) > 79, "UVXY", if_(rsi("QQQ", 10) < 30, "TQQQ", "BIL")), QQQ=32.0)

    said = words(root)
    assert said[:2] == ["mine, session 2026-07-31", "BIL 100%"]
    for wanted in ("rsi(SPY,10) = 50.00 > 79?", "no, by 29.00", "yes: UVXY", "yes: TQQQ", "hold BIL"):
        assert wanted in said
    assert "Closest call: rsi(QQQ,10) = 32.00 against 30, by 2.00" in said
    assert len(boxes(root, "near")) == 1
    assert len(boxes(root, "box")) == 1
    assert len(boxes(root, "stub")) == 2
    assert_nothing_overlaps(root)


def test_a_ranking_is_drawn_with_a_bar_for_each_reading_on_both_sides_of_zero():
    root = drawn(top(2, "A", "B", "C", "D", by=Indicator.MEAN_RETURN, window=20), A=1.0, B=-0.5, C=math.nan, D=-1.0)

    kept, left = boxes(root, "kept"), boxes(root, "left")
    assert [len(kept), len(left)] == [2, 1]
    assert spans(kept[0], "x", "width")[0] == pytest.approx(spans(kept[1], "x", "width")[1], abs=0.2)
    assert float(kept[0].get("width")) == pytest.approx(2 * float(kept[1].get("width")), abs=0.2)
    assert "left out: maret(C,20) is missing" in words(root)
    assert_nothing_overlaps(root)


def test_a_long_ranking_is_drawn_as_far_as_it_can_be_read():
    root = drawn(top(1, *(f"S{number}" for number in range(300)), by=Indicator.RSI, window=10))

    assert "289 more" in words(root)
    assert len(boxes(root, "kept", "left")) == 11


def test_many_combined_conditions_are_drawn_as_far_as_they_can_be_read():
    condition = rsi("A", 10) > 80
    for number in range(99):
        condition = condition | (rsi(f"S{number}", 10) > 80)

    root = drawn(if_(condition, "X", "Y"))

    assert "89 more" in words(root)
    assert_nothing_overlaps(root)


def test_where_the_path_ends_without_a_decision_is_marked():
    undecided = drawn(if_(rsi("A", 10) > 79, "X", "Y"), A=math.nan)
    nobody = drawn(top(1, "A", "B", by=Indicator.RSI, window=10), A=math.nan, B=math.nan)
    unweighed = drawn(inverse_volatility(14, "A", "B"), A=0.0)

    for root in (undecided, nobody, unweighed):
        assert len(boxes(root, "end")) == 1
        assert words(root)[1].startswith("unavailable, ")
        assert boxes(root, "held") == []


def test_the_holdings_fill_the_last_bar_in_their_proportions():
    *_, first, second = boxes(drawn(inverse_volatility(14, "A", "B"), A=1.0, B=3.0), "held")

    assert float(first.get("width")) / float(second.get("width")) == pytest.approx(3, rel=0.01)


def test_names_from_anywhere_are_escaped_and_cut_to_their_room():
    name = "<script>alert('&')</script>\x00\x1b" + "long " * 100
    text = strategy_drawing(
        explain(group(name, Asset("A")), IndicatorPanel((SESSION,), (), np.empty((1, 0)))), "<b>mine</b>"
    )

    root = parsed(text)
    assert {element.tag for element in root.iter()} <= {
        f"{SVG}{tag}" for tag in ("svg", "title", "style", "rect", "text", "path")
    }
    assert words(root)[0].startswith("<b>mine</b>")
    assert re.search("[\x00-\x08\x0b-\x1f]", text) is None
    assert_nothing_overlaps(root)


def test_combined_conditions_and_blocks_that_return_are_drawn_in_place():
    block = if_(rsi("A", 10) > 79, "UVXY", "BIL")
    condition = ((rsi("A", 10) > 60) & ~(cumret("B", 6) < -12)) | (maret("C", 10) > 0)
    root = drawn(equal(if_(condition, block, "X"), group("again", block)))

    said = words(root)
    for wanted in ("any of:", "all of:", "not:", "50% again", "as above: rsi(A,10) > 79?"):
        assert wanted in said
    assert_nothing_overlaps(root)


def test_a_deep_path_stays_bounded():
    tree = Asset("A")
    for level in range(700):
        tree = if_(rsi("A", 10) > 60 + level / 100, "B", group(f"level {level}", tree))

    root = drawn(tree)

    assert "... 1301 steps more ..." in words(root)
    assert_nothing_overlaps(root)


@settings(deadline=None, max_examples=60)
@given(tree=TREES, market=markets())
def test_every_path_can_be_drawn_and_nothing_overlaps(tree, market):
    rationale = explain(tree, panel_of(market, tree, Smoothing.WILDER))

    assert_nothing_overlaps(parsed(strategy_drawing(rationale, "mine")))


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_drawing_of_a_built_in_strategy_is_small_enough_to_be_kept_for_each_session(name):
    tree = STRATEGIES[name].tree
    wanted = readings(tree)
    sessions = tuple(date(2026, 6, day) for day in range(1, 31))
    table = np.random.default_rng(3).uniform(40, 60, (len(sessions), len(wanted)))

    drawing = strategy_drawing(explain(tree, IndicatorPanel(sessions, wanted, table)), name)

    assert len(drawing) < 16_000
    assert_nothing_overlaps(parsed(drawing))
