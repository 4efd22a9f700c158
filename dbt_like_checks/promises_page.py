"""One self-contained page of all promises, with what was last found of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dbt_like_checks.contract import Contract, Promise, Severity
from dbt_like_checks.findings import BROKEN, KEPT, NOT_JUDGED, Finding, Findings
from dbt_like_checks.promises_template import PAGE
from dbt_like_checks.singular_tests import SingularTest, singular_on

_LOOKS = {KEPT: "kept", BROKEN: "broken", NOT_JUDGED: "unjudged"}
_CONSEQUENCES = {Severity.ERROR: "stops what follows", Severity.WARN: "is only shown"}
_ORDER = ("broken", "warned", "unjudged", "kept")
_WORDS = {"kept": "kept", "broken": "broken", "warned": "broken, only shown", "unjudged": "not judged"}


def promises_page(
    contracts: Sequence[Contract], singular: Sequence[SingularTest], results: Findings | None = None
) -> str:
    """Return the HTML page: each table with its columns, its promises as sentences and their last result.

    Without ``results`` it says what is promised and nothing of what was found.
    """
    # Only this page needs it.
    from jinja2 import Environment, StrictUndefined

    tables = [_Section(each, singular_on(each.table, singular), results).shown() for each in contracts]
    rows = [row for table in tables for row in table["promises"]]
    page = Environment(autoescape=True, undefined=StrictUndefined).from_string(PAGE)
    return page.render(
        tables=tables,
        promises=len(rows),
        singular=len(singular),
        results=results and {"at": _instant(results.at), "session": results.session, "where": results.where},
        chips=_chips(rows),
        broken=[row for row in rows if row["verdict"] == BROKEN],
        left_out=results.left_out if results else {},
    )


@dataclass(frozen=True)
class _Section:
    contract: Contract
    singular: Sequence[SingularTest]
    results: Findings | None

    def shown(self) -> dict[str, Any]:
        of = self.contract
        promises: Sequence[Promise | SingularTest] = (*of.promises, *self.singular)
        # What is wrong first; the rest as the contract has it.
        rows = sorted(map(self.row, promises), key=lambda row: _ORDER.index(row["look"]))
        return {
            "name": of.table,
            "description": of.description,
            "grain": of.grain[0].upper() + of.grain[1:],
            "key": ", ".join(of.key),
            "empty": "It may be empty." if of.may_be_empty else "It is never empty.",
            "kept_by": of.kept_by,
            "columns": of.columns,
            "why": _said_once(rows),
            "promises": rows,
            **_state(rows),
        }

    def row(self, promise: Promise | SingularTest) -> dict[str, Any]:
        of = self.contract.table
        known = self.results.found if self.results else ()
        found = [each for each in known if (each.contract, each.promise) == (of, promise.name)]
        verdict = _worst(found)
        look = "warned" if verdict == BROKEN and promise.severity is Severity.WARN else _LOOKS[verdict]
        return {
            "table": of,
            "name": promise.name,
            "anchor": f"{of}.{promise.name}",
            "sentence": promise.sentence,
            "reads": ", ".join(promise.related) if isinstance(promise, SingularTest) else "",
            "consequence": _CONSEQUENCES[promise.severity],
            "verdict": verdict,
            "look": look,
            "lines": _lines(of, found),
            "told": "; ".join(_lines(of, found)),
            "samples": [_sample(each) for each in found if each.sample],
        }


def _worst(found: Sequence[Finding]) -> str:
    verdicts = {each.verdict for each in found}
    return next((verdict for verdict in (BROKEN, NOT_JUDGED) if verdict in verdicts), KEPT if found else NOT_JUDGED)


def _lines(table: str, found: Sequence[Finding]) -> list[str]:
    """Return what there is to say of results that are not plainly kept, by table where several keep one contract."""
    told = {each.table: each.summary.removeprefix(f"{each.verdict}: ") for each in found if each.verdict != KEPT}
    return [words if name == table else f"{name}: {words}" for name, words in told.items()]


def _said_once(rows: Sequence[dict[str, Any]]) -> str:
    """Take the reason from every row, and return it, where nothing of a table could be judged for that one reason."""
    reasons = {str(row["told"]) for row in rows}
    if len(reasons) != 1 or any(row["verdict"] != NOT_JUDGED for row in rows):
        return ""
    for row in rows:
        row["lines"] = []
    return reasons.pop()


def _sample(finding: Finding) -> dict[str, Any]:
    names = list(finding.sample[0])
    shown, of = len(finding.sample), finding.failing_rows
    return {
        "title": f"{finding.table}: {'the' if shown == of else f'{shown} of {of:,}'} rows that break it",
        "names": names,
        "rows": [[row.get(name, "") for name in names] for row in finding.sample],
    }


def _state(rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Return how a table stands, in a word for its look and in words to read."""
    counts = {look: sum(row["look"] == look for row in rows) for look in _ORDER}
    look = next((look for look, count in counts.items() if count), "kept")
    told = ", ".join(f"{count} {_WORDS[look]}" for look, count in counts.items() if count)
    return {"look": look, "told": told}


def _chips(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"look": look, "words": words, "count": sum(row["look"] == look for row in rows)}
        for look, words in _WORDS.items()
    ]


def _instant(text: str) -> str:
    return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M UTC")
