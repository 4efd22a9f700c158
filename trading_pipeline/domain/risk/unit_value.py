"""The worth of one unit of an account: what it earned, with deposits and withdrawals taken out.

An account is divided into units as a fund is. Money that comes buys new units
at their worth of that moment, money that goes gives units back, so that only
gains and losses move the worth of one: the time-weighted return of the Global
Investment Performance Standards (CFA Institute, 2020, provision 2.A.21). When
within two readings the money moved is not known, so a movement is priced by
the readings around it, and by their median: one bad print misprices nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from statistics import median_low

MARKS_KEPT = 3
"""Of three readings the median is sound as long as two of them are."""

_ZERO = Decimal(0)


@dataclass(frozen=True)
class CashFlow:
    """Dollars that came from outside (positive) or went there, without a trade.

    ``day`` is the New York day on which it was booked: one that is booked on
    the day of a session, or since the one before, is not in the equity of the
    close before.
    """

    id: str
    amount: Decimal
    day: date


@dataclass(frozen=True)
class UnitMark:
    """What a unit was worth, in dollars of the first reading's, at a UTC instant of a session."""

    at: datetime
    session: date
    value: Decimal


@dataclass(frozen=True)
class UnpricedFlows:
    """Movements that one reading has shown: who they are, and what a unit would be worth without them."""

    ids: tuple[str, ...]
    at: datetime
    value: Decimal


@dataclass(frozen=True)
class Units:
    """An account divided into units.

    Attributes:
        count: How many there are; the first reading makes one of each dollar.
        since_close: How many of them movements brought since the close before the session, negative if they went;
            all of them where that is not known.
        counted: The movements that are in ``count``, of those that were listed last.
        unpriced: Movements that were seen once.
        recent: The newest marks, oldest first, each of them at least the confirmation after the one before.
    """

    count: Decimal = _ZERO
    since_close: Decimal = _ZERO
    counted: tuple[str, ...] = ()
    unpriced: UnpricedFlows | None = None
    recent: tuple[UnitMark, ...] = ()

    @property
    def at_the_close(self) -> Decimal:
        """How many units there were at the close before the session; zero or less where that is not known."""
        return self.count - self.since_close

    def marked(self, at: datetime, session: date, equity: Decimal, apart: timedelta) -> "Units":
        """Return the units with the mark of a reading, unless it is less than ``apart`` after the last one."""
        if self.recent and at - self.recent[-1].at < apart:
            return self
        return replace(self, recent=(*self.recent, UnitMark(at, session, equity / self.count))[-MARKS_KEPT:])

    def close(self, session: date) -> Decimal | None:
        """Return the median of the last marks of ``session``, the lower of two; None of fewer, which may be bad."""
        values = [mark.value for mark in self.recent if mark.session == session]
        return median_low(values) if len(values) > 1 else None


def begun(equity: Decimal, flows: Sequence[CashFlow], previous_session: date) -> Units:
    """Return an account that is worth ``equity`` dollars (positive), its ``flows`` among them, in units of a dollar.

    Where some of them came since the close, what a unit was worth there is not
    known: this one reading may be bad.

    >>> thursday, friday = date(2026, 7, 30), date(2026, 7, 31)
    >>> begun(Decimal(150), [], thursday).at_the_close
    Decimal('150')
    >>> begun(Decimal(150), [CashFlow("1", Decimal(50), friday)], thursday).at_the_close
    Decimal('0')
    """
    moved = any(flow.day > previous_session for flow in flows)
    return Units(equity, equity if moved else _ZERO, tuple(flow.id for flow in flows))


def priced(
    units: Units,
    equity: Decimal,
    flows: Sequence[CashFlow],
    previous_session: date,
    at: datetime,
    apart: timedelta,
) -> Units:
    """Return the units after a reading of equity (dollars) and of the movements listed with it.

    What is new is priced at the second reading that shows it, at least
    ``apart`` after the first, and at the median of the last worth without it
    and of what both readings make of it; until then it is ``unpriced``, and the
    worth of a unit is not known. Where nothing is left the account begins anew,
    and ``recent`` is empty.

    Args:
        units: Those before; their count is positive.
        equity: Dollars.
        flows: Every movement of the last days, those that were counted included; one that is missing is forgotten.
        previous_session: The session before that of the reading.
        at: The UTC instant of the reading.
        apart: How far two readings must lie apart to count as two.
    """
    new = [flow for flow in flows if flow.id not in units.counted]
    listed = tuple(flow.id for flow in flows)
    if not new:
        return replace(units, counted=listed, unpriced=None)
    ids = tuple(flow.id for flow in new)
    value = (equity - sum((flow.amount for flow in new), _ZERO)) / units.count
    if units.unpriced is None or units.unpriced.ids != ids:
        return replace(units, unpriced=UnpricedFlows(ids, at, value))
    if at - units.unpriced.at < apart:
        return units
    known = [mark.value for mark in units.recent[-1:]]
    price = median_low([*known, units.unpriced.value, value])
    return _bought(units, new, price, previous_session, listed) or begun(equity, flows, previous_session)


def _bought(
    units: Units, new: Sequence[CashFlow], price: Decimal, previous_session: date, listed: tuple[str, ...]
) -> Units | None:
    # Units of an account that is worth nothing, or owes, have no price.
    if price <= 0:
        return None
    count = units.count + sum((flow.amount for flow in new), _ZERO) / price
    if count <= 0:
        return None
    moved = sum((flow.amount for flow in new if flow.day > previous_session), _ZERO)
    return replace(units, count=count, since_close=units.since_close + moved / price, counted=listed, unpriced=None)
