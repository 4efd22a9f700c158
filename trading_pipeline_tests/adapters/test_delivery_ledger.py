import os
import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_pipeline.adapters.alerting.database import AlertFile
from trading_pipeline.adapters.alerting.ledger import MOST_IN_A_DIGEST, DeliveryLedger, DeliveryState
from trading_pipeline.adapters.notifiers import AlertOutbox
from trading_pipeline.domain.errors import DependencyUnavailable
from trading_pipeline.ports import RECOVERED, Alert, Severity

NOON = datetime(2026, 7, 31, 16, tzinfo=UTC)
HOUR = timedelta(hours=1)
LEASE = timedelta(minutes=2)
MOST = 3


@pytest.fixture
def outbox(tmp_path):
    return AlertOutbox(tmp_path / "alerts.sqlite", {"email": Severity.INFO}, machine_time=lambda: NOON)


@pytest.fixture
def ledger(outbox):
    return outbox.deliveries


def tell(outbox, *keys, severity=Severity.WARNING):
    for key in keys:
        outbox.notify(Alert(key, severity, f"Title of {key}", "text", NOON))


def claim(ledger, now=NOON, most=MOST):
    return ledger.claim("email", now, most, HOUR, LEASE)


def send_all(ledger, now=NOON, most=MOST):
    """Send whatever may leave now; return the keys of each message."""
    sent = []
    while (delivery := claim(ledger, now, most)) is not None:
        ledger.sent(delivery, "accepted", now)
        sent.append([alert.key for alert in delivery.alerts])
    return sent


def states(ledger, *keys):
    return [status.state.value for key in keys for status in ledger.status(key)]


def test_what_is_sent_is_over_and_what_was_answered_is_kept(outbox, ledger):
    tell(outbox, "a", "b")

    assert send_all(ledger) == [["a"], ["b"]]
    assert send_all(ledger, NOON + 100 * HOUR) == []
    [status] = ledger.status("a")
    assert (status.state, status.answer, status.attempts, status.changed_at) == ("sent", "accepted", 1, NOON)
    assert ledger.last_sent("email") == NOON
    assert ledger.last_sent("webhook") is None
    assert ledger.counts() == {"email": {DeliveryState.SENT: 2}}


def test_what_was_sent_last_is_told_by_its_turn_and_not_by_the_clock(outbox, ledger):
    for key, instant in (("a", NOON), ("b", NOON - HOUR), ("c", NOON - HOUR / 2)):
        tell(outbox, key)
        send_all(ledger, instant)
        assert ledger.last_sent("email") == instant


def test_what_one_sends_no_other_does_until_its_lease_is_over(outbox, ledger):
    tell(outbox, "a")
    first = claim(ledger)

    assert claim(ledger) is None
    assert claim(ledger, NOON + LEASE - timedelta(seconds=1)) is None
    again = claim(ledger, NOON + LEASE)
    assert again.message == first.message
    assert again.lease != first.lease


def test_whoever_lost_the_lease_cannot_put_the_message_off(outbox, ledger):
    tell(outbox, "a")
    late, later = claim(ledger), claim(ledger, NOON + LEASE)

    ledger.failed(late, "too slow", NOON + LEASE, NOON + 9 * HOUR)

    assert states(ledger, "a") == ["pending"]
    ledger.sent(later, "accepted", NOON + LEASE)
    assert states(ledger, "a") == ["sent"]


def test_of_many_that_claim_at_once_each_message_goes_to_one(outbox, ledger):
    keys = [f"key {number}" for number in range(24)]
    tell(outbox, *keys)
    start, claimed = threading.Barrier(6), []

    def take():
        start.wait()
        while (delivery := claim(ledger, most=100)) is not None:
            claimed.append(delivery.alerts[0].key)

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(claimed) == sorted(keys)


def test_what_failed_is_due_at_the_instant_that_was_named_under_the_same_id(outbox, ledger):
    tell(outbox, "a")
    first = claim(ledger)
    ledger.failed(first, "busy", NOON, NOON + HOUR)

    assert claim(ledger, NOON + HOUR - timedelta(seconds=1)) is None
    again = claim(ledger, NOON + HOUR)
    assert (again.message, again.attempts, again.told_at) == (first.message, 1, NOON)
    [status] = ledger.status("a")
    assert (status.state, status.answer) == ("failed", "busy")


def test_what_is_given_up_stays_so_until_a_person_says_again(outbox, ledger):
    tell(outbox, "a")
    ledger.failed(claim(ledger), "refused", NOON, None)

    assert states(ledger, "a") == ["given up"]
    assert claim(ledger, NOON + 100 * HOUR) is None
    assert ledger.again(NOON + HOUR) == 1
    assert send_all(ledger, NOON + HOUR) == [["a"]]


