import os
import signal
import threading

import pytest
from filelock import FileLock

from trading_pipeline.adapters.storage.home import Home
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain.errors import Interrupted
from trading_pipeline.settings import ExecutionSettings, MonitoringSettings, Settings
from trading_pipeline_tests.builders import TurnedClock


@pytest.fixture
def world_that_waits(tmp_path):
    def opened(lease_wait_seconds):
        execution = ExecutionSettings(lease_wait_seconds=lease_wait_seconds)
        world = TradingWorld(
            Settings(execution=execution, monitoring=MonitoringSettings(stream=False)),
            Home(tmp_path / "home").prepared(),
        )
        # Nothing of the venue is asked here.
        world.broker = world.market_data = object()
        world.clock = TurnedClock()
        return world

    return opened


def is_free(lease):
    try:
        lease.acquire(timeout=0)
    except TimeoutError:
        return False
    lease.release()
    return True


def test_whoever_places_orders_holds_the_lease_until_it_is_done(world_that_waits):
    world = world_that_waits(0.2)
    lease = FileLock(world.home.lease)

    with world.placing_orders() as venue:
        assert not is_free(lease)

    assert is_free(lease)
    assert venue.updates is None


def test_the_lease_is_let_go_when_placing_fails(world_that_waits):
    world = world_that_waits(0.2)

    with pytest.raises(ZeroDivisionError), world.placing_orders():
        raise ZeroDivisionError

    assert is_free(FileLock(world.home.lease))


def test_whoever_has_waited_long_enough_goes_on_and_leaves_the_lease_to_its_holder(world_that_waits, capsys):
    world = world_that_waits(0.2)
    held = FileLock(world.home.lease)

    with held:
        with world.placing_orders():
            pass
        assert held.is_locked
        assert not is_free(FileLock(world.home.lease))

    assert "lease_not_obtained" in "".join(capsys.readouterr())


def test_the_lease_of_a_run_that_ends_in_time_is_taken_over(world_that_waits):
    world = world_that_waits(60)
    held = FileLock(world.home.lease, thread_local=False)
    held.acquire()
    threading.Timer(0.3, held.release).start()

    with world.placing_orders():
        assert not held.is_locked
        assert not is_free(FileLock(world.home.lease))


def test_asked_to_end_while_it_waits_for_the_lease_it_ends_at_once(world_that_waits):
    world = world_that_waits(600)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()

    with FileLock(world.home.lease), pytest.raises(Interrupted), world.placing_orders():
        raise AssertionError("the lease was free")
