"""Every singular test: frames that keep it, one change that breaks it, nulls, empty tables, odd columns."""

from decimal import Decimal

import pandas as pd
import pytest

from dbt_like_checks.contract import Severity, contract
from dbt_like_checks.singular_tests import singular_tests
from dbt_like_checks.sql_tables import evaluate_singular, refuse_wrong_body
from dbt_like_checks.verification import Verdict
from trading_pipeline.defs.checks import contract_of, promised_assets
from trading_pipeline_tests.checks.frames import BUY_ID, MONDAY, ROWS, THURSDAY, frame_of, frames, more, without

TESTS = {test.name: test for test in singular_tests()}
CENT = Decimal("0.01")

# test: (what is changed, how many rows come back, what the first of them shows)
BREAKS = [
    ("no_signal_uses_a_later_bar", {"indicators": (1, {"observed": MONDAY})}, 1, {"symbol": "TECL"}),
    ("no_signal_uses_a_later_bar", {"bars": more("bars", 0, session=MONDAY)}, 1, {"of": "bar"}),
    ("no_signal_uses_a_later_bar", {"bars": []}, 1, {"of": "no bar of the session"}),
    ("no_signal_uses_a_later_bar", {"bars": more("bars", 0, session=THURSDAY)[2:]}, 1, {"strategy": "tecl"}),
    ("every_reading_has_its_bar", {"bars": without("bars", 1)}, 1, {"symbol": "TECL", "value": 80.0}),
    ("every_reading_has_its_bar", {"bars": (1, {"close": None})}, 1, {"symbol": "TECL"}),
    ("contributions_sum_to_the_allocation", {"allocation": (0, {"weight": 0.46})}, 2, {"strategy": "tecl"}),
    ("contributions_sum_to_the_allocation", {"signals": (0, {"symbol": "TQQQ"})}, 2, {"strategy": "tecl"}),
    ("contributions_sum_to_the_allocation", {"signals": []}, 2, {"signal_times_share": None}),
    ("contributions_sum_to_the_allocation", {"allocation": without("allocation", 1)}, 2, {"strategy": "tecl"}),
    ("no_order_sells_more_than_is_held", {"order_plan": (0, {"quantity": Decimal("10.500000001")})}, 1, {}),
    ("no_order_sells_more_than_is_held", {"portfolio_snapshot": without("portfolio_snapshot", 0)}, 1, {"held": 0}),
    ("every_order_is_in_exactly_one_plan", {"approved_orders": without("approved_orders", 0)}, 1, {"plans": 0}),
    ("every_order_is_in_exactly_one_plan", {"order_plan": []}, 2, {"is_planned": False}),
    (
        "every_order_is_in_exactly_one_plan",
        {"approved_orders": more("approved_orders", 1, plan_id="2026-07-31.2")},
        1,
        {"client_order_id": BUY_ID, "plans": 2},
    ),
    ("every_order_is_in_exactly_one_plan", {"approved_orders": more("approved_orders", 1)}, 1, {"decisions": 2}),
    ("plan_and_approval_agree", {"approved_orders": (1, {"side": "sell"})}, 1, {"client_order_id": BUY_ID}),
    ("plan_and_approval_agree", {"approved_orders": (1, {"quantity": Decimal(88)})}, 1, {}),
    ("plan_and_approval_agree", {"approved_orders": (1, {"limit_price": None})}, 1, {"planned_limit_price": 122}),
    ("plan_and_approval_agree", {"order_plan": (1, {"symbol": "SOXL"})}, 1, {}),
    ("plan_and_approval_agree", {"order_plan": (1, {"execution_session": THURSDAY})}, 1, {}),
    # 87.570833333 * 120 is 10508.49999996, four ten-millionths below the cash and the sale.
    ("bought_value_within_cash", {"portfolio_snapshot": (1, {"quantity": Decimal("4197.98")})}, 1, {"cash": 4197.98}),
    ("bought_value_within_cash", {"portfolio_snapshot": without("portfolio_snapshot", 1)}, 1, {"cash": 0}),
    ("bought_value_within_cash", {"approved_orders": (0, {"approved_quantity": Decimal(0)})}, 1, {"sold": 0}),
    ("only_tradable_symbols_are_approved", {"asset_catalog": (1, {"tradable": False})}, 1, {"symbol": "TECL"}),
    ("only_tradable_symbols_are_approved", {"asset_catalog": without("asset_catalog", 1)}, 1, {"symbol": "TECL"}),
    ("only_tradable_symbols_are_approved", {"asset_catalog": []}, 2, {}),
    ("every_fill_has_an_approved_order", {"fills": (0, {"client_order_id": "tp1-unknown"})}, 1, {"execution_id": "e1"}),
    ("every_fill_has_an_approved_order", {"fills": (1, {"side": "sell"})}, 1, {"execution_id": "e2"}),
    ("every_fill_has_an_approved_order", {"fills": (1, {"plan_id": "2026-07-31.2"})}, 1, {"execution_id": "e2"}),
    ("every_fill_has_an_approved_order", {"approved_orders": (1, {"approved_quantity": Decimal(0)})}, 2, {}),
    ("every_fill_has_an_approved_order", {"approved_orders": []}, 2, {}),
    ("filled_quantity_within_approved", {"fills": (0, {"quantity": Decimal("80.570833334")})}, 1, {"symbol": "TECL"}),
    ("fills_and_orders_add_up", {"fills": without("fills", 1)}, 1, {"client_order_id": BUY_ID}),
    ("fills_and_orders_add_up", {"execution_quality": []}, 1, {"said": None}),
    ("fills_and_orders_add_up", {"fills": []}, 1, {"filled": None}),
]


