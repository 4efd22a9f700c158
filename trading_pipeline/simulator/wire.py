"""The JSON of the real API: money and quantities as strings, bars and quotes as numbers, instants as RFC 3339."""

import functools
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

from trading_pipeline.domain.instruments import plain
from trading_pipeline.domain.sessions import NEW_YORK, close_of, next_session, open_of
from trading_pipeline.simulator.clock import is_open, next_boundary
from trading_pipeline.simulator.exchange import Asset, Quote, asset_id
from trading_pipeline.simulator.generated import SymbolBars
from trading_pipeline.simulator.ledger import AccountView, PositionView
from trading_pipeline.simulator.records import EXECUTION_KIND, Execution, Movement, Order, Side
from trading_pipeline.simulator.universe import Split

Json = dict[str, Any]

RATIO_PLACES = Decimal("0.000001")
PRICE_PLACES = Decimal("0.000001")
LARGEST_OLD_RATE = 1_000
_ACTION_IDS = uuid.uuid5(uuid.NAMESPACE_URL, "trading-pipeline/simulated-corporate-actions")


def utc_text(instant: datetime) -> str:
    """Return ``instant`` as the API writes it.

    >>> utc_text(datetime(2026, 7, 24, 20, 30, tzinfo=UTC))
    '2026-07-24T20:30:00Z'
    """
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


@functools.cache
def bar_stamp(session: date) -> str:
    """Return the stamp of a daily bar: midnight in New York.

    >>> bar_stamp(date(2026, 7, 24)), bar_stamp(date(2026, 1, 5))
    ('2026-07-24T04:00:00Z', '2026-01-05T05:00:00Z')
    """
    return utc_text(datetime.combine(session, time(), NEW_YORK))


def account_json(account: AccountView) -> Json:
    """Return the account: a cash account, so multiplier 1 and no margin."""
    equity, buying_power, value = plain(account.equity), plain(account.buying_power), plain(account.long_market_value)
    return {
        "id": str(account.id),
        "account_number": account.number,
        "status": account.flags.status,
        "crypto_status": "INACTIVE",
        "currency": "USD",
        "cash": plain(account.cash),
        "buying_power": buying_power,
        "regt_buying_power": buying_power,
        "non_marginable_buying_power": buying_power,
        "options_buying_power": "0",
        "options_approved_level": 0,
        "options_trading_level": 0,
        "accrued_fees": "0",
        "portfolio_value": equity,
        "equity": equity,
        "last_equity": plain(account.last_equity),
        "long_market_value": value,
        "short_market_value": "0",
        "position_market_value": value,
        "initial_margin": "0",
        "maintenance_margin": "0",
        "last_maintenance_margin": "0",
        "sma": "0",
        "multiplier": "1",
        "shorting_enabled": False,
        "trading_blocked": account.flags.trading_blocked,
        "transfers_blocked": account.flags.transfers_blocked,
        "account_blocked": account.flags.account_blocked,
        "trade_suspended_by_user": account.flags.trade_suspended_by_user,
        "created_at": utc_text(account.created_at),
    }


def order_json(order: Order) -> Json:
    """Return an order; ``order_class`` is empty for a simple order, as the real API has it."""
    return {
        "id": order.id,
        "client_order_id": order.client_order_id,
        "created_at": utc_text(order.submitted_at),
        "updated_at": utc_text(order.updated_at),
        "submitted_at": utc_text(order.submitted_at),
        "filled_at": _utc_or_none(order.filled_at),
        "expired_at": _utc_or_none(order.expired_at),
        "canceled_at": _utc_or_none(order.canceled_at),
        "failed_at": _utc_or_none(order.failed_at),
        "expires_at": utc_text(close_of(order.session)),
        "replaced_at": _utc_or_none(order.replaced_at),
        "replaced_by": order.replaced_by,
        "replaces": order.replaces,
        "asset_id": str(asset_id(order.symbol)),
        "symbol": order.symbol,
        "asset_class": "us_equity",
        "notional": _plain_or_none(order.notional),
        "qty": _plain_or_none(order.quantity),
        "filled_qty": plain(order.filled_quantity),
        "filled_avg_price": _plain_or_none(order.filled_price),
        "order_class": "",
        "order_type": order.type,
        "type": order.type,
        "side": order.side,
        "position_intent": "buy_to_open" if order.side is Side.BUY else "sell_to_close",
        "time_in_force": "day",
        "limit_price": _plain_or_none(order.limit_price),
        "stop_price": None,
        "status": order.status,
        "extended_hours": order.extended_hours,
        "legs": None,
        "trail_percent": None,
        "trail_price": None,
        "hwm": None,
        "subtag": None,
        "source": None,
    }


class RenderedOrders:
    """The JSON of orders, kept for as long as they stay as they are: lists show most of them again and again."""

    def __init__(self) -> None:
        self._texts: dict[str, tuple[Order, str]] = {}

    def listed(self, orders: Iterable[Order]) -> str:
        """Return the JSON of a list of orders."""
        return f"[{','.join(map(self._text, orders))}]"

    def _text(self, order: Order) -> str:
        kept = self._texts.get(order.id)
        if kept is None or kept[0] is not order:
            kept = self._texts[order.id] = (order, json.dumps(order_json(order)))
        return kept[1]


