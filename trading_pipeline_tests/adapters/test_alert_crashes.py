"""Deliverers that die, and several at once, against a real mail server."""

import os
import signal
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from trading_pipeline.adapters.alerting.channels import channels, severities
from trading_pipeline.adapters.notifiers import AlertOutbox
from trading_pipeline.application.alerting import Deliverer, DeliveryRules
from trading_pipeline.ports import Alert, Severity
from trading_pipeline.settings import AlertSettings
from trading_pipeline_tests.adapters.far_sides import MailServer, email_settings
from trading_pipeline_tests.builders import TurnedClock

NOON = datetime(2026, 7, 31, 16, tzinfo=UTC)
RULES = DeliveryRules(limits={"email": (1_000, timedelta(hours=1))}, lease=timedelta(minutes=5))
DEADLINE = 120
# Dies where its first argument says, delivering from the second to the port of the third.
PROGRAM = """
import os, signal, sys
from datetime import timedelta
from pathlib import Path
from trading_pipeline.adapters.alerting.channels import channels
from trading_pipeline.adapters.alerting.ledger import DeliveryLedger
from trading_pipeline.adapters.alerting.mail import MailChannel
from trading_pipeline.adapters.clocks import WallClock
from trading_pipeline.adapters.notifiers import AlertOutbox
from trading_pipeline.application.alerting import Deliverer, DeliveryRules
from trading_pipeline.settings import AlertSettings

where, path, port, start = sys.argv[1:]

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

if where == "before":
    MailChannel.send = die
if where == "after":
    DeliveryLedger.sent = die
email = {"host": "127.0.0.1", "port": int(port), "security": "none", "sender": "pipeline@example.com",
         "recipients": ["ana@example.com"]}
settings = AlertSettings.model_validate({"email": email, "console": {"enabled": False}})
clock = WallClock()
rules = DeliveryRules(limits={"email": (1_000, timedelta(hours=1))}, budget_seconds=60.0)
outbox = AlertOutbox(Path(path))
used = channels(settings, clock)
sys.stdout.write("ready\\n")
sys.stdout.flush()
if start == "wait":
    sys.stdin.readline()
Deliverer(outbox, outbox.deliveries, rules, clock).deliver(used)
"""


@pytest.fixture
def mail():
    with MailServer() as server:
        yield server


def settings_of(port):
    return AlertSettings.model_validate({"email": email_settings(port), "console": {"enabled": False}})


@pytest.fixture
def outbox(tmp_path, mail):
    return AlertOutbox(tmp_path / "alerts.sqlite", severities(settings_of(mail.port)))


def started(where, outbox, port, start="now"):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, where, str(outbox._file.path), str(port), start],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def tell(outbox, count):
    for number in range(count):
        outbox.notify(Alert(f"key {number}", Severity.WARNING, f"Title {number}", "text", NOON))


def delivered_later(outbox, port, later=timedelta(hours=1)):
    """Deliver what is left, once every lease is over."""
    clock = TurnedClock(datetime.now(UTC) + later)  # noqa: TID251 - the processes live by it
    return Deliverer(outbox, outbox.deliveries, RULES, clock).deliver(channels(settings_of(port), clock))


only_in_full = pytest.mark.skipif(not os.environ.get("FULL"), reason="the graver of two places is tried by default")


@pytest.mark.parametrize(("where", "arrived"), [pytest.param("before", 1, marks=only_in_full), ("after", 2)])
def test_who_dies_around_sending_leaves_a_message_that_is_repeated_as_the_same_and_never_lost(
    outbox, mail, where, arrived
):
    tell(outbox, 3)

    with started(where, outbox, mail.port) as process:
        assert process.wait(DEADLINE) == -signal.SIGKILL
    assert len(mail.arrived) == arrived - 1
    delivered_later(outbox, mail.port)
    delivered_later(outbox, mail.port, timedelta(hours=3))

    times = Counter(message.title for message in mail.arrived)
    assert times == {"[warning] Title 0": arrived, "[warning] Title 1": 1, "[warning] Title 2": 1}
    ids = {
        message.title: {other.id for other in mail.arrived if other.title == message.title} for message in mail.arrived
    }
    assert all(len(same) == 1 for same in ids.values())
    assert len({identity for same in ids.values() for identity in same}) == 3


def test_two_deliverers_at_once_send_nothing_twice(outbox, mail):
    tell(outbox, 12)
    processes = [started("never", outbox, mail.port, "wait") for _ in range(2)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=DEADLINE)
        assert process.returncode == 0

    assert sorted(Counter(message.id for message in mail.arrived).values()) == [1] * 12
    assert {status.state for key in range(12) for status in outbox.deliveries.status(f"key {key}")} == {"sent"}
