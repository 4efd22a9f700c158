"""What becomes of every contract and every word of the vocabulary when the frame is not what was hoped for."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from dbt_like_checks.contract import ColumnType, contract, tables
from dbt_like_checks.generic_tests import VOCABULARY, Context
from dbt_like_checks.verification import Verdict, evaluate
from trading_pipeline_tests.checks.frames import FRIDAY, ROWS, frame_of, frames

# Each word with arguments, over the columns of the frames below.
WORDS = {
    "not_null": {"columns": ("x",)},
    "unique": {"columns": ("x", "key")},
    "accepted_values": {"column": "key", "values": ("a",)},
    "accepted_range": {"columns": ("x",), "min": 0, "max": 1},
    "matches": {"column": "key", "pattern": "[a-z]"},
    "relationships": {"column": "key", "to": "keys", "field": "key"},
    "recency": {"column": "session"},
    "sums_to_one": {"column": "x", "by": ("key",)},
    "increasing": {"column": "x", "by": ("key",)},
    "expression_is_true": {"expression": "x >= 0"},
    "row_count": {"min": 1},
}
KNOWN = Context(FRIDAY, related={"keys": pd.DataFrame({"key": ["a"]})})
KEEPS = {"session": [FRIDAY], "key": ["a"], "x": [1.0]}
BREAKS = {
    "not_null": {"x": [None]},
    "unique": {"session": [FRIDAY] * 2, "key": ["a"] * 2, "x": [1.0] * 2},
    "accepted_values": {"key": ["b"]},
    "accepted_range": {"x": [1.5]},
    "matches": {"key": ["A"]},
    "relationships": {"key": ["b"]},
    "recency": {"session": [FRIDAY.replace(day=30)]},
    "sums_to_one": {"x": [0.9]},
    "increasing": {"session": [FRIDAY] * 2, "key": ["a"] * 2, "x": [1.0] * 2},
    "expression_is_true": {"x": [-1.0]},
    "row_count": {"session": [], "key": [], "x": []},
}
SPEAKS_OF_ROWS = set(WORDS) - {"row_count"}


def asked(word, columns):
    frame = pd.DataFrame(columns)
    context = (KNOWN,) if word in {"relationships", "recency"} else ()
    answer = VOCABULARY[word](frame, *context, **WORDS[word])
    return bool(answer.all()) if isinstance(answer, pd.Series) else answer


def test_every_word_is_here():
    assert set(WORDS) == set(BREAKS) == set(VOCABULARY)


@pytest.mark.parametrize("word", WORDS)
def test_a_frame_keeps_it_and_one_change_breaks_it(word):
    assert asked(word, KEEPS)
    assert not asked(word, KEEPS | BREAKS[word])


@pytest.mark.parametrize("word", sorted(SPEAKS_OF_ROWS))
def test_no_row_breaks_nothing(word):
    assert asked(word, {name: pd.Series([], dtype=object) for name in KEEPS})


@pytest.mark.parametrize("word", sorted(SPEAKS_OF_ROWS - {"not_null"}))
@pytest.mark.parametrize("nothing", [None, float("nan"), pd.NA])
def test_a_null_breaks_nothing_but_not_null(word, nothing):
    assert asked(word, {name: pd.Series([nothing], dtype=object) for name in KEEPS})


@pytest.mark.parametrize("table", tables())
def test_an_empty_frame_is_judged_whatever_its_dtypes(table):
    of = contract(table)
    names = [column.name for column in of.columns]
    verdicts = [
        {each.name: each.verdict for each in evaluate(pd.DataFrame({name: [] for name in names}, dtype=dtype), of)}
        for dtype in ("object", "float64", "str")
    ]

    assert verdicts[0] == verdicts[1] == verdicts[2]
    assert (verdicts[0].get("row_count", Verdict.KEPT) is Verdict.KEPT) == of.may_be_empty
    assert {name for name, verdict in verdicts[0].items() if verdict is Verdict.BROKEN} <= {"row_count"}


@pytest.mark.parametrize("table", tables())
def test_a_row_of_nulls_breaks_what_must_be_known_and_the_frame_is_still_judged(table):
    of = contract(table)
    frame = pd.DataFrame({column.name: [None] for column in of.columns}, dtype=object)

    found = {each.name: each for each in evaluate(frame, of, Context(FRIDAY))}

    nullness = {promise.name for promise in of.promises if promise.test == "not_null" and promise.where is None}
    assert {name for name, each in found.items() if each.verdict is Verdict.BROKEN} == nullness


@pytest.mark.parametrize("table", tables())
def test_a_missing_and_an_extra_column_are_named(table):
    of = contract(table)
    frame = pd.DataFrame({column.name: [None] for column in of.columns[1:]} | {"colour": ["red"]}, dtype=object)

    found = {each.name: each for each in evaluate(frame, of, Context(FRIDAY))}

    assert found["columns"].detail == f"missing: {of.columns[0].name}; not in the contract: colour"
    for promise in of.promises:
        if of.columns[0].name in promise.columns:
            assert found[promise.name].detail == f"column missing: {of.columns[0].name}"


WRONG = {
    ColumnType.STR: 3,
    ColumnType.FLOAT: "three",
    ColumnType.INT: 1.5,
    ColumnType.BOOL: "yes",
    ColumnType.DATE: "2026-07-31",
    ColumnType.DECIMAL: 1.5,
    ColumnType.TIMESTAMP: "noon",
}


@pytest.mark.parametrize("table", tables())
def test_values_of_another_type_are_pointed_at_in_every_column(table):
    of = contract(table)
    frame = pd.DataFrame({each.name: pd.Series([None, WRONG[each.type]], dtype=object) for each in of.columns})

    found = {each.name: each for each in evaluate(frame, of, Context(FRIDAY))}

    assert found["types"].failing_rows == 1
    assert found["types"].detail == "; ".join(f"{each.name} is not all {each.type}" for each in of.columns)


@pytest.mark.parametrize("table", ROWS)
def test_the_frames_of_a_session_hold_values_of_their_types(table):
    found = {each.name: each for each in evaluate(frames()[table], contract(table), Context(FRIDAY))}

    assert found["types"].passed
    assert found["columns"].passed


@pytest.fixture(scope="module")
def million():
    count, per_session = 1_000_000, 4_000
    days = pd.Series(pd.bdate_range(end=FRIDAY, periods=count // per_session).date, dtype=object)
    close = 100 + np.arange(count) % 997 / 10
    return pd.DataFrame(
        {
            "session": days.repeat(per_session).to_numpy(),
            "symbol": np.tile([f"S{number}" for number in range(per_session)], count // per_session),
            "open": close,
            "high": close + 1,
            "low": close - 1,
            "close": close,
            "volume": 1e6,
        }
    )


def test_a_million_bars_are_judged(million):
    assert [each.name for each in evaluate(million, contract("bars"), Context(FRIDAY)) if not each.passed] == []


def test_the_few_wrong_of_a_million_bars_are_pointed_at(million):
    wrong = million.copy()
    wrong.loc[7, "close"] = np.nan
    wrong.loc[999_999, "low"] = -1.0
    wrong.loc[500_000, ["session", "symbol"]] = wrong.loc[500_001, ["session", "symbol"]]

    found = {each.name: each for each in evaluate(wrong, contract("bars"), Context(FRIDAY)) if not each.passed}

    assert {name: each.failing_rows for name, each in found.items()} == {
        "not_null": 1,
        "prices_are_positive": 1,
        "unique_grain": 2,
    }
    assert {each.checked_rows for each in found.values()} == {1_000_000}
    assert list(found["not_null"].sample.index) == [7]


def test_decimals_that_are_not_numbers_are_nulls_or_pointed_at():
    frame = frame_of("fills", [ROWS["fills"][0] | {"quantity": Decimal("NaN")}])

    found = {each.name: each for each in evaluate(frame, contract("fills"), Context(FRIDAY))}

    assert not found["not_null"].passed or not found["types"].passed
