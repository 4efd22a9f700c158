from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from alpaca.trading.requests import ReplaceOrderRequest

from trading_pipeline.domain.errors import RequestRefused

CLOSE = datetime.fromisoformat("2026-07-27T16:00-04:00")
MONDAY = date(2026, 7, 27)


def read(served, order, times=1):
    """Read an order a number of times and return how it was the last time."""
    for _ in range(times):
        found = served.get(f"/v2/orders/{order['id']}")
    return found


def sent(served, **body):
    reply = served.order(**{"qty": "10", **body})
    assert reply.ok, reply.text
    return reply.json()


def kinds(served, order):
    return [event["kind"] for event in served.control.events() if event["order"]["id"] == order["id"]]


def shares(served, symbol="SPY"):
    return next((row["qty"] for row in served.get("/v2/positions") if row["symbol"] == symbol), "0")


def test_an_order_leaves_an_event_for_every_step(trading_day):
    order = sent(trading_day)
    read(trading_day, order, 3)
    events = trading_day.control.events()

    assert [event["kind"] for event in events] == ["pending_new", "new", "fill"]
    assert [event["sequence"] for event in events] == [1, 2, 3]
    assert [event["order"]["status"] for event in events] == ["pending_new", "new", "filled"]
    assert all(datetime.fromisoformat(a["at"]) < datetime.fromisoformat(b["at"]) for a, b in pairwise(events))
    assert [event["execution"] is None for event in events] == [True, True, False]
    assert (events[2]["position"], events[2]["execution"]["qty"]) == ("10", "10")
    assert trading_day.control.events(after=2) == events[2:]
    with pytest.raises(RequestRefused, match="number of an event"):
        trading_day.control._ask("GET", "events?after=x")


def test_an_order_fills_in_parts_and_then_the_rest(trading_day):
    trading_day.control.add_fault(action="partial", fractions=["0.3", "0.2"])
    order = sent(trading_day)

    quantities = [read(trading_day, order)["filled_qty"] for _ in range(5)]
    filled = read(trading_day, order)
    activities = trading_day.get("/v2/account/activities/FILL", direction="asc")

    assert quantities == ["0", "3", "5", "10", "10"]
    assert kinds(trading_day, order) == ["pending_new", "new", "partial_fill", "partial_fill", "fill"]
    assert [(row["qty"], row["cum_qty"], row["leaves_qty"], row["type"]) for row in activities] == [
        ("3", "3", "7", "partial_fill"),
        ("2", "5", "5", "partial_fill"),
        ("5", "10", "0", "fill"),
    ]
    assert len({row["id"] for row in activities}) == 3
    assert filled["status"] == "filled"
    assert shares(trading_day) == "10"


def test_the_price_of_an_order_is_the_average_of_its_executions(trading_day):
    trading_day.control.add_fault(action="partial", fractions=["0.25"])
    order = sent(trading_day)
    read(trading_day, order, 2)
    trading_day.control.set_symbol("SPY", quote_factor=Decimal("1.01"))

    filled = read(trading_day, order)
    rows = trading_day.get("/v2/account/activities")
    value = sum(Decimal(row["qty"]) * Decimal(row["price"]) for row in rows)

    assert len({row["price"] for row in rows}) == 2
    assert Decimal(filled["filled_avg_price"]) == (value / 10).quantize(Decimal("0.000001"))
    assert Decimal(trading_day.get("/v2/account")["cash"]) == 100_000 - round(value, 2)


def test_a_part_of_whole_shares_is_whole_and_of_fractions_need_not_be(trading_day):
    trading_day.control.add_fault(action="partial", fractions=["0.01", "0.55"])
    whole, fraction = sent(trading_day, qty="3"), sent(trading_day, qty="1.5")

    parts = [[read(trading_day, order)["filled_qty"] for _ in range(4)] for order in (whole, fraction)]

    assert parts == [["0", "1", "2", "3"], ["0", "0.015", "0.84", "1.5"]]


