"""What the risk engine knows of the account and the market when it decides on a plan."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Protocol

from trading_pipeline.domain import sessions
from trading_pipeline.domain.classification import UNKNOWN, Classification
from trading_pipeline.domain.errors import DataError
from trading_pipeline.domain.fills import Fill
from trading_pipeline.domain.instruments import QUANTITY_STEP, WHOLE_SHARE
from trading_pipeline.domain.orders import Side
from trading_pipeline.domain.portfolio import Portfolio
from trading_pipeline.domain.risk.day_trades import PATTERN_SESSIONS, completes_day_trade, day_trades, in_order_of_time
from trading_pipeline.domain.risk.market_status import MarketStatus
from trading_pipeline.domain.risk.scenarios import Scenarios
from trading_pipeline.domain.risk.surveillance import SymbolLock
from trading_pipeline.domain.risk.trading_state import TradingState


class Tradability(Protocol):
    """The broker's word on a symbol."""

    @property
    def tradable(self) -> bool:
        """Tell whether it may be traded at all."""
        ...

    @property
    def fractionable(self) -> bool:
        """Tell whether it trades in fractions of a share."""
        ...


@dataclass(frozen=True)
class OpenOrder:
    """What is left of an order at the broker: ``quantity`` in shares, ``price`` in dollars, None where not known."""

    client_order_id: str
    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal | None


@dataclass(frozen=True)
class SentOrder:
    """An order of the session that was sent: its shares, and the dollars that it traded or may still trade."""

    symbol: str
    side: Side
    quantity: Decimal
    value: Decimal
    at: datetime


@dataclass(frozen=True)
class RiskState:
    """Everything that decides on an order beside the order and its limits.

    What could not be learned is None, and denies whatever needs it; a limit
    that is switched off needs nothing.

    Attributes:
        portfolio: cash and positions, valued at the prices from which the orders were sized.
        trading_state: the severest of all that holds trading.
        at: the UTC instant of the decision.
        session: the session in which the orders are to be executed.
        assets: the broker's word by symbol; a symbol that it does not know is absent.
        classes: what each symbol is exposed to; one that is absent counts as unknown.
        open_orders: orders of the account that may still fill.
        sent: orders of the execution session so far.
        strategy_weights: by strategy, the weight of each symbol that it directs, as fractions of equity.
        average_dollar_volumes: by symbol, dollars traded on an average day.
        scenarios: aligned returns of what is held and ordered.
        fills: the account's executions, all of them, in any order; what they do not explain of a position was held
            before the first.
        market: halts, corporate actions and the market-wide breaker.
        locks: symbols that surveillance locked.
        not_fresh: by symbol, why its newest bar says nothing of its price now; a symbol that is absent has a fresh one.
    """

    portfolio: Portfolio
    trading_state: TradingState
    at: datetime
    session: date
    assets: Mapping[str, Tradability]
    classes: Mapping[str, Classification]
    open_orders: tuple[OpenOrder, ...] | None = None
    sent: tuple[SentOrder, ...] | None = None
    strategy_weights: Mapping[str, Mapping[str, Decimal]] | None = None
    average_dollar_volumes: Mapping[str, Decimal] | None = None
    scenarios: Scenarios | None = None
    fills: tuple[Fill, ...] | None = None
    market: MarketStatus | None = None
    locks: tuple[SymbolLock, ...] | None = None
    not_fresh: Mapping[str, str] = field(default_factory=dict)

    @functools.cached_property
    def usable_fills(self) -> tuple[Fill, ...] | None:
        """The executions in order of time, each once; None where they are not known, or one of them cannot be true."""
        try:
            fills = None if self.fills is None else in_order_of_time(self.fills)
        except DataError:
            return None
        return None if fills is None or not all(map(_can_be_true, fills)) else fills

    @functools.cached_property
    def day_trade_count(self) -> int:
        """Day trades of the session and the four before it, counted from our own fills."""
        first = sessions.previous_session(self.session, PATTERN_SESSIONS - 1)
        return len(day_trades(self.usable_fills or (), first, self.session, self._held_before))

    def completes_day_trade(self, symbol: str, side: Side) -> bool:
        """Tell whether an order of that side would complete a day trade in the session; not where fills are unknown."""
        fills, held = self.fills_of(symbol), self._held_before.get(symbol, Decimal(0))
        return completes_day_trade(fills, symbol, side, self.session, {symbol: held})

    def fills_of(self, symbol: str) -> tuple[Fill, ...]:
        """Return the account's executions in ``symbol``, oldest first."""
        return self._fills_by_symbol.get(symbol, ())

    @functools.cached_property
    def _held_before(self) -> Mapping[str, Decimal]:
        """Shares by symbol that the executions do not explain: held before the first of them."""
        held = {
            symbol: self.portfolio.quantity(symbol) - sum((fill.signed_quantity for fill in fills), Decimal(0))
            for symbol, fills in self._fills_by_symbol.items()
        }
        return {symbol: shares for symbol, shares in held.items() if shares.is_finite()}

    @functools.cached_property
    def _fills_by_symbol(self) -> Mapping[str, tuple[Fill, ...]]:
        grouped: dict[str, list[Fill]] = {}
        for fill in self.usable_fills or ():
            grouped.setdefault(fill.symbol, []).append(fill)
        return {symbol: tuple(fills) for symbol, fills in grouped.items()}

    def step(self, symbol: str) -> Decimal:
        """Return the smallest quantity in which the broker trades the symbol; whole shares where it is silent."""
        asset = self.assets.get(symbol)
        return QUANTITY_STEP if asset is not None and asset.fractionable else WHOLE_SHARE

    def class_of(self, symbol: str) -> Classification:
        """Return what the symbol is exposed to; UNKNOWN where nobody said."""
        return self.classes.get(symbol, UNKNOWN)


def _can_be_true(fill: Fill) -> bool:
    return fill.price.is_finite() and fill.price > 0 and fill.commission.is_finite()
