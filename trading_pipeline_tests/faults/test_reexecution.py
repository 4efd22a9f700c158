import json
import os
import signal
import sys
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from trading_pipeline.domain.orders import Plan
from trading_pipeline.ports import IntentState
from trading_pipeline.simulator.control import ADVERTISEMENT
from trading_pipeline_tests.defs.conftest import Line, Market, opened_market
from trading_pipeline_tests.faults.verdict import Books, duplicates, imbalances, undecided, unjournalled
from trading_pipeline_tests.faults.wire import FaultProxy, Rule, proxied
from trading_pipeline_tests.processes import Started

pytestmark = pytest.mark.unmeasured


@dataclass
class DecidedDay:
    """A session that was decided, its window open, and a wire to the broker that can be cut."""

    market: Market
    proxy: FaultProxy
    plan: Plan
    before: Books

    def run(self, folder: Path, job: str, *parent: str):
        """Run a job in a process of its own; what kills by the wire kills the process that asked."""
        folder.mkdir()
        home = self.market.home
        places = {"DAGSTER_HOME": str(home.dagster), "TRADING_PIPELINE_HOME": str(home.folder.parent)}
        module = "trading_pipeline_tests.faults.dagster_run"
        arguments = [sys.executable, "-W", "ignore", "-m", module, job, str(self.plan.session), *parent]
        return Started(folder, arguments, {**os.environ, **places}).finished()

    def kill_who_sends(self, rule: Rule) -> None:
        self.proxy.signal = lambda number: os.kill(process_behind(self.proxy.passed[-1].port), number)
        self.proxy.arm(rule)

    def posts(self):
        return Counter(request.client_order_id for request in self.proxy.passed if request.kind == "submit")

    def wrongs(self):
        after, journal = Books.of(self.market.control.state()), self.market.world().journal
        assert {entry.state for entry in journal.entries(self.plan.plan_id)} == {IntentState.FILLED}
        history = journal.history(self.plan.plan_id)
        return (
            *duplicates(self.plan, after),
            *unjournalled(history, after),
            *undecided(self.plan, after),
            *imbalances(self.before, after),
        )


def process_behind(port: int) -> int:
    """Return the process whose end of a loopback connection has that port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    sockets = {f"socket:[{row[9]}]" for row in rows if int(row[1].split(":")[1], 16) == port}
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            found = str(descriptor.readlink())
        except OSError:
            continue
        if found in sockets:
            return int(descriptor.parts[2])
    raise LookupError(f"no process holds port {port}")


@contextmanager
def decided_day(folder):
    with opened_market(folder) as market:
        with dg.DagsterInstance.from_config(str(market.home.dagster)) as instance:
            session = market.close_next_session()
            assert Line(market.world(), instance).run("decide", session).success
        market.open_window(session)
        world, state = market.world(), market.control.state()
        plan = world.plans.versions(world.portfolio().account_number, session)[-1]
        with proxied(world.endpoint.connection.trading_url) as (proxy, url):
            advertised = market.home.simulator / ADVERTISEMENT
            advertised.write_text(json.dumps({**json.loads(advertised.read_text()), "url": url}))
            yield DecidedDay(market, proxy, plan, Books.of(state))


@pytest.fixture
def day(tmp_path):
    with decided_day(tmp_path / "market") as decided:
        yield decided


def newest_run(day):
    with dg.DagsterInstance.from_config(str(day.market.home.dagster)) as instance:
        run = instance.get_runs(dg.RunsFilter(job_name="place_orders"), limit=1)[0]
        if not run.is_finished:
            # What run monitoring does once it finds the process gone.
            instance.report_run_failed(run)
        return run.run_id


def test_g2_a_run_that_is_killed_after_it_submitted_and_executed_again_from_the_ui_places_nothing_twice(day, tmp_path):
    day.kill_who_sends(Rule("submit", 2, "kill after"))
    assert day.run(tmp_path / "first", "place_orders").returncode == -signal.SIGKILL
    sent = day.posts()

    again = day.run(tmp_path / "second", "place_orders", newest_run(day))
    assert again.returncode == 0, again.stderr
    finished = day.posts()
    once_more = day.run(tmp_path / "third", "place_orders", newest_run(day))

    assert once_more.returncode == 0, once_more.stderr
    assert sent
    assert set(finished.values()) == {1}
    assert day.posts() == finished
    assert not day.wrongs()


def test_g1_a_step_that_is_killed_after_it_submitted_and_started_again_by_dagster_places_nothing_twice(day, tmp_path):
    day.kill_who_sends(Rule("submit", 2, "kill after"))

    retried = day.run(tmp_path / "first", "retried")

    assert retried.returncode == 0, retried.stderr
    assert retried.stderr.count("STEP_START") >= 2, retried.stderr
    assert set(day.posts().values()) == {1}
    assert not day.wrongs()


def test_g5_two_runs_at_once_place_one_set_of_orders(day, tmp_path):
    ended = {}

    def place(name):
        ended[name] = day.run(tmp_path / name, "place_orders")

    both = [threading.Thread(target=place, args=(name,)) for name in ("one", "other")]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()

    assert {run.returncode for run in ended.values()} == {0}, [run.stderr for run in ended.values()]
    assert set(day.posts().values()) == {1}
    assert not day.wrongs()
