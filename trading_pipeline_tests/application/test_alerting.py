from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.adapters.notifiers import AlertOutbox
from trading_pipeline.application.alerting import Deliverer, DeliveryRules, Outcome, escalate, message_of
from trading_pipeline.domain.errors import (
    DependencyUnavailable,
    InvalidInput,
    RateLimited,
    RequestRefused,
    TradingHalted,
    Unauthorized,
)
from trading_pipeline.domain.risk.trading_state import ACTIVE, PERSON, TradingMode
from trading_pipeline.ports import RECOVERED, Alert, Delivery, Severity
from trading_pipeline_tests.builders import HeldTradingState, TurnedClock

NOON = datetime(2026, 7, 31, 16, tzinfo=UTC)
HOUR = timedelta(hours=1)
RULES = DeliveryRules(limits={"email": (5, HOUR), "webhook": (5, HOUR)}, runbook="https://wiki/operations")


class Receiver:
    """A channel that answers as it is told to: each failure once, then it accepts."""

    def __init__(self, name, clock, *failures):
        self.name, self.failures, self.arrived = name, list(failures), []
        self._clock = clock
        self.takes = 0.0

    def send(self, message):
        self._clock.wait(self.takes)
        if self.failures:
            raise self.failures.pop(0)
        self.arrived.append(message)
        return "accepted"

    @property
    def titles(self):
        return [message.title for message in self.arrived]


@pytest.fixture
def clock():
    return TurnedClock(NOON)


@pytest.fixture
def outbox(tmp_path, clock):
    channels = {"email": Severity.WARNING, "webhook": Severity.WARNING}
    return AlertOutbox(tmp_path / "alerts.sqlite", channels, machine_time=clock.now)


@pytest.fixture
def email(clock):
    return Receiver("email", clock)


@pytest.fixture
def webhook(clock):
    return Receiver("webhook", clock)


@pytest.fixture
def deliverer(outbox, clock):
    return Deliverer(outbox, outbox.deliveries, RULES, clock, draw=lambda: 0.5)


def tell(outbox, key, severity=Severity.WARNING, **more):
    return outbox.notify(Alert(key, severity, f"Title of {key}", "text", NOON, **more))


def states(outbox, key):
    return {status.channel: status.state.value for status in outbox.deliveries.status(key)}


def test_each_alert_goes_once_by_each_channel(outbox, deliverer, email, webhook):
    tell(outbox, "a", runbook="order-pending")
    tell(outbox, "b", html="<b>b</b>")

    assert deliverer.deliver([email, webhook]) == [Outcome("email", 2), Outcome("webhook", 2)]
    assert deliverer.deliver([email, webhook]) == [Outcome("email"), Outcome("webhook")]
    assert email.titles == webhook.titles == ["Title of a", "Title of b"]
    assert email.arrived[0].runbook == "https://wiki/operations#order-pending"
    assert (email.arrived[1].html, email.arrived[1].runbook) == ("<b>b</b>", "")


def test_a_channel_that_fails_waits_for_its_next_attempt_and_keeps_no_other_waiting(outbox, deliverer, email, webhook):
    email.failures = [DependencyUnavailable("no answer")]
    tell(outbox, "a")
    tell(outbox, "b")

    assert deliverer.deliver([email, webhook]) == [
        Outcome("email", 0, "DependencyUnavailable: no answer"),
        Outcome("webhook", 2),
    ]
    assert states(outbox, "a") == {"email": "failed", "webhook": "sent"}


def test_waits_double_with_jitter_up_to_the_longest(outbox, deliverer, email, clock):
    email.failures = [DependencyUnavailable("no answer")] * 9
    outbox.notify(Alert("a", Severity.CRITICAL, "Title", "text", NOON), without=["webhook"])

    waits = []
    for _ in range(9):
        deliverer.deliver([email])
        due_at = due(outbox)
        waits.append((due_at - clock.instant).total_seconds())
        clock.instant = due_at

    # Three quarters of 30 s, doubled each time, and of half an hour at most.
    assert waits == [22.5, 45, 90, 180, 360, 720, 1350, 1350, 1350]
    assert email.failures == []
    deliverer.deliver([email])
    assert len(email.arrived) == 1


def due(outbox):
    with outbox._file.connection() as connection:
        return datetime.fromisoformat(connection.execute("SELECT due_at FROM deliveries").fetchone()[0])


@given(attempts=st.integers(1, 200), draw=st.floats(0, 1, exclude_max=True))
def test_the_wait_is_at_least_half_its_bound_and_never_beyond_it(attempts, draw):
    delivery = Delivery("email", "m", (), NOON, attempts - 1, "lease")
    deliverer = Deliverer(None, None, RULES, TurnedClock(NOON), draw=lambda: draw)

    due_at = deliverer._due_at(delivery, DependencyUnavailable("no answer"), NOON)

    bound = RULES.longest_wait_after(attempts)
    assert bound / 2 <= due_at - NOON <= bound <= RULES.longest_retry


