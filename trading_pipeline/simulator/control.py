"""Starting, finding and steering a simulator from another process."""

import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import requests
from filelock import FileLock, Timeout

from trading_pipeline.domain.errors import DependencyUnavailable, InvalidInput, RequestRefused

ADVERTISEMENT = "simulator.json"
LOCK = "simulator.lock"
LOG = "simulator.log"
READY = "SIM READY"
REFUSED_TO_START = 2
READY_WITHIN = timedelta(seconds=60)
STOPPED_WITHIN = timedelta(seconds=15)
_CONNECT_SECONDS = 5.0
# A clock that is moved over years values the account at every close on the way.
_READ_SECONDS = 120.0


class SimulatorControl:
    """The control plane of a running simulator.

    Every method raises DependencyUnavailable when no usable answer comes.
    """

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._session = requests.Session()
        # A proxy of the environment must not stand between this machine and itself.
        self._session.trust_env = False
        self._session.headers["X-Sim-Token"] = token

    def now(self) -> datetime:
        """Return the simulated instant, UTC."""
        return datetime.fromisoformat(self._ask("GET", "clock")["now"])

    def set_clock(self, instant: datetime) -> datetime:
        """Move the clock to ``instant``; everything between happens in its order.

        Raises:
            RequestRefused: ``instant`` lies before the simulated now, or outside the calendar.
        """
        return datetime.fromisoformat(self._ask("POST", "clock", {"now": instant.isoformat()})["now"])

    def advance(self, by: timedelta) -> datetime:
        """Move the clock on by ``by``.

        Raises:
            RequestRefused: ``by`` is negative.
        """
        answer = self._ask("POST", "clock", {"advance_seconds": by.total_seconds()})
        return datetime.fromisoformat(answer["now"])

    def state(self) -> dict[str, Any]:
        """Return account, positions, orders, executions and halts as they are; nothing moves."""
        return self._ask("GET", "state")

    def halt(self, symbol: str, session: date) -> None:
        """Stop trading of ``symbol`` for the whole of ``session``.

        Raises:
            RequestRefused: the session has closed already, or is none.
        """
        self._ask("POST", "halt", {"symbol": symbol, "session": session.isoformat()})

    def requests(self) -> dict[str, int]:
        """Return how often each method and path was asked for, the control plane left out."""
        return self._ask("GET", "requests")

    def health(self) -> dict[str, Any]:
        """Return market, seed, state folder, process id, simulated now and account number."""
        return self._ask("GET", "health")

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        address = f"{self._url}/_sim/{path}"
        try:
            reply = self._session.request(method, address, json=body, timeout=(_CONNECT_SECONDS, _READ_SECONDS))
            answer: dict[str, Any] = reply.json()
        except requests.RequestException as failure:
            raise DependencyUnavailable(
                f"the simulator gave no usable answer to {method} {address}: {failure}"
            ) from failure
        if not reply.ok:
            raise RequestRefused(
                f"the simulator refused {method} {address}: {answer['message']}", str(reply.status_code)
            )
        return answer


@dataclass(frozen=True)
class RunningSimulator:
    """A simulator that serves: its address, its keys, its process."""

    url: str
    port: int
    pid: int
    key_id: str
    secret_key: str = field(repr=False)
    control_token: str = field(repr=False)
    market: str
    seed: int
    started: str
    state_dir: Path

    @property
    def control(self) -> SimulatorControl:
        """Its control plane."""
        return SimulatorControl(self.url, self.control_token)

    def stop(self) -> None:
        """End the process and wait until it has let go of its state folder.

        Raises:
            DependencyUnavailable: it did not end in time.
        """
        try:
            os.kill(self.pid, signal.SIGTERM)
        except ProcessLookupError:
            return
        lock = FileLock(self.state_dir / LOCK)
        try:
            lock.acquire(timeout=STOPPED_WITHIN.total_seconds())
        except Timeout as failure:
            raise DependencyUnavailable(
                f"the simulator (process {self.pid}) did not end in {STOPPED_WITHIN.seconds} seconds: end it by hand"
            ) from failure
        lock.release()


