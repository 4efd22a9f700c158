"""Orders at work: polled together, cancelled when they take too long, their rest sent anew at a new price.

One list answers for all of them. Whether a cancel worked is read from the
order, never assumed: it may have been filled first.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from trading_pipeline.application.submission import acknowledged
from trading_pipeline.application.venue import ZERO, Desk, Pursuit
from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import RequestRefused, TransientError
from trading_pipeline.domain.instruments import plain
from trading_pipeline.domain.orders import SMALLEST_BUY, BrokerOrder, OrderStatus
from trading_pipeline.ports import IntentState

MOST_CANCELS = 2
PATIENCE_GROWS = 1.5
ENDED = {
    OrderStatus.FILLED: IntentState.FILLED,
    OrderStatus.CANCELED: IntentState.CANCELED,
    OrderStatus.EXPIRED: IntentState.EXPIRED,
    OrderStatus.REJECTED: IntentState.REJECTED,
    OrderStatus.REPLACED: IntentState.CANCELED,
}


def listed(desk: Desk) -> Mapping[str, BrokerOrder]:
    """Return every order of the execution session so far by its client order id."""
    orders = desk.venue.broker.orders(sessions.open_of(desk.plan.execution_session))
    if desk.venue.updates is not None:
        desk.venue.updates.compare(orders)
    return {order.client_order_id: order for order in orders}


def seen(pursuit: Pursuit, orders: Mapping[str, BrokerOrder], desk: Desk) -> Pursuit:
    """Return ``pursuit`` with its orders as they are listed; one that is new is journalled.

    An order that was known and is missing from a list stays as it was.
    """
    known = tuple(orders.get(order.client_order_id, order) for order in pursuit.orders)
    pursuit = replace(pursuit, orders=known)
    while (found := orders.get(pursuit.next_id)) is not None:
        pursuit = acknowledged(pursuit, found, desk)
    return pursuit


def rested(pursuits: Sequence[Pursuit], desk: Desk) -> Sequence[Pursuit]:
    """Wait until every order is over; cancel those that take too long.

    Returns the pursuits as they stand then: ended and journalled so, with a rest
    to be sent anew (``repricing`` and not working), or still not over. Where the
    rules leave last slices at the broker, those are not cancelled.
    """
    resting = _polled(pursuits, desk, desk.rules.slice_timeout)
    for _ in range(MOST_CANCELS):
        if not any(pursuit.is_working and not _stays(pursuit, desk) for pursuit in resting):
            break
        asked = [_cancelled(pursuit, desk) for pursuit in resting]
        resting = _polled(asked, desk, desk.rules.slice_timeout)
    for pursuit in resting:
        if pursuit.is_working and pursuit.last is not None and not (pursuit.in_doubt or _stays(pursuit, desk)):
            desk.record(pursuit.intent, _cancelling(pursuit), f"does not end: {standing(pursuit)}", _last_id(pursuit))
    return resting


def ended(pursuit: Pursuit, desk: Desk) -> Pursuit:
    """Journal the end of ``pursuit`` if its last order is over and nothing of it is sent anew."""
    last = pursuit.last
    if pursuit.is_working or last is None:
        return pursuit
    if last.status is OrderStatus.CANCELED and not pursuit.repricing:
        # A run beside this one may have cancelled it to send the rest anew.
        pursuit = replace(pursuit, repricing=asked_to_reprice(lines_by_order(desk)[last.client_order_id]))
    if wants_more(pursuit, desk):
        return pursuit
    desk.record(pursuit.intent, _end(pursuit, last), standing(pursuit), _last_id(pursuit))
    return pursuit


def wants_more(pursuit: Pursuit, desk: Desk) -> bool:
    """Tell whether the rest of ``pursuit`` is to be sent anew: we cancelled it for that, and a slice is left."""
    was_cancelled = pursuit.last is not None and pursuit.last.status is OrderStatus.CANCELED
    is_bounded = len(pursuit.orders) <= desk.rules.max_reprices
    # Less than this no venue buys.
    is_enough = pursuit.remaining * pursuit.intent.reference_price >= SMALLEST_BUY
    return pursuit.repricing and was_cancelled and is_bounded and is_enough


def lines_by_order(desk: Desk) -> Mapping[str, Sequence[IntentState]]:
    """Return what the journal says of each order of the plan, by its id, oldest first."""
    lines: defaultdict[str, list[IntentState]] = defaultdict(list)
    for entry in desk.venue.journal.history(desk.plan.plan_id, desk.plan.account_number):
        lines[entry.order_id].append(entry.state)
    return lines


def asked_to_reprice(lines: Sequence[IntentState]) -> bool:
    """Tell whether an order's last cancel was asked for in order to send its rest anew."""
    cancels = [state for state in lines if state in {IntentState.REPRICING, IntentState.CANCELLING}]
    return bool(cancels) and cancels[-1] is IntentState.REPRICING


