from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.orders import Side
from trading_pipeline.domain.risk.trading_state import ACTIVE, Action, Latch, TradingMode, TradingState

NOON = datetime(2026, 7, 31, 16, tzinfo=UTC)
CLOSE = datetime(2026, 7, 31, 20, tzinfo=UTC)
FRIDAY, MONDAY = date(2026, 7, 31), date(2026, 8, 3)
MODES = st.sampled_from(TradingMode)
HOLDING = st.sampled_from([TradingMode.REDUCING, TradingMode.HALTED])
LATCHES = st.lists(st.builds(Latch, st.sampled_from("abcd"), HOLDING, st.sampled_from(["", "x", "y"])), max_size=6)
DRAWDOWN = Latch("drawdown", TradingMode.HALTED, "12 %", "drawdown", NOON, FRIDAY, is_risk=True)


@pytest.mark.parametrize(
    ("mode", "buys", "sells", "opens", "trades"),
    [
        (TradingMode.ACTIVE, True, True, True, True),
        (TradingMode.REDUCING, False, True, False, True),
        (TradingMode.HALTED, False, False, False, False),
    ],
)
def test_each_mode_allows_what_it_says(mode, buys, sells, opens, trades):
    state = TradingState(mode)

    assert (state.allows(Side.BUY), state.allows(Side.SELL)) == (buys, sells)
    assert (state.allows_opening, state.allows_trading) == (opens, trades)


def test_the_severer_the_mode_the_less_it_allows():
    assert sorted(TradingMode, key=lambda mode: mode.severity) == ["active", "reducing", "halted"]


@given(before=MODES, found=MODES)
def test_tightening_never_loosens(before, found):
    after = TradingState(before, "first").tightened(found, "second", "a rule", NOON)

    assert after.mode.severity == max(before.severity, found.severity)


def test_a_severer_mode_comes_with_its_reason_and_who_set_it_when_and_the_other_latch_stays():
    after = TradingState(TradingMode.REDUCING, "first").tightened(TradingMode.HALTED, "second", "a rule", NOON)

    assert (after.mode, after.reason, after.set_by, after.set_at) == (TradingMode.HALTED, "second", "a rule", NOON)
    assert [latch.name for latch in after.latches] == ["a person", "a rule"]


@pytest.mark.parametrize("mode", [TradingMode.REDUCING, TradingMode.HALTED])
def test_the_first_reason_of_a_mode_stays(mode):
    first = ACTIVE.tightened(mode, "first", "one", NOON)

    assert first.tightened(mode, "second", "one", CLOSE) is first
    assert first.tightened(mode, "second", "another", CLOSE).reason == "first"


def test_a_source_that_raises_its_own_latch_gives_the_new_reason():
    state = ACTIVE.tightened(TradingMode.REDUCING, "8 %", "drawdown", NOON)

    raised = state.tightened(TradingMode.HALTED, "12 %", "drawdown", CLOSE)

    assert raised.latches == (Latch("drawdown", TradingMode.HALTED, "12 %", "drawdown", CLOSE),)
    assert raised.tightened(TradingMode.REDUCING, "9 %", "drawdown", CLOSE) is raised


@given(LATCHES)
def test_the_severest_latch_decides_whatever_the_order_and_there_is_one_of_each_name(latches):
    state = ACTIVE.joined(latches)
    by_name = {name: [latch.mode for latch in latches if latch.name == name] for name in "abcd"}

    assert {latch.name: latch.mode for latch in state.latches} == {
        name: max(modes, key=lambda mode: mode.severity) for name, modes in by_name.items() if modes
    }
    assert state.mode.severity == max((latch.mode.severity for latch in latches), default=0)
    assert state.joined(latches) == state


@given(LATCHES, st.sets(st.sampled_from("abcd")))
def test_what_is_reset_is_gone_and_every_other_latch_is_as_it_was(latches, chosen):
    state = ACTIVE.joined(latches)
    names = [latch.name for latch in state.latches if latch.name in chosen]

    after = state.cleared(names, "looked at", "Ann", NOON)

    assert after.latches == tuple(latch for latch in state.latches if latch.name not in chosen)
    assert (after.change.action, after.change.names) == (Action.RESET, tuple(names))


def test_once_the_last_latch_is_gone_the_state_says_why_and_by_whom():
    state = ACTIVE.latched(Latch("a", TradingMode.HALTED)).cleared(["a"], "looked at", "Ann", NOON)

    assert state == TradingState(TradingMode.ACTIVE, "looked at", "Ann", NOON)


def test_a_risk_latch_stays_until_its_session_is_over_unless_that_is_overridden():
    state = ACTIVE.latched(DRAWDOWN)

    with pytest.raises(InvalidInput, match="risk latch drawdown holds until session 2026-07-31 is over"):
        state.cleared(["drawdown"], "looked at", "Ann", NOON)
    assert not state.cleared(["drawdown"], "looked at", "Ann", CLOSE).change.overrides_risk
    assert state.cleared(["drawdown"], "looked at", "Ann", NOON, overrides_risk=True).change.overrides_risk


def test_a_risk_latch_that_is_found_again_is_bound_to_the_later_session():
    again = ACTIVE.latched(DRAWDOWN).latched(replace(DRAWDOWN, mode=TradingMode.REDUCING, session=MONDAY))

    [latch] = again.latches
    assert (latch.mode, latch.reason, latch.session) == (TradingMode.HALTED, "12 %", MONDAY)
    assert latch.is_bound(CLOSE)


def test_what_was_set_by_a_rule_of_risk_stays_bound_when_a_person_latches_the_same_name():
    [latch] = ACTIVE.latched(DRAWDOWN).latched(Latch("drawdown", TradingMode.HALTED, "by hand")).latches

    assert latch.is_bound(NOON)


def test_a_latch_that_does_not_hold_cannot_be_reset():
    with pytest.raises(InvalidInput, match="there is no latch 'b'; those that hold are: 'drawdown'"):
        ACTIVE.latched(DRAWDOWN).cleared(["b"], "", "", NOON)


@pytest.mark.parametrize(
    "latch",
    [
        {"name": ""},
        {"mode": TradingMode.ACTIVE},
        {"is_risk": True},
        {"is_risk": True, "session": date(2026, 8, 1)},
    ],
)
def test_a_latch_that_holds_nothing_or_whose_end_nobody_can_tell_is_refused(latch):
    with pytest.raises(InvalidInput):
        Latch(**{"name": "a", "mode": TradingMode.HALTED, **latch})


def test_a_mode_that_the_latches_contradict_is_refused():
    halted = ACTIVE.latched(DRAWDOWN)

    with pytest.raises(InvalidInput, match="a state is as its severest latch says"):
        replace(halted, mode=TradingMode.ACTIVE)


def test_the_code_changes_with_whatever_is_shown():
    state = ACTIVE.latched(DRAWDOWN)
    others = [
        state.reset_code([]),
        replace(state, epoch=1).reset_code(["drawdown"]),
        state.latched(Latch("a", TradingMode.REDUCING)).reset_code(["drawdown"]),
        ACTIVE.latched(replace(DRAWDOWN, reason="13 %")).reset_code(["drawdown"]),
    ]

    assert state.reset_code(["drawdown"]) == ACTIVE.latched(DRAWDOWN).reset_code(["drawdown"])
    assert len({state.reset_code(["drawdown"]), *others}) == 5
