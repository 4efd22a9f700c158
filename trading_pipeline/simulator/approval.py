"""Whether an order is taken: what the asset and the account allow, and what the order has to hold back."""

from decimal import ROUND_UP, Decimal

from trading_pipeline.domain.instruments import CENT, QUANTITY_STEP, plain, round_quantity
from trading_pipeline.simulator.admission import require_grid
from trading_pipeline.simulator.clock import Clock
from trading_pipeline.simulator.exchange import Exchange
from trading_pipeline.simulator.ledger import Ledger
from trading_pipeline.simulator.records import ZERO, Order, OrderRequest, OrderType, Side
from trading_pipeline.simulator.refusals import bad_order, bad_parameter, not_allowed
from trading_pipeline.simulator.store import Store

# A market buy must be able to pay a little more than the quote: the lower end of what the documentation names.
MARKET_ORDER_MARGIN = Decimal("1.025")
SMALLEST_BUY = Decimal(1)


class Approval:
    """The checks of one account, in the order of the real API."""

    def __init__(self, store: Store, exchange: Exchange, ledger: Ledger, clock: Clock) -> None:
        self._store = store
        self._exchange = exchange
        self._ledger = ledger
        self._clock = clock

    def reservation(self, request: OrderRequest) -> Decimal:
        """Return what the order must hold back: dollars for a buy, shares for a sell.

        Raises:
            Refusal: 422 for the order and the asset, 403 for what the account cannot bear.
        """
        self._require_new_id(request)
        self._require_asset(request)
        require_grid(request)
        if not self._store.flags.may_trade:
            raise not_allowed("account is not authorized to trade")
        price = request.limit_price or self._far_side(request)
        reserved = self._cost(request, price) if request.side is Side.BUY else self._shares(request, price)
        self._require_no_wash_trade(request)
        return reserved

    def _require_new_id(self, request: OrderRequest) -> None:
        wanted = request.client_order_id
        if wanted is not None and self._store.order_by_client_id(wanted) is not None:
            raise bad_parameter("client_order_id must be unique")

    def _require_asset(self, request: OrderRequest) -> None:
        now = self._clock.now()
        asset = self._exchange.asset(request.symbol, now)
        if asset is None:
            raise bad_order(f'asset "{request.symbol}" not found')
        if not asset.tradable:
            raise bad_order(f'asset "{request.symbol}" is not tradable')
        if request.type is OrderType.MARKET and self._exchange.is_halted(request.symbol, now):
            raise bad_order(
                f'market order rejected due to trading halt on symbol: "{request.symbol}", '
                "please place a limit order instead"
            )
        if request.is_fractional and not asset.fractionable:
            raise not_allowed(f'asset "{request.symbol}" is not fractionable')

    def _far_side(self, request: OrderRequest) -> Decimal:
        now = self._clock.now()
        quote = self._exchange.quote(request.symbol, now)
        if quote is None:
            return self._exchange.price(request.symbol, now) or ZERO
        return quote.ask if request.side is Side.BUY else quote.bid

    def _cost(self, request: OrderRequest, price: Decimal) -> Decimal:
        margin = Decimal(1) if request.type is OrderType.LIMIT else MARKET_ORDER_MARGIN
        value = request.notional if request.quantity is None else request.quantity * price * margin
        assert value is not None  # noqa: S101 - exactly one of quantity and notional is given
        cost = value.quantize(CENT, ROUND_UP)
        if cost < SMALLEST_BUY:
            raise not_allowed("cost basis must be >= minimal amount of order 1")
        power = self._ledger.buying_power()
        if cost > power:
            raise not_allowed("insufficient buying power", buying_power=plain(power), cost_basis=plain(cost))
        return cost

    def _shares(self, request: OrderRequest, price: Decimal) -> Decimal:
        position = self._store.position(request.symbol)
        if position is None:
            if request.is_fractional:
                raise bad_order("fractional orders cannot be sold short")
            raise not_allowed("account is not allowed to short")
        wanted = request.quantity if request.quantity is not None else shares_for(request.notional or ZERO, price)
        held = self._ledger.held(request.symbol)
        available = position.quantity - held
        if wanted > available:
            raise not_allowed(
                f"insufficient qty available for order (requested: {plain(wanted)}, available: {plain(available)})",
                available=plain(available),
                existing_qty=plain(position.quantity),
                held_for_orders=plain(held),
                symbol=request.symbol,
            )
        return wanted

    def _require_no_wash_trade(self, request: OrderRequest) -> None:
        for order in self._store.open_orders(request.symbol):
            if order.side is request.side.opposite and _may_cross(request, order):
                kind = "limit" if order.type is OrderType.LIMIT else "market/stop"
                raise not_allowed(
                    "potential wash trade detected. use complex orders",
                    existing_order_id=order.id,
                    reject_reason=f"opposite side {kind} order exists",
                )


def shares_for(notional: Decimal, price: Decimal) -> Decimal:
    """Return the shares that ``notional`` dollars pay for at ``price``, on the grid of quantities."""
    return round_quantity(notional / price, QUANTITY_STEP) if price else ZERO


def _may_cross(request: OrderRequest, order: Order) -> bool:
    if request.limit_price is None or order.limit_price is None:
        return True
    buy, sell = request.limit_price, order.limit_price
    return buy >= sell if request.side is Side.BUY else sell >= buy
