"""Open orders on the other side of a symbol: venues refuse both at once, as trades with oneself.

Ours, of another plan, are cancelled, and the cancel is read from the order.
Orders that somebody placed by hand are never touched: ours wait for them.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress

from trading_pipeline.application.venue import Desk, Pursuit, log_order
from trading_pipeline.domain.errors import AlreadyEnded, RequestRefused, TransientError
from trading_pipeline.domain.orders import BrokerOrder
from trading_pipeline.ports import Attempt, IntentState, JournalEntry


def opposed(pursuits: Sequence[Pursuit], desk: Desk) -> Mapping[str, str]:
    """Return, by symbol, why an order of ``pursuits`` would meet an opposite one; ours are cancelled first."""
    opposite = _opposite(pursuits, desk)
    if not opposite:
        return {}
    ours = {entry.order_id: entry for entry in desk.venue.journal.unfinished()}
    for order in opposite:
        if order.client_order_id in ours:
            _cancel(order, ours[order.client_order_id], desk)
    left = _awaited(pursuits, {order.client_order_id for order in opposite} & ours.keys(), desk)
    return {order.symbol: f"order {order.venue_order_id} of the other side is open" for order in left}


def _opposite(pursuits: Sequence[Pursuit], desk: Desk) -> Sequence[BrokerOrder]:
    sides = {pursuit.intent.symbol: pursuit.intent.side for pursuit in pursuits}
    return [order for order in desk.venue.broker.orders() if sides.get(order.symbol, order.side) is not order.side]


def _cancel(order: BrokerOrder, entry: JournalEntry, desk: Desk) -> None:
    name, state, detail = entry.client_order_id, IntentState.CANCELLING, f"opposes plan {desk.plan.plan_id}"
    try:
        is_ours_to_end = desk.venue.journal.record(
            name, state, detail, desk.now, Attempt(order.client_order_id, expecting=entry)
        )
    except AlreadyEnded:
        is_ours_to_end = False
    if not is_ours_to_end:
        # A run beside this one has written since; what is still open then is waited for.
        return
    log_order(name, order.client_order_id, state, detail, plan_id=entry.plan_id)
    # Whether it was cancelled is read from the list.
    with suppress(TransientError, RequestRefused):
        desk.venue.broker.cancel(order.venue_order_id)


def _awaited(pursuits: Sequence[Pursuit], ours: set[str], desk: Desk) -> Sequence[BrokerOrder]:
    """Return what still opposes once ours are gone, or have not gone in the time that an order has."""
    clock, pause = desk.venue.clock, desk.rules.first_poll
    deadline = clock.elapsed() + desk.rules.slice_timeout
    left = _opposite(pursuits, desk)
    while any(order.client_order_id in ours for order in left) and clock.elapsed() < deadline:
        desk.venue.wait(pause)
        pause = min(pause * 2, desk.rules.longest_poll)
        left = _opposite(pursuits, desk)
    return left
