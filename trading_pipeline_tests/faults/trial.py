"""One case: an account of its own, children that are killed and started again, and what is left of it at the end."""

import json
import multiprocessing
import os
import shutil
import signal
import sqlite3
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from functools import cached_property
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from trading_pipeline.adapters.storage.journal import SqliteJournal
from trading_pipeline.adapters.storage.objects import FileObjects, StoredPlans
from trading_pipeline.domain import sessions
from trading_pipeline.domain.instruments import round_price, round_quantity
from trading_pipeline.domain.orders import OrderIntent, OrderType, Plan, Side, TimeInForce, client_order_id
from trading_pipeline.simulator.control import SimulatorControl
from trading_pipeline_tests.builders import approved
from trading_pipeline_tests.faults import child
from trading_pipeline_tests.faults.cases import MOST_LAUNCHES, AtJournalWrite, AtMoment, AtRequest, Case, Kill, Shape
from trading_pipeline_tests.faults.verdict import Books, Verdict, duplicates, imbalances, lost, undecided, unjournalled
from trading_pipeline_tests.faults.wire import FaultProxy, Request, proxied
from trading_pipeline_tests.simulator.conftest import MONDAY_MORNING, serving

SESSION = child.FIRST_SESSION
CASH = Decimal(100_000)
COLLAR = Decimal("0.02")
# A launch that takes longer hangs: every wait inside it has an end long before.
LAUNCH_SECONDS = 60
_CHILDREN = multiprocessing.get_context("forkserver")
_CHILDREN.set_forkserver_preload(["trading_pipeline_tests.faults.warm"])


class Hangs(Exception):
    """A launch did not end in time."""


@dataclass
class Launch:
    """A child that runs, or has ended."""

    process: BaseProcess
    report: Path

    def signal(self, number: int) -> None:
        """Send it a signal, unless it has ended by itself meanwhile."""
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)

    def ended(self, seconds: float) -> bool:
        """Wait for its end; tell whether it came in time."""
        return bool(wait([self.process.sentinel], seconds))

    def wait(self) -> None:
        """Wait for its end.

        Raises:
            Hangs: it does not come.
        """
        if not self.ended(LAUNCH_SECONDS):
            self.kill()
            said = self.report.with_name("child.log").read_text()
            raise Hangs(f"a launch hangs; it said last: {said[-2000:]}")
        self.process.join()

    @cached_property
    def outcome(self) -> Mapping[str, Any] | None:
        """What it reported; None where it did not come so far."""
        return json.loads(self.report.read_text()) if self.report.exists() else None

    @property
    def is_done(self) -> bool:
        """Tell whether every intent was terminal when it ended."""
        return self.outcome is not None and not self.outcome["error"] and not self.outcome["open"]


@dataclass
class World:
    """A simulated account, the way to it, and the folder of a pipeline that trades it."""

    folder: Path
    control: SimulatorControl
    proxy: FaultProxy
    job: child.Job
    plan: Plan
    before: Books
    sent_unjournalled: list[str] = field(default_factory=list)
    launches: int = 0

    @property
    def journal(self) -> SqliteJournal:
        return SqliteJournal(self.folder / child.JOURNAL)

    @property
    def after(self) -> Books:
        return Books.of(self.control.state())

    def launch(self, **changes) -> Launch:
        """Start a child."""
        self.launches += 1
        report = self.folder / f"report-{self.launches}.json"
        job = replace(self.job, report=str(report), **changes)
        process = _CHILDREN.Process(target=child.run_quietly, args=(job,), daemon=True)
        process.start()
        launch = Launch(process, report)
        self.proxy.signal = launch.signal
        return launch

    def run(self, **changes) -> Launch:
        """Start a child and wait for its end."""
        launch = self.launch(**changes)
        launch.wait()
        return launch

    def lose_journal(self) -> None:
        for path in self.folder.glob(f"{child.JOURNAL}*"):
            path.unlink()

    def judged(self, peace: "Undisturbed") -> Verdict:
        """Judge what is there, once nothing is on its way any more."""
        assert self.proxy.rest(LAUNCH_SECONDS), "a request is still under way"
        sent_again, after = self._sent_again(), self.after
        return Verdict(
            duplicates=(*duplicates(self.plan, after), *sent_again),
            lost=lost(self.plan, self.journal.entries(self.plan.plan_id), after, peace.books),
            unjournalled=(*unjournalled(self.journal.history(self.plan.plan_id), after), *self.sent_unjournalled),
            undecided=undecided(self.plan, after),
            others=imbalances(self.before, after),
        )

    def _sent_again(self) -> tuple[str, ...]:
        """Launch once more: a plan that was executed sends nothing."""
        before = len(self.proxy.passed)
        self.run()
        sent = [request for request in self.proxy.passed[before:] if request.kind == "submit"]
        return tuple(f"{request.client_order_id} was sent again after the end" for request in sent)

    def look(self, request: Request) -> None:
        """Note an order on the wire that the journal does not know to be under way."""
        if request.kind == "submit" and not self._is_journalled(request.client_order_id):
            self.sent_unjournalled.append(f"{request.client_order_id} was on the wire before its row was on the disk")

    def _is_journalled(self, order_id: str) -> bool:
        question = "SELECT count(*) FROM events WHERE order_id = ? AND state = 'submitting'"
        # Not created where it is not there.
        address = f"{(self.folder / child.JOURNAL).as_uri()}?mode=rw"
        with closing(sqlite3.connect(address, uri=True, timeout=10)) as journal:
            return bool(journal.execute(question, (order_id,)).fetchone()[0])


