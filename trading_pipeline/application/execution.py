"""The submit loop: claim the plan, sell, buy from the cash that is there, wait for every order to end.

Whoever runs it again, after a crash or beside another, repeats the same ids
and asks the broker before sending, so that an intent is never two orders at
once. The steps: :mod:`sizing <trading_pipeline.application.sizing>` (what is
sent now), :mod:`submission <trading_pipeline.application.submission>` (one
order on its way), :mod:`working <trading_pipeline.application.working>`
(orders at the broker), :mod:`settling <trading_pipeline.application.settling>`
(what is left when the session is over).
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from trading_pipeline.application import opposites
from trading_pipeline.application.gate import refuse_undecided
from trading_pipeline.application.settling import settle
from trading_pipeline.application.sizing import Later, Never, Order, Pricing, Sized, sized
from trading_pipeline.application.submission import acknowledged, rested_unsent, submitted
from trading_pipeline.application.venue import (
    ZERO,
    Desk,
    ExecutionRules,
    Pursuit,
    Venue,
    dollars,
    refuse_untimely,
)
from trading_pipeline.application.working import (
    asked_to_reprice,
    ended,
    lines_by_order,
    listed,
    rested,
    wants_more,
)
from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import DataError, TradingHalted
from trading_pipeline.domain.fills import Fill
from trading_pipeline.domain.orders import BrokerOrder, OrderIntent, Plan, Side
from trading_pipeline.domain.portfolio import Portfolio
from trading_pipeline.ports import IntentState, JournalEntry, OrderJournal, PlanStore, Quote

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "ExecutionReport",
    "ExecutionRules",
    "Venue",
    "execute",
    "fills_to_frame",
    "is_over",
    "plan_in_force",
    "report",
    "settle",
]

# A buy that cash does not cover yet waits this part of the time limit for sales that are not over, and to learn what
# orders took that were sent and are not seen.
WAIT_FOR_CASH = 0.5
# Lines after which an order may be at the broker.
_ON_ITS_WAY = frozenset(
    {IntentState.SUBMITTING, IntentState.ACKNOWLEDGED, IntentState.CANCELLING, IntentState.REPRICING}
)


@dataclass(frozen=True)
class ExecutionReport:
    """How every intent of a plan ended, its orders at the broker, and the executions that belong to them."""

    plan: Plan
    entries: tuple[JournalEntry, ...]
    orders: tuple[BrokerOrder, ...] = ()
    fills: tuple[Fill, ...] = ()
    intents_by_order: Mapping[str, str] = field(default_factory=dict)

    @property
    def unresolved(self) -> tuple[JournalEntry, ...]:
        """Intents whose fate is not known yet."""
        return tuple(entry for entry in self.entries if not entry.state.is_terminal)


def plan_in_force(plans: PlanStore, journal: OrderJournal, account_number: str, session: date) -> Plan | None:
    """Return the plan that trades ``session``'s decision: the one already claimed, else the newest; None without one.

    Raises:
        DataError: the journal holds a plan that the store has not.
    """
    versions = plans.versions(account_number, session)
    holder = journal.claimed(account_number, session)
    if holder is None:
        return versions[-1] if versions else None
    for plan in versions:
        if plan.plan_id == holder:
            return plan
    raise DataError(f"the journal holds plan {holder} of session {session}, which the plan store lacks; restore it")


def execute(plan: Plan, venue: Venue, rules: ExecutionRules) -> ExecutionReport:
    """Bring every intent of ``plan`` to its end and report what was executed.

    An intent whose fate cannot be told in time, or whose symbol cannot be
    traded now, stays open in the report; the next call asks for it again.
    After an error the next call goes on where this one stopped. Once the
    window has ended nothing is sent any more: what works comes to rest, and
    later calls settle and report a plan that was begun.

    Raises:
        OutsideExecutionWindow: the plan is hypothetical, or was not begun and its window is not now.
        TradingHalted: the trading state or the broker allows no orders, or the account is not the plan's.
        Interrupted: the process was asked to end; what was on its way was finished.
        DataError: another plan of the same session was executed first, or an order of it was never decided on.
        TransientError: the broker or the market data gave no usable answer.
        PermanentError: the broker refused to answer.
    """
    now, since = venue.clock.now(), venue.clock.elapsed()
    if is_over(plan, venue, rules, now):
        _settled(plan, venue, rules, now)
        return report(plan, venue, rules)
    refuse_untimely(plan, rules, now)
    if not _was_begun(plan, venue):
        refuse_undecided(plan)
    _claim(plan, venue.journal, now)
    if any(entry.plan_id != plan.plan_id for entry in venue.journal.unfinished()):
        _settled(plan, venue, rules, now)
    claimed_at = min((entry.recorded_at for entry in _history(plan, venue)), default=now)
    desk = Desk(plan, venue, rules, claimed_at, now, since)
    with ThreadPoolExecutor(rules.orders_in_flight, "orders") as senders:
        for side in (Side.SELL, Side.BUY):
            _work_off(side, desk, senders)
    return report(plan, venue, rules)


def report(plan: Plan, venue: Venue, rules: ExecutionRules | None = None) -> ExecutionReport:
    """Return where every intent of ``plan`` stands, its orders, and their executions.

    With ``rules`` it waits until the executions account for what the orders say
    is filled, as long as an order may take: a broker may tell of the one before the other.
    """
    entries = tuple(venue.journal.entries(plan.plan_id, plan.account_number))
    intents = {entry.order_id: entry.client_order_id for entry in _history(plan, venue)}
    if not intents:
        return ExecutionReport(plan, entries)
    since = sessions.open_of(plan.execution_session)
    orders = tuple(order for order in venue.broker.orders(since) if order.client_order_id in intents)
    wanted = sum((order.filled_quantity for order in orders), ZERO)
    fills = _executions(plan, venue, intents)
    if rules is not None:
        fills = _awaited_executions(fills, wanted, plan, venue, rules, intents)
    return ExecutionReport(plan, entries, orders, fills, intents)


def _history(plan: Plan, venue: Venue) -> Sequence[JournalEntry]:
    return venue.journal.history(plan.plan_id, plan.account_number)


def _executions(plan: Plan, venue: Venue, ours: Mapping[str, str]) -> tuple[Fill, ...]:
    executions = venue.broker.executions(sessions.open_of(plan.execution_session))
    return tuple(fill for fill in executions if fill.client_order_id in ours)


def _awaited_executions(
    fills: tuple[Fill, ...],
    wanted: Decimal,
    plan: Plan,
    venue: Venue,
    rules: ExecutionRules,
    ours: Mapping[str, str],
) -> tuple[Fill, ...]:
    deadline, pause = venue.clock.elapsed() + rules.order_timeout, rules.first_poll
    while sum((fill.quantity for fill in fills), ZERO) < wanted and venue.clock.elapsed() < deadline:
        venue.clock.wait(pause)
        pause = min(pause * 2, rules.longest_poll)
        fills = _executions(plan, venue, ours)
    return fills


def _claim(plan: Plan, journal: OrderJournal, now: datetime) -> None:
    holder = journal.claim(plan, now)
    if holder != plan.plan_id:
        raise DataError(f"plan {holder} of session {plan.session} is being executed; plan {plan.plan_id} came too late")


def is_over(plan: Plan, venue: Venue, rules: ExecutionRules, now: datetime) -> bool:
    """Tell whether ``plan`` was begun and its window has ended: :func:`execute` then sends nothing, and reports."""
    return _was_begun(plan, venue) and now >= rules.window(plan.execution_session).end


def _was_begun(plan: Plan, venue: Venue) -> bool:
    if plan.hypothetical:
        return False
    return venue.journal.claimed(plan.account_number, plan.session, plan.liquidation) == plan.plan_id


def _settled(plan: Plan, venue: Venue, rules: ExecutionRules, now: datetime) -> None:
    # Another account knows none of the orders, which would read as never arrived.
    _refuse_blocked(replace(venue.broker.portfolio(), blocked=""), plan)
    settle(venue, rules, now, plan.account_number)


def _work_off(side: Side, desk: Desk, senders: ThreadPoolExecutor) -> None:
    """Bring the intents of one side to rest: those of an earlier run first, then the others, then their remains."""
    pursuits = [ended(pursuit, desk) for pursuit in _taken_up(side, desk)]
    working: Sequence[Pursuit] = [pursuit for pursuit in pursuits if pursuit.is_working and not pursuit.in_doubt]
    unsent = [pursuit for pursuit in pursuits if pursuit.last is None or pursuit.in_doubt or wants_more(pursuit, desk)]
    unsettled: list[Pursuit] = []
    while working or unsent:
        # What an earlier order took is part of the portfolio by which the next are sized.
        resting = rested(working, desk)
        unsettled += [pursuit for pursuit in resting if pursuit.is_working]
        unsent += [pursuit for pursuit in resting if not pursuit.is_working and wants_more(pursuit, desk)]
        placed = _placed(unsent, unsettled, desk, senders)
        working = [pursuit for pursuit in placed if pursuit.is_working]
        unsent = [pursuit for pursuit in placed if not pursuit.is_working and wants_more(pursuit, desk)]


def _taken_up(side: Side, desk: Desk) -> Sequence[Pursuit]:
    """Return the intents of one side that are not over, with the orders that the broker has of them."""
    plan, journal = desk.plan, desk.venue.journal
    states = {entry.client_order_id: entry.state for entry in journal.entries(plan.plan_id, plan.account_number)}
    intents = [order for order in plan.orders if order.side is side and not states[order.client_order_id].is_terminal]
    if not intents:
        return []
    lines, orders = lines_by_order(desk), listed(desk)
    return [_adopted(intent, lines, orders, desk) for intent in intents]


def _adopted(
    intent: OrderIntent,
    lines: Mapping[str, Sequence[IntentState]],
    orders: Mapping[str, BrokerOrder],
    desk: Desk,
) -> Pursuit:
    """Return an intent with what the broker has of it, as the journal's lines on these very orders tell it."""
    pursuit = Pursuit(intent, desk.plan.account_number, desk.plan.plan_id)
    while (found := orders.get(pursuit.next_id)) is not None:
        pursuit = _with(found, pursuit, lines.get(found.client_order_id, ()), desk)
    # An order that the journal knows to be on its way, and the list does not show, may exist all the same.
    next_lines = lines.get(pursuit.next_id, ())
    in_doubt = bool(next_lines) and next_lines[-1] in _ON_ITS_WAY
    last_lines = () if pursuit.last is None else lines.get(pursuit.last.client_order_id, ())
    return replace(pursuit, in_doubt=in_doubt, repricing=pursuit.repricing or asked_to_reprice(last_lines))


