"""From a target to orders: the differences between what is wanted and what is held.

Pure functions; nothing here reads a clock, a file or the network.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date
from decimal import ROUND_UP, Decimal
from typing import TYPE_CHECKING, Any, Literal

from trading_pipeline.domain import sessions
from trading_pipeline.domain.allocation import Allocation, Contribution, SleeveStatus
from trading_pipeline.domain.errors import DataError, InvalidInput
from trading_pipeline.domain.instruments import STORED_STEP, WHOLE_SHARE, Instrument, round_price, round_quantity
from trading_pipeline.domain.orders import ArchivedDecision, OrderIntent, OrderType, Side, TimeInForce, client_order_id
from trading_pipeline.domain.portfolio import CASH, Portfolio, Position
from trading_pipeline.domain.risk.decisions import Approved, Denied, Reduced, RiskDecision

if TYPE_CHECKING:
    import pandas as pd

ZERO = Decimal(0)
WEIGHT_STEP = Decimal("0.000000000001")


@dataclass(frozen=True)
class Skipped:
    """A symbol that was held or wanted and gets no order, and why."""

    symbol: str
    reason: str


@dataclass(frozen=True)
class PlannedOrders:
    """The intents of a plan in the order in which they are sent, and the symbols that were left out.

    ``reason`` says why nothing at all was planned; it is empty otherwise.
    """

    intents: tuple[OrderIntent, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    reason: str = ""


def plan_orders(
    allocation: Allocation,
    portfolio: Portfolio,
    prices: Mapping[str, Decimal],
    instruments: Mapping[str, Instrument],
    *,
    account: str,
    plan_id: str,
    collar: Decimal | None,
    band: Decimal = Decimal("0.01"),
    minimum_notional: Decimal = Decimal(1),
    whole_shares: bool = False,
) -> PlannedOrders:
    """Turn the differences between ``allocation`` and ``portfolio`` into orders: sells first, each side by symbol.

    The portfolio is valued at ``prices`` (dollars a share, see
    :func:`valued_at`). A symbol's one order is its target weight times equity
    over price, less the shares held. A weight closer than ``band`` (fraction
    of equity) to its target is left alone; selling all of what is no longer
    wanted is always planned. Target weights are taken to twelve decimals, so
    that 0.07 is not the float beside it.

    Quantities are rounded to the instrument's step, or to whole shares where
    ``whole_shares`` asks for them, so that less is held and more cash is left:
    buys down, partial sales up, whole positions down. Buys never need more
    than the cash and the proceeds of the plan's own sales at ``prices``; where
    those fall short (sales inside the band were left out, or a holding has no
    price) the last buys are cut. Buys below ``minimum_notional`` dollars are
    left out. Orders are good for the day: limits at ``collar`` (fraction)
    beyond the price, rounded outwards to the tick, or market orders where it
    is None.

    Symbols without a positive price or a known instrument, short positions,
    and differences too small to trade are reported in ``skipped``. When no
    strategy decided, or equity is not positive, nothing is planned.

    Raises:
        InvalidInput: ``band``, ``minimum_notional`` or ``collar`` is outside its range.
    """
    sizing = _Sizing(band, minimum_notional, collar, whole_shares)
    valued = valued_at(portfolio, prices)
    reason = _reason_to_wait(allocation, valued)
    if reason:
        return PlannedOrders(reason=reason)
    targets = {symbol: _exact_weight(weight) for symbol, weight in allocation.weights.items() if weight > 0}
    obstacles, differences = _compare(targets, valued, prices, instruments)
    outcomes = sizing.outcomes([difference for difference in differences if sizing.matters(difference)], valued.cash)
    trades = [outcome for outcome in outcomes if isinstance(outcome, _Trade)]
    skipped = obstacles + [outcome for outcome in outcomes if isinstance(outcome, Skipped)]
    return PlannedOrders(
        tuple(
            _intent(trade, number, client_order_id(account, plan_id, trade.symbol, trade.side), allocation, collar)
            for number, trade in enumerate(trades, start=1)
        ),
        tuple(sorted(skipped, key=lambda left_out: left_out.symbol)),
    )


def valued_at(portfolio: Portfolio, prices: Mapping[str, Decimal]) -> Portfolio:
    """Return ``portfolio`` with its positions valued at ``prices``, in dollars a share.

    A position without a positive price there keeps the price that it has.
    Orders, risk limits and the snapshot agree only when all value it alike.
    """
    return replace(
        portfolio,
        positions={
            symbol: replace(held, price=_usable_price(prices, symbol) or held.price)
            for symbol, held in portfolio.positions.items()
        },
    )


def _usable_price(prices: Mapping[str, Decimal], symbol: str) -> Decimal | None:
    price = prices.get(symbol)
    if price is None or not price.is_finite() or price < STORED_STEP:
        return None
    return _stored(price)


def _stored(amount: Decimal) -> Decimal:
    return amount.quantize(STORED_STEP)


def _exact_weight(weight: float) -> Decimal:
    return Decimal(str(weight)).quantize(WEIGHT_STEP)


def _reason_to_wait(allocation: Allocation, valued: Portfolio) -> str:
    if allocation.is_undecided:
        return f"no strategy decided on {allocation.session}: what is held stays"
    if not valued.equity.is_finite() or valued.equity <= 0:
        return f"equity of account {valued.account_number} is {valued.equity}: a positive one is needed to size orders"
    return ""


@dataclass(frozen=True)
class _Difference:
    """What separates a symbol's position from its target; ``shares`` is negative when too many are held."""

    instrument: Instrument
    price: Decimal
    held: Decimal
    weight: Decimal
    target: Decimal
    shares: Decimal

    @property
    def symbol(self) -> str:
        return self.instrument.symbol


