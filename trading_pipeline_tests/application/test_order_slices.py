from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.adapters.storage.journal import SqliteJournal
from trading_pipeline.application.execution import execute
from trading_pipeline.application.opposites import opposed
from trading_pipeline.application.venue import Desk, Pursuit
from trading_pipeline.domain.errors import Interrupted
from trading_pipeline.domain.orders import Accepted, OrderStatus, Refusal, Rejected, Side, Unknown, client_order_id
from trading_pipeline.domain.risk.trading_state import TradingMode, TradingState
from trading_pipeline.ports import IntentState, Quote
from trading_pipeline_tests.builders import (
    ACCOUNT,
    FILLED,
    INSIDE_WINDOW,
    PLAN_ID,
    RULES,
    WORKING,
    Killed,
    ListedMarketData,
    ScriptedBroker,
    Step,
    Tripwire,
    TurnedClock,
    buy,
    details,
    make_plan,
    make_venue,
    sell,
    states,
)

PATIENT = replace(RULES, max_reprices=2, order_timeout=30.0)
PARTIAL = Step(OrderStatus.PARTIALLY_FILLED, "0.25")


@pytest.fixture
def venue(tmp_path):
    return make_venue(tmp_path)


class Stubborn(ScriptedBroker):
    """Fills nothing but ``filled`` of an order before its ``gives_in``-th slice, which fills."""

    def __init__(self, gives_in=1, filled="0", **account):
        super().__init__(**account)
        self.gives_in, self.filled = gives_in, filled

    def submit(self, intent):
        is_last = sum(order.symbol == intent.symbol for order in self.known.values()) >= self.gives_in
        self.steps[intent.symbol] = [WORKING, FILLED if is_last else Step(OrderStatus.PARTIALLY_FILLED, self.filled)]
        return super().submit(intent)


def slice_id(number, symbol="SPY", side=Side.BUY):
    return client_order_id(ACCOUNT, PLAN_ID, symbol, side, number)


def test_the_rest_of_an_order_that_does_not_fill_is_sent_anew_further_beyond_the_quote(venue):
    broker, plan = Stubborn(gives_in=2, filled="0.25"), make_plan(buy("SPY", "8"))

    done = execute(plan, replace(venue, broker=broker), PATIENT)

    assert [(sent.client_order_id, sent.quantity, sent.limit_price) for sent in broker.sent] == [
        (slice_id(0), Decimal(8), Decimal("100.10")),
        (slice_id(1), Decimal(6), Decimal("100.20")),
        (slice_id(2), Decimal("4.5"), Decimal("100.30")),
    ]
    assert states(venue, plan) == {"SPY": IntentState.FILLED}
    assert details(venue, plan) == {"SPY": "filled, 8 of 8 filled at 100.2312 in 3 orders"}
    assert sum(fill.quantity for fill in done.fills) == 8
    assert {order.client_order_id for order in done.orders} == {slice_id(number) for number in range(3)}


def test_prices_are_never_sent_beyond_the_collar_however_often(venue):
    broker = Stubborn(gives_in=9)
    broker.filled = "0"
    plan = make_plan(buy("SPY", "8", "100.15"))

    execute(plan, replace(venue, broker=broker), PATIENT)

    assert [sent.limit_price for sent in broker.sent] == [Decimal("100.10"), Decimal("100.15"), Decimal("100.15")]
    assert states(venue, plan) == {"SPY": IntentState.CANCELED}
    assert details(venue, plan) == {"SPY": "canceled, 0 of 8 filled in 3 orders"}


def test_a_cancel_is_journalled_before_it_leaves_and_says_that_the_rest_is_priced_anew(venue):
    seen = []

    class Watched(Stubborn):
        def cancel(self, venue_order_id):
            entry = venue.journal.entries(PLAN_ID)[0]
            seen.append((entry.state, entry.order_id))
            super().cancel(venue_order_id)

    execute(make_plan(buy("SPY", "8")), replace(venue, broker=Watched(gives_in=9)), PATIENT)

    assert seen == [
        (IntentState.REPRICING, slice_id(0)),
        (IntentState.REPRICING, slice_id(1)),
        (IntentState.CANCELLING, slice_id(2)),
    ]


