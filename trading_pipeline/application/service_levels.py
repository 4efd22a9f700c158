"""Service levels: what is promised of the service, what was kept, and how much of the error budget is left.

A level counts events, good ones and all. With an objective of 99.5 % a budget
of 0.5 % of the events may be bad; what is spent of it is the number of bad ones
(Beyer et al., *Site Reliability Engineering*, 2016, chapters 3 and 4). Where
there were no events nothing is known, and nothing is said to be kept.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.freshness import SymbolStatus

if TYPE_CHECKING:
    import pandas as pd

PLANNED = "sessions planned in time"
ACKNOWLEDGED = "orders acknowledged in time"
ONCE = "no duplicate and no unrecorded order"
FRESH = "data fresh"
MOST_NAMED = 5


class Verdict(StrEnum):
    """Whether a level was kept; UNKNOWN where nothing was counted."""

    KEPT = "kept"
    MISSED = "missed"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class ServiceLevel:
    """One promise and how it was kept.

    Attributes:
        name: what is promised, in a few words.
        promise: the same as a sentence, with its figures.
        unit: what is counted, such as "sessions".
        objective: the fraction (0 to 1) of events that should be good.
        good: how many were.
        total: how many there were.
        worst: the bad ones, in words; empty where there were none.

    Raises:
        InvalidInput: the objective is no fraction, or more events are good than there were.
    """

    name: str
    promise: str
    unit: str
    objective: Decimal
    good: int
    total: int
    worst: str = ""

    def __post_init__(self) -> None:
        """Refuse figures that contradict each other."""
        if not 0 <= self.objective <= 1 or not 0 <= self.good <= self.total:
            raise InvalidInput(
                f"level {self.name}: the objective is a fraction and good events are among all, were {self.objective}, "
                f"{self.good} of {self.total}"
            )

    @property
    def bad(self) -> int:
        """How many events were bad: what is spent of the budget."""
        return self.total - self.good

    @property
    def attained(self) -> Decimal | None:
        """The fraction of good events; None where there were none."""
        return Decimal(self.good) / self.total if self.total else None

    @property
    def budget(self) -> Decimal:
        """How many events may be bad; a fraction of one is no whole event yet."""
        return self.total * (1 - self.objective)

    @property
    def budget_left(self) -> Decimal:
        """How many more may be; negative where it is overspent.

        >>> ServiceLevel("planned", "", "sessions", Decimal("0.995"), 598, 600).budget_left
        Decimal('1.000')
        """
        return self.budget - self.bad

    @property
    def verdict(self) -> Verdict:
        """Whether the objective was reached.

        >>> str(ServiceLevel("planned", "", "sessions", Decimal("0.995"), 199, 200).verdict)
        'kept'
        """
        if self.attained is None:
            return Verdict.UNKNOWN
        return Verdict.KEPT if self.attained >= self.objective else Verdict.MISSED


def planned_in_time(
    expected: Sequence[date],
    planned_at: Callable[[date], datetime | None],
    deadline: Callable[[date], datetime],
    objective: Decimal,
) -> ServiceLevel:
    """Return whether each of the ``expected`` sessions had a plan by its deadline.

    ``planned_at`` gives the UTC instant of a session's first executable plan,
    None where there is none; ``deadline`` the one before which it is wanted.
    """
    late: list[str] = []
    for session in expected:
        at = planned_at(session)
        if at is None:
            late.append(f"{session} (no plan)")
        elif at > deadline(session):
            late.append(f"{session} (at {at:%H:%M} UTC)")
    promise = f"{_percent(objective)} of the sessions have an executable plan in time before their window"
    total = len(expected)
    return ServiceLevel(PLANNED, promise, "sessions", objective, total - len(late), total, _named(late))


def acknowledged_in_time(seconds: Iterable[float], within: float, objective: Decimal) -> ServiceLevel:
    """Return how many orders were acknowledged ``within`` so many seconds; NaN is passed over.

    With an objective of 0.99 it is the promise that the 99th percentile is no longer than that.
    """
    known = [value for value in seconds if not math.isnan(value)]
    slow = sorted((value for value in known if value > within), reverse=True)
    promise = f"{_percent(objective)} of the orders are acknowledged within {within:g} s"
    worst = _named([f"{value:.2f} s" for value in slow])
    return ServiceLevel(ACKNOWLEDGED, promise, "orders", objective, len(known) - len(slow), len(known), worst)


def executed_once(
    approved: "pd.DataFrame", quality: "pd.DataFrame", fills: "pd.DataFrame", reconciled: "pd.DataFrame"
) -> ServiceLevel:
    """Return how many intents were executed as approved, and of which orders nothing was recorded.

    Bad is an intent of which more was executed than approved, as a duplicate
    would be; an execution whose intent nobody approved; and an order or
    execution in which our record and the broker's differ. Rows are of tables
    ``approved_orders``, ``execution_quality``, ``fills`` and ``reconciliation``. There is no budget.
    """
    allowed: Mapping[str, Decimal] = dict(zip(approved["client_order_id"], approved["approved_quantity"], strict=True))
    done: dict[str, Decimal] = {}
    for name, quantity in zip(fills["client_order_id"], fills["quantity"], strict=True):
        done[name] = done.get(name, Decimal(0)) + quantity
    broken = reconciled[reconciled["kind"].isin(["order", "fill"]) & (reconciled["status"] == "break")]
    bad = {name for name, quantity in done.items() if quantity > allowed.get(name, Decimal(0))} | set(broken["name"])
    total = len({*quality["client_order_id"], *done, *bad})
    promise = "No order is sent twice, and none without a record before it"
    return ServiceLevel(ONCE, promise, "orders", Decimal(1), total - len(bad), total, _named(sorted(bad)))


def fresh_data(freshness: "pd.DataFrame", objective: Decimal) -> ServiceLevel:
    """Return of how many symbols that strategies read the prices were fresh, in rows of table ``data_freshness``.

    One that is listed later than the session says nothing of the feed and does not count.
    """
    judged = freshness[freshness["read_by"].notna() & (freshness["status"] != SymbolStatus.LISTED_LATER)]
    stale = judged[judged["status"] != SymbolStatus.FRESH]
    promise = f"{_percent(objective)} of the prices that strategies read are fresh when they decide"
    worst = [f"{row['symbol']} on {row['session']}" for row in stale.to_dict("records")]
    total = len(judged)
    return ServiceLevel(FRESH, promise, "prices", objective, total - len(stale), total, _named(worst))


def _named(bad: Sequence[str]) -> str:
    more = f" and {len(bad) - MOST_NAMED} more" if len(bad) > MOST_NAMED else ""
    return ", ".join(bad[:MOST_NAMED]) + more


def _percent(fraction: Decimal) -> str:
    return f"{(100 * fraction).normalize():f} %"
