"""The gate: the one place from which orders leave.

Here, and nowhere else, the broker is told to trade. Whoever stops trading
waits until what is passing has passed, and nothing passes after; an order
passes only with the risk engine's decision in its plan, for no more shares,
at no worse price and in no more slices than that allows.
"""

from dataclasses import replace

from trading_pipeline.application.sizing import Later, Never, Order
from trading_pipeline.application.venue import Desk, Pursuit
from trading_pipeline.domain.errors import DataError, RateLimited
from trading_pipeline.domain.orders import OrderResult, Plan
from trading_pipeline.domain.risk.decisions import Breach
from trading_pipeline.domain.risk.last_hop import LETS_PASS, Parent, last_hop
from trading_pipeline.ports import IntentState

REFUSED_HERE = "refused at the last hop"


def refuse_undecided(plan: Plan) -> None:
    """Stop before anything is journalled of a plan that holds an order without a decision that lets it pass.

    Raises:
        DataError: it does; an earlier version of this code made it, or somebody changed it.
    """
    passed = {made.client_order_id for made in plan.decisions if made.decision in LETS_PASS}
    undecided = [order.symbol for order in plan.orders if order.client_order_id not in passed]
    if undecided:
        raise DataError(
            f"plan {plan.plan_id} holds orders for {', '.join(undecided)} without a decision of the risk engine that "
            f"lets them pass; materialise approved_orders of session {plan.session} again"
        )


def send(pursuit: Pursuit, order: Order, desk: Desk) -> OrderResult | Later | Never | None:
    """Read the trading state, look at the order once more, journal it and send it, in one go when its turn has come.

    None means that a run beside this one has ended the intent: nothing was sent.

    Raises:
        TradingHalted: the trading state stops it, or cannot be read; nothing was sent.
        Interrupted: the process was asked to end.
        TransientError: the journal could not be written, so nothing was sent.
    """
    try:
        with desk.venue.turn_to_submit():
            return _sent(pursuit, order, desk)
    except RateLimited as late:
        return Later(str(late))


def _sent(pursuit: Pursuit, order: Order, desk: Desk) -> OrderResult | Later | Never | None:
    name = pursuit.next_id
    with desk.venue.sending():
        desk.refuse_halted(order.intent.side)
        if desk.is_over:
            return Later("the execution window has ended")
        if desk.past_limit:
            return Never(desk.past_limit)
        breaches = _looked_at_last(pursuit, order, desk)
        if breaches:
            return Never(f"{REFUSED_HERE}: {'; '.join(map(str, breaches))}")
        if not desk.record(pursuit.intent, IntentState.SUBMITTING, order.terms, name, order.mid):
            return None
        return desk.venue.broker.submit(replace(order.intent, client_order_id=name))


def _looked_at_last(pursuit: Pursuit, order: Order, desk: Desk) -> tuple[Breach, ...]:
    intent = pursuit.intent
    decision = desk.plan.decision(intent.client_order_id)
    return last_hop(order.intent, Parent(intent, decision, pursuit.orders, desk.rules.max_reprices + 1))
