"""``trading-pipeline kill``: whether trading is allowed, and a person's word on it."""

from typing import TYPE_CHECKING, Annotated

import typer

from trading_pipeline.cli.options import HomeFolder, SettingsFile

if TYPE_CHECKING:
    from trading_pipeline.adapters.storage.objects import StoredTradingState
    from trading_pipeline.domain.risk.trading_state import TradingMode, TradingState

SET_BY = "a person"

Reason = Annotated[str, typer.Option("--reason", help="Why; whoever looks later reads it.")]

kill = typer.Typer(help="Show or set whether trading is allowed.", no_args_is_help=True)


@kill.command()
def status(settings_file: SettingsFile = None, home: HomeFolder = None) -> None:
    """Show the trading state, and since when and why it is so."""
    _show(_store(settings_file, home).read())


@kill.command()
def reduce(reason: Reason, settings_file: SettingsFile = None, home: HomeFolder = None) -> None:
    """Let sales of what is held pass, and nothing that opens a position."""
    from trading_pipeline.domain.risk.trading_state import TradingMode

    _tighten(TradingMode.REDUCING, reason, _store(settings_file, home))


@kill.command()
def halt(reason: Reason, settings_file: SettingsFile = None, home: HomeFolder = None) -> None:
    """Let no further order leave. Orders that work at the broker stay there until they end."""
    from trading_pipeline.domain.risk.trading_state import TradingMode

    _tighten(TradingMode.HALTED, reason, _store(settings_file, home))


@kill.command()
def reset(reason: Reason, settings_file: SettingsFile = None, home: HomeFolder = None) -> None:
    """Trade again. Look first at why it was stopped: ``kill status``, and the alerts."""
    from trading_pipeline.adapters.clocks import WallClock
    from trading_pipeline.domain.risk.trading_state import TradingMode, TradingState

    store = _store(settings_file, home)
    # Written and not changed, since a damaged state can only be written anew.
    store.write(TradingState(TradingMode.ACTIVE, reason, SET_BY, WallClock().now()))
    _show(store.read())


def _tighten(mode: "TradingMode", reason: str, store: "StoredTradingState") -> None:
    from trading_pipeline.adapters.clocks import WallClock

    now = WallClock().now()
    _show(store.change(lambda state: state.tightened(mode, reason, SET_BY, now)))


def _store(settings_file: SettingsFile, home: HomeFolder) -> "StoredTradingState":
    from trading_pipeline.adapters.storage.objects import FileObjects, StoredTradingState
    from trading_pipeline.cli.workshop import chosen

    return StoredTradingState(FileObjects(chosen(settings_file, home, None).home.objects))


def _show(state: "TradingState") -> None:
    since = "" if state.set_at is None else f" since {state.set_at:%Y-%m-%d %H:%M} UTC, set by {state.set_by}"
    typer.echo(f"{state.mode}{since}{f': {state.reason}' if state.reason else ''}")
