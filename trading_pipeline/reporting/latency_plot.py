"""How long orders took, as one picture: a histogram for each step, on one axis of seconds.

The drawing is one SVG without scripts, style sheets, fonts or pictures from
elsewhere.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from xml.etree import ElementTree as ET

from trading_pipeline.reporting.svg import FAINT, Attributes, add, document, text

WIDTH = 900
MARGIN = 24
LABELS = 150
BAR_ROOM = 64
PANEL = 112
HEADER = 52
FOOTER = 40
BAR = "#2166ac"
MILLISECONDS = 1000


def latency_plot(title: str, histograms: Mapping[str, Mapping[float, int]]) -> str:
    """Return the drawing as SVG text, 900 pixels wide.

    Args:
        title: The heading, any text.
        histograms: For each step, by its name, how many took at most so many seconds: cumulative counts by the ends of
            the buckets, ascending, the last of them infinite. All have the same ends.
    """
    height = HEADER + PANEL * len(histograms) + FOOTER
    root = document(WIDTH, height, title, MARGIN)
    for place, (name, cumulative) in enumerate(histograms.items()):
        panel = add(root, "g", {"transform": f"translate({MARGIN},{HEADER + place * PANEL})"})
        _draw_panel(panel, name, cumulative)
    ends = list(next(iter(histograms.values()), ()))
    _draw_axis(add(root, "g", {"transform": f"translate({MARGIN},{height - FOOTER})"}), ends)
    return ET.tostring(root, encoding="unicode")


def _draw_panel(into: ET.Element, name: str, cumulative: Mapping[float, int]) -> None:
    counts = [later - before for before, later in pairwise([0, *cumulative.values()])]
    total, most, slot = sum(counts), max(counts, default=0), _slot(len(counts))
    text(into, 0, PANEL - 30, name, size=13, weight="bold")
    text(into, 0, PANEL - 12, f"{total} order{'' if total == 1 else 's'}", size=12, fill=FAINT)
    for place, (end, count) in enumerate(zip(cumulative, counts, strict=True)):
        if count:
            tall, left = BAR_ROOM * count / most, LABELS + place * slot
            box: Attributes = {"x": left + 2, "y": PANEL - 12 - tall, "width": slot - 4, "height": tall, "fill": BAR}
            bar = add(into, "g", {})
            add(bar, "title", {}, f"{name}, {_seconds(end)}: {count}")
            add(bar, "rect", box)
            text(bar, left + slot / 2, PANEL - 16 - tall, str(count), size=11, anchor="middle")
    add(into, "rect", {"x": LABELS, "y": PANEL - 12, "width": _room(), "height": 1, "fill": FAINT})


def _draw_axis(into: ET.Element, ends: Sequence[float]) -> None:
    text(into, 0, 10, "took at most", size=12, fill=FAINT)
    for place, end in enumerate(ends):
        middle = LABELS + (place + 0.5) * _slot(len(ends))
        text(into, middle, 10, _seconds(end), size=11, anchor="middle")


def _room() -> float:
    return WIDTH - 2 * MARGIN - LABELS


def _slot(count: int) -> float:
    return _room() / max(count, 1)


def _seconds(end: float) -> str:
    if math.isinf(end):
        return "longer"
    return f"{end * MILLISECONDS:g} ms" if end < 1 else f"{end:g} s"
