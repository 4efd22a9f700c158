"""Emergency liquidation as a job, and the sensor that looks for what sets it off.

A job waits for its turn in Dagster's queue, before all others; the command
``trading-pipeline liquidate`` does not wait.
"""

from datetime import datetime

import dagster as dg

from trading_pipeline.adapters.neutral_mode import lasting_name
from trading_pipeline.application.liquidation import Liquidated, agreed, asked, confirmed, opens_at
from trading_pipeline.application.liquidation_desk import LiquidationDesk
from trading_pipeline.application.liquidation_plan import Preview, preview
from trading_pipeline.defs import metadata
from trading_pipeline.defs.kill_jobs import TAGS
from trading_pipeline.defs.liquidation import carried_out, desk_of, looked
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain.errors import InvalidInput, PipelineError
from trading_pipeline.domain.instruments import plain
from trading_pipeline.domain.liquidation import LiquidationRequest, LiquidationTrigger
from trading_pipeline.domain.risk.trading_state import PERSON

LIQUIDATE, WATCH = "liquidate", "liquidation_watch"
NUMBER_TAG = "trading_pipeline/liquidation"
MOST_ATTEMPTS = 20
DEFAULT_REASON = "a person wants out"


class Liquidate(dg.Config):
    """Without a code it is shown what would be sold, with one; with the code, everything is sold.

    ``agreed`` goes on with a liquidation that was agreed to already.
    """

    code: str = ""
    reason: str = DEFAULT_REASON
    agreed: bool = False


@dg.op(required_resource_keys={"world"})
def liquidate_positions(context: dg.OpExecutionContext, config: Liquidate) -> None:
    """Shows what would be sold and a code; with the code, sells everything that is held."""
    world: TradingWorld = context.resources.world
    desk = desk_of(world)
    if not config.code and not config.agreed:
        request = asked(desk, LiquidationTrigger.PERSON, config.reason)
        told = "\n".join(offer_lines(request, preview(desk)))
        context.log.warning(told)
        context.add_output_metadata(metadata.shown({"offer": told, "code": request.code}))
        return
    request = _agreed_to(desk, config)
    opens = opens_at(desk, request)
    if opens is not None:
        told = waits_line(request, opens)
        context.log.warning(told)
        context.add_output_metadata(metadata.shown({"outcome": told}))
        return
    found = carried_out(world, request)
    _audit(world, found, context.run.run_id)
    context.log.warning(str(found))
    context.add_output_metadata(
        metadata.shown(
            {
                "outcome": str(found),
                "plan_id": found.plan.plan_id,
                "is_over": found.is_over,
                "waiting": len(found.done.unresolved),
            }
        )
    )


def _audit(world: TradingWorld, found: Liquidated, run_id: str) -> None:
    trail = world.audit
    trail.record(trail.scribe(run_id).plan(found.plan, LIQUIDATE))
    trail.follow(run_id)
    trail.record_fills(found.plan, found.done.fills, found.done.intents_by_order, run_id)


def _agreed_to(desk: LiquidationDesk, config: Liquidate) -> LiquidationRequest:
    if config.code:
        return confirmed(desk, config.code, PERSON)
    request = agreed(desk, desk.venue.broker.portfolio().account_number)
    if request is None:
        raise InvalidInput("no liquidation that was agreed to is under way; run this job with neither, to be asked")
    return request


def waits_line(request: LiquidationRequest, opens: datetime) -> str:
    """Return what a person should know of a liquidation that was agreed to and waits for the exchange."""
    return (
        f"{request.name} is agreed to by {request.agreed_by}, and everything is sold from {opens:%Y-%m-%d %H:%M} UTC "
        f"on; to withdraw it: trading-pipeline liquidate --withdraw"
    )


def offer_lines(request: LiquidationRequest, found: Preview) -> list[str]:
    """Return what a person should read before confirming: what would be sold, what stays, and the code."""
    lines = [
        f"{order.side} {plain(order.quantity)} {order.symbol}, limit {order.limit_price} at a price of "
        f"{order.reference_price:.2f}"
        for order in found.orders
    ]
    lines += [f"{left.symbol} {plain(left.quantity)} stays: {left.reason}" for left in found.staying]
    agreed_by = f", agreed to by {request.agreed_by}" if request.agreed_by else ""
    state = f"{request.name} is {request.stage}{agreed_by}: {request.reason}"
    return [*(lines or ["nothing is held"]), state, f"code {request.code}, until {request.expires_at.isoformat()}"]


@dg.job(
    name=LIQUIDATE,
    tags=TAGS,
    description=(
        "Sell everything that is held, in two runs: the first shows what would be sold and a code, the second repeats "
        "the code."
    ),
)
def liquidate_job() -> None:
    """Wire the op."""
    liquidate_positions()


def liquidation_watch(interval_seconds: int) -> dg.SensorDefinition:
    """Return the sensor that looks every ``interval_seconds`` at what sets a liquidation off."""

    @dg.sensor(
        name=WATCH,
        job_name=liquidate_job.name,
        description=(
            "Looks at what sets a liquidation off: a drawdown that halts, books that differ from the broker's, a spike "
            "of the market. Asks a person, or launches it where the settings say automatic. Goes on with one that was "
            "agreed to and is not over."
        ),
        required_resource_keys={"world"},
        minimum_interval_seconds=interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def look(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        world: TradingWorld = context.resources.world
        try:
            found = looked(world)
            desk = desk_of(world)
            request = agreed(desk, desk.venue.broker.portfolio().account_number)
            opens = None if request is None else opens_at(desk, request)
        except PipelineError as error:
            return dg.SkipReason(f"{type(error).__name__}: {error}")
        if request is None:
            return dg.SkipReason(found)
        if opens is not None:
            return dg.SkipReason(waits_line(request, opens))
        account = lasting_name(world.settings, request.account_number)
        return _launched(context.instance, f"{account}.{request.epoch}", found)

    return look


def _launched(instance: dg.DagsterInstance, number: str, found: str) -> dg.RunRequest | dg.SkipReason:
    """Ask for a run unless one is under way, or as many have ended without bringing it to its end."""
    tag = {NUMBER_TAG: number}
    runs = instance.get_runs(dg.RunsFilter(job_name=LIQUIDATE, tags=tag))
    if any(not run.is_finished for run in runs):
        return dg.SkipReason(f"{found}; a run is under way")
    if len(runs) >= MOST_ATTEMPTS:
        return dg.SkipReason(f"{found}; {len(runs)} runs did not bring it to its end: run job {LIQUIDATE} by hand")
    return dg.RunRequest(
        run_key=f"{number}.{len(runs)}",
        run_config={"ops": {"liquidate_positions": {"config": {"agreed": True}}}},
        tags=tag,
    )
