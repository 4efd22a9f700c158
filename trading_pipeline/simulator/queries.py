"""Reading query strings as leniently as the real API: numbers as text, ``True`` with a capital, dates or instants."""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from trading_pipeline.domain.sessions import FIRST_DATE, LAST_DATE, NEW_YORK
from trading_pipeline.simulator.records import (
    ACTIVITY_KINDS,
    EXECUTION_KIND,
    MOVEMENT_KINDS,
    ActivityFilter,
    OrderFilter,
    Side,
)
from trading_pipeline.simulator.refusals import Refusal, bad_data_request, bad_parameter
from trading_pipeline.simulator.wire import bar_stamp

Query = Mapping[str, str]

MOST_ORDERS = 500
MOST_ACTIVITIES = 100
MOST_BARS = 10_000
DEFAULT_BARS = 1_000
MOST_ACTIONS = 1_000
DEFAULT_ACTIONS = 100
TIMEFRAMES = frozenset({"1Day", "1D"})
ADJUSTMENTS = frozenset({"raw", "split", "dividend", "spin-off", "all"})
DAILY = "D"
_CATEGORIES = {
    "": ACTIVITY_KINDS,
    "trade_activity": frozenset({EXECUTION_KIND}),
    "non_trade_activity": MOVEMENT_KINDS,
}
_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9./-]*")
# The SDK's nanoseconds are cut to microseconds, which is all that a datetime holds.
_NANOSECONDS = re.compile(r"(\.\d{6})\d+")


@dataclass(frozen=True)
class BarsQuery:
    """Which daily bars are wanted; ``resume`` is the symbol and session of the last bar already given."""

    symbols: tuple[str, ...]
    first: date
    last: date
    adjusted: bool
    limit: int
    ascending: bool
    resume: tuple[str, date] | None


@dataclass(frozen=True)
class ActionsQuery:
    """Which corporate actions are wanted: empty symbols or types mean any; ``skip`` were on earlier pages."""

    symbols: frozenset[str]
    types: frozenset[str]
    first: date
    last: date
    limit: int
    skip: int
    ascending: bool


def read_order_filter(query: Query) -> OrderFilter:
    """Read the query of a list of orders.

    Raises:
        Refusal: 422 for a status, direction, side, limit or instant that cannot be read.
    """
    status = _choice(query, "status", ("open", "closed", "all"))
    side = _choice(query, "side", ("", "buy", "sell"))
    return OrderFilter(
        is_open={"open": True, "closed": False, "all": None}[status],
        limit=_count(query, "limit", 50, MOST_ORDERS),
        after=_instant(query, "after"),
        until=_instant(query, "until"),
        ascending=_choice(query, "direction", ("desc", "asc")) == "asc",
        symbols=frozenset(filter(None, query.get("symbols", "").split(","))),
        side=Side(side) if side else None,
    )


def read_activity_filter(query: Query, kind: str | None = None) -> ActivityFilter:
    """Read the query of a list of activities, all of them or those of one ``kind``.

    Raises:
        Refusal: 422 for a direction, category, page size or instant that cannot be read.
    """
    return ActivityFilter(
        page_size=_count(query, "page_size", MOST_ACTIVITIES, MOST_ACTIVITIES),
        kinds=frozenset([kind]) if kind else _kinds(query),
        after_id=query.get("page_token") or None,
        after=_instant(query, "after"),
        until=_instant(query, "until"),
        ascending=_choice(query, "direction", ("desc", "asc")) == "asc",
    )


def _kinds(query: Query) -> frozenset[str]:
    category, named = query.get("category"), query.get("activity_types")
    if category and named:
        raise bad_parameter("cannot use category with activity_types")
    if named:
        return frozenset(named.split(","))
    return _CATEGORIES[_choice(query, "category", tuple(_CATEGORIES))]


def read_calendar_range(query: Query) -> tuple[date, date]:
    """Read the first and last day of a calendar query, both included.

    Raises:
        Refusal: 422 for a day that cannot be read.
    """
    start, end = _instant(query, "start"), _instant(query, "end")
    first = FIRST_DATE if start is None else start.astimezone(NEW_YORK).date()
    # Beyond the last but one day the calendar does not know when trades settle.
    last = LAST_DATE - timedelta(days=7) if end is None else end.astimezone(NEW_YORK).date()
    return first, min(last, LAST_DATE - timedelta(days=7))


def read_symbols(query: Query) -> tuple[str, ...]:
    """Read a list of symbols, sorted, each once.

    Raises:
        Refusal: 400 when there is none, or one cannot be a symbol.
    """
    symbols = tuple(sorted({symbol for symbol in query.get("symbols", "").split(",") if symbol}))
    if not symbols:
        raise bad_data_request("symbols is required")
    for symbol in symbols:
        if not _SYMBOL.fullmatch(symbol):
            raise bad_data_request(f"invalid symbol: {symbol}")
    return symbols


