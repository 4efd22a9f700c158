"""A day on which the feed breaks and is mended, in Dagster's UI: what stops, who is told, and what goes on."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from trading_pipeline.adapters.storage.home import Home, home_of
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain.sessions import last_completed_session, next_session
from trading_pipeline.settings import Settings
from trading_pipeline.simulator.control import SimulatorControl, find_simulator
from trading_pipeline_tests import browser
from trading_pipeline_tests.adapters.conftest import ScriptedServer
from trading_pipeline_tests.adapters.far_sides import Hook, MailServer, mail_server
from trading_pipeline_tests.cli.served import PATIENCE, asked, free_port, wait_until_it_serves

pytestmark = pytest.mark.unmeasured

STAGES = ("market_data", "indicators", "signals", "allocation", "orders", "fills")
LAUNCH = """
mutation Launch($job: String!, $session: String!) {
  launchRun(executionParams: {
    selector: {jobName: $job, repositoryName: "__repository__", repositoryLocationName: "trading_pipeline"}
    executionMetadata: {tags: [{key: "dagster/partition", value: $session}]}
  }) { ... on LaunchRunSuccess {run {runId}} ... on PythonError {message} }
}
"""
RUNS = """
query Runs($job: String!) {
  runsOrError(filter: {pipelineName: $job}) { ... on Runs {results {runId status rootRunId tags {key value}}} }
}
"""
WRITTEN = """
query Written($asset: String!) {
  assetNodes(assetKeys: [{path: [$asset]}]) {assetMaterializations {partition runId}}
}
"""
TICKS = """
query Ticks($sensor: String!) {
  sensorOrError(sensorSelector: {
    sensorName: $sensor, repositoryName: "__repository__", repositoryLocationName: "trading_pipeline"
  }) { ... on Sensor {sensorState {ticks {status skipReason}}} }
}
"""
CHECK = "data_freshness: the_feed_is_usable"


@dataclass
class Day:
    """The pipeline under `dev`, the market that it sees, and whoever it tells."""

    url: str
    home: Home
    market: SimulatorControl
    mail: MailServer
    hook: Hook
    pictures: Path

    @property
    def session(self):
        return last_completed_session(self.market.now())

    def asked(self, query, **variables):
        return asked(f"{self.url}/graphql", query, variables)["data"]

    def runs(self, job):
        """Return the runs of a job, newest first."""
        return self.asked(RUNS, job=job)["runsOrError"]["results"]

    def launch(self, job):
        return self.asked(LAUNCH, job=job, session=str(self.session))["launchRun"]["run"]["runId"]

    def written(self, asset):
        """Return the runs that wrote the session's partition of an asset."""
        nodes = self.asked(WRITTEN, asset=asset)["assetNodes"][0]["assetMaterializations"]
        return {found["runId"] for found in nodes if found["partition"] == str(self.session)}

    def ticks(self, sensor):
        return self.asked(TICKS, sensor=sensor)["sensorOrError"]["sensorState"]["ticks"]

    def told(self, title):
        """Return how many mails and how many posts were about it; the day's report quotes it, and is about the day."""
        return tuple(sum(title in each.title for each in far.arrived) for far in (self.mail, self.hook))


def until(happened, what):
    deadline, pause = time.monotonic() + PATIENCE, threading.Event()
    while time.monotonic() < deadline:
        found = happened()
        if found:
            return found
        pause.wait(0.5)
    raise AssertionError(f"did not happen: {what}")


@contextlib.contextmanager
def hook_server() -> Iterator[Hook]:
    with ScriptedServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        server.on(f"POST {Hook.path}", text="ok")
        yield Hook(server)
        server.shutdown()
        thread.join()


