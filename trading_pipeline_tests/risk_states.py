"""Accounts and markets for tests of the risk engine: everything is known and nothing is in the way."""

from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pandas as pd

from trading_pipeline.domain.classification import classified
from trading_pipeline.domain.instruments import catalogue
from trading_pipeline.domain.orders import OrderIntent, OrderType, Side, TimeInForce
from trading_pipeline.domain.portfolio import Portfolio, Position
from trading_pipeline.domain.risk.limits import RiskLimits
from trading_pipeline.domain.risk.market_status import MarketStatus
from trading_pipeline.domain.risk.scenarios import scenarios_of
from trading_pipeline.domain.risk.state import RiskState
from trading_pipeline.domain.risk.trading_state import ACTIVE

SESSION = date(2026, 7, 31)
NOW = datetime(2026, 7, 31, 14, tzinfo=UTC)
PRICE = Decimal(100)
SYMBOLS = ("BIL", "FNGU", "HALT", "QQQ", "SPY", "SQQQ", "TECL", "TLT", "TQQQ", "UVXY", "WHAT")

OFF = RiskLimits(
    **{limit.name: None for limit in fields(RiskLimits) if "None" in str(limit.type) or "Limit" in str(limit.type)},
    allow_market_orders=True,
)
"""Limits that limit nothing."""


@dataclass(frozen=True)
class Word:
    """What a broker says of a symbol."""

    tradable: bool = True
    fractionable: bool = True


ASSETS = {symbol: Word() for symbol in SYMBOLS} | {"FNGU": Word(fractionable=False), "HALT": Word(tradable=False)}


def closes(symbols=SYMBOLS, sessions=560, seed=7, deviation=0.01):
    """Closes of independent random walks, a column per symbol."""
    moves = np.random.default_rng(seed).normal(0, deviation, (sessions, len(symbols)))
    days = pd.bdate_range(end=pd.Timestamp(SESSION), periods=sessions)
    return pd.DataFrame(100 * np.cumprod(1 + moves, axis=0), index=[day.date() for day in days], columns=list(symbols))


SCENARIOS = scenarios_of(closes())


def order(side=Side.BUY, quantity=10, symbol="SPY", price=PRICE, **changed):
    """An order at a limit of its reference price."""
    intent = OrderIntent(
        client_order_id=f"tp1-{symbol}-{side}",
        sequence=1,
        symbol=symbol,
        side=side,
        quantity=Decimal(quantity),
        order_type=OrderType.LIMIT,
        limit_price=Decimal(price),
        reference_price=Decimal(price),
        time_in_force=TimeInForce.DAY,
        reason="a test",
    )
    return replace(intent, **changed)


def account(cash=8_000, **shares):
    """Cash, and shares that are worth 100 dollars each."""
    positions = {symbol: Position(symbol, Decimal(count), PRICE) for symbol, count in shares.items()}
    return Portfolio("SIM0001", NOW, Decimal(cash), positions)


def risk_state(portfolio=None, symbols=SYMBOLS, **changed):
    """An account of which everything is known, in a market that trades; ``changed`` puts other facts in."""
    known = catalogue()
    state = RiskState(
        portfolio=portfolio or account(SPY=20),
        trading_state=ACTIVE,
        at=NOW,
        session=SESSION,
        assets=ASSETS,
        classes={symbol: classified(symbol, SESSION, known) for symbol in symbols},
        open_orders=(),
        sent=(),
        strategy_weights={"a strategy": dict.fromkeys(symbols, Decimal(0))},
        average_dollar_volumes=dict.fromkeys(symbols, Decimal(10**9)),
        scenarios=SCENARIOS,
        fills=(),
        market=MarketStatus(SESSION, NOW, frozenset(symbols)),
        locks=(),
    )
    return replace(state, **changed)


def only(**limits):
    """Limits of which none but these limit anything."""
    return replace(OFF, **limits)