def position_json(position: PositionView) -> Json:
    """Return a position."""
    gain = position.market_value - position.cost_basis
    day_change = position.price - position.last_day_price
    day_base = position.last_day_price * position.quantity
    return {
        "asset_id": str(asset_id(position.symbol)),
        "symbol": position.symbol,
        "exchange": position.exchange,
        "asset_class": "us_equity",
        "asset_marginable": False,
        "avg_entry_price": plain((position.cost_basis / position.quantity).quantize(PRICE_PLACES)),
        "qty": plain(position.quantity),
        "qty_available": plain(position.available),
        "side": "long",
        "market_value": plain(position.market_value),
        "cost_basis": plain(position.cost_basis.quantize(PRICE_PLACES)),
        "unrealized_pl": plain(gain.quantize(PRICE_PLACES)),
        "unrealized_plpc": _ratio(gain, position.cost_basis),
        "unrealized_intraday_pl": plain((day_change * position.quantity).quantize(PRICE_PLACES)),
        "unrealized_intraday_plpc": _ratio(day_change * position.quantity, day_base),
        "current_price": plain(position.price),
        "lastday_price": plain(position.last_day_price),
        "change_today": _ratio(day_change, position.last_day_price),
    }


def asset_json(asset: Asset) -> Json:
    """Return an asset; its name says that it is simulated."""
    return {
        "id": str(asset.id),
        "class": "us_equity",
        "exchange": asset.exchange,
        "symbol": asset.symbol,
        "name": f"{asset.symbol} (simulated)",
        "status": "active" if asset.active else "inactive",
        "tradable": asset.tradable,
        "marginable": False,
        "shortable": False,
        "easy_to_borrow": False,
        "fractionable": asset.fractionable,
        "attributes": [],
    }


def activity_json(activity: Execution | Movement) -> Json:
    """Return an account activity, whose fields depend on its kind."""
    return _movement_json(activity) if isinstance(activity, Movement) else _execution_json(activity)


def _movement_json(movement: Movement) -> Json:
    told = {
        "id": movement.id,
        "activity_type": movement.kind,
        "date": movement.at.astimezone(NEW_YORK).date().isoformat(),
        "net_amount": plain(movement.amount),
        "currency": "USD",
        "status": "executed",
        "created_at": utc_text(movement.at),
    }
    return told if movement.symbol is None else {**told, "symbol": movement.symbol}


def _execution_json(execution: Execution) -> Json:
    return {
        "id": execution.id,
        "activity_type": EXECUTION_KIND,
        "transaction_time": utc_text(execution.at),
        "type": "partial_fill" if execution.remaining else "fill",
        "price": plain(execution.price),
        "qty": plain(execution.quantity),
        "side": execution.side,
        "symbol": execution.symbol,
        "leaves_qty": plain(execution.remaining),
        "order_id": execution.order_id,
        "cum_qty": plain(execution.cumulative),
        "order_status": "partially_filled" if execution.remaining else "filled",
    }


def clock_json(now: datetime) -> Json:
    """Return the market clock, with New York offsets."""
    return {
        "timestamp": now.astimezone(NEW_YORK).isoformat(),
        "is_open": is_open(now),
        "next_open": next_boundary(now, opens=True).astimezone(NEW_YORK).isoformat(),
        "next_close": next_boundary(now, opens=False).astimezone(NEW_YORK).isoformat(),
    }


def calendar_json(session: date) -> Json:
    """Return a session of the calendar, in New York time."""
    return {
        "date": session.isoformat(),
        "open": f"{open_of(session).astimezone(NEW_YORK):%H:%M}",
        "close": f"{close_of(session).astimezone(NEW_YORK):%H:%M}",
        "session_open": "0400",
        "session_close": "2000",
        "settlement_date": next_session(session).isoformat(),
    }


def bars_json(bars: SymbolBars) -> Iterator[Json]:
    """Yield daily bars; a close-only bar is open = high = low = close with volume 0."""
    typical = np.round(bars.prices[:, 1:].mean(axis=1), 6).tolist()
    rows = zip(bars.sessions.tolist(), bars.prices.tolist(), bars.volume.tolist(), typical, strict=True)
    for session, (opening, high, low, close), volume, average in rows:
        yield {
            "t": bar_stamp(session),
            "o": opening,
            "h": high,
            "l": low,
            "c": close,
            "v": round(volume),
            "n": round(volume) // 100,
            "vw": average,
        }


def quote_json(quote: Quote) -> Mapping[str, object]:
    """Return a quote."""
    return {
        "t": utc_text(quote.at),
        "ax": "V",
        "ap": float(quote.ask),
        "as": 100,
        "bx": "V",
        "bp": float(quote.bid),
        "bs": 100,
        "c": ["R"],
        "z": "B",
    }


def trade_json(quote: Quote) -> Mapping[str, object]:
    """Return the last trade."""
    return {"t": utc_text(quote.at), "x": "V", "p": float(quote.last), "s": 100, "c": ["@"], "i": 1, "z": "B"}


def split_type(split: Split) -> str:
    """Return the type of corporate action that a split is."""
    return "forward_split" if split.ratio > 1 else "reverse_split"


def split_json(split: Split) -> Json:
    """Return a split as a corporate action; it is processed on the day on which it takes effect."""
    day, rate = split.session.isoformat(), Fraction(split.ratio).limit_denominator(LARGEST_OLD_RATE)
    kept, new = f"{split.symbol}.SIM", f"{split.symbol}.NEW"
    cusips = {"cusip": kept} if split.ratio > 1 else {"old_cusip": kept, "new_cusip": new}
    return {
        "id": str(uuid.uuid5(_ACTION_IDS, f"{split.symbol} {day}")),
        "symbol": split.symbol,
        **cusips,
        "new_rate": rate.numerator,
        "old_rate": rate.denominator,
        "ex_date": day,
        "process_date": day,
        "record_date": day,
    }


def _utc_or_none(instant: datetime | None) -> str | None:
    return None if instant is None else utc_text(instant)


def _plain_or_none(amount: Decimal | None) -> str | None:
    return None if amount is None else plain(amount)


def _ratio(part: Decimal, whole: Decimal) -> str:
    return plain((part / whole).quantize(RATIO_PLACES)) if whole else "0"
