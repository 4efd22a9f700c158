import math
import statistics
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbt_like_checks.contract import contract
from trading_pipeline.adapters.storage.schemas import table_schema
from trading_pipeline.application.execution_quality import (
    BUCKETS,
    NAN,
    final_orders,
    histogram,
    implementation_shortfall,
    latency,
    order_quality,
    record_execution,
    summary,
    to_frame,
)
from trading_pipeline.domain.fills import Fill
from trading_pipeline.domain.orders import Side, client_order_id
from trading_pipeline.ports import IntentState, JournalEntry
from trading_pipeline_tests.builders import ACCOUNT, INSIDE_WINDOW, buy, make_plan, sell

MACHINE = datetime.fromisoformat("2026-11-20T22:00:00+00:00")
PLANNED, PARKED, SUBMITTING = IntentState.PLANNED, IntentState.PARKED, IntentState.SUBMITTING
ACKNOWLEDGED, REPRICING, FILLED = IntentState.ACKNOWLEDGED, IntentState.REPRICING, IntentState.FILLED


def after(seconds, start=MACHINE):
    return start + timedelta(seconds=seconds)


def order_id(intent, slice_number):
    return client_order_id(ACCOUNT, "2026-07-30.1", intent.symbol, intent.side, slice_number)


def line(intent, state, seconds, detail="", *, number=0, mid=None, broker_seconds=0.0):
    return JournalEntry(
        client_order_id=intent.client_order_id,
        plan_id="2026-07-30.1",
        state=state,
        detail=detail,
        recorded_at=after(broker_seconds, INSIDE_WINDOW),
        order_id=order_id(intent, number),
        written_at=after(seconds),
        account_number=ACCOUNT,
        session=date(2026, 7, 30),
        mid=None if mid is None else Decimal(mid),
    )


def fill(intent, quantity, price, seconds=1.0, *, number=0):
    return Fill(
        execution_id=f"{intent.symbol}-{number}-{seconds}",
        client_order_id=order_id(intent, number),
        symbol=intent.symbol,
        side=intent.side,
        quantity=Decimal(quantity),
        price=Decimal(price),
        commission=Decimal(0),
        filled_at=after(seconds, INSIDE_WINDOW),
    )


def sent(intent, *, acknowledged=0.2, ended=1.5, state=FILLED, mid="100"):
    return [
        line(intent, PLANNED, 0.0),
        line(intent, SUBMITTING, 0.1, "10 at 100.2", mid=mid),
        line(intent, ACKNOWLEDGED, acknowledged, broker_seconds=0.5),
        line(intent, state, ended, f"{state.value} in full"),
    ]


BUY = buy("SPY", "10")
SALE = sell("TLT", "4")


def quality(intent, history, fills=()):
    return order_quality(make_plan(intent), history, fills)


def test_an_order_that_went_well_shows_its_latencies_and_what_it_cost():
    [row] = quality(BUY, sent(BUY), [fill(BUY, "4", "100.00", 0.75), fill(BUY, "6", "100.20", 0.9)])

    assert (row.state, row.detail, row.slice_number) == ("filled", "filled in full", 0)
    assert (row.quantity, row.filled_quantity, row.average_price) == (10, 10, Decimal("100.12"))
    assert row.arrival_mid == 100
    assert row.slippage_bps == pytest.approx(12.0)
    assert row.submit_to_ack_seconds == pytest.approx(0.1)
    assert row.ack_to_first_fill_seconds == pytest.approx(0.25)
    assert row.submit_to_done_seconds == pytest.approx(1.4)
    assert (row.resends, row.whole_shares, row.resized, row.parked) == (0, False, False, False)


@pytest.mark.parametrize(
    ("side", "price", "cost"),
    [(Side.BUY, "50.05", 10.0), (Side.BUY, "49.95", -10.0), (Side.SELL, "49.95", 10.0), (Side.SELL, "50.05", -10.0)],
)
def test_paying_more_or_receiving_less_than_the_mid_is_a_cost(side, price, cost):
    assert implementation_shortfall(side, Decimal(price), Decimal(50)) == cost


def test_an_intent_that_was_never_sent_says_why():
    history = [line(BUY, PLANNED, 0.0), line(BUY, IntentState.ABANDONED, 1.0, "no cash left")]

    [row] = quality(BUY, history)

    assert (row.state, row.detail, row.filled_quantity) == ("abandoned", "no cash left", 0)
    assert row.average_price is None
    assert row.arrival_mid is None
    assert all(math.isnan(value) for value in (row.slippage_bps, row.submit_to_ack_seconds, row.submit_to_done_seconds))


def test_a_plan_that_nobody_began_is_planned():
    [row] = quality(BUY, [])

    assert (row.state, row.detail, row.is_over) == ("planned", "", False)