def test_a_channel_that_asks_to_wait_is_left_alone_that_long_with_everything(outbox, deliverer, email, clock):
    email.failures = [RateLimited("slow down", NOON + 2 * HOUR)]
    tell(outbox, "a")
    tell(outbox, "b", Severity.CRITICAL)
    deliverer.deliver([email])

    clock.instant = NOON + 2 * HOUR - timedelta(seconds=1)
    assert deliverer.deliver([email]) == [Outcome("email")]
    clock.instant = NOON + 2 * HOUR
    assert deliverer.deliver([email]) == [Outcome("email", 2)]


@pytest.mark.parametrize("error", [Unauthorized("wrong password"), InvalidInput("no STARTTLS")])
def test_what_a_person_must_mend_is_told_by_the_others_at_once_and_no_message_is_lost(
    outbox, deliverer, email, webhook, clock, error
):
    email.failures = [error]
    tell(outbox, "a")
    tell(outbox, "b")

    deliverer.deliver([email, webhook])

    assert webhook.titles == ["Title of a", "Title of b", "Alerts by email do not arrive"]
    assert str(error) in webhook.arrived[-1].text
    assert states(outbox, "a")["email"] == "failed"
    clock.instant += RULES.longest_retry
    deliverer.deliver([email])
    assert email.titles == ["Title of a", "Title of b"]


def test_a_message_that_is_refused_is_given_up_and_the_next_one_goes(outbox, deliverer, email, webhook):
    email.failures = [RequestRefused("too big")]
    tell(outbox, "a")
    tell(outbox, "b")

    deliverer.deliver([email, webhook])
    deliverer.deliver([email, webhook])

    assert states(outbox, "a") == {"email": "given up", "webhook": "sent"}
    assert "Title of b" in email.titles


def test_the_others_are_told_of_an_outage_once_after_some_failures_and_once_when_it_is_over(
    outbox, deliverer, email, webhook, clock
):
    tell(outbox, "before")
    deliverer.deliver([email, webhook])
    email.failures = [DependencyUnavailable("no answer")] * 6
    tell(outbox, "a")

    told = []
    for _ in range(9):
        deliverer.deliver([email, webhook])
        told.append(webhook.titles.count("Alerts by email do not arrive"))
        clock.instant += HOUR

    assert told == [0, 0, 1, 1, 1, 1, 1, 1, 1]
    assert webhook.titles.count("Alerts by email arrive again") == 1
    assert email.titles == ["Title of before", "Title of a"], "it is not told of its own failure"


def two_outages(outbox, deliverer, email, webhook, clock):
    """Let mail fail and recover twice, an alert and three looks each time."""
    for key in "ab":
        email.failures = [Unauthorized("wrong password")]
        tell(outbox, key)
        for _ in range(3):
            deliverer.deliver([email, webhook])
            clock.instant += HOUR


def test_another_outage_is_another_alert(outbox, deliverer, email, webhook, clock):
    two_outages(outbox, deliverer, email, webhook, clock)

    assert webhook.titles.count("Alerts by email do not arrive") == 2
    assert webhook.titles.count("Alerts by email arrive again") == 2


def test_what_fails_for_too_long_is_given_up(outbox, deliverer, email, clock):
    email.failures = [DependencyUnavailable("no answer")] * 1_000
    tell(outbox, "a")
    while clock.instant < NOON + RULES.give_up_after:
        deliverer.deliver([email])
        assert states(outbox, "a")["email"] == "failed"
        clock.instant += 6 * HOUR
    deliverer.deliver([email])

    assert states(outbox, "a")["email"] == "given up"


def test_no_message_is_begun_once_the_time_of_a_look_is_over(outbox, deliverer, email, webhook):
    email.takes = webhook.takes = 10.0
    for number in range(4):
        tell(outbox, f"a{number}")

    # 25 s for both: 12.5 s in which each begins what it can.
    assert deliverer.deliver([email, webhook]) == [Outcome("email", 2), Outcome("webhook", 2)]


def test_a_slow_channel_takes_no_time_of_the_next(outbox, deliverer, email, webhook):
    email.takes = 100.0
    for number in range(4):
        tell(outbox, f"a{number}", Severity.CRITICAL)

    assert deliverer.deliver([email, webhook]) == [Outcome("email", 1), Outcome("webhook", 4)]


def test_without_a_channel_nothing_is_delivered(deliverer):
    assert deliverer.deliver([]) == []


def test_after_the_clock_was_put_back_what_failed_is_delivered_all_the_same(outbox, deliverer, email, webhook, clock):
    email.failures = [Unauthorized("wrong password")]
    tell(outbox, "a", Severity.CRITICAL)
    tell(outbox, "b")
    deliverer.deliver([email, webhook])
    clock.instant = NOON - timedelta(days=1)

    assert deliverer.deliver([email]) == [Outcome("email", 2)]


