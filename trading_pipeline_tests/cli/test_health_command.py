"""``health`` as a monitor calls it: a process, an exit code, an endpoint."""

import contextlib
import json
import re
import signal
import subprocess
import time

import pytest
import requests

from trading_pipeline.adapters.storage.home import home_of
from trading_pipeline.settings import HealthSettings, Settings

PATIENCE = 120


@pytest.fixture
def root(tmp_path):
    home_of(Settings(), tmp_path).prepared()
    return tmp_path


def asked(url, **headers):
    with requests.Session() as session:
        # A proxy of the environment must not stand between this machine and itself.
        session.trust_env = False
        return session.get(url, headers=headers, timeout=PATIENCE)


def test_a_home_that_nothing_watches_is_not_well_and_the_exit_code_says_so(done, root):
    said = done("health", "--home", root, "--json")

    found = json.loads(said.stdout)
    assert said.returncode == 1
    assert found["level"] == "unhealthy"
    assert found["parts"]["heartbeat"]["level"] == "unhealthy"
    assert set(found["parts"]) == {
        *("heartbeat", "daemon", "trading", "decision", "orders", "data", "reconciliation", "alerts")
    }


def test_what_cannot_be_told_is_exit_code_two(done, tmp_path):
    (tmp_path / "wrong.yaml").write_text("health: {heartbeat_stale_after_seconds: 20}\n")

    nowhere = done("health", "--home", tmp_path / "nowhere")
    settings = done("health", "--home", tmp_path, "--settings", tmp_path / "wrong.yaml")

    assert (nowhere.returncode, settings.returncode) == (2, 2)
    assert "nothing ran here" in nowhere.stderr
    assert "must be above" in settings.stderr


def test_the_endpoint_answers_until_it_is_asked_to_end(started, root):
    process = started("health", "--serve", "--home", root)
    url = address(process)

    answer = asked(url)
    assert (answer.status_code, answer.json()["level"]) == (503, "unhealthy")
    assert asked(url, Host="elsewhere.example").status_code == 400

    process.send_signal(signal.SIGTERM)
    process.wait(PATIENCE)
    with pytest.raises(requests.ConnectionError):
        asked(url)


def address(process):
    """Return what it prints once it answers."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        found = re.search(r"Health: (http://127\.0\.0\.1:\d+/health)", process.said().stderr)
        if found:
            return found[1]
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
            break
    raise AssertionError(process.said().stderr)


def test_a_heart_must_beat_more_often_than_its_silence_is_noticed():
    assert HealthSettings().heartbeat_stale_after_seconds > HealthSettings().heartbeat_interval_seconds
    with pytest.raises(ValueError, match="or every beat is too old at times"):
        HealthSettings(heartbeat_interval_seconds=60, heartbeat_stale_after_seconds=60)