def test_a_fill_that_wins_the_race_against_the_cancel_leaves_nothing_to_be_sent_anew(venue):
    class Racing(Stubborn):
        def cancel(self, venue_order_id):
            self._next[venue_order_id.removeprefix("venue-")] = [FILLED]

    broker, plan = Racing(gives_in=9), make_plan(buy("SPY", "8"))

    execute(plan, replace(venue, broker=broker), PATIENT)

    assert len(broker.sent) == 1
    assert states(venue, plan) == {"SPY": IntentState.FILLED}


def test_an_order_that_somebody_else_cancelled_is_over(venue):
    venue.broker.steps["SPY"] = [WORKING, Step(OrderStatus.CANCELED, "0.25")]
    plan = make_plan(buy("SPY", "8"))

    execute(plan, venue, PATIENT)

    assert len(venue.broker.sent) == 1
    assert states(venue, plan) == {"SPY": IntentState.CANCELED}


@pytest.mark.parametrize("deleted", [False, True], ids=["journal kept", "journal lost"])
@given(call=st.integers(1, 40), after_effect=st.booleans())
def test_killed_at_any_call_while_slices_go_out_the_next_runs_buy_what_was_wanted_once(
    tmp_path_factory, deleted, call, after_effect
):
    folder = tmp_path_factory.mktemp("killed")
    broker, plan = Stubborn(gives_in=2, filled="0.25"), make_plan(buy("SPY", "8"))
    venue = replace(make_venue(folder), broker=broker)
    wire = Tripwire(call, Killed, after_effect)

    try:
        execute(plan, replace(venue, broker=wire.around(broker)), PATIENT)
    except Killed:
        if deleted:
            (folder / "journal.sqlite").unlink()
            venue = replace(venue, journal=SqliteJournal(folder / "journal.sqlite"))
    for _ in range(4):
        execute(plan, venue, PATIENT)

    assert states(venue, plan) == {"SPY": IntentState.FILLED}
    assert broker.shares["SPY"] == 8
    assert set(broker.known) <= {slice_id(number) for number in range(3)}
    journalled = {entry.order_id for entry in venue.journal.history(PLAN_ID)}
    assert set(broker.known) <= journalled


def test_where_fractions_are_refused_whole_shares_are_sent_once_under_the_same_id(venue):
    venue.broker.answers["SPY"] = [Refusal.NOT_FRACTIONABLE]
    plan = make_plan(buy("SPY", "2.75"))

    execute(plan, venue, RULES)

    assert [(sent.client_order_id, sent.quantity) for sent in venue.broker.sent] == [
        (slice_id(0), Decimal("2.75")),
        (slice_id(0), Decimal(2)),
    ]
    assert states(venue, plan) == {"SPY": IntentState.FILLED}
    submissions = [e.detail for e in venue.journal.history(PLAN_ID) if e.state is IntentState.SUBMITTING]
    assert submissions == ["2.75 at 100.10", "whole shares: 2 at 100.10"]


def test_where_fractions_are_refused_and_no_whole_share_is_wanted_the_order_is_given_up(venue):
    venue.broker.answers["SPY"] = [Refusal.NOT_FRACTIONABLE]
    plan = make_plan(buy("SPY", "0.75"))

    execute(plan, venue, RULES)

    assert states(venue, plan) == {"SPY": IntentState.ABANDONED}
    assert details(venue, plan)["SPY"].endswith("nothing is left of it as whole shares")


def test_whole_shares_that_are_refused_for_the_same_reason_are_not_sent_again(venue):
    venue.broker.answers["SPY"] = [Refusal.NOT_FRACTIONABLE] * 3
    plan = make_plan(buy("SPY", "2.75"))

    execute(plan, venue, RULES)

    assert len(venue.broker.sent) == 2
    assert states(venue, plan) == {"SPY": IntentState.REJECTED}


@pytest.mark.parametrize(
    ("available", "quantity"), [(Decimal("500.51"), Decimal(5)), (None, Decimal(3))], ids=["said", "asked for"]
)
def test_an_order_beyond_the_buying_power_is_resized_once_to_what_there_is(venue, available, quantity):
    poor = Rejected("", "40310000", "insufficient buying power", Refusal.BUYING_POWER, available)
    plan = make_plan(buy("SPY", "8"))

    class Shrinking(ScriptedBroker):
        def submit(self, intent):
            result = super().submit(intent)
            self.cash = Decimal("301")  # what the account itself says from then on
            return result

    broker = Shrinking() if available is None else ScriptedBroker()
    broker.answers["SPY"] = [poor]
    execute(plan, replace(venue, broker=broker), RULES)

    assert [sent.quantity for sent in broker.sent] == [Decimal(8), quantity]
    assert states(venue, plan) == {"SPY": IntentState.FILLED}


