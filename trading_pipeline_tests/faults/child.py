"""The program that the harness kills: it loads the stored plan and executes it over the product's own parts.

``python -m trading_pipeline_tests.faults.child JOB`` runs one job, the JSON of a :class:`Job`, and writes what
``execute`` reported to the job's file. The harness forks children from a server that has this module imported, so
that a start costs milliseconds.
"""

import json
import os
import resource
import sys
import threading
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

# Imported before the fork, for the product imports them where they are first needed.
import alpaca.data.historical.stock
import alpaca.trading.client  # noqa: F401 - see above

from trading_pipeline.adapters.alpaca.broker import AlpacaBroker
from trading_pipeline.adapters.alpaca.market_data import AlpacaMarketData
from trading_pipeline.adapters.alpaca.transport import Connection, Keys, data_api, trading_api
from trading_pipeline.adapters.clocks import BrokerClock, WallClock, ended_by_signal
from trading_pipeline.adapters.storage.journal import SqliteJournal
from trading_pipeline.adapters.storage.objects import FileObjects, StoredPlans
from trading_pipeline.adapters.storage.trading_state import StoredTradingState
from trading_pipeline.application.execution import ExecutionRules, Venue, execute, plan_in_force, settle
from trading_pipeline.domain.errors import PipelineError
from trading_pipeline.domain.orders import Accepted, BrokerOrder, OrderIntent, OrderResult, Unknown
from trading_pipeline.ports import JournalEntry
from trading_pipeline.settings import ResilienceSettings

JOURNAL = "journal.sqlite"
OBJECTS = "objects"
PATIENCE = 1.0
FIRST_SESSION = date(2026, 7, 24)
BLIND_SENDS = 4


@dataclass(frozen=True)
class Job:
    """What one child does: execute the plan in force, or settle what is left after the session.

    Where ``file_limit`` is set, no file may grow beyond so many bytes, as on a
    disk that is full. ``ids`` is ``plan``, or ``uuid`` for a child that sends
    every order under a fresh one; with ``blind_retries`` it does so where the
    answer was unclear. Both are wrong on purpose.
    """

    home: str
    report: str
    url: str
    key_id: str
    secret_key: str
    account: str
    session: str
    order_timeout: float = 2.0
    max_reprices: int = 3
    orders_in_flight: int = 8
    settles: bool = False
    file_limit: int = 0
    ids: str = "plan"
    blind_retries: bool = False


def rules_of(job: Job) -> ExecutionRules:
    return ExecutionRules(
        opens_after=timedelta(minutes=1),
        closes_before=timedelta(minutes=15),
        order_timeout=job.order_timeout,
        first_poll=0.01,
        longest_poll=0.1,
        marketable_offset=Decimal("0.001"),
        max_reprices=job.max_reprices,
        orders_in_flight=job.orders_in_flight,
    )


def resilience() -> ResilienceSettings:
    """Return less patience than the product's, so that a case takes a second."""
    read = {"connect_seconds": PATIENCE, "answer_seconds": PATIENCE, "breaker_pause_seconds": 0.3}
    waits = {"first_wait_seconds": 0.02, "longest_wait_seconds": 0.1, "deadline_seconds": 5}
    quota = {"requests_per_minute": 100_000, "burst": 50_000}
    return ResilienceSettings.model_validate(
        {
            "trading_read": read | waits,
            "trading_order": read,
            "trading_cancel": read,
            "trading_quota": quota,
            "market_data_read": read | waits,
            "market_data_quota": quota,
        }
    )


def venue_of(job: Job, ending: threading.Event) -> Venue:
    home, keys, wall = Path(job.home), Keys(job.key_id, job.secret_key), WallClock(ending)
    connection = Connection(job.url, job.url, resilience())
    trading = trading_api(keys, connection, wall)
    clock = BrokerClock(trading, wall)
    broker = AlpacaBroker(trading, clock)
    return Venue(
        broker=broker if job.ids == "plan" and not job.blind_retries else CarelessBroker(broker, job.blind_retries),
        market_data=AlpacaMarketData(data_api(keys, connection, wall), clock),
        journal=SqliteJournal(home / JOURNAL),
        trading_state=StoredTradingState(FileObjects(home / OBJECTS)),
        clock=clock,
        turn=broker.turn_to_submit,
    )


