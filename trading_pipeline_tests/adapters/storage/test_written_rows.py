from datetime import date

import pandas as pd
import pyarrow.parquet as pq
import pytest

from trading_pipeline.adapters.storage.objects import FileObjects
from trading_pipeline.adapters.storage.recorded_tables import RecordedTables
from trading_pipeline.adapters.storage.tables import DeltaTables
from trading_pipeline.adapters.storage.written_rows import FOLDER, WrittenRows, written_beside
from trading_pipeline.domain.errors import DataError, DependencyUnavailable

THURSDAY, FRIDAY = date(2026, 7, 30), date(2026, 7, 31)


def bars(*rows):
    whole = [(symbol, session, close, close, close, close, 1.0) for symbol, session, close in rows]
    return pd.DataFrame(whole, columns=["symbol", "session", "open", "high", "low", "close", "volume"])


def closes(frame):
    return dict(zip(zip(frame["symbol"], frame["session"], strict=True), frame["close"], strict=True))


@pytest.fixture
def kept(tmp_path):
    return WrittenRows(FileObjects(tmp_path))


def write(kept, rows, before, version=None):
    begun = kept.begin("bars", rows, before)
    if version is not None:
        kept.end(begun, version)
    return begun


def test_rows_put_on_top_of_each_other_are_what_each_version_holds(kept):
    write(kept, bars(("SPY", THURSDAY, 600.0), ("QQQ", THURSDAY, 500.0)), None, 1)
    write(kept, bars(("SPY", FRIDAY, 610.0), ("QQQ", THURSDAY, 505.0)), 1, 2)

    assert closes(kept.rows("bars", 1)) == {("SPY", THURSDAY): 600.0, ("QQQ", THURSDAY): 500.0}
    assert closes(kept.rows("bars")) == {
        ("SPY", THURSDAY): 600.0,
        ("SPY", FRIDAY): 610.0,
        ("QQQ", THURSDAY): 505.0,
    }
    assert closes(kept.rows("bars", None, FRIDAY, FRIDAY)) == {("SPY", FRIDAY): 610.0}
    assert kept.versions("bars") == {1, 2}


def test_of_a_table_that_nobody_wrote_nothing_is_kept(kept):
    assert kept.is_empty("bars")
    assert kept.rows("bars").empty
    assert list(kept.rows("bars").columns) == list(bars().columns)


def test_a_write_that_was_cut_off_after_the_table_was_written_counts(kept):
    write(kept, bars(("SPY", THURSDAY, 600.0)), None)

    write(kept, bars(("SPY", FRIDAY, 610.0)), 1, 2)

    assert kept.versions("bars") == {1, 2}
    assert closes(kept.rows("bars", 1)) == {("SPY", THURSDAY): 600.0}


def test_a_write_that_was_cut_off_before_the_table_was_written_does_not(kept):
    write(kept, bars(("SPY", THURSDAY, 1.0), ("QQQ", THURSDAY, 1.0)), None)

    write(kept, bars(("SPY", THURSDAY, 600.0)), None, 1)

    assert closes(kept.rows("bars")) == {("SPY", THURSDAY): 600.0}


class TestWritesAtOnce:
    """Both begin after version 1, and the one that began first is overtaken by the other, or overtakes it."""

    @pytest.fixture(autouse=True)
    def first(self, kept):
        write(kept, bars(("SPY", THURSDAY, 1.0), ("QQQ", THURSDAY, 1.0)), None, 1)

    def test_the_later_version_wins_and_not_who_began_later(self, kept):
        one, other = (kept.begin("bars", bars(("SPY", THURSDAY, close)), 1) for close in (700.0, 800.0))
        kept.end(other, 2)
        kept.end(one, 3)

        assert closes(kept.rows("bars"))["SPY", THURSDAY] == 700.0
        assert closes(kept.rows("bars", 2))["SPY", THURSDAY] == 800.0

    def test_one_that_was_cut_off_after_it_was_the_first_to_be_written_counts(self, kept):
        write(kept, bars(("SPY", THURSDAY, 700.0), ("QQQ", THURSDAY, 700.0)), 1)
        write(kept, bars(("SPY", THURSDAY, 800.0)), 1, 3)

        assert kept.versions("bars") == {1, 2, 3}
        assert closes(kept.rows("bars")) == {("SPY", THURSDAY): 800.0, ("QQQ", THURSDAY): 700.0}
        assert closes(kept.rows("bars", 2)) == {("SPY", THURSDAY): 700.0, ("QQQ", THURSDAY): 700.0}

    def test_one_that_was_cut_off_while_the_other_was_written_has_not_its_version(self, kept):
        write(kept, bars(("SPY", THURSDAY, 700.0)), 1, 2)
        write(kept, bars(("SPY", THURSDAY, 800.0)), 1)

        assert closes(kept.rows("bars", 2))["SPY", THURSDAY] == 700.0
        # The table tells whether there is a third.
        assert closes(kept.rows("bars", 3))["SPY", THURSDAY] == 800.0

    def test_one_that_was_cut_off_and_that_the_next_does_not_find_does_not_count(self, kept):
        write(kept, bars(("SPY", THURSDAY, 700.0)), 1, 2)
        write(kept, bars(("SPY", THURSDAY, 800.0)), 1)
        write(kept, bars(("QQQ", THURSDAY, 900.0)), 2, 3)

        assert closes(kept.rows("bars")) == {("SPY", THURSDAY): 700.0, ("QQQ", THURSDAY): 900.0}

    def test_one_that_was_cut_off_and_done_again_is_not_taken_for_a_later_version_of_another_hand(self, kept):
        write(kept, bars(("SPY", THURSDAY, 700.0)), 1)
        write(kept, bars(("SPY", THURSDAY, 800.0)), 1, 2)
        write(kept, bars(("QQQ", THURSDAY, 900.0)), 3, 4)

        assert kept.versions("bars") == {1, 2, 4}
        assert closes(kept.rows("bars"))["SPY", THURSDAY] == 800.0

    def test_a_version_that_only_gave_the_table_a_column_is_nobodys(self, kept, tmp_path):
        write(kept, bars(("SPY", THURSDAY, 700.0)), 1)
        path = tmp_path / "bars" / "00000002.parquet"
        table = pq.read_table(path)
        pq.write_table(table.drop_columns(["volume"]).replace_schema_metadata(table.schema.metadata), path)
        write(kept, bars(("SPY", THURSDAY, 800.0)), 1, 3)

        assert kept.versions("bars") == {1, 3}


