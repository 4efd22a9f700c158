"""Alpaca's JSON in our values, and ours in Alpaca's; the only place that knows its field names.

Amounts arrive as strings (trading) or JSON numbers (market data) and become
Decimals by way of their text; they leave as strings, since a float would turn
0.3 into 0.30000000000000004. What cannot be read raises
:class:`DependencyUnavailable`: a broken answer is no answer.
"""

import functools
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from math import nan
from typing import Any, NamedTuple

from trading_pipeline.domain.errors import DependencyUnavailable, InvalidBars
from trading_pipeline.domain.fills import Fill
from trading_pipeline.domain.instruments import plain
from trading_pipeline.domain.orders import ORDER_ID_PREFIX, BrokerOrder, OrderIntent, OrderStatus, Side
from trading_pipeline.domain.portfolio import Portfolio, Position
from trading_pipeline.domain.risk.corporate_actions import ActionKind, CorporateAction
from trading_pipeline.domain.risk.trading_pauses import Trade
from trading_pipeline.domain.sessions import NEW_YORK
from trading_pipeline.ports import Asset, CashMovement, Quote

Row = Mapping[str, Any]

EXECUTION = "FILL"
_BLOCKING_FLAGS = ("trading_blocked", "account_blocked", "trade_suspended_by_user")
_TOLD_OF_MOVEMENTS = ("activity_sub_type", "symbol", "description")
_STATUSES = {status.value: status for status in OrderStatus}
_ACTION_KINDS = {kind.value: kind for kind in ActionKind}
_ACTION_SYMBOLS = ("symbol", "source_symbol", "acquiree_symbol", "old_symbol", "new_symbol")
_ACTION_DAYS = ("ex_date", "effective_date", "process_date")
_SIDES = {"buy": Side.BUY, "sell": Side.SELL, "sell_short": Side.SELL}


@contextmanager
def _reading(what: str, row: Row | None = None, name: str = "") -> Iterator[None]:
    """Turn whatever a strange answer causes into our error, naming the row by its field ``name``."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, InvalidOperation) as error:
        which = f"{what} {row.get(name)}" if isinstance(row, Mapping) else what
        raise DependencyUnavailable(
            f"Alpaca's {which} cannot be read: {type(error).__name__} {error}; it may have changed its format"
        ) from error


def decimal(value: str | float) -> Decimal:
    """Return an amount exactly as it was written.

    >>> decimal("150.10"), decimal(161.11)
    (Decimal('150.10'), Decimal('161.11'))

    Raises:
        ValueError: it is no finite number.
    """
    number = Decimal(str(value))
    if not number.is_finite():
        raise ValueError(f"an amount must be finite, was {value}")
    return number


def instant(text: str) -> datetime:
    """Return the UTC instant of an RFC 3339 text; nanoseconds are cut to microseconds.

    >>> instant("2022-03-18T10:02:43.651613184-04:00").isoformat()
    '2022-03-18T14:02:43.651613+00:00'

    Raises:
        ValueError: it is no instant, or has no offset.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"an instant needs an offset, was {text!r}")
    return moment.astimezone(UTC)


def broker_time(clock: Row) -> datetime:
    """Return the UTC instant of ``/v2/clock``."""
    with _reading("clock"):
        return instant(clock["timestamp"])


def portfolio(account: Row, positions: Sequence[Row], as_of: datetime) -> Portfolio:
    """Return the account's cash and positions; a short position has a negative quantity."""
    with _reading("account"):
        number, cash, blocked = str(account["account_number"]), decimal(account["cash"]), _blocked(account)
    with _reading("list of positions"):
        # An empty object would read as "nothing is held", which an answer that is no list does not say.
        if not isinstance(positions, list):
            raise TypeError(f"a list was expected, not {type(positions).__name__}")
    held = (_position(row) for row in positions)
    return Portfolio(number, as_of, cash, {position.symbol: position for position in held}, blocked)


def _blocked(account: Row) -> str:
    """Say why the account may not trade; a status other than ACTIVE, or none at all, is a reason."""
    status = account.get("status")
    reasons = [] if status == "ACTIVE" else [f"status {status}"]
    reasons += [flag for flag in _BLOCKING_FLAGS if account.get(flag)]
    return ", ".join(reasons)


def _position(row: Row) -> Position:
    with _reading("position", row, "symbol"):
        size = abs(decimal(row["qty"]))
        # Null while nothing has traded since the open: yesterday's close is then the latest price there is.
        price = row.get("current_price") or row["lastday_price"]
        return Position(row["symbol"], -size if row["side"] == "short" else size, decimal(price))


