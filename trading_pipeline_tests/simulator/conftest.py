import contextlib
import socket
import threading
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import pytest
import requests
import uvicorn
from alpaca.data.historical import StockHistoricalDataClient
from alpaca.trading.client import TradingClient

from trading_pipeline.simulator.control import SimulatorControl
from trading_pipeline.simulator.process import Options, open_simulator, server_config
from trading_pipeline.simulator.store import Store

FRIDAY_EVENING = datetime.fromisoformat("2026-07-24T16:30-04:00")
MONDAY_MORNING = datetime.fromisoformat("2026-07-27T09:35-04:00")


@dataclass(frozen=True)
class Served:
    """A simulator that serves inside this process, and the real clients of it."""

    url: str
    keys: tuple[str, str]
    control: SimulatorControl
    others: tuple["Served", ...] = ()

    @property
    def trading(self) -> TradingClient:
        client = TradingClient(*self.keys, paper=True, url_override=self.url)
        client._session.trust_env = False
        return client

    @property
    def data(self) -> StockHistoricalDataClient:
        client = StockHistoricalDataClient(*self.keys, url_override=self.url)
        client._session.trust_env = False
        return client

    def request(self, method: str, path: str, **extra) -> requests.Response:
        headers = {"APCA-API-KEY-ID": self.keys[0], "APCA-API-SECRET-KEY": self.keys[1]}
        with requests.Session() as session:
            session.trust_env = False
            return session.request(method, self.url + path, **{"headers": headers, "timeout": 30, **extra})

    def get(self, path: str, **query):
        reply = self.request("GET", path, params=query)
        assert reply.ok, reply.text
        return reply.json()

    def order(self, **body) -> requests.Response:
        usual = {"symbol": "SPY", "side": "buy", "type": "market", "time_in_force": "day"}
        return self.request("POST", "/v2/orders", json={**usual, **body})


def _served(url, account):
    credentials = account.credentials
    control = SimulatorControl(url, credentials.control_token, account.broker.account_number)
    return Served(url, (credentials.key_id, credentials.secret_key), control)


@contextlib.contextmanager
def serving(state: Path, **options):
    store = Store(state)
    simulator = open_simulator(store, Options(state=state, **{"start": FRIDAY_EVENING, **options}))
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(server_config(simulator))
    ready = threading.Event()
    startup = server.startup

    async def started(sockets=None):
        await startup(sockets)
        ready.set()

    server.startup = started
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    assert ready.wait(120)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    accounts = tuple(_served(url, account) for account in simulator.accounts)
    try:
        yield replace(accounts[0], others=accounts[1:])
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()
        store.close()


@pytest.fixture
def simulator(tmp_path):
    """A fresh account on Friday evening, 24 July 2026, on the generated market."""
    with serving(tmp_path) as served:
        yield served


@pytest.fixture
def trading_day(simulator):
    """The same on Monday morning, five minutes after the open."""
    simulator.control.set_clock(MONDAY_MORNING)
    return simulator


@pytest.fixture(scope="session")
def quiet_day(tmp_path_factory):
    """Monday morning for tests that leave everything as it is: shared by all of them."""
    with serving(tmp_path_factory.mktemp("quiet day")) as served:
        served.control.set_clock(MONDAY_MORNING)
        yield served


@pytest.fixture(scope="session")
def start_serving():
    """Serve a state folder with options of one's own."""
    return serving


@pytest.fixture(scope="session")
def samples():
    folder = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "alpaca" / "samples"
    if not folder.is_dir():
        pytest.skip("../shared is not here: the recorded replies of the real API are needed")
    return folder
