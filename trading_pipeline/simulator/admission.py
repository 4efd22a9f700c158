"""From the body of an order request to an order request that is well formed, or a refusal.

Refusals come in the order of the real API: parameters, then the asset and
the price grid; what the account allows is decided by the broker.
"""

import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

from trading_pipeline.domain.instruments import price_tick
from trading_pipeline.simulator.records import OrderRequest, OrderType, Replacement, Side
from trading_pipeline.simulator.refusals import Refusal, bad_order, bad_parameter

Choice = TypeVar("Choice", Side, OrderType)

LONGEST_CLIENT_ORDER_ID = 128
QUANTITY_PLACES = 9
NOTIONAL_PLACES = 2
SMALLEST_NOTIONAL = Decimal(1)
LARGEST_EXPONENT = 15
TIMES_IN_FORCE = frozenset({"day", "gtc", "opg", "cls", "ioc", "fok"})


def read_json(content: bytes) -> Mapping[str, Any]:
    """Return the JSON object in ``content``; its fractions become decimals as they were written.

    Raises:
        Refusal: 400 when there is none.
    """
    try:
        body = json.loads(content, parse_float=Decimal)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Refusal(400, "request body format is invalid", 40010000)
    return body


def read_replacement(body: Mapping[str, Any]) -> Replacement:
    """Return what ``body`` asks to be different in the order that replaces another.

    Raises:
        Refusal: 422, for what cannot be read or is not positive.
    """
    wanted = Replacement(_number(body, "qty"), _number(body, "limit_price"), _client_order_id(body))
    if wanted.quantity is not None and wanted.quantity <= 0:
        raise bad_parameter("qty must be > 0")
    if wanted.limit_price is not None and wanted.limit_price <= 0:
        raise bad_parameter("limit_price must be > 0")
    return wanted


def read_order(body: Mapping[str, Any]) -> OrderRequest:
    """Return the order that ``body`` asks for.

    Raises:
        Refusal: 422, worded as the real API does, where a recorded wording exists.
    """
    request = OrderRequest(
        symbol=_required_text(body, "symbol"),
        side=_one_of(body, "side", Side),
        type=_one_of(body, "type", OrderType),
        quantity=_number(body, "qty"),
        notional=_number(body, "notional"),
        limit_price=_number(body, "limit_price"),
        client_order_id=_client_order_id(body),
        extended_hours=body.get("extended_hours") in (True, "true", "True"),
    )
    _require_one_size(request)
    _require_prices(request, body)
    _require_terms(request, body)
    return request


def _required_text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise bad_parameter(f"{name} is required")
    return value


def _one_of(body: Mapping[str, Any], name: str, kind: type[Choice]) -> Choice:
    value = _required_text(body, name)
    try:
        return kind(value)
    except ValueError:
        raise bad_parameter(f"invalid {name}") from None


def _number(body: Mapping[str, Any], name: str) -> Decimal | None:
    """Read a number or a numeric string: the SDK sends numbers where the specification says strings."""
    value = body.get(name)
    if value is None:
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise bad_parameter(f"invalid {name}") from None
    if isinstance(value, bool) or not number.is_finite() or abs(number.adjusted()) > LARGEST_EXPONENT:
        raise bad_parameter(f"invalid {name}")
    return number


def _client_order_id(body: Mapping[str, Any]) -> str | None:
    value = body.get("client_order_id")
    if value is None or value == "":
        return None
    if len(str(value)) > LONGEST_CLIENT_ORDER_ID:
        raise bad_parameter(f"client_order_id must be no more than {LONGEST_CLIENT_ORDER_ID} characters")
    return str(value)


def _require_one_size(request: OrderRequest) -> None:
    if request.quantity is None and request.notional is None:
        raise bad_parameter("qty or notional is required")
    if request.quantity is not None and request.notional is not None:
        raise bad_parameter("only one of qty or notional is accepted")
    if request.quantity is not None and request.quantity <= 0:
        raise bad_parameter("qty must be > 0")


def _require_prices(request: OrderRequest, body: Mapping[str, Any]) -> None:
    if request.type is OrderType.LIMIT and request.limit_price is None:
        raise bad_parameter("limit orders require a limit price")
    if request.type is OrderType.MARKET and (request.limit_price is not None or body.get("stop_price") is not None):
        raise bad_parameter("market orders require no stop or limit price")
    if request.limit_price is not None and request.limit_price <= 0:
        raise bad_parameter("limit_price must be > 0")


def _require_terms(request: OrderRequest, body: Mapping[str, Any]) -> None:
    time_in_force = _required_text(body, "time_in_force")
    if request.is_fractional and time_in_force in TIMES_IN_FORCE - {"day"}:
        raise bad_order("fractional orders must be DAY orders")
    # The simulator keeps day orders only.
    if time_in_force != "day":
        raise bad_parameter("invalid time_in_force")
    if body.get("order_class") not in (None, "", "simple"):
        if request.is_fractional:
            raise bad_order("fractional orders must be simple orders")
        raise bad_parameter("invalid order_class")
    if request.extended_hours and request.type is not OrderType.LIMIT:
        raise bad_order("extended hours order must be DAY or GTC limit orders")


def require_grid(request: OrderRequest) -> None:
    """Refuse a quantity, notional or limit price that is finer than the venue's grid.

    Raises:
        Refusal: 422, worded as the real API does.
    """
    if request.quantity is not None and _places(request.quantity) > QUANTITY_PLACES:
        raise bad_order(f"qty value must be limited to {QUANTITY_PLACES} decimal places")
    if request.notional is not None and _places(request.notional) > NOTIONAL_PLACES:
        raise bad_order(f"notional value must be limited to {NOTIONAL_PLACES} decimal places")
    if request.notional is not None and request.notional < SMALLEST_NOTIONAL:
        raise bad_order("notional must be >= 1.00")
    price = request.limit_price
    if price is not None and price % price_tick(price):
        raise bad_order(f"invalid limit_price {price}. sub-penny increment does not fulfill minimum pricing criteria")


def _places(number: Decimal) -> int:
    exponent = number.normalize().as_tuple().exponent
    return max(-exponent, 0) if isinstance(exponent, int) else 0
