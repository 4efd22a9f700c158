"""``trading-pipeline drill``: emergencies, rehearsed on a simulator of their own."""

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import typer

from trading_pipeline.cli.console import Progress, answers
from trading_pipeline.cli.options import SettingsFile

if TYPE_CHECKING:
    from pathlib import Path

    from trading_pipeline.cli.drills.script import Script
    from trading_pipeline.cli.drills.stage import Stage

drill = typer.Typer(
    help="Rehearse an emergency on a simulator of its own; no account is touched.", no_args_is_help=True
)


@drill.command()
def kill(settings_file: SettingsFile = None) -> None:
    """Halt trading while orders work and a loop sends more: none leaves after it, and none is left."""
    from trading_pipeline.cli.drills.kill import rehearse

    _rehearse("kill", rehearse, settings_file)


@drill.command()
def disconnect(settings_file: SettingsFile = None) -> None:
    """Cut the broker off: trading reduces once patience ends, is halted after that, and comes back with the broker."""
    from trading_pipeline.cli.drills.disconnect import rehearse

    _rehearse("disconnect", rehearse, settings_file)


@drill.command(name="stale-data")
def stale_data(settings_file: SettingsFile = None) -> None:
    """Make quotes too old: what they would price is not sent and says why, the rest is."""
    from trading_pipeline.cli.drills.stale_data import rehearse

    _rehearse("stale-data", rehearse, settings_file)


@drill.command()
def liquidate(settings_file: SettingsFile = None) -> None:
    """Sell everything in two steps, with one symbol halted and the process begun again in between."""
    from trading_pipeline.cli.drills.liquidation import rehearse

    _rehearse("liquidate", rehearse, settings_file)


def _rehearse(name: str, rehearse: "Callable[[Stage, Script], None]", settings_file: "Path | None") -> None:
    """Run a rehearsal, print its steps, and end with exit code 1 where one was not as it should be."""
    _refuse_real_account(settings_file)
    script = rehearsed(rehearse)
    _show(name, script)
    if not script.is_right:
        raise typer.Exit(1)


def rehearsed(rehearse: "Callable[[Stage, Script], None]") -> "Script":
    """Run a rehearsal on a stage of its own and return its steps.

    Raises:
        DependencyUnavailable: the simulator did not start.
    """
    from trading_pipeline.adapters.clocks import WallClock
    from trading_pipeline.adapters.logs import configure_logging
    from trading_pipeline.cli.drills.script import Script, Stopped
    from trading_pipeline.cli.drills.stage import opened_stage
    from trading_pipeline.settings import LogFormat, LogLevel

    # The table tells it; of every order a line would hide it.
    configure_logging(LogFormat.AUTO, LogLevel.ERROR)
    with Progress() as progress:
        script = Script(WallClock().wait, progress.say)
        progress.say("starting a simulator")
        with opened_stage() as stage, suppress(Stopped):
            rehearse(stage, script)
    return script


def _refuse_real_account(settings_file: "Path | None") -> None:
    from trading_pipeline.cli.workshop import chosen
    from trading_pipeline.domain.errors import InvalidInput
    from trading_pipeline.settings import Mode

    mode = chosen(settings_file, None, None).settings.mode
    if mode is not Mode.SIMULATED:
        raise InvalidInput(
            f"a drill rehearses on a simulator of its own, and the mode is {mode}; set TRADING_MODE=simulated for it, "
            f"so that nobody takes it for the real thing"
        )


def _show(name: str, script: "Script") -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table("step", box=box.SIMPLE_HEAD, title=f"Drill {name}")
    table.add_column("seconds", justify="right")
    table.add_column("verified")
    table.add_column("")
    for step in script.steps:
        verdict = "[green]ok[/]" if step.is_right else "[bold red]WRONG[/]"
        table.add_row(escape(step.what), f"{step.seconds:.2f}", escape("\n".join(step.found)), verdict)
    console = answers()
    console.print(table)
    total = sum(step.seconds for step in script.steps)
    verdict = "everything was as it should be" if script.is_right else "not everything was as it should be"
    console.print(f"{len(script.steps)} steps in {total:.1f} s: {verdict}", soft_wrap=True)
