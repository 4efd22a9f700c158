import os
from datetime import datetime

import pytest

from trading_pipeline.adapters.alpaca.transport import Connection, Keys
from trading_pipeline_tests.conformance.account import Account
from trading_pipeline_tests.simulator.conftest import serving

MONDAY_MORNING = datetime.fromisoformat("2026-07-27T09:35-04:00")
SWITCH = "TRADING_PIPELINE_CONFORMANCE"


def simulated(served):
    stream = served.url.replace("http", "ws") + "/stream"
    return Account(Keys(*served.keys), Connection(served.url, served.url), stream, pause=0.01)


@pytest.fixture(scope="session")
def open_account(tmp_path_factory):
    """A simulated account on Monday morning."""
    with serving(tmp_path_factory.mktemp("open"), start=MONDAY_MORNING) as served:
        yield simulated(served)


@pytest.fixture(scope="session")
def closed_account(tmp_path_factory):
    """A simulated account on Friday evening."""
    with serving(tmp_path_factory.mktemp("closed")) as served:
        yield simulated(served)


@pytest.fixture(scope="session")
def paper_account():
    keys = os.environ.get("APCA_API_KEY_ID", ""), os.environ.get("APCA_API_SECRET_KEY", "")
    if not all(keys):
        pytest.skip("the cards are played on paper with APCA_API_KEY_ID and APCA_API_SECRET_KEY in the environment")
    return Account(Keys(*keys), Connection(), None, pause=0.5)


@pytest.fixture(params=["open", "closed", *(["paper"] if os.environ.get(SWITCH) == "paper" else [])])
def account(request):
    """The account at which a card is played; afterwards nothing of the card is left there."""
    played: Account = request.getfixturevalue(f"{request.param}_account")
    played.sent.clear()
    yield played
    played.clean_up()


@pytest.fixture
def open_market(account):
    if not account.is_open:
        pytest.skip("the market is closed: nothing can be filled")
