"""What the risk engine decides from, gathered: the account's orders and fills, history of prices, the market's state.

What a source cannot tell stays unknown, and the engine denies what needs it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pandas as pd

from trading_pipeline.application.market_watch import MarketSources, WatchRules, market_status
from trading_pipeline.domain import sessions
from trading_pipeline.domain.allocation import Allocation
from trading_pipeline.domain.classification import classified
from trading_pipeline.domain.fills import Fill
from trading_pipeline.domain.instruments import CASH, Instrument
from trading_pipeline.domain.orders import BrokerOrder, OrderStatus
from trading_pipeline.domain.portfolio import Portfolio
from trading_pipeline.domain.risk.market_status import MarketStatus
from trading_pipeline.domain.risk.scenarios import WINDOW, scenarios_of
from trading_pipeline.domain.risk.state import OpenOrder, RiskState, SentOrder, Tradability
from trading_pipeline.domain.risk.surveillance import (
    OrderEvent,
    OrderEventKind,
    SurveillanceRules,
    fill_events,
    symbol_locks,
)
from trading_pipeline.domain.risk.volatility import WARM_UP

if TYPE_CHECKING:
    from trading_pipeline.domain.risk.trading_state import TradingState
    from trading_pipeline.ports import Broker

HISTORY_SESSIONS = WINDOW + WARM_UP + 1
"""Sessions of bars that the engine looks back over."""

MINIMUM_RETURNS = 125
"""Returns that a symbol needs before it may be bought: half a year, three of which are the worst 2.5 %."""

VOLUME_SESSIONS = 20
"""Known sessions over which dollars traded are averaged."""

UNRECORDED = timedelta(days=7)
"""How far back the broker is asked for executions that the table of fills may not have yet."""

NOT_KNOWN = Decimal("NaN")

_FAILED = {OrderStatus.CANCELED: OrderEventKind.CANCELED, OrderStatus.REJECTED: OrderEventKind.REJECTED}


@dataclass(frozen=True)
class RiskQuestion:
    """What is to be decided: orders in ``symbols`` of ``execution_session``, for an account as it was at an instant.

    ``portfolio`` is valued at the prices from which the orders were sized.
    """

    portfolio: Portfolio
    symbols: frozenset[str]
    execution_session: date
    at: datetime

    @property
    def concerned(self) -> tuple[str, ...]:
        """What is held or ordered, in alphabetical order."""
        return tuple(sorted(self.symbols | self.portfolio.positions.keys()))


@dataclass(frozen=True)
class KnownFacts:
    """What our own tables hold: the broker's word on symbols, what they are, past bars, and the account's fills.

    ``not_fresh`` says, by symbol, why its newest bar may not be bought at; one that may is absent.
    """

    assets: Mapping[str, Tradability]
    instruments: Mapping[str, Instrument]
    bars: pd.DataFrame
    fills: tuple[Fill, ...] = ()
    not_fresh: Mapping[str, str] = field(default_factory=dict)


def modelled_state(
    question: RiskQuestion, allocation: Allocation, state: "TradingState", facts: KnownFacts
) -> RiskState:
    """Return the risk state of a model account: it has no orders and no past, and its market trades."""
    trading = MarketStatus(question.execution_session, question.at, frozenset(question.concerned))
    base = _known(question, allocation, state, facts)
    return replace(base, open_orders=(), sent=(), fills=(), market=trading, locks=())


def account_state(
    question: RiskQuestion,
    allocation: Allocation,
    state: "TradingState",
    facts: KnownFacts,
    broker: "Broker",
    sources: MarketSources,
    rules: WatchRules | None = None,
    surveillance: SurveillanceRules | None = None,
) -> RiskState:
    """Return the risk state of the broker's account, as the broker tells it.

    Raises:
        TransientError: the broker gave no usable answer in time.
        PermanentError: the broker refused to tell.
    """
    at, session = question.at, question.execution_session
    orders = broker.orders(sessions.close_of(sessions.previous_session(session)))
    fills = (*facts.fills, *broker.executions(at - UNRECORDED))
    return replace(
        _known(question, allocation, state, facts),
        open_orders=open_orders(broker.orders()),
        sent=sent_orders(orders),
        fills=fills,
        market=market_status(question.concerned, session, sources, at, rules),
        locks=symbol_locks([*fill_events(fills), *_failures(orders)], at, surveillance),
    )


def _known(question: RiskQuestion, allocation: Allocation, state: "TradingState", facts: KnownFacts) -> RiskState:
    session = question.execution_session
    return RiskState(
        portfolio=question.portfolio,
        trading_state=state,
        at=question.at,
        session=session,
        assets=facts.assets,
        classes={symbol: classified(symbol, session, facts.instruments) for symbol in question.concerned},
        strategy_weights=strategy_weights(allocation),
        average_dollar_volumes=average_dollar_volumes(facts.bars),
        scenarios=scenarios_of(closes_of(facts.bars, question.concerned), minimum=MINIMUM_RETURNS),
        not_fresh=facts.not_fresh,
    )


def open_orders(orders: Iterable[BrokerOrder]) -> tuple[OpenOrder, ...]:
    """Return what is left of the orders that may still fill, ours and others', at their limit prices.

    An order for dollars has no quantity: what is left of it is NaN.
    """
    return tuple(
        OpenOrder(each.client_order_id, each.symbol, each.side, _left(each), each.limit_price)
        for each in orders
        if not each.status.is_terminal
    )


def _left(order: BrokerOrder) -> Decimal:
    left = order.quantity - order.filled_quantity
    return left if order.quantity > 0 and left >= 0 else NOT_KNOWN


def sent_orders(orders: Iterable[BrokerOrder]) -> tuple[SentOrder, ...]:
    """Return orders that were sent, each worth what it traded, and what it may still trade while it is open.

    What an open order without a price or a quantity may trade is NaN.
    """
    return tuple(
        SentOrder(each.symbol, each.side, each.quantity, _value(each), each.submitted_at)
        for each in orders
        if each.status is not OrderStatus.REJECTED
    )


def _value(order: BrokerOrder) -> Decimal:
    if order.status.is_terminal:
        return order.filled_quantity * (order.average_price or Decimal(0))
    price = order.limit_price or order.average_price
    return order.quantity * price if price and order.quantity > 0 else NOT_KNOWN


def _failures(orders: Iterable[BrokerOrder]) -> list[OrderEvent]:
    return [
        OrderEvent(order.symbol, order.side, order.submitted_at, _FAILED[order.status])
        for order in orders
        if order.status in _FAILED and order.filled_quantity == 0
    ]


def strategy_weights(allocation: Allocation) -> Mapping[str, Mapping[str, Decimal]]:
    """Return by strategy the weight of each symbol that it directs, cash aside, as fractions of equity."""
    directed: dict[str, dict[str, Decimal]] = {}
    for part in allocation.contributions:
        if part.symbol != CASH:
            directed.setdefault(part.strategy, {})[part.symbol] = Decimal(str(part.weight))
    return directed


def average_dollar_volumes(bars: pd.DataFrame) -> Mapping[str, Decimal]:
    """Return the mean of close times volume over each symbol's last 20 known sessions; a symbol without any is absent.

    Args:
        bars: rows of table ``bars``, in any order.
    """
    known = bars.dropna(subset=["close", "volume"]).sort_values("session")
    dollars = (known["close"] * known["volume"]).groupby(known["symbol"])
    means = dollars.apply(lambda values: float(values.tail(VOLUME_SESSIONS).mean()))
    return {str(symbol): Decimal(repr(float(value))) for symbol, value in means.items()}


def closes_of(bars: pd.DataFrame, symbols: Sequence[str]) -> pd.DataFrame:
    """Return closes with a row for each session of ``bars`` and a column for each of ``symbols``; NaN where missing."""
    chosen = bars[bars["symbol"].isin(symbols)]
    if chosen.empty:
        return pd.DataFrame(index=pd.Index([], name="session"), columns=list(symbols), dtype=float)
    first, last = chosen["session"].min(), chosen["session"].max()
    wide = chosen.set_index(["session", "symbol"])["close"].unstack("symbol")  # noqa: PD010 - one row a session and symbol
    return wide.reindex(index=list(sessions.sessions_between(first, last)), columns=list(symbols))
