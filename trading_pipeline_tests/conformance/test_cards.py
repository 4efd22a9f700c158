"""What the pipeline relies on at Alpaca, card by card.

Each card is played on the simulator always, and at an Alpaca paper account with
``TRADING_PIPELINE_CONFORMANCE=paper`` and its keys in the environment: a card
that holds on one and not on the other is a fault of the simulator. On paper the
cards buy a share at most, cancel what rests and sell what they bought.
"""

from datetime import timedelta
from decimal import Decimal

import pytest
from alpaca.common.exceptions import APIError
from alpaca.trading.enums import OrderSide, QueryOrderStatus, TimeInForce
from alpaca.trading.requests import GetCalendarRequest, GetOrdersRequest, LimitOrderRequest

from trading_pipeline.domain.orders import Accepted, OrderStatus, Refusal, Rejected, Side
from trading_pipeline_tests.conformance.account import SYMBOL

UNKNOWN_SYMBOL = "ZZZZZ"
WORKING = (OrderStatus.NEW, OrderStatus.ACCEPTED)


def test_tc01_a_marketable_limit_buy_is_filled_and_moves_cash_and_shares(account, open_market):
    before = account.broker.portfolio()
    intent = account.intent(limit=account.price(SYMBOL, "1.02"))

    account.send(intent)
    order = account.reach(intent, OrderStatus.FILLED)

    after = account.broker.portfolio()
    assert order.filled_quantity == 1
    assert order.average_price <= intent.limit_price
    assert after.quantity(SYMBOL) - before.quantity(SYMBOL) == 1
    assert before.cash - after.cash == pytest.approx(order.average_price, abs=Decimal("0.01"))


def test_tc02_a_resting_limit_order_waits_is_listed_and_can_be_cancelled(account):
    intent = account.resting()

    sent = account.send(intent)
    working = account.reach(intent, *WORKING)
    listed = [order.client_order_id for order in account.broker.orders()]
    account.broker.cancel(sent.venue_order_id)
    ended = account.reach(intent, OrderStatus.CANCELED)

    assert intent.client_order_id in listed
    assert working.limit_price == intent.limit_price
    assert ended.filled_quantity == 0
    assert intent.client_order_id not in [order.client_order_id for order in account.broker.orders()]


def test_tc03_an_id_is_accepted_once_even_after_its_order_has_ended(account):
    intent = account.resting()
    first = account.send(intent)
    again = account.broker.submit(intent)
    account.broker.cancel(first.venue_order_id)
    account.reach(intent, OrderStatus.CANCELED)
    body = {"symbol": SYMBOL, "qty": 1, "side": OrderSide.BUY, "time_in_force": TimeInForce.DAY}

    with pytest.raises(APIError) as refused:
        account.raw.submit_order(LimitOrderRequest(**body, limit_price=1.0, client_order_id=intent.client_order_id))

    assert isinstance(again, Accepted)
    assert again.order.venue_order_id == first.venue_order_id
    assert (refused.value.status_code, refused.value.code) == (422, 40010001)
    assert "unique" in refused.value.message


def test_tc04_an_id_that_was_never_sent_is_not_found(account):
    unknown = account.intent().client_order_id

    with pytest.raises(APIError) as missing:
        account.raw.get_order_by_client_id(unknown)

    assert account.broker.order(unknown) is None
    assert (missing.value.status_code, missing.value.code) == (404, 40410000)


def test_tc05_a_fraction_of_a_share_is_accepted_and_filled_to_the_last_place(account):
    intent = account.intent("0.012345678", symbol="SPY")

    account.send(intent)
    if not account.is_open:
        assert account.reach(intent, *WORKING).quantity == intent.quantity
        return

    assert account.reach(intent, OrderStatus.FILLED).filled_quantity == intent.quantity


def test_tc06_a_price_finer_than_a_cent_is_refused(account):
    intent = account.intent(limit=account.price(SYMBOL, "0.5") + Decimal("0.001"))

    result = account.broker.submit(intent)

    assert isinstance(result, Rejected)
    assert (result.code, result.refusal) == ("42210000", Refusal.OTHER)
    assert "sub-penny" in result.reason
    assert account.broker.order(intent.client_order_id) is None


def test_tc07_more_than_the_account_can_pay_is_refused_with_what_it_can(account):
    intent = account.intent("1000000", limit=account.price("SPY", "1"), symbol="SPY")

    result = account.broker.submit(intent)

    assert isinstance(result, Rejected)
    assert (result.code, result.refusal) == ("40310000", Refusal.BUYING_POWER)
    assert account.broker.order(intent.client_order_id) is None


def test_tc08_more_than_is_held_cannot_be_sold(account, open_market):
    bought = account.intent(limit=account.price(SYMBOL, "1.02"))
    account.send(bought)
    account.reach(bought, OrderStatus.FILLED)
    too_many = account.intent(str(account.held() + 1), side=Side.SELL, limit=account.price(SYMBOL, "2"))

    result = account.broker.submit(too_many)

    assert isinstance(result, Rejected)
    assert (result.code, result.refusal) == ("40310000", Refusal.HELD_SHARES)
    assert result.available == account.held()


def test_tc09_a_fraction_that_is_not_held_cannot_be_sold(account):
    intent = account.intent("0.5", side=Side.SELL, symbol="SPY")
    if account.held("SPY"):
        pytest.skip("the account holds SPY: a fraction of it can be sold")

    result = account.broker.submit(intent)

    assert isinstance(result, Rejected)
    assert result.code in {"42210000", "40310000"}


