"""How old the newest bar of each symbol is, in sessions of the exchange, and whether the feed as a whole moves.

Age counts sessions, never days: a weekend, a holiday or a half day makes
nothing older. What is not *fresh* is used for nothing: strategies read it as
missing, and no order may buy it. A figure of the past is never carried forward.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING

from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import InvalidInput

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    *("session", "symbol", "newest_session", "age_sessions", "status", "close_unchanged_sessions"),
    *("read_by", "reason", "feed"),
)
FEWEST_COMPARED = 2
"""Symbols that must be seen twice before the feed can be said to stand still: one alone may close where it closed."""

SHOWN = 8
"""How many symbols a message names."""


class SymbolStatus(StrEnum):
    """What is known of a symbol's newest bar."""

    FRESH = "fresh"
    STALE = "stale"
    FROZEN = "frozen"
    NEVER_SEEN = "never seen"
    LISTED_LATER = "listed later"


class FeedStatus(StrEnum):
    """Whether anything may be decided from the feed."""

    USABLE = "usable"
    TOO_STALE = "too stale"
    NOT_MOVING = "not moving"


@dataclass(frozen=True)
class FreshnessRules:
    """What counts as fresh.

    Attributes:
        max_age_sessions: sessions by which a symbol's newest bar may lie before the one that is decided.
        max_stale_share: fraction, from 0 to 1, of the symbols that strategies read which may be anything but fresh;
            beyond it nothing is decided.
        frozen_sessions: sessions, 1 at least, for which a close may repeat itself without any sign of trading.

    Raises:
        InvalidInput: a rule is outside its range.
    """

    max_age_sessions: int = 0
    max_stale_share: float = 0.5
    frozen_sessions: int = 5

    def __post_init__(self) -> None:
        """Refuse rules that could never or always be broken."""
        if self.max_age_sessions < 0 or self.frozen_sessions < 1 or not 0 <= self.max_stale_share <= 1:
            raise InvalidInput(
                f"ages are sessions from 0, frozen sessions from 1, and the stale share a fraction from 0 to 1; were "
                f"{self.max_age_sessions}, {self.frozen_sessions} and {self.max_stale_share}"
            )


@dataclass(frozen=True)
class SymbolFreshness:
    """The newest bar of one symbol, as of a session.

    Attributes:
        symbol: the symbol.
        status: what that makes of it.
        newest_session: session of the newest completed bar; None where there is none.
        age_sessions: sessions from that one to the one wanted, 0 at least; None where there is none.
        close_unchanged_sessions: sessions before the newest bar over which its close did not change; None likewise.
        unmoved_sessions: the last of them, in which nothing shows that it was traded either; None where the newest bar
            is the only one.
        reason: why it is not fresh; empty if it is.
    """

    symbol: str
    status: SymbolStatus
    newest_session: date | None = None
    age_sessions: int | None = None
    close_unchanged_sessions: int | None = None
    unmoved_sessions: int | None = None
    reason: str = ""

    @property
    def is_usable(self) -> bool:
        """Tell whether strategies may read it and orders may buy it."""
        return self.status is SymbolStatus.FRESH


