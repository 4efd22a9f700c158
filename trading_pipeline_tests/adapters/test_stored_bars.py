import math
from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trading_pipeline.adapters.stored_bars import StoredBars, read_bars
from trading_pipeline.domain.bars import COLUMNS
from trading_pipeline.domain.errors import DataError, InvalidBars, InvalidInput
from trading_pipeline.domain.sessions import sessions_between

SHARED = Path(__file__).resolve().parents[3] / "shared"
HEADER = "symbol,session,open,high,low,close,volume"
MONDAY, TUESDAY = date(2026, 7, 27), date(2026, 7, 28)
A_SCREEN = 1200


def frame():
    return pd.DataFrame(
        {
            "symbol": ["SPY", "SPY", "TLT"],
            "session": [MONDAY, TUESDAY, MONDAY],
            "open": [10.0, math.nan, 20.0],
            "high": [12.0, math.nan, 22.0],
            "low": [9.0, math.nan, 19.0],
            "close": [11.0, 11.5, 21.0],
            "volume": [100.0, math.nan, 0.0],
        }
    )


@pytest.fixture
def file(tmp_path):
    def write(content, name="bars.csv"):
        path = tmp_path / name
        if isinstance(content, pd.DataFrame):
            content.to_parquet(path) if path.suffix == ".parquet" else content.to_csv(path, index=False)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text("\n".join(content) + "\n")
        return path

    return write


@pytest.mark.parametrize("name", ["bars.parquet", "bars.csv", "bars.anything"])
def test_a_file_is_read_by_what_it_holds(file, name):
    pd.testing.assert_frame_equal(read_bars(file(frame(), name)), frame().astype({"symbol": "str"}))


@pytest.mark.parametrize(
    "prepare",
    [
        lambda bars: bars.rename(columns={"session": "date"}),
        lambda bars: bars.assign(source="x", adj_close=[[1], [2], [3]]),
        lambda bars: bars.astype({"symbol": "category"}),
        lambda bars: bars.astype({"open": "float32", "close": "float32"}),
        lambda bars: bars[list(reversed(COLUMNS))],
        lambda bars: bars.set_index(["symbol", "session"]),
        lambda bars: bars.assign(session=pd.to_datetime(bars["session"])),
        lambda bars: bars.assign(session=pd.to_datetime(bars["session"]).dt.tz_localize("America/New_York")),
        lambda bars: bars.assign(session=bars["session"].astype(str)),
        lambda bars: bars.assign(date="2020-01-01"),
        lambda bars: bars.iloc[[2, 0, 1]],
    ],
)
def test_parquet_of_many_makes_reads_the_same(file, prepare):
    found = read_bars(file(prepare(frame()), "bars.parquet"))
    pd.testing.assert_frame_equal(found, frame().astype({"symbol": "str"}))


def test_parquet_of_large_strings_reads_the_same(tmp_path):
    table = pa.Table.from_pandas(frame())
    path = tmp_path / "bars.parquet"
    pq.write_table(table.set_column(0, "symbol", table["symbol"].cast(pa.large_string())), path)
    assert len(read_bars(path, symbols=["SPY"])) == 2


def test_csv_may_begin_with_a_byte_order_mark_and_leave_values_empty(file):
    text = f"\ufeff{HEADER}\nSPY,2026-07-27,,,,11,\nBRK.B,2026-07-27,1,2,1,1.5,NaN\n"
    found = read_bars(file(text.encode()))
    assert found["symbol"].tolist() == ["BRK.B", "SPY"]
    assert found["volume"].isna().all()
    assert math.isnan(found["open"][1])


def test_a_column_whose_first_numbers_are_whole_may_have_fractions_later(file):
    days = sessions_between(date(2020, 1, 1), date(2026, 7, 31))
    rows = [f"SPY,{day},10,12,9,{10 if day < days[-1] else 10.5},100" for day in days]
    assert read_bars(file([HEADER, *rows]))["close"].iloc[-1] == 10.5


def test_only_the_symbols_asked_for_are_returned_and_checked(file):
    bars = frame()
    bars.loc[2, "close"] = -21.0
    found = read_bars(file(bars), symbols=["SPY", "QQQ"])
    assert found["symbol"].tolist() == ["SPY", "SPY"]


def test_symbols_that_nobody_knows_are_let_through_unless_refused(file):
    path = file(frame())
    assert len(read_bars(path, known={"SPY"})) == 3
    assert len(read_bars(path, unknown="refuse", known={"SPY", "TLT"})) == 3