def test_tc10_orders_are_listed_by_submission_whatever_the_size_of_a_page(account):
    started = account.clock.now()
    intents = [account.resting() for _ in range(3)]
    for intent in intents:
        account.send(intent)

    ours = [intent.client_order_id for intent in intents]
    listed = [order.client_order_id for order in account.broker.orders(started)]
    paged, after = [], started
    while page := account.raw.get_orders(
        GetOrdersRequest(status=QueryOrderStatus.ALL, after=after, limit=1, direction="asc")
    ):
        paged += [order.client_order_id for order in page]
        after = page[-1].submitted_at

    assert [name for name in listed if name in ours] == ours
    assert [name for name in paged if name in ours] == ours


def test_tc11_executions_come_with_the_id_of_their_order_from_the_instant_asked_for(account, open_market):
    started = account.clock.now()
    intent = account.intent(limit=account.price(SYMBOL, "1.02"))
    account.send(intent)
    order = account.reach(intent, OrderStatus.FILLED)

    def executed():
        fills = account.broker.executions(started)
        return [fill for fill in fills if fill.client_order_id == intent.client_order_id]

    fills = account.until(executed)

    assert sum(fill.quantity for fill in fills) == order.filled_quantity
    assert all((fill.symbol, fill.side) == (SYMBOL, Side.BUY) for fill in fills)
    assert all(fill.filled_at >= started for fill in fills)


def test_tc12_a_filled_order_cannot_be_cancelled(account, open_market):
    intent = account.intent(limit=account.price(SYMBOL, "1.02"))
    account.send(intent)
    order = account.reach(intent, OrderStatus.FILLED)

    account.broker.cancel(order.venue_order_id)
    with pytest.raises(APIError) as refused:
        account.raw.cancel_order_by_id(order.venue_order_id)

    assert account.broker.order(intent.client_order_id).status is OrderStatus.FILLED
    assert (refused.value.status_code, refused.value.code) == (422, 42210000)


def test_tc13_the_account_may_trade_and_its_figures_agree(account):
    read, portfolio = account.raw.get_account(), account.broker.portfolio()

    assert portfolio.account_number == read.account_number
    assert portfolio.cash == Decimal(read.cash)
    assert portfolio.blocked == ""
    assert Decimal(read.buying_power) >= 0
    assert {item.symbol for item in account.raw.get_all_positions()} == set(portfolio.positions)


def test_tc14_the_clock_agrees_with_the_calendar(account):
    clock = account.raw.get_clock()
    today = clock.timestamp.date()
    days = account.raw.get_calendar(GetCalendarRequest(start=today, end=today + timedelta(days=14)))
    closes = [day.close for day in days]

    assert clock.timestamp.utcoffset() in (timedelta(hours=-4), timedelta(hours=-5))
    assert clock.next_close.replace(tzinfo=None) in closes
    assert clock.is_open is (clock.next_close < clock.next_open)
    assert abs(account.clock.now() - clock.timestamp) < timedelta(minutes=5)


def test_tc15_assets_say_what_may_be_done_with_them(account):
    found = account.broker.assets(["SPY", SYMBOL, UNKNOWN_SYMBOL])

    assert set(found) == {"SPY", SYMBOL}
    assert found["SPY"].tradable
    assert found["SPY"].fractionable
    assert account.raw.get_asset("SPY").id == account.raw.get_asset(str(account.raw.get_asset("SPY").id)).id


def test_tc16_an_unknown_symbol_is_refused(account):
    result = account.broker.submit(account.intent(limit=Decimal(1), symbol=UNKNOWN_SYMBOL))

    assert isinstance(result, Rejected)
    assert result.code.startswith(("422", "404", "400"))


def test_tc17_quotes_surround_a_price(account):
    quotes = account.market.quotes(["SPY", UNKNOWN_SYMBOL])

    assert set(quotes) == {"SPY"}
    assert quotes["SPY"].mid > 0


def test_tc18_the_stream_tells_the_life_of_an_order(account):
    intent = account.resting()
    with account.listening() as updates:
        sent = account.send(intent)
        account.reach(intent, *WORKING)
        account.broker.cancel(sent.venue_order_id)
        account.reach(intent, OrderStatus.CANCELED)
        told = [updates.get(timeout=30)]
        while told[-1].event != "canceled":
            told.append(updates.get(timeout=30))

    ours = [update for update in told if str(update.order.id) == sent.venue_order_id]
    assert ours[-1].order.status == "canceled"
    assert ours[-1].order.client_order_id == intent.client_order_id
    assert all(update.price is None for update in ours)


def test_tc19_the_stream_tells_each_execution_under_an_id_of_its_own(account, open_market):
    intent = account.intent(limit=account.price(SYMBOL, "1.02"))
    with account.listening() as updates:
        account.send(intent)
        account.reach(intent, OrderStatus.FILLED)
        told = [updates.get(timeout=30)]
        while told[-1].event != "fill":
            told.append(updates.get(timeout=30))

    assert sum(update.qty for update in told if update.event in ("partial_fill", "fill")) == 1
    assert len({update.execution_id for update in told}) == len(told)
    assert told[-1].position_qty == account.held()