def _with(found: BrokerOrder, pursuit: Pursuit, lines: Sequence[IntentState], desk: Desk) -> Pursuit:
    sent = [state for state in lines if not state.is_unsent]
    if not sent:
        # No line of the journal knows of it, so the journal was lost; a cancel that comes, or came, was ours as well.
        desk.record(pursuit.intent, IntentState.REPRICING, "found at the broker, not journalled", found.client_order_id)
        return replace(pursuit, orders=(*pursuit.orders, found), repricing=True)
    if sent[-1] is IntentState.SUBMITTING:
        return acknowledged(pursuit, found, desk)
    return replace(pursuit, orders=(*pursuit.orders, found), repricing=False)


def _placed(
    pursuits: Sequence[Pursuit], unsettled: Sequence[Pursuit], desk: Desk, senders: ThreadPoolExecutor
) -> Sequence[Pursuit]:
    """Send what is not sent of ``pursuits``, return them as they then stand; ``unsettled`` ones may yet take cash."""
    if not pursuits:
        return []
    desk = replace(desk, since=desk.venue.clock.elapsed(), now=desk.venue.clock.now())
    if desk.is_over:
        return []
    looked = [_looked_for(pursuit, desk) for pursuit in pursuits]
    arrived = [after for before, after in zip(pursuits, looked, strict=True) if before.in_doubt and not after.in_doubt]
    unsent = [after for after in looked if after not in arrived]
    return [*arrived, *_sent(unsent, unsettled, desk, senders)]