def test_parts_that_are_more_than_the_whole_end_with_the_whole(trading_day):
    trading_day.control.add_fault(action="partial", fractions=["0.8", "0.8"], then="wait")

    assert read(trading_day, sent(trading_day), 3)["filled_qty"] == "10"


def test_an_order_by_amount_fills_whole(trading_day):
    trading_day.control.add_fault(action="partial", fractions=["0.8"])
    order = trading_day.order(notional="100").json()

    assert read(trading_day, order, 2)["status"] == "filled"


def test_the_rest_of_a_partly_filled_order_can_be_cancelled_by_the_venue(trading_day):
    trading_day.control.add_fault(action="partial", fractions=["0.4"], then="cancel")
    order = read(trading_day, sent(trading_day), 4)

    assert (order["status"], order["filled_qty"]) == ("canceled", "4")
    assert shares(trading_day) == "4"


@pytest.mark.parametrize(("how", "status"), [("cancel", "canceled"), ("close", "expired"), ("release", "filled")])
def test_a_partly_filled_order_that_waits_ends_as_it_is_told(trading_day, how, status):
    trading_day.control.add_fault(action="partial", fractions=["0.4"], then="wait")
    order = sent(trading_day, type="limit", limit_price="5000")
    waiting = read(trading_day, order, 5)
    held = Decimal(trading_day.get("/v2/account")["buying_power"])
    cash = Decimal(trading_day.get("/v2/account")["cash"])

    if how == "cancel":
        trading_day.request("DELETE", f"/v2/orders/{order['id']}")
    elif how == "close":
        trading_day.control.move_to_next("close")
    else:
        assert trading_day.control.release(order=order["client_order_id"]) == 1
    ended = read(trading_day, order, 2)
    after = trading_day.get("/v2/account")

    assert (waiting["status"], waiting["filled_qty"]) == ("partially_filled", "4")
    assert cash - held == 6 * 5000
    assert ended["status"] == status
    assert after["buying_power"] == after["cash"]
    assert shares(trading_day) == ("10" if how == "release" else "4")


@pytest.mark.parametrize("status", ["pending_new", "accepted", "new"])
def test_an_order_gets_stuck_until_it_is_released(trading_day, status):
    trading_day.control.add_fault(action="stuck", status=status)
    order = sent(trading_day)

    stuck = read(trading_day, order, 5)["status"]
    trading_day.control.set_clock(CLOSE - timedelta(minutes=1))
    later = read(trading_day, order)["status"]
    released = trading_day.control.release("SPY")

    assert (stuck, later, released) == (status, status, 1)
    assert read(trading_day, order, 3)["status"] == "filled"


def test_an_order_is_stuck_until_an_instant(trading_day):
    noon = datetime.fromisoformat("2026-07-27T12:00-04:00")
    trading_day.control.add_fault(action="stuck", until=noon.isoformat())
    order = sent(trading_day)

    before = read(trading_day, order, 5)["status"]
    trading_day.control.set_clock(noon)

    assert (before, read(trading_day, order, 2)["status"]) == ("pending_new", "filled")


def test_a_stuck_order_outlives_its_session_and_expires_once_it_is_released(trading_day):
    trading_day.control.add_fault(action="stuck")
    order = sent(trading_day)
    trading_day.control.set_clock(CLOSE + timedelta(days=1))
    still = read(trading_day, order)["status"]
    trading_day.control.release()

    assert (still, read(trading_day, order)["status"]) == ("pending_new", "expired")


def test_a_cancel_gets_stuck_until_it_is_released(trading_day):
    trading_day.control.add_fault(action="stuck", status="pending_cancel")
    order = sent(trading_day, type="limit", limit_price="1")
    for _ in range(2):
        assert trading_day.request("DELETE", f"/v2/orders/{order['id']}").status_code == 204
    stuck = read(trading_day, order, 5)["status"]
    trading_day.control.release()

    assert (stuck, read(trading_day, order)["status"]) == ("pending_cancel", "canceled")
    assert kinds(trading_day, order) == ["pending_new", "pending_cancel", "canceled"]


