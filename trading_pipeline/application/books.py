"""Two books of one account side by side: positions, cash, orders and executions, ours and the broker's.

Quantities are the broker's to say, intent is ours. A difference that nothing
explains is a *break*. Orders that do not carry our ids are *external*.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from trading_pipeline.domain.errors import DataError
from trading_pipeline.domain.fills import Fill
from trading_pipeline.domain.instruments import CENT, QUANTITY_STEP, plain, round_cents, round_quantity
from trading_pipeline.domain.orders import ORDER_ID_PREFIX, BrokerOrder, Side
from trading_pipeline.domain.portfolio import CASH, Portfolio, Position
from trading_pipeline.ports import CashMovement, IntentState, JournalEntry

ZERO = Decimal(0)
MOST_LINES = 20
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
    fills = distinct((*late, *ours.fills))
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
    ours = [fill for fill in distinct(new) if is_ours(fill.client_order_id)]
    items = (*_positions(known.portfolio, ours, since), *_external_orders(known.portfolio.as_of, since, known.seen))
    return Reconciliation(theirs.portfolio.account_number, theirs.portfolio.as_of, items)


def listed(lines: Sequence[str]) -> str:
    """Return the lines in a row, no more of them than a person reads, and how many more there are."""
    more = [f"and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else []
    return "; ".join([*lines[:MOST_LINES], *more])


def _refuse_another_account(before: Portfolio, now: Portfolio) -> None:
    if before.account_number != now.account_number:
        raise DataError(
            f"the positions of account {before.account_number} cannot be compared with those of "
            f"{now.account_number}; check the keys, or materialise portfolio_snapshot again"
        )


def is_ours(client_order_id: str) -> bool:
    """Tell whether an order bears an id of our making."""
    return client_order_id.startswith(ORDER_ID_PREFIX)


def distinct(fills: Iterable[Fill]) -> tuple[Fill, ...]:
    """Return each execution once, however often it was told."""
    return tuple({fill.execution_id: fill for fill in fills}.values())


def _external(theirs: Theirs) -> tuple[Fill, ...]:
    return tuple(fill for fill in distinct(theirs.executions) if not is_ours(fill.client_order_id))


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
    return listed([f"{movement.day} {_said_of_movement(movement)}" for movement in movements])


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
    orders = {order.client_order_id: order for order in theirs.orders if is_ours(order.client_order_id)}
    filled = quantities(fills)
    for name in sorted({*lines, *orders}):
        yield _order(name, orders.get(name), lines[name], filled[name])


def quantities(fills: Iterable[Fill]) -> Mapping[str, Decimal]:
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
    status = Status.EQUAL if not wrong else Status.BREAK if is_ours(told.client_order_id) else Status.EXTERNAL
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
    executed = quantities(_external(theirs))
    for order in theirs.orders:
        if not is_ours(order.client_order_id):
            is_new = order.submitted_at >= since and order.client_order_id not in seen
            yield _external_order(order, executed[order.client_order_id], is_new=is_new)


def _external_order(order: BrokerOrder, executed: Decimal, *, is_new: bool) -> Item:
    note = f"{order.side} {plain(order.quantity)} {order.symbol}, {order.status}: not ours, left alone"
    status = Status.EXTERNAL if is_new or executed else Status.EQUAL
    before, after = order.filled_quantity - executed, order.filled_quantity
    return Item(Kind.EXTERNAL, order.client_order_id, before, after, status, note, order.average_price)
