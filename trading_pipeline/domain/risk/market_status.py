"""What stands in the way of trading at an instant: halts, the market-wide breaker, corporate actions, silence."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

from trading_pipeline.domain.risk.trading_pauses import MarketBreaker, Trade


@dataclass(frozen=True)
class MarketStatus:
    """What is known of the market and of ``symbols``, for orders of ``session``, as of a UTC instant.

    Nothing is filled in: what could not be read is named, so that whoever needs
    it can say so.

    Attributes:
        session: the session in which orders are to be executed.
        as_of: when the sources were read.
        symbols: the symbols that were asked about.
        halt: why nothing at all trades now; empty while it does.
        halted: by symbol, why it does not trade now, as told or inferred.
        corporate_actions: by symbol, why its prices and quantities are doubtful in the session.
        unread: by name of a source that gave no usable answer, why; each is needed for every symbol.
        unknown: by symbol, what no source knew of it.
        breaker: the market-wide breaker, to be handed to the next reading.
        trades: by symbol, the latest trades that were seen, to be handed to the next reading.
    """

    session: date
    as_of: datetime
    symbols: frozenset[str]
    halt: str = ""
    halted: Mapping[str, str] = field(default_factory=dict)
    corporate_actions: Mapping[str, str] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)
    unknown: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    breaker: MarketBreaker = field(default_factory=MarketBreaker)
    trades: Mapping[str, tuple[Trade, ...]] = field(default_factory=dict)

    def missing(self, symbol: str) -> tuple[str, ...]:
        """Return the names of what a decision on ``symbol`` needs and nobody could tell; empty if there is nothing."""
        asked = () if symbol in self.symbols else ("market status",)
        return (*asked, *sorted(self.unread), *self.unknown.get(symbol, ()))

    def obstacles(self, symbol: str) -> tuple[str, ...]:
        """Return every reason, missing figures included, why ``symbol`` is not to be traded now; empty if it may be."""
        reasons = (self.halt, self.halted.get(symbol, ""), self.corporate_actions.get(symbol, ""))
        known = tuple(reason for reason in reasons if reason)
        missing = self.missing(symbol)
        return (*known, f"not known: {', '.join(missing)}") if missing else known
