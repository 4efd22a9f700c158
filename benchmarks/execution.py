"""What it costs to send orders so that none is doubled and none is lost.

Three claims, each against a peer that is measured in turn with it:

``unthrottled``: submitting 200 orders, 8 in flight, takes at most 1.5 times as
long as 200 bare POSTs, 8 in flight, through alpaca-py itself with two commits
of a row (SQLite, WAL, FULL) for each. Time counts from the first order's line
in the journal to the last acknowledgement, for sells and for buys.

``quota``: with 200 requests a minute allowed, 200 orders meet no 429 and take
at most 1.15 times the floor: all requests, polls included, less those that may
leave at once after a rest (setting ``burst``), over the quota.

``risk``: deciding on 500 orders of 500 symbols with every rule takes at most a
tenth of executing the same orders, unthrottled, from claim to report.

Run it: ``python benchmarks/execution.py [unthrottled quota risk] [--rounds 3]``.
Every simulator is a process of its own on loopback. Equal results are asserted:
the same orders at the simulator, all filled, every sell before every buy.
"""

import argparse
import itertools
import os
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

ORDERS = 200
IN_FLIGHT = 8
QUOTA = 200
UNLIMITED = 1_000_000
PRICE = 100
SESSION, EXECUTION_SESSION = date(2026, 7, 30), date(2026, 7, 31)
MANY_ORDERS = 500
OURS, PEER = "pipeline", "peer"
CLAIMED = {"unthrottled": 1.5, "quota": 1.15, "risk": 0.1}


