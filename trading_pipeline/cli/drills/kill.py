"""Rehearsal of the kill switch: working orders, a loop that sends without end, a halt, and nothing after it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from trading_pipeline.application import resetting
from trading_pipeline.application.halting import halt
from trading_pipeline.application.sizing import Order
from trading_pipeline.application.submission import submitted
from trading_pipeline.application.venue import Desk, Pursuit
from trading_pipeline.cli.drills.script import Script
from trading_pipeline.cli.drills.stage import FAR_AWAY, Stage, name_of
from trading_pipeline.defs.kill_switch import switch_of
from trading_pipeline.domain.errors import PipelineError, TradingHalted
from trading_pipeline.domain.risk.trading_state import TradingMode

WORKING, BUSY, MORE_TRIES = 24, 300, 20
THREADS = 3


def rehearse(stage: Stage, script: Script) -> None:
    """Halt trading while orders work and others are being sent."""
    world = stage.world
    with script.step(f"{WORKING} orders work at the broker") as step:
        stage.put_to_work(stage.sales(1, ["SPY"], WORKING, FAR_AWAY))
        step.verify(f"{len(stage.open_orders())} open", right=len(stage.open_orders()) == WORKING)
    with _busy_loop(stage) as loop:
        with script.step("a loop sends more, as fast as it can") as step:
            script.until(lambda: stage.sent > WORKING or bool(loop.failures))
            step.verify(f"{stage.sent - WORKING} more so far", right=stage.sent > WORKING)
        with script.step("trading is halted") as step:
            switch = switch_of(world.settings, world.home, world.stored_state, world.wall, lambda: world)
            state, cleared = halt(switch, "drill", "a drill", world.wall.now())
            sent = stage.sent
            step.verify(str(cleared), right=state.mode is TradingMode.HALTED and not cleared.left)
            step.verify(f"{len(stage.open_orders())} open at the broker", right=not stage.open_orders())
        with script.step("the loop tries on") as step:
            wanted = loop.refused + MORE_TRIES
            script.until(lambda: loop.refused >= wanted or bool(loop.failures))
            step.verify(f"{loop.refused} tries were stopped", right=loop.refused >= wanted)
            step.verify(f"{stage.sent - sent} orders left after the halt", right=stage.sent == sent)
            step.verify(f"other failures: {loop.failures or 'none'}", right=not loop.failures)
    with script.step("another process reads the state") as step:
        found = stage.restarted().trading_state.read()
        step.verify(f"it is {found.mode}: {found.reason}", right=found.mode is TradingMode.HALTED)
    with script.step("a person resets it in two steps") as step:
        offer = resetting.offered(world.stored_state, [], world.clock.now())
        state = resetting.reset(world.stored_state, offer.code, "the drill is over", "a drill", world.clock.now())
        step.verify(f"it is {state.mode}", right=state.mode is TradingMode.ACTIVE)


class _Loop:
    """Threads that send the same orders again and again until they are told to end."""

    def __init__(self, stage: Stage) -> None:
        plan, venue = stage.sales(2, ["TQQQ"], BUSY, FAR_AWAY), stage.world.venue
        now = venue.clock.now()
        venue.journal.claim(plan, now)
        self._desk = Desk(plan, venue, stage.world.rules, now, now, venue.clock.elapsed())
        self._left = list(enumerate(plan.orders))
        self._over = threading.Event()
        self.refused, self.failures = 0, list[str]()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(THREADS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._over.is_set() and self._left:
            number, intent = self._left.pop(0)
            plan = self._desk.plan
            try:
                pursuit = Pursuit(intent, plan.account_number, name_of(plan.plan_id, number))
                submitted(pursuit, Order(intent), self._desk)
            except TradingHalted:
                self._left.append((number, intent))
                self.refused += 1
            except PipelineError as error:
                self.failures.append(f"{type(error).__name__}: {error}")
                return


@contextmanager
def _busy_loop(stage: Stage) -> Iterator[_Loop]:
    loop = _Loop(stage)
    loop.start()
    try:
        yield loop
    finally:
        loop.end()
