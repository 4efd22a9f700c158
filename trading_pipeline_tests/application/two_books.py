"""An account, its orders and its executions, in our books and in the broker's."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

from trading_pipeline.application import books
from trading_pipeline.application.books import Ours, Theirs
from trading_pipeline.domain.fills import Fill
from trading_pipeline.domain.orders import BrokerOrder, OrderStatus, Side, client_order_id
from trading_pipeline.domain.portfolio import Portfolio, Position
from trading_pipeline.ports import CashMovement, IntentState, JournalEntry

ACCOUNT = "SIM0001"
SESSION = date(2026, 7, 30)
PLAN_ID = "2026-07-30.1"
DECIDED = datetime(2026, 7, 30, 20, 30, tzinfo=UTC)
PLACED = datetime(2026, 7, 31, 14, 0, tzinfo=UTC)


def order_id(symbol, side, slice_number=0):
    return client_order_id(ACCOUNT, PLAN_ID, symbol, side, slice_number)


def account(cash="1000", at=DECIDED, prices: Mapping[str, str] | None = None, **shares) -> Portfolio:
    prices = prices or {}
    positions = {
        symbol: Position(symbol, Decimal(count), Decimal(prices.get(symbol, "100"))) for symbol, count in shares.items()
    }
    return Portfolio(ACCOUNT, at, Decimal(cash), positions)


def execution(name, symbol="SPY", side=Side.BUY, quantity="5", price="100", order=None, commission="0") -> Fill:
    return Fill(
        execution_id=name,
        client_order_id=order or order_id(symbol, side),
        symbol=symbol,
        side=side,
        quantity=Decimal(quantity),
        price=Decimal(price),
        commission=Decimal(commission),
        filled_at=PLACED,
    )


def order(symbol="SPY", side=Side.BUY, filled="5", quantity=None, status=OrderStatus.FILLED, **changed) -> BrokerOrder:
    made = BrokerOrder(
        client_order_id=order_id(symbol, side),
        venue_order_id=f"venue-{symbol}-{side}-{changed.get('client_order_id', '')}",
        symbol=symbol,
        side=side,
        quantity=Decimal(quantity or filled),
        filled_quantity=Decimal(filled),
        average_price=Decimal(100) if Decimal(filled) else None,
        limit_price=Decimal(110),
        status=status,
        submitted_at=PLACED,
    )
    return replace(made, **changed)


def line(state, symbol="SPY", side=Side.BUY, slice_number=0) -> JournalEntry:
    return JournalEntry(
        order_id(symbol, side),
        PLAN_ID,
        state,
        "",
        PLACED,
        order_id(symbol, side, slice_number),
        PLACED,
        ACCOUNT,
        SESSION,
    )


def lines(*states, symbol="SPY", side=Side.BUY, slice_number=0):
    return [line(state, symbol, side, slice_number) for state in states]


ENDED_WELL = (IntentState.PLANNED, IntentState.SUBMITTING, IntentState.ACKNOWLEDGED, IntentState.FILLED)

# Bought 5 SPY at 100 from 1000 dollars, beside 10 TLT.
BOUGHT = execution("x1")
BEFORE = account(TLT="10")
OURS = Ours(BEFORE, (BOUGHT,), lines(*ENDED_WELL))
THEIRS = Theirs(account("500", PLACED, TLT="10", SPY="5"), (order(),), (BOUGHT,))

MANUAL = "bought-by-hand"
BY_HAND = execution("x2", "TLT", Side.BUY, "1", "90", order=MANUAL)
MANUAL_ORDER = order("TLT", Side.BUY, "1", client_order_id=MANUAL)
WITH_MANUAL = Theirs(
    account("410", PLACED, TLT="11", SPY="5"), (*THEIRS.orders, MANUAL_ORDER), (*THEIRS.executions, BY_HAND)
)


def items(found, kind):
    return {item.name: item for item in found.items if item.kind is kind}


def only_break(found):
    (item,) = found.breaks
    return item


def movement(amount, day=SESSION, kind="FEE", text="") -> CashMovement:
    return CashMovement(f"{day:%Y%m%d}::{kind}", kind, Decimal(amount), day, text)


DIVIDEND = movement("12.34", SESSION, "DIV", "SPY")
FEE = movement("-0.52", PLACED.date())
BROKEN = books.reconcile(OURS, replace(THEIRS, portfolio=account("500", PLACED, TLT="10", SPY="4")))
TOUCHED = books.reconcile(OURS, WITH_MANUAL)
