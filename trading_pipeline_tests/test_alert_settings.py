import json

import pytest

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.ports import Severity
from trading_pipeline.settings import PREFIX, load_settings
from trading_pipeline.settings.alerts import AlertSettings

MAIL = {"host": "smtp.example.com", "sender": "pipeline@example.com", "recipients": ["ana@example.com"]}
HOOK = "https://hooks.example.com/services/T0PRIVATE/B0PRIVATE"


@pytest.fixture
def loaded(tmp_path):
    def load(alerts, **environment):
        path = tmp_path / "settings.yml"
        path.write_text(json.dumps({"alerts": alerts}))
        return load_settings(path, environment)

    return load


def test_nothing_set_is_the_console_alone_and_an_hour_to_acknowledge():
    chosen = AlertSettings()

    assert (chosen.email.host, chosen.webhook.url.get_secret_value(), chosen.console.enabled) == ("", "", True)
    assert chosen.acknowledge_within_minutes == 60
    assert [part.minimum_severity for part in (chosen.email, chosen.webhook, chosen.console)] == [
        Severity.INFO,
        Severity.WARNING,
        Severity.WARNING,
    ]


def test_secrets_come_from_the_environment_and_are_shown_nowhere(loaded):
    secrets = {f"{PREFIX}ALERTS__EMAIL__PASSWORD": "hunter2-hunter2", f"{PREFIX}ALERTS__WEBHOOK__URL": HOOK}
    plain, secret = loaded({"email": {**MAIL, "username": "ana", "password": "x"}}), None
    secret = loaded({"email": {**MAIL, "username": "ana"}}, **secrets)

    shown = f"{secret!r} {list(secret.listing())} {secret.settings!r} {secret.settings.model_dump_json()}"
    assert "hunter2" not in shown
    assert "PRIVATE" not in shown
    assert secret.settings.alerts.webhook.url.get_secret_value() == HOOK
    assert secret.settings.fingerprint() == plain.settings.fingerprint()
    assert loaded({"console": {"enabled": False}}).settings.fingerprint() != loaded({}).settings.fingerprint()


def test_a_password_of_digits_is_a_password(loaded):
    chosen = loaded({"email": {**MAIL, "username": "ana", "password": 12345678}})

    assert chosen.settings.alerts.email.password.get_secret_value() == "12345678"


@pytest.mark.parametrize(
    ("email", "why"),
    [
        ({"host": "smtp.example.com"}, "sender and recipients"),
        ({**MAIL, "recipients": []}, "recipients"),
        ({**MAIL, "sender": "a@example.com\r\nBcc: thief@example.com"}, "sender and recipients"),
        ({**MAIL, "recipients": ["Ana <ana@example.com>"]}, "sender and recipients"),
        ({**MAIL, "host": "https://smtp.example.com"}, "host"),
        ({**MAIL, "host": "smtp.example.com:587"}, "host"),
        ({**MAIL, "username": "ana"}, "go together"),
        ({**MAIL, "password": "hunter2-hunter2"}, "go together"),
        ({**MAIL, "username": "ana", "password": "hunter2-hunter2", "security": "none"}, "encrypted"),
        ({**MAIL, "security": "ssl"}, "security"),
        ({**MAIL, "port": 0}, "port"),
        ({**MAIL, "minimum_severity": "grave"}, "minimum_severity"),
    ],
)
def test_mail_that_could_not_be_sent_or_would_tell_a_password_is_refused(loaded, email, why):
    with pytest.raises(InvalidInput, match=why) as raised:
        loaded({"email": email})

    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    ["http://hooks.example.com/PRIVATE", "ftp://127.0.0.1/PRIVATE", "PRIVATE", "https:///PRIVATE", "https://h:x/PRIVATE",
     "https://h/PRI VATE", "https://h/PRIVATE\nHost: x"],
)  # fmt: skip
def test_an_address_to_which_nothing_can_be_posted_safely_is_refused_and_not_quoted(loaded, url):
    with pytest.raises(InvalidInput, match="url must be") as raised:
        loaded({"webhook": {"url": url}})

    assert "PRIV" not in str(raised.value)


@pytest.mark.parametrize("secret", [["PRIVATE"], {"a": "PRIVATE"}])
def test_no_refusal_quotes_a_secret(loaded, secret):
    with pytest.raises(InvalidInput) as raised:
        loaded({"webhook": {"url": secret}})

    assert "PRIVATE" not in str(raised.value)


def test_recipients_may_be_a_list_or_one_text(loaded):
    expected = ("ana@example.com", "ben@example.com")

    for recipients in (list(expected), "ana@example.com, ben@example.com"):
        assert loaded({"email": {**MAIL, "recipients": recipients}}).settings.alerts.email.recipients == expected
    variable = {f"{PREFIX}ALERTS__EMAIL__RECIPIENTS": "[ana@example.com, ben@example.com]"}
    assert loaded({"email": {**MAIL, "recipients": []}}, **variable).settings.alerts.email.recipients == expected


def test_nobody_need_ever_acknowledge_where_that_is_said(loaded):
    assert loaded({"acknowledge_within_minutes": None}).settings.alerts.acknowledge_within_minutes is None


def test_waits_that_shrink_are_refused(loaded):
    with pytest.raises(InvalidInput, match="longest_retry_minutes"):
        loaded({"first_retry_seconds": 120, "longest_retry_minutes": 1})
