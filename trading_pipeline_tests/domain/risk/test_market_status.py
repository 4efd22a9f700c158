from datetime import UTC, date, datetime

from trading_pipeline.domain.risk.market_status import MarketStatus

STATUS = MarketStatus(date(2026, 7, 31), datetime(2026, 7, 31, 14, tzinfo=UTC), frozenset({"SPY", "TLT", "TQQQ"}))


def status(**changes):
    return MarketStatus(STATUS.session, STATUS.as_of, STATUS.symbols, **changes)


def test_where_nothing_is_in_the_way_nothing_is_said():
    assert STATUS.missing("SPY") == STATUS.obstacles("SPY") == ()


def test_a_symbol_that_was_not_asked_about_lacks_its_status():
    assert STATUS.missing("GLD") == ("market status",)
    assert STATUS.obstacles("GLD") == ("not known: market status",)


def test_a_source_that_was_not_read_is_missing_for_every_symbol():
    found = status(unread={"quotes": "timed out", "assets": "refused"}, unknown={"TLT": ("latest trade",)})

    assert found.missing("SPY") == ("assets", "quotes")
    assert found.missing("TLT") == ("assets", "quotes", "latest trade")


def test_all_reasons_are_told():
    found = status(halt="the market fell", halted={"TQQQ": "silent"}, corporate_actions={"TQQQ": "a split"})

    assert found.obstacles("TQQQ") == ("the market fell", "silent", "a split")
    assert found.obstacles("SPY") == ("the market fell",)
