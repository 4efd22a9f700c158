"""What stands in the way of trading now, read from broker and market data.

A source that cannot be read is named in the status, never guessed at: whoever
decides on an order then denies it for want of the figure. What a source knows
nothing of is named by symbol.

Outside its session, an order's status tells of tradability and corporate
actions only: that a symbol is silent at night says nothing of the morning.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TypeVar

from trading_pipeline.domain.errors import DataError, PermanentError, TransientError
from trading_pipeline.domain.instruments import Instrument, catalogue
from trading_pipeline.domain.risk.corporate_actions import CorporateAction, basis_doubt, blocking_actions
from trading_pipeline.domain.risk.market_status import MarketStatus
from trading_pipeline.domain.risk.trading_pauses import (
    REFERENCE_SPAN,
    Bands,
    LimitState,
    MarketBreaker,
    Trade,
    inferred_halt,
    is_doubled,
    is_silent,
    limit_state,
    luld_bands,
    market_breaker,
    reference_price,
    tier_of,
)
from trading_pipeline.domain.sessions import open_of, previous_session, session_at
from trading_pipeline.ports import Asset, AssetDirectory, MarketData, MarketEvents, Quote

T = TypeVar("T")

# Announcements are filed under the day on which they are processed, which may be days after they take effect.
PROCESSED_BEFORE = timedelta(days=7)
PROCESSED_AFTER = timedelta(days=30)


@dataclass(frozen=True)
class MarketSources:
    """Where the status is read."""

    assets: AssetDirectory
    market_data: MarketData
    events: MarketEvents


@dataclass(frozen=True)
class WatchRules:
    """How the status is inferred.

    Attributes:
        patience: how long a symbol may be silent, without trade or two-sided quote, before it is taken to be halted.
            A feed of one venue is silent for minutes in funds that trade little.
        market_symbol: the fund whose price and trades stand for the market.
        instruments: what is known of the symbols; leveraged funds have wider price bands.
    """

    patience: timedelta = timedelta(minutes=15)
    market_symbol: str = "SPY"
    instruments: Mapping[str, Instrument] = field(default_factory=catalogue)


@dataclass(frozen=True)
class _Readings:
    """What the sources said; what could not be read is empty, and named in ``unread`` with the reason."""

    assets: Mapping[str, Asset]
    actions: Sequence[CorporateAction]
    unread: Mapping[str, str]
    trades: Mapping[str, Trade] = field(default_factory=dict)
    quotes: Mapping[str, Quote] = field(default_factory=dict)
    traded_closes: Mapping[str, Decimal] = field(default_factory=dict)
    adjusted_closes: Mapping[str, Decimal] = field(default_factory=dict)


class _Reader:
    """Asks one source after the other, and notes those that gave no usable answer."""

    def __init__(self) -> None:
        self.unread: dict[str, str] = {}

    def read(self, name: str, ask: Callable[[], T], nothing: T) -> T:
        try:
            return ask()
        except (TransientError, PermanentError, DataError) as error:
            self.unread[name] = str(error)
            return nothing


def market_status(
    symbols: Sequence[str],
    session: date,
    sources: MarketSources,
    now: datetime,
    rules: WatchRules | None = None,
    earlier: MarketStatus | None = None,
) -> MarketStatus:
    """Return what stands in the way of orders of ``session`` in ``symbols`` at the UTC instant ``now``.

    Args:
        symbols: the symbols that are to be traded; of no others anything is known afterwards.
        session: the session in which the orders are executed.
        sources: where to read.
        now: the broker's instant.
        rules: how halts are inferred.
        earlier: the status that was read before: in the same session it remembers which levels the market-wide
            breaker reached, and the trades around which price bands lie. Without it, a breaker counts from now.

    Raises:
        InvalidInput: ``session`` is not a session.
        Interrupted: the process was asked to end.
    """
    chosen = rules or WatchRules()
    wanted = tuple(sorted({*symbols, chosen.market_symbol}))
    if session_at(now) != session:
        return _outside(wanted, session, now, _readings_outside(wanted, session, sources))
    known = earlier if earlier is not None and earlier.session == session else None
    return _Inside(wanted, session, now, _readings_inside(wanted, session, sources), chosen, known).status()


def _readings_outside(wanted: Sequence[str], session: date, sources: MarketSources) -> _Readings:
    reader, events = _Reader(), sources.events
    first, last = session - PROCESSED_BEFORE, session + PROCESSED_AFTER
    nothing: Mapping[str, Asset] = {}
    none: tuple[CorporateAction, ...] = ()
    assets = reader.read("assets", lambda: sources.assets.assets(wanted), nothing)
    actions = reader.read("corporate actions", lambda: tuple(events.corporate_actions(wanted, first, last)), none)
    return _Readings(assets, actions, reader.unread)


def _readings_inside(wanted: Sequence[str], session: date, sources: MarketSources) -> _Readings:
    outside, before, reader = _readings_outside(wanted, session, sources), previous_session(session), _Reader()
    events, market_data = sources.events, sources.market_data
    return replace(
        outside,
        trades=reader.read("latest trades", lambda: _priced(events.latest_trades(wanted)), {}),
        quotes=reader.read("quotes", lambda: dict(market_data.quotes(wanted)), {}),
        traded_closes=reader.read("closes as traded", lambda: _positive(events.unadjusted_closes(wanted, before)), {}),
        adjusted_closes=reader.read("adjusted closes", lambda: _adjusted_closes(wanted, before, market_data), {}),
        unread={**outside.unread, **reader.unread},
    )


def _priced(trades: Mapping[str, Trade]) -> dict[str, Trade]:
    return {symbol: trade for symbol, trade in trades.items() if trade.price > 0}


def _positive(closes: Mapping[str, Decimal]) -> dict[str, Decimal]:
    return {symbol: close for symbol, close in closes.items() if close.is_finite() and close > 0}


def _adjusted_closes(wanted: Sequence[str], session: date, market_data: MarketData) -> dict[str, Decimal]:
    bars = market_data.daily_bars(wanted, session, session)
    closes = zip(bars["symbol"], bars["close"], strict=True)
    return _positive({symbol: Decimal(str(close)) for symbol, close in closes})


def _outside(wanted: Sequence[str], session: date, now: datetime, readings: _Readings) -> MarketStatus:
    return MarketStatus(
        session=session,
        as_of=now,
        symbols=frozenset(wanted),
        halted=_untradable(readings),
        corporate_actions=blocking_actions(readings.actions, session),
        unread=readings.unread,
    )


def _untradable(readings: _Readings) -> Mapping[str, str]:
    untradable = (symbol for symbol, asset in readings.assets.items() if not asset.tradable)
    return dict.fromkeys(untradable, "the broker does not let it be traded")


@dataclass(frozen=True)
class _Inside:
    """What the readings of an instant inside the session mean."""

    wanted: Sequence[str]
    session: date
    now: datetime
    readings: _Readings
    rules: WatchRules
    earlier: MarketStatus | None

    def status(self) -> MarketStatus:
        breaker = self._breaker()
        announced = blocking_actions(self.readings.actions, self.session)
        unread = {**self.readings.unread, **self._market_unread()}
        return MarketStatus(
            session=self.session,
            as_of=self.now,
            symbols=frozenset(self.wanted),
            halt=str(breaker) if breaker.halts(self.now) else self._market_silence(),
            halted={**self._at_their_bands(), **self._silent(), **_untradable(self.readings)},
            corporate_actions={**self._basis_doubts(), **announced},
            unread=unread,
            unknown={symbol: unknown for symbol in self.wanted if (unknown := self._unknown(symbol))},
            breaker=breaker,
            trades={symbol: self._recent(symbol) for symbol in self.readings.trades},
        )

    def _breaker(self) -> MarketBreaker:
        before = self.earlier.breaker if self.earlier else MarketBreaker()
        price, close = self._market_price(), self.readings.traded_closes.get(self.rules.market_symbol)
        return market_breaker(price, close, self.now, before) if price and close else before

    def _market_price(self) -> Decimal | None:
        """Return the higher of trade and quote: one bad print must not stop the market."""
        trade = self._price(self.rules.market_symbol)
        quote = self._quote(self.rules.market_symbol)
        if trade is None:
            return None
        return trade if quote is None else max(trade, quote.mid)

    def _market_unread(self) -> Mapping[str, str]:
        unknown = self._unknown(self.rules.market_symbol)
        return {"the market": f"{self.rules.market_symbol} lacks {', '.join(unknown)}"} if unknown else {}

    @property
    def _signs_are_read(self) -> bool:
        """Whether silence means anything: where trades or quotes could not be read, nothing was heard."""
        return not self.readings.unread.keys() & {"latest trades", "quotes"}

    def _market_silence(self) -> str:
        market = self.rules.market_symbol
        if not self._signs_are_read or not is_silent(
            self._seen_at(market), self.now, self._opens_at, self.rules.patience
        ):
            return ""
        return f"{market}, which stands for the market, {self._silence(market)}"

    def _silent(self) -> Mapping[str, str]:
        if not self._signs_are_read:
            return {}
        market = self._seen_at(self.rules.market_symbol)
        return {
            symbol: f"it {self._silence(symbol)}"
            for symbol in self.wanted
            if inferred_halt(self._seen_at(symbol), market, self.now, self._opens_at, self.rules.patience)
        }

    def _silence(self, symbol: str) -> str:
        seen_at = self._seen_at(symbol)
        since = f"since {seen_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if seen_at else "at all"
        return f"was neither traded nor quoted {since}"

    def _at_their_bands(self) -> Mapping[str, str]:
        states = {symbol: self._limit_state(symbol) for symbol in self.readings.quotes}
        return {symbol: f"its quote is {state}" for symbol, state in states.items() if state is not LimitState.INSIDE}

    def _limit_state(self, symbol: str) -> LimitState:
        bands, quote = self._bands(symbol), self._quote(symbol)
        if bands is None or quote is None:
            return LimitState.INSIDE
        if limit_state(quote.bid, bands) is LimitState.UP:
            return LimitState.UP
        return LimitState.DOWN if limit_state(quote.ask, bands) is LimitState.DOWN else LimitState.INSIDE

    def _bands(self, symbol: str) -> Bands | None:
        reference, close = reference_price(self._recent(symbol), self.now), self.readings.traded_closes.get(symbol)
        if not reference or not close:
            return None
        instrument = self.rules.instruments.get(symbol)
        tier, leverage = tier_of(instrument), instrument.leverage if instrument else Decimal(1)
        doubled = is_doubled(self.now, self.session, tier, reference)
        return luld_bands(reference, close, tier, leverage=leverage, doubled=doubled)

    def _basis_doubts(self) -> Mapping[str, str]:
        doubts = {symbol: self._basis_doubt(symbol) for symbol in self.wanted}
        return {symbol: doubt for symbol, doubt in doubts.items() if doubt}

    def _basis_doubt(self, symbol: str) -> str:
        traded, adjusted = self.readings.traded_closes.get(symbol), self.readings.adjusted_closes.get(symbol)
        price = self._price(symbol)
        return basis_doubt(traded, adjusted, price) if traded and adjusted and price else ""

    def _unknown(self, symbol: str) -> tuple[str, ...]:
        figures = {
            "latest trade": ("latest trades", self._price(symbol)),
            "last close as traded": ("closes as traded", self.readings.traded_closes.get(symbol)),
            "last adjusted close": ("adjusted closes", self.readings.adjusted_closes.get(symbol)),
        }
        return tuple(
            name for name, (source, figure) in figures.items() if source not in self.readings.unread and figure is None
        )

    @property
    def _opens_at(self) -> datetime:
        return open_of(self.session)

    def _price(self, symbol: str) -> Decimal | None:
        trade = self.readings.trades.get(symbol)
        return None if trade is None else trade.price

    def _quote(self, symbol: str) -> Quote | None:
        """Return the quote if it has two sides: one side alone says nothing of a price, and may stand for a halt."""
        quote = self.readings.quotes.get(symbol)
        return quote if quote is not None and quote.bid > 0 and quote.ask > 0 else None

    def _seen_at(self, symbol: str) -> datetime | None:
        trade, quote = self.readings.trades.get(symbol), self._quote(symbol)
        return max((sign.at for sign in (trade, quote) if sign is not None), default=None)

    def _recent(self, symbol: str) -> tuple[Trade, ...]:
        before = self.earlier.trades.get(symbol, ()) if self.earlier else ()
        latest = self.readings.trades.get(symbol)
        seen = [*before, latest] if latest is not None and latest not in before else before
        return tuple(trade for trade in seen if trade.at >= self.now - REFERENCE_SPAN)


class MarketPauses:
    """Asked before each batch of orders which of its symbols do not trade now, or are not what they were, and why.

    What a source cannot tell stops nothing here: the decision on the order
    needed it, and the venue has the last word. Remembers from one call to the
    next what the market-wide breaker and the price bands go by.
    """

    def __init__(self, sources: MarketSources, now: Callable[[], datetime], rules: WatchRules | None = None) -> None:
        """Read from ``sources`` at the instants that ``now`` tells (UTC)."""
        self._sources, self._now, self._rules = sources, now, rules
        self._last: MarketStatus | None = None

    def __call__(self, symbols: Sequence[str]) -> Mapping[str, str]:
        """Return the reason by symbol; one that trades is absent. Outside a session nothing is asked.

        Raises:
            Interrupted: the process was asked to end.
        """
        now = self._now()
        session = session_at(now)
        if session is None:
            return {}
        self._last = market_status(symbols, session, self._sources, now, self._rules, self._last)
        return {symbol: reason for symbol in symbols if (reason := _standing_in_the_way(symbol, self._last))}


def _standing_in_the_way(symbol: str, status: MarketStatus) -> str:
    reasons = (status.halt, status.halted.get(symbol, ""), status.corporate_actions.get(symbol, ""))
    found = [reason for reason in reasons if reason]
    return f"does not trade now: {'; '.join(found)}" if found else ""
