"""What the simulated broker remembers: orders, executions, positions, events."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Literal

ZERO = Decimal(0)
AVERAGE_PRICE_STEP = Decimal("0.000001")
EXECUTION_KIND = "FILL"


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
    PARTIALLY_FILLED = "partially_filled"
    PENDING_CANCEL = "pending_cancel"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    REPLACED = "replaced"

    @property
    def is_open(self) -> bool:
        """Whether anything can still happen to the order."""
        return self in OPEN_STATUSES


OPEN_STATUSES = frozenset(
    {Status.PENDING_NEW, Status.ACCEPTED, Status.NEW, Status.PARTIALLY_FILLED, Status.PENDING_CANCEL}
)
WORKING_STATUSES = frozenset({Status.NEW, Status.PARTIALLY_FILLED})


@dataclass(frozen=True)
class Behaviour:
    """How an order is to behave instead of filling whole at its first chance.

    ``partial`` are fractions of its quantity, one execution a step; ``then`` says
    what becomes of the remainder. ``stuck`` is the status in which it stays until
    it is released or the clock reaches ``until`` (None: until released).
    ``reject`` ends it as rejected after it was accepted. ``cancel_race`` lets it
    fill instead of being cancelled; with ``refuse_cancel`` the cancel is refused,
    because the fill was first.
    """

    partial: tuple[Decimal, ...] = ()
    then: Literal["rest", "cancel", "wait"] = "rest"
    stuck: Status | None = None
    until: datetime | None = None
    reject: bool = False
    cancel_race: bool = False
    refuse_cancel: bool = False


USUAL = Behaviour()


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
class Replacement:
    """What is to be different in the order that replaces another; None stays as it is."""

    quantity: Decimal | None = None
    limit_price: Decimal | None = None
    client_order_id: str | None = None


@dataclass(frozen=True)
class Order:
    """A day order that was accepted.

    ``reserved`` is what it holds back now: dollars for a buy, shares for a sell,
    zero once it has ended. ``session`` is the session in which it works.
    ``filled_value`` is the exact sum of quantity x price over its executions.
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
    filled_value: Decimal = ZERO
    filled_at: datetime | None = None
    canceled_at: datetime | None = None
    expired_at: datetime | None = None
    failed_at: datetime | None = None
    replaced_at: datetime | None = None
    replaced_by: str | None = None
    replaces: str | None = None
    executions: int = 0
    behaviour: Behaviour = USUAL

    @property
    def filled_price(self) -> Decimal | None:
        """Average price of its executions in dollars a share, six places; None before the first."""
        if not self.filled_quantity:
            return None
        return (self.filled_value / self.filled_quantity).quantize(AVERAGE_PRICE_STEP)


@dataclass(frozen=True)
class Execution:
    """A trade: ``quantity`` shares at ``price`` dollars; ``amount`` is what moved in cash, in whole cents.

    ``cumulative`` and ``remaining`` are the shares of its order that were filled
    with it, and that were left after it.
    """

    id: str
    order_id: str
    client_order_id: str
    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    amount: Decimal
    at: datetime
    cumulative: Decimal
    remaining: Decimal

    @property
    def kind(self) -> str:
        """What Alpaca calls an execution among the activities of an account."""
        return EXECUTION_KIND


@dataclass(frozen=True)
class Event:
    """Something that happened to an order, in Alpaca's words, and the order as it was after it.

    ``sequence`` counts the events of an account from 1 without a gap.
    ``position`` is how many shares of its symbol the account held afterwards;
    ``execution`` is there for ``partial_fill`` and ``fill``.
    """

    sequence: int
    kind: str
    at: datetime
    order: Order
    position: Decimal
    execution: Execution | None = None


@dataclass(frozen=True)
class Position:
    """Shares held, and the dollars paid for them."""

    symbol: str
    quantity: Decimal
    cost_basis: Decimal


@dataclass(frozen=True)
class AccountFlags:
    """What can stop an account from trading, as Alpaca names it."""

    status: str = "ACTIVE"
    trading_blocked: bool = False
    account_blocked: bool = False
    transfers_blocked: bool = False
    trade_suspended_by_user: bool = False

    @property
    def may_trade(self) -> bool:
        """Whether orders are taken at all."""
        blocked = self.trading_blocked or self.account_blocked or self.trade_suspended_by_user
        return self.status == "ACTIVE" and not blocked


class MovementKind(StrEnum):
    """What moves cash without a trade, as Alpaca abbreviates it."""

    DEPOSIT = "CSD"
    WITHDRAWAL = "CSW"
    DIVIDEND = "DIV"
    FEE = "FEE"
    INTEREST = "INT"
    JOURNAL = "JNLC"


MOVEMENT_KINDS = frozenset(kind.value for kind in MovementKind)
ACTIVITY_KINDS = MOVEMENT_KINDS | {EXECUTION_KIND}


@dataclass(frozen=True)
class Movement:
    """Dollars, whole cents, that came into the account (positive) or left it without a trade."""

    id: str
    kind: MovementKind
    amount: Decimal
    at: datetime
    symbol: str | None = None


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
    """Which activities a list asks for; instants are exclusive, ``after_id`` is the last one seen."""

    page_size: int = 100
    after_id: str | None = None
    after: datetime | None = None
    until: datetime | None = None
    ascending: bool = False
    kinds: frozenset[str] = ACTIVITY_KINDS
