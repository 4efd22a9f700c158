"""A real browser without a window, steered over its own debugging protocol."""

import base64
import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import requests
from websockets.sync.client import ClientConnection, connect

PROGRAM = "chromium"
PATIENCE = 120
POLLS_PER_SECOND = 5
QUIET = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
    "--window-size=1600,1200",
)


def is_installed() -> bool:
    return shutil.which(PROGRAM) is not None


class Page:
    """One open page."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)

    def ask(self, method: str, **parameters: object) -> dict:
        """Send one command and return its result, empty where the page moved on meanwhile."""
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._connection.recv(timeout=PATIENCE))
            if answer.get("id") == number:
                return answer.get("result", {})

    def evaluate(self, script: str) -> object:
        return self.ask("Runtime.evaluate", expression=script, returnByValue=True).get("result", {}).get("value", "")

    def text(self) -> str:
        return str(self.evaluate("document.body ? document.body.innerText : ''"))

    def text_with(self, *wanted: str) -> str:
        """Return the text of the page once it holds all that is wanted, or when patience ends."""
        for _ in range(PATIENCE * POLLS_PER_SECOND):
            text = self.text()
            if all(part in text for part in wanted):
                break
            with contextlib.suppress(TimeoutError):
                self._connection.recv(timeout=1 / POLLS_PER_SECOND)
        return text

    def save_picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot")["data"]))


@contextlib.contextmanager
def opened_page(url: str, folder: Path) -> Iterator[Page]:
    """Open a page in a browser of its own, whose profile is kept in ``folder``."""
    # No pipes: what a browser starts may outlive it and would hold them open.
    process = subprocess.Popen(
        [PROGRAM, *QUIET, f"--user-data-dir={folder}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        address = _new_page(_port(process, folder / "DevToolsActivePort"), url)
        with connect(address, max_size=None, proxy=None) as connection:
            yield Page(connection)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _port(process: subprocess.Popen, advertised: Path) -> str:
    for _ in range(PATIENCE * POLLS_PER_SECOND):
        with contextlib.suppress(FileNotFoundError, IndexError):
            return advertised.read_text().splitlines()[0]
        with contextlib.suppress(subprocess.TimeoutExpired):
            raise AssertionError(f"{PROGRAM} ended with {process.wait(1 / POLLS_PER_SECOND)} before it could be asked")
    raise AssertionError(f"{PROGRAM} did not open its debugging port")


def _new_page(port: str, url: str) -> str:
    with requests.Session() as session:
        # A proxy of the environment must not stand between this machine and itself.
        session.trust_env = False
        answer = session.put(f"http://127.0.0.1:{port}/json/new?{url}", timeout=PATIENCE)
        answer.raise_for_status()
        return answer.json()["webSocketDebuggerUrl"]
