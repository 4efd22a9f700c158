"""What was found of every promise over a set of tables: for the terminal, for the page, and as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dbt_like_checks.contract import Severity

if TYPE_CHECKING:
    import pandas as pd

    from dbt_like_checks.verification import Result

KEPT, BROKEN, NOT_JUDGED = "kept", "broken", "not judged"
VERDICTS = (KEPT, BROKEN, NOT_JUDGED)


class UnreadableFindings(ValueError):
    """A file that holds no findings; the message names it and says what was wanted."""


@dataclass(frozen=True)
class Finding:
    """What became of one promise on one table: see :class:`dbt_like_checks.verification.Result`.

    ``contract`` is the name of the contract, which several tables may keep;
    ``sample`` holds the first rows that broke it, as texts.
    """

    table: str
    contract: str
    promise: str
    sentence: str
    severity: str
    verdict: str
    checked_rows: int
    failing_rows: int
    detail: str = ""
    sample: Sequence[Mapping[str, str]] = ()

    @property
    def summary(self) -> str:
        """The finding in one line."""
        # A question across tables may have more answers than the table has rows.
        of = f" of {self.checked_rows:,}" if self.failing_rows <= self.checked_rows else ""
        counted = f"{self.failing_rows:,}{of} rows" if self.failing_rows else ""
        return ": ".join(part for part in (self.verdict, counted, self.detail) if part)

    @property
    def is_error(self) -> bool:
        """Tell whether what is broken here must stop what comes after."""
        return self.severity == Severity.ERROR


@dataclass(frozen=True)
class Findings:
    """Every finding of one check, ``at`` an instant (UTC, as ISO); what was left out and why; what cannot be read."""

    where: str
    session: date | None
    at: str
    found: Sequence[Finding]
    left_out: Mapping[str, str] = field(default_factory=dict)
    unreadable: Sequence[str] = ()

    def count(self, verdict: str) -> int:
        """Return how many promises had a verdict."""
        return sum(finding.verdict == verdict for finding in self.found)

    def failures(self, *, strict: bool = False) -> Sequence[Finding]:
        """Return what is broken of severity error; ``strict`` counts what could not be judged too."""
        bad = {BROKEN, NOT_JUDGED} if strict else {BROKEN}
        return [finding for finding in self.found if finding.is_error and finding.verdict in bad]

    def to_json(self) -> str:
        """Return all of it as JSON, with the counts of each verdict."""
        data = asdict(self) | {"session": None if self.session is None else str(self.session)}
        counts = {verdict: self.count(verdict) for verdict in VERDICTS}
        return json.dumps(data | {"counts": counts}, indent=2) + "\n"


def finding_of(table: str, contract: str, result: "Result") -> Finding:
    """Return a result as a finding."""
    return Finding(
        table,
        contract,
        result.name,
        result.sentence,
        str(result.severity),
        str(result.verdict),
        result.checked_rows,
        result.failing_rows,
        result.detail,
        _texts(result.sample),
    )


def _texts(rows: "pd.DataFrame") -> Sequence[Mapping[str, str]]:
    import pandas as pd

    return [
        {str(name): "" if pd.isna(value) else str(value) for name, value in row.items()}
        for row in rows.to_dict("records")
    ]


def read_findings(path: Path) -> Findings:
    """Return the findings that ``check FOLDER --json`` wrote.

    Raises:
        UnreadableFindings: the file cannot be read, or is something else.
    """
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Findings(
            where=str(data["where"]),
            session=None if data["session"] is None else date.fromisoformat(data["session"]),
            at=datetime.fromisoformat(data["at"]).isoformat(),
            found=[Finding(**each) for each in data["found"]],
            left_out=dict(data["left_out"]),
            unreadable=list(data["unreadable"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise UnreadableFindings(
            f"{path}: no findings of `check FOLDER --json`: {type(problem).__name__}: {problem}"
        ) from problem
