"""A contract as one Pandera schema, for verification, tests and notebooks."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pandera.pandas as pa
from pandera.engines import pandas_engine
from pandera.errors import SchemaError, SchemaErrorReason

from dbt_like_checks import column_types, generic_tests
from dbt_like_checks.contract import COLUMNS_TEST, TYPES_TEST, Column, ColumnType, Contract, Promise
from dbt_like_checks.generic_tests import VOCABULARY, Context


class ValuesOfType(pandas_engine.DataType):
    """A column type of a contract, judged by its values: pandas carries dates and decimals as plain objects."""

    def __init__(self, kind: ColumnType) -> None:
        # Pandera's data types are frozen dataclasses.
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "type", kind.value)

    def check(self, pandera_dtype: Any, data_container: Any = None) -> Any:  # noqa: ANN401, ARG002 - Pandera's signature
        """Tell of each value whether it is of this type."""
        fits = column_types.fits(self.kind, data_container)  # type: ignore[attr-defined]  # set past the frozen class
        # Pandera reshapes a frame of failures, however empty, unless the answer is plainly true.
        return True if fits.all() else fits

    def __str__(self) -> str:
        """Return the contract's word for the type."""
        return str(self.type)


def schema(contract: Contract, context: Context | None = None) -> pa.DataFrameSchema:
    """Return the schema that a contract compiles to.

    Columns are strict, of the contract's types, nullable unless the contract
    says otherwise; every other promise that ``context`` allows to judge is a
    check of the promise's name. Validate with ``lazy=True`` and a unique index.
    """
    known = context or Context()
    checks = [
        _check(promise, known)
        for promise in contract.promises
        if promise.test in VOCABULARY and not is_nullability(promise) and missing_context(promise, known) is None
    ]
    columns = {column.name: _column(column, contract) for column in contract.columns}
    return pa.DataFrameSchema(columns, checks=checks, strict=True, unique_column_names=True, name=contract.table)


def is_nullability(promise: Promise) -> bool:
    """Tell whether a promise is what a schema calls *not nullable*."""
    return promise.test == "not_null" and promise.where is None


def promise_of(error: SchemaError, contract: Contract) -> str:
    """Return the name of the promise whose breach an error of the schema reports."""
    match error.reason_code:
        case SchemaErrorReason.DATAFRAME_CHECK | SchemaErrorReason.CHECK_ERROR:
            return str(error.check.name)
        case SchemaErrorReason.WRONG_DATATYPE:
            return TYPES_TEST
        case SchemaErrorReason.SERIES_CONTAINS_NULLS:
            return next(p.name for p in contract.promises if is_nullability(p) and error.schema.name in p.columns)
        case _:
            return COLUMNS_TEST


def missing_context(promise: Promise, context: Context) -> str | None:
    """Return what a promise needs to be judged and is not in the context, or None."""
    if promise.test == "recency":
        return _missing_sessions(promise.arguments.get("sessions", 0), context)
    if promise.test != "relationships":
        return None
    table, field = promise.arguments["to"], promise.arguments["field"]
    if table not in context.related:
        return f"the table {table}"
    return None if field in context.related[table].columns else f"the column {field} of the table {table}"


def _missing_sessions(sessions: int, context: Context) -> str | None:
    if context.session is None:
        return "the expected session"
    return None if len(context.earlier) >= sessions else f"the {sessions} sessions before the expected one"


def truth(promise: Promise, frame: pd.DataFrame, context: Context) -> "pd.Series[bool] | bool":
    """Return whether a promise is kept: by each row of the frame, or by the frame.

    Rows that its ``where`` leaves out keep it.
    """
    kept = _applied(promise, context)
    if promise.where is None:
        return kept(frame)
    chosen = frame[list(generic_tests.columns_of(promise.where))].dropna().query(promise.where, engine="python").index
    verdict = kept(frame.loc[chosen])
    if isinstance(verdict, pd.Series):
        return verdict.reindex(frame.index, fill_value=True)
    return verdict


def _applied(promise: Promise, context: Context) -> Callable[[pd.DataFrame], "pd.Series[bool] | bool"]:
    test = VOCABULARY[promise.test]
    if generic_tests.needs_context(promise.test):
        return lambda frame: test(frame, context, **promise.arguments)
    return lambda frame: test(frame, **promise.arguments)


def _check(promise: Promise, context: Context) -> pa.Check:
    return pa.Check(
        lambda frame: truth(promise, frame, context),
        name=promise.name,
        error=promise.sentence,
        # Nulls are the vocabulary's business.
        ignore_na=False,
        n_failure_cases=1,
    )


def _column(column: Column, contract: Contract) -> pa.Column:
    never_null = any(is_nullability(promise) and column.name in promise.columns for promise in contract.promises)
    return pa.Column(ValuesOfType(column.type), nullable=not never_null, description=column.meaning)
