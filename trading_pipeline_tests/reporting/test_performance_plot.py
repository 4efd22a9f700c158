from datetime import date, timedelta
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.reporting.performance_plot import curve_plot, durations_plot, weights_plot

NAN = float("nan")
DAYS = [date(2026, 7, 1) + timedelta(days=number) for number in range(400)]


def drawn(svg):
    return ET.fromstring(svg)  # noqa: S314 - our own drawing


def elements(root, tag):
    return list(root.iter(f"{{http://www.w3.org/2000/svg}}{tag}"))


def texts(root):
    return [element.text for element in elements(root, "text")]


def curve(values, unit="dollars"):
    return drawn(curve_plot("Equity", DAYS[: len(values)], values, unit))


def test_a_curve_ends_in_a_dot_at_its_last_value_and_names_its_first_and_last_session():
    root = curve([100.0, 110.0, 105.0])
    [dot] = elements(root, "circle")
    [line] = [path for path in elements(root, "path") if path.get("stroke")]

    assert line.get("d").endswith(f"L{float(dot.get('cx')):.1f},{float(dot.get('cy')):.1f}")
    assert texts(root)[-2:] == ["2026-07-01", "2026-07-03"]


def test_a_value_that_is_not_known_breaks_the_line():
    [line] = [path for path in elements(curve([1.0, NAN, 2.0, 3.0]), "path") if path.get("stroke")]

    assert line.get("d").count("M") == 2


@pytest.mark.parametrize("values", [[], [NAN, NAN]])
def test_nothing_known_is_said_in_words(values):
    assert "Nothing to draw yet" in texts(curve(values))
    assert "Nothing to draw yet" in texts(drawn(weights_plot("Weights", [], {})))
    assert "Nothing to draw yet" in texts(drawn(durations_plot("Seconds", {0.1: 0, 1.0: 0})))


def test_an_account_that_never_fell_has_an_axis_below_zero():
    labels = texts(curve([0.0, 0.0], "fraction"))

    assert "0 %" in labels
    assert any(label.startswith("\N{MINUS SIGN}") for label in labels)
    assert "50 %" not in labels


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=30))
def test_every_point_of_a_curve_lies_inside_the_drawing(values):
    root = curve(values)
    [line] = [path for path in elements(root, "path") if path.get("stroke")]

    for point in line.get("d")[1:].replace("M", "L").split("L"):
        x, y = map(float, point.split(","))
        assert 66 <= x <= 468
        assert 51 <= y <= 207


def test_bars_of_weights_are_stacked_from_the_largest_with_cash_at_the_end():
    root = drawn(weights_plot("Weights", DAYS[:2], {"CASH": [0.2, 0.1], "SPY": [0.3, 0.4], "TLT": [0.5, 0.5]}))

    assert [element.text for element in elements(root, "title")] == ["Weights", "TLT", "SPY", "CASH"]
    assert elements(root, "path")[0].get("d").count("M") == 2


def test_many_symbols_end_in_one_band_of_the_others():
    weights = {f"S{number:02d}": [1 / 20] for number in range(20)}
    titles = [element.text for element in elements(drawn(weights_plot("Weights", DAYS[:1], weights)), "title")]

    assert titles == ["Weights", *(f"S{number:02d}" for number in range(9)), "others"]


def test_bars_of_durations_count_what_their_bucket_holds():
    root = drawn(durations_plot("Seconds", {0.1: 3, 1.0: 3, float("inf"): 5}))

    assert [element.text for element in elements(root, "title")] == ["Seconds", "100 ms: 3", "more: 2"]


def test_names_from_outside_are_text():
    svg = weights_plot("<script>", DAYS[:1], {"<script>": [1.0]})

    assert "<script" not in svg
    assert elements(drawn(svg), "title")[1].text == "<script>"
