"""Margin within a session: what positions must be secured by, and what equity is left above it.

The least that rule 4210(c) of FINRA allows is 25 % of the value of a long and
30 % of that of a short position; Regulatory Notice 09-53 multiplies both by the
multiple of a leveraged or inverse fund, up to the whole value. The rule on
intraday margin (SR-FINRA-2025-017, 91 FR 20731, in force since 4 June 2026)
lets a firm block an order that would create or raise a deficit: equity below
that requirement. A broker may want more than the rule does; where it tells its
own rates, use those.
"""

from collections.abc import Mapping
from decimal import Decimal

from trading_pipeline.domain.classification import UNKNOWN_LEVERAGE

LONG_RATE = Decimal("0.25")
"""Maintenance margin of an ordinary long position, as a fraction of its value."""

SHORT_RATE = Decimal("0.30")
"""Maintenance margin of an ordinary short position; the least of 5 dollars a share is left out."""

WHOLE_VALUE = Decimal(1)
"""No position must be secured by more than its value."""

_NOT_A_NUMBER = Decimal("NaN")


def maintenance_rate(leverage: Decimal | None, *, short: bool = False) -> Decimal:
    """Return the maintenance margin of a position as a fraction of its value, from 0.25 to 1.

    ``leverage`` is the fund's own multiple, negative for inverse funds; None,
    which is unknown, counts as the largest that a fund has. A fund of less than
    its index is an ordinary one. NaN for a multiple that is no number.

    >>> maintenance_rate(Decimal(1)), maintenance_rate(Decimal(-3)), maintenance_rate(Decimal(5))
    (Decimal('0.25'), Decimal('0.75'), Decimal('1'))
    """
    multiple = abs(UNKNOWN_LEVERAGE if leverage is None else leverage)
    if multiple.is_nan():
        return _NOT_A_NUMBER
    return min((SHORT_RATE if short else LONG_RATE) * max(multiple, Decimal(1)), WHOLE_VALUE)


def maintenance_requirement(values: Mapping[str, Decimal], rates: Mapping[str, Decimal]) -> Decimal:
    """Return the dollars that all positions together must be secured by.

    ``values`` are dollars by symbol, negative when short, ``rates`` fractions of
    them. A symbol without a rate has that of an unknown multiple. NaN where a
    value or the rate of a held symbol is no number, since then nobody knows.

    >>> maintenance_requirement({"TQQQ": Decimal(1_000), "SPY": Decimal(400)}, {"SPY": Decimal("0.25")})
    Decimal('850.00')
    """
    return sum((abs(value) * _rate_of(symbol, value, rates) for symbol, value in values.items()), Decimal(0))


def _rate_of(symbol: str, value: Decimal, rates: Mapping[str, Decimal]) -> Decimal:
    known = rates.get(symbol)
    return maintenance_rate(None, short=value.is_signed()) if known is None else known


def intraday_excess(equity: Decimal, requirement: Decimal) -> Decimal:
    """Return the dollars of equity above the requirement; below zero they are an intraday margin deficit.

    NaN where either is no number.

    >>> intraday_excess(Decimal(1_000), Decimal(850))
    Decimal('150')
    """
    return equity - requirement
