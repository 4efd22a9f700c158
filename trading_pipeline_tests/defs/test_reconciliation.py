from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace

import dagster as dg
import pandas as pd
import pytest

from trading_pipeline.adapters.notifiers import AlertOutbox
from trading_pipeline.adapters.storage.journal import SqliteJournal
from trading_pipeline.adapters.storage.objects import FileObjects, StoredPlans
from trading_pipeline.adapters.storage.tables import DeltaTables
from trading_pipeline.adapters.storage.trading_state import StoredTradingState
from trading_pipeline.application.planning import portfolio_to_frame
from trading_pipeline.defs.assets.reconciliation import before_planning, reconciliation
from trading_pipeline.defs.io_manager import DeltaIOManager
from trading_pipeline.defs.partitions import session_partitions
from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import OutsideExecutionWindow
from trading_pipeline.domain.fills import Fill
from trading_pipeline.domain.orders import BrokerOrder, OrderStatus, Side
from trading_pipeline.domain.portfolio import Portfolio, Position
from trading_pipeline.domain.risk.trading_state import ACTIVE, TradingMode
from trading_pipeline.ports import CashMovement, IntentState
from trading_pipeline.settings import MonitoringSettings
from trading_pipeline_tests.builders import ACCOUNT, INSIDE_WINDOW, SESSION, TurnedClock, buy, make_plan

DECIDED = sessions.close_of(SESSION) + timedelta(minutes=30)
PLAN = make_plan(buy("SPY", "5"))
(INTENT,) = PLAN.orders
FILL = Fill("x1", INTENT.client_order_id, "SPY", Side.BUY, Decimal(5), Decimal(100), Decimal(0), INSIDE_WINDOW)
ORDER = BrokerOrder(
    client_order_id=INTENT.client_order_id,
    venue_order_id="venue-1",
    symbol="SPY",
    side=Side.BUY,
    quantity=Decimal(5),
    filled_quantity=Decimal(5),
    average_price=Decimal(100),
    limit_price=Decimal(110),
    status=OrderStatus.FILLED,
    submitted_at=INSIDE_WINDOW,
)


def account(cash, at=INSIDE_WINDOW, **shares) -> Portfolio:
    positions = {symbol: Position(symbol, Decimal(count), Decimal(100)) for symbol, count in shares.items()}
    return Portfolio(ACCOUNT, at, Decimal(cash), positions)


@dataclass
class SettledBroker:
    """An account after its orders: what it holds may be changed by hand."""

    held: Portfolio
    executed: tuple[Fill, ...] = (FILL,)
    listed: tuple[BrokerOrder, ...] = (ORDER,)
    movements: tuple[CashMovement, ...] = ()

    def portfolio(self):
        return self.held

    def orders(self, since: datetime | None = None):
        return [order for order in self.listed if since and order.submitted_at >= since]

    def executions(self, after: datetime):
        return [fill for fill in self.executed if fill.filled_at >= after]

    def cash_movements(self, after: datetime):
        return [movement for movement in self.movements if movement.day >= after.date()]


@dataclass
class Desk:
    """The asset on real tables, journal, state and alerts, after a plan that bought 5 SPY from 1000 dollars."""

    world: SimpleNamespace
    instance: dg.DagsterInstance
    results: list[dg.ExecuteInProcessResult] = field(default_factory=list)

    def compare(self):
        sources = [dg.AssetSpec(name, partitions_def=session_partitions()) for name in ("fills", "portfolio_snapshot")]
        manager = DeltaIOManager(self.world.tables)
        result = dg.materialize(
            [reconciliation, *sources],
            instance=self.instance,
            partition_key=str(SESSION),
            resources={"tables": manager, "io_manager": manager, "world": self.world},
            selection=[reconciliation],
        )
        [event] = result.get_asset_materialization_events()
        return shown(event.materialization.metadata)

    def plan_next(self):
        return before_planning(self.world, sessions.next_session(SESSION), ACCOUNT)

    @property
    def mode(self):
        return self.world.trading_state.read().mode

    @property
    def alerts(self):
        return [alert.key.rpartition(":")[0] for alert in self.world.notifier.alerts()]


