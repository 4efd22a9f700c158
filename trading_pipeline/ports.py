"""The few protocols between the steps of the pipeline and the world; six methods each at most."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from trading_pipeline.domain.audit import AuditDraft, AuditHead, AuditRecord
from trading_pipeline.domain.fills import Fill
from trading_pipeline.domain.orders import BrokerOrder, OrderIntent, OrderResult, Plan
from trading_pipeline.domain.portfolio import Portfolio
from trading_pipeline.domain.risk.corporate_actions import CorporateAction
from trading_pipeline.domain.risk.trading_pauses import Trade
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


class MarketEvents(Protocol):
    """What befalls symbols: that they trade or stop, split, merge or change their names."""

    def latest_trades(self, symbols: Sequence[str]) -> Mapping[str, Trade]:
        """Return the latest trade of each symbol that has one."""
        ...

    def corporate_actions(self, symbols: Sequence[str], first: date, last: date) -> Sequence[CorporateAction]:
        """Return what was announced of the shares of ``symbols`` and is processed from ``first`` to ``last``."""
        ...

    def unadjusted_closes(self, symbols: Sequence[str], session: date) -> Mapping[str, Decimal]:
        """Return the close of a completed session in dollars a share, as it was traded, of each symbol that has one."""
        ...


class AssetDirectory(Protocol):
    """What may be done with symbols."""

    def assets(self, symbols: Sequence[str]) -> Mapping[str, Asset]:
        """Return what the broker knows of each symbol; one that it does not know is absent."""
        ...


class Broker(Protocol):
    """The account and its orders."""

    def portfolio(self) -> Portfolio:
        """Return cash and positions as they are now."""
        ...

    def submit(self, intent: OrderIntent) -> OrderResult:
        """Send an order once; never raises for what the broker or the network did to it."""
        ...

    def order(self, client_order_id: str) -> BrokerOrder | None:
        """Return the order of that id, or None if the broker has never seen it."""
        ...

    def orders(self, since: datetime | None = None) -> Sequence[BrokerOrder]:
        """Return every order submitted at ``since`` or later, oldest first; without it, those that are still open."""
        ...

    def cancel(self, venue_order_id: str) -> None:
        """Ask for an order to be cancelled; whether it was is read from the order."""
        ...

    def executions(self, after: datetime) -> Sequence[Fill]:
        """Return every execution of the account since ``after``, oldest first."""
        ...


@dataclass(frozen=True)
class CashMovement:
    """Dollars that came (positive) or went (negative) without a trade, such as a dividend, a fee or a deposit.

    ``kind`` is Alpaca's type of activity, ``day`` the New York day on which it
    was booked, or to which it belongs if that is later; ``text`` says more to people.
    """

    id: str
    kind: str
    amount: Decimal
    day: date
    text: str = ""


class CashLedger(Protocol):
    """What changes the cash of the account beside trades."""

    def cash_movements(self, after: datetime) -> Sequence[CashMovement]:
        """Return the movements of the New York day of ``after`` and of later ones, in the order of their booking."""
        ...


class OrderUpdates(Protocol):
    """A hint that an order of the account changed; what became of it is read from the broker."""

    def wait(self, seconds: float) -> None:
        """Return when news came since the last call, at the latest after ``seconds``.

        Raises:
            Interrupted: the process was asked to end.
        """
        ...

    def compare(self, orders: Sequence[BrokerOrder]) -> None:
        """Take note of what the broker itself listed, to find out that news does not come."""
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

    def liquidations(self, account_number: str, session: date) -> Sequence[Plan]:
        """Return the plans of a session that get out of positions in an emergency, oldest first."""
        ...


class IntentState(StrEnum):
    """Where an intent stands in our own journal.

    PARKED could not be sent now (halted, no quote, no cash yet, trading that
    only reduces) and is tried again; REPRICING and CANCELLING have
    asked for their order to be cancelled, the former to send the rest anew.
    """

    PLANNED = "planned"
    PARKED = "parked"
    SUBMITTING = "submitting"
    ACKNOWLEDGED = "acknowledged"
    CANCELLING = "cancelling"
    REPRICING = "repricing"
    FILLED = "filled"
    CANCELED = "canceled"
    REJECTED = "rejected"
    EXPIRED = "expired"
    ABANDONED = "abandoned"

    @property
    def is_terminal(self) -> bool:
        """Tell whether nothing more will happen to the intent."""
        return self in _ENDED

    @property
    def is_unsent(self) -> bool:
        """Tell whether no order of the intent is on its way, as far as the line tells."""
        return self in {IntentState.PLANNED, IntentState.PARKED}


_ENDED = frozenset(
    {IntentState.FILLED, IntentState.CANCELED, IntentState.REJECTED, IntentState.EXPIRED, IntentState.ABANDONED}
)


@dataclass(frozen=True)
class JournalEntry:
    """One line of the journal on one intent.

    ``client_order_id`` names the intent, ``order_id`` the order that the line
    speaks of: the intent's own id, or that of a later slice. ``recorded_at`` is
    the broker's instant, as known when the step began; ``written_at`` this
    machine's, when the line was written. ``mid`` is the middle of the quote,
    in dollars a share, at which an order was about to be sent. ``number``
    counts the lines of the journal. ``session`` and ``account_number`` are the
    plan's: the session that was decided, and whose account trades it.
    """

    client_order_id: str
    plan_id: str
    state: IntentState
    detail: str
    recorded_at: datetime
    order_id: str
    written_at: datetime
    account_number: str
    session: date
    mid: Decimal | None = None
    number: int = 0


@dataclass(frozen=True)
class Attempt:
    """What a line of the journal says beside the state.

    ``order_id`` is the order it speaks of, ``mid`` the middle of the quote at
    which that was about to be sent, in dollars a share. With ``expecting`` the
    line is written only while that is still the intent's latest entry.
    """

    order_id: str
    mid: Decimal | None = None
    expecting: JournalEntry | None = None


class OrderJournal(Protocol):
    """What was intended and attempted, on disk before the first byte leaves."""

    def claim(self, plan: Plan, at: datetime) -> str:
        """Journal every intent of ``plan`` at once, unless another plan of its account and session was.

        A liquidation is beside the session's plan: it is refused for another one of the same number only.
        Returns the id of the plan that holds the session from now on: this one, or the earlier.
        """
        ...

    def claimed(self, account_number: str, session: date, liquidation: int | None = None) -> str | None:
        """Return the id of the plan that holds the session, or that liquidation of it, if one does."""
        ...

    def record(
        self, client_order_id: str, state: IntentState, detail: str, at: datetime, attempt: Attempt | None = None
    ) -> bool:
        """Append where an intent stands now; durable when this returns.

        Without an ``attempt`` the line speaks of the order that bears the intent's own id. Tells whether the line
        was written, which it is not where another came after the one that was expected.
        """
        ...

    def entries(self, plan_id: str, account_number: str | None = None) -> Sequence[JournalEntry]:
        """Return the latest entry of each intent of an account's plan, in the plan's order; without one, of any's.

        Plans of two accounts that follow one another may bear one id.
        """
        ...

    def history(self, plan_id: str, account_number: str | None = None) -> Sequence[JournalEntry]:
        """Return every entry of an account's plan, oldest first; without one, of any account's."""
        ...

    def unfinished(self) -> Sequence[JournalEntry]:
        """Return the latest entry of each intent, of whichever plan, that has not ended."""
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

    def change(self, change: Callable[[TradingState], TradingState]) -> TradingState:
        """Replace the state by what ``change`` makes of it, and return that; of two writers at once none is lost."""
        ...


class MendableTradingState(TradingStateStore, Protocol):
    """A trading state that a person can set even where what is stored cannot be read."""

    def mend(self, change: Callable[[TradingState], TradingState]) -> TradingState:
        """Do as :meth:`change` does, on the newest state that is known where the stored one cannot be read."""
        ...


class StateSource(Protocol):
    """Something beside the stored state that may hold trading, such as a file that a person puts down."""

    @property
    def name(self) -> str:
        """What it is called in the state."""
        ...

    def read(self) -> TradingState:
        """Return what it holds trading to; ACTIVE where it holds nothing.

        Raises:
            PipelineError: it cannot be read; a TransientError where asking again may help.
        """
        ...


class SendingGate(Protocol):
    """What every order passes together with the look at the trading state before it, on one machine."""

    def sending(self) -> AbstractContextManager[None]:
        """Keep whoever stops trading waiting, as long as the block reads the state and sends.

        Raises:
            TradingHalted: somebody keeps the gate shut; nothing may be sent.
            Interrupted: the process was asked to end.
        """
        ...

    def shut(self) -> AbstractContextManager[None]:
        """Wait until nobody sends, and let nobody begin to as long as the block lasts.

        Raises:
            DependencyUnavailable: somebody does not end sending in time, or the gate cannot be used.
            Interrupted: the process was asked to end.
        """
        ...


class Severity(StrEnum):
    """How soon a person should look at an alert."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


