import subprocess
import sys

import pytest

from dbt_like_checks.contract import Column, ColumnType, InvalidContract, Severity, contract, tables
from dbt_like_checks.generic_tests import VOCABULARY

HEAD = """\
table: prices
description: Closing prices.
grain: {row: one row per session, key: [session]}
columns:
  session: {type: date, meaning: The session.}
"""


def test_a_contract_says_what_its_file_says(prices):
    assert prices.table == "prices"
    assert prices.key == ("session", "symbol")
    assert prices.columns[2] == Column("close", ColumnType.FLOAT, "dollars", "Last price.")
    assert [promise.name for promise in prices.promises] == [
        *("columns", "types", "row_count", "unique_grain"),
        *("recency_session", "accepted_values_symbol", "accepted_range_close", "not_null", "close_is_no_penny"),
    ]


def test_severity_is_error_unless_it_says_warn(prices):
    severities = {promise.name: promise.severity for promise in prices.promises}

    assert severities.pop("close_is_no_penny") is Severity.WARN
    assert set(severities.values()) == {Severity.ERROR}


def test_a_table_that_may_be_empty_promises_no_rows(contract_of):
    empty = contract_of(HEAD + "may_be_empty: true\n")

    assert "row_count" not in {promise.name for promise in empty.promises}


def test_a_filter_is_part_of_the_sentence(contract_of):
    filtered = contract_of(HEAD + "tests:\n  - not_null: {columns: [session], where: session > 1}\n")

    assert filtered.promises[-1].sentence == "session is never null, where session > 1."


def test_it_reaches_back_as_far_as_its_oldest_recency(contract_of, prices):
    stale = contract_of(HEAD + "tests:\n  - recency: {column: session, sessions: 3}\n")

    assert (prices.reach, stale.reach) == (0, 3)


@pytest.mark.parametrize(
    ("line", "addition", "complaint"),
    [
        (6, "colour: red\n", "unknown key 'colour'"),
        (7, "tests:\n- not_nul\n", "unknown test 'not_nul'"),
        (7, "tests:\n- not_null: {columns: [sesion]}\n", "unknown column 'sesion'"),
        (7, "tests:\n- not_null\n", "not_null needs the argument 'columns'"),
        (8, "tests:\n- row_count:\n    least: 1\n", "row_count has no argument 'least'"),
        (8, "tests:\n- row_count:\n    min: many\n", "a number was wanted, found 'many'"),
        (8, "tests:\n- row_count:\n    min: true\n", "a number was wanted, found True"),
        (8, "tests:\n- recency:\n    sessions: -1\n    column: session\n", "whole number from 0"),
        (7, "tests:\n- row_count: {min: 2, max: 1}\n", "min 2 is above max 1"),
        (7, "tests:\n- row_count: {min: 1, severity: fatal}\n", "severity is error or warn, was 'fatal'"),
        (7, "tests:\n- row_count: {min: 1, name: a b}\n", "'a b' cannot be a name"),
        (7, "tests:\n- expression_is_true: {expression: close > 1}\n", "unknown column 'close'"),
        (7, "tests:\n- expression_is_true: {expression: session.year > 1}\n", "nothing else"),
        (7, "tests:\n- matches: {column: session, pattern: '('}\n", "no regular expression"),
        (7, "tests:\n- accepted_values: {column: session, values: []}\n", "at least one value"),
        (7, "tests:\n- unique: {columns: []}\n", "at least one column"),
        (7, "tests:\n- unique: {columns: session}\n", "a list was wanted, found 'session'"),
        (7, "tests:\n- sums_to_one: {column: session, by: [session], tolerance: 1e-9}\n", "YAML wants a point"),
        (7, "tests:\n- accepted_range: {columns: [session], min: 0, exclusive: 1}\n", "true or false"),
        (
            8,
            "tests:\n- recency: {column: session}\n- recency: {column: session}\n",
            "'recency_session' is there already",
        ),
        (7, "tests:\n- unique: {columns: [session], name: types}\n", "'types' is there already"),
        (7, "tests:\n- {recency: {column: session}, row_count: {min: 1}}\n", "a test is one word"),
        (7, "tests:\n- 3\n", "a mapping (key: value) was wanted, found 3"),
        (6, "may_be_empty: perhaps\n", "true or false was wanted"),
        (6, "table: again\n", "'table' is given twice"),
        (6, "tests: {row_count: {min: 1}}\n", "a list was wanted, found a mapping"),
        (7, "tests: [\n", "not YAML"),
        (6, "may_be_empty: !!python/name:os.system ''\n", "not plain YAML"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_its_line(contract_of, line, addition, complaint):
    with pytest.raises(InvalidContract) as refusal:
        contract_of(HEAD + addition)

    place, _, message = str(refusal.value).partition(": ")
    assert complaint in message
    assert place.endswith(f"table.yml:{line}")


@pytest.mark.parametrize(
    ("found", "instead", "complaint"),
    [
        ("type: date", "type: day", "table.yml:5: unknown type 'day'"),
        ("meaning: The session.", "unit: days", "table.yml:5: the key 'meaning' is missing"),
        ("description: Closing prices.", "description:", "table.yml:2: text was wanted, found None"),
        ("key: [session]", "key: [day]", "table.yml:3: unknown column 'day'"),
        ("table: prices", "table: daily prices", "table.yml:1: 'daily prices' cannot be a name"),
        ("  session: {", "  the session: {", "table.yml:5: 'the session' cannot name a column"),
        (HEAD[HEAD.index("columns:") :], "columns: {}\n", "table.yml:4: a table has at least one column"),
        (HEAD, "", "table.yml:1: the file is empty"),
    ],
)
def test_the_message_names_file_and_line(contract_of, found, instead, complaint):
    with pytest.raises(InvalidContract) as refusal:
        contract_of(HEAD.replace(found, instead))

    assert complaint in str(refusal.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    from dbt_like_checks.contract import load

    with pytest.raises(InvalidContract, match=r"nowhere\.yml: cannot be read"):
        load(tmp_path / "nowhere.yml")


def test_an_unknown_table_is_refused_with_the_known_ones():
    with pytest.raises(InvalidContract, match="no contract is named 'bar'; there are allocation, "):
        contract("bar")


def test_every_table_of_the_line_has_a_contract_of_its_name():
    assert tables() == (
        *("allocation", "approved_orders", "asset_catalog", "bars", "data_freshness", "execution_quality", "fills"),
        *("indicators", "order_plan", "performance", "portfolio_snapshot", "reconciliation"),
        *("risk_history", "risk_report"),
        *("signal_history", "signals", "sizing_comparison", "strategy_diversity", "tail_backtest"),
    )
    assert all(contract(table).table == table for table in tables())


def test_relationships_lead_to_columns_that_are_there():
    for table in tables():
        for promise in contract(table).promises:
            if promise.test == "relationships":
                columns = {column.name for column in contract(promise.arguments["to"]).columns}
                assert promise.arguments["field"] in columns


def test_no_word_of_the_vocabulary_is_idle():
    used = {promise.test for table in tables() for promise in contract(table).promises}

    assert set(VOCABULARY) == used - {"columns", "types"}


def test_reading_contracts_brings_no_heavy_package():
    program = (
        "import sys; import dbt_like_checks.contract as c; [c.contract(t) for t in c.tables()];"
        "sys.exit(','.join({'pandas', 'pandera', 'dagster'} & set(sys.modules)))"
    )

    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert finished.stderr.strip() == ""