@dataclass(frozen=True)
class FeedFreshness:
    """Every symbol's freshness as of ``session``, in alphabetical order, and what that makes of the feed.

    ``read_by`` names the strategies that read or may hold each symbol; one that
    nobody reads counts for nothing but itself.
    """

    session: date
    symbols: tuple[SymbolFreshness, ...]
    read_by: Mapping[str, Sequence[str]]
    rules: FreshnessRules

    @property
    def stale_share(self) -> float:
        """Fraction of the symbols read that are not fresh, from 0 to 1; 1 where there is nothing to judge.

        A symbol that was listed later does not count: that it has no bar says
        nothing of the feed.
        """
        judged = [each for each in self._read if each.status is not SymbolStatus.LISTED_LATER]
        return sum(not each.is_usable for each in judged) / len(judged) if judged else 1.0

    @property
    def is_moving(self) -> bool:
        """Tell whether any close or volume of the session differs from the one before; True where too few have both."""
        compared = [each for each in self.symbols if each.age_sessions == 0 and each.unmoved_sessions is not None]
        return len(compared) < FEWEST_COMPARED or any(each.unmoved_sessions == 0 for each in compared)

    @property
    def status(self) -> FeedStatus:
        """What may be decided from the feed: something or nothing."""
        if not self.is_moving:
            return FeedStatus.NOT_MOVING
        return FeedStatus.TOO_STALE if self.stale_share > self.rules.max_stale_share else FeedStatus.USABLE

    @property
    def oldest_age(self) -> int | None:
        """Sessions by which the oldest newest bar lies before the session; None where no symbol has one."""
        return max((each.age_sessions for each in self.symbols if each.age_sessions is not None), default=None)

    @property
    def unusable(self) -> tuple[SymbolFreshness, ...]:
        """The symbols that are not fresh."""
        return tuple(each for each in self.symbols if not each.is_usable)

    @property
    def remedy(self) -> str:
        """What is wrong with the feed and what to do about it; empty while it is usable."""
        return {
            FeedStatus.USABLE: "",
            FeedStatus.TOO_STALE: self._too_stale(),
            FeedStatus.NOT_MOVING: self._not_moving(),
        }[self.status]

    @property
    def _read(self) -> Iterator[SymbolFreshness]:
        return (each for each in self.symbols if self.read_by.get(each.symbol))

    def _too_stale(self) -> str:
        stale = [f"{each.symbol}: {each.reason}" for each in self._read if not each.is_usable]
        more = " ..." if len(stale) > SHOWN else ""
        return (
            f"{self.stale_share:.0%} of the symbols that strategies read are not fresh on {self.session}, at most "
            f"{self.rules.max_stale_share:.0%} may be ({'; '.join(stale[:SHOWN])}{more}). Nothing is decided: look "
            f"whether the feed has the session, then run job decide again; to decide without them raise "
            f"freshness.max_stale_share"
        )

    def _not_moving(self) -> str:
        return (
            f"no close and no volume of {self.session} differs from the session before: the feed repeats itself. "
            f"Nothing is decided: look whether the feed has the session, then run job decide again"
        )


def feed_freshness(
    bars: "pd.DataFrame",
    session: date,
    symbols: Collection[str],
    read_by: Mapping[str, Sequence[str]],
    rules: FreshnessRules,
    listed_later: Collection[str] = (),
) -> FeedFreshness:
    """Judge the newest bar of each of ``symbols`` against the session that is wanted.

    Args:
        bars: Bars frame or rows of table ``bars``, in any order; bars after ``session``, of other symbols, or without
            a close are not looked at.
        session: the session that is decided.
        symbols: what is judged.
        read_by: by symbol, the strategies that read or may hold it.
        rules: what counts as fresh.
        listed_later: symbols of which only bars after ``session`` are known: without a bar until then they are said
            to be listed later, not to be missing. They are as unusable.

    Raises:
        InvalidInput: ``session`` is not a session of the exchange.

    A bar from before the holiday and weekend of Independence Day is one session old on the Monday after:

    >>> import pandas as pd
    >>> bars = pd.DataFrame({"symbol": ["SPY"], "session": [date(2026, 7, 2)], "close": [5.0], "volume": [9.0]})
    >>> [spy] = feed_freshness(bars, date(2026, 7, 6), ["SPY"], {"SPY": ["tecl"]}, FreshnessRules()).symbols
    >>> spy.age_sessions, spy.reason
    (1, 'its newest bar is of 2026-07-02, 1 session before 2026-07-06')
    """
    sessions.close_of(session)
    there = bars[bars["symbol"].isin(list(symbols)) & (bars["session"] <= session) & bars["close"].notna()]
    known = {str(symbol): rows for symbol, rows in there.sort_values("session").groupby("symbol")}
    found = (
        _judged(symbol, known[symbol], session, rules)
        if symbol in known
        else _unseen(symbol, session, is_listed_later=symbol in listed_later)
        for symbol in sorted(set(symbols))
    )
    return FeedFreshness(session, tuple(found), read_by, rules)


