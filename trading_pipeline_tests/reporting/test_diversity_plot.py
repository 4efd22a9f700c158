import itertools
import math
import re
from datetime import date
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.reporting.diversity_plot import diversity_plot

NAN = math.nan
RETURNS = np.array([[1, 0.25], [0.25, 1]])
SIGNALS = np.array([[1, -0.5], [-0.5, 1]])
OVERLAP = np.array([[1, 0.125], [0.125, 1]])
PERIOD = date(2020, 1, 2), date(2026, 6, 30)
TITLES = ["Returns", "Signals", "Holdings"]


def drawn(names=("nuclear", "tecl"), *matrices, number=1.88, period=PERIOD):
    svg = diversity_plot(names, *(matrices or (RETURNS, SIGNALS, OVERLAP)), number, period)
    return ET.fromstring(svg)  # noqa: S314 - our own drawing


def elements(root, tag):
    return list(root.iter(f"{{http://www.w3.org/2000/svg}}{tag}"))


def texts(root):
    return [element.text for element in elements(root, "text")]


def luminance(colour):
    """Return the relative luminance that WCAG 2 defines for a colour such as #ff0000."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_it_says_how_many_strategies_there_effectively_are_and_when():
    words = texts(drawn())

    assert words[:2] == [
        "Effective number of strategies: 1.88 of 2",
        "How different the strategies were, 2020-01-02 to 2026-06-30",
    ]


def test_each_heatmap_has_its_title_its_labels_and_its_numbers():
    words = texts(drawn())

    assert [word for word in words if word in TITLES] == TITLES
    assert words.count("nuclear") == words.count("tecl") == 6
    assert [word for word in words if re.fullmatch(r"\N{MINUS SIGN}?\d\.\d\d", word)] == [
        *("1.00", "0.25", "0.25", "1.00"),
        *("1.00", "\N{MINUS SIGN}0.50", "\N{MINUS SIGN}0.50", "1.00"),
        *("1.00", "0.12", "0.12", "1.00"),
    ]


def test_every_cell_says_whose_it_is():
    titles = [element.text for element in elements(drawn(), "title")]

    assert "Signals, nuclear and tecl: \N{MINUS SIGN}0.50" in titles
    assert len(titles) == 1 + 12


def test_what_is_undefined_is_a_dash_and_those_left_out_are_counted():
    returns = np.array([[1, NAN], [NAN, NAN]])

    words = texts(drawn(("a", "b"), returns, SIGNALS, OVERLAP, number=1.0))

    assert words[0] == "Effective number of strategies: 1.00 of 1 (1 left out)"
    assert words.count("\N{EN DASH}") == 3


def test_an_account_without_sessions_is_drawn_too():
    nothing = np.full((1, 1), NAN)

    words = texts(drawn(("absent",), nothing, nothing, nothing, number=NAN, period=None))

    assert words[:2] == [
        "Effective number of strategies: undefined (1 left out)",
        "No strategy was available on any session",
    ]


def test_a_correlation_that_rounds_to_nothing_has_no_sign():
    tiny = np.array([[1, -1e-6], [-1e-6, 1]])

    assert "\N{MINUS SIGN}0.00" not in texts(drawn(("a", "b"), tiny, tiny, tiny))


def test_opposites_are_blue_and_likeness_is_red():
    fills = [box.get("fill") for box in elements(drawn(("a", "b"), RETURNS, -np.ones((2, 2)), OVERLAP), "rect")]

    red, blue = "#b2182b", "#2166ac"
    assert fills.count(red) == 4
    assert fills.count(blue) == 4


def test_long_names_are_shortened_where_they_label_and_whole_where_they_explain():
    name = "a strategy with a name of many words"
    root = drawn((name, "tecl"))

    assert name not in texts(root)
    assert texts(root).count("a strategy wi\N{HORIZONTAL ELLIPSIS}") == 6
    assert f"Returns, {name} and tecl: 0.25" in [element.text for element in elements(root, "title")]


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "R&D", "\"'", "]]>"])
def test_names_are_text_and_never_markup(name):
    svg = diversity_plot((name, "tecl"), RETURNS, SIGNALS, OVERLAP, 1.88, PERIOD)

    assert "<script" not in svg
    titles = [element.text for element in elements(ET.fromstring(svg), "title")]  # noqa: S314 - our own drawing
    assert f"Holdings, {name} and tecl: 0.12" in titles


@given(st.lists(st.text(max_size=20), min_size=1, max_size=4))
def test_any_name_makes_a_well_formed_drawing(names):
    square = np.eye(len(names))

    assert drawn(names, square, square, square).get("width") == "900"


@pytest.mark.parametrize("count", [1, 2, 3, 8, 30])
def test_all_cells_lie_inside_the_drawing_and_beside_each_other(count):
    square = np.eye(count)
    root = drawn([f"strategy {place}" for place in range(count)], square, square, square)

    width, height = float(root.get("width")), float(root.get("height"))
    panels = [group for group in elements(root, "g") if group.get("transform")]
    edges = []
    for panel in panels:
        left, top = map(float, re.findall(r"[\d.]+", panel.get("transform")))
        boxes = [[float(box.get(side)) for side in ("x", "y", "width", "height")] for box in elements(panel, "rect")]
        edges.append((left, left + max(x + wide for x, _, wide, _ in boxes)))
        assert top + max(y + tall for _, y, _, tall in boxes) < height
    assert len(panels) == 3
    assert edges[-1][1] < width
    assert all(before[1] < after[0] for before, after in itertools.pairwise(edges))


@given(st.floats(-1, 1))
def test_numbers_can_be_read_on_any_colour(value):
    square = np.full((1, 1), value)
    root = drawn(("a",), square, square, square)

    cell = elements(elements(root, "g")[0], "g")[1]
    box, number = elements(cell, "rect")[0], elements(cell, "text")[0]
    bright, dark = sorted((luminance(box.get("fill")), luminance(number.get("fill"))), reverse=True)
    assert (bright + 0.05) / (dark + 0.05) > 4.5