RECOVERED = ":recovered"


@dataclass(frozen=True)
class Alert:
    """Something that a person should know; alerts of one ``key`` are one alert.

    ``runbook`` is the anchor of docs/operations.md that says what to do, such
    as ``order-unacknowledged``; ``html`` the body for mails, where there is
    more to show than ``text`` says. Both may be empty. That something is over
    is told by an INFO alert whose key is that of the failure and
    :data:`RECOVERED`: it goes wherever the failure went.
    """

    key: str
    severity: Severity
    title: str
    text: str
    at: datetime
    runbook: str = ""
    html: str = ""


class Notifier(Protocol):
    """Tells people."""

    def notify(self, alert: Alert) -> bool:
        """Deliver an alert unless one of its key was delivered before; tell whether it was delivered now."""
        ...


@dataclass(frozen=True)
class Message:
    """What a channel carries to people: one alert, or a digest of several.

    ``id`` is the same at each repetition, and of no other message; ``runbook``
    a link to what to do; ``answers`` the id of the message that this one
    follows. ``key`` is the alert's, empty for a digest, like ``html``,
    ``runbook`` and ``answers`` where there is none.
    """

    id: str
    severity: Severity
    title: str
    text: str
    at: datetime
    key: str = ""
    html: str = ""
    runbook: str = ""
    answers: str = ""


