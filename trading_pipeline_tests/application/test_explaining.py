"""Sleeves that are carried, orders that are denied, plans that get out of positions."""

from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from trading_pipeline.adapters.storage.journal import SqliteJournal
from trading_pipeline.adapters.storage.objects import FileObjects, StoredPlans
from trading_pipeline.adapters.storage.tables import DeltaTables
from trading_pipeline.application import planning
from trading_pipeline.application.decision import panel_of, signal_of
from trading_pipeline.application.explaining import Explainer
from trading_pipeline.application.records import Records
from trading_pipeline.application.tracing import AuditMark, Noun
from trading_pipeline.domain import allocation, sessions, signals
from trading_pipeline.domain.allocation import Allocation, Contribution, SleeveStatus
from trading_pipeline.domain.audit import AuditEvent
from trading_pipeline.domain.orders import (
    ArchivedDecision,
    LineageEntry,
    OrderIntent,
    OrderType,
    Plan,
    PlanPurpose,
    Side,
    TimeInForce,
    client_order_id,
)
from trading_pipeline.domain.portfolio import Portfolio, Position
from trading_pipeline.domain.sizing.options import SizingOptions
from trading_pipeline.domain.smoothing import Smoothing
from trading_pipeline.domain.strategies import Strategy, tree
from trading_pipeline.domain.strategies.tree import if_, rsi

FRIDAY = date(2026, 7, 31)
THURSDAY = sessions.previous_session(FRIDAY)
NOW = datetime(2026, 7, 31, 20, 30, tzinfo=UTC)
CALM = Strategy("calm", "Calm", "Holds what is calm.", if_(rsi("SPY", 10) > 79, "UVXY", "TLT"))
ACCOUNT, PLAN_ID = "SIM0001", f"{FRIDAY}.1"


def bars(last):
    days = sessions.sessions_between(sessions.previous_session(last, tree.look_back(CALM.tree) + 5), last)
    frames = [
        pd.DataFrame({"symbol": symbol, "session": days, "close": 100 + 5 * np.sin(np.arange(len(days)) + place)})
        for place, symbol in enumerate(tree.symbols(CALM.tree))
    ]
    return pd.concat(frames, ignore_index=True).assign(open=np.nan, high=np.nan, low=np.nan, volume=np.nan)


def intent(symbol, side, quantity="10", plan_id=PLAN_ID):
    name = client_order_id(ACCOUNT, plan_id, symbol, side)
    money = Decimal("100.5"), Decimal("100.25")
    return OrderIntent(name, 1, symbol, side, Decimal(quantity), OrderType.LIMIT, *money, TimeInForce.DAY, "why not")


def plan(orders, decisions, **other):
    versions = {"indicators": 2, "bars": 1, "allocation": 2, "portfolio_snapshot": 1, "order_plan": 1, "calm_signal": 2}
    known = {
        "plan_id": PLAN_ID,
        "account_number": ACCOUNT,
        "session": FRIDAY,
        "execution_session": sessions.next_session(FRIDAY),
        "version": 1,
        "created_at": NOW,
        "hypothetical": False,
        "orders": orders,
        "lineage": tuple(LineageEntry(asset, 7, "a-run", version) for asset, version in versions.items()),
        "code_version": "1.2.3",
        "config_hash": "cafe",
        "decisions": decisions,
    }
    return Plan(**{**known, **other})


class Audit:
    def of(self, event, correlation_id, about=""):
        return [AuditMark(12, "f" * 64)] if (event, correlation_id) == (AuditEvent.PLAN, PLAN_ID) else []


@pytest.fixture
def tables(tmp_path):
    tables = DeltaTables(str(tmp_path / "tables"))
    tables.upsert("bars", bars(FRIDAY))
    for session in (THURSDAY, FRIDAY):
        panel = panel_of([CALM], bars(session), session, Smoothing.WILDER)
        tables.replace_session("indicators", session, panel.to_frame(session))
        tables.replace_session("calm_signal", session, signals.to_frame(signal_of(CALM, panel, Smoothing.WILDER)))
        status = SleeveStatus.DECIDED if session == THURSDAY else SleeveStatus.CARRIED
        target = Allocation(session, (Contribution("TLT", "calm", 1.0, status, THURSDAY),))
        tables.replace_session("allocation", session, allocation.to_frame(target))
    held = Portfolio(ACCOUNT, NOW, Decimal(1000), {"SPY": Position("SPY", Decimal(3), Decimal(100))})
    tables.replace_session("portfolio_snapshot", FRIDAY, planning.portfolio_to_frame(held, FRIDAY, "broker"))
    return tables