@contextmanager
def simulator(folder: Path, rate_limit: int, count: int = ORDERS) -> Iterator[tuple]:
    """Start a simulator of an account for ``count`` orders, and yield the pipeline's world and the control."""
    from trading_pipeline.adapters.logs import configure_logging
    from trading_pipeline.adapters.storage.home import home_of
    from trading_pipeline.defs.resources import TradingWorld
    from trading_pipeline.domain.sessions import open_of
    from trading_pipeline.settings import LogFormat, LogLevel, Settings
    from trading_pipeline.simulator.control import find_simulator

    bars, held = bars_file(folder, count), float(f"{0.5 / count:g}")
    settings = Settings.model_validate({"simulator": {"bars": bars}, "resilience": patience(rate_limit)})
    home = home_of(settings, folder).prepared()
    command = [sys.executable, "-m", "trading_pipeline.simulator", "--state", home.simulator, "--bars", bars]
    command += ["--start", f"{SESSION}T20:30:00+00:00", "--cash", str(count * 20 * PRICE), "--watch-parent"]
    command += ["--rate-limit", str(rate_limit), *(f"--holding={symbol}={held}" for symbol in sold(count))]
    with (folder / "simulator.log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout.readline().startswith("SIM READY"), (folder / "simulator.log").read_text()
        running = find_simulator(home.simulator)
        world = TradingWorld(settings, home)
        running.control.set_clock(open_of(EXECUTION_SESSION) + world.rules.opens_after)
        with (folder / "pipeline.log").open("w") as stream:
            # As the pipeline logs where nobody watches: JSON, every order's lines among them.
            configure_logging(LogFormat.JSON, LogLevel.INFO, stream)
            yield world, running
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def patience(rate_limit: int) -> dict:
    """Return settings that leave the client's own limiter as it is, or out of the way where nothing is limited."""
    if rate_limit != UNLIMITED:
        return {}
    wide = {"requests_per_minute": 100_000, "burst": 99_999}
    return {"trading_quota": wide, "market_data_quota": wide}


def sold(count: int) -> list[str]:
    """Return the symbols that are sold in a plan of ``count`` orders."""
    return [f"SA{place:03}" for place in range(count // 2)]


def bought(count: int) -> list[str]:
    """Return the symbols that are bought in a plan of ``count`` orders."""
    return [f"BU{place:03}" for place in range(count // 2)]


def bars_file(folder: Path, count: int) -> Path:
    """Write bars of every symbol at one price."""
    import pandas as pd

    from trading_pipeline.domain.sessions import sessions_between

    days = sessions_between(date(2026, 7, 20), EXECUTION_SESSION)
    rows = [
        {"symbol": symbol, "session": day, **dict.fromkeys(("open", "high", "low", "close"), PRICE), "volume": 10**7}
        for symbol, day in itertools.product((*sold(count), *bought(count)), days)
    ]
    path = folder / "bars.parquet"
    pd.DataFrame(rows).to_parquet(path)
    return path


def plan_of(account: str, count: int = ORDERS):
    """Return a plan that sells five shares of half of the symbols and buys ten of each of the others."""
    from trading_pipeline.domain.orders import (
        ArchivedDecision,
        OrderIntent,
        OrderType,
        Plan,
        Side,
        TimeInForce,
        client_order_id,
    )

    plan_id = f"{SESSION}.1"
    sides = [(Side.SELL, symbol, 90) for symbol in sold(count)] + [(Side.BUY, symbol, 110) for symbol in bought(count)]
    intents = tuple(
        OrderIntent(
            client_order_id=client_order_id(account, plan_id, symbol, side),
            sequence=sequence,
            symbol=symbol,
            side=side,
            quantity=Decimal(10) if side is Side.BUY else Decimal(5),
            order_type=OrderType.LIMIT,
            limit_price=Decimal(limit),
            reference_price=Decimal(PRICE),
            time_in_force=TimeInForce.DAY,
            reason="benchmark",
        )
        for sequence, (side, symbol, limit) in enumerate(sides)
    )
    made = datetime(SESSION.year, SESSION.month, SESSION.day, 21, tzinfo=UTC)
    decisions = tuple(ArchivedDecision(intent.client_order_id, "approved", intent.quantity) for intent in intents)
    return Plan(
        plan_id,
        account,
        SESSION,
        EXECUTION_SESSION,
        1,
        made,
        False,  # noqa: FBT003 - not hypothetical
        intents,
        (),
        "benchmark",
        "benchmark",
        decisions,
    )


@contextmanager
def requests_seen() -> Iterator[list[tuple[str, int]]]:
    """Yield a list that grows by kind and status of every answer that this process receives meanwhile."""
    from requests import Session

    seen, send = [], Session.send

    def counted(session, request, **options):
        answer = send(session, request, **options)
        path = request.path_url.split("?")[0]
        if not path.startswith("/_sim"):
            seen.append((f"{request.method} {re.sub('[0-9a-f]{8}-[0-9a-f-]{27}', 'ID', path)}", answer.status_code))
        return answer

    Session.send = counted
    try:
        yield seen
    finally:
        Session.send = send


def executed(world, count: int = ORDERS) -> tuple[float, float]:
    """Execute the plan; return seconds of submitting, and of all from claim to report."""
    from trading_pipeline.application.execution import execute

    plan = plan_of(world.portfolio().account_number, count)
    began = time.perf_counter()
    done = execute(plan, world.venue, world.rules)
    elapsed = time.perf_counter() - began
    assert {entry.state.value for entry in done.entries} == {"filled"}, Counter(e.state for e in done.entries)
    history = world.journal.history(plan.plan_id)
    submitting = sum(span([entry for entry in history if entry.client_order_id in names]) for names in by_side(plan))
    return submitting, elapsed


def by_side(plan) -> list[set[str]]:
    """Return the ids of the sells, and those of the buys."""
    return [{order.client_order_id for order in plan.orders if order.side == side} for side in ("sell", "buy")]


def span(entries) -> float:
    """Return seconds from the first line before a sending to the last acknowledgement."""
    first = min(entry.written_at for entry in entries if entry.state == "submitting")
    return (max(entry.written_at for entry in entries if entry.state == "acknowledged") - first).total_seconds()


def posted(world, running) -> float:
    """Send the same orders bare: alpaca-py, a commit before and one after each; return the seconds."""
    from alpaca.trading.client import TradingClient

    from trading_pipeline.adapters.alpaca.translation import order_request

    database, of_thread = world.home.folder / "peer.sqlite", threading.local()
    with closing(sqlite3.connect(database)) as made:
        made.execute("PRAGMA journal_mode = WAL")
        made.execute("CREATE TABLE events (name TEXT, state TEXT)")

    def prepared():
        if not hasattr(of_thread, "client"):
            client = TradingClient(running.key_id, running.secret_key, raw_data=True, url_override=running.url)
            client._session.trust_env = False  # noqa: SLF001 - a proxy must not stand between
            journal = sqlite3.connect(database, timeout=60, isolation_level=None)
            journal.execute("PRAGMA synchronous = FULL")
            of_thread.client, of_thread.journal = client, journal
        return of_thread.client, of_thread.journal

    def send(intent):
        client, journal = prepared()
        journal.execute("INSERT INTO events VALUES (?, 'submitting')", (intent.client_order_id,))
        answer = client.post("/orders", order_request(intent))
        journal.execute("INSERT INTO events VALUES (?, 'acknowledged')", (intent.client_order_id,))
        return answer["id"]

    plan = plan_of(world.portfolio().account_number)
    seconds = 0.0
    with ThreadPoolExecutor(IN_FLIGHT) as senders:
        for names in by_side(plan):
            intents = [at_the_quote(order) for order in plan.orders if order.client_order_id in names]
            began = time.perf_counter()
            assert len(set(senders.map(send, intents))) == len(intents)
            seconds += time.perf_counter() - began
    return seconds


def at_the_quote(intent):
    """Return the intent with a limit that fills at once, as the pipeline prices it."""
    from dataclasses import replace

    return replace(intent, limit_price=Decimal("100.13") if intent.side == "buy" else Decimal("99.87"))


def at_the_broker(running) -> list[tuple[str, str, str]]:
    """Return side, symbol and client order id of each order at the simulator."""
    orders = running.control.state()["orders"]
    # In the order of their arrival.
    sides = [order["side"] for order in orders]
    assert sides == sorted(sides, reverse=True), "a buy arrived before a sell"
    return sorted((order["side"], order["symbol"], order["client_order_id"]) for order in orders)


def unthrottled(rounds: int) -> float:
    """Print both sides and return the ratio of their medians."""
    times: dict[str, list[float]] = {OURS: [], PEER: [], "whole": []}
    for number in range(rounds + 1):
        found = {}
        for kind in (OURS, PEER):
            with tempfile.TemporaryDirectory() as folder, simulator(Path(folder), UNLIMITED) as (world, running):
                seconds = executed(world) if kind == OURS else (posted(world, running), None)
                found[kind] = at_the_broker(running)
            # The first round warms caches on disk and is not counted.
            if number:
                times[kind].append(seconds[0])
                times["whole"] += [seconds[1]] if kind == OURS else []
        assert found[OURS] == found[PEER], "the two sides sent different orders"
        assert len(found[OURS]) == ORDERS
    told(OURS, times[OURS], f"submitting {ORDERS} orders, {IN_FLIGHT} in flight, journal and all")
    told(PEER, times[PEER], f"{ORDERS} bare POSTs through alpaca-py, {IN_FLIGHT} in flight, and {2 * ORDERS} commits")
    told("whole", times["whole"], "the same plan from its claim to the report of its executions")
    return statistics.median(times[OURS]) / statistics.median(times[PEER])


def quota(_rounds: int) -> float:
    """Print the requests by kind and return time over floor; once, since it takes minutes."""
    with (
        tempfile.TemporaryDirectory() as folder,
        simulator(Path(folder), QUOTA) as (world, running),
        requests_seen() as seen,
    ):
        _, elapsed = executed(world)
        assert len(at_the_broker(running)) == ORDERS
        served = sum(running.control.requests().values())
    assert served == len(seen), f"{served} requests at the simulator, {len(seen)} seen"
    refused = sum(status == 429 for _, status in seen)
    burst = world.settings.resilience.trading_quota.burst
    floor = (len(seen) - burst) / QUOTA * 60
    for kind, count in Counter(kind for kind, _ in seen).most_common():
        print(f"  {count / ORDERS:6.3f} an order  {kind}")
    print(f"{len(seen)} requests for {ORDERS} orders, {len(seen) / ORDERS:.3f} an order, {refused} answered with 429")
    print(f"{elapsed:.1f} s; {burst} at once and {QUOTA} a minute allow no less than {floor:.1f} s")
    assert refused == 0, "the quota was overstepped"
    return elapsed / floor


def risk(rounds: int) -> float:
    """Print both sides and return the ratio of their medians."""
    from trading_pipeline.domain.risk.engine import decide

    times: dict[str, list[float]] = {OURS: [], PEER: []}
    for _ in range(rounds):
        with (
            tempfile.TemporaryDirectory() as folder,
            simulator(Path(folder), UNLIMITED, MANY_ORDERS) as (world, running),
        ):
            portfolio = world.portfolio()
            intents = plan_of(portfolio.account_number, MANY_ORDERS).orders
            state, limits = risk_state(portfolio)
            began = time.perf_counter()
            decisions = decide(intents, state, limits)
            times[OURS].append(time.perf_counter() - began)
            times[PEER].append(executed(world, MANY_ORDERS)[1])
            passed = sorted(made.intent.client_order_id for made in decisions if made.quantity == made.intent.quantity)
            assert passed == [name for *_, name in sorted(at_the_broker(running), key=lambda order: order[2])]
    told(OURS, times[OURS], f"deciding on {MANY_ORDERS} orders of {MANY_ORDERS} symbols with every rule")
    told(PEER, times[PEER], "executing them, unthrottled, from claim to report")
    return statistics.median(times[OURS]) / statistics.median(times[PEER])


def risk_state(portfolio):
    """Return a state in which everything is known, and the default limits with room for so many orders."""
    from dataclasses import replace

    import numpy as np
    import pandas as pd

    from trading_pipeline.domain.classification import Classification, Sector
    from trading_pipeline.domain.instruments import AssetClass
    from trading_pipeline.domain.risk.limits import RiskLimits
    from trading_pipeline.domain.risk.market_status import MarketStatus
    from trading_pipeline.domain.risk.scenarios import scenarios_of
    from trading_pipeline.domain.risk.state import RiskState
    from trading_pipeline.domain.risk.trading_state import ACTIVE
    from trading_pipeline.domain.sessions import sessions_between
    from trading_pipeline.ports import Asset

    symbols = (*sold(MANY_ORDERS), *bought(MANY_ORDERS))
    days = list(sessions_between(date(2024, 1, 2), SESSION))
    moves = np.random.default_rng(1).normal(0, 0.01, (len(days), len(symbols)))
    closes = pd.DataFrame(PRICE * np.cumprod(1 + moves, axis=0), index=days, columns=list(symbols))
    classes, sectors = list(AssetClass), list(Sector)
    state = RiskState(
        portfolio=portfolio,
        trading_state=ACTIVE,
        at=datetime(2026, 7, 30, 21, tzinfo=UTC),
        session=EXECUTION_SESSION,
        assets={symbol: Asset(symbol, symbol, "ARCA", tradable=True, fractionable=True) for symbol in symbols},
        classes={
            symbol: Classification(classes[place % len(classes)], sectors[place % 10], Decimal(1 + place % 3))
            for place, symbol in enumerate(symbols)
        },
        open_orders=(),
        sent=(),
        strategy_weights={"benchmark": dict.fromkeys(symbols, Decimal("0.002"))},
        average_dollar_volumes=dict.fromkeys(symbols, Decimal(10**9)),
        scenarios=scenarios_of(closes),
        fills=(),
        market=MarketStatus(EXECUTION_SESSION, datetime(2026, 7, 30, 21, tzinfo=UTC), frozenset(symbols)),
        locks=(),
    )
    return state, replace(RiskLimits(), max_orders_per_session=MANY_ORDERS)


def told(name: str, seconds: list[float], contains: str) -> None:
    """Print the median of a side."""
    middle, low, high = statistics.median(seconds), min(seconds), max(seconds)
    print(f"{name:9} {middle:7.3f} s (median of {len(seconds)}; {low:.3f} to {high:.3f})  {contains}")


PARTS = {"unthrottled": unthrottled, "quota": quota, "risk": risk}


def main() -> None:
    """Measure the parts that are asked for and print a ratio for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(PARTS)}; all by default")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"no part is called {', '.join(unknown)}")
    from trading_pipeline.adapters.logs import configure_logging
    from trading_pipeline.settings import LogFormat, LogLevel

    missed = 0
    with open(os.devnull, "w") as nowhere:
        for part in options.parts or PARTS:
            print(f"{part}:", flush=True)
            # What the log costs is measured with the orders, a screen is not.
            configure_logging(LogFormat.JSON, LogLevel.INFO, nowhere)
            ratio = PARTS[part](options.rounds)
            missed += ratio > CLAIMED[part]
            print(f"ratio {ratio:.2f}, claimed at most {CLAIMED[part]:g}\n", flush=True)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
