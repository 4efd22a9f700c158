"""A real daemon that is killed at any moment while results of checks are written: each failure is told once."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest

from trading_pipeline.adapters.notifiers import AlertOutbox
from trading_pipeline.adapters.storage.home import home_of
from trading_pipeline.defs import check_alerts, run_alerts
from trading_pipeline.defs.run_feed import RunFeed
from trading_pipeline.settings import Settings
from trading_pipeline_tests.processes import Started
from trading_pipeline_tests.stories import alerting_location as location

pytestmark = pytest.mark.unmeasured

FULL = bool(os.environ.get("FULL"))
KILLS = 20 if FULL else 2
# A run writes ten results; each life of a daemon sees one of them at least.
RUNS = 21 if FULL else 6
LONGEST_LIFE = 20 if FULL else 12
PATIENCE = 300
WATCHES = (check_alerts.NAME, run_alerts.NAME)
ROOT = Path(__file__).resolve().parents[2]
CLEARED = ("TRADING_", "APCA_", "DAGSTER_", "COVERAGE_", "COV_CORE_")
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class Daemons:
    """One daemon after another on the same home; each is killed without a warning."""

    def __init__(self, folder, root, home):
        self._folder, self._home, self._count = folder, home, 0
        kept = {name: value for name, value in os.environ.items() if not name.startswith(CLEARED)}
        self._environment = {
            **kept,
            "TRADING_PIPELINE_HOME": str(root),
            "DAGSTER_HOME": str(home.dagster),
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore",
        }

    def start(self):
        said = self._folder / f"daemon-{self._count}"
        said.mkdir()
        self._count += 1
        program = Path(sys.executable).with_name("dagster-daemon")
        return Started(said, [str(program), "run", "-m", location.__name__], self._environment, cwd=ROOT)

    @staticmethod
    def kill(daemon, dice):
        """Kill the daemon, and what evaluates its sensors either with it or some moments later."""
        os.kill(daemon.pid, signal.SIGKILL)
        if dice.random() < 0.5:
            threading.Event().wait(dice.uniform(0, 1))
        os.killpg(daemon.pid, signal.SIGKILL)
        daemon.wait()


class Writer(threading.Thread):
    """Runs that write results of checks, a third of which fail, in this process on the daemon's instance."""

    def __init__(self, instance, runs, dice):
        super().__init__(name="writer", daemon=True)
        self._instance, self._runs, self._dice = instance, runs, dice
        self._allowed = threading.Semaphore(0)
        self.expected = set()
        self.written = 0
        self.error = None

    def run(self):
        try:
            for number in range(self._runs):
                self._write(str(date(2026, 1, 1) + timedelta(days=number)))
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test tells of it
            self.error = error

    def go_on(self, runs):
        """Write some more; so there is writing in the life of every daemon."""
        for _ in range(runs):
            self._allowed.release()

    def ended(self, patience):
        self.join(patience)
        assert not self.is_alive(), f"{self.written} results after {patience} s"
        if self.error:
            raise self.error

    def _write(self, partition):
        self._allowed.acquire()
        job = location.defs().resolve_job_def(location.JOB)
        failing = self._dice.sample(location.CHECKS, self._dice.choice([3, 3, 4]))
        job.execute_in_process(
            instance=self._instance,
            partition_key=partition,
            tags={location.FAILING_TAG: ",".join(failing)},
            raise_on_error=False,
            run_config=QUIET,
        )
        self.expected |= {(name, partition) for name in failing}
        self.written += len(location.CHECKS)


def until(true, process=None, patience=PATIENCE):
    """Wait until it is true; fail where it is not in time, or the process ended."""
    deadline = time.monotonic() + patience
    while not true():
        assert time.monotonic() < deadline, process.said().stderr[-3000:] if process else "it never came true"
        assert process is None or process.poll() is None, process.said().stderr[-3000:]
        threading.Event().wait(0.1)


def everything_is_read(instance, number):
    """Tell whether both sensors are beyond that end of a run, by the cursors that the daemon saved."""
    data = {state.instigator_name: state.instigator_data for state in instance.all_instigator_state()}
    return all(name in data and is_beyond(data[name].cursor, number) for name in WATCHES)


def is_beyond(cursor, number):
    return cursor is not None and json.loads(cursor)["after"] >= number


def is_watched(home):
    return all((home.objects / "health" / "watched-since" / name).exists() for name in WATCHES)


@pytest.fixture
def home(tmp_path):
    return home_of(Settings(), tmp_path / "home").prepared()


def test_each_failed_result_is_told_once_however_often_the_daemon_is_killed(tmp_path, home, capsys):
    dice = random.Random(2026)  # noqa: S311 - chance that can be repeated, no secret
    daemons = Daemons(tmp_path, tmp_path / "home", home)
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        instance.get_runs_count(), instance.get_asset_keys(), instance.all_instigator_state()
        writer = Writer(instance, RUNS, dice)
        daemon = daemons.start()
        try:
            # What fails before the watch began is history; from its first moment on nothing may be lost.
            until(lambda: is_watched(home), daemon)
            writer.start()
            for _ in range(KILLS):
                writer.go_on(RUNS // (KILLS + 1))
                with pytest.raises(subprocess.TimeoutExpired):
                    daemon.wait(dice.uniform(0, LONGEST_LIFE))
                daemons.kill(daemon, dice)
                daemon = daemons.start()
            writer.go_on(RUNS)
            writer.ended(PATIENCE)
            last = max(run.number for run in RunFeed(instance, None).after(0, 1000))
            until(lambda: everything_is_read(instance, last), daemon)
        finally:
            daemons.kill(daemon, dice)

    alerts = AlertOutbox(home.alerts).alerts()
    told = Counter(_identity(alert.title) for alert in alerts if alert.title.startswith("Check failed"))
    missed, twice = writer.expected - told.keys(), {what for what, count in told.items() if count > 1}
    with capsys.disabled():
        print(  # noqa: T201 - the figures of the story
            f"\n{writer.written} results, {len(writer.expected)} of them failed; {KILLS} kills; "
            f"{len(told)} told, {len(twice)} twice, {len(missed)} missed"
        )
    assert not missed
    assert not twice
    assert told.keys() == writer.expected
    stopped = [alert.title for alert in alerts if alert.title.startswith("Run was stopped by its checks")]
    assert len(stopped) == len(set(stopped)) == len({day for name, day in writer.expected if name == "check_0"})


def _identity(title):
    name, _, partition = title.removeprefix("Check failed: bars: ").partition(" ")
    return name, partition.strip("()")
