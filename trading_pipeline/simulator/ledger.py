"""The books of a simulated cash account: cash, positions, what open orders hold back, equity.

Each execution moves quantity x price, rounded to cents half to even, at once. So
cash is always whole cents, and cash plus the sum of those amounts is conserved.
"""

import uuid
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from trading_pipeline.domain.instruments import QUANTITY_STEP, round_cents, round_quantity
from trading_pipeline.domain.sessions import NEW_YORK
from trading_pipeline.simulator.exchange import Exchange
from trading_pipeline.simulator.records import ZERO, AccountFlags, Execution, Position, Side
from trading_pipeline.simulator.store import Store
from trading_pipeline.simulator.universe import Split


@dataclass(frozen=True)
class AccountView:
    """The account at an instant, in dollars."""

    number: str
    id: uuid.UUID
    created_at: datetime
    cash: Decimal
    buying_power: Decimal
    long_market_value: Decimal
    last_equity: Decimal
    flags: AccountFlags

    @property
    def equity(self) -> Decimal:
        """Cash and the value of all positions."""
        return self.cash + self.long_market_value


@dataclass(frozen=True)
class PositionView:
    """A position at an instant: shares, dollars, dollars a share; ``available`` is what no open sell holds."""

    symbol: str
    exchange: str
    quantity: Decimal
    available: Decimal
    cost_basis: Decimal
    price: Decimal
    last_day_price: Decimal

    @property
    def market_value(self) -> Decimal:
        """Dollars at the current price, whole cents."""
        return round_cents(self.quantity * self.price)


class Ledger:
    """Cash and positions of the account of that number."""

    def __init__(self, store: Store, exchange: Exchange, account_number: str) -> None:
        self._store = store
        self._exchange = exchange
        self.account_number = account_number
        self.account_id = uuid.uuid5(uuid.NAMESPACE_URL, f"trading-pipeline/{account_number}")

    def new_id(self, kind: str, name: object) -> str:
        """Return the id of the thing of that kind and name, the same on every run."""
        return str(uuid.uuid5(self.account_id, f"{kind} {name}"))

    def buying_power(self) -> Decimal:
        """Return cash less what open buys hold back."""
        return self._store.cash - self._store.reserved_cash()

    def held(self, symbol: str) -> Decimal:
        """Return the shares that open sells of ``symbol`` hold back."""
        return self._store.reserved_shares(symbol)

    def book(self, execution: Execution) -> None:
        """Take an execution into cash, positions and the record of executions."""
        held = self._store.position(execution.symbol) or Position(execution.symbol, ZERO, ZERO)
        if execution.side is Side.BUY:
            self._store.cash -= execution.amount
            quantity, cost = held.quantity + execution.quantity, held.cost_basis + execution.amount
        else:
            self._store.cash += execution.amount
            quantity = held.quantity - execution.quantity
            cost = held.cost_basis * quantity / held.quantity
        self._store.keep_position(Position(execution.symbol, quantity, cost))
        self._store.add_execution(execution)

    def split(self, split: Split) -> None:
        """Turn the shares held into as many more as the split gives; their cost stays."""
        held = self._store.position(split.symbol)
        if held is not None:
            shares = round_quantity(held.quantity * split.ratio, QUANTITY_STEP)
            self._store.keep_position(Position(split.symbol, shares, held.cost_basis))

    def keep_closing_equity(self, session: date, now: datetime) -> None:
        """Remember the equity at the close of ``session``, which is ``now``."""
        self._store.keep_closing_equity(session, self._store.cash + self._market_value(now))

    def account(self, now: datetime) -> AccountView:
        """Return the account at ``now``."""
        cash = self._store.cash
        market_value = self._market_value(now)
        closed = self._store.closing_equity(before=now.astimezone(NEW_YORK).date())
        return AccountView(
            number=self.account_number,
            id=self.account_id,
            created_at=self._store.instant("created") or now,
            cash=cash,
            buying_power=self.buying_power(),
            long_market_value=market_value,
            last_equity=Decimal(self._store.setting("opening cash") or cash) if closed is None else closed,
            flags=self._store.flags,
        )

    def position(self, position: Position, now: datetime) -> PositionView:
        """Return ``position`` as it stands at ``now``."""
        asset = self._exchange.asset(position.symbol, now)
        price = self._exchange.price(position.symbol, now) or ZERO
        return PositionView(
            symbol=position.symbol,
            exchange=asset.exchange if asset else "",
            quantity=position.quantity,
            available=position.quantity - self.held(position.symbol),
            cost_basis=position.cost_basis,
            price=price,
            last_day_price=self._exchange.close_before(position.symbol, now) or price,
        )

    def _market_value(self, now: datetime) -> Decimal:
        views = (self.position(position, now) for position in self._store.positions())
        return sum((view.market_value for view in views), ZERO)
