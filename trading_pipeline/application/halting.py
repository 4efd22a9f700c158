"""The kill switch: no further order leaves, and none of ours stays at the broker.

The state is written first. Then every open order of ours is cancelled, whoever
sent it, and the gate is shut for a moment, so that those who had read the state
before have sent what they were sending. What was sent until then is listed and
cancelled again, until the broker lists none. Orders that somebody placed by
hand are never touched.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

import structlog

from trading_pipeline.application.settling import how_it_ended
from trading_pipeline.application.venue import log_order
from trading_pipeline.application.working import ENDED
from trading_pipeline.domain.errors import (
    DataError,
    DependencyUnavailable,
    PermanentError,
    RequestRefused,
    TransientError,
)
from trading_pipeline.domain.orders import ORDER_ID_PREFIX, BrokerOrder, OrderStatus
from trading_pipeline.domain.risk.trading_state import TradingMode, TradingState
from trading_pipeline.ports import (
    Attempt,
    Broker,
    Clock,
    IntentState,
    JournalEntry,
    MendableTradingState,
    OrderJournal,
    SendingGate,
)

MOST_NAMED = 10


@dataclass(frozen=True)
class HaltingRules:
    """How patiently orders are cancelled.

    Attributes:
        cancels_in_flight: cancels on their way to the broker at once.
        patience: seconds within which the broker must list no open order of ours, counted from the first list.
        first_poll: seconds before the open orders are listed again.
        longest_poll: longest pause between two lists, in seconds.
    """

    cancels_in_flight: int = 8
    patience: float = 60.0
    first_poll: float = 0.02
    longest_poll: float = 2.0


@dataclass(frozen=True)
class Switch:
    """Everything of the world that halting needs; what is called is opened once the state is written.

    Attributes:
        trading_state: where the state is stored.
        gate: what every order passes on this machine.
        broker: opens the account.
        journal: opens the journal of order attempts.
        clock: by which is waited.
        market_time: tells the broker's instant, under which lines are journalled.
        last_resort: holds trading for the reason that it is given, where the state cannot be written; raises
            InvalidInput where it cannot either.
        rules: how patiently orders are cancelled.
    """

    trading_state: MendableTradingState
    gate: SendingGate
    broker: Callable[[], Broker]
    journal: Callable[[], OrderJournal]
    clock: Clock
    market_time: Callable[[], datetime]
    last_resort: Callable[[str], object]
    rules: HaltingRules = field(default_factory=HaltingRules)


@dataclass(frozen=True)
class Cleared:
    """What became of the open orders, ours as they stood at the end.

    Attributes:
        cancelled: those that ended without having been filled whole; part of one may have been.
        filled: those that were filled before the cancel came.
        left: those that are still open.
        in_doubt: ids of orders that were sent and are not seen: they may still arrive.
        not_ours: open orders that somebody else placed; they were not touched.
        seconds: how long it took.
        obstacle: why nothing more is known; empty where everything is.
    """

    cancelled: tuple[BrokerOrder, ...] = ()
    filled: tuple[BrokerOrder, ...] = ()
    left: tuple[BrokerOrder, ...] = ()
    in_doubt: tuple[str, ...] = ()
    not_ours: tuple[BrokerOrder, ...] = ()
    seconds: float = 0.0
    obstacle: str = ""

    def __str__(self) -> str:
        """Show it in one line."""
        told = [f"{len(self.cancelled)} orders cancelled", f"{len(self.filled)} filled meanwhile"]
        told += [f"{len(self.left)} left ({named(self.left)})" if self.left else "none left"]
        told += [f"sent and not seen: {', '.join(self.in_doubt[:MOST_NAMED])}"] if self.in_doubt else []
        told += [f"not ours and not touched: {named(self.not_ours)}"] if self.not_ours else []
        return f"{', '.join(told)}, in {self.seconds:.2f} s" + (f"; {self.obstacle}" if self.obstacle else "")


class OrdersLeft(DependencyUnavailable):
    """Trading is halted, and not all of our orders are known to be over; ``cleared`` says which are."""

    def __init__(self, cleared: Cleared) -> None:
        """Name what is left."""
        super().__init__(
            f"trading is halted, and our orders at the broker are not known to be over: {cleared}; halt again, or "
            f"cancel them on the broker's own page"
        )
        self.cleared = cleared


def halted(switch: Switch, reason: str, set_by: str, at: datetime) -> TradingState:
    """Write that trading is halted, and return the stored state; durable when this returns.

    What cannot be read is written anew. Where nothing can be written, the last resort is taken.

    Raises:
        InvalidInput: neither could be written.
    """
    try:
        return switch.trading_state.mend(lambda state: state.tightened(TradingMode.HALTED, reason, set_by, at))
    except (TransientError, PermanentError) as error:
        switch.last_resort(f"{reason} (the trading state could not be written: {error})")
        return TradingState(TradingMode.HALTED, reason, set_by, at)


def halt(switch: Switch, reason: str, set_by: str, at: datetime) -> tuple[TradingState, Cleared]:
    """Halt trading, cancel every open order of ours and make sure that none is left.

    When this returns, no further order leaves this machine, and the broker lists no open order of ours.

    Raises:
        InvalidInput: the state could not be written, nor the last resort be taken.
        OrdersLeft: trading is halted, and an order is left or nothing can be known of them.
        PermanentError: trading is halted, and the broker refuses to answer.
        Interrupted: the process was asked to end; trading is halted.
    """
    state = halted(switch, reason, set_by, at)
    return state, cleared(switch, reason)


def cleared(switch: Switch, reason: str) -> Cleared:
    """Cancel every open order of ours and wait until none is left; the state must forbid new ones already.

    Raises:
        OrdersLeft: an order is left, somebody does not end sending, or the broker gives no usable answer.
        PermanentError: the broker refuses to answer.
        Interrupted: the process was asked to end.
    """
    found = _Clearing(switch).run(reason)
    structlog.get_logger().warning("halted", reason=reason, orders=str(found))
    if found.left or found.obstacle:
        raise OrdersLeft(found)
    return found


def is_ours(order: BrokerOrder) -> bool:
    """Tell whether an order bears an id of ours, whichever plan it is of and whether or not a journal knows it."""
    return order.client_order_id.startswith(ORDER_ID_PREFIX)


def named(orders: Sequence[BrokerOrder]) -> str:
    """Return orders as people look for them, the first ten.

    >>> named([])
    ''
    """
    told = [f"{order.symbol} {order.side.value} {order.venue_order_id}" for order in orders[:MOST_NAMED]]
    return ", ".join(told + ([f"and {len(orders) - MOST_NAMED} more"] if len(orders) > MOST_NAMED else []))


class _Clearing:
    """One time that all orders are cancelled, and what was seen of them."""

    def __init__(self, switch: Switch) -> None:
        self._switch = switch
        self._broker = switch.broker()
        self._began = switch.clock.elapsed()
        self._seen: dict[str, BrokerOrder] = {}
        self._open: dict[str, BrokerOrder] = {}
        self._not_ours: tuple[BrokerOrder, ...] = ()
        self._obstacle = ""
        self._stuck = ""

    def run(self, reason: str) -> Cleared:
        # Whatever works is cancelled before anybody is waited for.
        self._cancel(self._listed())
        self._await_senders()
        self._await_end()
        ends = self._ends()
        seconds = self._switch.clock.elapsed() - self._began
        in_doubt = self._journalled(ends, reason)
        over = [order for order in ends.values() if order.status.is_terminal]
        return Cleared(
            cancelled=tuple(order for order in over if order.status is not OrderStatus.FILLED),
            filled=tuple(order for order in over if order.status is OrderStatus.FILLED),
            left=tuple(order for order in ends.values() if not order.status.is_terminal),
            in_doubt=in_doubt,
            not_ours=self._not_ours,
            seconds=seconds,
            obstacle=self._obstacle,
        )

    @cached_property
    def _market_time(self) -> datetime:
        return self._switch.market_time()

    def _listed(self) -> Sequence[BrokerOrder]:
        """List what is open, and return those of ours that no cancel is under way for."""
        try:
            orders = self._broker.orders()
        except TransientError as error:
            self._obstacle = f"the open orders could not be listed: {error}"
            return []
        self._obstacle = ""
        self._not_ours = tuple(order for order in orders if not is_ours(order))
        self._open = {order.venue_order_id: order for order in orders if is_ours(order)}
        self._seen |= self._open
        return [order for order in self._open.values() if order.status is not OrderStatus.PENDING_CANCEL]

    def _cancel(self, orders: Sequence[BrokerOrder]) -> None:
        if not orders:
            return
        with ThreadPoolExecutor(min(self._switch.rules.cancels_in_flight, len(orders)), "cancels") as senders:
            contexts = [copy_context() for _ in orders]
            # Read to the end, so that what cannot be asked for at all is raised.
            list(senders.map(lambda context, order: context.run(self._asked_to_end, order), contexts, orders))

    def _asked_to_end(self, order: BrokerOrder) -> None:
        log_order(order.client_order_id, order.client_order_id, IntentState.CANCELLING, "trading is halted")
        # Whether it was cancelled is read from the list.
        with suppress(TransientError, RequestRefused):
            self._broker.cancel(order.venue_order_id)

    def _await_senders(self) -> None:
        try:
            with self._switch.gate.shut():
                pass
        except DependencyUnavailable as error:
            self._stuck = str(error)

    def _await_end(self) -> None:
        """List and cancel what is open, again and again, until nothing is or patience ends."""
        clock, rules = self._switch.clock, self._switch.rules
        deadline, pause = clock.elapsed() + rules.patience, rules.first_poll
        self._cancel(self._listed())
        while (self._open or self._obstacle) and clock.elapsed() < deadline:
            clock.wait(pause)
            pause = min(pause * 2, rules.longest_poll)
            self._cancel(self._listed())
        self._obstacle = "; ".join(filter(None, (self._stuck, self._obstacle)))

    def _ends(self) -> Mapping[str, BrokerOrder]:
        """Return the orders that were open, as they stand now; one that no answer tells of is as it was last seen."""
        if not self._seen:
            return {}
        try:
            since = min(order.submitted_at for order in self._seen.values())
            now = {order.venue_order_id: order for order in self._broker.orders(since)}
        except TransientError as error:
            self._obstacle = self._obstacle or f"how orders ended could not be read: {error}"
            now = {}
        return {name: now.get(name, order) for name, order in self._seen.items()}

    def _journalled(self, ends: Mapping[str, BrokerOrder], reason: str) -> tuple[str, ...]:
        """Record how intents ended, and return what was sent and is not seen.

        Halting does not depend on it: where it fails, whoever settles the plan reads the same from the broker.
        """
        orders = {order.client_order_id: order for order in ends.values()}
        in_doubt = []
        with suppress(TransientError, PermanentError, DataError):
            journal = self._switch.journal()
            for entry in journal.unfinished():
                order = orders.get(entry.order_id)
                if order is not None and order.status.is_terminal:
                    ended = how_it_ended(entry, order, journal, self._broker)
                    _record(journal, entry, order, f"{ended}; trading was halted: {reason}", self._market_time)
                elif entry.state is IntentState.SUBMITTING and self._broker.order(entry.order_id) is None:
                    in_doubt.append(entry.order_id)
        return tuple(in_doubt)


def _record(journal: OrderJournal, entry: JournalEntry, order: BrokerOrder, detail: str, at: datetime) -> None:
    state = ENDED[order.status]
    # Whoever wrote since knows better.
    if journal.record(entry.client_order_id, state, detail, at, Attempt(entry.order_id, expecting=entry)):
        log_order(entry.client_order_id, entry.order_id, state, detail, plan_id=entry.plan_id)
