import contextlib
import sqlite3
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import requests

from trading_pipeline.domain.errors import RequestRefused
from trading_pipeline.simulator.__main__ import main
from trading_pipeline.simulator.clock import Pace
from trading_pipeline.simulator.control import SimulatorControl, find_simulator, start_simulator
from trading_pipeline.simulator.process import Options, open_simulator
from trading_pipeline.simulator.records import OrderRequest, OrderType, Side
from trading_pipeline.simulator.store import StateNotWritten, Store
from trading_pipeline_tests.waiting import PATIENCE, eventually

MORNING = datetime.fromisoformat("2026-07-27T09:35-04:00")
ORDER = OrderRequest("SPY", Side.BUY, OrderType.MARKET, Decimal(3), None, None, None)


def test_a_pace_runs_from_where_it_was_restarted():
    seconds = [100.0]
    pace = Pace(60.0, lambda: seconds[0])

    begun = pace.due(MORNING)
    seconds[0] += 2
    later = pace.due(begun)
    pace.restart(later + timedelta(hours=1))
    seconds[0] += 1

    assert (begun, later) == (MORNING, MORNING + timedelta(minutes=2))
    assert pace.due(later + timedelta(hours=1)) == later + timedelta(hours=1, minutes=1)


def test_a_clock_without_pace_stands():
    assert Pace().due(MORNING) == MORNING


@pytest.fixture
def replayed(tmp_path):
    """A broker on a clock that runs an hour a second of a time that is told."""
    store = Store(tmp_path)
    simulator = open_simulator(store, Options(state=tmp_path, start=MORNING, clock="replay", factor=3600))
    seconds = [0.0]
    simulator.venue._pace.seconds = lambda: seconds[0]
    yield simulator, seconds
    store.close()


def test_what_is_due_happens_on_the_way_of_a_clock_that_runs(replayed):
    simulator, seconds = replayed
    simulator.venue.catch_up()
    market = simulator.broker.submit(ORDER)
    simulator.broker.submit(OrderRequest("SPY", Side.BUY, OrderType.LIMIT, Decimal(1), None, Decimal(1), "rests"))
    seconds[0] = 8
    simulator.venue.catch_up()

    kinds = [(event.kind, event.order.id == market.id) for event in simulator.broker.events()]
    assert simulator.venue.clock.now() == MORNING + timedelta(hours=8)
    assert ("fill", True) in kinds
    assert kinds[-1] == ("expired", False)


def test_a_clock_that_runs_can_be_set_forward_and_goes_on_from_there(replayed):
    simulator, seconds = replayed
    simulator.venue.catch_up()
    simulator.venue.move_clock(MORNING + timedelta(hours=2))
    seconds[0] = 1
    simulator.venue.catch_up()

    assert simulator.venue.clock.now() == MORNING + timedelta(hours=3)


def test_orders_fill_on_a_clock_that_runs_though_nobody_reads_them(tmp_path, start_serving):
    with start_serving(tmp_path, start=MORNING, clock="replay", factor=1) as served:
        sent = served.order(qty="3").json()
        eventually(lambda: [event["kind"] for event in served.control.events()][-1] == "fill")

        assert served.get("/v2/clock")["is_open"]
        assert served.control.events()[-1]["order"]["id"] == sent["id"]


def test_a_wall_clock_stands_where_the_computers_does(tmp_path, start_serving):
    with start_serving(tmp_path, start=MORNING - timedelta(days=3650), clock="wall") as served:
        told = datetime.fromisoformat(served.get("/v2/clock")["timestamp"])

        assert abs(told - datetime.fromtimestamp(time.time(), UTC)) < timedelta(seconds=PATIENCE)
        eventually(lambda: datetime.fromisoformat(served.get("/v2/clock")["timestamp"]) > told)


@pytest.fixture
def both(tmp_path, start_serving):
    with start_serving(tmp_path, start=MORNING, accounts=2) as served:
        yield served, served.others[0]


def test_two_accounts_have_keys_numbers_and_books_of_their_own(both):
    first, second = both
    assert first.order(qty="5", client_order_id="same").ok
    assert second.order(qty="7", client_order_id="same").ok
    for served in both:
        served.get("/v2/positions"), served.get("/v2/positions")

    assert [served.get("/v2/positions")[0]["qty"] for served in both] == ["5", "7"]
    assert len({served.get("/v2/account")["account_number"] for served in both}) == 2
    assert len({served.get("/v2/account")["cash"] for served in both}) == 2
    assert len({served.keys for served in both}) == 2
    mine = first.get("/v2/orders", status="all")[0]["id"]
    assert second.request("GET", f"/v2/orders/{mine}").status_code == 404


def test_the_control_plane_is_about_the_account_that_is_named(both):
    first, second = both
    second.control.set_account(cash=Decimal(50))

    assert [served.control.state()["account"]["cash"] for served in both] == ["100000.00", "50.00"]
    assert first.control.health()["accounts"] == [served.get("/v2/account")["account_number"] for served in both]
    token = first.control._session.headers["X-Sim-Token"]
    with pytest.raises(RequestRefused, match="no account SIM1; there are SIM"):
        SimulatorControl(first.url, token, "SIM1").state()
    assert SimulatorControl(first.url, token).state()["account"]["number"] == first.get("/v2/account")["account_number"]


def test_accounts_live_through_the_same_sessions(both):
    for served in both:
        served.order(qty="1", type="limit", limit_price="1")
    both[0].control.move_to_next("close")

    assert [served.control.events()[-1]["kind"] for served in both] == ["expired", "expired"]


