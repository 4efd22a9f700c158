"""The few protocols between the steps of the pipeline and the world; six methods each at most."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from trading_pipeline.domain.fills import Fill
from trading_pipeline.domain.orders import BrokerOrder, OrderIntent, OrderResult, Plan
from trading_pipeline.domain.portfolio import Portfolio
from trading_pipeline.domain.risk.trading_state import TradingState

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Quote:
    """Bid and ask in dollars a share at a UTC instant; zero where there is none."""

    symbol: str
    bid: Decimal
    ask: Decimal
    at: datetime

    @property
    def mid(self) -> Decimal:
        """Middle of bid and ask, or whichever there is; zero where there is neither."""
        if self.bid > 0 and self.ask > 0:
            return (self.bid + self.ask) / 2
        return max(self.bid, self.ask)


@dataclass(frozen=True)
class Asset:
    """What the broker says may be done with a symbol."""

    symbol: str
    name: str
    exchange: str
    tradable: bool
    fractionable: bool


class MarketData(Protocol):
    """Prices, adjusted for splits and dividends."""

    def daily_bars(self, symbols: Sequence[str], first: date, last: date) -> "pd.DataFrame":
        """Return the completed bars of ``first`` to ``last`` as a Bars frame; a symbol without bars has no row.

        Raises:
            TransientError: no usable answer inside the deadline.
            PermanentError: the request was refused.
            InvalidBars: the answer breaks the schema of bars.
        """
        ...

    def quotes(self, symbols: Sequence[str]) -> Mapping[str, Quote]:
        """Return the latest quote of each symbol that has one."""
        ...


class Broker(Protocol):
    """The account and its orders."""

    def portfolio(self) -> Portfolio:
        """Return cash and positions as they are now."""
        ...

    def assets(self, symbols: Sequence[str]) -> Mapping[str, Asset]:
        """Return what the broker knows of each symbol; one that it does not know is absent."""
        ...

    def submit(self, intent: OrderIntent) -> OrderResult:
        """Send an order once; never raises for what the broker or the network did to it."""
        ...

    def order(self, client_order_id: str) -> BrokerOrder | None:
        """Return the order of that id, or None if the broker has never seen it."""
        ...

    def cancel(self, venue_order_id: str) -> None:
        """Ask for an order to be cancelled; whether it was is read from the order."""
        ...

    def executions(self, after: datetime) -> Sequence[Fill]:
        """Return every execution of the account since ``after``, oldest first."""
        ...


class PlanStore(Protocol):
    """Plans, each written once."""

    def put_if_absent(self, plan: Plan) -> Plan:
        """Store ``plan`` unless its version exists; return the stored one, ours or the earlier."""
        ...

    def versions(self, account_number: str, session: date) -> Sequence[Plan]:
        """Return the executable plans of a session, oldest version first."""
        ...

    def hypothetical(self, session: date) -> Sequence[Plan]:
        """Return the hypothetical plans of a session, oldest version first."""
        ...


class IntentState(StrEnum):
    """Where an intent stands in our own journal."""

    PLANNED = "planned"
    SUBMITTING = "submitting"
    ACKNOWLEDGED = "acknowledged"
    FILLED = "filled"
    CANCELED = "canceled"
    REJECTED = "rejected"
    EXPIRED = "expired"
    ABANDONED = "abandoned"

    @property
    def is_terminal(self) -> bool:
        """Tell whether nothing more will happen to the intent."""
        return self not in {IntentState.PLANNED, IntentState.SUBMITTING, IntentState.ACKNOWLEDGED}


@dataclass(frozen=True)
class JournalEntry:
    """The journal's latest word on one intent."""

    client_order_id: str
    plan_id: str
    state: IntentState
    detail: str
    recorded_at: datetime


class OrderJournal(Protocol):
    """What was intended and attempted, on disk before the first byte leaves."""

    def claim(self, plan: Plan, at: datetime) -> str:
        """Journal every intent of ``plan`` at once, unless another plan of its account and session was.

        Returns the id of the plan that holds the session from now on: this one, or the earlier.
        """
        ...

    def claimed(self, account_number: str, session: date) -> str | None:
        """Return the id of the plan that holds the session, if one does."""
        ...

    def record(self, client_order_id: str, state: IntentState, detail: str, at: datetime) -> None:
        """Append where an intent stands now; durable when this returns."""
        ...

    def entries(self, plan_id: str) -> Sequence[JournalEntry]:
        """Return the latest entry of each intent of a plan, in the plan's order."""
        ...


class TradingStateStore(Protocol):
    """The persisted trading state."""

    def read(self) -> TradingState:
        """Return the state; ACTIVE where none was ever written.

        Raises:
            TradingHalted: the stored state cannot be read: failing closed.
        """
        ...

    def write(self, state: TradingState) -> None:
        """Persist the state; durable when this returns."""
        ...


class Clock(Protocol):
    """Time, as the place where orders are traded sees it."""

    def now(self) -> datetime:
        """Return the UTC instant."""
        ...

    def wait(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        ...
