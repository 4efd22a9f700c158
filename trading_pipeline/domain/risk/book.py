"""The account as it would be once orders have filled: positions, and the sums that limits are held against."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from trading_pipeline.domain.classification import Classification, Sector
from trading_pipeline.domain.orders import Side
from trading_pipeline.domain.portfolio import Portfolio
from trading_pipeline.domain.risk.margin import maintenance_rate
from trading_pipeline.domain.risk.scenarios import PortfolioScenarios, Scenarios
from trading_pipeline.domain.risk.state import OpenOrder, RiskState
from trading_pipeline.domain.risk.tail_risk import ALPHA_ES, ALPHA_VAR, TailGate, TailModel

ZERO = Decimal(0)
NAN = Decimal("NaN")


@dataclass(frozen=True)
class Holding:
    """Shares of a symbol, negative when short, at a price in dollars, and what the symbol is exposed to."""

    shares: Decimal
    price: Decimal
    of: Classification

    @property
    def value(self) -> Decimal:
        """Dollars that it is worth; NaN where either is no number."""
        return self.shares * self.price if self.shares.is_finite() and self.price.is_finite() else NAN

    @property
    def size(self) -> Decimal:
        """Dollars that it is worth, sign ignored."""
        return abs(self.value)


@dataclass(frozen=True)
class Sums:
    """Sums over holdings, in dollars (``squares`` in dollars squared); each is linear or convex in every quantity.

    Attributes:
        gross: market values, signs ignored.
        net: market values.
        effective: market values times the funds' own multiples, signs ignored.
        squares: squares of the market values.
        maintenance: what brokers want the holdings to be secured by.
        unclassified: market values of unknown classes, signs ignored.
        by_class: gross by name of the asset class; unknown ones are not in it.
        by_sector: gross by sector; what no sector moves is not in it.
    """

    gross: Decimal = ZERO
    net: Decimal = ZERO
    effective: Decimal = ZERO
    squares: Decimal = ZERO
    maintenance: Decimal = ZERO
    unclassified: Decimal = ZERO
    by_class: Mapping[str, Decimal] = field(default_factory=dict)
    by_sector: Mapping[str, Decimal] = field(default_factory=dict)

    def with_holding(self, held: Holding, sign: int) -> "Sums":
        """Return the sums with a holding added (``sign`` 1) or taken away (-1)."""
        size, leverage = sign * held.size, abs(held.of.leverage)
        return Sums(
            gross=self.gross + size,
            net=self.net + sign * held.value,
            effective=self.effective + size * leverage,
            squares=self.squares + size * held.size,
            maintenance=self.maintenance + size * maintenance_rate(leverage, short=held.shares.is_signed()),
            unclassified=self.unclassified + (ZERO if held.of.is_known else size),
            by_class=_added(self.by_class, held.of.class_name, size) if held.of.is_known else self.by_class,
            by_sector=_added(self.by_sector, held.of.sector, size) if _is_moved(held.of) else self.by_sector,
        )


def _is_moved(of: Classification) -> bool:
    return of.sector not in {Sector.NONE, Sector.UNKNOWN}


def _added(parts: Mapping[str, Decimal], name: str, value: Decimal) -> Mapping[str, Decimal]:
    return {**parts, name: parts.get(name, ZERO) + value}


@dataclass(frozen=True)
class Book:
    """An account with some orders filled at their reference prices; nothing in it changes its equity.

    ``tail`` is None where the returns of what is held are not known, or equity
    is no positive number.
    """

    equity: Decimal
    cash: Decimal
    holdings: Mapping[str, Holding]
    sums: Sums
    tail: PortfolioScenarios | None

    @functools.cached_property
    def tail_gate(self) -> TailGate | None:
        """Value at risk and expected shortfall of the holdings; None where returns are not known."""
        return None if self.tail is None else _model(self.tail.scenarios.degrees_of_freedom).gate(self.tail)

    def shares(self, symbol: str) -> Decimal:
        """Shares of ``symbol``; zero when none are held."""
        held = self.holdings.get(symbol)
        return ZERO if held is None else held.shares

    def size(self, symbol: str) -> Decimal:
        """Dollars that the holding of ``symbol`` is worth, sign ignored."""
        held = self.holdings.get(symbol)
        return ZERO if held is None else held.size

    def traded(self, symbol: str, side: Side, quantity: Decimal, price: Decimal, of: Classification) -> "Book":
        """Return the book with ``quantity`` shares bought or sold, and the whole holding valued at ``price``."""
        signed = quantity if side is Side.BUY else -quantity
        book = self._holding(symbol, Holding(self.shares(symbol) + signed, price, of))
        return replace(book, cash=self.cash - signed * price)

    def _holding(self, symbol: str, after: Holding) -> "Book":
        before = self.holdings.get(symbol)
        kept = self.sums if before is None else self.sums.with_holding(before, -1)
        change = after.value - (ZERO if before is None else before.value)
        return replace(
            self,
            holdings={**self.holdings, symbol: after},
            sums=kept.with_holding(after, 1),
            tail=self._moved(symbol, change),
        )

    def _moved(self, symbol: str, change: Decimal) -> PortfolioScenarios | None:
        if self.tail is None or not change.is_finite() or not self.tail.scenarios.covers(symbol):
            return None
        return self.tail.with_weight(symbol, float(change / self.equity))


def book_of(state: RiskState, side: Side) -> Book:
    """Return the account with every open order of ``side`` filled: those of the other side may never fill.

    An open order at an unknown price makes the sums unknown as well.
    """
    book = _as_held(state)
    for order in state.open_orders or ():
        if order.side is side:
            price = _price(order, book)
            book = book.traded(order.symbol, side, order.quantity, price, state.class_of(order.symbol))
    return book


def _as_held(state: RiskState) -> Book:
    portfolio = state.portfolio
    holdings = {
        symbol: Holding(position.quantity, position.price, state.class_of(symbol))
        for symbol, position in portfolio.positions.items()
    }
    sums = functools.reduce(lambda total, held: total.with_holding(held, 1), holdings.values(), Sums())
    equity = portfolio.cash + sums.net if portfolio.cash.is_finite() else NAN
    return Book(equity, portfolio.cash, holdings, sums, _tail(portfolio, equity, state.scenarios))


def _price(order: OpenOrder, book: Book) -> Decimal:
    held = book.holdings.get(order.symbol)
    known = (order.price, None if held is None else held.price)
    return next((price for price in known if price is not None), NAN)


def _tail(portfolio: Portfolio, equity: Decimal, scenarios: Scenarios | None) -> PortfolioScenarios | None:
    if scenarios is None or not equity.is_finite() or equity <= 0:
        return None
    if not all(scenarios.covers(symbol) for symbol in portfolio.positions):
        return None
    return scenarios.portfolio({symbol: float(weight) for symbol, weight in portfolio.weights().items()})


@functools.lru_cache(maxsize=8)
def _model(degrees_of_freedom: float) -> TailModel:
    return TailModel(ALPHA_ES, ALPHA_VAR, degrees_of_freedom)
