import itertools
from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from structlog.testing import capture_logs

from trading_pipeline.adapters.storage.audit_sources import JournalLines
from trading_pipeline.adapters.storage.audit_spool import AuditSpool
from trading_pipeline.adapters.storage.audit_verification import LogVerification
from trading_pipeline.adapters.storage.journal import SqliteJournal
from trading_pipeline.adapters.storage.objects import FileObjects
from trading_pipeline.adapters.storage.trading_state import StoredTradingState
from trading_pipeline.application.audit_trail import InForce
from trading_pipeline.application.auditing import lines_missing, of_source
from trading_pipeline.domain.allocation import Allocation, Contribution, SleeveStatus
from trading_pipeline.domain.errors import DependencyUnavailable, InvalidInput
from trading_pipeline.domain.fills import Fill
from trading_pipeline.domain.orders import ArchivedDecision, Side
from trading_pipeline.domain.risk.trading_state import Latch, TradingMode
from trading_pipeline.domain.signals import Signal, SignalStatus
from trading_pipeline.ports import RECOVERED, IntentState, Severity
from trading_pipeline_tests.audit_builders import NOON, MemoryObjects, Told, audit_in_memory, make_draft
from trading_pipeline_tests.builders import INSIDE_WINDOW, SESSION, buy, make_plan, sell

DRAWDOWN = Latch("drawdown", TradingMode.HALTED, "12 %", "drawdown", NOON, date(2026, 7, 31), is_risk=True)
BREAK = Latch("reconciliation", TradingMode.REDUCING, "a break", "reconciliation", NOON)

FAILED = "audit:2026-07-31T16:00:00.000000+00:00"


class Desk:
    """A trail over a folder, with a log in memory."""

    def __init__(self, folder):
        self.objects, self.told = MemoryObjects(), Told()
        self.journal = SqliteJournal(folder / "journal.sqlite")
        self.states = StoredTradingState(FileObjects(folder / "objects"))
        self.trail = replace(
            audit_in_memory(self.objects),
            spool=AuditSpool(folder / "spool"),
            journal=JournalLines(folder / "journal.sqlite"),
            states=self.states,
            notifier=self.told,
        )

    def records(self, *events):
        return [record for record in self.trail.log.records() if not events or record.event in events]

    def latch(self, latch):
        return self.states.change(lambda state: state.latched(latch))

    @property
    def findings(self):
        return list(LogVerification(self.objects).findings())


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def make_fill(name, order, quantity="1"):
    return Fill(
        name, order.client_order_id, order.symbol, order.side, Decimal(quantity), Decimal("99.5"), Decimal(0), NOON
    )


def test_settings_come_first_once_and_again_when_they_or_the_code_change(desk):
    desk.trail.record([make_draft(1)])
    desk.trail.record([make_draft(2)])
    changed = replace(desk.trail, in_force=InForce("1.0", "other", lambda: {"risk": {"limit": "0.3"}}))
    changed.record([make_draft(3)])
    replace(changed, in_force=InForce("1.1", "other", dict)).record([make_draft(4)])

    events = [record.event for record in desk.records()]
    assert events == ["settings", "signal", "signal", "settings", "signal", "settings", "signal"]
    first = desk.records("settings")[0]
    assert first.payload == {"code_version": "1.0", "config_hash": "abc", "values": {"risk": {"limit": "0.2"}}}


def test_a_signal_and_an_allocation_belong_to_their_session(desk):
    scribe = desk.trail.scribe("run 1")
    signal = Signal("nuclear", SESSION, SignalStatus.AVAILABLE, {"TQQQ": 0.25, "SPY": 0.75}, None, "hash")
    share = Contribution("SPY", "nuclear", 1.0, SleeveStatus.DECIDED, SESSION)
    assert desk.trail.record([scribe.signal(signal), scribe.allocation(Allocation(SESSION, (share,)))])

    told, target = desk.trail.log.records(correlation_id=str(SESSION))
    assert (told.event, told.actor, told.run_id) == ("signal", "nuclear_signal", "run 1")
    assert told.payload["weights"] == {"SPY": "0.75", "TQQQ": "0.25"}
    assert (told.payload["status"], told.payload["inputs_hash"]) == ("available", "hash")
    assert target.payload["weights"] == {"SPY": "1.0"}
    assert target.payload["contributions"][0]["decided_on"] == str(SESSION)


