import json
import os
import socket
import stat
import subprocess
import sys
import threading
from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest

from trading_pipeline.domain.errors import DependencyUnavailable, InvalidInput, RequestRefused
from trading_pipeline.simulator.__main__ import main
from trading_pipeline.simulator.control import SimulatorControl, find_simulator, start_simulator

START = datetime.fromisoformat("2026-07-24T16:30-04:00")
MORNING = datetime.fromisoformat("2026-07-27T10:00-04:00")


def test_a_started_simulator_is_found_steered_and_stopped(tmp_path):
    started = start_simulator(tmp_path, start=START, cash=Decimal(5000), watch_parent=True)
    try:
        advertised = tmp_path / "simulator.json"
        found = find_simulator(tmp_path)
        health = found.control.health()

        assert stat.S_IMODE(advertised.stat().st_mode) == 0o600
        assert (found.url, found.pid, found.key_id) == (started.url, started.pid, started.key_id)
        assert (health["market"], health["seed"], health["pid"]) == ("generated", 7, started.pid)
        assert health["account_number"].startswith("SIM")
        assert found.control.now() == START
        assert found.control.state()["account"]["cash"] == "5000.00"
        assert started.secret_key not in repr(started)
        with pytest.raises(InvalidInput, match="another simulator holds the state folder"):
            start_simulator(tmp_path, start=START)
    finally:
        started.stop()

    assert started.process.returncode == 0
    assert find_simulator(tmp_path) is None
    assert not advertised.exists()


def test_a_found_simulator_can_be_stopped_by_whoever_found_it(tmp_path):
    started = start_simulator(tmp_path, start=START, watch_parent=True)

    find_simulator(tmp_path).stop()

    assert started.process.wait(60) == 0
    assert find_simulator(tmp_path) is None


def test_a_restart_continues_the_account_its_orders_its_clock_and_its_keys(tmp_path, start_serving):
    with start_serving(tmp_path) as first:
        first.control.set_clock(MORNING)
        first.order(qty="3", client_order_id="kept")
        first.get("/v2/account"), first.get("/v2/account")
        first.order(qty="1", type="limit", limit_price="1", client_order_id="open")
        before = first.control.state()
    with start_serving(tmp_path, cash=Decimal(1), start=START - timedelta(days=30)) as second:
        after = second.control.state()
        again = second.order(qty="3", client_order_id="kept")

    assert after == before
    assert second.keys == first.keys
    assert again.json()["message"] == "client_order_id must be unique"


def test_a_state_of_another_market_is_not_continued(tmp_path, start_serving):
    with start_serving(tmp_path):
        pass
    with (
        pytest.raises(InvalidInput, match="holds an account of the market generated, seed 7"),
        start_serving(tmp_path, seed=8),
    ):
        pass


def test_a_stale_advertisement_finds_nothing(tmp_path):
    assert find_simulator(tmp_path) is None
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    told = {"url": f"http://127.0.0.1:{port}", "port": port, "pid": os.getpid(), "key_id": "k", "secret_key": "s"}
    told |= {"control_token": "t", "market": "generated", "seed": 7, "started": "2026-07-24"}
    (tmp_path / "simulator.json").write_text(json.dumps(told))

    assert find_simulator(tmp_path) is None


def test_the_clock_goes_forward_only(simulator):
    control = simulator.control
    assert control.advance(timedelta(hours=1)) == START + timedelta(hours=1)

    with pytest.raises(RequestRefused, match="cannot go back") as refused:
        control.set_clock(START)

    assert refused.value.code == "409"
    assert control.now() == START + timedelta(hours=1)


@pytest.mark.parametrize(
    "body",
    [{}, {"now": "soon"}, {"now": "2026-07-27T10:00"}, {"now": "2040-12-30T10:00-05:00"}, {"advance_seconds": "x"}],
)
def test_a_clock_order_that_cannot_be_read_is_refused(quiet_day, body):
    token = {"X-Sim-Token": quiet_day.control._session.headers["X-Sim-Token"]}

    assert quiet_day.request("POST", "/_sim/clock", json=body, headers=token).status_code == 400


def test_a_past_session_cannot_be_halted_any_more(quiet_day):
    with pytest.raises(RequestRefused, match="has closed already"):
        quiet_day.control.halt("SPY", date(2026, 7, 24))
    with pytest.raises(RequestRefused, match="is not a session"):
        quiet_day.control.halt("SPY", date(2026, 7, 26))