def test_buying_power_that_is_lacking_a_second_time_ends_the_order(venue):
    poor = Rejected("", "40310000", "insufficient buying power", Refusal.BUYING_POWER, Decimal(500))
    venue.broker.answers["SPY"] = [poor, poor, poor]
    plan = make_plan(buy("SPY", "8"))

    execute(plan, venue, RULES)

    assert len(venue.broker.sent) == 2
    assert states(venue, plan) == {"SPY": IntentState.ABANDONED}
    assert details(venue, plan) == {"SPY": "40310000: insufficient buying power"}


def test_no_buying_power_at_all_ends_the_order_with_the_reason(venue):
    venue.broker.answers["SPY"] = [Rejected("", "40310000", "insufficient", Refusal.BUYING_POWER, Decimal(0))]
    plan = make_plan(buy("SPY", "8"))

    execute(plan, venue, RULES)

    assert states(venue, plan) == {"SPY": IntentState.ABANDONED}


@pytest.mark.parametrize("available", [Decimal(0), Decimal(4), None])
def test_a_sale_of_shares_that_another_order_holds_waits_until_they_are_free(venue, available):
    held = Rejected("", "40310000", "insufficient qty available", Refusal.HELD_SHARES, available)
    venue.broker.answers["TLT"] = [held]
    plan = make_plan(sell("TLT", "10"))

    execute(plan, venue, RULES)

    assert states(venue, plan) == {"TLT": IntentState.PARKED}

    execute(plan, venue, RULES)

    assert states(venue, plan) == {"TLT": IntentState.FILLED}
    assert venue.broker.shares["TLT"] == 0


@pytest.mark.parametrize("refusal", [Refusal.HALTED, Refusal.NOT_TRADABLE, Refusal.OPPOSITE_ORDER])
def test_what_cannot_be_traded_now_is_parked_the_others_go_on_and_the_next_run_tries_again(venue, refusal):
    venue.broker.answers["SPY"] = [refusal]
    plan = make_plan(buy("SPY", "8"), buy("QQQ", "8"))

    done = execute(plan, venue, RULES)

    assert states(venue, plan) == {"SPY": IntentState.PARKED, "QQQ": IntentState.FILLED}
    assert details(venue, plan)["SPY"] == f"refused: {refusal}"
    assert [entry.state for entry in done.unresolved] == [IntentState.PARKED]

    execute(plan, venue, RULES)

    assert states(venue, plan) == {"SPY": IntentState.FILLED, "QQQ": IntentState.FILLED}


@pytest.mark.parametrize("price", [None, "0"])
def test_without_a_quote_an_order_waits(tmp_path, price):
    venue = make_venue(tmp_path, prices={"SPY": price} if price else {})
    plan = make_plan(buy("SPY", "8"))

    execute(plan, venue, RULES)

    assert venue.broker.sent == []
    assert states(venue, plan) == {"SPY": IntentState.PARKED}
    assert details(venue, plan) == {"SPY": "no quote for SPY"}


def test_a_quote_that_is_too_old_prices_no_order(venue):
    class Stale(ListedMarketData):
        def quotes(self, symbols):
            at = INSIDE_WINDOW - timedelta(minutes=16)
            return {symbol: Quote(symbol, Decimal(100), Decimal(100), at) for symbol in symbols}

    plan = make_plan(buy("SPY", "8"))

    execute(plan, replace(venue, market_data=Stale()), replace(RULES, quote_age=timedelta(minutes=15)))

    assert states(venue, plan) == {"SPY": IntentState.PARKED}
    assert "too old to price an order by" in details(venue, plan)["SPY"]


def test_after_the_time_limit_nothing_is_sent_any_more(venue):
    venue.broker.answers["SPY"] = [Refusal.HALTED]
    plan = make_plan(buy("SPY", "8"))
    execute(plan, venue, RULES)

    venue.clock.instant += timedelta(minutes=61)
    execute(plan, venue, RULES)

    assert len(venue.broker.sent) == 1
    assert states(venue, plan) == {"SPY": IntentState.ABANDONED}
    assert details(venue, plan) == {"SPY": "the time limit of 60 minutes since the plan was journalled is over"}


