import shutil
import time
from datetime import timedelta

import pytest

from trading_pipeline.domain.sessions import close_of
from trading_pipeline.ports import IntentState
from trading_pipeline_tests.faults import child
from trading_pipeline_tests.faults.wire import Rule

ACCEPTED_BUT_UNANSWERED = ["500 after", "504 after", "reset after", "closed after", "truncated", "garbage", "slow"]
NEVER_ARRIVED = ["500 before", "503 before", "504 before", "reset before", "silent"]


def states(world):
    entries = world.journal.entries(world.plan.plan_id)
    return {order.symbol: entry.state for order, entry in zip(world.plan.orders, entries, strict=True)}


@pytest.mark.parametrize("fault", NEVER_ARRIVED)
def test_t1_an_order_that_never_arrived_is_sent_again_under_its_id(trading, fault):
    trading.world.proxy.arm(Rule("submit", 2, fault))

    trading.finish()

    assert sorted(trading.posts().values()) == [1, 1, 1, 1, 2]
    trading.assert_as_if_undisturbed()


@pytest.mark.parametrize("fault", ACCEPTED_BUT_UNANSWERED)
def test_t2_an_order_that_was_accepted_without_an_answer_is_adopted_and_not_sent_again(trading, fault):
    trading.world.proxy.arm(Rule("submit", 2, fault))

    trading.finish()

    assert set(trading.posts().values()) == {1}
    trading.assert_as_if_undisturbed()


def test_t3_an_order_that_arrives_late_is_adopted_or_meets_the_one_sent_again_and_there_is_one(trading):
    trading.world.proxy.arm(Rule("submit", 1, "late", times=3))

    trading.finish()

    assert max(trading.posts().values()) <= 2
    trading.assert_as_if_undisturbed()


def test_t4_an_order_that_met_a_rate_limit_is_sent_again_under_its_id_once_that_allows(trading):
    trading.world.proxy.arm(Rule("submit", 1, "429 before", times=2))

    trading.finish()

    assert sum(trading.posts().values()) == 7
    trading.assert_as_if_undisturbed()


def test_t6_an_order_that_is_rejected_after_it_was_acknowledged_ends_its_intent(trading):
    symbol = trading.world.plan.orders[0].symbol
    trading.world.control.add_fault(action="reject_later", match={"symbol": symbol})

    trading.finish()

    assert states(trading.world).pop(symbol) is IntentState.REJECTED
    assert set(trading.posts().values()) == {1}


@pytest.mark.parametrize("then", ["rest", "wait"])
def test_t7_a_partial_fill_is_completed_by_the_broker_or_by_a_later_slice_to_the_share(trading, then):
    symbol = trading.world.plan.orders[0].symbol
    trading.world.control.add_fault(
        action="partial", fractions=["0.25", "0.2"], then=then, match={"symbol": symbol}, times=1
    )

    trading.finish()

    of_symbol = [order for order in trading.world.after.orders if order["symbol"] == symbol]
    assert len(of_symbol) == (1 if then == "rest" else 2)
    trading.assert_as_if_undisturbed()


def test_t7_what_the_broker_itself_cancels_in_the_middle_is_not_sent_again(trading):
    symbol = trading.world.plan.orders[0].symbol
    trading.world.control.add_fault(action="partial", fractions=["0.25"], then="cancel", match={"symbol": symbol})

    trading.finish()

    assert states(trading.world).pop(symbol) is IntentState.CANCELED
    assert set(trading.posts().values()) == {1}


@pytest.mark.parametrize("fault", ["504 before", "504 after", "reset before", "reset after", "slow"])
def test_t8_a_cancel_without_an_answer_is_read_from_the_order_before_the_rest_is_sent(trading, fault):
    symbol = trading.world.plan.orders[0].symbol
    trading.world.control.add_fault(action="stuck", status="new", match={"symbol": symbol}, times=1)
    trading.world.proxy.arm(Rule("cancel", 1, fault))

    trading.finish()

    assert sum(request.kind == "cancel" for request in trading.world.proxy.passed) >= 1
    trading.assert_as_if_undisturbed()


@pytest.mark.parametrize("refuse", [False, True])
def test_t8_t11_a_fill_that_wins_against_the_cancel_leaves_no_rest_to_send(trading, refuse):
    symbol = trading.world.plan.orders[0].symbol
    trading.world.control.add_fault(action="cancel_race", refuse=refuse, match={"symbol": symbol})

    trading.finish()

    assert set(trading.posts().values()) == {1}
    trading.assert_as_if_undisturbed()


