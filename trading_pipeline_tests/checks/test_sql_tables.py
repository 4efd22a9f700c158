from decimal import Decimal

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbt_like_checks.contract import InvalidContract, contract
from dbt_like_checks.singular_tests import load_singular, singular_tests
from dbt_like_checks.sql_tables import arrow_table, evaluate_singular, verify_singular
from dbt_like_checks.verification import BrokenPromise, Verdict
from trading_pipeline_tests.checks.frames import FRIDAY, INSTANT, frame_of, frames

FILL = frames()["fills"].iloc[:1]


@pytest.fixture
def asked(tmp_path):
    """Ask one question of the fills; every row comes back as a breach."""

    def answer(select, rows):
        path = tmp_path / "question.sql"
        path.write_text(f"-- A question.\n-- tables: fills\n-- on: fills\n\n{select}\n", encoding="utf-8")
        [result] = evaluate_singular([load_singular(path)], {"fills": rows})
        assert result.verdict is Verdict.BROKEN, result.detail
        return result.sample

    return answer


def test_decimals_are_added_exactly(asked):
    tenths = pd.concat([FILL] * 10).assign(quantity=Decimal("0.1"))

    assert asked("select sum(quantity) as total from fills", tenths)["total"][0] == Decimal(1)
    assert asked("select sum(quantity) = 1 as is_one from fills", tenths)["is_one"][0]


@settings(max_examples=30)
@given(
    numbers=st.lists(
        st.decimals(min_value=-(10**9), max_value=10**9, places=9, allow_nan=False), min_size=1, max_size=5
    )
)
def test_sums_and_products_are_those_of_python_to_the_last_place(numbers, tmp_path_factory):
    path = tmp_path_factory.mktemp("asked") / "question.sql"
    select = "select sum(quantity) as total, sum(quantity * price) as value from fills"
    path.write_text(f"-- A question.\n-- tables: fills\n-- on: fills\n\n{select}\n", encoding="utf-8")
    rows = pd.concat([FILL] * len(numbers)).assign(quantity=numbers, price=Decimal("600.123456789"))

    [result] = evaluate_singular([load_singular(path)], {"fills": rows})

    assert result.sample["total"][0] == sum(numbers)
    # 28 digits are what Python keeps unless it is told otherwise; 9 places times 9 places need no more than these.
    import decimal

    with decimal.localcontext(prec=60):
        assert result.sample["value"][0] == sum(number * Decimal("600.123456789") for number in numbers)


def test_values_come_back_as_they_went_in(asked):
    row = asked("select * from fills", FILL).iloc[0].to_dict()

    assert row == FILL.iloc[0].to_dict()
    assert (type(row["quantity"]), type(row["session"]), row["filled_at"]) == (Decimal, type(FRIDAY), INSTANT)


@pytest.mark.parametrize("nothing", [None, float("nan"), pd.NA, pd.NaT])
@pytest.mark.parametrize("column", ["quantity", "symbol", "session"])
def test_whatever_stands_for_nothing_is_null(asked, column, nothing):
    rows = FILL.assign(**{column: pd.Series([nothing], index=FILL.index, dtype=object)})

    assert asked("select columns(*) is null from fills", rows)[column][0]


def test_a_number_that_is_none_is_null():
    bars = frames()["bars"].assign(close=float("nan"))

    assert arrow_table(bars, contract("bars")).column("close").null_count == 2


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("quantity", 1.5),
        ("quantity", "many"),
        ("quantity", Decimal("0.0000000001")),
        ("symbol", 3),
        ("session", "next Friday"),
        ("filled_at", "noon"),
    ],
)
def test_a_value_of_another_type_is_named(column, value):
    rows = FILL.assign(**{column: pd.Series([value], index=FILL.index)})

    with pytest.raises(ValueError, match=f"fills.{column} is not all "):
        arrow_table(rows, contract("fills"))


def test_of_two_columns_of_one_name_neither_is_read():
    twice = pd.concat([FILL, FILL[["price"]]], axis=1)

    assert "price" not in arrow_table(twice, contract("fills")).column_names


def test_columns_have_the_types_in_which_the_tables_store_them():
    from trading_pipeline.adapters.storage.schemas import table_schema

    for table in ("fills", "approved_orders", "bars", "indicators", "asset_catalog", "portfolio_snapshot"):
        made = arrow_table(frame_of(table, []), contract(table)).schema
        stored = table_schema(table).columns
        assert {field.name: field.type for field in made} == {name: kind for name, kind in stored.items()}  # noqa: C416


def test_a_question_that_overflows_is_not_judged(tmp_path):
    path = tmp_path / "question.sql"
    path.write_text("-- A question.\n-- tables: fills\n-- on: fills\n\nselect quantity * quantity from fills\n")
    huge = FILL.assign(quantity=Decimal(10) ** 28)

    [result] = evaluate_singular([load_singular(path)], {"fills": huge})

    assert result.verdict is Verdict.NOT_JUDGED
    assert result.detail.startswith("cannot be judged: ")


def test_a_mistake_in_the_body_is_raised_where_it_is_asked(tmp_path):
    path = tmp_path / "question.sql"
    path.write_text("-- A question.\n-- tables: fills\n-- on: fills\n\nselect zymbol from fills\n")

    with pytest.raises(InvalidContract, match=r"question\.sql:5: Binder Error"):
        evaluate_singular([load_singular(path)], {"fills": FILL})


def test_one_question_sees_nothing_of_another(tmp_path):
    path = tmp_path / "question.sql"
    path.write_text("-- A question.\n-- tables: fills\n-- on: fills\n\nselect count(*) as n from fills\n")
    test = load_singular(path)

    counts = [
        evaluate_singular([test], {"fills": rows})[0].sample["n"][0] for rows in (FILL, pd.concat([FILL, FILL]), FILL)
    ]

    assert counts == [1, 2, 1]


def test_a_million_rows_are_asked_in_one_go(asked):
    rows = pd.DataFrame(
        {
            "client_order_id": pa.array(["tp1-" + "b" * 32] * 1_000_000).to_pandas(),
            "symbol": ["SPY"] * 999_999 + ["TLT"],
        }
    )

    found = asked("select symbol from fills where symbol = 'TLT'", rows)

    assert list(found["symbol"]) == ["TLT"]


def test_frames_that_break_a_test_are_refused_with_its_rows():
    tables = frames(approved_orders=(1, {"quantity": Decimal(88)}))
    kept = {name: tables[name] for name in ("order_plan", "portfolio_snapshot")}

    verify_singular(kept, singular_tests())
    with pytest.raises(BrokenPromise, match=r"approved_orders breaks 1 promise(.|\n)*- plan_and_approval_agree"):
        verify_singular(kept | {"approved_orders": tables["approved_orders"]}, singular_tests())


def test_a_broken_warning_refuses_nothing():
    verify_singular(frames(fills=[]), singular_tests())
