"""``trading-pipeline run``: the last few sessions from bars to fills, on the embedded simulator."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from trading_pipeline.adapters.clocks import ENDING_SIGNALS
from trading_pipeline.cli.console import Progress, answers, notices
from trading_pipeline.cli.options import BarsFile, HomeFolder, SettingsFile, day
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.settings import Mode, Settings

if TYPE_CHECKING:
    from trading_pipeline.cli.days import Day
    from trading_pipeline.cli.workshop import Choice

DEFAULT_SESSIONS = 5


def run(
    through: Annotated[
        str | None, typer.Option(help="Last execution session, such as 2026-07-31; the newest that is over by default.")
    ] = None,
    sessions: Annotated[int, typer.Option(help="How many execution sessions.", min=1, max=2000)] = DEFAULT_SESSIONS,
    bars: BarsFile = None,
    ignore_unknown_symbols: Annotated[  # noqa: FBT002 - typer makes a flag of it
        bool, typer.Option("--ignore-unknown-symbols", help="Leave out rows of --bars whose symbol nobody knows.")
    ] = False,
    settings_file: SettingsFile = None,
    home: HomeFolder = None,
) -> None:
    """Run the last sessions from bars to fills and show what happened.

    In mode simulated (the default) the embedded simulator is started or
    found, and its clock is stepped through each session: decide after the
    close, place orders in the next session. What is finished is not done
    again. In modes paper and live the session that is due now is decided and,
    inside its execution window, placed. Ctrl-C ends it within a session, with
    exit code 130; the next call goes on with that session.
    """
    with Progress() as progress:
        from trading_pipeline.cli.secrets import warn_of_secrets_in_environment
        from trading_pipeline.cli.workshop import chosen, held

        choice = chosen(settings_file, home, bars)
        warn_of_secrets_in_environment(choice.settings)
        last = _last_session(choice.settings, through, ignore_unknown_symbols=ignore_unknown_symbols, progress=progress)
        with held(choice.home, progress), _told_when_stopped():
            if choice.settings.mode is Mode.SIMULATED:
                days = _simulated(choice, last, sessions, progress)
            else:
                days = _due_now(choice, progress)
        progress.say("telling people what there is to tell")
        _deliver(choice)
    _show(days, choice)
    if any(day.trouble for day in days):
        raise typer.Exit(1)


@contextmanager
def _told_when_stopped() -> Iterator[None]:
    # In the background of a shell Ctrl-C is ignored, and Dagster then lets SIGTERM be ignored as well, as the one is.
    ignored = {number for number in ENDING_SIGNALS if signal.getsignal(number) is signal.SIG_IGN}

    def end(number: int, _frame: FrameType | None) -> None:
        if number not in ignored:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in ENDING_SIGNALS}
    try:
        yield
    except KeyboardInterrupt:
        notices().print("stopped, as asked; the next `trading-pipeline run` goes on where this one ended")
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _last_session(settings: Settings, through: str | None, *, ignore_unknown_symbols: bool, progress: Progress) -> date:
    from trading_pipeline.adapters.clocks import WallClock
    from trading_pipeline.domain import sessions

    newest = sessions.last_completed_session(WallClock().now())
    if settings.mode is Mode.SIMULATED and settings.simulator.bars is not None:
        progress.say(f"reading {settings.simulator.bars}")
        newest = min(newest, _checked_file(settings, ignore_unknown_symbols=ignore_unknown_symbols))
    if through is None:
        return newest
    wanted = day(through, "--through")
    if not sessions.is_session(wanted):
        before = sessions.sessions_between(date(wanted.year - 1, 1, 1), wanted)[-1]
        raise InvalidInput(
            f"--through {wanted} is not a session of the New York Stock Exchange; the one before is {before}"
        )
    if wanted > newest:
        raise InvalidInput(f"--through {wanted} is after the newest session that is over and has bars, {newest}")
    return wanted


def _checked_file(settings: Settings, *, ignore_unknown_symbols: bool) -> date:
    from trading_pipeline.adapters.stored_bars import read_bars
    from trading_pipeline.adapters.symphony_files import known_strategies
    from trading_pipeline.domain.strategies import tree

    strategies = known_strategies(settings.strategies.folder).values()
    read = {symbol for strategy in strategies for symbol in tree.symbols(strategy.tree)}
    path: Path = settings.simulator.bars or Path()
    frame = read_bars(
        path,
        symbols=read,
        unknown="ignore" if ignore_unknown_symbols else "refuse",
        known=set(settings.known_instruments()) | read,
    )
    newest: date = frame["session"].max()
    return newest


def _simulated(choice: "Choice", last: date, count: int, progress: Progress) -> "Sequence[Day]":
    from trading_pipeline.cli.days import SimulatedDays, decision_time, execution_sessions
    from trading_pipeline.cli.workshop import Graph, simulator
    from trading_pipeline.domain.sessions import previous_session

    wanted = execution_sessions(last, count)
    progress.say("starting the simulator")
    with simulator(choice, decision_time(previous_session(wanted[0]))) as control:
        if control is None:
            raise InvalidInput(f"mode {choice.settings.mode} has no simulator")
        progress.say("wiring the graph")
        graph = Graph(choice, progress)
        graph.bury_dead_runs()
        return list(SimulatedDays(graph, control, progress).run(wanted))


def _due_now(choice: "Choice", progress: Progress) -> "Sequence[Day]":
    from trading_pipeline.cli.days import Days
    from trading_pipeline.cli.workshop import Graph

    progress.say("wiring the graph")
    graph = Graph(choice, progress)
    graph.bury_dead_runs()
    return [Days(graph, progress).due_now()]


def _deliver(choice: "Choice") -> None:
    """Send what there is to tell; what does not arrive is sent again by the daemon."""
    from trading_pipeline.defs.alert_delivery import deliver_pending
    from trading_pipeline.defs.resources import TradingWorld

    deliver_pending(TradingWorld(choice.settings, choice.home))


def _show(days: "Sequence[Day]", choice: "Choice") -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    synthetic = choice.settings.simulator.bars is None
    source = "a generated (synthetic) market" if synthetic else str(choice.settings.simulator.bars)
    table = Table("session", "signals", box=box.SIMPLE_HEAD, title=f"From bars to fills on {escape(source)}")
    for name in ("turnover", "orders", "fills", "equity"):
        table.add_column(name, justify="right")
    for row in days:
        table.add_row(
            str(row.session),
            escape(row.signals + (f"\n{row.trouble}" if row.trouble else "")),
            "" if row.turnover is None else f"{row.turnover:.1%}",
            str(row.orders),
            row.fills,
            "" if row.equity is None else f"{row.equity:,.2f}",
        )
    console = answers()
    console.print(table)
    console.print(f"Tables, plans and Dagster's records are in {choice.home.folder}", soft_wrap=True)
    bars = "" if synthetic else f" --bars {choice.settings.simulator.bars}"
    console.print(
        f"To see lineage, checks and runs in Dagster's UI: trading-pipeline dev{bars}   (or: make ui)", soft_wrap=True
    )