@pytest.fixture
def explained(tables, tmp_path):
    """Explain an order of a plan that is stored."""
    plans, journal = StoredPlans(FileObjects(tmp_path / "objects")), SqliteJournal(tmp_path / "journal.sqlite")

    def explain(stored, intents, *, liquidated=()):
        plans.put_if_absent(stored)
        frame = planning.intents_to_frame(intents, FRIDAY)
        tables.replace_session("order_plan", FRIDAY, frame)
        if stored.purpose is PlanPurpose.REBALANCE:
            rows = frame.assign(
                plan_id=stored.plan_id, decision="denied", approved_quantity=Decimal(0), breaches=None, warnings=None
            )
            tables.replace_session("approved_orders", FRIDAY, rows)
        records = Records(tables, plans, journal, {"calm": CALM}, audit=Audit(), liquidated=liquidated)
        step, _ = Explainer(records, SizingOptions()).order(intents[0].client_order_id[:10])
        return step

    return explain


def nouns(step):
    return [each.noun for each in step.walk()]


def test_a_carried_sleeve_leads_on_to_where_it_was_decided(explained):
    wanted = intent("TLT", Side.BUY)
    step = explained(plan((wanted,), (ArchivedDecision(wanted.client_order_id, "approved", Decimal(10)),)), [wanted])

    [allocated] = [each for each in step.walk() if each.noun is Noun.ALLOCATION]
    assert allocated.grid.rows == (("TLT", "calm", "100%", "carried for want of a signal", str(THURSDAY)),)
    [today] = allocated.below
    assert today.title.startswith(f"calm on {FRIDAY}: TLT")
    assert [each.noun for each in today.below] == [Noun.READINGS, Noun.SIGNAL]
    assert today.below[1].rationale.session == THURSDAY
    assert today.below[1].origin.version == 2


def test_a_denied_order_is_explained_with_what_was_measured_and_its_limit(explained):
    wanted = intent("TLT", Side.BUY)
    breaches = ("POSITION_WEIGHT 0.4 > 0.35", "ASSET_UNKNOWN TLT, wanted a symbol that the broker knows")
    denied = ArchivedDecision(wanted.client_order_id, "denied", Decimal(0), breaches, ("INTRADAY_MARGIN 0.02 < 0.05",))
    step = explained(plan((), (denied,)), [wanted])

    [decided] = step.below
    assert (decided.title, dict(decided.facts)) == ("denied", {"intended": "10 shares", "may be sent": "0 shares"})
    assert [row[:4] for row in decided.grid.rows] == [
        ("breach", "POSITION_WEIGHT", "0.4", "at most 0.35"),
        ("breach", "ASSET_UNKNOWN", "TLT", "a symbol that the broker knows"),
        ("warning", "INTRADAY_MARGIN", "0.02", "at least 0.05"),
    ]
    assert decided.grid.rows[0][4] == "The symbol would be too large a part of equity."
    assert nouns(step)[2:5] == [Noun.PLAN, Noun.PORTFOLIO, Noun.ALLOCATION]


def test_the_plan_names_code_settings_and_its_record_in_the_audit_log(explained):
    wanted = intent("TLT", Side.BUY)
    step = explained(plan((wanted,), (ArchivedDecision(wanted.client_order_id, "approved", Decimal(10)),)), [wanted])

    [made] = [each for each in step.walk() if each.noun is Noun.PLAN]
    told = dict(made.origin.facts())
    assert (told["code"], told["settings"], told["run"]) == ("1.2.3", "cafe", "a-run")
    assert told["audit"] == "record 12 (ffffffffffffffff)"
    assert made.to_data()["origin"]["audit"] == [{"sequence": 12, "hash": "f" * 64}]


def test_a_sale_of_what_nobody_wants_leads_to_every_strategy(explained):
    wanted = intent("SPY", Side.SELL, "3")
    step = explained(plan((wanted,), (ArchivedDecision(wanted.client_order_id, "approved", Decimal(3)),)), [wanted])

    [held] = [each for each in step.walk() if each.noun is Noun.PORTFOLIO]
    [allocated] = [each for each in step.walk() if each.noun is Noun.ALLOCATION]
    assert held.title == "3 SPY were held, 23.08% of equity"
    assert allocated.title == "SPY 0% of equity"
    assert [each.strategy for each in allocated.below] == ["calm"]


def test_a_liquidation_rests_on_no_allocation(explained):
    name = f"liquidation-{FRIDAY}.1"
    wanted = intent("SPY", Side.SELL, "3", name)
    decided = (ArchivedDecision(wanted.client_order_id, "approved", Decimal(3)),)
    stored = plan((wanted,), decided, plan_id=name, purpose=PlanPurpose.LIQUIDATION, lineage=())

    step = explained(stored, [wanted], liquidated=[(ACCOUNT, FRIDAY)])

    assert nouns(step) == [Noun.ORDER, Noun.RISK_DECISION, Noun.PLAN]
    assert "gets out of positions" in list(step.walk())[-1].title
