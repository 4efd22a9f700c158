import json
import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from trading_pipeline.adapters.storage.journal import SqliteJournal, _Line
from trading_pipeline.domain.errors import AlreadyEnded, DataError, DependencyUnavailable, InvalidInput, PipelineError
from trading_pipeline.ports import Attempt, IntentState
from trading_pipeline_tests.waiting import eventually

SESSION = date(2026, 7, 30)
TERMINAL = [state for state in IntentState if state.is_terminal]

CLAIMER = """
import json, sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from trading_pipeline.adapters.storage.journal import SqliteJournal, _Line
from trading_pipeline.domain.orders import *

journal, name, at = SqliteJournal(Path(sys.argv[1])), sys.argv[2], datetime(2026, 7, 31, tzinfo=UTC)

def plan(session):
    plan_id = f"{session}/{name}"
    orders = tuple(
        OrderIntent(client_order_id("SIM", plan_id, symbol, Side.BUY), sequence, symbol, Side.BUY, Decimal(1),
                    OrderType.MARKET, None, Decimal(1), TimeInForce.DAY, "")
        for sequence, symbol in enumerate(("SPY", "TLT"))
    )
    return Plan(plan_id, "SIM", session, session, 1, at, False, orders, (), "", "")

print("ready", flush=True)
sys.stdin.readline()
sessions = [date(2026, 1, 1) + timedelta(days=n) for n in range(60)]
print(json.dumps([journal.claim(plan(session), at) for session in sessions]))
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal" / "orders.sqlite"


@pytest.fixture
def journal(path):
    return SqliteJournal(path)


def states(journal, plan):
    return [entry.state for entry in journal.entries(plan.plan_id)]


def test_a_claim_journals_every_intent_in_the_plans_order(journal, make_plan, clock):
    plan = make_plan(symbols=("TLT", "SPY", "BIL"))

    assert journal.claim(plan, clock.now()) == plan.plan_id

    entries = journal.entries(plan.plan_id)
    assert [entry.client_order_id for entry in entries] == [intent.client_order_id for intent in plan.orders]
    assert {(entry.plan_id, entry.state, entry.recorded_at) for entry in entries} == {
        (plan.plan_id, IntentState.PLANNED, clock.now())
    }


def test_another_plan_of_the_session_finds_it_taken(journal, make_plan, clock):
    first, second = make_plan(1), make_plan(2)
    journal.claim(first, clock.now())

    assert journal.claim(second, clock.now()) == first.plan_id
    assert journal.claimed("SIM0001", SESSION) == first.plan_id
    assert journal.entries(second.plan_id) == []


def test_the_same_plan_claims_again_without_a_trace(journal, make_plan, clock):
    plan = make_plan()
    journal.claim(plan, clock.now())
    journal.record(plan.orders[0].client_order_id, IntentState.FILLED, "", clock.now())

    assert journal.claim(plan, clock.now()) == plan.plan_id
    assert states(journal, plan) == [IntentState.FILLED, IntentState.PLANNED]


def test_sessions_and_accounts_are_claimed_apart(journal, make_plan, clock):
    plans = [
        make_plan(),
        make_plan(session=date(2026, 7, 29)),
        replace(make_plan(5, account="SIM0002"), orders=()),
    ]
    assert [journal.claim(plan, clock.now()) for plan in plans] == [plan.plan_id for plan in plans]


def test_a_session_that_nobody_claimed_is_none(journal):
    assert journal.claimed("SIM0001", SESSION) is None
    assert journal.entries("2026-07-30/1") == []


def test_a_plan_without_orders_holds_its_session(journal, make_plan, clock):
    journal.claim(make_plan(symbols=()), clock.now())

    assert journal.claim(make_plan(2), clock.now()) == make_plan(1).plan_id


def test_a_hypothetical_plan_is_never_journalled(journal, make_plan, clock):
    with pytest.raises(InvalidInput, match="hypothetical"):
        journal.claim(make_plan(hypothetical=True), clock.now())

    assert journal.claimed("SIM0001", SESSION) is None


def test_a_claim_that_fails_half_way_leaves_nothing(journal, make_plan, clock):
    plan = make_plan()
    twice = replace(plan, orders=(*plan.orders, plan.orders[0]))

    with pytest.raises(DataError, match="two plans hold one intent"):
        journal.claim(twice, clock.now())

    assert journal.claimed("SIM0001", SESSION) is None
    assert journal.claim(plan, clock.now()) == plan.plan_id


def test_the_latest_word_counts_and_earlier_ones_stay(journal, path, make_plan, clock):
    plan = make_plan(symbols=("SPY",))
    journal.claim(plan, clock.now())
    for state in (IntentState.SUBMITTING, IntentState.ACKNOWLEDGED, IntentState.FILLED):
        clock.wait(1)
        journal.record(plan.orders[0].client_order_id, state, f"now {state}", clock.now())

    (entry,) = journal.entries(plan.plan_id)
    assert (entry.state, entry.detail, entry.recorded_at) == (IntentState.FILLED, "now filled", clock.now())
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT state FROM events ORDER BY event").fetchall() == [
        ("planned",),
        ("submitting",),
        ("acknowledged",),
        ("filled",),
    ]
    connection.close()


@pytest.mark.parametrize("ended", TERMINAL)
def test_what_has_ended_stays_ended_and_may_be_told_again(journal, make_plan, clock, ended):
    plan = make_plan(symbols=("SPY",))
    journal.claim(plan, clock.now())
    name = plan.orders[0].client_order_id
    journal.record(name, ended, "", clock.now())
    journal.record(name, ended, "again", clock.now())

    may_turn_up = {IntentState.ACKNOWLEDGED} if ended in {IntentState.ABANDONED, IntentState.REJECTED} else set()
    for state in set(IntentState) - {ended} - may_turn_up:
        with pytest.raises(AlreadyEnded, match=f"ended {ended}, it cannot become {state}"):
            journal.record(name, state, "", clock.now())
    assert states(journal, plan) == [ended]


def test_an_intent_that_was_never_claimed_cannot_be_recorded(journal, clock):
    with pytest.raises(DataError, match="tp1-x is not in the journal"):
        journal.record("tp1-x", IntentState.SUBMITTING, "", clock.now())


def test_another_object_on_the_same_file_sees_everything(journal, path, make_plan, clock):
    plan = make_plan()
    journal.claim(plan, clock.now())

    assert SqliteJournal(path).entries(plan.plan_id) == journal.entries(plan.plan_id)


def test_the_file_survives_a_power_cut_by_its_settings(journal, path, make_plan, clock):
    journal.claim(make_plan(), clock.now())

    with journal._connection() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert not list(path.parent.glob(".journal-*"))


def test_of_two_processes_that_claim_at_once_one_plan_wins_each_session(path):
    claimers = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIMER, str(path), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )
        for name in ("left", "right")
    ]
    for claimer in claimers:
        assert claimer.stdout.readline() == "ready\n"
    for claimer in claimers:
        claimer.stdin.write("go\n")
        claimer.stdin.flush()
    answers = [json.loads(claimer.communicate(timeout=180)[0]) for claimer in claimers]

    assert answers[0] == answers[1]
    assert len(set(answers[0])) == 60
    journal = SqliteJournal(path)
    for winner in answers[0]:
        session, name = winner.split("/")
        loser = f"{session}/{'left' if name == 'right' else 'right'}"
        assert len(journal.entries(winner)) == 2
        assert journal.entries(loser) == []


@pytest.mark.parametrize("content", ["", "this is a letter, not a database; " * 100])
def test_a_file_that_is_no_journal_is_named(path, journal, make_plan, clock, content):
    path.parent.mkdir()
    path.write_text(content)

    with pytest.raises(DataError, match=r"orders\.sqlite"):
        journal.claim(make_plan(), clock.now())


def test_a_folder_in_the_place_of_the_file_is_named(path, journal, make_plan, clock):
    path.mkdir(parents=True)

    with pytest.raises(InvalidInput, match=r"orders\.sqlite.*may write"):
        journal.claim(make_plan(), clock.now())


def test_a_file_in_the_place_of_the_folder_is_named(path, journal, make_plan, clock):
    path.parent.write_text("")

    with pytest.raises(InvalidInput, match="may write"):
        journal.claim(make_plan(), clock.now())


def test_a_journal_that_another_process_holds_is_waited_for_and_then_unavailable(
    path, journal, make_plan, clock, monkeypatch
):
    journal.claim(make_plan(), clock.now())
    monkeypatch.setattr("trading_pipeline.adapters.storage.journal.BUSY_SECONDS", 0.05)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")

    with pytest.raises(DependencyUnavailable, match="locked"):
        journal.claim(make_plan(session=SESSION + timedelta(days=1)), clock.now())
    assert journal.claimed("SIM0001", SESSION) == make_plan().plan_id
    holder.close()


def test_any_course_of_claims_and_records_keeps_the_journals_word(tmp_path, make_plan, clock):
    class Course(RuleBasedStateMachine):
        def __init__(self):
            super().__init__()
            Course.number = getattr(Course, "number", 0) + 1
            self.journal = SqliteJournal(tmp_path / f"{Course.number}.sqlite")
            self.holder = None
            self.state = {}

        @rule(version=st.integers(1, 3))
        def claim(self, version):
            plan = make_plan(version)
            if self.holder is None:
                self.holder = plan
                self.state = {intent.client_order_id: IntentState.PLANNED for intent in plan.orders}
            assert self.journal.claim(plan, clock.now()) == self.holder.plan_id

        @rule(order=st.integers(0, 1), version=st.integers(1, 3), state=st.sampled_from(list(IntentState)))
        def record(self, order, version, state):
            name = make_plan(version).orders[order].client_order_id
            before = self.state.get(name)
            # What was given up or rejected may turn up at the broker after all.
            turns_up = state is IntentState.ACKNOWLEDGED and before in {IntentState.ABANDONED, IntentState.REJECTED}
            if before is None or (before.is_terminal and state is not before and not turns_up):
                with pytest.raises(DataError):
                    self.journal.record(name, state, "", clock.now())
                return
            self.journal.record(name, state, "", clock.now())
            self.state[name] = state

        @invariant()
        def entries_are_the_latest_words(self):
            if self.holder is not None:
                entries = self.journal.entries(self.holder.plan_id)
                assert [(entry.client_order_id, entry.state) for entry in entries] == list(self.state.items())

    run_state_machine_as_test(Course, settings=settings(max_examples=10, stateful_step_count=12, deadline=None))


def test_the_history_tells_every_line_with_its_order_and_when_it_was_written(path, make_plan, clock):
    times = iter(datetime(2026, 7, 31, 14, 0, second, tzinfo=UTC) for second in range(60))
    journal, plan = SqliteJournal(path, lambda: next(times)), make_plan()
    name, other = plan.orders[0].client_order_id, plan.orders[1].client_order_id
    journal.claim(plan, clock.now())
    journal.record(name, IntentState.SUBMITTING, "2 at 10", clock.now(), Attempt("slice-1", Decimal("10.05")))
    journal.record(other, IntentState.SUBMITTING, "", clock.now())

    history = journal.history(plan.plan_id)[len(plan.orders) :]

    assert [(e.client_order_id, e.order_id, e.mid, e.written_at.second) for e in history] == [
        (name, "slice-1", Decimal("10.05"), 1),
        (other, other, None, 2),
    ]
    assert [entry.number for entry in history] == [len(plan.orders) + 1, len(plan.orders) + 2]
    assert {entry.recorded_at for entry in history} == {clock.now()}


def test_unfinished_intents_of_every_plan_are_found_and_ended_ones_are_not(journal, make_plan, clock):
    today = make_plan(session=SESSION)
    tomorrow = make_plan(session=SESSION + timedelta(days=1))
    for plan in (today, tomorrow):
        journal.claim(plan, clock.now())
    ended, left = today.orders[0].client_order_id, today.orders[1].client_order_id
    journal.record(ended, IntentState.FILLED, "", clock.now())
    journal.record(left, IntentState.ACKNOWLEDGED, "", clock.now())

    unfinished = journal.unfinished()

    wanted = {order.client_order_id for plan in (today, tomorrow) for order in plan.orders} - {ended}
    assert {entry.client_order_id for entry in unfinished} == wanted
    assert len(unfinished) == len(wanted)


def test_plans_of_two_accounts_that_bear_one_id_are_told_apart(journal, make_plan, clock):
    plan = make_plan()
    other = replace(
        plan,
        account_number="SIM0002",
        orders=tuple(replace(order, client_order_id=f"other-{order.symbol}") for order in plan.orders),
    )
    for each in (plan, other):
        journal.claim(each, clock.now())

    for read in (journal.entries, journal.history):
        assert {entry.account_number for entry in read(plan.plan_id)} == {"SIM0001", "SIM0002"}
        found = read(plan.plan_id, "SIM0002")
        assert [entry.client_order_id for entry in found] == [order.client_order_id for order in other.orders]


def test_a_line_is_written_only_while_the_entry_that_it_expects_is_the_latest(journal, make_plan, clock):
    plan = make_plan()
    name = plan.orders[0].client_order_id
    journal.claim(plan, clock.now())
    expected = journal.entries(plan.plan_id)[0]
    attempt = Attempt(name, expecting=expected)

    assert journal.record(name, IntentState.PARKED, "halted", clock.now(), attempt)
    assert not journal.record(name, IntentState.ABANDONED, "too late", clock.now(), attempt)
    assert journal.entries(plan.plan_id)[0].state is IntentState.PARKED


def test_a_journal_of_before_is_upgraded_and_nothing_of_it_is_lost(path, make_plan, clock):
    plan = make_plan()
    SqliteJournal(path).claim(plan, clock.now())
    with sqlite3.connect(path) as connection:
        for table, columns in {"events": "order_id written_at mid", "intents": "account_number session"}.items():
            for column in columns.split():
                connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        connection.execute("PRAGMA user_version = 0")
    connection.close()

    journal = SqliteJournal(path)
    entries = journal.entries(plan.plan_id)

    assert [entry.order_id for entry in entries] == [order.client_order_id for order in plan.orders]
    assert {entry.written_at for entry in entries} == {clock.now()}
    assert {(entry.account_number, entry.session) for entry in entries} == {(plan.account_number, plan.session)}
    assert journal.record(plan.orders[0].client_order_id, IntentState.SUBMITTING, "", clock.now(), Attempt("s"))


def test_a_journal_of_a_later_version_is_left_alone(path, make_plan, clock):
    SqliteJournal(path).claim(make_plan(), clock.now())
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()

    with pytest.raises(DataError, match="version 99, this code knows 1: upgrade it"):
        SqliteJournal(path).unfinished()


def test_a_journal_that_was_moved_away_is_begun_anew_and_not_written_on_unseen(journal, path, make_plan, clock):
    journal.claim(make_plan(), clock.now())
    for file in path.parent.glob(path.name + "*"):
        file.rename(file.with_name("away-" + file.name))

    assert journal.claimed("SIM0001", SESSION) is None
    assert journal.claim(make_plan(version=2), clock.now()) == "2026-07-30/2"


def record_in_threads(path, plan, now):
    journal = SqliteJournal(path)
    journal.claim(plan, now)

    def record(order):
        for state in (IntentState.SUBMITTING, IntentState.ACKNOWLEDGED):
            journal.record(order.client_order_id, state, "", now)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(record, plan.orders))
    return journal.entries(plan.plan_id)


def test_any_number_of_threads_share_one_journal_and_leave_nothing_open(path, make_plan, clock):
    plan = make_plan(symbols=[f"S{number}" for number in range(40)])

    entries = record_in_threads(path, plan, clock.now())

    assert {entry.state for entry in entries} == {IntentState.ACKNOWLEDGED}
    open_files = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert not [name for name in open_files if name.startswith(str(path))]


def recorded_at_once(journal, names, now, state=IntentState.SUBMITTING):
    """Let a thread record each of ``names`` while the journal is being written; return what each heard, by name."""

    def record(name):
        try:
            return journal.record(name, state, "", now)
        except (PipelineError, ValueError) as error:
            return error

    with ThreadPoolExecutor(len(names)) as threads:
        with journal._writing:
            heard = [threads.submit(record, name) for name in names]
            eventually(lambda: len(journal._waiting) == len(names))
        return dict(zip(names, (each.result(30) for each in heard), strict=True))


def statements_of(journal):
    """Return a list that grows by each statement of the journal's one idle connection."""
    told, (_, connection) = [], *journal._idle
    connection.set_trace_callback(told.append)
    return told