def test_the_rest_that_is_repriced_is_an_order_of_its_own_against_the_first_mid():
    history = [
        *sent(BUY, state=REPRICING, ended=30.0),
        line(BUY, SUBMITTING, 31.0, "6 at 101.1", number=1, mid="101"),
        line(BUY, ACKNOWLEDGED, 31.5, number=1, broker_seconds=31.0),
        line(BUY, FILLED, 33.0, number=1),
    ]

    first, second = quality(BUY, history, [fill(BUY, "4", "100", 2.0), fill(BUY, "6", "101", 31.25, number=1)])

    assert [row.order_id for row in (first, second)] == [BUY.client_order_id, order_id(BUY, 1)]
    assert [row.state for row in (first, second)] == ["canceled", "filled"]
    assert [row.quantity for row in (first, second)] == [10, 6]
    assert [row.filled_quantity for row in (first, second)] == [4, 6]
    assert [row.arrival_mid for row in (first, second)] == [100, 100]
    assert [row.slippage_bps for row in (first, second)] == [0, pytest.approx(100)]
    assert first.submit_to_done_seconds == pytest.approx(30.9)
    assert second.submit_to_ack_seconds == pytest.approx(0.5)
    assert second.ack_to_first_fill_seconds == pytest.approx(0.25)


def test_what_is_said_of_the_intent_as_a_whole_ends_its_newest_order():
    history = [
        *sent(BUY, state=REPRICING, ended=30.0),
        line(BUY, SUBMITTING, 31.0, "10 at 101", number=1),
        line(BUY, ACKNOWLEDGED, 31.5, number=1),
        line(BUY, IntentState.ABANDONED, 60.0, "beyond the collar"),
    ]

    first, second = quality(BUY, history)

    assert (first.state, second.state, second.detail) == ("canceled", "abandoned", "beyond the collar")
    assert [row.order_id for row in final_orders([first, second])] == [second.order_id]


def test_an_order_that_was_adopted_has_no_latency_of_its_own():
    history = [line(BUY, PLANNED, 0.0), line(BUY, ACKNOWLEDGED, 9.0), line(BUY, FILLED, 9.5)]

    [row] = quality(BUY, history, [fill(BUY, "10", "100")])

    assert row.state == "filled"
    assert math.isnan(row.submit_to_ack_seconds)
    assert math.isnan(row.submit_to_done_seconds)
    assert math.isnan(row.slippage_bps)
    assert row.ack_to_first_fill_seconds == 1.0


def test_an_execution_stamped_before_the_acknowledgement_took_no_time():
    [row] = quality(BUY, sent(BUY), [fill(BUY, "10", "100", 0.1)])

    assert row.ack_to_first_fill_seconds == 0.0


def test_sending_again_is_counted_and_a_word_about_a_sending_is_not():
    terms = "10 at 100.2"
    history = [
        line(BUY, SUBMITTING, 0.1, terms),
        line(BUY, SUBMITTING, 3.1, f"{terms}; no clear answer: read timed out"),
        line(BUY, SUBMITTING, 4.1, terms),
        line(BUY, SUBMITTING, 9.1, "sent before, not seen at the broker, not sent again: no quote"),
    ]

    [row] = quality(BUY, history)

    assert (row.resends, row.state) == (1, "submitting")


@pytest.mark.parametrize("change", ["whole shares", "resized"])
def test_what_was_sent_otherwise_than_planned_is_named(change):
    history = [line(BUY, SUBMITTING, 0.1, "10.5 at 100"), line(BUY, SUBMITTING, 0.2, f"{change}: 10 at 100")]

    [row] = quality(BUY, history)

    assert (row.whole_shares, row.resized) == (change == "whole shares", change == "resized")
    assert row.resends == 1


def test_the_time_for_which_an_order_was_parked_is_no_latency():
    history = [
        line(BUY, SUBMITTING, 0.0, "10 at 100"),
        line(BUY, PARKED, 0.5, "trading is halted"),
        line(BUY, SUBMITTING, 600.0, "10 at 100"),
        line(BUY, ACKNOWLEDGED, 600.25),
        line(BUY, FILLED, 601.0),
    ]

    [row] = quality(BUY, history)

    assert row.parked
    assert row.submit_to_ack_seconds == 0.25
    assert row.submit_to_done_seconds == 1.0


def test_executions_of_others_are_passed_over_and_the_plan_keeps_its_order():
    stranger = replace(fill(BUY, "3", "90"), client_order_id="tp1-of-somebody-else")

    rows = order_quality(make_plan(SALE, BUY), [*sent(BUY), *sent(SALE)], [stranger, fill(SALE, "4", "99.9")])

    assert [row.symbol for row in rows] == ["TLT", "SPY"]
    assert [row.filled_quantity for row in rows] == [4, 0]


