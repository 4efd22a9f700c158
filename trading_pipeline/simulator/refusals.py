"""Replies that say no, as the real API words them."""

from decimal import Decimal

from trading_pipeline.domain.errors import RequestRefused

PARAMETERS = 40010001
ASSET = 42210000
ACCOUNT = 40310000
NOT_FOUND = 40410000


class Refusal(RequestRefused):
    """A refused request: HTTP status and body."""

    def __init__(self, status: int, message: str, code: int | None = None, **details: object) -> None:
        """Remember the status and build the body; market data replies carry no code."""
        super().__init__(message, "" if code is None else str(code))
        self.status = status
        self.body = {"message": message, **({} if code is None else {"code": code}), **details}


def plain(amount: Decimal) -> str:
    """Return ``amount`` as the API writes numbers: no exponent, no trailing zeros.

    >>> plain(Decimal("1E+2")), plain(Decimal("0.500")), plain(Decimal("0.00"))
    ('100', '0.5', '0')
    """
    return format(amount.normalize(), "f") if amount else "0"


def bad_parameter(message: str) -> Refusal:
    """Refuse a request that is not well formed."""
    return Refusal(422, message, PARAMETERS)


def bad_order(message: str) -> Refusal:
    """Refuse an order that the asset or the price grid does not allow."""
    return Refusal(422, message, ASSET)


def not_allowed(message: str, **details: object) -> Refusal:
    """Refuse an order that the account does not allow."""
    return Refusal(403, message, ACCOUNT, **details)


def not_found(message: str) -> Refusal:
    """Say that there is no such thing."""
    return Refusal(404, message, NOT_FOUND)


def bad_data_request(message: str) -> Refusal:
    """Refuse a market data request."""
    return Refusal(400, message)
