import hashlib
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.strategies.evaluation import Evaluation
from trading_pipeline.research.fingerprints import SHOWN, Record, difference, fingerprint, holdings
from trading_pipeline_tests.research.evaluations import FIRST, evaluation_of

TQQQ, HEDGE = {"TQQQ": 1.0}, {"BTAL": 0.25, "UVXY": 0.75}
HISTORY = (TQQQ, TQQQ, TQQQ, HEDGE, "rsi(SPY,10) is missing", TQQQ)
TEXT = """\
sessions 2026-03-02 to 2026-03-07, 6
2026-03-02 TQQQ 1
2026-03-05 UVXY 0.75, BTAL 0.25
2026-03-06 unavailable: rsi(SPY,10) is missing
2026-03-07 TQQQ 1
"""
LINES = """\
2026-03-02 TQQQ 1
2026-03-03 TQQQ 1
2026-03-04 TQQQ 1
2026-03-05 UVXY 0.75, BTAL 0.25
2026-03-06 unavailable: rsi(SPY,10) is missing
2026-03-07 TQQQ 1
"""

held = st.one_of(
    st.sampled_from([TQQQ, HEDGE, {"BIL": 1 / 3, "TQQQ": 2 / 3}]), st.sampled_from(["no line\nbreak", "x is missing"])
)
histories = st.lists(held, min_size=1, max_size=12).map(lambda days: evaluation_of(*days))


def test_a_record_reads_as_what_was_held_from_when_on():
    record = Record.of(evaluation_of(*HISTORY))

    assert record.to_text() == f"fingerprint {hashlib.sha256(LINES.encode()).hexdigest()}\n{TEXT}"


def test_the_fingerprint_is_that_of_every_session_and_the_same_on_any_machine():
    # sha256sum of LINES, by coreutils.
    assert fingerprint(evaluation_of(*HISTORY)) == "dd735e97e3f9e4de4ba184191649637a45b045714094ef237bf074e72e3ddaf4"


def test_the_largest_weight_is_named_first_and_equal_ones_in_alphabetical_order():
    assert holdings(evaluation_of({"C": 0.25, "B": 0.25, "A": 0.5}, {"B": 0.2, "A": 0.2, "C": 0.6})) == (
        "A 0.5, B 0.25, C 0.25",
        "C 0.6, A 0.2, B 0.2",
    )


@pytest.mark.parametrize(
    ("weight", "text"),
    [
        (1 / 3, "0.333333333"),
        (2 / 3, "0.666666667"),
        (1e-9, "0.000000001"),
        (1.0, "1"),
        (0.1 + 0.2, "0.3"),
        (1 / 1024, "0.000976562"),
        (np.nextafter(1 / 1024, 1), "0.000976562"),
        (np.nextafter(1 / 1024, 0), "0.000976562"),
    ],
)
def test_weights_count_to_a_billionth(weight, text):
    assert holdings(evaluation_of({"A": weight})) == (f"A {text}",)


def test_what_is_less_than_half_a_billionth_is_not_held():
    assert holdings(evaluation_of({"A": 1 - 4e-10, "B": 4e-10})) == ("A 1",)


@given(histories, st.randoms(use_true_random=False))
def test_neither_rounding_nor_the_order_of_columns_nor_of_reasons_changes_a_fingerprint(history, random):
    columns = list(range(len(history.symbols)))
    random.shuffle(columns)
    shuffled = Evaluation(
        sessions=history.sessions,
        symbols=tuple(history.symbols[column] for column in columns),
        weights=history.weights[:, columns] * (1 + random.choice([-1, 1]) * 1e-15),
        codes=np.where(history.codes > 0, len(history.reasons) - history.codes, 0),
        reasons=("", *reversed(history.reasons[1:])),
    )

    assert Record.of(shuffled) == Record.of(history)
    assert difference(Record.of(history), shuffled) == ()


@given(histories, histories)
def test_fingerprints_differ_exactly_when_what_was_held_does(one, other):
    same = one.sessions == other.sessions and holdings(one) == holdings(other)

    assert (fingerprint(one) == fingerprint(other)) == same
    assert bool(difference(Record.of(one), other)) != same


