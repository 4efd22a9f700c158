"""What an account holds at an instant."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.instruments import CASH

__all__ = ["CASH", "Portfolio", "Position"]


@dataclass(frozen=True)
class Position:
    """A holding: ``quantity`` in shares (negative when short), ``price`` in dollars a share."""

    symbol: str
    quantity: Decimal
    price: Decimal

    @property
    def market_value(self) -> Decimal:
        """Dollars that the position is worth at its price."""
        return self.quantity * self.price


@dataclass(frozen=True)
class Portfolio:
    """Cash in dollars and positions by symbol, as of a UTC instant.

    ``account_number`` names whose it is; ``blocked`` says why the broker lets
    the account trade nothing now, or is empty.
    """

    account_number: str
    as_of: datetime
    cash: Decimal
    positions: Mapping[str, Position] = field(default_factory=dict)
    blocked: str = ""

    @property
    def equity(self) -> Decimal:
        """Cash and the market value of every position, in dollars."""
        return self.cash + sum((position.market_value for position in self.positions.values()), Decimal(0))

    def quantity(self, symbol: str) -> Decimal:
        """Shares held of ``symbol``; zero when none are."""
        held = self.positions.get(symbol)
        return held.quantity if held else Decimal(0)

    def weights(self) -> Mapping[str, Decimal]:
        """Each position's share of equity.

        Raises:
            InvalidInput: equity is not positive, so that no share is defined.
        """
        equity = self.equity
        if equity <= 0:
            raise InvalidInput(f"account {self.account_number} has equity {equity}; weights need a positive equity")
        return {symbol: position.market_value / equity for symbol, position in self.positions.items()}
