from datetime import date, timedelta

import pytest

from trading_pipeline.adapters.notifiers import AlertOutbox
from trading_pipeline.application.feed_alarm import tell_of_dead_feed, tell_of_recovery
from trading_pipeline.domain import sessions
from trading_pipeline.ports import Severity
from trading_pipeline_tests.builders import TurnedClock

SESSION = date(2026, 7, 30)


@pytest.fixture
def outbox(tmp_path):
    return AlertOutbox(tmp_path / "alerts.sqlite")


@pytest.fixture
def clock():
    return TurnedClock(sessions.close_of(SESSION) + timedelta(minutes=30))


def test_a_feed_is_told_of_once_each_time_that_it_dies_and_that_it_is_back(outbox, clock):
    dead, alive = (
        lambda: tell_of_dead_feed(outbox, clock, SESSION, "look"),
        lambda: tell_of_recovery(outbox, clock, SESSION),
    )

    told = [look() for look in (alive, dead, dead, alive, alive, dead, dead, alive, dead)]

    assert told == [False, True, False, True, False, True, False, True, True]
    first = "data_feed:2026-07-30"
    keys = [first, f"{first}:recovered", f"{first}:2", f"{first}:2:recovered", f"{first}:3"]
    assert [alert.key for alert in outbox.alerts()] == keys
    assert [alert.severity for alert in outbox.alerts()] == [Severity.CRITICAL, Severity.INFO] * 2 + [Severity.CRITICAL]
    assert [alert.key for alert in outbox.unanswered(clock.now() + timedelta(days=999))] == [f"{first}:3"]


def test_of_the_past_nobody_is_told_anything(outbox, clock):
    tell_of_dead_feed(outbox, clock, SESSION, "look")
    clock.instant = sessions.close_of(sessions.next_session(SESSION))

    assert not tell_of_dead_feed(outbox, clock, SESSION, "look")
    assert not tell_of_recovery(outbox, clock, SESSION)
