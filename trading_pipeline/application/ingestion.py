"""Bars of a completed session: fetched with an overlap, compared with what is stored, never written unseen.

Adjusted history is restated by every split and dividend. The overlap shows it:
where an adjusted close changed, that symbol's whole history is fetched again.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import pandas as pd

from trading_pipeline.domain import bars as bars_domain
from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import DataError
from trading_pipeline.ports import MarketData

KEY = ["symbol", "session"]


@dataclass(frozen=True)
class History:
    """How many sessions the strategies need, and how many are fetched again to notice restatements."""

    look_back: int
    overlap: int


@dataclass(frozen=True)
class Ingested:
    """What a session's fetch brought.

    ``changes`` are the rows to insert or replace, ``refused`` the rows that
    failed validation (with a ``reason``), ``restated`` the symbols whose
    history changed, ``restated_sessions`` the stored sessions that this
    touches, ``missing`` the symbols without a bar of the session.
    """

    changes: pd.DataFrame
    refused: pd.DataFrame
    restated: tuple[str, ...]
    restated_sessions: tuple[date, ...]
    missing: tuple[str, ...]


def ingest(
    market_data: MarketData,
    stored: pd.DataFrame,
    session: date,
    symbols: Sequence[str],
    history: History,
    now: datetime,
) -> Ingested:
    """Fetch what is new of ``symbols`` through ``session`` and compare it with ``stored``.

    ``stored`` holds every stored bar, of every session: a restatement changes
    them all, and what is left out here stays as it was before.

    Raises:
        DataError: ``session`` is not over at ``now``, or the answer breaks the schema of bars.
        TransientError: the market data gave no usable answer.
        PermanentError: the market data refused to answer.
    """
    _refuse_incomplete(session, now)
    known = _known(stored, session, symbols, history)
    fetched = [
        _fetched(market_data, sorted(known), _overlap_start(session, history), session),
        _fetched(market_data, sorted(set(symbols) - known), _history_start(session, history), session),
    ]
    good, refused = bars_domain.quarantine(pd.concat(fetched, ignore_index=True))
    restated = bars_domain.restated_symbols(stored, good)
    if restated:
        span = _span(stored, restated, session, history)
        good, refused = _fetched_whole(market_data, restated, (good, refused), span)
    missing = tuple(sorted(set(symbols) - set(good.loc[good["session"] == session, "symbol"])))
    changes = _changed(stored, good)
    touched = _touched(stored, changes, restated)
    return Ingested(changes, refused.drop_duplicates(ignore_index=True), restated, touched, missing)


def refuse_too_many_missing(ingested: Ingested, symbols: Collection[str], session: date, tolerated: float) -> None:
    """Stop where so many symbols lack a bar of ``session`` that the feed, not the market, must be at fault.

    Raises:
        DataError: more than the fraction ``tolerated`` of ``symbols`` is missing.
    """
    if symbols and len(ingested.missing) / len(symbols) > tolerated:
        shown = ", ".join(ingested.missing[:8]) + (" ..." if len(ingested.missing) > 8 else "")  # noqa: PLR2004
        raise DataError(
            f"{len(ingested.missing)} of {len(symbols)} symbols have no bar of {session} ({shown}); at most "
            f"{tolerated:.0%} may be missing: check the feed, or raise market_data.max_missing_symbols"
        )


def _refuse_incomplete(session: date, now: datetime) -> None:
    close = sessions.close_of(session)
    if now < close:
        raise DataError(
            f"session {session} is not over: it closes at {close.isoformat()}, now is {now.isoformat()}; "
            f"bars are taken from completed sessions only, so try again after the close"
        )


def _history_start(session: date, history: History) -> date:
    return sessions.previous_session(session, history.look_back)


def _overlap_start(session: date, history: History) -> date:
    return sessions.previous_session(session, min(history.overlap, history.look_back))


def _known(stored: pd.DataFrame, session: date, symbols: Sequence[str], history: History) -> set[str]:
    # Where a session of the look-back is lacking (a new symbol, one listed later, a gap between two backfills), only
    # the source can tell whether there is more.
    before_overlap = sessions.sessions_between(_history_start(session, history), _overlap_start(session, history))
    there = stored[(stored["session"] >= before_overlap[0]) & (stored["session"] <= before_overlap[-1])]
    counts = there["symbol"].value_counts()
    return set(counts.index[counts == len(before_overlap)]) & set(symbols)


def _span(stored: pd.DataFrame, symbols: Sequence[str], session: date, history: History) -> tuple[date, date]:
    days = stored.loc[stored["symbol"].isin(symbols), "session"]
    return min(days.min(), _history_start(session, history)), max(days.max(), session)


def _fetched_whole(
    market_data: MarketData,
    symbols: Sequence[str],
    fetched: tuple[pd.DataFrame, pd.DataFrame],
    span: tuple[date, date],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    others = (rows[~rows["symbol"].isin(symbols)] for rows in fetched)
    whole = bars_domain.quarantine(_fetched(market_data, symbols, *span))
    good, refused = (pd.concat(parts, ignore_index=True) for parts in zip(others, whole, strict=True))
    return good, refused


def _fetched(market_data: MarketData, symbols: Sequence[str], first: date, last: date) -> pd.DataFrame:
    if not symbols:
        return pd.DataFrame(columns=list(bars_domain.COLUMNS))
    return market_data.daily_bars(symbols, first, last)


def _changed(stored: pd.DataFrame, fetched: pd.DataFrame) -> pd.DataFrame:
    columns = list(bars_domain.COLUMNS)
    before = stored[columns].set_index(KEY).reindex(pd.MultiIndex.from_frame(fetched[KEY])).reset_index(drop=True)
    after = fetched[columns].drop(columns=KEY).reset_index(drop=True)
    same = ((before == after) | (before.isna() & after.isna())).all(axis=1)
    # A bar that was never stored reads as all missing; its close tells it from a stored one.
    return fetched.loc[~(same & before["close"].notna()).to_numpy(), columns].reset_index(drop=True)


def _touched(stored: pd.DataFrame, changes: pd.DataFrame, restated: Collection[str]) -> tuple[date, ...]:
    rewritten = changes[changes["symbol"].isin(list(restated))]
    return tuple(sorted(set(rewritten["session"]) & set(stored["session"])))
