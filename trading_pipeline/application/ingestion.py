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


def silence(ingested: Ingested, symbols: Collection[str], session: date) -> str:
    """Return what to do where not one of ``symbols`` has a bar of ``session``; empty where one has.

    How many may lack one is for the asset ``data_freshness`` to judge, once
    what there is was stored.
    """
    if not symbols or len(ingested.missing) < len(symbols):
        return ""
    return (
        f"none of {len(symbols)} symbols has a sound bar of {session}: the feed does not have the session yet, or "
        f"answers for another. Nothing was written and nothing is decided: look at the feed and at table "
        f"bars_quarantine, then run job decide again"
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
