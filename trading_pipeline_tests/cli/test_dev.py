"""``dev`` as a person uses it: one command, the UI in a real browser, one signal to end it all."""

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import time

import pytest
import requests

from trading_pipeline_tests import browser

# Four processes import Dagster at once, beside whatever else this machine does.
PATIENCE = 360


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def asked(url, query=None):
    with requests.Session() as session:
        # A proxy of the environment must not stand between this machine and itself.
        session.trust_env = False
        answer = session.post(url, json={"query": query}, timeout=120) if query else session.get(url, timeout=120)
        answer.raise_for_status()
        return answer.json()


def groups(url):
    answer = asked(f"{url}/graphql", "{assetNodes {assetKey {path} groupName} }")
    return {node["assetKey"]["path"][-1]: node["groupName"] for node in answer["data"]["assetNodes"]}


def wait_until_it_serves(process, url):
    """The server answers before it has loaded the code: wait for the graph."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with contextlib.suppress(requests.RequestException):
            if groups(url):
                return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.2)
            break
    raise AssertionError(process.said().stderr)


@pytest.fixture(scope="module")
def opened(started, tmp_path_factory):
    home, port = tmp_path_factory.mktemp("dev"), free_port()
    process = started("dev", "--home", home, "--port", port)
    wait_until_it_serves(process, f"http://127.0.0.1:{port}")
    return process, f"http://127.0.0.1:{port}", home


def test_the_ui_knows_the_graph(opened):
    _, url, _ = opened

    assert groups(url)["fills"] == "fills"
    assert set(groups(url).values()) == {
        "market_data",
        "indicators",
        "signals",
        "allocation",
        "orders",
        "fills",
        "risk",
        "research",
    }


@pytest.fixture(scope="module")
def look(tmp_path_factory):
    """Open a page in a real browser, where there is one that works."""
    hindrance = browser.hindrance(tmp_path_factory.mktemp("probe"))
    if hindrance:
        pytest.skip(hindrance)
    return lambda url: browser.opened_page(url, tmp_path_factory.mktemp("profile"))


def test_dagsters_records_are_there_before_two_processes_would_create_them_at_once(tmp_path):
    from trading_pipeline.adapters.storage.home import home_of
    from trading_pipeline.cli.dev import _create_records
    from trading_pipeline.cli.workshop import Choice
    from trading_pipeline.settings import Settings

    home = home_of(Settings(), tmp_path).prepared()

    _create_records(Choice(Settings(), home))

    found = {}
    for file in home.dagster.rglob("*.db"):
        with contextlib.closing(sqlite3.connect(file)) as connection:
            found[file.name] = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    assert "asset_daemon_asset_evaluations" in found["schedules.db"]
    assert "runs" in found["runs.db"]
    assert "event_logs" in found["index.db"]


def test_an_analyst_reads_what_a_column_means_in_the_browser(opened, look):
    _, url, _ = opened
    wanted = ("Target weights of the whole account", "Ticker to hold, or CASH")

    with look(f"{url}/assets/allocation?view=overview") as page:
        text = page.text_with(*wanted)

    for sentence in wanted:
        assert sentence in text


def test_a_signal_ends_everything_that_was_started(opened):
    process, url, home = opened
    [advertised] = home.glob("*/simulator/simulator.json")
    simulator = json.loads(advertised.read_text())

    os.kill(process.pid, signal.SIGTERM)
    process.wait(PATIENCE)

    for address in (url, simulator["url"]):
        with pytest.raises(requests.ConnectionError, match="refused"):
            asked(address)
    assert not advertised.exists()
