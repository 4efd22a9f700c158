"""What of a liquidation is kept: the request, its plan beside the session's, and its claim in the journal."""

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from trading_pipeline.adapters.storage.journal import SqliteJournal
from trading_pipeline.adapters.storage.liquidations import StoredLiquidations
from trading_pipeline.adapters.storage.objects import FileObjects, StoredPlans
from trading_pipeline.domain.errors import DataError
from trading_pipeline.domain.liquidation import LiquidationRequest, LiquidationTrigger, Stage
from trading_pipeline.domain.orders import PlanPurpose
from trading_pipeline_tests.builders import ACCOUNT, SESSION, make_plan, sell

NOON = datetime(2026, 7, 31, 16, tzinfo=UTC)
REQUEST = LiquidationRequest(LiquidationTrigger.BROKEN_RECONCILIATION, "1 broken", ACCOUNT, 9, NOON, NOON)
KEY = f"liquidations/requests/{ACCOUNT}/00000009.json"


@pytest.fixture
def objects(tmp_path):
    return FileObjects(tmp_path)


@pytest.fixture
def requests(objects):
    return StoredLiquidations(objects)


def liquidation(number):
    plan_id = f"{SESSION}.liq-{number}"
    order = sell("TLT", "10", plan_id=plan_id)
    return make_plan(order, version=number, plan_id=plan_id, purpose=PlanPurpose.LIQUIDATION)


def test_a_request_comes_back_equal_and_is_found_by_its_number_and_as_the_newest(requests):
    moved = replace(REQUEST, stage=Stage.UNDER_WAY, agreed_by="a person", session=date(2026, 7, 31))
    assert requests.newest(ACCOUNT) is None
    assert requests.replace(None, moved)
    assert requests.replace(None, replace(REQUEST, epoch=10))

    assert requests.of(ACCOUNT, 9) == moved
    assert requests.newest(ACCOUNT).epoch == 10
    assert (requests.of(ACCOUNT, 8), requests.newest("another")) == (None, None)


def test_of_each_account_the_newest_that_was_agreed_to_and_is_not_over_is_listed(requests):
    agreed = replace(REQUEST, stage=Stage.CONFIRMED, agreed_by="a person")
    requests.replace(None, agreed)
    requests.replace(None, replace(agreed, account_number="other", epoch=3))
    requests.replace(None, replace(agreed, account_number="done", epoch=1))
    requests.replace(None, replace(agreed, account_number="done", epoch=2, stage=Stage.OVER))
    requests.replace(None, replace(REQUEST, account_number="asked"))

    assert [(each.account_number, each.epoch) for each in requests.agreed()] == [(ACCOUNT, 9), ("other", 3)]


def test_of_two_that_move_a_request_at_once_one_does(requests):
    requests.replace(None, REQUEST)
    confirmed = replace(REQUEST, stage=Stage.CONFIRMED)

    assert not requests.replace(None, confirmed)
    assert requests.replace(REQUEST, confirmed)
    assert not requests.replace(REQUEST, replace(REQUEST, stage=Stage.OVER))
    assert requests.of(ACCOUNT, 9) == confirmed


@pytest.mark.parametrize(
    "damage", [lambda text: text[:40], lambda text: text.replace(b"broken", b"brokem"), lambda _: b"{}"]
)
def test_a_request_that_was_changed_by_hand_is_refused_by_name(requests, objects, damage):
    requests.replace(None, REQUEST)
    objects.put(KEY, damage(objects.get(KEY)))

    with pytest.raises(DataError, match=r"00000009\.json"):
        requests.of(ACCOUNT, 9)
    with pytest.raises(DataError, match=r"00000009\.json"):
        requests.newest(ACCOUNT)


def test_a_request_in_the_place_of_another_is_refused(requests, objects):
    requests.replace(None, REQUEST)
    objects.put(KEY.replace("9.json", "8.json"), objects.get(KEY))

    with pytest.raises(DataError, match=r"00000008\.json"):
        requests.of(ACCOUNT, 8)


def test_its_plan_lies_beside_the_sessions_plans_and_is_none_of_them(objects):
    plans, ordinary = StoredPlans(objects), make_plan(sell("TLT", "10"))
    for plan in (ordinary, liquidation(9), liquidation(10)):
        assert plans.put_if_absent(plan) == plan

    assert plans.versions(ACCOUNT, SESSION) == [ordinary]
    assert plans.liquidations(ACCOUNT, SESSION) == [liquidation(9), liquidation(10)]
    assert plans.liquidations("another", SESSION) == []
    # Of two that plan the same liquidation the first counts.
    assert plans.put_if_absent(replace(liquidation(9), code_version="9")) == liquidation(9)


def test_it_is_claimed_beside_the_sessions_plan_and_each_number_once(tmp_path):
    journal, ordinary = SqliteJournal(tmp_path / "journal.sqlite"), make_plan(sell("TLT", "10"))
    for plan in (ordinary, liquidation(9), liquidation(10)):
        assert journal.claim(plan, NOON) == plan.plan_id

    assert journal.claimed(ACCOUNT, SESSION) == ordinary.plan_id
    assert [journal.claimed(ACCOUNT, SESSION, number) for number in (9, 10, 11)] == [
        liquidation(9).plan_id,
        liquidation(10).plan_id,
        None,
    ]
    assert journal.claim(replace(liquidation(9), plan_id="another"), NOON) == liquidation(9).plan_id
    assert {entry.session for entry in journal.entries(liquidation(9).plan_id)} == {SESSION}


def test_where_only_a_liquidation_was_claimed_the_session_is_still_free(tmp_path):
    journal = SqliteJournal(tmp_path / "journal.sqlite")
    journal.claim(liquidation(9), NOON)

    assert journal.claimed(ACCOUNT, SESSION) is None
