"""A real browser without a window, steered over its own debugging protocol."""

import base64
import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

PROGRAM = "chromium"
PATIENCE = 120
SHORT_PATIENCE = 30
POLLS_PER_SECOND = 5
GREETING = "anybody there"
QUIET = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
    "--window-size=1600,1200",
)


def hindrance(folder: Path) -> str | None:
    """Return why no page can be looked at on this machine, or None where one can."""
    if shutil.which(PROGRAM) is None:
        return f"{PROGRAM} is not installed here"
    try:
        with opened_page(f"data:text/html,<p>{GREETING}</p>", folder, patience=SHORT_PATIENCE) as page:
            shown = page.text_with(GREETING)
    except (AssertionError, OSError, requests.RequestException, TimeoutError, ConnectionClosed) as error:
        return f"{PROGRAM} is here and shows no page: {error!r}"
    return None if GREETING in shown else f"{PROGRAM} is here and shows an empty page"


class Page:
    """One open page."""

    def __init__(self, connection: ClientConnection, patience: float) -> None:
        self._connection = connection
        self._patience = patience
        self._numbers = itertools.count(1)

    def ask(self, method: str, **parameters: object) -> dict:
        """Send one command and return its result, empty where the page moved on meanwhile."""
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._connection.recv(timeout=self._patience))
            if answer.get("id") == number:
                return answer.get("result", {})

    def evaluate(self, script: str) -> object:
        return self.ask("Runtime.evaluate", expression=script, returnByValue=True).get("result", {}).get("value", "")

    def text(self) -> str:
        return str(self.evaluate("document.body ? document.body.innerText : ''"))

    def text_with(self, *wanted: str) -> str:
        """Return the text of the page once it holds all that is wanted, or when patience ends."""
        text, until = "", time.monotonic() + self._patience
        while time.monotonic() < until:
            text = self.text()
            if all(part in text for part in wanted):
                break
            with contextlib.suppress(TimeoutError):
                self._connection.recv(timeout=1 / POLLS_PER_SECOND)
        return text

    def save_picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot")["data"]))


@contextlib.contextmanager
def opened_page(url: str, folder: Path, patience: float = PATIENCE) -> Iterator[Page]:
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
        address = _new_page(_port(process, folder / "DevToolsActivePort", patience), url, patience)
        with connect(address, max_size=None, proxy=None, open_timeout=patience) as connection:
            yield Page(connection, patience)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _port(process: subprocess.Popen, advertised: Path, patience: float) -> str:
    for _ in range(int(patience * POLLS_PER_SECOND)):
        with contextlib.suppress(FileNotFoundError, IndexError):
            return advertised.read_text().splitlines()[0]
        with contextlib.suppress(subprocess.TimeoutExpired):
            raise AssertionError(f"{PROGRAM} ended with {process.wait(1 / POLLS_PER_SECOND)} before it could be asked")
    raise AssertionError(f"{PROGRAM} did not open its debugging port")


def _new_page(port: str, url: str, patience: float) -> str:
    with requests.Session() as session:
        # A proxy of the environment must not stand between this machine and itself.
        session.trust_env = False
        answer = session.put(f"http://127.0.0.1:{port}/json/new?{url}", timeout=patience)
        answer.raise_for_status()
        return answer.json()["webSocketDebuggerUrl"]