def test_the_control_plane_needs_its_token_but_health_does_not(quiet_day):
    with pytest.raises(RequestRefused, match="X-Sim-Token"):
        SimulatorControl(quiet_day.url, "wrong").state()

    assert SimulatorControl(quiet_day.url, "").health()["account_number"].startswith("SIM")
    assert quiet_day.request("GET", "/_sim/clock").status_code == 401


def test_requests_are_counted_by_method_and_path(simulator):
    simulator.get("/v2/account"), simulator.get("/v2/account")
    simulator.order(qty="1")

    assert simulator.control.requests() == {"GET /v2/account": 2, "POST /v2/orders": 1}


def test_a_simulator_that_is_not_there_is_a_dependency_that_is_unavailable():
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]

    with pytest.raises(DependencyUnavailable, match="no usable answer"):
        SimulatorControl(f"http://127.0.0.1:{port}", "t").now()


def test_it_ends_when_the_process_that_started_it_ends(tmp_path):
    program = (
        "import sys; from pathlib import Path; from datetime import datetime\n"
        "from trading_pipeline.simulator.control import start_simulator\n"
        "start = datetime.fromisoformat('2026-07-24T16:30-04:00')\n"
        "print(start_simulator(Path(sys.argv[1]), start=start, watch_parent=True).pid)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=180, check=True
    )

    assert int(done.stdout) > 0
    gone = threading.Event()
    for _ in range(200):
        if not (tmp_path / "simulator.json").exists():
            break
        gone.wait(0.05)
    assert find_simulator(tmp_path) is None


def refused(capsys, *arguments):
    code = main(["--start", START.isoformat(), *arguments])
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return code, said.err


def test_a_port_in_use_is_said_in_one_line(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, said = refused(capsys, "--state", str(tmp_path), "--port", port)

    assert code == 2
    assert f"port {port} of 127.0.0.1 cannot be used" in said


def test_a_state_folder_that_cannot_be_written_is_said_in_one_line(tmp_path, capsys):
    (tmp_path / "file").touch()

    code, said = refused(capsys, "--state", str(tmp_path / "file" / "state"))

    assert code == 2
    assert "the state folder" in said
    with pytest.raises(InvalidInput, match="cannot be used"):
        start_simulator(tmp_path / "file" / "state", start=START)


def test_a_clock_before_the_market_is_said_in_one_line(tmp_path, capsys):
    code, said = refused(capsys, "--state", str(tmp_path), "--start", "2014-01-06T10:00-05:00")

    assert code == 2
    assert "the clock can start from" in said


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.csv", None, "does not exist"),
        ("bars.txt", "", "must be a .parquet or .csv file"),
        ("bars.parquet", "not parquet", "cannot be read"),
        ("bars.csv", "", "cannot be read"),
        ("bars.csv", "symbol,date,close\nA,2026-07-24,1\n", "lacks open, high, low, volume"),
        ("bars.csv", "symbol,date,open,high,low,close,volume\n", "has no rows"),
        ("bars.csv", "symbol,date,open,high,low,close,volume\nA,2026-07-24,1,1,1,one,1\n", "needs numbers in close"),
        ("bars.csv", "symbol,date,open,high,low,close,volume\nA,2026-07-24,1,1,1,-1,1\n", "not positive"),
        ("bars.csv", "symbol,date,open,high,low,close,volume\nA,2026-07-25,1,1,1,1,1\n", "exchange was shut"),
        ("bars.csv", "symbol,date,open,high,low,close,volume\nA,soon,1,1,1,1,1\n", "needs dates"),
        ("bars.csv", "symbol,date,open,high,low,close,volume\n" + "A,2026-07-24,1,1,1,1,1\n" * 2, "A twice on"),
    ],
)  # fmt: skip
def test_bars_that_cannot_be_used_are_said_in_one_line(tmp_path, capsys, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_text(content)

    code, said = refused(capsys, "--state", str(tmp_path / "state"), "--bars", str(path))

    assert code == 2
    assert message in said


@pytest.mark.parametrize(
    "wrong", [("--start", "noon"), ("--start", "2026-07-24T10:00"), ("--cash", "much"), ("--cash", "-1")]
)
def test_an_option_that_cannot_be_read_ends_with_code_2(tmp_path, capsys, wrong):
    with pytest.raises(SystemExit) as ended:
        main(["--state", str(tmp_path), "--start", START.isoformat(), *wrong])

    assert ended.value.code == 2
    assert wrong[1] in capsys.readouterr().err
