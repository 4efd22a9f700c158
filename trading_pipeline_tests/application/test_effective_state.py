import threading
from dataclasses import dataclass, field, replace

import pytest

from trading_pipeline.adapters.storage.objects import FileObjects
from trading_pipeline.adapters.storage.trading_state import StoredTradingState
from trading_pipeline.application.effective_state import STORE, AskedSource, EffectiveState
from trading_pipeline.domain.errors import DataError, DependencyUnavailable, Interrupted, TradingHalted, Unauthorized
from trading_pipeline.domain.orders import Side
from trading_pipeline.domain.risk.state_sources import SourcePatience
from trading_pipeline.domain.risk.trading_state import ACTIVE, Latch, TradingMode, TradingState
from trading_pipeline_tests.builders import HeldTradingState, TurnedClock

DRAWDOWN = Latch("drawdown", TradingMode.HALTED, "12 % below the peak", "drawdown")


@dataclass
class Source:
    """A source that says ``state``, or fails with ``failure``; counts how often it is asked."""

    name: str = "broker"
    state: TradingState = ACTIVE
    failure: Exception | None = None
    asked: int = 0

    def read(self):
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        return self.state


@dataclass
class Desk:
    clock: TurnedClock = field(default_factory=TurnedClock)
    stored: HeldTradingState = field(default_factory=HeldTradingState)
    source: Source = field(default_factory=Source)

    def state(self, fresh_for=0.0):
        return EffectiveState(self.stored, [AskedSource(self.source, fresh_for)], self.clock, SourcePatience(30.0, 3))


def unreachable():
    error = TradingHalted("the trading state cannot be read")
    error.__cause__ = DependencyUnavailable("no answer")
    return error


class Unreachable(HeldTradingState):
    def read(self):
        raise unreachable()


@pytest.fixture
def desk():
    return Desk()


def test_the_severest_of_the_store_and_the_sources_decides(desk):
    state = desk.state()
    assert state.read() == ACTIVE

    desk.source.state = TradingState(TradingMode.REDUCING, "flags", "broker")
    assert (state.read().allows(Side.BUY), state.read().allows(Side.SELL)) == (False, True)

    desk.stored.state = TradingState(TradingMode.HALTED, "drill", "a person")
    assert (state.read().mode, state.read().reason) == (TradingMode.HALTED, "drill")
    assert [latch.name for latch in state.read().latches] == ["a person", "broker"]

    desk.source.state = desk.stored.state = ACTIVE
    assert state.read() == ACTIVE


def test_the_stored_state_is_read_anew_before_every_order(desk):
    state = desk.state()
    state.read()
    desk.stored.state = TradingState(TradingMode.HALTED, "by another process")

    assert state.read().mode is TradingMode.HALTED


def test_changes_go_to_the_store_alone_and_never_carry_what_other_sources_say(desk):
    desk.source.state = TradingState(TradingMode.HALTED, "flags", "broker")
    desk.state().change(lambda state: state.latched(replace(DRAWDOWN, mode=TradingMode.REDUCING)))

    assert [latch.name for latch in desk.stored.state.latches] == ["drawdown"]


@pytest.mark.parametrize("is_store", [True, False])
def test_a_source_that_cannot_be_read_counts_as_last_known_then_reduces_then_halts(desk, is_store):
    state = desk.state()
    state.read()
    if is_store:
        desk.stored.read = Unreachable().read
    else:
        desk.source.failure = DependencyUnavailable("no answer")

    modes = []
    for seconds in (10, 20, 1, 1, 1):
        desk.clock.wait(seconds)
        modes.append(state.read().mode.value)

    assert modes == ["active", "active", "reducing", "reducing", "halted"]
    assert state.read().latch(STORE if is_store else "broker").reason


def test_for_a_plan_the_silence_of_a_source_decides_nothing(desk):
    state = desk.state()
    assert state.certain() == ACTIVE
    desk.source.state = TradingState(TradingMode.HALTED, "flags", "broker")
    assert state.certain().mode is TradingMode.HALTED

    desk.source.failure = DependencyUnavailable("no answer")
    with pytest.raises(TradingHalted, match=r"is not known \(broker: no answer\)"):
        state.certain()
    desk.source.failure = None
    assert state.certain().mode is TradingMode.HALTED


