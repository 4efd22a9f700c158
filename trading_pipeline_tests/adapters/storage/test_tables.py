import math
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pandas as pd
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_pipeline.adapters.storage import tables as tables_module
from trading_pipeline.adapters.storage.schemas import signal_table, table_schema
from trading_pipeline.adapters.storage.tables import DeltaTables, WriteConflict
from trading_pipeline.domain.bars import COLUMNS
from trading_pipeline.domain.errors import DataError, InvalidInput
from trading_pipeline.domain.sessions import sessions_between
from trading_pipeline_tests.builders import bars_frame

OLD_YEAR, NEW_YEAR = date(2025, 12, 31), date(2026, 1, 2)
DAY, NEXT = date(2026, 7, 30), date(2026, 7, 31)
INSTANT = datetime(2026, 7, 31, 13, 35, 1, 937734, tzinfo=UTC)


@pytest.fixture
def tables(tmp_path):
    return DeltaTables(str(tmp_path / "tables"))


def closes(**by_symbol):
    return bars_frame({symbol: {DAY: close} for symbol, close in by_symbol.items()})


def fills(session=DAY, *, count=2, price="101.25"):
    rows = [
        {
            "session": session,
            "execution_session": NEXT,
            "plan_id": f"{session}.1",
            "client_order_id": "tp1-a",
            "execution_id": f"{session}-{number}",
            "symbol": "SPY",
            "side": "buy",
            "quantity": Decimal("0.123456789"),
            "price": Decimal(price),
            "commission": Decimal(0),
            "filled_at": INSTANT,
        }
        for number in range(count)
    ]
    return pd.DataFrame(rows, columns=list(table_schema("fills").columns))


def test_a_table_that_was_never_written_has_every_column_no_row_and_no_version(tables):
    frame = tables.read("fills")

    assert list(frame.columns) == list(table_schema("fills").columns)
    assert frame.empty
    assert tables.version("fills") is None


def test_decimals_dates_instants_and_text_come_back_as_they_went_in(tables):
    tables.replace_session("fills", DAY, fills())

    row = tables.read("fills").iloc[0]

    assert row["quantity"] == Decimal("0.123456789")
    assert isinstance(row["quantity"], Decimal)
    assert type(row["session"]) is date
    assert (row["session"], row["execution_session"]) == (DAY, NEXT)
    assert row["filled_at"].to_pydatetime() == INSTANT
    assert str(row["filled_at"].tz) == "UTC"
    assert (row["side"], row["execution_id"]) == ("buy", "2026-07-30-0")


def test_what_is_missing_stays_missing(tables):
    tables.upsert("bars", closes(SPY=100.0))
    signal = {"session": DAY, "strategy": "tecl", "symbol": None, "weight": math.nan, "status": "unavailable"}
    frame = pd.DataFrame([{**signal, "reason": "rsi(KMLM,10) is missing", "inputs_hash": "abc"}])
    tables.replace_session("tecl_signal", DAY, frame)

    assert tables.read("bars")[["open", "high", "low", "volume"]].isna().all(axis=None)
    assert tables.read("tecl_signal")[["symbol", "weight"]].isna().all(axis=None)
    assert tables.read("tecl_signal")["reason"].tolist() == ["rsi(KMLM,10) is missing"]


@given(amount=st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**20), max_value=10**20))
@settings(max_examples=10)
def test_every_amount_of_nine_places_comes_back_exactly(tmp_path_factory, amount):
    tables = DeltaTables(str(tmp_path_factory.mktemp("tables")))

    tables.replace_session("fills", DAY, fills(count=1, price=str(amount)))

    assert tables.read("fills")["price"].tolist() == [amount]


def test_writing_a_session_again_writes_no_second_row(tables):
    tables.replace_session("fills", DAY, fills())
    tables.replace_session("fills", DAY, fills())

    pd.testing.assert_frame_equal(tables.read("fills"), DeltaTables(tables.root).read("fills"))
    assert len(tables.read("fills")) == 2


