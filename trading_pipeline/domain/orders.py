"""Orders: what is intended, what the broker says of it, and the plan that holds them together."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

SMALLEST_BUY = Decimal(1)
"""Dollars; less than this no venue buys."""


class Side(StrEnum):
    """Direction of an order."""

    BUY = "buy"
    SELL = "sell"


class OrderType(StrEnum):
    """How an order is priced."""

    LIMIT = "limit"
    MARKET = "market"


class TimeInForce(StrEnum):
    """How long an order lives."""

    DAY = "day"


class OrderStatus(StrEnum):
    """Where an order stands, in the broker's terms; UNRECOGNISED is a status that the broker added since."""

    NEW = "new"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    DONE_FOR_DAY = "done_for_day"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REPLACED = "replaced"
    PENDING_CANCEL = "pending_cancel"
    PENDING_REPLACE = "pending_replace"
    PENDING_REVIEW = "pending_review"
    ACCEPTED = "accepted"
    PENDING_NEW = "pending_new"
    ACCEPTED_FOR_BIDDING = "accepted_for_bidding"
    STOPPED = "stopped"
    REJECTED = "rejected"
    SUSPENDED = "suspended"
    CALCULATED = "calculated"
    HELD = "held"
    UNRECOGNISED = "unrecognised"

    @property
    def is_terminal(self) -> bool:
        """Tell whether the order can never change again."""
        return self in _TERMINAL


_TERMINAL = frozenset(
    {OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.EXPIRED, OrderStatus.REJECTED, OrderStatus.REPLACED}
)


@dataclass(frozen=True)
class OrderIntent:
    """An order that we would like to place.

    ``quantity`` is in shares and positive; ``limit_price`` and
    ``reference_price`` in dollars a share, the latter being the price from
    which the quantity was derived. ``sequence`` orders the intents of a plan:
    sells come first. ``client_order_id`` depends on the plan, the symbol and
    the side alone (see :func:`client_order_id`).
    """

    client_order_id: str
    sequence: int
    symbol: str
    side: Side
    quantity: Decimal
    order_type: OrderType
    limit_price: Decimal | None
    reference_price: Decimal
    time_in_force: TimeInForce
    reason: str

    @property
    def notional(self) -> Decimal:
        """Dollars at the reference price, always positive."""
        return self.quantity * self.reference_price


ORDER_ID_PREFIX = "tp1-"


def client_order_id(account: str, plan_id: str, symbol: str, side: Side, slice_number: int = 0) -> str:
    """Return the id under which an intent is known to us and to the broker.

    It never depends on a clock, a price or a quantity, so that whoever
    executes the plan again repeats the id and the broker refuses the
    duplicate. 36 characters; Alpaca allows 48 and more.

    >>> client_order_id("SIM0001", "2026-07-31/1", "SPY", Side.BUY)
    'tp1-6848b6a5cd7df9e487ed7d550723adeb'
    """
    name = json.dumps([account, plan_id, symbol, side.value, slice_number])
    return ORDER_ID_PREFIX + hashlib.sha256(name.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class BrokerOrder:
    """An order as the broker sees it; ``filled_quantity`` is cumulative."""

    client_order_id: str
    venue_order_id: str
    symbol: str
    side: Side
    quantity: Decimal
    filled_quantity: Decimal
    average_price: Decimal | None
    limit_price: Decimal | None
    status: OrderStatus
    submitted_at: datetime


@dataclass(frozen=True)
class Accepted:
    """The broker has the order."""

    order: BrokerOrder


class Refusal(StrEnum):
    """Why a venue refused an order, as far as it decides what is done next."""

    BUYING_POWER = "buying power"
    HELD_SHARES = "held shares"
    NOT_FRACTIONABLE = "not fractionable"
    NOT_TRADABLE = "not tradable"
    HALTED = "halted"
    OPPOSITE_ORDER = "opposite order"
    OTHER = "other"


@dataclass(frozen=True)
class Rejected:
    """The venue refused the order, so that there is none; ``code`` is its own code, ``reason`` its words.

    ``available`` is what the venue says there is: dollars where buying power
    was too small, shares where too few are free; None where it does not say.
    """

    client_order_id: str
    code: str
    reason: str
    refusal: Refusal = Refusal.OTHER
    available: Decimal | None = None


@dataclass(frozen=True)
class Unknown:
    """The order may or may not exist: ask by its client order id before anything else."""

    client_order_id: str
    evidence: str


@dataclass(frozen=True)
class NotSent:
    """Nothing left for the venue, for the reason that is told."""

    client_order_id: str
    reason: str


OrderResult = Accepted | Rejected | Unknown | NotSent


@dataclass(frozen=True)
class LineageEntry:
    """One asset behind a plan: its materialisation's storage id and the table version it wrote."""

    asset: str
    materialization_id: int
    run_id: str
    table_version: int


class PlanPurpose(StrEnum):
    """What a plan is for: to reach the allocation, or to get out of positions in an emergency."""

    REBALANCE = "rebalance"
    LIQUIDATION = "liquidation"


@dataclass(frozen=True)
class ArchivedDecision:
    """The risk engine's word on one intended order, kept with the plan: no order leaves without one.

    ``decision`` is approved, reduced or denied, ``quantity`` the shares that
    may be sent; ``breaches`` and ``warnings`` are in the words of the engine.
    """

    client_order_id: str
    decision: str
    quantity: Decimal
    breaches: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """The approved orders of one decision, fixed before anything is sent.

    ``session`` is the session whose completed bars were used; the orders may
    be placed in ``execution_session`` only. A ``hypothetical`` plan belongs to
    research and is never executed. ``decisions`` holds what the risk engine
    said of every intended order, the denied ones too.
    """

    plan_id: str
    account_number: str
    session: date
    execution_session: date
    version: int
    created_at: datetime
    hypothetical: bool
    orders: tuple[OrderIntent, ...]
    lineage: tuple[LineageEntry, ...]
    code_version: str
    config_hash: str
    decisions: tuple[ArchivedDecision, ...] = ()
    purpose: PlanPurpose = PlanPurpose.REBALANCE

    def decision(self, client_order_id: str) -> ArchivedDecision | None:
        """Return what was decided on an intent, or None where nothing was."""
        return next((made for made in self.decisions if made.client_order_id == client_order_id), None)

    @property
    def liquidation(self) -> int | None:
        """The number of the liquidation, which is the plan's version; None of a plan that is none."""
        return self.version if self.purpose is PlanPurpose.LIQUIDATION else None

    @property
    def symbols(self) -> Mapping[str, str]:
        """The symbol of each order by its client order id."""
        return {order.client_order_id: order.symbol for order in self.orders}
