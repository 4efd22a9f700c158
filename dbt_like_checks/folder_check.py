"""Every contract and every singular test over the tables of one folder."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pandas as pd

from dbt_like_checks.contract import Contract, Promise, contract, tables
from dbt_like_checks.findings import NOT_JUDGED, Finding, Findings, finding_of
from dbt_like_checks.generic_tests import Context
from dbt_like_checks.singular_tests import SingularTest, singular_on
from dbt_like_checks.sql_tables import evaluate_singular
from dbt_like_checks.table_files import UnreadableTable
from dbt_like_checks.table_folder import StoredTable, tables_in
from dbt_like_checks.verification import evaluate


def checked(
    folder: Path,
    session: date | None,
    at: str,
    singular: Sequence[SingularTest],
    say: Callable[[str], None] = lambda _: None,
) -> Findings:
    """Return what is found of every promise over the tables of a folder.

    Tables that promise to hold the expected session are judged on the rows of
    ``session``, the newest that any of them has where it is None; others on
    all of their rows. Of a table that is not there, cannot be read, or has not
    come as far as the session, nothing can be judged, and it says so. ``at`` is
    when, for the record; ``say`` hears what is looked at.

    Raises:
        UnreadableTable: the folder cannot be listed, or holds no table that has a contract.
        InvalidContract: a contract or a test cannot be understood.
    """
    stored, left_out = tables_in(folder)
    if not stored:
        raise UnreadableTable(f"{folder} holds no table that has a contract; those are {', '.join(tables())}")
    say(f"looking for sessions in {len(stored)} tables")
    shelf = _Shelf.of(stored, session)
    found: list[Finding] = []
    for number, table in enumerate(stored, start=1):
        rows = shelf.frames.get(table.name)
        say(f"{number} of {len(stored)}: {table.name}{'' if rows is None else f', {len(rows):,} rows'}")
        found += _of_table(table, shelf, singular)
    absent = [name for name in tables() if name not in {table.contract.table for table in stored}]
    for name in absent:
        found += _unjudged(name, contract(name), singular, "no such table is there")
    return Findings(str(folder), shelf.session, at, found, left_out, shelf.unreadable)


@dataclass(frozen=True, eq=False)
class _Shelf:
    """The rows of the session of every table that can be judged, and why the others cannot."""

    session: date | None
    earlier: Sequence[date]
    frames: Mapping[str, pd.DataFrame]
    problems: Mapping[str, str]
    stored: Sequence[StoredTable]
    unreadable: Sequence[str]

    @classmethod
    def of(cls, stored: Sequence[StoredTable], session: date | None) -> "_Shelf":
        problems: dict[str, str] = {}
        late: dict[str, str] = {}
        known = {table.name: days for table in stored if (days := _sessions(table, problems)) is not None}
        every = sorted({day for days in known.values() for day in days}, reverse=True)
        chosen = session if session is not None else next(iter(every), None)
        frames = {}
        for table in stored:
            if table.name not in known:
                continue
            if why := _not_so_far(table, known[table.name], chosen):
                late[table.name] = why
            elif (rows := _rows(table, chosen, problems)) is not None:
                frames[table.name] = rows
        earlier = [day for day in every if chosen is not None and day < chosen]
        return cls(chosen, earlier, frames, problems | late, stored, tuple(problems))

    def by_contract(self) -> Mapping[str, pd.DataFrame]:
        """Return the frames by the names of their contracts; those that share one, together."""
        parts: dict[str, list[pd.DataFrame]] = {}
        for table in self.stored:
            if table.name in self.frames:
                parts.setdefault(table.contract.table, []).append(self.frames[table.name])
        return {name: found[0] if len(found) == 1 else pd.concat(found) for name, found in parts.items()}


def _sessions(table: StoredTable, problems: dict[str, str]) -> set[date] | None:
    try:
        return table.sessions()
    except UnreadableTable as problem:
        problems[table.name] = str(problem)
        return None


def _rows(table: StoredTable, session: date | None, problems: dict[str, str]) -> pd.DataFrame | None:
    try:
        return table.rows(session)
    except UnreadableTable as problem:
        problems[table.name] = str(problem)
        return None


def _not_so_far(table: StoredTable, days: set[date], session: date | None) -> str:
    """Return why nothing can be said yet: a table without a row of the session, or of a later one, is not written."""
    if table.contract.may_be_empty or session is None or not days or max(days) >= session:
        return ""
    return f"it has no rows of {session} yet, the newest are of {max(days)}"


def _of_table(table: StoredTable, shelf: _Shelf, singular: Sequence[SingularTest]) -> Iterable[Finding]:
    of = table.contract
    if table.name not in shelf.frames:
        return _unjudged(table.name, of, singular, shelf.problems[table.name])
    rows, related = shelf.frames[table.name], shelf.by_contract()
    results = [
        *evaluate(rows, of, Context(shelf.session, shelf.earlier, related)),
        *evaluate_singular(singular_on(of.table, singular), {**related, of.table: rows}),
    ]
    return [finding_of(table.name, of.table, result) for result in results]


def _unjudged(table: str, of: Contract, singular: Sequence[SingularTest], why: str) -> list[Finding]:
    promises: Sequence[Promise | SingularTest] = (*of.promises, *singular_on(of.table, singular))
    return [
        Finding(table, of.table, promise.name, promise.sentence, str(promise.severity), NOT_JUDGED, 0, 0, why)
        for promise in promises
    ]