def _looked_for(pursuit: Pursuit, desk: Desk) -> Pursuit:
    """Ask for an order in doubt before cash is read: one that came late and was filled would be counted twice."""
    found = desk.venue.broker.order(pursuit.next_id) if pursuit.in_doubt else None
    return pursuit if found is None else ended(acknowledged(pursuit, found, desk), desk)


def _sent(
    pursuits: Sequence[Pursuit], unsettled: Sequence[Pursuit], desk: Desk, senders: ThreadPoolExecutor
) -> Sequence[Pursuit]:
    if not pursuits:
        return []
    held_back = desk.held_back(pursuits[0].intent.side)
    portfolio = desk.venue.broker.portfolio()
    _refuse_blocked(portfolio, desk.plan)
    opposed = {} if held_back else opposites.opposed(pursuits, desk)
    symbols = [pursuit.intent.symbol for pursuit in pursuits]
    stopped = {} if held_back else desk.venue.why_stopped(symbols)
    waiting = {symbol: held_back or stopped.get(symbol, "") or opposed.get(symbol, "") for symbol in symbols}
    quotes = desk.venue.market_data.quotes(symbols)
    cash = portfolio.cash - sum((pursuit.still_binds for pursuit in unsettled), ZERO)
    unsure = [pursuit.intent.symbol for pursuit in (*unsettled, *pursuits) if pursuit.in_doubt]
    decided = _decided(pursuits, quotes, replace(portfolio, cash=cash), waiting, unsure, desk)
    # What is bound to this thread's log lines (session, run) is bound to those of the senders as well.
    contexts = [copy_context() for _ in decided]
    results = senders.map(lambda context, pair: context.run(_carried_out, *pair, desk), contexts, decided)
    return list(results)