def test_a_fill_can_win_against_a_cancel_that_was_taken(trading_day):
    trading_day.control.add_fault(action="cancel_race")
    order = sent(trading_day, type="limit", limit_price="5")

    assert trading_day.request("DELETE", f"/v2/orders/{order['id']}").status_code == 204
    filled = read(trading_day, order)

    assert (filled["status"], filled["filled_avg_price"]) == ("filled", "5")
    assert kinds(trading_day, order) == ["pending_new", "pending_cancel", "fill"]


def test_a_fill_can_win_against_a_cancel_that_is_then_refused(trading_day):
    trading_day.control.add_fault(action="cancel_race", refuse=True)
    order, other = (sent(trading_day, type="limit", limit_price="5") for _ in range(2))

    refused = trading_day.request("DELETE", f"/v2/orders/{order['id']}")
    every = trading_day.request("DELETE", "/v2/orders")

    assert (refused.status_code, refused.json()["message"]) == (422, 'order is already in "filled" state')
    assert [(row["id"], row["status"]) for row in every.json()] == [(other["id"], 422)]
    assert shares(trading_day) == "20"


def test_a_cancel_wins_where_there_is_no_price_to_fill_at(trading_day):
    trading_day.control.add_fault(action="cancel_race", match={"symbol": "LEU"})
    order = sent(trading_day, symbol="LEU", qty="1")
    trading_day.control.halt("LEU")
    trading_day.request("DELETE", f"/v2/orders/{order['id']}")

    assert read(trading_day, order)["status"] == "canceled"


def test_an_order_is_rejected_after_it_was_taken(trading_day):
    trading_day.control.add_fault(action="reject_later", times=1)
    order = sent(trading_day)

    assert order["status"] == "pending_new"
    assert read(trading_day, order)["status"] == "rejected"
    assert trading_day.get("/v2/account")["buying_power"] == "100000"


def test_nobody_trades_an_illiquid_symbol_until_it_is_liquid(trading_day):
    trading_day.control.set_symbol("SPY", illiquid=True)
    order = sent(trading_day)

    waiting = read(trading_day, order, 4)["status"]
    trading_day.control.set_symbol("SPY", illiquid=False)

    assert (waiting, read(trading_day, order)["status"]) == ("new", "filled")


@pytest.mark.parametrize("moved", ["quotes", "time", "cancel", "release"])
def test_an_order_at_rest_is_looked_at_again_when_something_has_moved(trading_day, moved):
    trading_day.control.add_fault(action="partial", fractions=["0.5"], then="wait")
    ask = trading_day.get("/v2/stocks/quotes/latest", symbols="SPY")["quotes"]["SPY"]["ap"]
    waits = moved == "release"
    sent(trading_day, type="limit", limit_price=str(round(ask + (1 if waits else -1), 2)))

    def listed():
        return [order["status"] for order in trading_day.get("/v2/orders", status="all")]

    for _ in range(3):
        before = listed()
    if moved == "quotes":
        trading_day.control.set_symbol("SPY", quote_factor=Decimal("0.9"))
    elif moved == "time":
        trading_day.control.set_clock(CLOSE)
    elif moved == "cancel":
        trading_day.request("DELETE", "/v2/orders")
    else:
        trading_day.control.release()

    assert before == (["partially_filled"] if waits else ["new"])
    assert listed() == {
        "quotes": ["partially_filled"], "time": ["expired"], "cancel": ["canceled"], "release": ["filled"],
    }[moved]  # fmt: skip


