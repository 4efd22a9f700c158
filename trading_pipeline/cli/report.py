"""``trading-pipeline report``: the page on a session, made from the stored tables by hand."""

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trading_pipeline.cli.console import answers
from trading_pipeline.cli.options import BarsFile, HomeFolder, SettingsFile, day
from trading_pipeline.domain.errors import InvalidInput, TradingHalted

if TYPE_CHECKING:
    from trading_pipeline.defs.resources import TradingWorld
    from trading_pipeline.domain.risk.trading_state import TradingState


def report(
    session: Annotated[
        str | None,
        typer.Argument(help="Session in which the orders are placed, such as 2026-07-31; the newest without one."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write; reports/SESSION.html of the folder without it.")
    ] = None,
    open_it: Annotated[  # noqa: FBT002 - typer makes a flag of it
        bool, typer.Option("--open", help="Show the page in a browser.")
    ] = False,
    bars: BarsFile = None,
    settings_file: SettingsFile = None,
    home: HomeFolder = None,
) -> None:
    """Write the report on a session as one HTML page; it reads the tables, and neither asks the broker nor trades."""
    from trading_pipeline.cli.workshop import chosen_where_it_ran
    from trading_pipeline.defs.assets.daily_report import rendered, report_context, shown_document
    from trading_pipeline.defs.resources import TradingWorld
    from trading_pipeline.domain.sessions import next_session, previous_session
    from trading_pipeline.reporting.report_files import report_path, write_page
    from trading_pipeline.reporting.session_facts import gathered

    choice = chosen_where_it_ran(settings_file, home, bars)
    world = TradingWorld(choice.settings, choice.home)
    decided = _newest(world) if session is None else previous_session(_session(session))
    context = report_context(world, decided, world.wall.now(), _state(world))
    facts = gathered(world.tables, decided, context)
    if not facts.is_decided:
        raise InvalidInput(_nothing_recorded(world, next_session(decided)))
    path = write_page(
        out or report_path(world.home.folder, next_session(decided)), rendered(shown_document(world, facts))
    )
    answers().print(str(path), soft_wrap=True, markup=False)
    if open_it:
        import webbrowser

        webbrowser.open(path.resolve().as_uri())


def _session(text: str) -> date:
    from trading_pipeline.domain.sessions import is_session

    wanted = day(text, "SESSION")
    if not is_session(wanted):
        raise InvalidInput(
            f"{wanted} is not a session of the New York Stock Exchange; name one in which orders are placed"
        )
    return wanted


def _nothing_recorded(world: "TradingWorld", session: date) -> str:
    from trading_pipeline.domain.sessions import next_session

    told = f"nothing is recorded of session {session}, so that no page was written"
    if world.tables.read("portfolio_snapshot", session, session).empty:
        return f"{told}; name a session in which orders were placed, or none for the newest"
    placed = next_session(session)
    return f"{told}; what was decided after its close is on the page of {placed}: trading-pipeline report {placed}"


def _newest(world: "TradingWorld") -> date:
    snapshots = world.tables.read("portfolio_snapshot")
    if snapshots.empty:
        raise InvalidInput(f"no session was decided in {world.home.folder} yet; trading-pipeline run decides some")
    newest: date = snapshots["session"].max()
    return newest


def _state(world: "TradingWorld") -> "TradingState | None":
    try:
        return world.stored_state.read()
    except TradingHalted:
        return None
