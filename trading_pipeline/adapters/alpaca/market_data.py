"""Daily bars, quotes, trades and corporate actions from Alpaca."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import chain
from math import ceil, isfinite

import pandas as pd

from trading_pipeline.adapters.alpaca import translation
from trading_pipeline.adapters.alpaca.translation import BarRow
from trading_pipeline.adapters.alpaca.transport import Api
from trading_pipeline.domain.bars import KEY, as_close_only, canonical_bars
from trading_pipeline.domain.errors import DependencyUnavailable, InvalidBars, InvalidInput
from trading_pipeline.domain.risk.corporate_actions import CorporateAction
from trading_pipeline.domain.risk.trading_pauses import Trade
from trading_pipeline.domain.sessions import last_completed_session, midnight_utc, sessions_between
from trading_pipeline.ports import Clock, Quote

BARS_A_PAGE = 10_000
ACTIONS_A_PAGE = 1_000
ACTIONS_VERSION = "v1"


@dataclass(frozen=True)
class MarketDataOptions:
    """How bars and quotes are asked for.

    Attributes:
        bars_feed: source of bars: ``sip`` (the whole tape) or ``iex`` (one venue, 2 to 3 % of the volume).
        quotes_feed: source of quotes and trades; the free plan has ``iex`` only.
        bars_delay_minutes: the newest minutes that are not asked for; the free plan refuses the tape's last 15.
        most_chains: requests in flight at once; page tokens are serial inside each.
        symbols_a_request: symbols named in one request, so that its URL stays short enough for any proxy.
    """

    bars_feed: str = "sip"
    quotes_feed: str = "iex"
    bars_delay_minutes: int = 16
    most_chains: int = 4
    symbols_a_request: int = 500


@dataclass(frozen=True)
class _Span:
    first: date
    last: date

    def covers(self, other: "_Span") -> bool:
        return self.first <= other.first and other.last <= self.last


class AlpacaMarketData:
    """Daily bars adjusted for splits and dividends, the latest quotes and trades, and corporate actions.

    Completed bars are remembered for the life of the object, by symbol and
    range, so that one run asks each question once. A later object may find
    older bars changed: every split and dividend rewrites adjusted history.
    """

    def __init__(self, data: Api, clock: Clock, options: MarketDataOptions | None = None) -> None:
        """Ask ``data``; ``clock`` tells which sessions are over."""
        self._data = data
        self._clock = clock
        self._options = options or MarketDataOptions()
        self._remembered: dict[str, tuple[_Span, pd.DataFrame]] = {}

    def daily_bars(self, symbols: Sequence[str], first: date, last: date) -> pd.DataFrame:
        """Return the bars of the completed sessions from ``first`` to ``last``.

        Columns symbol, session (date), open, high, low, close (dollars a
        share) and volume (shares); sorted by symbol and session. A session
        that is not over by the clock has no bar here, whatever Alpaca has of
        it; a symbol without bars has no row. Open, high, low and volume are
        NaN where only the close is known, and any figure is that Alpaca left
        out. Rows are passed on as they came, sound or not: see
        :func:`~trading_pipeline.domain.bars.quarantine`.

        Raises:
            InvalidInput: ``first`` is after ``last``.
            TransientError: no usable answer inside the deadline.
            PermanentError: the request was refused.
            InvalidBars: a bar cannot be read, or is of a symbol that was not asked for.
        """
        if first > last:
            raise InvalidInput(f"bars were asked from {first} to {last}: the first day must not be after the last")
        wanted = sorted(set(symbols))
        asked = _Span(first, last)
        missing = self._not_remembered(wanted, asked)
        if missing:
            now = self._clock.now()
            asked = _Span(first, min(last, last_completed_session(now)))
            self._remember(self._not_remembered(wanted, asked), asked, now)
        return self._recalled(wanted, asked)

    def quotes(self, symbols: Sequence[str]) -> Mapping[str, Quote]:
        """Return the latest quote of each symbol that has one; a side without an offer is zero.

        Raises:
            TransientError: no usable answer inside the deadline.
            PermanentError: the request was refused.
        """
        found: dict[str, Quote] = {}
        for group in _groups(sorted(set(symbols)), self._options.symbols_a_request):
            parameters = {"symbols": ",".join(group), "feed": self._options.quotes_feed}
            found |= translation.quotes(self._data.get("/stocks/quotes/latest", parameters))
        return found

    def latest_trades(self, symbols: Sequence[str]) -> Mapping[str, Trade]:
        """Return the latest trade of each symbol that has one.

        Raises:
            TransientError: no usable answer inside the deadline.
            PermanentError: the request was refused.
        """
        found: dict[str, Trade] = {}
        for group in _groups(sorted(set(symbols)), self._options.symbols_a_request):
            parameters = {"symbols": ",".join(group), "feed": self._options.quotes_feed}
            found |= translation.latest_trades(self._data.get("/stocks/trades/latest", parameters))
        return found

    def corporate_actions(self, symbols: Sequence[str], first: date, last: date) -> Sequence[CorporateAction]:
        """Return what was announced of the shares of ``symbols`` and is processed from ``first`` to ``last``.

        Alpaca does not promise to know of an action before it takes effect.

        Raises:
            TransientError: no usable answer inside the deadline.
            PermanentError: the request was refused.
        """
        span: dict[str, str | int] = {"start": first.isoformat(), "end": last.isoformat(), "limit": ACTIONS_A_PAGE}
        found: list[CorporateAction] = []
        for group in _groups(sorted(set(symbols)), self._options.symbols_a_request):
            found += self._announced({**span, "symbols": ",".join(group)})
        return found

    def unadjusted_closes(self, symbols: Sequence[str], session: date) -> Mapping[str, Decimal]:
        """Return the close of a completed session in dollars a share, as it was traded, of each symbol that has one.

        Raises:
            TransientError: no usable answer inside the deadline.
            PermanentError: the request was refused.
            InvalidBars: a bar cannot be read.
        """
        parameters = {**self._bars_parameters(_Span(session, session), self._clock.now()), "adjustment": "raw"}
        groups = _groups(sorted(set(symbols)), self._options.symbols_a_request)
        rows = chain.from_iterable(self._chain(group, parameters) for group in groups)
        return {row.symbol: Decimal(str(row.close)) for row in rows if row.session == session and isfinite(row.close)}

    def _announced(self, parameters: Mapping[str, str | int]) -> list[CorporateAction]:
        """Follow the page tokens of one request for corporate actions to their end."""
        found: list[CorporateAction] = []
        seen: set[str] = set()
        page = dict(parameters)
        while True:
            answer = self._data.get("/corporate-actions", page, version=ACTIONS_VERSION)
            actions, token = translation.corporate_actions(answer)
            found += actions
            if not token:
                return found
            _require_new(token, seen, "corporate actions")
            page["page_token"] = token

    def _not_remembered(self, symbols: Iterable[str], span: _Span) -> list[str]:
        return [
            symbol
            for symbol in symbols
            if symbol not in self._remembered or not self._remembered[symbol][0].covers(span)
        ]

    def _remember(self, symbols: Sequence[str], span: _Span, now: datetime) -> None:
        sessions = sessions_between(span.first, span.last)
        if not symbols or not sessions:
            return
        frame = _bars_frame(self._fetched(symbols, span, now, len(sessions)), symbols, span)
        by_symbol = dict(iter(frame.groupby("symbol", sort=False)))
        for symbol in symbols:
            self._remembered[symbol] = (span, by_symbol.get(symbol, frame.iloc[:0]))

    def _recalled(self, symbols: Sequence[str], span: _Span) -> pd.DataFrame:
        known = [self._remembered[symbol][1] for symbol in symbols if symbol in self._remembered]
        frame = pd.concat([_bars_frame([], (), span), *known], ignore_index=True)
        inside = (frame["session"] >= span.first) & (frame["session"] <= span.last)
        return frame[inside].reset_index(drop=True)

    def _fetched(self, symbols: Sequence[str], span: _Span, now: datetime, sessions: int) -> list[BarRow]:
        groups = self._chains(symbols, sessions)
        parameters = self._bars_parameters(span, now)
        if len(groups) == 1:
            return self._chain(groups[0], parameters)
        with ThreadPoolExecutor(min(len(groups), self._options.most_chains)) as pool:
            return list(chain.from_iterable(pool.map(lambda group: self._chain(group, parameters), groups)))

    def _chains(self, symbols: Sequence[str], sessions: int) -> list[Sequence[str]]:
        """Split the symbols so that no chain is started for less than a page."""
        pages = ceil(len(symbols) * sessions / BARS_A_PAGE)
        chains = max(1, min(self._options.most_chains, pages, len(symbols)))
        return _groups(symbols, min(self._options.symbols_a_request, ceil(len(symbols) / chains)))

    def _bars_parameters(self, span: _Span, now: datetime) -> dict[str, str | int]:
        # A day as `end` means its midnight, before that day's own bar: the day after is asked for.
        after = midnight_utc(span.last) + timedelta(days=1)
        end = min(after, now - timedelta(minutes=self._options.bars_delay_minutes))
        return {
            "timeframe": "1Day",
            "start": midnight_utc(span.first).isoformat(),
            "end": end.isoformat(timespec="seconds"),
            "adjustment": "all",
            "feed": self._options.bars_feed,
            "sort": "asc",
            "limit": BARS_A_PAGE,
        }

    def _chain(self, symbols: Sequence[str], parameters: Mapping[str, str | int]) -> list[BarRow]:
        """Follow the page tokens of one request to their end; each page is retried by itself."""
        rows: list[BarRow] = []
        seen: set[str] = set()
        page: dict[str, str | int] = {**parameters, "symbols": ",".join(symbols)}
        while True:
            found, token = translation.bars(self._data.get("/stocks/bars", page))
            rows += found
            if not token:
                return rows
            _require_new(token, seen, "bars")
            page["page_token"] = token


def _require_new(token: str, seen: set[str], what: str) -> None:
    if token in seen:
        raise DependencyUnavailable(
            f"Alpaca named page {token!r} of {what} twice in {len(seen)} pages: it would never end; try later"
        )
    seen.add(token)


def _groups(symbols: Sequence[str], size: int) -> list[Sequence[str]]:
    return [symbols[start : start + size] for start in range(0, len(symbols), size)]


def _bars_frame(rows: Sequence[BarRow], symbols: Sequence[str], span: _Span) -> pd.DataFrame:
    """Return the rows of ``span`` as a Bars frame; what a row says is for the domain to judge.

    Raises:
        InvalidBars: a symbol was not asked for.
    """
    strangers = {row.symbol for row in rows} - set(symbols)
    if strangers:
        raise InvalidBars(f"Alpaca sent bars of {min(strangers)}, which was not asked for; nothing was stored")
    inside = [row for row in rows if span.first <= row.session <= span.last]
    frame = as_close_only(canonical_bars(pd.DataFrame(inside, columns=list(BarRow._fields))))
    return frame.sort_values(KEY, ignore_index=True)
