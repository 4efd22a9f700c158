"""Whether the system may trade: a state that a person or a rule sets and every batch of orders reads."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from trading_pipeline.domain.orders import Side


class TradingMode(StrEnum):
    """ACTIVE trades; REDUCING sends only orders that lower an exposure; HALTED sends none. Cancels always pass."""

    ACTIVE = "active"
    REDUCING = "reducing"
    HALTED = "halted"

    @property
    def severity(self) -> int:
        """How much is forbidden: 0 where nothing is, 2 where everything is."""
        return list(TradingMode).index(self)


@dataclass(frozen=True)
class TradingState:
    """The mode, why it was set, by whom and when (UTC)."""

    mode: TradingMode
    reason: str = ""
    set_by: str = ""
    set_at: datetime | None = None

    @property
    def allows_trading(self) -> bool:
        """Tell whether any order may be sent."""
        return self.mode is not TradingMode.HALTED

    @property
    def allows_opening(self) -> bool:
        """Tell whether an exposure may be opened or raised."""
        return self.mode is TradingMode.ACTIVE

    def allows(self, side: Side) -> bool:
        """Tell whether an order of that side may be sent; a sale is taken to be of what is held.

        >>> TradingState(TradingMode.REDUCING).allows(Side.SELL), TradingState(TradingMode.REDUCING).allows(Side.BUY)
        (True, False)
        """
        return self.allows_trading if side is Side.SELL else self.allows_opening

    def tightened(self, mode: TradingMode, reason: str, set_by: str, set_at: datetime) -> "TradingState":
        """Return the severer of this state and the one that the arguments make; this one where neither is.

        So nothing that a rule finds ever loosens what a person or another rule
        set, and the first reason stays.

        >>> from datetime import UTC
        >>> noon = datetime(2026, 7, 31, 16, tzinfo=UTC)
        >>> ACTIVE.tightened(TradingMode.REDUCING, "a break", "reconciliation", noon).reason
        'a break'
        """
        return self if mode.severity <= self.mode.severity else TradingState(mode, reason, set_by, set_at)


ACTIVE = TradingState(TradingMode.ACTIVE)
