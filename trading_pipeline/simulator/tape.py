"""What the market data stream says when simulated time passes.

The market has one bar a session, so the tape is thin: at the open a quote and a
trade at the opening price; at the close a quote and a trade at the closing
price, the minute bar of that trade (stamped a minute before) and the bar of the
day; a quote and a trade whenever the quote moves in between; a status when a
symbol is halted (``H``) and when it trades again (``T``).
"""

from collections.abc import Iterator, Set
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from trading_pipeline.domain.sessions import NEW_YORK, session_at
from trading_pipeline.simulator.clock import Boundary, boundaries
from trading_pipeline.simulator.exchange import Exchange, Quote
from trading_pipeline.simulator.wire import bars_json, quote_json, trade_json

Json = dict[str, Any]

# The channel of each kind of message, by the letter that the kind has on the wire.
CHANNELS = {"t": "trades", "q": "quotes", "b": "bars", "d": "dailyBars", "s": "statuses"}
_MINUTE = timedelta(minutes=1)
_HALTED = {"sc": "H", "sm": "Trading Halt", "rc": "T1", "rm": "Halt News Pending"}
_RESUMED = {"sc": "T", "sm": "Trading Resumption", "rc": "T3", "rm": "News and Resumption Times"}


class Tape:
    """Messages on the symbols that somebody watches, from the instant ``now`` on; ``t`` is an aware datetime."""

    def __init__(self, exchange: Exchange, now: datetime) -> None:
        self._exchange = exchange
        self._at = now
        self._seen: dict[str, tuple[Decimal, Decimal] | None] = {}
        self._halted: set[str] = set()

    def advance(self, now: datetime, watched: Set[str]) -> Iterator[Json]:
        """Yield what happened to the ``watched`` symbols since the last call, up to ``now``.

        A symbol that was not watched before has no past: its state at ``now`` is only noted.
        """
        passed, self._at = list(boundaries(self._at, now)), now
        known = sorted(watched & self._seen.keys())
        for boundary in passed:
            for symbol in known:
                yield from self._at_boundary(symbol, boundary)
        for symbol in known:
            yield from self._change(symbol, now)
        for symbol in watched - self._seen.keys():
            self._note(symbol, now)

    def _note(self, symbol: str, now: datetime) -> None:
        self._seen[symbol] = _sides(self._exchange.quote(symbol, now))
        if self._exchange.is_halted(symbol, now):
            self._halted.add(symbol)

    def _at_boundary(self, symbol: str, boundary: Boundary) -> Iterator[Json]:
        quote = self._exchange.quote(symbol, boundary.instant)
        if boundary.opens:
            yield from self._status(symbol, boundary.instant)
        if quote is not None:
            yield from self._quoted(symbol, quote)
        if not boundary.opens:
            yield from self._bars(symbol, boundary.instant)

    def _change(self, symbol: str, now: datetime) -> Iterator[Json]:
        if session_at(now):
            yield from self._status(symbol, now)
        quote = self._exchange.quote(symbol, now)
        if quote is not None and _sides(quote) != self._seen[symbol]:
            yield from self._quoted(symbol, quote)

    def _quoted(self, symbol: str, quote: Quote) -> Iterator[Json]:
        self._seen[symbol] = _sides(quote)
        yield {"T": "q", "S": symbol, **quote_json(quote), "t": quote.at}
        yield {"T": "t", "S": symbol, **trade_json(quote), "t": quote.at}

    def _status(self, symbol: str, at: datetime) -> Iterator[Json]:
        halted = self._exchange.is_halted(symbol, at)
        if halted != (symbol in self._halted):
            (self._halted.add if halted else self._halted.discard)(symbol)
            yield {"T": "s", "S": symbol, **(_HALTED if halted else _RESUMED), "t": at, "z": "B"}

    def _bars(self, symbol: str, close: datetime) -> Iterator[Json]:
        session = close.astimezone(NEW_YORK).date()
        for bar in self._day(symbol, session, close):
            last = bar["c"]
            minute = {**dict.fromkeys(("o", "h", "l", "c", "vw"), last), "v": 100, "n": 1, "t": close - _MINUTE}
            yield {"T": "b", "S": symbol, **minute}
            yield {"T": "d", "S": symbol, **bar, "t": datetime.fromisoformat(bar["t"])}

    def _day(self, symbol: str, session: date, now: datetime) -> Iterator[Json]:
        bars = self._exchange.bars(symbol, session, session, now, adjusted=False)
        yield from bars_json(bars)


def _sides(quote: Quote | None) -> tuple[Decimal, Decimal] | None:
    return None if quote is None else (quote.bid, quote.ask)
