"""``trading-pipeline secrets scan``: whether a secret lies where none may be."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trading_pipeline.cli.console import answers, explain_failure, notices
from trading_pipeline.cli.options import HomeFolder, SettingsFile
from trading_pipeline.domain.errors import InvalidInput

if TYPE_CHECKING:
    from trading_pipeline.adapters.secret_scan import Scan
    from trading_pipeline.settings import Settings

CANNOT_TELL = 2
# Tables hold figures of the market and no text of ours.
NOT_SCANNED = frozenset({"tables"})

secrets = typer.Typer(no_args_is_help=True, help="Look for secrets where none may be.")


@secrets.callback()
def about() -> None:
    """Look for secrets where none may be."""


@secrets.command()
def scan(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PATH", help="Files and folders; the home folder without its tables by default."),
    ] = None,
    settings_file: SettingsFile = None,
    home: HomeFolder = None,
) -> None:
    """Scan logs, records, alerts, metrics and the environment for secrets; values are never shown.

    Looked for are the secrets of the settings, as they are, in base64, and as
    JSON, URLs and HTML spell them, and texts shaped like keys of Alpaca and
    AWS, bearer tokens, JSON web tokens and private keys. Exits with 0 where
    nothing was found, 1 where something was, and 2 where nothing was but a
    file could not be read, or where there is no home folder to scan.
    """
    from trading_pipeline.adapters.neutral_streams import redact_streams
    from trading_pipeline.adapters.secret_scan import SecretScanner
    from trading_pipeline.cli.workshop import chosen

    choice = chosen(settings_file, home, None)
    # Places are the answer here, and values are masked already.
    redact_streams(None)
    scanner = SecretScanner(named_secrets(choice.settings))
    if not paths and choice.home.absence:
        explain_failure(InvalidInput(choice.home.absence))
        raise typer.Exit(CANNOT_TELL)
    wanted = paths or [path for path in sorted(choice.home.folder.glob("*")) if path.name not in NOT_SCANNED]
    found = scanner.in_files(wanted)
    findings = [*found.findings, *scanner.in_environment(os.environ)]
    _tell(found, [str(finding) for finding in findings])
    if findings or found.unreadable:
        raise typer.Exit(1 if findings else CANNOT_TELL)


def _tell(found: "Scan", lines: list[str]) -> None:
    for line in lines:
        answers().print(line, soft_wrap=True, markup=False)
    for problem in found.unreadable:
        notices().print(f"could not be read: {problem}", soft_wrap=True, markup=False)
    notices().print(f"{found.files} files and the environment scanned: {len(lines)} secrets found")


def named_secrets(settings: "Settings") -> Mapping[str, str]:
    """Return the values of all secret settings that are set, by the setting's name."""
    from pydantic import BaseModel, SecretStr

    def within(section: BaseModel, prefix: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for name in type(section).model_fields:
            value = getattr(section, name)
            if isinstance(value, BaseModel):
                found |= within(value, f"{prefix}{name}.")
            elif isinstance(value, SecretStr) and value.get_secret_value():
                found[f"{prefix}{name}"] = value.get_secret_value()
        return found

    return within(settings, "")


def warn_of_secrets_in_environment(settings: "Settings") -> None:
    """Tell a person of variables that hold a secret and are none of the settings': child processes inherit them."""
    from trading_pipeline.adapters.secret_scan import SecretScanner

    for finding in SecretScanner(named_secrets(settings)).in_environment(os.environ):
        notices().print(
            f"[bold yellow]warning[/]: variable {finding.at} holds {finding.what}; every process that is started "
            f"inherits it: unset it, or keep the value in the settings' own variable",
            soft_wrap=True,
        )
