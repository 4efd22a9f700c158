"""Rehearsal of a broker that cannot be reached: reducing once patience ends, halted after that, and back again."""

from trading_pipeline.application.execution import execute
from trading_pipeline.cli.drills.script import Script
from trading_pipeline.cli.drills.stage import FAR_AWAY, LAST_KNOWN_SECONDS, Stage
from trading_pipeline.domain.errors import PipelineError
from trading_pipeline.domain.orders import Plan, Side
from trading_pipeline.domain.risk.trading_state import TradingMode
from trading_pipeline.settings import TradingStateSettings

ROOM = 5.0


def rehearse(stage: Stage, script: Script) -> None:
    """Cut every connection to the broker while an order works, then restore it."""
    state = stage.world.trading_state
    usual = TradingStateSettings().last_known_seconds
    with script.step("an order works, trading is active") as step:
        stage.put_to_work(stage.sales(1, ["GLD"], price=FAR_AWAY))
        plan = stage.sales(2, ["SPY"])
        step.verify(f"trading is {state.read().mode}", right=state.read().mode is TradingMode.ACTIVE)
        step.verify(f"{len(stage.open_orders())} order is open", right=len(stage.open_orders()) == 1)
    with script.step("the broker cannot be reached any more") as step:
        stage.control.add_fault(action="reset", match={"path_re": "^/"})
        mode = state.read().mode
        step.verify(f"trading is {mode}, as last known", right=mode is TradingMode.ACTIVE)
    with script.step(f"patience ends (after {LAST_KNOWN_SECONDS:g} s here, {usual:g} s otherwise)") as step:
        came = script.until(lambda: state.read().mode is not TradingMode.ACTIVE, LAST_KNOWN_SECONDS + ROOM)
        found = state.read()
        is_right = came is not None and came > LAST_KNOWN_SECONDS / 2 and found.mode is TradingMode.REDUCING
        step.verify(f"trading is {found.mode}: {found.set_by}", right=is_right)
    with script.step("it stays away") as step:
        came = script.until(lambda: state.read().mode is TradingMode.HALTED, ROOM)
        step.verify(f"trading is {state.read().mode}", right=came is not None)
    with script.step("a sale is tried all the same") as step:
        before = stage.sent
        step.verify("the trading state allows none", right=not state.read().allows(Side.SELL))
        step.verify(_refused(stage, plan), right=stage.sent == before)
        step.verify(f"{stage.sent - before} orders reached the broker", right=stage.sent == before)
    with script.step("the broker is back") as step:
        stage.control.clear_faults()
        came = script.until(lambda: state.read().mode is TradingMode.ACTIVE)
        step.verify(f"trading is {state.read().mode}", right=came is not None)
        step.verify("the order still works", right=list(stage.open_orders()) == ["GLD"])
    with script.step("the sale is tried again") as step:
        shares = stage.held()["SPY"]
        done = execute(plan, stage.world.venue, stage.world.rules)
        step.verify(
            f"{done.entries[0].state}, {shares - stage.held()['SPY']:f} share sold",
            right=not done.unresolved and shares - stage.held()["SPY"] == 1,
        )


def _refused(stage: Stage, plan: Plan) -> str:
    try:
        execute(plan, stage.world.venue, stage.world.rules)
    except PipelineError as error:
        return f"{type(error).__name__}"
    return "nothing stopped it"
