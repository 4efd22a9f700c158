"""Sizing between the allocation and its orders: off by default, and what a person sees when it is on."""

import copy
from decimal import Decimal

import dagster as dg
import pandas as pd
import pytest

from trading_pipeline.adapters.storage.tables import DeltaTables
from trading_pipeline.settings import SizingSettings

ASSETS = ["order_plan", "approved_orders"]


def shown(result):
    [event] = [e for e in result.get_asset_materialization_events() if e.asset_key.path == ["order_plan"]]
    return {
        name: [record.data for record in value.records] if isinstance(value, dg.TableMetadataValue) else value.value
        for name, value in event.materialization.metadata.items()
    }


@pytest.fixture(scope="module")
def decided(market, line):
    """A session that was decided with everything off."""
    session = market.close_next_session()
    result = line.run("decide", session)
    assert result.success
    return session, result


@pytest.fixture
def planned_again(decided, line, graph_of):
    """Plan the decided session once more, with other settings of sizing."""
    session, _ = decided

    def plan(**sizing):
        world = copy.copy(line.world)
        world.settings = world.settings.model_copy(update={"sizing": SizingSettings(**sizing)})
        result = graph_of(world, line.instance).run("decide", session, assets=ASSETS)
        assert result.success
        return result, line.rows("order_plan", session)

    return plan


def bought(orders):
    return {row.symbol: row.notional for row in orders.itertuples() if row.side == "buy"}


def test_off_nothing_is_shown_no_bars_are_read_and_the_same_orders_are_planned(
    decided, planned_again, line, monkeypatch
):
    session, first = decided
    before = line.rows("order_plan", session)
    own, read = DeltaTables.read, []
    monkeypatch.setattr(DeltaTables, "read", lambda self, name, *given: read.append(name) or own(self, name, *given))

    result, orders = planned_again()

    untold = {"sizing", "sized_volatility", "sized_scale", "sized_fallback"}
    assert not untold & (set(shown(first)) | set(shown(result)))
    # Once to plan, once to decide on the risk.
    assert read.count("bars") == 2
    for column in set(before.columns) - {"client_order_id"}:
        pd.testing.assert_series_equal(orders[column], before[column])


def test_a_volatility_target_lowers_all_that_is_bought_alike_and_the_allocation_stays(decided, planned_again, line):
    session, _ = decided
    wanted, full = line.rows("allocation", session), bought(line.rows("order_plan", session))

    result, orders = planned_again(volatility_target=True, target_volatility=0.05)

    found = shown(result)
    assert 0 < found["sized_scale"] < 1
    assert found["sized_volatility"] * found["sized_scale"] == pytest.approx(0.05)
    lowered = bought(orders)
    assert lowered.keys() == full.keys()
    for symbol, notional in lowered.items():
        assert float(notional / full[symbol]) == pytest.approx(found["sized_scale"], rel=1e-3)
    pd.testing.assert_frame_equal(line.rows("allocation", session), wanted)
    for row in found["sizing"]:
        assert float(row["sized"]) == pytest.approx(float(row["wanted"]) * found["sized_scale"], rel=1e-4)


def test_a_cap_holds_for_every_order(decided, planned_again, line):
    session, _ = decided
    snapshot = line.rows("portfolio_snapshot", session)
    equity = snapshot["market_value"].sum()

    _, orders = planned_again(weight_caps=True, max_weight=0.1)

    assert bought(orders)
    assert all(notional <= equity * Decimal("0.1") for notional in bought(orders).values())


def test_what_sizing_leaves_alone_has_no_order_and_the_reason_is_shown(decided, planned_again):
    result, orders = planned_again(no_trade_band=True, least_band=1.0)

    assert bought(orders) == {}
    assert "sizing leaves it alone: it is within 100.00% of equity of its target" in shown(result)["left_out"]
