"""What orders may not exceed, and the decisions that say so.

*Denied* is our own word, said before anything is sent; *rejected* is the venue's.
"""

from dataclasses import dataclass, fields
from decimal import Decimal
from enum import StrEnum

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.orders import OrderIntent


@dataclass(frozen=True)
class RiskLimits:
    """Limits of one account; a measure equal to its limit passes.

    Attributes:
        max_position_weight: one symbol's market value as a fraction of equity, after the order fills.
        max_order_value: US dollars of one order, at the higher of its limit and reference price.
        max_orders_per_session: orders of one plan that may be sent.
        max_price_deviation: distance of a limit price from the reference price, as a fraction of the latter.

    Raises:
        InvalidInput: a limit is not a positive number.
    """

    max_position_weight: Decimal = Decimal("1.0")
    max_order_value: Decimal = Decimal(1_000_000)
    max_orders_per_session: int = 50
    max_price_deviation: Decimal = Decimal("0.35")

    def __post_init__(self) -> None:
        """Refuse a limit that would limit nothing or everything."""
        for limit in fields(self):
            value = Decimal(getattr(self, limit.name))
            if not value.is_finite() or value <= 0:
                raise InvalidInput(f"risk limit {limit.name} must be a positive number, was {value}")


class BreachCode(StrEnum):
    """Why an order was denied or reduced; ``sentence`` says it to a person."""

    sentence: str

    def __new__(cls, code: str, sentence: str) -> "BreachCode":
        """Attach the sentence to the code."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.sentence = sentence
        return member

    TRADING_HALTED = "TRADING_HALTED", "The trading state allows no orders."
    REDUCING_ONLY = "REDUCING_ONLY", "The trading state lets exposure only be lowered."
    ACCOUNT_BLOCKED = "ACCOUNT_BLOCKED", "The broker lets this account trade nothing now."
    INPUT_MISSING = "INPUT_MISSING", "A figure that the decision needs is missing or not a number."
    ASSET_UNKNOWN = "ASSET_UNKNOWN", "The broker does not know the symbol."
    ASSET_NOT_TRADABLE = "ASSET_NOT_TRADABLE", "The broker does not let the symbol be traded."
    QUANTITY_NOT_POSITIVE = "QUANTITY_NOT_POSITIVE", "The quantity is zero or negative."
    QUANTITY_PRECISION = "QUANTITY_PRECISION", "The quantity is finer than the symbol trades in."
    PRICE_NOT_POSITIVE = "PRICE_NOT_POSITIVE", "The limit or reference price is zero or negative."
    PRICE_DEVIATION = "PRICE_DEVIATION", "The limit price is too far from the reference price."
    ORDER_VALUE = "ORDER_VALUE", "The order is worth more than one order may be."
    ORDERS_PER_SESSION = "ORDERS_PER_SESSION", "The session has had all the orders that it may have."
    SELLS_MORE_THAN_HELD = "SELLS_MORE_THAN_HELD", "The order would sell shares that are not held."
    POSITION_WEIGHT = "POSITION_WEIGHT", "The symbol would be too large a part of equity."


@dataclass(frozen=True)
class Breach:
    """One limit that an order breaks: what was measured, and the most that was allowed.

    Both are figures in the limit's unit, or words where there is no figure.
    """

    code: BreachCode
    measured: Decimal | str
    limit: Decimal | str

    def __str__(self) -> str:
        """Return the breach as one phrase.

        >>> str(Breach(BreachCode.POSITION_WEIGHT, Decimal("0.4"), Decimal("0.35")))
        'POSITION_WEIGHT 0.4 > 0.35'
        >>> str(Breach(BreachCode.ASSET_UNKNOWN, "FNGZ", "a symbol that the broker knows"))
        'ASSET_UNKNOWN FNGZ, wanted a symbol that the broker knows'
        """
        between = ", wanted " if isinstance(self.limit, str) else " > "
        return f"{self.code} {_plain(self.measured)}{between}{_plain(self.limit)}"


def _plain(value: Decimal | str) -> str:
    return value if isinstance(value, str) else f"{value:.9f}".rstrip("0").rstrip(".")


@dataclass(frozen=True)
class Approved:
    """The order may be sent as it is."""

    intent: OrderIntent

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


@dataclass(frozen=True)
class Denied:
    """The order must not be sent."""

    intent: OrderIntent
    breaches: tuple[Breach, ...]

    @property
    def quantity(self) -> Decimal:
        """Shares that may be sent: none."""
        return Decimal(0)


RiskDecision = Approved | Reduced | Denied
