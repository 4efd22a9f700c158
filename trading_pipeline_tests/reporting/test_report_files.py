import stat
from datetime import date

import pytest

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.reporting.report_files import report_path, sessions_reported, write_page

DAY = date(2026, 7, 31)


def test_a_page_is_replaced_whole_and_nothing_else_is_left(tmp_path):
    path = report_path(tmp_path, DAY)

    write_page(path, "first")
    write_page(path, "second \N{EN DASH}")

    assert path.read_text(encoding="utf-8") == "second \N{EN DASH}"
    assert [each.name for each in path.parent.iterdir()] == ["2026-07-31.html"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_sessions_with_a_report_are_listed_newest_first_and_other_files_passed_over(tmp_path):
    for name in ("2026-07-30.html", "2026-07-31.html", "2026-02-31.html", "notes.html", ".writing-x", "2026-07-29.txt"):
        write_page(tmp_path / "reports" / name, "")

    assert sessions_reported(tmp_path) == [DAY, date(2026, 7, 30)]
    assert sessions_reported(tmp_path / "nowhere") == []


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "reports").write_text("a file")

    with pytest.raises(InvalidInput, match=r"2026-07-31\.html cannot be written"):
        write_page(report_path(tmp_path, DAY), "page")
