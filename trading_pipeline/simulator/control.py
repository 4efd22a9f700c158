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
from typing import Any, Literal

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

    def __init__(self, url: str, token: str, account: str = "") -> None:
        """Steer the simulator at ``url``; of its accounts the one of that number, the first if none is named."""
        self._url = url
        self._account = account
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

    def move_to_next(self, boundary: Literal["open", "close"]) -> datetime:
        """Move the clock to the next open or close of a session."""
        return datetime.fromisoformat(self._ask("POST", "clock", {"next": boundary})["now"])

    def advance(self, by: timedelta) -> datetime:
        """Move the clock on by ``by``.

        Raises:
            RequestRefused: ``by`` is negative.
        """
        answer = self._ask("POST", "clock", {"advance_seconds": by.total_seconds()})
        return datetime.fromisoformat(answer["now"])

    def state(self) -> dict[str, Any]:
        """Return account, positions, orders, executions and halts as they are; nothing moves."""
        return dict(self._ask("GET", "state"))

    def halt(self, symbol: str, session: date | None = None) -> None:
        """Stop trading of ``symbol``: for the whole of ``session``, or from now until it is resumed.

        Raises:
            RequestRefused: the session has closed already, or is none.
        """
        self._ask("POST", "halt", {"symbol": symbol, "session": session and session.isoformat()})

    def resume(self, symbol: str) -> None:
        """End a halt of ``symbol`` that had no end."""
        self._ask("POST", "resume", {"symbol": symbol})

    def add_fault(self, **rule: Any) -> int:  # noqa: ANN401 - each action has options of its own
        """Let something go wrong with requests or orders, and return the id of the rule.

        The body is ``{"match": {...}, "action": NAME, "times": N, ...options}``, as in
        ``add_fault(action="accept_then_status", status=504, match={"method": "POST", "nth": 2})``;
        :mod:`trading_pipeline.simulator.fault_rules` tells what can be matched,
        :mod:`trading_pipeline.simulator.faults` what can be done.

        Raises:
            RequestRefused: an action, key or value that does not exist; the message names what does.
        """
        return int(self._ask("POST", "faults", rule)["id"])

    def faults(self) -> list[dict[str, Any]]:
        """Return each rule as it was given, with ``id``, ``seen`` (requests it was about) and ``applied``."""
        found: list[dict[str, Any]] = self._ask("GET", "faults")["rules"]
        return found

    def fault_log(self) -> list[dict[str, Any]]:
        """Return what rules did, oldest first: rule, action, method, path, at."""
        found: list[dict[str, Any]] = self._ask("GET", "faults")["log"]
        return found

    def clear_faults(self) -> None:
        """Forget every rule and the log of what they did."""
        self._ask("DELETE", "faults")

    def seed(self, seed: int) -> None:
        """Begin the draws of rules with a probability anew."""
        self._ask("POST", "seed", {"seed": seed})

    def set_symbol(self, symbol: str, **changes: Any) -> None:  # noqa: ANN401 - each change has a kind of its own
        """Set for ``symbol`` any of: tradable, fractionable, illiquid, missing, quote_factor, quote_age (seconds).

        What is not said stays; :class:`trading_pipeline.simulator.overrides.Override` tells what each does.
        """
        self._ask("POST", "symbols", {"symbol": symbol, **_texts(changes)})

    def hide_bars(self, symbol: str, first: date, last: date) -> None:
        """Show no bars of ``symbol`` from ``first`` to ``last``, both included."""
        self._ask("POST", "bars/gap", {"symbol": symbol, "first": first.isoformat(), "last": last.isoformat()})

    def change_bar(self, symbol: str, session: date, factor: Decimal, figure: str = "all") -> None:
        """Show ``figure`` (open, high, low, close, all) of a bar ``factor`` times as large: a bad print, a revision."""
        body = {"symbol": symbol, "session": session.isoformat(), "factor": str(factor), "figure": figure}
        self._ask("POST", "bars/change", body)

    def mend_bars(self, symbol: str) -> None:
        """Show the bars of ``symbol`` as they are again, none hidden and none changed."""
        self._ask("POST", "bars/mend", {"symbol": symbol})

    def split(self, symbol: str, session: date, ratio: Decimal) -> None:
        """Give ``ratio`` shares of ``symbol`` for one at the open of ``session``, which is to come.

        Raises:
            RequestRefused: the session has opened already or is none, or there is no such symbol.
        """
        self._ask("POST", "split", {"symbol": symbol, "session": session.isoformat(), "ratio": str(ratio)})

    def set_account(self, **changes: Any) -> None:  # noqa: ANN401 - each change has a kind of its own
        """Set any of: cash, status, trading_blocked, account_blocked, transfers_blocked, trade_suspended_by_user.

        Raises:
            RequestRefused: open orders hold back more cash than that.
        """
        self._ask("POST", "account", _texts(changes))

    def move_cash(self, kind: str, amount: Decimal, symbol: str | None = None) -> dict[str, Any]:
        """Book dollars that come (positive) or go without a trade, and return them as an account activity.

        ``kind`` is Alpaca's: CSD, CSW, DIV, FEE, INT or JNLC.

        Raises:
            RequestRefused: another kind, or open orders hold back more cash than would be left.
        """
        body = {"kind": kind, "amount": amount, "symbol": symbol}
        return dict(self._ask("POST", "movements", _texts(body)))

    def set_position(self, symbol: str, quantity: Decimal, cost_basis: Decimal | None = None) -> None:
        """Set the shares held in ``symbol``, at the current price if their cost (dollars) is not said.

        Raises:
            RequestRefused: there is no such symbol, or open orders hold more shares than that.
        """
        body = {"symbol": symbol, "quantity": quantity, "cost_basis": cost_basis}
        self._ask("POST", "positions", _texts(body))

    def release(self, symbol: str | None = None, order: str | None = None) -> int:
        """Let open orders behave as usual from now on, all of them or those of a symbol or an id; return how many."""
        return int(self._ask("POST", "release", {"symbol": symbol, "order": order})["released"])

    def step(self) -> None:
        """Move every open order one step, as reading it does."""
        self._ask("POST", "step", {})

    def events(self, after: int = 0) -> list[dict[str, Any]]:
        """Return the events of orders after the one of that number: sequence, kind, at, order, position, execution."""
        found: list[dict[str, Any]] = self._ask("GET", f"events?after={after}", None)
        return found

    def reset(self) -> None:
        """Begin every account anew with its opening cash, without fault rules; clock and splits stay."""
        self._ask("POST", "reset", {})

    def fill_disk(self, *, full: bool = True) -> None:
        """Let every change of the simulator's state fail as on a full disk, or let it be kept again."""
        self._ask("POST", "disk", {"full": full})

    def requests(self) -> dict[str, int]:
        """Return how often each method and path was asked for, the control plane left out."""
        return dict(self._ask("GET", "requests"))

    def stream_fault(self, action: str, **rule: Any) -> int:  # noqa: ANN401 - each action has options of its own
        """Let something go wrong on the websockets, and return the id of the rule.

        The body is ``{"action": action, **rule}``, as in ``{"action": "ws_drop_event", "stream": "trading",
        "times": 2}``; :mod:`trading_pipeline.simulator.stream_faults` has all of them. Without ``stream`` both
        streams are meant, without ``times`` the rule holds until :meth:`stream_faults_clear`.

        Raises:
            RequestRefused: an action, stream or option that does not exist.
        """
        return int(self._ask("POST", "stream", {"action": action, **rule})["id"])

    def stream_faults_clear(self) -> None:
        """Forget every stream fault; connections that were mute answer again."""
        self._ask("DELETE", "stream")

    def streams(self) -> dict[str, Any]:
        """Return the stream faults with their use, and of each stream how many connections there are.

        ``connections`` is ``{"trading": {"connected": n, "live": n}, "data": ...}``; a live connection has
        said what it listens to, so that it hears of whatever happens from then on.
        """
        return dict(self._ask("GET", "stream"))

    def health(self) -> dict[str, Any]:
        """Return market, seed, state folder, process id, simulated now and account number."""
        return dict(self._ask("GET", "health"))

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:  # noqa: ANN401 - JSON
        address = f"{self._url}/_sim/{path}"
        try:
            reply = self._session.request(
                method,
                address,
                json=body,
                params={"account": self._account} if self._account else None,
                timeout=(_CONNECT_SECONDS, _READ_SECONDS),
            )
            answer = reply.json()
        except requests.RequestException as failure:
            raise DependencyUnavailable(
                f"the simulator gave no usable answer to {method} {address}: {failure}"
            ) from failure
        if not reply.ok:
            raise RequestRefused(
                f"the simulator refused {method} {address}: {answer['message']}", str(reply.status_code)
            )
        return answer


def _texts(changes: dict[str, Any]) -> dict[str, Any]:
    """Return ``changes`` with decimals as text, which JSON has no numbers for."""
    return {name: str(value) if isinstance(value, Decimal) else value for name, value in changes.items()}


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
    accounts: tuple[Mapping[str, str], ...] = field(default=(), repr=False, kw_only=True)

    @property
    def control(self) -> SimulatorControl:
        """Its control plane."""
        return SimulatorControl(self.url, self.control_token)

    def control_of(self, account_number: str) -> SimulatorControl:
        """Its control plane, for the account of that number."""
        return SimulatorControl(self.url, self.control_token, account_number)

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
    accounts: int = 1,
    clock: str = "frozen",
    factor: float = 1.0,
    rate_limit: int = 10_000,
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
        accounts: How many independent accounts there are, 1 to 9.
        clock: ``frozen``, ``replay`` or ``wall``.
        factor: Simulated seconds a second of a replay clock.
        rate_limit: Requests a minute and account.

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
        "--accounts": accounts,
        "--clock": clock,
        "--factor": factor,
        "--rate-limit": rate_limit,
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