def test_lines_that_wait_are_written_together_with_one_synchronisation_of_the_disk(journal, make_plan, clock):
    plan = make_plan(symbols=[f"S{number}" for number in range(8)])
    journal.claim(plan, clock.now())
    told = statements_of(journal)

    heard = recorded_at_once(journal, [order.client_order_id for order in plan.orders], clock.now())

    assert set(heard.values()) == {True}
    assert states(journal, plan) == [IntentState.SUBMITTING] * 8
    assert told.count("COMMIT") == 1


class Fleeting(list):
    """Lines that wait, of which one is taken away whenever somebody looks at the next."""

    def __iter__(self):
        for line in super().__iter__():
            yield line
            if len(self) > 1:
                self.pop(0)


def test_lines_that_are_taken_away_meanwhile_hide_no_other(journal, make_plan, clock):
    plan = make_plan()
    journal.claim(plan, clock.now())
    name = plan.orders[0].client_order_id
    served = _Line(name, IntentState.SUBMITTING, "", clock.now(), Attempt(name), outcome=True)
    journal._waiting = Fleeting([served])

    assert journal.record(name, IntentState.SUBMITTING, "", clock.now())

    assert states(journal, plan)[0] is IntentState.SUBMITTING


def test_of_lines_that_wait_together_each_hears_of_its_own_failure_only(journal, make_plan, clock):
    plan = make_plan(symbols=["SPY", "TLT", "GLD"])
    journal.claim(plan, clock.now())
    wanted, ended, other = (order.client_order_id for order in plan.orders)
    journal.record(ended, IntentState.FILLED, "", clock.now())

    heard = recorded_at_once(journal, [wanted, ended, "never claimed", "half a sign: \ud83d", other], clock.now())

    assert heard[wanted] is heard[other] is True
    assert isinstance(heard[ended], AlreadyEnded)
    assert "never claimed is not in the journal" in str(heard["never claimed"])
    assert isinstance(heard["half a sign: \ud83d"], UnicodeEncodeError)
    assert [entry.state for entry in journal.history(plan.plan_id)].count(IntentState.SUBMITTING) == 2


