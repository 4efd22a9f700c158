"""Reading the broker's books as of one moment, and what follows where they do not agree with ours.

After a break exposure is only lowered until a person has looked. Orders that
are not ours are reported, never touched.
"""

import hashlib
from datetime import date, datetime

from trading_pipeline.application.books import Reconciliation, Theirs, distinct, is_ours, listed, quantities
from trading_pipeline.domain.errors import TransientError
from trading_pipeline.domain.risk.trading_state import TradingMode
from trading_pipeline.ports import Alert, Broker, CashLedger, Clock, Notifier, Severity, TradingStateStore

SET_BY = "reconciliation"
MOST_READINGS = 5
PAUSE_SECONDS = 1.0
BROKEN_RUNBOOK = "reconciliation-is-broken"
EXTERNAL_RUNBOOK = "orders-that-are-not-ours"


def observed(broker: Broker, clock: Clock, since: datetime, ledger: CashLedger | None = None) -> Theirs:
    """Read the account, its open orders, and its orders and executions since ``since``, as of one moment.

    The movements of its cash are read from ``ledger``; without one there are none.
    Read again after a second where anything was booked in between, or where the
    executions of our orders do not add up to what these say is filled: a
    broker may tell of the one before the other. What does not add up in the
    end is returned as it is.

    Raises:
        TransientError: the broker gave no usable answer, or something was booked in between again and again.
        PermanentError: the broker refused to answer.
        Interrupted: the process was asked to end.
    """
    for left in reversed(range(MOST_READINGS)):
        seen = _read(broker, since, ledger)
        if _is_at_rest(seen, broker, since, ledger) and (_adds_up(seen) or not left):
            return seen
        clock.wait(PAUSE_SECONDS)
    raise TransientError(
        f"executions or cash came in while the account was read, {MOST_READINGS} times; compare it when its orders rest"
    )


def _read(broker: Broker, since: datetime, ledger: CashLedger | None) -> Theirs:
    executions = tuple(broker.executions(since))
    movements = () if ledger is None else tuple(ledger.cash_movements(since))
    orders = {order.venue_order_id: order for order in (*broker.orders(since), *broker.orders())}
    return Theirs(broker.portfolio(), tuple(orders.values()), executions, movements)


def _is_at_rest(seen: Theirs, broker: Broker, since: datetime, ledger: CashLedger | None) -> bool:
    if len(distinct(broker.executions(since))) != len(distinct(seen.executions)):
        return False
    return ledger is None or tuple(ledger.cash_movements(since)) == seen.movements


def _adds_up(seen: Theirs) -> bool:
    executed = quantities(distinct(seen.executions))
    ours = (order for order in seen.orders if is_ours(order.client_order_id))
    return all(order.filled_quantity == executed[order.client_order_id] for order in ours)


def respond(
    found: Reconciliation,
    session: date,
    when: str,
    trading_state: TradingStateStore,
    notifier: Notifier,
    on_external: TradingMode = TradingMode.REDUCING,
) -> None:
    """Tighten the trading state as far as what was ``found`` demands, and tell people once.

    A break demands REDUCING, external orders ``on_external``. The same
    differences of a session are one alert however often they are found.
    ``when`` says of which comparison this is, such as ``after placing``.
    Accepting them is a person's: materialise ``reconciliation`` again, which
    makes the broker's figures the known ones, and set the state to active.

    Raises:
        TradingHalted: the trading state cannot be read; people are told all the same.
        TransientError: it cannot be written; people are told all the same.
        PermanentError: it cannot be written; people are told all the same.
    """
    if not found.differences:
        return
    mode = TradingMode.REDUCING if found.breaks else on_external
    title = f"reconciliation of {session} {when}: {_counted(found)}"
    try:
        trading_state.change(lambda state: state.tightened(mode, title, SET_BY, found.as_of))
    finally:
        notifier.notify(_alert(found, session, when, title))


def _counted(found: Reconciliation) -> str:
    counts = [(len(found.breaks), "broken"), (len(found.external), "by orders that are not ours")]
    return ", ".join(f"{count} {what}" for count, what in counts if count)


def _alert(found: Reconciliation, session: date, when: str, title: str) -> Alert:
    lines = [str(item) for item in found.differences]
    digest = hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:12]
    severity = Severity.CRITICAL if found.breaks else Severity.WARNING
    key = f"reconciliation:{session}:{when}:{digest}"
    runbook = BROKEN_RUNBOOK if found.breaks else EXTERNAL_RUNBOOK
    return Alert(key, severity, title, listed(lines), found.as_of, runbook=runbook)
