import json
from decimal import Decimal

import pytest

from trading_pipeline.adapters.alpaca.refusals import reason_of, rejection
from trading_pipeline.domain.errors import RequestRefused
from trading_pipeline.domain.orders import Refusal

MEANINGS = {
    "insufficient_buying_power": Refusal.BUYING_POWER,
    "insufficient_qty": Refusal.HELD_SHARES,
    "insufficient_qty_related": Refusal.HELD_SHARES,
    "not_fractionable": Refusal.NOT_FRACTIONABLE,
    "fractional_day_only": Refusal.NOT_FRACTIONABLE,
    "fractional_simple_only": Refusal.NOT_FRACTIONABLE,
    "wash_trade": Refusal.OPPOSITE_ORDER,
    "wash_trade_limit": Refusal.OPPOSITE_ORDER,
    "long_buy_while_short_sell_open": Refusal.OPPOSITE_ORDER,
    "asset_not_tradable": Refusal.NOT_TRADABLE,
    "halted_market_order": Refusal.HALTED,
}


def test_each_recorded_refusal_means_what_is_done_next_and_all_others_are_final(samples):
    errors = json.loads((samples / "errors.json").read_text())["errors"]
    refusals = {e["name"]: e["body"] for e in errors if e["status"] in {403, 422} and "body" in e}

    found = {name: reason_of(body["message"]) for name, body in refusals.items()}

    assert {name: meaning for name, meaning in found.items() if meaning is not Refusal.OTHER} == MEANINGS
    assert sum(meaning is Refusal.OTHER for meaning in found.values()) > 10


@pytest.mark.parametrize(
    ("words", "details", "available"),
    [
        ("insufficient buying power", {"buying_power": "10.00", "cost_basis": "100.00"}, Decimal("10.00")),
        ("insufficient buying power", {}, None),
        ("insufficient buying power", {"buying_power": "none"}, None),
        ("insufficient buying power", {"buying_power": "NaN"}, None),
        ("insufficient qty available for order (requested: 2, available: 1)", {"available": "1"}, Decimal(1)),
        ('asset "OCGN" is not fractionable', {"available": "1"}, None),
    ],
)
def test_what_the_venue_says_there_is_comes_with_the_refusal(words, details, available):
    assert rejection("tp1-a", RequestRefused(words, "40310000", details)).available == available
