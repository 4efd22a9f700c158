"""How well the orders of a plan were executed: how fast, at what cost against the mid, and what had to be done twice.

Everything is read from three records that exist anyway: the plan, the journal
of what was attempted, and the broker's executions.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from datetime import date, datetime
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING

from trading_pipeline.application.sizing import RESIZED, WHOLE_SHARES
from trading_pipeline.application.submission import NO_CLEAR_ANSWER, SENT_BEFORE
from trading_pipeline.domain.fills import Fill
from trading_pipeline.domain.orders import OrderIntent, Plan, Side
from trading_pipeline.ports import IntentState, JournalEntry, Metrics

if TYPE_CHECKING:
    import pandas as pd

NAN = math.nan
BASIS_POINTS = 10_000
PRICE_STEP = Decimal("1e-9")
# Lines that say of an order what became of its sending: nothing was sent when they were written.
NO_SENDING = (NO_CLEAR_ANSWER, SENT_BEFORE)
LATENCIES = ("submit_to_ack_seconds", "ack_to_first_fill_seconds", "submit_to_done_seconds")
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, math.inf)
"""Upper ends of the buckets of a histogram of latencies, in seconds."""


@dataclass(frozen=True)
class OrderQuality:
    """How one order went: an intent has one, and one more for each time that the rest of it was re-priced.

    Attributes:
        session: the session whose decision led to the order.
        execution_session: the session in which it might be placed.
        plan_id: the plan that holds the intent.
        client_order_id: the intent.
        order_id: the order's own id at the broker; the intent's for slice 0.
        slice_number: 0, 1, ...: which order of the intent this is.
        symbol: ticker.
        side: buy or sell.
        state: where the order stands; ``canceled`` where a later slice took over.
        detail: what the journal says of that.
        quantity: shares of the intent that no earlier slice had traded.
        filled_quantity: shares that this order traded.
        arrival_mid: middle of the quote in dollars when the *first* order of the intent was about to be sent, so that
            waiting and re-pricing count as cost; None where not known.
        average_price: dollars a share, weighted by shares; None where nothing was traded.
        slippage_bps: see :func:`implementation_shortfall`; NaN where not known.
        submit_to_ack_seconds: from the first sending (since it was parked, if it was) to the broker's word, this
            machine's time; NaN where not known.
        ack_to_first_fill_seconds: from the acknowledgement to the first execution, by the broker's clock; 0 where that
            is not fine enough to tell them apart, NaN where either is not known.
        submit_to_done_seconds: from the same instant until we knew that the order is over; NaN while it is not.
        resends: how often it was sent again, under the same id, after an answer that did not come or said no.
        whole_shares: it was sent again in whole shares, since the broker takes no fractions of it.
        resized: it was sent again for less, since the buying power was too small.
        parked: it had to wait, for its symbol to be traded or for the cash of a sale.
    """

    session: date
    execution_session: date
    plan_id: str
    client_order_id: str
    order_id: str
    slice_number: int
    symbol: str
    side: str
    state: str
    detail: str
    quantity: Decimal
    filled_quantity: Decimal
    arrival_mid: Decimal | None
    average_price: Decimal | None
    slippage_bps: float
    submit_to_ack_seconds: float
    ack_to_first_fill_seconds: float
    submit_to_done_seconds: float
    resends: int
    whole_shares: bool
    resized: bool
    parked: bool

    @property
    def is_over(self) -> bool:
        """Tell whether nothing more will happen to the order."""
        return IntentState(self.state).is_terminal


def implementation_shortfall(side: Side, price: Decimal, arrival_mid: Decimal) -> float:
    """Return what a trade cost against the mid at which it was decided, in basis points of that mid.

    Positive is a cost: a buy above the mid, a sale below it (Perold, *The
    Implementation Shortfall*, 1988, the executed part).

    >>> implementation_shortfall(Side.BUY, Decimal("100.10"), Decimal("100"))
    10.0
    >>> implementation_shortfall(Side.SELL, Decimal("100.10"), Decimal("100"))
    -10.0
    """
    sign = 1 if side is Side.BUY else -1
    return float(sign * (price - arrival_mid) / arrival_mid * BASIS_POINTS)


def order_quality(plan: Plan, history: Sequence[JournalEntry], fills: Iterable[Fill]) -> Sequence[OrderQuality]:
    """Return a row for every order of ``plan``, in the plan's order, slices of an intent one after the other.

    An intent that was never sent has one row, with what the journal says of
    it. ``history`` is the plan's, oldest first; ``fills`` are found by the id
    of their order, and those of others are passed over.
    """
    lines: dict[str, list[JournalEntry]] = {}
    for entry in history:
        lines.setdefault(entry.client_order_id, []).append(entry)
    executed: dict[str, list[Fill]] = {}
    for fill in sorted(fills, key=lambda fill: fill.filled_at):
        executed.setdefault(fill.client_order_id, []).append(fill)
    return [
        row
        for intent in plan.orders
        for row in _of_intent(plan, intent, lines.get(intent.client_order_id, []), executed)
    ]


def _of_intent(
    plan: Plan, intent: OrderIntent, lines: Sequence[JournalEntry], executed: Mapping[str, Sequence[Fill]]
) -> Iterator[OrderQuality]:
    slices = _slices(intent.client_order_id, lines)
    orders = [_Order(own, executed.get(order_id, ())) for order_id, own in slices.items()]
    ends = [*(later.lines[0].written_at for _, later in pairwise(orders)), None]
    mid = next((entry.mid for entry in lines if entry.mid is not None), None)
    open_shares = intent.quantity
    for number, (order_id, order, succeeded) in enumerate(zip(slices, orders, ends, strict=True)):
        yield OrderQuality(
            session=plan.session,
            execution_session=plan.execution_session,
            plan_id=plan.plan_id,
            client_order_id=intent.client_order_id,
            order_id=order_id,
            slice_number=number,
            symbol=intent.symbol,
            side=intent.side.value,
            state=order.state(superseded=succeeded is not None).value,
            detail=order.detail,
            quantity=open_shares,
            filled_quantity=order.filled,
            arrival_mid=mid,
            average_price=order.average_price,
            slippage_bps=order.slippage(intent.side, mid),
            submit_to_ack_seconds=_seconds(order.submitted, order.acknowledged),
            ack_to_first_fill_seconds=order.ack_to_first_fill,
            submit_to_done_seconds=_seconds(order.submitted, order.ended or succeeded),
            resends=order.resends,
            whole_shares=order.was_sent_as(WHOLE_SHARES),
            resized=order.was_sent_as(RESIZED),
            parked=order.written(IntentState.PARKED) is not None,
        )
        open_shares -= order.filled


def _slices(intent_id: str, lines: Sequence[JournalEntry]) -> Mapping[str, Sequence[JournalEntry]]:
    """Return the lines of each order of an intent: a line that names a new order begins it.

    Lines on the intent as a whole bear its own id; they belong to the order of their time.
    """
    slices: dict[str, list[JournalEntry]] = {intent_id: []}
    for entry in lines:
        if entry.order_id not in slices:
            slices[entry.order_id] = []
        slices[next(reversed(slices))].append(entry)
    return slices


@dataclass(frozen=True)
class _Order:
    """What the journal and the broker say of one order."""

    lines: Sequence[JournalEntry]
    fills: Sequence[Fill]

    def state(self, *, superseded: bool) -> IntentState:
        if superseded:
            return IntentState.CANCELED
        return self.lines[-1].state if self.lines else IntentState.PLANNED

    @property
    def detail(self) -> str:
        return self.lines[-1].detail if self.lines else ""

    @property
    def submitted(self) -> datetime | None:
        """When it was first sent; the time for which it was parked is no latency."""
        since = max((place for place, line in enumerate(self.lines) if line.state is IntentState.PARKED), default=0)
        return next((line.written_at for line in self.lines[since:] if line.state is IntentState.SUBMITTING), None)

    @property
    def acknowledged(self) -> datetime | None:
        return self.written(IntentState.ACKNOWLEDGED)

    @property
    def ended(self) -> datetime | None:
        return next((line.written_at for line in self.lines if line.state.is_terminal), None)

    def written(self, state: IntentState) -> datetime | None:
        return next((line.written_at for line in self.lines if line.state is state), None)

    @property
    def ack_to_first_fill(self) -> float:
        known = next((line.recorded_at for line in self.lines if line.state is IntentState.ACKNOWLEDGED), None)
        # The line's instant is that of the broker's clock when the step began, the execution may be stamped earlier.
        return max(_seconds(known, self.fills[0].filled_at), 0.0) if self.fills and known else NAN

    @property
    def resends(self) -> int:
        return max(len(self.sendings) - 1, 0)

    @property
    def sendings(self) -> Sequence[str]:
        told = (line.detail for line in self.lines if line.state is IntentState.SUBMITTING)
        return [detail for detail in told if not any(words in detail for words in NO_SENDING)]

    def was_sent_as(self, change: str) -> bool:
        return any(detail.startswith(f"{change}:") for detail in self.sendings)

    @property
    def filled(self) -> Decimal:
        return sum((fill.quantity for fill in self.fills), Decimal(0))

    @property
    def average_price(self) -> Decimal | None:
        if not self.filled:
            return None
        dollars = sum((fill.quantity * fill.price for fill in self.fills), Decimal(0))
        return (dollars / self.filled).quantize(PRICE_STEP)

    def slippage(self, side: Side, mid: Decimal | None) -> float:
        price = self.average_price
        return implementation_shortfall(side, price, mid) if price is not None and mid else NAN


def _seconds(first: datetime | None, last: datetime | None) -> float:
    return NAN if first is None or last is None else (last - first).total_seconds()


@dataclass(frozen=True)
class Latency:
    """Seconds that a step took, over the orders of which it is known; NaN where there is none (``count`` 0).

    Percentiles are interpolated linearly between order statistics.
    """

    count: int
    p50: float
    p95: float
    p99: float
    longest: float


@dataclass(frozen=True)
class QualitySummary:
    """A plan's execution in figures.

    Attributes:
        intents: how many intents the plan has.
        repriced: orders that followed an earlier one of the same intent, for the rest of it at another price.
        states: how many intents stand where; states that none is in are left out.
        resends: orders that were sent once more, in all.
        whole_shares: orders sent again in whole shares.
        resized: orders sent again for less.
        parked: intents that had to wait.
        slippage_bps: average over what was traded, weighted by dollars; NaN where nothing was.
        slippage_dollars: the same in dollars, positive is a cost; 0 where nothing was traded.
        latencies: each of :data:`LATENCIES`.
    """

    intents: int
    repriced: int
    states: Mapping[str, int]
    resends: int
    whole_shares: int
    resized: int
    parked: int
    slippage_bps: float
    slippage_dollars: float
    latencies: Mapping[str, Latency]

    @property
    def fallbacks(self) -> int:
        """Orders that were sent again as something else than was planned."""
        return self.whole_shares + self.resized


def summary(rows: Sequence[OrderQuality]) -> QualitySummary:
    """Return the figures of a plan's orders."""
    last = final_orders(rows)
    cost, traded = _cost(rows)
    return QualitySummary(
        intents=len(last),
        repriced=len(rows) - len(last),
        states=Counter(row.state for row in last),
        resends=sum(row.resends for row in rows),
        whole_shares=sum(row.whole_shares for row in rows),
        resized=sum(row.resized for row in rows),
        parked=sum(row.parked for row in rows),
        slippage_bps=cost / traded * BASIS_POINTS if traded else NAN,
        slippage_dollars=cost,
        latencies={name: latency(getattr(row, name) for row in rows) for name in LATENCIES},
    )


