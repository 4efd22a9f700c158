"""Settings of the checks: promises of one's own."""

from pathlib import Path

from pydantic import Field

from trading_pipeline.settings.section import Section


class ChecksSettings(Section):
    """Which promises are kept besides those that are built in."""

    folder: Path | None = Field(
        default=None,
        description="Folder with singular tests of your own, one SQL file each, as dbt_like_checks/README.md says.",
    )
