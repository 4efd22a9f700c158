from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from trading_pipeline.adapters.storage.home import home_of
from trading_pipeline.defs.alert_delivery import alert_delivery, deliver_pending, delivered, looked, rules_of
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain.risk.trading_state import TradingMode
from trading_pipeline.ports import Alert, Severity
from trading_pipeline.settings import AlertSettings, Settings
from trading_pipeline_tests.adapters.far_sides import MailServer, email_settings

NOON = datetime(2026, 7, 31, 16, tzinfo=UTC)


def told(key="a", severity=Severity.CRITICAL):
    return Alert(key, severity, f"Title of {key}", "text", NOON, "order-pending")


@pytest.fixture
def mail():
    with MailServer() as server:
        yield server


@pytest.fixture
def world_of(tmp_path):
    def opened(**alerts):
        settings = Settings(alerts=AlertSettings.model_validate({"console": {"enabled": False}, **alerts}))
        return TradingWorld(settings, home_of(settings, tmp_path).prepared())

    return opened


@pytest.fixture
def world(world_of, mail):
    return world_of(email=email_settings(mail.port))


def grown_old(world, minutes=61):
    """Let what was told be told that much earlier."""
    with world.notifier._file.transaction() as connection:
        then = world.wall.now() - timedelta(minutes=minutes)
        connection.execute("UPDATE alerts SET told_at = ?", (then.isoformat(timespec="microseconds"),))


def test_an_alert_reaches_a_person_by_mail_with_the_way_to_its_runbook(world, mail):
    world.notifier.notify(told())
    assert mail.arrived == [], "whoever tells does not wait for a mail server"

    assert looked(world) == "1 delivered, 0 pending, 0 failed"
    assert looked(world) == "0 delivered, 0 pending, 0 failed"

    [message] = mail.arrived
    assert message.title == "[critical] Title of a"
    assert "docs/operations.md#order-pending" in message.text


def test_the_line_says_what_fails_and_what_waits(world, mail):
    mail.answers = ["451 later"]
    world.notifier.notify(told("a"))
    world.notifier.notify(told("b", Severity.WARNING))

    line = looked(world)

    assert line.startswith("0 delivered, 2 pending, 1 failed (email: DependencyUnavailable: mail server 127.0.0.1:")
    assert "451 later" in line


def test_what_is_given_up_is_said(world, mail):
    mail.answers = ["554 no"]
    world.notifier.notify(told())

    assert "0 pending, 1 failed, 1 given up" in looked(world)


def test_without_a_channel_that_is_said(world_of):
    world = world_of()
    world.notifier.notify(told())

    assert looked(world) == "no channel is used: alerts are said on standard error, and kept"


def test_nobody_answering_lets_trading_only_reduce_once_and_is_told(world, mail):
    world.notifier.notify(told())
    looked(world)
    grown_old(world)

    assert looked(world).endswith("; trading only reduces: 1 not acknowledged in time")
    assert looked(world) == "0 delivered, 0 pending, 0 failed"

    state = world.stored_state.read()
    assert (state.mode, state.set_by) == (TradingMode.REDUCING, "alerts")
    assert [message.title for message in mail.arrived] == [
        "[critical] Title of a",
        "[critical] Trading only reduces: nobody acknowledged within 60 minutes: Title of a",
    ]


def test_the_settings_say_how_long_a_person_has_and_may_say_for_ever(world_of):
    for minutes, mode in ((None, TradingMode.ACTIVE), (90, TradingMode.ACTIVE), (60, TradingMode.REDUCING)):
        world = world_of(acknowledge_within_minutes=minutes)
        world.notifier.notify(told())
        grown_old(world)
        looked(world)
        assert world.stored_state.read().mode is mode


def test_what_is_pending_is_delivered_though_the_state_cannot_be_changed(world, mail):
    world.notifier.notify(told())
    grown_old(world)
    state = world.home.objects / "state" / "trading_state.json"
    state.parent.mkdir(parents=True)
    state.write_text("damaged")

    assert "cannot be read" in deliver_pending(world)
    assert len(mail.arrived) == 3, "the alert, that nobody answered, and that trading is halted"


def test_a_command_is_not_spoiled_by_an_outbox_that_cannot_be_used(world):
    world.home.alerts.mkdir()

    assert deliver_pending(world).startswith("alerts were not delivered: ")


def test_the_rules_are_those_of_the_settings():
    chosen = AlertSettings.model_validate(
        {
            "console": {"most_messages": 7, "window_minutes": 3},
            "first_retry_seconds": 5,
            "longest_retry_minutes": 4,
            "give_up_after_hours": 2,
            "failures_before_telling": 9,
            "connect_seconds": 2,
            "answer_seconds": 30,
            "runbook": "https://wiki/operations",
        }
    )

    rules = rules_of(chosen)

    assert rules.limits == {"console": (7, timedelta(minutes=3))}
    assert rules.first_retry == timedelta(seconds=5)
    assert rules.longest_retry == timedelta(minutes=4)
    assert rules.give_up_after == timedelta(hours=2)
    assert rules.failures_before_telling == 9
    assert rules.runbook == "https://wiki/operations"
    assert rules.lease >= timedelta(seconds=2 + 30), "a message that takes its whole time is not sent by two"


def test_the_sensor_says_in_its_tick_what_it_did(world, mail):
    world.notifier.notify(told())
    sensor = alert_delivery(17)

    def ticked():
        with dg.DagsterInstance.ephemeral() as instance:
            context = dg.build_sensor_context(instance, resources={"world": world})
            return sensor.evaluate_tick(context)

    assert (ticked().skip_message, ticked().run_requests) == ("1 delivered, 0 pending, 0 failed", [])
    assert sensor.minimum_interval_seconds == 17
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    world.home.alerts.unlink()
    world.home.alerts.mkdir()
    assert "DependencyUnavailable" in ticked().skip_message


def test_messages_are_counted(world, mail):
    mail.answers = ["451 later", "250 queued"]
    for key in "ab":
        world.notifier.notify(told(key))
    delivered(world)
    delivered(world)

    lines = world.home.metrics.read_text().splitlines()
    assert any("alert_messages" in line and '"sent"' in line for line in lines)
    assert any("alert_messages" in line and '"failed"' in line for line in lines)


def test_a_mail_is_a_page_that_says_what_the_text_says(world_of, mail):
    world = world_of(email=email_settings(mail.port), runbook="https://wiki.example.com/operations")
    world.notifier.notify(told())
    looked(world)

    [message] = mail.arrived
    page = message.raw.get_body(("html",)).get_content()
    for said in ("Title of a", "text", "https://wiki.example.com/operations#order-pending", "critical"):
        assert said in page
        assert said in message.text or said in message.title
    assert "<script" not in page