def test_a_channel_that_is_put_off_waits_with_everything_and_a_person_may_say_now(outbox, ledger):
    tell(outbox, "a")
    tell(outbox, "b", severity=Severity.CRITICAL)
    ledger.put_off("email", NOON, NOON + HOUR)

    assert claim(ledger) is None
    ledger.put_off("email", NOON, NOON)
    assert claim(ledger) is None, "nothing is brought forward by that"
    ledger.again(NOON)
    assert send_all(ledger) == [["b"], ["a"]]


YESTERDAY = NOON - timedelta(days=1)


def test_what_was_told_before_the_clock_was_put_back_is_due(outbox, ledger):
    tell(outbox, "a")
    tell(outbox, "b", severity=Severity.CRITICAL)

    assert send_all(ledger, YESTERDAY) == [["b"], ["a"]]


def test_what_failed_before_the_clock_was_put_back_is_due(outbox, ledger):
    tell(outbox, "a")
    ledger.failed(claim(ledger), "busy", NOON, NOON + HOUR)

    assert send_all(ledger, YESTERDAY) == [["a"]]


def test_what_was_put_off_before_the_clock_was_put_back_is_due(outbox, ledger):
    tell(outbox, "a")
    ledger.put_off("email", NOON + 5 * HOUR, NOON + 6 * HOUR)

    assert send_all(ledger, NOON) == [["a"]]


def test_what_is_put_off_after_the_clock_was_put_back_waits_no_longer_than_that(outbox, ledger):
    tell(outbox, "a")
    ledger.failed(claim(ledger), "busy", NOON, NOON + HOUR)
    ledger.put_off("email", YESTERDAY, YESTERDAY + HOUR)

    assert send_all(ledger, YESTERDAY) == []
    assert send_all(ledger, YESTERDAY + HOUR) == [["a"]]


def test_a_lease_that_ends_later_than_any_can_was_given_before_the_clock_was_put_back(outbox, ledger):
    tell(outbox, "a")
    first = claim(ledger)

    assert claim(ledger, YESTERDAY).message == first.message


def test_what_left_before_the_clock_was_put_back_takes_no_room(outbox, ledger):
    tell(outbox, "a", "b")
    assert send_all(ledger, most=1) == [["a"]]

    assert send_all(ledger, YESTERDAY, most=1) == [["b"]]


def test_of_two_that_read_the_clock_at_once_the_slower_respects_what_the_other_noted(outbox, ledger):
    tell(outbox, "a", "b")
    moment = timedelta(seconds=2)
    claim(ledger, NOON + moment)
    second = claim(ledger, NOON + moment)
    ledger.failed(second, "busy", NOON + moment, NOON + HOUR)

    assert claim(ledger, NOON) is None


def test_a_person_who_says_again_after_the_clock_was_put_back_is_heard(outbox, ledger):
    tell(outbox, "a")
    ledger.put_off("email", YESTERDAY, NOON)
    ledger.again(NOON)

    assert send_all(ledger, YESTERDAY) == [["a"]]


def test_beyond_the_limit_alerts_are_collected_and_go_as_one_once_there_is_room(outbox, ledger):
    tell(outbox, *"abcdefg")

    assert send_all(ledger) == [["a"], ["b"], ["c"]]
    tell(outbox, "h")
    assert send_all(ledger, NOON + HOUR - timedelta(seconds=1)) == []
    assert send_all(ledger, NOON + HOUR) == [["d", "e", "f", "g", "h"]]
    assert states(ledger, "a", "d", "h") == ["sent", "digested", "digested"]


def test_a_digest_is_one_message_of_the_limit(outbox, ledger):
    tell(outbox, *"abcde")
    send_all(ledger)
    later = NOON + HOUR
    assert send_all(ledger, later) == [["d", "e"]]

    tell(outbox, *"ijkl")
    assert send_all(ledger, later) == [["i"], ["j"]]


def test_one_that_was_held_alone_goes_as_it_is(outbox, ledger):
    tell(outbox, *"abcd")
    send_all(ledger)

    assert send_all(ledger, NOON + HOUR) == [["d"]]
    assert states(ledger, "d") == ["sent"]


def test_a_critical_alert_is_never_held_back_and_goes_first(outbox, ledger):
    tell(outbox, *"abcde")
    send_all(ledger)
    tell(outbox, "x", "y", severity=Severity.CRITICAL)

    assert send_all(ledger) == [["x"], ["y"]]

    tell(outbox, "f")
    tell(outbox, "z", severity=Severity.CRITICAL)
    assert send_all(ledger, NOON + HOUR) == [["z"], ["d", "e", "f"]]


def test_what_others_are_sending_counts_towards_the_limit(outbox, ledger):
    tell(outbox, "a", "b")
    claim(ledger, most=1)

    assert claim(ledger, most=1) is None


