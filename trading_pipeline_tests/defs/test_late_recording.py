from datetime import timedelta

import pytest

from trading_pipeline.defs.sensors import RECORDS_TAG
from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import DataError
from trading_pipeline.domain.risk.trading_state import TradingMode, TradingState


@pytest.mark.unmeasured
def test_what_a_run_did_that_died_before_it_recorded_it_is_recorded_after_the_close_and_nothing_is_sent(
    fresh_market, fresh_line, monkeypatch
):
    market, line = fresh_market, fresh_line
    session = market.close_next_session()
    assert line.run("decide", session).success
    market.open_window(session)
    [request] = line.look()
    with monkeypatch.context() as dying:

        def dies(*_):
            raise DataError("the disk went away")

        dying.setattr("trading_pipeline.defs.assets.fills._recorded", dies)
        assert not line.place(request).success
    orders = market.orders
    assert len(orders) > 0
    assert line.rows("fills", session).empty

    now = line.world.clock.now()
    line.world.trading_state.write(TradingState(TradingMode.HALTED, "drill", "a person", now))
    assert line.look() == "trading is halted: drill"
    market.control.set_clock(sessions.close_of(sessions.next_session(session)) + timedelta(minutes=5))
    [request] = line.look()

    assert request.tags[RECORDS_TAG] == "true"
    assert line.place(request).success
    assert market.orders == orders
    assert set(line.rows("fills", session)["client_order_id"]) == {order["client_order_id"] for order in orders}
    assert f"what became of plan {session}.1 is recorded" in line.look()
