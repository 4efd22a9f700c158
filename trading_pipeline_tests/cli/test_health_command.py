"""``health`` as a monitor calls it: a process, an exit code, an endpoint."""

import contextlib
import json
import re
import signal
import sqlite3
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import requests

from trading_pipeline.adapters.storage.home import home_of
from trading_pipeline.application.health import Level
from trading_pipeline.defs.health_facts import MISCONFIGURED, UNREACHABLE, HealthDesk, known
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
        *("heartbeat", "daemon", "trading", "liquidation", "decision", "orders", "data", "reconciliation", "alerts")
    }


def test_what_cannot_be_told_is_exit_code_two(done, tmp_path):
    (tmp_path / "wrong.yaml").write_text("health: {heartbeat_stale_after_seconds: 20}\n")

    nowhere = done("health", "--home", tmp_path / "nowhere")
    settings = done("health", "--home", tmp_path, "--settings", tmp_path / "wrong.yaml")

    assert (nowhere.returncode, settings.returncode) == (2, 2)
    assert "nothing ran here" in nowhere.stderr
    assert "must be above" in settings.stderr


BROKEN = "storage: [the-password\n"
WITHOUT_DRIVER = """
storage:
  postgres:
    postgres_url: postgresql://ana:the-password@127.0.0.1:1/dagster
"""
UNKNOWN_TO_DAGSTER = "storage: {oracle: {password: the-password}}\n"
EMPTY_STORAGE = "storage:\n"
A_LIST = "- the-password\n"
ELSEWHERE = "storage: {sqlite: {base_dir: BASE}}\n"
NO_TEXT = b"storage: \xff\n"


def daemon_of(root, configuration):
    """Return what is said of Dagster's daemon where dagster.yaml is that."""
    settings = Settings()
    home = home_of(settings, root)
    content = configuration if isinstance(configuration, bytes) else configuration.encode()
    (home.dagster / "dagster.yaml").write_bytes(content)
    return next(part for part in HealthDesk(settings, home, {}).health().parts if part.name == "daemon")


@pytest.mark.parametrize(
    ("configuration", "said"),
    [
        (BROKEN, "line 2"),
        (NO_TEXT, "UTF-8"),
        (A_LIST, "a list"),
        (WITHOUT_DRIVER, "dagster_postgres"),
        (UNKNOWN_TO_DAGSTER, "DagsterInvalidConfigError"),
        (EMPTY_STORAGE, "TypeError"),
    ],
)
def test_a_configuration_of_dagster_that_is_wrong_leaves_its_daemon_unknown_and_shows_no_password(
    root, configuration, said
):
    daemon = daemon_of(root, configuration)

    assert daemon.level is Level.UNKNOWN
    assert said in daemon.text
    assert "dagster.yaml" in daemon.text
    assert "the-password" not in daemon.text


def a_folder(runs):
    runs.mkdir(parents=True)


def no_database(runs):
    runs.parent.mkdir(parents=True)
    runs.write_bytes(b"not a database at all" * 100)


@pytest.mark.parametrize(("made", "said"), [(a_folder, "OperationalError"), (no_database, "DatabaseError")])
def test_a_database_of_dagster_that_does_not_answer_leaves_its_daemon_unknown(root, tmp_path, made, said):
    made(tmp_path / "base" / "history" / "runs.db")

    daemon = daemon_of(root, ELSEWHERE.replace("BASE", str(tmp_path / "base")))

    assert daemon.level is Level.UNKNOWN
    assert said in daemon.text


def test_a_driver_that_gives_up_by_a_class_of_its_own_leaves_the_daemon_unknown(root, tmp_path, monkeypatch):
    class DagsterPostgresException(Exception):
        pass

    def gives_up(_instance):
        raise DagsterPostgresException("too many retries for postgresql://ana:the-password@db/dagster")

    driver = SimpleNamespace(DagsterPostgresException=DagsterPostgresException)
    monkeypatch.setitem(sys.modules, "dagster_postgres.utils", driver)
    monkeypatch.setattr("dagster.DagsterInstance.get_daemon_heartbeats", gives_up)

    daemon = daemon_of(root, ELSEWHERE.replace("BASE", str(tmp_path / "base")))

    assert daemon.level is Level.UNKNOWN
    assert "too many retries for postgresql://...@db/dagster" in daemon.text


def test_a_time_of_a_daemon_that_is_none_leaves_it_unknown(root):
    runs = home_of(Settings(), root).dagster / "history" / "runs.db"
    runs.parent.mkdir()
    with contextlib.closing(sqlite3.connect(runs)) as connection, connection:
        connection.execute("CREATE TABLE daemon_heartbeats (daemon_type TEXT, timestamp TIMESTAMP)")
        connection.execute("INSERT INTO daemon_heartbeats VALUES ('SENSOR', 'soon')")

    assert daemon_of(root, "").level is Level.UNKNOWN


def test_the_failures_that_are_known_by_name_bear_that_name():
    import dagster  # noqa: F401 - what it loads is looked up
    import sqlalchemy.exc

    assert [kind.__name__ for kind in known(MISCONFIGURED)] == [name for _, name in MISCONFIGURED]
    assert sqlalchemy.exc.SQLAlchemyError in known(UNREACHABLE)


def test_the_command_says_so_as_well(done, root):
    (home_of(Settings(), root).dagster / "dagster.yaml").write_text(BROKEN)

    said = done("health", "--home", root, "--json")

    assert said.returncode == 1, "nothing watches here"
    assert json.loads(said.stdout)["parts"]["daemon"]["level"] == "unknown"


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