def final_orders(rows: Iterable[OrderQuality]) -> Sequence[OrderQuality]:
    """Return the last order of each intent, which says how the intent stands."""
    return list({row.client_order_id: row for row in rows}.values())


def _cost(rows: Iterable[OrderQuality]) -> tuple[float, float]:
    """Return dollars lost against the arrival mids, and the value at these mids of what was traded."""
    cost = traded = 0.0
    for row in rows:
        if not math.isnan(row.slippage_bps) and row.arrival_mid is not None:
            value = float(row.filled_quantity * row.arrival_mid)
            cost, traded = cost + value * row.slippage_bps / BASIS_POINTS, traded + value
    return cost, traded


def latency(seconds: Iterable[float]) -> Latency:
    """Return percentiles of ``seconds``; NaN among them is passed over.

    >>> latency([1.0, 2.0, 3.0, NAN])
    Latency(count=3, p50=2.0, p95=2.9, p99=2.98, longest=3.0)
    """
    import numpy as np

    known = _known(seconds)
    if not known:
        return Latency(0, NAN, NAN, NAN, NAN)
    p50, p95, p99 = (round(float(value), 6) for value in np.percentile(known, (50, 95, 99)))
    return Latency(len(known), p50, p95, p99, max(known))


def histogram(seconds: Iterable[float]) -> Mapping[float, int]:
    """Return how many of ``seconds`` are at most the end of each bucket of :data:`BUCKETS`; NaN is passed over.

    Counts are cumulative, as Prometheus has them under ``le``.

    >>> found = histogram([0.004, 0.005, 0.2, 90.0, NAN])
    >>> found[0.005], found[0.25], found[60.0], found[math.inf]
    (2, 3, 3, 4)
    """
    known = _known(seconds)
    return {end: sum(value <= end for value in known) for end in BUCKETS}