def standing(pursuit: Pursuit) -> str:
    """Return where the orders of ``pursuit`` stand, for people."""
    if pursuit.last is None:
        return "not seen at the broker"
    price = average_price(pursuit.orders)
    of_slices = "" if len(pursuit.orders) == 1 else f" in {len(pursuit.orders)} orders"
    filled = f"{plain(pursuit.filled)} of {plain(pursuit.intent.quantity)} filled"
    return f"{pursuit.last.status}, {filled}{price}{of_slices}"


def average_price(orders: Iterable[BrokerOrder]) -> str:
    """Return `` at`` and the average price of what was filled, in dollars a share; nothing where nothing was."""
    priced = [(order.filled_quantity, order.average_price) for order in orders if order.average_price is not None]
    shares = sum((quantity for quantity, _ in priced), ZERO)
    if not shares:
        return ""
    if len(priced) == 1:
        return f" at {priced[0][1]}"
    return f" at {sum((quantity * price for quantity, price in priced), ZERO) / shares:.4f}"


def _end(pursuit: Pursuit, last: BrokerOrder) -> IntentState:
    return IntentState.FILLED if pursuit.remaining <= 0 else ENDED[last.status]


def _polled(pursuits: Sequence[Pursuit], desk: Desk, patience: float) -> Sequence[Pursuit]:
    clock = desk.venue.clock
    deadline, pause = clock.elapsed() + patience, desk.rules.first_poll
    resting = list(pursuits)
    while any(pursuit.is_working for pursuit in resting) and clock.elapsed() < deadline:
        desk.venue.wait(pause)
        pause = min(pause * PATIENCE_GROWS, desk.rules.longest_poll)
        orders = listed(desk)
        resting = [_looked_at(pursuit, orders, desk) if pursuit.is_working else pursuit for pursuit in resting]
    return resting


def _looked_at(pursuit: Pursuit, orders: Mapping[str, BrokerOrder], desk: Desk) -> Pursuit:
    looked = seen(pursuit, orders, desk)
    # A cancel that was asked for in order to price the rest anew counts once that very order is over.
    repricing = pursuit.repricing and len(looked.orders) == len(pursuit.orders)
    return ended(replace(looked, repricing=repricing), desk)


def _cancelled(pursuit: Pursuit, desk: Desk) -> Pursuit:
    """Ask for the last order to be cancelled, where it works: journalled before, read from the order after."""
    last = pursuit.last
    if last is None or last.status.is_terminal or _stays(pursuit, desk):
        return pursuit
    pursuit = replace(pursuit, repricing=len(pursuit.orders) <= desk.rules.max_reprices)
    if not desk.record(
        pursuit.intent, _cancelling(pursuit), f"takes too long: {standing(pursuit)}", last.client_order_id
    ):
        return pursuit
    # The others are to be cancelled as well.
    with suppress(TransientError, RequestRefused):
        desk.venue.broker.cancel(last.venue_order_id)
    return pursuit


def _stays(pursuit: Pursuit, desk: Desk) -> bool:
    """Tell whether its last order stays at the broker: no slice is left, and the rules want the last to rest there."""
    return desk.rules.last_stays and len(pursuit.orders) > desk.rules.max_reprices


def _cancelling(pursuit: Pursuit) -> IntentState:
    return IntentState.REPRICING if pursuit.repricing else IntentState.CANCELLING


def _last_id(pursuit: Pursuit) -> str:
    return pursuit.intent.client_order_id if pursuit.last is None else pursuit.last.client_order_id
