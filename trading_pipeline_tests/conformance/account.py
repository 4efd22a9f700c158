"""An account at which the cards are played: our adapter, the raw client, the stream."""

import asyncio
import contextlib
import functools
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from alpaca.trading.client import TradingClient
from alpaca.trading.stream import TradingStream

from trading_pipeline.adapters.alpaca.broker import AlpacaBroker
from trading_pipeline.adapters.alpaca.market_data import AlpacaMarketData
from trading_pipeline.adapters.alpaca.transport import Connection, Keys, data_api, trading_api
from trading_pipeline.adapters.clocks import BrokerClock
from trading_pipeline.domain.instruments import round_price
from trading_pipeline.domain.orders import (
    Accepted,
    BrokerOrder,
    OrderIntent,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
    client_order_id,
)

# A share costs little, so that playing the cards on paper moves little.
SYMBOL = "PDBC"
DEADLINE = 60.0


@dataclass
class Account:
    """An account, simulated or on paper, and the orders that the cards sent to it."""

    keys: Keys
    connection: Connection
    stream_url: str | None
    pause: float
    sent: list[OrderIntent] = field(default_factory=list)

    @functools.cached_property
    def broker(self) -> AlpacaBroker:
        trading = trading_api(self.keys, self.connection)
        return AlpacaBroker(trading, BrokerClock(trading))

    @functools.cached_property
    def market(self) -> AlpacaMarketData:
        return AlpacaMarketData(data_api(self.keys, self.connection), self.clock)

    @functools.cached_property
    def clock(self) -> BrokerClock:
        return BrokerClock(trading_api(self.keys, self.connection))

    @functools.cached_property
    def raw(self) -> TradingClient:
        client = TradingClient(self.keys.key_id, self.keys.secret_key, url_override=self.connection.trading_url)
        client._session.trust_env = self.stream_url is None
        return client

    @property
    def is_open(self) -> bool:
        return bool(self.raw.get_clock().is_open)

    def until(self, condition: Callable[[], Any]) -> Any:
        """Ask until there is an answer; fail at the deadline."""
        give_up = time.monotonic() + DEADLINE
        while not (found := condition()):
            assert time.monotonic() < give_up, "the account did not come to what was expected"
            threading.Event().wait(self.pause)
        return found

    def price(self, symbol: str, factor: str) -> Decimal:
        """Return a multiple of the middle of the quote, on the price grid."""
        quote = self.market.quotes([symbol])[symbol]
        return round_price(quote.mid * Decimal(factor), up=False)

    def intent(
        self, quantity: str = "1", limit: Decimal | None = None, side: Side = Side.BUY, symbol: str = SYMBOL
    ) -> OrderIntent:
        """Return an order of its own id; without ``limit`` a market order."""
        return OrderIntent(
            client_order_id=client_order_id("conformance", str(uuid.uuid4()), symbol, side),
            sequence=0,
            symbol=symbol,
            side=side,
            quantity=Decimal(quantity),
            order_type=OrderType.MARKET if limit is None else OrderType.LIMIT,
            limit_price=limit,
            reference_price=Decimal(1),
            time_in_force=TimeInForce.DAY,
            reason="conformance card",
        )

    def resting(self) -> OrderIntent:
        """Return a buy at half the price, which will not be executed."""
        return self.intent(limit=self.price(SYMBOL, "0.5"))

    def send(self, intent: OrderIntent) -> BrokerOrder:
        """Send an order that has to be accepted."""
        self.sent.append(intent)
        result = self.broker.submit(intent)
        assert isinstance(result, Accepted), result
        return result.order

    def reach(self, intent: OrderIntent, *statuses: OrderStatus) -> BrokerOrder:
        """Wait until the order has one of ``statuses``."""

        def reached() -> BrokerOrder | None:
            order = self.broker.order(intent.client_order_id)
            return order if order is not None and order.status in statuses else None

        order: BrokerOrder = self.until(reached)
        return order

    def held(self, symbol: str = SYMBOL) -> Decimal:
        return self.broker.portfolio().quantity(symbol)

    @contextlib.contextmanager
    def listening(self) -> Iterator["queue.Queue[Any]"]:
        """Run the real stream of the account; yield a queue of its updates once it is live."""
        updates: queue.Queue[Any] = queue.Queue()
        stream = _Watched(self.keys.key_id, self.keys.secret_key, paper=True, url_override=self.stream_url)

        async def keep(update: Any) -> None:
            updates.put(update)

        stream.subscribe_trade_updates(keep)
        thread = threading.Thread(target=stream.run)
        thread.start()
        try:
            assert stream.live.wait(DEADLINE)
            yield updates
        finally:
            stream.stop()
            # It looks whether it should stop every five seconds, or when its connection ends.
            asyncio.run_coroutine_threadsafe(stream._ws.close(), stream._loop).result(DEADLINE)
            thread.join(DEADLINE)

    def clean_up(self) -> None:
        """Cancel every order that the cards sent and sell every share that they bought."""
        for intent in self.sent:
            order = self.broker.order(intent.client_order_id)
            if order is not None and not order.status.is_terminal:
                self.broker.cancel(order.venue_order_id)
                self.until(lambda intent=intent: self.broker.order(intent.client_order_id).status.is_terminal)
        for symbol, shares in self.bought().items():
            if shares > 0:
                self.reach(self._sale(symbol, shares), OrderStatus.FILLED)

    def _sale(self, symbol: str, shares: Decimal) -> OrderIntent:
        intent = self.intent(str(shares), side=Side.SELL, symbol=symbol)
        self.broker.submit(intent)
        return intent

    def bought(self) -> dict[str, Decimal]:
        """Return the shares of each symbol that the cards bought, less those that they sold."""
        shares: dict[str, Decimal] = {}
        for intent in self.sent:
            order = self.broker.order(intent.client_order_id)
            if order is not None:
                signed = order.filled_quantity if order.side is Side.BUY else -order.filled_quantity
                shares[order.symbol] = shares.get(order.symbol, Decimal(0)) + signed
        return shares


class _Watched(TradingStream):
    """The real stream, which says when it is told of whatever happens from then on."""

    def __init__(self, *keys: str, **options: Any) -> None:
        super().__init__(*keys, **options)
        self.live = threading.Event()

    async def _dispatch(self, msg: dict[str, Any]) -> None:
        if msg.get("stream") == "listening":
            self.live.set()
        await super()._dispatch(msg)
