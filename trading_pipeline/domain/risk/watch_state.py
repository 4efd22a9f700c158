"""What is looked at while a session goes on, and what is remembered from one look to the next."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from trading_pipeline.domain.portfolio import Portfolio
from trading_pipeline.domain.risk.drawdown import DrawdownState
from trading_pipeline.domain.risk.trading_pauses import MarketBreaker


@dataclass(frozen=True)
class AccountFigures:
    """What the broker says of the account at one instant.

    Attributes:
        portfolio: cash and positions, as of the instant.
        equity: what it is worth, in dollars; None where the broker did not say.
        previous_close: what it was worth at the close before, in dollars; None likewise.
    """

    portfolio: Portfolio
    equity: Decimal | None
    previous_close: Decimal | None

    def mark(self, prices: Mapping[str, Decimal]) -> Decimal:
        """Return cash and positions at ``prices`` (dollars a share), and at the broker's where there is none.

        >>> from datetime import UTC
        >>> from trading_pipeline.domain.portfolio import Position
        >>> held = {"SPY": Position("SPY", Decimal(2), Decimal(500)), "BIL": Position("BIL", Decimal(1), Decimal(90))}
        >>> portfolio = Portfolio("SIM1", datetime(2026, 7, 31, 15, tzinfo=UTC), Decimal(10), held)
        >>> AccountFigures(portfolio, None, None).mark({"SPY": Decimal(400)})
        Decimal('900')
        """
        held = self.portfolio.positions.values()
        return self.portfolio.cash + sum(
            (position.quantity * prices.get(position.symbol, position.price) for position in held), Decimal(0)
        )


@dataclass(frozen=True)
class WatchState:
    """What is remembered between two looks; a plain value, so that it outlives the process.

    Attributes:
        account_number: whose drawdown it is.
        session: the session of the last look; None before the first.
        drawdown: the drawdown guard's memory.
        breaker: the market-wide breaker of the session, as far as two readings agreed on it.
        suspected: a level of it above that which one reading found.
        market_close: what stands for the market at the close before the session, in dollars; None until it is known.
        unread_since: the UTC instant since which the account's figures could not be used; None while they can.
        unread_told: whether a person was told of that.
    """

    account_number: str = ""
    session: date | None = None
    drawdown: DrawdownState = field(default_factory=DrawdownState)
    breaker: MarketBreaker = field(default_factory=MarketBreaker)
    suspected: MarketBreaker | None = None
    market_close: Decimal | None = None
    unread_since: datetime | None = None
    unread_told: bool = False
