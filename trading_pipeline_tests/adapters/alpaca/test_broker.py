import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace

import pytest

from trading_pipeline.adapters.alpaca.broker import AlpacaBroker
from trading_pipeline.domain.errors import CircuitOpen, DependencyUnavailable, RequestRefused, Unauthorized
from trading_pipeline.domain.orders import Accepted, NotSent, OrderStatus, Rejected, Side, Unknown
from trading_pipeline.ports import CashMovement

SUBMIT = "POST /v2/orders"
LOOK_UP = "GET /v2/orders:by_client_order_id"
LIST = "GET /v2/orders"
FILLS = "GET /v2/account/activities/FILL"
ACTIVITIES = "GET /v2/account/activities"
NOT_FOUND = {"code": 40410000, "message": "order not found"}
DUPLICATE = {"code": 40010001, "message": "client_order_id must be unique"}
OPENED = datetime(2026, 7, 31, 13, 30, tzinfo=UTC)


def activity(number, seconds=0, order="o1", **changes):
    return {
        "id": f"2026073109350100{number}::{number}",
        "activity_type": "FILL",
        "order_id": order,
        "symbol": "SPY",
        "side": "buy",
        "qty": "1.5",
        "price": "600.25",
        "transaction_time": (OPENED + timedelta(seconds=seconds)).isoformat(),
        "type": "fill",
    } | changes


def asset(symbol, **changes):
    return {"symbol": symbol, "name": symbol, "exchange": "ARCA", "status": "active", "tradable": True} | changes


def test_an_accepted_order_is_what_alpaca_says_it_is(server, broker, make_intent, order_row):
    intent = make_intent()
    server.on(SUBMIT, order_row(intent.client_order_id))

    result = broker.submit(intent)

    assert isinstance(result, Accepted)
    assert (result.order.client_order_id, result.order.status) == (intent.client_order_id, OrderStatus.PENDING_NEW)


@pytest.mark.parametrize("quantity", ["0.123456789", "0.3", "100000000.000000001", "1"])
def test_quantities_and_prices_reach_alpaca_digit_for_digit(server, broker, make_intent, order_row, quantity):
    intent = make_intent(quantity=quantity, limit="0.1001")
    server.on(SUBMIT, order_row(intent.client_order_id))

    broker.submit(intent)

    sent = server.requests(SUBMIT)[0].body
    assert (sent["qty"], sent["limit_price"]) == (quantity, "0.1001")


@pytest.mark.parametrize("patience", [0.2])
@pytest.mark.parametrize(
    "fault",
    [
        {"fault": "silent"},
        {"fault": "drip"},
        {"fault": "reset"},
        {"fault": "cut", "text": '{"id": "61e6'},
        {"status": 500, "text": '{"code": 50010000, "message": "internal server error occurred"}'},
        {"status": 502, "text": "<html>"},
        {"status": 503},
        {"status": 504},
        {"status": 429, "text": '{"code": 42910000, "message": "rate limit exceeded"}', "X_RateLimit_Reset": "1"},
        {"status": 401, "text": '{"message": "unauthorized."}'},
        {"status": 403, "text": "<html>"},
        {"status": 404, "text": "<html>"},
        {"status": 413, "text": ""},
        {"status": 307, "Location": "/v2/orders"},
        {"text": ""},
        {"text": '{"id": "61e6'},
        {"text": "{}"},
        {"text": "[]"},
        {"text": "null"},
    ],
    ids=json.dumps,
)
def test_whatever_does_not_tell_leaves_the_order_unknown_after_one_post(server, broker, make_intent, fault, patience):
    intent = make_intent()
    server.on(SUBMIT, **fault)

    result = broker.submit(intent)

    assert isinstance(result, Unknown)
    assert result.client_order_id == intent.client_order_id
    assert result.evidence
    assert server.count(SUBMIT) == len(server.received) == 1


def test_an_answer_about_another_order_is_unknown(server, broker, make_intent, order_row):
    server.on(SUBMIT, order_row("tp1-other"))

    assert isinstance(broker.submit(make_intent()), Unknown)


