"""Getting out of everything that is held: asked for, agreed to, planned once, sent by the submit loop, and over.

A liquidation answers one change of the trading state and is known by its
number. Whoever begins it again, after a crash or beside another, finds the
request, the plan and the journal as they were left, and repeats the same ids.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal

import structlog

from trading_pipeline.application.execution import ExecutionReport, execute
from trading_pipeline.application.halting import OrdersLeft
from trading_pipeline.application.liquidation_desk import (
    LiquidationDesk,
    SeenState,
    session_of_orders,
)
from trading_pipeline.application.liquidation_plan import decided, plan_id_of
from trading_pipeline.application.planning import archived
from trading_pipeline.application.venue import refuse_untimely
from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import InvalidInput, OutsideExecutionWindow, TradingHalted
from trading_pipeline.domain.instruments import plain
from trading_pipeline.domain.liquidation import (
    LIQUIDATION,
    Consent,
    LeftOut,
    LiquidationRequest,
    LiquidationTerms,
    LiquidationTrigger,
    Stage,
    begun,
    ended,
)
from trading_pipeline.domain.orders import Plan, PlanPurpose, Side, client_order_id
from trading_pipeline.domain.portfolio import Position
from trading_pipeline.domain.risk.trading_state import PERSON, TradingState
from trading_pipeline.ports import Alert, Severity


@dataclass(frozen=True)
class Liquidated:
    """How far a liquidation has come: its plan, where each order stands, what is still held and why."""

    request: LiquidationRequest
    plan: Plan
    done: ExecutionReport
    left: tuple[LeftOut, ...]

    @property
    def is_over(self) -> bool:
        """Tell whether nothing more is sent."""
        return not self.done.unresolved

    def __str__(self) -> str:
        """Show it in one line."""
        ends = [f"{len(self.plan.orders)} orders", "everything is sold" if not self.left else "still held:"]
        told = "; ".join(f"{left.symbol} {plain(left.quantity)} ({left.reason})" for left in self.left)
        return f"{', '.join(ends)} {told}".rstrip()


def asked(
    desk: LiquidationDesk, trigger: LiquidationTrigger, reason: str, consent: Consent = Consent.CONFIRM
) -> LiquidationRequest:
    """Ask for a liquidation and return the request, whose code a person repeats to confirm it.

    Of one change of the trading state there is one request: who asks again is
    given the same, with a new code where that has expired. What a person only
    asked about gives way to what is set off, and any question to what is
    automatic (``consent``); one that was withdrawn, to a person who asks anew.
    While one is under way, that is returned.

    Raises:
        InvalidInput: the reason is empty.
        TradingHalted: the trading state cannot be read.
        TransientError: the broker or the disk gave no usable answer.
        DataError: a stored request cannot be read.
    """
    if not reason.strip():
        raise InvalidInput("everything is sold for a reason; give one, for whoever looks later")
    account, now = desk.venue.broker.portfolio().account_number, desk.venue.clock.now()
    under_way = agreed(desk, account)
    if under_way is not None:
        return under_way
    epoch = _stored_state(desk).epoch
    wanted = LiquidationRequest(trigger, reason, account, epoch, now, now + desk.rules.code_valid)
    while True:
        earlier = desk.requests.of(account, epoch)
        if earlier is not None and not _gives_way(earlier, wanted, consent):
            return earlier
        if desk.requests.replace(earlier, wanted):
            return wanted


def _gives_way(earlier: LiquidationRequest, wanted: LiquidationRequest, consent: Consent) -> bool:
    if earlier.stage is not Stage.REQUESTED:
        is_withdrawn = earlier.stage is Stage.OVER and earlier.session is None
        return is_withdrawn and wanted.trigger is LiquidationTrigger.PERSON
    is_another = earlier.trigger is not wanted.trigger
    is_stronger = earlier.trigger is LiquidationTrigger.PERSON or consent is Consent.AUTOMATIC
    return wanted.made_at >= earlier.expires_at or (is_another and is_stronger)


def agreed(desk: LiquidationDesk, account: str) -> LiquidationRequest | None:
    """Return the liquidation that was agreed to and is not over; None where there is none.

    One whose latch was reset has been ended by whoever did that, and is noted to be over.
    """
    newest = desk.requests.newest(account)
    if newest is None or not newest.stage.is_agreed:
        return None
    if newest.stage is Stage.UNDER_WAY and _stored_state(desk).latch(LIQUIDATION) is None:
        _moved(desk, newest, stage=Stage.OVER, outcome="ended by whoever reset its latch")
        return None
    return newest


def withdrawn(desk: LiquidationDesk, by: str) -> LiquidationRequest:
    """End a liquidation that was asked for or agreed to and has not begun, and return it; another may be asked for.

    Raises:
        InvalidInput: there is none, or it is under way.
        TransientError: the broker or the disk gave no usable answer.
        DataError: a stored request cannot be read.
    """
    request = desk.requests.newest(desk.venue.broker.portfolio().account_number)
    if request is None or request.stage is Stage.OVER:
        raise InvalidInput("no liquidation was asked for or agreed to, so there is none to withdraw")
    if request.stage is Stage.UNDER_WAY:
        raise InvalidInput(
            f"{request.name} is under way: `trading-pipeline kill halt` stops it, and `trading-pipeline kill reset "
            f"--latch {LIQUIDATION}` ends it"
        )
    return _moved(desk, request, stage=Stage.OVER, outcome=f"withdrawn by {by} before anything was sold")


def opens_at(desk: LiquidationDesk, request: LiquidationRequest) -> datetime | None:
    """Return the UTC instant from which ``request`` can be carried out; None where that is now."""
    now = desk.venue.clock.now()
    session = session_of_orders(now)
    window = desk.rules.execution.window(session)
    if window.contains(now) or _plan_of(desk, request) is not None:
        return None
    return window.start if now < window.start else desk.rules.execution.window(sessions.next_session(session)).start


def confirmed(desk: LiquidationDesk, code: str, by: str) -> LiquidationRequest:
    """Return the request of that code as agreed to by ``by``; one that is agreed to already goes on.

    Raises:
        InvalidInput: the code is of no request, has expired, or trading was held by something else since.
        TradingHalted: the trading state cannot be read.
        TransientError: the broker or the disk gave no usable answer.
    """
    account = desk.venue.broker.portfolio().account_number
    request = desk.requests.newest(account)
    if request is None:
        raise InvalidInput("no liquidation was asked for; `trading-pipeline liquidate` shows what would be sold")
    changed = request.confirmed(code, by, _stored_state(desk).epoch, desk.venue.clock.now())
    return request if changed == request else _moved(desk, request, stage=changed.stage, agreed_by=by)


def liquidate(desk: LiquidationDesk, request: LiquidationRequest) -> Liquidated:
    """Carry out a liquidation that was agreed to, as far as it goes now, and return how far that was.

    Trading is reducing meanwhile. What does not trade now is waited for, and
    asked for again by the next call until the window ends. When every order
    has ended it is over, and trading is held to what the rules say.

    Raises:
        OutsideExecutionWindow: no orders may be placed now; the next call inside the window goes on.
        TradingHalted: a person, the broker or another source halts trading, or the liquidation was ended.
        InvalidInput: something else holds trading since it was agreed to.
        Interrupted: the process was asked to end; the next call goes on.
        TransientError: the broker or the market data gave no usable answer; the next call goes on.
        PermanentError: the broker refused to answer.
    """
    # Another process may have brought it further since.
    request = desk.requests.of(request.account_number, request.epoch) or request
    plan = _plan_of(desk, request)
    if plan is None:
        now = desk.venue.clock.now()
        _refuse_untimely(desk, now)
        request = _begun(desk, request)
        plan, request = _planned(desk, request, now)
    done = _worked_off(desk, plan)
    found = Liquidated(request, plan, done, _left(desk, plan, done))
    return _over(desk, found) if found.is_over else found


def _moved(
    desk: LiquidationDesk,
    request: LiquidationRequest,
    *,
    stage: Stage,
    agreed_by: str = "",
    session: date | None = None,
    outcome: str = "",
) -> LiquidationRequest:
    """Store how far ``request`` has come; where another has moved it further meanwhile, that stands."""
    moved = replace(
        request,
        stage=stage,
        agreed_by=agreed_by or request.agreed_by,
        session=session or request.session,
        outcome=outcome,
    )
    if desk.requests.replace(request, moved):
        structlog.get_logger().warning("liquidation", number=request.epoch, stage=stage.value, outcome=outcome)
        return moved
    return desk.requests.of(request.account_number, request.epoch) or moved


def _stored_state(desk: LiquidationDesk) -> TradingState:
    """Return the state as it is stored; unlike the one in force it is never a guess.

    Raises:
        TradingHalted: it cannot be read.
    """
    return desk.trading_state.change(lambda state: state)


def _refuse_untimely(desk: LiquidationDesk, now: datetime) -> None:
    session = session_of_orders(now)
    window = desk.rules.execution.window(session)
    if not window.contains(now):
        raise OutsideExecutionWindow(
            f"positions can be closed from {window.start.isoformat()} to {window.end.isoformat()}, now is "
            f"{now.isoformat()}; a liquidation that was agreed to is carried out in the next window, or withdrawn with "
            f"`trading-pipeline liquidate --withdraw`"
        )


def _begun(desk: LiquidationDesk, request: LiquidationRequest) -> LiquidationRequest:
    """Hold trading to reducing, once; whatever else was latched since it was agreed to ends it instead."""
    if request.stage is Stage.UNDER_WAY:
        return request
    reason, now = f"{request.name} under way: {request.reason}", desk.venue.clock.now()

    def hold(state: TradingState) -> TradingState:
        held = state.latch(LIQUIDATION)
        if held is not None and held.reason == reason:
            return state
        if state.epoch != request.epoch:
            raise InvalidInput(
                f"{request.name} answers change {request.epoch} of the trading state, and change {state.epoch} holds "
                f"now, so nothing is sold; look at `trading-pipeline kill status`, and ask for another liquidation"
            )
        return begun(state, reason, request.agreed_by, now, by_a_person=request.agreed_by == PERSON)

    try:
        desk.trading_state.change(hold)
    except InvalidInput as error:
        _moved(desk, request, stage=Stage.OVER, outcome=str(error))
        raise
    return _moved(desk, request, stage=Stage.UNDER_WAY)


def _plan_of(desk: LiquidationDesk, request: LiquidationRequest) -> Plan | None:
    """Return the plan that was made for ``request``; None where there is none, or none that was begun in its window."""
    today = session_of_orders(desk.venue.clock.now())
    for session in filter(None, (request.session, today)):
        decided = sessions.previous_session(session)
        stored = desk.plans.liquidations(request.account_number, decided)
        plan = next((plan for plan in stored if plan.liquidation == request.epoch), None)
        if plan is not None and (session == today or _is_claimed(desk, plan)):
            return plan
    return None


def _is_claimed(desk: LiquidationDesk, plan: Plan) -> bool:
    return desk.venue.journal.claimed(plan.account_number, plan.session, plan.liquidation) is not None


def _planned(desk: LiquidationDesk, request: LiquidationRequest, now: datetime) -> tuple[Plan, LiquidationRequest]:
    """Make and store the plan, once: of two that make it at a time the first stands."""
    _refuse_stopped(desk)
    try:
        desk.clear(f"{request.name}: everything is sold")
    except OrdersLeft as left:
        # What they may still sell is not sold again.
        structlog.get_logger().warning("liquidation_orders_left", number=request.epoch, orders=str(left.cleared))
    session = session_of_orders(now)
    found = decided(desk, request, session, now)
    plan = Plan(
        plan_id=plan_id_of(request, session),
        account_number=request.account_number,
        session=sessions.previous_session(session),
        execution_session=session,
        version=request.epoch,
        created_at=now,
        hypothetical=False,
        orders=found.orders,
        lineage=(),
        code_version=desk.code_version,
        config_hash=desk.config_hash,
        decisions=archived(found.decisions),
        purpose=PlanPurpose.LIQUIDATION,
    )
    refuse_untimely(plan, desk.rules.execution, now)
    plan = desk.plans.put_if_absent(plan)
    return plan, _moved(desk, request, stage=Stage.UNDER_WAY, session=session)


def _refuse_stopped(desk: LiquidationDesk) -> None:
    state = SeenState(desk.trading_state).read()
    if not state.allows_trading:
        raise TradingHalted(f"trading is held by {state.deciding}; nothing was sold")


def _worked_off(desk: LiquidationDesk, plan: Plan) -> ExecutionReport:
    """Send the plan's orders by the submit loop, again and again while something waits and patience lasts."""
    venue = replace(desk.venue, trading_state=SeenState(desk.trading_state), stopped=_stopped(desk, plan))
    rules = replace(desk.rules.execution, offsets=_offsets(desk, plan), max_reprices=len(desk.rules.collars) - 1)
    deadline = venue.clock.elapsed() + desk.rules.patience
    while True:
        done = execute(plan, venue, rules)
        if not done.unresolved or venue.clock.elapsed() >= deadline:
            return done
        venue.wait(desk.rules.pause)


