"""What the stream says: read, told once each, kept within bounds; and held against what the broker says when asked."""

import json
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from trading_pipeline.adapters.alpaca import translation
from trading_pipeline.domain.errors import DependencyUnavailable
from trading_pipeline.domain.orders import BrokerOrder

Row = Mapping[str, Any]

MOST_REMEMBERED = 10_000
MOST_WAITING = 1_000
MOST_QUARANTINED = 100
LONGEST_EXCERPT = 500
EXECUTIONS = frozenset({"fill", "partial_fill"})
EVENTS = EXECUTIONS | {
    "new",
    "canceled",
    "expired",
    "done_for_day",
    "replaced",
    "accepted",
    "rejected",
    "pending_new",
    "stopped",
    "pending_cancel",
    "pending_replace",
    "calculated",
    "suspended",
    "order_replace_rejected",
    "order_cancel_rejected",
    "restated",
    "trade_bust",
    "trade_correct",
    "held",
}
TRADE_UPDATES = "trade_updates"
ACKNOWLEDGEMENTS = frozenset({"authorization", "listening"})


@dataclass(frozen=True)
class FillSeen:
    """An execution as the stream told of it: ``at`` is the broker's instant, the order's id the client's."""

    order_id: str
    execution_id: str
    at: datetime
    price: Decimal
    quantity: Decimal


@dataclass(frozen=True)
class OrderChange:
    """One change of an order: the event in Alpaca's words, the order as it is after it, the execution if it is one."""

    event: str
    order: BrokerOrder
    at: datetime
    fill: FillSeen | None = None

    @property
    def identity(self) -> tuple[str, ...]:
        """What two tellings of the same change have in common."""
        if self.fill is not None:
            return (self.fill.execution_id,)
        return (self.order.venue_order_id, self.event, self.at.isoformat())


@dataclass(frozen=True)
class Quarantined:
    """A frame that could not be used, shortened, and why."""

    at: datetime
    reason: str
    frame: str


def read_frame(frame: str | bytes) -> Mapping[str, Any]:
    """Return the JSON object of a frame, text or binary (paper sends binary).

    Raises:
        DependencyUnavailable: it is none.
    """
    try:
        message = json.loads(frame)
    except (ValueError, RecursionError) as error:
        raise DependencyUnavailable(f"a frame is not JSON: {type(error).__name__} {error}") from error
    if not isinstance(message, dict):
        raise DependencyUnavailable(f"a frame holds a {type(message).__name__} where an object belongs")
    return message


def order_change(data: object) -> OrderChange:
    """Return the change that a trade update tells of.

    Raises:
        DependencyUnavailable: a part that is needed is missing or cannot be read, or the event is not a known one.
    """
    try:
        return _order_change(data)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise DependencyUnavailable(f"a trade update cannot be read: {type(error).__name__} {error}") from error


def _order_change(data: Any) -> OrderChange:  # noqa: ANN401 - JSON
    event, order, at = data["event"], translation.order(data["order"]), translation.instant(data["timestamp"])
    if event not in EVENTS:
        raise ValueError(f"event {event!r} is not known")
    if not (isinstance(order.client_order_id, str) and isinstance(order.venue_order_id, str)):
        raise TypeError("the ids of an order are no texts")
    return OrderChange(event, order, at, _fill(data, order, at) if event in EXECUTIONS else None)


def _fill(data: Row, order: BrokerOrder, at: datetime) -> FillSeen:
    execution_id = data["execution_id"]
    if not (isinstance(execution_id, str) and execution_id):
        raise ValueError(f"an execution has no id, but {execution_id!r}")
    price, quantity = translation.decimal(data["price"]), translation.decimal(data["qty"])
    return FillSeen(order.client_order_id, execution_id, at, price, quantity)


@dataclass(frozen=True)
class NewsCounts:
    """How many changes were new, came again, could not be read, and were dropped because nobody took them."""

    events: int = 0
    duplicates: int = 0
    quarantined: int = 0
    overflowed: int = 0


