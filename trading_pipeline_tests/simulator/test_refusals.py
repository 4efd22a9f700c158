import json
from datetime import date, datetime
from decimal import Decimal

import pytest
from alpaca.common.exceptions import APIError
from alpaca.trading.requests import MarketOrderRequest

from trading_pipeline.domain.instruments import plain


@pytest.fixture
def recorded_errors(samples):
    return {row["name"]: row for row in json.loads((samples / "errors.json").read_text())["errors"]}


REFUSED = {
    "qty_not_positive": {"qty": "0"},
    "qty_and_notional": {"qty": "1", "notional": "10"},
    "qty_or_notional_required": {},
    "limit_needs_price": {"qty": "1", "type": "limit"},
    "market_no_prices": {"qty": "1", "limit_price": "10"},
    "invalid_tif": {"qty": "1", "time_in_force": "gtc"},
    "fractional_day_only": {"qty": "1.5", "time_in_force": "gtc"},
    "fractional_simple_only": {"qty": "1.5", "order_class": "bracket"},
    "extended_hours_type": {"qty": "1", "extended_hours": True},
    "client_order_id_too_long": {"qty": "1", "client_order_id": "x" * 129},
    "notional_two_decimals": {"notional": "10.129"},
    "notional_min": {"notional": "0.99"},
    "fractional_no_short": {"qty": "0.5", "side": "sell"},
    "not_allowed_to_short": {"qty": "1", "side": "sell"},
    "min_cost_basis": {"qty": "0.001"},
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_is_worded_as_the_real_one(quiet_day, recorded_errors, name):
    reply = quiet_day.order(**REFUSED[name])

    assert (reply.status_code, reply.json()) == (recorded_errors[name]["status"], recorded_errors[name]["body"])


@pytest.mark.parametrize(
    ("body", "status", "code", "message"),
    [
        ({"symbol": "XXX", "qty": "1"}, 422, 42210000, 'asset "XXX" not found'),
        ({"symbol": "FNGU", "qty": "1.5"}, 403, 40310000, 'asset "FNGU" is not fractionable'),
        ({"qty": "1.0000000001"}, 422, 42210000, "qty value must be limited to 9 decimal places"),
        ({"qty": 0.1 + 0.2}, 422, 42210000, "qty value must be limited to 9 decimal places"),
        (
            {"qty": "1", "type": "limit", "limit_price": "290.123"},
            422,
            42210000,
            "invalid limit_price 290.123. sub-penny increment does not fulfill minimum pricing criteria",
        ),
        ({"qty": "1", "side": "hold"}, 422, 40010001, "invalid side"),
        ({"qty": "many"}, 422, 40010001, "invalid qty"),
        ({"qty": "1e999999"}, 422, 40010001, "invalid qty"),
        ({"qty": True}, 422, 40010001, "invalid qty"),
        ({"qty": "1", "type": "stop"}, 422, 40010001, "invalid type"),
        ({"qty": "1", "symbol": None}, 422, 40010001, "symbol is required"),
    ],
)
def test_a_wrong_order_is_refused_with_its_reason(quiet_day, body, status, code, message):
    reply = quiet_day.order(**body)

    assert (reply.status_code, reply.json()) == (status, {"code": code, "message": message})


def test_buying_for_more_than_there_is_is_refused(quiet_day):
    reply = quiet_day.order(qty="100000", type="limit", limit_price="10")

    assert reply.status_code == 403
    assert reply.json() == {
        "code": 40310000,
        "message": "insufficient buying power",
        "buying_power": "100000",
        "cost_basis": "1000000",
    }


def test_open_buys_hold_back_buying_power(trading_day):
    assert trading_day.order(qty="600", type="limit", limit_price="100").ok

    assert trading_day.order(qty="401", type="limit", limit_price="100").status_code == 403
    assert trading_day.order(qty="400", type="limit", limit_price="100").ok


def test_open_sells_hold_back_shares(trading_day):
    trading_day.order(qty="10")
    trading_day.get("/v2/account"), trading_day.get("/v2/account")
    trading_day.order(qty="8", side="sell", type="limit", limit_price="5000")

    reply = trading_day.order(qty="3", side="sell", type="limit", limit_price="5000")

    assert trading_day.get("/v2/positions/SPY")["qty_available"] == "2"
    assert reply.status_code == 403
    assert reply.json() == {
        "code": 40310000,
        "message": "insufficient qty available for order (requested: 3, available: 2)",
        "available": "2",
        "existing_qty": "10",
        "held_for_orders": "8",
        "symbol": "SPY",
    }


def test_a_client_order_id_is_used_once_for_ever(trading_day):
    client = trading_day.trading
    order = MarketOrderRequest(symbol="SPY", qty=1, side="buy", time_in_force="day", client_order_id="once")
    client.submit_order(order)
    client.get_account(), client.get_account()

    with pytest.raises(APIError) as refused:
        client.submit_order(order)

    assert (refused.value.status_code, refused.value.code) == (422, 40010001)
    assert refused.value.message == "client_order_id must be unique"
    assert len(client.get_all_positions()) == 1


def test_the_duplicate_is_named_before_anything_about_asset_or_account(trading_day):
    trading_day.order(qty="1", client_order_id="once")

    assert trading_day.order(symbol="XXX", qty="1", client_order_id="once").json()["code"] == 40010001


def test_an_opposite_order_that_could_trade_with_ones_own_is_refused(trading_day):
    trading_day.order(qty="10")
    trading_day.get("/v2/account"), trading_day.get("/v2/account")
    resting = trading_day.order(qty="1", type="limit", limit_price="100").json()

    crossing = trading_day.order(qty="1", side="sell", type="limit", limit_price="90")
    apart = trading_day.order(qty="1", side="sell", type="limit", limit_price="5000")

    assert crossing.status_code == 403
    assert crossing.json() == {
        "code": 40310000,
        "message": "potential wash trade detected. use complex orders",
        "existing_order_id": resting["id"],
        "reject_reason": "opposite side limit order exists",
    }
    assert apart.ok


def test_a_market_order_in_a_halted_symbol_is_refused_and_a_limit_order_waits(trading_day):
    trading_day.control.halt("LEU", date(2026, 7, 27))

    market = trading_day.order(symbol="LEU", qty="1")
    limit = trading_day.order(symbol="LEU", qty="1", type="limit", limit_price="9999")
    trading_day.get("/v2/orders"), trading_day.get("/v2/orders")

    assert market.status_code == 422
    assert market.json()["message"] == (
        'market order rejected due to trading halt on symbol: "LEU", please place a limit order instead'
    )
    assert trading_day.get(f"/v2/orders/{limit.json()['id']}")["status"] == "new"
    assert trading_day.get("/v2/stocks/quotes/latest", symbols="LEU,SPY")["quotes"].keys() == {"SPY"}


def test_a_market_order_whose_price_ran_away_overnight_is_rejected_rather_than_borrowed_for(simulator):
    quote = simulator.get("/v2/stocks/quotes/latest", symbols="UVXY")["quotes"]["UVXY"]
    shares = int(100_000 / quote["ap"] / 1.03)
    sent = simulator.order(symbol="UVXY", qty=str(shares)).json()
    for _ in range(60):
        simulator.control.set_clock(datetime.fromisoformat(simulator.get("/v2/clock")["next_open"]))
        order = simulator.get(f"/v2/orders/{sent['id']}")
        assert float(simulator.get("/v2/account")["cash"]) >= 0
        if order["status"] == "rejected":
            assert order["failed_at"]
            return
        simulator.order(symbol="UVXY", qty=simulator.get("/v2/positions/UVXY")["qty"], side="sell")
        simulator.get("/v2/account"), simulator.get("/v2/account")
        simulator.control.set_clock(datetime.fromisoformat(simulator.get("/v2/clock")["next_close"]))
        quote = simulator.get("/v2/stocks/quotes/latest", symbols="UVXY")["quotes"]["UVXY"]
        cash = float(simulator.get("/v2/account")["cash"])
        sent = simulator.order(symbol="UVXY", qty=str(int(cash / quote["ap"] / 1.03))).json()
    pytest.fail("no overnight move above the margin in sixty sessions")


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b'"text"'])
def test_a_body_that_is_no_json_object_is_refused(quiet_day, content):
    reply = quiet_day.request("POST", "/v2/orders", data=content)

    assert (reply.status_code, reply.json()["message"]) == (400, "request body format is invalid")


