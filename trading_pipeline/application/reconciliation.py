"""Whether the broker's books agree with ours: positions, cash, orders and executions.

Quantities are the broker's to say, intent is ours. A difference that nothing
explains is a *break*: exposure is then only lowered until a person has looked.
Orders that do not carry our ids are *external*: reported, never touched.
"""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING

from trading_pipeline.domain.errors import DataError, TransientError
from trading_pipeline.domain.fills import Fill
from trading_pipeline.domain.instruments import CENT, QUANTITY_STEP, STORED_STEP, plain, round_cents, round_quantity
from trading_pipeline.domain.orders import ORDER_ID_PREFIX, BrokerOrder, Side
from trading_pipeline.domain.portfolio import CASH, Portfolio, Position
from trading_pipeline.domain.risk.trading_state import TradingMode
from trading_pipeline.ports import (
    Alert,
    Broker,
    CashLedger,
    CashMovement,
    Clock,
    IntentState,
    JournalEntry,
    Notifier,
    Severity,
    TradingStateStore,
)

if TYPE_CHECKING:
    import pandas as pd

ZERO = Decimal(0)
SET_BY = "reconciliation"
MOST_READINGS = 5
PAUSE_SECONDS = 1.0
MOST_LINES = 20
BROKEN_RUNBOOK = "reconciliation-is-broken"
EXTERNAL_RUNBOOK = "orders-that-are-not-ours"
# New shares for old ones, as companies and funds split them.
SPLITS = tuple(
    [(new, 1) for new in (2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 50)]
    + [(1, old) for old in (2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 50)]
    + [(3, 2), (4, 3), (5, 2), (5, 4), (2, 3)]
)
# States of which each says that the broker had the order.
_SEEN = frozenset(
    {
        IntentState.ACKNOWLEDGED,
        IntentState.CANCELLING,
        IntentState.REPRICING,
        IntentState.FILLED,
        IntentState.CANCELED,
        IntentState.EXPIRED,
    }
)


class Kind(StrEnum):
    """What is compared: EXTERNAL is an order that is not ours."""

    POSITION = "position"
    CASH = "cash"
    ORDER = "order"
    FILL = "fill"
    EXTERNAL = "external"


class Status(StrEnum):
    """How a comparison ended: EXTERNAL differs, and orders that are not ours explain by how much."""

    EQUAL = "equal"
    BREAK = "break"
    EXTERNAL = "external"


@dataclass(frozen=True)
class Item:
    """One thing compared: shares, or dollars of cash; ``price`` is in dollars a share, where there is one."""

    kind: Kind
    name: str
    ours: Decimal
    theirs: Decimal
    status: Status
    explanation: str = ""
    price: Decimal | None = None

    @property
    def difference(self) -> Decimal:
        """What the broker has more than we expected; negative where it has less."""
        return self.theirs - self.ours

    def __str__(self) -> str:
        """Return the comparison as one phrase.

        >>> str(Item(Kind.POSITION, "SPY", Decimal(10), Decimal(9), Status.BREAK, "10 before"))
        'position SPY: ours 10, theirs 9 (break: 10 before)'
        """
        why = f"{self.status}: {self.explanation}" if self.explanation else self.status
        return f"{self.kind} {self.name}: ours {plain(self.ours)}, theirs {plain(self.theirs)} ({why})"


@dataclass(frozen=True)
class Ours:
    """What we know: the account ``before`` the plan's orders, what was recorded of them, and the plan's journal."""

    before: Portfolio
    fills: Sequence[Fill]
    journal: Sequence[JournalEntry]


@dataclass(frozen=True)
class Theirs:
    """What the broker says: the account now, and the orders and executions since some instant.

    ``movements`` are those of cash that are no trades, in the order of their
    booking; the first of them may have been booked before that instant.
    """

    portfolio: Portfolio
    orders: Sequence[BrokerOrder]
    executions: Sequence[Fill]
    movements: Sequence[CashMovement] = ()


