"""Small drawings of an account over its sessions: a curve, the weights that were held, how long things took.

Each is one SVG of 480 by 240 pixels, readable on a phone: no script, no style
sheet, no font or picture from elsewhere.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from trading_pipeline.reporting.svg import COLOURS, FAINT, Attributes, add, document, text

if TYPE_CHECKING:
    import pandas as pd

WIDTH = 480
HEIGHT = 240
LEFT = 66
RIGHT = 12
TOP = 52
BOTTOM = 34
MARGIN = 4
HEADING = 16
LABEL = 12
TICKS = 4
SMALLEST_FALL = -0.01
LINE = COLOURS[0]
FALL = COLOURS[1]
OTHERS = "#9a9a9a"
MOST_SYMBOLS = 9
LEGEND_STEP = 74
LEGEND_ROWS = 2
MILLISECONDS = 1000
# Okabe and Ito's colours, and lighter ones of the same hues behind them.
PALETTE = (*COLOURS, "#56b4e9", "#e69f00", "#7fcdb4", "#e6b8d0")


@dataclass(frozen=True)
class _Scale:
    """Where a place (from 0) and a value lie, in pixels."""

    count: int
    low: float
    high: float
    top: float = TOP

    def x(self, place: float) -> float:
        room = WIDTH - LEFT - RIGHT
        return LEFT + (place + 0.5) * room / max(self.count, 1)

    def y(self, value: float) -> float:
        return self.top + (HEIGHT - BOTTOM - self.top) * (self.high - value) / (self.high - self.low)


def equity_drawing(history: "pd.DataFrame") -> str:
    """Return the equity of rows of table ``performance`` as a drawing."""
    equity = [float(each) for each in history["equity"]]
    return curve_plot("Equity, dollars", list(history["session"]), equity, "dollars")


def drawdown_drawing(history: "pd.DataFrame") -> str:
    """Return the drawdown of rows of table ``performance`` as a drawing."""
    fallen = [-float(each) for each in history["drawdown"]]
    return curve_plot("Drawdown since inception", list(history["session"]), fallen, "fraction")


def weights_drawing(weights: "pd.DataFrame") -> str:
    """Return shares of equity over sessions, a column a symbol, as a drawing."""
    return weights_plot(
        "Weights, share of equity", list(weights.index), {str(name): list(weights[name]) for name in weights}
    )


def curve_plot(heading: str, sessions: Sequence[date], values: Sequence[float], unit: str) -> str:
    """Return a line over sessions, as SVG text.

    Args:
        heading: Any text.
        sessions: Oldest first.
        values: One a session; NaN breaks the line.
        unit: ``dollars`` or ``fraction``; a fraction is drawn as an area below zero, in percent.
    """
    known = [value for value in values if math.isfinite(value)]
    root = document(WIDTH, HEIGHT, heading, MARGIN)
    _smaller_heading(root)
    if not known:
        return _nothing(root)
    is_share = unit == "fraction"
    low, high = min(known), max(known)
    # Without a fall there is still a room for one.
    ticks = _ticks(min(low, SMALLEST_FALL), max(high, 0.0)) if is_share else _ticks(low, high)
    scale = _Scale(len(values), ticks[0], ticks[-1], TOP)
    _grid(root, ticks, scale, _percent if is_share else _dollars)
    if is_share:
        _area(root, values, scale)
    _line(root, values, scale, FALL if is_share else LINE)
    _dates(root, sessions, scale)
    return ET.tostring(root, encoding="unicode")


def weights_plot(heading: str, sessions: Sequence[date], weights: Mapping[str, Sequence[float]]) -> str:
    """Return stacked bars of the shares of equity over sessions, as SVG text.

    Args:
        heading: Any text.
        sessions: Oldest first.
        weights: For each symbol one fraction a session; negative ones are not drawn. The nine that were largest in
            all have colours, the others are one.
    """
    root = document(WIDTH, HEIGHT, heading, MARGIN)
    _smaller_heading(root)
    bands = _bands(weights)
    if not sessions or not bands:
        return _nothing(root)
    top = TOP + 18 * min(math.ceil(len(bands) / (WIDTH // LEGEND_STEP)), LEGEND_ROWS)
    totals = [sum(max(band[place], 0.0) for _, band in bands) for place in range(len(sessions))]
    scale = _Scale(len(sessions), 0.0, max(1.0, *totals), top)
    _grid(root, [0.0, 0.5, 1.0], scale, _percent)
    below = [0.0] * len(sessions)
    for number, (name, band) in enumerate(bands):
        colour = OTHERS if name in {"CASH", "others"} else PALETTE[number % len(PALETTE)]
        _stack(root, name, band, below, colour, scale)
        _legend(root, number, name, colour)
        below = [low + max(value, 0.0) for low, value in zip(below, band, strict=True)]
    _dates(root, sessions, scale)
    return ET.tostring(root, encoding="unicode")


def durations_plot(heading: str, cumulative: Mapping[float, int]) -> str:
    """Return a histogram of seconds, as SVG text; ``cumulative`` counts by the ends of the buckets, ascending."""
    root = document(WIDTH, HEIGHT, heading, MARGIN)
    _smaller_heading(root)
    counts = dict(zip(cumulative, (b - a for a, b in pairwise([0, *cumulative.values()])), strict=True))
    if not any(counts.values()):
        return _nothing(root)
    scale = _Scale(len(counts), 0.0, float(max(counts.values())))
    for place, (end, count) in enumerate(counts.items()):
        _bar(root, place, end, count, scale)
    add(root, "rect", {"x": LEFT, "y": HEIGHT - BOTTOM, "width": WIDTH - LEFT - RIGHT, "height": 1, "fill": FAINT})
    text(root, MARGIN, HEIGHT - 12, "at most", size=LABEL, fill=FAINT)
    return ET.tostring(root, encoding="unicode")


def _smaller_heading(root: ET.Element) -> None:
    for element in root:
        if element.tag == "text":
            element.set("font-size", f"{HEADING}")
            element.set("y", "26")


def _nothing(root: ET.Element) -> str:
    text(root, WIDTH / 2, HEIGHT / 2, "Nothing to draw yet", size=LABEL + 1, fill=FAINT, anchor="middle")
    return ET.tostring(root, encoding="unicode")


def _ticks(low: float, high: float) -> Sequence[float]:
    """Return round values that enclose ``low`` to ``high``, ascending, at least two."""
    span = (high - low) or abs(high) * 0.02 or 1.0
    raw = span / TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [step * place for place in range(first, max(last, first + 1) + 1)]


def _grid(root: ET.Element, ticks: Sequence[float], scale: _Scale, told: Callable[[float], str]) -> None:
    for tick in ticks:
        y = scale.y(tick)
        line: Attributes = {"x": LEFT, "y": y, "width": WIDTH - LEFT - RIGHT, "height": 0.5, "fill": FAINT}
        add(root, "rect", {**line, "fill-opacity": 0.4})
        text(root, LEFT - 8, y + 4, told(tick), size=LABEL, fill=FAINT, anchor="end")


def _line(root: ET.Element, values: Sequence[float], scale: _Scale, colour: str) -> None:
    style: Attributes = {"stroke": colour, "stroke-width": 2, "stroke-linejoin": "round", "fill": "none"}
    add(root, "path", {"d": _path(values, scale), **style})
    last = max(place for place, value in enumerate(values) if math.isfinite(value))
    add(root, "circle", {"cx": scale.x(last), "cy": scale.y(values[last]), "r": 3.5, "fill": colour})


def _path(values: Sequence[float], scale: _Scale) -> str:
    parts, goes_on = list[str](), False
    for place, value in enumerate(values):
        if math.isfinite(value):
            parts.append(f"{'L' if goes_on else 'M'}{scale.x(place):.1f},{scale.y(value):.1f}")
        goes_on = math.isfinite(value)
    return "".join(parts)


def _area(root: ET.Element, values: Sequence[float], scale: _Scale) -> None:
    known = [(place, value) for place, value in enumerate(values) if math.isfinite(value)]
    points = "L".join(f"{scale.x(place):.1f},{scale.y(value):.1f}" for place, value in known)
    zero = scale.y(0.0)
    first, last = scale.x(known[0][0]), scale.x(known[-1][0])
    shape = f"M{first:.1f},{zero:.1f}L{points}L{last:.1f},{zero:.1f}Z"
    add(root, "path", {"d": shape, "fill": FALL, "fill-opacity": 0.25})


def _bands(weights: Mapping[str, Sequence[float]]) -> Sequence[tuple[str, Sequence[float]]]:
    """Return what is drawn, the largest first and cash last; more than nine symbols end in one of the others."""
    held = {name: list(values) for name, values in weights.items() if name != "CASH" and any(values)}
    ranked = sorted(held, key=lambda name: (-sum(held[name]), name))
    bands = [(name, held[name]) for name in ranked[:MOST_SYMBOLS]]
    if ranked[MOST_SYMBOLS:]:
        rest = zip(*(held[name] for name in ranked[MOST_SYMBOLS:]), strict=True)
        bands.append(("others", [sum(values) for values in rest]))
    cash = weights.get("CASH")
    return [*bands, ("CASH", cash)] if cash is not None else bands


def _stack(
    root: ET.Element, name: str, band: Sequence[float], below: Sequence[float], colour: str, scale: _Scale
) -> None:
    wide = max((WIDTH - LEFT - RIGHT) / len(band) * 0.86, 0.5)
    # One path for all sessions: an element each would be most of the drawing's size.
    bars = "".join(
        f"M{scale.x(place) - wide / 2:.1f},{scale.y(low):.1f}h{wide:.1f}V{scale.y(low + value):.1f}h-{wide:.1f}Z"
        for place, (value, low) in enumerate(zip(band, below, strict=True))
        if value > 0
    )
    drawn = add(root, "path", {"d": bars or "M0,0", "fill": colour})
    add(drawn, "title", {}, name)


def _legend(root: ET.Element, number: int, name: str, colour: str) -> None:
    columns = (WIDTH - 2 * MARGIN) // LEGEND_STEP
    row, column = divmod(number, columns)
    if row < LEGEND_ROWS:
        x, y = MARGIN + column * LEGEND_STEP, 38 + row * 18
        add(root, "rect", {"x": x, "y": y, "width": 10, "height": 10, "fill": colour})
        text(root, x + 14, y + 10, name[:7], size=LABEL)


def _dates(root: ET.Element, sessions: Sequence[date], scale: _Scale) -> None:
    ends = {0: "start", len(sessions) - 1: "end"} if len(sessions) > 1 else {0: "middle"}
    for place, anchor in ends.items():
        x = {"start": LEFT, "end": WIDTH - RIGHT, "middle": scale.x(place)}[anchor]
        text(root, x, HEIGHT - 12, str(sessions[place]), size=LABEL, fill=FAINT, anchor=anchor)


def _bar(root: ET.Element, place: int, end: float, count: int, scale: _Scale) -> None:
    wide = (WIDTH - LEFT - RIGHT) / scale.count
    if count:
        top = scale.y(count)
        bar = add(root, "g", {})
        add(bar, "title", {}, f"{_seconds(end)}: {count}")
        box: Attributes = {"x": scale.x(place) - wide / 2 + 2, "y": top, "width": wide - 4, "fill": LINE}
        add(bar, "rect", {**box, "height": HEIGHT - BOTTOM - top})
        text(bar, scale.x(place), top - 5, f"{count:,}", size=LABEL, anchor="middle")
    # One of three ends has room.
    if place % 3 == 1 or math.isinf(end):
        text(root, scale.x(place), HEIGHT - 12, _seconds(end), size=LABEL - 1, fill=FAINT, anchor="middle")


def _dollars(value: float) -> str:
    return f"{value:,.0f}".replace("-", "\N{MINUS SIGN}")


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %".replace("-", "\N{MINUS SIGN}")


def _seconds(end: float) -> str:
    if math.isinf(end):
        return "more"
    return f"{end * MILLISECONDS:g} ms" if end < 1 else f"{end:g} s"
