"""What an explanation is made of: steps that lead from an execution back to the bars, and where each was recorded."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from trading_pipeline.domain.audit import AuditEvent
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.orders import LineageEntry
from trading_pipeline.domain.strategies.rationale_data import to_data

if TYPE_CHECKING:
    import pandas as pd

    from trading_pipeline.domain.strategies.rationale import Rationale

NAMED = 10
"""How many ids a message lists."""


class Noun(StrEnum):
    """What a step is about."""

    FILL = "fill"
    ORDER = "order"
    RISK_DECISION = "risk decision"
    PLAN = "plan"
    PORTFOLIO = "portfolio"
    ALLOCATION = "allocation"
    SIGNAL = "signal"
    READINGS = "readings"
    BARS = "bars"


@dataclass(frozen=True)
class AuditMark:
    """Where the audit log holds a step: the record's ``sequence`` and ``hash``, and what code and settings acted."""

    sequence: int
    hash: str
    code_version: str = ""
    config_hash: str = ""


@dataclass(frozen=True)
class Origin:
    """Where a step was recorded: table and version, Dagster's run and materialisation, code and settings.

    What is not known is None or empty. ``at`` is the UTC instant of the materialisation.
    """

    table: str = ""
    version: int | None = None
    run_id: str = ""
    materialization_id: int | None = None
    at: datetime | None = None
    code_version: str = ""
    config_hash: str = ""
    audit: tuple[AuditMark, ...] = ()

    def facts(self) -> Iterator[tuple[str, str]]:
        """Yield what is known, by name."""
        if self.table:
            yield "table", self.table if self.version is None else f"{self.table}, version {self.version}"
        if self.run_id:
            yield "run", self.run_id
        if self.materialization_id is not None:
            yield "materialisation", str(self.materialization_id)
        if self.at is not None:
            yield "recorded at", instant(self.at)
        if self.code_version:
            yield "code", self.code_version
        if self.config_hash:
            yield "settings", self.config_hash
        if self.audit:
            yield "audit", ", ".join(f"record {mark.sequence} ({mark.hash[:16]})" for mark in self.audit)


def instant(at: datetime) -> str:
    """Return an instant in UTC, to the second.

    >>> instant(datetime(2026, 7, 31, 13, 31, 5, 17, tzinfo=UTC))
    '2026-07-31 13:31:05 UTC'
    """
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


@dataclass(frozen=True)
class Grid:
    """Rows of text under ``columns``."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Step:
    """One step of an explanation, and the steps below it that led to it.

    ``title`` says it in one line, ``facts`` name figures, ``grid`` lists things;
    ``rationale`` is a signal's path, under the name of the strategy.
    """

    noun: Noun
    title: str
    facts: tuple[tuple[str, str], ...] = ()
    origin: Origin = field(default_factory=Origin)
    grid: Grid | None = None
    strategy: str = ""
    rationale: "Rationale | None" = None
    below: "tuple[Step, ...]" = ()

    def walk(self) -> "Iterator[Step]":
        """Yield this step and every step below it, from the top."""
        yield self
        for step in self.below:
            yield from step.walk()

    def to_data(self) -> dict[str, Any]:
        """Return the step as data that JSON can hold.

        Keys: ``step`` (its noun), ``title``, ``facts`` and ``origin`` by name,
        ``rows`` (a list of objects), ``path`` (see
        :func:`trading_pipeline.domain.strategies.rationale_data.to_data`) and
        ``below``, a list of such steps; those that are empty are left out.
        """
        rows = [dict(zip(self.grid.columns, row, strict=True)) for row in self.grid.rows] if self.grid else []
        data = {
            "step": str(self.noun),
            "title": self.title,
            "facts": dict(self.facts),
            "origin": _origin_data(self.origin),
            "rows": rows,
            "path": None if self.rationale is None else to_data(self.rationale),
            "below": [step.to_data() for step in self.below],
        }
        return {name: value for name, value in data.items() if value}


def _origin_data(origin: Origin) -> dict[str, Any]:
    data = {
        "table": origin.table,
        "table_version": origin.version,
        "run_id": origin.run_id,
        "materialization_id": origin.materialization_id,
        "recorded_at": None if origin.at is None else origin.at.isoformat(),
        "code_version": origin.code_version,
        "config_hash": origin.config_hash,
        "audit": [{"sequence": mark.sequence, "hash": mark.hash} for mark in origin.audit],
    }
    return {name: value for name, value in data.items() if value not in (None, "", [])}


@dataclass(frozen=True)
class Materialised:
    """What Dagster recorded of a materialisation; ``tables_read`` are the versions that it was made from."""

    entry: LineageEntry
    at: datetime
    tables_read: Mapping[str, int] = field(default_factory=dict)
    code_version: str = ""


class RunRecords(Protocol):
    """Dagster's record of materialisations; None where it has none, or there is no record at hand."""

    def of(self, entry: LineageEntry) -> Materialised | None:
        """Return that very materialisation."""
        ...

    def newest(self, asset: str, session: date) -> Materialised | None:
        """Return the newest of an asset and session."""
        ...

    def of_plan(self, plan_id: str, session: date) -> Materialised | None:
        """Return the one that stored the plan."""
        ...


