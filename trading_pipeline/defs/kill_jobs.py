"""The kill switch as jobs: what ``trading-pipeline kill`` does, for whoever looks at Dagster's UI.

A job waits for its turn in Dagster's queue, behind a run that places orders,
say; the command, the variable ``TRADING_HALT`` and the file ``HALT`` do not.
"""

import dagster as dg

from trading_pipeline.application import resetting
from trading_pipeline.application.halting import cleared, halted
from trading_pipeline.defs import metadata
from trading_pipeline.defs.kill_switch import switch_of
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain.risk.trading_state import PERSON, TradingMode, TradingState

KILL_HALT, KILL_REDUCE, KILL_RESET, KILL_STATUS = "kill_halt", "kill_reduce", "kill_reset", "kill_status"
SET_BY = PERSON
# The queue takes the highest first.
TAGS = {"dagster/priority": "1000"}


class Halt(dg.Config):
    """Why trading is halted, and whether open orders of ours stay at the broker."""

    reason: str
    keep_orders: bool = False


class Reduce(dg.Config):
    """Why trading only reduces."""

    reason: str


class Reset(dg.Config):
    """Without a code what holds trading is shown with one; with the code and a reason it is reset."""

    code: str = ""
    reason: str = ""
    latches: list[str] = []  # noqa: RUF012 - Dagster's configuration copies it
    override_risk: bool = False


@dg.op(required_resource_keys={"world"})
def halt_trading(context: dg.OpExecutionContext, config: Halt) -> None:
    """Lets no further order leave, cancels every open order of ours, and makes sure that none is left."""
    world: TradingWorld = context.resources.world
    switch = switch_of(world.settings, world.home, world.stored_state, world.wall, lambda: world)
    _tell(context, halted(switch, config.reason, SET_BY, world.wall.now()))
    if not config.keep_orders:
        found = cleared(switch, config.reason)
        context.add_output_metadata(metadata.shown({"orders": str(found), "seconds": found.seconds}))
        context.log.warning(str(found))


@dg.op(required_resource_keys={"world"})
def reduce_trading(context: dg.OpExecutionContext, config: Reduce) -> None:
    """Lets sales of what is held pass, and nothing that opens a position."""
    world: TradingWorld = context.resources.world
    now = world.wall.now()
    change = world.stored_state.mend(lambda state: state.tightened(TradingMode.REDUCING, config.reason, SET_BY, now))
    _tell(context, change)


@dg.op(required_resource_keys={"world"})
def reset_trading(context: dg.OpExecutionContext, config: Reset) -> None:
    """Shows what holds trading and a code; with the code and a reason, lets trading go on."""
    world: TradingWorld = context.resources.world
    now = world.clock.now()
    if not config.code:
        offer = resetting.offered(world.stored_state, config.latches, now)
        context.log.warning("\n".join(offer.lines()))
        context.add_output_metadata(
            metadata.shown({"offer": "\n".join(offer.lines()), "code": "" if offer.is_empty else offer.code})
        )
        return
    state = resetting.reset(
        world.stored_state,
        config.code,
        config.reason,
        SET_BY,
        now,
        config.latches,
        overrides_risk=config.override_risk,
    )
    _tell(context, state)


def _tell(context: dg.OpExecutionContext, state: TradingState) -> None:
    context.log.warning(f"trading is {state.mode}: {resetting.listed(state)}")
    context.add_output_metadata(
        metadata.shown({"mode": state.mode.value, "latches": resetting.listed(state), "epoch": state.epoch})
    )


@dg.job(
    name=KILL_HALT,
    tags=TAGS,
    description="Halt trading: no further order leaves, and every open order of ours is cancelled.",
)
def kill_halt_job() -> None:
    """Wire the op."""
    halt_trading()


@dg.job(name=KILL_REDUCE, tags=TAGS, description="Let sales of what is held pass, and nothing that opens a position.")
def kill_reduce_job() -> None:
    """Wire the op."""
    reduce_trading()


@dg.job(
    name=KILL_RESET,
    tags=TAGS,
    description=(
        "Trade again, in two runs: the first shows what holds trading and a code, the second repeats the code and "
        "gives a reason."
    ),
)
def kill_reset_job() -> None:
    """Wire the op."""
    reset_trading()


kill_status_job = dg.define_asset_job(
    KILL_STATUS,
    selection=dg.AssetSelection.assets("trading_state"),
    description="Show whether trading is allowed, what holds it, and every change that led there.",
    tags=TAGS,
)
KILL_JOBS = (kill_status_job, kill_halt_job, kill_reduce_job, kill_reset_job)
