"""What the risk engine says of an order: approved, reduced or denied, and why.

*Denied* is our own word, said before anything is sent; *rejected* is the venue's.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from trading_pipeline.domain.orders import OrderIntent


class BreachCode(StrEnum):
    """Why an order was denied or reduced; ``sentence`` says it to a person, ``measure`` what is held to the limit."""

    sentence: str
    measure: str

    def __new__(cls, code: str, sentence: str, measure: str) -> "BreachCode":
        """Attach sentence and measure to the code."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.sentence = sentence
        member.measure = measure
        return member

    INPUT_MISSING = (
        "INPUT_MISSING",
        "A figure that the decision needs is missing or not a number.",
        "names of the missing figures",
    )
    TRADING_HALTED = "TRADING_HALTED", "The trading state allows no orders.", "the trading state"
    REDUCING_ONLY = "REDUCING_ONLY", "The trading state lets exposure only be lowered.", "the trading state"
    ACCOUNT_BLOCKED = "ACCOUNT_BLOCKED", "The broker lets this account trade nothing now.", "the broker's flags"
    ASSET_UNKNOWN = "ASSET_UNKNOWN", "The broker does not know the symbol.", "the symbol"
    ASSET_NOT_TRADABLE = "ASSET_NOT_TRADABLE", "The broker does not let the symbol be traded.", "the symbol"
    MARKET_HALTED = "MARKET_HALTED", "Trading of the whole market is halted.", "why"
    SYMBOL_HALTED = "SYMBOL_HALTED", "Trading of the symbol is halted, as told or inferred.", "why"
    CORPORATE_ACTION = (
        "CORPORATE_ACTION",
        "A split, merger or the like makes prices and quantities of the symbol doubtful.",
        "what was announced or noticed",
    )
    SYMBOL_LOCKED = "SYMBOL_LOCKED", "The symbol was traded to and fro too often and is locked.", "why, and until when"
    QUANTITY_NOT_POSITIVE = "QUANTITY_NOT_POSITIVE", "The quantity is zero or negative.", "shares"
    QUANTITY_PRECISION = "QUANTITY_PRECISION", "The quantity is finer than the symbol trades in.", "shares"
    PRICE_NOT_POSITIVE = "PRICE_NOT_POSITIVE", "The limit or reference price is zero or negative.", "dollars a share"
    PRICE_TICK = "PRICE_TICK", "The limit price lies between the ticks of its price range.", "dollars a share"
    PRICE_DEVIATION = (
        "PRICE_DEVIATION",
        "The limit price is too far from the reference price.",
        "fraction of the reference price",
    )
    MARKET_ORDER = "MARKET_ORDER", "The order has no limit price.", "the order's type"
    ORDER_VALUE = "ORDER_VALUE", "The order is worth more than one order may be.", "dollars at the higher price"
    ORDERS_PER_SESSION = "ORDERS_PER_SESSION", "The session has had all the orders that it may have.", "orders"
    SESSION_TURNOVER = (
        "SESSION_TURNOVER",
        "The session's orders together are worth more than they may be.",
        "dollars bought and sold as a fraction of equity",
    )
    DUPLICATE_ORDER = (
        "DUPLICATE_ORDER",
        "The same order was sent too often within a minute.",
        "orders of the same symbol, side and quantity",
    )
    PARTICIPATION = (
        "PARTICIPATION",
        "The order is too large a part of what is traded of the symbol in a day.",
        "fraction of the average daily dollar volume",
    )
    SELLS_MORE_THAN_HELD = "SELLS_MORE_THAN_HELD", "The order would sell shares that are not held.", "shares"
    BUYING_POWER = (
        "BUYING_POWER",
        "Cash and the proceeds of the plan's sales do not cover the order.",
        "dollars at the reference price",
    )
    WASH_TRADE = "WASH_TRADE", "An order of ours on the other side of the symbol is open.", "the open order"
    POSITION_WEIGHT = "POSITION_WEIGHT", "The symbol would be too large a part of equity.", "fraction of equity"
    LEVERAGED_WEIGHT = (
        "LEVERAGED_WEIGHT",
        "A leveraged or inverse fund would be too large a part of equity.",
        "fraction of equity",
    )
    STRATEGY_SHARE = (
        "STRATEGY_SHARE",
        "A strategy behind the order directs too large a part of equity.",
        "fraction of equity",
    )
    GROSS_LEVERAGE = "GROSS_LEVERAGE", "All positions together would exceed equity too far.", "multiple of equity"
    NET_LEVERAGE = "NET_LEVERAGE", "Long less short positions would exceed equity too far.", "multiple of equity"
    EFFECTIVE_LEVERAGE = (
        "EFFECTIVE_LEVERAGE",
        "With the funds' own multiples, positions would exceed equity too far.",
        "multiple of equity",
    )
    CONCENTRATION = (
        "CONCENTRATION",
        "Too few symbols would hold too much of equity.",
        "sum of squared weights (Herfindahl index)",
    )
    CLASS_EXPOSURE = "CLASS_EXPOSURE", "An asset class would be too large a part of equity.", "fraction of equity"
    SECTOR_EXPOSURE = "SECTOR_EXPOSURE", "A sector would be too large a part of equity.", "fraction of equity"
    UNCLASSIFIED_EXPOSURE = (
        "UNCLASSIFIED_EXPOSURE",
        "Symbols of which nobody knows the class would be too large a part of equity.",
        "fraction of equity",
    )
    VALUE_AT_RISK = (
        "VALUE_AT_RISK",
        "The loss that one day in a hundred exceeds would be too large.",
        "fraction of equity",
    )
    EXPECTED_SHORTFALL = (
        "EXPECTED_SHORTFALL",
        "The average loss of the worst days would be too large.",
        "fraction of equity",
    )
    INTRADAY_MARGIN = (
        "INTRADAY_MARGIN",
        "Equity would not cover what the positions must be secured by.",
        "equity less maintenance margin, as a fraction of equity",
    )
    DAY_TRADES = (
        "DAY_TRADES",
        "The order would complete a day trade too many for a small account.",
        "day trades in five sessions",
    )
    WASH_SALE = "WASH_SALE", "The loss of a sale could not be deducted from taxes.", "dollars of disallowed loss"
    ORDER_WITHOUT_DECISION = (
        "ORDER_WITHOUT_DECISION",
        "The plan holds no decision that lets the order leave.",
        "the order",
    )
    PARENT_QUANTITY = (
        "PARENT_QUANTITY",
        "The orders sent for one decision would exceed what it approved.",
        "shares",
    )
    PARENT_ORDERS = "PARENT_ORDERS", "More orders were sent for one decision than it may have.", "orders"


