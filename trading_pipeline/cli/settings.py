"""``trading-pipeline settings``: what is in force, and where each value came from."""

import os

from trading_pipeline.cli.console import answers
from trading_pipeline.cli.options import SettingsFile


def settings(settings_file: SettingsFile = None) -> None:
    """Print every setting in force, where it came from and what it means; secrets are masked."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from trading_pipeline.adapters.neutral_mode import redactor_of
    from trading_pipeline.adapters.neutral_streams import redact_streams
    from trading_pipeline.settings import load_settings

    table = Table("setting", "value", "from", "meaning", box=box.SIMPLE)
    loaded = load_settings(settings_file, os.environ)
    redact_streams(redactor_of(loaded.settings))
    for field in loaded.listing():
        table.add_row(field.name, escape(field.value), escape(field.source), escape(field.description))
    answers().print(table)
