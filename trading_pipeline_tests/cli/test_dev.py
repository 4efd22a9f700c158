"""``dev`` as a person uses it: one command, the UI in a real browser, one signal to end it all."""

import contextlib
import json
import os
import signal
import sqlite3

import pytest
import requests

from trading_pipeline_tests import browser
from trading_pipeline_tests.cli.served import PATIENCE, asked, free_port, groups, wait_until_it_serves


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