def test_the_cost_of_a_plan_is_weighted_by_dollars():
    plan = make_plan(SALE, BUY)
    fills = [fill(SALE, "4", "99.5"), fill(BUY, "10", "100.1")]

    found = summary(order_quality(plan, [*sent(SALE), *sent(BUY)], fills))

    assert found.slippage_dollars == pytest.approx(4 * 0.5 + 10 * 0.1)
    assert found.slippage_bps == pytest.approx(3.0 / 1400 * 10_000)
    assert (found.intents, found.repriced, found.states, found.fallbacks) == (2, 0, {"filled": 2}, 0)
    assert found.latencies["submit_to_ack_seconds"].count == 2


def test_a_plan_without_orders_costs_nothing_that_could_be_named():
    found = summary([])

    assert (found.intents, found.slippage_dollars, found.states) == (0, 0, {})
    assert math.isnan(found.slippage_bps)
    assert found.latencies["submit_to_ack_seconds"].count == 0
    assert math.isnan(found.latencies["submit_to_ack_seconds"].longest)


seconds = st.floats(0, 1000)


@given(st.lists(seconds, min_size=2, max_size=50))
def test_percentiles_agree_with_the_standard_library(values):
    found = latency([*values, NAN])

    hundredths = statistics.quantiles(values, n=100, method="inclusive")
    assert found.count == len(values)
    assert [found.p50, found.p95, found.p99] == pytest.approx(
        [hundredths[place - 1] for place in (50, 95, 99)], abs=1e-5
    )
    assert found.longest == max(values)


@given(st.lists(seconds))
def test_a_histogram_never_falls_and_ends_with_all(values):
    counts = list(histogram(values).values())

    assert counts == sorted(counts)
    assert counts[-1] == len(values)
    assert list(histogram(values)) == list(BUCKETS)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_slices_add_up_to_what_was_traded(parts):
    intent = buy("SPY", str(sum(parts)))
    history = [line(intent, PLANNED, 0.0)]
    for number in range(len(parts)):
        history += [line(intent, state, number + 1.0, number=number) for state in (SUBMITTING, ACKNOWLEDGED, REPRICING)]
    fills = [fill(intent, str(part), "100", number=number) for number, part in enumerate(parts)]

    rows = quality(intent, history, fills)

    assert sum(row.filled_quantity for row in rows) == sum(parts)
    assert [row.quantity for row in rows] == [sum(parts[number:]) for number in range(len(parts))]
    assert {row.state for row in rows[:-1]} <= {"canceled"}


class Recorder:
    def __init__(self):
        self.counts, self.values = [], []

    def count(self, name, value=1, **labels):
        self.counts.append((name, value, labels))

    def observe(self, name, value, **labels):
        self.values.append((name, value, labels))

    def gauge(self, name, value, **labels):
        raise AssertionError(name)


def test_metrics_say_how_orders_ended_how_long_they_took_and_what_was_done_twice():
    history = [
        *sent(SALE),
        line(BUY, SUBMITTING, 0.1, "10.5 at 100", mid="100"),
        line(BUY, SUBMITTING, 0.2, "whole shares: 10 at 100", mid="100"),
        line(BUY, SUBMITTING, 0.3, "resized: 9 at 100", mid="100"),
        line(BUY, IntentState.REJECTED, 0.4, "no"),
    ]
    recorder = Recorder()

    record_execution(order_quality(make_plan(SALE, BUY), history, [fill(SALE, "4", "100")]), recorder)

    assert recorder.counts == [
        ("orders_total", 1, {"state": "filled", "side": "sell"}),
        ("orders_total", 1, {"state": "rejected", "side": "buy"}),
        ("resends_total", 2, {}),
        ("fallback_total", 1, {"kind": "whole_shares"}),
        ("fallback_total", 1, {"kind": "resized"}),
    ]
    named = {(name, labels["side"]) for name, _, labels in recorder.values}
    assert ("submit_to_ack_seconds", "sell") in named
    assert ("submit_to_ack_seconds", "buy") not in named
    assert ("slippage_bps", "sell") in named
    assert not any(math.isnan(value) for _, value, _ in recorder.values)


@pytest.mark.parametrize("history", [[], sent(BUY)])
def test_rows_have_the_columns_of_their_table(history):
    frame = to_frame(quality(BUY, history))

    assert list(frame.columns) == list(table_schema("execution_quality").columns)
    assert len(frame) == 1
    assert {str(frame[column].dtype) for column in ("whole_shares", "resized", "parked")} == {"bool"}


def test_the_contract_knows_every_state_of_an_intent():
    [accepted] = [test for test in contract("execution_quality").promises if test.name == "accepted_values_state"]

    assert set(accepted.arguments["values"]) == {state.value for state in IntentState}


def test_a_quiet_day_has_the_columns_too():
    assert list(to_frame([]).columns) == list(table_schema("execution_quality").columns)