def test_faults_can_be_those_of_one_account(both):
    first, second = both
    number = second.get("/v2/account")["account_number"]
    first.control.add_fault(action="status", match={"account": number})

    assert [served.request("GET", "/v2/account").status_code for served in both] == [200, 503]


def test_each_account_has_its_own_share_of_requests(tmp_path, start_serving):
    with start_serving(tmp_path, start=MORNING, accounts=2, rate_limit=3) as first:
        second = first.others[0]
        statuses = [first.request("GET", "/v2/clock").status_code for _ in range(4)]

        assert statuses == [200, 200, 200, 429]
        assert second.request("GET", "/v2/clock").status_code == 200


def test_a_restart_keeps_both_accounts(tmp_path, start_serving):
    told = []
    for count in (2, 2, 1):
        with start_serving(tmp_path, start=MORNING, accounts=count) as first:
            if not told:
                first.others[0].control.set_account(cash=Decimal(77))
            served = (first, *first.others)
            told.append([(one.keys, one.control.state()) for one in served])

    assert told[0] == told[1]
    assert told[2] == told[0][:1]


def test_a_started_simulator_tells_its_accounts(tmp_path):
    running = start_simulator(tmp_path, start=MORNING, accounts=2, watch_parent=True)
    try:
        found = find_simulator(tmp_path)
        numbers = [account["account_number"] for account in found.accounts]

        assert numbers == found.control.health()["accounts"]
        assert found.accounts[0]["key_id"] == found.key_id
        assert found.control_of(numbers[1]).state()["account"]["number"] == numbers[1]
        assert found.accounts[1]["secret_key"] not in repr(found)
    finally:
        running.stop()


def test_a_killed_simulator_goes_on_where_it_was(tmp_path):
    first = start_simulator(tmp_path, start=MORNING, watch_parent=True)
    keys = {"APCA-API-KEY-ID": first.key_id, "APCA-API-SECRET-KEY": first.secret_key}
    order = {"symbol": "SPY", "qty": "2", "side": "buy", "type": "market", "time_in_force": "day"}
    with requests.Session() as session:
        session.trust_env = False
        assert session.post(f"{first.url}/v2/orders", json=order, headers=keys, timeout=PATIENCE).ok
    first.control.step()
    before = first.control.state(), first.control.events()
    first.process.kill()
    first.process.wait(PATIENCE)

    second = start_simulator(tmp_path, start=MORNING, watch_parent=True)
    try:
        assert (second.control.state(), second.control.events()) == before
        assert second.key_id == first.key_id
    finally:
        second.stop()


@pytest.mark.parametrize("wrong", [("--accounts", "0"), ("--factor", "0"), ("--clock", "odd")])
def test_an_option_that_cannot_be_is_refused(tmp_path, capsys, wrong):
    with pytest.raises(SystemExit) as ended:
        main(["--state", str(tmp_path), "--start", MORNING.isoformat(), *wrong])

    assert ended.value.code == 2
    assert wrong[0] in capsys.readouterr().err


def test_a_full_disk_is_an_error_of_the_server_that_leaves_nothing_half_done(trading_day):
    kept = trading_day.order(qty="1", client_order_id="before").json()
    before = trading_day.control.state()
    trading_day.control.fill_disk()

    refused = trading_day.order(qty="1", client_order_id="during")
    reading = trading_day.request("GET", "/v2/account")
    during = trading_day.control.state()
    trading_day.control.fill_disk(full=False)
    again = trading_day.order(qty="1", client_order_id="during")

    assert (refused.status_code, refused.json()["code"], reading.status_code) == (500, 50010000, 500)
    assert during == before
    assert again.ok
    assert trading_day.get(f"/v2/orders/{kept['id']}")["status"] == "new"
    assert [event["sequence"] for event in trading_day.control.events()] == [1, 2, 3]


def test_a_clock_that_runs_outlives_a_full_disk(tmp_path, start_serving):
    with start_serving(tmp_path, start=MORNING, clock="replay", factor=10) as served:
        served.control.fill_disk()
        before = served.control.now()
        eventually(lambda: served.control.now() == before)
        served.control.fill_disk(full=False)

        eventually(lambda: served.control.now() > before)


def test_a_change_that_was_not_kept_is_forgotten_and_nobody_is_told(tmp_path):
    store = Store(tmp_path)
    broker = open_simulator(store, Options(state=tmp_path, start=MORNING)).broker
    heard = []
    stop = broker.listen(heard.append)
    first = broker.submit(ORDER)
    before = broker.state()
    with contextlib.suppress(KeyError), store.transaction():
        broker.submit(ORDER)
        broker.account()
        raise KeyError
    store.refuse_writing(refused=True)
    with pytest.raises(StateNotWritten, match="cannot be written"):
        broker.submit(ORDER)
    store.refuse_writing(refused=False)

    assert broker.state() == before
    assert [event.order for event in heard] == [first]
    assert heard == broker.events()
    stop()
    broker.submit(ORDER)
    assert len(heard) == 1
    store.close()


def test_a_state_of_an_earlier_version_is_said_in_one_line(tmp_path, capsys):
    with sqlite3.connect(tmp_path / "simulator.db") as connection:
        connection.execute("CREATE TABLE orders (sequence INTEGER PRIMARY KEY)")
    connection.close()

    assert main(["--state", str(tmp_path), "--start", MORNING.isoformat()]) == 2
    assert "another version" in capsys.readouterr().err
