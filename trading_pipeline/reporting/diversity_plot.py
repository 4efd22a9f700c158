"""A drawing of how different strategies are: three heatmaps beside each other, as SVG.

The drawing is a document of its own: no script, no font, no picture from
elsewhere. Whatever comes from outside is written by an XML library, which
escapes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from xml.etree import ElementTree as ET

import numpy as np
import numpy.typing as npt

from trading_pipeline.reporting.svg import FAINT, PAPER, Attributes, add, document, text

FloatArray = npt.NDArray[np.float64]

WIDTH = 900
MARGIN = 24
GAP = 30
HEADER = 78
FOOTER = 78
PANEL = (WIDTH - 2 * MARGIN - 2 * GAP) / 3
PANEL_HEAD = 44
LETTER = 6.8
"""Width of a letter of the labels, about, in pixels."""
LONGEST_LABEL = 14
LABEL_SIZE = 12.0
LARGEST_CELL = 76.0
SMALLEST_CELL_WITH_NUMBER = 24

# Blue to red over white of ColorBrewer's RdBu, which people who do not see red or green as others do can tell apart.
STOPS = (-1.0, -0.5, 0.0, 0.5, 1.0)
COLOURS = ((33, 102, 172), (146, 197, 222), (247, 247, 247), (244, 165, 130), (178, 24, 43))
UNDEFINED = "#d9d9d9"
BLACK = "#000000"
DARK = 0.18
"""The relative luminance (0 to 1) of a colour on which black and white are as easy to read."""


@dataclass(frozen=True)
class _Panel:
    title: str
    meaning: str
    values: FloatArray


def diversity_plot(
    names: Sequence[str],
    return_correlation: FloatArray,
    signal_correlation: FloatArray,
    overlap: FloatArray,
    effective_number: float,
    period: tuple[date, date] | None,
) -> str:
    """Return the drawing as SVG text, 900 pixels wide.

    Args:
        names: The strategies, any text; at least one.
        return_correlation: A row and a column per strategy, -1 to 1; NaN is drawn as undefined.
        signal_correlation: Likewise.
        overlap: Likewise, 0 to 1.
        effective_number: How many uncorrelated strategies would be as diverse; NaN where undefined.
        period: First and last session of the figures, None if there were none.
    """
    panels = (
        _Panel("Returns", "correlation of daily returns", return_correlation),
        _Panel("Signals", "correlation of weights about their means", signal_correlation),
        _Panel("Holdings", "share of the weights in common", overlap),
    )
    labels = [_shortened(name) for name in names]
    margin = LETTER * max(map(len, labels)) + 8
    cell = min((PANEL - margin) / len(names), LARGEST_CELL)
    # Column labels lie flat where they fit and stand upright where they do not.
    upright = margin > cell
    height = HEADER + PANEL_HEAD + (margin if upright else 18) + cell * len(names) + FOOTER
    root = document(WIDTH, height, _heading(return_correlation, effective_number), MARGIN)
    text(root, MARGIN, 58, _subtitle(period), size=13, fill=FAINT)
    for place, panel in enumerate(panels):
        group = add(root, "g", {"transform": f"translate({MARGIN + place * (PANEL + GAP):g},{HEADER})"})
        _draw_panel(group, panel, _Grid(tuple(names), tuple(labels), margin, cell, upright=upright))
    _draw_legend(root, height - FOOTER + 26)
    return ET.tostring(root, encoding="unicode")


@dataclass(frozen=True)
class _Grid:
    """Where the cells of a panel lie: ``margin`` pixels for the row labels, then ``cell`` pixels each."""

    names: tuple[str, ...]
    labels: tuple[str, ...]
    margin: float
    cell: float
    upright: bool

    @property
    def top(self) -> float:
        return PANEL_HEAD + (self.margin if self.upright else 18)

    @property
    def label_size(self) -> float:
        return min(LABEL_SIZE, self.cell * 0.9)

    def middle(self, place: int) -> float:
        return (place + 0.5) * self.cell


def _heading(return_correlation: FloatArray, effective_number: float) -> str:
    earning = int(np.count_nonzero(~np.isnan(np.diag(return_correlation))))
    left_out = len(return_correlation) - earning
    number = "undefined" if np.isnan(effective_number) else f"{effective_number:.2f} of {earning}"
    return f"Effective number of strategies: {number}" + (f" ({left_out} left out)" if left_out else "")


def _subtitle(period: tuple[date, date] | None) -> str:
    if period is None:
        return "No strategy was available on any session"
    return f"How different the strategies were, {period[0]} to {period[1]}"


def _draw_panel(into: ET.Element, panel: _Panel, grid: _Grid) -> None:
    text(into, grid.margin, 14, panel.title, size=15, weight="bold")
    text(into, grid.margin, 32, panel.meaning, size=11, fill=FAINT)
    for place, label in enumerate(grid.labels):
        text(into, grid.margin - 6, grid.top + grid.middle(place) + 4, label, size=grid.label_size, anchor="end")
        _column_label(into, grid, place, label)
    for row, column in np.ndindex(panel.values.shape):
        _draw_cell(into, panel, grid, row, column)


def _column_label(into: ET.Element, grid: _Grid, place: int, label: str) -> None:
    x, y = grid.margin + grid.middle(place), grid.top - 6
    if grid.upright:
        turned = text(into, x + 4, y, label, size=grid.label_size)
        turned.set("transform", f"rotate(-90 {x + 4:g} {y:g})")
    else:
        text(into, x, y, label, size=grid.label_size, anchor="middle")


def _draw_cell(into: ET.Element, panel: _Panel, grid: _Grid, row: int, column: int) -> None:
    value = float(panel.values[row, column])
    x, y = grid.margin + column * grid.cell, grid.top + row * grid.cell
    fill, ink = _colours(value)
    number = "\N{EN DASH}" if np.isnan(value) else _number(value)
    box: Attributes = {"x": x, "y": y, "width": grid.cell, "height": grid.cell, "fill": fill, "stroke": PAPER}
    cell = add(into, "g", {})
    add(cell, "title", {}, f"{panel.title}, {grid.names[row]} and {grid.names[column]}: {number}")
    add(cell, "rect", box)
    if grid.cell >= SMALLEST_CELL_WITH_NUMBER:
        size = min(15.0, grid.cell * 0.34)
        text(cell, x + grid.cell / 2, y + grid.cell / 2 + size * 0.36, number, size=size, fill=ink, anchor="middle")


def _draw_legend(into: ET.Element, top: float) -> None:
    gradient = add(add(into, "defs", {}), "linearGradient", {"id": "scale"})
    for stop, colour in zip(STOPS, COLOURS, strict=True):
        add(gradient, "stop", {"offset": (stop + 1) / 2, "stop-color": _hex(colour)})
    bar, left = 240, MARGIN
    add(into, "rect", {"x": left, "y": top, "width": bar, "height": 12, "fill": "url(#scale)"})
    for share, anchor, meaning in (
        (0, "start", "-1 opposite"),
        (0.5, "middle", "0 unrelated"),
        (1, "end", "1 the same"),
    ):
        text(into, left + share * bar, top + 27, meaning.replace("-", "\N{MINUS SIGN}"), size=11, anchor=anchor)
    add(into, "rect", {"x": left + bar + 40, "y": top, "width": 12, "height": 12, "fill": UNDEFINED})
    text(into, left + bar + 58, top + 10, "undefined: too few common sessions, or one never changes", size=11)
    text(into, left + bar + 58, top + 27, "holdings: 0 nothing in common, 1 the same weights", size=11)


def _number(value: float) -> str:
    # Without the sign of a zero that was rounded down from nothing.
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}")


def _colours(value: float) -> tuple[str, str]:
    """Return the colour of a cell and of the ink on it."""
    if np.isnan(value):
        return UNDEFINED, BLACK
    colour = tuple(float(np.interp(value, STOPS, channel)) for channel in zip(*COLOURS, strict=True))
    return _hex(colour), PAPER if _luminance(colour) < DARK else BLACK


def _luminance(colour: Sequence[float]) -> float:
    """Return the relative luminance of WCAG 2, 0 to 1, with 2.2 for the exponent of the screen."""
    return float(np.dot((0.2126, 0.7152, 0.0722), (np.array(colour) / 255) ** 2.2))


def _hex(colour: Sequence[float]) -> str:
    return "#" + "".join(f"{round(channel):02x}" for channel in colour)


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_LABEL else f"{name[: LONGEST_LABEL - 1]}\N{HORIZONTAL ELLIPSIS}"
