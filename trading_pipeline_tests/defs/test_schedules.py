from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace

import dagster as dg
import pytest
from dagster._utils.schedules import schedule_execution_time_iterator
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.definitions import wired
from trading_pipeline.defs.schedules import decide_after_close, decision_due, warming_due
from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import DependencyUnavailable
from trading_pipeline.domain.sessions import NEW_YORK
from trading_pipeline.settings import ScheduleSettings, Settings

HALF_AN_HOUR = timedelta(minutes=30)
THREE_QUARTERS = timedelta(minutes=45)


def new_york(text):
    return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK)


@pytest.mark.parametrize(
    ("tick", "session"),
    [
        ("2026-07-30T16:30", "2026-07-30"),
        ("2026-07-30T13:30", None),  # a usual day is not over at one
        ("2026-11-27T13:30", "2026-11-27"),  # the day after Thanksgiving closes at one
        ("2026-11-27T16:30", None),
        ("2026-12-24T13:30", "2026-12-24"),
        ("2026-11-26T16:30", None),  # Thanksgiving
        ("2026-07-03T16:30", None),  # Independence Day, observed
        ("2026-08-01T16:30", None),  # Saturday
        ("2026-03-06T16:30", "2026-03-06"),  # the last session before the clocks go forward ...
        ("2026-03-09T16:30", "2026-03-09"),  # ... and the first after
        ("2026-10-30T16:30", "2026-10-30"),  # the same in autumn
        ("2026-11-02T16:30", "2026-11-02"),
        ("2026-07-30T16:29", None),
    ],
)
def test_a_session_is_decided_half_an_hour_after_its_own_close(tick, session):
    due = decision_due(new_york(tick), HALF_AN_HOUR)

    assert due == (session and date.fromisoformat(session))


@pytest.mark.parametrize(
    ("tick", "session"),
    [
        ("2026-07-30T08:45", "2026-07-29"),
        ("2026-07-27T08:45", "2026-07-24"),  # Monday warms Friday
        ("2026-07-06T08:45", "2026-07-02"),  # over a holiday and a weekend
        ("2026-11-27T08:45", "2026-11-25"),  # a half day opens as usual
        ("2026-11-26T08:45", None),
        ("2026-08-01T08:45", None),
        ("2026-03-09T08:45", "2026-03-06"),
        ("2026-11-02T08:45", "2026-10-30"),
        ("2026-07-30T08:46", None),
    ],
)
def test_the_session_before_is_warmed_three_quarters_of_an_hour_before_the_open(tick, session):
    due = warming_due(new_york(tick), THREE_QUARTERS)

    assert due == (session and date.fromisoformat(session))


@given(st.sampled_from(sessions.sessions_between(date(2015, 1, 1), date(2030, 12, 31))))
def test_every_session_is_decided_at_exactly_one_of_the_days_ticks(session):
    ticks = [
        datetime.combine(session, datetime.min.time(), NEW_YORK).replace(hour=hour, minute=30) for hour in (13, 16)
    ]

    assert [decision_due(tick, HALF_AN_HOUR) for tick in ticks].count(session) == 1


def test_the_time_zone_of_a_tick_does_not_matter():
    tick = new_york("2026-07-30T16:30")

    assert decision_due(tick.astimezone(UTC), HALF_AN_HOUR) == date(2026, 7, 30)


class Told:
    """A world of which only the clock is asked."""

    def __init__(self, now):
        self.now = now

    @property
    def clock(self):
        return SimpleNamespace(now=self.now)


def evaluate(name, text, clock=None, chosen=None):
    """Evaluate a schedule at an instant of New York; the broker's clock shows the same unless ``clock`` is given."""
    world = Told(clock or (lambda: new_york(text)))
    graph = wired(Settings(schedule=chosen or ScheduleSettings()), world=world, tables=dg.mem_io_manager)
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_schedule_context(
            instance,
            scheduled_execution_time=new_york(text),
            resources={"world": world},
            repository_def=graph.get_repository_def(),
        ) as context,
    ):
        return graph.resolve_schedule_def(name).evaluate_tick(context)


@pytest.mark.parametrize(
    ("name", "text", "partition"),
    [
        ("decide_after_close", "2026-07-30T16:30", "2026-07-30"),
        ("decide_after_close", "2026-11-27T13:30", "2026-11-27"),
        ("warm_bars_before_open", "2026-07-31T08:45", "2026-07-30"),
    ],
)
def test_a_tick_in_time_asks_for_one_run_of_the_session(name, text, partition):
    [request] = evaluate(name, text).run_requests

    assert request.partition_key == partition
    assert request.run_key == partition
    assert request.tags["dagster/partition"] == partition


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("decide_after_close", "2026-07-30T13:30"),
        ("decide_after_close", "2026-11-26T16:30"),
        ("decide_after_close", "2026-11-27T16:30"),
        ("warm_bars_before_open", "2026-11-26T08:45"),
    ],
)
def test_a_tick_that_no_session_needs_is_skipped_with_a_reason(name, text):
    skipped = evaluate(name, text)

    assert not skipped.run_requests
    assert "is not the time of a session" in skipped.skip_message


def test_nothing_is_decided_while_the_brokers_clock_has_not_reached_the_close():
    skipped = evaluate("decide_after_close", "2026-07-30T16:30", clock=lambda: new_york("2026-07-30T15:59"))

    assert not skipped.run_requests
    assert skipped.skip_message.endswith("session 2026-07-30 is not over")


def test_a_clock_that_cannot_be_read_fails_the_tick_where_a_person_sees_it():
    def silent():
        raise DependencyUnavailable("the broker does not answer")

    with pytest.raises(Exception, match="decide_after_close") as failure:
        evaluate("decide_after_close", "2026-07-30T16:30", clock=silent)

    assert isinstance(failure.value.__cause__, DependencyUnavailable)


def test_distances_from_open_and_close_are_those_of_the_settings():
    chosen = ScheduleSettings(decide_after_close_minutes=90, warm_before_open_minutes=20)

    [decided] = evaluate("decide_after_close", "2026-07-30T17:30", chosen=chosen).run_requests
    [warmed] = evaluate("warm_bars_before_open", "2026-07-30T09:10", chosen=chosen).run_requests

    assert (decided.partition_key, warmed.partition_key) == ("2026-07-30", "2026-07-29")
    assert not evaluate("decide_after_close", "2026-07-30T16:30", chosen=chosen).run_requests


@given(
    st.integers(0, 240),
    st.sampled_from([date(2026, 7, 30), date(2026, 11, 27), date(2026, 3, 9), date(2026, 11, 2)]),
)
def test_cron_ticks_at_the_moment_at_which_the_decision_is_due(minutes, session):
    after_close = timedelta(minutes=minutes)
    due = sessions.close_of(session) + after_close
    schedule = decide_after_close(after_close)
    ticks = schedule_execution_time_iterator(
        (due - timedelta(hours=23)).timestamp(), schedule.cron_schedule, schedule.execution_timezone
    )

    assert due in [next(ticks) for _ in range(2)]
    assert decision_due(due, after_close) == session
