"""Tables from files, for checking them without the pipeline."""

from pathlib import Path

import pandas as pd

from dbt_like_checks import column_types
from dbt_like_checks.contract import Contract


class UnreadableTable(ValueError):
    """A file that holds no table; the message names it and says what was wanted."""


def read(path: Path, contract: Contract) -> pd.DataFrame:
    """Return the table in a Parquet or CSV file.

    In CSV an empty field is null and the contract's types say what a text
    stands for: dates and timestamps in ISO form, numbers with a point.

    Raises:
        UnreadableTable: the file is neither, or cannot be read.
    """
    if path.suffix not in {".parquet", ".csv"}:
        raise UnreadableTable(f"{path}: a file ending in .parquet or .csv was wanted")
    try:
        return pd.read_parquet(path) if path.suffix == ".parquet" else _from_csv(path, contract)
    except (OSError, ValueError) as problem:
        raise UnreadableTable(f"{path}: cannot be read as {path.suffix[1:]}: {problem}") from problem


def _from_csv(path: Path, contract: Contract) -> pd.DataFrame:
    texts = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
    types = {column.name: column.type for column in contract.columns}
    return texts.assign(
        **{name: column_types.read(types[name], texts[name]) for name in texts.columns if name in types}
    )