def shown(described):
    tables = {name: entry for name, entry in described.items() if isinstance(entry, dg.TableMetadataValue)}
    rows = {name: [record.data for record in entry.records] for name, entry in tables.items()}
    plain = {name: getattr(entry, "value", entry) for name, entry in described.items() if name not in tables}
    return plain | rows


@pytest.fixture
def desk(tmp_path):
    journal = SqliteJournal(tmp_path / "journal.sqlite")
    journal.claim(PLAN, INSIDE_WINDOW)
    for state in (IntentState.SUBMITTING, IntentState.ACKNOWLEDGED, IntentState.FILLED):
        journal.record(INTENT.client_order_id, state, "", INSIDE_WINDOW)
    tables = DeltaTables(str(tmp_path / "tables"))
    tables.replace_session(
        "portfolio_snapshot", SESSION, portfolio_to_frame(account("1000", DECIDED, TLT="10"), SESSION, "broker")
    )
    rows = [
        {
            "session": SESSION,
            "execution_session": PLAN.execution_session,
            "plan_id": PLAN.plan_id,
            **vars(FILL),
            "side": "buy",
        }
    ]
    fills = pd.DataFrame(rows).astype({"filled_at": "datetime64[us, UTC]"})
    tables.replace_session("fills", SESSION, fills)
    world = SimpleNamespace(
        settings=SimpleNamespace(monitoring=MonitoringSettings()),
        tables=tables,
        journal=journal,
        clock=TurnedClock(),
        broker=SettledBroker(account("500", TLT="10", SPY="5")),
        trading_state=StoredTradingState(FileObjects(tmp_path / "objects")),
        notifier=AlertOutbox(tmp_path / "alerts.sqlite"),
        plans=StoredPlans(FileObjects(tmp_path / "objects")),
    )
    with dg.DagsterInstance.ephemeral() as instance:
        yield Desk(world, instance)


def test_books_that_agree_are_recorded_and_change_nothing(desk):
    told = desk.compare()

    assert (told["compared"], told["broken"], told["external"]) == (5, 0, 0)
    assert told["differences"] == []
    assert list(desk.world.tables.read("reconciliation")["status"]) == ["equal"] * 5
    assert (desk.world.trading_state.read(), desk.alerts) == (ACTIVE, [])


def test_a_break_reduces_alerts_once_and_is_shown(desk):
    desk.world.broker.held = account("500", TLT="10", SPY="4")

    told = desk.compare()
    desk.compare()

    assert (told["broken"], told["external"]) == (1, 0)
    [difference] = told["differences"]
    assert difference == {
        "kind": "position",
        "name": "SPY",
        "ours": "5.000000000",
        "theirs": "4",
        "difference": "-1.000000000",
        "status": "break",
        "explanation": "0 before, 5 by our fills, 0 by orders that are not ours",
    }
    assert desk.mode is TradingMode.REDUCING
    assert desk.alerts == [f"reconciliation:{SESSION}:after placing"]


def test_an_order_by_hand_is_told_and_reduces_only_where_that_is_set(desk):
    by_hand = replace(ORDER, client_order_id="by-hand", venue_order_id="venue-2", filled_quantity=Decimal(0))
    desk.world.broker.listed = (ORDER, by_hand)
    desk.world.settings.monitoring = MonitoringSettings(reduce_on_external_orders=False)

    assert desk.compare()["external"] == 1
    assert (desk.mode, len(desk.alerts)) == (TradingMode.ACTIVE, 1)

    desk.world.settings.monitoring = MonitoringSettings(reduce_on_external_orders=True)
    desk.compare()
    assert desk.mode is TradingMode.REDUCING


