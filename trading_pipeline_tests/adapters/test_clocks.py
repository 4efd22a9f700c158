import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from trading_pipeline.adapters.clocks import BrokerClock, WallClock, ended_by_signal, ending_signals_noticed
from trading_pipeline.domain.errors import DependencyUnavailable, Interrupted


def test_the_wall_clock_is_aware_and_does_not_wait_for_the_past():
    clock = WallClock()
    clock.wait(-1)

    assert clock.now().utcoffset() == timedelta(0)


def test_the_brokers_time_is_asked_for_anew_each_time(server, trading):
    server.on("GET /v2/clock", {"timestamp": "2026-07-31T09:30:00.123456789-04:00", "is_open": True})
    server.on("GET /v2/clock", {"timestamp": "2026-07-31T09:31:00-04:00", "is_open": True})
    clock = BrokerClock(trading)
    clock.wait(0)

    assert clock.now() == datetime(2026, 7, 31, 13, 30, 0, 123456, tzinfo=UTC)
    assert clock.now() == datetime(2026, 7, 31, 13, 31, tzinfo=UTC)


@pytest.mark.parametrize("answer", [{}, {"timestamp": "2026-07-31T09:30:00"}, {"timestamp": None}, []])
def test_a_clock_that_cannot_be_read_is_no_answer(server, trading, answer):
    server.on("GET /v2/clock", answer)

    with pytest.raises(DependencyUnavailable, match="clock"):
        BrokerClock(trading).now()


def test_elapsed_seconds_never_go_back(trading):
    for clock in (WallClock(), BrokerClock(trading)):
        first = clock.elapsed()
        clock.wait(0.001)
        assert clock.elapsed() >= first + 0.001


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_end_every_wait_ends_at_once_and_the_process_goes_on_as_before_after_the_block(number, trading):
    ending, before = threading.Event(), signal.getsignal(number)
    clocks = WallClock(ending), BrokerClock(trading, WallClock(ending))

    with ended_by_signal(ending):
        os.kill(os.getpid(), number)
        for clock in clocks:
            with pytest.raises(Interrupted, match="asked to end"):
                clock.wait(3600)

    assert signal.getsignal(number) is before


def test_a_wait_that_is_under_way_ends_when_the_process_is_asked_to_end():
    ending = threading.Event()
    threading.Timer(0.05, ending.set).start()

    with pytest.raises(Interrupted):
        WallClock(ending).wait(3600)


def test_a_thread_that_cannot_receive_signals_changes_nothing():
    before, after = signal.getsignal(signal.SIGTERM), []

    def inside():
        with ended_by_signal(threading.Event()):
            after.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()

    assert after == [before]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_being_asked_to_end_is_noticed_though_somebody_else_takes_the_signal_and_forgets_it(number):
    before = signal.signal(number, lambda *_: None)
    try:
        with ending_signals_noticed() as asked_to_end:
            assert not asked_to_end()
            os.kill(os.getpid(), number)
            assert asked_to_end()
            assert asked_to_end(), "it stays known"
        with ending_signals_noticed() as asked_to_end:
            assert not asked_to_end()
    finally:
        signal.signal(number, before)


def test_who_takes_a_signal_is_as_before_whoever_took_it_meanwhile():
    before = signal.getsignal(signal.SIGTERM)

    with ending_signals_noticed():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    assert signal.getsignal(signal.SIGTERM) is before


def test_another_signal_is_no_end_and_another_thread_notices_none():
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        with ending_signals_noticed() as asked_to_end:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert not asked_to_end()
    finally:
        signal.signal(signal.SIGUSR1, before)

    def elsewhere():
        with ending_signals_noticed() as asked_to_end:
            return asked_to_end()

    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(elsewhere).result() is False
