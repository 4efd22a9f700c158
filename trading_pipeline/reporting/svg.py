"""Pieces of the drawings: documents of their own, without script, font or picture from elsewhere."""

from collections.abc import Mapping
from xml.etree import ElementTree as ET

INK = "#222222"
FAINT = "#5c5c5c"
PAPER = "#ffffff"
FONT = "Helvetica, Arial, 'DejaVu Sans', sans-serif"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#7a6a00")
"""Colours of Okabe and Ito, which people who do not see red or green as others do can tell apart."""

LONGEST_LABEL = 44

Attributes = Mapping[str, float | str]


def document(width: float, height: float, heading: str, margin: float) -> ET.Element:
    """Return an empty drawing of ``width`` by ``height`` pixels with its heading."""
    size = {"width": f"{width:g}", "height": f"{height:g}", "viewBox": f"0 0 {width:g} {height:g}"}
    root = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "role": "img", "font-family": FONT, **size})
    add(root, "title", {}, heading)
    add(root, "rect", {"width": width, "height": height, "fill": PAPER})
    text(root, margin, 36, heading, size=20, weight="bold")
    return root


def text(
    into: ET.Element,
    x: float,
    y: float,
    words: str,
    *,
    size: float,
    weight: str = "normal",
    fill: str = INK,
    anchor: str = "start",
) -> ET.Element:
    """Write ``words`` at a place, in pixels from the upper left, and return what was written."""
    style: Attributes = {"font-size": size, "font-weight": weight, "fill": fill, "text-anchor": anchor}
    return add(into, "text", {"x": x, "y": y, **style}, words)


def add(into: ET.Element, tag: str, attributes: Attributes, words: str | None = None) -> ET.Element:
    """Put an element into another."""
    written = {name: value if isinstance(value, str) else f"{value:g}" for name, value in attributes.items()}
    element = ET.SubElement(into, tag, written)
    # XML has no way to write control characters, not even escaped.
    element.text = words if words is None else "".join(sign if sign.isprintable() else "\ufffd" for sign in words)
    return element


def shortened(words: str) -> str:
    """Return ``words``, or what fits of them into a label.

    >>> len(shortened("x" * 90))
    44
    """
    return words if len(words) <= LONGEST_LABEL else f"{words[: LONGEST_LABEL - 1]}\N{HORIZONTAL ELLIPSIS}"