def test_every_recorded_refusal_of_an_order_is_final_and_keeps_code_and_words(server, broker, make_intent, samples):
    errors = json.loads((samples / "errors.json").read_text())["errors"]
    refusals = [
        error
        for error in errors
        if error["status"] in {403, 422} and error.get("body", {}).get("code") and "unique" not in str(error["body"])
    ]
    for refusal in refusals:
        server.on(SUBMIT, refusal["body"], status=refusal["status"])
    server.on(LOOK_UP, NOT_FOUND, status=404)

    assert len(refusals) > 20
    for refusal in refusals:
        result = broker.submit(make_intent())
        assert isinstance(result, Rejected), refusal
        assert result.code == str(refusal["body"]["code"])
        assert refusal["body"]["message"] in result.reason
    assert server.count(SUBMIT) == len(refusals)


def test_an_id_that_was_used_before_is_looked_up_and_adopted(server, broker, make_intent, order_row):
    intent = make_intent()
    server.on(SUBMIT, DUPLICATE, status=422)
    server.on(LOOK_UP, order_row(intent.client_order_id, status="filled", filled_qty="2.5", filled_avg_price="101.2"))

    result = broker.submit(intent)

    assert isinstance(result, Accepted)
    assert (result.order.status, result.order.filled_quantity) == (OrderStatus.FILLED, Decimal("2.5"))
    assert server.requests(LOOK_UP)[0].query == {"client_order_id": intent.client_order_id}
    assert server.count(SUBMIT) == 1


@pytest.mark.parametrize("look_up", [{"answer": NOT_FOUND, "status": 404}, {"status": 503}])
def test_a_used_id_whose_order_is_not_seen_is_unknown(server, broker, make_intent, look_up):
    server.on(SUBMIT, DUPLICATE, status=422).on(LOOK_UP, **look_up)

    assert isinstance(broker.submit(make_intent()), Unknown)
    assert server.count(SUBMIT) == 1


def test_an_order_is_found_by_our_id(server, broker, order_row):
    server.on(LOOK_UP, order_row("tp1-a", status="something new"))

    assert broker.order("tp1-a").status is OrderStatus.UNRECOGNISED


def test_an_order_that_alpaca_has_never_seen_is_none(server, broker):
    server.on(LOOK_UP, NOT_FOUND, status=404)

    assert broker.order("tp1-a") is None


def test_a_missing_page_is_not_taken_for_a_missing_order(server, broker):
    server.on(LOOK_UP, status=404, text="<html>not here</html>")

    with pytest.raises(RequestRefused):
        broker.order("tp1-a")


def test_the_portfolio_is_stamped_with_the_brokers_time(server, broker, clock):
    server.on("GET /v2/account", {"account_number": "SIM0001", "status": "ACTIVE", "cash": "1000.10"})
    server.on("GET /v2/positions", [{"symbol": "SPY", "qty": "2", "side": "long", "current_price": "600.25"}])

    portfolio = broker.portfolio()

    assert (portfolio.equity, portfolio.as_of) == (Decimal("2200.60"), clock.now())


def test_wrong_keys_say_so(server, broker):
    server.on("GET /v2/account", {"message": "unauthorized."}, status=401)

    with pytest.raises(Unauthorized, match="keys belong to this URL"):
        broker.portfolio()


def test_few_assets_are_asked_for_one_by_one(server, broker):
    server.on("GET /v2/assets/SPY", asset("SPY", fractionable=True)).on("GET /v2/assets/OLD", asset("OLD", status="x"))

    assets = broker.assets(["SPY", "OLD", "NONE", "SPY"])

    assert list(assets) == ["OLD", "SPY"]
    assert (assets["SPY"].tradable, assets["SPY"].fractionable, assets["OLD"].tradable) == (True, True, False)
    assert server.count("GET /v2/assets") == 0