@dataclass(frozen=True)
class Delivery:
    """What one process may send by one channel now; nobody else does while its lease lasts.

    Attributes:
        channel: the channel's name.
        message: the id of the message; the same at each repetition.
        alerts: what it tells of: one alert, or those of a digest.
        told_at: when the oldest of them was told, UTC.
        attempts: how often it was sent before, without success.
        lease: what the one who sends shows to say how it ended.
        answers: the id of the message that this one follows; empty where there is none.
    """

    channel: str
    message: str
    alerts: tuple[Alert, ...]
    told_at: datetime
    attempts: int
    lease: str
    answers: str = ""


class Channel(Protocol):
    """One way to people, such as mail."""

    @property
    def name(self) -> str:
        """What it is called in settings and messages."""
        ...

    def send(self, message: Message) -> str:
        """Send a message once, and return what was answered, in words for people.

        Raises:
            TransientError: no usable answer, so that the message may or may not have arrived; or it was asked to wait.
            PermanentError: it was refused, and would be again.
        """
        ...


class AuditLog(Protocol):
    """What was decided and done, appended and never changed."""

    def append(self, drafts: Sequence[AuditDraft]) -> Sequence[AuditRecord]:
        """Append ``drafts`` in their order and return their records; durable when this returns."""
        ...

    def follow(self, make: Callable[[AuditHead], Sequence[AuditDraft]]) -> Sequence[AuditRecord]:
        """Append what ``make`` makes of the head of the log, and again, until it makes nothing; return the records."""
        ...

    def head(self) -> AuditHead:
        """Return where the log ends."""
        ...

    def records(self, *, since: date | None = None, event: str = "", correlation_id: str = "") -> Iterator[AuditRecord]:
        """Yield the records, oldest first: of the days from ``since`` (UTC) on, of an event, of what belongs together.

        Raises:
            DataError: the log is damaged.
        """
        ...

    def newest_first(self) -> Iterator[AuditRecord]:
        """Yield the records, newest first, reading no further back than the caller goes."""
        ...


class Metrics(Protocol):
    """Figures for dashboards and alarms; recording one never fails the work that it measures."""

    def count(self, name: str, value: int = 1, **labels: str) -> None:
        """Add ``value`` to a counter."""
        ...

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add an observation, such as a latency in seconds, to a histogram."""
        ...

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a level, such as the requests that are left of a quota."""
        ...


class Clock(Protocol):
    """Time, as the place where orders are traded sees it."""

    def now(self) -> datetime:
        """Return the UTC instant."""
        ...

    def wait(self, seconds: float) -> None:
        """Let ``seconds`` pass.

        Raises:
            Interrupted: the process was asked to end.
        """
        ...

    def elapsed(self) -> float:
        """Return seconds since an arbitrary point, by a clock that is never set back."""
        ...