def test_another_outage_is_another_alert_after_the_clock_was_put_back_too(outbox, deliverer, email, webhook, clock):
    tell(outbox, "before")
    deliverer.deliver([email, webhook])
    clock.instant = NOON - timedelta(days=1)
    two_outages(outbox, deliverer, email, webhook, clock)

    assert webhook.titles.count("Alerts by email do not arrive") == 2
    assert webhook.titles.count("Alerts by email arrive again") == 2


def test_a_digest_names_each_alert_and_is_as_severe_as_its_worst():
    alerts = tuple(
        Alert(f"key {n}", Severity.WARNING if n == 59 else Severity.INFO, f"Title {n}", "word " * 200, NOON + n * HOUR)
        for n in range(60)
    )

    message = message_of(Delivery("email", "id", alerts, NOON, 0, "lease"), "docs")

    assert message.title.startswith("60 alerts in one message")
    assert (message.id, message.severity, message.at, message.key) == ("id", Severity.WARNING, NOON + 59 * HOUR, "")
    assert message.text.startswith("[warning] 2026-08-03 03:00 Title 59\nword word"), "the gravest first"
    assert "Key: key 48" in message.text
    assert "Title 49" not in message.text
    assert message.text.endswith("... and 10 more: `trading-pipeline alerts list`")


# Nobody answers


@pytest.fixture
def state():
    return HeldTradingState()


def test_a_critical_alert_that_nobody_acknowledges_lets_trading_only_reduce_once(outbox, state, clock):
    tell(outbox, "a", Severity.CRITICAL)

    assert escalate(outbox, state, HOUR, NOON + HOUR - timedelta(seconds=1)) == 0
    assert state.read() == ACTIVE
    assert escalate(outbox, state, HOUR, NOON + HOUR) == 1

    [latch] = state.read().latches
    assert (latch.name, latch.mode) == ("alerts", TradingMode.REDUCING)
    assert latch.reason == "nobody acknowledged within 60 minutes: Title of a"
    followed = outbox.alerts()[-1]
    assert (followed.key, followed.severity) == ("alerts_unacknowledged:a", Severity.CRITICAL)

    # A person looked and resets: the same alert, and the one that told of it, do not do it again.
    state.write(ACTIVE)
    clock.instant = NOON + 9 * HOUR
    assert escalate(outbox, state, HOUR, NOON + 9 * HOUR) == 0
    assert state.read() == ACTIVE
    assert len(outbox.alerts()) == 2


def test_a_clock_that_was_put_back_far_lets_nobody_wait_longer(outbox, state, clock):
    tell(outbox, "a", Severity.CRITICAL)

    assert escalate(outbox, state, HOUR, NOON - HOUR) == 0, "a wait of twice the time at most"
    assert escalate(outbox, state, HOUR, NOON - HOUR - timedelta(seconds=1)) == 1
    assert state.read().mode is TradingMode.REDUCING


@pytest.mark.parametrize("severity", [Severity.INFO, Severity.WARNING])
def test_less_than_critical_wants_no_answer(outbox, state, severity):
    tell(outbox, "a", severity)

    assert escalate(outbox, state, HOUR, NOON + 9 * HOUR) == 0


def test_what_was_acknowledged_in_time_or_is_over_by_itself_is_left(outbox, state):
    tell(outbox, "a", Severity.CRITICAL)
    tell(outbox, "b", Severity.CRITICAL)
    outbox.acknowledge(["a"], PERSON)
    tell(outbox, "b" + RECOVERED, Severity.INFO)

    assert escalate(outbox, state, HOUR, NOON + 9 * HOUR) == 0
    assert state.read() == ACTIVE


def test_without_a_time_nothing_follows_ever(outbox, state):
    tell(outbox, "a", Severity.CRITICAL)

    assert escalate(outbox, state, None, NOON + 1_000 * HOUR) == 0


def test_several_are_told_as_one(outbox, state):
    tell(outbox, "a", Severity.CRITICAL)
    tell(outbox, "b", Severity.CRITICAL)

    assert escalate(outbox, state, HOUR, NOON + HOUR) == 2
    assert state.read().reason.endswith("Title of a and 1 more")
    assert len(outbox.alerts()) == 3


def test_a_severer_state_is_not_loosened(outbox, state):
    state.write(ACTIVE.tightened(TradingMode.HALTED, "odd figures", PERSON, NOON))
    tell(outbox, "a", Severity.CRITICAL)

    escalate(outbox, state, HOUR, NOON + HOUR)

    assert state.read().mode is TradingMode.HALTED


class BrokenState(HeldTradingState):
    def change(self, change):
        raise TradingHalted("it cannot be read")


def test_where_the_state_cannot_be_changed_people_are_told_and_it_is_tried_again(outbox, state):
    tell(outbox, "a", Severity.CRITICAL)

    for _ in range(2):
        with pytest.raises(TradingHalted):
            escalate(outbox, BrokenState(), HOUR, NOON + HOUR)
    assert len(outbox.alerts()) == 2

    assert escalate(outbox, state, HOUR, NOON + HOUR) == 1
    assert state.read().mode is TradingMode.REDUCING
    assert len(outbox.alerts()) == 2