def test_an_order_is_followed_from_its_decision_to_its_fill_by_its_id(desk):
    plan = make_plan(sell("TQQQ", "3"), buy("SPY", "2.5"))
    order, trail = plan.orders[1], desk.trail
    trail.record(trail.scribe("run 1").plan(plan))
    desk.journal.claim(plan, INSIDE_WINDOW)
    desk.journal.record(order.client_order_id, IntentState.SUBMITTING, "buy 2.5", INSIDE_WINDOW)
    trail.follow("run 2")
    trail.record_fills(plan, [make_fill("x", order)], {}, "run 2")

    found = list(trail.log.records(correlation_id=order.client_order_id))
    assert [record.event for record in found] == ["risk_decision", "order", "order", "fill"]
    assert {record.causation_id for record in found} == {plan.plan_id}
    assert found[0].payload["order"]["quantity"] == "2.5"
    [whole] = trail.log.records(correlation_id=plan.plan_id)
    assert (whole.event, whole.causation_id) == ("plan", str(SESSION))
    assert desk.findings == []


def test_a_denied_order_has_its_decision_in_the_log(desk):
    plan = replace(make_plan(), decisions=(ArchivedDecision("tp1-x", "denied", Decimal(0), ("no cash",)),))
    desk.trail.record(desk.trail.scribe().plan(plan))

    [decision] = desk.records("risk_decision")
    assert decision.payload == {
        "client_order_id": "tp1-x",
        "decision": "denied",
        "quantity": "0",
        "breaches": ["no cash"],
        "warnings": [],
        "order": None,
    }


def test_lines_of_the_journal_are_recorded_once_however_often_it_is_followed(desk):
    plan = make_plan(buy("SPY", "2.5"))
    desk.journal.claim(plan, INSIDE_WINDOW)
    assert desk.trail.follow()
    assert desk.trail.follow()
    desk.journal.record(plan.orders[0].client_order_id, IntentState.SUBMITTING, "", INSIDE_WINDOW)
    desk.trail.follow()

    assert [record.payload["number"] for record in desk.records("order")] == [1, 2]
    assert [record.payload["state"] for record in desk.records("order")] == ["planned", "submitting"]


def test_more_lines_than_a_segment_holds_are_followed_in_one_call(desk, monkeypatch):
    monkeypatch.setattr("trading_pipeline.application.audit_trail.MOST_AT_ONCE", 2)
    plan = make_plan(*[buy(f"S{number}", "1") for number in range(7)])
    desk.journal.claim(plan, INSIDE_WINDOW)
    desk.trail.follow()

    assert [record.payload["number"] for record in desk.records("order")] == list(range(1, 8))


@pytest.mark.parametrize("lines", [1, 3])
def test_a_journal_that_took_the_place_of_another_is_followed_from_its_beginning(desk, tmp_path, lines):
    desk.journal.claim(make_plan(buy("SPY", "1"), buy("QQQ", "1")), INSIDE_WINDOW)
    desk.trail.follow()
    for file in tmp_path.glob("journal.sqlite*"):
        file.unlink()
    later = make_plan(*[buy(f"S{number}", "1") for number in range(lines)])
    SqliteJournal(tmp_path / "journal.sqlite").claim(later, INSIDE_WINDOW)
    desk.trail.follow()

    told = [(record.event, record.payload.get("number")) for record in desk.records("order", "source_replaced")]
    again = [("order", number) for number in range(1, lines + 1)]
    assert told == [("order", 1), ("order", 2), ("source_replaced", None), *again]
    assert desk.findings == []


def test_a_journal_that_is_gone_is_waited_for(desk, tmp_path):
    desk.journal.claim(make_plan(buy("SPY", "1")), INSIDE_WINDOW)
    desk.trail.follow()
    for file in tmp_path.glob("journal.sqlite*"):
        file.unlink()

    assert desk.trail.follow()
    assert len(desk.records("order", "source_replaced")) == 1