def result_of(name, tables):
    [result] = evaluate_singular([TESTS[name]], tables)
    return result


@pytest.mark.parametrize("name", TESTS)
def test_a_session_in_order_keeps_every_test(name):
    result = result_of(name, frames())

    assert (result.verdict, result.failing_rows, result.detail) == (Verdict.KEPT, 0, "")
    assert result.checked_rows == len(ROWS[TESTS[name].on])


@pytest.mark.parametrize(("name", "change", "count", "shown"), BREAKS)
def test_a_change_that_breaks_a_test_brings_back_the_rows(name, change, count, shown):
    result = result_of(name, frames(**change))

    assert (result.verdict, result.failing_rows) == (Verdict.BROKEN, count)
    first = result.sample.iloc[0]
    for column, value in shown.items():
        assert pd.isna(first[column]) if value is None else float_or_same(first[column]) == value


def float_or_same(value):
    return float(value) if isinstance(value, Decimal) else value


def test_every_test_has_a_change_that_breaks_it():
    assert {name for name, *_ in BREAKS} == set(TESTS)


@pytest.mark.parametrize("name", TESTS)
def test_tables_without_rows_break_nothing(name):
    result = result_of(name, {table: frame_of(table, []) for table in TESTS[name].tables})

    assert (result.verdict, result.checked_rows) == (Verdict.KEPT, 0)


@pytest.mark.parametrize(
    ("name", "table", "place", "nulls"),
    [
        ("no_signal_uses_a_later_bar", "indicators", 1, ("observed",)),
        ("no_signal_uses_a_later_bar", "signals", 0, ("session",)),
        ("every_reading_has_its_bar", "indicators", 1, ("value",)),
        ("every_reading_has_its_bar", "indicators", 1, ("symbol",)),
        ("no_order_sells_more_than_is_held", "order_plan", 0, ("quantity",)),
        ("no_order_sells_more_than_is_held", "order_plan", 0, ("side",)),
        ("every_order_is_in_exactly_one_plan", "approved_orders", 0, ("plan_id",)),
        ("plan_and_approval_agree", "approved_orders", 0, ("quantity", "symbol")),
        ("bought_value_within_cash", "approved_orders", 1, ("reference_price",)),
        ("only_tradable_symbols_are_approved", "approved_orders", 1, ("approved_quantity",)),
        ("every_fill_has_an_approved_order", "fills", 0, ("client_order_id",)),
        ("filled_quantity_within_approved", "approved_orders", 1, ("approved_quantity",)),
        ("fills_and_orders_add_up", "execution_quality", 0, ("symbol", "state")),
    ],
)
def test_a_null_in_a_comparison_breaks_nothing(name, table, place, nulls):
    assert result_of(name, frames(**{table: (place, dict.fromkeys(nulls))})).verdict is not Verdict.BROKEN


