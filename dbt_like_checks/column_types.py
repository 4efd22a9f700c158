"""What a value of each column type is, whatever dtype pandas chose to carry it."""

import math
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import pandas as pd
from pandas.api import types

from dbt_like_checks.contract import ColumnType


def fits(kind: ColumnType, values: "pd.Series[Any]") -> "pd.Series[bool]":
    """Tell of each value whether it is of the type; a null always is.

    Text may come as pandas' string dtype or as objects, a date is a plain
    ``datetime.date``, a decimal is a ``Decimal``, a timestamp has the time zone
    UTC, and a float is finite. A whole number passes as a float, a float never
    as a whole number.
    """
    known = values.notna()
    if not known.any() or _is_carried_by_dtype(kind, values):
        return ~known | True
    if types.is_object_dtype(values.dtype) or types.is_float_dtype(values.dtype):
        return ~known | values.map(_FITS[kind]).astype(bool)
    return ~known


def read(kind: ColumnType, texts: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return the values that texts stand for; a text that stands for none stays as it is."""
    values = [text if pd.isna(text) else _value(kind, text) for text in texts]
    # As objects, or pandas would turn whole numbers beside a null into floats.
    return pd.Series(values, index=texts.index, dtype=object)


def _is_carried_by_dtype(kind: ColumnType, values: "pd.Series[Any]") -> bool:
    dtype = values.dtype
    match kind:
        case ColumnType.STR if isinstance(dtype, pd.StringDtype):
            return True
        case ColumnType.INT | ColumnType.FLOAT if types.is_integer_dtype(dtype):
            return True
        case ColumnType.FLOAT if types.is_float_dtype(dtype):
            return not values.isin([math.inf, -math.inf]).any()
        case ColumnType.BOOL if types.is_bool_dtype(dtype):
            return True
        case ColumnType.TIMESTAMP if isinstance(dtype, pd.DatetimeTZDtype):
            return str(dtype.tz) == "UTC"
        case _:
            # Reads the objects at the speed of C; it is the answer nearly always.
            return types.is_object_dtype(dtype) and types.infer_dtype(values, skipna=True) == _INFERRED.get(kind)


_INFERRED: Mapping[ColumnType, str] = {
    ColumnType.STR: "string",
    ColumnType.INT: "integer",
    ColumnType.BOOL: "boolean",
    ColumnType.DATE: "date",
    ColumnType.DECIMAL: "decimal",
}

_FITS: Mapping[ColumnType, Callable[[Any], bool]] = {
    ColumnType.STR: lambda value: isinstance(value, str),
    ColumnType.FLOAT: lambda value: (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    ),
    ColumnType.INT: lambda value: isinstance(value, int) and not isinstance(value, bool),
    ColumnType.BOOL: lambda value: isinstance(value, bool),
    ColumnType.DATE: lambda value: isinstance(value, date) and not isinstance(value, datetime),
    ColumnType.DECIMAL: lambda value: isinstance(value, Decimal),
    ColumnType.TIMESTAMP: lambda value: isinstance(value, datetime) and str(value.tzinfo) == "UTC",
}


def _value(kind: ColumnType, text: str) -> object:
    try:
        return _READERS[kind](text)
    except (ValueError, InvalidOperation, KeyError):
        return text


def _instant(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found.astimezone(UTC) if found.tzinfo else found


_READERS: Mapping[ColumnType, Callable[[str], object]] = {
    ColumnType.STR: str,
    ColumnType.FLOAT: float,
    ColumnType.INT: int,
    ColumnType.BOOL: lambda text: {"true": True, "false": False}[text.lower()],
    ColumnType.DATE: date.fromisoformat,
    ColumnType.DECIMAL: Decimal,
    ColumnType.TIMESTAMP: _instant,
}
