import math
import re
from datetime import date, timedelta
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.reporting.tail_backtest_plot import ModelLine, StrategyPanel, tail_backtest_plot

NAN = math.nan
SESSIONS = [date(2026, 3, 2) + timedelta(days=day) for day in range(6)]
LOSSES = np.array([0.01, -0.02, 0.05, NAN, 0.03, 0.0])
FLAT = np.full(6, 0.025)


def line(name="normal", figures=FLAT, expected=0.06, p_value=0.0123, zone="red"):
    return ModelLine(name, np.asarray(figures), expected, p_value, zone)


def drawn(*panels, confidence=0.99):
    given_panels = panels or (StrategyPanel("tecl", LOSSES, [line()]),)
    return ET.fromstring(tail_backtest_plot(SESSIONS, given_panels, confidence))  # noqa: S314 - our own drawing


def elements(root, tag):
    return list(root.iter(f"{{http://www.w3.org/2000/svg}}{tag}"))


def texts(root):
    return [element.text for element in elements(root, "text")]


def ticks(root):
    """Left edges of the ticks by colour; only they are two pixels wide."""
    found = {}
    for box in elements(root, "rect"):
        if box.get("width") == "2":
            found.setdefault(box.get("fill"), []).append(float(box.get("x")))
    return found


def test_it_says_what_is_drawn_and_of_when():
    words = texts(drawn())

    assert words[:2] == [
        "Value at risk at 0.99 against the losses that came",
        "2026-03-02 to 2026-03-07; a tick is a session that lost more than the model said",
    ]
    assert "tecl" in words
    assert words[-3:] == ["2026-03-02", "2026-03-05", "2026-03-07"]


def test_each_model_has_its_verdict_in_words():
    words = texts(drawn(StrategyPanel("tecl", LOSSES, [line(), line("student-t", FLAT * 4, 0.05, NAN, "unknown")])))

    assert "2 of 0.1 expected, p 0.012, red" in words
    assert "0 of 0.1 expected, p \N{EN DASH}, unknown" in words
    assert words.count("normal") == words.count("student-t") == 1


def test_each_exception_has_a_tick_and_what_is_missing_has_none():
    figures = np.array([0.02, 0.02, 0.02, 0.02, NAN, -0.1])

    [places] = ticks(drawn(StrategyPanel("tecl", LOSSES, [line(figures=figures)]))).values()

    # Of six sessions in the room that a panel has, the third and the last.
    assert places == pytest.approx([168 + (place + 0.5) * (900 - 48 - 168 - 210) / 6 - 1 for place in (2, 5)], abs=0.01)


def test_models_are_told_apart_by_colour_and_a_line_breaks_where_nothing_was_said():
    figures = [0.02, 0.02, NAN, 0.03, NAN, 0.02]
    root = drawn(StrategyPanel("tecl", LOSSES, [line(figures=figures), line("student-t")]))

    lines = [path for path in elements(root, "path") if path.find("{http://www.w3.org/2000/svg}title") is not None]

    assert [path.find("{http://www.w3.org/2000/svg}title").text for path in lines] == ["normal", "student-t"]
    assert len({path.get("stroke") for path in lines}) == 2
    assert re.sub(r"[^ML]", "", lines[0].get("d")) == "MLMM"
    assert re.sub(r"[^ML]", "", lines[1].get("d")) == "MLLLLL"


def test_every_loss_has_its_bar_and_gains_have_none():
    losses = elements(drawn(), "path")[0].get("d")

    assert losses.count("M") == losses.count("V") == 3


def test_the_greatest_loss_or_figure_reaches_the_top():
    words = texts(drawn(StrategyPanel("tecl", LOSSES, [line(figures=FLAT * 4)])))

    assert [word for word in words if word.endswith("%")] == ["0.0%", "5.0%", "10.0%"]


def test_panels_lie_below_each_other_without_overlap():
    one, two = StrategyPanel("klm", LOSSES, [line()]), StrategyPanel("tecl", LOSSES, [line(), line(), line()])
    tops = [
        float(re.search(r",(\d+)\)", group.get("transform")).group(1)) for group in elements(drawn(one, two, one), "g")
    ]

    assert tops == [76, 76 + 226, 76 + 226 + 266]
    assert float(drawn(one, two, one).get("height")) == 76 + 226 + 266 + 226 + 36


@pytest.mark.parametrize("losses", [np.full(6, NAN), np.zeros(6), np.full(6, -0.01)])
def test_without_losses_it_is_drawn_too(losses):
    root = drawn(StrategyPanel("tecl", losses, [line(figures=np.full(6, NAN))]))

    assert not ticks(root)
    assert len(elements(root, "path")) == 2


@given(st.text(max_size=90))
def test_any_name_is_only_a_text_of_the_drawing(name):
    root = drawn(StrategyPanel(name, LOSSES, [line(name[:20])]))

    assert {element.tag.split("}")[1] for element in root.iter()} == {"svg", "title", "rect", "text", "g", "path"}
    shown = elements(root, "g")[0].find("{http://www.w3.org/2000/svg}text").text or ""
    assert len(shown) == min(len(name), 60)
    assert all(there in (sign, "\ufffd") for there, sign in zip(shown[:59], name, strict=False))


def test_nothing_comes_from_elsewhere():
    svg = tail_backtest_plot(SESSIONS, [StrategyPanel('<script src="x"/>', LOSSES, [line()])], 0.99)

    assert not re.search(r"<script|<style|<image|href|url\(", svg)
    assert "&lt;script" in svg