def test_who_writes_keeps_others_from_that_table_and_from_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr("trading_pipeline.adapters.storage.written_rows.LOCK_SECONDS", 0.01)
    one, other = written_beside(str(tmp_path)), written_beside(str(tmp_path))

    with one.writing("bars"), other.writing("indicators"):
        with pytest.raises(DependencyUnavailable, match="table bars is being written by another process"):
            other.writing("bars").__enter__()
        assert one.is_empty("bars")
    with other.writing("bars"):
        pass


def test_who_fails_while_writing_keeps_nobody_from_it(tmp_path):
    kept = written_beside(str(tmp_path))
    with pytest.raises(RuntimeError), kept.writing("bars"):
        raise RuntimeError

    with written_beside(str(tmp_path)).writing("bars"):
        pass


def test_without_a_folder_of_locks_nobody_waits(kept):
    with kept.writing("bars"), kept.writing("bars"):
        pass


def test_kept_rows_that_were_changed_are_refused_by_name(kept, tmp_path):
    write(kept, bars(("SPY", THURSDAY, 600.0)), None, 1)
    other = WrittenRows(FileObjects(tmp_path / "other"))
    write(other, bars(("SPY", THURSDAY, 601.0)), None, 1)
    (tmp_path / "other" / "bars" / "00000001.parquet").replace(tmp_path / "bars" / "00000001.parquet")

    with pytest.raises(DataError, match=r"bars/00000001\.parquet were changed after they were written"):
        kept.rows("bars")


@pytest.mark.parametrize(("name", "words"), [("1.parquet", "cannot be read"), ("1.version", "what is said")])
def test_what_cannot_be_read_is_refused_by_name(kept, tmp_path, name, words):
    write(kept, bars(("SPY", THURSDAY, 600.0)), None, 1 if name.endswith("version") else None)
    (tmp_path / "bars" / f"0000000{name}").write_bytes(b"nothing of the kind")

    with pytest.raises(DataError, match=words):
        kept.rows("bars")


def test_nothing_is_kept_of_tables_elsewhere(tmp_path):
    assert written_beside("s3://bucket/tables") is None
    assert written_beside(str(tmp_path)) is not None
    assert not (tmp_path / FOLDER).exists()


class TestFilesThatWereWrittenAgain:
    @pytest.fixture
    def tables(self, tmp_path):
        tables = DeltaTables(str(tmp_path))
        tables.upsert("bars", bars(("SPY", date(2025, 12, 31), 590.0)))
        tables.upsert("bars", bars(("SPY", THURSDAY, 600.0)))
        return tables

    def file_of(self, tmp_path, year):
        [path] = (tmp_path / "bars" / f"year={year}").glob("*.parquet")
        return path

    def test_a_file_of_another_length_is_read_all_the_same(self, tables, tmp_path):
        path = self.file_of(tmp_path, 2026)
        frame = pd.read_parquet(path)
        frame.assign(close=601.25, volume=123456.789).to_parquet(path, index=False)

        found = RecordedTables(tables).read("bars", version=2)

        assert closes(found) == {("SPY", date(2025, 12, 31)): 590.0, ("SPY", THURSDAY): 601.25}
        assert found.dtypes.equals(tables.read("bars", last=date(2025, 12, 31)).dtypes)

    @pytest.mark.parametrize("ruin", [lambda path: path.write_bytes(b"no table"), lambda path: path.unlink()])
    def test_rows_of_a_file_that_is_no_table_any_more_are_missing(self, tables, tmp_path, ruin):
        ruin(self.file_of(tmp_path, 2026))

        assert closes(RecordedTables(tables).read("bars", version=2)) == {("SPY", date(2025, 12, 31)): 590.0}

    def test_a_version_that_never_was_is_an_error(self, tables):
        with pytest.raises(DataError, match="restore"):
            RecordedTables(tables).read("bars", version=99)