@contextmanager
def world(shape: Shape, **changes) -> Iterator[World]:
    """Yield a fresh account inside the execution window of a session, with ``shape``'s plan stored."""
    folder = Path(tempfile.mkdtemp(prefix="trial-"))
    try:
        with (
            serving(folder / "simulator", cash=CASH, holdings=shape.holdings) as served,
            proxied(served.url) as (proxy, url),
        ):
            served.control.set_clock(MONDAY_MORNING)
            state = served.control.state()
            account = served.control.health()["account_number"]
            plan = _plan(shape, account, _quotes(served, shape))
            StoredPlans(FileObjects(folder / child.OBJECTS)).put_if_absent(plan)
            job = child.Job(
                home=str(folder),
                report="",
                url=url,
                key_id=served.keys[0],
                secret_key=served.keys[1],
                account=account,
                session=str(SESSION),
                **changes,
            )
            opened = World(folder, served.control, proxy, job, plan, Books.of(state))
            proxy.look = opened.look
            yield opened
            assert proxy.rest(30), "a request is still under way"
            assert not proxy.broken, proxy.broken
    finally:
        shutil.rmtree(folder)


def _quotes(served, shape: Shape) -> Mapping[str, tuple[Decimal, Decimal]]:
    symbols = ",".join(symbol for symbol, _, _ in shape.orders)
    found = served.get("/v2/stocks/quotes/latest", symbols=symbols)["quotes"]
    return {symbol: (Decimal(str(row["bp"])), Decimal(str(row["ap"]))) for symbol, row in found.items()}


def _plan(shape: Shape, account: str, quotes: Mapping[str, tuple[Decimal, Decimal]]) -> Plan:
    plan_id = f"{SESSION}.1"
    orders = tuple(
        _intent(place, account, plan_id, shape, order, quotes[order[0]]) for place, order in enumerate(shape.orders)
    )
    return Plan(
        plan_id=plan_id,
        account_number=account,
        session=SESSION,
        execution_session=sessions.next_session(SESSION),
        version=1,
        created_at=sessions.close_of(SESSION) + timedelta(minutes=30),
        hypothetical=False,
        orders=orders,
        lineage=(),
        code_version="0",
        config_hash="0",
        decisions=approved(orders),
    )


def _intent(place, account, plan_id, shape, order, quote) -> OrderIntent:
    symbol, side, fraction = order
    bid, ask = quote
    is_buy = side is Side.BUY
    reference = ask if is_buy else bid
    step = Decimal(1) if shape.whole_shares or not is_buy else Decimal("0.001")
    return OrderIntent(
        client_order_id=client_order_id(account, plan_id, symbol, side),
        sequence=place,
        symbol=symbol,
        side=side,
        # Sells are of whole shares, since whole shares are held.
        quantity=round_quantity(CASH * fraction * Decimal("0.97") / reference, step),
        order_type=OrderType.LIMIT,
        limit_price=round_price(reference * (1 + COLLAR if is_buy else 1 - COLLAR), up=is_buy),
        reference_price=reference,
        time_in_force=TimeInForce.DAY,
        reason="to target",
    )