def test_lines_that_wait_for_a_file_that_is_held_wait_once_for_all(journal, path, make_plan, clock, monkeypatch):
    plan = make_plan(symbols=[f"S{number}" for number in range(8)])
    journal.claim(plan, clock.now())
    told = statements_of(journal)
    journal._idle[0][1].execute("PRAGMA busy_timeout = 50")
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")

    heard = recorded_at_once(journal, [order.client_order_id for order in plan.orders], clock.now())
    holder.close()

    assert all(isinstance(failure, DependencyUnavailable) and "locked" in str(failure) for failure in heard.values())
    assert told.count("BEGIN IMMEDIATE") == 1
    assert states(journal, plan) == [IntentState.PLANNED] * 8
    assert set(recorded_at_once(journal, list(heard), clock.now()).values()) == {True}


def test_what_a_journal_that_was_moved_away_left_behind_is_no_part_of_the_new_one(path, make_plan, clock):
    SqliteJournal(path).claim(make_plan(), clock.now())
    killed = path.with_name(path.name + "-wal")
    killed.write_bytes(b"what was not yet written back")
    path.unlink()

    journal = SqliteJournal(path)

    assert journal.claimed("SIM0001", SESSION) is None
    assert journal.claim(make_plan(version=2), clock.now()) == "2026-07-30/2"
    assert killed.with_name(killed.name + ".orphaned").exists()


def test_a_detail_that_no_file_takes_is_kept_as_far_as_it_is_text(journal, make_plan, clock):
    plan = make_plan()
    journal.claim(plan, clock.now())
    intent = plan.orders[0].client_order_id

    assert journal.record(intent, IntentState.SUBMITTING, "half a sign: \ud83d", clock.now())

    assert journal.history(plan.plan_id)[-1].detail == "half a sign: ?"


def test_a_disk_that_fills_up_within_a_transaction_is_said_to_be_full(journal, path, make_plan, clock):
    plan = make_plan()
    journal.claim(plan, clock.now())
    with closing(sqlite3.connect(path)) as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
    file, borrowed = journal._borrowed()
    borrowed.execute(f"PRAGMA max_page_count = {pages}")
    journal._idle.append((file, borrowed))

    with pytest.raises(DependencyUnavailable, match="full"):
        journal.record(plan.orders[0].client_order_id, IntentState.SUBMITTING, "x" * 100_000, clock.now())