def test_cash_moves_by_what_the_whole_order_comes_to_in_however_many_parts(trading_day):
    ask = Decimal(str(trading_day.get("/v2/stocks/quotes/latest", symbols="SPY")["quotes"]["SPY"]["ap"]))
    trading_day.control.add_fault(action="partial", fractions=["0.0011"] * 60)
    read(trading_day, sent(trading_day, qty="9.5"), 70)

    assert len(trading_day.get("/v2/account/activities")) == 61
    assert Decimal(trading_day.get("/v2/account")["cash"]) == 100_000 - round(Decimal("9.5") * ask, 2)


def test_a_halt_from_now_on_refuses_market_orders_and_holds_limit_orders(trading_day):
    before = trading_day.get("/v2/stocks/quotes/latest", symbols="SPY")["quotes"]["SPY"]
    waiting = sent(trading_day)
    trading_day.control.halt("SPY")
    trading_day.control.advance(timedelta(hours=1))
    market = trading_day.order(qty="1")
    limit = sent(trading_day, type="limit", limit_price="5000")
    during = trading_day.get("/v2/stocks/quotes/latest", symbols="SPY")["quotes"]["SPY"]

    halted = [read(trading_day, order, 3)["status"] for order in (waiting, limit)]
    trading_day.control.resume("SPY")
    resumed = [read(trading_day, order, 2)["status"] for order in (waiting, limit)]

    assert (market.status_code, "trading halt" in market.json()["message"]) == (422, True)
    assert (halted, resumed) == (["new", "new"], ["filled", "filled"])
    assert before == during


def test_flags_of_an_asset_can_be_set(trading_day):
    trading_day.control.set_symbol("SPY", tradable=False)
    trading_day.control.set_symbol("SPY", fractionable=False)
    asset = trading_day.get("/v2/assets/SPY")
    refused = trading_day.order(qty="1")
    trading_day.control.set_symbol("SPY", tradable=True)
    fraction = trading_day.order(qty="1.5")

    assert (asset["status"], asset["tradable"], asset["fractionable"]) == ("active", False, False)
    assert (refused.status_code, refused.json()["message"]) == (422, 'asset "SPY" is not tradable')
    assert (fraction.status_code, fraction.json()["message"]) == (403, 'asset "SPY" is not fractionable')
    assert trading_day.order(qty="1").ok


@pytest.mark.parametrize("flag", ["trading_blocked", "account_blocked", "trade_suspended_by_user"])
def test_an_account_that_may_not_trade_takes_no_orders(trading_day, flag):
    trading_day.control.set_account(**{flag: True})

    refused = trading_day.order(qty="1")
    told = trading_day.get("/v2/account")[flag]
    trading_day.control.set_account(**{flag: False})

    assert (refused.status_code, refused.json()["message"]) == (403, "account is not authorized to trade")
    assert told is True
    assert trading_day.order(qty="1").ok


def test_status_and_cash_of_the_account_can_be_set(trading_day):
    trading_day.control.set_account(status="ONBOARDING", cash=Decimal("1234.56"))

    account = trading_day.get("/v2/account")
    assert (account["status"], account["cash"]) == ("ONBOARDING", "1234.56")
    assert trading_day.order(qty="1").status_code == 403


def test_a_position_can_be_set_but_not_taken_from_open_orders(trading_day):
    trading_day.control.set_position("SPY", Decimal(7))
    trading_day.control.set_position("QQQ", Decimal(2), Decimal(500))
    price = Decimal(trading_day.get("/v2/positions/SPY")["current_price"])
    sent(trading_day, qty="5", side="sell", type="limit", limit_price="9999")

    assert Decimal(trading_day.get("/v2/positions/SPY")["cost_basis"]) == 7 * price
    assert trading_day.get("/v2/positions/QQQ")["avg_entry_price"] == "250"
    with pytest.raises(RequestRefused, match="hold 5 shares"):
        trading_day.control.set_position("SPY", Decimal(4))
    with pytest.raises(RequestRefused, match="no NOPE"):
        trading_day.control.set_position("NOPE", Decimal(4))
    trading_day.control.set_position("QQQ", Decimal(0))
    assert trading_day.request("GET", "/v2/positions/QQQ").status_code == 404


