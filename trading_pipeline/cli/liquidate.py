"""``trading-pipeline liquidate``: sell everything that is held, in two steps."""

from typing import TYPE_CHECKING, Annotated

import typer

from trading_pipeline.cli.options import HomeFolder, SettingsFile
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.liquidation import LiquidationTrigger
from trading_pipeline.domain.risk.trading_state import PERSON

if TYPE_CHECKING:
    from trading_pipeline.cli.workshop import Choice
    from trading_pipeline.defs.resources import TradingWorld

DEFAULT_REASON = "a person wants out"


def liquidate(
    code: Annotated[str | None, typer.Option("--code", help="The code that the first call, or an alert, told.")] = None,
    withdraw: Annotated[  # noqa: FBT002 - typer makes a flag of it
        bool, typer.Option("--withdraw", help="End what was asked for or agreed to, before it begins.")
    ] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; whoever looks later reads it.")] = DEFAULT_REASON,
    settings_file: SettingsFile = None,
    home: HomeFolder = None,
) -> None:
    """Sell everything that is held, in two steps: the first call shows what and a code, the second repeats the code.

    Trading only reduces meanwhile, and is held as the settings say afterwards, until a person resets it. Open orders
    of ours are cancelled first. What does not trade now waits; the same call goes on with it, and so does Dagster's
    sensor liquidation_watch. While the exchange is closed it waits for the next window, and --withdraw ends it. The
    exit code is 1 where something is still held.
    """
    from trading_pipeline.cli.workshop import chosen

    world = _world(chosen(settings_file, home, None))
    if withdraw:
        _withdraw(world, code)
        return
    if code is None:
        _offer(world, reason)
        return
    _carry_out(world, code)


def _withdraw(world: "TradingWorld", code: str | None) -> None:
    from trading_pipeline.application.liquidation import withdrawn
    from trading_pipeline.defs.liquidation import desk_of

    if code is not None:
        raise InvalidInput("--code sells everything and --withdraw ends that; give one of them")
    request = withdrawn(desk_of(world), PERSON)
    typer.echo(f"{request.name} is {request.outcome}")


def _offer(world: "TradingWorld", reason: str) -> None:
    from trading_pipeline.application.liquidation import asked, opens_at
    from trading_pipeline.application.liquidation_plan import preview
    from trading_pipeline.defs.liquidation import desk_of
    from trading_pipeline.defs.liquidation_jobs import offer_lines, waits_line

    desk = desk_of(world)
    state = world.trading_state.read()
    request, found = asked(desk, LiquidationTrigger.PERSON, reason), preview(desk)
    typer.echo(f"trading is {state.mode}{f': {state.reason}' if state.reason else ''}")
    typer.echo("\n".join(offer_lines(request, found)))
    opens = opens_at(desk, request)
    if request.stage.is_agreed and opens is not None:
        typer.echo(waits_line(request, opens))
        return
    typer.echo(f"To sell: trading-pipeline liquidate --code {request.code}")


def _carry_out(world: "TradingWorld", code: str) -> None:
    from trading_pipeline.application.liquidation import confirmed, opens_at
    from trading_pipeline.defs.liquidation import carried_out, desk_of
    from trading_pipeline.defs.liquidation_jobs import waits_line

    desk = desk_of(world)
    request = confirmed(desk, code, PERSON)
    opens = opens_at(desk, request)
    if opens is not None:
        typer.echo(waits_line(request, opens))
        raise typer.Exit(1)
    found = carried_out(world, request)
    typer.echo(f"{found.plan.plan_id}: {found}")
    if not found.is_over:
        typer.echo(f"{len(found.done.unresolved)} orders wait; to go on: trading-pipeline liquidate --code {code}")
    if found.left:
        raise typer.Exit(1)


def _world(choice: "Choice") -> "TradingWorld":
    from trading_pipeline.defs.resources import TradingWorld
    from trading_pipeline.settings import StrategySettings

    # Positions must be closed whatever is wrong with the strategies.
    settings = choice.settings.model_copy(update={"strategies": StrategySettings()})
    return TradingWorld(settings, choice.home)
