"""How long orders took, as one picture: a histogram for each step, on one axis of seconds.

The drawing is one SVG without scripts, style sheets, fonts or pictures from
elsewhere.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from xml.etree import ElementTree as ET

WIDTH = 900
MARGIN = 24
LABELS = 150
BAR_ROOM = 64
PANEL = 112
HEADER = 52
FOOTER = 40
BAR = "#2166ac"
INK = "#222222"
FAINT = "#5c5c5c"
PAPER = "#ffffff"
FONT = "Helvetica, Arial, 'DejaVu Sans', sans-serif"
MILLISECONDS = 1000

Attributes = Mapping[str, float | str]


def latency_plot(title: str, histograms: Mapping[str, Mapping[float, int]]) -> str:
    """Return the drawing as SVG text, 900 pixels wide.

    Args:
        title: The heading, any text.
        histograms: For each step, by its name, how many took at most so many seconds: cumulative counts by the ends of
            the buckets, ascending, the last of them infinite. All have the same ends.
    """
    height = HEADER + PANEL * len(histograms) + FOOTER
    size = {"width": f"{WIDTH}", "height": f"{height}", "viewBox": f"0 0 {WIDTH} {height}"}
    root = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "role": "img", "font-family": FONT, **size})
    _add(root, "title", {}, title)
    _add(root, "rect", {"width": WIDTH, "height": height, "fill": PAPER})
    _text(root, MARGIN, 34, title, size=20, weight="bold")
    for place, (name, cumulative) in enumerate(histograms.items()):
        panel = _add(root, "g", {"transform": f"translate({MARGIN},{HEADER + place * PANEL})"})
        _draw_panel(panel, name, cumulative)
    ends = list(next(iter(histograms.values()), ()))
    _draw_axis(_add(root, "g", {"transform": f"translate({MARGIN},{height - FOOTER})"}), ends)
    return ET.tostring(root, encoding="unicode")


def _draw_panel(into: ET.Element, name: str, cumulative: Mapping[float, int]) -> None:
    counts = [later - before for before, later in pairwise([0, *cumulative.values()])]
    total, most, slot = sum(counts), max(counts, default=0), _slot(len(counts))
    _text(into, 0, PANEL - 30, name, size=13, weight="bold")
    _text(into, 0, PANEL - 12, f"{total} order{'' if total == 1 else 's'}", size=12, fill=FAINT)
    for place, (end, count) in enumerate(zip(cumulative, counts, strict=True)):
        if count:
            tall, left = BAR_ROOM * count / most, LABELS + place * slot
            box: Attributes = {"x": left + 2, "y": PANEL - 12 - tall, "width": slot - 4, "height": tall, "fill": BAR}
            bar = _add(into, "g", {})
            _add(bar, "title", {}, f"{name}, {_seconds(end)}: {count}")
            _add(bar, "rect", box)
            _text(bar, left + slot / 2, PANEL - 16 - tall, str(count), size=11, anchor="middle")
    _add(into, "rect", {"x": LABELS, "y": PANEL - 12, "width": _room(), "height": 1, "fill": FAINT})


def _draw_axis(into: ET.Element, ends: Sequence[float]) -> None:
    _text(into, 0, 10, "took at most", size=12, fill=FAINT)
    for place, end in enumerate(ends):
        middle = LABELS + (place + 0.5) * _slot(len(ends))
        _text(into, middle, 10, _seconds(end), size=11, anchor="middle")


def _room() -> float:
    return WIDTH - 2 * MARGIN - LABELS


def _slot(count: int) -> float:
    return _room() / max(count, 1)


def _seconds(end: float) -> str:
    if math.isinf(end):
        return "longer"
    return f"{end * MILLISECONDS:g} ms" if end < 1 else f"{end:g} s"


def _text(
    into: ET.Element,
    x: float,
    y: float,
    text: str,
    *,
    size: float,
    weight: str = "normal",
    fill: str = INK,
    anchor: str = "start",
) -> None:
    style: Attributes = {"font-size": size, "font-weight": weight, "fill": fill, "text-anchor": anchor}
    _add(into, "text", {"x": x, "y": y, **style}, text)


def _add(into: ET.Element, tag: str, attributes: Attributes, text: str | None = None) -> ET.Element:
    written = {name: value if isinstance(value, str) else f"{value:g}" for name, value in attributes.items()}
    element = ET.SubElement(into, tag, written)
    # XML has no way to write control characters, not even escaped.
    element.text = text if text is None else "".join(sign if sign.isprintable() else "\ufffd" for sign in text)
    return element