def chosen(mail, hook):
    return {
        "alerts": {
            "email": {
                "host": "127.0.0.1",
                "port": mail.port,
                "security": "none",
                "sender": "pipeline@example.com",
                "recipients": ["ana@example.com"],
            },
            "webhook": {"url": f"http://127.0.0.1:{hook.port}{Hook.path}", "minimum_severity": "info"},
            "delivery_interval_seconds": 5,
        },
        "health": {"look_interval_seconds": 5},
        "schedule": {"sensor_interval_seconds": 5},
    }


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    hindrance = browser.hindrance(tmp_path_factory.mktemp("probe"))
    if hindrance:
        pytest.skip(hindrance)
    with browser.opened_page("about:blank", tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def day(page, started, tmp_path_factory):
    folder = tmp_path_factory.mktemp("day")
    # To be looked at by people after the tests: what a browser showed.
    pictures = Path(os.environ.get("TEST_ARTIFACTS", "test-artifacts"))
    pictures.mkdir(parents=True, exist_ok=True)
    with mail_server() as mail, hook_server() as hook:
        settings = folder / "settings.yml"
        settings.write_text(yaml.safe_dump(chosen(mail, hook)))
        port, home = free_port(), folder / "home"
        process = started("dev", "--home", home, "--port", port, "--settings", settings)
        wait_until_it_serves(process, f"http://127.0.0.1:{port}")
        ours = home_of(Settings(), home)
        yield Day(f"http://127.0.0.1:{port}", ours, find_simulator(ours.simulator).control, mail, hook, pictures)


def looked_at(page, day, path, name, *wanted):
    """Open a page of the UI, keep its picture, and return its text once it says what is wanted."""
    page.ask("Page.navigate", url=f"{day.url}{path}")
    text = page.text_with(*wanted)
    page.save_picture(day.pictures / f"{name}.png")
    assert [part for part in wanted if part not in text] == [], text
    return text


def ended(day, run_id):
    job_runs = [run for job in ("decide", "place_orders") for run in day.runs(job)]
    run = next((run for run in job_runs if run["runId"] == run_id), None)
    return run and run["status"] in ("SUCCESS", "FAILURE") and run


def test_a_feed_that_breaks_stops_the_day_and_a_feed_that_is_mended_lets_it_go_on(page, day):
    looked_at(page, day, "/asset-groups", "1-lineage", *STAGES)

    world, session = TradingWorld(Settings(), day.home), day.session
    for symbol in world.symbols[1:]:
        day.market.hide_bars(symbol, session, session)
    broken = day.launch("decide")
    run = until(lambda: ended(day, broken), "the run with a broken feed ends")

    assert run["status"] == "FAILURE"
    assert day.written("data_freshness") == {broken}
    for downstream in ("indicators", "allocation", "approved_orders"):
        assert day.written(downstream) == set()

    failed = f"Check failed: {CHECK} ({session})"
    until(lambda: day.told(failed) == (1, 1), "the failure is told by mail and webhook")
    looked_at(
        page,
        day,
        "/assets/data_freshness?view=checks&checkDetail=the_feed_is_usable",
        "2-failed-check",
        "the_feed_is_usable",
    )
    looked_at(page, day, "/locations/trading_pipeline/sensors/failed_check_alerts", "3-ticks", CHECK)
    assert [tick for tick in day.ticks("failed_check_alerts") if "1 alerts" in (tick["skipReason"] or "")]

    for symbol in world.symbols[1:]:
        day.market.mend_bars(symbol)
    mended = day.launch("decide")
    run = until(lambda: ended(day, mended), "the run with the mended feed ends")

    assert run["status"] == "SUCCESS"
    assert mended in day.written("approved_orders")
    until(lambda: day.told(f"Check passes again: {CHECK}") == (1, 1), "the recovery is told by mail and webhook")

    assert day.market.state()["orders"] == []
    day.market.set_clock(world.rules.window(next_session(session)).start)
    until(lambda: [run for run in day.runs("place_orders") if run["status"] == "SUCCESS"], "the orders were placed")

    assert day.market.state()["orders"]
    looked_at(page, day, "/runs", "4-runs", "place_orders", "decide")
    looked_at(page, day, "/assets/fills?view=overview", "5-fills", "Places the session's approved orders")
    assert day.told(failed) == (1, 1)
    assert day.told(f"Check passes again: {CHECK}") == (1, 1)