def _refuse_blocked(portfolio: Portfolio, plan: Plan) -> None:
    left, wanted = f"what was not yet sent of plan {plan.plan_id} stays unsent", plan.account_number
    if portfolio.blocked:
        raise TradingHalted(f"the broker blocks the account: {portfolio.blocked}; {left}")
    if portfolio.account_number != wanted:
        found = portfolio.account_number
        raise TradingHalted(f"the plan is of account {wanted}, the broker answers for {found}; {left}: check the keys")


def _decided(
    pursuits: Sequence[Pursuit],
    quotes: Mapping[str, Quote],
    portfolio: Portfolio,
    waiting: Mapping[str, str],
    unsure: Sequence[str],
    desk: Desk,
) -> Sequence[tuple[Pursuit, Sized]]:
    """Decide on one after the other, in the plan's order: cash that one takes is not there for the next."""
    decided, is_patient, sales = [], _is_patient(desk), _open_sales(desk)
    for pursuit in pursuits:
        symbol = pursuit.intent.symbol
        outcome = _timely(waiting[symbol], desk)
        if outcome is None:
            wanted = replace(pursuit.intent, quantity=pursuit.remaining)
            outcome = sized(wanted, quotes.get(symbol), portfolio, _pricing(pursuit, desk))
            reason = _reason_to_wait(sales, [other for other in unsure if other != symbol])
            outcome = _patient(outcome, wanted, reason if is_patient else "")
        if isinstance(outcome, Order) and outcome.intent.side is Side.BUY:
            taken = dollars(outcome.intent.quantity, outcome.intent.limit_price, outcome.intent)
            portfolio = replace(portfolio, cash=portfolio.cash - taken)
        elif pursuit.in_doubt:
            # It was sent, at the collar at most, and may take that much.
            bound = dollars(pursuit.remaining, pursuit.intent.limit_price, pursuit.intent)
            pursuit = replace(pursuit, binds=bound)  # noqa: PLW2901 - the same pursuit, with what it may take
            portfolio = replace(portfolio, cash=portfolio.cash - pursuit.still_binds)
        decided.append((pursuit, outcome))
    return decided


