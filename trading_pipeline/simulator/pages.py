"""Pages of market data: a limit over all symbols, an order, and a token to go on with."""

from datetime import datetime, timedelta

from trading_pipeline.simulator.exchange import Exchange
from trading_pipeline.simulator.generated import SymbolBars
from trading_pipeline.simulator.queries import ActionsQuery, BarsQuery, count_token, page_token
from trading_pipeline.simulator.wire import Json, bars_json, split_json, split_type


def bars_page(exchange: Exchange, wanted: BarsQuery, now: datetime) -> tuple[dict[str, list[Json]], str | None]:
    """Return the bars of one page by symbol, and the token of the next page, None on the last.

    A symbol without bars, known or not, is absent.
    """
    page: dict[str, list[Json]] = {}
    room, token = wanted.limit, ""
    for symbol in _symbols_left(wanted):
        bars = _left(exchange, symbol, wanted, now)
        given = bars.rows(slice(0, room))
        if given:
            page[symbol] = list(bars_json(given))
            room -= len(given)
            token = page_token(symbol, given.sessions[-1].item())
        if len(given) < len(bars):
            return page, token
    return page, None


def _symbols_left(wanted: BarsQuery) -> list[str]:
    return [symbol for symbol in wanted.symbols if wanted.resume is None or symbol >= wanted.resume[0]]


def _left(exchange: Exchange, symbol: str, wanted: BarsQuery, now: datetime) -> SymbolBars:
    """Return the bars of ``symbol`` that no earlier page gave, in the order asked for."""
    first, last = wanted.first, wanted.last
    if wanted.resume is not None and symbol == wanted.resume[0]:
        seen = wanted.resume[1]
        first = max(first, seen + timedelta(days=1)) if wanted.ascending else first
        last = last if wanted.ascending else min(last, seen - timedelta(days=1))
    found = exchange.bars(symbol, first, last, now, adjusted=wanted.adjusted)
    return found if wanted.ascending else found.rows(slice(None, None, -1))


def actions_page(exchange: Exchange, wanted: ActionsQuery) -> tuple[dict[str, list[Json]], str | None]:
    """Return the corporate actions of one page by their kind, in the plural, and the token of the next page or None.

    Splits are the only ones that there are.
    """
    splits = [
        split
        for split in exchange.announced_splits(wanted.first, wanted.last)
        if (not wanted.symbols or split.symbol in wanted.symbols)
        and (not wanted.types or split_type(split) in wanted.types)
    ]
    ordered = splits if wanted.ascending else splits[::-1]
    end = wanted.skip + wanted.limit
    page: dict[str, list[Json]] = {}
    for split in ordered[wanted.skip : end]:
        page.setdefault(f"{split_type(split)}s", []).append(split_json(split))
    return page, count_token(end) if end < len(ordered) else None
