"""``trading-pipeline settings``: what is in force, and where each value came from."""

import os

from trading_pipeline.cli.console import answers
from trading_pipeline.cli.options import SettingsFile

# Names are copied, so that they are never cut; a narrow terminal has one more column beside them.
WIDTH_OF_FOUR_COLUMNS = 120


def settings(settings_file: SettingsFile = None) -> None:
    """Print every setting in force, where it came from and what it means; secrets are masked."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from trading_pipeline.adapters.neutral_mode import redactor_of
    from trading_pipeline.adapters.neutral_streams import redact_streams
    from trading_pipeline.settings import load_settings

    console = answers()
    is_wide = console.width >= WIDTH_OF_FOUR_COLUMNS
    table = Table(box=box.SIMPLE)
    table.add_column("setting", no_wrap=True)
    for name in ("value", "from", "meaning") if is_wide else ("value, from where, meaning",):
        table.add_column(name, overflow="fold")
    loaded = load_settings(settings_file, os.environ)
    redact_streams(redactor_of(loaded.settings))
    for field in loaded.listing():
        value, source, meaning = map(escape, (field.value, field.source, field.description))
        told = (value, source, meaning) if is_wide else (f"{value}\n[dim]{source}[/]\n{meaning}",)
        table.add_row(field.name, *told)
    console.print(table)