def test_every_change_of_the_trading_state_is_recorded_whoever_made_it_and_an_override_by_name(desk):
    desk.latch(BREAK)
    desk.latch(DRAWDOWN)
    desk.states.change(lambda state: state.cleared(["drawdown"], "looked", "Ann", NOON, overrides_risk=True))
    desk.trail.follow()

    found = desk.records("trading_state", "risk_override")
    assert [(record.event, record.actor) for record in found] == [
        ("trading_state", "reconciliation"),
        ("trading_state", "drawdown"),
        ("risk_override", "Ann"),
    ]
    assert [record.payload["mode"] for record in found] == ["reducing", "halted", "reducing"]
    assert [record.payload["number"] for record in found] == [1, 2, 3]
    assert found[2].payload["change"]["reason"] == "looked"


def test_a_change_that_cannot_be_read_is_recorded_as_such_and_does_not_hide_later_ones(desk, tmp_path):
    desk.latch(BREAK)
    desk.latch(DRAWDOWN)
    (tmp_path / "objects/state/history/00000001.json").write_bytes(b"nonsense")
    desk.trail.follow()
    (tmp_path / "objects/state/history/00000002.json").write_bytes(b"nonsense")
    desk.trail.follow()

    found = desk.records("trading_state", "source_replaced")
    assert [record.payload.get("is_readable", True) for record in found] == [False, True]


def test_a_history_that_took_the_place_of_another_is_followed_from_its_beginning(desk, tmp_path):
    desk.latch(BREAK)
    desk.trail.follow()
    for file in (tmp_path / "objects/state").rglob("*.json"):
        file.unlink()
    desk.latch(DRAWDOWN)
    desk.trail.follow()

    events = [record.event for record in desk.records("trading_state", "source_replaced")]
    assert events == ["trading_state", "source_replaced", "trading_state"]


def test_executions_are_recorded_once_however_often_the_fills_are_made(desk):
    plan = make_plan(buy("SPY", "2"))
    order = plan.orders[0]
    desk.trail.record(desk.trail.scribe().plan(plan))
    slice_of = {"tp1-slice": order.client_order_id}
    first, second = make_fill("a", order), replace(make_fill("b", order), client_order_id="tp1-slice")
    for fills in ([first], [first, second], [second, first]):
        assert desk.trail.record_fills(plan, fills, slice_of)

    found = desk.records("fill")
    assert [record.payload["execution_id"] for record in found] == ["a", "b"]
    assert {record.correlation_id for record in found} == {order.client_order_id}
    assert (found[1].payload["client_order_id"], found[1].payload["price"]) == ("tp1-slice", "99.5")
    assert found[0].payload["side"] == Side.BUY.value


def test_what_cannot_be_recorded_waits_a_person_is_told_and_the_next_writes_it_first(desk):
    desk.objects.failure = DependencyUnavailable("the disk is full")
    with capture_logs() as logged:
        assert not desk.trail.record([make_draft(1)])
    assert [(line["event"], line["log_level"]) for line in logged] == [("audit_failed", "error")]
    [alert] = desk.told
    assert (alert.severity, alert.key) == (Severity.CRITICAL, FAILED)
    assert "1 records wait in the spool: the disk is full" in alert.text
    assert alert.runbook == "audit-log-could-not-be-written"

    desk.objects.failure = None
    assert desk.trail.record([make_draft(2)])
    assert [record.payload["n"] for record in desk.records("signal")] == [1, 2]
    assert desk.trail.spool.waiting() == []
    assert [(told.key, told.severity) for told in desk.told[1:]] == [(FAILED + RECOVERED, Severity.INFO)]


def test_what_cannot_even_wait_is_said_whole_in_the_log_of_the_process(desk, tmp_path):
    (tmp_path / "spool").write_text("a file where the folder should be")
    with capture_logs() as logged:
        assert not desk.trail.record([make_draft(7)])

    [lost] = [line for line in logged if line["event"] == "audit_records_lost"]
    assert (lost["log_level"], lost["records"][0]["payload"]) == ("critical", {"n": 7})
    assert [alert.key for alert in desk.told] == ["audit_lost:2026-07-31"]