def asset(row: Row) -> Asset:
    """Return what may be done with a symbol; a flag that is not plainly true is false."""
    with _reading("asset", row, "symbol"):
        return Asset(
            symbol=row["symbol"],
            name=str(row.get("name") or ""),
            exchange=str(row.get("exchange") or ""),
            tradable=row.get("tradable") is True and row.get("status", "active") == "active",
            fractionable=row.get("fractionable") is True,
        )


def listed_assets(rows: Sequence[Row], wanted: Collection[str]) -> dict[str, Row]:
    """Return the rows of the ``wanted`` symbols; whatever the list holds besides is not looked at."""
    with _reading("list of assets"):
        return {row["symbol"]: row for row in rows if row.get("symbol") in wanted}


def order_request(intent: OrderIntent) -> dict[str, str]:
    """Return the body of a new order: every amount a string."""
    body = {
        "client_order_id": intent.client_order_id,
        "symbol": intent.symbol,
        "side": intent.side.value,
        "qty": plain(intent.quantity),
        "type": intent.order_type.value,
        "time_in_force": intent.time_in_force.value,
    }
    return body if intent.limit_price is None else {**body, "limit_price": plain(intent.limit_price)}


def order(row: Row) -> BrokerOrder:
    """Return an order; a status that we do not know is UNRECOGNISED, an order by notional has quantity zero."""
    with _reading("order", row, "client_order_id"):
        return BrokerOrder(
            client_order_id=row["client_order_id"],
            venue_order_id=row["id"],
            symbol=row["symbol"],
            side=_SIDES[row["side"]],
            quantity=decimal(row["qty"] or 0),
            filled_quantity=decimal(row["filled_qty"] or 0),
            average_price=_optional(row.get("filled_avg_price")),
            limit_price=_optional(row.get("limit_price")),
            status=_STATUSES.get(row["status"], OrderStatus.UNRECOGNISED),
            submitted_at=submitted_at(row),
        )


def _is_plain(row: Row) -> bool:
    """Tell whether a row is an order of one symbol and side, as all of ours are; a person may place others."""
    return bool(row["side"] and row["symbol"]) or str(row["client_order_id"]).startswith(ORDER_ID_PREFIX)


def orders(rows: Sequence[Row]) -> list[BrokerOrder]:
    """Return a list of orders; see :func:`order`."""
    with _reading("list of orders"):
        # An empty object would read as "there are none", which an answer that is no list does not say.
        if not isinstance(rows, list):
            raise TypeError(f"a list was expected, not {type(rows).__name__}")
        return [order(row) for row in rows if _is_plain(row)]


def submitted_at(row: Row) -> datetime:
    """Return the UTC instant at which any order was submitted, one of many legs as well."""
    with _reading("order", row, "client_order_id"):
        return instant(row["submitted_at"] or row["created_at"])


def _optional(value: str | float | None) -> Decimal | None:
    return None if value is None else decimal(value)


def order_ids(rows: Sequence[Row]) -> dict[str, str]:
    """Return the client order id of each order by Alpaca's own id."""
    with _reading("list of orders"):
        return {row["id"]: row["client_order_id"] for row in rows}


def filled_order_id(activity: Row) -> str:
    """Return Alpaca's own id of the order that an execution belongs to."""
    with _reading("execution", activity, "id"):
        return str(activity["order_id"])


def activity_id(activity: Row) -> str:
    """Return the id of an account activity, which is also the token of the page after it."""
    with _reading("account activity"):
        return str(activity["id"])


def fill(activity: Row, client_order_id: str) -> Fill:
    """Return an execution; its commission is zero, as Alpaca books fees on the next day and apart."""
    with _reading("execution", activity, "id"):
        return Fill(
            execution_id=activity["id"],
            client_order_id=client_order_id,
            symbol=activity["symbol"],
            side=_SIDES[activity["side"]],
            quantity=decimal(activity["qty"]),
            price=decimal(activity["price"]),
            commission=Decimal(0),
            # The id of an execution begins with New York time: only this field is an instant.
            filled_at=instant(activity["transaction_time"]),
        )


def cash_movements(activities: Sequence[Row]) -> list[CashMovement]:
    """Return what the ``activities`` moved in cash beside trades, in the order of their booking.

    What moved shares only, or was cancelled, moved no cash.
    """
    with _reading("list of account activities"):
        return [_movement(row) for row in sorted(filter(_moved_cash, activities), key=_booking)]