@dataclass(frozen=True)
class StartedSimulator(RunningSimulator):
    """A simulator that this process started, and has to reap."""

    process: "subprocess.Popen[str]" = field(kw_only=True, repr=False)

    def stop(self) -> None:
        """End the process and wait for it.

        Raises:
            DependencyUnavailable: it did not end in time.
        """
        self.process.terminate()
        try:
            self.process.wait(STOPPED_WITHIN.total_seconds())
        except subprocess.TimeoutExpired as failure:
            raise DependencyUnavailable(
                f"the simulator (process {self.pid}) did not end in {STOPPED_WITHIN.seconds} seconds: end it by hand"
            ) from failure


def start_simulator(
    state_dir: Path,
    *,
    start: datetime,
    bars: Path | None = None,
    seed: int = 7,
    cash: Decimal = Decimal(100_000),
    holdings: Mapping[str, Decimal] | None = None,
    half_spread_bps: Decimal = Decimal(2),
    port: int = 0,
    watch_parent: bool = False,
) -> StartedSimulator:
    """Start a simulator on the state in ``state_dir`` and wait until it serves.

    Args:
        state_dir: Folder of the account; made if it is not there. What is there is continued.
        start: Where the clock of a new state stands; a state that is there keeps its own.
        bars: Parquet or CSV file to replay; None for the generated market.
        seed: Which of the generated markets.
        cash: Dollars in the account of a new state.
        holdings: Parts of that cash (fractions) that are in a symbol already.
        half_spread_bps: Half the spread of quotes in basis points.
        port: Port on loopback; 0 takes a free one.
        watch_parent: End the simulator when this process ends.

    Raises:
        InvalidInput: it refused to start; the message is its own.
        DependencyUnavailable: it ended without a reason, or was not ready in time.
    """
    settings = {
        "--state": state_dir,
        "--start": start.isoformat(),
        "--bars": bars or "generated",
        "--seed": seed,
        "--cash": cash,
        "--half-spread-bps": half_spread_bps,
        "--port": port,
    }
    command = [sys.executable, "-m", "trading_pipeline.simulator"]
    command += [text for name, value in settings.items() for text in (name, str(value))]
    command += [f"--holding={symbol}={fraction}" for symbol, fraction in (holdings or {}).items()]
    command += ["--watch-parent"] if watch_parent else []
    _make_folder(state_dir)
    log = state_dir / LOG
    with log.open("w", encoding="utf-8") as errors:
        # Its own process group: Ctrl-C in a terminal reaches us, and we decide when it ends.
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True)  # noqa: S603 - our own program
    _wait_until_ready(process, log)
    return StartedSimulator(**_advertised(state_dir), state_dir=state_dir, process=process)


def find_simulator(state_dir: Path) -> RunningSimulator | None:
    """Return the simulator that serves the state in ``state_dir``, or None."""
    try:
        running = RunningSimulator(**_advertised(state_dir), state_dir=state_dir)
    except (OSError, ValueError, TypeError):
        return None
    try:
        health = running.control.health()
    except (DependencyUnavailable, RequestRefused):
        return None
    same = (health.get("pid"), health.get("state")) == (running.pid, str(state_dir.resolve()))
    return running if same else None


def _make_folder(state_dir: Path) -> None:
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        (state_dir / LOG).touch()
    except OSError as failure:
        raise InvalidInput(f"the state folder {state_dir} cannot be used: {failure}") from failure


def _wait_until_ready(process: "subprocess.Popen[str]", log: Path) -> None:
    """Read the one line that the simulator prints, or say why there is none."""
    assert process.stdout is not None  # noqa: S101 - it was started with a pipe
    with selectors.DefaultSelector() as selector, process.stdout:
        selector.register(process.stdout, selectors.EVENT_READ)
        in_time = selector.select(READY_WITHIN.total_seconds())
        line = process.stdout.readline() if in_time else ""
    if line.startswith(READY):
        return
    if not in_time:
        process.kill()
    code = process.wait()
    said = log.read_text(encoding="utf-8").strip()
    if code == REFUSED_TO_START:
        raise InvalidInput(said.removeprefix("error: "))
    raise DependencyUnavailable(f"the simulator ended with code {code} before it served: {said or 'it said nothing'}")


def _advertised(state_dir: Path) -> dict[str, Any]:
    found = json.loads((state_dir / ADVERTISEMENT).read_text(encoding="utf-8"))
    names = {item.name for item in fields(RunningSimulator)} - {"state_dir"}
    return {name: found[name] for name in names if name in found}
