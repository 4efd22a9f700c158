import json
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from trading_pipeline.adapters.notifiers import AlertOutbox
from trading_pipeline.adapters.storage.home import home_of
from trading_pipeline.cli.app import app
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.ports import Alert, Severity
from trading_pipeline.settings import Settings
from trading_pipeline_tests.adapters.far_sides import MailServer, RawServer, email_settings, reset

NOON = datetime(2026, 7, 31, 16, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("TRADING_PIPELINE_SETTINGS", raising=False)


@pytest.fixture
def said(tmp_path):
    """Run a command on a folder of its own; ``alerts`` are settings."""
    home_of(Settings(), tmp_path).prepared()

    def run(*arguments, **alerts):
        chosen = tmp_path / "settings.yml"
        chosen.write_text(json.dumps({"alerts": alerts}))
        return CliRunner().invoke(app, ["alerts", *arguments, "--home", str(tmp_path), "--settings", str(chosen)])

    return run


@pytest.fixture
def outbox(tmp_path):
    return AlertOutbox(home_of(Settings(), tmp_path).alerts, {"email": Severity.WARNING})


@pytest.fixture
def mail():
    with MailServer() as server:
        yield server


def tell(outbox, key, severity=Severity.CRITICAL):
    outbox.notify(Alert(key, severity, f"Title of {key}", "text", NOON, "order-pending"))


def test_nothing_told_is_said(said):
    assert said("list").stdout == "no alert\n"
    assert json.loads(said("list", "--json").stdout) == []


@pytest.mark.parametrize("command", [["list"], ["ack", "all"], ["deliver"]])
def test_of_a_folder_in_which_nothing_ran_nothing_is_told(tmp_path, command):
    answer = CliRunner().invoke(app, ["alerts", *command, "--home", str(tmp_path / "typo")])

    assert isinstance(answer.exception, InvalidInput)
    assert f"there is no folder {tmp_path / 'typo'}" in str(answer.exception)
    assert not (tmp_path / "typo").exists()


def test_alerts_are_listed_with_where_they_stand(said, outbox):
    tell(outbox, "watchdog:pending:1")
    tell(outbox, "info", Severity.INFO)

    shown = said("list").stdout

    assert "watchdog:pending:1" in shown
    assert "Title of watchdog:pending:1" in shown
    assert "email: pending" in shown
    assert shown.count("(none)") == 1


def test_the_listing_as_data_holds_everything(said, outbox):
    tell(outbox, "a")

    [found] = json.loads(said("list", "--json").stdout)

    assert (found["key"], found["severity"], found["runbook"]) == ("a", "critical", "order-pending")
    assert found["at"] == "2026-07-31T16:00:00+00:00"
    assert found["acknowledged_at"] is None
    [delivery] = found["deliveries"]
    assert (delivery["channel"], delivery["state"], delivery["attempts"]) == ("email", "pending", 0)


def test_the_listing_is_of_what_was_told_since_and_of_what_nobody_acknowledged(said, outbox):
    tell(outbox, "old")
    with outbox._file.transaction() as connection:
        connection.execute("UPDATE alerts SET told_at = '2026-01-01T00:00:00.000000+00:00'")
    tell(outbox, "new")
    tell(outbox, "known")
    tell(outbox, "warning", Severity.WARNING)
    tell(outbox, "daily report", Severity.INFO)
    assert "known" in said("ack", "known").stdout

    def keys(*arguments):
        return [each["key"] for each in json.loads(said("list", "--json", *arguments).stdout)]

    assert keys() == ["old", "new", "known", "warning", "daily report"]
    assert keys("--unacknowledged") == ["old", "new", "warning"]
    assert keys("--since", "12h") == ["new", "known", "warning", "daily report"]
    assert keys("--since", "2026-01-02", "--unacknowledged") == ["new", "warning"]
    assert keys("--since", "2026-01-01T00:00") == ["old", "new", "known", "warning", "daily report"]


@pytest.mark.parametrize("since", ["yesterday", "12", "2026-02-30", "999999d9", "12w"])
def test_a_time_that_is_none_is_refused(said, since):
    error = said("list", "--since", since).exception

    assert isinstance(error, InvalidInput)
    assert since in str(error)


def test_an_alert_is_acknowledged_by_its_key_or_how_that_begins_or_with_all(said, outbox):
    for key in ("watchdog:1", "watchdog:2", "risk:1", "rest"):
        tell(outbox, key)

    assert said("ack", "watchdog:1").stdout == "acknowledged: watchdog:1\n"
    assert said("ack", "watchdog:1").stdout == "acknowledged before\n"
    assert said("ack", "risk").stdout == "acknowledged: risk:1\n"
    assert said("ack", "all").stdout == "acknowledged: watchdog:2\nacknowledged: rest\n"
    assert said("ack", "all").stdout == "nothing to acknowledge\n"
    assert {kept.acknowledged_by for kept in outbox.kept()} == {"a person"}


@pytest.mark.parametrize(("key", "found"), [("watch", "2 alerts begin"), ("odd", "no alert that is not acknowledged")])
def test_a_key_that_names_none_or_several_is_refused(said, outbox, key, found):
    tell(outbox, "watchdog:1")
    tell(outbox, "watchdog:2")

    error = said("ack", key).exception

    assert isinstance(error, InvalidInput)
    assert found in str(error)
    assert len(outbox.kept(unacknowledged=True)) == 2


def test_a_test_goes_by_each_channel_and_says_what_was_answered(said, mail, tmp_path):
    result = said("test", email=email_settings(mail.port))

    assert result.exit_code == 0
    assert "accepted for ana@example.com" in result.stdout
    assert "console" in result.stdout
    [message] = mail.arrived
    assert message.title == "[info] Test of the alerts"
    assert not list(tmp_path.rglob("alerts.sqlite")), "nothing is kept of it"


def test_a_test_that_one_channel_refuses_fails_and_the_others_are_tried(said, mail):
    with RawServer(reset) as broken:
        webhook = {"url": f"http://127.0.0.1:{broken.port}/services/SECRET"}
        result = said("test", email=email_settings(mail.port), webhook=webhook)

    assert result.exit_code == 1
    assert "failed" in result.stdout
    assert "SECRET" not in result.output
    assert len(mail.arrived) == 1
    assert said("test", "--channel", "email", email=email_settings(mail.port), webhook=webhook).exit_code == 0


def test_a_channel_that_is_not_used_cannot_be_tested(said):
    error = said("test", "--channel", "email").exception
    assert isinstance(error, InvalidInput)
    assert "in use: console" in str(error)

    assert "alerts.email.host" in str(said("test", console={"enabled": False}).exception)


def test_what_is_pending_is_delivered_and_what_was_given_up_is_again(said, outbox, mail):
    settings = {"email": email_settings(mail.port), "console": {"enabled": False}}
    tell(outbox, "a")
    mail.answers = ["554 no", "250 queued"]

    failed = said("deliver", **settings)
    assert failed.exit_code == 1
    assert "1 given up" in failed.stdout
    assert said("deliver", **settings).stdout == "0 delivered, 0 pending, 0 failed, 1 given up\n"
    assert said("deliver", "--again", **settings).stdout == "1 delivered, 0 pending, 0 failed\n"
    assert len(mail.arrived) == 1
    assert said("deliver", "--again", **settings).stdout == "0 delivered, 0 pending, 0 failed\n"


@pytest.mark.parametrize("command", ["list", "test", "ack", "deliver"])
def test_every_command_explains_itself(command):
    result = CliRunner().invoke(app, ["alerts", command, "--help"])

    assert result.exit_code == 0
    assert len(result.stdout) > 300


def test_the_age_of_an_alert_counts_by_this_machines_clock(outbox):
    tell(outbox, "a")

    [kept] = outbox.kept()
    assert timedelta(0) <= datetime.now(UTC) - kept.told_at < timedelta(minutes=5)  # noqa: TID251 - what it is compared with
