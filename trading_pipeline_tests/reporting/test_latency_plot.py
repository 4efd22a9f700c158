import math
import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.reporting.latency_plot import latency_plot

ENDS = (0.005, 0.5, 2.5, math.inf)
STEPS = {"sent to acknowledged": (1, 3, 3, 3), "sent to done": (0, 0, 2, 5)}


def drawn(steps=STEPS, title="How long orders took"):
    histograms = {name: dict(zip(ENDS, counts, strict=True)) for name, counts in steps.items()}
    return ET.fromstring(latency_plot(title, histograms))  # noqa: S314 - our own drawing


def elements(root, tag):
    return list(root.iter(f"{{http://www.w3.org/2000/svg}}{tag}"))


def texts(root):
    return [element.text for element in elements(root, "text")]


def titles(root):
    return [element.text for element in elements(root, "title")]


def test_each_bar_says_what_it_counts():
    assert titles(drawn()) == [
        "How long orders took",
        "sent to acknowledged, 5 ms: 1",
        "sent to acknowledged, 500 ms: 2",
        "sent to done, 2.5 s: 2",
        "sent to done, longer: 3",
    ]


def test_each_step_is_named_with_how_many_orders_took_it():
    words = texts(drawn({"sent": (1, 1, 1, 1), "done": (0, 2, 2, 2)}))

    assert [word for word in words if word.endswith(("order", "orders"))] == ["1 order", "2 orders"]
    assert {"sent", "done"} < set(words)
    assert words[-5:] == ["took at most", "5 ms", "500 ms", "2.5 s", "longer"]


def test_the_tallest_bar_is_the_most_frequent():
    bars = [box for group in elements(drawn(), "g") for box in group if box.get("fill") == "#2166ac"]

    heights = [float(box.get("height")) for box in bars]
    assert heights == pytest.approx([32, 64, 64 * 2 / 3, 64])


@pytest.mark.parametrize("steps", [{}, {"nothing": (0, 0, 0, 0)}])
def test_a_plan_without_orders_is_drawn_without_bars(steps):
    assert titles(drawn(steps)) == ["How long orders took"]


@given(st.lists(st.integers(0, 10**6), min_size=4, max_size=4), st.text(max_size=20))
def test_everything_lies_inside_and_any_name_is_text(counts, name):
    cumulative = [sum(counts[: place + 1]) for place in range(4)]
    root = drawn({name: cumulative}, name)

    height = float(root.get("height"))
    for group in (group for group in elements(root, "g") if group.get("transform")):
        left, top = map(float, re.findall(r"[\d.]+", group.get("transform")))
        for box in elements(group, "rect"):
            x, y, wide, tall = (float(box.get(side)) for side in ("x", "y", "width", "height"))
            assert 0 <= left + x < left + x + wide <= 900
            assert 0 <= top + y <= top + y + tall <= height