def test_a_part_that_was_filled_is_told_when_the_time_limit_ends_the_rest(venue):
    broker, plan = Stubborn(gives_in=9, filled="0.25"), make_plan(buy("SPY", "8"))
    rules = replace(PATIENT, time_limit=timedelta(seconds=1))

    execute(plan, replace(venue, broker=broker), rules)

    assert states(venue, plan) == {"SPY": IntentState.ABANDONED}
    assert details(venue, plan)["SPY"].startswith("2 of 8 filled; the time limit of")


def test_buys_that_cash_does_not_cover_yet_wait_for_a_sale_that_is_not_over(tmp_path):
    venue = make_venue(tmp_path, cash="500")
    venue.broker.answers["TLT"] = [Refusal.HALTED]
    plan = make_plan(sell("TLT", "10"), buy("GLD", "1"), buy("SPY", "8"))

    execute(plan, venue, RULES)

    assert states(venue, plan) == {
        "TLT": IntentState.PARKED,
        "GLD": IntentState.FILLED,
        "SPY": IntentState.PARKED,
    }
    assert details(venue, plan)["SPY"] == "waits for the cash of TLT, not sold yet"

    execute(plan, venue, RULES)

    assert set(states(venue, plan).values()) == {IntentState.FILLED}
    assert venue.broker.shares["SPY"] == 8


def test_buys_take_what_cash_there_is_once_half_of_the_time_is_over(tmp_path):
    venue = make_venue(tmp_path, cash="500")
    venue.broker.answers["TLT"] = [Refusal.HALTED] * 2
    plan = make_plan(sell("TLT", "10"), buy("SPY", "8"))
    execute(plan, venue, RULES)

    venue.clock.instant += timedelta(minutes=31)
    execute(plan, venue, RULES)

    assert states(venue, plan) == {"TLT": IntentState.PARKED, "SPY": IntentState.FILLED}
    assert venue.broker.shares["SPY"] == 4


def test_while_trading_only_reduces_sales_go_and_buys_wait(venue):
    venue.trading_state.state = TradingState(TradingMode.REDUCING, "a break")
    plan = make_plan(sell("TLT", "10"), buy("SPY", "8"))

    execute(plan, venue, RULES)

    assert states(venue, plan) == {"TLT": IntentState.FILLED, "SPY": IntentState.PARKED}
    assert details(venue, plan)["SPY"] == "trading is reducing: a break"


def test_an_order_of_ours_on_the_other_side_is_cancelled_and_gone_before_ours_is_sent(venue):
    earlier = make_plan(sell("TLT", "10", plan_id="2026-07-29.1"), session=make_plan().session.replace(day=29))
    venue.journal.claim(earlier, INSIDE_WINDOW)
    venue.broker.steps["TLT"] = [WORKING]
    venue.broker.submit(earlier.orders[0])
    venue.journal.record(earlier.orders[0].client_order_id, IntentState.ACKNOWLEDGED, "", INSIDE_WINDOW)
    venue.broker.steps["TLT"] = [FILLED]
    sent_while_open = []

    class Moving:
        def __getattr__(self, name):
            return getattr(venue.broker, name)

        def submit(self, intent):
            sent_while_open.extend(venue.broker.orders())
            return venue.broker.submit(intent)

        def orders(self, since=None):
            for known in list(venue.broker.known):
                venue.broker.order(known)
            return venue.broker.orders(since)

    plan = make_plan(buy("TLT", "3"))
    execute(plan, replace(venue, broker=Moving()), RULES)

    assert venue.broker.cancelled == [f"venue-{earlier.orders[0].client_order_id}"]
    assert sent_while_open == []
    assert states(venue, plan) == {"TLT": IntentState.FILLED}
    history = [entry.state for entry in venue.journal.history(earlier.plan_id)]
    assert IntentState.CANCELLING in history


def test_an_order_placed_by_hand_on_the_other_side_is_never_touched_and_ours_waits(venue):
    venue.broker.steps["TLT"] = [WORKING]
    venue.broker.submit(replace(sell("TLT", "10"), client_order_id="by-hand"))
    plan = make_plan(buy("TLT", "3"), buy("SPY", "8"))

    execute(plan, venue, RULES)

    assert venue.broker.cancelled == []
    assert states(venue, plan) == {"TLT": IntentState.PARKED, "SPY": IntentState.FILLED}
    assert details(venue, plan)["TLT"] == "order venue-by-hand of the other side is open"