def _offsets(desk: LiquidationDesk, plan: Plan) -> Mapping[str, tuple[Decimal, ...]]:
    multiples = {o.symbol: desk.instruments[o.symbol].leverage for o in plan.orders if o.symbol in desk.instruments}
    terms = LiquidationTerms(multiples=multiples, collars=desk.rules.collars)
    return {order.symbol: terms.offsets(order.symbol) for order in plan.orders}


def _stopped(desk: LiquidationDesk, plan: Plan) -> Callable[[Sequence[str]], Mapping[str, str]]:
    def stopped(symbols: Sequence[str]) -> Mapping[str, str]:
        status = desk.market(symbols, plan.execution_session, desk.venue.clock.now())
        reasons = {symbol: status.halt or status.halted.get(symbol, "") for symbol in symbols}
        return {symbol: f"does not trade now: {reason}" for symbol, reason in reasons.items() if reason}

    return stopped


def _left(desk: LiquidationDesk, plan: Plan, done: ExecutionReport) -> tuple[LeftOut, ...]:
    """Return what is still held, with the journal's or the engine's word on it."""
    told = {made.client_order_id: "; ".join(made.breaches) for made in plan.decisions}
    told |= {entry.client_order_id: f"{entry.state}: {entry.detail}" for entry in done.entries}
    held = desk.venue.broker.portfolio().positions
    return tuple(
        LeftOut(symbol, position.quantity, told.get(_order_id(plan, position), "no order could be made of it"))
        for symbol, position in sorted(held.items())
        if position.quantity != 0
    )


