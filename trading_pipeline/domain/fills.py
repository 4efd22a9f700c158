"""Executions: what was really bought and sold."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from trading_pipeline.domain.orders import Side


@dataclass(frozen=True)
class Fill:
    """One execution: ``quantity`` in shares, ``price`` in dollars a share, ``commission`` in dollars."""

    execution_id: str
    client_order_id: str
    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    commission: Decimal
    filled_at: datetime

    @property
    def signed_quantity(self) -> Decimal:
        """Shares added to the position: negative for a sale."""
        return self.quantity if self.side is Side.BUY else -self.quantity