def _timely(waiting: str, desk: Desk) -> Sized | None:
    if desk.past_limit:
        return Never(desk.past_limit)
    return Later(waiting) if waiting else None


def _pricing(pursuit: Pursuit, desk: Desk) -> Pricing:
    # Each slice goes further beyond the quote than the one before, inside the collar.
    offset = desk.rules.offset(pursuit.intent.symbol, len(pursuit.orders))
    return Pricing(offset, desk.rules.quote_age, desk.now)


def _is_patient(desk: Desk) -> bool:
    """Tell whether a buy that cash does not cover waits yet for what may change that."""
    return desk.now - desk.claimed_at <= desk.rules.time_limit * WAIT_FOR_CASH


def _open_sales(desk: Desk) -> Sequence[str]:
    """Return the symbols whose sales may yet bring cash."""
    open_ones = {entry.client_order_id for entry in desk.entries() if not entry.state.is_terminal}
    return [o.symbol for o in desk.plan.orders if o.side is Side.SELL and o.client_order_id in open_ones]


def _reason_to_wait(sales: Sequence[str], unsure: Sequence[str]) -> str:
    if sales:
        return f"waits for the cash of {', '.join(sales)}, not sold yet"
    return f"waits to know what {', '.join(unsure)} takes, sent and not seen yet" if unsure else ""


def _patient(outcome: Sized, wanted: OrderIntent, reason: str) -> Sized:
    """Let a buy that cash does not cover wait, where there is a reason to."""
    if wanted.side is Side.SELL or not reason or isinstance(outcome, Later):
        return outcome
    is_cut = isinstance(outcome, Order) and outcome.intent.quantity < wanted.quantity
    is_poor = isinstance(outcome, Never) and outcome.lacks_cash
    return Later(reason) if is_cut or is_poor else outcome


def _carried_out(pursuit: Pursuit, outcome: Sized, desk: Desk) -> Pursuit:
    if isinstance(outcome, Order):
        sent = submitted(pursuit, outcome, desk)
        # The broker may have filled, or cancelled, an order before its answer was read.
        return sent if len(sent.orders) == len(pursuit.orders) else ended(sent, desk)
    # A run beside this one may have sent it: what is given up can no longer be adopted.
    entries = {entry.client_order_id: entry for entry in desk.entries()}
    entry = entries[pursuit.intent.client_order_id]
    if entry.state.is_terminal:
        return replace(pursuit, in_doubt=False, repricing=False)
    sent_beside = entry.state in _ON_ITS_WAY and entry.order_id == pursuit.next_id
    return rested_unsent(replace(pursuit, in_doubt=pursuit.in_doubt or sent_beside), outcome, desk, entry)


FILL_COLUMNS = (
    "session",
    "execution_session",
    "plan_id",
    "client_order_id",
    "execution_id",
    "symbol",
    "side",
    "quantity",
    "price",
    "commission",
    "filled_at",
)


def fills_to_frame(done: ExecutionReport) -> "pd.DataFrame":
    """Return the rows of table ``fills``: one for each execution, under the id of its intent."""
    import pandas as pd

    rows = [
        (
            done.plan.session,
            done.plan.execution_session,
            done.plan.plan_id,
            done.intents_by_order[fill.client_order_id],
            fill.execution_id,
            fill.symbol,
            fill.side.value,
            fill.quantity,
            fill.price,
            fill.commission,
            fill.filled_at,
        )
        for fill in done.fills
    ]
    frame = pd.DataFrame(rows, columns=list(FILL_COLUMNS))
    return frame.astype({"filled_at": "datetime64[us, UTC]"})
