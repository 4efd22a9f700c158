from datetime import UTC, date, datetime

import pytest

from trading_pipeline.adapters.storage.objects import FileObjects
from trading_pipeline.adapters.storage.trading_state import StoredTradingState
from trading_pipeline.application.resetting import offered, reset
from trading_pipeline.domain.errors import InvalidInput, TradingHalted
from trading_pipeline.domain.risk.trading_state import ACTIVE, Action, Latch, TradingMode

NOON = datetime(2026, 7, 31, 16, tzinfo=UTC)
AFTER_THE_CLOSE = datetime(2026, 7, 31, 20, tzinfo=UTC)
BREAK = Latch("reconciliation", TradingMode.REDUCING, "a break", "reconciliation", NOON)
DRAWDOWN = Latch("drawdown", TradingMode.HALTED, "12 %", "drawdown", NOON, date(2026, 7, 31), is_risk=True)


@pytest.fixture
def stored(tmp_path):
    return StoredTradingState(FileObjects(tmp_path))


def latched(stored, *latches):
    for latch in latches:
        stored.change(lambda state, latch=latch: state.latched(latch))


def test_the_code_of_the_first_step_resets_in_the_second(stored):
    latched(stored, BREAK)
    offer = offered(stored, [], NOON)

    state = reset(stored, offer.code, "looked at", "Ann", NOON)

    assert stored.read() == state == ACTIVE.latched(BREAK).cleared(["reconciliation"], "looked at", "Ann", NOON)
    assert (state.mode, state.reason, state.set_by) == (TradingMode.ACTIVE, "looked at", "Ann")
    assert [entry.state.change.action for entry in stored.history()] == [Action.LATCHED, Action.RESET]


def test_the_first_step_changes_nothing_and_shows_what_holds_trading_and_the_code(stored):
    latched(stored, BREAK)
    offer = offered(stored, [], NOON)

    assert stored.read().latches == (BREAK,)
    assert offer.lines() == [
        "reconciliation: reducing (a break), set by reconciliation since 2026-07-31 16:00 UTC",
        f"code {offer.code}",
    ]


def test_where_nothing_holds_trading_there_is_nothing_to_reset(stored):
    offer = offered(stored, [], NOON)

    assert offer.is_empty
    assert offer.lines() == ["nothing that is stored holds trading"]


def test_a_code_of_something_that_was_not_shown_resets_nothing(stored):
    latched(stored, BREAK)
    code = offered(stored, [], NOON).code
    latched(stored, DRAWDOWN)

    with pytest.raises(InvalidInput, match="is not of what holds trading now"):
        reset(stored, code, "looked at", "Ann", AFTER_THE_CLOSE)
    assert stored.read().latches == (BREAK, DRAWDOWN)


def test_a_code_that_was_used_is_spent(stored):
    latched(stored, BREAK)
    code = offered(stored, [], NOON).code
    reset(stored, code, "looked at", "Ann", NOON)
    latched(stored, BREAK)

    with pytest.raises(InvalidInput, match="is not of what holds trading now"):
        reset(stored, code, "looked at", "Ann", NOON)


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_nothing_is_reset_without_a_reason(stored, reason):
    latched(stored, BREAK)

    with pytest.raises(InvalidInput, match="goes on for a reason"):
        reset(stored, offered(stored, [], NOON).code, reason, "Ann", NOON)


def test_a_limit_on_risk_is_not_reset_before_its_session_is_over_unless_on_purpose(stored):
    latched(stored, DRAWDOWN)
    offer = offered(stored, [], NOON)
    assert offer.bound == (DRAWDOWN,)

    with pytest.raises(InvalidInput, match="drawdown holds until session 2026-07-31 is over"):
        reset(stored, offer.code, "looked at", "Ann", NOON)
    assert stored.read().mode is TradingMode.HALTED

    state = reset(stored, offer.code, "looked at", "Ann", NOON, overrides_risk=True)
    assert (state.mode, state.change.overrides_risk) == (TradingMode.ACTIVE, True)


def test_after_its_session_a_person_resets_it_and_nobody_else_does(stored):
    latched(stored, DRAWDOWN)
    offer = offered(stored, [], AFTER_THE_CLOSE)

    assert stored.read().mode is TradingMode.HALTED
    assert offer.bound == ()
    assert not reset(stored, offer.code, "looked at", "Ann", AFTER_THE_CLOSE).change.overrides_risk


def test_single_latches_can_be_reset_and_the_others_stay(stored):
    latched(stored, DRAWDOWN, BREAK)
    offer = offered(stored, ["reconciliation"], NOON)

    state = reset(stored, offer.code, "looked at", "Ann", NOON, ["reconciliation"])

    assert state.latches == (DRAWDOWN,)


def test_the_code_of_some_latches_does_not_reset_others(stored):
    latched(stored, BREAK, DRAWDOWN)
    code = offered(stored, ["reconciliation"], NOON).code

    with pytest.raises(InvalidInput, match="is not of what holds trading now"):
        reset(stored, code, "looked at", "Ann", NOON, overrides_risk=True)


def test_a_latch_that_does_not_hold_is_named_with_those_that_do(stored):
    latched(stored, BREAK)

    with pytest.raises(InvalidInput, match="there is no latch 'drawdown'; those that hold are: reconciliation"):
        offered(stored, ["drawdown"], NOON)


def test_a_damaged_state_is_mended_from_what_was_recorded_last(stored, tmp_path):
    latched(stored, BREAK, DRAWDOWN)
    (tmp_path / "state/trading_state.json").write_text("{")
    offer = offered(stored, [], NOON)
    assert offer.latches == (BREAK, DRAWDOWN)
    assert offer.lines()[0].startswith("the trading state state/trading_state.json cannot be read")
    with pytest.raises(TradingHalted):
        stored.read()

    with pytest.raises(InvalidInput, match="drawdown holds until"):
        reset(stored, offer.code, "looked at", "Ann", NOON)
    reset(stored, offer.code, "looked at", "Ann", AFTER_THE_CLOSE)
    assert stored.read().mode is TradingMode.ACTIVE


def test_a_state_that_is_damaged_and_held_nothing_is_mended_as_well(stored, tmp_path):
    latched(stored, BREAK)
    reset(stored, offered(stored, [], NOON).code, "looked at", "Ann", NOON)
    (tmp_path / "state/trading_state.json").write_text("{")
    offer = offered(stored, [], NOON)

    assert not offer.is_empty
    assert reset(stored, offer.code, "written anew", "Ann", NOON) == stored.read()
