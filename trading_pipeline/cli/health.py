"""``trading-pipeline health``: whether the pipeline is well, for people, for monitors, and as an endpoint."""

import json
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from trading_pipeline.cli.options import HomeFolder, SettingsFile
from trading_pipeline.domain.errors import PipelineError

if TYPE_CHECKING:
    from trading_pipeline.application.health import Health
    from trading_pipeline.cli.workshop import Choice
    from trading_pipeline.defs.health_facts import HealthDesk

CANNOT_TELL = 2


def health(
    as_json: Annotated[  # noqa: FBT002 - typer makes a flag of it
        bool, typer.Option("--json", help="Answer as JSON, for monitors.")
    ] = False,
    serve: Annotated[  # noqa: FBT002 - typer makes a flag of it
        bool, typer.Option("--serve", help="Answer at http://127.0.0.1:PORT/health until Ctrl-C.")
    ] = False,
    port: Annotated[
        int | None, typer.Option(help="Port of --serve; health.port of the settings without it.", min=0, max=65535)
    ] = None,
    settings_file: SettingsFile = None,
    home: HomeFolder = None,
) -> None:
    """Show what is alive, the last decision and orders, the age of the data, what holds trading, and open alerts.

    The exit code is 0 where all is well, 1 where something is not, 2 where that cannot be told. A heartbeat older
    than health.heartbeat_stale_after_seconds is not well: let cron or a monitor call this.
    """
    from trading_pipeline.cli.console import explain_failure

    try:
        desk = desk_of(_choice(settings_file, home))
        if serve:
            _serve(desk, port)
            return
        found = shown(desk)
    except PipelineError as error:
        explain_failure(error)
        sys.exit(CANNOT_TELL)
    typer.echo(_text(found, as_json=as_json))
    sys.exit(found.exit_code)


def desk_of(choice: "Choice") -> "HealthDesk":
    """Return who collects the health of the chosen folder."""
    from trading_pipeline.defs.health_facts import HealthDesk

    return HealthDesk(choice.settings, choice.home, os.environ)


def shown(desk: "HealthDesk") -> "Health":
    """Return the health as it may be shown; raises as :meth:`HealthDesk.health`."""
    from trading_pipeline.adapters.neutral_mode import redactor_of
    from trading_pipeline.application.health import redacted

    redactor = redactor_of(desk.settings)
    found = desk.health()
    return found if redactor is None else redacted(found, redactor.text)


def _choice(settings_file: SettingsFile, home: HomeFolder) -> "Choice":
    from trading_pipeline.cli.workshop import chosen

    return chosen(settings_file, home, None)


def _text(found: "Health", *, as_json: bool) -> str:
    from trading_pipeline.application.health import lines

    return json.dumps(found.document(), indent=2) if as_json else "\n".join(lines(found))


def _serve(desk: "HealthDesk", port: int | None) -> None:
    from trading_pipeline.cli.console import notices
    from trading_pipeline.cli.health_server import served

    served(
        lambda: shown(desk),
        desk.settings.health.port if port is None else port,
        lambda url: notices().print(f"Health: {url}", soft_wrap=True),
    )
