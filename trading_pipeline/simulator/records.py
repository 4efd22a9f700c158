"""What the simulated broker remembers: orders, executions, positions."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

ZERO = Decimal(0)


class Side(StrEnum):
    """Direction of an order."""

    BUY = "buy"
    SELL = "sell"

    @property
    def opposite(self) -> "Side":
        """The other direction."""
        return Side.SELL if self is Side.BUY else Side.BUY


class OrderType(StrEnum):
    """How an order asks to be priced."""

    MARKET = "market"
    LIMIT = "limit"


class Status(StrEnum):
    """Where an order stands."""

    PENDING_NEW = "pending_new"
    ACCEPTED = "accepted"
    NEW = "new"
    PENDING_CANCEL = "pending_cancel"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"

    @property
    def is_open(self) -> bool:
        """Whether anything can still happen to the order."""
        return self in OPEN_STATUSES


OPEN_STATUSES = frozenset({Status.PENDING_NEW, Status.ACCEPTED, Status.NEW, Status.PENDING_CANCEL})


@dataclass(frozen=True)
class OrderRequest:
    """What a client asked for, well formed; exactly one of ``quantity`` and ``notional`` is given."""

    symbol: str
    side: Side
    type: OrderType
    quantity: Decimal | None
    notional: Decimal | None
    limit_price: Decimal | None
    client_order_id: str | None
    extended_hours: bool = False

    @property
    def is_fractional(self) -> bool:
        """Whether it needs fractions of a share."""
        return self.quantity is None or self.quantity != self.quantity.to_integral_value()


@dataclass(frozen=True)
class Order:
    """A day order that was accepted.

    ``reserved`` is what it holds back while it is open: dollars for a buy,
    shares for a sell. ``session`` is the session in which it works.
    """

    id: str
    client_order_id: str
    symbol: str
    side: Side
    type: OrderType
    quantity: Decimal | None
    notional: Decimal | None
    limit_price: Decimal | None
    extended_hours: bool
    reserved: Decimal
    session: date
    status: Status
    submitted_at: datetime
    updated_at: datetime
    filled_quantity: Decimal = ZERO
    filled_price: Decimal | None = None
    filled_at: datetime | None = None
    canceled_at: datetime | None = None
    expired_at: datetime | None = None
    failed_at: datetime | None = None


@dataclass(frozen=True)
class Execution:
    """A trade: ``quantity`` shares at ``price`` dollars; ``amount`` is what moved in cash, in whole cents."""

    id: str
    order_id: str
    client_order_id: str
    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    amount: Decimal
    at: datetime


@dataclass(frozen=True)
class Position:
    """Shares held, and the dollars paid for them."""

    symbol: str
    quantity: Decimal
    cost_basis: Decimal


@dataclass(frozen=True)
class OrderFilter:
    """Which orders a list asks for; instants are exclusive, an empty set of symbols means all."""

    is_open: bool | None = True
    limit: int = 50
    after: datetime | None = None
    until: datetime | None = None
    ascending: bool = False
    symbols: frozenset[str] = frozenset()
    side: Side | None = None


@dataclass(frozen=True)
class ActivityFilter:
    """Which executions a list asks for; instants are exclusive, ``after_id`` is the last one seen."""

    page_size: int = 100
    after_id: str | None = None
    after: datetime | None = None
    until: datetime | None = None
    ascending: bool = False
