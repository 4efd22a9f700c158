"""When exchanges pause trading: price bands of single symbols, the market-wide breaker, and halts that show as silence.

Price bands are those of the National Market System plan to address
extraordinary market volatility ("limit up, limit down", LULD, SEC file 4-631)
as its eighteenth amendment left it: bands are no longer doubled after the open,
and before the close only for symbols of Tier 1 and for prices up to three
dollars. The market-wide breaker is that of rule 7.12 of the New York Stock
Exchange.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from trading_pipeline.domain.errors import DataError
from trading_pipeline.domain.instruments import Instrument
from trading_pipeline.domain.sessions import NEW_YORK, close_of

REFERENCE_SPAN = timedelta(minutes=5)
"""The trades of this span before an instant make its reference price."""

DOUBLED_SPAN = timedelta(minutes=25)
"""The end of a session, in which some bands are doubled."""

PAUSE = timedelta(minutes=15)
"""How long the market-wide breaker stops trading at its first two levels."""

LAST_PAUSE_BEFORE_CLOSE = timedelta(minutes=35)
"""The first two levels stop trading up to and including this long before the close: 15:25, 12:25 on half days."""

BREAKER_LEVELS = (Decimal("0.07"), Decimal("0.13"), Decimal("0.20"))
"""Declines of the S&P 500 from its previous close, as fractions."""

_ORDINARY_PRICE = Decimal(3)
_LOW_PRICE = Decimal("0.75")
_LOW_PRICE_WIDTH = Decimal("0.20")
_LOWEST_PRICE_WIDTH = Decimal("0.75")
_LOWEST_PRICE_DOLLARS = Decimal("0.15")
_LEAST_PRICE = Decimal("0.01")


@dataclass(frozen=True)
class Trade:
    """The price in dollars a share of a trade at a UTC instant."""

    symbol: str
    price: Decimal
    at: datetime


class Tier(StrEnum):
    """Which bands a symbol has; Tier 1 is S&P 500, Russell 1000 and ordinary funds."""

    ONE = "tier 1"
    TWO = "tier 2"


_WIDTHS = {Tier.ONE: Decimal("0.05"), Tier.TWO: Decimal("0.10")}


class LimitState(StrEnum):
    """Where a price stands towards its bands."""

    INSIDE = "inside the bands"
    UP = "at the upper band"
    DOWN = "at the lower band"


@dataclass(frozen=True)
class Bands:
    """The lowest and highest price, in dollars a share, at which a symbol may trade."""

    lower: Decimal
    upper: Decimal


def tier_of(instrument: Instrument | None) -> Tier:
    """Return the tier of an instrument: leveraged and inverse funds Tier 2, all else Tier 1.

    Who is in Tier 1 is a list that changes; where it is not known, the narrower
    bands are the ones that err on the careful side.
    """
    return Tier.ONE if instrument is None or instrument.leverage == 1 else Tier.TWO


def reference_price(trades: Sequence[Trade], now: datetime) -> Decimal | None:
    """Return the mean price of the trades of the five minutes before ``now``, or None if there is none.

    The real reference is kept while it moves by less than one percent; ours follows at once.
    """
    prices = [trade.price for trade in trades if now - REFERENCE_SPAN <= trade.at <= now]
    return sum(prices, Decimal(0)) / len(prices) if prices else None


def is_doubled(at: datetime, session: date, tier: Tier, reference: Decimal) -> bool:
    """Tell whether bands are doubled at the instant ``at``.

    They are in the last 25 minutes of a session, for Tier 1 and for prices up to three dollars.
    """
    closes = close_of(session)
    return closes - DOUBLED_SPAN <= at < closes and (tier is Tier.ONE or reference <= _ORDINARY_PRICE)


def luld_bands(
    reference: Decimal,
    previous_close: Decimal,
    tier: Tier,
    *,
    leverage: Decimal = Decimal(1),
    doubled: bool = False,
) -> Bands:
    """Return the price bands around a reference price (dollars a share), not rounded to ticks.

    The previous close decides on the width: above 3 dollars 5 % (Tier 1) or
    10 % (Tier 2), from 0.75 to 3 dollars 20 %, below the lesser of 0.15 dollars
    and 75 %. A leveraged or inverse fund has that times its multiple, and never
    less than an ordinary one.

    >>> luld_bands(Decimal(100), Decimal(98), Tier.TWO, leverage=Decimal(-3))
    Bands(lower=Decimal('70.00'), upper=Decimal('130.00'))

    Raises:
        DataError: a price is not a positive number.
    """
    _require_prices(reference, previous_close)
    width = _width(reference, previous_close, tier) * max(abs(leverage), Decimal(1)) * (2 if doubled else 1)
    return Bands(max(reference - width, _LEAST_PRICE), reference + width)


def _width(reference: Decimal, previous_close: Decimal, tier: Tier) -> Decimal:
    if previous_close > _ORDINARY_PRICE:
        return reference * _WIDTHS[tier]
    if previous_close >= _LOW_PRICE:
        return reference * _LOW_PRICE_WIDTH
    return min(_LOWEST_PRICE_DOLLARS, reference * _LOWEST_PRICE_WIDTH)


def limit_state(price: Decimal, bands: Bands) -> LimitState:
    """Return where ``price`` stands: a bid at the upper or an offer at the lower band is what pauses trading.

    >>> limit_state(Decimal(95), Bands(Decimal(95), Decimal(105))).value
    'at the lower band'
    """
    if price >= bands.upper:
        return LimitState.UP
    return LimitState.DOWN if price <= bands.lower else LimitState.INSIDE


def inferred_halt(
    last_trade_at: datetime | None,
    market_last_trade_at: datetime | None,
    now: datetime,
    opens_at: datetime,
    patience: timedelta,
) -> bool:
    """Tell whether a symbol seems to be halted: it is silent for longer than ``patience`` while the market trades.

    Silence counts from the open at ``opens_at``. False where the market itself
    is silent, since that says nothing of single symbols. A symbol of which no
    trade is known has been silent since the open.
    """
    return is_silent(last_trade_at, now, opens_at, patience) and not is_silent(
        market_last_trade_at, now, opens_at, patience
    )


def is_silent(last_trade_at: datetime | None, now: datetime, opens_at: datetime, patience: timedelta) -> bool:
    """Tell whether nothing traded for longer than ``patience``, counted from the open where that is later."""
    since = opens_at if last_trade_at is None else max(last_trade_at, opens_at)
    return now - since > patience


@dataclass(frozen=True)
class MarketBreaker:
    """The highest level (0 to 3) that the market-wide breaker reached in a session, and when (UTC)."""

    level: int = 0
    tripped_at: datetime | None = None

    @property
    def ends_at(self) -> datetime | None:
        """The instant at which trading goes on; None where the breaker stops nothing."""
        if self.tripped_at is None:
            return None
        closes = close_of(_day(self.tripped_at))
        if self.ends_the_session:
            return closes
        return None if self.tripped_at > closes - LAST_PAUSE_BEFORE_CLOSE else self.tripped_at + PAUSE

    @property
    def ends_the_session(self) -> bool:
        """Tell whether trading is over for the session: the last level was reached."""
        return self.level == len(BREAKER_LEVELS)

    def halts(self, now: datetime) -> bool:
        """Tell whether all trading is stopped at the instant ``now``."""
        ends_at = self.ends_at
        return ends_at is not None and now < ends_at

    def __str__(self) -> str:
        """Return the state in words, empty while no level was reached.

        >>> from datetime import UTC
        >>> str(MarketBreaker(1, datetime(2026, 7, 31, 15, tzinfo=UTC)))
        'the market fell by 7% at 15:00 UTC, which stops trading until 15:15 UTC'
        """
        if self.tripped_at is None:
            return ""
        end = f"until {_told(self.ends_at)}" if self.ends_at else "no more, so late in the session"
        decline = BREAKER_LEVELS[self.level - 1]
        return f"the market fell by {decline:.0%} at {_told(self.tripped_at)}, which stops trading {end}"


def market_breaker(
    price: Decimal, previous_close: Decimal, now: datetime, before: MarketBreaker | None = None
) -> MarketBreaker:
    """Return the breaker after a reading of the index, or of a fund that follows it, during a session.

    ``before`` is what earlier readings of the session found: each level stops
    trading once, so that a reading at a level that was reached changes nothing.
    One of another day is forgotten.

    Raises:
        DataError: a price is not a positive number.
    """
    _require_prices(price, previous_close)
    known = before if before is not None and before.tripped_at and _day(before.tripped_at) == _day(now) else None
    earlier = known or MarketBreaker()
    decline = 1 - price / previous_close
    level = sum(decline >= threshold for threshold in BREAKER_LEVELS)
    return MarketBreaker(level, now) if level > earlier.level else earlier


def _told(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%H:%M} UTC"


def _day(instant: datetime) -> date:
    return instant.astimezone(NEW_YORK).date()


def _require_prices(*prices: Decimal) -> None:
    wrong = [str(price) for price in prices if not price.is_finite() or price <= 0]
    if wrong:
        raise DataError(f"a price must be a positive number, found {', '.join(wrong)}; nothing can be inferred from it")
