"""``trading-pipeline explain``: why something was decided as it was."""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trading_pipeline.cli import explain_traces
from trading_pipeline.cli.options import HomeFolder, SettingsFile, day
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.settings import Mode

if TYPE_CHECKING:
    from trading_pipeline.adapters.storage.tables import DeltaTables
    from trading_pipeline.cli.workshop import Choice
    from trading_pipeline.domain.readings import IndicatorPanel
    from trading_pipeline.domain.signals import Signal
    from trading_pipeline.domain.smoothing import Smoothing
    from trading_pipeline.domain.strategies import Strategy

WEIGHT_TOLERANCE = 1e-9
SHOWN_OF_A_HASH = 12
MOST_NAMED = 5

explain = typer.Typer(help="Show why something was decided as it was.", no_args_is_help=True)


@explain.callback()
def choose() -> None:
    """Show why something was decided as it was."""


for command in (explain_traces.fill, explain_traces.order, explain_traces.allocation):
    explain.command()(command)


@explain.command()
def signal(
    strategy: Annotated[str, typer.Argument(help="The strategy's name, such as nuclear or klm, or a symphony file.")],
    session: Annotated[
        str, typer.Argument(help="The session that was decided, YYYY-MM-DD; the newest without one.")
    ] = "",
    bars: Annotated[
        Path | None,
        typer.Option(help="Compute from this file of daily bars, Parquet or CSV; by default from what is stored."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print structured data.")] = False,  # noqa: FBT002 - typer makes a flag of it
    svg: Annotated[Path | None, typer.Option(help="Draw the tree with the path lit into this file.")] = None,
    settings_file: SettingsFile = None,
    home: HomeFolder = None,
) -> None:
    """Show the path that a session took through a strategy's tree: tests, readings, rankings, and the closest call.

    Without --bars the answer is made from the very readings that the pipeline
    stored, and compared with the signal that it stored: where they differ that
    is said, and the exit code is 1.
    """
    from trading_pipeline.adapters.symphony_files import strategy_of
    from trading_pipeline.cli.workshop import chosen
    from trading_pipeline.domain.smoothing import Smoothing
    from trading_pipeline.domain.strategies.rationale import explain as explained
    from trading_pipeline.domain.strategies.rationale_data import to_data
    from trading_pipeline.domain.strategies.rationale_text import to_text

    decided_on, choice = session_of(session) if session else None, chosen(settings_file, home, None)
    wanted = strategy_of(strategy, choice.settings.strategies.folder)
    smoothing = Smoothing(choice.settings.strategies.rsi_smoothing)
    if bars is None:
        panel, doubts = _stored(wanted, decided_on, choice, smoothing)
    else:
        panel, doubts = _computed(wanted, decided_on, bars, smoothing), ""
    rationale = explained(wanted.tree, panel, smoothing=smoothing)
    if svg is not None:
        from trading_pipeline.reporting.strategy_drawing import strategy_drawing

        write(svg, strategy_drawing(rationale, wanted.name))
    typer.echo(json.dumps(to_data(rationale), indent=2) if as_json else to_text(rationale, wanted.name))
    if doubts:
        _warn(doubts)
        raise typer.Exit(1)


def session_of(text: str) -> date:
    """Read a session such as 2026-07-31.

    Raises:
        InvalidInput: the text is not a date, or the exchange was closed that day; the message names the one before.
    """
    from trading_pipeline.domain.sessions import is_session, sessions_between

    wanted = day(text, "SESSION")
    if not is_session(wanted):
        before = sessions_between(date(wanted.year - 1, 12, 1), wanted)
        hint = f"; the one before is {before[-1]}" if before else ""
        raise InvalidInput(f"{wanted} is not a session of the New York Stock Exchange{hint}")
    return wanted


def _computed(strategy: "Strategy", wanted: date | None, path: Path, smoothing: "Smoothing") -> "IndicatorPanel":
    from trading_pipeline.adapters.stored_bars import read_bars
    from trading_pipeline.domain.bars import close_panel
    from trading_pipeline.domain.readings import IndicatorPanel
    from trading_pipeline.domain.sessions import sessions_between
    from trading_pipeline.domain.strategies import tree

    symbols = tree.symbols(strategy.tree)
    frame = read_bars(path, symbols=symbols)
    first, last = frame["session"].min(), frame["session"].max()
    session = wanted or last
    if not first <= session <= last:
        raise InvalidInput(f"{path} covers {first} to {last}, not {session}: ask for a session that it covers")
    closes = close_panel(frame[frame["session"] <= session], symbols, sessions_between(first, session))
    return IndicatorPanel.from_closes(closes, tree.readings(strategy.tree), smoothing)


def _stored(
    strategy: "Strategy", wanted: date | None, choice: "Choice", smoothing: "Smoothing"
) -> "tuple[IndicatorPanel, str]":
    """Return the readings that were stored for the decision, and what is doubtful about the signal stored with them."""
    from trading_pipeline.adapters.storage.tables import DeltaTables
    from trading_pipeline.application.decision import signal_of
    from trading_pipeline.domain.readings import IndicatorPanel
    from trading_pipeline.domain.strategies import tree

    tables = DeltaTables(str(choice.home.tables))
    session = wanted or _newest(tables, choice)
    frame = tables.read("indicators", session, session)
    if frame.empty:
        raise InvalidInput(_not_stored(tables, strategy, session, choice))
    panel = IndicatorPanel.from_frame(frame)
    doubts = _doubts(_stored_signal(tables, strategy.name, session), signal_of(strategy, panel, smoothing))
    return panel.last(tree.trailing_sessions(strategy.tree, smoothing)), doubts


def _newest(tables: "DeltaTables", choice: "Choice") -> date:
    stored = _stored_sessions(tables)
    if not stored:
        raise InvalidInput(f"no session was decided in {choice.home.folder} yet; trading-pipeline run decides some")
    return stored[-1]


def _stored_sessions(tables: "DeltaTables") -> Sequence[date]:
    return sorted(set(tables.read("indicators")["session"]))


def _not_stored(tables: "DeltaTables", strategy: "Strategy", session: date, choice: "Choice") -> str:
    from trading_pipeline.domain.sessions import next_session

    stored, placed = _stored_sessions(tables), next_session(session)
    if _may_be_run(stored, strategy, placed, choice):
        way = f"decide it with `trading-pipeline run --sessions 1 --through {placed}`"
    else:
        newest = ", ".join(str(one) for one in stored[-MOST_NAMED:])
        way = f"ask for one that is (the newest: {newest})" if stored else "none is"
    return (
        f"no readings of session {session} are stored in {choice.home.folder}: {way}, name the folder with --home, or "
        f"compute them from a file with --bars"
    )


def _may_be_run(stored: Sequence[date], strategy: "Strategy", placed: date, choice: "Choice") -> bool:
    """Tell whether `run` can decide the session before ``placed``: it is simulated, over, has bars, and is no past."""
    from trading_pipeline.adapters.clocks import WallClock
    from trading_pipeline.adapters.stored_bars import read_bars
    from trading_pipeline.domain.sessions import last_completed_session
    from trading_pipeline.domain.strategies import tree

    # The simulator's clock stands after everything that is stored.
    is_past = bool(stored) and placed <= stored[-1]
    if choice.settings.mode is not Mode.SIMULATED or is_past or placed > last_completed_session(WallClock().now()):
        return False
    file = choice.settings.simulator.bars
    return file is None or placed <= read_bars(file, symbols=tree.symbols(strategy.tree))["session"].max()


def _stored_signal(tables: "DeltaTables", strategy: str, session: date) -> "Signal | None":
    from trading_pipeline.domain.signals import signals_from_frame

    signals = signals_from_frame(tables.read(f"{strategy}_signal", session, session))
    return signals[0] if signals else None


def _doubts(stored: "Signal | None", now: "Signal") -> str:
    if stored is None:
        return "no signal is stored for these readings: what is shown was not acted on"
    if stored.status is not now.status or not _same(stored.weights, now.weights):
        return f"the stored signal is another one: {_described(stored)}. The stored readings give {_described(now)}"
    if stored.inputs_hash != now.inputs_hash:
        hashes = " and ".join(one.inputs_hash[:SHOWN_OF_A_HASH] for one in (stored, now))
        return (
            f"the stored signal holds the same, but was decided on other readings (inputs hash {hashes}): "
            f"the indicators were written again since"
        )
    return ""


def _same(weights: Mapping[str, float], others: Mapping[str, float]) -> bool:
    return weights.keys() == others.keys() and all(
        math.isclose(weight, others[symbol], rel_tol=0, abs_tol=WEIGHT_TOLERANCE) for symbol, weight in weights.items()
    )


def _described(signal: "Signal") -> str:
    from trading_pipeline.domain.strategies.rationale_text import weighted

    return weighted(signal.weights) if signal.reason is None else f"unavailable ({signal.reason})"


def _warn(doubts: str) -> None:
    from rich.markup import escape

    from trading_pipeline.cli.console import notices

    notices().print(f"[bold red]warning[/]: {escape(doubts)}", soft_wrap=True)


def write(path: Path, text: str) -> None:
    """Write a file of text.

    Raises:
        InvalidInput: the file cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written ({error}): name a file in a folder that can be") from error