@dataclass(frozen=True)
class Known:
    """The account as the broker had it when it was last compared; ``seen`` are the executions and orders in it."""

    portfolio: Portfolio
    seen: frozenset[str]


@dataclass(frozen=True)
class Reconciliation:
    """Everything that was compared of an account, at a UTC instant."""

    account_number: str
    as_of: datetime
    items: tuple[Item, ...]

    @property
    def breaks(self) -> tuple[Item, ...]:
        """The differences that nothing explains."""
        return tuple(item for item in self.items if item.status is Status.BREAK)

    @property
    def external(self) -> tuple[Item, ...]:
        """What orders that are not ours did."""
        return tuple(item for item in self.items if item.status is Status.EXTERNAL)

    @property
    def differences(self) -> tuple[Item, ...]:
        """Breaks first, then what is external."""
        return self.breaks + self.external


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
    if len(_distinct(broker.executions(since))) != len(_distinct(seen.executions)):
        return False
    return ledger is None or tuple(ledger.cash_movements(since)) == seen.movements


def _adds_up(seen: Theirs) -> bool:
    executed = _quantities(_distinct(seen.executions))
    ours = (order for order in seen.orders if _is_ours(order.client_order_id))
    return all(order.filled_quantity == executed[order.client_order_id] for order in ours)


def reconcile(ours: Ours, theirs: Theirs) -> Reconciliation:
    """Compare what the account should be after the plan's orders with what the broker says that it is.

    Positions and fills must agree exactly, cash to a cent for each fill. An
    execution that is given twice counts once, in any order. One of an intent
    that has not ended counts as ours before it is recorded: the next attempt
    at the plan records it. A position that a split explains is equal, and so is
    cash that movements explain: the latest ones, as many as it takes, since the
    earlier ones may have been in the account before.

    Raises:
        DataError: the two are of different accounts.
    """
    _refuse_another_account(ours.before, theirs.portfolio)
    late = _late(ours, theirs)
    fills = _distinct((*late, *ours.fills))
    items = (
        *_positions(ours.before, fills, theirs),
        _cash(ours.before, fills, theirs),
        *_orders(ours.journal, fills, theirs),
        *_executions(fills, theirs, {fill.execution_id for fill in late}),
        *_external_orders(ours.before.as_of, theirs, frozenset()),
    )
    return Reconciliation(theirs.portfolio.account_number, theirs.portfolio.as_of, items)


def compare_with_known(known: Known, theirs: Theirs) -> Reconciliation:
    """Compare the broker's positions with what they were when last compared and the executions since.

    Cash is left out: dividends, interest and fees are booked overnight.

    Raises:
        DataError: the two are of different accounts.
    """
    _refuse_another_account(known.portfolio, theirs.portfolio)
    new = tuple(fill for fill in theirs.executions if fill.execution_id not in known.seen)
    since = Theirs(theirs.portfolio, theirs.orders, new)
    ours = [fill for fill in _distinct(new) if _is_ours(fill.client_order_id)]
    items = (*_positions(known.portfolio, ours, since), *_external_orders(known.portfolio.as_of, since, known.seen))
    return Reconciliation(theirs.portfolio.account_number, theirs.portfolio.as_of, items)


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
    return Alert(key, severity, title, _listed(lines), found.as_of, runbook=runbook)


