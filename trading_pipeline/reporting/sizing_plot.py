"""Ways of sizing side by side, as one picture: worth, volatility and what is invested, over the same sessions.

The drawing is one SVG without scripts, style sheets, fonts or pictures from
elsewhere.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from xml.etree import ElementTree as ET

import numpy as np
import numpy.typing as npt

from trading_pipeline.reporting.svg import FAINT, Attributes, add, document, text

FloatArray = npt.NDArray[np.float64]

WIDTH = 900
MARGIN = 24
LEFT = 64
HEADER = 78
PANEL = 190
PLOT = 138
PLOT_TOP = 28
KEY_ROW = 20
FOOTER = 44
PLOT_WIDTH = WIDTH - 2 * MARGIN - LEFT
MOST_POINTS = 240
"""Of a line: the drawing lies in Dagster's record, and a screen shows no more."""
MOST_TICKS = 6
PERCENT_BELOW = 10
"""From ten times on a fraction is easier to read as a factor."""

# Okabe and Ito, Color Universal Design, 2008: told apart by people who do not see red or green as others do.
COLOURS = ("#000000", "#e69f00", "#56b4e9", "#009e73", "#d55e00", "#0072b2", "#cc79a7")
DASHES = ("none", "6 3", "2 2")
RULE = "#d9d9d9"


@dataclass(frozen=True, eq=False)
class SizingLine:
    """One way of sizing over the sessions of the drawing; a value that is NaN leaves a gap.

    Attributes:
        name: Any text.
        value: Worth of a dollar, above 0.
        volatility: Annualised, as a fraction.
        invested: Fraction of equity, from 0 to 1.
        figures: What is said of it in the key, by its title.
    """

    name: str
    value: FloatArray
    volatility: FloatArray
    invested: FloatArray
    figures: Mapping[str, float]


@dataclass(frozen=True)
class _Panel:
    title: str
    meaning: str
    of: Callable[[SizingLine], FloatArray]
    logarithmic: bool = False


PANELS = (
    _Panel("Worth", "of a dollar, logarithmic", lambda line: line.value, logarithmic=True),
    _Panel("Volatility", "of the last sessions, a year", lambda line: line.volatility),
    _Panel("Invested", "fraction of equity", lambda line: line.invested),
)


def sizing_plot(sessions: Sequence[date], lines: Sequence[SizingLine]) -> str:
    """Return the drawing as SVG text, 900 pixels wide.

    Args:
        sessions: At least one, oldest first.
        lines: One a way of sizing, in the order of the key; all with the same figures.
    """
    height = HEADER + PANEL * len(PANELS) + KEY_ROW * (len(lines) + 1) + FOOTER
    root = document(WIDTH, height, "Sizing side by side", MARGIN)
    text(root, MARGIN, 58, f"{len(sessions)} sessions, {sessions[0]} to {sessions[-1]}", size=13, fill=FAINT)
    shown = _shown(len(sessions))
    for place, panel in enumerate(PANELS):
        group = add(root, "g", {"transform": f"translate({MARGIN},{HEADER + place * PANEL})"})
        _draw_panel(group, panel, lines, shown)
    _draw_days(add(root, "g", {"transform": f"translate({MARGIN},{HEADER + PANEL * len(PANELS)})"}), sessions)
    _draw_key(add(root, "g", {"transform": f"translate({MARGIN},{height - KEY_ROW * (len(lines) + 1)})"}), lines)
    return ET.tostring(root, encoding="unicode")


