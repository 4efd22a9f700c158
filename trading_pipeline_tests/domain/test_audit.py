import hashlib
import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.domain.audit import (
    GENESIS,
    AuditDraft,
    AuditEvent,
    AuditHead,
    Mark,
    draft_of,
    following_segment,
    head_of,
    marks_after,
    record_of,
)
from trading_pipeline.domain.canonical import canonical, digest, plain
from trading_pipeline.domain.errors import DataError, InvalidInput
from trading_pipeline.domain.orders import Side
from trading_pipeline_tests.audit_builders import NOON, make_draft

# Computed by hand: printf '%s' '...' | sha256sum
KNOWN_FORM = (
    '{"actor":"nuclear_signal","at":"2026-07-31T20:30:00.000000+00:00","causation_id":"","code_version":"0.1.0",'
    '"config_hash":"abc","correlation_id":"2026-07-31","event":"signal","payload":{"reason":null,"weights":'
    '{"SPY":"0.6","T\\u00c4":"0.4"}},"previous_hash":"' + "0" * 64 + '","run_id":"r1","sequence":1}'
)
KNOWN_HASH = "19efd40331a768444b64229bd25b0843ff2f3c736fdeded185aa10de6b5e008d"

plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def known_draft():
    return AuditDraft(
        event=AuditEvent.SIGNAL.value,
        payload=plain({"weights": {"TÄ": 0.4, "SPY": Decimal("0.60")}, "reason": None}),
        at=datetime(2026, 7, 31, 22, 30, tzinfo=timezone(timedelta(hours=2))),
        actor="nuclear_signal",
        correlation_id="2026-07-31",
        run_id="r1",
        code_version="0.1.0",
        config_hash="abc",
    )


def test_the_canonical_form_and_its_hash_stay_what_they_were_when_the_first_log_was_written():
    record = known_draft().chained(1, GENESIS)

    assert hashlib.sha256(KNOWN_FORM.encode("ascii")).hexdigest() == KNOWN_HASH
    assert record.hash == KNOWN_HASH
    assert record.line.decode() == KNOWN_FORM.replace('"payload"', f'"hash":"{KNOWN_HASH}","payload"') + "\n"


def test_a_hash_can_be_checked_with_nothing_but_json_and_sha256():
    fields = json.loads(known_draft().chained(7, "ab" * 32).line)
    named = fields.pop("hash")

    form = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(form.encode()).hexdigest() == named


class Colour(Enum):
    RED = Decimal("1.50")


class Level(IntEnum):
    HIGH = 3


class Word(StrEnum):
    YES = "yes"


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (Decimal("1E+2"), "100"),
        (Decimal("100"), "100"),
        (Decimal("-0.00"), "0"),
        (Decimal("0.10"), "0.1"),
        (Decimal("NaN"), "NaN"),
        (Decimal("123456789012345678901234567890.5"), "123456789012345678901234567890.5"),
        (0.1, "0.1"),
        (1e22, "1e+22"),
        (float("-inf"), "-inf"),
        (np.float64(0.25), "0.25"),
        (True, True),
        (date(2026, 7, 31), "2026-07-31"),
        (datetime(2026, 7, 31, 16, tzinfo=UTC), "2026-07-31T16:00:00.000000+00:00"),
        (Colour.RED, "1.5"),
        (Level.HIGH, 3),
        (Word.YES, "yes"),
        ({"b", "a"}, ["a", "b"]),
        ((1, None), [1, None]),
        ({Side.BUY: 1}, {"buy": 1}),
    ],
)
def test_a_value_has_one_form(value, kept):
    found = plain(value)

    assert found == kept
    assert type(found) is type(kept)


@pytest.mark.parametrize("value", [object(), {1: 2}, NOON.replace(tzinfo=None), np.int64(1), b"bytes"])
def test_a_value_without_a_form_is_refused(value):
    with pytest.raises(InvalidInput, match=r"audit log|records"):
        plain(value)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**12), max_value=10**12))
def test_decimals_of_one_value_have_one_form_and_give_it_back(value):
    assert plain(value) == plain(value.normalize())
    assert Decimal(plain(value)) == value


@given(st.floats())
def test_a_float_comes_back_from_its_form(value):
    assert float(plain(value)) == pytest.approx(value, abs=0, rel=0, nan_ok=True)


