"""How long it takes from the sensor's tick to the first order.

The claim: from the tick to the first order on the wire takes at most twice as
long as a run of three empty assets, from its sensor's tick to its end: both
with the same daemon, launcher and executor.

Run it: ``python benchmarks/tick.py [--rounds 3]``. The simulator, the daemon
and the runs are processes of their own on loopback.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from execution import EXECUTION_SESSION, OURS, PEER, SESSION, told

CLAIMED = 2.0
DEADLINE = 300
INTERVAL = 5
EMPTY = f"""
import os, time
from pathlib import Path
import dagster as dg

@dg.asset
def first(): Path(os.environ["STARTED"]).write_text(str(time.time()))

@dg.asset(deps=[first])
def second(): pass

@dg.asset(deps=[first])
def third(): pass

job = dg.define_asset_job("empty", selection="*")

@dg.sensor(job=job, minimum_interval_seconds={INTERVAL}, default_status=dg.DefaultSensorStatus.RUNNING)
def look(_context):
    return dg.RunRequest(run_key="once") if Path(os.environ["DUE"]).exists() else dg.SkipReason("not due")

defs = dg.Definitions([first, second, third], jobs=[job], sensors=[look], executor=dg.in_process_executor)
"""


@contextmanager
def daemon(dagster_home: Path, workspace: str, **environment: str) -> Iterator[subprocess.Popen]:
    """Run Dagster's daemon over a workspace as long as the block lasts."""
    (dagster_home / "workspace.yaml").write_text(workspace)
    program = Path(sys.executable).with_name("dagster-daemon")
    with (dagster_home / "daemon.log").open("w") as log:
        process = subprocess.Popen(
            [program, "run", "-w", dagster_home / "workspace.yaml"],
            env={**os.environ, "DAGSTER_HOME": str(dagster_home), "PYTHONWARNINGS": "ignore", **environment},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def awaited(found, log: Path):
    """Return what ``found`` finds once it does."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        answer = found()
        if answer is not None:
            return answer
        threading.Event().wait(0.2)
    raise TimeoutError(log.read_text()[-3000:])


def ticks(instance, sensor: str) -> list:
    """Return the finished ticks of a sensor, newest first."""
    found = [state for state in instance.all_instigator_state() if state.name == sensor]
    every = [tick for state in found for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id)]
    return [tick for tick in every if tick.is_completed]


def milestones(instance, sensor: str, log: Path) -> dict[str, float]:
    """Return seconds from the tick that asked for a run to each step of that run, once it has ended."""

    def ended():
        asked = [tick for tick in ticks(instance, sensor) if tick.run_ids]
        if not asked or not instance.get_run_by_id(asked[-1].run_ids[0]).is_finished:
            return None
        assert instance.get_run_by_id(asked[-1].run_ids[0]).is_success, log.read_text()[-3000:]
        return asked[-1].timestamp, instance.get_run_stats(asked[-1].run_ids[0])

    tick, stats = awaited(ended, log)
    steps = {"asked for": stats.enqueued_time, "launched": stats.launch_time, "began": stats.start_time}
    return {
        "tick": tick,
        **{f"run {name}": at - tick for name, at in steps.items()},
        "run ended": stats.end_time - tick,
    }


def empty_run(folder: Path) -> dict[str, float]:
    """Return seconds from the tick to each step of a run of three empty assets, to the first one's body as well."""
    import dagster as dg

    from trading_pipeline.adapters.storage.home import Home

    home, module = Home(folder / "home").prepared(), folder / "empty_definitions.py"
    started, due = folder / "started", folder / "due"
    module.write_text(EMPTY)
    workspace = f"load_from:\n  - python_file: {module}\n"
    log = home.dagster / "daemon.log"
    with (
        dg.DagsterInstance.from_config(str(home.dagster)) as instance,
        daemon(home.dagster, workspace, STARTED=str(started), DUE=str(due)),
    ):
        awaited(lambda: ticks(instance, "look") or None, log)
        due.touch()
        found = milestones(instance, "look", log)
    return {**found, "first body": float(started.read_text()) - found["tick"]}


def first_order(folder: Path) -> dict[str, float]:
    """Return seconds from the sensor's tick to each step, and to the first order's line, written before it is sent."""
    from trading_pipeline.adapters.storage.home import HOME_VARIABLE
    from trading_pipeline.cli.console import Progress
    from trading_pipeline.cli.days import decision_time
    from trading_pipeline.cli.workshop import Graph, chosen
    from trading_pipeline.cli.workshop import simulator as embedded
    from trading_pipeline.domain.sessions import open_of

    workspace = (
        "load_from:\n  - python_module: {module_name: trading_pipeline.definitions, location_name: trading_pipeline}\n"
    )
    choice, sensor = chosen(None, folder, None), "order_placement_sensor"
    home = choice.home.prepared()
    log = home.dagster / "daemon.log"
    variables = {HOME_VARIABLE: str(folder), "TRADING_PIPELINE__SCHEDULE__SENSOR_INTERVAL_SECONDS": str(INTERVAL)}
    with Progress() as progress, embedded(choice, decision_time(SESSION)) as control:
        graph = Graph(choice, progress)
        assert graph.run("decide", str(SESSION)).success
        progress.say("waiting for the sensor")
        with daemon(home.dagster, workspace, **variables):
            awaited(lambda: ticks(graph.instance, sensor) or None, log)
            control.set_clock(open_of(EXECUTION_SESSION) + graph.world.rules.opens_after)
            found = milestones(graph.instance, sensor, log)
        holder = graph.world.journal.claimed(graph.world.portfolio().account_number, SESSION)
        sendings = [line.written_at for line in graph.world.journal.history(holder) if line.state == "submitting"]
    return {**found, "first order": sendings[0].timestamp() - found["tick"]}


def tick(rounds: int) -> float:
    """Print both sides and return the ratio of their medians."""
    found: dict[str, list[dict[str, float]]] = {OURS: [], PEER: []}
    for _ in range(rounds):
        for kind, measured in ((OURS, first_order), (PEER, empty_run)):
            with tempfile.TemporaryDirectory() as folder:
                found[kind].append(measured(Path(folder)))
    medians = {
        kind: {name: statistics.median(run[name] for run in runs) for name in runs[0] if name != "tick"}
        for kind, runs in found.items()
    }
    for kind, contains in {OURS: "place_orders", PEER: "three empty assets"}.items():
        steps = sorted(medians[kind].items(), key=lambda step: step[1])
        print(
            f"{kind:9} {', '.join(f'{name} {seconds:.2f} s' for name, seconds in steps)}  ({contains}, from the tick)"
        )
    told(
        OURS,
        [run["first order"] for run in found[OURS]],
        "from the tick to the first order's line in the journal, just before the wire",
    )
    told(PEER, [run["run ended"] for run in found[PEER]], "from the sensor's tick to the end of the empty run")
    return medians[OURS]["first order"] / medians[PEER]["run ended"]


def main() -> None:
    """Measure both sides and print their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    from trading_pipeline.adapters.logs import configure_logging
    from trading_pipeline.settings import LogFormat, LogLevel

    with open(os.devnull, "w") as nowhere:
        configure_logging(LogFormat.JSON, LogLevel.INFO, nowhere)
        ratio = tick(options.rounds)
    print(f"ratio {ratio:.2f}, claimed at most {CLAIMED:g}")
    sys.exit(1 if ratio > CLAIMED else 0)


if __name__ == "__main__":
    main()
