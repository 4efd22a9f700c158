"""What every test may use."""

import os
from pathlib import Path

import coverage
import pytest
import structlog
from hypothesis import HealthCheck, settings

# A first example pays for imports, and the machine may be busy: slowness is not a failure here.
settings.register_profile("default", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("full", settings.get_profile("default"), max_examples=1000)
FULL = bool(os.environ.get("FULL"))
settings.load_profile("full" if FULL else "default")

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


def pytest_collection_modifyitems(items):
    """Leave cases marked `full` to `make test-full`; of each matrix a sample always runs."""
    if FULL:
        return
    for item in items:
        if item.get_closest_marker("full"):
            item.add_marker(
                pytest.mark.skip(reason="a sample of this matrix runs: FULL=1, or make test-full, runs it whole")
            )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Run tests marked `unmeasured` without counting lines, in this process and in those that it starts.

    Tracing takes half as long again as the work itself, and what these tests run, others run too.
    """
    measuring = coverage.Coverage.current()
    if measuring is None or not item.get_closest_marker("unmeasured"):
        return (yield)
    measuring.stop()
    with pytest.MonkeyPatch.context() as patched:
        for name in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"):
            patched.delenv(name, raising=False)
        try:
            return (yield)
        finally:
            measuring.start()


@pytest.fixture(autouse=True)
def _logs_as_they_were():
    """Forget how a test configured the log: it may have been for a stream that is closed by now."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """Real bars and expected answers, which lie beside the repository and are never part of it."""
    if not SHARED.is_dir():
        pytest.skip(f"../shared is not here ({SHARED}): real bars and expected answers are not part of the repository")
    return SHARED
