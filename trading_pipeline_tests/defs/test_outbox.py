from datetime import UTC, datetime

import pytest

from trading_pipeline.adapters.storage.home import home_of
from trading_pipeline.defs.outbox import outbox_of
from trading_pipeline.ports import Alert, Severity
from trading_pipeline.settings import Settings
from trading_pipeline_tests.adapters.far_sides import email_settings

ALERT = Alert("audit:SPY", Severity.CRITICAL, "SPY hangs", "SPY", datetime(2026, 7, 31, tzinfo=UTC))


@pytest.fixture
def opened(tmp_path):
    def outbox(**chosen):
        settings = Settings.model_validate(chosen)
        return outbox_of(settings, home_of(settings, tmp_path).prepared())

    return outbox


def test_what_a_command_tells_is_put_down_for_every_channel_of_the_settings(opened):
    outbox = opened(alerts={"email": email_settings(2525), "console": {"enabled": False}})

    assert outbox.notify(ALERT)

    assert set(outbox.deliveries.counts()) == {"email"}


def test_in_neutral_mode_a_command_tells_no_symbol_and_names_the_alert_as_every_run_does(opened):
    outbox = opened(observability={"neutral": True})

    assert outbox.notify(ALERT)

    [kept] = outbox.alerts()
    assert "SPY" not in f"{kept.key} {kept.title} {kept.text}"
    assert not opened(observability={"neutral": True}).notify(ALERT)
