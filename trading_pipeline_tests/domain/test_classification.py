from datetime import date
from decimal import Decimal

import pytest

from trading_pipeline.domain.classification import (
    COVERED_FROM,
    MAPPING_VERSION,
    UNKNOWN,
    UNKNOWN_LEVERAGE,
    Sector,
    classified,
    mapping,
)
from trading_pipeline.domain.instruments import AssetClass, Instrument, catalogue

TODAY = date.fromisoformat(MAPPING_VERSION)
SHARES = {AssetClass.EQUITY_INDEX, AssetClass.EQUITY_SECTOR, AssetClass.STOCK, AssetClass.REAL_ESTATE}


def of(symbol, on=TODAY, **described):
    return classified(symbol, on, {**catalogue(), **described})


def test_the_table_is_of_exactly_the_symbols_that_are_known():
    assert mapping().keys() == catalogue().keys()


def test_no_symbol_stands_in_two_sectors():
    from trading_pipeline.domain.classification import _SECTORS

    assert sum(len(symbols.split()) for symbols in _SECTORS.values()) == len(mapping())


def test_every_symbol_is_covered_from_the_first_day_and_its_entries_are_in_order():
    for symbol, entries in mapping().items():
        days = [entry.since for entry in entries]
        assert days[0] == COVERED_FROM, symbol
        assert days == sorted(set(days)), symbol
        assert all(entry.reason for entry in entries[1:]), symbol


@pytest.mark.parametrize("symbol", catalogue())
def test_today_every_symbol_has_the_class_and_multiple_of_the_catalogue(symbol):
    found, known = of(symbol), catalogue()[symbol]

    assert (found.asset_class, found.leverage) == (known.asset_class, known.leverage)
    assert found.is_known
    assert found.is_leveraged == (known.leverage != 1)
    assert (found.sector is Sector.NONE) == (known.asset_class not in SHARES)


@pytest.mark.parametrize(
    ("sector", "symbols"),
    [
        (Sector.TECHNOLOGY, "XLK TECL TECS SOXL NVDA"),
        (Sector.COMMUNICATION, "XLC VOX GOOGL VZ"),
        (Sector.FINANCIALS, "XLF FAS JPM BRK-B BRK.B"),
        (Sector.REAL_ESTATE, "XLRE VNQ"),
        (Sector.ENERGY, "XLE ERX LEU"),
        (Sector.UTILITIES, "XLU EXC OKLO"),
        (Sector.HEALTH_CARE, "XLV LABU LABD LLY"),
        (Sector.CONSUMER_DISCRETIONARY, "XLY RETL TSLA"),
        (Sector.CONSUMER_STAPLES, "XLP WMT"),
        (Sector.INDUSTRIALS, "XLI BWXT SMR CAT"),
        (Sector.MATERIALS, "XLB"),
        (Sector.BROAD_MARKET, "SPY TQQQ SQQQ TZA"),
        (Sector.NONE, "BIL TMF UVXY GLD KMLM"),
    ],
)
def test_symbols_are_in_the_sector_of_their_industry(sector, symbols):
    assert {of(symbol).sector for symbol in symbols.split()} == {sector}


@pytest.mark.parametrize(
    ("symbol", "last_day", "before", "first_day", "after"),
    [
        ("GOOGL", date(2018, 9, 28), Sector.TECHNOLOGY, date(2018, 10, 1), Sector.COMMUNICATION),
        ("DIS", date(2018, 9, 28), Sector.CONSUMER_DISCRETIONARY, date(2018, 10, 1), Sector.COMMUNICATION),
        ("VNQ", date(2016, 8, 31), Sector.FINANCIALS, date(2016, 9, 1), Sector.REAL_ESTATE),
        ("OKLO", date(2024, 5, 9), Sector.FINANCIALS, date(2024, 5, 10), Sector.UTILITIES),
        ("SMR", date(2022, 5, 2), Sector.FINANCIALS, date(2022, 5, 3), Sector.INDUSTRIALS),
    ],
)
def test_a_change_of_sector_counts_from_its_day_on(symbol, last_day, before, first_day, after):
    assert (of(symbol, last_day).sector, of(symbol, first_day).sector) == (before, after)


@pytest.mark.parametrize(
    ("symbol", "last_day", "before", "first_day", "after"),
    [
        ("UVXY", date(2018, 2, 27), "2", date(2018, 2, 28), "1.5"),
        ("SVXY", date(2018, 2, 27), "-1", date(2018, 2, 28), "-0.5"),
        ("ERX", date(2020, 3, 31), "3", date(2020, 4, 1), "2"),
    ],
)
def test_a_change_of_a_funds_multiple_counts_from_its_day_on(symbol, last_day, before, first_day, after):
    assert (of(symbol, last_day).leverage, of(symbol, first_day).leverage) == (Decimal(before), Decimal(after))


def test_what_telephone_companies_were_called_changed_and_their_sector_did_not():
    assert of("VZ", date(2018, 9, 28)) == of("VZ", date(2018, 10, 1))


def test_a_symbol_that_nobody_described_is_unknown_and_counts_as_the_most_leveraged_fund():
    assert of("FNGZ") == UNKNOWN
    assert not UNKNOWN.is_known
    assert max(abs(instrument.leverage) for instrument in catalogue().values()) == UNKNOWN_LEVERAGE


def test_nothing_is_known_of_days_before_the_table_begins():
    assert of("SPY", date(2004, 12, 31)) == UNKNOWN
    assert of("SPY", COVERED_FROM).is_known


@pytest.mark.parametrize(
    ("asset_class", "sector"),
    [
        (AssetClass.EQUITY_INDEX, Sector.BROAD_MARKET),
        (AssetClass.REAL_ESTATE, Sector.REAL_ESTATE),
        (AssetClass.TREASURY, Sector.NONE),
        (AssetClass.STOCK, Sector.UNKNOWN),
        (AssetClass.EQUITY_SECTOR, Sector.UNKNOWN),
    ],
)
def test_a_symbol_of_the_users_own_has_the_sector_that_its_class_implies(asset_class, sector):
    found = of("OWN", OWN=Instrument("OWN", asset_class, Decimal(-2)))

    assert (found.asset_class, found.sector, found.leverage) == (asset_class, sector, Decimal(-2))
    assert found.is_known
