"""How well the pipeline is, judged from hand-written facts."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from trading_pipeline.application.health import (
    AlertsFact,
    DecisionFact,
    Health,
    HealthFacts,
    HealthRules,
    Heartbeat,
    Level,
    OrdersFact,
    Part,
    heartbeat_from,
    judged,
    lines,
    redacted,
)
from trading_pipeline.domain.errors import DataError
from trading_pipeline.domain.risk.trading_state import TradingMode

NOW = datetime(2026, 8, 4, 14, tzinfo=UTC)
MONDAY, TUESDAY = date(2026, 8, 3), date(2026, 8, 4)
RULES = HealthRules(timedelta(minutes=3))
BEAT = Heartbeat(NOW - timedelta(seconds=20), "1.0", NOW, "active", (), MONDAY, 0, MONDAY)
WELL = HealthFacts(
    now=NOW,
    heartbeat=BEAT,
    daemons={"SENSOR": NOW - timedelta(seconds=20), "SCHEDULER": NOW - timedelta(seconds=30)},
    decision=DecisionFact(MONDAY, "2026-08-03.1", NOW - timedelta(hours=17), 4),
    decision_due=MONDAY,
    orders=OrdersFact(MONDAY, NOW - timedelta(minutes=5), {"filled": 3, "rejected": 1}),
    bars_session=MONDAY,
    sessions_behind=0,
    reconciled_session=MONDAY,
)


def levels(facts):
    return {part.name: part.level for part in judged(facts, RULES).parts}


def words(facts, name):
    return next(part.text for part in judged(facts, RULES).parts if part.name == name)


def test_all_is_well_where_every_part_is():
    health = judged(WELL, RULES)

    assert set(levels(WELL).values()) == {Level.HEALTHY}
    assert (health.level, health.exit_code) == (Level.HEALTHY, 0)


@pytest.mark.parametrize(
    ("part", "level", "changed"),
    [
        ("heartbeat", Level.UNHEALTHY, {"heartbeat": None}),
        ("heartbeat", Level.UNHEALTHY, {"heartbeat": replace(BEAT, at=NOW - timedelta(minutes=4))}),
        ("heartbeat", Level.DEGRADED, {"heartbeat": replace(BEAT, at=NOW + timedelta(minutes=4))}),
        ("heartbeat", Level.DEGRADED, {"heartbeat": replace(BEAT, faults=("the broker does not answer",))}),
        ("daemon", Level.UNHEALTHY, {"daemons": {}}),
        ("daemon", Level.UNHEALTHY, {"daemons": {"SENSOR": NOW}}),
        ("daemon", Level.UNHEALTHY, {"daemons": {"SENSOR": NOW - timedelta(minutes=4), "SCHEDULER": NOW}}),
        ("trading", Level.DEGRADED, {"trading": TradingMode.REDUCING, "held_by": ("a person: reducing (odd)",)}),
        ("liquidation", Level.DEGRADED, {"liquidations": ("liq-1 is confirmed, agreed to by a person",)}),
        ("decision", Level.DEGRADED, {"decision": None}),
        ("decision", Level.UNHEALTHY, {"decision_due": TUESDAY}),
        ("data", Level.DEGRADED, {"bars_session": None}),
        ("data", Level.UNKNOWN, {"sessions_behind": None}),
        ("data", Level.UNHEALTHY, {"sessions_behind": 1}),
        ("reconciliation", Level.DEGRADED, {"reconciled_session": None}),
        ("reconciliation", Level.DEGRADED, {"reconciled_session": date(2026, 7, 31)}),
        ("alerts", Level.DEGRADED, {"alerts": AlertsFact(unacknowledged=1)}),
        ("alerts", Level.DEGRADED, {"alerts": AlertsFact(given_up=1)}),
        ("orders", Level.UNKNOWN, {"unreadable": {"orders": "the journal is damaged"}}),
    ],
)
def test_one_part_alone_is_not_well(part, level, changed):
    found = levels(replace(WELL, **changed))

    assert {name: found[name] for name in found if found[name] is not Level.HEALTHY} == {part: level}
    assert judged(replace(WELL, **changed), RULES).exit_code == (2 if level is Level.UNKNOWN else 1)


def test_what_is_worse_counts_and_silence_is_never_health():
    unknown, worse = Part("data", Level.UNKNOWN, ""), Part("daemon", Level.UNHEALTHY, "")

    assert Health(NOW, (unknown, worse)).exit_code == 1
    assert Health(NOW, (unknown,)).exit_code == 2
    assert Health(NOW, ()).exit_code == 2


def test_alerts_that_wait_for_their_channel_are_shown_and_no_fault():
    assert levels(replace(WELL, alerts=AlertsFact(waiting=2)))["alerts"] is Level.HEALTHY
    assert "2 waiting" in words(replace(WELL, alerts=AlertsFact(waiting=2)), "alerts")


def test_nothing_was_placed_and_so_nothing_had_to_be_compared():
    facts = replace(WELL, orders=None, reconciled_session=None)

    assert levels(facts)["reconciliation"] is Level.HEALTHY


def test_the_words_say_what_a_person_asks_first():
    assert words(WELL, "heartbeat") == "20 s ago, version 1.0"
    assert words(WELL, "decision") == ("session 2026-08-03, 4 orders, made 2026-08-03 21:00 UTC, plan 2026-08-03.1")
    assert words(WELL, "orders") == "of session 2026-08-03: 3 filled, 1 rejected; last written 5 min ago"
    held = replace(WELL, trading=TradingMode.HALTED, held_by=("a person: halted (odd)", "drawdown: reducing"))
    assert words(held, "trading") == "halted, held by a person: halted (odd); drawdown: reducing"


def test_lines_begin_with_the_verdict_and_name_every_part():
    shown = list(lines(judged(WELL, RULES)))

    assert shown[0] == "healthy"
    assert [line.split()[0] for line in shown[1:]] == list(levels(WELL))


def test_the_document_holds_level_and_text_of_every_part():
    document = judged(WELL, RULES).document()

    assert document["level"] == "healthy"
    assert document["parts"]["data"] == {"level": "healthy", "text": "bars up to session 2026-08-03, none behind"}


def test_words_may_be_hidden_and_levels_stay():
    hidden = redacted(judged(WELL, RULES), lambda text: "*" * len(text))

    assert {part.text.strip("*") for part in hidden.parts} == {""}
    assert hidden.level is Level.HEALTHY


def test_a_heartbeat_is_read_back_and_what_is_none_is_refused():
    assert heartbeat_from(BEAT.document()) == BEAT
    silent = Heartbeat(NOW, "1.0", faults=("nobody answers",))
    assert heartbeat_from(silent.document()) == silent

    for spoiled in ({}, {"schema_version": 2}, {**BEAT.document(), "at": "yesterday"}):
        with pytest.raises(DataError):
            heartbeat_from(spoiled)
