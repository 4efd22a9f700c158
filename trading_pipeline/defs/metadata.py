"""What is said of each materialisation: rows for people, versions for audits."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, cast

import dagster as dg
import numpy as np
import pandas as pd
import pyarrow as pa
from dagster._serdes import deserialize_value, serialize_value

from dbt_like_checks.contract import Column, contract
from trading_pipeline.adapters.neutral_mode import redactor_in_force
from trading_pipeline.adapters.storage.schemas import table_schema
from trading_pipeline.defs.column_lineage import column_lineage
from trading_pipeline.defs.neutral_records import entry
from trading_pipeline.defs.signal_names import is_signal
from trading_pipeline.domain.redaction import Redactor

MOST_ROWS_SHOWN = 60
_COLUMN_TYPES = {
    "date32[day]": "date",
    "double": "float",
    "decimal128(38, 9)": "decimal",
    "int64": "int",
    "timestamp[us, tz=UTC]": "timestamp (UTC)",
}


def column_schema(table: str) -> dg.TableSchema:
    """Return the table's columns as Dagster shows them: type as stored, meaning and unit as the contract says."""
    meanings = {column.name: _meaning(column) for column in contract(contract_name(table)).columns}
    columns = table_schema(table).columns.items()
    return dg.TableSchema([dg.TableColumn(name, _type(kind), meanings.get(name)) for name, kind in columns])


def contract_name(table: str) -> str:
    """Return the name of the contract that a table keeps: its own, or that of every strategy's signals."""
    return "signals" if is_signal(table) else table


def _meaning(column: Column) -> str:
    return f"{column.meaning} ({column.unit})" if column.unit else column.meaning


def definition_metadata(table: str) -> dict[str, Any]:
    """Return the metadata that belongs to an asset's definition."""
    return {"dagster/column_schema": column_schema(table)}


def materialised(
    context: dg.AssetExecutionContext,
    frame: pd.DataFrame,
    metadata: Mapping[str, Any],
    content: pd.DataFrame | None = None,
) -> dg.Output[pd.DataFrame]:
    """Return the frame with what a person wants to see of it, and a data version that its content decides.

    ``content`` is what readers of the partition are given, where that is more than the frame.
    """
    # Through the context: as an argument of Output it is still in beta and warns at every materialisation.
    version = content_hash(frame if content is None else content)
    context.set_data_version(context.asset_key, dg.DataVersion(version))
    upstream = [key.to_user_string() for key in context.assets_def.asset_deps[context.asset_key]]
    lineage = column_lineage(context.asset_key.to_user_string(), upstream)
    return dg.Output(frame, metadata={**shown(metadata), **lineage})


def shown(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata as people may see it: as it is, or in neutral mode without symbols and figures.

    Values are plain, or metadata values of Dagster's. All that assets, checks
    and ops say of their work comes through here.
    """
    redactor = redactor_in_force()
    return dict(told) if redactor is None else {name: _neutral(redactor, name, value) for name, value in told.items()}


def _neutral(redactor: Redactor, name: str, value: Any) -> Any:  # noqa: ANN401 - metadata holds anything
    if not isinstance(value, dg.MetadataValue):
        return redactor.value(name, value)
    data = json.loads(serialize_value(cast("Any", value)))
    return deserialize_value(json.dumps(entry(redactor, name, data)))


def content_hash(frame: pd.DataFrame) -> str:
    """Return a hash of a frame's columns and values."""
    values = pd.util.hash_pandas_object(frame.apply(_hashable), index=False).to_numpy()
    return hashlib.sha256(",".join(frame.columns).encode() + values.tobytes()).hexdigest()[:16]


def _hashable(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return dates and decimals as text, each distinct one once; numbers and text are hashed as they are."""
    if column.dtype != object:
        return column
    places, distinct = pd.factorize(column, use_na_sentinel=False)
    return pd.Series(np.array([str(value) for value in distinct], dtype=object)[places], index=column.index)


def table(frame: pd.DataFrame) -> dg.MetadataValue[Any]:
    """Return the first rows of a frame as a table of text."""
    shown = frame.head(MOST_ROWS_SHOWN)
    rows = shown.to_dict("records")
    records = [dg.TableRecord({str(name): _text(value) for name, value in row.items()}) for row in rows]
    return dg.MetadataValue.table(records, dg.TableSchema([dg.TableColumn(str(name)) for name in frame.columns]))


def _type(kind: pa.DataType) -> str:
    return _COLUMN_TYPES.get(str(kind), str(kind))


def _text(value: object) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.6g}"  # noqa: PLR0124 - NaN is the value that differs from itself
    return "" if value is None or value is pd.NaT else str(value)
