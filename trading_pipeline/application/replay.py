"""What came of making a decision again: equal or not, step by step, and the bars that somebody altered."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from trading_pipeline.application.altered_bars import Alteration, alterations, without

if TYPE_CHECKING:
    import pandas as pd

    from trading_pipeline.application.tracing import VersionedTables

MOST_TOLD = 100
"""How many differences of a step are told one by one."""


class Verdict(StrEnum):
    """Whether a step, made again, is what it was."""

    EQUAL = "equal"
    DIFFERS = "differs"
    UNKNOWN = "not replayed"


@dataclass(frozen=True)
class Replayed:
    """One step made again; ``said`` is what it was made from, or why it could not be, ``differences`` in words."""

    step: str
    verdict: Verdict
    said: str = ""
    differences: tuple[str, ...] = ()

    def to_data(self) -> dict[str, Any]:
        """Return the step as data that JSON can hold, at most so many differences one by one."""
        return {
            "step": self.step,
            "verdict": str(self.verdict),
            "said": self.said,
            "differences": list(self.differences[:MOST_TOLD]),
            "differences_in_all": len(self.differences),
        }


def compared(step: str, said: str, differences: Sequence[str]) -> Replayed:
    """Return a step that was made again, with what differs."""
    return Replayed(step, Verdict.DIFFERS if differences else Verdict.EQUAL, said, tuple(differences))


@dataclass(frozen=True)
class Replay:
    """A decision made again. ``altered`` are the bars that are not what was recorded, ``notes`` what else to know."""

    session: date
    plan_id: str
    steps: tuple[Replayed, ...]
    altered: tuple[Alteration, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_equal(self) -> bool:
        """Tell whether no step differs and no bar was altered."""
        return not self.altered and all(step.verdict is not Verdict.DIFFERS for step in self.steps)

    def to_data(self) -> dict[str, Any]:
        """Return it as data that JSON can hold; a missing figure is null."""
        return {
            "session": self.session.isoformat(),
            "plan": self.plan_id,
            "equal": self.is_equal,
            "steps": [step.to_data() for step in self.steps],
            "altered_bars": [_altered(each) for each in self.altered[:MOST_TOLD]],
            "altered_bars_in_all": len(self.altered),
            "notes": list(self.notes),
        }


def _altered(each: Alteration) -> dict[str, Any]:
    figures = {"recorded": each.recorded, "found": each.found}
    return {
        "symbol": each.symbol,
        "session": each.session.isoformat(),
        "column": each.column,
        "table_version": each.version,
        **{name: value if math.isfinite(value) else None for name, value in figures.items()},
    }


class KeptRows(Protocol):
    """The rows that the pipeline wrote, kept apart from the table."""

    def rows(
        self, table: str, version: int | None = None, first: date | None = None, last: date | None = None
    ) -> "pd.DataFrame":
        """Return what a version (None: the newest) must hold of some sessions."""
        ...

    def versions(self, table: str) -> frozenset[int]:
        """Return the versions that the pipeline wrote."""
        ...


@dataclass(frozen=True)
class BarsCheck:
    """Bars against what was recorded of them: those ``altered`` by hand, and ``notes`` on what is no alteration."""

    altered: tuple[Alteration, ...]
    notes: tuple[str, ...] = ()


def check_bars(
    tables: "VersionedTables", kept: KeptRows | None, version: int | None, first: date, last: date
) -> BarsCheck:
    """Compare the bars of ``first`` to ``last`` with what was recorded when they were written.

    Both the ``version`` that decided and the newest are looked at: the files of
    the one may have been altered where they lie, and another may have been
    written by hand since. What the pipeline itself restated since is told, and
    is no alteration.
    """
    stored, now, newest = (
        tables.read("bars", first, last, version),
        tables.read("bars", first, last),
        tables.version("bars"),
    )
    known = frozenset[int]() if kept is None else kept.versions("bars")
    if kept is None or not known or version is None or version < min(known):
        changed = alterations(stored, now, newest)
        notes = ["nothing was kept of how these bars were written: a file that was altered since cannot be told"]
        return BarsCheck((), (*notes, *_counted("changed since the decision, nobody recorded why", changed)))
    recorded = kept.rows("bars", version, first, last)
    # Up to the newest version: of a write that was cut off before it there may be rows, and no version.
    recorded_now = recorded if version == newest else kept.rows("bars", newest, first, last)
    altered = alterations(recorded, stored, version)
    since = without(alterations(recorded_now, now, newest), altered)
    restated = alterations(recorded, recorded_now, newest)
    return BarsCheck((*altered, *since), _counted("restated by the pipeline since the decision", restated))


def _counted(what: str, changed: Sequence[Alteration]) -> tuple[str, ...]:
    if not changed:
        return ()
    bars: Mapping[tuple[str, date], None] = dict.fromkeys((each.symbol, each.session) for each in changed)
    return (f"{'1 bar was' if len(bars) == 1 else f'{len(bars)} bars were'} {what}, such as {changed[0]}",)
