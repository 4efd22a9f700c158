"""Orders against their service levels: which have stood still for too long, and what a person should do."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import takewhile

from trading_pipeline.domain.orders import ORDER_ID_PREFIX, BrokerOrder, OrderStatus
from trading_pipeline.ports import IntentState, JournalEntry

AT_ONCE = timedelta(0)


class OverdueKind(StrEnum):
    """What is wrong with an order, the gravest first."""

    UNJOURNALLED = "unjournalled"
    UNKNOWN_STATUS = "unknown status"
    UNACKNOWLEDGED = "unacknowledged"
    CANCELLING = "stuck in cancel"
    PENDING = "pending"
    PARTIALLY_FILLED = "partially filled"
    UNFINISHED = "unfinished"


# What an order at the broker is late in, by its status; None where it is over or works as it should.
LATE_IN: Mapping[OrderStatus, OverdueKind | None] = {
    OrderStatus.NEW: None,
    OrderStatus.PARTIALLY_FILLED: OverdueKind.PARTIALLY_FILLED,
    OrderStatus.FILLED: None,
    OrderStatus.DONE_FOR_DAY: None,
    OrderStatus.CANCELED: None,
    OrderStatus.EXPIRED: None,
    OrderStatus.REPLACED: None,
    OrderStatus.PENDING_CANCEL: OverdueKind.CANCELLING,
    OrderStatus.PENDING_REPLACE: OverdueKind.PENDING,
    OrderStatus.PENDING_REVIEW: OverdueKind.PENDING,
    OrderStatus.ACCEPTED: OverdueKind.PENDING,
    OrderStatus.PENDING_NEW: OverdueKind.PENDING,
    OrderStatus.ACCEPTED_FOR_BIDDING: OverdueKind.PENDING,
    OrderStatus.STOPPED: OverdueKind.PENDING,
    OrderStatus.REJECTED: None,
    OrderStatus.SUSPENDED: OverdueKind.PENDING,
    OrderStatus.CALCULATED: None,
    OrderStatus.HELD: OverdueKind.PENDING,
    OrderStatus.UNRECOGNISED: OverdueKind.UNKNOWN_STATUS,
}
_CANCELLING = frozenset({IntentState.CANCELLING, IntentState.REPRICING})


@dataclass(frozen=True)
class ServiceLevels:
    """How long an order may stay unacknowledged, pending, partially filled, and in cancel."""

    acknowledge: timedelta
    pending: timedelta
    partial: timedelta
    cancel: timedelta


@dataclass(frozen=True)
class Moment:
    """When a look was taken, by both clocks, and where the session stood then.

    ``now`` is the broker's instant, by which the age of its orders is told;
    ``machine_now`` this machine's, by which the journal is written.
    ``opened_at`` is when the open session opened, None between sessions;
    ``window_end`` when the execution window of the session closes.
    """

    now: datetime
    machine_now: datetime
    opened_at: datetime | None
    window_end: datetime


@dataclass(frozen=True)
class Overdue:
    """An order that has stood still since ``since`` (UTC), longer than ``limit``; ``text`` says it for people."""

    kind: OverdueKind
    client_order_id: str
    symbol: str
    since: datetime
    limit: timedelta
    text: str


def overdue(
    history: Sequence[JournalEntry],
    orders: Sequence[BrokerOrder],
    symbols: Mapping[str, str],
    moment: Moment,
    levels: ServiceLevels,
) -> Sequence[Overdue]:
    """Return what stands still beyond its service level, the gravest first.

    Args:
        history: every journal entry of the plans in question, oldest first, read *after* ``orders``: an order is
            journalled before it is sent, so that one without an entry is then truly without.
        orders: the session's orders as the broker lists them; those that do not bear an id of ours are passed over.
        symbols: the symbol of each intent by its client order id, as far as it is known.
        moment: when this is.
        levels: how long is too long.
    """
    at_broker = {order.client_order_id: order for order in orders}
    streaks = _latest_streaks(history)
    since_cancel = {s[-1].order_id: s[0].written_at for s in streaks if s[-1].state in _CANCELLING}
    known = {name for entry in history for name in (entry.client_order_id, entry.order_id)}
    found = [late for streak in streaks for late in _intent_late(streak, at_broker, symbols, moment, levels)]
    for order in orders:
        if order.client_order_id.startswith(ORDER_ID_PREFIX) and not order.status.is_terminal:
            found.extend(_order_late(order, since_cancel.get(order.client_order_id), moment, levels))
            found.extend(_unjournalled(order, known))
    return sorted(found, key=lambda late: (list(OverdueKind).index(late.kind), late.symbol, late.client_order_id))


def _latest_streaks(history: Sequence[JournalEntry]) -> Sequence[Sequence[JournalEntry]]:
    """Return for each intent that has not ended its latest entries that are of one order and kind of state."""
    by_intent: dict[str, list[JournalEntry]] = {}
    for entry in history:
        by_intent.setdefault(entry.client_order_id, []).append(entry)
    return [_streak(entries) for entries in by_intent.values() if not entries[-1].state.is_terminal]


def _streak(entries: Sequence[JournalEntry]) -> Sequence[JournalEntry]:
    kind = _kind_of(entries[-1])
    return list(takewhile(lambda entry: _kind_of(entry) == kind, reversed(entries)))[::-1]


def _kind_of(entry: JournalEntry) -> tuple[str, IntentState]:
    # Whether the rest is sent anew after it is no matter to a cancel that does not come.
    state = IntentState.CANCELLING if entry.state in _CANCELLING else entry.state
    return entry.order_id, state


def _intent_late(
    streak: Sequence[JournalEntry],
    at_broker: Mapping[str, BrokerOrder],
    symbols: Mapping[str, str],
    moment: Moment,
    levels: ServiceLevels,
) -> Iterator[Overdue]:
    latest, since = streak[-1], streak[0].written_at
    name, symbol = latest.order_id, symbols.get(latest.client_order_id, "")
    age = moment.machine_now - since
    is_unseen = name not in at_broker
    if latest.state is IntentState.SUBMITTING and is_unseen and age > levels.acknowledge:
        yield Overdue(
            OverdueKind.UNACKNOWLEDGED, name, symbol, since, levels.acknowledge,
            f"was sent {_seconds(age)} ago, and the broker neither shows nor refused it. It is asked for by its id "
            f"before it is ever sent again; look for it at the broker.",
        )  # fmt: skip
    if latest.state in _CANCELLING and is_unseen and age > levels.cancel:
        yield Overdue(
            OverdueKind.CANCELLING, name, symbol, since, levels.cancel,
            f"was asked to be cancelled {_seconds(age)} ago, and the broker does not list it any more. Look for it "
            f"at the broker.",
        )  # fmt: skip
    # What was begun inside the window may end as late as any pending order.
    if moment.now - moment.window_end > levels.pending:
        yield Overdue(
            OverdueKind.UNFINISHED, latest.client_order_id, symbol, moment.window_end, levels.pending,
            f"is {latest.state} ({latest.detail or 'nothing was sent'}) and its execution window ended at "
            f"{moment.window_end.isoformat()}. It is settled after the close; cancel it at the broker to end it now.",
        )  # fmt: skip


def _order_late(
    order: BrokerOrder, since_cancel: datetime | None, moment: Moment, levels: ServiceLevels
) -> Iterator[Overdue]:
    kind = LATE_IN[order.status]
    if kind is OverdueKind.UNKNOWN_STATUS:
        yield _late(kind, order, order.submitted_at, AT_ONCE, moment.now)
    if since_cancel is not None:
        # Whatever the broker shows meanwhile, it was asked to be cancelled.
        yield from _aged(OverdueKind.CANCELLING, order, since_cancel, levels.cancel, moment.machine_now)
    elif kind is OverdueKind.PENDING and moment.opened_at is not None:
        # Between sessions an order waits for the open, as it should.
        yield from _aged(kind, order, max(order.submitted_at, moment.opened_at), levels.pending, moment.now)
    # The broker does not say when an order became what it is: the others count from its submission.
    elif kind is OverdueKind.PARTIALLY_FILLED:
        yield from _aged(kind, order, order.submitted_at, levels.partial, moment.now)
    elif kind is OverdueKind.CANCELLING:
        yield from _aged(kind, order, order.submitted_at, levels.cancel, moment.now)


def _aged(kind: OverdueKind, order: BrokerOrder, since: datetime, limit: timedelta, now: datetime) -> Iterator[Overdue]:
    if now - since > limit:
        yield _late(kind, order, since, limit, now)


_WHAT_TO_DO: Mapping[OverdueKind, str] = {
    OverdueKind.UNKNOWN_STATUS: "This code does not know that status: look at the broker, and update the code.",
    OverdueKind.CANCELLING: "A cancel that does not come is the broker's to explain: call it, or cancel by hand.",
    OverdueKind.PENDING: "The broker does not work it: look at its status page, or cancel by hand.",
    OverdueKind.PARTIALLY_FILLED: "Nobody cancels its rest: see whether a run of place_orders is under way.",
}


def _late(kind: OverdueKind, order: BrokerOrder, since: datetime, limit: timedelta, now: datetime) -> Overdue:
    text = (
        f"is {order.status} at the broker, {order.filled_quantity} of {order.quantity} shares filled, after "
        f"{_seconds(now - since)}. {_WHAT_TO_DO[kind]}"
    )
    return Overdue(kind, order.client_order_id, order.symbol, since, limit, text)


def _unjournalled(order: BrokerOrder, known: set[str]) -> Iterator[Overdue]:
    if order.client_order_id not in known:
        yield Overdue(
            OverdueKind.UNJOURNALLED, order.client_order_id, order.symbol, order.submitted_at, AT_ONCE,
            f"works at the broker as {order.status} under an id of ours, and the journal does not know it. The journal "
            f"was lost, or another installation trades this account: `trading-pipeline kill halt`, then let a run of "
            f"place_orders adopt it, or find who else trades here.",
        )  # fmt: skip


def _seconds(age: timedelta) -> str:
    return f"{age.total_seconds():.0f} s"