def read_bars_query(query: Query, now: datetime) -> BarsQuery:
    """Read the query of daily bars; without dates it asks for the current day.

    Raises:
        Refusal: 400 for anything that cannot be read, or a timeframe that is not a day.
    """
    symbols = read_symbols(query)
    _require_daily(query)
    adjustments = frozenset(query.get("adjustment", "raw").split(","))
    if not adjustments <= ADJUSTMENTS:
        raise bad_data_request(f"invalid adjustment: {query['adjustment']}")
    today = datetime.combine(now.astimezone(NEW_YORK).date(), time(), NEW_YORK)
    try:
        start, end = _instant(query, "start") or today, _instant(query, "end") or now
        ascending = _choice(query, "sort", ("asc", "desc")) == "asc"
    except Refusal as refusal:
        raise bad_data_request(str(refusal)) from None
    return BarsQuery(
        symbols=symbols,
        first=_first_day(start),
        last=end.astimezone(NEW_YORK).date(),
        adjusted=bool(adjustments & {"split", "all"}),
        limit=_bars_limit(query),
        ascending=ascending,
        resume=_read_token(query["page_token"]) if query.get("page_token") else None,
    )


def read_actions_query(query: Query, now: datetime) -> ActionsQuery:
    """Read the query of corporate actions; without dates it asks for the current day.

    Raises:
        Refusal: 400 for anything that cannot be read.
    """
    today = now.astimezone(NEW_YORK).date()
    try:
        start, end = _instant(query, "start"), _instant(query, "end")
        return ActionsQuery(
            symbols=frozenset(read_symbols(query)) if query.get("symbols") else frozenset(),
            types=frozenset(filter(None, query.get("types", "").split(","))),
            first=start.astimezone(NEW_YORK).date() if start else today,
            last=end.astimezone(NEW_YORK).date() if end else today,
            limit=_count(query, "limit", DEFAULT_ACTIONS, MOST_ACTIONS),
            skip=_read_count_token(query.get("page_token", "")),
            ascending=_choice(query, "sort", ("asc", "desc")) == "asc",
        )
    except Refusal as refusal:
        raise bad_data_request(str(refusal)) from None


def count_token(skip: int) -> str:
    """Return the token that resumes after so many rows."""
    return base64.b64encode(str(skip).encode()).decode()


def _read_count_token(token: str) -> int:
    try:
        text = base64.b64decode(token, validate=True).decode() or "0"
    except ValueError:
        text = ""
    if not text.isdecimal():
        raise bad_data_request(f"invalid page_token: {token}")
    return int(text)


def page_token(symbol: str, session: date) -> str:
    """Return the token that resumes after that bar."""
    return base64.b64encode(f"{symbol}|{DAILY}|{bar_stamp(session)}".encode()).decode()


def _read_token(token: str) -> tuple[str, date]:
    try:
        symbol, _, stamp = base64.b64decode(token, validate=True).decode().split("|")
        return symbol, datetime.fromisoformat(stamp).astimezone(NEW_YORK).date()
    except (binascii.Error, ValueError):
        raise bad_data_request(f"invalid page_token: {token}") from None


def _require_daily(query: Query) -> None:
    timeframe = query.get("timeframe", "")
    if timeframe not in TIMEFRAMES:
        raise bad_data_request(f"invalid timeframe: {timeframe or 'none given'}; the simulator has 1Day bars only")


def _bars_limit(query: Query) -> int:
    text = query.get("limit") or str(DEFAULT_BARS)
    if not text.isdecimal() or int(text) < 1:
        raise bad_data_request(f"invalid limit: {text}")
    if int(text) > MOST_BARS:
        raise bad_data_request(f"invalid limit: larger than the allowed maximum of {MOST_BARS}")
    return int(text)


def _first_day(start: datetime) -> date:
    """Return the first day whose midnight in New York is not before ``start``."""
    local = start.astimezone(NEW_YORK)
    return local.date() if local.time() == time() else local.date() + timedelta(days=1)


def _choice(query: Query, name: str, choices: tuple[str, ...]) -> str:
    value = query.get(name) or choices[0]
    if value not in choices:
        raise bad_parameter(f"invalid {name}: {value}")
    return value


def _count(query: Query, name: str, default: int, most: int) -> int:
    text = query.get(name) or str(default)
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise bad_parameter(f"invalid {name}: {text} is not between 1 and {most}")
    return int(text)


def _instant(query: Query, name: str) -> datetime | None:
    """Read a date (midnight in New York) or an instant (UTC unless it says otherwise)."""
    text = query.get(name)
    if not text:
        return None
    try:
        if len(text) == len("2026-07-24"):
            return datetime.combine(date.fromisoformat(text), time(), NEW_YORK)
        # An unescaped plus sign arrives as a space.
        instant = datetime.fromisoformat(_NANOSECONDS.sub(r"\1", text.replace(" ", "+")))
    except ValueError:
        raise bad_parameter(f"invalid {name}: {text} is neither a date nor an RFC-3339 instant") from None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
