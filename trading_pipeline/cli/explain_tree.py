"""An explanation and a replay as a person reads them in a terminal."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from trading_pipeline.application.replay import Replay, Verdict
from trading_pipeline.application.tracing import Grid, Origin, Step
from trading_pipeline.domain.strategies.rationale_text import LineKind, outline, printable, shortened

if TYPE_CHECKING:
    from trading_pipeline.domain.strategies.rationale import Rationale

MOST_LINES = 40
MOST_ROWS = 25
MOST_DIFFERENCES = 10
INDENT = "  "
DEEPEST = 8
STYLES = {Verdict.EQUAL: "green", Verdict.DIFFERS: "bold red", Verdict.UNKNOWN: "yellow"}


def tree_of(step: Step) -> Tree:
    """Return the steps as a tree: each led to the one above it."""
    tree = Tree(_node(step), guide_style="dim")
    _grow(tree, step)
    return tree


def _grow(tree: Tree, step: Step) -> None:
    for below in step.below:
        _grow(tree.add(_node(below)), below)


def _node(step: Step) -> RenderableType:
    lines: list[RenderableType] = [Text.from_markup(f"[bold cyan]{step.noun}[/] {escape(printable(step.title))}")]
    lines += [Text.from_markup(f"[dim]{escape(name)}:[/] {escape(printable(value))}") for name, value in step.facts]
    if step.grid is not None and step.grid.rows:
        lines.append(_table(step.grid))
    if step.rationale is not None:
        lines += _path(step.rationale)
    origin = _recorded(step.origin)
    return Group(*lines, *([Text(origin, style="dim italic")] if origin else []))


def _recorded(origin: Origin) -> str:
    return "; ".join(value if name == "table" else f"{name} {value}" for name, value in origin.facts())


def _table(grid: Grid) -> Table:
    table = Table(*grid.columns, box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    for row in grid.rows[:MOST_ROWS]:
        table.add_row(*(escape(printable(cell)) for cell in row))
    if len(grid.rows) > MOST_ROWS:
        table.add_row(f"and {len(grid.rows) - MOST_ROWS} more: see --json")
    return table


def _path(rationale: "Rationale") -> Iterable[Text]:
    for line in shortened(outline(rationale), MOST_LINES):
        style = "bold" if line.kind is LineKind.HELD else "yellow" if line.is_closest else ""
        answer = f"   {line.answer}" if line.answer else ""
        mark = "   (closest call)" if line.is_closest else ""
        yield Text(f"{INDENT * (1 + min(line.depth, DEEPEST))}{printable(line.text)}{printable(answer)}{mark}", style)


def replay_of(replay: Replay) -> RenderableType:
    """Return the verdict on each step, what differs, and the bars that were altered."""
    table = Table("step", "verdict", "from", box=box.SIMPLE_HEAD, pad_edge=False)
    for step in replay.steps:
        verdict = f"[{STYLES[step.verdict]}]{step.verdict}[/]"
        table.add_row(step.step, verdict, "\n".join([escape(step.said), *map(escape, _shown(step.differences))]))
    name = f"plan {replay.plan_id}" if replay.plan_id else f"session {replay.session}"
    word = "[bold green]equal[/]" if replay.is_equal else "[bold red]differs[/]"
    head = Text.from_markup(f"[bold]replay[/] of {escape(name)} from the recorded table versions: {word}")
    altered = [
        f"[bold red]altered by hand:[/] {escape(text)}" for text in _shown([str(each) for each in replay.altered])
    ]
    notes = [f"[yellow]note:[/] {escape(note)}" for note in replay.notes]
    return Group(head, table, *map(Text.from_markup, [*altered, *notes]))


def _shown(texts: Iterable[str]) -> list[str]:
    every = list(texts)
    more = [f"and {len(every) - MOST_DIFFERENCES} more"] if len(every) > MOST_DIFFERENCES else []
    return every[:MOST_DIFFERENCES] + more
