"""A drawing of the path that a session took through a strategy's tree, as SVG.

The path runs down on the left, lit; beside each test stands, muted, what the
other side of it would have been. The drawing is a document of its own: no
script, no font, no picture from elsewhere, and whatever comes from outside is
escaped by an XML library.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from xml.etree import ElementTree as ET

from trading_pipeline.domain.strategies.rationale import Rationale
from trading_pipeline.domain.strategies.rationale_text import (
    Line,
    LineKind,
    closest_call,
    decision,
    fraction,
    headline,
    outline,
    printable,
)

WIDTH = 1080
MARGIN = 24
INDENT = 24
DEEPEST = 12
"""What lies deeper is not indented further."""
HEADER = 84
FOOTER = 92
GAP = 12
HEAD_HEIGHT = 30
ROW_HEIGHT = 20
SPINE = 12
"""How far inside a box, from its left edge, the path leaves it."""
TEST_RIGHT = 620
"""Right edge of the boxes of tests; what was not taken stands beyond."""
STUB = 26
RIGHT = WIDTH - MARGIN
BAR_WIDTH = 180
ANSWER_WIDTH = 150
"""Room for a reading and what it led to."""
PADDING = 6
MOST_BOXES = 100
MOST_ROWS = 12
LETTER = 6.9
"""Width of a letter of the labels, about, in pixels."""
FEWEST_LETTERS = 3
"""What is cut shorter says nothing."""

STYLE = """
text{font:13px Helvetica,Arial,'DejaVu Sans',sans-serif;fill:#1d2733}
.t{font-size:20px;font-weight:bold}.b{font-weight:bold}.e{text-anchor:end}.m{fill:#6b7683}.w{fill:#fff}.s{font-size:12px}
.box{fill:#eef4fb;stroke:#1f5fa8;stroke-width:1.5}.near{fill:#fff4e0;stroke:#b86a00;stroke-width:2}
.end{fill:#fdecea;stroke:#b3261e;stroke-width:2}
.stub{fill:#f6f7f8;stroke:#c8ced5;stroke-dasharray:3 3}.held{fill:#1f5fa8}.path{fill:none;stroke:#1f5fa8;stroke-width:3}
.off{fill:none;stroke:#c8ced5;stroke-width:1.5}.kept{fill:#1f5fa8}.left{fill:#b9c3ce}.amber{fill:#8a4f00}
"""

Attributes = Mapping[str, float | str]


@dataclass(frozen=True)
class _Block:
    """A box and what is in it: a head, and the rows below that belong to it; ``top`` is where it begins."""

    head: Line
    rows: tuple[Line, ...]
    top: float

    @property
    def height(self) -> float:
        return _height(len(self.rows))

    @property
    def left(self) -> float:
        return MARGIN + INDENT * min(self.head.depth, DEEPEST)

    @property
    def middle(self) -> float:
        return self.top + HEAD_HEIGHT / 2

    @property
    def spine(self) -> float:
        return self.left + SPINE

    @property
    def right(self) -> float:
        """The right edge: that of the tests, unless the candidates need more room."""
        needed = [self._needed(row) for row in self.rows if row.kind is LineKind.CANDIDATE]
        return RIGHT if needed and self.left + max(needed) > TEST_RIGHT else TEST_RIGHT

    @property
    def bars_left(self) -> float:
        names = max((len(row.text) for row in self.rows if not math.isnan(row.value)), default=0)
        return min(self.left + 24 + LETTER * names + 16, self.right - ANSWER_WIDTH - BAR_WIDTH)

    def _needed(self, row: Line) -> float:
        if math.isnan(row.value):
            return LETTER * (len(row.text) + len(row.answer)) + 60
        return LETTER * len(row.text) + 60 + BAR_WIDTH + max(ANSWER_WIDTH, LETTER * len(row.answer))


def _height(rows: int) -> float:
    return HEAD_HEIGHT + ROW_HEIGHT * rows + (PADDING if rows else 0)


def strategy_drawing(rationale: Rationale, title: str) -> str:
    """Return the drawing as SVG text, 1080 pixels wide; ``title`` is the strategy's name.

    A path of more than 100 boxes is drawn without its middle; of a ranking, or
    of conditions that are combined, the first 11 or 12 are drawn.
    """
    blocks = _blocks(outline(rationale))
    bottom = blocks[-1].top + blocks[-1].height
    root = _root(bottom + FOOTER)
    _add(root, "title", {}, printable(headline(rationale, title)))
    _add(root, "style", {}, STYLE)
    _add(root, "rect", {"width": "100%", "height": "100%", "fill": "#fff"})
    _draw_header(root, rationale, title)
    _add(root, "path", {"class": "path", "d": "".join(_way_to(blocks, place) for place in range(len(blocks)))})
    for block in blocks:
        _draw_block(root, block)
    _draw_footer(root, rationale, bottom + 2 * GAP)
    return ET.tostring(root, encoding="unicode")


def _blocks(lines: Sequence[Line]) -> list[_Block]:
    parts: list[tuple[Line, list[Line]]] = []
    for line in lines:
        if line.kind in {LineKind.PART, LineKind.CANDIDATE} and parts:
            parts[-1][1].append(line)
        else:
            parts.append((line, []))
    shown = [(head, _fewer(rows)) for head, rows in _without_middle(parts)]
    tops = accumulate((_height(len(rows)) + GAP for _, rows in shown), initial=float(HEADER))
    return [_Block(head, rows, top) for (head, rows), top in zip(shown, tops, strict=False)]


def _without_middle(parts: Sequence[tuple[Line, list[Line]]]) -> Sequence[tuple[Line, list[Line]]]:
    if len(parts) <= MOST_BOXES:
        return parts
    first, last = MOST_BOXES // 2, len(parts) - MOST_BOXES // 2
    between = Line(parts[last][0].depth, LineKind.REPEATED, f"... {last - first} steps more ...")
    return [*parts[:first], (between, []), *parts[last:]]


def _fewer(rows: Sequence[Line]) -> tuple[Line, ...]:
    if len(rows) <= MOST_ROWS:
        return tuple(rows)
    shown = rows[: MOST_ROWS - 1]
    return (*shown, replace(shown[0], text=f"{len(rows) - len(shown)} more", answer="", answered=False, value=math.nan))


def _way_to(blocks: Sequence[_Block], place: int) -> str:
    """Return the lit way to a block, from the block that leads to it: the test above, or what it is a part of."""
    block = blocks[place]
    above = next((other for other in reversed(blocks[:place]) if _leads_to(other, block)), None)
    start = HEADER - GAP if above is None else above.top + above.height
    spine = MARGIN + SPINE if above is None else above.spine
    if spine >= block.left:
        return f"M{spine:g},{start:g}V{block.top:g}"
    return f"M{spine:g},{start:g}V{block.middle:g}H{block.left:g}"


def _leads_to(other: _Block, block: _Block) -> bool:
    is_above = other.head.depth == block.head.depth and other.head.kind is LineKind.TEST
    return is_above or other.head.depth < block.head.depth


def _draw_header(root: ET.Element, rationale: Rationale, title: str) -> None:
    _text(root, MARGIN, 36, f"{title}, session {rationale.session}", RIGHT - MARGIN, "t", letter=11)
    _text(root, MARGIN, 58, decision(rationale), RIGHT - MARGIN, "b")


def _draw_block(root: ET.Element, block: _Block) -> None:
    match block.head.kind:
        case LineKind.TEST:
            _draw_box(root, block)
            _draw_not_taken(root, block)
        case LineKind.RANKING:
            _draw_box(root, block)
        case LineKind.HELD:
            _draw_label(root, block, "held", "b w")
        case LineKind.HEADING:
            _draw_label(root, block, "box", "b")
        case _:
            _text(root, block.left + 8, block.middle + 5, block.head.text, RIGHT - block.left, "m")


def _draw_label(root: ET.Element, block: _Block, style: str, ink: str) -> None:
    label = block.head.text.removesuffix(":")
    width = min(LETTER * 1.15 * len(label) + 20, RIGHT - block.left)
    _box(root, block.left, block.top, width, HEAD_HEIGHT, style)
    _text(root, block.left + 10, block.middle + 5, label, width - 10, ink)


def _draw_box(root: ET.Element, block: _Block) -> None:
    width = block.right - block.left
    _box(root, block.left, block.top, width, block.height, _style_of(block))
    taken = _text(root, block.right - 10, block.middle + 5, block.head.answer, width - 150, "b e")
    _text(root, block.left + 10, block.middle + 5, block.head.text, width - taken - 30)
    scale = _Scale.of(block)
    for place, row in enumerate(block.rows):
        y = block.top + HEAD_HEIGHT + ROW_HEIGHT * place
        if row.kind is LineKind.PART:
            _draw_part(root, row, y, block)
        elif math.isnan(row.value):
            _draw_unranked(root, row, y, block)
        else:
            _draw_candidate(root, row, y, block, scale)


def _style_of(block: _Block) -> str:
    is_end = block.head.answered is None or (
        block.head.kind is LineKind.RANKING and not any(row.answered for row in block.rows)
    )
    return "end" if is_end else "near" if block.head.is_closest else "box"


@dataclass(frozen=True)
class _Scale:
    """How bars are drawn: from ``zero``, ``unit`` pixels for one."""

    zero: float
    unit: float

    @classmethod
    def of(cls, block: _Block) -> "_Scale":
        values = [row.value for row in block.rows if not math.isnan(row.value)]
        lowest, highest = min([0.0, *values]), max([0.0, *values])
        unit = BAR_WIDTH / (highest - lowest) if highest > lowest else 0.0
        return cls(block.bars_left - lowest * unit, unit)

    def bar(self, value: float) -> tuple[float, float]:
        """Return left edge and width."""
        length = self.unit * value
        return self.zero + min(length, 0), max(abs(length), 1)


def _draw_candidate(root: ET.Element, row: Line, y: float, block: _Block, scale: _Scale) -> None:
    ink = "s" if row.answered else "s m"
    left, width = scale.bar(row.value)
    _text(root, block.left + 24, y + 14, row.text, block.bars_left - block.left - 30, ink)
    style = "kept" if row.answered else "left"
    place = {"x": f"{left:.1f}", "y": f"{y + 4:g}", "width": f"{width:.1f}", "height": f"{ROW_HEIGHT - 8}"}
    _add(root, "rect", {"class": style, **place})
    _text(root, block.right - 10, y + 14, row.answer, block.right - block.bars_left - BAR_WIDTH - 16, f"{ink} e")


def _draw_unranked(root: ET.Element, row: Line, y: float, block: _Block) -> None:
    room = block.right - block.left - 40
    taken = _text(root, block.right - 10, y + 14, row.answer, room * 0.7, "s m e")
    _text(root, block.left + 24, y + 14, row.text, room - taken - 10, "s m")


def _draw_part(root: ET.Element, row: Line, y: float, block: _Block) -> None:
    left = block.left + 10 + 14 * (row.depth - block.head.depth)
    taken = _text(root, block.right - 10, y + 14, row.answer, (block.right - left) / 2, "s e")
    _text(root, left, y + 14, row.text, block.right - left - taken - 24, "s")


def _draw_not_taken(root: ET.Element, block: _Block) -> None:
    if block.head.not_taken:
        left = TEST_RIGHT + STUB
        width = min(LETTER * len(block.head.not_taken) + 16, RIGHT - left)
        _add(root, "path", {"class": "off", "d": f"M{TEST_RIGHT:g},{block.middle:g}h{STUB:g}"})
        _box(root, left, block.top + 3, width, HEAD_HEIGHT - 6, "stub")
        _text(root, left + 8, block.middle + 4, block.head.not_taken, RIGHT - left - 16, "s m")


def _draw_footer(root: ET.Element, rationale: Rationale, top: float) -> None:
    call = closest_call(rationale)
    if call:
        _text(root, MARGIN, top + 4, f"Closest call: {call}", RIGHT - MARGIN, "amber")
    x = float(MARGIN)
    for symbol, weight in sorted(rationale.weights.items(), key=lambda held: (-held[1], held[0])):
        width = weight * (RIGHT - MARGIN)
        _add(root, "rect", {"class": "held", "x": f"{x:.1f}", "y": top + 18, "width": f"{width - 1:.1f}", "height": 28})
        _text(root, x + 8, top + 37, f"{symbol} {fraction(weight)}", width - 12, "b w")
        x += width


def _root(height: float) -> ET.Element:
    size = {"width": f"{WIDTH}", "height": f"{height:g}", "viewBox": f"0 0 {WIDTH} {height:g}"}
    return ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "role": "img", **size})


def _add(parent: ET.Element, tag: str, attributes: Attributes, text: str = "") -> None:
    words = {name: value if isinstance(value, str) else f"{value:g}" for name, value in attributes.items()}
    ET.SubElement(parent, tag, words).text = text or None


def _box(root: ET.Element, x: float, y: float, width: float, height: float, style: str) -> None:
    _add(root, "rect", {"class": style, "x": x, "y": y, "width": width, "height": height, "rx": 5})


def _text(
    root: ET.Element, x: float, y: float, text: str, room: float, style: str = "", *, letter: float = LETTER
) -> float:
    """Write ``text`` cut to ``room`` pixels; return about how wide that is. Nothing where there is no room."""
    shown = _cut(text, int(room / letter))
    if shown:
        _add(root, "text", {"x": f"{x:.0f}", "y": y, **({"class": style} if style else {})}, shown)
    return letter * len(shown)


def _cut(text: str, letters: int) -> str:
    shown = printable(text)
    if len(shown) <= letters:
        return shown
    return f"{shown[: letters - 1].rstrip()}\N{HORIZONTAL ELLIPSIS}" if letters >= FEWEST_LETTERS else ""
