from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.risk.state_sources import (
    KnownSource,
    SourcePatience,
    blocked_latch,
    key_age_latch,
    merged,
    word_latch,
)
from trading_pipeline.domain.risk.trading_state import ACTIVE, Latch, TradingMode, TradingState

PATIENCE = SourcePatience(30.0, 3)
MODES = st.sampled_from(TradingMode)
HALTED = TradingState(TradingMode.HALTED, "drill", "a person")


def failing(known, *instants, is_final=False):
    for at in instants:
        known = known.failed("no answer", at, PATIENCE, is_final=is_final)
    return known


def mode_of(known, now):
    return known.in_force("store", now, PATIENCE).mode


def test_the_last_word_counts_for_thirty_seconds_however_often_it_is_not_repeated():
    known = failing(KnownSource().read(ACTIVE, 0.0), *(second / 10 for second in range(300)), 30.0)

    assert mode_of(known, 30.0) is TradingMode.ACTIVE
    assert mode_of(known, 30.1) is TradingMode.REDUCING


def test_after_that_it_reduces_and_the_third_failure_in_a_row_halts():
    known = failing(KnownSource().read(ACTIVE, 0.0), 31.0, 32.0)
    assert mode_of(known, 32.0) is TradingMode.REDUCING

    assert mode_of(failing(known, 33.0), 33.0) is TradingMode.HALTED


def test_an_answer_begins_the_count_anew():
    known = failing(KnownSource().read(ACTIVE, 0.0), 31.0, 32.0).read(ACTIVE, 33.0)

    assert mode_of(known, 33.0) is TradingMode.ACTIVE
    assert mode_of(failing(known, 64.0, 65.0), 65.0) is TradingMode.REDUCING


def test_a_source_that_was_never_read_allows_nothing():
    assert mode_of(KnownSource(), 0.0) is TradingMode.HALTED
    assert mode_of(failing(KnownSource(), 0.0), 0.0) is TradingMode.HALTED


def test_what_is_damaged_halts_at_once_and_does_not_heal_by_being_out_of_reach():
    damaged = failing(KnownSource().read(ACTIVE, 0.0), 1.0, is_final=True)

    assert mode_of(damaged, 1.0) is TradingMode.HALTED
    assert mode_of(failing(damaged, 2.0), 2.0) is TradingMode.HALTED
    assert mode_of(damaged.read(ACTIVE, 3.0), 3.0) is TradingMode.ACTIVE


def test_a_slow_answer_does_not_undo_a_newer_one():
    newer = KnownSource().read(HALTED, 2.0)

    assert newer.read(ACTIVE, 1.0) is newer
    assert failing(newer, 1.0) is newer


@given(last=MODES, instants=st.lists(st.floats(0, 200), min_size=1, max_size=8).map(sorted))
def test_silence_never_allows_more_than_the_last_word_did_and_never_less_severe_as_time_goes_on(last, instants):
    known, before = KnownSource().read(TradingState(last), 0.0), last.severity
    for at in instants:
        known = failing(known, at)
        severity = mode_of(known, at).severity
        assert severity >= max(before, last.severity)
        before = severity


@pytest.mark.parametrize(("seconds", "errors"), [(-1.0, 3), (float("nan"), 3), (float("inf"), 3), (30.0, 0)])
def test_patience_that_never_ends_is_refused(seconds, errors):
    with pytest.raises(InvalidInput, match="patience with a source needs"):
        SourcePatience(seconds, errors)


@pytest.mark.parametrize(
    ("word", "mode"),
    [
        ("halt", TradingMode.HALTED),
        (" HALT\n", TradingMode.HALTED),
        ("reduce", TradingMode.REDUCING),
        ("Reduce", TradingMode.REDUCING),
        ("0", TradingMode.HALTED),
        ("false", TradingMode.HALTED),
        ("active", TradingMode.HALTED),
    ],
)
def test_a_word_means_what_it_says_and_any_other_halts(word, mode):
    assert word_latch("environment", word).mode is mode


def test_a_word_that_nobody_knows_is_named_with_those_that_are_known():
    assert word_latch("environment", "stopp").reason.startswith("'stopp' is none of halt, reduce")


def test_no_word_holds_nothing():
    assert word_latch("environment", "") is None
    assert blocked_latch("") is None


@pytest.mark.parametrize(
    ("days", "mode"), [(0, None), (90, None), (91, "reducing"), (108, "reducing"), (109, "halted"), (-1, "halted")]
)
def test_old_keys_reduce_and_much_older_ones_halt_and_so_do_keys_of_tomorrow(days, mode):
    latch = key_age_latch(timedelta(days=days), timedelta(days=90))

    assert (latch and latch.mode) == mode


@given(st.lists(MODES, min_size=1, max_size=6), st.randoms())
def test_the_severest_decides_and_the_order_of_sources_changes_nothing(modes, random):
    states = [TradingState(mode, "", f"source {place}") for place, mode in enumerate(modes)]
    shuffled = random.sample(states, len(states))

    assert merged(ACTIVE, states).mode is max(modes, key=lambda mode: mode.severity)
    assert merged(ACTIVE, shuffled).mode is merged(ACTIVE, states).mode
    assert set(merged(ACTIVE, shuffled).latches) == set(merged(ACTIVE, states).latches)


def test_every_latch_is_seen_under_its_own_name_and_the_stored_state_keeps_its_number():
    stored = ACTIVE.latched(Latch("drawdown", TradingMode.REDUCING))
    state = merged(stored, [TradingState(TradingMode.HALTED, "drill", "environment"), ACTIVE])

    assert [latch.name for latch in state.latches] == ["drawdown", "environment"]
    assert (state.reason, state.epoch) == ("drill", stored.epoch)
