"""Halting while another process sends orders as fast as it can: nothing leaves afterwards, and nothing stays."""

import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from trading_pipeline.adapters.clocks import WallClock
from trading_pipeline.adapters.storage.objects import FileObjects
from trading_pipeline.adapters.storage.sending_gate import GATE_FILE, FileGate
from trading_pipeline.adapters.storage.trading_state import StoredTradingState
from trading_pipeline.application.halting import HaltingRules, Switch, halt
from trading_pipeline.domain.orders import Accepted
from trading_pipeline.domain.risk.trading_state import ACTIVE, TradingMode
from trading_pipeline.simulator.control import start_simulator
from trading_pipeline_tests.faults.child import OBJECTS, Job, venue_of
from trading_pipeline_tests.stories.busy_loop import LATE_SECONDS, intents_of

pytestmark = pytest.mark.unmeasured

ROOT = Path(__file__).resolve().parents[2]
TRIALS = 100 if os.environ.get("FULL") else 3
WORKING = 100
MORE_TRIES = 20
SESSION = date(2026, 7, 30)
IN_THE_WINDOW = datetime(2026, 7, 31, 14, 0, tzinfo=UTC)
SENT = "POST /v2/orders"


class Sender:
    """The busy loop in a process of its own."""

    def __init__(self, job, folder):
        self.words = (folder / "busy_loop.log").open("wb")
        command = [sys.executable, "-m", "trading_pipeline_tests.stories.busy_loop", json.dumps(asdict(job))]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.words, "text": True}
        self.process = subprocess.Popen(command, cwd=ROOT, **pipes)

    def ask(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, Path(self.words.name).read_text()
        return json.loads(answer)

    def stop(self):
        self.process.stdin.close()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.words.close()


@contextmanager
def trading(folder):
    """Start a simulator inside the execution window, and a process that can send orders to it."""
    running = start_simulator(
        folder / "simulator", start=IN_THE_WINDOW, seed=7, watch_parent=True, rate_limit=10**6, cash=Decimal(10**8)
    )
    [account] = running.control.health()["accounts"]
    job = Job(str(folder), "", running.url, running.key_id, running.secret_key, account, str(SESSION))
    sender = Sender(job, folder)
    try:
        yield running.control, job, sender
    finally:
        sender.stop()
        running.stop()


def switch_of(job):
    wall, venue = WallClock(), venue_of(job, threading.Event())
    return Switch(
        trading_state=StoredTradingState(FileObjects(Path(job.home) / OBJECTS)),
        gate=FileGate(Path(job.home) / GATE_FILE, wall),
        broker=lambda: venue.broker,
        journal=lambda: venue.journal,
        clock=wall,
        market_time=venue.clock.now,
        last_resort=pytest.fail,
        rules=HaltingRules(longest_poll=0.2),
    )


def open_orders(control):
    ended = {"filled", "canceled", "expired", "rejected", "replaced"}
    return [order for order in control.state()["orders"] if order["status"] not in ended]


@pytest.mark.slow
def test_after_halt_returns_no_order_leaves_another_process_and_none_of_ours_is_open(tmp_path):
    with trading(tmp_path) as (control, job, sender):
        switch, wall = switch_of(job), WallClock()
        for trial in range(TRIALS):
            control.reset()
            switch.trading_state.write(ACTIVE)
            for intent in intents_of(job.account, f"working.{trial}", WORKING):
                assert isinstance(switch.broker().submit(intent), Accepted)
            sender.ask(f"go {trial}")

            state, cleared = halt(switch, "drill", "a test", wall.now())
            sent, still_open = control.requests()[SENT], open_orders(control)

            assert state.mode is TradingMode.HALTED
            assert sent > WORKING, "the other process sent nothing, so nothing was tried"
            assert (still_open, cleared.left, cleared.in_doubt) == ([], (), ())
            assert trial % 2 or cleared.seconds >= LATE_SECONDS, "nobody waited for what was being sent"
            assert len(cleared.cancelled) == len(control.state()["orders"]) == sent
            sender.ask(f"refused {MORE_TRIES}")
            assert control.requests()[SENT] == sent
            assert sender.ask("end") == []