def test_a_dividend_is_no_break_and_a_gift_is_one(desk):
    paid = CashMovement("20260730::1", "DIV", Decimal("12.34"), SESSION, "TLT")
    desk.world.broker = SettledBroker(account("512.34", TLT="10", SPY="5"), movements=(paid,))

    assert desk.compare()["broken"] == 0
    [cash] = desk.world.tables.read("reconciliation").query("kind == 'cash'").to_dict("records")
    assert (cash["status"], cash["explanation"]) == ("equal", f"{SESSION} DIV TLT +12.34")
    assert (desk.mode, desk.alerts) == (TradingMode.ACTIVE, [])

    desk.world.broker.held = account("600", TLT="10", SPY="5")
    assert desk.compare()["broken"] == 1
    assert desk.mode is TradingMode.REDUCING


def test_a_session_without_orders_is_compared_too(desk, tmp_path):
    desk.world.journal = SqliteJournal(tmp_path / "empty.sqlite")
    desk.world.tables.replace_session("fills", SESSION, desk.world.tables.read("fills").iloc[:0])
    desk.world.broker = SettledBroker(account("1000", TLT="10"), (), ())

    assert desk.compare()["compared"] == 2
    assert desk.mode is TradingMode.ACTIVE


def test_a_session_is_not_compared_once_the_next_ones_orders_may_have_changed_the_account(desk):
    desk.world.broker.held = account("500", sessions.open_of(sessions.next_session(SESSION, 2)), TLT="10", SPY="5")

    with pytest.raises(OutsideExecutionWindow, match=f"orders of session {SESSION} until 2026-08-03T13:30:00"):
        desk.compare()


def test_before_the_first_comparison_nothing_is_known_and_nothing_is_wrong(desk):
    assert desk.plan_next() == {"compared": 0}
    assert desk.mode is TradingMode.ACTIVE


def test_what_stayed_as_it_was_compared_is_planned_from(desk):
    desk.compare()
    # A dividend.
    desk.world.broker.held = account("512.34", TLT="10", SPY="5")

    told = desk.plan_next()

    assert (told["compared"], told["broken"], told["external"]) == (2, 0, 0)
    assert desk.mode is TradingMode.ACTIVE


def test_what_changed_overnight_reduces_until_a_person_accepts_it(desk):
    desk.compare()
    desk.world.broker.held = account("500", TLT="9", SPY="5")

    assert desk.plan_next()["broken"] == 1
    assert desk.mode is TradingMode.REDUCING
    assert desk.alerts == [f"reconciliation:{sessions.next_session(SESSION)}:before planning"]

    desk.compare()
    desk.world.trading_state.write(ACTIVE)
    assert desk.plan_next()["broken"] == 0
    assert desk.mode is TradingMode.ACTIVE


@pytest.mark.unmeasured
def test_an_order_by_hand_is_met_before_the_next_plan_and_only_sales_pass(fresh_market, fresh_line):
    market, line = fresh_market, fresh_line
    first = market.close_next_session()
    assert line.run("decide", first).success
    market.open_window(first)
    market.control.move_cash("DIV", Decimal("1.23"), "SPY")
    [request] = line.look()
    assert line.place(request).success
    compared = line.rows("reconciliation", first)
    assert set(compared["status"]) == {"equal"}
    assert {"position", "cash", "order", "fill"} == set(compared["kind"])
    assert "DIV SPY +1.23" in compared.query("kind == 'cash'")["explanation"].item()
    assert line.world.trading_state.read() == ACTIVE

    market.control.advance(timedelta(minutes=1))
    by_hand = {"symbol": "XLP", "qty": "1", "side": "buy", "type": "market", "time_in_force": "day"}
    line.world.trading_api.post("/orders", {**by_hand, "client_order_id": "by-hand"})
    second = sessions.next_session(first)
    market.control.set_clock(sessions.close_of(second) + timedelta(minutes=30))
    decided = line.run("decide", second)

    assert decided.success
    assert line.world.trading_state.read().mode is TradingMode.REDUCING
    [alert] = [told for told in line.world.notifier.alerts() if told.key.startswith("reconciliation:")]
    assert alert.key.startswith(f"reconciliation:{second}:before planning:")
    assert "external by-hand" in alert.text
    bought = line.rows("approved_orders", second).query("side == 'buy'")
    assert set(bought["approved_quantity"]) == {Decimal(0)}
    assert all("REDUCING_ONLY" in breaches for breaches in bought["breaches"])