@dataclass(frozen=True)
class Breach:
    """One limit that an order breaks: what was measured, and the most (or least) that was allowed.

    Both are figures in the limit's unit, or words where there is no figure.
    """

    code: BreachCode
    measured: Decimal | str
    limit: Decimal | str

    def __str__(self) -> str:
        """Return the breach as one phrase.

        >>> str(Breach(BreachCode.POSITION_WEIGHT, Decimal("0.4"), Decimal("0.35")))
        'POSITION_WEIGHT 0.4 > 0.35'
        >>> str(Breach(BreachCode.INTRADAY_MARGIN, Decimal("0.02"), Decimal("0.05")))
        'INTRADAY_MARGIN 0.02 < 0.05'
        >>> str(Breach(BreachCode.ASSET_UNKNOWN, "FNGZ", "a symbol that the broker knows"))
        'ASSET_UNKNOWN FNGZ, wanted a symbol that the broker knows'
        """
        sign = "<" if self.code is BreachCode.INTRADAY_MARGIN else ">"
        between = ", wanted " if isinstance(self.limit, str) else f" {sign} "
        return f"{self.code} {_plain(self.measured)}{between}{_plain(self.limit)}"


def _plain(value: Decimal | str) -> str:
    return value if isinstance(value, str) else f"{value:.9f}".rstrip("0").rstrip(".")


@dataclass(frozen=True)
class Approved:
    """The order may be sent as it is; ``warnings`` are limits that are watched, and stop nothing."""

    intent: OrderIntent
    warnings: tuple[Breach, ...] = ()

    @property
    def quantity(self) -> Decimal:
        """Shares that may be sent: all that were intended."""
        return self.intent.quantity

    @property
    def breaches(self) -> tuple[Breach, ...]:
        """None."""
        return ()


@dataclass(frozen=True)
class Reduced:
    """Only ``quantity`` shares of the order may be sent: more than none, fewer than were intended."""

    intent: OrderIntent
    quantity: Decimal
    breaches: tuple[Breach, ...]
    warnings: tuple[Breach, ...] = ()


@dataclass(frozen=True)
class Denied:
    """The order must not be sent."""

    intent: OrderIntent
    breaches: tuple[Breach, ...]
    warnings: tuple[Breach, ...] = ()

    @property
    def quantity(self) -> Decimal:
        """Shares that may be sent: none."""
        return Decimal(0)


RiskDecision = Approved | Reduced | Denied
