"""What may be seen of a market at an instant: bars that have ended, quotes, halts, listed assets.

Quotes are a model: during a session the mid is that session's open (its close
if only that is known), from its close to the next open its close; bid and ask
lie a fixed half spread around it, on the price grid.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal

import numpy as np

from trading_pipeline.domain.instruments import (
    AssetClass,
    Instrument,
    catalogue,
    price_tick,
    round_price,
)
from trading_pipeline.domain.sessions import close_of, last_completed_session, session_at
from trading_pipeline.simulator.generated import SymbolBars
from trading_pipeline.simulator.market import CLOSE, HIGH, LOW, OPEN, Market
from trading_pipeline.simulator.overrides import BarChange, Overrides
from trading_pipeline.simulator.universe import Split

BASIS_POINT = Decimal("0.0001")
_COLUMNS = {"open": [OPEN], "high": [HIGH], "low": [LOW], "close": [CLOSE], "all": [OPEN, HIGH, LOW, CLOSE]}
_ASSET_IDS = uuid.uuid5(uuid.NAMESPACE_URL, "trading-pipeline/simulated-assets")


@dataclass(frozen=True)
class Quote:
    """Bid, ask and last price in dollars a share at a UTC instant."""

    bid: Decimal
    ask: Decimal
    last: Decimal
    at: datetime


@dataclass(frozen=True)
class Asset:
    """A listed symbol; ``active`` is False once it has been delisted, ``tradable`` also when that was set by hand."""

    id: uuid.UUID
    symbol: str
    exchange: str
    active: bool
    tradable: bool
    fractionable: bool


class Exchange:
    """A market seen through the instant that it is."""

    def __init__(self, market: Market, half_spread_bps: Decimal, overrides: Overrides) -> None:
        self._market = market
        self._half_spread = half_spread_bps * BASIS_POINT
        self._overrides = overrides
        self._quotes: dict[str, Quote | None] = {}
        self._quoted_at: tuple[datetime, str | None] | None = None
        for split in overrides.splits():
            market.split(split)

    @property
    def name(self) -> str:
        """What the market is: ``generated``, or the path of its file."""
        return self._market.name

    @property
    def version(self) -> str | None:
        """Something that is another after every change that was made by hand."""
        return self._overrides.version

    def bars(self, symbol: str, first: date, last: date, now: datetime, *, adjusted: bool) -> SymbolBars:
        """Return the bars of ``symbol`` from ``first`` to ``last`` that have ended by ``now``.

        ``adjusted`` puts them on the basis of the shares of now: a split counts
        from the open of its session on.
        """
        ended = last_completed_session(now)
        self._market.reach(ended)
        found = self._market.bars(symbol, first, min(last, ended), _pricing_session(now) if adjusted else None)
        halted = [session for halted_symbol, session in self._overrides.halts() if halted_symbol == symbol]
        traded = found.rows(~np.isin(found.sessions, np.array(halted, dtype="datetime64[D]")))
        return self._as_shown(symbol, traded)

    def quote(self, symbol: str, now: datetime) -> Quote | None:
        """Return the quote of ``symbol`` at ``now``; None if it has no bar in the session that prices it."""
        # Orders in one symbol are priced at one quote: nothing but time and what is set by hand changes it.
        basis = (now, self.version)
        if basis != self._quoted_at:
            self._quotes, self._quoted_at = {}, basis
        if symbol not in self._quotes:
            self._quotes[symbol] = self._quote(symbol, now)
        return self._quotes[symbol]

    def _quote(self, symbol: str, now: datetime) -> Quote | None:
        mid = self._mid(symbol, now)
        if mid is None:
            return None
        override = self._overrides.of(symbol)
        at = now if session_at(now) else close_of(_pricing_session(now))
        at = min(at, override.halted_since or at) - timedelta(seconds=override.quote_age)
        bid = max(round_price(mid * (1 - self._half_spread), up=False), price_tick(mid))
        return Quote(bid, round_price(mid * (1 + self._half_spread), up=True), _on_grid(mid), at)

    def price(self, symbol: str, now: datetime) -> Decimal | None:
        """Return the last price of ``symbol`` at ``now``: the quote's, or the newest close before it."""
        quote = self.quote(symbol, now)
        if quote is not None:
            return quote.last
        return self.close_before(symbol, now)

    def close_before(self, symbol: str, now: datetime) -> Decimal | None:
        """Return the newest close before the pricing session of ``now``, in shares of that session; None: no bar."""
        session = _pricing_session(now)
        self._market.reach(session)
        lifetime = self._market.lifetime(symbol)
        if lifetime is None:
            return None
        found = self._market.bars(symbol, lifetime[0], session, adjusted_as_of=session)
        earlier = found.rows(found.sessions < np.datetime64(session))
        return _on_grid(_decimal(earlier.prices[-1, CLOSE].item())) if earlier else None

    def is_halted(self, symbol: str, now: datetime) -> bool:
        """Tell whether a listed symbol does not trade in the session that is open at ``now``, or was halted by hand."""
        if self._overrides.of(symbol).halted_since is not None:
            return True
        return session_at(now) is not None and self.quote(symbol, now) is None

    def is_idle(self, symbol: str) -> bool:
        """Tell whether orders in ``symbol`` find nobody to trade with: it was halted by hand, or made illiquid."""
        override = self._overrides.of(symbol)
        return override.illiquid or override.halted_since is not None

    def is_shown(self, symbol: str) -> bool:
        """Tell whether market data knows ``symbol``."""
        return not self._overrides.of(symbol).missing

    def split(self, split: Split) -> None:
        """Let a split take effect at the open of its session."""
        self._overrides.add_split(split)
        self._market.split(split)

    def splits(self, session: date) -> Sequence[Split]:
        """Return the splits that take effect at the open of ``session``."""
        self._market.reach(session)
        return self._market.splits(session)

    def announced_splits(self, first: date, last: date) -> Sequence[Split]:
        """Return the splits from ``first`` to ``last``, oldest first; all that are to come have been announced."""
        return [split for split in self._market.splits_between(first, last) if self.is_shown(split.symbol)]

    def assets(self, now: datetime) -> Sequence[Asset]:
        """Return every asset that is or was listed by ``now``, by symbol."""
        found = (self.asset(symbol, now) for symbol in self._market.symbols())
        return [asset for asset in found if asset is not None]

    def asset(self, name: str, now: datetime) -> Asset | None:
        """Return the asset of that symbol or id, or None if nothing of that name was listed by ``now``."""
        symbol = self._symbol_of(name)
        self._market.reach(_pricing_session(now))
        lifetime = self._market.lifetime(symbol)
        session = _pricing_session(now)
        if lifetime is None or lifetime[0] > session:
            return None
        active = lifetime[1] is None or session <= lifetime[1]
        override = self._overrides.of(symbol)
        instrument = catalogue().get(symbol, Instrument(symbol, AssetClass.STOCK))
        exchange = "NASDAQ" if instrument.asset_class is AssetClass.STOCK else "ARCA"
        fractionable = instrument.fractionable if override.fractionable is None else override.fractionable
        tradable = active and override.tradable is not False
        return Asset(asset_id(symbol), symbol, exchange, active, tradable, fractionable)

    def _symbol_of(self, name: str) -> str:
        by_id = {str(asset_id(symbol)): symbol for symbol in self._market.symbols()} if _is_uuid(name) else {}
        return by_id.get(name, name)

    def _mid(self, symbol: str, now: datetime) -> Decimal | None:
        session = _pricing_session(now)
        self._market.reach(session)
        bar = self._market.bar(symbol, session)
        if bar is None or (symbol, session) in self._overrides.halts():
            return None
        return _decimal(bar.open if session_at(now) else bar.close) * self._overrides.of(symbol).quote_factor

    def _as_shown(self, symbol: str, bars: SymbolBars) -> SymbolBars:
        """Return ``bars`` with the faults that were set for them."""
        override = self._overrides.of(symbol)
        if override.missing:
            return bars.rows(slice(0, 0))
        for first, last in override.gaps:
            outside = (bars.sessions < np.datetime64(first)) | (bars.sessions > np.datetime64(last))
            bars = bars.rows(outside)
        for change in override.changes:
            bars = _changed(bars, change)
        return bars


def _changed(bars: SymbolBars, change: BarChange) -> SymbolBars:
    prices = bars.prices.copy()
    rows = np.flatnonzero(bars.sessions == np.datetime64(change.session))
    for column in _COLUMNS[change.figure]:
        prices[rows, column] *= float(change.factor)
    return replace(bars, prices=prices)


def asset_id(symbol: str) -> uuid.UUID:
    """Return the id of the asset of that symbol, the same on every run."""
    return uuid.uuid5(_ASSET_IDS, symbol)


def _is_uuid(name: str) -> bool:
    try:
        uuid.UUID(name)
    except ValueError:
        return False
    return True


def _pricing_session(now: datetime) -> date:
    return session_at(now) or last_completed_session(now)


def _decimal(price: float) -> Decimal:
    return Decimal(repr(price))


def _on_grid(price: Decimal) -> Decimal:
    return max(price.quantize(price_tick(price)), price_tick(price))
