from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count

import pytest

from trading_pipeline.adapters.alpaca.broker import AlpacaBroker
from trading_pipeline.adapters.alpaca.market_data import AlpacaMarketData
from trading_pipeline.adapters.alpaca.transport import Connection, Keys, data_api, trading_api
from trading_pipeline.adapters.clocks import BrokerClock
from trading_pipeline.application import books
from trading_pipeline.application.reconciliation import observed
from trading_pipeline.domain.errors import Unauthorized
from trading_pipeline.domain.orders import Accepted, OrderStatus, Rejected, Side
from trading_pipeline.domain.sessions import sessions_between
from trading_pipeline.simulator.control import start_simulator

OPEN = datetime(2026, 7, 30, 14, 0, tzinfo=UTC)
WEDNESDAY, THURSDAY = date(2026, 7, 29), date(2026, 7, 30)
MANY = ("QQQ", "IEF", "BND", "BIL", "GLD", "TQQQ", "SQQQ", "UVXY", "TECL")
SUBMIT = "POST /v2/orders"


@pytest.fixture(scope="module")
def simulator(tmp_path_factory):
    running = start_simulator(tmp_path_factory.mktemp("simulator"), start=OPEN, seed=7, watch_parent=True)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def control(simulator):
    return simulator.control


@pytest.fixture(scope="module")
def connected(simulator):
    return Keys(simulator.key_id, simulator.secret_key), Connection(simulator.url, simulator.url)


@pytest.fixture(scope="module")
def broker(connected):
    trading = trading_api(*connected)
    return AlpacaBroker(trading, BrokerClock(trading))


@pytest.fixture(scope="module")
def market(connected):
    return AlpacaMarketData(data_api(*connected), BrokerClock(trading_api(*connected)))


@pytest.fixture(scope="module")
def plan_ids():
    return (f"contract/{number}" for number in count(1))


@pytest.fixture
def intent(make_intent, plan_ids):
    """Return an intent with an id of its own, far from the market unless a limit is given."""

    def make(symbol="SPY", side=Side.BUY, quantity="2", limit="1.00"):
        return make_intent(symbol, side, quantity, limit, plan_id=next(plan_ids))

    return make


def filled(broker, control, intent):
    """Submit and let time pass until the order is over."""
    result = broker.submit(intent)
    assert isinstance(result, Accepted)
    control.advance(timedelta(minutes=1))
    order = broker.order(intent.client_order_id)
    assert order.status is OrderStatus.FILLED
    return order


def test_the_clock_is_the_simulations(broker, control, connected):
    assert BrokerClock(trading_api(*connected)).now() == control.now()


def test_a_new_account_holds_cash_and_may_trade(broker):
    portfolio = broker.portfolio()

    assert portfolio.account_number.startswith("SIM")
    assert portfolio.cash > 0
    assert portfolio.blocked == ""
    assert portfolio.as_of.date() == THURSDAY


def test_an_order_that_was_accepted_is_found_under_its_id(broker, intent):
    wanted = intent(quantity="3")

    result = broker.submit(wanted)

    assert isinstance(result, Accepted)
    found = broker.order(wanted.client_order_id)
    assert found.venue_order_id == result.order.venue_order_id
    assert (found.symbol, found.side, found.quantity, found.limit_price) == ("SPY", Side.BUY, 3, Decimal("1.00"))
    assert not found.status.is_terminal


def test_an_id_that_was_never_sent_finds_nothing(broker):
    assert broker.order("tp1-never") is None


def test_sending_an_order_again_finds_the_first_and_makes_no_second(broker, control, intent):
    wanted = intent()
    first = broker.submit(wanted)
    posts = control.requests()[SUBMIT]

    second = broker.submit(replace(wanted, quantity=Decimal(99)))

    assert isinstance(second, Accepted)
    assert second.order.venue_order_id == first.order.venue_order_id
    assert second.order.quantity == wanted.quantity
    assert control.requests()[SUBMIT] == posts + 1


def test_an_order_that_has_ended_is_found_again_too(broker, control, intent):
    wanted = intent(limit=None, quantity="1")
    filled(broker, control, wanted)

    again = broker.submit(wanted)

    assert isinstance(again, Accepted)
    assert again.order.status is OrderStatus.FILLED


@pytest.mark.parametrize(
    "changes",
    [
        {"quantity": "1000000000", "limit": None},
        {"limit": "100.123"},
        {"symbol": "NOSUCHSYMBOL"},
        {"side": Side.SELL, "symbol": "GLD", "quantity": "0.5", "limit": None},
    ],
    ids=["more than the account can pay", "a fraction of a cent", "an unknown symbol", "a fraction that is not held"],
)
def test_an_order_that_cannot_be_is_rejected_with_alpacas_code(broker, intent, changes):
    wanted = intent(**changes)

    result = broker.submit(wanted)

    assert isinstance(result, Rejected)
    assert result.code.isdigit()
    assert result.reason
    assert broker.order(wanted.client_order_id) is None