def test_an_order_of_ours_that_cannot_be_cancelled_keeps_the_opposite_one_waiting(venue):
    earlier = make_plan(sell("TLT", "10", plan_id="2026-07-29.1"), session=make_plan().session.replace(day=29))
    venue.journal.claim(earlier, INSIDE_WINDOW)
    venue.broker.steps["TLT"] = [WORKING]
    venue.broker.deaf_to_cancels = True
    venue.broker.submit(earlier.orders[0])
    plan = make_plan(buy("TLT", "3"))

    execute(plan, venue, RULES)

    assert states(venue, plan) == {"TLT": IntentState.PARKED}


@pytest.mark.parametrize("meanwhile", [IntentState.FILLED, IntentState.CANCELLING])
def test_an_opposite_order_of_which_a_run_beside_this_one_wrote_since_is_left_to_that(venue, meanwhile):
    earlier = make_plan(sell("TLT", "10", plan_id="2026-07-29.1"), session=make_plan().session.replace(day=29))
    venue.journal.claim(earlier, INSIDE_WINDOW)
    venue.broker.steps["TLT"] = [WORKING]
    venue.broker.submit(earlier.orders[0])
    sold = earlier.orders[0].client_order_id

    class WrittenMeanwhile:
        def __getattr__(self, name):
            return getattr(venue.journal, name)

        def unfinished(self):
            found = venue.journal.unfinished()
            if any(entry.client_order_id == sold for entry in found):
                venue.journal.record(sold, meanwhile, "", INSIDE_WINDOW)
            return found

    plan = make_plan(buy("TLT", "3"), buy("SPY", "8"))
    venue.journal.claim(plan, INSIDE_WINDOW)
    desk = Desk(plan, replace(venue, journal=WrittenMeanwhile()), RULES, INSIDE_WINDOW, INSIDE_WINDOW, 0.0)

    stands = opposed([Pursuit(order, plan.account_number, plan.plan_id) for order in plan.orders], desk)

    assert list(stands) == ["TLT"]
    assert venue.broker.cancelled == []
    assert venue.journal.history(earlier.plan_id)[-1].state is meanwhile


def test_with_many_in_flight_sales_are_over_before_the_first_buy_leaves(tmp_path):
    symbols = [f"S{number:02d}" for number in range(12)]
    venue = make_venue(
        tmp_path,
        cash="100000",
        held=dict.fromkeys(symbols[:6], "10"),
        prices=dict.fromkeys(symbols, "100"),
    )
    open_sales_at_buys = []

    class Watched(ScriptedBroker):
        def submit(self, intent):
            if intent.side is Side.BUY:
                open_sales_at_buys.extend(o for o in self.orders() if o.side is Side.SELL)
            return super().submit(intent)

    broker = Watched("100000", dict.fromkeys(symbols[:6], "10"))
    plan = make_plan(*[sell(s, "10") for s in symbols[:6]], *[buy(s, "10") for s in symbols[6:]])

    execute(plan, replace(venue, broker=broker), replace(RULES, orders_in_flight=4))

    assert set(states(venue, plan).values()) == {IntentState.FILLED}
    assert open_sales_at_buys == []
    assert [sent.side for sent in broker.sent] == [Side.SELL] * 6 + [Side.BUY] * 6


def test_what_a_run_beside_this_one_sent_is_not_given_up(venue):
    plan = make_plan(buy("SPY", "8"))

    class Beside(ListedMarketData):
        """While this run reads quotes, another one sends the order."""

        def quotes(self, symbols):
            venue.journal.record(plan.orders[0].client_order_id, IntentState.SUBMITTING, "beside", INSIDE_WINDOW)
            return {}

    execute(plan, replace(venue, market_data=Beside()), RULES)

    assert states(venue, plan) == {"SPY": IntentState.SUBMITTING}
    assert "sent before, not seen at the broker" in details(venue, plan)["SPY"]


