import subprocess
import sys

import pytest

from dbt_like_checks.contract import InvalidContract, Severity
from dbt_like_checks.singular_tests import load_singular, singular_on, singular_tests
from dbt_like_checks.sql_tables import refuse_wrong_body

HEADER = """\
-- Every fill belongs to
-- an order.
-- tables: fills, approved_orders
-- on: fills
"""
BODY = "\n-- A note.\nselect fills.symbol from fills join approved_orders using (client_order_id)\n"


@pytest.fixture
def written(tmp_path):
    def test(text, name="own.sql"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return test


def test_a_file_says_its_promise_tables_place_and_severity(written):
    test = load_singular(written(HEADER + "-- severity: warn\n" + BODY))

    assert (test.name, test.sentence) == ("own", "Every fill belongs to an order.")
    assert (test.tables, test.on, test.severity) == (("fills", "approved_orders"), "fills", Severity.WARN)
    assert test.related == ("approved_orders",)
    refuse_wrong_body(test)


def test_severity_is_error_unless_it_says_warn(written):
    assert load_singular(written(HEADER + BODY)).severity is Severity.ERROR


@pytest.mark.parametrize(
    ("found", "instead", "complaint"),
    [
        ("-- on: fills", "-- on: fills\n-- colour: red", "own.sql:5: unknown key 'colour'; known here: tables, on"),
        ("-- on: fills", "-- on: fills\n-- on: fills", "own.sql:5: 'on' is given twice"),
        ("-- on: fills\n", "", "own.sql:1: the header has no line `-- on: "),
        ("-- tables: fills, approved_orders\n", "", "own.sql:1: the header has no line `-- tables: "),
        ("fills, approved_orders", "fills, approved_order", "own.sql:3: unknown table 'approved_order'; known are"),
        ("fills, approved_orders", "fills, fills", "own.sql:3: a table is named twice"),
        ("-- on: fills", "-- on: bars", "own.sql:4: on is one of the tables that are read (fills, approved_orders)"),
        ("-- on: fills", "-- on: fills\n-- severity: fatal", "own.sql:5: severity is error or warn, was 'fatal'"),
        ("-- on: fills", "-- on: fills\n-- and more words", "own.sql:5: the promise comes before the keys"),
        ("-- Every fill belongs to\n-- an order.\n", "", "own.sql:1: the file begins with a comment that says"),
        ("an order.", "an order", "own.sql:1: the promise is one sentence and ends with a full stop"),
    ],
)
def test_a_header_that_cannot_be_understood_is_refused_with_its_line(written, found, instead, complaint):
    with pytest.raises(InvalidContract) as refusal:
        load_singular(written((HEADER + BODY).replace(found, instead, 1)))

    assert complaint in str(refusal.value)


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("select fills.symbol,\n  fills.price_paid\nfrom fills, approved_orders", "own.sql:7: Binder Error: "),
        ("select zymbol from fills, approved_orders", 'own.sql:6: Binder Error: Referenced column "zymbol" not found'),
        ("select 1 from fills,\norder_plan", "own.sql:7: Catalog Error: Table with name order_plan does not exist"),
        ("selct symbol from fills", 'own.sql:6: Parser Error: syntax error at or near "selct"'),
        ("delete from fills", "own.sql:6: the body is one SELECT, found DELETE"),
        ("select 1 from fills; drop table fills", "own.sql:6: the body is one SELECT, found SELECT, DROP"),
        ("-- nothing", "the body is one SELECT, found nothing"),
        ("", "the body is one SELECT, found nothing"),
        ("select symbol from fills", "own.sql:1: the header names approved_orders, which the body does not read"),
        ("select symbol from fills, approved_orders", "own.sql:6: Binder Error: Ambiguous reference"),
        ("select * from read_csv('/etc/passwd')", "own.sql:6: Permission Error: Cannot access file"),
        ("select * from '/etc/passwd'", "own.sql:6: Catalog Error"),
        ("select fills.price + fills.symbol from fills, approved_orders", "own.sql:6: Binder Error"),
    ],
)
def test_a_body_that_cannot_be_understood_is_refused_with_its_line(written, body, complaint):
    with pytest.raises(InvalidContract) as refusal:
        refuse_wrong_body(load_singular(written(f"{HEADER}\n{body}\n")))

    assert complaint in str(refusal.value)
    assert str(refusal.value).startswith(str(written(HEADER).parent))
    assert "\n" not in str(refusal.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InvalidContract, match=r"nowhere\.sql: cannot be read"):
        load_singular(tmp_path / "nowhere.sql")


def test_a_name_that_dagster_cannot_carry_is_refused(written):
    with pytest.raises(InvalidContract, match="'my test' cannot name a test"):
        load_singular(written(HEADER + BODY, "my test.sql"))


def test_a_test_named_like_a_promise_of_its_table_is_refused(written):
    test = load_singular(written(HEADER + BODY, "unique_grain.sql"))

    with pytest.raises(InvalidContract, match=r"unique_grain\.sql:1: fills has a promise named 'unique_grain' already"):
        singular_on("fills", [test])


def test_tests_are_read_in_order_and_shown_on_one_table_each(written):
    written(HEADER + BODY, "second.sql")
    folder = written(HEADER.replace("-- on: fills", "-- on: approved_orders") + BODY, "first.sql").parent

    found = singular_tests(folder)

    assert [test.name for test in found] == ["first", "second"]
    assert [test.name for test in singular_on("fills", found)] == ["second"]
    assert singular_on("bars", found) == ()


def test_reading_the_headers_brings_no_heavy_package():
    program = (
        "import sys; import dbt_like_checks.singular_tests as s; s.singular_tests();"
        "sys.exit(','.join({'pandas', 'duckdb', 'pyarrow', 'dagster'} & set(sys.modules)))"
    )

    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert finished.stderr.strip() == ""
