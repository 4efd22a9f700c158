"""``trading-pipeline kill``: whether trading is allowed, and a person's word on it."""

import functools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from trading_pipeline.cli.console import notices
from trading_pipeline.cli.options import HomeFolder, SettingsFile
from trading_pipeline.domain.errors import DataError, PipelineError
from trading_pipeline.domain.risk.state_sources import BROKER, KEY_AGE
from trading_pipeline.domain.risk.trading_state import PERSON, Latch, TradingMode, TradingState
from trading_pipeline.settings import Mode

if TYPE_CHECKING:
    from trading_pipeline.adapters.clocks import WallClock
    from trading_pipeline.adapters.storage.trading_state import StoredTradingState
    from trading_pipeline.application.effective_state import EffectiveState
    from trading_pipeline.application.halting import Switch
    from trading_pipeline.application.resetting import Offer
    from trading_pipeline.cli.workshop import Choice
    from trading_pipeline.defs.resources import TradingWorld
    from trading_pipeline.domain.liquidation import LiquidationRequest

# By how the names of sources begin.
_REMEDIES = {
    "file ": "take the file away",
    "environment ": "unset the variable where the pipeline runs, and begin that anew",
    KEY_AGE: "make new keys, and say in trading_state.keys_made_on when",
    BROKER: "see to it on the broker's own page",
}


def _given(reason: str) -> str:
    if not reason.strip():
        raise typer.BadParameter("it is empty; say why, whoever looks later reads it")
    return reason


Reason = Annotated[str, typer.Option("--reason", help="Why; whoever looks later reads it.", callback=_given)]

kill = typer.Typer(help="Show or set whether trading is allowed.", no_args_is_help=True)


@kill.command()
def status(settings_file: SettingsFile = None, home: HomeFolder = None) -> None:
    """Show the trading state in force, since when and why it is so, and everything that holds trading.

    Beside what is stored, these hold it: the variable TRADING_HALT, a file HALT or REDUCE in the home folder, keys
    that are too old, and the broker's own flags. The exit code is 1 where the stored state cannot be read.
    """
    desk = _desk_where_it_ran(settings_file, home)
    _show_in_force(desk)
    desk.stored.read()


@kill.command()
def reduce(reason: Reason, settings_file: SettingsFile = None, home: HomeFolder = None) -> None:
    """Let sales of what is held pass, and nothing that opens a position. Orders at the broker stay there."""
    desk, now = _desk(settings_file, home), _wall().now()
    with _doubt_told(desk):
        # What cannot be read is written anew.
        _show_stopped(desk.stored.mend(lambda state: state.tightened(TradingMode.REDUCING, reason, PERSON, now)), now)


@kill.command()
def halt(
    reason: Reason,
    keep_orders: Annotated[  # noqa: FBT002 - typer makes a flag of it
        bool, typer.Option("--keep-orders", help="Leave our open orders at the broker until they end.")
    ] = False,
    settings_file: SettingsFile = None,
    home: HomeFolder = None,
) -> None:
    """Let no further order leave, cancel every open order of ours, and make sure that none is left.

    Orders that somebody placed by hand are not touched. The exit code is 1 where an order of ours may be left.
    """
    from trading_pipeline.application.halting import cleared, halted

    desk = _desk(settings_file, home)
    switch, now = desk.switch, _wall().now()
    with _doubt_told(desk):
        _show_stopped(halted(switch, reason, PERSON, now), now)
    if keep_orders:
        return
    if not desk.has_broker:
        notices().print(f"no simulator is running for {desk.choice.home.folder}, so there is no order to cancel")
        return
    typer.echo(str(cleared(switch, reason)))


@kill.command()
def reset(
    code: Annotated[str | None, typer.Option("--code", help="The code that the first call printed.")] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Why trading may go on; needed with --code.")] = None,
    latch: Annotated[
        list[str] | None, typer.Option("--latch", help="Reset this one only; may be repeated. All without it.")
    ] = None,
    override_risk: Annotated[  # noqa: FBT002 - typer makes a flag of it
        bool, typer.Option("--override-risk", help="Reset limits on risk before their session is over as well.")
    ] = False,
    settings_file: SettingsFile = None,
    home: HomeFolder = None,
) -> None:
    """Trade again, in two steps: the first call shows what holds trading and a code, the second repeats the code.

    Look first at why it was stopped. The code is of what was shown: once anything else holds trading it is another
    one. What a limit on risk set stays until its session is over, unless that is overridden on purpose. A stored
    state that cannot be read is written anew. What no reset lifts, such as a file HALT, is named with what to do. The
    exit code is 1 where something holds trading after the second step.
    """
    from trading_pipeline.application.resetting import offered
    from trading_pipeline.application.resetting import reset as carried_out

    desk, names = _desk_where_it_ran(settings_file, home), tuple(latch or ())
    if code is None:
        offer = offered(desk.stored, names, desk.market_time())
        _say(offer, names)
        _show_unresettable(desk.in_force.read(), offer.state)
        return
    if reason is None:
        raise typer.BadParameter("the second step needs a reason; whoever looks later reads it", param_hint="--reason")
    stored = carried_out(desk.stored, code, reason, PERSON, desk.market_time(), names, overrides_risk=override_risk)
    state = _show_in_force(desk)
    _show_unresettable(state, stored)
    if state.mode is not TradingMode.ACTIVE:
        raise typer.Exit(1)


def _say(offer: "Offer", names: tuple[str, ...]) -> None:
    typer.echo("\n".join(offer.lines()))
    if not offer.is_empty:
        chosen = "".join(f' --latch "{name}"' for name in names)
        typer.echo(f'To reset it: trading-pipeline kill reset --code {offer.code} --reason "..."{chosen}')