class NoRecords:
    """Nothing is at hand."""

    def of(self, entry: LineageEntry) -> Materialised | None:  # noqa: ARG002
        """Return None."""
        return None

    def newest(self, asset: str, session: date) -> Materialised | None:  # noqa: ARG002
        """Return None."""
        return None

    def of_plan(self, plan_id: str, session: date) -> Materialised | None:  # noqa: ARG002
        """Return None."""
        return None


class AuditMarks(Protocol):
    """Where the audit log holds what happened."""

    def of(self, event: AuditEvent, correlation_id: str, about: str = "") -> Sequence[AuditMark]:
        """Return the records of an event, oldest first; empty where there are none.

        ``about`` narrows them to an actor, or to an execution by its id.
        """
        ...


class NoAudit:
    """There is no audit log."""

    def of(self, event: AuditEvent, correlation_id: str, about: str = "") -> Sequence[AuditMark]:  # noqa: ARG002
        """Return nothing."""
        return ()


class VersionedTables(Protocol):
    """Tables of which every version can be read."""

    def version(self, name: str) -> int | None:
        """Return the newest version, or None where the table was never written."""
        ...

    def read(
        self, name: str, first: date | None = None, last: date | None = None, version: int | None = None
    ) -> "pd.DataFrame":
        """Return the rows of sessions ``first`` to ``last`` (None is open-ended) as of a version (None: the newest)."""
        ...


def the_one(asked: str, known: Sequence[str], what: str, remedy: str) -> str:
    """Return the id among ``known`` (newest first) that is ``asked``, or that alone begins with it.

    Of an execution's id, which begins with its instant, the part behind ``::`` will do.

    >>> the_one("tp1-ab", ["tp1-cd01", "tp1-ab02"], "order", "")
    'tp1-ab02'
    >>> the_one("aacc", ["20260731093100000::aacc0157", "20260731093100000::f559d5b3"], "fill", "")
    '20260731093100000::aacc0157'

    Raises:
        InvalidInput: none does, or several do; the message lists what could be meant and ends with ``remedy``.
    """
    if asked in known:
        return asked
    found = list(dict.fromkeys(each for each in known if _begins(each, asked))) if asked else []
    if len(found) == 1:
        return found[0]
    if found:
        raise InvalidInput(f"{len(found)} {what}s begin with {asked!r}: {_listed(found)}; give more of the id")
    nearest = _nearest(asked, known)
    if nearest:
        raise InvalidInput(f"no {what} has the id {asked!r}; did you mean {_listed(nearest)}? {remedy}".rstrip())
    newest = f"the newest are {_listed(known)}" if known else f"there is no {what} at all"
    raise InvalidInput(f"no {what} has the id {asked!r}; {newest}. {remedy}".rstrip())


def _begins(known: str, asked: str) -> bool:
    return known.startswith(asked) or known.rpartition("::")[2].startswith(asked)


def _nearest(asked: str, known: Sequence[str]) -> list[str]:
    from difflib import get_close_matches

    return get_close_matches(asked, known, n=3, cutoff=0.75)


def _listed(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
    return ", ".join(ids[:NAMED]) + more
