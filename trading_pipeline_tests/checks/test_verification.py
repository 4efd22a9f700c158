from datetime import date

import pandas as pd
import pytest

from dbt_like_checks.generic_tests import Context
from dbt_like_checks.verification import BrokenPromise, Verdict, evaluate, verify

FRIDAY = date(2026, 7, 31)


@pytest.fixture
def kept() -> pd.DataFrame:
    return pd.DataFrame({"session": [FRIDAY, FRIDAY], "symbol": ["SPY", "QQQ"], "close": [600.0, 500.0]}, index=[7, 7])


def broken(frame, contract, session=FRIDAY):
    results = evaluate(frame, contract, Context(session))
    return {result.name: result for result in results if not result.passed}


def test_a_frame_that_keeps_every_promise_passes(prices, kept):
    verify(kept, prices, Context(FRIDAY))

    assert [result.summary for result in evaluate(kept, prices, Context(FRIDAY))] == ["kept"] * len(prices.promises)


def test_there_is_one_result_a_promise_in_the_order_of_the_contract(prices, kept):
    names = [result.name for result in evaluate(kept.drop(columns="close"), prices)]

    assert names == [promise.name for promise in prices.promises]


def test_failing_rows_are_counted_and_shown(prices, kept):
    result = broken(kept.assign(close=[600.0, -1.0]), prices)["accepted_range_close"]

    assert (result.failing_rows, result.checked_rows) == (1, 2)
    assert list(result.sample["symbol"]) == ["QQQ"]


def test_a_sample_holds_twenty_rows_at_most(prices):
    frame = pd.DataFrame({"session": [FRIDAY] * 50, "symbol": ["SPY"] * 50, "close": [-1.0] * 50})
    result = broken(frame, prices)["accepted_range_close"]

    assert (result.failing_rows, len(result.sample)) == (50, 20)


def test_a_null_breaks_not_null_alone(prices, kept):
    found = broken(kept.assign(close=[600.0, None]), prices)

    assert list(found) == ["not_null"]
    assert list(found["not_null"].sample["symbol"]) == ["QQQ"]


def test_a_missing_column_breaks_columns_and_every_promise_about_it(prices, kept):
    found = broken(kept.drop(columns="close"), prices)

    assert list(found) == ["columns", "accepted_range_close", "not_null", "close_is_no_penny"]
    assert found["columns"].detail == "missing: close"
    assert found["not_null"].detail == "column missing: close"


def test_an_extra_column_breaks_columns_alone(prices, kept):
    found = broken(kept.assign(colour="red"), prices)

    assert {name: result.detail for name, result in found.items()} == {"columns": "not in the contract: colour"}


def test_a_repeated_column_is_not_read_at_all(prices, kept):
    found = broken(pd.concat([kept, kept[["close"]]], axis=1), prices)

    assert found["columns"].detail == "repeated: close"
    assert found["accepted_range_close"].detail == "column missing: close"


def test_a_wrong_type_breaks_types_and_what_cannot_be_judged_then(prices, kept):
    found = broken(kept.assign(close=["600", "x"]), prices)

    assert list(found) == ["types", "accepted_range_close", "close_is_no_penny"]
    assert found["types"].detail == "close is not all float"
    assert found["types"].failing_rows == 2
    assert found["accepted_range_close"].detail.startswith("cannot be judged: TypeError")


def test_an_empty_frame_breaks_the_row_count_alone(prices, kept):
    found = broken(kept.iloc[:0], prices)

    assert {name: result.detail for name, result in found.items()} == {"row_count": "0 rows"}


def test_an_old_table_says_how_old_it_is(prices, kept):
    found = broken(kept, prices, date(2026, 8, 3))

    assert found["recency_session"].detail == "the newest is 2026-07-31, 2026-08-03 was expected"


def test_a_filter_leaves_the_other_rows_alone(contract_of, kept):
    filtered = contract_of("""
        table: prices
        description: Closing prices.
        grain: {row: one row per symbol, key: [symbol]}
        columns:
          session: {type: date, meaning: The session.}
          symbol: {type: str, meaning: Ticker.}
          close: {type: float, meaning: Last price., tests: [{accepted_range: {min: 550, where: symbol != 'SPY'}}]}
    """)
    rows = pd.concat([kept, kept]).assign(symbol=["SPY", "QQQ", "TLT", None], close=[1.0, 560.0, 2.0, 3.0])

    assert list(broken(rows, filtered)["accepted_range_close"].sample["symbol"]) == ["TLT"]


def test_what_the_context_does_not_hold_is_not_judged_and_refused_all_the_same(prices, kept):
    results = {result.name: result for result in evaluate(kept, prices)}

    assert results["recency_session"].verdict is Verdict.NOT_JUDGED
    with pytest.raises(BrokenPromise, match="not judged: the expected session was not given"):
        verify(kept, prices)


def test_relationships_need_the_other_table_and_its_column(contract_of, kept):
    related = contract_of("""
        table: prices
        description: Closing prices.
        grain: {row: one row per symbol, key: [symbol]}
        columns:
          session: {type: date, meaning: The session.}
          symbol: {type: str, meaning: Ticker., tests: [{relationships: {to: catalog, field: ticker}}]}
          close: {type: float, meaning: Last price.}
    """)

    def detail(**tables):
        return evaluate(kept, related, Context(related=tables))[-1].summary

    assert detail() == "not judged: the table catalog was not given"
    assert detail(catalog=kept) == "not judged: the column ticker of the table catalog was not given"
    assert detail(catalog=pd.DataFrame({"ticker": ["SPY", "QQQ"]})) == "kept"
    assert detail(catalog=pd.DataFrame({"ticker": ["SPY"]})) == "broken: 1 of 2 rows"


def test_a_warning_does_not_refuse_the_frame(prices, kept):
    verify(kept.assign(close=[0.5, 600.0]), prices, Context(FRIDAY))


def test_the_refusal_names_table_promise_counts_and_rows_on_one_screen(prices):
    frame = pd.DataFrame({"session": [FRIDAY] * 500, "symbol": ["SPY"] * 500, "close": [-1.0] * 500})

    with pytest.raises(BrokenPromise) as refusal:
        verify(frame, prices, Context(FRIDAY))

    lines = str(refusal.value).splitlines()
    assert lines[0].startswith("prices breaks 2 promises")
    assert "- accepted_range_close (close is above 0.) broken: 500 of 500 rows" in lines
    assert len(lines) < 25
    assert max(map(len, lines)) < 200
    assert [result.name for result in refusal.value.results] == ["unique_grain", "accepted_range_close"]


def test_the_frame_is_left_as_it_was(prices, kept):
    before = kept.copy()

    evaluate(kept, prices, Context(FRIDAY))

    pd.testing.assert_frame_equal(kept, before)