def test_replacing_a_session_leaves_the_others_alone(tables):
    for session in (OLD_YEAR, NEW_YEAR, DAY, NEXT):
        tables.replace_session("fills", session, fills(session))

    tables.replace_session("fills", DAY, fills(count=1))

    counts = tables.read("fills").groupby("session").size().to_dict()
    assert counts == {OLD_YEAR: 2, NEW_YEAR: 2, DAY: 1, NEXT: 2}


def test_an_empty_frame_takes_the_rows_of_the_session_away(tables):
    tables.replace_session("fills", DAY, fills())
    tables.replace_session("fills", NEXT, fills(NEXT))

    tables.replace_session("fills", DAY, fills(count=0))

    assert set(tables.read("fills")["session"]) == {NEXT}


def test_an_empty_frame_may_be_the_first_that_is_written(tables):
    version = tables.replace_session("fills", DAY, fills(count=0))

    assert tables.version("fills") == version
    assert tables.read("fills").empty


def test_upserting_replaces_rows_of_the_same_key_and_inserts_the_rest(tables):
    tables.upsert("bars", bars_frame({"SPY": {OLD_YEAR: 1.0, NEW_YEAR: 2.0}, "TLT": {NEW_YEAR: 3.0}}))

    tables.upsert("bars", bars_frame({"SPY": {OLD_YEAR: 10.0, DAY: 4.0}}))

    assert tables.read("bars")[["symbol", "session", "close"]].to_numpy().tolist() == [
        ["SPY", OLD_YEAR, 10.0],
        ["SPY", NEW_YEAR, 2.0],
        ["SPY", DAY, 4.0],
        ["TLT", NEW_YEAR, 3.0],
    ]


def test_upserting_nothing_changes_nothing(tables):
    tables.upsert("bars", closes(SPY=1.0))

    tables.upsert("bars", closes())

    assert len(tables.read("bars")) == 1


def test_two_rows_of_one_key_are_refused(tables):
    tables.upsert("bars", closes(SPY=1.0))

    with pytest.raises(DataError, match=r"one row for each symbol, session; SPY, 2026-07-30 came more than once"):
        tables.upsert("bars", pd.concat([closes(SPY=2.0), closes(SPY=3.0)]))

    assert tables.read("bars")["close"].tolist() == [1.0]


def test_bars_that_contradict_each_other_are_both_quarantined_once_however_often_they_come(tables):
    two = pd.concat([closes(SPY=1.0), closes(SPY=-1.0)], ignore_index=True)
    refused = two.assign(reason="symbol and session appear more than once", quarantined_at=pd.Timestamp(INSTANT))

    tables.upsert("bars_quarantine", refused)
    tables.upsert("bars_quarantine", refused)

    assert tables.read("bars_quarantine")["close"].tolist() == [-1.0, 1.0]


@pytest.mark.parametrize(
    ("first", "last", "found"),
    [
        (None, None, [OLD_YEAR, NEW_YEAR, DAY]),
        (OLD_YEAR, NEW_YEAR, [OLD_YEAR, NEW_YEAR]),
        (NEW_YEAR, None, [NEW_YEAR, DAY]),
        (None, OLD_YEAR, [OLD_YEAR]),
        (date(2026, 1, 3), date(2026, 7, 29), []),
        (date(2020, 1, 1), date(2030, 1, 1), [OLD_YEAR, NEW_YEAR, DAY]),
        (DAY, OLD_YEAR, []),
    ],
)
def test_a_range_is_read_with_both_ends_and_across_years(tables, first, last, found):
    tables.upsert("bars", bars_frame({"SPY": {DAY: 3.0, NEW_YEAR: 2.0, OLD_YEAR: 1.0}}))

    assert tables.read("bars", first, last)["session"].tolist() == found


def test_rows_come_in_the_order_of_the_key(tables):
    tables.upsert("bars", closes(TLT=1.0))
    tables.upsert("bars", closes(AGG=2.0, SPY=3.0))

    assert tables.read("bars")["symbol"].tolist() == ["AGG", "SPY", "TLT"]


