"""Profit and loss by lots, first in, first out: what sales realised, and what is open, to the last digit.

A lot is shares that were bought (or sold short) at one price. An execution
closes the oldest lots of the other direction first (FIFO, the default of the
United States' tax rules, 26 CFR 1.1012-1(c)) and opens one for what is left.
Only sums and products of decimals are taken, so that over any stretch

    realised + change of unrealised = change of equity - movements

holds exactly, where *movements* are cash and shares that came or went without
an execution of ours: dividends, fees, deposits, orders of others.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Context, Decimal, localcontext

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.fills import Fill
from trading_pipeline.domain.portfolio import Portfolio

ZERO = Decimal(0)
EXACT = Context(prec=80)
"""Products of stored amounts have 18 decimals and at most 58 digits before them."""
QUANTITY_STEP = Decimal("0.000000001")
SPLITS = tuple(
    [(Decimal(new), Decimal(1)) for new in (2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 50)]
    + [(Decimal(1), Decimal(old)) for old in (2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 50)]
    + [(Decimal(new), Decimal(old)) for new, old in ((3, 2), (4, 3), (5, 2), (5, 4), (2, 3))]
)
"""New shares for old ones, as companies and funds split them."""
SPLIT_PRICE_TOLERANCE = Decimal("0.25")
"""How far the price of a symbol, as a fraction, may lie from where its split alone would have put it."""


@dataclass(frozen=True)
class Lot:
    """Shares of one price: ``quantity`` negative where sold short, ``price`` in dollars a share."""

    quantity: Decimal
    price: Decimal

    @property
    def cost(self) -> Decimal:
        """Dollars paid for the lot; negative for a short one."""
        return self.quantity * self.price


Lots = Mapping[str, tuple[Lot, ...]]
"""Lots by symbol, oldest first; all of a symbol have one direction, and none is empty."""


def opened(portfolio: Portfolio) -> Lots:
    """Return one lot for each position, at the price at which it is valued: nothing is gained yet.

    >>> from datetime import UTC, datetime
    >>> from trading_pipeline.domain.portfolio import Position
    >>> held = {"SPY": Position("SPY", Decimal(2), Decimal(500))}
    >>> opened(Portfolio("SIM1", datetime(2026, 7, 31, tzinfo=UTC), Decimal(10), held))
    {'SPY': (Lot(quantity=Decimal('2'), price=Decimal('500')),)}
    """
    return {
        symbol: (Lot(position.quantity, position.price),)
        for symbol, position in sorted(portfolio.positions.items())
        if position.quantity
    }


def traded(lots: Lots, symbol: str, quantity: Decimal, price: Decimal) -> tuple[Lots, Decimal]:
    """Return the lots after ``quantity`` shares (negative: sold) at ``price``, and the dollars that it realised.

    >>> bought, _ = traded({}, "SPY", Decimal(3), Decimal(100))
    >>> both, _ = traded(bought, "SPY", Decimal(3), Decimal(110))
    >>> rest, realised = traded(both, "SPY", Decimal(-4), Decimal(120))
    >>> realised, rest["SPY"]
    (Decimal('70'), (Lot(quantity=Decimal('2'), price=Decimal('110')),))
    """
    kept: list[Lot] = []
    realised, open_shares = ZERO, quantity
    with localcontext(EXACT):
        for lot in lots.get(symbol, ()):
            closing = _closing(lot, open_shares)
            realised += closing * (price - lot.price)
            open_shares += closing
            if closing != lot.quantity:
                kept.append(Lot(lot.quantity - closing, lot.price))
        if open_shares:
            kept.append(Lot(open_shares, price))
    others = {name: held for name, held in lots.items() if name != symbol}
    return (others | {symbol: tuple(kept)} if kept else others), realised


def _closing(lot: Lot, traded_shares: Decimal) -> Decimal:
    """Return how many shares of ``lot``, with its sign, an order of the other direction closes."""
    if (lot.quantity > 0) == (traded_shares > 0) or not traded_shares:
        return ZERO
    return min(lot.quantity, -traded_shares) if lot.quantity > 0 else max(lot.quantity, -traded_shares)


def executed(lots: Lots, fills: Iterable[Fill]) -> tuple[Lots, Decimal]:
    """Return the lots after ``fills``, taken in the order of their instants, and what they realised in dollars.

    Commissions are paid at once: they lower what is realised, whatever becomes of the shares.
    """
    realised = ZERO
    for fill in sorted(fills, key=lambda fill: (fill.filled_at, fill.execution_id)):
        lots, gained = traded(lots, fill.symbol, fill.signed_quantity, fill.price)
        with localcontext(EXACT):
            realised += gained - fill.commission
    return lots, realised


def quantity_of(lots: Lots, symbol: str) -> Decimal:
    """Return the shares that the lots of a symbol add up to."""
    with localcontext(EXACT):
        return sum((lot.quantity for lot in lots.get(symbol, ())), ZERO)


def split(lots: Lots, symbol: str, new: Decimal, old: Decimal) -> Lots:
    """Return the lots after ``new`` shares of a symbol came for each ``old`` ones; what they cost stays.

    >>> split({"SPY": (Lot(Decimal(3), Decimal(100)),)}, "SPY", Decimal(2), Decimal(1))["SPY"]
    (Lot(quantity=Decimal('6'), price=Decimal('50')),)
    """
    with localcontext(EXACT):
        after = tuple(Lot(lot.quantity * new / old, lot.price * old / new) for lot in lots.get(symbol, ()))
    return {**lots, symbol: after}


@dataclass(frozen=True)
class Valuation:
    """The account at the close of ``session``, its positions at the closes."""

    session: date
    portfolio: Portfolio


@dataclass(frozen=True)
class SessionProfit:
    """What an account was worth at a close, and what it gained since the valuation before; dollars.

    Attributes:
        session: the session at whose close it was valued.
        equity: cash and positions.
        cash: dollars.
        unrealised: what the open positions are worth above what they cost.
        realised: what executions since the valuation before realised, commissions taken off; None at the first.
        unrealised_change: by how much ``unrealised`` rose; None likewise.
        commissions: what was paid for the executions; None likewise.
        cash_movements: cash that no execution explains: dividends, fees, deposits; None likewise.
        share_movements: worth of shares that came (positive) or went without an execution; None likewise.
        lots: what is open after it.
    """

    session: date
    equity: Decimal
    cash: Decimal
    unrealised: Decimal
    realised: Decimal | None
    unrealised_change: Decimal | None
    commissions: Decimal | None
    cash_movements: Decimal | None
    share_movements: Decimal | None
    lots: Lots

    @property
    def profit(self) -> Decimal | None:
        """Realised and change of unrealised; None at the first valuation."""
        if self.realised is None or self.unrealised_change is None:
            return None
        with localcontext(EXACT):
            return self.realised + self.unrealised_change

    @property
    def movements(self) -> Decimal | None:
        """Cash and shares that came or went without an execution; None at the first valuation."""
        if self.cash_movements is None or self.share_movements is None:
            return None
        with localcontext(EXACT):
            return self.cash_movements + self.share_movements


def profits(valuations: Sequence[Valuation], fills: Mapping[date, Sequence[Fill]]) -> Sequence[SessionProfit]:
    """Return what each valuation gained since the one before, oldest first.

    The first is where counting begins: its positions cost what they were worth
    then. ``fills`` are by the session in which they were executed; those of a
    session are in the valuation at its close. Shares that come or go without
    an execution do so at the price of the close, or, where none are left, at
    that of the close before; a split is recognised and moves nothing.

    Raises:
        InvalidInput: the valuations are not of ascending sessions.
    """
    found: list[SessionProfit] = []
    before: Valuation | None = None
    for valuation in valuations:
        if before is None:
            found.append(_first(valuation))
        else:
            if before.session >= valuation.session:
                raise InvalidInput(f"valuations must ascend; {valuation.session} came after {before.session}")
            between = [fill for day, of in fills.items() if before.session < day <= valuation.session for fill in of]
            found.append(_next(found[-1], before, valuation, between))
        before = valuation
    return found


def _first(valuation: Valuation) -> SessionProfit:
    with localcontext(EXACT):
        equity = valuation.portfolio.equity
    nothing = (None, None, None, None, None)
    return SessionProfit(
        valuation.session, equity, valuation.portfolio.cash, ZERO, *nothing, opened(valuation.portfolio)
    )


def _next(last: SessionProfit, before: Valuation, now: Valuation, fills: Sequence[Fill]) -> SessionProfit:
    lots, realised = executed(last.lots, fills)
    lots, gained, shares = _moved(lots, before.portfolio, now.portfolio, {fill.symbol for fill in fills})
    with localcontext(EXACT):
        commissions = sum((fill.commission for fill in fills), ZERO)
        paid = sum((fill.signed_quantity * fill.price for fill in fills), ZERO) + commissions
        open_gain = _open_gain(lots, now.portfolio)
        return SessionProfit(
            session=now.session,
            equity=now.portfolio.equity,
            cash=now.portfolio.cash,
            unrealised=open_gain,
            realised=realised + gained,
            unrealised_change=open_gain - last.unrealised,
            commissions=commissions,
            cash_movements=now.portfolio.cash - before.portfolio.cash + paid,
            share_movements=shares,
            lots=lots,
        )


def _moved(lots: Lots, before: Portfolio, now: Portfolio, executed_symbols: set[str]) -> tuple[Lots, Decimal, Decimal]:
    """Return the lots of what is really held, what that realised, and the worth of what moved."""
    realised = moved = ZERO
    for symbol in sorted({*lots, *now.positions}):
        if symbol not in executed_symbols:
            lots = _after_a_split(lots, symbol, before, now)
        held = now.quantity(symbol)
        with localcontext(EXACT):
            difference = held - quantity_of(lots, symbol)
        if difference:
            price = _price(symbol, lots, before, now)
            lots, gained = traded(lots, symbol, difference, price)
            with localcontext(EXACT):
                realised, moved = realised + gained, moved + difference * price
    return lots, realised, moved


def _after_a_split(lots: Lots, symbol: str, before: Portfolio, now: Portfolio) -> Lots:
    expected, held = quantity_of(lots, symbol), now.quantity(symbol)
    if expected == held or symbol not in before.positions or symbol not in now.positions:
        return lots
    old_price, new_price = before.positions[symbol].price, now.positions[symbol].price
    for new, old in SPLITS:
        is_ratio = abs(held * old - expected * new) <= QUANTITY_STEP * old
        if is_ratio and abs(new_price * new - old_price * old) <= SPLIT_PRICE_TOLERANCE * old_price * old:
            return split(lots, symbol, new, old)
    return lots


def _price(symbol: str, lots: Lots, before: Portfolio, now: Portfolio) -> Decimal:
    for portfolio in (now, before):
        if symbol in portfolio.positions:
            return portfolio.positions[symbol].price
    # Bought and gone without an execution of its own: what it cost is all that is known.
    return lots[symbol][-1].price


def _open_gain(lots: Lots, now: Portfolio) -> Decimal:
    worth = sum((position.market_value for position in now.positions.values()), ZERO)
    return worth - sum((lot.cost for held in lots.values() for lot in held), ZERO)


def unit_values(rows: Sequence[SessionProfit]) -> Sequence[Decimal | None]:
    """Return what a dollar of the first valuation has become by each, movements taken out; None where undefined.

    Movements count as of the end of their session (time-weighted returns, GIPS
    2020, provision 2.A.21). From an equity that is not positive on, nothing
    is defined any more.

    >>> unit_values([])
    []
    """
    values: list[Decimal | None] = []
    for row, last in zip(rows, [None, *rows], strict=False):
        values.append(Decimal(1) if last is None else _grown(values[-1], last, row))
    return values


def _grown(value: Decimal | None, last: SessionProfit, row: SessionProfit) -> Decimal | None:
    if value is None or last.equity <= 0 or row.movements is None:
        return None
    return value * (row.equity - row.movements) / last.equity


def drawdowns(values: Sequence[Decimal | None]) -> Sequence[Decimal | None]:
    """Return how far each value lies below the highest so far, as a fraction (0 to 1); None where it is not known.

    >>> drawdowns([Decimal(2), Decimal(3), None, Decimal("1.5")])
    [Decimal('0'), Decimal('0'), None, Decimal('0.5')]
    """
    peak, found = ZERO, list[Decimal | None]()
    for value in values:
        peak = peak if value is None else max(peak, value)
        found.append(None if value is None or peak <= 0 else (peak - value) / peak)
    return found