@dataclass(frozen=True)
class Census:
    """What a launch that nobody disturbs does: requests by kind, writes to the journal, seconds."""

    requests: Mapping[str, int]
    journal_writes: int
    seconds: float


@dataclass(frozen=True)
class Undisturbed:
    """How a shape's plan ends where nothing is disturbed, and what was done for it."""

    books: Books
    census: Census


def undisturbed(shape: Shape) -> Undisturbed:
    """Execute a shape's plan once in peace."""
    with world(shape) as quiet:
        _start_server_of_children()
        began = time.monotonic()
        launch, writes = quiet.launch(), _JournalWatch(quiet.folder / child.JOURNAL)
        with writes:
            launch.wait()
        seconds = time.monotonic() - began
        assert launch.is_done, launch.outcome
        requests = Counter(request.kind for request in quiet.proxy.passed)
        return Undisturbed(quiet.after, Census(requests, max(writes.count, 1), seconds))


def _start_server_of_children() -> None:
    first = _CHILDREN.Process(target=int)
    first.start()
    first.join()


class _JournalWatch:
    """Counts how often the journal is seen to grow, and calls ``at_nth`` at the n-th."""

    def __init__(self, journal: Path, nth: int = 0, at_nth=lambda: None) -> None:
        self._log = journal.with_name(journal.name + "-wal")
        self._nth, self._at_nth = nth, at_nth
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.count = 0

    def __enter__(self) -> "_JournalWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        before = self._mark()
        while not self._stopped.wait(0.0005):
            mark = self._mark()
            if mark != before:
                before = mark
                self.count += 1
                if self.count == self._nth:
                    self._at_nth()

    def _mark(self) -> tuple[int, int]:
        try:
            found = self._log.stat()
        except FileNotFoundError:
            return (0, 0)
        return (found.st_size, found.st_mtime_ns)


@dataclass(frozen=True)
class Result:
    """How a case ended."""

    case: Case
    kills: int
    launches: int
    seconds: float
    verdict: Verdict


def run_case(case: Case, peace: Undisturbed, **changes) -> Result:
    """Run a case to its end and judge it; ``changes`` make the children careless."""
    began = time.monotonic()
    with world(case.shape, **changes) as trial:
        trial.proxy.arm(*case.faults)
        for market in case.markets:
            trial.control.add_fault(**market.fault(trial.plan.orders[market.place].symbol))
        try:
            kills, converges = _launched_to_the_end(trial, case, peace.census)
            verdict = trial.judged(peace)
        except Hangs as hangs:
            kills, converges, verdict = 0, False, Verdict(others=(str(hangs),))
        if not converges:
            verdict = replace(verdict, others=(*verdict.others, "it does not converge"))
        return Result(case, kills, trial.launches, time.monotonic() - began, verdict)


def _launched_to_the_end(trial: World, case: Case, census: Census) -> tuple[int, bool]:
    """Launch until every intent is over; return how many launches were killed, and whether it came to that."""
    kills = 0
    for number in range(MOST_LAUNCHES):
        kill = case.kills[number] if number < len(case.kills) else None
        launch = _killed_launch(trial, kill, census)
        kills += launch.process.exitcode == -signal.SIGKILL
        if case.journal_lost_after == number:
            trial.lose_journal()
        elif number >= len(case.kills) - 1 and launch.is_done:
            return kills, True
    return kills, False


def _killed_launch(trial: World, kill: Kill | None, census: Census) -> Launch:
    launch = trial.launch()
    match kill:
        case AtRequest():
            rule = kill.rule
            trial.proxy.arm(rule)
            launch.wait()
            trial.proxy.disarm(rule)
        case AtMoment(share):
            if not launch.ended(share * census.seconds):
                launch.kill()
            launch.wait()
        case AtJournalWrite(share):
            with _JournalWatch(trial.folder / child.JOURNAL, 1 + int(share * census.journal_writes), launch.kill):
                launch.wait()
        case None:
            launch.wait()
    return launch
