"""What the steps of a liquidation share: the world, the rules, and the trading state as it sees it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Protocol

from trading_pipeline.application.venue import ExecutionRules, Venue
from trading_pipeline.domain import sessions
from trading_pipeline.domain.instruments import Instrument
from trading_pipeline.domain.liquidation import (
    COLLARS,
    LiquidationRequest,
    as_seen,
)
from trading_pipeline.domain.risk.market_status import MarketStatus
from trading_pipeline.domain.risk.trading_state import TradingMode, TradingState
from trading_pipeline.ports import Asset, Notifier, PlanStore, TradingStateStore


class LiquidationStore(Protocol):
    """Where liquidations that were asked for are kept."""

    def of(self, account_number: str, epoch: int) -> LiquidationRequest | None:
        """Return the account's request of that change of the trading state, or None where there is none."""
        ...

    def newest(self, account_number: str) -> LiquidationRequest | None:
        """Return the account's request of the latest change, or None where there is none at all."""
        ...

    def replace(self, earlier: LiquidationRequest | None, request: LiquidationRequest) -> bool:
        """Store ``request`` if what is there is still ``earlier`` (None: nothing); tell whether it was stored."""
        ...


@dataclass(frozen=True)
class LiquidationRules:
    """How positions are got out of.

    Attributes:
        execution: how orders are placed; its window, and how long a slice works.
        code_valid: how long a code confirms.
        patience: seconds that one run waits for what does not trade now.
        pause: seconds between two tries of it.
        afterwards: what trading is held to when it is over.
        collars: how far beyond the quote the slices go, as fractions, times the fund's multiple.
    """

    execution: ExecutionRules
    code_valid: timedelta = timedelta(minutes=15)
    patience: float = 120.0
    pause: float = 5.0
    afterwards: TradingMode = TradingMode.HALTED
    collars: tuple[Decimal, ...] = COLLARS


@dataclass(frozen=True)
class LiquidationDesk:
    """Everything of the world that a liquidation needs.

    Attributes:
        venue: account, market data, journal and clock; its trading state is the one in force.
        plans: where plans are stored.
        requests: where liquidations that were asked for are kept.
        notifier: tells people.
        assets: what the broker says may be done with symbols.
        market: what stands in the way of symbols in a session, at an instant.
        clear: cancels every open order of ours, for a reason; raises OrdersLeft where one may be left.
        instruments: what is known of symbols.
        rules: how positions are got out of.
        code_version: of this program.
        config_hash: of its settings.
    """

    venue: Venue
    plans: PlanStore
    requests: LiquidationStore
    notifier: Notifier
    assets: Callable[[Sequence[str]], Mapping[str, Asset]]
    market: Callable[[Sequence[str], date, datetime], MarketStatus]
    clear: Callable[[str], object]
    instruments: Mapping[str, Instrument]
    rules: LiquidationRules
    code_version: str = ""
    config_hash: str = ""

    @property
    def trading_state(self) -> TradingStateStore:
        """The trading state in force."""
        return self.venue.trading_state


class SeenState:
    """The trading state as a liquidation sees it: what triggers halted is reducing for it, all else holds."""

    def __init__(self, in_force: TradingStateStore) -> None:
        """See ``in_force``; changes go there."""
        self._in_force = in_force

    def read(self) -> TradingState:
        """Return what is left to the liquidation.

        Raises:
            TradingHalted: the state cannot be read.
        """
        return as_seen(self._in_force.read())

    def write(self, state: TradingState) -> None:
        """Persist ``state``."""
        self._in_force.write(state)

    def change(self, change: Callable[[TradingState], TradingState]) -> TradingState:
        """Replace the stored state by what ``change`` makes of it."""
        return self._in_force.change(change)


def session_of_orders(now: datetime) -> date:
    """Return the session in which orders of the instant ``now`` are executed: the open one, else the next."""
    session = sessions.session_at(now)
    return sessions.next_session(sessions.last_completed_session(now)) if session is None else session
