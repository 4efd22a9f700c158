"""What is traded: asset class, leverage, fractions, price tick; and Decimal rounding to them.

The catalogue states what the funds are (their issuers' own objectives). It is
used for exposure, for the simulated market and to notice a symbol that nobody
knows; what an account may trade today is always asked of the broker.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_UP, Decimal
from enum import StrEnum

from trading_pipeline.domain.errors import InvalidInput

CASH = "CASH"
QUANTITY_STEP = Decimal("0.000000001")
WHOLE_SHARE = Decimal(1)
CENT = Decimal("0.01")
# Tables keep nine decimals: what is computed with and what is stored are the same number.
STORED_STEP = Decimal("0.000000001")
SUB_DOLLAR_TICK = Decimal("0.0001")


class AssetClass(StrEnum):
    """What moves an instrument's price."""

    EQUITY_INDEX = "equity index"
    EQUITY_SECTOR = "equity sector"
    STOCK = "stock"
    VOLATILITY = "volatility"
    TREASURY = "treasury"
    CASH_EQUIVALENT = "cash equivalent"
    AGGREGATE_BOND = "aggregate bond"
    CREDIT = "credit"
    COMMODITY = "commodity"
    CURRENCY = "currency"
    MANAGED_FUTURES = "managed futures"
    LONG_SHORT = "long/short"
    REAL_ESTATE = "real estate"


@dataclass(frozen=True)
class Instrument:
    """One tradable symbol.

    ``leverage`` is the fund's own daily multiple of what it follows: 3 for
    TQQQ, -1 for PSQ, 1 for an ordinary fund or stock.
    """

    symbol: str
    asset_class: AssetClass
    leverage: Decimal = Decimal(1)
    fractionable: bool = True

    def quantity_step(self) -> Decimal:
        """Return the smallest quantity in which it trades: a billionth of a share, or a whole one."""
        return QUANTITY_STEP if self.fractionable else WHOLE_SHARE


def price_tick(price: Decimal) -> Decimal:
    """Return the price grid at ``price``: a cent from one dollar on, a hundredth of a cent below.

    >>> price_tick(Decimal("12.3")), price_tick(Decimal("0.5"))
    (Decimal('0.01'), Decimal('0.0001'))
    """
    return CENT if price >= 1 else SUB_DOLLAR_TICK


def plain(amount: Decimal) -> str:
    """Return a quantity or an amount as people and brokers write it: digits, no exponent, no trailing zeros.

    >>> plain(Decimal("664.000000000")), plain(Decimal("1E+2")), plain(Decimal("1E-7")), plain(Decimal("-0.00"))
    ('664', '100', '0.0000001', '0')
    """
    return format(amount.normalize(), "f") if amount else "0"


def round_quantity(quantity: Decimal, step: Decimal) -> Decimal:
    """Round ``quantity`` towards zero to ``step`` (a power of ten), so that it never exceeds the intent.

    >>> round_quantity(Decimal("2.9999999999"), Decimal("0.000000001"))
    Decimal('2.999999999')
    """
    return quantity.quantize(step, ROUND_DOWN)


def round_price(price: Decimal, *, up: bool) -> Decimal:
    """Round a limit price to its tick, ``up`` for a marketable buy and down for a marketable sell.

    >>> round_price(Decimal("10.001"), up=True), round_price(Decimal("10.009"), up=False)
    (Decimal('10.01'), Decimal('10.00'))

    Raises:
        InvalidInput: ``price`` is not a positive number.
    """
    if not price.is_finite() or price <= 0:
        raise InvalidInput(f"a price must be a positive number, was {price}")
    return price.quantize(price_tick(price), ROUND_UP if up else ROUND_DOWN)


def round_cents(amount: Decimal) -> Decimal:
    """Round an amount of dollars to cents, half to even."""
    return amount.quantize(CENT, ROUND_HALF_EVEN)


_NOT_FRACTIONABLE = frozenset({"FNGU", "FNGO", "FNGA"})  # exchange-traded notes

_BY_CLASS_AND_LEVERAGE: Mapping[tuple[AssetClass, str], str] = {
    (AssetClass.EQUITY_INDEX, "1"): "SPY IOO QQQ QQQE VTV VOOG VOOV SPLV DIA IWM EEM EFA VTI",
    (AssetClass.EQUITY_INDEX, "2"): "SSO QLD FNGO",
    (AssetClass.EQUITY_INDEX, "3"): "TQQQ UPRO SPXL FNGU FNGA",
    (AssetClass.EQUITY_INDEX, "-1"): "PSQ SH",
    (AssetClass.EQUITY_INDEX, "-2"): "QID",
    (AssetClass.EQUITY_INDEX, "-3"): "SQQQ SPXU SPXS TZA",
    (AssetClass.EQUITY_SECTOR, "1"): "XLF VOX XLK XLP XLY XLE XLB XLC XLI XLU XLV NLR SMH SOXX",
    (AssetClass.EQUITY_SECTOR, "2"): "ERX USD",
    (AssetClass.EQUITY_SECTOR, "3"): "TECL SOXL FAS RETL LABU",
    (AssetClass.EQUITY_SECTOR, "-3"): "LABD SOXS TECS",
    (AssetClass.STOCK, "1"): (
        "SMR BWXT LEU EXC OKLO AAPL ADBE AMD AMGN AMZN AXP BA BAC BRK-B BRK.B CAT COP COST CSCO CVX DE DIS DUK GE "
        "GOOGL GS HD HON IBM INTC JNJ JPM KO LLY LOW MCD MMM MRK MSFT NEE NKE NVDA NVO ORCL PEP PFE PG QCOM SO T "
        "TSLA TXN UNH UPS VZ WFC WMT XOM"
    ),
    (AssetClass.VOLATILITY, "1.5"): "UVXY",
    (AssetClass.VOLATILITY, "2"): "UVIX",
    (AssetClass.VOLATILITY, "1"): "VXX VIXY VIXM",
    (AssetClass.VOLATILITY, "-0.5"): "SVXY",
    (AssetClass.VOLATILITY, "-1"): "SVIX",
    (AssetClass.TREASURY, "1"): "TLT IEF SHY TIP",
    (AssetClass.TREASURY, "3"): "TMF",
    (AssetClass.TREASURY, "-3"): "TMV",
    (AssetClass.CASH_EQUIVALENT, "1"): "BIL",
    (AssetClass.AGGREGATE_BOND, "1"): "BSV AGG BND BOND",
    (AssetClass.CREDIT, "1"): "LQD HYG",
    (AssetClass.COMMODITY, "1"): "GLD SLV PDBC DBC",
    (AssetClass.COMMODITY, "2"): "UGL UCO",
    (AssetClass.CURRENCY, "1"): "UUP",
    (AssetClass.MANAGED_FUTURES, "1"): "KMLM",
    (AssetClass.LONG_SHORT, "1"): "FTLS BTAL",
    (AssetClass.REAL_ESTATE, "1"): "VNQ XLRE",
}


@functools.cache
def catalogue() -> Mapping[str, Instrument]:
    """Return every instrument that is known by name.

    >>> catalogue()["SQQQ"].leverage
    Decimal('-3')
    """
    return {
        symbol: Instrument(symbol, asset_class, Decimal(leverage), symbol not in _NOT_FRACTIONABLE)
        for (asset_class, leverage), symbols in _BY_CLASS_AND_LEVERAGE.items()
        for symbol in symbols.split()
    }