ROW = "SPY,2026-07-27,10,12,9,11,100"
NEXT = "SPY,2026-07-28,10,12,9,11,100"
BAD_CSV = {
    "missing columns": ([HEADER.replace(",high,low", ""), "SPY,2026-07-27,10,11,100"], "lacks high, low: found"),
    "neither session nor date": ([HEADER.replace("session", "day"), ROW], "lacks session or date: found"),
    "semicolons": ([HEADER.replace(",", ";"), ROW.replace(",", ";")], "lacks symbol, session or date"),
    "a column twice": ([HEADER + ",close", ROW + ",11"], "more than one column close: leave one"),
    "zero rows": ([HEADER], "has columns and no rows"),
    "ragged rows": ([HEADER, ROW, "SPY,2026-07-28,10"], "cannot be read: .*Expected 7 columns"),
    "text in a price": ([HEADER, ROW, NEXT.replace(",11,", ",eleven,")], "'eleven' for SPY on 2026-07-28"),
    "text after empty prices": (
        [HEADER, "SPY,2026-07-27,,,,11,", NEXT.replace(",10,", ",x,")],
        "1 values of open are not numbers, the first: 'x' for SPY on 2026-07-28",
    ),
    "a decimal comma": ([HEADER, ROW, NEXT.replace(",11,", ',"11,5",')], "'11,5' for SPY on 2026-07-28"),
    "a negative price": ([HEADER, ROW.replace(",9,", ",-9,")], r"not a positive number \(1\): SPY 2026-07-27 .*low -9"),
    "a price of zero": ([HEADER, ROW.replace(",11,", ",0,")], "not a positive number .*close 0"),
    "duplicate rows": ([HEADER, ROW, ROW], r"appear more than once \(2\): SPY 2026-07-27"),
    "unsorted dates": (
        [HEADER, NEXT, ROW],
        "1 of 2 bars stand below a later session .* SPY 2026-07-27 .*Sort the rows",
    ),
    "another time zone": ([HEADER, ROW.replace("27,", "27T00:00:00+09:00,", 1)], "must be midnight in New York"),
    "a time of day": ([HEADER, ROW.replace("27,", "27 16:00,", 1)], "a session has no time of day"),
    "no date": ([HEADER, ROW.replace("2026-07-27", "27/07/2026")], "was 27/07/2026: this is not a date"),
    "a Saturday": ([HEADER, ROW.replace("07-27", "07-25")], "not a session of the New York Stock Exchange"),
    "a malformed symbol": (
        [HEADER, ROW.replace("SPY", "spy us")],
        "1 malformed symbols of 1: spy us. Write them as SPY",
    ),
    "no symbol": ([HEADER, ROW.replace("SPY", "")], "1 malformed symbols of 1: None"),
    "an empty file": ([], "lacks symbol, session or date"),
}


def assert_refused(path, pattern, **options):
    before = path.stat().st_mtime_ns
    with pytest.raises((InvalidInput, DataError), match=pattern) as refusal:
        read_bars(path, **options)
    message = str(refusal.value)
    assert message.startswith(str(path))
    assert len(message) < A_SCREEN
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize(("lines", "pattern"), BAD_CSV.values(), ids=BAD_CSV)
def test_a_bad_csv_file_is_refused_with_place_and_remedy(file, lines, pattern):
    assert_refused(file(lines), pattern)


BAD_PARQUET = {
    "missing columns": (lambda bars: bars.drop(columns=["close"]), "lacks close: found the columns symbol, session"),
    "zero rows": (lambda bars: bars.iloc[:0], "has columns and no rows"),
    "text in a price": (
        lambda bars: bars.assign(close=["11", "n/a", "21"]),
        "1 values of close are not numbers, the first: 'n/a' for SPY on 2026-07-28",
    ),
    "a negative price": (lambda bars: bars.assign(close=[11, -11.5, 21]), "SPY 2026-07-28 .*close -11.5"),
    "duplicate rows": (lambda bars: pd.concat([bars, bars]).sort_values("session"), r"appear more than once \(6\)"),
    "unsorted dates": (lambda bars: bars.iloc[::-1], "1 of 3 bars stand below a later session"),
    "stamps in UTC": (
        lambda bars: bars.assign(session=pd.to_datetime(bars["session"]).dt.tz_localize("UTC")),
        "was 2026-07-27 00:00:00.00:00: a stamp with a time zone must be midnight in New York",
    ),
    "a time of day": (
        lambda bars: bars.assign(session=pd.to_datetime(bars["session"]) + pd.Timedelta(hours=16)),
        "was 2026-07-27 16:00:00: a session has no time of day",
    ),
    "numbers for dates": (lambda bars: bars.assign(session=20260727), "was 20260727: this is not a date"),
    "numbers for symbols": (lambda bars: bars.assign(symbol=[1, 2, 3]), "3 malformed symbols of 3: 1, 2, 3"),
    "lists for prices": (lambda bars: bars.assign(close=[[1.0]] * 3), "3 values of close are not numbers"),
    "a missing symbol": (lambda bars: bars.assign(symbol=["SPY", "SPY", None]), "1 malformed symbols of 2: None"),
    "a missing session": (lambda bars: bars.assign(session=[MONDAY, TUESDAY, None]), "1 of 3 bars have no session"),
}


