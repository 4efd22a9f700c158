"""Why Alpaca refused an order, in our terms.

One code stands for many reasons (40310000 for buying power, shares that are
held, fractions, opposite orders, ...), so the words decide. A refusal whose
words are new is OTHER: final, and nothing is tried again.
"""

from collections.abc import Mapping
from decimal import Decimal

from trading_pipeline.adapters.alpaca.translation import decimal
from trading_pipeline.domain.errors import RequestRefused
from trading_pipeline.domain.orders import Refusal, Rejected

_WORDS: tuple[tuple[str, Refusal], ...] = (
    ("insufficient buying power", Refusal.BUYING_POWER),
    ("insufficient qty available", Refusal.HELD_SHARES),
    ("is not fractionable", Refusal.NOT_FRACTIONABLE),
    ("fractional orders must be", Refusal.NOT_FRACTIONABLE),
    ("trading halt", Refusal.HALTED),
    ("is not tradable", Refusal.NOT_TRADABLE),
    ("wash trade", Refusal.OPPOSITE_ORDER),
    ("while a short sell order is open", Refusal.OPPOSITE_ORDER),
)
_FIGURES: Mapping[Refusal, str] = {Refusal.BUYING_POWER: "buying_power", Refusal.HELD_SHARES: "available"}


def rejection(client_order_id: str, refused: RequestRefused) -> Rejected:
    """Return what a refusal means for the order of that id.

    >>> refused = RequestRefused("insufficient buying power", "40310000", {"buying_power": "10.00"})
    >>> rejected = rejection("tp1-1", refused)
    >>> rejected.refusal.value, rejected.available
    ('buying power', Decimal('10.00'))
    """
    refusal = reason_of(str(refused))
    available = _figure(refused.details, _FIGURES.get(refusal, ""))
    return Rejected(client_order_id, refused.code, str(refused), refusal, available)


def reason_of(words: str) -> Refusal:
    """Return the reason that Alpaca's ``words`` stand for.

    >>> reason_of('asset "OCGN" is not fractionable').value
    'not fractionable'
    """
    lowered = words.lower()
    return next((refusal for part, refusal in _WORDS if part in lowered), Refusal.OTHER)


def _figure(details: Mapping[str, str], name: str) -> Decimal | None:
    try:
        return decimal(details[name])
    except (KeyError, ArithmeticError, ValueError):
        return None
