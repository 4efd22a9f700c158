"""What each symbol is exposed to on a day: asset class, sector, and the multiple with which it moves.

Sectors are those of the Global Industry Classification Standard (GICS, of S&P
Dow Jones Indices and MSCI), and three more: the broad market, none for what no
industry moves, and unknown. The table is written by hand, is of
:data:`MAPPING_VERSION`, and covers :data:`COVERED_FROM` and later days; where a
fund or company changed, an entry begins on the first session of the new state
and says why. The revision of GICS of 2023 (payments to financials, general
merchandise to staples) moved no company that is in the table.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum

from trading_pipeline.domain.instruments import AssetClass, Instrument

MAPPING_VERSION = "2026-07-31"
"""The day on which the table was last compared with what funds and companies are."""

COVERED_FROM = date(2005, 1, 1)
"""The first day of which the table says anything."""

UNKNOWN_LEVERAGE = Decimal(3)
"""The multiple that an unknown symbol counts with: the largest that a fund of the catalogue has."""

UNKNOWN_CLASS = "unknown"


class Sector(StrEnum):
    """What industry moves a symbol's price."""

    TECHNOLOGY = "technology"
    COMMUNICATION = "communication"
    FINANCIALS = "financials"
    REAL_ESTATE = "real estate"
    ENERGY = "energy"
    UTILITIES = "utilities"
    HEALTH_CARE = "health care"
    CONSUMER_DISCRETIONARY = "consumer discretionary"
    CONSUMER_STAPLES = "consumer staples"
    INDUSTRIALS = "industrials"
    MATERIALS = "materials"
    BROAD_MARKET = "broad market"
    NONE = "none"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Classification:
    """What a symbol is exposed to.

    ``asset_class`` is None where nobody knows it. ``leverage`` is the multiple
    with which it follows what it is exposed to, negative for inverse funds.
    """

    asset_class: AssetClass | None
    sector: Sector
    leverage: Decimal

    @property
    def class_name(self) -> str:
        """Name of the asset class, for tables."""
        return UNKNOWN_CLASS if self.asset_class is None else self.asset_class.value

    @property
    def is_known(self) -> bool:
        """Tell whether the asset class is known."""
        return self.asset_class is not None

    @property
    def is_leveraged(self) -> bool:
        """Tell whether it moves otherwise than one for one with what it follows: leveraged or inverse."""
        return self.leverage != 1


UNKNOWN = Classification(None, Sector.UNKNOWN, UNKNOWN_LEVERAGE)
"""A symbol that nobody described. Its multiple may be any that exists, so it counts with the largest."""


@dataclass(frozen=True)
class Entry:
    """The sector of a symbol from the session ``since`` on.

    ``leverage`` is None where it is the instrument's own, as it is today;
    ``reason`` says what changed, and is empty for what was always so.
    """

    since: date
    sector: Sector
    leverage: Decimal | None = None
    reason: str = ""


@dataclass(frozen=True)
class _Former:
    """What symbols were before the session ``until``; None where it is what they are now."""

    symbols: str
    until: date
    reason: str
    sector: Sector | None = None
    leverage: Decimal | None = None


# NLR holds miners of uranium (energy) and those who generate power with it (utilities): the fuel is what they share.
# The FANG+ index of FNGU, FNGA and FNGO holds ten companies, most of them of technology.
_SECTORS: Mapping[Sector, str] = {
    Sector.BROAD_MARKET: (
        "SPY IOO QQQ QQQE VTV VOOG VOOV SPLV DIA IWM EEM EFA VTI SSO QLD TQQQ UPRO SPXL PSQ SH QID SQQQ SPXU SPXS TZA"
    ),
    Sector.TECHNOLOGY: (
        "XLK TECL TECS SMH SOXX USD SOXL SOXS FNGU FNGO FNGA AAPL ADBE AMD CSCO IBM INTC MSFT NVDA ORCL QCOM TXN"
    ),
    Sector.COMMUNICATION: "VOX XLC GOOGL DIS T VZ",
    Sector.FINANCIALS: "XLF FAS AXP BAC BRK-B BRK.B GS JPM WFC",
    Sector.REAL_ESTATE: "VNQ XLRE",
    Sector.ENERGY: "XLE ERX NLR LEU COP CVX XOM",
    Sector.UTILITIES: "XLU EXC OKLO DUK NEE SO",
    Sector.HEALTH_CARE: "XLV LABU LABD AMGN JNJ LLY MRK NVO PFE UNH",
    Sector.CONSUMER_DISCRETIONARY: "XLY RETL AMZN HD LOW MCD NKE TSLA",
    Sector.CONSUMER_STAPLES: "XLP COST KO PEP PG WMT",
    Sector.INDUSTRIALS: "XLI SMR BWXT BA CAT DE GE HON MMM UPS",
    Sector.MATERIALS: "XLB",
    Sector.NONE: (
        "UVXY UVIX VXX VIXY VIXM SVXY SVIX TLT IEF SHY TIP TMF TMV BIL BSV AGG BND BOND LQD HYG GLD SLV PDBC DBC UGL "
        "UCO UUP KMLM FTLS BTAL"
    ),
}

