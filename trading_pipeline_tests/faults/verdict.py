"""What must hold once a plan is executed, judged from the simulator's own books and the journal."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

from trading_pipeline.domain.orders import OrderIntent, Plan, client_order_id
from trading_pipeline.ports import IntentState, JournalEntry

MOST_SLICES = 30
CENT = Decimal("0.01")


@dataclass(frozen=True)
class Books:
    """Cash, positions, orders and executions of the simulated account."""

    cash: Decimal
    positions: Mapping[str, Decimal]
    orders: Sequence[Mapping[str, Any]]
    executions: Sequence[Mapping[str, Any]]

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> "Books":
        """Read them from the simulator's account of itself."""
        return cls(
            cash=Decimal(state["account"]["cash"]),
            positions={row["symbol"]: Decimal(row["quantity"]) for row in state["positions"]},
            orders=state["orders"],
            executions=state["executions"],
        )


@dataclass(frozen=True)
class Verdict:
    """What is wrong, each in words; nothing where all is well."""

    duplicates: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    unjournalled: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    undecided: tuple[str, ...] = ()

    @property
    def violations(self) -> tuple[str, ...]:
        return (
            *(f"duplicate: {words}" for words in self.duplicates),
            *(f"lost: {words}" for words in self.lost),
            *(f"unjournalled: {words}" for words in self.unjournalled),
            *(f"undecided: {words}" for words in self.undecided),
            *self.others,
        )


def slice_ids(plan: Plan, intent: OrderIntent) -> Sequence[str]:
    """Return the ids that the orders of an intent may have, in the order in which they may be used."""
    return [
        client_order_id(plan.account_number, plan.plan_id, intent.symbol, intent.side, number)
        for number in range(MOST_SLICES)
    ]


def duplicates(plan: Plan, after: Books) -> tuple[str, ...]:
    """Say which orders are more than an intent asked for."""
    derivable = {name for intent in plan.orders for name in slice_ids(plan, intent)}
    strange = [f"order {row['client_order_id']}" for row in after.orders if row["client_order_id"] not in derivable]
    return (
        *(f"{words} is not of the plan" for words in strange),
        *(words for intent in plan.orders for words in _too_many(plan, intent, after)),
    )


def _too_many(plan: Plan, intent: OrderIntent, after: Books) -> Sequence[str]:
    found = {row["client_order_id"]: row for row in after.orders}
    slices = [found[name] for name in slice_ids(plan, intent) if name in found]
    filled = sum((Decimal(row["filled_quantity"]) for row in slices), Decimal(0))
    wrong = [f"{intent.symbol}: {filled} filled of {intent.quantity}"] if filled > intent.quantity else []
    for before, later in pairwise(slices):
        if before["status"] != "canceled" or _instant(before["canceled_at"]) > _instant(later["submitted_at"]):
            wrong.append(f"{intent.symbol}: a slice was sent while the one before was {before['status']}")
    return wrong


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def lost(plan: Plan, latest: Sequence[JournalEntry], after: Books, undisturbed: Books) -> tuple[str, ...]:
    """Say which intents did not become what they become where nothing is disturbed."""
    states = {entry.client_order_id: entry for entry in latest}
    found = []
    for intent in plan.orders:
        entry = states.get(intent.client_order_id)
        if entry is None or not entry.state.is_terminal or entry.state is IntentState.ABANDONED:
            found.append(f"{intent.symbol} is {'nowhere' if entry is None else f'{entry.state}: {entry.detail}'}")
        elif after.positions.get(intent.symbol) != undisturbed.positions.get(intent.symbol):
            held, wanted = after.positions.get(intent.symbol), undisturbed.positions.get(intent.symbol)
            found.append(f"{intent.symbol}: {held} held where {wanted} would be ({entry.state}: {entry.detail})")
    return tuple(found)


def unjournalled(history: Sequence[JournalEntry], after: Books) -> tuple[str, ...]:
    """Say which orders have no row."""
    known = {entry.order_id for entry in history}
    return tuple(
        f"order {row['client_order_id']} of {row['symbol']}"
        for row in after.orders
        if row["client_order_id"] not in known
    )


def undecided(plan: Plan, after: Books) -> tuple[str, ...]:
    """Say which orders the plan holds no decision for that lets them, and the slices before them, pass."""
    wrong: list[str] = []
    left = {row["client_order_id"]: row for row in after.orders}
    for intent in plan.orders:
        slices = [left.pop(name) for name in slice_ids(plan, intent) if name in left]
        decision = plan.decision(intent.client_order_id)
        most = Decimal(0) if decision is None or decision.decision == "denied" else decision.quantity
        wrong += [
            f"order {row['client_order_id']} of {row['symbol']} is for {row['quantity']} shares, {most} were approved"
            for row in slices
            if Decimal(row["quantity"]) > most
        ]
    return (*wrong, *(f"order {name} of {row['symbol']} is of no intent" for name, row in left.items()))


def imbalances(before: Books, after: Books) -> tuple[str, ...]:
    """Say where cash or shares are not what they were, plus what was executed."""
    cash, shares = before.cash, defaultdict(Decimal, before.positions)
    for execution in after.executions:
        sign = 1 if execution["side"] == "buy" else -1
        cash -= sign * Decimal(execution["amount"])
        shares[execution["symbol"]] += sign * Decimal(execution["quantity"])
    wrong = [] if abs(cash - after.cash) < CENT else [f"cash is {after.cash}, executions make it {cash}"]
    held = {symbol: quantity for symbol, quantity in shares.items() if quantity}
    if held != dict(after.positions):
        wrong.append(f"positions are {dict(after.positions)}, executions make them {held}")
    return (*wrong, *_twice_booked(after))


def _twice_booked(after: Books) -> Sequence[str]:
    executed: defaultdict[str, Decimal] = defaultdict(Decimal)
    for execution in after.executions:
        executed[execution["client_order_id"]] += Decimal(execution["quantity"])
    return [
        f"order {name} says that {row['filled_quantity']} are filled, its executions {executed[name]}"
        for row in after.orders
        if Decimal(row["filled_quantity"]) != executed[name := row["client_order_id"]]
    ]