@given(histories)
def test_a_record_comes_back_from_its_text(history):
    record = Record.of(history)

    assert Record.from_text(record.to_text()) == record
    assert tuple(record.holding(session) for session in history.sessions) == holdings(history)


def test_windows_line_ends_are_read_too():
    record = Record.of(evaluation_of(*HISTORY))

    assert Record.from_text(record.to_text().replace("\n", "\r\n")) == record


def test_a_change_is_told_as_runs_of_sessions_from_what_to_what():
    now = evaluation_of(TQQQ, HEDGE, HEDGE, HEDGE, "rsi(SPY,10) is missing", HEDGE)

    assert difference(Record.of(evaluation_of(*HISTORY)), now) == (
        "changed: 3 sessions, in 2 runs",
        "2026-03-03 to 2026-03-04 (2 sessions): TQQQ 1 -> UVXY 0.75, BTAL 0.25",
        "2026-03-07: TQQQ 1 -> UVXY 0.75, BTAL 0.25",
    )


def test_a_billionth_is_a_change():
    assert difference(Record.of(evaluation_of({"A": 0.5, "B": 0.5})), evaluation_of({"A": 0.500000001, "B": 0.5})) == (
        "changed: 1 session, in 1 run",
        "2026-03-02: A 0.5, B 0.5 -> A 0.500000001, B 0.5",
    )


def test_another_reason_is_a_change():
    lines = difference(Record.of(evaluation_of("rsi is missing")), evaluation_of("sma is missing"))

    assert lines[1] == "2026-03-02: unavailable: rsi is missing -> unavailable: sma is missing"


def test_of_many_runs_the_first_are_shown_and_all_are_counted():
    count = 2 * (SHOWN + 3)
    now = evaluation_of(*([TQQQ, HEDGE] * (SHOWN + 3)))

    lines = difference(Record.of(evaluation_of(*[TQQQ] * count)), now)

    assert lines[0] == f"changed: {SHOWN + 3} sessions, in {SHOWN + 3} runs"
    assert len(lines) == SHOWN + 2
    assert lines[-1] == f"... and 3 more runs, the last on {FIRST + timedelta(days=count - 1)}"


def test_another_range_of_sessions_is_a_change_and_only_what_both_have_is_compared():
    longer = evaluation_of(HEDGE, TQQQ, TQQQ, HEDGE, first=date(2026, 3, 1))

    assert difference(Record.of(evaluation_of(TQQQ, HEDGE)), longer) == (
        "the record covers 2026-03-02 to 2026-03-03 (2 sessions), "
        "the strategy was evaluated from 2026-03-01 to 2026-03-04 (4 sessions)",
        "changed: 1 session, in 1 run",
        "2026-03-03: UVXY 0.75, BTAL 0.25 -> TQQQ 1",
    )


def test_a_fingerprint_that_was_edited_by_hand_is_noticed():
    record = Record.of(evaluation_of(*HISTORY))
    edited = Record.from_text(record.to_text().replace(record.fingerprint, "0" * 64))

    assert "edited by hand" in difference(edited, evaluation_of(*HISTORY))[0]


def test_nothing_evaluated_has_no_record():
    with pytest.raises(InvalidInput, match="no session was evaluated"):
        Record.of(evaluation_of())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("fingerprint", "<<<<<<< HEAD\nfingerprint", "a record begins with the lines"),
        ("2026-03-05 UVXY", "=======\n2026-03-05 UVXY", "line 4 of the record was '======='"),
        ("2026-03-05 UVXY", "2026-02-30 UVXY", "line 4 of the record has the date '2026-02-30'"),
        ("to 2026-03-07", "to soon", "line 2 of the record has the date 'soon'"),
        ("2026-03-06 una", "2026-03-04 una", "not in order"),
        ("2026-03-07 TQQQ", "2026-03-08 TQQQ", "not in order"),
        ("2026-03-02 TQQQ 1\n", "", "do not begin there"),
    ],
)
def test_a_text_that_is_no_record_is_refused_by_line(old, new, message):
    text = Record.of(evaluation_of(*HISTORY)).to_text()
    assert old in text

    with pytest.raises(InvalidInput, match=message):
        Record.from_text(text.replace(old, new))
