"""The stream against the simulated Alpaca: its faults are those that were seen on the real one."""

from dataclasses import replace

import pytest

from trading_pipeline.adapters.alpaca.broker import AlpacaBroker
from trading_pipeline.adapters.alpaca.stream import OrderStream, StreamOptions, stream_url
from trading_pipeline.adapters.alpaca.stream_states import Backoff, StreamState
from trading_pipeline.adapters.alpaca.transport import Connection, Keys, trading_api
from trading_pipeline.adapters.clocks import BrokerClock, WallClock
from trading_pipeline_tests.adapters.alpaca.test_stream import eventually, is_live
from trading_pipeline_tests.simulator.conftest import MONDAY_MORNING, serving

QUICK = StreamOptions(backoff=Backoff(0.01, 0.05), grace_seconds=0.0)


class Account:
    """An account of a simulator, the adapter that trades it and streams that listen to it."""

    def __init__(self, served):
        self.served = served
        self.keys = Keys(*served.keys)
        api = trading_api(self.keys, Connection(served.url, served.url))
        self.broker = AlpacaBroker(api, BrokerClock(api))
        self.bought = 0

    def stream(self, keys=None, **options):
        return OrderStream(
            stream_url(self.served.url), keys or self.keys, None, None, WallClock(), replace(QUICK, **options)
        )

    def buy(self):
        self.bought += 1
        reply = self.served.order(qty=self.bought, client_order_id=f"tp1-{self.bought}")
        assert reply.ok, reply.text
        return f"tp1-{self.bought}"

    def told_filled(self, stream, name):
        """Wait until an order is told to be filled; the simulator's orders move on when they are looked at."""
        eventually(lambda: self.orders and stream.filled_quantity(name) == self.bought)

    @property
    def orders(self):
        return self.broker.orders(MONDAY_MORNING)


@pytest.fixture(scope="module")
def shared_account(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("simulator")) as served:
        served.control.set_clock(MONDAY_MORNING)
        yield Account(served)


@pytest.fixture
def account(shared_account):
    yield shared_account
    shared_account.served.control.stream_faults_clear()


@pytest.fixture
def fault(account):
    return account.served.control.stream_fault


def heard(stream, name):
    return [change.event for change in stream.take() if change.order.client_order_id == name]


def test_an_order_is_heard_of_from_its_beginning_to_its_execution(account):
    with account.stream() as stream:
        eventually(lambda: is_live(stream))
        stream.wait(20)
        name = account.buy()
        stream.wait(20)
        account.told_filled(stream, name)

        assert heard(stream, name)[-1] == "fill"
        assert sum(fill.quantity for fill in stream.fills if fill.order_id == name) == account.bought
        assert stream.quarantine == ()


@pytest.mark.parametrize("action", ["ws_dup_event", "ws_reorder", "ws_drop_event", "ws_garbage", "ws_unknown_event"])
def test_events_that_are_repeated_mixed_up_lost_or_garbled_leave_the_account_as_the_broker_has_it(
    account, fault, action
):
    with account.stream() as stream:
        eventually(lambda: is_live(stream))
        stream.compare(account.orders)
        fault(action, stream="trading", times=1)
        name = account.buy()
        eventually(lambda: account.orders[-1].status.is_terminal)
        stream.compare(account.orders)

        assert stream.filled_quantity(name) == account.bought
        eventually(lambda: is_live(stream))


@pytest.mark.parametrize(
    ("action", "figure"),
    [("ws_dup_event", "duplicates"), ("ws_garbage", "quarantined"), ("ws_unknown_event", "quarantined")],
)
def test_a_repeated_or_garbled_event_is_counted_and_those_after_it_are_told(account, fault, action, figure):
    with account.stream() as stream:
        eventually(lambda: is_live(stream))
        fault(action, stream="trading", times=1)
        account.told_filled(stream, account.buy())

        assert getattr(stream.snapshot().news, figure) == 1
        assert stream.snapshot().connects == 1


@pytest.mark.parametrize(
    ("action", "rule"),
    [
        ("ws_refuse", {"status": 503}),
        ("ws_refuse", {"status": 429}),
        ("ws_unauth", {}),
        ("ws_no_auth_answer", {}),
    ],
)
def test_a_stream_that_cannot_begin_is_given_up_and_lives_once_it_can(account, fault, action, rule):
    fault(action, stream="trading", **rule)
    with account.stream(authenticate_seconds=0.2, failures_before_polling=2) as stream:
        eventually(lambda: stream.snapshot().failures_in_a_row >= 2)
        account.served.control.stream_faults_clear()
        eventually(lambda: is_live(stream))


@pytest.mark.parametrize("rule", [{}, {"code": 1001}])
def test_a_dropped_connection_is_made_anew(account, fault, rule):
    with account.stream() as stream:
        eventually(lambda: is_live(stream))
        fault("ws_drop", stream="trading", times=1, **rule)

        eventually(lambda: stream.snapshot().connects == 2 and is_live(stream))
        name = account.buy()
        account.told_filled(stream, name)


def test_a_peer_that_is_deaf_to_pings_is_left(account, fault):
    with account.stream(ping_seconds=0.1, pong_seconds=0.2) as stream:
        eventually(lambda: is_live(stream))
        fault("ws_mute", stream="trading", pings=False)
        eventually(lambda: stream.snapshot().failures)


def test_a_stream_that_answers_pings_and_keeps_everything_to_itself_is_found_out_by_the_broker(account, fault):
    with account.stream() as stream:
        eventually(lambda: is_live(stream))
        stream.compare(account.orders)
        fault("ws_mute", stream="trading")
        name = account.buy()
        eventually(lambda: stream.compare(account.orders) or stream.snapshot().failures)

        assert stream.filled_quantity(name) == account.bought
        assert "ConnectionClosed" in stream.snapshot().last_failure
        account.served.control.stream_faults_clear()
        eventually(lambda: is_live(stream))


def test_wrong_keys_are_refused_and_never_repeated(account):
    with account.stream(Keys("PK-OF-ANOTHER", "NOT-THE-SECRET"), failures_before_polling=1) as stream:
        eventually(lambda: stream.state is StreamState.POLLING_ONLY)

        assert "refused the keys" in stream.snapshot().last_failure
        assert "NOT-THE-SECRET" not in repr(stream.snapshot())