def test_a_fill_moves_cash_and_position_by_what_was_executed(broker, control, intent):
    before, started = broker.portfolio(), control.now()
    wanted = intent("QQQ", quantity="1.234567891", limit=None)

    order = filled(broker, control, wanted)

    fills = [fill for fill in broker.executions(started) if fill.client_order_id == wanted.client_order_id]
    assert sum(fill.quantity for fill in fills) == order.filled_quantity == wanted.quantity
    after = broker.portfolio()
    assert after.quantity("QQQ") - before.quantity("QQQ") == wanted.quantity
    paid = sum(fill.quantity * fill.price for fill in fills)
    assert abs(before.cash - after.cash - paid) <= Decimal("0.01") * len(fills)
    assert all(fill.filled_at >= started for fill in fills)


def test_what_was_bought_can_be_sold_to_the_last_fraction(broker, control, intent):
    filled(broker, control, intent("IEF", quantity="0.123456789", limit=None))
    held = broker.portfolio().quantity("IEF")

    filled(broker, control, intent("IEF", Side.SELL, str(held), limit=None))

    assert "IEF" not in broker.portfolio().positions


def test_executions_start_with_the_instant_that_is_asked_for(broker, control, intent):
    filled(broker, control, intent("BND", quantity="1", limit=None))
    control.advance(timedelta(minutes=5))
    later = control.now()
    filled(broker, control, intent("BND", quantity="2", limit=None))

    assert [fill.quantity for fill in broker.executions(later) if fill.symbol == "BND"] == [2]
    everything = broker.executions(OPEN)
    assert [fill.quantity for fill in everything if fill.symbol == "BND"] == [1, 2]
    assert [fill.filled_at for fill in everything] == sorted(fill.filled_at for fill in everything)


def test_more_executions_than_a_page_holds_come_whole(broker, control, intent):
    since = control.now()
    wanted = [intent("BIL", quantity="0.1", limit=None) for _ in range(120)]
    for order in wanted:
        assert isinstance(broker.submit(order), Accepted)
    control.advance(timedelta(minutes=2))

    fills = [fill for fill in broker.executions(since) if fill.symbol == "BIL"]

    assert {fill.client_order_id for fill in fills} == {order.client_order_id for order in wanted}
    assert sum(fill.quantity for fill in fills) == Decimal(12)


def test_a_cancelled_order_ends_and_may_be_cancelled_again(broker, control, intent):
    wanted = intent()
    order = broker.submit(wanted).order
    control.advance(timedelta(seconds=30))

    broker.cancel(order.venue_order_id)
    control.advance(timedelta(seconds=30))
    broker.cancel(order.venue_order_id)

    assert broker.order(wanted.client_order_id).status is OrderStatus.CANCELED


def test_assets_say_what_may_be_done_whether_few_or_many_are_asked_for(broker):
    few = broker.assets(["SPY", "TLT", "NOSUCHSYMBOL"])
    many = broker.assets(["SPY", "TLT", "NOSUCHSYMBOL", *MANY])

    assert set(few) == {"SPY", "TLT"}
    assert len(many) == 11
    assert all(many[symbol] == known for symbol, known in few.items())
    assert few["SPY"].tradable


def test_bars_end_with_the_last_completed_session(market):
    frame = market.daily_bars(["SPY", "TLT", "NOSUCHSYMBOL"], date(2026, 7, 1), date(2026, 12, 31))

    expected = list(sessions_between(date(2026, 7, 1), WEDNESDAY))
    assert set(frame["symbol"]) == {"SPY", "TLT"}
    for _, of_symbol in frame.groupby("symbol"):
        assert of_symbol["session"].tolist() == expected
    assert (frame[["low", "open", "close"]].max(axis=1) <= frame["high"]).all()


def test_bars_beyond_a_page_come_whole_over_concurrent_chains(market):
    first, symbols = date(2017, 1, 1), ["SPY", "TLT", "GLD", "IEF", "BND"]

    frame = market.daily_bars(symbols, first, WEDNESDAY)

    sessions = sessions_between(first, WEDNESDAY)
    assert len(frame) == len(symbols) * len(sessions) > 10_000
    assert not frame.duplicated(["symbol", "session"]).any()


def test_quotes_surround_a_price(market):
    quotes = market.quotes(["SPY", "TLT", "NOSUCHSYMBOL"])

    assert set(quotes) == {"SPY", "TLT"}
    assert all(0 < quote.bid <= quote.mid <= quote.ask for quote in quotes.values())


def test_wrong_keys_are_refused_and_not_tried_again(simulator, control):
    trading = trading_api(Keys("WRONG", "keys"), Connection(simulator.url, simulator.url))
    before = control.requests()["GET /v2/account"]

    with pytest.raises(Unauthorized):
        trading.get("/account")

    assert control.requests()["GET /v2/account"] == before + 1


def test_dividends_and_fees_explain_what_cash_changed_beside_trades(broker, control, connected, intent):
    before = broker.portfolio()
    filled(broker, control, intent(limit=None, quantity="1"))
    control.move_cash("DIV", Decimal("12.34"), "SPY")
    control.move_cash("FEE", Decimal("-0.02"))

    seen = observed(broker, BrokerClock(trading_api(*connected)), before.as_of, broker)
    found = books.reconcile(books.Ours(before, seen.executions, ()), seen)

    [cash] = [item for item in found.items if item.kind is books.Kind.CASH]
    assert cash.status is books.Status.EQUAL
    assert cash.explanation == f"{THURSDAY} DIV SPY +12.34; {THURSDAY} FEE -0.02"
    assert broker.cash_movements(before.as_of + timedelta(days=1)) == []
