"""The drawings of the risk report and of the risk history."""

import math
from datetime import date
from xml.etree import ElementTree as ET

import pytest

from trading_pipeline.reporting.risk_history_plot import RulePanel, RuleStrip, risk_history_plot
from trading_pipeline.reporting.risk_report_plot import FigureBar, FigurePanel, LimitBar, risk_report_plot
from trading_pipeline.reporting.svg import COLOURS

SVG = "{http://www.w3.org/2000/svg}"
SESSIONS = [date(2026, 7, day) for day in (27, 28, 29, 30, 31)]
BARS = [
    LimitBar("leveraged weight: TECL", 0.3, 0.15, 2.0),
    LimitBar("gross leverage: account", 0.5, 1.0, 0.5),
    LimitBar("value at risk: student-t", math.nan, 0.16, math.nan),
]


def report(bars=BARS, panels=()):
    return ET.fromstring(risk_report_plot(SESSIONS[-1], bars, panels))  # noqa: S314 - our own drawing


def history(*panels):
    return ET.fromstring(risk_history_plot(SESSIONS, panels))  # noqa: S314 - our own drawing


def drawn(root, colour):
    return [float(each.get("width")) for each in root.iter(f"{SVG}rect") if each.get("fill") == colour]


def test_a_bar_is_as_long_as_the_share_of_the_limit():
    root = report([LimitBar("a", 0.2, 1.0, 0.2), LimitBar("b", 0.8, 1.0, 0.8)])

    one, other = drawn(root, COLOURS[0])
    assert other == pytest.approx(4 * one, rel=1e-4)


def test_a_broken_limit_is_another_colour_and_unknown_has_no_bar():
    root = report()

    [broken] = drawn(root, "#b2182b")
    assert broken > max(drawn(root, COLOURS[0]))
    assert 0 in drawn(root, COLOURS[0])
    words = list(root.itertext())
    assert "0.3 of 0.15" in words
    assert "not known of 0.16" in words
    assert "Risk after the approved orders of 2026-07-31" in words


def test_figures_that_are_negative_begin_left_of_the_others():
    panel = FigurePanel("component", [FigureBar("TECL", 0.1), FigureBar("SQQQ", -0.05), FigureBar("X", math.nan)])

    root = report(panels=[panel, FigurePanel("nothing", [])])

    bars = [each for each in root.iter(f"{SVG}rect") if each.get("fill") == COLOURS[4]]
    assert float(bars[1].get("x")) + float(bars[1].get("width")) == pytest.approx(float(bars[0].get("x")), abs=1e-2)
    assert float(bars[0].get("width")) == pytest.approx(2 * float(bars[1].get("width")), rel=1e-4)
    words = list(root.itertext())
    assert {"10.00%", "-5.00%", "not known"} <= set(words)
    assert "nothing" not in words


def test_a_report_without_anything_is_a_drawing_too():
    assert report([], []).tag == f"{SVG}svg"


def test_a_tick_stands_for_each_session_on_which_a_rule_acted():
    root = history(RulePanel("tecl", [RuleStrip("POSITION_WEIGHT", "ordinary", [0, 2, 4])], 42))

    [path] = root.iter(f"{SVG}path")
    places = [float(tick.split(",")[0]) for tick in path.get("d").split("M")[1:]]
    assert len(places) == 3
    assert places[1] - places[0] == pytest.approx(places[2] - places[1], abs=0.11)
    words = list(root.itertext())
    assert {"ordinary: POSITION_WEIGHT", "3 of 5", "42 others never acted", "2026-07-27", "2026-07-31"} <= set(words)


def test_each_family_has_a_colour_over_all_panels():
    strips = [RuleStrip("A", "rotation", [1]), RuleStrip("B", "ordinary", [1])]

    root = history(RulePanel("one", strips, 0), RulePanel("two", strips[1:], 0))

    assert [each.get("stroke") for each in root.iter(f"{SVG}path")] == [COLOURS[0], COLOURS[1], COLOURS[1]]


def test_names_are_written_whatever_signs_they_have():
    root = history(RulePanel("a<b>&\x00" + "x" * 90, [], 0))

    assert any(
        words.startswith("a<b>&\ufffd") and words.endswith("\N{HORIZONTAL ELLIPSIS}") for words in root.itertext()
    )