def test_what_a_run_beside_this_one_ended_stays_ended(venue):
    plan = make_plan(buy("SPY", "8"))

    class Beside(ListedMarketData):
        def quotes(self, symbols):
            venue.journal.record(plan.orders[0].client_order_id, IntentState.ABANDONED, "beside", INSIDE_WINDOW)
            return {}

    execute(plan, replace(venue, market_data=Beside()), RULES)

    assert details(venue, plan) == {"SPY": "beside"}


def test_executions_that_are_told_late_are_waited_for(venue):
    class Slow(ScriptedBroker):
        asked = 0

        def executions(self, after):
            self.asked += 1
            return super().executions(after) if self.asked > 2 else []

    done = execute(make_plan(buy("SPY", "8")), replace(venue, broker=Slow()), RULES)

    assert sum(fill.quantity for fill in done.fills) == 8


def test_executions_that_are_never_told_are_not_waited_for_without_end(venue):
    class Mute(ScriptedBroker):
        def executions(self, after):
            return []

    done = execute(make_plan(buy("SPY", "8")), replace(venue, broker=Mute()), RULES)

    assert done.fills == ()
    assert [entry.state for entry in done.entries] == [IntentState.FILLED]


def test_a_rest_that_had_to_wait_between_two_prices_is_sent_by_the_next_run(venue):
    class Halting(Stubborn):
        halted = True

        def submit(self, intent):
            if self.known and self.halted:
                return Rejected(intent.client_order_id, "42210000", "halted", Refusal.HALTED)
            return super().submit(intent)

    broker, plan = Halting(gives_in=1, filled="0.25"), make_plan(buy("SPY", "8"))
    execute(plan, replace(venue, broker=broker), PATIENT)
    assert states(venue, plan) == {"SPY": IntentState.PARKED}

    broker.halted = False
    execute(plan, replace(venue, broker=broker), PATIENT)

    assert states(venue, plan) == {"SPY": IntentState.FILLED}
    assert broker.shares["SPY"] == 8


def test_the_rest_of_an_order_that_a_run_beside_this_one_cancelled_for_a_new_price_is_not_lost(venue):
    name = slice_id(0)

    class Beside(Stubborn):
        def orders(self, since=None):
            if name in self.known and not self.cancelled:
                venue.journal.record(name, IntentState.REPRICING, "by the run beside", INSIDE_WINDOW)
                self.cancel(f"venue-{name}")
            return super().orders(since)

    broker, plan = Beside(gives_in=1, filled="0"), make_plan(buy("SPY", "8"))

    execute(plan, replace(venue, broker=broker), PATIENT)

    assert states(venue, plan) == {"SPY": IntentState.FILLED}
    assert broker.shares["SPY"] == 8


def test_what_a_run_beside_this_one_ended_meanwhile_stops_nothing(venue):
    plan = make_plan(buy("SPY", "8"), buy("QQQ", "8"))

    class Beside(ScriptedBroker):
        def cancel(self, venue_order_id):
            super().cancel(venue_order_id)

        def orders(self, since=None):
            found = super().orders(since)
            if len(found) == 2 and venue.journal.entries(PLAN_ID)[0].state is IntentState.ACKNOWLEDGED:
                venue.journal.record(slice_id(0), IntentState.FILLED, "by the run beside", INSIDE_WINDOW)
            return found

    broker = Beside()
    broker.steps["SPY"] = [WORKING] * 40 + [FILLED]
    broker.steps["QQQ"] = [WORKING] * 6 + [FILLED]

    execute(plan, replace(venue, broker=broker), RULES)

    assert states(venue, plan)["QQQ"] is IntentState.FILLED


def test_an_order_that_a_list_leaves_out_is_asked_for_by_its_id_and_not_given_up(venue):
    plan = make_plan(buy("SPY", "8"))
    venue.broker.steps["SPY"] = [WORKING]
    venue.journal.claim(plan, INSIDE_WINDOW)
    venue.broker.submit(plan.orders[0])
    for state in (IntentState.SUBMITTING, IntentState.ACKNOWLEDGED):
        venue.journal.record(slice_id(0), state, "", INSIDE_WINDOW)

    class Lagging(ScriptedBroker):
        def __init__(self):
            pass

        def __getattribute__(self, name):
            return (lambda _=None: []) if name == "orders" else getattr(venue.broker, name)

    dear = ListedMarketData(prices={"SPY": "200"})
    execute(plan, replace(venue, broker=Lagging(), market_data=dear), RULES)

    assert not states(venue, plan)["SPY"].is_terminal
    assert len(venue.broker.sent) == 1


