import json
from datetime import UTC, date, datetime
from decimal import Decimal
from math import isnan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.adapters.alpaca import translation
from trading_pipeline.domain.errors import DependencyUnavailable, InvalidBars
from trading_pipeline.domain.orders import OrderStatus, Side
from trading_pipeline.domain.portfolio import Position
from trading_pipeline.ports import CashMovement

AS_OF = datetime(2026, 7, 31, 14, 0, tzinfo=UTC)
ACCOUNT = {"account_number": "PA123", "status": "ACTIVE", "cash": "-23140.20"}
BAR = {"t": "2022-03-09T05:00:00Z", "o": 161.51, "h": 163.41, "l": 159.41, "c": 162.95, "v": 88496480}
FILL = {
    "id": "20260731093501000::2d7be4ff",
    "order_id": "b5abe576",
    "symbol": "AAPL",
    "side": "sell",
    "qty": "0.557436865",
    "price": "174.78",
    "transaction_time": "2026-07-31T13:35:01.981482Z",
}


DIVIDEND = {
    "id": "20190801011955195::5f596936-6f23-4cef-bdf1-3806aae57dbf",
    "activity_type": "DIV",
    "activity_sub_type": "CDIV",
    "date": "2019-08-01",
    "net_amount": "1.02",
    "symbol": "T",
    "qty": "2",
    "per_share_amount": "0.51",
    "currency": "USD",
    "status": "executed",
    "created_at": "2019-08-01T05:19:55.195Z",
}


def recorded(samples, name):
    return json.loads((samples / f"{name}.json").read_text())


@given(st.decimals(min_value="0.000000001", max_value="1e9", places=9))
def test_an_amount_survives_the_way_to_alpaca_and_back(amount):
    text = translation.plain(amount)

    assert translation.decimal(text) == amount
    assert set(text) <= set("0123456789.")


@pytest.mark.parametrize("text", ["NaN", "Infinity", "", "12,5", None])
def test_what_is_no_finite_number_is_no_amount(text):
    with pytest.raises(DependencyUnavailable, match="account"):
        translation.portfolio(ACCOUNT | {"cash": text}, [], AS_OF)


def test_a_recorded_account_and_position_are_read(samples):
    account = recorded(samples, "account_routes__get_account")
    portfolio = translation.portfolio(account, recorded(samples, "position_routes__get_all_positions"), AS_OF)

    assert portfolio.account_number == "010203ABCD"
    assert (portfolio.cash, portfolio.blocked, portfolio.as_of) == (Decimal("-23140.2"), "", AS_OF)
    assert portfolio.positions == {"AAPL": Position("AAPL", Decimal(5), Decimal("120.0"))}


def test_an_account_without_the_fields_of_the_day_trade_rule_is_read():
    assert translation.portfolio(ACCOUNT, [], AS_OF).blocked == ""


@pytest.mark.parametrize("quantity", ["10", "-10"])
def test_a_short_position_is_negative_however_its_size_is_written(quantity):
    row = {"symbol": "SPY", "qty": quantity, "side": "short", "current_price": "600"}

    assert translation.portfolio(ACCOUNT, [row], AS_OF).quantity("SPY") == -10


def test_a_position_that_has_not_traded_today_has_yesterdays_price():
    row = {"symbol": "SPY", "qty": "1", "side": "long", "current_price": None, "lastday_price": "599.5"}

    assert translation.portfolio(ACCOUNT, [row], AS_OF).positions["SPY"].price == Decimal("599.5")


def test_a_position_without_any_price_is_no_answer():
    with pytest.raises(DependencyUnavailable, match="position SPY"):
        translation.portfolio(ACCOUNT, [{"symbol": "SPY", "qty": "1", "side": "long"}], AS_OF)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"trading_blocked": True}, "trading_blocked"),
        ({"account_blocked": True}, "account_blocked"),
        ({"trade_suspended_by_user": True}, "trade_suspended_by_user"),
        ({"status": "ACCOUNT_CLOSED"}, "status ACCOUNT_CLOSED"),
        ({"status": None, "trading_blocked": True}, "status None, trading_blocked"),
    ],
)
def test_an_account_that_may_not_trade_says_why(changes, reason):
    assert translation.portfolio(ACCOUNT | changes, [], AS_OF).blocked == reason