def test_an_earlier_version_reads_as_it_was(tables):
    first = tables.replace_session("fills", DAY, fills())
    second = tables.replace_session("fills", DAY, fills(count=1, price="7"))

    assert second > first
    assert tables.version("fills") == second
    assert tables.read("fills", version=first)["price"].tolist() == [Decimal("101.25")] * 2
    assert tables.read("fills", version=second)["price"].tolist() == [7]


def test_a_version_that_never_was_is_refused(tables):
    tables.replace_session("fills", DAY, fills())

    with pytest.raises(InvalidInput, match=r"table fills below .* cannot be opened: .*999"):
        tables.read("fills", version=999)


def test_no_log_and_no_file_is_ever_thrown_away(tables):
    tables.replace_session("fills", DAY, fills())

    kept = DeltaTable(f"{tables.root}/fills").metadata().configuration

    assert kept == tables_module.KEPT_FOR_YEARS


WRONG = {
    "a column too few": lambda frame: frame.drop(columns="price"),
    "a column too many": lambda frame: frame.assign(note="x"),
    "text for money": lambda frame: frame.assign(price="twelve"),
    "a float for money": lambda frame: frame.assign(price=12.5),
    "money of ten places": lambda frame: frame.assign(price=Decimal("0.0123456789")),
    "money beyond all bounds": lambda frame: frame.assign(price=Decimal(10) ** 40),
    "a number for text": lambda frame: frame.assign(symbol=7),
    "text for an instant": lambda frame: frame.assign(filled_at="noon"),
    "text for a session": lambda frame: frame.assign(session="2026-07-30"),
    "no session": lambda frame: frame.assign(session=None),
    "another session": lambda frame: frame.assign(session=NEXT),
    "a stamp for a session": lambda frame: frame.assign(session=pd.Timestamp(DAY)),
}


@pytest.mark.parametrize("broken", WRONG.values(), ids=WRONG)
def test_what_does_not_fit_the_schema_is_refused_and_the_table_stays_as_it_was(tables, broken):
    version = tables.replace_session("fills", DAY, fills())

    with pytest.raises(DataError, match="table fills"):
        tables.replace_session("fills", DAY, broken(fills(count=1)))

    assert tables.version("fills") == version
    assert len(tables.read("fills")) == 2


@pytest.mark.parametrize("name", ["a column too few", "text for money", "text for a session", "no session"])
def test_what_does_not_fit_the_schema_is_not_upserted_either(tables, name):
    with pytest.raises(DataError, match="table fills"):
        tables.upsert("fills", WRONG[name](fills()))

    assert tables.version("fills") is None


def test_a_message_names_the_columns_that_are_missing_or_unknown(tables):
    with pytest.raises(DataError, match=r"missing or unknown: \['close', 'last'\]"):
        tables.upsert("bars", closes(SPY=1.0).rename(columns={"close": "last"}))


def test_a_table_that_nobody_knows_is_an_error():
    with pytest.raises(KeyError, match="nonsense"):
        table_schema("nonsense")


def test_every_strategy_has_a_signal_table():
    schema = table_schema("nuclear_signal")

    assert schema == signal_table("nuclear")
    assert schema.arrow.names[-1] == "year"


@pytest.mark.parametrize(
    "ask",
    [
        lambda tables: tables.replace_session("fills", DAY, fills()),
        lambda tables: tables.upsert("fills", fills()),
        lambda tables: tables.read("fills"),
        lambda tables: tables.version("fills"),
    ],
    ids=["replace", "upsert", "read", "version"],
)
def test_a_file_in_the_place_of_a_table_is_named(tables, tmp_path, ask):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "fills").write_text("not a table", encoding="utf-8")

    with pytest.raises(InvalidInput, match=r"table fills (below .* )?cannot be [^;]*; check the folder"):
        ask(tables)


def test_a_file_in_the_place_of_the_folder_is_named(tables, tmp_path):
    (tmp_path / "tables").write_text("not a folder", encoding="utf-8")

    with pytest.raises(InvalidInput, match=r"table fills cannot be written below [^;]*; check the folder"):
        tables.replace_session("fills", DAY, fills())