class CarelessBroker:
    """A broker adapter that invents ids: at every submission, or only where an answer was unclear.

    It remembers in memory alone which order it sent for which intent, as such programs do.
    """

    def __init__(self, broker: AlpacaBroker, blind_retries: bool) -> None:
        self._broker = broker
        self._blind_retries = blind_retries
        self._sent: dict[str, str] = {}

    def __getattr__(self, name):
        return getattr(self._broker, name)

    def submit(self, intent: OrderIntent) -> OrderResult:
        result = self._send(intent, intent.client_order_id if self._blind_retries else _invented())
        for _ in range(BLIND_SENDS - 1):
            if not (self._blind_retries and isinstance(result, Unknown)):
                break
            result = self._send(intent, _invented())
        return result

    def order(self, client_order_id: str) -> BrokerOrder | None:
        found = self._broker.order(self._sent.get(client_order_id, client_order_id))
        return None if found is None else replace(found, client_order_id=client_order_id)

    def orders(self, since: datetime | None = None) -> Sequence[BrokerOrder]:
        meant = {sent: wanted for wanted, sent in self._sent.items()}
        found = self._broker.orders(since)
        return [
            replace(order, client_order_id=meant.get(order.client_order_id, order.client_order_id)) for order in found
        ]

    def _send(self, intent: OrderIntent, sent: str) -> OrderResult:
        wanted = intent.client_order_id
        self._sent[wanted] = sent
        result = self._broker.submit(replace(intent, client_order_id=sent))
        if isinstance(result, Accepted):
            return Accepted(replace(result.order, client_order_id=wanted))
        return replace(result, client_order_id=wanted)


def _invented() -> str:
    return f"tp1-{uuid.uuid4().hex}"


def run_quietly(job: Job) -> None:
    """Run a job in a forked child; what it says goes to a file of its home, for a terminal is of no use to it."""
    # A disk that is full takes no words either; that the program bears it is not what is tried here.
    log = os.devnull if job.file_limit else Path(job.home) / "child.log"
    words = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(words, 1)
    os.dup2(words, 2)
    if job.file_limit:
        # Other than a tmpfs of that size, it needs no rights; a write beyond it fails as one to a full disk does.
        resource.setrlimit(resource.RLIMIT_FSIZE, (job.file_limit, resource.RLIM_INFINITY))
    run(job)


def run(job: Job) -> None:
    """Execute the plan in force and leave how it ended in the job's file, whole or not at all."""
    draft, outcome = Path(f"{job.report}.{os.getpid()}"), _outcome(job)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    draft.write_text(json.dumps(outcome))
    draft.replace(job.report)


def _outcome(job: Job) -> dict[str, object]:
    ending = threading.Event()
    with ended_by_signal(ending):
        return _executed(job, venue_of(job, ending))


def _executed(job: Job, venue: Venue) -> dict[str, object]:
    plans = StoredPlans(FileObjects(Path(job.home) / OBJECTS))
    try:
        if job.settles:
            return _told(left=settle(venue, rules_of(job), venue.clock.now(), job.account))
        plan = plan_in_force(plans, venue.journal, job.account, date.fromisoformat(job.session))
        return _told(left=execute(plan, venue, rules_of(job)).unresolved)
    except PipelineError as error:
        return {"error": type(error).__name__, "message": str(error)}


def _told(left: Sequence[JournalEntry]) -> dict[str, object]:
    return {"error": "", "message": "", "open": len(left)}


def main() -> None:
    job = Job(**json.loads(Path(sys.argv[1]).read_text()))
    run(job)
    sys.stdout.write(Path(job.report).read_text() + "\n")


def write_job(job: Job, path: Path) -> Path:
    """Keep ``job`` for :func:`main`."""
    path.write_text(json.dumps(asdict(job)))
    return path


if __name__ == "__main__":
    main()