def _listed(lines: Sequence[str]) -> str:
    more = [f"and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else []
    return "; ".join([*lines[:MOST_LINES], *more])


def _refuse_another_account(before: Portfolio, now: Portfolio) -> None:
    if before.account_number != now.account_number:
        raise DataError(
            f"the positions of account {before.account_number} cannot be compared with those of "
            f"{now.account_number}; check the keys, or materialise portfolio_snapshot again"
        )


def _is_ours(client_order_id: str) -> bool:
    return client_order_id.startswith(ORDER_ID_PREFIX)


def _distinct(fills: Iterable[Fill]) -> tuple[Fill, ...]:
    return tuple({fill.execution_id: fill for fill in fills}.values())


def _external(theirs: Theirs) -> tuple[Fill, ...]:
    return tuple(fill for fill in _distinct(theirs.executions) if not _is_ours(fill.client_order_id))


def _shares(fills: Iterable[Fill]) -> Mapping[str, Decimal]:
    shares: defaultdict[str, Decimal] = defaultdict(Decimal)
    for fill in fills:
        shares[fill.symbol] += fill.signed_quantity
    return shares


def _positions(before: Portfolio, fills: Sequence[Fill], theirs: Theirs) -> Iterator[Item]:
    traded, external = _shares(fills), _shares(_external(theirs))
    for symbol in sorted({*before.positions, *traded, *external, *theirs.portfolio.positions}):
        changes = (traded.get(symbol, ZERO), external.get(symbol, ZERO))
        yield _position(symbol, before, changes, theirs.portfolio)


def _position(symbol: str, before: Portfolio, changes: tuple[Decimal, Decimal], now: Portfolio) -> Item:
    traded, external = changes
    held, found = before.quantity(symbol), now.quantity(symbol)
    price = now.positions[symbol].price if symbol in now.positions else None
    for shares, split in ((held, ""), *_splits(before.positions.get(symbol), now.positions.get(symbol))):
        status = _compared(shares + traded, external, found, ZERO)
        if status is not Status.BREAK:
            note = "; ".join(filter(None, [split, _said_of(external) if status is Status.EXTERNAL else ""]))
            return Item(Kind.POSITION, symbol, shares + traded, found, status, note, price)
    note = f"{plain(held)} before, {plain(traded)} by our fills, {plain(external)} by orders that are not ours"
    return Item(Kind.POSITION, symbol, held + traded, found, Status.BREAK, note, price)


def _compared(expected: Decimal, external: Decimal, found: Decimal, tolerance: Decimal) -> Status:
    if abs(found - expected) <= tolerance:
        return Status.EQUAL
    return Status.EXTERNAL if external and abs(found - expected - external) <= tolerance else Status.BREAK


def _said_of(external: Decimal) -> str:
    return f"{plain(external)} by orders that are not ours"


def _splits(before: Position | None, now: Position | None) -> Iterator[tuple[Decimal, str]]:
    """Yield the shares that each usual split would have made of ``before``, if the price moved as it does then."""
    if before is None or now is None or min(before.price, now.price) <= 0:
        return
    for new, old in SPLITS:
        # Nearer to the price after that split than to an unchanged one, on the logarithmic scale.
        moved = (now.price / before.price) ** 2 * new / old
        if (moved < 1) == (new > old):
            yield round_quantity(before.quantity * new / old, QUANTITY_STEP), f"split {new} for {old}"


def _cash(before: Portfolio, fills: Sequence[Fill], theirs: Theirs) -> Item:
    others = _external(theirs)
    expected = before.cash + sum(map(_proceeds, fills), ZERO)
    external = sum(map(_proceeds, others), ZERO)
    found, tolerance = theirs.portfolio.cash, CENT * (len(fills) + len(others))
    for since in _latest(theirs.movements):
        moved = expected + sum((movement.amount for movement in since), ZERO)
        status = _compared(moved, external, found, tolerance)
        if status is not Status.BREAK:
            notes = (_said_of_movements(since), _said_of(external) if status is Status.EXTERNAL else "")
            return Item(Kind.CASH, CASH, moved, found, status, "; ".join(filter(None, notes)))
    notes = (f"{plain(before.cash)} before, {len(fills)} fills", _said_of_movements(theirs.movements))
    return Item(Kind.CASH, CASH, expected, found, Status.BREAK, "; not explained by ".join(filter(None, notes)))


def _latest(movements: Sequence[CashMovement]) -> Iterator[Sequence[CashMovement]]:
    """Yield none of the movements, then the last, the last two and so on."""
    return (movements[place:] for place in range(len(movements), -1, -1))


def _said_of_movements(movements: Sequence[CashMovement]) -> str:
    return _listed([f"{movement.day} {_said_of_movement(movement)}" for movement in movements])


def _said_of_movement(movement: CashMovement) -> str:
    return " ".join(filter(None, (movement.kind, movement.text, f"{movement.amount:+f}")))


def _proceeds(fill: Fill) -> Decimal:
    amount = round_cents(fill.quantity * fill.price)
    return (amount if fill.side is Side.SELL else -amount) - fill.commission


def _late(ours: Ours, theirs: Theirs) -> tuple[Fill, ...]:
    """Return the executions that are not recorded, of intents that have not ended."""
    recorded = {fill.execution_id for fill in ours.fills}
    last = {entry.client_order_id: entry.state for entry in ours.journal}
    under_way = {entry.order_id for entry in ours.journal if not last[entry.client_order_id].is_terminal}
    return tuple(
        fill for fill in theirs.executions if fill.client_order_id in under_way and fill.execution_id not in recorded
    )


def _orders(journal: Sequence[JournalEntry], fills: Sequence[Fill], theirs: Theirs) -> Iterator[Item]:
    lines: defaultdict[str, list[JournalEntry]] = defaultdict(list)
    for entry in journal:
        if not entry.state.is_unsent:
            lines[entry.order_id].append(entry)
    orders = {order.client_order_id: order for order in theirs.orders if _is_ours(order.client_order_id)}
    filled = _quantities(fills)
    for name in sorted({*lines, *orders}):
        yield _order(name, orders.get(name), lines[name], filled[name])


def _quantities(fills: Iterable[Fill]) -> Mapping[str, Decimal]:
    """Return the shares executed of each order; zero of any other."""
    filled: defaultdict[str, Decimal] = defaultdict(Decimal)
    for fill in fills:
        filled[fill.client_order_id] += fill.quantity
    return filled


def _order(name: str, order: BrokerOrder | None, lines: Sequence[JournalEntry], filled: Decimal) -> Item:
    theirs = ZERO if order is None else order.filled_quantity
    wrong = _contradiction(order, lines)
    status = Status.BREAK if wrong or filled != theirs else Status.EQUAL
    price = None if order is None else order.average_price
    return Item(Kind.ORDER, name, filled, theirs, status, wrong or _standing(order, lines), price)


def _contradiction(order: BrokerOrder | None, lines: Sequence[JournalEntry]) -> str:
    if not lines:
        return "the broker has it, no line of the journal says that it was sent"
    last = lines[-1].state
    if order is None:
        return f"{last} in the journal, unknown to the broker" if _SEEN & {line.state for line in lines} else ""
    # The other way round is no contradiction: an order may have ended since the journal was written.
    is_lost = last.is_terminal and not order.status.is_terminal
    return f"{last} in the journal, {order.status} at the broker" if is_lost else ""


def _standing(order: BrokerOrder | None, lines: Sequence[JournalEntry]) -> str:
    if order is None:
        return f"{lines[-1].state}, not at the broker"
    return order.status.value


def _executions(fills: Sequence[Fill], theirs: Theirs, late: Collection[str]) -> Iterator[Item]:
    recorded = {fill.execution_id: fill for fill in fills}
    executed = {fill.execution_id: fill for fill in theirs.executions}
    for name, told in sorted({**recorded, **executed}.items()):
        item = _execution(told, recorded.get(name), executed.get(name))
        yield replace(item, explanation=f"not recorded yet: {_told(told)}") if name in late else item


def _execution(told: Fill, recorded: Fill | None, executed: Fill | None) -> Item:
    ours = ZERO if recorded is None else recorded.quantity
    theirs = ZERO if executed is None else executed.quantity
    wrong = _disagreement(recorded, executed)
    status = Status.EQUAL if not wrong else Status.BREAK if _is_ours(told.client_order_id) else Status.EXTERNAL
    note = f"{wrong}: {_told(told)}" if wrong else ""
    return Item(Kind.FILL, told.execution_id, ours, theirs, status, note, told.price)


def _disagreement(recorded: Fill | None, executed: Fill | None) -> str:
    if recorded is None:
        return "not recorded"
    if executed is None:
        return "unknown to the broker"
    return "" if _terms(recorded) == _terms(executed) else f"recorded as {_told(recorded)}"


def _terms(fill: Fill) -> tuple[str, str, Side, Decimal, Decimal]:
    return fill.client_order_id, fill.symbol, fill.side, fill.quantity, fill.price


def _told(fill: Fill) -> str:
    return f"{fill.side} {plain(fill.quantity)} {fill.symbol} at {plain(fill.price)}, order {fill.client_order_id}"


def _external_orders(since: datetime, theirs: Theirs, seen: Collection[str]) -> Iterator[Item]:
    executed = _quantities(_external(theirs))
    for order in theirs.orders:
        if not _is_ours(order.client_order_id):
            is_new = order.submitted_at >= since and order.client_order_id not in seen
            yield _external_order(order, executed[order.client_order_id], is_new=is_new)


def _external_order(order: BrokerOrder, executed: Decimal, *, is_new: bool) -> Item:
    note = f"{order.side} {plain(order.quantity)} {order.symbol}, {order.status}: not ours, left alone"
    status = Status.EXTERNAL if is_new or executed else Status.EQUAL
    before, after = order.filled_quantity - executed, order.filled_quantity
    return Item(Kind.EXTERNAL, order.client_order_id, before, after, status, note, order.average_price)


_COLUMNS = {
    "session": "object",
    "account_number": "str",
    "kind": "str",
    "name": "str",
    "ours": "object",
    "theirs": "object",
    "difference": "object",
    "price": "object",
    "status": "str",
    "explanation": "object",
    "as_of": "datetime64[us, UTC]",
}


def to_frame(found: Reconciliation, session: date) -> "pd.DataFrame":
    """Return the rows of table ``reconciliation``: one for each thing compared.

    ``price`` is missing where there is none, ``explanation`` where none is needed.
    """
    import pandas as pd

    rows = [
        {
            "session": session,
            "account_number": found.account_number,
            "kind": item.kind.value,
            "name": item.name,
            "ours": item.ours,
            "theirs": item.theirs,
            "difference": item.difference,
            "price": None if item.price is None else item.price.quantize(STORED_STEP),
            "status": item.status.value,
            "explanation": item.explanation or None,
            "as_of": found.as_of.astimezone(UTC),
        }
        for item in found.items
    ]
    return pd.DataFrame(rows, columns=list(_COLUMNS)).astype(_COLUMNS)


def last_known(frame: "pd.DataFrame", account_number: str) -> Known | None:
    """Return what rows of table ``reconciliation`` say of the newest session compared, None where there is none.

    Rows of other accounts say nothing of this one.
    """
    own = frame[frame["account_number"] == account_number]
    if own.empty:
        return None
    rows = own[own["session"] == own["session"].max()].to_dict("records")
    theirs = {(row["kind"], row["name"]): row for row in rows}
    positions = {
        name: Position(name, row["theirs"], row["price"])
        for (kind, name), row in theirs.items()
        if kind == Kind.POSITION and row["theirs"]
    }
    cash = theirs[Kind.CASH, CASH]
    portfolio = Portfolio(account_number, cash["as_of"].to_pydatetime(), cash["theirs"], positions)
    return Known(portfolio, frozenset(name for kind, name in theirs if kind in {Kind.FILL, Kind.EXTERNAL}))


def fills_from_frame(frame: "pd.DataFrame") -> tuple[Fill, ...]:
    """Return the executions that rows of table ``fills`` stand for."""
    return tuple(
        Fill(
            execution_id=row["execution_id"],
            client_order_id=row["client_order_id"],
            symbol=row["symbol"],
            side=Side(row["side"]),
            quantity=row["quantity"],
            price=row["price"],
            commission=row["commission"],
            filled_at=row["filled_at"].to_pydatetime(),
        )
        for row in frame.to_dict("records")
    )
