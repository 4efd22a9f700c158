"""Trade updates as Alpaca writes them."""

import json

ORDER = {
    "id": "61e69015-8549-4bfd-b9c3-01e75843f47d",
    "client_order_id": "tp1-6848b6a5cd7df9e487ed7d550723adeb",
    "created_at": "2026-07-31T14:00:00.123456789Z",
    "updated_at": "2026-07-31T14:00:00.223456789Z",
    "submitted_at": "2026-07-31T14:00:00.120000000Z",
    "filled_at": None,
    "symbol": "SPY",
    "qty": "10",
    "notional": None,
    "filled_qty": "0",
    "filled_avg_price": None,
    "order_class": "",
    "type": "limit",
    "side": "buy",
    "time_in_force": "day",
    "limit_price": "610.5",
    "status": "new",
    "extended_hours": False,
    "legs": None,
}


def trade_update(event="new", **order):
    """Return the data of an update; ``order`` changes what the order says."""
    return {"event": event, "timestamp": "2026-07-31T14:00:01.5Z", "order": {**ORDER, "status": event, **order}}


def execution(number, quantity, filled, *, of="10", **order):
    """Return the data of the ``number``-th execution, after which ``filled`` shares in all are."""
    is_done = float(filled) >= float(of)
    standing = {"filled_qty": str(filled), "filled_avg_price": "610.25", "qty": str(of)}
    status = "filled" if is_done else "partially_filled"
    update = trade_update("fill" if is_done else "partial_fill", **{**standing, "status": status, **order})
    return {**update, "execution_id": f"execution-{number}", "price": "610.25", "qty": str(quantity)}


def frame(data, stream="trade_updates"):
    """Return a frame as paper sends it: JSON, in bytes."""
    return json.dumps({"stream": stream, "data": data}).encode()
