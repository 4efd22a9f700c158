"""Rehearsal of an emergency liquidation: asked for, confirmed, sold, a halted symbol queued, and begun again."""

from trading_pipeline.application.liquidation import asked, confirmed
from trading_pipeline.application.liquidation_plan import preview
from trading_pipeline.cli.drills.script import Script
from trading_pipeline.cli.drills.stage import FAR_AWAY, Stage
from trading_pipeline.defs.liquidation import carried_out, desk_of
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.liquidation import LiquidationTrigger
from trading_pipeline.domain.risk.trading_state import PERSON, TradingMode

HALTED, WORKING = "TQQQ", 3


def rehearse(stage: Stage, script: Script) -> None:
    """Sell everything while one symbol is halted, begin again as another process, and let the symbol trade again."""
    world, control = stage.world, stage.control
    with script.step("positions, and orders that work on them") as step:
        stage.put_to_work(stage.sales(1, ["SPY"], WORKING, FAR_AWAY))
        held, sent = stage.held(), stage.sent
        shown = ", ".join(f"{symbol} {quantity.normalize():f}" for symbol, quantity in held.items())
        step.verify(f"{shown}; {len(stage.open_orders())} orders", right=len(held) > 1)
    with script.step("somebody asks what would be sold") as step:
        request, offer = asked(stage.desk, LiquidationTrigger.PERSON, "drill"), preview(stage.desk)
        covers = {order.symbol: order.quantity for order in offer.orders}
        step.verify(f"{len(offer.orders)} sales, code {request.code}", right=covers == held)
        step.verify("nothing was sent", right=stage.sent == sent)
    with script.step("a wrong code") as step:
        step.verify("it is refused", right=_is_refused(stage, "000000"))
    with script.step(f"{HALTED} is halted, and a person confirms") as step:
        control.halt(HALTED)
        request = confirmed(stage.desk, request.code, PERSON)
        first = carried_out(world, request)
        left = stage.held()
        step.verify(f"still held: {', '.join(left) or 'nothing'}", right=left == {HALTED: held[HALTED]})
        step.verify(f"{len(first.done.unresolved)} order waits", right=len(first.done.unresolved) == 1)
        mode = world.stored_state.read().mode
        step.verify(f"trading is {mode} meanwhile", right=mode is TradingMode.REDUCING)
        step.verify("the orders that worked are cancelled", right=set(stage.open_orders()) <= {HALTED})
    with script.step("another process begins it again") as step:
        sent, again = stage.sent, stage.restarted()
        second = carried_out(again, confirmed(desk_of(again), request.code, PERSON))
        step.verify(f"{stage.sent - sent} orders sent", right=stage.sent == sent)
        step.verify(f"the plan is {second.plan.plan_id}", right=second.plan == first.plan)
    with script.step(f"{HALTED} trades again") as step:
        control.resume(HALTED)
        last = carried_out(again, request)
        step.verify(f"{last}", right=last.is_over and not stage.held())
        state = world.stored_state.read()
        wanted = world.settings.liquidation.afterwards
        step.verify(f"trading is {state.mode} until a person resets it", right=state.mode is wanted)


def _is_refused(stage: Stage, code: str) -> bool:
    try:
        confirmed(stage.desk, code, PERSON)
    except InvalidInput:
        return True
    return False
