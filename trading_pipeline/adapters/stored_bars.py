"""Bars from a Parquet or CSV file of the user's own."""

import csv
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
from pyarrow import compute, parquet
from pyarrow import csv as arrow_csv

from trading_pipeline.domain.bars import (
    COLUMNS,
    FIGURES,
    SHOWN,
    canonical_bars,
    checked_bars,
    described,
    is_symbol,
    out_of_order,
)
from trading_pipeline.domain.errors import InvalidBars, InvalidInput

PARQUET_MAGIC = b"PAR1"
PARQUET_SUFFIXES = frozenset({".parquet", ".pq"})
SAMPLE_BYTES = 4096
EMPTY_TEXTS = ["", "nan", "NaN", "null"]
WANTED = f"{', '.join(COLUMNS)} (date may stand for session)"

Unknown = Literal["refuse", "ignore"]


def read_bars(
    path: Path,
    *,
    symbols: Collection[str] | None = None,
    unknown: Unknown = "ignore",
    known: Collection[str] = (),
) -> pd.DataFrame:
    """Return the bars of a Parquet or CSV file as a Bars frame.

    The columns are those of a Bars frame, ``date`` standing for ``session`` if
    that is absent; others are not read. Open, high, low and volume may be empty.

    Args:
        path: the file; one that begins as Parquet does is Parquet, any other must be CSV.
        symbols: return these alone, and check only their rows; None returns all.
        unknown: whether a symbol that is not ``known`` is a reason to refuse the file.
        known: the symbols that ``unknown="refuse"`` allows.

    Raises:
        InvalidInput: the file is not there, not readable as what it should be, lacks columns or rows, names
            malformed or unknown symbols, or holds none of ``symbols``.
        InvalidBars: rows break the schema of bars, or are not in order.
    """
    table = _read(path)
    if table.num_rows == 0:
        raise InvalidInput(f"{path} has columns and no rows: it must hold at least one bar")
    _check_symbols(path, table, set(known) if unknown == "refuse" else None)
    if symbols is not None:
        table = _only(path, table, symbols)
    try:
        return _checked(table.to_pandas())
    except InvalidBars as error:
        raise InvalidBars(f"{path}: {error}") from error


@dataclass(frozen=True)
class StoredBars:
    """Daily bars out of one file, which is read once for each set of symbols."""

    path: Path
    unknown: Unknown = "ignore"
    known: Collection[str] = ()
    _frames: dict[frozenset[str], pd.DataFrame] = field(default_factory=dict, init=False, repr=False, compare=False)

    def daily_bars(self, symbols: Sequence[str], first: date, last: date) -> pd.DataFrame:
        """Return the bars of ``first`` to ``last`` as a Bars frame; a symbol without bars has no row.

        Raises:
            InvalidInput: as ``read_bars``.
            InvalidBars: as ``read_bars``.
        """
        wanted = frozenset(symbols)
        if wanted not in self._frames:
            self._frames[wanted] = read_bars(self.path, symbols=wanted, unknown=self.unknown, known=self.known)
        bars = self._frames[wanted]
        return bars[bars["session"].between(first, last)].reset_index(drop=True)


def _checked(raw: pd.DataFrame) -> pd.DataFrame:
    bars = canonical_bars(raw)
    misplaced = out_of_order(bars)
    if len(misplaced):
        raise InvalidBars(
            f"{len(misplaced)} of {len(bars)} bars stand below a later session of their symbol, the first: "
            f"{described(misplaced)}. Sort the rows of each symbol by session, oldest first"
        )
    return checked_bars(bars)