@pytest.mark.parametrize(("spoil", "pattern"), BAD_PARQUET.values(), ids=BAD_PARQUET)
def test_a_bad_parquet_file_is_refused_with_place_and_remedy(file, spoil, pattern):
    assert_refused(file(spoil(frame()), "bars.parquet"), pattern)


def test_a_parquet_file_with_a_column_twice_is_refused(tmp_path):
    table = pa.Table.from_pandas(frame())
    pq.write_table(table.append_column("close", table["close"]), tmp_path / "bars.parquet")
    assert_refused(tmp_path / "bars.parquet", "more than one column close")


@pytest.mark.parametrize(
    ("content", "name", "pattern"),
    [
        (b"PK\x03\x04 a spreadsheet", "bars.parquet", r"neither Parquet nor CSV: it begins with b'PK"),
        (b"\x89HDF\r\n\x00\x00", "bars.h5", "neither Parquet nor CSV"),
        (b"", "bars.csv", "neither Parquet nor CSV: it begins with b''"),
        (b"PAR1 cut off", "bars.parquet", "cannot be read: .*Write it again as Parquet"),
        (f"{HEADER}\nSPY\xe9,2026-07-27,1,1,1,1,1\n".encode("latin-1"), "bars.csv", "cannot be read: .*UTF"),
    ],
    ids=["spreadsheet", "other format", "empty", "truncated", "another encoding"],
)
def test_a_file_of_another_kind_is_refused(file, content, name, pattern):
    assert_refused(file(content, name), pattern)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match=r"bars\.csv is not there: name a Parquet or CSV file"):
        read_bars(tmp_path / "bars.csv")


def test_a_folder_is_refused(tmp_path):
    assert_refused(tmp_path, "is a folder: name one Parquet or CSV file")


def test_a_file_that_may_not_be_read_is_refused(file, monkeypatch):
    path = file(frame())

    def denied(*args, **kwargs):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", denied)
    assert_refused(path, "cannot be read: Permission denied")


def test_unknown_symbols_are_refused_with_their_names_and_the_option_that_allows_them(file):
    pattern = "1 symbols that nobody knows of 2: TLT. Remove those rows or pass --ignore-unknown-symbols"
    assert_refused(file(frame()), pattern, unknown="refuse", known={"SPY"})


def test_a_file_with_none_of_the_wanted_symbols_is_refused(file):
    assert_refused(file(frame()), "holds none of QQQ, XLK: its symbols are SPY, TLT", symbols=["XLK", "QQQ"])


def test_many_offenders_are_counted_and_few_are_named(file):
    rows = [ROW.replace("SPY", f"bad{number}") for number in range(400)]
    assert_refused(file([HEADER, *rows]), "400 malformed symbols of 400: bad0, bad1, bad2, bad3, bad4 and 395 more")


def test_stored_bars_answer_for_a_range_of_sessions(file):
    stored = StoredBars(file(frame()))
    assert stored.daily_bars(["SPY", "QQQ"], MONDAY, MONDAY)["close"].tolist() == [11.0]
    assert stored.daily_bars(["SPY"], MONDAY, TUESDAY)["session"].tolist() == [MONDAY, TUESDAY]
    assert stored.daily_bars(["SPY"], date(2026, 8, 1), date(2026, 8, 9)).empty


def test_stored_bars_read_their_file_once_for_a_set_of_symbols(file):
    path = file(frame())
    stored = StoredBars(path)
    first = stored.daily_bars(["TLT", "SPY"], MONDAY, TUESDAY)
    path.unlink()
    pd.testing.assert_frame_equal(stored.daily_bars(["SPY", "TLT"], MONDAY, TUESDAY), first)


def test_what_a_caller_does_to_stored_bars_changes_no_later_answer(file):
    stored = StoredBars(file(frame()))
    bars = stored.daily_bars(["SPY"], MONDAY, TUESDAY)
    bars.loc[:, "close"] = 0.0
    assert stored.daily_bars(["SPY"], MONDAY, TUESDAY)["close"].tolist() == [11.0, 11.5]


def test_stored_bars_refuse_a_bad_file_as_reading_does(file):
    with pytest.raises(InvalidBars, match="appear more than once"):
        StoredBars(file([HEADER, ROW, ROW])).daily_bars(["SPY"], MONDAY, TUESDAY)


def test_the_real_bars_are_sound():
    path = SHARED / "data" / "bars.parquet"
    if not path.exists():
        pytest.skip("../shared is not here: no real bars to read")
    found = read_bars(path)
    assert (len(found), found["symbol"].nunique()) == (666_521, 141)
    assert int(found["open"].isna().sum()) == 34_761
    assert found["close"].notna().all()