def test_many_assets_come_as_one_list_and_odd_rows_of_it_do_no_harm(server, broker):
    wanted = [f"S{number}" for number in range(40)]
    listed = [asset(symbol, exchange="MARS") for symbol in wanted[1:]]
    server.on("GET /v2/assets", [{}, {"symbol": None}, {"symbol": "ODD", "tradable": []}, *listed])
    server.on("GET /v2/assets/S0", asset("S0", status="inactive", tradable=False))

    assets = broker.assets(wanted)

    assert set(assets) == set(wanted)
    assert [symbol for symbol, known in assets.items() if not known.tradable] == ["S0"]
    assert len(server.received) == 2


@pytest.mark.parametrize(
    ("status", "answer"),
    [(204, None), (422, {"code": 42210000, "message": 'order is already in "filled" state'}), (404, NOT_FOUND)],
)
def test_a_cancel_is_asked_for_once_and_an_order_that_is_over_is_no_error(server, broker, status, answer):
    server.on("DELETE /v2/orders/o1", answer, status=status)

    broker.cancel("o1")

    assert server.count("DELETE /v2/orders/o1") == 1


def test_a_cancel_that_alpaca_forbids_says_so(server, broker):
    server.on("DELETE /v2/orders/o1", {"code": 40310000, "message": "account is not authorized to trade"}, status=403)

    with pytest.raises(RequestRefused, match="not authorized"):
        broker.cancel("o1")


@pytest.mark.parametrize("patience", [0.2])
@pytest.mark.parametrize("fault", [{"status": 500}, {"fault": "silent"}])
def test_a_cancel_without_an_answer_is_not_repeated(server, broker, fault, patience):
    server.on("DELETE /v2/orders/o1", **fault)

    with pytest.raises(DependencyUnavailable):
        broker.cancel("o1")

    assert server.count("DELETE /v2/orders/o1") == 1


def test_executions_come_oldest_first_under_our_ids(server, broker):
    server.on(FILLS, [activity(2, 20, "o2", side="sell"), activity(1, 10)])
    server.on(LIST, [{"id": "o1", "client_order_id": "tp1-a"}, {"id": "o2", "client_order_id": "tp1-b"}])

    fills = broker.executions(OPENED)

    assert [(fill.client_order_id, fill.side) for fill in fills] == [("tp1-a", Side.BUY), ("tp1-b", Side.SELL)]
    assert fills[0].quantity * fills[0].price == Decimal("900.375")
    assert server.requests(FILLS)[0].query == {"after": "2026-07-31T13:29:59Z", "direction": "asc", "page_size": "100"}


def test_an_execution_at_the_very_instant_counts_and_an_earlier_one_does_not(server, broker):
    server.on(FILLS, [activity(1, -1), activity(2, 0)]).on(LIST, [{"id": "o1", "client_order_id": "tp1-a"}])

    assert [fill.execution_id for fill in broker.executions(OPENED)] == [activity(2)["id"]]


def test_executions_are_read_to_the_last_page(server, broker):
    rows = [activity(number, number) for number in range(250)]
    for start in (0, 100, 200):
        server.on(FILLS, rows[start : start + 100])
    server.on(LIST, [{"id": "o1", "client_order_id": "tp1-a"}])

    fills = broker.executions(OPENED)

    assert [fill.execution_id for fill in fills] == [row["id"] for row in rows]
    tokens = [request.query.get("page_token") for request in server.requests(FILLS)]
    assert tokens == [None, rows[99]["id"], rows[199]["id"]]


def test_pages_that_overlap_count_each_execution_once(server, broker):
    rows = [activity(number, number) for number in range(150)]
    server.on(FILLS, rows[:100]).on(FILLS, rows[60:])
    server.on(LIST, [{"id": "o1", "client_order_id": "tp1-a"}])

    assert len(broker.executions(OPENED)) == 150


def test_a_page_of_executions_that_comes_again_ends_the_reading(server, broker):
    server.on(FILLS, [activity(number, number) for number in range(100)])

    with pytest.raises(DependencyUnavailable, match="twice"):
        broker.executions(OPENED)

    assert server.count(FILLS) == 2


