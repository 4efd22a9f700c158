import sqlite3

import pytest

from trading_pipeline.adapters.storage.audit_sources import JournalLines
from trading_pipeline.adapters.storage.journal import SqliteJournal
from trading_pipeline.domain.errors import DataError, DependencyUnavailable
from trading_pipeline.ports import IntentState
from trading_pipeline_tests.builders import INSIDE_WINDOW, buy, make_plan, sell


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.sqlite"


@pytest.fixture
def plan(path):
    plan, journal = make_plan(sell("TQQQ", "3"), buy("SPY", "2.5")), SqliteJournal(path)
    journal.claim(plan, INSIDE_WINDOW)
    journal.record(plan.orders[0].client_order_id, IntentState.SUBMITTING, "sell 3", INSIDE_WINDOW)
    return plan


def test_every_line_says_what_the_journal_says_and_what_its_intent_is(path, plan):
    lines = list(JournalLines(path).after(0))

    history = SqliteJournal(path).history(plan.plan_id)
    assert [line["number"] for line in lines] == [entry.number for entry in history] == [1, 2, 3]
    for line, entry in zip(lines, history, strict=True):
        assert line["client_order_id"] == entry.client_order_id
        assert (line["state"], line["detail"], line["order_id"]) == (entry.state.value, entry.detail, entry.order_id)
        assert (line["recorded_at"], line["written_at"]) == (
            entry.recorded_at.isoformat(),
            entry.written_at.isoformat(),
        )
        assert (line["plan_id"], line["session"]) == (entry.plan_id, str(entry.session))
    assert [(line["symbol"], line["side"], line["quantity"]) for line in lines[:2]] == [
        ("TQQQ", "sell", "3"),
        ("SPY", "buy", "2.5"),
    ]


def test_lines_are_read_from_a_number_on(path, plan):
    assert [line["number"] for line in JournalLines(path).after(2)] == [3]
    assert list(JournalLines(path).after(3)) == []


def test_where_there_is_no_journal_there_are_no_lines_and_none_is_made(path):
    assert list(JournalLines(path).after(0)) == []
    assert not path.exists()


@pytest.mark.parametrize("content", [b"nonsense" * 1000, b""])
def test_a_file_that_is_no_journal_is_told_of(path, content):
    path.write_bytes(content)
    with pytest.raises(DataError, match="restore it from a copy"):
        list(JournalLines(path).after(0))


def test_a_file_that_another_process_holds_is_told_of(path, plan, monkeypatch):
    monkeypatch.setattr("trading_pipeline.adapters.storage.audit_sources.BUSY_SECONDS", 0.05)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("PRAGMA journal_mode = DELETE")
    holder.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(DependencyUnavailable, match="locked; try again"):
            list(JournalLines(path).after(0))
    finally:
        holder.close()
