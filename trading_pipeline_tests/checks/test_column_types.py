from datetime import UTC, date, datetime
from decimal import Decimal

import pandas as pd
import pytest

from dbt_like_checks import column_types
from dbt_like_checks.contract import ColumnType

INSTANT = datetime(2026, 7, 31, 20, tzinfo=UTC)

GOOD = [
    ("str", pd.Series(["a", None], dtype="str")),
    ("str", pd.Series(["a", None], dtype=object)),
    ("float", pd.Series([1.5, None])),
    ("float", pd.Series([1, 2])),
    ("float", pd.Series([1.5, None], dtype=object)),
    ("int", pd.Series([1, 2])),
    ("int", pd.Series([1, None], dtype="Int64")),
    ("int", pd.Series([1, None], dtype=object)),
    ("bool", pd.Series([True, False])),
    ("bool", pd.Series([True, None], dtype=object)),
    ("date", pd.Series([date(2026, 7, 31), None], dtype=object)),
    ("decimal", pd.Series([Decimal("1.5"), None], dtype=object)),
    ("timestamp", pd.Series([INSTANT, None], dtype="datetime64[us, UTC]")),
    ("timestamp", pd.Series([INSTANT, None], dtype="datetime64[ns, UTC]")),
    ("timestamp", pd.Series([INSTANT, None], dtype=object)),
]
BAD = [
    ("str", pd.Series([1, 2])),
    ("float", pd.Series(["1.5", "2"], dtype="str")),
    ("float", pd.Series([True, False])),
    ("float", pd.Series([float("inf"), float("-inf")])),
    ("float", pd.Series([Decimal(1), Decimal(2)], dtype=object)),
    ("int", pd.Series([1.0, 2.0])),
    ("int", pd.Series([True, True], dtype=object)),
    ("bool", pd.Series([0, 1])),
    ("date", pd.Series([INSTANT, INSTANT], dtype=object)),
    ("date", pd.Series([INSTANT, INSTANT], dtype="datetime64[us, UTC]")),
    ("date", pd.Series(["2026-07-31", "2026-07-31"], dtype="str")),
    ("decimal", pd.Series([1.5, 2.5])),
    ("timestamp", pd.Series([datetime(2026, 7, 31)] * 2)),  # noqa: DTZ001 - naive on purpose
    ("timestamp", pd.Series([INSTANT] * 2).dt.tz_convert("America/New_York")),
]


@pytest.mark.parametrize(("kind", "values"), GOOD)
def test_values_of_a_type_fit_in_whatever_dtype_they_come(kind, values):
    assert column_types.fits(ColumnType(kind), values).all()


@pytest.mark.parametrize(("kind", "values"), BAD)
def test_values_of_another_type_do_not_fit(kind, values):
    assert not column_types.fits(ColumnType(kind), values).any()


@pytest.mark.parametrize("kind", ColumnType)
@pytest.mark.parametrize("dtype", ["object", "float64", "str"])
@pytest.mark.parametrize("length", [0, 2])
def test_nulls_fit_every_type(kind, dtype, length):
    assert column_types.fits(kind, pd.Series([None] * length, dtype=dtype)).all()


def test_the_one_that_does_not_fit_is_pointed_at():
    mixed = pd.Series([Decimal(1), 2.0, None, Decimal(3)], dtype=object)

    assert list(column_types.fits(ColumnType.DECIMAL, mixed)) == [True, False, True, True]


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("str", "SPY", "SPY"),
        ("float", "1.5", 1.5),
        ("int", "3", 3),
        ("bool", "True", True),
        ("date", "2026-07-31", date(2026, 7, 31)),
        ("decimal", "0.100", Decimal("0.100")),
        ("timestamp", "2026-07-31T16:00:00-04:00", INSTANT),
    ],
)
def test_a_text_is_read_as_its_type(kind, text, value):
    values = column_types.read(ColumnType(kind), pd.Series([text, None], dtype="str"))

    assert values[0] == value
    assert column_types.fits(ColumnType(kind), values).all()


@pytest.mark.parametrize("kind", [kind for kind in ColumnType if kind is not ColumnType.STR])
def test_a_text_that_means_nothing_stays_and_does_not_fit(kind):
    values = column_types.read(kind, pd.Series(["abc"], dtype="str"))

    assert list(values) == ["abc"]
    assert not column_types.fits(kind, values).any()
