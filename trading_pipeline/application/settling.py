"""What is left of plans whose time is over: asked for, recorded, cancelled if it works; nothing is ever sent."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

from trading_pipeline.application.venue import ExecutionRules, Venue, log_order
from trading_pipeline.application.working import ENDED
from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import RequestRefused, TransientError
from trading_pipeline.domain.instruments import plain
from trading_pipeline.domain.orders import BrokerOrder, OrderStatus
from trading_pipeline.ports import Attempt, IntentState, JournalEntry


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
            _record(entry, IntentState.ABANDONED, "the execution window ended before it was sent", venue, now)
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
        filled = f"{order.status}, {plain(order.filled_quantity)} of {plain(order.quantity)} filled"
        _record(entry, ENDED[order.status], filled, venue, now)
    elif order.status is not OrderStatus.PENDING_CANCEL:
        _cancel(entry, order, venue, now)


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