@dataclass(frozen=True)
class _Trade:
    difference: _Difference
    side: Side
    quantity: Decimal
    note: str = ""

    @property
    def symbol(self) -> str:
        return self.difference.symbol

    @property
    def notional(self) -> Decimal:
        return self.quantity * self.difference.price


def _compare(
    targets: Mapping[str, Decimal],
    valued: Portfolio,
    prices: Mapping[str, Decimal],
    instruments: Mapping[str, Instrument],
) -> tuple[list[Skipped], list[_Difference]]:
    obstacles: list[Skipped] = []
    differences: list[_Difference] = []
    held = {symbol for symbol, position in valued.positions.items() if position.quantity != 0}
    for symbol in sorted(targets.keys() | held):
        price, instrument = _usable_price(prices, symbol), instruments.get(symbol)
        if price is None:
            obstacles.append(Skipped(symbol, f"its price is {prices.get(symbol, 'missing')}; a positive one is needed"))
        elif instrument is None:
            obstacles.append(Skipped(symbol, "no instrument of this symbol is known"))
        elif valued.quantity(symbol) < 0:
            obstacles.append(
                Skipped(symbol, f"{valued.quantity(symbol):f} shares are held; a person must close shorts")
            )
        else:
            differences.append(_difference(instrument, price, valued, targets.get(symbol, ZERO)))
    return obstacles, differences


def _difference(instrument: Instrument, price: Decimal, valued: Portfolio, target: Decimal) -> _Difference:
    held = valued.quantity(instrument.symbol)
    wanted = target * valued.equity / price
    return _Difference(instrument, price, held, held * price / valued.equity, target, wanted - held)


@dataclass(frozen=True)
class _Sizing:
    band: Decimal
    minimum_notional: Decimal
    collar: Decimal | None
    whole_shares: bool

    def __post_init__(self) -> None:
        if not 0 <= self.band <= 1:
            raise InvalidInput(f"the band is a fraction of equity from 0 to 1, was {self.band}")
        if self.minimum_notional < 0:
            raise InvalidInput(f"the minimum notional is dollars from 0 up, was {self.minimum_notional}")
        if self.collar is not None and not 0 <= self.collar < 1:
            raise InvalidInput(f"the collar is a fraction of the price from 0 to below 1, was {self.collar}")

    def matters(self, difference: _Difference) -> bool:
        if difference.shares == 0:
            return False
        return difference.target == 0 or abs(difference.target - difference.weight) >= self.band

    def outcomes(self, differences: Sequence[_Difference], cash: Decimal) -> list[_Trade | Skipped]:
        outcomes = [self._sale(difference) for difference in differences if difference.shares < 0]
        cash += sum((sale.notional for sale in outcomes if isinstance(sale, _Trade)), ZERO)
        for difference in differences:
            if difference.shares > 0:
                buy = self._buy(difference, cash)
                outcomes.append(buy)
                cash -= buy.notional if isinstance(buy, _Trade) else ZERO
        return outcomes

    def _sale(self, difference: _Difference) -> _Trade | Skipped:
        if difference.target == 0:
            quantity = round_quantity(difference.held, difference.instrument.quantity_step())
        else:
            step = self._step(difference)
            excess = (-difference.shares / step).to_integral_value(ROUND_UP) * step
            quantity = min(excess, round_quantity(difference.held, step))
        if quantity == 0:
            return Skipped(difference.symbol, f"{difference.held:f} shares are held, less than can be sold")
        return _Trade(difference, Side.SELL, quantity)

    def _buy(self, difference: _Difference, cash: Decimal) -> _Trade | Skipped:
        affordable = max(cash, ZERO) / difference.price
        quantity = round_quantity(min(difference.shares, affordable), self._step(difference))
        note = "; cut to the cash that is left" if affordable < difference.shares else ""
        trade = _Trade(difference, Side.BUY, quantity, note)
        if quantity > 0 and trade.notional >= self.minimum_notional:
            return trade
        missing = f"{_stored(difference.shares).normalize():f} shares are missing"
        possible = f"{quantity.normalize():f} can be bought{note}"
        return Skipped(difference.symbol, f"{missing}, {possible}: less than an order may be")

    def _step(self, difference: _Difference) -> Decimal:
        return WHOLE_SHARE if self.whole_shares else difference.instrument.quantity_step()


