"""Daily bars from a Parquet or CSV file: symbol, session or date, open, high, low, close, volume.

Prices are taken as they are: already adjusted. Other columns are ignored. A row
that lacks open, high, low or volume is close-only and is shown as
open = high = low = close with volume 0.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.sessions import is_session
from trading_pipeline.simulator.generated import SymbolBars

if TYPE_CHECKING:
    import pyarrow as pa

FIGURES = ("open", "high", "low", "close", "volume")
READABLE = (".parquet", ".csv")


def read_history(path: Path) -> Mapping[str, SymbolBars]:
    """Return the bars of each symbol in the file at ``path``.

    Raises:
        InvalidInput: the file is no Parquet or CSV file, lacks a column, or holds
            text for a figure, a close that is not positive, a day on which the
            exchange was shut, or two rows of one symbol and session.
    """
    table = _read_table(path)
    names, codes = _symbols(table, path)
    days = _sessions(table, path)
    figures = np.column_stack([_figures(table, name, path) for name in FIGURES])
    _require_closes(figures[:, 3], path)
    order = np.lexsort((days, codes))
    codes, days, figures = codes[order], days[order], _filled_close_only(figures[order])
    _require_unique(names, codes, days, path)
    bounds = np.searchsorted(codes, np.arange(len(names) + 1))
    return {
        name: SymbolBars(days[first:last], figures[first:last, :4], figures[first:last, 4])
        for name, first, last in zip(names, bounds[:-1], bounds[1:], strict=True)
    }


def _read_table(path: Path) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    if path.suffix.lower() not in READABLE:
        raise InvalidInput(f"the bars file {path} must be a .parquet or .csv file")
    try:
        columns = _wanted(_header(path), path)
        if path.suffix.lower() == ".csv":
            options = pa.csv.ConvertOptions(include_columns=columns)
            return pa.csv.read_csv(path, convert_options=options)
        return pa.parquet.read_table(path, columns=columns)
    except (OSError, pa.ArrowException) as failure:
        reason = str(failure).splitlines()[0]
        raise InvalidInput(f"the bars file {path} cannot be read: {reason}") from failure


def _header(path: Path) -> list[str]:
    import pyarrow.csv
    import pyarrow.parquet

    if path.suffix.lower() == ".csv":
        with pyarrow.csv.open_csv(path) as reader:
            return list(reader.schema.names)
    return list(pyarrow.parquet.read_schema(path).names)


def _wanted(header: list[str], path: Path) -> list[str]:
    day = "session" if "session" in header else "date"
    columns = ["symbol", day, *FIGURES]
    missing = [name for name in columns if name not in header]
    if missing:
        raise InvalidInput(
            f"the bars file {path} lacks {', '.join(missing)}; it needs symbol, session (or date) and "
            f"{', '.join(FIGURES)}, and has {', '.join(header)}"
        )
    return columns


def _symbols(table: "pa.Table", path: Path) -> tuple[list[str], NDArray[np.int64]]:
    """Return the names and, for each row, the place of its name."""
    import pyarrow as pa

    column = table.column("symbol")
    if column.null_count:
        raise InvalidInput(f"the bars file {path} has {column.null_count} rows without symbol")
    encoded = column.cast(pa.string()).combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64)


def _sessions(table: "pa.Table", path: Path) -> NDArray[np.datetime64]:
    import pyarrow as pa

    name = "session" if "session" in table.column_names else "date"
    try:
        days: NDArray[np.datetime64] = table.column(name).cast(pa.date32()).to_numpy().astype("datetime64[D]")
    except pa.ArrowException as failure:
        raise InvalidInput(f"the bars file {path} needs dates like 2026-07-31 in {name}: {failure}") from failure
    if table.column(name).null_count:
        raise InvalidInput(f"the bars file {path} has rows without {name}")
    closed = [day for day in np.unique(days).tolist() if not is_session(day)]
    if closed:
        raise InvalidInput(f"the bars file {path} has bars on {closed[0]}, when the exchange was shut")
    return days


def _figures(table: "pa.Table", name: str, path: Path) -> NDArray[np.float64]:
    import pyarrow as pa

    kind = table.schema.field(name).type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        raise InvalidInput(f"the bars file {path} needs numbers in {name}, found {kind}")
    values = table.column(name).cast(pa.float64()).to_numpy()
    return np.asarray(values, dtype=np.float64)


def _require_closes(closes: NDArray[np.float64], path: Path) -> None:
    wrong = np.flatnonzero(~(np.isfinite(closes) & (closes > 0)))
    if len(closes) == 0:
        raise InvalidInput(f"the bars file {path} has no rows")
    if len(wrong):
        raise InvalidInput(f"the bars file {path} has {len(wrong)} closes that are not positive (row {wrong[0] + 1})")


def _require_unique(names: list[str], codes: NDArray[Any], days: NDArray[Any], path: Path) -> None:
    twice = np.flatnonzero((codes[1:] == codes[:-1]) & (days[1:] == days[:-1]))
    if len(twice):
        symbol, day = names[codes[twice[0]]], days[twice[0]]
        raise InvalidInput(f"the bars file {path} has {symbol} twice on {day}; keep one row a symbol and session")


def _filled_close_only(figures: NDArray[np.float64]) -> NDArray[np.float64]:
    close_only = ~np.isfinite(figures).all(axis=1)
    filled = figures.copy()
    filled[close_only, :3] = figures[close_only, 3:4]
    filled[close_only, 4] = 0.0
    return filled