def test_a_halt_that_was_known_stays_while_the_store_is_silent(desk):
    state = desk.state()
    desk.stored.state = TradingState(TradingMode.HALTED, "drill", "a person")
    state.read()
    desk.stored.read = Unreachable().read
    desk.clock.wait(40)

    assert (state.read().mode, state.read().reason) == (TradingMode.HALTED, "drill")


def test_a_process_that_never_read_the_store_trades_nothing(desk):
    desk.stored.read = Unreachable().read

    assert desk.state().read().mode is TradingMode.HALTED


@pytest.mark.parametrize(
    "failure", [TradingHalted("it was rolled back"), DataError("damaged"), Unauthorized("keys are wrong")]
)
def test_what_no_second_question_can_help_halts_at_once(desk, failure):
    state = desk.state()
    state.read()
    desk.source.failure = failure

    assert (state.read().mode, state.read().reason) == (TradingMode.HALTED, str(failure))


def test_a_source_with_an_answer_that_is_fresh_is_not_asked_again(desk):
    state = desk.state(fresh_for=30.0)
    for _ in range(10):
        state.read()
    assert desk.source.asked == 1

    desk.clock.wait(31)
    desk.source.state = TradingState(TradingMode.HALTED, "flags", "broker")
    assert state.read().mode is TradingMode.HALTED
    assert desk.source.asked == 2


def test_a_source_that_failed_is_not_asked_more_often_than_one_that_answers(desk):
    state = desk.state(fresh_for=30.0)
    desk.source.failure = DependencyUnavailable("no answer")
    for _ in range(10):
        state.read()

    assert desk.source.asked == 1


def test_threads_that_need_an_answer_at_once_are_content_with_one(desk):
    state, together = desk.state(fresh_for=30.0), threading.Barrier(8)

    def read():
        together.wait()
        state.read()

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert desk.source.asked == 1


def test_being_asked_to_end_is_no_failure_of_a_source(desk):
    desk.source.failure = Interrupted("the process was asked to end")

    with pytest.raises(Interrupted):
        desk.state().read()


def test_a_latch_is_stored(desk):
    state = desk.state()

    assert state.latch(DRAWDOWN) == desk.stored.state == ACTIVE.latched(DRAWDOWN)
    desk.stored.state = ACTIVE
    assert state.read() == ACTIVE, "once it is stored, the store alone says whether it holds"


def test_a_latch_that_cannot_be_stored_holds_in_this_process_all_the_same(desk):
    state, change = desk.state(), desk.stored.change

    def fail(_):
        raise DependencyUnavailable("the disk is full")

    desk.stored.change = fail
    with pytest.raises(DependencyUnavailable):
        state.latch(DRAWDOWN)
    assert (state.read().mode, state.read().reason) == (TradingMode.HALTED, DRAWDOWN.reason)

    desk.stored.change = change
    state.latch(replace(DRAWDOWN, mode=TradingMode.REDUCING))
    assert desk.stored.state.latch("drawdown").mode is TradingMode.HALTED
    assert state.read() == desk.stored.state


def test_over_real_files_a_store_that_is_damaged_or_rolled_back_halts(tmp_path):
    stored = StoredTradingState(FileObjects(tmp_path))
    state = EffectiveState(stored, [], TurnedClock())
    file = tmp_path / "state/trading_state.json"
    stored.write(TradingState(TradingMode.REDUCING, "a break", "reconciliation"))
    early = file.read_bytes()
    stored.write(ACTIVE)
    assert state.read() == ACTIVE

    file.write_bytes(early)
    assert (state.read().mode, state.read().latch(STORE).mode) == (TradingMode.HALTED, TradingMode.HALTED)
    file.unlink()
    assert state.read().mode is TradingMode.HALTED
    file.write_bytes(b"{")
    assert state.read().mode is TradingMode.HALTED

    state.mend(lambda _: ACTIVE)
    assert state.read() == ACTIVE
