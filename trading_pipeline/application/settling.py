"""What is left of plans whose time is over: asked for, recorded, cancelled if it works; nothing is ever sent."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from decimal import Decimal

from trading_pipeline.application.venue import ZERO, ExecutionRules, Venue, log_order
from trading_pipeline.application.working import ENDED
from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import RequestRefused, TransientError
from trading_pipeline.domain.instruments import plain
from trading_pipeline.domain.orders import BrokerOrder, OrderStatus
from trading_pipeline.ports import Attempt, Broker, IntentState, JournalEntry, OrderJournal


def settle(venue: Venue, rules: ExecutionRules, now: datetime, account_number: str) -> Sequence[JournalEntry]:
    """Bring to their end the account's intents whose execution window is over; return those that are still open.

    What was never sent is abandoned when the window ends. What was sent is
    watched until the session closes: then an order that the broker has is
    recorded as it ended (or cancelled, if it works on), and one that never
    arrived is abandoned. The broker must answer for that account: to another
    one every order reads as never arrived.

    Raises:
        TransientError: the broker gave no usable answer.
        PermanentError: the broker refused to answer.
    """
    for entry in _of(account_number, venue):
        session = sessions.next_session(entry.session)
        if entry.state.is_unsent and now >= rules.window(session).end:
            filled = filled_before(entry, venue.journal, venue.broker)
            _record(entry, IntentState.ABANDONED, _unsent(filled), venue, now)
        elif now >= sessions.close_of(session):
            _settle_sent(entry, venue, now)
    return _of(account_number, venue)


def _of(account_number: str, venue: Venue) -> Sequence[JournalEntry]:
    return [entry for entry in venue.journal.unfinished() if entry.account_number == account_number]


def _settle_sent(entry: JournalEntry, venue: Venue, now: datetime) -> None:
    order = venue.broker.order(entry.order_id)
    if order is None:
        _record(entry, IntentState.ABANDONED, "sent, and not at the broker when the session closed", venue, now)
    elif order.status.is_terminal:
        _record(entry, ENDED[order.status], how_it_ended(entry, order, venue.journal, venue.broker), venue, now)
    elif order.status is not OrderStatus.PENDING_CANCEL:
        _cancel(entry, order, venue, now)


def _unsent(filled: Decimal) -> str:
    if not filled:
        return "the execution window ended before it was sent"
    return f"{plain(filled)} filled; the execution window ended before the rest was sent"


def how_it_ended(entry: JournalEntry, order: BrokerOrder, journal: OrderJournal, broker: Broker) -> str:
    """Return in words how an intent ended with its last order, what its earlier orders filled included.

    Raises:
        TransientError: the broker gave no usable answer.
        PermanentError: the broker refused to answer.
    """
    before = filled_before(entry, journal, broker)
    filled, wanted = order.filled_quantity + before, order.quantity + before
    return f"{order.status}, {plain(filled)} of {plain(wanted)} filled"


def filled_before(entry: JournalEntry, journal: OrderJournal, broker: Broker) -> Decimal:
    """Return the shares that orders of an intent filled before the one that ``entry`` speaks of; raises likewise."""
    lines = journal.history(entry.plan_id, entry.account_number)
    own = [line for line in lines if line.client_order_id == entry.client_order_id and not line.state.is_unsent]
    earlier = {line.order_id for line in own} - {entry.order_id}
    orders = [broker.order(order_id) for order_id in sorted(earlier)]
    return sum((order.filled_quantity for order in orders if order is not None), ZERO)


def _cancel(entry: JournalEntry, order: BrokerOrder, venue: Venue, now: datetime) -> None:
    if entry.state is not IntentState.CANCELLING:
        _record(entry, IntentState.CANCELLING, f"{order.status} after its session closed", venue, now)
    # Whether it was cancelled is read from the order at the next call.
    with suppress(TransientError, RequestRefused):
        venue.broker.cancel(order.venue_order_id)


def _record(entry: JournalEntry, state: IntentState, detail: str, venue: Venue, now: datetime) -> None:
    # Whoever wrote since knows better.
    if venue.journal.record(entry.client_order_id, state, detail, now, Attempt(entry.order_id, expecting=entry)):
        log_order(entry.client_order_id, entry.order_id, state, detail, plan_id=entry.plan_id)
