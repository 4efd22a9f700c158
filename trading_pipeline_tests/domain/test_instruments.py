from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.instruments import (
    AssetClass,
    Instrument,
    catalogue,
    price_tick,
    round_cents,
    round_price,
    round_quantity,
)

quantities = st.decimals(Decimal(-10_000_000), Decimal(10_000_000), places=15)
prices = st.decimals(Decimal("0.0001"), Decimal(100_000), places=9)
steps = st.sampled_from([Decimal("0.000000001"), Decimal("0.01"), Decimal(1)])

# The issuers' stated daily multiples.
LEVERAGE = {
    "3": "TQQQ UPRO SPXL TECL SOXL FAS RETL LABU FNGU TMF",
    "2": "SSO FNGO ERX UVIX",
    "1.5": "UVXY",
    "1": "SPY QQQ VXX VIXY VIXM KMLM FTLS BTAL TLT IEF BIL BSV AGG BND UUP GLD SLV PDBC AAPL",
    "-0.5": "SVXY",
    "-1": "PSQ SVIX",
    "-2": "QID",
    "-3": "SQQQ SPXU LABD TZA TMV",
}
NUCLEAR = "SPY IOO TQQQ VTV XLF VOX UVXY BTAL QQQ SQQQ PSQ UPRO TLT IEF SMR BWXT LEU EXC NLR OKLO"
TECL = "SPY XLK KMLM TECL BIL UVXY SQQQ BSV TQQQ SPXL"
KLM = (
    "SPY QQQE VTV VOX TECL VOOG VOOV IOO QQQ XLP TQQQ XLY FAS XLF RETL XLK SOXL SPXL SPLV FNGU UVXY UVIX VIXY VXX "
    "VIXM SVIX SQQQ SVXY TLT BIL BTAL BND KMLM AGG LABD TZA LABU UUP FTLS ERX GLD SLV PDBC XLE FNGO TSLA MSFT AAPL "
    "NVDA GOOGL AMZN TMV TMF SPXU QID PSQ UPRO IEF"
)


@given(quantities, steps)
def test_a_rounded_quantity_is_on_the_grid_and_less_than_a_step_nearer_to_zero(quantity, step):
    rounded = round_quantity(quantity, step)

    assert rounded % step == 0
    assert 0 <= abs(quantity) - abs(rounded) < step
    assert rounded * quantity >= 0


@given(quantities, steps)
def test_rounding_a_quantity_twice_changes_nothing(quantity, step):
    rounded = round_quantity(quantity, step)

    assert round_quantity(rounded, step) == rounded


def test_a_quantity_finer_than_the_broker_takes_loses_the_excess():
    assert round_quantity(Decimal("0.1234567899"), Decimal("0.000000001")) == Decimal("0.123456789")


@given(prices, st.booleans())
def test_a_rounded_price_is_on_the_tick_and_less_than_one_away(price, up):
    rounded = round_price(price, up=up)

    assert rounded % price_tick(price) == 0
    assert 0 <= (rounded - price if up else price - rounded) < price_tick(price)


@pytest.mark.parametrize(
    ("price", "up", "rounded"),
    [
        ("10.001", True, "10.01"),
        ("10.009", False, "10.00"),
        ("0.12341", True, "0.1235"),
        ("0.12349", False, "0.1234"),
        ("0.99999", True, "1"),
        ("1.00", False, "1"),
        ("1.004", True, "1.01"),
    ],
)
def test_prices_move_in_cents_from_a_dollar_on_and_in_hundredths_of_a_cent_below(price, up, rounded):
    assert round_price(Decimal(price), up=up) == Decimal(rounded)


@pytest.mark.parametrize("price", ["0", "-1.5", "NaN", "Infinity"])
def test_a_price_that_is_no_positive_number_is_refused(price):
    with pytest.raises(InvalidInput, match="positive number"):
        round_price(Decimal(price), up=True)


@pytest.mark.parametrize(("amount", "cents"), [("2.345", "2.34"), ("2.355", "2.36"), ("-0.005", "0"), ("1", "1")])
def test_half_a_cent_goes_to_the_even_one(amount, cents):
    assert round_cents(Decimal(amount)) == Decimal(cents)


def test_what_trades_in_fractions_trades_in_billionths_and_the_rest_in_whole_shares():
    assert Instrument("SPY", AssetClass.EQUITY_INDEX).quantity_step() == Decimal("1e-9")
    assert Instrument("FNGU", AssetClass.EQUITY_INDEX, fractionable=False).quantity_step() == 1


@pytest.mark.parametrize(
    ("symbol", "leverage"),
    [(symbol, leverage) for leverage, symbols in LEVERAGE.items() for symbol in symbols.split()],
)
def test_leverage_is_what_the_issuer_states(symbol, leverage):
    assert catalogue()[symbol].leverage == Decimal(leverage)


@pytest.mark.parametrize("symbols", [NUCLEAR, TECL, KLM], ids=["nuclear", "tecl", "klm"])
def test_every_symbol_of_the_strategies_is_known(symbols):
    assert set(symbols.split()) <= catalogue().keys()


def test_the_exchange_traded_notes_are_not_fractionable():
    whole = {symbol for symbol, instrument in catalogue().items() if not instrument.fractionable}

    assert {"FNGU", "FNGO"} <= whole
    assert "SPY" not in whole


def test_each_instrument_is_filed_under_its_own_symbol():
    assert all(symbol == instrument.symbol for symbol, instrument in catalogue().items())