@dataclass(frozen=True)
class _Desk:
    """Settings and folder, and what of the world a command needs; each part is opened when it is needed."""

    choice: "Choice"

    @functools.cached_property
    def stored(self) -> "StoredTradingState":
        from trading_pipeline.adapters.storage.objects import FileObjects
        from trading_pipeline.adapters.storage.trading_state import StoredTradingState
        from trading_pipeline.defs.audit import trail_of
        from trading_pipeline.defs.outbox import outbox_of

        home = self.choice.home
        trail = trail_of(self.choice.settings, home, outbox_of(self.choice.settings, home))
        return StoredTradingState(FileObjects(home.objects), after_change=trail.follow_soon)

    @property
    def agreed(self) -> "Sequence[LiquidationRequest]":
        """Liquidations that were agreed to and are not over."""
        from trading_pipeline.adapters.storage.liquidations import StoredLiquidations
        from trading_pipeline.adapters.storage.objects import FileObjects

        try:
            return StoredLiquidations(FileObjects(self.choice.home.objects)).agreed()
        except DataError as error:
            # Whether trading is allowed is told all the same.
            notices().print(str(error), soft_wrap=True, markup=False)
            return ()

    @functools.cached_property
    def in_force(self) -> "EffectiveState":
        from trading_pipeline.defs.kill_switch import broker_source, effective_state, local_sources

        settings, home = self.choice.settings, self.choice.home
        sources = [*local_sources(settings, home, os.environ, _wall())]
        if self.has_broker:
            sources.append(broker_source(settings.trading_state, lambda: self.world.broker))
        return effective_state(settings.trading_state, self.stored, sources, _wall())

    @functools.cached_property
    def switch(self) -> "Switch":
        from trading_pipeline.defs.kill_switch import switch_of

        return switch_of(self.choice.settings, self.choice.home, self.stored, _wall(), lambda: self.world)

    @functools.cached_property
    def has_broker(self) -> bool:
        """Whether there is an account to ask: a simulated one only while its simulator runs."""
        if self.choice.settings.mode is not Mode.SIMULATED:
            return True
        from trading_pipeline.simulator.control import find_simulator

        return find_simulator(self.choice.home.simulator) is not None

    @functools.cached_property
    def world(self) -> "TradingWorld":
        from trading_pipeline.defs.resources import TradingWorld
        from trading_pipeline.settings import StrategySettings

        # Trading must be stopped whatever is wrong with the strategies.
        settings = self.choice.settings.model_copy(update={"strategies": StrategySettings()})
        return TradingWorld(settings, self.choice.home)

    def market_time(self) -> datetime:
        """Return the broker's time, or this machine's where there is none to ask."""
        if not self.has_broker:
            return _wall().now()
        try:
            return self.world.clock.now()
        except PipelineError as error:
            notices().print(f"the broker's time could not be read, this machine's counts: {error}", soft_wrap=True)
            return _wall().now()


def _desk(settings_file: SettingsFile, home: HomeFolder) -> _Desk:
    from trading_pipeline.cli.workshop import chosen

    return _Desk(chosen(settings_file, home, None))


def _desk_where_it_ran(settings_file: SettingsFile, home: HomeFolder) -> _Desk:
    from trading_pipeline.cli.workshop import chosen_where_it_ran

    return _Desk(chosen_where_it_ran(settings_file, home))


@contextmanager
def _doubt_told(desk: _Desk) -> Iterator[None]:
    """Say which folder is stopped, and that it may be the wrong one; whatever that is, it is stopped first."""
    home, is_new = desk.choice.home, bool(desk.choice.home.absence)
    yield
    typer.echo(f"home folder: {home.folder}")
    if is_new:
        notices().print(
            f"nothing ran here before: is --home right? {home.neighbours}".strip(), soft_wrap=True, markup=False
        )


@functools.cache
def _wall() -> "WallClock":
    from trading_pipeline.adapters.clocks import WallClock

    return WallClock()


def _show_in_force(desk: _Desk) -> TradingState:
    state = desk.in_force.read()
    _show(state)
    for request in desk.agreed:
        typer.echo(f"{request.standing}; `trading-pipeline liquidate` shows it")
    typer.echo(f"home folder: {desk.choice.home.folder}")
    return state


def _show_unresettable(state: TradingState, stored: TradingState) -> None:
    """Show what holds trading beside what is stored, and what to do about each; a reset mends a damaged store."""
    from trading_pipeline.application.effective_state import STORE

    others = [held for held in state.latches if held.name != STORE and stored.latch(held.name) is None]
    for held in others:
        remedy = next((remedy for name, remedy in _REMEDIES.items() if held.name.startswith(name)), "see to its cause")
        typer.echo(f"no reset lifts {held}: {remedy}")


def _show_stopped(state: TradingState, at: datetime) -> None:
    """Show the stored state after a person's word of that instant, and whether it said nothing new."""
    _show(state)
    mine = state.latch(PERSON)
    if mine is not None and mine.set_at != at:
        typer.echo(f"was {mine.mode} already; nothing changed, the first reason stays: {mine.reason}")


def _show(state: TradingState) -> None:
    since = "" if state.set_at is None else f" since {state.set_at:%Y-%m-%d %H:%M} UTC"
    by = f", set by {state.set_by}" if state.set_by else ""
    typer.echo(f"{state.mode}{since}{by}{f': {state.reason}' if state.reason else ''}")
    if len(state.latches) > 1:
        for held in state.latches:
            typer.echo(f"  {_told(held)}")


def _told(held: Latch) -> str:
    since = "" if held.set_at is None else f" since {held.set_at:%Y-%m-%d %H:%M} UTC"
    return f"{held}{since}"
