"""A drawing of value-at-risk models against the losses that came: a panel for each strategy, as SVG.

Above, the losses and each model's figure over the sessions; below, a strip for
each model with a tick for every exception, and its verdict in words. The
drawing is a document of its own: no script, no font, no picture from elsewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from xml.etree import ElementTree as ET

import numpy as np
import numpy.typing as npt

from trading_pipeline.reporting.svg import COLOURS, FAINT, Attributes, add, document, text

FloatArray = npt.NDArray[np.float64]

WIDTH = 900
MARGIN = 24
LABELS = 168
VERDICTS = 210
PANEL_HEAD = 30
CHART = 150
STRIP = 20
GAP = 26
HEADER = 76
FOOTER = 36
LONGEST_LABEL = 60
LOSS = "#a8a8a8"
ZONES = {"green": "#1a7f37", "yellow": "#9a6700", "red": "#b2182b"}


@dataclass(frozen=True, eq=False)
class ModelLine:
    """One model on one strategy.

    Attributes:
        name: Any text.
        value_at_risk: A figure per session, a fraction of equity; NaN where the model said nothing.
        expected: Exceptions that a right model has.
        p_value: Of Kupiec's test; NaN where undefined.
        zone: green, yellow, red, or any other text where it is unknown.
    """

    name: str
    value_at_risk: FloatArray
    expected: float
    p_value: float
    zone: str


@dataclass(frozen=True, eq=False)
class StrategyPanel:
    """A strategy, its losses per session (fractions of equity, NaN where unknown) and the models on it."""

    name: str
    losses: FloatArray
    models: Sequence[ModelLine]


def tail_backtest_plot(sessions: Sequence[date], panels: Sequence[StrategyPanel], confidence: float) -> str:
    """Return the drawing as SVG text, 900 pixels wide.

    Args:
        sessions: The sessions of the losses and figures, oldest first; at least one.
        panels: A strategy each; their losses and figures have a value per session.
        confidence: Of the value at risk, a probability.
    """
    height = HEADER + sum(_height(panel) for panel in panels) + FOOTER
    root = document(WIDTH, height, f"Value at risk at {confidence:.4g} against the losses that came", MARGIN)
    told = f"{sessions[0]} to {sessions[-1]}; a tick is a session that lost more than the model said"
    text(root, MARGIN, 58, told, size=13, fill=FAINT)
    top = float(HEADER)
    for panel in panels:
        _draw_panel(add(root, "g", {"transform": f"translate({MARGIN},{top:g})"}), panel)
        top += _height(panel)
    _draw_dates(root, height - FOOTER, sessions)
    return ET.tostring(root, encoding="unicode")


def _height(panel: StrategyPanel) -> float:
    return PANEL_HEAD + CHART + STRIP * len(panel.models) + GAP


def _draw_panel(into: ET.Element, panel: StrategyPanel) -> None:
    text(into, 0, 16, _shortened(panel.name), size=15, weight="bold")
    scale = _Scale(panel.losses.size, _greatest(panel))
    _draw_axis(into, scale)
    _draw_losses(into, panel, scale)
    for place, model in enumerate(panel.models):
        colour = COLOURS[place % len(COLOURS)]
        _draw_figures(into, model, colour, scale)
        _draw_strip(into, panel, place, colour, scale)


@dataclass(frozen=True)
class _Scale:
    """Where a session and a loss lie in a panel; ``greatest`` is the loss at the top of the chart."""

    sessions: int
    greatest: float

    def x(self, place: float) -> float:
        return LABELS + (place + 0.5) * _room() / max(self.sessions, 1)

    def y(self, loss: float) -> float:
        return PANEL_HEAD + CHART * (1 - min(max(loss / self.greatest, 0.0), 1.0))


def _room() -> float:
    return WIDTH - 2 * MARGIN - LABELS - VERDICTS


def _greatest(panel: StrategyPanel) -> float:
    values = np.concatenate([panel.losses, *(model.value_at_risk for model in panel.models)])
    known = values[np.isfinite(values) & (values > 0)]
    return float(known.max()) if known.size else 1.0


def _draw_axis(into: ET.Element, scale: _Scale) -> None:
    for share in (0.0, 0.5, 1.0):
        y = scale.y(share * scale.greatest)
        add(into, "rect", {"x": LABELS, "y": y, "width": _room(), "height": 0.5, "fill": FAINT})
        text(into, LABELS - 6, y + 4, f"{share * scale.greatest:.1%}", size=11, fill=FAINT, anchor="end")
    text(into, 0, PANEL_HEAD + 12, "loss of a session,", size=11, fill=FAINT)
    text(into, 0, PANEL_HEAD + 26, "share of equity", size=11, fill=FAINT)


def _draw_losses(into: ET.Element, panel: StrategyPanel, scale: _Scale) -> None:
    # One path for all sessions: an element each would be most of the drawing's size.
    lines = [
        f"M{scale.x(float(place)):.1f},{scale.y(0):.1f}V{scale.y(float(panel.losses[place])):.1f}"
        for place in np.flatnonzero(panel.losses > 0)
    ]
    width = max(_room() / max(scale.sessions, 1) * 0.8, 0.5)
    add(into, "path", {"d": "".join(lines) or "M0,0", "stroke": LOSS, "stroke-width": width, "fill": "none"})


def _draw_figures(into: ET.Element, model: ModelLine, colour: str, scale: _Scale) -> None:
    parts, known = [], np.isfinite(model.value_at_risk)
    for place in np.flatnonzero(known):
        goes_on = place > 0 and known[place - 1]
        y = scale.y(float(model.value_at_risk[place]))
        parts.append(f"{'L' if goes_on else 'M'}{scale.x(float(place)):.1f},{y:.1f}")
    # A single session between two unknown ones would be a line without length, which is drawn as a dot.
    line: Attributes = {"stroke": colour, "stroke-width": 1.2, "stroke-linecap": "round", "fill": "none"}
    drawn = add(into, "path", {"d": "".join(parts) + "h0" if parts else "M0,0", **line})
    add(drawn, "title", {}, model.name)


def _draw_strip(into: ET.Element, panel: StrategyPanel, place: int, colour: str, scale: _Scale) -> None:
    model, top = panel.models[place], PANEL_HEAD + CHART + 6 + place * STRIP
    add(into, "rect", {"x": 0, "y": top + 4, "width": 12, "height": 4, "fill": colour})
    text(into, 18, top + 11, model.name, size=11)
    exceeded = np.flatnonzero(np.greater(panel.losses, model.value_at_risk))
    for session in exceeded:
        tick: Attributes = {"x": scale.x(float(session)) - 1, "y": top + 1, "width": 2, "height": STRIP - 7}
        add(into, "rect", {**tick, "fill": colour})
    words = f"{exceeded.size} of {model.expected:.1f} expected, p {_probability(model.p_value)}, {model.zone}"
    text(into, WIDTH - 2 * MARGIN, top + 11, words, size=11, fill=ZONES.get(model.zone, FAINT), anchor="end")


def _probability(value: float) -> str:
    return "\N{EN DASH}" if np.isnan(value) else f"{value:.3f}"


def _draw_dates(into: ET.Element, top: float, sessions: Sequence[date]) -> None:
    scale = _Scale(len(sessions), 1.0)
    for place in sorted({0, len(sessions) // 2, len(sessions) - 1}):
        text(into, MARGIN + scale.x(place), top, str(sessions[place]), size=11, fill=FAINT, anchor="middle")


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_LABEL else f"{name[: LONGEST_LABEL - 1]}\N{HORIZONTAL ELLIPSIS}"
