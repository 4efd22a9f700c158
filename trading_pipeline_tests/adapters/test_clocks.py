from datetime import UTC, datetime, timedelta

import pytest

from trading_pipeline.adapters.clocks import BrokerClock, WallClock
from trading_pipeline.domain.errors import DependencyUnavailable


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
