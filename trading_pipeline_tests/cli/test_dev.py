"""``dev`` as a person uses it: one command, the UI in a real browser, one signal to end it all."""

import contextlib
import json
import os
import signal
import socket
import subprocess

import pytest
import requests

from trading_pipeline_tests import browser

PATIENCE = 120


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def asked(url, query=None):
    with requests.Session() as session:
        # A proxy of the environment must not stand between this machine and itself.
        session.trust_env = False
        answer = session.post(url, json={"query": query}, timeout=30) if query else session.get(url, timeout=30)
        answer.raise_for_status()
        return answer.json()


def groups(url):
    answer = asked(f"{url}/graphql", "{assetNodes {assetKey {path} groupName} }")
    return {node["assetKey"]["path"][-1]: node["groupName"] for node in answer["data"]["assetNodes"]}


def wait_until_it_serves(process, url):
    """The server answers before it has loaded the code: wait for the graph."""
    for _ in range(PATIENCE * 5):
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
        "research",
    }


@pytest.mark.skipif(not browser.is_installed(), reason="chromium is not installed here")
def test_an_analyst_reads_what_a_column_means_in_the_browser(opened, tmp_path):
    _, url, _ = opened
    wanted = ("Target weights of the whole account", "Ticker to hold, or CASH")

    with browser.opened_page(f"{url}/assets/allocation?view=overview", tmp_path) as page:
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
