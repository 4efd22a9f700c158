"""Options that several commands share."""

from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from trading_pipeline.domain.errors import InvalidInput

SettingsFile = Annotated[
    Path | None,
    typer.Option("--settings", help="YAML file of settings; the environment variable TRADING_PIPELINE_SETTINGS too."),
]
HomeFolder = Annotated[
    Path | None,
    typer.Option("--home", help="Folder for tables, plans and Dagster's records; .trading_pipeline by default."),
]
BarsFile = Annotated[
    Path | None,
    typer.Option("--bars", help="Parquet or CSV file of daily bars to simulate on; generated without one."),
]


def day(text: str, option: str) -> date:
    """Read a date such as 2026-07-31.

    Raises:
        InvalidInput: the text is not a date.
    """
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"{option} must be a date such as 2026-07-31, was {text!r}") from None