def test_a_weight_that_is_null_counts_as_nothing_contributed():
    found = result_of("contributions_sum_to_the_allocation", frames(allocation=(0, {"weight": None})))

    assert set(found.sample["symbol"]) == {"TECL", "SPY"}


def test_what_an_account_without_cash_knows_of_is_nothing():
    assert result_of("bought_value_within_cash", frames(portfolio_snapshot=(1, {"quantity": None}))).failing_rows == 1


def test_a_cent_more_than_there_is_may_be_bought_and_no_more():
    # Bought are 10508.49999996 dollars, sold 6310.5: the cash must be 4197.99999996 less a cent.
    enough, short = Decimal("4197.98999996"), Decimal("4197.989999959")

    assert result_of("bought_value_within_cash", frames(portfolio_snapshot=(1, {"quantity": enough}))).passed
    assert not result_of("bought_value_within_cash", frames(portfolio_snapshot=(1, {"quantity": short}))).passed


@pytest.mark.parametrize("name", TESTS)
def test_an_extra_column_and_another_index_change_nothing(name):
    odd = {table: frame.assign(colour="red").set_index(frame.index + 7) for table, frame in frames().items()}

    assert result_of(name, odd).verdict is Verdict.KEPT


@pytest.mark.parametrize("name", TESTS)
def test_a_column_that_is_missing_is_named_and_nothing_is_judged(name):
    table, tables = TESTS[name].related[0], frames()

    result = result_of(name, tables | {table: tables[table].drop(columns="session")})

    assert result.verdict is Verdict.NOT_JUDGED
    assert result.detail == f"the column session of the table {table} was not given"


def test_a_column_that_the_question_does_not_read_may_be_missing():
    tables = frames()

    result = result_of("filled_quantity_within_approved", tables | {"fills": tables["fills"].drop(columns="price")})

    assert result.verdict is Verdict.KEPT


@pytest.mark.parametrize("name", TESTS)
def test_a_table_that_is_missing_is_named_and_nothing_is_judged(name):
    table = TESTS[name].related[0]

    result = result_of(name, {other: frame for other, frame in frames().items() if other != table})

    assert (result.verdict, result.detail) == (Verdict.NOT_JUDGED, f"the table {table} was not given")


@pytest.mark.parametrize("name", TESTS)
def test_values_of_another_type_are_named_and_nothing_is_judged(name):
    table, tables = TESTS[name].on, frames()
    wrong = tables[table].assign(session="next Friday")

    result = result_of(name, tables | {table: wrong})

    assert result.verdict is Verdict.NOT_JUDGED
    assert result.detail.startswith(f"{table}.session is not all date")


@pytest.mark.parametrize("name", TESTS)
def test_every_body_is_one_select_over_columns_that_are_promised(name):
    refuse_wrong_body(TESTS[name])


def test_each_test_is_shown_on_the_last_of_its_tables():
    order = list(dict.fromkeys(contract_of(asset).table for asset in promised_assets(["tecl"])))

    shown = {name: test.on for name, test in TESTS.items()}
    assert {name: max(test.tables, key=order.index) for name, test in TESTS.items()} == shown


def test_all_but_what_may_still_be_on_its_way_stops_what_follows():
    assert {name for name, test in TESTS.items() if test.severity is Severity.WARN} == {"fills_and_orders_add_up"}


def test_the_frames_of_these_tests_keep_their_contracts():
    from dbt_like_checks.generic_tests import Context
    from dbt_like_checks.verification import evaluate
    from trading_pipeline_tests.checks.frames import FRIDAY

    tables = frames()
    for table, frame in tables.items():
        broken = [
            each.name for each in evaluate(frame, contract(table), Context(FRIDAY, related=tables)) if not each.passed
        ]
        assert broken == [], table
