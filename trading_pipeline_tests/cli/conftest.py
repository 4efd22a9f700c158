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


@pytest.fixture(scope="session")
def started():
    """Start a command and return its process; whatever still runs at the end is ended."""
    processes = []

    def start(*arguments, **environment):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        processes.append(subprocess.Popen(**command(*arguments, **environment), **pipes, start_new_session=True))
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
    # Never read to the end: a process left behind would hold the pipe open for ever.
    process.stdout.close()
    process.stderr.close()


@pytest.fixture(scope="session")
def done():
    """Run a command to its end and return what it said."""

    def run(*arguments, **environment):
        return subprocess.run(
            **command(*arguments, **environment), capture_output=True, timeout=3 * DEADLINE, check=False
        )

    return run
