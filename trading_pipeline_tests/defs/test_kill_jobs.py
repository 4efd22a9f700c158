from datetime import UTC, date, datetime

import dagster as dg
import pytest

from trading_pipeline.adapters.storage.sending_gate import FileGate
from trading_pipeline.defs.assets.trading_state import history_frame, latches_frame
from trading_pipeline.domain.risk.trading_state import ACTIVE, Latch, RecordedState, TradingMode
from trading_pipeline_tests.defs.conftest import QUIET
from trading_pipeline_tests.stories.busy_loop import intents_of

NOON = datetime(2026, 7, 31, 16, tzinfo=UTC)
DRAWDOWN = Latch("drawdown", TradingMode.HALTED, "12 %", "drawdown", NOON, date(2028, 1, 3), is_risk=True)
ENDED = {"filled", "canceled"}


class Jobs:
    """The jobs of the kill switch over a market in its execution window."""

    def __init__(self, line, market):
        self.line, self.market, self.world = line, market, line.world
        self.stored = line.world.stored_state

    def run(self, job, **config):
        operation = {"ops": {job.replace("kill_", "") + "_trading": {"config": config}}} if config else {}
        definition = self.line.definitions.resolve_job_def(job)
        return definition.execute_in_process(
            instance=self.line.instance, run_config=QUIET | operation, raise_on_error=False
        )

    def told(self, result):
        [event] = [event for event in result.all_events if event.is_successful_output]
        return {name: value.value for name, value in event.event_specific_data.metadata.items()}


@pytest.fixture
def jobs(quick_line, market):
    made = Jobs(quick_line, market)
    made.stored.write(ACTIVE)
    return made


def open_orders(market):
    return [order for order in market.orders if order["status"] not in ENDED]


def test_halting_writes_the_state_and_cancels_what_is_open(jobs, market):
    market.open_window(market.close_next_session())
    for intent in intents_of(jobs.world.portfolio().account_number, "kill", 3):
        jobs.world.broker.submit(intent)
    assert len(open_orders(market)) == 3

    result = jobs.run("kill_halt", reason="drill")

    assert result.success
    assert jobs.told(result)["orders"].startswith("3 orders cancelled, 0 filled meanwhile, none left")
    assert (jobs.stored.read().mode, jobs.stored.read().reason) == (TradingMode.HALTED, "drill")
    assert open_orders(market) == []


def test_reducing_is_written(jobs):
    assert jobs.run("kill_reduce", reason="odd fills").success
    assert (jobs.stored.read().mode, jobs.stored.read().reason) == (TradingMode.REDUCING, "odd fills")


def test_a_run_shows_the_code_and_another_resets_with_it(jobs):
    jobs.run("kill_reduce", reason="odd fills")
    first = jobs.run("kill_reset", reason="")
    assert jobs.stored.read().mode is TradingMode.REDUCING

    second = jobs.run("kill_reset", code=jobs.told(first)["code"], reason="looked at")

    assert second.success
    assert (jobs.stored.read().mode, jobs.stored.read().reason) == (TradingMode.ACTIVE, "looked at")


@pytest.mark.parametrize("config", [{"code": "000000", "reason": "hurry"}, {"code": "000000"}])
def test_a_wrong_code_or_no_reason_fails_and_changes_nothing(jobs, config):
    jobs.run("kill_reduce", reason="odd fills")

    assert not jobs.run("kill_reset", **config).success
    assert jobs.stored.read().mode is TradingMode.REDUCING


def test_a_limit_on_risk_is_overridden_on_purpose_only(jobs):
    jobs.stored.change(lambda state: state.latched(DRAWDOWN))
    first = jobs.told(jobs.run("kill_reset", reason=""))
    assert "drawdown holds until session 2028-01-03 is over" in first["offer"]

    assert not jobs.run("kill_reset", code=first["code"], reason="looked at").success
    assert jobs.run("kill_reset", code=first["code"], reason="looked at", override_risk=True).success
    assert jobs.stored.read().mode is TradingMode.ACTIVE


def test_the_state_in_force_and_its_history_are_shown_newest_first(jobs):
    jobs.stored.change(lambda state: state.latched(DRAWDOWN))
    jobs.run("kill_reduce", reason="odd fills")

    assert jobs.run("kill_status").success

    found = jobs.line.instance.get_latest_materialization_event(dg.AssetKey("trading_state")).asset_materialization
    shown = {name: value.value for name, value in found.metadata.items()}
    assert (shown["mode"], shown["reason"], shown["epoch"]) == ("halted", "12 %", jobs.stored.read().epoch)
    assert [record.data["name"] for record in found.metadata["latches"].records] == ["drawdown", "a person"]
    newest = found.metadata["history"].records[0].data
    assert (newest["action"], newest["names"], newest["reason"]) == ("latched", "a person", "odd fills")
    assert shown["dagster/row_count"] == len(jobs.stored.history()) >= 2


def test_what_the_broker_says_is_part_of_the_state_in_force(jobs, market):
    market.control.set_account(trade_suspended_by_user=True)
    try:
        state = market.world().trading_state.read()
    finally:
        market.control.set_account(trade_suspended_by_user=False)

    assert (state.mode, state.set_by) == (TradingMode.HALTED, "broker")


def test_the_submit_loop_is_given_the_state_in_force_and_the_gate_of_its_folder(jobs, tmp_path, monkeypatch):
    venue = jobs.world.venue
    assert isinstance(venue.gate, FileGate)
    assert venue.trading_state is jobs.world.trading_state
    assert venue.trading_state.read() == ACTIVE

    monkeypatch.setenv("TRADING_HALT", "halt")
    assert venue.trading_state.read().mode is TradingMode.HALTED


def test_a_state_that_was_written_whole_says_so_in_its_history():
    state = ACTIVE.latched(DRAWDOWN)
    frame = history_frame([RecordedState(state, NOON)])

    assert frame.loc[0, ["mode", "latches"]].tolist() == ["halted", "drawdown: halted (12 %)"]
    assert latches_frame(state).loc[0, "is_risk"]
    assert len(history_frame([])) == len(latches_frame(ACTIVE)) == 0
