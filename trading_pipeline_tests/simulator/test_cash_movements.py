from decimal import Decimal

import pytest

from trading_pipeline.domain.errors import RequestRefused

ACTIVITIES = "/v2/account/activities"


def cash(simulator):
    return Decimal(simulator.get("/v2/account")["cash"])


def kinds(simulator, path=ACTIVITIES, **query):
    return [row["activity_type"] for row in simulator.get(path, direction="asc", **query)]


@pytest.fixture
def booked(trading_day):
    """A dividend, an execution and two fees, in that order."""
    trading_day.control.move_cash("DIV", Decimal("12.34"), "SPY")
    trading_day.order(qty="1")
    trading_day.get("/v2/account"), trading_day.get("/v2/account")
    trading_day.control.move_cash("FEE", Decimal("-0.03"))
    trading_day.control.move_cash("FEE", Decimal("-0.02"))
    return trading_day


def test_a_movement_changes_cash_by_its_amount(trading_day):
    before = cash(trading_day)

    trading_day.control.move_cash("DIV", Decimal("12.34"), "SPY")
    trading_day.control.move_cash("FEE", Decimal("-0.02"))

    assert cash(trading_day) == before + Decimal("12.32")


def test_movements_and_executions_are_one_list_in_the_order_of_time(booked):
    assert kinds(booked) == ["DIV", "FILL", "FEE", "FEE"]
    assert [row["activity_type"] for row in booked.get(ACTIVITIES)] == ["FEE", "FEE", "FILL", "DIV"]
    assert {row.get("date") for row in booked.get(ACTIVITIES, category="non_trade_activity")} == {"2026-07-27"}


def test_activities_are_chosen_by_kind_and_category(booked):
    assert kinds(booked, f"{ACTIVITIES}/FILL") == ["FILL"]
    assert kinds(booked, f"{ACTIVITIES}/FEE") == ["FEE", "FEE"]
    assert kinds(booked, f"{ACTIVITIES}/JNLS") == []
    assert kinds(booked, activity_types="DIV,FILL") == ["DIV", "FILL"]
    assert kinds(booked, category="trade_activity") == ["FILL"]
    assert kinds(booked, category="non_trade_activity") == ["DIV", "FEE", "FEE"]


@pytest.mark.parametrize("query", [{"category": "none"}, {"category": "trade_activity", "activity_types": "FILL"}])
def test_a_category_that_cannot_be_meant_is_refused(quiet_day, query):
    assert quiet_day.request("GET", ACTIVITIES, params=query).status_code == 422


@pytest.mark.parametrize("direction", ["asc", "desc"])
def test_pages_of_one_kind_miss_and_repeat_nothing(booked, direction):
    seen, token = [], ""
    while page := booked.get(f"{ACTIVITIES}/FEE", direction=direction, page_size=1, page_token=token):
        seen += page
        token = page[-1]["id"]

    assert sorted(row["net_amount"] for row in seen) == ["-0.02", "-0.03"]


def test_movements_survive_a_restart_and_are_gone_after_a_reset(start_serving, tmp_path):
    with start_serving(tmp_path) as first:
        first.control.move_cash("CSD", Decimal(500))
        told, held = first.get(ACTIVITIES), cash(first)
    with start_serving(tmp_path) as second:
        assert (second.get(ACTIVITIES), cash(second)) == (told, held)

        second.control.reset()

        assert second.get(ACTIVITIES) == []
        assert cash(second) == held - 500


def test_cash_that_open_orders_hold_back_is_not_taken(trading_day):
    trading_day.order(qty="100", type="limit", limit_price="1")

    with pytest.raises(RequestRefused, match="open orders hold back"):
        trading_day.control.move_cash("CSW", -cash(trading_day))
    with pytest.raises(RequestRefused, match="kind"):
        trading_day.control.move_cash("GIFT", Decimal(1))
    assert trading_day.get(ACTIVITIES) == []
