"""What pages and mails are made of: sections of figures, tables and drawings, and how a figure is written.

A page is first a value (:class:`Document`), then a template makes HTML or text
of it. Whatever is written is escaped by the template engine; drawings alone
are markup already, made by an XML library. What is not known is written as a
dash and never as a zero.
"""

import functools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
MINUS = "\N{MINUS SIGN}"
UNKNOWN = "\N{EN DASH}"
NOT_DRAWN = "Drawings are left out in neutral mode."
THIN = "\N{NARROW NO-BREAK SPACE}"
BASIS_POINTS = 10_000
MILLISECONDS = 1000
_UNBREAKABLE = re.compile(rf"([+{MINUS}]?\$[\d,.]*\d|\d{{4}}-\d\d-\d\d)")
GOOD, BAD, WARN, FAINT = "good", "bad", "warn", "faint"


@dataclass(frozen=True)
class Cell:
    """A figure or text; ``tone`` is good, bad, warn, faint or empty, ``fill`` how full a bar below it is (0 to 1)."""

    text: str
    tone: str = ""
    fill: float | None = None
    link: str = ""


@dataclass(frozen=True)
class Column:
    """A heading; numbers stand at the right, with digits of one width."""

    title: str
    is_number: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of cells under columns; ``note`` is written below."""

    columns: tuple[Column, ...]
    rows: Sequence[Sequence[Cell]]
    note: str = ""

    def head(self, most: int) -> "Table":
        """Return the first rows, with a note of how many were left out."""
        left = len(self.rows) - most
        return self if left <= 0 else Table(self.columns, self.rows[:most], f"and {left:,} more on the page")


@dataclass(frozen=True)
class Tile:
    """A figure that stands alone: what it is, its value, and what to compare it with."""

    label: str
    value: str
    note: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Section:
    """A part of a page: what is said, then tables, then drawings (SVG)."""

    anchor: str
    title: str
    words: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    drawings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Document:
    """A whole page.

    Attributes:
        title: the heading.
        chips: short labels beside it, such as the mode, each with a tone.
        lead: a sentence below it.
        attention: what needs a person's look, each as a sentence; empty where nothing does.
        tiles: the headline figures.
        sections: the rest.
        foot: how and when it was made.
    """

    title: str
    chips: tuple[Cell, ...] = ()
    lead: str = ""
    attention: tuple[str, ...] = ()
    tiles: tuple[Tile, ...] = ()
    sections: tuple[Section, ...] = ()
    foot: tuple[str, ...] = field(default=())


def redacted(document: Document, hide: Callable[[str], str]) -> Document:
    """Return a document with each text as ``hide`` leaves it; bars and drawings are figures too, and left out."""
    return Document(
        title=hide(document.title),
        chips=tuple(_hidden_cell(chip, hide) for chip in document.chips),
        lead=hide(document.lead),
        attention=tuple(map(hide, document.attention)),
        tiles=tuple(Tile(hide(each.label), hide(each.value), hide(each.note), each.tone) for each in document.tiles),
        sections=tuple(
            Section(
                each.anchor,
                hide(each.title),
                (*map(hide, each.words), *((NOT_DRAWN,) if each.drawings else ())),
                tuple(_hidden_table(table, hide) for table in each.tables),
            )
            for each in document.sections
        ),
        foot=tuple(map(hide, document.foot)),
    )


def _hidden_table(table: Table, hide: Callable[[str], str]) -> Table:
    rows = [[_hidden_cell(cell, hide) for cell in row] for row in table.rows]
    return Table(table.columns, rows, hide(table.note))


def _hidden_cell(cell: Cell, hide: Callable[[str], str]) -> Cell:
    return Cell(hide(cell.text), cell.tone, None, cell.link)


def columns(*titles: str) -> tuple[Column, ...]:
    """Return columns by their titles; those that begin with ``#`` are numbers.

    >>> columns("Symbol", "#Shares")
    (Column(title='Symbol', is_number=False), Column(title='Shares', is_number=True))
    """
    return tuple(Column(title.removeprefix("#"), title.startswith("#")) for title in titles)


def is_known(value: object) -> bool:
    """Tell whether a value of a table is neither null nor not a number.

    >>> [is_known(value) for value in (None, float("nan"), Decimal("NaN"), 0, "")]
    [False, False, False, True, True]
    """
    return value is not None and value == value and str(value) != "NaT"  # noqa: PLR0124 - NaN differs from itself


def money(value: Decimal | float | None, *, signed: bool = False) -> str:
    r"""Return dollars to the cent.

    >>> money(Decimal("1234.505")), money(Decimal("-0.001"), signed=True), money(Decimal(2), signed=True)
    ('$1,234.50', '$0.00', '+$2.00')
    >>> money(Decimal("-2")) == "\N{MINUS SIGN}$2.00", money(None) == UNKNOWN
    (True, True)
    """
    if value is None or not is_known(value):
        return UNKNOWN
    cents = Decimal(str(value)).quantize(Decimal("0.01"), ROUND_HALF_EVEN)
    return f"{_sign(cents, signed=signed)}${abs(cents):,.2f}"


def quantity(value: Decimal | float | None) -> str:
    """Return shares, with as many decimals as there are and four at most.

    >>> quantity(Decimal("2970.297469300")), quantity(Decimal("3.000000000")), quantity(Decimal(-1)) == MINUS + "1"
    ('2,970.2975', '3', True)
    """
    if value is None or not is_known(value):
        return UNKNOWN
    shares = Decimal(str(value)).quantize(Decimal("0.0001"), ROUND_HALF_EVEN)
    text = f"{abs(shares):,.4f}".rstrip("0").rstrip(".")
    return f"{MINUS if shares < 0 else ''}{text}"


def percent(value: Decimal | float | None, *, signed: bool = False, places: int = 1) -> str:
    """Return a fraction in percent.

    >>> percent(0.12345), percent(-0.0001, signed=True), percent(0.02, signed=True), percent(math.nan) == UNKNOWN
    ('12.3\u202f%', '0.0\u202f%', '+2.0\u202f%', True)
    """
    if value is None or not is_known(value) or math.isinf(value):
        return UNKNOWN
    shown = round(Decimal(str(value)) * 100, places)
    return f"{_sign(shown, signed=signed)}{abs(shown):,.{places}f}{THIN}%"


def basis_points(value: float | None) -> str:
    """Return basis points with their sign.

    >>> basis_points(3.14159)
    '+3.1\u202fbp'
    """
    if value is None or not is_known(value):
        return UNKNOWN
    shown = round(Decimal(str(value)), 1)
    return f"{_sign(shown, signed=True)}{abs(shown):,.1f}{THIN}bp"


def seconds(value: float | None) -> str:
    """Return a duration, below a second in milliseconds.

    >>> seconds(0.0123), seconds(2.5), seconds(math.nan) == UNKNOWN
    ('12\u202fms', '2.50\u202fs', True)
    """
    if value is None or not is_known(value):
        return UNKNOWN
    return f"{value * MILLISECONDS:,.0f}{THIN}ms" if value < 1 else f"{value:,.2f}{THIN}s"


def figure(value: float | None) -> str:
    """Return a plain figure of four digits.

    >>> figure(20042.4301), figure(0.007279), figure(-1.5) == MINUS + "1.5"
    ('20,042', '0.007279', True)
    """
    if value is None or not is_known(value):
        return UNKNOWN
    large = 1000
    text = f"{abs(value):,.0f}" if abs(value) >= large else f"{abs(value):.4g}"
    return f"{MINUS if value < 0 else ''}{text}"


def instant(value: datetime | None) -> str:
    """Return an instant in UTC.

    >>> instant(datetime(2026, 7, 31, 14, 31, 5, tzinfo=UTC))
    '2026-07-31 14:31:05 UTC'
    """
    if value is None or not is_known(value):
        return UNKNOWN
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "order"), counted(1200, "order")
    ('1 order', '1,200 orders')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def day(value: date | None) -> str:
    """Return a date, or a dash."""
    return str(value) if value is not None and is_known(value) else UNKNOWN


def tone_of(value: Decimal | float | None) -> str:
    """Return good for a gain, bad for a loss, nothing for neither."""
    if value is None or not is_known(value):
        return FAINT
    return GOOD if value > 0 else BAD if value < 0 else ""


def signed_money(value: Decimal | float | None) -> Cell:
    """Return a gain or loss as a cell, toned by its sign to the cent."""
    text = money(value, signed=True)
    return Cell(text, tone_of(value) if text != "$0.00" else "")


def _sign(value: Decimal, *, signed: bool) -> str:
    return MINUS if value < 0 else "+" if signed and value > 0 else ""


@functools.cache
def environment() -> "Environment":
    """Return the template engine; it escapes everything and refuses names that it does not know."""
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["style"] = _style()
    made.filters["drawing"] = _inlined
    made.filters["unbroken"] = _unbroken
    return made


def render(template: str, **values: Any) -> str:  # noqa: ANN401 - whatever the template shows
    """Return a template filled with values."""
    return environment().get_template(template).render(**values)


def render_document(template: str, document: Document, **values: Any) -> str:  # noqa: ANN401 - likewise
    """Return a template filled with a document."""
    return render(template, document=document, **values)


def _style() -> Any:  # noqa: ANN401 - markup
    from markupsafe import Markup

    # Our own file, nothing of which comes from outside.
    return Markup((TEMPLATES / "_style.css").read_text(encoding="utf-8"))  # noqa: S704


def _inlined(svg: str) -> Any:  # noqa: ANN401 - markup
    """Return a drawing as part of a page; its size is the page's to say, and its identifiers must not meet others."""
    from markupsafe import Markup

    # Drawings are written by an XML library, which escapes what comes from outside.
    return Markup(re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", svg, count=1))  # noqa: S704


def _unbroken(words: str) -> Any:  # noqa: ANN401 - markup
    """Return words as markup in which no amount and no date is broken at the end of a line."""
    from markupsafe import Markup, escape

    parts = _UNBREAKABLE.split(words)
    # The pattern has one group, so that every second part is what it found.
    kept = (
        Markup('<span class="whole">{}</span>').format(part) if place % 2 else escape(part)
        for place, part in enumerate(parts)
    )
    return Markup("").join(kept)