def test_a_recorded_asset_is_read_and_an_exchange_of_tomorrow_is_no_obstacle(samples):
    row = recorded(samples, "asset_routes__get_asset") | {"exchange": "MARS", "class": "us_moonshot"}
    asset = translation.asset(row)

    assert (asset.symbol, asset.exchange, asset.tradable, asset.fractionable) == ("AAPL", "MARS", True, True)


@pytest.mark.parametrize(
    "row", [{}, {"tradable": "yes", "fractionable": None}, {"tradable": True, "status": "inactive"}]
)
def test_what_is_not_plainly_tradable_is_not(row):
    asset = translation.asset({"symbol": "SPY"} | row)

    assert (asset.tradable, asset.fractionable) == (False, False)


@pytest.mark.parametrize("name", ["market_order", "limit_order", "get_order_by_client_id", "order_position_intent"])
def test_recorded_orders_are_read(samples, name):
    order = translation.order(recorded(samples, f"order_routes__{name}"))

    assert order.venue_order_id == "61e69015-8549-4bfd-b9c3-01e75843f47d"
    assert order.status is OrderStatus.ACCEPTED
    assert order.filled_quantity == 0


@pytest.mark.parametrize("status", [status for status in OrderStatus if status is not OrderStatus.UNRECOGNISED])
def test_every_documented_status_is_known(order_row, status):
    assert translation.order(order_row(status=status.value)).status is status


def test_a_status_of_tomorrow_is_unrecognised_and_not_over(order_row):
    order = translation.order(order_row(status="pending_on_mars", exchange="MARS", order_class="new"))

    assert order.status is OrderStatus.UNRECOGNISED
    assert not order.status.is_terminal


def test_an_order_without_a_quantity_or_limit_is_read(order_row):
    order = translation.order(order_row(qty=None, notional="100.00", limit_price=None, filled_avg_price="12.345678"))

    assert (order.quantity, order.limit_price, order.average_price) == (0, None, Decimal("12.345678"))


@pytest.mark.parametrize("changes", [{"side": "sideways"}, {"qty": "many"}, {"submitted_at": "noon"}])
def test_an_order_that_cannot_be_read_is_no_answer(order_row, changes):
    with pytest.raises(DependencyUnavailable, match="order tp1-a"):
        translation.order(order_row(**changes))


def test_an_order_leaves_as_strings_only(make_intent):
    body = translation.order_request(make_intent(quantity="0.3", limit="150.10"))

    assert body == {
        "client_order_id": "tp1-" + body["client_order_id"][4:],
        "symbol": "SPY",
        "side": "buy",
        "qty": "0.3",
        "type": "limit",
        "time_in_force": "day",
        "limit_price": "150.1",
    }
    assert "limit_price" not in translation.order_request(make_intent(limit=None))


def test_an_execution_takes_its_instant_from_the_transaction_and_not_from_its_id():
    fill = translation.fill(FILL, "tp1-a")

    assert fill.filled_at == datetime(2026, 7, 31, 13, 35, 1, 981482, tzinfo=UTC)
    assert (fill.side, fill.signed_quantity, fill.price) == (Side.SELL, Decimal("-0.557436865"), Decimal("174.78"))


def test_an_execution_of_a_short_sale_is_a_sale():
    assert translation.fill(FILL | {"side": "sell_short"}, "tp1-a").side is Side.SELL


@pytest.mark.parametrize("field", ["symbol", "side", "qty", "price", "transaction_time"])
def test_an_execution_that_cannot_be_read_is_never_dropped(field):
    with pytest.raises(DependencyUnavailable, match="execution 20260731093501000::2d7be4ff"):
        translation.fill({name: value for name, value in FILL.items() if name != field}, "tp1-a")


def test_a_recorded_quote_is_read(samples):
    quote = translation.quotes(recorded(samples, "historical_stock_data__get_laquote"))["AAPL"]

    assert (quote.bid, quote.ask, quote.mid) == (Decimal("161.1"), Decimal("161.11"), Decimal("161.105"))
    assert quote.at == datetime(2022, 3, 18, 14, 2, 43, 651613, tzinfo=UTC)


def test_symbols_without_a_quote_are_absent(samples):
    assert translation.quotes(recorded(samples, "historical_stock_data__get_laquote_multi_empty_response")) == {}
    assert translation.quotes({"quotes": {"SPY": None}}) == {}
    assert translation.quotes({"quotes": None}) == {}


