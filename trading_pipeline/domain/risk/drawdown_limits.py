"""How far an account may fall before somebody is told, trading only reduces, or nothing trades."""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.risk.trading_state import TradingMode


class Measure(StrEnum):
    """What a fall is measured from: the session's high, the close before, the highest mark of many sessions."""

    INTRADAY = "intraday drawdown"
    DAILY = "daily loss"
    TRAILING = "trailing drawdown"

    @property
    def origin(self) -> str:
        """What it falls from, in words."""
        return _ORIGINS[self]


_ORIGINS = {
    Measure.INTRADAY: "the session's high",
    Measure.DAILY: "the close before",
    Measure.TRAILING: "the highest mark",
}


class Rung(StrEnum):
    """What follows from a fall: somebody is told, trading only reduces, or nothing trades."""

    WARN = "warning"
    REDUCING = "reducing"
    HALTED = "halted"

    @property
    def mode(self) -> TradingMode | None:
        """What the trading state is held to; None where somebody is told only."""
        return None if self is Rung.WARN else TradingMode(self.value)


@dataclass(frozen=True)
class Ladder:
    """The falls, as positive fractions, at which the rungs trip.

    >>> Ladder(Decimal("0.06"), Decimal("0.10"), Decimal("0.15")).of(Rung.HALTED)
    Decimal('0.15')
    """

    warn: Decimal
    reducing: Decimal
    halted: Decimal

    def __post_init__(self) -> None:
        """Refuse rungs that are no falls, or out of their order.

        Raises:
            InvalidInput: not 0 < warn <= reducing <= halted <= 1.
        """
        steps = (self.warn, self.reducing, self.halted)
        if not (all(step.is_finite() for step in steps) and 0 < self.warn <= self.reducing <= self.halted <= 1):
            raise InvalidInput(
                f"the rungs of a ladder are fractions above 0 and up to 1, a warning first and a halt last, "
                f"were {self.warn}, {self.reducing}, {self.halted}"
            )

    def of(self, rung: Rung) -> Decimal:
        """Return the fall at which ``rung`` trips."""
        return {Rung.WARN: self.warn, Rung.REDUCING: self.reducing, Rung.HALTED: self.halted}[rung]


@dataclass(frozen=True)
class DrawdownLimits:
    """How far an account may fall, and what counts as sure.

    The defaults are for accounts that rotate through funds of three times the
    market, where a session that loses a tenth is rare and no fault. They were
    chosen on the account of the three strategies at their default shares, at
    real bars from 3 January 2022 to 31 July 2026, 1147 sessions, in which it
    grew all the same. Its closes lay 6 % below the one before in 32 sessions,
    10 % in 4, 15 % in 2; were every holding at its low at once, in 69, 12 and
    5. From the session's highs, were all of them first and all lows after them,
    it fell by 8 % in 99, 12 % in 16 and 18 % in 4. From the highest close of 63
    sessions it fell by 20 % 17 times, by 30 % once and by 40 % never. So a
    warning comes every month or two, trading is reduced some times a year at
    the most, and a halt is for days like the worst of the four years. A
    halt at 3 % a day, which is usual for ordinary books, would have come in
    every twelfth session by the closes, in every fourth by the lows.

    Attributes:
        intraday: from the session's high.
        daily: from the close before.
        trailing: from the highest close of the last ``trailing_sessions``, or the session's high above it.
        trailing_sessions: sessions whose closes count, at least one.
        confirmation: how far two readings lie apart at least to confirm each other.
        consistency: the broker's equity as a fraction of our own mark, below which the two contradict each other.
    """

    intraday: Ladder = Ladder(Decimal("0.08"), Decimal("0.12"), Decimal("0.18"))
    daily: Ladder = Ladder(Decimal("0.06"), Decimal("0.10"), Decimal("0.15"))
    trailing: Ladder = Ladder(Decimal("0.20"), Decimal("0.30"), Decimal("0.40"))
    trailing_sessions: int = 63
    confirmation: timedelta = timedelta(seconds=5)
    consistency: Decimal = Decimal("0.90")

    def __post_init__(self) -> None:
        """Refuse what would confirm nothing or remember nothing.

        Raises:
            InvalidInput: ``trailing_sessions`` or ``confirmation`` is not positive, or ``consistency`` not in 0 to 1.
        """
        if self.trailing_sessions < 1 or self.confirmation <= timedelta(0) or not 0 <= self.consistency <= 1:
            raise InvalidInput(
                f"a drawdown guard needs at least one session, a positive confirmation and a consistency from 0 to 1, "
                f"was given {self.trailing_sessions}, {self.confirmation} and {self.consistency}"
            )

    def ladder(self, measure: Measure) -> Ladder:
        """Return the ladder of ``measure``."""
        ladders = {Measure.INTRADAY: self.intraday, Measure.DAILY: self.daily, Measure.TRAILING: self.trailing}
        return ladders[measure]
