"""How long it takes until nothing of ours is open at the broker, once somebody says halt.

Claim: with 100 working orders, halting takes at most twice as long as
cancelling them one after another, all of it included: the state and its
history on the disk, the cancels, the gate, and the list that shows that no
order is left. Both sides use the same broker adapter and are measured in turn;
that no order is open afterwards is read from the simulator itself.

Run it: ``python benchmarks/halting.py [--rounds 5] [--orders 100]``.
The simulator is a process of its own on loopback.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

CLAIMED = 2.0
ORDERS = 100
OURS, PEER = "halt", "one by one"
IN_THE_WINDOW = datetime(2026, 7, 31, 14, 0, tzinfo=UTC)
UNLIMITED = {"requests_per_minute": 100_000, "burst": 99_999}
# Far below any price, so that an order works and does not fill.
LIMIT = Decimal("1.50")


@contextmanager
def market(folder: Path) -> Iterator[tuple]:
    """Start a simulator without a quota, and yield the world of the pipeline and the control."""
    from trading_pipeline.adapters.storage.home import home_of
    from trading_pipeline.defs.resources import TradingWorld
    from trading_pipeline.settings import Settings
    from trading_pipeline.simulator.control import start_simulator

    settings = Settings.model_validate({"resilience": {"trading_quota": UNLIMITED}})
    home = home_of(settings, folder).prepared()
    running = start_simulator(
        home.simulator, start=IN_THE_WINDOW, cash=Decimal(10**8), rate_limit=10**6, watch_parent=True
    )
    try:
        yield TradingWorld(settings, home), running.control
    finally:
        running.stop()


def place(world, name: str, count: int) -> None:
    """Place so many orders that work until they are cancelled, under ids of ours."""
    from trading_pipeline.domain.orders import (
        Accepted,
        OrderIntent,
        OrderType,
        Side,
        TimeInForce,
        client_order_id,
    )

    for number in range(count):
        order_id = client_order_id("benchmark", f"{name}.{number}", "SPY", Side.BUY)
        terms = ("SPY", Side.BUY, Decimal(1), OrderType.LIMIT, LIMIT, LIMIT, TimeInForce.DAY, "benchmark")
        assert isinstance(world.broker.submit(OrderIntent(order_id, number, *terms)), Accepted)


def halted(world) -> None:
    """Halt as the command does."""
    from trading_pipeline.application.halting import halt
    from trading_pipeline.defs.kill_switch import switch_of

    switch = switch_of(world.settings, world.home, world.stored_state, world.wall, lambda: world)
    halt(switch, "benchmark", "a benchmark", world.wall.now())


def cancelled_one_by_one(world) -> None:
    """Cancel what is open, each after the answer to the one before, and list until nothing is."""
    for order in world.broker.orders():
        world.broker.cancel(order.venue_order_id)
    while world.broker.orders():
        world.wall.wait(world.settings.execution.first_poll_seconds)


def measured(world, control, name: str, stop: Callable[[object], None], count: int) -> float:
    """Place the orders, stop, and return the seconds until that returned."""
    from trading_pipeline.domain.risk.trading_state import ACTIVE

    control.reset()
    world.stored_state.write(ACTIVE)
    place(world, name, count)
    began = time.perf_counter()
    stop(world)
    seconds = time.perf_counter() - began
    orders = control.state()["orders"]
    assert [order["status"] for order in orders] == ["canceled"] * count, "an order is left"
    return seconds


def told(name: str, seconds: list[float], contains: str) -> None:
    """Print the median of a side."""
    middle, low, high = statistics.median(seconds), min(seconds), max(seconds)
    print(f"{name:10} {middle:7.3f} s (median of {len(seconds)}; {low:.3f} to {high:.3f})  {contains}")


def ratio(rounds: int, count: int) -> float:
    """Print both sides and return the ratio of their medians."""
    sides = {OURS: halted, PEER: cancelled_one_by_one}
    times: dict[str, list[float]] = {name: [] for name in sides}
    with tempfile.TemporaryDirectory() as folder, market(Path(folder)) as (world, control):
        # The first round warms imports and connections, and is not counted.
        for number in range(rounds + 1):
            for name, stop in sides.items():
                seconds = measured(world, control, f"{name}.{number}", stop, count)
                times[name] += [seconds] if number else []
    told(OURS, times[OURS], f"state, {count} cancels, gate, and the list that shows that none is left")
    told(PEER, times[PEER], f"{count} cancels one after another, and the list that shows that none is left")
    return statistics.median(times[OURS]) / statistics.median(times[PEER])


def main() -> None:
    """Measure both sides and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--orders", type=int, default=ORDERS)
    options = parser.parse_args()
    from trading_pipeline.adapters.logs import configure_logging
    from trading_pipeline.settings import LogFormat, LogLevel

    with open(os.devnull, "w") as nowhere:
        # What the log costs is measured with the cancels, a screen is not.
        configure_logging(LogFormat.JSON, LogLevel.INFO, nowhere)
        found = ratio(options.rounds, options.orders)
    print(f"ratio {found:.2f}, claimed at most {CLAIMED:g}")
    sys.exit(1 if found > CLAIMED else 0)


if __name__ == "__main__":
    main()
