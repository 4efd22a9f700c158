"""A drawing of an account's risk: how much of each limit is used, and how bad a bad day may be by each model."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from xml.etree import ElementTree as ET

from trading_pipeline.reporting.svg import COLOURS, FAINT, add, document, shortened, text

WIDTH = 900
MARGIN = 24
LABELS = 320
FIGURES = 150
ROW = 19
HEAD = 46
HEADER = 76
BROKEN, USED, PLAIN = "#b2182b", COLOURS[0], COLOURS[4]
FURTHEST = 1.25
"""Bars end here, at a quarter beyond the limit; the figure beside says how much it is."""
WHOLE_FROM = 1_000
"""Figures as large as this are dollars, of which nobody asks for the cents."""


@dataclass(frozen=True)
class LimitBar:
    """A measure against its limit: ``share`` is how much of it is used, NaN where that is not known."""

    name: str
    value: float
    limit: float
    share: float


@dataclass(frozen=True)
class FigureBar:
    """A figure that has no limit, as a fraction of equity; it may be negative, and NaN where it is not known."""

    name: str
    value: float


@dataclass(frozen=True)
class FigurePanel:
    """Figures that are compared with each other."""

    title: str
    bars: Sequence[FigureBar]


def risk_report_plot(session: date, bars: Sequence[LimitBar], panels: Sequence[FigurePanel]) -> str:
    """Return the drawing as SVG text, 900 pixels wide: a bar for each limit, then a panel for each set of figures.

    The bars are drawn in the order in which they are given.
    """
    shown = [panel for panel in panels if panel.bars]
    height = HEADER + HEAD + ROW * len(bars) + sum(HEAD + ROW * len(panel.bars) for panel in shown) + MARGIN
    root = document(WIDTH, height, f"Risk after the approved orders of {session}", MARGIN)
    told = "a bar is how much of a limit is used; beyond the line the limit is broken"
    text(root, MARGIN, 58, told, size=13, fill=FAINT)
    _draw_limits(add(root, "g", {"transform": f"translate({MARGIN},{HEADER})"}), bars)
    top = float(HEADER + HEAD + ROW * len(bars))
    for panel in shown:
        _draw_panel(add(root, "g", {"transform": f"translate({MARGIN},{top:g})"}), panel)
        top += HEAD + ROW * len(panel.bars)
    return ET.tostring(root, encoding="unicode")


def _room() -> float:
    return WIDTH - 2 * MARGIN - LABELS - FIGURES


def _draw_limits(into: ET.Element, bars: Sequence[LimitBar]) -> None:
    text(into, 0, 16, "Limits", size=15, weight="bold")
    for place, bar in enumerate(bars):
        y = HEAD - ROW + ROW * place
        text(into, LABELS - 8, y + 13, shortened(bar.name), size=11, anchor="end")
        is_known = math.isfinite(bar.share) or bar.share == math.inf
        width = _room() * min(max(bar.share, 0.0), FURTHEST) / FURTHEST if is_known else 0.0
        colour = BROKEN if bar.share > 1 else USED
        add(into, "rect", {"x": LABELS, "y": y + 3, "width": width, "height": ROW - 6, "fill": colour})
        words = f"{_figure(bar.value)} of {_figure(bar.limit)}"
        text(into, WIDTH - 2 * MARGIN, y + 13, words, size=11, anchor="end", fill=BROKEN if bar.share > 1 else FAINT)
    x, height = LABELS + _room() / FURTHEST, ROW * len(bars)
    add(into, "rect", {"x": x, "y": HEAD - ROW, "width": 1, "height": height, "fill": FAINT})


def _draw_panel(into: ET.Element, panel: FigurePanel) -> None:
    text(into, 0, 16, panel.title, size=15, weight="bold")
    known = [bar.value for bar in panel.bars if math.isfinite(bar.value)]
    low, high = min([0.0, *known]), max([0.0, *known])
    scale = _room() / (high - low) if high > low else 0.0
    for place, bar in enumerate(panel.bars):
        y = HEAD - ROW + ROW * place
        text(into, LABELS - 8, y + 13, shortened(bar.name), size=11, anchor="end")
        value = bar.value if math.isfinite(bar.value) else 0.0
        x, width = LABELS + scale * (min(value, 0.0) - low), scale * abs(value)
        add(into, "rect", {"x": x, "y": y + 3, "width": width, "height": ROW - 6, "fill": PLAIN})
        figure = f"{bar.value:.2%}" if math.isfinite(bar.value) else "not known"
        text(into, WIDTH - 2 * MARGIN, y + 13, figure, size=11, anchor="end", fill=FAINT)


def _figure(value: float) -> str:
    """Return a figure for people: large ones in whole dollars, small ones with the digits that count.

    >>> [_figure(value) for value in (22_630.4, 0.00016672, 1.0, float("nan"))]
    ['22,630', '0.0001667', '1', 'not known']
    """
    if math.isnan(value):
        return "not known"
    return f"{value:,.0f}" if abs(value) >= WHOLE_FROM else f"{value:.4g}"
