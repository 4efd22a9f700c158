"""What the risk engine says, as a person meets it: in the table, with the plan, in an alert, and at the wire."""

import copy
from decimal import Decimal

import pytest

from trading_pipeline.adapters.storage.tables import DeltaTables
from trading_pipeline.domain import sessions
from trading_pipeline.ports import Severity
from trading_pipeline.settings import RiskSettings

ASSETS = ["order_plan", "approved_orders"]


@pytest.fixture(scope="module")
def decided(market, line):
    """A session that was decided with the default limits."""
    session = market.close_next_session()
    assert line.run("decide", session).success
    return session


@pytest.fixture
def decide_again(decided, line, graph_of):
    """Decide once more under other limits; returns the rows of the table and the stored plan."""

    def again(**limits):
        world = copy.copy(line.world)
        world.settings = world.settings.model_copy(update={"risk": RiskSettings(**limits)})
        result = graph_of(world, line.instance).run("decide", decided, assets=ASSETS)
        assert result.success
        return line.rows("approved_orders", decided), newest(line, decided)

    return again


def newest(line, session):
    return line.world.plans.versions(line.world.portfolio().account_number, session)[-1]


def test_the_default_limits_let_the_strategies_trade_as_they_mean_to(decided, line):
    rows, plan = line.rows("approved_orders", decided), newest(line, decided)

    assert set(rows["decision"]) == {"approved"}
    assert rows["breaches"].isna().all()
    assert [made.client_order_id for made in plan.decisions] == list(rows["client_order_id"])
    assert [order.client_order_id for order in plan.orders] == list(rows["client_order_id"])
    assert line.world.notifier.alerts() == []


def test_a_limit_reduces_the_order_and_the_plan_keeps_why(decide_again):
    rows, plan = decide_again(max_order_value=Decimal(5_000))

    reduced = rows[rows["decision"] == "reduced"]
    assert len(reduced)
    assert all("ORDER_VALUE" in breaches for breaches in reduced["breaches"])
    assert all(order.quantity * order.limit_price <= 5_000 for order in plan.orders)
    kept = {made.client_order_id: made for made in plan.decisions}
    for row in reduced.itertuples():
        assert kept[row.client_order_id].decision == "reduced"
        assert kept[row.client_order_id].quantity == row.approved_quantity
        assert "; ".join(kept[row.client_order_id].breaches) == row.breaches


def test_what_is_denied_is_told_once_and_kept_with_the_plan(decide_again, line):
    rows, plan = decide_again(max_price_deviation=Decimal("0.0001"))

    assert set(rows["decision"]) == {"denied"}
    assert plan.orders == ()
    assert {made.decision for made in plan.decisions} == {"denied"}
    [alert] = [alert for alert in line.world.notifier.alerts() if alert.key == f"denied:{plan.plan_id}"]
    assert alert.severity is Severity.WARNING
    assert "PRICE_DEVIATION" in alert.text


def test_an_unreadable_past_denies_what_is_bought(decide_again, monkeypatch):
    own = DeltaTables.read

    def young(self, name, first=None, last=None, version=None):
        found = own(self, name, first, last, version)
        if name != "bars" or first is None:
            return found
        return found[found["session"] > sessions.previous_session(last, 60)] if last else found

    monkeypatch.setattr(DeltaTables, "read", young)

    rows, plan = decide_again()

    bought = rows[rows["side"] == "buy"]
    assert set(bought["decision"]) == {"denied"}
    assert all("INPUT_MISSING" in breaches and "returns of" in breaches for breaches in bought["breaches"])
    assert all(order.side.value == "sell" for order in plan.orders)
