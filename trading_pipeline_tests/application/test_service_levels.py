from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest

from trading_pipeline.application import service_levels as levels
from trading_pipeline.application.service_levels import ServiceLevel, Verdict
from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline_tests.reporting.session_tables import SESSION, compared, fill, frame, freshness, order, quality

SHARE = Decimal("0.995")


def deadline(session):
    return datetime(2026, 12, 1, 14, tzinfo=UTC)


def level(good, total, objective=SHARE):
    return ServiceLevel("level", "promise", "sessions", objective, good, total)


def test_budgets_are_those_of_hand_arithmetic():
    # Of a thousand events at 99.5 % five may be bad.
    kept, spent, missed = level(998, 1000), level(995, 1000), level(994, 1000)

    assert (kept.budget, kept.bad, kept.budget_left, kept.verdict) == (5, 2, 3, Verdict.KEPT)
    assert (spent.budget_left, spent.verdict) == (0, Verdict.KEPT)
    assert (missed.budget_left, missed.verdict, missed.attained) == (-1, Verdict.MISSED, Decimal("0.994"))


def test_without_an_event_nothing_is_kept_and_nothing_missed():
    assert (level(0, 0).verdict, level(0, 0).attained, level(0, 0).budget) == (Verdict.UNKNOWN, None, 0)


@pytest.mark.parametrize(("good", "total", "objective"), [(2, 1, "1"), (-1, 1, "1"), (1, 1, "1.01"), (1, 1, "-0.1")])
def test_figures_that_contradict_each_other_are_refused(good, total, objective):
    with pytest.raises(InvalidInput, match="the objective is a fraction"):
        level(good, total, Decimal(objective))


def test_a_session_counts_as_planned_by_the_deadline_and_not_after_it():
    days = sessions.sessions_between(date(2026, 7, 1), date(2026, 7, 31))
    at = dict.fromkeys(days, deadline(None))
    at[days[3]] += timedelta(seconds=1)
    del at[days[5]]

    found = levels.planned_in_time(days, at.get, deadline, SHARE)

    assert (found.good, found.total, found.verdict) == (20, 22, Verdict.MISSED)
    assert found.worst == f"{days[3]} (at 14:00 UTC), {days[5]} (no plan)"


def test_many_bad_events_are_counted_and_a_few_named():
    days = sessions.sessions_between(date(2026, 1, 2), date(2026, 7, 31))

    found = levels.planned_in_time(days, lambda _: None, deadline, SHARE)

    assert found.good == 0
    assert found.worst.count("no plan") == levels.MOST_NAMED
    assert found.worst.endswith(f"and {len(days) - levels.MOST_NAMED} more")


@pytest.mark.parametrize("slow", [0, 9, 10, 11])
def test_the_promise_on_orders_is_one_on_their_99th_percentile(slow):
    seconds = np.array([0.1] * (1000 - slow) + [2.5] * slow)

    found = levels.acknowledged_in_time([*seconds, float("nan")], 2.0, Decimal("0.99"))

    # The 99th percentile of a thousand by nearest rank is the 990th.
    assert (found.verdict is Verdict.KEPT) == (np.sort(seconds)[989] <= 2.0)
    assert (found.total, found.bad) == (1000, slow)
    assert levels.acknowledged_in_time([2.0], 2.0, Decimal(1)).bad == 0


def once(orders=(), went=(), fills=(), reconciled=()):
    tables = {"approved_orders": orders, "execution_quality": went, "fills": fills, "reconciliation": reconciled}
    return levels.executed_once(*(frame(name, rows) for name, rows in tables.items()))


SPY = order("SPY", "sell", "6", "6", "480", "505", "approved")
WENT = quality("SPY", "sell", "6", "504", "505", 0.0, 0.1)


def test_orders_that_were_executed_as_approved_are_good():
    parts = [fill(SESSION, "1", "SPY", "sell", "2", "504"), fill(SESSION, "2", "SPY", "sell", "4", "504")]

    assert (once([SPY], [WENT], parts).good, once([SPY], [WENT], parts).total) == (1, 1)


@pytest.mark.parametrize(
    ("fills", "reconciled", "named"),
    [
        ([fill(SESSION, "1", "SPY", "sell", "6", "504"), fill(SESSION, "2", "SPY", "sell", "6", "504")], [], "SPY"),
        ([fill(SESSION, "1", "TQQQ", "buy", "1", "50")], [], "TQQQ"),
        ([], [compared("fill", "exec-9", "0", "1", "break", "not recorded")], "exec-9"),
        ([], [compared("order", "tp1-lost", "1", "0", "break", "lost")], "tp1-lost"),
    ],
)
def test_a_duplicate_and_an_order_without_a_record_are_bad(fills, reconciled, named):
    found = once([SPY], [WENT], fills, reconciled)

    assert (found.bad, found.verdict, found.budget) == (1, Verdict.MISSED, 0)
    assert named in found.worst


def test_a_position_that_differs_is_no_order_without_a_record():
    found = once([SPY], [WENT], [], [compared("position", "SPY", "1", "2", "break", "odd")])

    assert (found.bad, found.total) == (0, 1)


def test_prices_count_where_a_strategy_reads_them_and_they_are_listed():
    rows = [
        freshness("SPY"),
        freshness("TLT", "stale", 3.0),
        freshness("GLD", "frozen"),
        freshness("NEW", "listed later"),
        freshness("OLD", "stale", 9.0, read_by=None),
    ]
    found = levels.fresh_data(frame("data_freshness", rows), SHARE)

    assert (found.good, found.total, found.verdict) == (1, 3, Verdict.MISSED)
    assert found.worst == f"TLT on {SESSION}, GLD on {SESSION}"
