"""The market place that all simulated accounts share: its clock, its sessions, and what is set by hand."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.sessions import NEW_YORK, close_of, is_session, open_of
from trading_pipeline.simulator.broker import Broker
from trading_pipeline.simulator.clock import Clock, Pace, boundaries, next_boundary
from trading_pipeline.simulator.exchange import Exchange
from trading_pipeline.simulator.overrides import BarChange, Override, Overrides
from trading_pipeline.simulator.store import Store
from trading_pipeline.simulator.universe import Split


class ClockMovedBack(InvalidInput):
    """Simulated time only goes forward."""


class Venue:
    """One clock and one market for every account."""

    def __init__(
        self, store: Store, exchange: Exchange, overrides: Overrides, brokers: Sequence[Broker], pace: Pace
    ) -> None:
        self._store = store
        self._exchange = exchange
        self._brokers = tuple(brokers)
        self._pace = pace
        self.overrides = overrides
        self.clock = Clock(store)

    @property
    def runs(self) -> bool:
        """Whether the clock moves by itself."""
        return bool(self._pace.factor)

    def move_clock(self, to: datetime) -> None:
        """Move the clock to ``to``, letting everything between happen in its order.

        What was due first happens first: fills, then the close, at which the rest expires.

        Raises:
            ClockMovedBack: ``to`` lies before the simulated now.
        """
        now = self.clock.now()
        if to < now:
            raise ClockMovedBack(
                f"the simulated clock stands at {now.isoformat()} and cannot go back to {to.isoformat()}; "
                "start with another state folder to live earlier days"
            )
        with self._store.transaction():
            self._settle()
            for boundary in boundaries(now, to):
                self._settle()
                self.clock.set(boundary.instant)
                session = boundary.instant.astimezone(NEW_YORK).date()
                self._open(session) if boundary.opens else self._close(session)
            self.clock.set(to)
        self._pace.restart(to)

    def catch_up(self) -> None:
        """Move a clock that runs to where it should be; fills that are due happen without being asked for."""
        now = self.clock.now()
        due = self._pace.due(now)
        if due == now:
            return
        self.move_clock(due)
        with self._store.transaction():
            self._settle()

    def next_boundary(self, *, opens: bool) -> datetime:
        """Return the next open, or the next close, after the simulated now."""
        return next_boundary(self.clock.now(), opens=opens)

    def halt(self, symbol: str, session: date | None = None) -> None:
        """Stop trading of ``symbol``: for the whole of ``session``, or from now until it is resumed.

        Raises:
            InvalidInput: the session has closed already, or is none.
        """
        if session is not None and close_of(session) <= self.clock.now():
            raise InvalidInput(f"the session {session} has closed already; what happened in it cannot change")
        with self._store.transaction():
            if session is not None:
                self.overrides.add_halt(symbol, session)
            else:
                self.set_symbol(symbol, halted_since=self.clock.now())

    def resume(self, symbol: str) -> None:
        """Let ``symbol`` trade again after a halt that had no end."""
        self.set_symbol(symbol, halted_since=None)

    def set_symbol(self, symbol: str, **changes: Any) -> Override:  # noqa: ANN401 - fields of Override
        """Change what is set for ``symbol``; return all that is set for it."""
        changed = replace(self.overrides.of(symbol), **changes)
        with self._store.transaction():
            self.overrides.keep(symbol, changed)
        return changed

    def change_bars(self, symbol: str, change: BarChange) -> Override:
        """Show a bar of ``symbol`` otherwise than it was."""
        return self.set_symbol(symbol, changes=(*self.overrides.of(symbol).changes, change))

    def hide_bars(self, symbol: str, first: date, last: date) -> Override:
        """Show no bars of ``symbol`` from ``first`` to ``last``, both included."""
        return self.set_symbol(symbol, gaps=(*self.overrides.of(symbol).gaps, (first, last)))

    def mend_bars(self, symbol: str) -> Override:
        """Show the bars of ``symbol`` as they are again: none hidden, none changed."""
        return self.set_symbol(symbol, gaps=(), changes=())

    def split(self, split: Split) -> None:
        """Split the shares of a symbol at the open of a session to come.

        Raises:
            InvalidInput: the session has opened already or is none, the ratio is not
                positive, or the symbol is unknown.
        """
        if not is_session(split.session) or open_of(split.session) <= self.clock.now():
            raise InvalidInput(f"a split takes effect at the open of a session to come; {split.session} is none")
        if split.ratio <= 0:
            raise InvalidInput(f"a split gives more than 0 shares for one, was {split.ratio}")
        if self._exchange.asset(split.symbol, self.clock.now()) is None:
            raise InvalidInput(f"there is no {split.symbol} to split")
        with self._store.transaction():
            self._exchange.split(split)

    def reset(self) -> None:
        """Begin every account anew with its opening cash, and forget what was set by hand.

        Clock and splits stay.
        """
        with self._store.transaction():
            self.overrides.clear()
            for broker in self._brokers:
                broker.clear()

    def refuse_writing(self, *, refused: bool) -> None:
        """Fail every change of the state from now on, as a full disk does, or let changes be kept again."""
        self._store.refuse_writing(refused=refused)

    def _settle(self) -> None:
        for broker in self._brokers:
            broker.settle()

    def _open(self, session: date) -> None:
        splits = self._exchange.splits(session)
        for broker in self._brokers:
            broker.open(splits)

    def _close(self, session: date) -> None:
        for broker in self._brokers:
            broker.close(session)