_GICS_2018 = "GICS made communication services of telecommunication, media and the internet after 28 September 2018"
_PROSHARES_2018 = "ProShares lowered the fund's daily multiple after the close of 27 February 2018"

_FORMERLY = (
    _Former("GOOGL", date(2018, 10, 1), _GICS_2018, sector=Sector.TECHNOLOGY),
    _Former("DIS", date(2018, 10, 1), _GICS_2018, sector=Sector.CONSUMER_DISCRETIONARY),
    _Former(
        "VNQ XLRE",
        date(2016, 9, 1),
        "GICS made real estate a sector of its own after 31 August 2016",
        sector=Sector.FINANCIALS,
    ),
    _Former(
        "SMR",
        date(2022, 5, 3),
        "until then a blank-cheque company, which merged with NuScale",
        sector=Sector.FINANCIALS,
    ),
    _Former(
        "OKLO",
        date(2024, 5, 10),
        "until then a blank-cheque company, which merged with Oklo",
        sector=Sector.FINANCIALS,
    ),
    _Former("UVXY", date(2018, 2, 28), _PROSHARES_2018, leverage=Decimal(2)),
    _Former("SVXY", date(2018, 2, 28), _PROSHARES_2018, leverage=Decimal(-1)),
    _Former(
        "ERX",
        date(2020, 4, 1),
        "Direxion lowered the fund's daily multiple after the close of 31 March 2020",
        leverage=Decimal(3),
    ),
)

# What an instrument of the user's own is in, where the class alone tells; a stock or sector fund may be in any.
_SECTOR_OF_CLASS: Mapping[AssetClass, Sector] = {
    AssetClass.EQUITY_INDEX: Sector.BROAD_MARKET,
    AssetClass.EQUITY_SECTOR: Sector.UNKNOWN,
    AssetClass.STOCK: Sector.UNKNOWN,
    AssetClass.REAL_ESTATE: Sector.REAL_ESTATE,
}


@functools.cache
def mapping() -> Mapping[str, tuple[Entry, ...]]:
    """Return the whole table: the entries of each symbol, oldest first.

    >>> [(str(entry.since), entry.sector.value) for entry in mapping()["GOOGL"]]
    [('2005-01-01', 'technology'), ('2018-10-01', 'communication')]
    """
    before = {symbol: former for former in _FORMERLY for symbol in former.symbols.split()}
    return {
        symbol: _entries(sector, before.get(symbol))
        for sector, symbols in _SECTORS.items()
        for symbol in symbols.split()
    }


def _entries(sector: Sector, former: _Former | None) -> tuple[Entry, ...]:
    if former is None:
        return (Entry(COVERED_FROM, sector),)
    return (
        Entry(COVERED_FROM, former.sector or sector, former.leverage),
        Entry(former.until, sector, reason=former.reason),
    )


def classified(symbol: str, on: date, instruments: Mapping[str, Instrument]) -> Classification:
    """Return what ``symbol`` was exposed to on the day ``on``.

    ``instruments`` are those that are known by name or described in settings.
    One that is described and not in the table has the sector that its class
    implies, or an unknown one. A symbol that is not among them is
    :data:`UNKNOWN`, and so is one of the table before the table begins.

    >>> from trading_pipeline.domain.instruments import catalogue
    >>> classified("SVXY", date(2018, 2, 27), catalogue()).leverage
    Decimal('-1')
    >>> classified("SVXY", date(2018, 2, 28), catalogue()).leverage
    Decimal('-0.5')
    >>> classified("FNGZ", date(2026, 7, 31), catalogue()) == UNKNOWN
    True
    """
    instrument = instruments.get(symbol)
    if instrument is None:
        return UNKNOWN
    if symbol not in mapping():
        sector = _SECTOR_OF_CLASS.get(instrument.asset_class, Sector.NONE)
        return Classification(instrument.asset_class, sector, instrument.leverage)
    entry = next((entry for entry in reversed(mapping()[symbol]) if entry.since <= on), None)
    if entry is None:
        return UNKNOWN
    leverage = instrument.leverage if entry.leverage is None else entry.leverage
    return Classification(instrument.asset_class, entry.sector, leverage)