def _intent(trade: _Trade, sequence: int, order_id: str, allocation: Allocation, collar: Decimal | None) -> OrderIntent:
    return OrderIntent(
        client_order_id=order_id,
        sequence=sequence,
        symbol=trade.symbol,
        side=trade.side,
        quantity=trade.quantity,
        order_type=OrderType.MARKET if collar is None else OrderType.LIMIT,
        limit_price=None if collar is None else _limit_price(trade, collar),
        reference_price=trade.difference.price,
        time_in_force=TimeInForce.DAY,
        reason=_reason(trade, allocation),
    )


def _limit_price(trade: _Trade, collar: Decimal) -> Decimal:
    # A fund of three times an index moves three times as far between the close that sized it and the next open.
    collar *= max(Decimal(1), abs(trade.difference.instrument.leverage))
    if trade.side is Side.BUY:
        return round_price(trade.difference.price * (1 + collar), up=True)
    return round_price(trade.difference.price * (1 - collar), up=False)


def _reason(trade: _Trade, allocation: Allocation) -> str:
    difference = trade.difference
    move = f"{trade.symbol} {_percent(difference.weight)} -> {_percent(difference.target)}"
    why = ", ".join(map(_origin, allocation.behind(trade.symbol))) or "no strategy holds it"
    return f"{move}: {why}{trade.note}"


def _percent(weight: Decimal) -> str:
    return f"{weight * 100:.2f}".rstrip("0").rstrip(".") + "%"


def _origin(part: Contribution) -> str:
    if part.status is SleeveStatus.HELD:
        return f"held by {part.strategy}, near its target"
    if part.status is SleeveStatus.CARRIED:
        return f"carried for {part.strategy} since {part.decided_on}"
    if part.status is SleeveStatus.FALLBACK:
        return f"safe asset of {part.strategy}, undecided since {part.decided_on}"
    return f"decided by {part.strategy}"


_ORDER_COLUMNS: Mapping[str, str] = {
    "session": "object",
    "execution_session": "object",
    "client_order_id": "str",
    "sequence": "int64",
    "symbol": "str",
    "side": "str",
    "quantity": "object",
    "order_type": "str",
    "limit_price": "object",
    "reference_price": "object",
    "notional": "object",
    "time_in_force": "str",
    "reason": "str",
}

_DECISION_COLUMNS: Mapping[str, str] = {
    **_ORDER_COLUMNS,
    "plan_id": "str",
    "decision": "str",
    "approved_quantity": "object",
    "breaches": "str",
    "warnings": "str",
}

_PORTFOLIO_COLUMNS: Mapping[str, str] = {
    "session": "object",
    "symbol": "str",
    "quantity": "object",
    "price": "object",
    "market_value": "object",
    "weight": "float64",
    "source": "str",
    "account_number": "str",
    "as_of": "datetime64[us, UTC]",
}

_DECISION_NAMES: Mapping[type[RiskDecision], str] = {Approved: "approved", Reduced: "reduced", Denied: "denied"}