def test_t12_a_blocked_account_is_sent_nothing_and_the_plan_goes_on_once_it_is_free(trading):
    trading.world.control.set_account(trading_blocked=True)

    assert trading.world.run().outcome["error"] == "TradingHalted"

    assert not trading.posts()
    trading.world.control.set_account(trading_blocked=False)
    trading.finish()
    trading.assert_as_if_undisturbed()


def test_j1_a_lost_journal_is_made_again_from_the_plan_and_the_broker(trading):
    trading.world.proxy.arm(Rule("submit", 4, "kill after"))
    trading.world.run()
    trading.world.lose_journal()

    trading.finish()

    assert set(trading.posts().values()) == {1}
    trading.assert_as_if_undisturbed()


def test_j1_a_damaged_journal_sends_nothing_until_it_is_moved_away(trading_one_by_one):
    trading = trading_one_by_one
    trading.world.proxy.arm(Rule("submit", 3, "kill after"))
    trading.world.run()
    trading.world.lose_journal()
    (trading.world.folder / child.JOURNAL).write_bytes(b"not a database " * 1000)
    sent = trading.posts()

    assert trading.world.run().outcome["error"] == "DataError"

    assert trading.posts() == sent
    trading.world.lose_journal()
    trading.finish()
    assert set(trading.posts().values()) == {1}
    trading.assert_as_if_undisturbed()


def test_j1_a_journal_that_was_rolled_back_finds_at_the_broker_what_it_has_forgotten(trading_one_by_one, tmp_path):
    trading = trading_one_by_one
    trading.world.proxy.arm(Rule("submit", 2, "kill before"))
    trading.world.run()
    for path in trading.world.folder.glob(f"{child.JOURNAL}*"):
        shutil.copy(path, tmp_path)
    trading.finish()
    trading.world.lose_journal()
    for path in tmp_path.glob(f"{child.JOURNAL}*"):
        shutil.copy(path, trading.world.folder)
    sent = trading.posts()

    trading.finish()

    assert trading.posts() == sent
    trading.assert_as_if_undisturbed()


@pytest.mark.parametrize("more", [0, 1, 2, 3])
def test_x1_on_a_full_disk_no_order_leaves_that_is_not_journalled(trading_one_by_one, more):
    trading = trading_one_by_one
    # Pages of 4 KiB: none for the journal at all, then for a few of its lines.
    launch = trading.world.run(file_limit=1 + more * 40_000)

    assert launch.outcome["error"] in {"DependencyUnavailable", "InvalidInput"}
    assert sum(trading.posts().values()) <= 5 * more
    trading.finish()
    trading.assert_as_if_undisturbed()


@pytest.mark.parametrize("kind", ["submit", "orders", "quotes"])
def test_x2_asked_to_end_a_run_finishes_what_is_on_its_way_and_begins_nothing_new(trading_one_by_one, kind):
    trading = trading_one_by_one
    trading.world.proxy.arm(Rule(kind, 2 if kind == "submit" else 1, "terminate"))
    began = time.monotonic()

    launch = trading.world.run()

    assert time.monotonic() - began < 10
    assert launch.outcome["error"] == "Interrupted"
    assert sum(trading.posts().values()) == (2 if kind == "submit" else 0)
    assert list(states(trading.world).values()).count(IntentState.ACKNOWLEDGED) == sum(trading.posts().values())
    trading.finish()
    trading.assert_as_if_undisturbed()


def test_x2_asked_to_end_with_many_orders_on_their_way_each_is_journalled_as_it_was_answered(trading):
    trading.world.proxy.arm(Rule("submit", 1, "terminate"))

    launch = trading.world.run()

    assert launch.outcome["error"] == "Interrupted"
    sent = {row["client_order_id"] for row in trading.world.after.orders}
    entries = trading.world.journal.entries(trading.world.plan.plan_id)
    assert {entry.order_id for entry in entries if entry.state is IntentState.ACKNOWLEDGED} == sent
    trading.finish()
    trading.assert_as_if_undisturbed()


def test_i2_an_order_that_never_turns_up_is_abandoned_when_its_session_has_closed(trading):
    trading.world.proxy.arm(Rule("submit", 1, "reset before", times=50))
    trading.world.run()
    trading.world.control.set_clock(close_of(trading.world.plan.execution_session) + timedelta(minutes=1))

    trading.world.run(settles=True)

    entries = trading.world.journal.entries(trading.world.plan.plan_id)
    assert all(entry.state.is_terminal for entry in entries), entries
    assert not trading.world.after.orders