def test_a_digest_that_failed_is_the_same_digest_whatever_came_since(outbox, ledger):
    tell(outbox, *"abcde")
    send_all(ledger)
    first = claim(ledger, NOON + HOUR)
    ledger.failed(first, "busy", NOON + HOUR, NOON + 2 * HOUR)
    tell(outbox, "f")

    again = claim(ledger, NOON + 2 * HOUR)
    assert (again.message, again.alerts) == (first.message, first.alerts)
    assert [alert.key for alert in again.alerts] == ["d", "e"]


def test_a_digest_whose_sender_died_is_the_same_digest(outbox, ledger):
    tell(outbox, *"abcde")
    send_all(ledger)
    first = claim(ledger, NOON + HOUR)
    tell(outbox, "f")

    again = claim(ledger, NOON + HOUR + LEASE)
    assert (again.message, again.alerts) == (first.message, first.alerts)


def test_what_was_tried_alone_is_never_moved_into_a_digest(outbox, ledger):
    tell(outbox, "a")
    first = claim(ledger, most=1)
    ledger.failed(first, "no answer: it may have arrived", NOON, NOON + HOUR)
    tell(outbox, "b", "c", "d")
    send_all(ledger, NOON, most=1)

    sent = [claim(ledger, NOON + HOUR, most=9) for _ in range(2)]
    assert [[alert.key for alert in delivery.alerts] for delivery in sent] == [["c", "d"], ["a"]]
    assert sent[1].message == first.message


def test_a_digest_has_an_end(outbox, ledger):
    keys = [f"{number:04d}" for number in range(MOST_IN_A_DIGEST + 6)]
    tell(outbox, *keys[:2])
    send_all(ledger, most=1)
    with outbox._file.transaction() as connection:
        for key in keys[2:]:
            connection.execute(
                "INSERT INTO alerts (key, severity, title, text, at) VALUES (?, 'warning', '', '', ?)",
                (key, NOON.isoformat()),
            )
            connection.execute(
                "INSERT INTO deliveries (key, channel, state, message, due_at, changed_at) "
                "VALUES (?, 'email', 'pending', ?, '', '')",
                (key, key),
            )
        connection.execute("UPDATE alerts SET told_at = ?", (NOON.isoformat(),))

    sent = send_all(ledger, NOON + HOUR, most=9)
    assert len(sent[0]) == MOST_IN_A_DIGEST
    assert sum(map(len, sent)) == len(keys) - 1


def test_a_recovery_follows_the_message_of_its_failure(outbox, ledger):
    tell(outbox, "a")
    failure = claim(ledger)
    ledger.sent(failure, "accepted", NOON)
    tell(outbox, "a" + RECOVERED, severity=Severity.INFO)

    assert failure.answers == ""
    assert claim(ledger).answers == failure.message


class Life:
    """An outbox to which things happen, and what an attentive receiver would have noted."""

    def __init__(self, folder):
        path = folder / "alerts.sqlite"
        self.outbox = AlertOutbox(path, {"email": Severity.INFO}, machine_time=lambda: NOON)
        self.now, self.told, self.accepted, self.times = NOON, [], [], []

    def warning(self):
        self.told.append(f"warning {len(self.told)}")
        tell(self.outbox, self.told[-1])

    def critical(self):
        self.told.append(f"critical {len(self.told)}")
        tell(self.outbox, self.told[-1], severity=Severity.CRITICAL)

    def send(self):
        delivery = claim(self.outbox.deliveries, self.now)
        if delivery is not None:
            self.outbox.deliveries.sent(delivery, "accepted", self.now)
            self.accepted += [alert.key for alert in delivery.alerts]
            self.times += [self.now] if delivery.alerts[0].severity is not Severity.CRITICAL else []

    def fail(self):
        delivery = claim(self.outbox.deliveries, self.now)
        if delivery is not None:
            self.outbox.deliveries.failed(delivery, "busy", self.now, self.now + timedelta(minutes=5))

    def die(self):
        claim(self.outbox.deliveries, self.now)

    def hour(self):
        self.now += HOUR

    def minute(self):
        self.now += timedelta(minutes=1)


@settings(max_examples=200 if os.environ.get("FULL") else 8)
@given(
    steps=st.lists(
        st.sampled_from(["warning", "critical", "send", "fail", "die", "hour", "minute"]), min_size=1, max_size=25
    )
)
def test_whatever_happens_each_alert_arrives_and_is_accepted_once(tmp_path_factory, steps):
    life = Life(tmp_path_factory.mktemp("life"))
    for step in steps:
        getattr(life, step)()
    for _ in life.told:
        life.hour()
        life.send()
        life.send()

    assert sorted(life.accepted) == sorted(life.told)
    assert all(sum(at - HOUR < other <= at for other in life.times) <= MOST for at in life.times)


def test_a_file_that_cannot_be_used_is_said(tmp_path):
    (tmp_path / "file").write_text("in the way")
    ledger = DeliveryLedger(AlertFile(tmp_path / "file" / "alerts.sqlite"))

    with pytest.raises(DependencyUnavailable, match=r"alerts\.sqlite cannot be used"):
        claim(ledger)