def _frame(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(rows, columns=list(columns)).astype(dict(columns))


def intents_to_frame(intents: Sequence[OrderIntent], session: date) -> "pd.DataFrame":
    """Return the rows of table ``order_plan``: one per intent, in the order in which they are sent.

    ``session`` is the session of the decision; the orders belong to the next one.

    Raises:
        InvalidInput: ``session`` is not a session.
    """
    execution_session = sessions.next_session(session)
    return _frame([_order_row(intent, session, execution_session) for intent in intents], _ORDER_COLUMNS)


def _order_row(intent: OrderIntent, session: date, execution_session: date) -> dict[str, Any]:
    return {
        "session": session,
        "execution_session": execution_session,
        "client_order_id": intent.client_order_id,
        "sequence": intent.sequence,
        "symbol": intent.symbol,
        "side": intent.side.value,
        "quantity": intent.quantity,
        "order_type": intent.order_type.value,
        "limit_price": intent.limit_price,
        "reference_price": intent.reference_price,
        "notional": _stored(intent.notional),
        "time_in_force": intent.time_in_force.value,
        "reason": intent.reason,
    }


def intents_from_frame(frame: "pd.DataFrame") -> tuple[OrderIntent, ...]:
    """Return the intents that rows of table ``order_plan`` stand for, in the order of their sequence."""
    return tuple(_read_intent(row) for row in frame.sort_values("sequence").to_dict("records"))


def _read_intent(row: Mapping[Any, Any], quantity: str = "quantity") -> OrderIntent:
    order_type = OrderType(row["order_type"])
    return OrderIntent(
        client_order_id=row["client_order_id"],
        sequence=int(row["sequence"]),
        symbol=row["symbol"],
        side=Side(row["side"]),
        quantity=row[quantity],
        order_type=order_type,
        limit_price=row["limit_price"] if order_type is OrderType.LIMIT else None,
        reference_price=row["reference_price"],
        time_in_force=TimeInForce(row["time_in_force"]),
        reason=row["reason"],
    )


def decisions_to_frame(decisions: Sequence[RiskDecision], session: date, plan_id: str) -> "pd.DataFrame":
    """Return the rows of table ``approved_orders``: one per decision, denied ones included.

    ``breaches`` and ``warnings`` are missing where there are none.

    Raises:
        InvalidInput: ``session`` is not a session.
    """
    execution_session = sessions.next_session(session)
    rows = [
        {
            **_order_row(decision.intent, session, execution_session),
            "plan_id": plan_id,
            "decision": _DECISION_NAMES[type(decision)],
            "approved_quantity": decision.quantity,
            "breaches": "; ".join(map(str, decision.breaches)) or None,
            "warnings": "; ".join(map(str, decision.warnings)) or None,
        }
        for decision in decisions
    ]
    return _frame(rows, _DECISION_COLUMNS)


def archived(decisions: Sequence[RiskDecision]) -> tuple[ArchivedDecision, ...]:
    """Return the decisions as they are kept with the plan: without one no order leaves."""
    return tuple(
        ArchivedDecision(
            decision.intent.client_order_id,
            _DECISION_NAMES[type(decision)],
            decision.quantity,
            tuple(map(str, decision.breaches)),
            tuple(map(str, decision.warnings)),
        )
        for decision in decisions
    )


def approved_intents_from_frame(frame: "pd.DataFrame") -> tuple[OrderIntent, ...]:
    """Return the orders of table ``approved_orders`` that may be sent, at their approved quantities, in order."""
    approved = frame[frame["approved_quantity"] > 0].sort_values("sequence")
    return tuple(_read_intent(row, "approved_quantity") for row in approved.to_dict("records"))


def portfolio_to_frame(portfolio: Portfolio, session: date, source: Literal["broker", "model"]) -> "pd.DataFrame":
    """Return the rows of table ``portfolio_snapshot``: positions by symbol, then cash as dollars at price 1.

    ``weight`` is a fraction of equity, NaN where equity is not positive.
    ``blocked`` has no column: ask the broker, not the table.
    """
    cash = Position(CASH, portfolio.cash, Decimal(1))
    positions = [position for _, position in sorted(portfolio.positions.items())]
    equity = portfolio.equity
    rows = [
        {
            "session": session,
            "symbol": position.symbol,
            "quantity": position.quantity,
            "price": _stored(position.price),
            "market_value": _stored(position.market_value),
            "weight": float(position.market_value / equity) if equity > 0 else float("nan"),
            "source": source,
            "account_number": portfolio.account_number,
            "as_of": portfolio.as_of.astimezone(UTC),
        }
        for position in [*positions, cash]
    ]
    return _frame(rows, _PORTFOLIO_COLUMNS)


def portfolio_from_frame(frame: "pd.DataFrame") -> Portfolio:
    """Return the portfolio that the rows of one session in table ``portfolio_snapshot`` stand for.

    Raises:
        DataError: there is not exactly one row of cash.
    """
    rows = frame.to_dict("records")
    cash = [row for row in rows if row["symbol"] == CASH]
    if len(cash) != 1:
        raise DataError(f"a portfolio snapshot has one row of {CASH}, this one has {len(cash)} in {len(rows)} rows")
    return Portfolio(
        account_number=cash[0]["account_number"],
        as_of=cash[0]["as_of"].to_pydatetime(),
        cash=cash[0]["quantity"],
        positions={
            row["symbol"]: Position(row["symbol"], row["quantity"], row["price"])
            for row in rows
            if row["symbol"] != CASH
        },
    )