@given(plain_values)
def test_a_form_is_read_back_as_what_it_is_of(value):
    assert json.loads(canonical(value)) == value
    assert canonical(json.loads(canonical(value))) == canonical(value)


@given(st.dictionaries(st.text(), plain_values), st.integers(1, 10**9))
def test_a_record_survives_being_written_and_read(payload, sequence):
    record = AuditDraft("signal", payload, NOON).chained(sequence, "ab" * 32)

    assert record_of(record.line) == record
    assert record.computed_hash() == record.hash
    assert draft_of(canonical(AuditDraft("signal", payload, NOON).as_plain()) + b"\n").payload == payload


@pytest.mark.parametrize(
    "change", [{"sequence": "1"}, {"sequence": True}, {"payload": []}, {"actor": 7}, {"hash": None}]
)
def test_a_record_whose_fields_are_of_another_kind_is_none_whatever_its_hash(change):
    fields = {**json.loads(make_draft().chained(1, GENESIS).line), **change}
    with pytest.raises(DataError, match="form in which records are written"):
        record_of(canonical(fields) + b"\n")


@given(st.text(), st.dictionaries(st.text(), plain_values))
def test_no_text_of_a_record_is_taken_for_its_hash(text, payload):
    record = AuditDraft("signal", {**payload, "hash": text}, NOON, text, f',"hash":"{text}"').chained(1, GENESIS)

    fields = json.loads(record.line)
    del fields["hash"]
    assert record.hash == digest(fields)


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: line.rstrip(b"\n"),
        lambda line: line.replace(b":", b": ", 1),
        lambda line: line.replace(b'"sequence":1', b'"sequence":1.0'),
        lambda line: line.replace(b'"sequence":1', b'"sequence":NaN'),
        lambda line: line.replace(b'"sequence":1', b'"sequence":1,"sequence":1'),
        lambda line: line.replace(b'"actor"', b'"author"'),
        lambda line: line.replace(b"2026-07-31T16", b"2026-07-31T1x"),
        lambda line: b"[" * 100_000,
        lambda line: b"7\n",
        lambda line: b"\xff\n",
    ],
)
def test_a_line_in_any_other_form_is_no_record(damage):
    with pytest.raises(DataError, match="restore the file"):
        record_of(damage(make_draft().chained(1, GENESIS).line))


def test_a_head_survives_being_written_and_read_and_no_other_form_of_it_does():
    head = AuditHead(3, "ab" * 32, 3, "audit/2026/07/31/000000000001.jsonl", "x", {"journal": Mark(4, "cd")})

    assert head_of(head.line) == head
    for damaged in (head.line + b" ", head.line.replace(b'"count":3', b'"count": 3'), b"{}", b"[]", b""):
        with pytest.raises(DataError):
            head_of(damaged)


def test_a_head_of_a_later_version_is_refused():
    line = AuditHead(0, GENESIS, 0, "", "x").line
    with pytest.raises(DataError, match="form"):
        head_of(line.replace(b'"schema_version":1', b'"schema_version":2'))


def test_marks_tell_how_far_a_source_was_followed_until_another_takes_its_place():
    def after(marks, event, **payload):
        return marks_after(marks, make_draft(0, event, **payload).chained(1, GENESIS))

    marks = after({}, AuditEvent.ORDER, number=7, written_at="t", client_order_id="a")
    assert marks == {"journal": Mark(7, digest([7, "t", "a"]))}
    assert after(marks, AuditEvent.SIGNAL, number=9) == marks
    states = after(marks, AuditEvent.RISK_OVERRIDE, number=2)
    assert states["trading_state"].number == 2
    assert set(after(states, AuditEvent.SOURCE_REPLACED, source="journal")) == {"trading_state"}


def test_a_segment_follows_in_the_same_folder_until_the_log_says_that_the_day_is_over():
    segment, last = "audit/2026/07/31/000000000001.jsonl", make_draft().chained(3, GENESIS)
    over = make_draft(0, AuditEvent.NEXT_DAY, continued_in="audit/2026/08/03/").chained(4, GENESIS)

    assert following_segment(segment, last) == "audit/2026/07/31/000000000004.jsonl"
    assert following_segment(segment, over) == "audit/2026/08/03/000000000005.jsonl"