@pytest.mark.parametrize(
    "query", ["limit=501", "limit=0", "limit=x", "status=odd", "direction=up", "side=hold", "after=soon"]
)
def test_an_order_list_that_asks_nonsense_is_refused(quiet_day, query):
    assert quiet_day.request("GET", f"/v2/orders?{query}").status_code == 422


def test_wrong_keys_are_unauthorized_without_a_code(quiet_day):
    reply = quiet_day.request(
        "GET", "/v2/account", headers={"APCA-API-KEY-ID": "wrong", "APCA-API-SECRET-KEY": "wrong"}
    )

    assert (reply.status_code, reply.json()) == (401, {"message": "unauthorized."})


def test_missing_keys_are_answered_in_html(quiet_day):
    reply = quiet_day.request("GET", "/v2/account", headers={})

    assert (reply.status_code, reply.text) == (401, "<html>401 from nginx</html>")


def test_every_reply_tells_the_rate_limit(quiet_day):
    for path in ("/v2/account", "/v2/orders?limit=0", "/v2/nowhere"):
        headers = quiet_day.request("GET", path).headers
        assert headers["X-RateLimit-Limit"] == "10000"
        assert int(headers["X-RateLimit-Remaining"]) < 10_000
        assert int(headers["X-RateLimit-Reset"]) % 60 == 0


def test_too_many_requests_are_turned_away(tmp_path, start_serving):
    with start_serving(tmp_path, rate_limit=0) as served:
        trading, data = (served.request("GET", path) for path in ("/v2/account", "/v2/stocks/bars?symbols=SPY"))

    assert (trading.status_code, trading.json()["code"]) == (429, 42910000)
    assert (data.status_code, data.json()) == (429, {"message": "too many requests."})
    assert trading.headers["X-RateLimit-Remaining"] == "0"


def test_an_unknown_endpoint_is_not_found_and_an_unknown_method_not_allowed(quiet_day):
    assert quiet_day.request("GET", "/v2/watchlists").status_code == 404
    assert quiet_day.request("PATCH", "/v2/orders").status_code == 405


def test_numbers_are_written_without_exponent_or_idle_zeros():
    assert [plain(Decimal(text)) for text in ("0.000000001", "1E+3", "12.500")] == ["0.000000001", "1000", "12.5"]