def test_cash_that_open_orders_hold_cannot_be_taken(trading_day):
    sent(trading_day, type="limit", limit_price="100")

    with pytest.raises(RequestRefused, match=r"hold back 1000\.00 dollars"):
        trading_day.control.set_account(cash=Decimal(999))


def test_a_quote_moves_and_grows_old(trading_day):
    def quoted():
        return trading_day.get("/v2/stocks/quotes/latest", symbols="SPY")["quotes"]["SPY"]

    before = quoted()
    trading_day.control.set_symbol("SPY", quote_factor=Decimal("0.5"), quote_age=3600)
    after = quoted()

    assert after["bp"] == pytest.approx(before["bp"] / 2, abs=0.01)
    age = datetime.fromisoformat(before["t"]) - datetime.fromisoformat(after["t"])
    assert age == timedelta(hours=1)


def test_bars_can_be_missing_wrong_and_revised(trading_day):
    query = {"symbols": "SPY", "timeframe": "1Day", "start": "2026-07-20"}

    def bars():
        return {row["t"][:10]: row for row in trading_day.get("/v2/stocks/bars", **query)["bars"].get("SPY", [])}

    before = bars()
    trading_day.control.hide_bars("SPY", date(2026, 7, 21), date(2026, 7, 22))
    trading_day.control.change_bar("SPY", date(2026, 7, 23), Decimal("0.1"), "low")
    trading_day.control.change_bar("SPY", date(2026, 7, 24), Decimal("1.5"))
    after = bars()
    trading_day.control.mend_bars("SPY")
    mended = bars()
    trading_day.control.set_symbol("SPY", missing=True)

    assert mended == before
    assert set(before) - set(after) == {"2026-07-21", "2026-07-22"}
    assert after["2026-07-23"]["l"] == pytest.approx(before["2026-07-23"]["l"] / 10)
    assert after["2026-07-23"]["c"] == before["2026-07-23"]["c"]
    assert after["2026-07-24"]["o"] == pytest.approx(before["2026-07-24"]["o"] * 1.5)
    assert bars() == {}
    assert trading_day.get("/v2/stocks/quotes/latest", symbols="SPY") == {"quotes": {}}
    assert read(trading_day, sent(trading_day), 2)["status"] == "filled"


@pytest.mark.parametrize("ratio", [Decimal(4), Decimal("0.1")])
def test_a_split_that_was_set_changes_shares_prices_and_history(tmp_path, start_serving, ratio):
    morning = datetime.fromisoformat("2026-12-30T10:00-05:00")
    query = {"symbols": "SPY", "timeframe": "1Day", "start": "2026-12-01", "adjustment": "all"}
    with start_serving(tmp_path, start=morning) as served:
        read(served, sent(served), 3)
        value = Decimal(served.get("/v2/positions/SPY")["market_value"])
        waiting = sent(served, type="limit", limit_price="1")
        served.control.split("SPY", date(2027, 1, 4), ratio)
        before = served.get("/v2/stocks/bars", **query)["bars"]["SPY"]
        open_orders = sent(served, type="limit", limit_price="1")
        served.control.set_clock(datetime.fromisoformat("2027-01-04T10:00-05:00"))
        after = served.get("/v2/stocks/bars", **query)["bars"]["SPY"][: len(before)]
        position = served.get("/v2/positions/SPY")
    with start_serving(tmp_path, start=morning) as again:
        assert again.get("/v2/positions/SPY") == position

    assert waiting["id"] != open_orders["id"]
    assert Decimal(position["qty"]) == 10 * ratio
    assert float(position["market_value"]) == pytest.approx(float(value), rel=0.1)
    closes = [(old["c"] / float(ratio), new["c"]) for old, new in zip(before, after, strict=True)]
    assert all(new == pytest.approx(old) for old, new in closes)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (("SPY", MONDAY, Decimal(2)), "session to come"),
        (("SPY", date(2026, 8, 1), Decimal(2)), "session to come"),
        (("SPY", date(2026, 8, 3), Decimal(0)), "more than 0"),
        (("NOPE", date(2026, 8, 3), Decimal(2)), "no NOPE"),
    ],
)
def test_a_split_that_cannot_be_is_refused(quiet_day, split, message):
    with pytest.raises(RequestRefused, match=message):
        quiet_day.control.split(*split)


