"""Day trades: how often a symbol was opened and closed again in one session, counted from our own fills.

Rule 4210(f)(8)(B) of FINRA, as it stood until 4 June 2026 and as firms may keep
it until 20 October 2027: a *day trade* is the purchase and sale, or the sale
and purchase, of one symbol on one day. Four of them in five sessions make a
pattern day trader, who must have 25 000 dollars of equity.

They are counted by the number of times that trading changes its direction
(interpretation /02 of the rule, Regulatory Notice 21-13, which Alpaca follows
too): any number of purchases followed by any number of sales is one day trade.

Of shares held overnight the rule says that they may be sold *before* any new
purchase of the symbol without a day trade, and bought back after. Once the
symbol was bought in the session, the next sale completes a day trade, so that
what was bought last is sold first: shares held overnight shield nothing. The
rule exempts those whose day trades are no more than 6 % of all their trades;
that is left out here, where so few trades are made that it could hardly apply.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from itertools import groupby

from trading_pipeline.domain.errors import DataError
from trading_pipeline.domain.fills import Fill
from trading_pipeline.domain.orders import Side
from trading_pipeline.domain.sessions import NEW_YORK

PATTERN_DAY_TRADES = 4
"""So many day trades within :data:`PATTERN_SESSIONS` make a pattern day trader."""

PATTERN_SESSIONS = 5
"""The sessions, today's among them, whose day trades are counted together."""

PATTERN_EQUITY = Decimal(25_000)
"""Dollars of equity from which on the number of day trades is not limited."""


class DayTradeRule(StrEnum):
    """Which rule for trading within a session an account is held to."""

    LEGACY_PDT = "legacy_pdt"
    INTRADAY_MARGIN = "intraday_margin"
    BOTH = "both"

    @property
    def counts_day_trades(self) -> bool:
        """Tell whether the number of day trades matters."""
        return self is not DayTradeRule.INTRADAY_MARGIN

    @property
    def watches_margin(self) -> bool:
        """Tell whether the margin within the session matters."""
        return self is not DayTradeRule.LEGACY_PDT


@dataclass(frozen=True)
class DayTrade:
    """One day trade: ``quantity`` shares that were opened in ``session`` were closed again.

    ``completed_at`` is the UTC instant of the first execution that closed any of them.
    """

    symbol: str
    session: date
    quantity: Decimal
    completed_at: datetime


def day_trades(
    fills: Sequence[Fill], since: date, until: date, held: Mapping[str, Decimal] | None = None
) -> tuple[DayTrade, ...]:
    """Return the day trades of the sessions from ``since`` to ``until``, both included, in order of time.

    ``fills`` is the whole ledger in any order, the sessions before ``since``
    too: what they left is what was held overnight. ``held`` are the shares by
    symbol (negative when short) that came into the account by another way than
    these fills, through an earlier system or a split; where they are not said,
    their sale looks like a short sale, whose purchase back counts: too many are
    counted, never too few. An execution that is listed twice counts once.

    Raises:
        DataError: a quantity is not a positive number, or an instant has no time zone.
    """
    by_symbol: dict[str, list[Fill]] = {}
    for fill in in_order_of_time(fills):
        by_symbol.setdefault(fill.symbol, []).append(fill)
    found = [
        trade
        for symbol, own in by_symbol.items()
        for trade in _trades_of(own, (held or {}).get(symbol, Decimal(0)))
        if since <= trade.session <= until
    ]
    return tuple(sorted(found, key=lambda trade: (trade.completed_at, trade.symbol)))


def completes_day_trade(
    fills: Sequence[Fill], symbol: str, side: Side, session: date, held: Mapping[str, Decimal] | None = None
) -> bool:
    """Tell whether an order of ``side``, filled after all ``fills`` of ``session``, would add a day trade.

    A further sale within a row of sales that is a day trade already adds none.
    ``fills`` and ``held`` are those of :func:`day_trades`.

    Raises:
        DataError: a quantity is not a positive number, or an instant has no time zone.
    """
    own = in_order_of_time(fill for fill in fills if fill.symbol == symbol)
    overnight = (held or {}).get(symbol, Decimal(0))
    overnight += sum((fill.signed_quantity for fill in own if session_of(fill) < session), Decimal(0))
    today = [fill for fill in own if session_of(fill) == session]
    if today and today[-1].side is side:
        return False
    opened = _Session(overnight).after(today).opened
    return opened > 0 if side is Side.SELL else opened < 0


def session_of(fill: Fill) -> date:
    """Return the day of an execution in New York: what is traded before the open or after the close belongs to it."""
    return fill.filled_at.astimezone(NEW_YORK).date()


def in_order_of_time(fills: Iterable[Fill]) -> tuple[Fill, ...]:
    """Return each execution once, in order of time and then of its id.

    Raises:
        DataError: a quantity is not a positive number, or an instant has no time zone.
    """
    once = {fill.execution_id: fill for fill in fills}
    for fill in once.values():
        _check(fill)
    return tuple(sorted(once.values(), key=lambda fill: (fill.filled_at, fill.execution_id)))


def _check(fill: Fill) -> None:
    if not fill.quantity.is_finite() or fill.quantity <= 0:
        raise DataError(
            f"execution {fill.execution_id} of {fill.symbol} has {fill.quantity} shares, wanted a positive number; "
            "correct the ledger before anything is counted from it"
        )
    if fill.filled_at.tzinfo is None:
        raise DataError(
            f"execution {fill.execution_id} of {fill.symbol} is at {fill.filled_at.isoformat()}, wanted an instant "
            "with a time zone; correct the ledger before anything is counted from it"
        )


def _trades_of(fills: Iterable[Fill], held: Decimal) -> list[DayTrade]:
    trades: list[DayTrade] = []
    position = held
    for _, of_session in groupby(fills, key=session_of):
        reached = _Session(position).after(list(of_session))
        trades.extend(reached.trades)
        position = reached.overnight + reached.opened
    return trades


@dataclass(frozen=True)
class _Session:
    """A symbol within a session: signed shares left of those held overnight, and of those opened since."""

    overnight: Decimal
    opened: Decimal = Decimal(0)
    trades: tuple[DayTrade, ...] = ()

    def after(self, fills: Sequence[Fill]) -> "_Session":
        """Return what is reached after ``fills``, all of the symbol and session, in order of time."""
        reached = self
        for _, row in groupby(fills, key=lambda fill: fill.side):
            reached = reached.after_row(list(row))
        return reached

    def after_row(self, row: Sequence[Fill]) -> "_Session":
        """Return what is reached after a row of fills of one side."""
        traded = sum((fill.signed_quantity for fill in row), Decimal(0))
        closed = _offset(traded, self.opened)
        from_overnight = _offset(traded - closed, self.overnight)
        opened = self.opened + traded - from_overnight
        trades = self.trades
        if closed:
            trades += (DayTrade(row[0].symbol, session_of(row[0]), abs(closed), row[0].filled_at),)
        return _Session(self.overnight + from_overnight, opened, trades)


def _offset(traded: Decimal, position: Decimal) -> Decimal:
    """Return that part of ``traded``, both signed, which closes ``position``."""
    if traded * position >= 0:
        return Decimal(0)
    return traded if abs(traded) <= abs(position) else -position
