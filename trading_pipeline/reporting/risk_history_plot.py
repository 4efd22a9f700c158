"""A drawing of which rules would have acted when: a panel for each strategy, a strip for each rule, as SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from xml.etree import ElementTree as ET

from trading_pipeline.reporting.svg import COLOURS, FAINT, add, document, shortened, text

WIDTH = 900
MARGIN = 24
LABELS = 330
COUNTS = 110
PANEL_HEAD = 30
STRIP = 17
GAP = 22
HEADER = 76
FOOTER = 36
EMPTY = "#ececec"


@dataclass(frozen=True)
class RuleStrip:
    """One rule: its name, the group whose colour it has, and the places of the sessions on which it acted."""

    name: str
    group: str
    acted: Sequence[int]


@dataclass(frozen=True)
class RulePanel:
    """A strategy and the rules that acted on it; those that never did are counted in ``idle``."""

    name: str
    strips: Sequence[RuleStrip]
    idle: int


def risk_history_plot(sessions: Sequence[date], panels: Sequence[RulePanel]) -> str:
    """Return the drawing as SVG text, 900 pixels wide.

    Args:
        sessions: The sessions that were judged, oldest first; at least one.
        panels: A strategy each; the places of its strips count from 0, along the sessions.
    """
    height = HEADER + sum(_height(panel) for panel in panels) + FOOTER
    root = document(WIDTH, height, "Which rules would have acted, and when", MARGIN)
    told = f"{sessions[0]} to {sessions[-1]}; a tick is a session on which the rule acted"
    text(root, MARGIN, 58, told, size=13, fill=FAINT)
    groups = list(dict.fromkeys(strip.group for panel in panels for strip in panel.strips))
    colours = {group: COLOURS[place % len(COLOURS)] for place, group in enumerate(groups)}
    top = float(HEADER)
    for panel in panels:
        group = add(root, "g", {"transform": f"translate({MARGIN},{top:g})"})
        _draw_panel(group, panel, colours, len(sessions))
        top += _height(panel)
    for place in sorted({0, len(sessions) // 2, len(sessions) - 1}):
        x = MARGIN + _x(place, len(sessions))
        text(root, x, height - FOOTER, str(sessions[place]), size=11, fill=FAINT, anchor="middle")
    return ET.tostring(root, encoding="unicode")


def _height(panel: RulePanel) -> float:
    return PANEL_HEAD + STRIP * len(panel.strips) + GAP


def _x(place: int, sessions: int) -> float:
    return LABELS + (place + 0.5) * _room() / sessions


def _room() -> float:
    return WIDTH - 2 * MARGIN - LABELS - COUNTS


def _draw_panel(into: ET.Element, panel: RulePanel, colours: dict[str, str], sessions: int) -> None:
    text(into, 0, 16, shortened(panel.name), size=15, weight="bold")
    text(into, WIDTH - 2 * MARGIN, 16, f"{panel.idle} others never acted", size=11, fill=FAINT, anchor="end")
    for row, strip in enumerate(panel.strips):
        y = PANEL_HEAD + STRIP * row
        text(into, LABELS - 8, y + 11, shortened(f"{strip.group}: {strip.name}"), size=11, anchor="end")
        add(into, "rect", {"x": LABELS, "y": y + 1, "width": _room(), "height": STRIP - 4, "fill": EMPTY})
        # One path for all sessions: an element each would be most of the drawing's size.
        ticks = "".join(f"M{_x(place, sessions):.1f},{y + 1:g}v{STRIP - 4}" for place in strip.acted)
        add(into, "path", {"d": ticks or "M0,0", "stroke": colours[strip.group], "stroke-width": 1, "fill": "none"})
        words = f"{len(strip.acted)} of {sessions}"
        text(into, WIDTH - 2 * MARGIN, y + 11, words, size=11, fill=FAINT, anchor="end")
