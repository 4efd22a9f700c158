"""Commands as processes of their own, in a folder of their own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# Measuring coverage in Dagster's servers makes them too slow to load the code in time.
CLEARED = ("TRADING_", "APCA_", "DAGSTER_", "COVERAGE_", "COV_CORE_")
DEADLINE = 120


def command(*arguments: object, **environment: str) -> dict:
    """Return how to start a command of ours, with nothing of this process's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(CLEARED)}
    program = Path(sys.executable).with_name("trading-pipeline")
    return {"args": [str(program), *map(str, arguments)], "env": {**kept, **environment}, "text": True}


class Started(subprocess.Popen):
    """A running command; its words go to files, for a full pipe stops it and one left behind holds a pipe open."""

    def __init__(self, folder: Path, *arguments: object, **environment: str) -> None:
        self._folder = folder
        with open(folder / "stdout", "wb") as stdout, open(folder / "stderr", "wb") as stderr:
            super().__init__(**command(*arguments, **environment), stdout=stdout, stderr=stderr, start_new_session=True)

    def said(self) -> subprocess.CompletedProcess:
        """Return what it has said so far."""
        words = [(self._folder / name).read_text() for name in ("stdout", "stderr")]
        return subprocess.CompletedProcess(self.args, self.poll(), *words)

    def finished(self, deadline: float = DEADLINE) -> subprocess.CompletedProcess:
        """Wait for its end and return what it said."""
        self.wait(deadline)
        return self.said()


@pytest.fixture(scope="session")
def started(tmp_path_factory):
    """Start a command and return its process; whatever still runs at the end is ended."""
    processes = []

    def start(*arguments, **environment):
        processes.append(Started(tmp_path_factory.mktemp("said"), *arguments, **environment))
        return processes[-1]

    yield start
    for process in processes:
        end(process)


def end(process):
    """Let a command end what it started itself; kill it where it does not."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="session")
def done(started):
    """Run a command to its end and return what it said."""

    def run(*arguments, **environment):
        return started(*arguments, **environment).finished(2 * DEADLINE)

    return run
