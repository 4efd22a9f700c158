"""The page that explains a fill, an order or an allocation: one file, nothing fetched, drawings of the paths inside."""

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trading_pipeline.application.replay import MOST_TOLD, Verdict
from trading_pipeline.domain.strategies.rationale_text import printable
from trading_pipeline.reporting.pages import BAD, GOOD, WARN, Cell, Table, columns, render
from trading_pipeline.reporting.strategy_drawing import strategy_drawing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trading_pipeline.application.replay import Replay, Replayed
    from trading_pipeline.application.tracing import Grid, Step

TEMPLATE = "explanation.html.j2"
NUMBERS = frozenset({"weight", "value", "measured", "limit", "mid", "line", "bars", "missing", "last close"})
TONES = {Verdict.EQUAL: GOOD, Verdict.DIFFERS: BAD, Verdict.UNKNOWN: WARN}


@dataclass(frozen=True)
class Card:
    """One step as the page shows it; ``drawing`` is the address of a picture that holds all of it."""

    noun: str
    title: str
    facts: "Sequence[tuple[str, str]]"
    recorded: "Sequence[tuple[str, str]]"
    table: Table | None
    drawing: str
    below: "Sequence[Card]"


def explanation_page(step: "Step", market: str, replay: "Replay | None" = None) -> str:
    """Return the page as HTML.

    Args:
        step: what is explained, with every step that led to it.
        market: where prices come from; a generated market must be said to be synthetic.
        replay: what came of making the decision again, where that was done.
    """
    chips = [Cell(market, WARN)]
    if replay is not None:
        chips.append(Cell("replay: equal", GOOD) if replay.is_equal else Cell("replay: differs", BAD))
    return render(
        TEMPLATE,
        title=f"Why this {step.noun}?",
        lead=printable(step.title),
        chips=chips,
        card=_card(step),
        replay=None if replay is None else _replay_table(replay),
        altered=[] if replay is None else [str(each) for each in replay.altered[:MOST_TOLD]],
        altered_in_all=0 if replay is None else len(replay.altered),
        notes=() if replay is None else replay.notes,
    )


def _card(step: "Step") -> Card:
    drawing = ""
    if step.rationale is not None:
        # As a picture, so that neither its styles nor its names meet those of the page or of another drawing.
        svg = strategy_drawing(step.rationale, step.strategy)
        drawing = f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
    return Card(
        str(step.noun),
        printable(step.title),
        [(name, printable(value)) for name, value in step.facts],
        list(step.origin.facts()),
        None if step.grid is None or not step.grid.rows else _table(step.grid),
        drawing,
        [_card(below) for below in step.below],
    )


def _table(grid: "Grid") -> Table:
    titles = [f"#{title}" if title in NUMBERS else title for title in grid.columns]
    return Table(columns(*titles), [[Cell(printable(cell)) for cell in row] for row in grid.rows])


def _replay_table(replay: "Replay") -> Table:
    if not any(step.differences for step in replay.steps):
        return Table(columns("step", "verdict", "from"), [_replayed(step)[:3] for step in replay.steps])
    return Table(columns("step", "verdict", "from", "what differs"), [_replayed(step) for step in replay.steps])


def _replayed(step: "Replayed") -> list[Cell]:
    shown = "; ".join(step.differences[:3])
    more = f"; and {len(step.differences) - 3} more" if len(step.differences) > 3 else ""  # noqa: PLR2004
    return [Cell(step.step), Cell(str(step.verdict), TONES[step.verdict]), Cell(step.said), Cell(shown + more)]