def test_a_damaged_table_is_named(tables, tmp_path):
    tables.replace_session("fills", DAY, fills())
    for file in (tmp_path / "tables" / "fills").rglob("*.parquet"):
        file.unlink()

    with pytest.raises(InvalidInput, match=r"table fills below .* cannot be read"):
        tables.read("fills")


@pytest.fixture
def impatient(monkeypatch):
    quick = tables_module.RetryPolicy(attempts=3, first_wait_seconds=0, longest_wait_seconds=0)
    monkeypatch.setattr(tables_module, "CONFLICTS", quick)


def conflicting(monkeypatch, times):
    real, left = tables_module.write_deltalake, list(range(times))

    def write(*arguments, **options):
        if left:
            left.pop()
            raise CommitFailedError("concurrent")
        real(*arguments, **options)

    monkeypatch.setattr(tables_module, "write_deltalake", write)


def test_a_conflict_is_tried_again(tables, monkeypatch, impatient):
    conflicting(monkeypatch, times=2)

    tables.replace_session("fills", DAY, fills())

    assert len(tables.read("fills")) == 2


def test_conflicts_without_end_are_passing_trouble(tables, monkeypatch, impatient):
    conflicting(monkeypatch, times=9)

    with pytest.raises(WriteConflict, match=r"writing table fills failed 3 times .*concurrent"):
        tables.replace_session("fills", DAY, fills())


# Writes its sessions one by one, each as soon as the other process may write too.
WRITER = """
import sys
from dataclasses import replace
from datetime import date

from trading_pipeline.adapters.storage.tables import DeltaTables
from trading_pipeline.domain.bars import COLUMNS
import pandas as pd

root, how, *days = sys.argv[1:]
tables = DeltaTables(root)
print("ready", flush=True)
sys.stdin.readline()
for day in map(date.fromisoformat, days):
    frame = pd.DataFrame([{"symbol": "SPY", "session": day, "close": 1.0}], columns=list(COLUMNS))
    frame = frame.astype({name: "float64" for name in ("open", "high", "low", "volume")})
    if how == "replace":
        tables.replace_session("bars", day, frame)
    else:
        tables.upsert("bars", frame)
"""


@pytest.fixture
def written_by_two(tables):
    def write(how, mine, others):
        commands = [[sys.executable, "-c", WRITER, tables.root, how, *map(str, days)] for days in (mine, others)]
        writers = [subprocess.Popen(c, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for c in commands]
        for writer in writers:
            assert writer.stdout.readline() == "ready\n"
        for writer in writers:
            writer.stdin.write("go\n")
            writer.stdin.flush()
        for writer in writers:
            writer.communicate(timeout=120)
            assert writer.returncode == 0
        return tables.read("bars")

    return write


@pytest.mark.parametrize("how", ["replace", "upsert"])
def test_two_processes_that_write_sessions_of_one_year_lose_nothing(tables, written_by_two, how):
    tables.upsert("bars", closes(TLT=1.0))
    days = sessions_between(date(2026, 3, 2), date(2026, 3, 13))

    frame = written_by_two(how, days[:5], days[5:])

    assert frame[frame["symbol"] == "SPY"]["session"].tolist() == list(days)
    assert len(frame) == len(days) + 1


@pytest.mark.parametrize("how", ["replace", "upsert"])
def test_two_processes_that_create_a_table_at_once_lose_nothing(written_by_two, how):
    frame = written_by_two(how, [DAY], [NEXT])

    assert frame["session"].tolist() == [DAY, NEXT]
    assert list(frame.columns) == list(COLUMNS)


def test_a_table_of_an_earlier_version_gains_its_new_column_and_keeps_its_rows(tables, monkeypatch):
    now = table_schema("fills")
    before = replace(now, columns={name: kind for name, kind in now.columns.items() if name != "commission"})
    monkeypatch.setattr(tables_module, "table_schema", lambda name: before)
    tables.upsert("fills", fills(count=1).drop(columns="commission"))
    monkeypatch.undo()

    assert tables.read("fills")["commission"].tolist() == [None]

    tables.upsert("fills", fills(NEXT, count=1))

    assert tables.read("fills")["commission"].tolist() == [None, Decimal(0)]