def test_an_order_beyond_the_newest_is_asked_for_by_itself(server, broker):
    server.on(FILLS, [activity(1), activity(2, order="o9")]).on(LIST, [{"id": "o1", "client_order_id": "tp1-a"}])
    server.on("GET /v2/orders/o9", {"id": "o9", "client_order_id": "by-hand"})

    assert {fill.client_order_id for fill in broker.executions(OPENED)} == {"tp1-a", "by-hand"}


def test_a_day_without_executions_asks_for_no_orders(server, broker):
    server.on(FILLS, [])

    assert broker.executions(OPENED) == []
    assert len(server.received) == 1


def movement(number, amount="-0.02", **changes):
    return {
        "id": f"20260731000000000::{number:04d}",
        "activity_type": "FEE",
        "date": "2026-07-31",
        "net_amount": amount,
        "status": "executed",
        "created_at": (OPENED + timedelta(seconds=number)).isoformat(),
    } | changes


def test_movements_of_cash_come_in_the_order_of_their_booking(server, broker):
    dividend = movement(1, "12.34", activity_type="DIV", activity_sub_type="CDIV", symbol="SPY")
    server.on(ACTIVITIES, [movement(2), dividend])

    assert broker.cash_movements(OPENED) == [
        CashMovement(dividend["id"], "DIV", Decimal("12.34"), date(2026, 7, 31), "CDIV SPY"),
        CashMovement(movement(2)["id"], "FEE", Decimal("-0.02"), date(2026, 7, 31)),
    ]
    # A week before, since a movement may be created before the day that it is dated.
    assert server.requests(ACTIVITIES)[0].query == {
        "after": "2026-07-24T13:30:00Z",
        "category": "non_trade_activity",
        "direction": "asc",
        "page_size": "100",
    }


def test_movements_count_from_the_beginning_of_the_day_in_new_york(server, broker):
    def dated(number, day):
        return movement(number, date=day, created_at=None)

    server.on(ACTIVITIES, [dated(1, "2026-07-30"), dated(2, "2026-07-31"), dated(3, "2026-08-03")])
    # Already Saturday in UTC.
    late_on_friday = datetime(2026, 8, 1, 3, 59, tzinfo=UTC)

    assert [found.day.day for found in broker.cash_movements(late_on_friday)] == [31, 3]


def test_movements_are_read_to_the_last_page(server, broker):
    rows = [movement(number) for number in range(150)]
    server.on(ACTIVITIES, rows[:100]).on(ACTIVITIES, rows[100:])

    assert [found.id for found in broker.cash_movements(OPENED)] == [row["id"] for row in rows]
    assert [request.query.get("page_token") for request in server.requests(ACTIVITIES)] == [None, rows[99]["id"]]


def listed(number, instant=OPENED, **changes):
    stamp = (instant + timedelta(seconds=number)).isoformat().replace("+00:00", "Z")
    return {"id": f"o{number:04d}", "client_order_id": f"tp1-{number}", "submitted_at": stamp} | changes


@pytest.mark.parametrize("count", [0, 1, 499, 500, 1201])
def test_every_order_since_an_instant_is_read_however_many_pages_it_takes(server, broker, order_row, count):
    rows = [order_row() | listed(number) for number in range(count)]
    # Each page begins with the last order of the one before, as the same instant is asked for again.
    starts = range(0, max(count, 1), 499)
    for start in starts:
        server.on(LIST, rows[start : start + 500])
    server.on(LIST, rows[-1:])

    orders = broker.orders(OPENED)

    assert [order.client_order_id for order in orders] == [f"tp1-{number}" for number in range(count)]
    first = server.requests(LIST)[0].query
    assert first == {"status": "all", "direction": "asc", "limit": "500", "after": "2026-07-31T13:29:59.999999Z"}