def test_what_cannot_be_followed_is_followed_by_the_next_call_and_nothing_is_raised(desk):
    desk.latch(BREAK)
    desk.journal.claim(make_plan(buy("SPY", "1")), INSIDE_WINDOW)
    desk.objects.failure = DependencyUnavailable("the disk is full")
    assert not desk.trail.follow()
    assert {alert.key for alert in desk.told} == {FAILED}

    desk.objects.failure = None
    assert desk.trail.follow()
    assert len(desk.records("order", "trading_state")) == 2


def test_a_damaged_journal_does_not_keep_changes_of_the_state_from_the_log(desk, tmp_path):
    desk.latch(BREAK)
    (tmp_path / "journal.sqlite").write_bytes(b"nonsense" * 1000)

    assert not desk.trail.follow()
    assert len(desk.records("trading_state")) == 1


def test_a_change_is_followed_without_waiting_for_it(desk, tmp_path):
    threads = []
    states = StoredTradingState(
        FileObjects(tmp_path / "objects"), after_change=lambda: threads.append(desk.trail.follow_soon())
    )
    states.change(lambda state: state.latched(BREAK))
    states.change(lambda state: state)
    states.mend(lambda state: state.latched(DRAWDOWN))

    assert len(threads) == 2
    for thread in threads:
        thread.join(60)
    assert len(desk.records("trading_state")) == 2


def test_a_thread_that_cannot_be_started_stops_nothing(desk, monkeypatch):
    def refused(_self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refused)
    with capture_logs() as logged:
        assert desk.trail.follow_soon() is None
    assert logged[0]["event"] == "audit_failed"


def test_a_value_without_a_form_is_refused_where_it_is_drafted(desk):
    with pytest.raises(InvalidInput, match="has no form"):
        desk.trail.scribe().order({"client_order_id": "a", "plan_id": "b", "number": object()})


def test_an_alert_that_was_seen_belongs_to_its_key(desk):
    desk.trail.record([desk.trail.scribe().acknowledged("risk:drawdown", "Ann", "looked")])

    [record] = desk.trail.log.records(correlation_id="risk:drawdown")
    assert (record.event, record.actor, record.payload["reason"]) == ("alert_acknowledged", "Ann", "looked")


def missing(desk, lines):
    return list(lines_missing(of_source(desk.trail.log.records(), "journal"), lines))


def test_lines_that_the_log_does_not_hold_or_holds_otherwise_are_named(desk):
    desk.journal.claim(make_plan(*[buy(f"S{number}", "1") for number in range(4)]), INSIDE_WINDOW)
    lines = list(desk.trail.journal.after(0))
    desk.trail.record([desk.trail.scribe().order(line) for line in lines if line["number"] != 2])

    assert missing(desk, lines) == [(2, "the log does not hold it")]
    altered = [line | {"quantity": "9"} if line["number"] == 3 else line for line in lines]
    assert missing(desk, altered) == [(2, "the log does not hold it"), (3, "the log says otherwise")]
    beyond = lines[-1] | {"number": 5}
    assert missing(desk, [*lines[2:], beyond]) == []


def test_lines_of_a_journal_that_was_replaced_are_compared_with_those_of_the_new_one_only(desk):
    scribe, lines = desk.trail.scribe(), [{"client_order_id": "a", "plan_id": "p", "number": n} for n in (1, 2)]
    desk.trail.record([scribe.order(line) for line in lines])
    desk.trail.record([scribe.replaced("journal", 2), scribe.order(lines[0] | {"state": "planned"})])

    assert missing(desk, [lines[0] | {"state": "planned"}]) == []
    assert missing(desk, [lines[0] | {"state": "filled"}]) == [(1, "the log says otherwise")]


def test_records_of_one_source_are_told_from_those_of_another(desk):
    scribe = desk.trail.scribe()
    desk.trail.record([scribe.replaced("trading_state", 1), make_draft(1, "order"), make_draft(2)])

    found = itertools.chain(*(of_source(desk.trail.log.records(), name) for name in ("journal", "trading_state")))
    assert [record.event for record in found] == ["order", "source_replaced"]
