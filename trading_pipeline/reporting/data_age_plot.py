"""How old the newest bars are, as one picture: a strip of all symbols by status, and a bar for each that is not fresh.

The drawing is one SVG without scripts, style sheets, fonts or pictures from
elsewhere.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from xml.etree import ElementTree as ET

from trading_pipeline.reporting.svg import COLOURS, FAINT, PAPER, add, document, text

WIDTH = 900
MARGIN = 24
HEADER = 52
STRIP = 26
LEGEND = 30
GAP = 20
ROW = 22
LABELS = 96
BAR_ROOM = 240
MOST_ROWS = 40
FRESH = "fresh"
_COLOURS = {
    FRESH: COLOURS[2],
    "stale": COLOURS[1],
    "frozen": COLOURS[0],
    "never seen": COLOURS[3],
    "listed later": COLOURS[4],
}


@dataclass(frozen=True)
class AgeBar:
    """One symbol: its status, the age of its newest bar in sessions (None where it has none), and why it is not fresh.

    A status is one of fresh, stale, frozen, never seen and listed later.
    """

    symbol: str
    status: str
    age_sessions: float | None = None
    reason: str = ""


def data_age_plot(session: date, symbols: Sequence[AgeBar]) -> str:
    """Return the drawing as SVG text, 900 pixels wide; the oldest symbols come first, no more than 40 of them."""
    late = sorted((bar for bar in symbols if bar.status != FRESH), key=lambda bar: (-_age(bar), bar.symbol))
    shown = late[:MOST_ROWS]
    top = HEADER + STRIP + LEGEND + GAP
    root = document(WIDTH, top + ROW * (len(shown) + 1) + MARGIN, f"How old the bars of {session} are", MARGIN)
    counts = Counter(bar.status for bar in symbols)
    _draw_strip(add(root, "g", {"transform": f"translate({MARGIN},{HEADER})"}), counts)
    oldest = max((bar.age_sessions or 0 for bar in shown), default=0)
    for place, bar in enumerate(shown):
        _draw_bar(add(root, "g", {"transform": f"translate({MARGIN},{top + place * ROW})"}), bar, oldest)
    text(root, MARGIN, top + len(shown) * ROW + 14, _footnote(late, len(symbols)), size=12, fill=FAINT)
    return ET.tostring(root, encoding="unicode")


def _age(bar: AgeBar) -> float:
    return float("inf") if bar.age_sessions is None else bar.age_sessions


def _footnote(late: Sequence[AgeBar], symbols: int) -> str:
    if not late:
        return f"All {symbols} symbols are fresh."
    more = len(late) - MOST_ROWS
    return f"{more} more are not fresh; see the table." if more > 0 else "The others are fresh."


def _draw_strip(into: ET.Element, counts: Counter[str]) -> None:
    total, room, left = max(counts.total(), 1), WIDTH - 2 * MARGIN, 0.0
    for place, (status, colour) in enumerate(_COLOURS.items()):
        wide = room * counts[status] / total
        if wide:
            part = add(into, "g", {})
            add(part, "title", {}, f"{status}: {counts[status]}")
            add(part, "rect", {"x": left, "y": 0, "width": wide, "height": STRIP, "fill": colour, "stroke": PAPER})
        left += wide
        x = place * room / len(_COLOURS)
        add(into, "rect", {"x": x, "y": STRIP + 12, "width": 12, "height": 12, "fill": colour})
        text(into, x + 18, STRIP + 22, f"{status}: {counts[status]}", size=12)


def _draw_bar(into: ET.Element, bar: AgeBar, oldest: float) -> None:
    text(into, 0, 14, bar.symbol, size=12, weight="bold")
    wide = BAR_ROOM * bar.age_sessions / oldest if bar.age_sessions and oldest else 0
    group = add(into, "g", {})
    add(group, "title", {}, f"{bar.symbol}: {bar.status}, {bar.reason}")
    box = {"x": LABELS, "y": 3.0, "width": max(wide, 3.0), "height": ROW - 8.0}
    add(group, "rect", {**box, "fill": _COLOURS[bar.status]})
    age = (
        "no bar" if bar.age_sessions is None else f"{bar.age_sessions:g} session{'' if bar.age_sessions == 1 else 's'}"
    )
    text(into, LABELS + max(wide, 3.0) + 8, 14, age, size=12)
    text(into, LABELS + BAR_ROOM + 92, 14, bar.reason, size=12, fill=FAINT)
