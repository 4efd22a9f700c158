import math
import re
from datetime import date, timedelta
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.reporting.sizing_plot import MOST_POINTS, SizingLine, sizing_plot

NAN = math.nan
FIRST = date(2026, 1, 2)
FIGURES = {"growth": 0.25, "largest fall": 0.125}


def line(
    name="strategies", value=(1.0, 1.1, 1.3), volatility=(NAN, 0.2, 0.3), invested=(1.0, 0.5, 1.0), figures=FIGURES
):
    return SizingLine(name, *(np.array(each, dtype=float) for each in (value, volatility, invested)), figures)


def drawn(*lines):
    days = [FIRST + timedelta(days=day) for day in range(len(lines[0].value) if lines else 3)]
    return ET.fromstring(sizing_plot(days, lines))  # noqa: S314 - our own drawing


def elements(root, tag):
    return list(root.iter(f"{{http://www.w3.org/2000/svg}}{tag}"))


def texts(root):
    return [element.text for element in elements(root, "text")]


def paths(root):
    """Of each line of each panel, by its title: its points, and how often it begins."""
    found = {}
    for group in elements(root, "g"):
        titles, drawings = (group.findall(f"{{http://www.w3.org/2000/svg}}{tag}") for tag in ("title", "path"))
        if titles and drawings:
            steps = re.findall(r"([ML])([\d.-]+) ([\d.-]+)", drawings[0].get("d"))
            found[titles[0].text] = [(letter, float(x), float(y)) for letter, x, y in steps]
    return found


def test_it_says_what_is_drawn_and_when():
    words = texts(drawn(line()))

    assert words[:2] == ["Sizing side by side", "3 sessions, 2026-01-02 to 2026-01-04"]
    assert {"Worth", "Volatility", "Invested"} < set(words)
    assert [word for word in words if re.fullmatch(r"2026-..-..", word)] == ["2026-01-02", "2026-01-03", "2026-01-04"]


def test_every_way_of_sizing_has_a_line_in_each_panel_and_its_figures_in_the_key():
    root = drawn(line("strategies"), line("atr caps", figures={"growth": -0.02, "largest fall": NAN}))

    assert set(paths(root)) == {
        f"{panel}, {name}" for panel in ("Worth", "Volatility", "Invested") for name in ("strategies", "atr caps")
    }
    words = texts(root)
    assert words[words.index("strategies") :] == [
        *("strategies", "25.0%", "12.5%"),
        *("atr caps", "\N{MINUS SIGN}2.0%", "\N{EN DASH}"),
    ]
    assert {"growth", "largest fall"} < set(words)


def test_higher_is_worth_more_and_equal_factors_are_equally_far_apart():
    [low, middle, high] = [y for _, _, y in paths(drawn(line(value=(1.0, 2.0, 4.0))))["Worth, strategies"]]

    assert low > middle > high
    assert low - middle == pytest.approx(middle - high, abs=0.11)


def test_where_nothing_is_known_there_is_a_gap():
    values = (0.1, NAN, 0.2, 0.3, NAN)
    found = paths(drawn(line(value=(1, 1, 1, 1, 1), volatility=values, invested=(1, 1, 1, 1, 1))))

    assert [letter for letter, _, _ in found["Volatility, strategies"]] == ["M", "M", "L"]
    assert [letter for letter, _, _ in found["Worth, strategies"]] == ["M", "L", "L", "L", "L"]


def test_ticks_reach_around_all_values():
    root = drawn(line(value=(0.5, 1.0, 90.0)))

    ticks = [float(word) for word in texts(root) if re.fullmatch(r"\d+(\.\d+)?", word)]
    assert min(ticks) <= 0.5
    assert max(ticks) >= 90
    assert 2 <= len(ticks) <= 6


def test_a_factor_is_not_written_as_thousands_of_percent():
    assert "60.5\N{MULTIPLICATION SIGN}" in texts(drawn(line(figures={"turnover": 60.5})))


def test_a_long_history_is_thinned_out_and_keeps_its_ends():
    count = 5000
    worth = np.exp(np.linspace(0, 1, count))
    found = paths(drawn(line(value=worth, volatility=worth, invested=np.ones(count))))["Worth, strategies"]

    assert len(found) == MOST_POINTS
    assert found[0][1] == 64.0
    assert found[-1][1] == 852.0


@pytest.mark.parametrize("value", [(1.0, 1.0, 1.0), (NAN, NAN, NAN), (1e-9, 1.0, 1e9), (1.0, 0.0, 1.0)])
def test_flat_missing_and_wild_values_are_drawn_too(value):
    found = paths(drawn(line(value=value, volatility=(0, 0, 0), invested=(0, 0, 0))))

    for points in found.values():
        assert all(0 <= y <= 190 for _, _, y in points)


def test_one_session_is_a_point():
    assert len(paths(drawn(line(value=(1.0,), volatility=(NAN,), invested=(1.0,))))["Worth, strategies"]) == 1


def test_no_way_of_sizing_is_an_empty_drawing():
    assert not paths(drawn())


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "R&D", "\"'", "]]>"])
def test_names_are_text_and_never_markup(name):
    days = [FIRST + timedelta(days=day) for day in range(3)]
    svg = sizing_plot(days, [line(name)])

    assert "<script" not in svg
    titles = [element.text for element in elements(ET.fromstring(svg), "title")]  # noqa: S314 - our own drawing
    assert f"Worth, {name}" in titles


def test_lines_differ_in_colour_or_dash():
    root = drawn(*[line(f"way {place}") for place in range(9)])

    strokes = [(path.get("stroke"), path.get("stroke-dasharray")) for path in elements(root, "path")]
    assert len(set(strokes[:9])) == 9


numbers = st.one_of(st.floats(1e-6, 1e6), st.just(NAN))


@given(st.lists(st.tuples(numbers, numbers, st.floats(0, 1)), min_size=1, max_size=8))
def test_all_lines_lie_inside_the_drawing(rows):
    value, volatility, invested = zip(*rows, strict=True)
    root = drawn(line(value=value, volatility=volatility, invested=invested))

    assert root.get("width") == "900"
    for points in paths(root).values():
        assert all(64 <= x <= 852 and 0 <= y <= 190 for _, x, y in points)