def test_a_refusal_that_the_order_of_a_run_beside_this_one_caused_adopts_that_order(venue):
    plan = make_plan(buy("SPY", "8"))

    class Beside(ScriptedBroker):
        def submit(self, intent):
            super().submit(intent)
            return Rejected(intent.client_order_id, "40310000", "insufficient buying power", Refusal.BUYING_POWER)

    broker = Beside(cash="1000")

    execute(plan, replace(venue, broker=broker), RULES)

    assert states(venue, plan) == {"SPY": IntentState.FILLED}
    assert broker.shares["SPY"] == 8


def test_an_order_that_was_given_up_and_turns_up_after_all_is_taken_up_again(venue):
    plan = make_plan(buy("SPY", "8"))
    venue.journal.claim(plan, INSIDE_WINDOW)
    venue.journal.record(slice_id(0), IntentState.ABANDONED, "no cash", INSIDE_WINDOW)

    venue.journal.record(slice_id(0), IntentState.ACKNOWLEDGED, "it is there", INSIDE_WINDOW)

    assert states(venue, plan) == {"SPY": IntentState.ACKNOWLEDGED}


@pytest.mark.parametrize(("seconds", "sent"), [(0, 3), (40, 2), (70, 1)])
def test_while_a_batch_goes_out_the_window_may_end_and_then_nothing_leaves_any_more(tmp_path, seconds, sent):
    clock = TurnedClock(datetime(2026, 7, 31, 19, 43, 50, tzinfo=UTC))
    venue = make_venue(tmp_path, clock=clock)

    class Slow(ScriptedBroker):
        def submit(self, intent):
            clock.instant += timedelta(seconds=seconds)
            return super().submit(intent)

    broker = Slow()
    plan = make_plan(buy("SPY", "1"), buy("QQQ", "1"), buy("GLD", "1"))

    execute(plan, replace(venue, broker=broker), RULES)

    assert len(broker.sent) == sent


def test_an_order_that_is_filled_before_its_answer_is_read_is_over_at_once(venue):
    class Quick(ScriptedBroker):
        def submit(self, intent):
            super().submit(intent)
            for _ in range(3):
                found = self.order(intent.client_order_id)
            return Accepted(found)

    done = execute(make_plan(buy("SPY", "8")), replace(venue, broker=Quick()), RULES)

    assert [entry.state for entry in done.entries] == [IntentState.FILLED]


def test_a_buy_that_does_not_end_binds_its_cash_through_every_later_price(tmp_path):
    class Margin(Stubborn):
        """Lends whatever is asked for, and never ends SPY."""

        def _covers(self, intent):
            return True

        def cancel(self, venue_order_id):
            if self.known[venue_order_id.removeprefix("venue-")].symbol != "SPY":
                super().cancel(venue_order_id)

    broker = Margin(gives_in=9, cash="1000")
    venue = replace(make_venue(tmp_path), broker=broker)

    execute(make_plan(buy("SPY", "4"), buy("QQQ", "9")), venue, PATIENT)

    spent = [sent.quantity * sent.limit_price for sent in broker.sent if sent.symbol == "QQQ"]
    assert len(spent) == 3
    assert all(dollars < 600 for dollars in spent)


def test_asked_to_end_while_an_answer_is_awaited_no_question_follows_and_nothing_more_is_sent(venue):
    class Ending(TurnedClock):
        asked_to_end = False

        def wait(self, seconds):
            if self.asked_to_end:
                raise Interrupted("the process was asked to end")
            super().wait(seconds)

    clock, asked = Ending(), []

    class Silent(ScriptedBroker):
        def submit(self, intent):
            self.sent.append(intent)
            clock.asked_to_end = True
            return Unknown(intent.client_order_id, "read timed out")

        def order(self, client_order_id):
            asked.append(client_order_id)
            return super().order(client_order_id)

    broker, plan = Silent(), make_plan(buy("SPY", "1"), buy("QQQ", "1"))

    with pytest.raises(Interrupted):
        execute(plan, replace(venue, broker=broker, clock=clock), RULES)

    assert [len(broker.sent), asked] == [1, []]
    assert states(venue, plan) == {"SPY": IntentState.SUBMITTING, "QQQ": IntentState.PLANNED}