def replaced(served, order, **body):
    return served.request("PATCH", f"/v2/orders/{order['id']}", json=body)


def test_a_working_order_can_be_replaced(trading_day):
    old = sent(trading_day, type="limit", limit_price="100")
    read(trading_day, old)

    new = replaced(trading_day, old, qty=5, limit_price=90, client_order_id="better").json()
    ended = read(trading_day, old)

    assert (new["qty"], new["limit_price"], new["client_order_id"], new["status"]) == (
        "5",
        "90",
        "better",
        "pending_new",
    )
    assert (new["replaces"], ended["replaced_by"], ended["status"]) == (old["id"], new["id"], "replaced")
    assert ended["replaced_at"]
    assert kinds(trading_day, old) == ["pending_new", "new", "replaced"]
    assert trading_day.get("/v2/account")["buying_power"] == "99550"
    assert [order["id"] for order in trading_day.get("/v2/orders")] == [new["id"]]


def test_the_client_replaces_an_order(trading_day):
    old = sent(trading_day, type="limit", limit_price="100")
    read(trading_day, old)

    new = trading_day.trading.replace_order_by_id(old["id"], ReplaceOrderRequest(qty=3, limit_price=101.5))

    assert (new.qty, new.limit_price, str(new.replaces)) == ("3", "101.5", old["id"])
    assert trading_day.trading.get_order_by_id(old["id"]).status == "replaced"


def test_what_a_replacement_does_not_say_stays(trading_day):
    old = sent(trading_day, type="limit", limit_price="100")
    read(trading_day, old)

    new = replaced(trading_day, old).json()

    assert (new["qty"], new["limit_price"]) == ("10", "100")
    assert new["client_order_id"] != old["client_order_id"]


def test_a_pending_order_a_finished_one_and_an_unknown_one_cannot_be_replaced(trading_day):
    pending = sent(trading_day, type="limit", limit_price="100")
    refused = replaced(trading_day, pending, qty=1)
    trading_day.request("DELETE", f"/v2/orders/{pending['id']}")
    cancelling = replaced(trading_day, pending, qty=1)
    read(trading_day, pending)

    assert {reply.status_code for reply in (refused, cancelling, replaced(trading_day, pending, qty=1))} == {422}
    assert refused.json()["message"] == "unable to replace order, order is not open"
    assert replaced(trading_day, {"id": "none"}, qty=1).status_code == 404


def test_a_replacement_loses_the_race_to_a_fill(trading_day):
    old = sent(trading_day, type="limit", limit_price="5000")
    read(trading_day, old)

    assert replaced(trading_day, old, limit_price="1").status_code == 422
    assert read(trading_day, old)["status"] == "filled"
    assert len(trading_day.get("/v2/orders", status="all")) == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"qty": 0}, 422),
        ({"limit_price": -1}, 422),
        ({"limit_price": "1.001"}, 422),
        ({"qty": 100_000}, 403),
        ({"client_order_id": "taken"}, 422),
    ],
)
def test_a_replacement_that_cannot_be_leaves_the_old_order_working(trading_day, body, status):
    sent(trading_day, qty="1", type="limit", limit_price="1", client_order_id="taken")
    old = sent(trading_day, type="limit", limit_price="100")
    read(trading_day, old)

    reply = replaced(trading_day, old, **body)

    assert reply.status_code == status
    assert read(trading_day, old)["status"] == "new"
    assert kinds(trading_day, old) == ["pending_new", "new"]