def _booking(activity: Row) -> tuple[datetime, str]:
    """Return when an activity was booked, at midnight where Alpaca tells the day only, and its id."""
    stamp = activity.get("created_at")
    at = instant(stamp) if stamp else datetime.combine(_day(activity), time(), NEW_YORK)
    return at, activity["id"]


def _day(activity: Row) -> date:
    # Some answers write a day as its midnight.
    return date.fromisoformat(activity["date"][: len("2026-07-31")])


def _moved_cash(activity: Row) -> bool:
    is_trade, is_valid = activity["activity_type"] == EXECUTION, activity.get("status") != "canceled"
    return not is_trade and is_valid and decimal(activity.get("net_amount") or 0) != 0


def _movement(activity: Row) -> CashMovement:
    with _reading("account activity", activity, "id"):
        return CashMovement(
            id=activity["id"],
            kind=activity["activity_type"],
            amount=decimal(activity["net_amount"]),
            day=max(_day(activity), _booking(activity)[0].astimezone(NEW_YORK).date()),
            text=" ".join(filter(None, (activity.get(name) for name in _TOLD_OF_MOVEMENTS))),
        )


def quotes(answer: Row) -> dict[str, Quote]:
    """Return the latest quotes by symbol; a symbol without one is absent, a side without one is zero."""
    with _reading("latest quotes"):
        return {symbol: _quote(symbol, row) for symbol, row in (answer["quotes"] or {}).items() if row}


def _quote(symbol: str, row: Row) -> Quote:
    return Quote(symbol, bid=decimal(row["bp"]), ask=decimal(row["ap"]), at=instant(row["t"]))


def latest_trades(answer: Row) -> dict[str, Trade]:
    """Return the latest trades by symbol; a symbol without one is absent."""
    with _reading("latest trades"):
        return {
            symbol: Trade(symbol, decimal(row["p"]), instant(row["t"]))
            for symbol, row in (answer["trades"] or {}).items()
            if row
        }


def corporate_actions(answer: Row) -> tuple[list[CorporateAction], str | None]:
    """Return the announcements of one page, and the token of the next one or None.

    A kind that we do not know is UNRECOGNISED. The shares of an acquirer stay as they are: it is left out.
    """
    with _reading("page of corporate actions"):
        by_kind: Mapping[str, Sequence[Row]] = dict(answer["corporate_actions"])
        token = answer.get("next_page_token")
        rows = [(name, row) for name, rows in by_kind.items() for row in rows]
    return [_corporate_action(name, row) for name, row in rows], token


def _corporate_action(kinds: str, row: Row) -> CorporateAction:
    with _reading("corporate action", row, "id"):
        symbols = tuple(dict.fromkeys(row[name] for name in _ACTION_SYMBOLS if row.get(name)))
        day = next((name for name in _ACTION_DAYS if row.get(name)), _ACTION_DAYS[-1])
        kind = _ACTION_KINDS.get(kinds.removesuffix("s"), ActionKind.UNRECOGNISED)
        if not symbols:
            raise KeyError("symbol")
        return CorporateAction(row["id"], kind, symbols, date.fromisoformat(row[day]))


class BarRow(NamedTuple):
    """One daily bar: dollars a share, and shares; NaN where Alpaca says null."""

    symbol: str
    session: date
    open: float
    high: float
    low: float
    close: float
    volume: float


def bars(answer: Row) -> tuple[list[BarRow], str | None]:
    """Return the bars of one page, and the token of the next one or None.

    Raises:
        DependencyUnavailable: the page is not one of bars.
        InvalidBars: a bar has no number or no day where one belongs.
    """
    with _reading("page of bars"):
        by_symbol: Mapping[str, Sequence[Row] | None] = dict(answer["bars"] or {})
        token = answer.get("next_page_token")
    return [_bar(symbol, row) for symbol, rows in by_symbol.items() for row in rows or ()], token


def _bar(symbol: str, row: Row) -> BarRow:
    try:
        return BarRow(
            symbol,
            _new_york_day(row["t"]),
            _figure(row["o"]),
            _figure(row["h"]),
            _figure(row["l"]),
            _figure(row["c"]),
            _figure(row["v"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidBars(
            f"Alpaca's bar of {symbol} cannot be read ({type(error).__name__} {error}): {row}; nothing was stored"
        ) from error


def _figure(value: float | None) -> float:
    return nan if value is None else float(value)


@functools.lru_cache(maxsize=10_000)
def _new_york_day(stamp: str) -> date:
    # A daily bar is stamped midnight New York, 04:00 or 05:00 UTC. Every symbol repeats the same few thousand stamps.
    return instant(stamp).astimezone(NEW_YORK).date()
