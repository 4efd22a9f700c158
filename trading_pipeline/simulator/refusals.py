"""Replies that say no, as the real API words them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

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


@dataclass(frozen=True)
class Named:
    """A refusal that a fault rule asks for by name; ``{symbol}`` stands for the symbol of the order."""

    status: int
    code: int | None
    message: str
    details: Mapping[str, str] = field(default_factory=dict)

    def for_symbol(self, symbol: str) -> Refusal:
        """Return the refusal of an order in ``symbol``."""
        details = {key: value.replace("{symbol}", symbol) for key, value in self.details.items()}
        return Refusal(self.status, self.message.replace("{symbol}", symbol), self.code, **details)


NAMED: Mapping[str, Named] = {
    "insufficient_buying_power": Named(
        403, ACCOUNT, "insufficient buying power", {"buying_power": "10.00", "cost_basis": "100.00"}
    ),
    "insufficient_qty": Named(
        403,
        ACCOUNT,
        "insufficient qty available for order (requested: 1, available: 0)",
        {"available": "0", "existing_qty": "1", "held_for_orders": "1", "symbol": "{symbol}"},
    ),
    "not_fractionable": Named(403, ACCOUNT, 'asset "{symbol}" is not fractionable'),
    "min_cost_basis": Named(403, ACCOUNT, "cost basis must be >= minimal amount of order 1"),
    "wash_trade": Named(
        403,
        ACCOUNT,
        "potential wash trade detected. use complex orders",
        {
            "existing_order_id": "00000000-0000-4000-8000-000000000000",
            "reject_reason": "opposite side market/stop order exists",
        },
    ),
    "not_allowed_to_short": Named(403, ACCOUNT, "account is not allowed to short"),
    "account_not_authorized": Named(403, ACCOUNT, "account is not authorized to trade"),
    "pdt_legacy": Named(403, 40310100, "trade denied due to pattern day trading protection"),
    "sub_penny": Named(
        422, ASSET, "invalid limit_price 290.123. sub-penny increment does not fulfill minimum pricing criteria"
    ),
    "asset_not_found": Named(422, ASSET, 'asset "{symbol}" not found'),
    "asset_not_tradable": Named(422, ASSET, 'asset "{symbol}" is not tradable'),
    "asset_cannot_be_shorted": Named(422, ASSET, 'asset "{symbol}" cannot be sold short'),
    "halted_market_order": Named(
        422,
        ASSET,
        'market order rejected due to trading halt on symbol: "{symbol}", please place a limit order instead',
    ),
    "fractional_simple_only": Named(422, ASSET, "fractional orders must be simple orders"),
    "qty_not_positive": Named(422, PARAMETERS, "qty must be > 0"),
    "rate_limited_trading": Named(429, 42910000, "rate limit exceeded"),
    "unauthorized_bad_key": Named(401, None, "unauthorized."),
    "server_error": Named(500, 50010000, "internal server error occurred"),
}