def test_an_order_by_amount_and_the_price_of_a_market_order_cannot_be_replaced(trading_day):
    trading_day.control.set_symbol("SPY", illiquid=True)
    amount, market = trading_day.order(notional="100").json(), sent(trading_day)
    read(trading_day, amount), read(trading_day, market)

    assert replaced(trading_day, amount, qty=1).json()["message"] == "notional orders cannot be replaced"
    assert replaced(trading_day, market, limit_price=1).status_code == 422
    assert replaced(trading_day, market, qty=2).ok


def test_a_replacement_after_a_partial_fill_is_about_the_whole_quantity_again(trading_day):
    trading_day.control.add_fault(action="partial", fractions=["0.4"], then="wait")
    old = sent(trading_day, type="limit", limit_price="5000")
    read(trading_day, old, 2)

    new = replaced(trading_day, old, limit_price=4000).json()
    read(trading_day, new, 2)

    assert new["qty"] == "10"
    assert shares(trading_day) == "14"


def test_the_remainder_that_cannot_be_paid_any_more_is_cancelled(trading_day):
    quote = trading_day.get("/v2/stocks/quotes/latest", symbols="SPY")["quotes"]["SPY"]
    trading_day.control.add_fault(action="partial", fractions=["0.5"])
    order = sent(trading_day, qty=str(int(100_000 / quote["ap"] / 1.03)))
    read(trading_day, order, 2)
    trading_day.control.set_symbol("SPY", quote_factor=Decimal("1.5"))

    ended = read(trading_day, order)

    assert ended["status"] == "canceled"
    assert Decimal(ended["filled_qty"]) > 0
    assert Decimal(trading_day.get("/v2/account")["cash"]) > 0


def test_a_day_can_be_walked_by_its_boundaries(simulator):
    told = [simulator.control.move_to_next(boundary) for boundary in ("open", "close", "open", "close")]

    assert [instant.astimezone(CLOSE.tzinfo).strftime("%d %H:%M") for instant in told] == [
        "27 09:30", "27 16:00", "28 09:30", "28 16:00",
    ]  # fmt: skip
    assert all(earlier < later for earlier, later in pairwise(told))


def test_a_step_moves_every_open_order_without_reading_it(trading_day):
    order = sent(trading_day)

    trading_day.control.step(), trading_day.control.step()

    assert kinds(trading_day, order) == ["pending_new", "new", "fill"]


def test_a_reset_begins_the_account_anew(trading_day):
    read(trading_day, sent(trading_day, client_order_id="again"), 2)
    trading_day.control.set_symbol("SPY", tradable=False)
    trading_day.control.set_account(trading_blocked=True)
    trading_day.control.add_fault(action="pass")

    trading_day.control.reset()

    state = trading_day.control.state()
    assert (state["orders"], state["executions"], state["positions"], state["events"]) == ([], [], [], 0)
    assert (state["account"]["cash"], trading_day.control.faults()) == ("100000.00", [])
    assert read(trading_day, sent(trading_day, client_order_id="again"), 2)["status"] == "filled"
    assert trading_day.control.events()[0]["sequence"] == 1


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("symbols", {"symbol": "SPY", "colour": "red"}, "tradable, fractionable"),
        ("symbols", {}, "symbol: Field required"),
        ("clock", {"next": "noon"}, "open"),
        ("clock", {"next": "open", "advance_seconds": 3}, "one of"),
        ("disk", {"full": "maybe"}, "full"),
    ],
)
def test_a_call_that_cannot_be_read_is_refused_with_what_it_takes(quiet_day, path, body, named):
    with pytest.raises(RequestRefused) as refused:
        quiet_day.control._ask("POST", path, body)

    assert (refused.value.code, named in str(refused.value)) == ("400", True)
