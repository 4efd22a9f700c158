from datetime import date

import dagster as dg
import pytest
from dagster._core.utils import make_new_run_id

from trading_pipeline.cli.drills.stage import opened_stage
from trading_pipeline.defs.liquidation_jobs import (
    LIQUIDATE,
    MOST_ATTEMPTS,
    NUMBER_TAG,
    liquidate_job,
    liquidation_watch,
)
from trading_pipeline.domain import sessions
from trading_pipeline.domain.risk.trading_state import Latch, TradingMode
from trading_pipeline.settings import LiquidationSettings
from trading_pipeline_tests.defs.conftest import QUIET

TODAY = date(2026, 7, 31)


class Desk:
    """The job and the sensor over a stage, on an instance in memory."""

    def __init__(self, stage, instance):
        self.stage, self.instance = stage, instance

    def run(self, tags=None, **config):
        operation = {"ops": {"liquidate_positions": {"config": config}}}
        return liquidate_job.execute_in_process(
            run_config=QUIET | operation,
            resources={"world": self.stage.world},
            instance=self.instance,
            tags=tags,
            raise_on_error=False,
        )

    def look(self):
        """Evaluate the sensor: the request for a run, or why there is none."""
        sensor = liquidation_watch(30)
        definitions = dg.Definitions(jobs=[liquidate_job], sensors=[sensor], resources={"world": self.stage.world})
        tick = sensor.evaluate_tick(
            dg.build_sensor_context(
                self.instance, resources={"world": self.stage.world}, definitions=definitions, sensor_name=sensor.name
            )
        )
        return tick.run_requests[0] if tick.run_requests else tick.skip_message

    def latch(self):
        latch = Latch("daily loss", TradingMode.HALTED, "15 %", "x", self.stage.world.clock.now(), TODAY, is_risk=True)
        self.stage.world.stored_state.change(lambda state: state.latched(latch))

    def choose(self, **chosen):
        """Let the world's settings be these, beside a rehearsal's."""
        found = self.stage.world.settings
        changed = found.liquidation.model_dump() | chosen
        self.stage.world.settings = found.model_copy(update={"liquidation": LiquidationSettings(**changed)})


@pytest.fixture
def desk():
    with opened_stage() as stage, dg.DagsterInstance.ephemeral() as instance:
        yield Desk(stage, instance)


def told(result):
    [event] = [event for event in result.all_events if event.is_successful_output]
    return {name: value.value for name, value in event.event_specific_data.metadata.items()}


def test_a_run_shows_what_would_be_sold_and_another_sells_it_with_the_code(desk):
    held = desk.stage.held()

    offer = told(desk.run())
    assert desk.stage.held() == held
    assert all(f"{quantity:.0f}" in offer["offer"] and symbol in offer["offer"] for symbol, quantity in held.items())

    assert not desk.run(code="000000").success
    assert desk.stage.held() == held

    found = told(desk.run(code=offer["code"]))
    assert desk.stage.held() == {}
    assert (found["is_over"], found["waiting"]) == (True, 0)
    assert desk.stage.world.stored_state.read().mode is TradingMode.HALTED


def test_nothing_goes_on_that_was_not_agreed_to(desk):
    assert not desk.run(agreed=True).success
    assert desk.stage.sent == 0


def test_the_sensor_asks_a_person_and_launches_nothing(desk):
    assert desk.look() == "nothing sets a liquidation off"
    desk.latch()

    assert desk.look().startswith("a person was asked about liq-1")
    assert desk.look() == "nothing sets a liquidation off"
    assert desk.stage.sent == 0


def test_where_it_is_automatic_the_sensor_launches_it_once_and_it_sells_everything(desk):
    desk.choose(equity_drawdown="automatic")
    desk.latch()

    request = desk.look()
    assert request.run_config["ops"]["liquidate_positions"]["config"] == {"agreed": True}
    assert request.tags[NUMBER_TAG].endswith(".1")
    assert desk.run(tags=request.tags, agreed=True).success

    assert desk.stage.held() == {}
    assert desk.look() == "nothing is held"
    state = desk.stage.world.stored_state.read()
    assert {latch.name for latch in state.latches} == {"daily loss", "liquidation"}


def test_while_the_exchange_is_closed_nothing_is_launched_and_a_run_waits_without_failing(desk):
    desk.choose(equity_drawdown="automatic")
    desk.latch()
    assert desk.look().tags
    desk.stage.control.set_clock(sessions.close_of(sessions.session_at(desk.stage.world.clock.now())))

    assert "everything is sold from" in desk.look()
    found = told(desk.run(agreed=True))
    assert "to withdraw it: trading-pipeline liquidate --withdraw" in found["outcome"]
    assert desk.stage.sent == 0


def test_a_run_that_died_is_followed_by_another_and_by_no_more_than_so_many(desk):
    desk.choose(equity_drawdown="automatic")
    desk.latch()
    first = desk.look()
    died = {"job_name": LIQUIDATE, "tags": first.tags, "status": dg.DagsterRunStatus.FAILURE}
    desk.instance.add_run(_run(died))

    second = desk.look()
    assert second.run_key != first.run_key

    running = _run({**died, "status": dg.DagsterRunStatus.STARTED})
    desk.instance.add_run(running)
    assert "a run is under way" in desk.look()
    desk.instance.delete_run(running.run_id)

    for _ in range(MOST_ATTEMPTS - 1):
        desk.instance.add_run(_run(died))
    assert "by hand" in desk.look()


def _run(facts):
    return dg.DagsterRun(**facts, run_id=make_new_run_id())


def test_without_an_answer_of_the_broker_the_sensor_says_so_and_launches_nothing(desk):
    desk.stage.control.add_fault(action="reset", match={"path_re": "^/"})

    assert "Unavailable" in desk.look() or "CircuitOpen" in desk.look()