def test_recorded_bars_are_read(samples):
    rows, token = translation.bars(recorded(samples, "historical_stock_data__multisymbol_get_bars"))

    assert [row.symbol for row in rows] == ["AAPL", "TSLA"]
    assert (rows[0].session.isoformat(), rows[0].close, rows[0].volume) == ("2022-03-09", 162.95, 88496480.0)
    assert token is None


def test_a_figure_that_is_null_is_not_a_number():
    rows, _ = translation.bars({"bars": {"AAPL": [BAR | {"o": None}]}})

    assert isnan(rows[0].open)
    assert rows[0].close == 162.95


@pytest.mark.parametrize("stamp", ["2022-03-09T05:00:00Z", "2022-07-11T04:00:00Z", "2022-03-14T04:00:00Z"])
def test_the_day_of_a_bar_is_new_yorks(stamp):
    rows, _ = translation.bars({"bars": {"AAPL": [BAR | {"t": stamp}]}})

    assert rows[0].session.isoformat() == stamp[:10]


@pytest.mark.parametrize("bars", [None, {}, {"AAPL": None}, {"AAPL": []}])
def test_no_bars_are_no_rows(bars):
    assert translation.bars({"bars": bars, "next_page_token": None}) == ([], None)


@pytest.mark.parametrize("answer", [{}, [], {"bars": [1]}, {"bars": "none"}])
def test_what_is_no_page_of_bars_is_no_answer(answer):
    with pytest.raises(DependencyUnavailable, match="page of bars"):
        translation.bars(answer)


@pytest.mark.parametrize("changes", [{"o": "dear"}, {"t": "noon"}, {"t": "2022-03-09T05:00:00"}, {"v": []}])
def test_a_bar_that_cannot_be_read_is_refused_by_name(changes):
    with pytest.raises(InvalidBars, match="bar of AAPL"):
        translation.bars({"bars": {"AAPL": [BAR | changes]}})


def test_a_dividend_is_read():
    [movement] = translation.cash_movements([DIVIDEND])

    assert movement == CashMovement(DIVIDEND["id"], "DIV", Decimal("1.02"), date(2019, 8, 1), "CDIV T")


@pytest.mark.parametrize(
    ("day", "created", "booked"),
    [
        # A fee of Thursday's sale, created on Friday morning.
        ("2026-07-30", "2026-07-31T05:00:00Z", date(2026, 7, 31)),
        # Still Thursday evening in New York.
        ("2026-07-30", "2026-07-31T03:00:00Z", date(2026, 7, 30)),
        ("2026-08-03", "2026-07-31T14:00:00Z", date(2026, 8, 3)),
        ("2026-07-30T00:00:00Z", None, date(2026, 7, 30)),
    ],
)
def test_a_movement_is_of_the_later_of_its_day_and_the_day_of_its_booking(day, created, booked):
    [movement] = translation.cash_movements([DIVIDEND | {"date": day, "created_at": created}])

    assert movement.day == booked


@pytest.mark.parametrize(
    "changed", [{"net_amount": "0"}, {"net_amount": None}, {"status": "canceled"}, {"activity_type": "FILL"}]
)
def test_what_moved_no_cash_or_is_a_trade_is_no_movement(changed):
    assert translation.cash_movements([FILL | {"activity_type": "FILL"}, DIVIDEND | changed]) == []


def test_movements_are_in_the_order_of_their_booking_whatever_the_order_of_their_ids():
    rows = [
        DIVIDEND | {"id": "20190801000000000::a", "created_at": "2019-08-01T15:00:00Z"},
        DIVIDEND | {"id": "20190801000000000::b", "created_at": "2019-08-01T14:00:00Z"},
        DIVIDEND | {"id": "20190801000000000::c", "created_at": None},
    ]

    assert [movement.id[-1] for movement in translation.cash_movements(rows)] == ["c", "b", "a"]


@pytest.mark.parametrize(
    "changed", [{"date": None}, {"net_amount": "much"}, {"created_at": "2019-08-01T14:00:00"}, {"symbol": 7}]
)
def test_a_movement_that_cannot_be_read_is_no_answer(changed):
    with pytest.raises(DependencyUnavailable, match="account activit"):
        translation.cash_movements([DIVIDEND | changed])
    with pytest.raises(DependencyUnavailable, match="list of account activities"):
        translation.cash_movements(["message"])
