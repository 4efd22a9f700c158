from datetime import date

import pandas as pd
import pandera.pandas as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbt_like_checks.contract import contract, tables
from dbt_like_checks.generic_tests import Context
from dbt_like_checks.pandera_schema import schema, truth

FRIDAY = date(2026, 7, 31)
ALLOCATION = contract("allocation")
CONTEXT = Context(FRIDAY, related={"asset_catalog": pd.DataFrame({"symbol": ["SPY", "QQQ"]})})

ROWS = st.lists(
    st.tuples(
        st.sampled_from([FRIDAY, date(2026, 7, 30)]),
        st.sampled_from(["SPY", "QQQ", "CASH", "TLT", None]),
        st.sampled_from(["tecl", "cash", None]),
        st.sampled_from([0.0, 0.5, 1.0, 1.5, None]),
        st.sampled_from(["decided", "cash", "guessed", None]),
        st.sampled_from([FRIDAY, date(2026, 8, 3), None]),
    ),
    max_size=4,
)


def is_valid(frame: pd.DataFrame) -> bool:
    try:
        schema(ALLOCATION, CONTEXT).validate(frame, lazy=True)
    except pa.errors.SchemaErrors:
        return False
    return True


@given(rows=ROWS)
@settings(max_examples=25, deadline=None)
def test_the_schema_accepts_what_every_generic_test_accepts_and_nothing_else(rows):
    frame = pd.DataFrame(rows, columns=[column.name for column in ALLOCATION.columns])
    judged = [promise for promise in ALLOCATION.promises if promise.test not in {"columns", "types"}]

    assert is_valid(frame) == all(pd.Series(truth(promise, frame, CONTEXT)).all() for promise in judged)


@pytest.mark.parametrize("table", tables())
def test_every_contract_compiles_to_a_schema_of_its_columns(table):
    compiled = schema(contract(table), Context(FRIDAY))

    assert list(compiled.columns) == [column.name for column in contract(table).columns]
    assert compiled.strict is True


def test_a_column_is_nullable_unless_the_contract_says_otherwise():
    columns = schema(contract("bars")).columns

    assert (columns["close"].nullable, columns["open"].nullable) == (False, True)


def test_a_column_says_its_type_and_meaning():
    column = schema(contract("order_plan")).columns["quantity"]

    assert str(column.dtype) == "decimal"
    assert column.description == "Shares intended."
