"""Whether the system may trade: a state that a person or a rule sets and every batch of orders reads."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class TradingMode(StrEnum):
    """ACTIVE trades; HALTED sends no order."""

    ACTIVE = "active"
    HALTED = "halted"


@dataclass(frozen=True)
class TradingState:
    """The mode, why it was set, by whom and when (UTC)."""

    mode: TradingMode
    reason: str = ""
    set_by: str = ""
    set_at: datetime | None = None

    @property
    def allows_trading(self) -> bool:
        """Tell whether orders may be sent."""
        return self.mode is TradingMode.ACTIVE


ACTIVE = TradingState(TradingMode.ACTIVE)
