"""Splits, mergers and the like: what was announced of a session, and what prices give away.

On the day of a split a plan's quantities, the account's positions and the
prices of different sources may each be of the old or of the new shares. Until
the session is over, the symbol is better left alone. Announcements may come
late, so prices are looked at as well.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum

from trading_pipeline.domain.errors import DataError
from trading_pipeline.domain.sessions import previous_session

LEAST_GAP = Decimal("0.35")
"""A change of price over night that is larger, as a fraction, may be a split."""

NEAR = Decimal("0.10")
"""How far, relatively, the change of price may be from the ratio of a split: the night moves prices, too."""

SAME_BASIS = Decimal("0.20")
"""How far, relatively, a close as traded and as adjusted may differ: dividends hardly ever are more."""

_NEW_FOR_ONE = tuple(map(Decimal, (2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 50)))
SPLIT_RATIOS = (*_NEW_FOR_ONE, *(1 / ratio for ratio in _NEW_FOR_ONE))
"""Usual ratios of splits, in new shares for one old."""


class ActionKind(StrEnum):
    """What happens to the shares, in the terms of the market data service; UNRECOGNISED is a kind that it added."""

    FORWARD_SPLIT = "forward_split"
    REVERSE_SPLIT = "reverse_split"
    UNIT_SPLIT = "unit_split"
    STOCK_DIVIDEND = "stock_dividend"
    CASH_DIVIDEND = "cash_dividend"
    SPIN_OFF = "spin_off"
    CASH_MERGER = "cash_merger"
    STOCK_MERGER = "stock_merger"
    STOCK_AND_CASH_MERGER = "stock_and_cash_merger"
    REDEMPTION = "redemption"
    NAME_CHANGE = "name_change"
    WORTHLESS_REMOVAL = "worthless_removal"
    RIGHTS_DISTRIBUTION = "rights_distribution"
    PARTIAL_CALL = "partial_call"
    REORGANIZATION = "reorganization"
    UNRECOGNISED = "unrecognised"

    @property
    def blocks(self) -> bool:
        """Tell whether it makes prices or quantities doubtful; only a dividend in cash does not."""
        return self is not ActionKind.CASH_DIVIDEND


@dataclass(frozen=True)
class CorporateAction:
    """Something that was announced of the shares of ``symbols``.

    ``effective`` is the day from whose open on they trade otherwise: the
    ex-date of a split or spin-off, the effective day of a merger.
    """

    id: str
    kind: ActionKind
    symbols: tuple[str, ...]
    effective: date

    def __str__(self) -> str:
        """Return the announcement as one phrase.

        >>> str(CorporateAction("1", ActionKind.FORWARD_SPLIT, ("TQQQ",), date(2025, 11, 20)))
        'forward split on 2025-11-20'
        """
        return f"{self.kind.replace('_', ' ')} on {self.effective}"


def blocking_actions(actions: Iterable[CorporateAction], session: date) -> Mapping[str, str]:
    """Return, by symbol, why it is not to be bought or sold in ``session``.

    An action that takes effect on a day without trading does so in the next session.

    Raises:
        InvalidInput: ``session`` is not a session.
    """
    before = previous_session(session)
    found: dict[str, str] = {}
    for action in actions:
        if action.kind.blocks and before < action.effective <= session:
            for symbol in action.symbols:
                found[symbol] = f"{found[symbol]}; {action}" if symbol in found else str(action)
    return found


def split_like_ratio(previous_close: Decimal, price: Decimal) -> Decimal | None:
    """Return the ratio of the split (new shares for one old) that a change of price over night looks like, or None.

    It must be larger than 35 % and within a tenth of a usual ratio.

    >>> split_like_ratio(Decimal(100), Decimal("51")), split_like_ratio(Decimal(100), Decimal("70"))
    (Decimal('2'), None)

    Raises:
        DataError: a price is not a positive number.
    """
    _require_prices(previous_close, price)
    if abs(price / previous_close - 1) <= LEAST_GAP:
        return None
    ratio = previous_close / price
    nearest = min(SPLIT_RATIOS, key=lambda usual: abs(ratio / usual - 1))
    return nearest if abs(ratio / nearest - 1) <= NEAR else None


def basis_doubt(traded_close: Decimal, adjusted_close: Decimal, price: Decimal) -> str:
    """Return why the last closes and the present price may be of different shares; empty where they are not.

    ``traded_close`` is the last close as it was traded, ``adjusted_close`` the
    same as adjusted for all that is known by now. In the session of a split the
    two differ; where the adjustment is late, the price jumps away from both.
    A fall of half that is real looks the same, and is over with the session.

    Raises:
        DataError: a price is not a positive number.
    """
    _require_prices(traded_close, adjusted_close, price)
    if abs(traded_close / adjusted_close - 1) > SAME_BASIS:
        return f"the last close is {traded_close} dollars as traded and {adjusted_close} as adjusted"
    ratio = split_like_ratio(adjusted_close, price)
    if ratio is None:
        return ""
    return f"the price went from {adjusted_close} to {price} dollars, as by a split of {_told(ratio)}"


def _told(ratio: Decimal) -> str:
    return f"{ratio:.0f} for 1" if ratio > 1 else f"1 for {1 / ratio:.0f}"


def _require_prices(*prices: Decimal) -> None:
    wrong = [str(price) for price in prices if not price.is_finite() or price <= 0]
    if wrong:
        raise DataError(f"a price must be a positive number, found {', '.join(wrong)}; no split can be told from it")