def _order_id(plan: Plan, position: Position) -> str:
    side = Side.SELL if position.quantity > 0 else Side.BUY
    return client_order_id(plan.account_number, plan.plan_id, position.symbol, side)


def _over(desk: LiquidationDesk, found: Liquidated) -> Liquidated:
    """Hold trading to what it is afterwards, note the end, and tell people once."""
    now, rules = desk.venue.clock.now(), desk.rules
    outcome = str(found)
    reason = f"{found.request.name} is over: {outcome}"
    desk.trading_state.change(lambda state: ended(state, rules.afterwards, reason, now))
    request = _moved(desk, found.request, stage=Stage.OVER, outcome=outcome)
    key = f"{LIQUIDATION}:{request.account_number}:{request.epoch}:over"
    severity = Severity.CRITICAL if found.left else Severity.WARNING
    title = f"Liquidation {request.epoch} is over: {'positions are left' if found.left else 'everything is sold'}"
    text = f"{reason}. `trading-pipeline kill status` shows the state."
    desk.notifier.notify(Alert(key, severity, title, text, now, runbook="a-liquidation-is-over"))
    return replace(found, request=request)


def told_of(request: LiquidationRequest, now: datetime) -> Alert:
    """Return the alert that asks a person to confirm a liquidation, with how that is done."""
    return Alert(
        key=f"{LIQUIDATION}:{request.account_number}:{request.epoch}:{request.code}",
        severity=Severity.CRITICAL,
        title=f"Sell everything? {request.trigger}",
        text=(
            f"{request.reason}. To sell everything that is held: trading-pipeline liquidate --code {request.code}, "
            f"before {request.expires_at.isoformat()}; without it nothing is sold. `trading-pipeline liquidate` shows "
            f"what would be."
        ),
        at=now,
        runbook="sell-everything",
    )
