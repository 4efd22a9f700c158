"""From tables to the rows of ``performance``; the account is that of the reports' tests."""

import math
from decimal import Decimal

import pandas as pd
import pytest

from dbt_like_checks.contract import contract
from dbt_like_checks.generic_tests import Context
from dbt_like_checks.verification import evaluate
from trading_pipeline.application import performance as earned
from trading_pipeline_tests.reporting.session_tables import (
    ACCOUNT,
    BEFORE,
    SESSION,
    fill,
    frame,
    held,
    usual_rows,
)


def snapshots(*rows):
    return frame("portfolio_snapshot", rows or usual_rows()["portfolio_snapshot"])


def rows_of(snapshot, *fills):
    valuations = earned.valuations_of(snapshot, ACCOUNT)
    return earned.performance(valuations, earned.executions_by_session(frame("fills", fills))), valuations


def test_the_table_holds_what_hand_arithmetic_gives():
    rows, valuations = rows_of(snapshots(), *usual_rows()["fills"])
    first, last = earned.to_frame(rows, valuations).to_dict("records")

    assert [first[name] for name in ("profit", "realised", "unrealised_change", "cash_movements")] == [None] * 4
    assert (first["session"], last["session"]) == (BEFORE, SESSION)
    assert last["realised"] == 4 * (510 - 500) - Decimal("0.5")
    assert last["unrealised"] == 6 * 5 + 20 * 2
    assert last["profit"] == last["realised"] + last["unrealised"]
    assert (last["cash_movements"], last["share_movements"]) == (Decimal("12.25"), 0)
    assert last["equity"] - first["equity"] == last["profit"] + Decimal("12.25")
    assert last["unit_value"] == pytest.approx(float((last["equity"] - Decimal("12.25")) / first["equity"]))


def test_snapshots_of_models_and_of_other_accounts_are_no_history():
    other = held(BEFORE, "CASH", "7", "1", "7") | {"account_number": "SIM9"}
    model = held(BEFORE, "CASH", "9", "1", "9", source="model")
    own = held(SESSION, "CASH", "5", "1", "5")

    rows, _ = rows_of(snapshots(other, model, own))

    assert [(row.profit.session, row.profit.equity) for row in rows] == [(SESSION, 5)]
    assert earned.account_of(snapshots(other, model, own)) == ACCOUNT
    assert earned.account_of(snapshots(model)) is None
    assert earned.account_of(frame("portfolio_snapshot", [])) is None


def test_no_snapshot_gives_a_table_without_rows():
    rows, valuations = rows_of(frame("portfolio_snapshot", []))

    assert earned.to_frame(rows, valuations).empty
    assert list(earned.to_frame(rows, valuations).columns) == list(frame("performance", []).columns)


def test_executions_that_two_sources_tell_of_count_once():
    done = earned.executions_by_session(frame("fills", [fill(BEFORE, "1", "SPY", "sell", "4", "510")]))

    assert earned.joined(done, done) == {SESSION: [done[SESSION][0]]}


def test_sessions_in_which_shares_moved_by_themselves_are_named():
    rows, _ = rows_of(snapshots())

    assert earned.gaps_with_moved_shares(rows) == [(BEFORE, SESSION)], "without its executions everything moved so"
    assert earned.gaps_with_moved_shares(rows_of(snapshots(), *usual_rows()["fills"])[0]) == []


def test_weights_are_shares_of_equity_with_zero_where_nothing_is_held():
    weights = earned.weights_over_time(snapshots(), ACCOUNT)

    assert weights.loc[BEFORE].to_dict() == pytest.approx({"CASH": 10000 / 15000, "SPY": 5000 / 15000, "TLT": 0})
    assert weights.loc[SESSION].sum() == pytest.approx(1)


def test_what_is_not_defined_is_not_a_number_in_the_table():
    rows, valuations = rows_of(snapshots(held(BEFORE, "CASH", "0", "1", "1"), held(SESSION, "CASH", "5", "1", "5")))
    last = earned.to_frame(rows, valuations).iloc[-1]

    assert math.isnan(last["unit_value"])
    assert math.isnan(last["drawdown"])
    assert last["cash_movements"] == 5


def broken(**change):
    """The promises of the contract that rows of the last session break, one figure of them changed."""
    rows, valuations = rows_of(snapshots(), *usual_rows()["fills"])
    made = earned.to_frame(rows, valuations)
    last = made[made["session"] == SESSION].reset_index(drop=True)
    for name, value in change.items():
        last[name] = pd.Series([value], dtype=last[name].dtype)
    judged = evaluate(last, contract("performance"), Context(session=SESSION))
    return {result.name for result in judged if not result.passed}


def test_rows_that_are_made_keep_every_promise_of_their_contract():
    assert broken() == set()


@pytest.mark.parametrize(
    ("change", "promise"),
    [
        ({"session": BEFORE}, "recency_session"),
        ({"equity": None}, "not_null"),
        ({"profit": Decimal(1)}, "profit_is_realised_and_change_of_unrealised"),
        ({"share_movements": Decimal(5)}, "little_moves_without_an_execution"),
        ({"drawdown": -0.1}, "accepted_range_drawdown"),
    ],
)
def test_one_wrong_figure_breaks_the_promise_about_it(change, promise):
    assert broken(**change) == {promise}
