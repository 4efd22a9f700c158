"""``run`` as a person uses it: real processes, the real simulator, a folder of its own."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
from datetime import date

import pytest

from trading_pipeline.adapters.storage.tables import DeltaTables

THROUGH = "2026-07-31"
DECIDED_ON = date(2026, 7, 30)
TABLES = ("bars", "indicators", "nuclear_signal", "tecl_signal", "allocation", "order_plan", "approved_orders", "fills")
SHORT = ("--through", THROUGH, "--sessions", "1")


def world_of(home):
    [folder] = home.glob("simulated-*")
    return folder


def orders_at_the_broker(home):
    question = "SELECT client_order_id, body ->> '$.symbol', body ->> '$.side' FROM orders"
    return rows(world_of(home) / "simulator" / "simulator.db", question)


def intents(home):
    return rows(world_of(home) / "journal.sqlite", "SELECT client_order_id FROM intents")


def rows(database, query):
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        return connection.execute(query).fetchall()


def versions(home):
    tables = DeltaTables(str(world_of(home) / "tables"))
    return {name: tables.version(name) for name in TABLES}


def fills(home):
    return DeltaTables(str(world_of(home) / "tables")).read("fills")


def wait_for(process, happened):
    while process.poll() is None:
        if happened():
            return True
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
    return happened()


def test_the_line_runs_from_bars_to_fills_and_shows_what_happened(finished):
    home, said = finished

    assert {"buy", "sell"} <= set(fills(home)["side"])
    for word in ("synthetic", "2026-07-30", THROUGH, "nuclear:", "tecl:", "bought", "sold", "trading-pipeline dev"):
        assert word in said.stdout
    assert "Warning" not in said.stderr


def test_every_order_can_be_followed_through_the_log(finished):
    home, said = finished
    events = [json.loads(text) for text in said.stderr.splitlines() if text.startswith("{")]

    told = {}
    for event in events:
        if "correlation_id" in event:
            told.setdefault(event["correlation_id"], []).append(event["event"])
            assert {"timestamp", "level", "plan_id", "session", "run_id"} <= event.keys()
    assert told.keys() == {name for (name,) in intents(home)}
    assert all(words[0] == "order_planned" and words[-1] == "order_filled" for words in told.values())


def test_a_second_run_trades_nothing_writes_nothing_and_shows_the_same(finished, done):
    home, first = finished
    before = versions(home), orders_at_the_broker(home)

    second = done("run", "--home", home, "--through", THROUGH, "--sessions", "2")

    assert second.returncode == 0, second.stderr
    assert second.stdout == first.stdout
    assert (versions(home), orders_at_the_broker(home)) == before


@pytest.mark.unmeasured
def test_time_does_not_run_backwards(finished, done):
    home, _ = finished

    said = done("run", "--home", home, "--through", "2026-07-01", "--sessions", "1")

    assert said.returncode == 1
    assert "time does not run backwards" in said.stderr
    assert "--home" in said.stderr


def test_wrong_keys_are_said_to_be_wrong(finished, started, done):
    home, _ = finished
    dev = started("dev", "--home", home, "--port", free_port())
    advertised = world_of(home) / "simulator" / "simulator.json"
    assert wait_for(dev, advertised.exists), dev.said().stderr
    known = json.loads(advertised.read_text())
    advertised.write_text(json.dumps({**known, "secret_key": "not-the-key"}))

    said = done("run", "--home", home, "--through", THROUGH)
    os.killpg(dev.pid, signal.SIGTERM)
    dev.wait(60)

    assert said.returncode == 1
    assert "401" in said.stderr
    assert "keys" in said.stderr
    assert "not-the-key" not in said.stderr


@pytest.mark.unmeasured
def test_two_runs_at_once_end_with_one_set_of_orders(started, tmp_path):
    both = [started("run", "--home", tmp_path, *SHORT) for _ in range(2)]

    said = [process.finished(240) for process in both]

    assert [one.returncode for one in said] == [0, 0], said
    assert said[0].stdout == said[1].stdout
    assert any("waiting for process" in one.stderr for one in said)
    placed = orders_at_the_broker(tmp_path)
    assert {order[0] for order in placed} == {intent[0] for intent in intents(tmp_path)}
    assert len({(symbol, side) for _, symbol, side in placed}) == len(placed)


@pytest.mark.unmeasured
@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(
            lambda home: any(home.glob("simulated-*/objects/plans/*/*/*.json")),
            id="the plan is stored",
            marks=pytest.mark.full,
        ),
        pytest.param(lambda home: bool(journalled(home, "submitting")), id="the first order leaves"),
        pytest.param(
            lambda home: bool(journalled(home, "filled")), id="the first order is filled", marks=pytest.mark.full
        ),
    ],
)
def test_a_run_that_is_killed_is_finished_by_the_next(started, done, tmp_path, moment):
    first = started("run", "--home", tmp_path, *SHORT)
    assert wait_for(first, lambda: moment(tmp_path))
    first.kill()
    first.wait()

    second = done("run", "--home", tmp_path, *SHORT)

    assert second.returncode == 0, second.stderr
    placed = [order[0] for order in orders_at_the_broker(tmp_path)]
    assert sorted(placed) == sorted(intent[0] for intent in intents(tmp_path))
    assert len(fills(tmp_path)) == len(placed)
    assert set(fills(tmp_path)["session"]) == {DECIDED_ON}


@pytest.mark.unmeasured
@pytest.mark.parametrize(
    ("number", "moment", "too_late"),
    [
        # While the session is decided, and while its orders are placed, when signals are taken by somebody else.
        (signal.SIGINT, "2026-07-29: bars written", "2026-07-30: deciding"),
        (signal.SIGTERM, "2026-07-30: placing the orders of", "2026-07-31: placing the orders of"),
    ],
)
def test_a_run_that_is_asked_to_end_stops_and_the_next_goes_on_with_that_session(
    started, done, tmp_path, number, moment, too_late
):
    two = ("run", "--home", tmp_path, "--through", THROUGH, "--sessions", "2")
    # In the background of a shell Ctrl-C is ignored, and SIGTERM must not be.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN if number == signal.SIGTERM else signal.default_int_handler)
    try:
        first = started(*two)
    finally:
        signal.signal(signal.SIGINT, before)
    assert wait_for(first, lambda: moment in first.said().stderr)
    # As a terminal does it: everybody in the foreground is told.
    os.killpg(first.pid, number)
    stopped = first.finished()

    assert stopped.returncode == 130, stopped.stderr
    assert "goes on where this one ended" in stopped.stderr
    assert too_late not in stopped.stderr
    assert stopped.stdout == ""
    second = done(*two)
    assert second.returncode == 0, second.stderr
    assert set(fills(tmp_path)["session"]) == {date(2026, 7, 29), DECIDED_ON}


def journalled(home, state):
    try:
        [journal] = home.glob("simulated-*/journal.sqlite")
        return rows(journal, f"SELECT 1 FROM events WHERE state = '{state}'")  # noqa: S608 - a state of ours
    except (ValueError, sqlite3.Error):
        return []


@pytest.mark.unmeasured
def test_the_same_line_runs_on_real_bars(shared_folder, done, tmp_path):
    said = done("run", "--home", tmp_path, "--bars", shared_folder / "data" / "bars.parquet", *SHORT)

    assert said.returncode == 0, said.stderr
    assert len(fills(tmp_path))
    assert "unavailable" not in said.stdout
    assert "synthetic" not in said.stdout


@pytest.mark.unmeasured
def test_an_unavailable_strategy_says_which_symbol_and_indicator_was_missing(shared_folder, done, tmp_path):
    bars = shared_folder / "data" / "bars.parquet"

    said = done("run", "--home", tmp_path, "--bars", bars, "--through", "2019-06-28", "--sessions", "1")

    assert said.returncode == 0, said.stderr
    assert "tecl: unavailable, rsi(KMLM,10)" in said.stdout
    assert "nuclear: unavailable" not in said.stdout


def free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
