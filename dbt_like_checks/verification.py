"""Frames against contracts: one result a promise, or a refusal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import pandas as pd

from dbt_like_checks import column_types
from dbt_like_checks.contract import COLUMNS_TEST, TYPES_TEST, Contract, Promise, Severity
from dbt_like_checks.generic_tests import Context

if TYPE_CHECKING:
    from pandera.errors import SchemaError

SAMPLE_ROWS = 20
TOLD_ROWS = 3
TOLD_PROMISES = 5
TOLD_COLUMNS = 10
TOLD_WIDTH = 24


class Verdict(StrEnum):
    """What was found of a promise; one that could not be judged counts as broken wherever it matters."""

    KEPT = "kept"
    BROKEN = "broken"
    NOT_JUDGED = "not judged"


@dataclass(frozen=True, eq=False)
class Result:
    """What became of one promise on one frame.

    ``failing_rows`` counts the rows that break it, of which ``sample`` holds
    the first twenty; it is 0 where the promise is about the frame as a whole.
    ``detail`` says what else was found, and is empty when there is nothing to
    say.
    """

    name: str
    sentence: str
    severity: Severity
    verdict: Verdict
    checked_rows: int
    failing_rows: int
    sample: pd.DataFrame
    detail: str

    @property
    def passed(self) -> bool:
        """Tell whether the promise was judged and kept."""
        return self.verdict is Verdict.KEPT

    @property
    def summary(self) -> str:
        """The finding in one line."""
        # A question across tables may have more answers than the table has rows.
        of = f" of {self.checked_rows}" if self.failing_rows <= self.checked_rows else ""
        counted = f"{self.failing_rows}{of} rows" if self.failing_rows else ""
        return ": ".join(part for part in (str(self.verdict), counted, self.detail) if part)


class BrokenPromise(ValueError):
    """A table breaks a promise of severity error; the message fits one screen."""

    def __init__(self, table: str, results: Sequence[Result]) -> None:
        """Remember the table and the ``results`` that are not kept."""
        super().__init__(_message(table, results))
        self.table = table
        self.results = tuple(results)


def verify(frame: pd.DataFrame, contract: Contract, context: Context | None = None) -> None:
    """Refuse a frame that breaks a promise of severity error.

    Raises:
        BrokenPromise: at least one such promise is broken, or cannot be judged
            for want of a session or a related table in ``context``.
    """
    broken = [
        result
        for result in evaluate(frame, contract, context)
        if result.severity is Severity.ERROR and not result.passed
    ]
    if broken:
        raise BrokenPromise(contract.table, broken)


def evaluate(frame: pd.DataFrame, contract: Contract, context: Context | None = None) -> tuple[Result, ...]:
    """Return one result a promise, in the contract's order; ``columns`` and ``types`` come first.

    A promise about a column that is missing is broken. The frame is validated
    once, whatever the number of promises.
    """
    return _Examination.of(frame, contract, context or Context()).results()


@dataclass(frozen=True, eq=False)
class _Examination:
    rows: pd.DataFrame
    wrong_columns: str
    contract: Contract
    context: Context
    errors: Mapping[str, Sequence["SchemaError"]]

    @classmethod
    def of(cls, frame: pd.DataFrame, contract: Contract, context: Context) -> "_Examination":
        # Of two columns of one name nobody can say which is meant: neither is there.
        rows = frame.loc[:, ~frame.columns.duplicated(keep=False)].reset_index(drop=True)
        wrong = _wrong_columns([str(name) for name in frame.columns], [column.name for column in contract.columns])
        return cls(rows, wrong, contract, context, _errors_by_promise(rows, contract, context))

    def results(self) -> tuple[Result, ...]:
        return tuple(self.result(promise) for promise in self.contract.promises)

    def result(self, promise: Promise) -> Result:
        verdict, detail = self.finding(promise)
        broken = (
            self.broken_rows(promise) if verdict is Verdict.BROKEN else pd.Series(data=False, index=self.rows.index)
        )
        return Result(
            name=promise.name,
            sentence=promise.sentence,
            severity=promise.severity,
            verdict=verdict,
            checked_rows=len(self.rows),
            failing_rows=int(broken.sum()),
            sample=self.rows[broken].head(SAMPLE_ROWS),
            detail=detail,
        )

    def finding(self, promise: Promise) -> tuple[Verdict, str]:
        from dbt_like_checks.pandera_schema import missing_context

        if promise.test == COLUMNS_TEST:
            return (Verdict.BROKEN if self.wrong_columns else Verdict.KEPT), self.wrong_columns
        if absent := [name for name in promise.columns if name not in self.rows.columns]:
            return Verdict.BROKEN, f"column missing: {', '.join(absent)}"
        if needed := missing_context(promise, self.context):
            return Verdict.NOT_JUDGED, f"{needed} was not given"
        if promise.name in self.errors:
            return Verdict.BROKEN, self.detail(promise)
        return Verdict.KEPT, ""

    def broken_rows(self, promise: Promise) -> "pd.Series[bool]":
        broken = pd.Series(data=False, index=self.rows.index)
        for error in self.errors.get(promise.name, ()):
            if isinstance(error.check_output, pd.Series):
                broken |= ~error.check_output
            elif promise.test == TYPES_TEST:
                column = error.schema.name
                broken |= ~column_types.fits(self.contract.type_of(column), self.rows[column])
            elif promise.test == "not_null":
                broken |= self.rows[error.schema.name].isna()
        return broken

    def detail(self, promise: Promise) -> str:
        errors = self.errors[promise.name]
        if promise.test == TYPES_TEST:
            names = [error.schema.name for error in errors]
            return "; ".join(f"{name} is not all {self.contract.type_of(name)}" for name in names)
        if promise.test == "row_count":
            return f"{len(self.rows)} rows"
        if promise.test == "recency":
            newest = self.rows[promise.arguments["column"]].dropna().max()
            return f"the newest is {newest}, {self.context.session} was expected"
        raised = [error.failure_cases for error in errors if error.check_output is None]
        return f"cannot be judged: {raised[0]}" if raised and isinstance(raised[0], str) else ""


def _errors_by_promise(
    rows: pd.DataFrame, contract: Contract, context: Context
) -> Mapping[str, Sequence["SchemaError"]]:
    # Pandera takes a while to import: whoever only reads contracts does not wait for it.
    from pandera.errors import SchemaErrors

    from dbt_like_checks import pandera_schema

    try:
        pandera_schema.schema(contract, context).validate(rows, lazy=True)
    except SchemaErrors as found:
        by_promise: dict[str, list[SchemaError]] = {}
        for error in found.schema_errors:
            by_promise.setdefault(pandera_schema.promise_of(error, contract), []).append(error)
        return by_promise
    return {}


def _wrong_columns(found: Sequence[str], wanted: Sequence[str]) -> str:
    parts = {
        "missing": [name for name in wanted if name not in found],
        "not in the contract": [name for name in found if name not in wanted],
        "repeated": sorted({name for name in found if found.count(name) > 1}),
    }
    return "; ".join(f"{words}: {', '.join(names)}" for words, names in parts.items() if names)


def _message(table: str, results: Sequence[Result]) -> str:
    told = [_told(result) for result in results[:TOLD_PROMISES]]
    more = len(results) - len(told)
    promises = "promise" if len(results) == 1 else "promises"
    head = f"{table} breaks {len(results)} {promises} of its contract; nothing downstream may use it."
    return "\n".join([head, *told, *([f"and {more} more"] if more else [])])


def _told(result: Result) -> str:
    line = f"- {result.name} ({result.sentence}) {result.summary}"
    if result.sample.empty:
        return line
    rows = result.sample.head(TOLD_ROWS).to_string(max_cols=TOLD_COLUMNS, max_colwidth=TOLD_WIDTH)
    return "\n".join([line, *(f"    {row}" for row in rows.splitlines())])