def _shown(count: int) -> npt.NDArray[np.intp]:
    """Return the places of the sessions that are drawn, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, MOST_POINTS)).round().astype(np.intp))


@dataclass(frozen=True)
class _Scale:
    """From a number to its height in a panel; ``ticks`` are numbers that are written beside it."""

    low: float
    high: float
    ticks: tuple[float, ...]
    logarithmic: bool

    @classmethod
    def over(cls, values: FloatArray, *, logarithmic: bool) -> "_Scale":
        known = values[np.isfinite(values) & ((values > 0) | (not logarithmic))]
        if not known.size:
            return cls(1.0, 2.0, (), logarithmic)
        ticks = _powers(known.min(), known.max()) if logarithmic else _steps(max(float(known.max()), 0.0))
        return cls(min(ticks[0], float(known.min())), ticks[-1], ticks, logarithmic)

    def height(self, value: float) -> float:
        low, high, at = (self._laid(each) for each in (self.low, self.high, value))
        return PLOT_TOP + PLOT * (1 - (at - low) / (high - low))

    def holds(self, value: float) -> bool:
        return math.isfinite(value) and (value > 0 or not self.logarithmic)

    def _laid(self, value: float) -> float:
        return math.log(value) if self.logarithmic else value


def _powers(low: float, high: float) -> tuple[float, ...]:
    """Return ticks a constant factor apart, from below ``low`` to above ``high``."""
    for factor in (1.1, 1.25, 1.5, 2.0, 5.0, 10.0, 100.0, 1e4, 1e8, 1e16):
        first = math.floor(math.log(low) / math.log(factor) + 1e-9)
        last = max(math.ceil(math.log(high) / math.log(factor) - 1e-9), first + 1)
        if last - first < MOST_TICKS:
            break
    return tuple(factor**power for power in range(first, last + 1))


def _steps(high: float) -> tuple[float, ...]:
    """Return ticks from 0 to at least ``high``, a round step apart."""
    rough = max(high, 1e-6) / (MOST_TICKS - 2)
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough * (1 - 1e-9))
    return tuple(step * place for place in range(max(math.ceil(high / step - 1e-9), 1) + 1))


def _draw_panel(into: ET.Element, panel: _Panel, lines: Sequence[SizingLine], shown: npt.NDArray[np.intp]) -> None:
    text(into, LEFT, 14, panel.title, size=15, weight="bold")
    text(into, LEFT + 90, 14, panel.meaning, size=12, fill=FAINT)
    drawn = [panel.of(line)[shown] for line in lines]
    scale = _Scale.over(np.concatenate([np.empty(0), *drawn]), logarithmic=panel.logarithmic)
    for tick in scale.ticks:
        y = scale.height(tick)
        add(into, "rect", {"x": LEFT, "y": y, "width": PLOT_WIDTH, "height": 1, "fill": RULE})
        text(into, LEFT - 8, y + 4, _tick(tick, panel), size=11, fill=FAINT, anchor="end")
    for place, (line, values) in enumerate(zip(lines, drawn, strict=True)):
        group = add(into, "g", {})
        add(group, "title", {}, f"{panel.title}, {line.name}")
        add(group, "path", {"d": _path(values, scale), "fill": "none", "stroke-width": 1.6, **_stroke(place)})


def _tick(tick: float, panel: _Panel) -> str:
    return f"{tick:.3g}" if panel.logarithmic else f"{tick:.0%}"


def _path(values: FloatArray, scale: _Scale) -> str:
    """Return the points of a line; after a gap it begins anew."""
    steps, drawing = [], False
    for place, value in enumerate(values.tolist()):
        if scale.holds(value):
            x = LEFT + PLOT_WIDTH * place / max(len(values) - 1, 1)
            steps.append(f"{'L' if drawing else 'M'}{x:.1f} {scale.height(value):.1f}")
        drawing = scale.holds(value)
    return "".join(steps)


def _stroke(place: int) -> Attributes:
    dash = DASHES[place // len(COLOURS) % len(DASHES)]
    return {"stroke": COLOURS[place % len(COLOURS)], "stroke-dasharray": dash}


def _draw_days(into: ET.Element, sessions: Sequence[date]) -> None:
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        day = sessions[round(share * (len(sessions) - 1))]
        text(into, LEFT + share * PLOT_WIDTH, -4, str(day), size=11, fill=FAINT, anchor=anchor)


def _draw_key(into: ET.Element, lines: Sequence[SizingLine]) -> None:
    titles = list(lines[0].figures) if lines else []
    room = (WIDTH - 2 * MARGIN - 240) / max(len(titles), 1)
    for column, title in enumerate(titles):
        text(into, 240 + (column + 1) * room, -4, title, size=12, fill=FAINT, anchor="end")
    for place, line in enumerate(lines):
        y = place * KEY_ROW + 14
        add(into, "path", {"d": f"M0 {y - 4}L28 {y - 4}", "fill": "none", "stroke-width": 3, **_stroke(place)})
        text(into, 38, y, line.name, size=13)
        for column, title in enumerate(titles):
            text(into, 240 + (column + 1) * room, y, _number(line.figures[title]), size=13, anchor="end")


def _number(value: float) -> str:
    if math.isnan(value):
        return "\N{EN DASH}"
    # Without the sign of a zero that was rounded down from nothing.
    written = f"{round(value, 3) + 0.0:.1%}" if abs(value) < PERCENT_BELOW else f"{value:.1f}\N{MULTIPLICATION SIGN}"
    return written.replace("-", "\N{MINUS SIGN}")