def _unseen(symbol: str, session: date, *, is_listed_later: bool) -> SymbolFreshness:
    if is_listed_later:
        return SymbolFreshness(
            symbol, SymbolStatus.LISTED_LATER, reason=f"its first bar is of a session after {session}"
        )
    return SymbolFreshness(symbol, SymbolStatus.NEVER_SEEN, reason=f"no bar of it is known until {session}")


def _judged(symbol: str, rows: "pd.DataFrame", session: date, rules: FreshnessRules) -> SymbolFreshness:
    days, closes, volumes = (list(rows[name]) for name in ("session", "close", "volume"))
    newest, steps = days[-1], range(len(days) - 1, 0, -1)
    age = sessions.count_between(newest, session)
    is_same = [closes[place] == closes[place - 1] for place in steps]
    is_idle = [not _shows_trading(volumes[place - 1], volumes[place]) for place in steps]
    unchanged = _lasting(days, is_same)
    unmoved = _lasting(days, [same and idle for same, idle in zip(is_same, is_idle, strict=True)])
    status, reason = _status(newest, age, unmoved, session, rules)
    return SymbolFreshness(symbol, status, newest, age, unchanged, unmoved if is_same else None, reason)


def _shows_trading(before: float, now: float) -> bool:
    """Tell whether a bar's volume shows trading: it is known, and another than that of the bar before.

    A feed that repeats a bar repeats its volume; a fund of short bills closes
    at one price for weeks and is traded. Nulls compare as false.
    """
    return bool(now > 0 and abs(now - before) > 0)


def _lasting(days: Sequence[date], repeats: Sequence[bool]) -> int:
    """Return over how many sessions the newest bars repeat, as ``repeats`` tells of each and the one before it."""
    bars = next((place for place, repeated in enumerate(repeats) if not repeated), len(repeats))
    return sessions.count_between(days[-1 - bars], days[-1])


def _status(newest: date, age: int, unmoved: int, session: date, rules: FreshnessRules) -> tuple[SymbolStatus, str]:
    if age > rules.max_age_sessions:
        old = f"{age} session{'' if age == 1 else 's'} before {session}"
        return SymbolStatus.STALE, f"its newest bar is of {newest}, {old}"
    if unmoved >= rules.frozen_sessions:
        return SymbolStatus.FROZEN, f"its close has not changed for {unmoved} sessions, and nothing shows trading"
    return SymbolStatus.FRESH, ""


def to_frame(feed: FeedFreshness) -> "pd.DataFrame":
    """Return the rows of table ``data_freshness``: one for each symbol."""
    import pandas as pd

    rows = [
        (
            *(feed.session, each.symbol, each.newest_session, each.age_sessions, each.status.value),
            *(each.close_unchanged_sessions, ", ".join(feed.read_by.get(each.symbol, ())) or None),
            *(each.reason or None, feed.status.value),
        )
        for each in feed.symbols
    ]
    # As floats: a table gives whole numbers back so as soon as one of them is null.
    counts = dict.fromkeys(("age_sessions", "close_unchanged_sessions"), float)
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(counts)


def reasons_against(freshness: "pd.DataFrame", symbols: Collection[str]) -> Mapping[str, str]:
    """Return why each of ``symbols`` may not be bought, by rows of table ``data_freshness``; one that may be is absent.

    A symbol that has no row was not judged, and may not be bought either.
    """
    found = {
        row["symbol"]: "" if row["status"] == SymbolStatus.FRESH else f"{row['status']}: {row['reason']}"
        for row in freshness.to_dict("records")
    }
    reasons = {symbol: found.get(symbol, "its freshness was not judged") for symbol in sorted(symbols)}
    return {symbol: reason for symbol, reason in reasons.items() if reason}


def usable_bars(bars: "pd.DataFrame", freshness: "pd.DataFrame", session: date) -> "pd.DataFrame":
    """Return ``bars`` without the bars of ``session`` whose symbols are not fresh by table ``data_freshness``.

    What is left out reads as missing, as a bar does that never came.
    """
    unusable = reasons_against(freshness, set(bars["symbol"]))
    kept: pd.DataFrame = bars[(bars["session"] != session) | ~bars["symbol"].isin(list(unusable))]
    return kept