def _known(values: Iterable[float]) -> Sequence[float]:
    return [value for value in values if not math.isnan(value)]


def record_execution(rows: Sequence[OrderQuality], metrics: Metrics) -> None:
    """Record a plan's orders: counters of how they ended and what was done twice, histograms of latency and cost.

    To be called once a plan, when it is over: the journal holds all of its
    attempts, so that nothing of earlier runs is missing.
    """
    for row in final_orders(rows):
        metrics.count("orders_total", state=row.state, side=row.side)
    for row in rows:
        _count_retries(row, metrics)
        for name in (*LATENCIES, "slippage_bps"):
            value = getattr(row, name)
            if not math.isnan(value):
                metrics.observe(name, value, side=row.side)


def _count_retries(row: OrderQuality, metrics: Metrics) -> None:
    if row.resends:
        metrics.count("resends_total", row.resends)
    for kind in ("whole_shares", "resized", "parked"):
        if getattr(row, kind):
            metrics.count("fallback_total", kind=kind)


def to_frame(rows: Sequence[OrderQuality]) -> "pd.DataFrame":
    """Return the rows of table ``execution_quality``: one for each order."""
    import pandas as pd

    frame = pd.DataFrame([astuple(row) for row in rows], columns=[column.name for column in fields(OrderQuality)])
    numbers = dict.fromkeys((*LATENCIES, "slippage_bps"), "float64")
    truths = dict.fromkeys(("whole_shares", "resized", "parked"), "bool")
    return frame.astype(numbers | truths | {"slice_number": "int64", "resends": "int64"})