def test_an_order_before_the_instant_is_left_out(server, broker, order_row):
    server.on(LIST, [order_row() | listed(0, OPENED - timedelta(microseconds=1)), order_row() | listed(1)])

    assert [order.client_order_id for order in broker.orders(OPENED)] == ["tp1-1"]


def test_without_an_instant_the_open_orders_are_read(server, broker, order_row):
    server.on(LIST, [order_row("tp1-a", status="partially_filled", filled_qty="1")])

    assert [order.filled_quantity for order in broker.orders()] == [Decimal(1)]
    assert server.requests(LIST)[0].query == {"status": "open", "direction": "asc", "limit": "500"}


def test_a_page_of_orders_that_comes_again_ends_the_reading(server, broker, order_row):
    rows = [order_row() | listed(number) for number in range(500)]
    server.on(LIST, rows).on(LIST, rows)

    with pytest.raises(DependencyUnavailable, match=r"page of 500 orders twice"):
        broker.orders(OPENED)


@pytest.mark.parametrize("answer", [{}, {"orders": []}, [{}], ["order"], [None]])
def test_a_list_of_orders_that_is_none_is_not_taken_for_an_empty_one(server, broker, answer):
    server.on(LIST, answer)

    with pytest.raises(DependencyUnavailable, match="cannot be read"):
        broker.orders(OPENED)


def test_a_status_that_is_new_does_not_hide_the_other_orders(server, broker, order_row):
    server.on(LIST, [order_row("tp1-a", status="teleported"), order_row("tp1-b", status="filled")])

    assert [order.status for order in broker.orders()] == [OrderStatus.UNRECOGNISED, OrderStatus.FILLED]


def test_a_refusal_that_is_cut_off_is_no_answer(server, broker, make_intent, order_row):
    cut = '{"message":"order not found for tp1'
    server.on(LOOK_UP, text=cut, status=404).on(LOOK_UP, order_row("tp1-a"))
    server.on(SUBMIT, text=cut, status=422)

    assert broker.order("tp1-a") is not None
    assert isinstance(broker.submit(make_intent()), Unknown)


def test_an_order_of_many_legs_placed_by_hand_does_not_hide_the_others(server, broker, order_row):
    server.on(LIST, [order_row("by-hand", side="", symbol="", order_class="mleg"), order_row("tp1-b")])

    assert [order.client_order_id for order in broker.orders()] == ["tp1-b"]


def test_a_page_that_holds_an_order_of_many_legs_is_followed_by_the_next(server, broker, order_row):
    rows = [order_row() | listed(number) for number in range(620)]
    for by_hand in (3, 499):
        rows[by_hand] |= {"client_order_id": "by-hand", "side": None, "symbol": None, "order_class": "mleg"}
    server.on(LIST, rows[:500]).on(LIST, rows[499:])

    found = [order.client_order_id for order in broker.orders(OPENED)]

    assert found == [f"tp1-{number}" for number in range(620) if number not in (3, 499)]
    assert server.requests(LIST)[1].query["after"] == "2026-07-31T13:38:18.999999Z"


def test_while_orders_are_left_alone_nothing_is_sent_and_that_is_said(clock, make_intent):
    def left_alone(*_):
        raise CircuitOpen("orders are left alone; nothing was sent")

    intent = make_intent()

    sent = AlpacaBroker(SimpleNamespace(post=left_alone), clock).submit(intent)

    assert sent == NotSent(intent.client_order_id, "orders are left alone; nothing was sent")


def test_an_order_of_ours_that_cannot_be_read_is_not_passed_over(server, broker, order_row):
    server.on(LIST, [order_row("tp1-a", side="")])

    with pytest.raises(DependencyUnavailable):
        broker.orders()


@pytest.mark.parametrize("answer", [{}, 5, "none"])
def test_positions_that_are_no_list_are_not_taken_for_none(server, broker, answer):
    server.on("GET /v2/account", {"account_number": "SIM0001", "cash": "1", "status": "ACTIVE"})
    server.on("GET /v2/positions", answer)

    with pytest.raises(DependencyUnavailable, match="list of positions"):
        broker.portfolio()
