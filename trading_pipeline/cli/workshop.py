"""Everything that ``run`` needs at hand: folder, simulator, Dagster's instance and the wired graph."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from trading_pipeline.adapters.clocks import ending_signals_noticed
from trading_pipeline.adapters.neutral_mode import speak_as_chosen
from trading_pipeline.adapters.storage.home import DEFAULT_HOME, HOME_VARIABLE, Home, home_of
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.settings import FILE_VARIABLE, Mode, Settings, load_settings

if TYPE_CHECKING:
    import dagster as dg

    from trading_pipeline.cli.console import Progress
    from trading_pipeline.simulator.control import RunningSimulator, SimulatorControl

BARS_VARIABLE = "TRADING_PIPELINE__SIMULATOR__BARS"
LAUNCHER_TAG = "trading_pipeline/launched_by"
LAUNCHER = "trading-pipeline run"
MARKET_TAG = "trading_pipeline/market"


@dataclass(frozen=True)
class Choice:
    """The settings in force and the folder they lead to; the environment names both to child processes."""

    settings: Settings
    home: Home


def chosen(settings_file: Path | None, home: Path | None, bars: Path | None) -> Choice:
    """Return settings and folder for the options of a command, and put the options into the environment."""
    options = {FILE_VARIABLE: settings_file, HOME_VARIABLE: home, BARS_VARIABLE: bars}
    os.environ.update({name: str(path.resolve()) for name, path in options.items() if path is not None})
    settings = load_settings(None, os.environ).settings
    speak_as_chosen(settings)
    root = Path(os.environ.get(HOME_VARIABLE) or DEFAULT_HOME)
    return Choice(settings, home_of(settings, root))


def chosen_where_it_ran(settings_file: Path | None, home: Path | None, bars: Path | None = None) -> Choice:
    """Do as :func:`chosen` does, for commands that only tell of, or go on with, what ran before.

    Raises:
        InvalidInput: there is no such folder.
    """
    choice = chosen(settings_file, home, bars)
    if choice.home.absence:
        raise InvalidInput(choice.home.absence)
    return choice


@contextmanager
def held(home: Home, progress: "Progress") -> Iterator[None]:
    """Prepare the folder and hold it while the block lasts; whoever comes second is told who holds it, and waits."""
    from filelock import FileLock, Timeout

    home.prepared()
    lock, owner = FileLock(home.lock), home.lock.with_suffix(".owner")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress.say(f"waiting for process {_read(owner)}, which runs the pipeline on {home.folder}")
        lock.acquire()
    try:
        owner.write_text(str(os.getpid()), encoding="utf-8")
        yield
    finally:
        lock.release()


def _read(owner: Path) -> str:
    return owner.read_text(encoding="utf-8").strip() if owner.exists() else "unknown"


@contextmanager
def simulator(choice: Choice, start: datetime) -> Iterator["SimulatorControl | None"]:
    """Find the folder's simulator or start one for as long as the block lasts; None in other modes."""
    if choice.settings.mode is not Mode.SIMULATED:
        yield None
        return
    from trading_pipeline.simulator.control import find_simulator

    running = find_simulator(choice.home.simulator)
    if running is not None:
        yield running.control
        return
    started = started_simulator(choice, start)
    try:
        yield started.control
    finally:
        started.stop()


def started_simulator(choice: Choice, start: datetime, port: int = 0) -> "RunningSimulator":
    """Start the folder's simulator; its clock begins at ``start`` unless it has gone further before."""
    from trading_pipeline.simulator.control import start_simulator

    chosen = choice.settings.simulator
    return start_simulator(
        choice.home.simulator,
        bars=chosen.bars,
        seed=chosen.seed,
        start=start,
        watch_parent=True,
        cash=chosen.cash,
        holdings=chosen.holdings,
        half_spread_bps=chosen.half_spread_bps,
        port=port,
    )


class Graph:
    """The trading graph on the folder's Dagster instance, run in this process."""

    def __init__(self, choice: Choice, progress: "Progress") -> None:
        """Wire the graph; importing Dagster takes two seconds."""
        import dagster as dg

        from trading_pipeline.definitions import wired
        from trading_pipeline.defs.io_manager import DeltaIOManager
        from trading_pipeline.defs.resources import TradingWorld

        self.world: TradingWorld = TradingWorld(choice.settings, choice.home)
        self.instance = dg.DagsterInstance.from_config(str(choice.home.dagster))
        self._definitions = wired(
            choice.settings,
            world=dg.ResourceDefinition.hardcoded_resource(self.world),
            tables=DeltaIOManager(self.world.tables, lambda name, session: progress.say(f"{session}: {name} written")),
        )

    def bury_dead_runs(self) -> None:
        """Mark runs of an earlier process that ended without a word as failed, so that their work is taken up."""
        import dagster as dg

        for run in self.instance.get_runs(dg.RunsFilter(tags={LAUNCHER_TAG: LAUNCHER})):
            if not run.is_finished:
                self.instance.report_run_failed(run, "the process that executed this run ended before the run did")

    def run(self, job: str, partition_key: str, tags: dict[str, str] | None = None) -> "dg.ExecuteInProcessResult":
        """Execute a job for one session; a failure is in the result, not raised.

        Raises:
            KeyboardInterrupt: the process was asked to end; the run has ended, and failed where that cut it short.
        """
        definition = self._definitions.resolve_job_def(job)
        with ending_signals_noticed() as asked_to_end:
            result = definition.execute_in_process(
                instance=self.instance,
                partition_key=partition_key,
                tags={LAUNCHER_TAG: LAUNCHER, MARKET_TAG: self.world.market, **(tags or {})},
                raise_on_error=False,
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
            # Dagster takes signals while it runs a job: to it one is a failure of that job, or nothing at its end.
            if asked_to_end():
                raise KeyboardInterrupt
        return result

    @cached_property
    def _sensor(self) -> "dg.SensorDefinition":
        return self._definitions.get_sensor_def("order_placement_sensor")

    def placements(self) -> "tuple[list[dg.RunRequest], str]":
        """Evaluate the sensor: the runs that it asks for, or why it asks for none."""
        import dagster as dg

        context = dg.build_sensor_context(
            self.instance, resources={"world": self.world}, definitions=self._definitions, sensor_name=self._sensor.name
        )
        tick = self._sensor.evaluate_tick(context)
        return list(tick.run_requests or []), tick.skip_message or ""

    def place(self, request: "dg.RunRequest") -> "dg.ExecuteInProcessResult":
        """Execute what the sensor asked for, marked so that the daemon recognises the request as fulfilled."""
        from trading_pipeline.defs.jobs import PLACE_ORDERS

        marks = {"dagster/run_key": str(request.run_key), "dagster/sensor_name": self._sensor.name}
        return self.run(PLACE_ORDERS, str(request.partition_key), {**request.tags, **marks})


def failure_of(result: "dg.ExecuteInProcessResult") -> str:
    """Return what made a run fail, in the words of the innermost error, or the checks that stopped it."""
    for event in result.all_events:
        if event.is_step_failure and event.step_failure_data.error is not None:
            error = event.step_failure_data.error
            while error.cause is not None:
                error = error.cause
            return f"{event.step_key}: {error.message.strip().removeprefix(_module_of(error.message))}"
    return "see the run in Dagster's UI"


def _module_of(message: str) -> str:
    head, separator, _ = message.partition(": ")
    return head + separator if separator and " " not in head else ""
