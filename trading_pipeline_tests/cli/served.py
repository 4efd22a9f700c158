"""Dagster's server as a person's browser asks it."""

import contextlib
import socket
import subprocess
import time

import requests

from trading_pipeline_tests.processes import Started

# Four processes import Dagster at once, beside whatever else this machine does.
PATIENCE = 360


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def asked(url: str, query: str | None = None, variables: dict | None = None) -> dict:
    with requests.Session() as session:
        # A proxy of the environment must not stand between this machine and itself.
        session.trust_env = False
        body = {"query": query, "variables": variables or {}}
        answer = session.post(url, json=body, timeout=120) if query else session.get(url, timeout=120)
        answer.raise_for_status()
        return answer.json()


def groups(url: str) -> dict[str, str]:
    answer = asked(f"{url}/graphql", "{assetNodes {assetKey {path} groupName} }")
    return {node["assetKey"]["path"][-1]: node["groupName"] for node in answer["data"]["assetNodes"]}


def wait_until_it_serves(process: Started, url: str) -> None:
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
