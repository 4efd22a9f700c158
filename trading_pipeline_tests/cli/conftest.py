"""Commands as processes of their own, in a folder of their own."""

import os
import sys
from pathlib import Path

import pytest

from trading_pipeline_tests.processes import DEADLINE, Started

# Measuring coverage in Dagster's servers makes them too slow to load the code in time.
CLEARED = ("TRADING_", "APCA_", "DAGSTER_", "COVERAGE_", "COV_CORE_")


def command(*arguments: object, **environment: str) -> tuple[list[str], dict[str, str]]:
    """Return how to start a command of ours, with nothing of this process's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(CLEARED)}
    program = Path(sys.executable).with_name("trading-pipeline")
    return [str(program), *map(str, arguments)], {**kept, **environment}


@pytest.fixture(scope="session")
def started(tmp_path_factory):
    """Start a command and return its process; whatever still runs at the end is ended."""
    processes = []

    def start(*arguments, **environment):
        processes.append(Started(tmp_path_factory.mktemp("said"), *command(*arguments, **environment)))
        return processes[-1]

    yield start
    for process in processes:
        process.end()


@pytest.fixture(scope="session")
def done(started):
    """Run a command to its end and return what it said."""

    def run(*arguments, **environment):
        return started(*arguments, **environment).finished(2 * DEADLINE)

    return run


@pytest.fixture(scope="session")
def finished(done, tmp_path_factory):
    """The folder of a run of two sessions, and what it said; nobody else's, and nobody alters it."""
    home = tmp_path_factory.mktemp("finished")
    said = done("run", "--home", home, "--through", "2026-07-31", "--sessions", "2")
    assert said.returncode == 0, said.stderr
    return home, said


@pytest.fixture(scope="session")
def traded(started, request, tmp_path_factory):
    """The folder of a run of ten sessions where everything is tested, otherwise that of ``finished``."""
    if not os.environ.get("FULL"):
        return request.getfixturevalue("finished")[0]
    home = tmp_path_factory.mktemp("traded")
    said = started("run", "--home", home, "--through", "2026-07-31", "--sessions", "10").finished(10 * DEADLINE)
    assert said.returncode == 0, said.stderr
    return home
