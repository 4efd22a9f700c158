"""One order on its way to the broker, such that it is sent at most once.

The journal has a line on the disk before the first byte leaves. Whatever the
broker or the network did, the order is asked for by its id before it is sent
again, and then under the same id, which the broker takes once only. An id is
spent when the broker has an order of it: what was refused at once created
nothing, and the changed order bears the same id.
"""

from dataclasses import replace
from decimal import Decimal
from typing import assert_never

from trading_pipeline.application import gate
from trading_pipeline.application.sizing import Later, Never, Order, after_refusal
from trading_pipeline.application.venue import ZERO, Desk, Pursuit, dollars
from trading_pipeline.domain.errors import TransientError
from trading_pipeline.domain.instruments import plain
from trading_pipeline.domain.orders import Accepted, BrokerOrder, NotSent, Refusal, Rejected, Side, Unknown
from trading_pipeline.ports import IntentState, JournalEntry

# How lines of the journal begin or go on that tell of no new sending.
SENT_BEFORE, NO_CLEAR_ANSWER = "sent before", "no clear answer"
MOST_SENDS = 2
MOST_QUESTIONS = 4


def submitted(pursuit: Pursuit, order: Order, desk: Desk) -> Pursuit:
    """Bring the next order of ``pursuit`` to the broker and return the pursuit as it then stands.

    Raises:
        TradingHalted: the trading state stops it; nothing was sent.
        Interrupted: the process was asked to end.
        TransientError: the journal could not be written, so nothing was sent; or an order in doubt
            could not be asked for.
        PermanentError: likewise.
    """
    found = desk.venue.broker.order(pursuit.next_id) if pursuit.in_doubt else None
    return _pursued(pursuit, order, desk) if found is None else acknowledged(pursuit, found, desk)


def _pursued(pursuit: Pursuit, order: Order, desk: Desk) -> Pursuit:
    unclear = 0
    while unclear < MOST_SENDS:
        outcome = _sent(pursuit, order, desk)
        match outcome:
            case None:
                return replace(pursuit, in_doubt=False, repricing=False)
            case BrokerOrder():
                return acknowledged(pursuit, outcome, desk)
            case Unknown():
                unclear += 1
                pursuit = replace(pursuit, in_doubt=True, binds=_binds(order))
            case Order():
                # At most twice: each change is made once.
                order = outcome
            case Later() | Never():
                return rested_unsent(pursuit, outcome, desk)
            case never:
                assert_never(never)
    return pursuit


def acknowledged(pursuit: Pursuit, found: BrokerOrder, desk: Desk) -> Pursuit:
    """Journal that the broker has the next order of ``pursuit``; one that was given up is taken up again."""
    desk.record(pursuit.intent, IntentState.ACKNOWLEDGED, found.venue_order_id, found.client_order_id)
    return replace(pursuit, orders=(*pursuit.orders, found), in_doubt=False, repricing=False)


def rested_unsent(pursuit: Pursuit, why: Later | Never, desk: Desk, expecting: JournalEntry | None = None) -> Pursuit:
    """Journal that nothing is sent for ``pursuit`` now, or any more.

    What was sent before and is not seen may yet turn up: it is watched until the
    session ends, and its cash stays bound. So is what a run beside this one has
    recorded since the entry that the decision rests on (``expecting``).
    """
    if pursuit.in_doubt:
        watched = f"{SENT_BEFORE}, not seen at the broker, not sent again: {why.reason}"
        desk.record(pursuit.intent, IntentState.SUBMITTING, watched, pursuit.next_id)
        return pursuit
    state, detail = _rest(pursuit, why)
    if desk.record(pursuit.intent, state, detail, pursuit.next_id, expecting=expecting):
        return replace(pursuit, repricing=False)
    return replace(pursuit, in_doubt=True)


def _rest(pursuit: Pursuit, why: Later | Never) -> tuple[IntentState, str]:
    if isinstance(why, Later):
        return IntentState.PARKED, why.reason
    if why.refused and not pursuit.orders:
        return IntentState.REJECTED, why.reason
    return IntentState.ABANDONED, _with_filled(pursuit, why.reason)


def _with_filled(pursuit: Pursuit, reason: str) -> str:
    return f"{plain(pursuit.filled)} of {plain(pursuit.intent.quantity)} filled; {reason}" if pursuit.orders else reason


def _sent(pursuit: Pursuit, order: Order, desk: Desk) -> BrokerOrder | Unknown | Order | Later | Never | None:
    """Send once; return the broker's order, the changed order to be sent instead, or why there is none.

    None means that a run beside this one has ended the intent: nothing was sent.
    """
    name = pursuit.next_id
    match gate.send(pursuit, order, desk):
        case None:
            return None
        case Later() | Never() as unsent:
            return unsent
        case Accepted(found):
            return found
        case NotSent(_, reason):
            return Later(f"not sent: {reason}")
        case Unknown(_, evidence) as unknown:
            unclear = f"{order.terms}; {NO_CLEAR_ANSWER}: {evidence}"
            desk.record(pursuit.intent, IntentState.SUBMITTING, unclear, name, order.mid)
            return _asked_for(name, desk) or unknown
        case Rejected() as rejected:
            # One sent before, or beside this run, may have arrived and be the reason why this one was refused.
            return desk.venue.broker.order(name) or after_refusal(order, _with_figures(rejected, desk))
        case never:
            assert_never(never)


def _asked_for(name: str, desk: Desk) -> BrokerOrder | None:
    """Ask a few times, since an order whose answer was lost may still arrive.

    Raises:
        TransientError: no question was answered, which is no answer: then it is not sent again.
    """
    pause = desk.rules.first_poll
    for asked in range(1, MOST_QUESTIONS + 1):
        # Whoever is asked to end asks no more: what is journalled is asked for by the next run.
        desk.venue.clock.wait(0)
        try:
            found = desk.venue.broker.order(name)
        except TransientError:
            if asked == MOST_QUESTIONS:
                raise
            found = None
        if found is not None:
            return found
        desk.venue.clock.wait(pause)
        pause = min(pause * 2, desk.rules.longest_poll)
    return None


def _with_figures(rejected: Rejected, desk: Desk) -> Rejected:
    """Ask the broker what cash there is, where its refusal does not say."""
    if rejected.available is not None or rejected.refusal is not Refusal.BUYING_POWER:
        return rejected
    return replace(rejected, available=desk.venue.broker.portfolio().cash)


def _binds(order: Order) -> Decimal:
    intent = order.intent
    return dollars(intent.quantity, intent.limit_price, intent) if intent.side is Side.BUY else ZERO
