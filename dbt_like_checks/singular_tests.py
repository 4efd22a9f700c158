"""Singular tests: one question across several tables, asked in SQL; the rows that come back break the promise.

A file's name is the test's name. It begins with comments, up to the first line
that is none: first the promise, in one sentence, then what is known of it:

    -- Every fill belongs to an approved order of its symbol and side.
    -- tables: fills, approved_orders
    -- on: fills
    -- severity: error

``tables`` are all that the body reads, by the names of their contracts; ``on``
is the one on whose page the check is shown, the last of them in the lineage.
``severity`` may be left out and is then error. The body is one SELECT.

Nulls: a comparison with a null is neither true nor false, so that its row does
not come back: as everywhere here, only ``not_null`` speaks of nulls. A value
that is not a number (NaN) counts as null. Empty tables: no row, no breach, unless the body asks
for what is not there.

Reading these files needs no package; what the body says is judged by
:mod:`dbt_like_checks.sql_tables`.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dbt_like_checks.contract import Severity, contract, tables
from dbt_like_checks.placed_yaml import InvalidContract

__all__ = ["SingularTest", "load_singular", "singular_on", "singular_tests"]

FOLDER = Path(__file__).parent / "singular"
_REQUIRED, _OPTIONAL = ("tables", "on"), ("severity",)
_KEY = re.compile(r"([A-Za-z_]\w*):(?:\s+(.*))?$")


@dataclass(frozen=True)
class SingularTest:
    """One question across tables: ``sql`` is the whole file, so that its lines are those of ``path``."""

    name: str
    sentence: str
    tables: tuple[str, ...]
    on: str
    severity: Severity
    sql: str
    path: Path

    @property
    def related(self) -> tuple[str, ...]:
        """The tables that it reads besides the one that shows it."""
        return tuple(table for table in self.tables if table != self.on)


@dataclass(frozen=True)
class _Line:
    path: Path
    number: int
    text: str

    def error(self, message: str) -> InvalidContract:
        return InvalidContract(f"{self.path}:{self.number}: {message}")


@functools.cache
def singular_tests(folder: Path = FOLDER) -> tuple[SingularTest, ...]:
    """Return the tests of a folder in alphabetical order; each file is read once.

    Raises:
        InvalidContract: a file's header cannot be understood.
    """
    return tuple(load_singular(path) for path in sorted(folder.glob("*.sql")))


def singular_on(table: str, tests: Sequence[SingularTest] | None = None) -> tuple[SingularTest, ...]:
    """Return those of ``tests`` (by default, all that are here) which are shown on a table.

    Raises:
        InvalidContract: a test is named like a promise of the table's contract.
    """
    found = tuple(test for test in (singular_tests() if tests is None else tests) if test.on == table)
    taken = {promise.name for promise in contract(table).promises} if found else set()
    for test in found:
        if test.name in taken:
            raise InvalidContract(f"{test.path}:1: {table} has a promise named {test.name!r} already; rename the file")
    return found


def load_singular(path: Path) -> SingularTest:
    """Return the test that an SQL file holds; its body is not looked at yet.

    Raises:
        InvalidContract: the file cannot be read, or its header not be understood; the message names file and line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise InvalidContract(f"{path}: cannot be read: {problem}") from problem
    words, given = _split(_header(path, text))
    first = _Line(path, 1, "")
    for key in _REQUIRED:
        if key not in given:
            raise first.error(f"the header has no line `-- {key}: …`")
    if not re.fullmatch(r"[A-Za-z0-9_]+", path.stem):
        raise first.error(f"{path.stem!r} cannot name a test: letters, digits and _ only")
    read = _tables(given["tables"])
    return SingularTest(path.stem, _sentence(words, first), read, _on(given["on"], read), _severity(given), text, path)


def _header(path: Path, text: str) -> list[_Line]:
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.startswith("--"):
            break
        found.append(_Line(path, number, line.removeprefix("--").strip()))
    return found


def _split(header: Sequence[_Line]) -> tuple[list[str], Mapping[str, _Line]]:
    """Return the words of the promise, and the lines of the keys."""
    words, given = list[str](), dict[str, _Line]()
    for line in header:
        match = _KEY.match(line.text)
        if match is None:
            words += _words(line, given)
            continue
        key, value = match[1], match[2] or ""
        if key not in (*_REQUIRED, *_OPTIONAL):
            raise line.error(f"unknown key {key!r}; known here: {', '.join((*_REQUIRED, *_OPTIONAL))}")
        if key in given:
            raise line.error(f"{key!r} is given twice; keep one")
        given[key] = _Line(line.path, line.number, value.strip())
    return words, given


def _words(line: _Line, given: Mapping[str, _Line]) -> list[str]:
    if given:
        raise line.error(f"the promise comes before the keys; what is {line.text!r}? Notes stand below an empty line")
    return [line.text] if line.text else []


def _sentence(words: Sequence[str], first: _Line) -> str:
    sentence = " ".join(words)
    if not sentence:
        raise first.error("the file begins with a comment that says the promise in one sentence")
    if not sentence.endswith("."):
        raise first.error(f"the promise is one sentence and ends with a full stop, was {sentence!r}")
    return sentence


def _tables(line: _Line) -> tuple[str, ...]:
    names = tuple(name.strip() for name in line.text.split(","))
    for name in names:
        if name not in tables():
            raise line.error(f"unknown table {name!r}; known are {', '.join(tables())}")
    if len(set(names)) < len(names):
        raise line.error(f"a table is named twice: {line.text}")
    return names


def _on(line: _Line, read: Sequence[str]) -> str:
    if line.text not in read:
        raise line.error(f"on is one of the tables that are read ({', '.join(read)}), was {line.text!r}")
    return line.text


def _severity(given: Mapping[str, _Line]) -> Severity:
    line = given.get("severity")
    if line is None:
        return Severity.ERROR
    if line.text not in set(Severity):
        raise line.error(f"severity is {' or '.join(Severity)}, was {line.text!r}")
    return Severity(line.text)