def _read(path: Path) -> pa.Table:
    try:
        return _encoded(_read_parquet(path) if _is_parquet(path) else _read_csv(path))
    except (pa.ArrowInvalid, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(
            f"{path} cannot be read: {_first_line(error)}. Write it again as Parquet, or as CSV in UTF-8 with commas"
        ) from error
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}") from error


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _is_parquet(path: Path) -> bool:
    if not path.exists():
        raise InvalidInput(f"{path} is not there: name a Parquet or CSV file of daily bars")
    if not path.is_file():
        raise InvalidInput(f"{path} is a folder: name one Parquet or CSV file of daily bars")
    with path.open("rb") as handle:
        start = handle.read(SAMPLE_BYTES)
    if start.startswith(PARQUET_MAGIC):
        return True
    if path.suffix in PARQUET_SUFFIXES or b"\0" in start or not start:
        raise InvalidInput(
            f"{path} is neither Parquet nor CSV: it begins with {start[:4]!r}, Parquet with {PARQUET_MAGIC!r}, and CSV "
            "is text with a line of column names. Name one Parquet or CSV file of daily bars"
        )
    return False


def _read_parquet(path: Path) -> pa.Table:
    names = _columns(path, parquet.read_schema(path).names)
    table = parquet.ParquetFile(path, read_dictionary=["symbol"]).read(columns=names)
    # The metadata may ask pandas to hide a column in the index; the file's order of columns is its own.
    return table.select(names).replace_schema_metadata(None)


def _read_csv(path: Path) -> pa.Table:
    with path.open(encoding="utf-8-sig", newline="") as handle:
        names = _columns(path, next(csv.reader(handle), []))
    try:
        return _csv_table(path, names, pa.float64())
    except pa.ArrowInvalid:
        # A figure that is text: read all as text, so that the check can name the row.
        return _csv_table(path, names, pa.string())


def _csv_table(path: Path, names: Sequence[str], figure: pa.DataType) -> pa.Table:
    options = arrow_csv.ConvertOptions(
        include_columns=list(names),
        column_types={name: figure if name in FIGURES else pa.string() for name in names},
        null_values=EMPTY_TEXTS,
        strings_can_be_null=True,
    )
    return arrow_csv.read_csv(path, convert_options=options)


def _columns(path: Path, found: Sequence[str]) -> list[str]:
    """Return the names, in the file, of the columns of a Bars frame."""
    session = "session" if "session" in found else "date"
    wanted = [session if name == "session" else name for name in COLUMNS]
    absent = ["session or date" if name == "date" else name for name in wanted if name not in found]
    if absent:
        raise InvalidInput(f"{path} lacks {_listed(absent)}: found the columns {_listed(found)}, wanted {WANTED}")
    twice = [name for name in wanted if list(found).count(name) > 1]
    if twice:
        raise InvalidInput(f"{path} has more than one column {_listed(twice)}: leave one of each")
    return wanted


def _encoded(table: pa.Table) -> pa.Table:
    """Name the columns as a Bars frame does, symbols as a dictionary."""
    named = table.rename_columns(list(COLUMNS))
    symbols = named["symbol"]
    if not pa.types.is_dictionary(symbols.type):
        symbols = symbols.dictionary_encode()
    return named.set_column(0, "symbol", symbols)


def _check_symbols(path: Path, table: pa.Table, known: Collection[str] | None) -> None:
    present = table["symbol"].unique().to_pylist()
    _refuse(path, present, lambda symbol: not is_symbol(symbol), "malformed symbols", "Write them as SPY or BRK.B")
    if known is not None:
        _refuse(
            path,
            present,
            lambda symbol: symbol not in known,
            "symbols that nobody knows",
            "Remove those rows or pass --ignore-unknown-symbols",
        )


def _refuse(path: Path, present: Sequence[Any], wrong: Callable[[Any], bool], what: str, remedy: str) -> None:
    offenders = [symbol for symbol in present if wrong(symbol)]
    if offenders:
        raise InvalidInput(f"{path} holds {len(offenders)} {what} of {len(present)}: {_listed(offenders)}. {remedy}")


def _only(path: Path, table: pa.Table, symbols: Collection[str]) -> pa.Table:
    column = table["symbol"]
    sought = pa.array(sorted(symbols), type=column.type.value_type)
    kept = table.filter(compute.is_in(column, sought))
    if kept.num_rows == 0:
        raise InvalidInput(
            f"{path} holds none of {_listed(sorted(symbols))}: "
            f"its symbols are {_listed(sorted(column.unique().to_pylist()))}. "
            "Name a file with bars of them"
        )
    return kept


def _listed(names: Sequence[Any]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(str, names[:SHOWN])) + more