class News:
    """Order changes, each told once, in whatever order and however often they arrive; every store is bounded.

    Not for several threads at once.
    """

    def __init__(self) -> None:
        """Begin with nothing heard."""
        self._told: OrderedDict[tuple[str, ...], FillSeen | None] = OrderedDict()
        self._filled: OrderedDict[str, Decimal] = OrderedDict()
        self._waiting: deque[OrderChange] = deque()
        self._quarantine: deque[Quarantined] = deque(maxlen=MOST_QUARANTINED)
        self._events = self._duplicates = self._quarantined = self._overflowed = 0

    @property
    def counts(self) -> NewsCounts:
        """The figures so far."""
        return NewsCounts(self._events, self._duplicates, self._quarantined, self._overflowed)

    @property
    def fills(self) -> Sequence[FillSeen]:
        """The newest executions that were told, each once, as they arrived; at most ten thousand."""
        return tuple(fill for fill in self._told.values() if fill is not None)

    @property
    def quarantine(self) -> Sequence[Quarantined]:
        """The newest frames that could not be used, oldest first; at most a hundred."""
        return tuple(self._quarantine)

    def filled_quantity(self, client_order_id: str) -> Decimal:
        """Return the most shares of an order that are known to be filled; zero where nothing is known.

        Each telling of an order counts all of its executions so far, so that
        the largest is the newest, whichever came last and whichever were lost.
        """
        return self._filled.get(client_order_id, Decimal(0))

    def tell(self, change: OrderChange) -> bool:
        """Take a change in; tell whether it is new."""
        if change.identity in self._told:
            self._duplicates += 1
            return False
        self._events += 1
        _remember(self._told, change.identity, change.fill)
        self.fill_gap([change.order])
        self._wait_for_a_taker(change)
        return True

    def fill_gap(self, orders: Iterable[BrokerOrder]) -> None:
        """Take in what the broker says of orders when it is asked."""
        for order in orders:
            known = self.filled_quantity(order.client_order_id)
            _remember(self._filled, order.client_order_id, max(known, order.filled_quantity))

    def set_aside(self, frame: str | bytes, reason: str, at: datetime) -> None:
        """Quarantine a frame."""
        self._quarantined += 1
        text = frame if isinstance(frame, str) else frame.decode(errors="replace")
        self._quarantine.append(Quarantined(at, reason[:LONGEST_EXCERPT], text[:LONGEST_EXCERPT]))

    def take(self) -> Sequence[OrderChange]:
        """Return the changes that were told since the last call, oldest first; at most a thousand."""
        taken = tuple(self._waiting)
        self._waiting.clear()
        return taken

    def _wait_for_a_taker(self, change: OrderChange) -> None:
        if len(self._waiting) == MOST_WAITING:
            self._waiting.popleft()
            self._overflowed += 1
        self._waiting.append(change)


def _remember(store: OrderedDict[Any, Any], key: object, value: object) -> None:
    store[key] = value
    store.move_to_end(key)
    if len(store) > MOST_REMEMBERED:
        store.popitem(last=False)


@dataclass(frozen=True)
class _Seen:
    """How far an order has come: the shares filled, and whether it is over."""

    filled: Decimal = Decimal(0)
    is_over: bool = False

    def joined(self, other: "_Seen") -> "_Seen":
        return _Seen(max(self.filled, other.filled), self.is_over or other.is_over)


def _seen(order: BrokerOrder) -> _Seen:
    return _Seen(order.filled_quantity, order.status.is_terminal)


class Witness:
    """Holds what the broker says when asked against what the stream said, over one connection.

    What was there at the first look after the connection is not held against
    the stream; any change since then must be told within the grace.
    """

    def __init__(self, grace_seconds: float) -> None:
        """Allow the stream to lag ``grace_seconds`` behind."""
        self._grace = grace_seconds
        self._heard: OrderedDict[str, _Seen] = OrderedDict()
        self._baseline: Mapping[str, _Seen] | None = None
        self._missing_since: dict[str, float] = {}

    def heard(self, order: BrokerOrder) -> None:
        """Note an order as the stream told of it."""
        _remember(self._heard, order.venue_order_id, self._known(order).joined(_seen(order)))

    def contradiction(self, orders: Sequence[BrokerOrder], elapsed: float) -> BrokerOrder | None:
        """Return the first of ``orders`` on which the stream has been silent for longer than the grace, if any.

        ``orders`` is what the broker answered at ``elapsed`` (seconds of a clock that is never set back) to the same
        question each time.
        """
        if self._baseline is None:
            self._baseline = {order.venue_order_id: _seen(order) for order in orders}
            return None
        missing = [order for order in orders if self._is_missing(order)]
        self._missing_since = {
            order.venue_order_id: self._missing_since.get(order.venue_order_id, elapsed) for order in missing
        }
        late = (order for order in missing if elapsed - self._missing_since[order.venue_order_id] > self._grace)
        return next(late, None)

    def _is_missing(self, order: BrokerOrder) -> bool:
        known = self._known(order)
        return known.joined(_seen(order)) != known

    def _known(self, order: BrokerOrder) -> _Seen:
        before = (self._baseline or {}).get(order.venue_order_id, _Seen())
        return before.joined(self._heard.get(order.venue_order_id, _Seen()))
